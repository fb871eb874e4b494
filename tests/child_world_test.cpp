// The world that a callable finds itself in: signals, environment, descriptors, session, and each of the namespaces.
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <climits>
#include <cloister/run.hpp>
#include <ctime>
#include <map>
#include <set>

#include "caught.hpp"
#include "kinds.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
namespace ns = cloister::flags;
using cloister::CloneFlags, cloister::Command, cloister::Descriptors, cloister::Environment, cloister::Error,
    cloister::IdMap, cloister::Init, cloister::Isolation, cloister::Loopback, cloister::NamespaceType, cloister::run,
    cloister::Session;
using test::callables, test::caught, test::Kind, test::user_namespaces;

namespace {

// Those types, which only root gets without a user namespace.
CloneFlags anew(CloneFlags flags) { return test::is_root() ? flags : flags | ns::user; }
bool may_unshare() { return test::is_root() || user_namespaces(); }
bool has(NamespaceType type) { return ::access(("/proc/self/ns/"s + to_string(type)).c_str(), F_OK) == 0; }

// All types that this machine has, without user for root.
CloneFlags every_type() {
  CloneFlags flags;
  for (NamespaceType const type : cloister::all_namespace_types)
    if (has(type) && (type != ns::user || user_namespaces())) flags |= type;
  return flags;
}

std::map<std::string, std::string> own_namespaces() {
  std::map<std::string, std::string> links;
  for (NamespaceType const type : cloister::all_namespace_types)
    links[to_string(type)] = test::detail::link_target("/proc/self/ns/"s + to_string(type));
  return links;
}

std::string host_name() {
  utsname name{};
  ::uname(&name);
  return name.nodename;
}
std::string domain_name() {
  utsname name{};
  ::uname(&name);
  return name.domainname;
}

struct Ids {
  std::array<std::uint32_t, 3> uids{}, gids{};
  std::vector<std::uint32_t> groups{};
  friend bool operator==(Ids const&, Ids const&) = default;
};
Ids own_ids() {
  Ids ids;
  ::getresuid(&ids.uids[0], &ids.uids[1], &ids.uids[2]);
  ::getresgid(&ids.gids[0], &ids.gids[1], &ids.gids[2]);
  ids.groups.resize(static_cast<std::size_t>(::getgroups(0, nullptr)));
  (void)::getgroups(static_cast<int>(ids.groups.size()), ids.groups.data());
  return ids;
}
Ids all_of(std::uint32_t uid, std::uint32_t gid) { return {{uid, uid, uid}, {gid, gid, gid}, {}}; }

// The map as words: "0 1000 1".
std::string map_in(std::string const& path) {
  std::istringstream words(test::read_file(path));
  std::string text;
  for (std::string word; words >> word;) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::chrono::nanoseconds clock_now(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

// How far the clock of a child is ahead of ours, at least and at most.
struct Ahead {
  std::chrono::nanoseconds least, most;
};
Ahead ahead(Isolation const& isolation, clockid_t clock) {
  auto const before = clock_now(clock);
  auto const there = run(isolation, [clock] { return clock_now(clock); });
  auto const after = clock_now(clock);
  return {there - after, there - before};
}
void check_ahead(Isolation const& isolation, clockid_t clock, std::chrono::nanoseconds expected) {
  Ahead const found = ahead(isolation, clock);
  CHECK(found.least <= expected);
  CHECK(expected <= found.most);
}

bool loopback_is_up() {
  int const fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  bool const known = ::ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  ::close(fd);
  return known && (request.ifr_flags & IFF_UP) != 0;
}

// The descriptors above 2 that are open, and where they lead.
std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> open;
  for (std::string const& name : test::detail::names_in("/proc/self/fd"))
    if (std::stoi(name) > 2) open[std::stoi(name)] = test::detail::link_target("/proc/self/fd/" + name);
  return open;
}
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

struct Variable {
  Variable(char const* variable, char const* value) : name(variable) { ::setenv(variable, value, 1); }
  ~Variable() { ::unsetenv(name); }
  Variable(Variable const&) = delete;
  char const* name;
};
std::set<std::string> own_environment() {
  std::set<std::string> variables;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) variables.insert(*entry);
  return variables;
}

}  // namespace

