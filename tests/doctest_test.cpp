#include <cloister/probe.hpp>

#include "caught.hpp"
#include "doctest_cases.hpp"
#include "support.hpp"

using cloister::Command, cloister::Isolation, cloister::Output;
using namespace std::chrono_literals;
namespace ns = cloister::flags;
using namespace test;

namespace {

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += by.size()) text.replace(at, what.size(), by);
  return text;
}
std::size_t occurrences(std::string_view text, std::string_view of) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(of, at)) != text.npos; at += of.size()) ++count;
  return count;
}
// As doctest pads them.
std::string without_padding(std::string text) {
  while (contains(text, "  ")) text = replaced(text, "  ", " ");
  return text;
}

// This program again, for the cases of a suite that are not run otherwise.
Command command_for(std::string const& suite, std::vector<std::string> const& options) {
  std::vector<std::string> words{"/proc/self/exe", "--no-skip", "--no-colors", "-ntio", "-nss", "-ts=" + suite};
  words.insert(words.end(), options.begin(), options.end());
  return Command(std::move(words));
}
struct Said {
  std::string text;
  int code;
};
// What doctest has said of them, without the lines of our own runner, and without what tells the two kinds of cases
// apart.
Said run_cases(std::string const& suite, std::vector<std::string> const& options, Isolation const& isolation = {},
               std::optional<Command> command = std::nullopt) {
  Output const output = cloister::run(isolation, command ? *command : command_for(suite, options), {.timeout = 100s});
  REQUIRE(!output.timed_out);
  std::string text = output.out.substr(0, output.out.find("cloister-tests:"));
  text = text.substr(0, text.rfind("\nskipped: ") == text.npos ? text.size() : text.find("\nskipped: ") + 1);
  text = replaced(replaced(replaced(text, ", isolated", ", in place"), "TEST SUITE: isolated", "TEST SUITE: in place"),
                  "name=\"isolated\"", "name=\"in place\"");
  return {text + output.err, output.status.code().value_or(-1)};
}

// The first lines that differ; empty if none do.
std::string first_difference(std::string const& a, std::string const& b) {
  std::istringstream first(a), second(b);
  for (int number = 1;; ++number) {
    std::string one, other;
    bool const more = static_cast<bool>(std::getline(first, one)),
               also = static_cast<bool>(std::getline(second, other));
    if (!more && !also) return "";
    if (more != also || one != other)
      return "line " + std::to_string(number) + ": \"" + one.substr(0, 200) + "\" and \"" + other.substr(0, 200) + "\"";
  }
}

// What the console says of a case, from its heading to the next.
std::string part_of(std::string const& text, std::string const& name) {
  std::string part;
  std::string const heading = "TEST CASE:  " + name + "\n";
  for (std::size_t at = 0; (at = text.find(heading, at)) != text.npos; ++at)
    part += text.substr(at, text.find("=====", at) - at);
  return part;
}

}  // namespace

TEST_CASE(
    "doctest says the same of a body in a child as of one in place: by every reporter, in this order, with the counts "
    "and the output") {
  std::vector<std::vector<std::string>> const ways{{},
                                                   {"-r=xml"},
                                                   {"-r=junit"},
                                                   {"-r=console,junit"},
                                                   {"-s", "-tce=many*"},
                                                   {"-r=xml", "-s", "-tce=many*"},
                                                   {"-aa=2"},
                                                   {"-sc=one"},
                                                   {"-sce=one"},
                                                   {"-nt"}};
  for (auto const& options : ways) {
    std::string about;
    for (std::string const& option : options) about += option + ' ';
    CAPTURE(about);
    Said const here = run_cases("in place", options), there = run_cases("isolated", options);
    CHECK(first_difference(here.text, there.text) == "");
    CHECK(there.code == here.code);
  }
}

TEST_CASE("and what it says is what happened") {
  std::string const said = run_cases("isolated", {}).text;
  CHECK(contains(part_of(said, "all fail, in place"), "values: CHECK( <text> & \"quotes\" == other )"));
  CHECK(contains(part_of(said, "all fail, in place"), "elsewhere.cpp:42: ERROR: said of elsewhere"));
  CHECK(contains(part_of(said, "contexts, in place"),
                 "logged: around all\n          i := 1\n          a text of two\nlines"));
  CHECK(contains(part_of(said, "throws something else, in place"), "translated 42"));
  CHECK(contains(part_of(said, "throws in contexts, in place"),
                 "THREW exception: escaped\n  logged: outer\n          inner"));
  CHECK(part_of(said, "all pass, in place").empty());
  CHECK(contains(said, "assertions: "));
}

TEST_CASE("a listener of the user's own hears of each assertion once") {
  auto const heard = [](char const* suite) {
    return occurrences(
        run_cases(suite, {"-r=none"}, {}, command_for(suite, {"-r=none"}).env("CASES_WITNESS", "1")).text, "witness: ");
  };
  std::size_t const there = heard("isolated");
  CHECK(there > 20);
  CHECK(there == heard("in place"));
}

