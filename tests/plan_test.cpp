// What is checked before a child exists, and what a program's start is made of: descriptors, environment, PATH.
#include <fcntl.h>
#include <sys/stat.h>

#include <cloister/run.hpp>
#include <fstream>
#include <set>

#include "caught.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
namespace ns = cloister::flags;
using cloister::ChildProcess, cloister::Command, cloister::Descriptors, cloister::Environment, cloister::Error,
    cloister::ExitStatus, cloister::IdMap, cloister::Init, cloister::Isolation, cloister::Loopback, cloister::Redirect,
    cloister::run;

namespace {

int forks = 0;

// The text of the refusal, which is the same for a callable and for a program. No process is made on the way.
std::string refusal(Isolation const& isolation) {
  static int const counting = ::pthread_atfork([] { ++forks; }, nullptr, nullptr);
  REQUIRE(counting == 0);
  int const before = forks;
  test::Unchanged unchanged;
  std::string const callable = test::text_of<std::invalid_argument>([&] { (void)run(isolation, [] { return 1; }); });
  std::string const program = test::text_of<std::invalid_argument>([&] { (void)run(isolation, Command{"true"}); });
  CHECK(callable == program);
  CHECK(forks == before);
  return callable;
}

// A descriptor number that is not open.
int closed_descriptor() {
  int const fd = ::dup(0);
  ::close(fd);
  return fd;
}

void check_not_open(Error const& error, std::string const& field, int fd) {
  CHECK(error.code() == std::errc::bad_file_descriptor);
  CHECK(error.step() == field);
  CHECK_FALSE(error.in_child());
  CHECK(std::string(error.what()) ==
        "cloister: " + field + " " + std::to_string(fd) + ": Bad file descriptor (the descriptor is not open)");
}

void write_file(std::string const& path, std::string const& text, mode_t mode) {
  std::ofstream(path) << text;
  REQUIRE(::chmod(path.c_str(), mode) == 0);
}

// A script that says its name.
void add_tool(std::string const& directory, std::string const& says, mode_t mode = 0755) {
  write_file(directory + "/tool", "#!/bin/sh\necho " + says + "\n", mode);
}

// What the program "tool" says, looked for in that PATH.
std::string tool_in(std::string const& path, std::string const& cwd = "/") {
  return run({}, Command{"tool"}.env("PATH", path).cwd(cwd)).out;
}
Error no_tool_in(std::string const& path, std::string const& cwd = "/") {
  return test::caught<Error>([&] { (void)tool_in(path, cwd); });
}

// The variables that a program gets, "NAME=value", sorted.
std::set<std::string> environment_of(Isolation const& isolation, Command const& command = Command{"/usr/bin/env"}) {
  std::istringstream lines(run(isolation, command).out);
  std::set<std::string> variables;
  for (std::string line; std::getline(lines, line);) CHECK(variables.insert(line).second);
  return variables;
}

struct Variable {
  Variable(char const* variable, char const* value) : name(variable) { ::setenv(variable, value, 1); }
  ~Variable() { ::unsetenv(name); }
  Variable(Variable const&) = delete;
  char const* name;
};

}  // namespace

// --- Contradictions

TEST_CASE("a host name without a uts namespace would rename the host, and is refused") {
  CHECK(refusal({.hostname = "box"}) ==
        "cloister: isolation: hostname without uts in unshare: it would rename the host");
  CHECK(refusal({.unshare = ns::user, .domainname = "box"}) ==
        "cloister: isolation: domainname without uts in unshare: it would rename the host");
  CHECK(refusal({.hostname = ""}) == "cloister: isolation: hostname without uts in unshare: it would rename the host");
}

TEST_CASE("a host name of more bytes than the kernel takes is refused") {
  CHECK(refusal({.unshare = ns::uts, .hostname = std::string(65, 'x')}) ==
        "cloister: isolation: hostname has 65 bytes, the kernel takes 64");
  CHECK(refusal({.unshare = ns::uts, .domainname = std::string(1000, 'x')}) ==
        "cloister: isolation: domainname has 1000 bytes, the kernel takes 64");
}