// --- Signals

TEST_CASE("a callable starts with every signal at its default and none blocked, whatever the host has") {
  std::vector<Kind> const some = callables();
  for (test::Where const where : test::everywhere) {
    int const status = test::expectations([&] {
      ::signal(SIGPIPE, SIG_IGN);
      ::signal(SIGINT, SIG_IGN);
      ::signal(SIGUSR1, [](int) {});
      ::signal(SIGRTMIN + 3, [](int) {});
      ::signal(SIGRTMAX, SIG_IGN);
      sigset_t most;
      ::sigfillset(&most);
      ::pthread_sigmask(SIG_BLOCK, &most, nullptr);
      ::raise(SIGUSR2);  // pending here, and not there
      for (Kind const& kind : some) {
        test::about = kind.name + test::name_of(where);
        auto const odd = test::on(where, [&] {
          return run(kind.isolation(), [] {
            std::vector<int> others;
            for (int signal = 1; signal <= SIGRTMAX; ++signal) {
              struct sigaction now {};
              if (::sigaction(signal, nullptr, &now) == 0 && now.sa_handler != SIG_DFL) others.push_back(signal);
            }
            sigset_t set;
            ::pthread_sigmask(SIG_BLOCK, nullptr, &set);
            for (int signal = 1; signal <= SIGRTMAX; ++signal)
              if (::sigismember(&set, signal) == 1) others.push_back(1000 + signal);
            ::sigpending(&set);
            for (int signal = 1; signal <= SIGRTMAX; ++signal)
              if (::sigismember(&set, signal) == 1) others.push_back(2000 + signal);
            return others;
          });
        });
        // A PID 1 notices by it that its parent has died, if not the main thread has started it.
        bool const watched = where == test::Where::other_thread && kind.new_pid() && !kind.reaper();
        EXPECT(odd == (watched ? std::vector<int>{SIGIO, SIGRTMAX} : std::vector<int>{}));
      }
    });
    CHECK(status == 0);
  }
}

TEST_CASE("a start leaves the host's signals as they were") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) CHECK(test::answer(kind) == 42);
}

// --- Environment

TEST_CASE("a callable finds the environment that was asked for, and may change it for itself") {
  Variable const a("CLOISTER_TEST_A", "1");
  Variable const ab("CLOISTER_TEST_AB", "2");
  auto const host = own_environment();
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    CHECK(run(isolation, own_environment) == host);
    isolation.environment = Environment::clear();
    CHECK(run(isolation, own_environment).empty());
    isolation.environment = Environment::only({"CLOISTER_TEST_A", "CLOISTER_TEST_NONE"});
    CHECK(run(isolation, own_environment) == std::set{"CLOISTER_TEST_A=1"s});
    CHECK(run(isolation, [] {
            ::setenv("CLOISTER_TEST_B", "3", 1);
            ::setenv("CLOISTER_TEST_A", "4", 1);
            ::unsetenv("CLOISTER_TEST_NONE");
            return std::string(::getenv("CLOISTER_TEST_A")) + std::to_string(own_environment().size());
          }) == "42");
  }
  CHECK(own_environment() == host);
}

// --- Descriptors

TEST_CASE("a callable keeps the host's descriptors, under the same numbers") {
  int const fd = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(run(kind.isolation(), [fd] { return test::detail::link_target("/proc/self/fd/" + std::to_string(fd)); }) ==
          "/dev/zero");
  }
  ::close(fd);
}

TEST_CASE("a callable that is to have no descriptors has none of the host's, and /dev/null as streams") {
  int const low = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  int const high = ::fcntl(low, F_DUPFD, 500);
  for (test::Where const where : test::everywhere)
    for (Kind const& kind : callables()) {
      CAPTURE(kind.name);
      Isolation isolation = kind.isolation();
      isolation.descriptors = Descriptors::none();
      auto const found = test::on(where, [&] {
        return run(isolation, [=] {
          std::vector<std::string> leads;
          for (int stream = 0; stream < 3; ++stream)
            leads.push_back(test::detail::link_target("/proc/self/fd/" + std::to_string(stream)));
          if (is_open(low) || is_open(high)) leads.emplace_back("one of the host's");
          for (auto const& [number, target] : open_descriptors())
            if (target.rfind("socket:", 0) != 0 && target.rfind("pipe:", 0) != 0) leads.push_back(target);
          if (open_descriptors().size() > 2) leads.emplace_back("too many");  // our own socket and pipe
          return leads;
        });
      });
      CHECK(found == std::vector<std::string>(3, "/dev/null"));
    }
  ::close(low);
  ::close(high);
}