TEST_CASE("a body that crashes, ends its process, hangs or cannot be had fails its case, and the report says how") {
  Said const said = run_cases("endings", {});
  auto const of = [&](char const* name) { return part_of(said.text, name); };
  CHECK(said.code == 1);
  CHECK(contains(of("crash"), "values: CHECK( 1 == 2 )"));
  CHECK(contains(of("crash"), "the child ended by signal 11 (SIGSEGV) before the body was done; last heard at "));
  CHECK(contains(of("exit"), "the child exited with status 0 before the body was done"));
  CHECK(contains(of("_exit"), "the child exited with status 3 before the body was done"));
  CHECK(contains(of("pthread_exit"), "the child exited with status 0 before the body was done"));
  CHECK(contains(of("decorated"), "values: CHECK( 1 == 3 )"));
  CHECK(contains(of("decorated"), "the body timed out and was killed"));
  CHECK(contains(of("decorated"), "exceeded time limit of 0.2"));
  CHECK(contains(of("limited"), "the body timed out and was killed"));
  CHECK(!contains(of("limited"), "CHECK( false )"));
  CHECK(contains(of("for ever"), "the body timed out and was killed"));
  CHECK(contains(of("a contradiction"), "hostname without uts"));
  CHECK(contains(of("a subcase of a file that knows nothing of us"),
                 "SUBCASE(\"unannounced\") in an isolated body: elsewhere.cpp must include"));
  if (can_unshare_user()) {
    CHECK(contains(of("abort as PID 1"),
                   "signal 11 (SIGSEGV) before the body was done (for a PID 1 that is how abort() ends, too)"));
    CHECK(contains(of("no such file"), "bind /no/such/file on /tmp (in the child): No such file or directory"));
    CHECK(contains(without_padding(said.text), "test cases: 11 | 0 passed | 11 failed"));
    std::string const junit = run_cases("endings", {"-r=junit"}).text;
    CHECK(occurrences(junit, "<error message=\"exception\">") == 11);
    CHECK(occurrences(junit, "<failure ") == 2);
  }
}

TEST_CASE("assertions reach the parent whatever the body does to its process") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  std::string const said = run_cases("circumstances", {}).text;
  for (std::string const text :
       {"without descriptors", "none inherited", "in a fork", "in a fork that returns", "in the next subcase", "after a killed one",
        "inner further", "one way further in", "another way further in",
        "in a subcase of the body", "run 1", "run 2", "untrusted"})
    CHECK_MESSAGE(occurrences(said, "values: CHECK( " + text + " ==  )") == 1, text);
  CHECK(contains(part_of(said, "isolates further"), "logged: around\n          within\n"));
  CHECK(contains(part_of(said, "within subcases and contexts"), "logged: of the case\n"));
  CHECK(contains(without_padding(said), "test cases: 10 | 1 passed | 9 failed"));
}

TEST_CASE(
    "where there is no isolation a case is skipped with the reason, and is counted so, or fails if it must not be") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces to take them away in");
  Isolation const limited{.unshare = ns::user, .ids = cloister::IdMap::root()};
  auto const run = [&](std::string const& options) {
    Command const command{
        "sh", "-c",
        "echo 0 >/proc/sys/user/max_user_namespaces && exec /proc/self/fd/9 --no-skip -nc -ts=worlds " + options};
    FILE* const self = std::fopen("/proc/self/exe", "re");
    Command const with_self = Command(command).keep_fd(::fileno(self), 9);
    Said const said = run_cases("", {}, limited, with_self);
    std::fclose(self);
    return said;
  };
  Said const said = run("");
  CHECK(said.code == 0);
  CHECK(contains(part_of(said.text, "everything at once"), "MESSAGE: skipped: "));
  CHECK(contains(part_of(said.text, "in part"), "user.max_user_namespaces is 0"));
  CHECK(contains(without_padding(said.text), "test cases: 1 | 1 passed | 0 failed | "));
  CHECK(contains(said.text, "assertions: 2 | 2 passed | 0 failed |"));
  // Those that were not asked for are skipped as well.
  auto const skipped = [](std::string const& xml) { return std::stoi(xml.substr(xml.rfind("skipped=\"") + 9)); };
  CHECK(skipped(run("-r=xml").text) ==
        skipped(cloister::run({}, Command{"/proc/self/exe", "--no-skip", "-ts=worlds", "-r=xml"}).out) + 2);

  ::setenv("CLOISTER_REQUIRE_ISOLATION", "1", 1);
  Said const required = run("");
  ::unsetenv("CLOISTER_REQUIRE_ISOLATION");
  CHECK(required.code == 1);
  CHECK(contains(part_of(required.text, "in part"), "CLOISTER_REQUIRE_ISOLATION is set: "));
  CHECK(contains(without_padding(required.text), "test cases: 3 | 1 passed | 2 failed"));
}

TEST_CASE("ten copies at once are not in each other's way") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  std::vector<cloister::ChildProcess<cloister::ExitStatus()>> copies;
  for (int i = 0; i < 10; ++i)
    copies.emplace_back(Isolation{}, command_for("worlds", {"-q"})
                                         .stdio({.out = cloister::Redirect::null()})
                                         .env("CLOISTER_REQUIRE_ISOLATION", "1"));
  for (auto& copy : copies) CHECK(copy.get() == cloister::ExitStatus::exited(0));
}

#ifdef CASES_LEAKS_ARE_SEEN
TEST_CASE("what a body leaks is its failure") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  std::string const said =
      run_cases("leaks", {}, {}, command_for("leaks", {}).env("ASAN_OPTIONS", "detect_leaks=1")).text;
  CHECK(contains(part_of(said, "leaks"), "the body leaked memory"));
  CHECK(contains(part_of(said, "leaks and throws"), "THREW exception: with a leak; cloister: the body leaked memory"));
  CHECK(contains(without_padding(said), "test cases: 3 | 1 passed | 2 failed"));
}
#endif

TEST_CASE("outside of a test case there is nothing to be a part of") {
  std::string what;
  CHECK(in_fork([&] {
          doctest::is_running_in_test = false;
          try {
            cloister::isolated({}, [] {});
          } catch (std::logic_error const& error) {
            return contains(error.what(), "not in a test case");
          }
          return false;
        }) == 0);
}