TEST_CASE("a host name with a NUL in it is refused") {
  CHECK(refusal({.unshare = ns::uts, .hostname = "a\0b"s}) == "cloister: isolation: hostname holds a NUL");
  CHECK(refusal({.unshare = ns::uts, .domainname = "\0"s}) == "cloister: isolation: domainname holds a NUL");
}

TEST_CASE("a setting for a namespace that is not new is refused, and the text names it") {
  CHECK(refusal({.unshare = ns::pid, .ids = IdMap::root()}) == "cloister: isolation: ids without user in unshare");
  CHECK(refusal({.ids = IdMap::self()}) == "cloister: isolation: ids without user in unshare");
  CHECK(refusal({.clock = {.monotonic = 1ns}}) == "cloister: isolation: clock without time in unshare");
  CHECK(refusal({.unshare = ns::user, .clock = {.boottime = -1s}}) ==
        "cloister: isolation: clock without time in unshare");
  CHECK(refusal({.loopback = Loopback::down}) == "cloister: isolation: loopback without net in unshare");
  CHECK(test::contains(refusal({.unshare = ns::user, .init = Init::reaper}),
                       "cloister: isolation: init is a reaper without pid in unshare"));
}

TEST_CASE("what is joined is one namespace of a type that is not new") {
  using cloister::Namespace;
  Namespace const uts = Namespace::current(ns::uts), net = Namespace::current(ns::net);
  Namespace moved = uts;
  Namespace const other = std::move(moved);
  CHECK(refusal({.join = {uts, moved}}) == "cloister: isolation: join holds an empty Namespace");
  CHECK(refusal({.join = {uts, net, other}}) ==
        "cloister: isolation: join holds two of type uts: a child is in one of each");
  CHECK(refusal({.unshare = ns::user | ns::net, .join = {uts, net}}) ==
        "cloister: isolation: net in join and in unshare: a child is in one of each type");
}

TEST_CASE("a setting for a namespace that is only joined is refused") {
  using cloister::Namespace;
  auto const joining = [](cloister::NamespaceType type) { return Isolation{.join = {Namespace::current(type)}}; };
  std::string const why = ": what is joined keeps the settings that it has";
  Isolation isolation = joining(ns::uts);
  isolation.hostname = "box";
  CHECK(refusal(isolation) == "cloister: isolation: hostname without uts in unshare" + why);
  isolation = joining(ns::uts);
  isolation.domainname = "box";
  CHECK(refusal(isolation) == "cloister: isolation: domainname without uts in unshare" + why);
  isolation = joining(ns::user);
  isolation.ids = IdMap::self();
  CHECK(refusal(isolation) == "cloister: isolation: ids without user in unshare" + why);
  isolation = joining(ns::user);
  isolation.privileges.forbid_nesting = true;
  CHECK(refusal(isolation) == "cloister: isolation: privileges: forbid_nesting without user in unshare" + why);
  isolation = joining(ns::net);
  isolation.loopback = Loopback::down;
  CHECK(refusal(isolation) == "cloister: isolation: loopback without net in unshare" + why);
  isolation = joining(ns::mnt);
  isolation.root = cloister::Root::empty();
  CHECK(refusal(isolation) == "cloister: isolation: root without mnt in unshare" + why);
  isolation = joining(ns::mnt);
  isolation.mounts = {cloister::Mount::proc()};
  CHECK(refusal(isolation) == "cloister: isolation: mounts without mnt in unshare" + why);
  isolation = joining(ns::pid);
  isolation.init = Init::reaper;
  CHECK(test::contains(refusal(isolation), "cloister: isolation: init is a reaper without pid in unshare"));
  SKIP_UNLESS(::access("/proc/self/ns/time", F_OK) == 0, "the kernel has no time namespaces");
  isolation = joining(ns::time);
  isolation.clock.boottime = 1s;
  CHECK(refusal(isolation) == "cloister: isolation: clock without time in unshare" + why);
}