TEST_CASE("a callable that is to have only some descriptors has those, and the streams only if they are among them") {
  int const wanted = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  int const other = ::dup(wanted);
  int const high = ::fcntl(wanted, F_DUPFD_CLOEXEC, 700);
  std::string const out = test::detail::link_target("/proc/self/fd/1");
  for (test::Where const where : test::everywhere)
    for (Kind const& kind : callables()) {
      CAPTURE(kind.name);
      Isolation isolation = kind.isolation();
      isolation.descriptors = Descriptors::only({high, 1, wanted, wanted});
      auto const found = test::on(where, [&] {
        return run(isolation, [=] {
          auto const leads = [](int fd) { return test::detail::link_target("/proc/self/fd/" + std::to_string(fd)); };
          return std::vector{leads(0),      leads(1),    leads(2),
                             leads(wanted), leads(high), is_open(other) ? "open"s : "closed"s};
        });
      });
      CHECK(found == std::vector{"/dev/null"s, out, "/dev/null"s, "/dev/zero"s, "/dev/zero"s, "closed"s});
    }
  for (int const fd : {wanted, other, high}) ::close(fd);
}

TEST_CASE("a result comes back without any descriptors, also a large one") {
  for (Kind const& kind : callables()) {
    Isolation isolation = kind.isolation();
    isolation.descriptors = Descriptors::none();
    CHECK(run(isolation, [] { return std::string(1 << 20, 'x'); }).size() == 1 << 20);
    CHECK_THROWS_AS(run(isolation, [] { throw 1; }), cloister::ChildThrew);
  }
}

// --- Session

TEST_CASE("a callable stays in the host's session unless it is to have a fresh one, which has no terminal") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    struct Seen {
      pid_t session, group, self;
      bool has_terminal;
    };
    auto const look = [] {
      int const terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
      return Seen{::getsid(0), ::getpgrp(), ::getpid(), terminal >= 0};
    };
    Seen const inherited = run(isolation, look);
    CHECK(inherited.session == (kind.new_pid() ? 0 : ::getsid(0)));  // 0: outside of what can be seen
    isolation.session = Session::fresh;
    Seen const fresh = run(isolation, look);
    CHECK(fresh.session == (kind.reaper() ? 1 : fresh.self));
    CHECK(fresh.group == fresh.session);
    CHECK_FALSE(fresh.has_terminal);
  }
}

// --- Namespaces

TEST_CASE("each type alone is new for the child, and all others are the host's") {
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  auto const host = own_namespaces();
  for (NamespaceType const type : every_type()) {
    CloneFlags const flags = anew(type);
    CAPTURE(to_string(flags));
    auto const child = run({.unshare = flags}, own_namespaces);
    for (NamespaceType const other : cloister::all_namespace_types) {
      CAPTURE(to_string(other));
      CHECK((child.at(to_string(other)) != host.at(to_string(other))) == flags.contains(other));
    }
  }
  CHECK(own_namespaces() == host);
}

TEST_CASE("all types at once are new for the child, with a reaper too, and a program likewise") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  test::Unchanged unchanged;
  auto const host = own_namespaces();
  for (Init const init : {Init::none, Init::reaper}) {
    Isolation const isolation{
        .unshare = every_type(), .hostname = "everything", .session = Session::fresh, .init = init};
    auto const child = run(isolation, own_namespaces);
    for (NamespaceType const type : every_type()) CHECK(child.at(to_string(type)) != host.at(to_string(type)));
    std::istringstream lines(run(isolation, Command{"sh", "-c", "readlink /proc/self/ns/*"}).out);
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count)
      for (NamespaceType const type : every_type()) CHECK(line != host.at(to_string(type)));
    CHECK(count >= static_cast<int>(every_type().size()));
  }
}

TEST_CASE("root needs no user namespace") {
  SKIP_UNLESS(test::is_root(), "only root may have namespaces without a user namespace");
  CHECK(run({.unshare = every_type() - ns::user, .hostname = "box"}, host_name) == "box");
}

TEST_CASE(
    "without privilege and without a user namespace the kernel refuses, and the error names step, types and remedy") {
  SKIP_UNLESS(!test::is_root(), "root may");
  test::Unchanged unchanged;
  Error const inside = caught<Error>([] { run({.unshare = ns::uts | ns::ipc}, [] {}); });
  CHECK(inside.code() == std::errc::operation_not_permitted);
  CHECK(inside.step() == "unshare");
  CHECK(inside.in_child());
  CHECK(test::contains(inside.what(), "cloister: unshare ipc|uts (in the child): Operation not permitted"));
  Error const middle = caught<Error>([] { run({.unshare = ns::pid}, [] {}); });
  CHECK(middle.code() == std::errc::operation_not_permitted);
  CHECK(middle.step() == "clone3");
  Error const program = caught<Error>([] { (void)run({.unshare = ns::uts}, Command{"true"}); });
  CHECK(program.code() == std::errc::operation_not_permitted);
  CHECK(program.step() == "clone3");
  CHECK_FALSE(program.in_child());
}

// --- uts

TEST_CASE("a child has the names that it is given, up to the longest, and the host keeps its own") {
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  std::string const host = host_name(), domain = domain_name();
  CloneFlags const flags = anew(ns::uts);
  CHECK(run({.unshare = flags}, host_name) == host);
  CHECK(run({.unshare = flags, .hostname = "box"}, host_name) == "box");
  CHECK(run({.unshare = flags, .hostname = "box"}, domain_name) == domain);
  CHECK(run({.unshare = flags, .domainname = "example"}, domain_name) == "example");
  CHECK(run({.unshare = flags, .hostname = std::string(64, 'x'), .domainname = std::string(64, 'y')},
            [] { return host_name() + domain_name(); }) == std::string(64, 'x') + std::string(64, 'y'));
  CHECK(run({.unshare = flags, .hostname = "", .domainname = ""}, [] { return host_name() + domain_name(); }).empty());
  CHECK(run({.unshare = flags | ns::pid, .hostname = "box"}, host_name) == "box");
  CHECK(run({.unshare = flags, .hostname = "box"}, Command{"uname", "-n"}).out == "box\n");
  CHECK(host_name() == host);
  CHECK(domain_name() == domain);
}

// --- pid

TEST_CASE("a callable is PID 1 of a new pid namespace, or PID 2 under a reaper, and its parent is not to be seen") {
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  auto const pids = [] { return std::pair{::getpid(), ::getppid()}; };
  CHECK(run({.unshare = anew(ns::pid)}, pids) == std::pair{1, 0});
  CHECK(run({.unshare = anew(ns::pid), .init = Init::reaper}, pids) == std::pair{2, 1});
}

TEST_CASE("a callable has one thread, which is its main thread") {
  for (Kind const& kind : callables())
    CHECK(run(kind.isolation(),
              [] { return ::gettid() == ::getpid() && test::detail::names_in("/proc/self/task").size() == 1; }));
}

// --- net

TEST_CASE("the loopback interface of a new network is up unless it is to be down") {
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  CHECK(run({.unshare = anew(ns::net)}, loopback_is_up));
  CHECK_FALSE(run({.unshare = anew(ns::net), .loopback = Loopback::down}, loopback_is_up));
  CHECK(run({.unshare = anew(ns::net | ns::pid), .init = Init::reaper}, loopback_is_up));
  CHECK(run({.unshare = anew(ns::net)}, Command{"cat", "/proc/net/dev"}).out.find("lo:") != std::string::npos);
}

// --- time