TEST_CASE("a name of a variable that is none is refused") {
  CHECK(refusal({.environment = Environment::only({"PATH", ""})}) ==
        "cloister: isolation: environment: \"\" is no name of a variable");
  CHECK(refusal({.environment = Environment::only({"A=B"})}) ==
        "cloister: isolation: environment: \"A=B\" is no name of a variable");
}

TEST_CASE("a NUL in a name does not cut off the text that refuses it") {
  std::string const end = "is no name of a variable";
  CHECK(test::contains(refusal({.environment = Environment::only({"A\0B"s})}), end));
  CHECK(test::contains(test::text_of<std::invalid_argument>([] { (void)Command{"x"}.env("A\0=B"s, "v"); }), end));
}

TEST_CASE("as() with an id that self() or root() will not map is refused once that is known") {
  std::uint32_t const uid = ::geteuid(), gid = ::getegid();
  std::string const wrong = std::to_string(uid + 1);
  CHECK(refusal({.unshare = ns::user, .ids = IdMap::self().as(uid + 1, gid)}) ==
        "cloister: isolation: ids: as(" + wrong + ", " + std::to_string(gid) + ") is not mapped");
  CHECK(refusal({.unshare = ns::user, .ids = IdMap::root().as(0, 7)}) ==
        "cloister: isolation: ids: as(0, 7) is not mapped");
}

TEST_CASE("the fields are refused for what they are, not for their order") {
  CHECK(
      test::contains(refusal({.unshare = ns::uts, .hostname = "\0"s, .domainname = std::string(65, 'x')}), "hostname"));
  CHECK(test::contains(refusal({.ids = IdMap::root(), .clock = {.boottime = 1s}}), "ids"));
}

// --- Descriptors

TEST_CASE("a descriptor that is not open is an Error that names the field, before any process exists") {
  test::Unchanged unchanged;
  int const fd = closed_descriptor();
  check_not_open(test::caught<Error>([&] { (void)run({}, Command{"true"}.keep_fd(fd)); }), "keep_fd", fd);
  check_not_open(test::caught<Error>([&] { (void)run({}, Command{"true"}.keep_fd(fd, 9)); }), "keep_fd", fd);
  check_not_open(test::caught<Error>([&] { (void)run({}, Command{"true"}.stdio({.out = Redirect::descriptor(fd)})); }),
                 "stdio", fd);
  check_not_open(test::caught<Error>([&] { (void)run({}, Command{"true"}.stdio({.in = Redirect::descriptor(-1)})); }),
                 "stdio", -1);
  Isolation const only{.descriptors = Descriptors::only({0, fd})};
  check_not_open(test::caught<Error>([&] { (void)run(only, Command{"true"}); }), "descriptors", fd);
  check_not_open(test::caught<Error>([&] { (void)run(only, [] {}); }), "descriptors", fd);
  Isolation const negative{.descriptors = Descriptors::only({-5})};
  check_not_open(test::caught<Error>([&] { (void)run(negative, [] {}); }), "descriptors", -5);
  check_not_open(test::caught<Error>([&] { (void)run(negative, Command{"true"}); }), "descriptors", -5);
}

TEST_CASE("one number in a program for two descriptors is refused") {
  int const fd = ::fcntl(0, F_DUPFD_CLOEXEC, 10);
  std::string const text = test::text_of<std::invalid_argument>(
      [&] { (void)run({.descriptors = Descriptors::only({fd})}, Command{"true"}.keep_fd(0, fd)); });
  CHECK(text == "cloister: command: keep_fd: " + std::to_string(fd) + " is taken twice");
  CHECK(run({.descriptors = Descriptors::only({fd, fd})}, Command{"true"}.keep_fd(fd)).status.success());
  ::close(fd);
}

TEST_CASE("a number that the limit on descriptors does not allow is an Error of the child") {
  test::Unchanged unchanged;
  for (int const number : {2'000'000'000, 0x7fffffff}) {
    Error const error = test::caught<Error>([&] { (void)run({}, Command{"true"}.keep_fd(0, number)); });
    CHECK(error.step() == "keep_fd");
    CHECK(error.in_child());
  }
}

TEST_CASE("the last number that the limit on descriptors allows can be kept") {
  test::Unchanged unchanged;
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  int const last = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1'000'000)) - 1;
  Command const look = Command{"sh", "-c", "test -e /proc/self/fd/$0", std::to_string(last)}.keep_fd(0, last);
  CHECK(run({}, look).status == ExitStatus::exited(0));
}

// --- The environment of a program

TEST_CASE("a program inherits the environment unless told otherwise") {
  Variable const variable("CLOISTER_TEST_A", "1");
  CHECK(environment_of({}).contains("CLOISTER_TEST_A=1"));
  CHECK(environment_of({}).size() >= 2);
}

TEST_CASE("a cleared environment has nothing but what the command sets") {
  Variable const variable("CLOISTER_TEST_A", "1");
  Isolation const clear{.environment = Environment::clear()};
  CHECK(environment_of(clear).empty());
  CHECK(environment_of(clear, Command{"env"}.env("B", "2").env("C", "")) == std::set{"B=2"s, "C="s});
}

TEST_CASE("only the variables that are named stay, and a name is the whole name") {
  Variable const a("CLOISTER_TEST_A", "1");
  Variable const ab("CLOISTER_TEST_AB", "2");
  CHECK(environment_of({.environment = Environment::only({"CLOISTER_TEST_A", "CLOISTER_TEST_NONE"})}) ==
        std::set{"CLOISTER_TEST_A=1"s});
  CHECK(environment_of({.environment = Environment::only({})}).empty());
  CHECK(environment_of({.environment = Environment::only({"CLOISTER_TEST_A"})},
                       Command{"env"}.env("CLOISTER_TEST_B", "x=y")) ==
        std::set{"CLOISTER_TEST_A=1"s, "CLOISTER_TEST_B=x=y"s});
}

TEST_CASE("a variable of the command takes the place of the caller's, and the last word counts") {
  Variable const a("CLOISTER_TEST_A", "1");
  Variable const ab("CLOISTER_TEST_AB", "1");
  auto const variables = environment_of(
      {}, Command{"env"}.env("CLOISTER_TEST_A", "2").env("CLOISTER_TEST_A", "3").env("CLOISTER_TEST_A", ""));
  CHECK(variables.contains("CLOISTER_TEST_A="));
  CHECK(variables.contains("CLOISTER_TEST_AB=1"));
  int times = 0;
  for (std::string const& variable : variables) times += variable.rfind("CLOISTER_TEST_A=", 0) == 0;
  CHECK(times == 1);
}

// --- Where a program is looked for

TEST_CASE("a program is looked for in PATH, in its order") {
  test::TemporaryDirectory const first, second;
  CHECK(no_tool_in(first.path() + ":" + second.path()).code() == std::errc::no_such_file_or_directory);
  add_tool(second.path(), "second");
  CHECK(tool_in(first.path() + ":" + second.path()) == "second\n");
  CHECK(tool_in("/no/such/directory:/dev/null:" + second.path()) == "second\n");
  add_tool(first.path(), "first");
  CHECK(tool_in(first.path() + ":" + second.path()) == "first\n");
  CHECK(tool_in(second.path() + ":" + first.path()) == "second\n");
}