TEST_CASE("the clocks of a new time namespace are as far ahead as asked, with and without a pid namespace") {
  SKIP_UNLESS(has(ns::time), "no time namespaces before Linux 5.6");
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  auto const host = clock_now(CLOCK_MONOTONIC);
  for (CloneFlags const flags : {anew(ns::time), anew(ns::time | ns::pid)})
    for (Init const init : {Init::none, Init::reaper}) {
      if (init == Init::reaper && !flags.contains(ns::pid)) continue;
      CAPTURE(to_string(flags));
      Isolation isolation{.unshare = flags, .clock = {.monotonic = 24h, .boottime = 1000h + 1ns}, .init = init};
      check_ahead(isolation, CLOCK_MONOTONIC, 24h);
      check_ahead(isolation, CLOCK_BOOTTIME, 1000h + 1ns);
      check_ahead(isolation, CLOCK_REALTIME, 0ns);
      isolation.clock = {.monotonic = -1500ms, .boottime = -1ns};
      check_ahead(isolation, CLOCK_MONOTONIC, -1500ms);
      check_ahead(isolation, CLOCK_BOOTTIME, -1ns);
      isolation.clock = {};
      check_ahead(isolation, CLOCK_MONOTONIC, 0ns);
      auto const name = run(isolation, [] { return test::detail::link_target("/proc/self/ns/time"); });
      CHECK(name != test::detail::link_target("/proc/self/ns/time"));
    }
  CHECK(clock_now(CLOCK_MONOTONIC) - host < 1h);
}

TEST_CASE("a program has its clocks from its beginning") {
  SKIP_UNLESS(has(ns::time), "no time namespaces before Linux 5.6");
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  for (CloneFlags const flags : {anew(ns::time), anew(ns::time | ns::pid)}) {
    Isolation const isolation{.unshare = flags, .clock = {.boottime = std::chrono::hours{24 * 3650}}};
    double const uptime = std::stod(run(isolation, Command{"cat", "/proc/uptime"}).out);
    CHECK(uptime > 3650 * 86400.0);
    CHECK(uptime < 3650 * 86400.0 + std::chrono::duration<double>(clock_now(CLOCK_BOOTTIME)).count() + 60);
  }
}

TEST_CASE("a program's clocks are as far ahead as asked, to the nanosecond") {
  SKIP_UNLESS(has(ns::time), "no time namespaces before Linux 5.6");
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  for (test::Where const where : test::everywhere)
    for (Init const init : {Init::none, Init::reaper}) {
      Isolation const isolation{
          .unshare = anew(ns::time | ns::pid), .clock = {.monotonic = 24h + 1ns, .boottime = -1500ms}, .init = init};
      std::istringstream shown(test::on(where, [&] {
        return run(isolation, Command{"cat", "/proc/self/timens_offsets"}).out;
      }));
      std::string words;
      for (std::string word; shown >> word;) words += (words.empty() ? "" : " ") + word;
      CHECK(words == "monotonic 86400 1 boottime -2 500000000");
    }
}

TEST_CASE("clocks do not go back to before the boot") {
  SKIP_UNLESS(has(ns::time), "no time namespaces before Linux 5.6");
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  test::Unchanged unchanged;
  Isolation const isolation{.unshare = anew(ns::time), .clock = {.boottime = -std::chrono::hours{24 * 36500}}};
  for (Error const& error :
       {caught<Error>([&] { run(isolation, [] {}); }), caught<Error>([&] { (void)run(isolation, Command{"true"}); })}) {
    CHECK(error.code() == std::errc::result_out_of_range);
    CHECK(error.step() == "write timens_offsets");
    CHECK(error.in_child());
    CHECK(test::contains(error.what(), "boottime -3153600000 0"));
  }
}

TEST_CASE("clocks do not go further than the kernel lets them, and the error says so") {
  SKIP_UNLESS(has(ns::time), "no time namespaces before Linux 5.6");
  SKIP_UNLESS(may_unshare(), "no user namespace to be had");
  Isolation const isolation{.unshare = anew(ns::time), .clock = {.monotonic = std::chrono::nanoseconds::max()}};
  CHECK(caught<Error>([&] { run(isolation, [] {}); }).code() == std::errc::result_out_of_range);
}

// --- user