TEST_CASE("the PATH that counts is the one that the program will see") {
  test::TemporaryDirectory const directory;
  add_tool(directory.path(), "found");
  {
    std::string const before = ::getenv("PATH") != nullptr ? ::getenv("PATH") : "";
    REQUIRE(::setenv("PATH", directory.path().c_str(), 1) == 0);
    CHECK(run({}, Command{"tool"}.env("X", "1")).out == "found\n");
    CHECK(run({.environment = Environment::only({"PATH"})}, Command{"tool"}).out == "found\n");
    Isolation const clear{.environment = Environment::clear()};
    CHECK(test::caught<Error>([&] { (void)run(clear, Command{"tool"}); }).code() ==
          std::errc::no_such_file_or_directory);
    REQUIRE(::setenv("PATH", before.c_str(), 1) == 0);
  }
  CHECK(run({.environment = Environment::clear()}, Command{"tool"}.env("PATH", directory.path())).out == "found\n");
}

TEST_CASE("without PATH the usual places are looked at, and PATH is not set for the program") {
  CHECK(environment_of({.environment = Environment::clear()}, Command{"env"}).empty());
}

TEST_CASE("an empty element of PATH is the directory that the program starts in") {
  test::TemporaryDirectory const directory;
  add_tool(directory.path(), "here");
  for (char const* const path : {"", ":", ":/nowhere", "/nowhere:", "/nowhere::/nowhere", "."}) {
    CAPTURE(path);
    CHECK(tool_in(path, directory.path()) == "here\n");
  }
  CHECK(no_tool_in("/nowhere", directory.path()).code() == std::errc::no_such_file_or_directory);
}

TEST_CASE("a name with a slash is not looked for in PATH, and starts from the program's directory") {
  test::TemporaryDirectory const directory;
  add_tool(directory.path(), "here");
  CHECK(run({}, Command{"./tool"}.cwd(directory.path())).out == "here\n");
  CHECK(run({}, Command{directory / "tool"}).out == "here\n");
  Error const error =
      test::caught<Error>([&] { (void)run({}, Command{"./tool"}.env("PATH", directory.path()).cwd("/")); });
  CHECK(error.code() == std::errc::no_such_file_or_directory);
}

TEST_CASE("what may not be executed is passed over, and named if there is nothing better") {
  test::TemporaryDirectory const first, second;
  add_tool(first.path(), "not executable", 0644);
  Error const error = no_tool_in(first.path() + ":/nowhere");
  CHECK(error.code() == std::errc::permission_denied);
  CHECK(error.step() == "execve");
  add_tool(second.path(), "second");
  CHECK(tool_in(first.path() + ":" + second.path()) == "second\n");
}

TEST_CASE("a directory of the program's name is passed over") {
  test::TemporaryDirectory const first, second;
  REQUIRE(::mkdir((first / "tool").c_str(), 0755) == 0);
  add_tool(second.path(), "second");
  CHECK(tool_in(first.path() + ":" + second.path()) == "second\n");
  CHECK(no_tool_in(first.path()).code() == std::errc::permission_denied);
}

TEST_CASE("the first program found is the one, also if it is broken: no shell guesses what it may be") {
  test::TemporaryDirectory const first, second;
  write_file(first / "tool", "echo a shell would run this\n", 0755);
  add_tool(second.path(), "second");
  Error const error = no_tool_in(first.path() + ":" + second.path());
  CHECK(error.code() == std::errc::executable_format_error);
  CHECK(error.step() == "execve");
  CHECK(error.in_child());
  CHECK(test::contains(error.what(), ", (in the child): Exec format error"));
}

TEST_CASE("a script whose interpreter is missing is not found, and the text says what was tried") {
  test::TemporaryDirectory const directory;
  write_file(directory / "tool", "#!/no/such/interpreter\n", 0755);
  Error const error = no_tool_in(directory.path());
  CHECK(error.code() == std::errc::no_such_file_or_directory);
  CHECK(test::contains(error.what(), "cloister: execve tool (in the child): No such file or directory"));
  CHECK(test::contains(error.what(), "(the program is there, but not the interpreter or loader that it names)"));
  CHECK_FALSE(test::contains(no_tool_in("/nowhere").what(), "interpreter"));
}