TEST_CASE("a child in a new user namespace is the caller by default, and root where asked") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  std::uint32_t const uid = ::geteuid(), gid = ::getegid();
  std::string const self = std::to_string(uid) + " " + std::to_string(uid) + " 1";
  for (CloneFlags const flags : {CloneFlags{ns::user}, ns::user | ns::pid}) {
    CAPTURE(to_string(flags));
    CHECK(run({.unshare = flags}, own_ids) == all_of(uid, gid));
    CHECK(run({.unshare = flags, .ids = IdMap::self()}, own_ids) == all_of(uid, gid));
    CHECK(run({.unshare = flags}, [] { return map_in("/proc/self/uid_map"); }) == self);
    CHECK(run({.unshare = flags, .ids = IdMap::root()}, own_ids) == all_of(0, 0));
    CHECK(run({.unshare = flags, .ids = IdMap::root()}, [] { return map_in("/proc/self/gid_map"); }) ==
          "0 " + std::to_string(gid) + " 1");
    CHECK(run({.unshare = flags, .ids = IdMap::root().as(0, 0)}, own_ids) == all_of(0, 0));
    CHECK(run({.unshare = flags, .ids = IdMap::root()}, Command{"id", "-u"}).out == "0\n");
    CHECK(run({.unshare = flags}, Command{"id", "-u"}).out == std::to_string(uid) + "\n");
  }
  CHECK(own_ids().uids[0] == uid);
}

TEST_CASE("anyone may map the own ids to any") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  IdMap const map = IdMap::ranges({{7, ::geteuid()}}, {{8, ::getegid()}});
  CHECK(run({.unshare = ns::user, .ids = map}, own_ids) == all_of(7, 8));
  CHECK(run({.unshare = ns::user | ns::pid, .ids = map}, own_ids) == all_of(7, 8));
  CHECK(run({.unshare = ns::user, .ids = map}, Command{"sh", "-c", "echo $(id -u) $(id -g)"}).out == "7 8\n");
}

TEST_CASE("root may map ranges: the child is 0 inside, or the start of the first, or whom as() says") {
  SKIP_UNLESS(test::is_root(), "only root may map ids that are not its own");
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  test::Unchanged unchanged;
  IdMap const with_root = IdMap::ranges({{1000, 300000, 10}, {0, 100000, 1000}}, {{0, 100000, 1000}});
  IdMap const map = IdMap::ranges({{5, 100005, 10}, {100, 200000, 5}}, {{50, 100050, 10}});
  for (CloneFlags const flags : {CloneFlags{ns::user}, ns::user | ns::pid}) {
    CAPTURE(to_string(flags));
    CHECK(run({.unshare = flags, .ids = with_root}, own_ids) == all_of(0, 0));
    CHECK(run({.unshare = flags, .ids = map}, own_ids) == all_of(5, 50));
    CHECK(run({.unshare = flags, .ids = map.as(104, 59)}, own_ids) == all_of(104, 59));
    CHECK(run({.unshare = flags, .ids = map.as(104, 59)}, [] { return map_in("/proc/self/uid_map"); }) ==
          "5 100005 10 100 200000 5");
    CHECK(run({.unshare = flags, .ids = map.as(6, 51)}, Command{"sh", "-c", "echo $(id -u) $(id -g) $(id -G)"}).out ==
          "6 51 51\n");
  }
}

TEST_CASE("root's supplementary groups do not go along") {
  SKIP_UNLESS(test::is_root(), "only root has groups to drop");
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  int const status = test::expectations([] {
    gid_t const groups[] = {0, 4, 100100};
    EXPECT(::setgroups(3, groups) == 0);
    EXPECT(run({.unshare = ns::user}, own_ids).groups.empty());
    EXPECT(
        run({.unshare = ns::user, .ids = IdMap::ranges({{0, 100000, 5}}, {{0, 100000, 500}})}, own_ids).groups.empty());
    EXPECT(own_ids().groups.size() == 3);
  });
  CHECK(status == 0);
}

TEST_CASE("ids that the caller may not map are an Error that names the map, and nothing stays behind") {
  SKIP_UNLESS(!test::is_root(), "root may map any");
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  test::Unchanged unchanged;
  std::uint32_t const uid = ::geteuid(), gid = ::getegid();
  IdMap const bad_uids = IdMap::ranges({{0, 100000, 65536}}, {{0, gid}});
  IdMap const bad_gids = IdMap::ranges({{0, uid}}, {{0, gid}, {1, 5}});
  for (CloneFlags const flags : {CloneFlags{ns::user}, ns::user | ns::pid}) {
    CAPTURE(to_string(flags));
    for (Error const& error :
         {caught<Error>([&] { run({.unshare = flags, .ids = bad_uids}, [] {}); }),
          caught<Error>([&] { (void)run({.unshare = flags, .ids = bad_uids}, Command{"true"}); })}) {
      CHECK(error.code() == std::errc::operation_not_permitted);
      CHECK(error.step() == "write uid_map");
      CHECK_FALSE(error.in_child());
      CHECK(test::contains(error.what(), "cloister: write uid_map \"0 100000 65536\": Operation not permitted"));
    }
    Error const gids = caught<Error>([&] { run({.unshare = flags, .ids = bad_gids}, [] {}); });
    CHECK(gids.step() == "write gid_map");
    CHECK(test::contains(gids.what(), "\"0 " + std::to_string(gid) + " 1,1 5 1\""));
  }
}

TEST_CASE("a child in a user namespace has every capability in it, whoever it is inside") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  auto const may_rename = [] { return ::sethostname("mine", 4) == 0 && host_name() == "mine"; };
  IdMap const nobody = IdMap::ranges({{7, ::geteuid()}}, {{8, ::getegid()}});
  for (CloneFlags const flags : {ns::user | ns::uts, ns::user | ns::uts | ns::pid}) {
    CHECK(run({.unshare = flags}, may_rename));
    CHECK(run({.unshare = flags, .ids = IdMap::root()}, may_rename));
    CHECK(run({.unshare = flags, .ids = nobody}, may_rename));
  }
}

TEST_CASE(
    "a child may look at itself in /proc; one that has changed its ids asks first, as its memory is a copy of the "
    "host's") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  std::optional<IdMap> ids;
  if (test::is_root()) ids = IdMap::ranges({{0, 100000, 1000}}, {{0, 100000, 1000}});
  auto const look = [changed = ids.has_value()] {
    if (changed && (::prctl(PR_GET_DUMPABLE) == 1 || ::prctl(PR_SET_DUMPABLE, 1) != 0)) return false;
    return ::access("/proc/self/fd", R_OK) == 0 && ::access("/proc/self/environ", R_OK) == 0 &&
           test::detail::link_target("/proc/self/exe") != "(none)";
  };
  CHECK(run({.unshare = ns::user, .ids = ids}, look));
  CHECK(run({.unshare = ns::user | ns::pid, .ids = ids}, look));
}

TEST_CASE("what a child makes belongs to the caller, through the map") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  test::TemporaryDirectory const directory;
  std::string const path = directory / "file";
  CHECK(run({.unshare = ns::user, .ids = IdMap::root()}, [&] {
    int const fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    struct stat facts {};
    return ::fstat(fd, &facts) == 0 && facts.st_uid == 0 && facts.st_gid == 0;
  }));
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK(facts.st_uid == ::geteuid());
}

TEST_CASE("user namespaces are nested until the kernel says no, and the error names the limit") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  struct Dive {
    int depth = 0;
    std::string operator()() {
      if (depth > 40) return "no end";
      try {
        return run({.unshare = ns::user}, Dive{depth + 1});
      } catch (Error const& error) {
        return std::to_string(depth) + " " + std::to_string(error.code().value()) + " " + error.what();
      }
    }
  };
  std::string const bottom = Dive{}();
  CAPTURE(bottom);
  int depth = 0, error = 0;
  std::istringstream(bottom) >> depth >> error;
  CHECK(depth >= 5);
  CHECK((error == ENOSPC || error == EUSERS || error == EPERM));
  CHECK(test::contains(bottom, "unshare user"));
  CHECK(test::contains(bottom, "32"));  // how deep they may be
}
