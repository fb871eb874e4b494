// Bodies of test cases, most of which fail as they should: each once in place, as doctest has it, and once in a child.
// doctest_test.cpp runs them as a program of their own and compares what doctest says of the two.
#pragma once

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cloister/cloister.hpp>
#include <cloister/doctest.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cases {

struct Untold {
  int value;
};
REGISTER_EXCEPTION_TRANSLATOR(Untold const& untold) {
  return doctest::String("translated ") + doctest::toString(untold.value);
}

[[noreturn]] inline int throws(char const* text) { throw std::runtime_error(text); }

inline void all_pass() {
  int const one = 1;
  CHECK(one == 1);
  CHECK_FALSE(one == 2);
  CHECK_EQ(one, 1);
  CHECK_UNARY(one != 0);
  REQUIRE(one < 2);
  CHECK_THROWS(throws("a"));
  CHECK_THROWS_AS(throws("a"), std::runtime_error);
  CHECK_THROWS_WITH(throws("a text"), "a text");
  CHECK_THROWS_WITH(throws("a text"), doctest::Contains("tex"));
  CHECK_THROWS_WITH_AS(throws("a text"), "a text", std::runtime_error);
  CHECK_THROWS_WITH_AS(throws("a text"), doctest::Contains("tex"), std::runtime_error);
  CHECK_NOTHROW((void)one);
  CHECK_MESSAGE(one == 1, "not said");
}

inline void all_fail() {
  int const one = 1;
  std::string const text = "<text> & \"quotes\"";
  WARN(one == 2);
  WARN_THROWS((void)one);
  CHECK(one == 2);
  CHECK(text == "other");
  CHECK_FALSE(one == 1);
  CHECK_EQ(one, 2);
  CHECK_NE(one, 1);
  CHECK_GT(one, 2);
  CHECK_UNARY(one == 2);
  CHECK_UNARY_FALSE(one == 1);
  CHECK(throws("thrown in an expression") == 1);
  CHECK_THROWS((void)one);
  CHECK_THROWS_AS(throws("a"), std::logic_error);
  CHECK_THROWS_AS((void)one, std::logic_error);
  CHECK_THROWS_WITH(throws("a text"), "another text");
  CHECK_THROWS_WITH(throws("a text"), doctest::Contains("another"));
  CHECK_THROWS_WITH((void)one, "a text");
  CHECK_THROWS_WITH_AS(throws("a text"), "a text", std::logic_error);
  CHECK_THROWS_WITH_AS(throws("a text"), "another text", std::runtime_error);
  CHECK_THROWS_WITH_AS(throws("a text"), doctest::Contains("another"), std::runtime_error);
  CHECK_NOTHROW(throws("not expected"));
  CHECK_NOTHROW(throw Untold{7});
  CHECK_MESSAGE(one == 2, "one is ", one);
  CHECK_MESSAGE(one == 1, "not said");
  FAIL_CHECK("said by ", "FAIL_CHECK");
  MESSAGE("said by ", "MESSAGE");
  ADD_FAIL_CHECK_AT("elsewhere.cpp", 42, "said of elsewhere");
  REQUIRE_MESSAGE(one == 2, "the last");
  CHECK(one == 3);
}

inline void fails_at_once() { FAIL("said by ", "FAIL"); }

inline void in_contexts() {
  INFO("around all");
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    std::string const text = "two\nlines";
    INFO("a text of ", text);
    CHECK(i != 1);
    if (i == 2) MESSAGE("with contexts");
  }
  CHECK(false);
}

inline void throws_in_contexts() {
  INFO("outer");
  CHECK(true);
  INFO("inner");
  (void)throws("escaped");
}
inline void throws_something_else() { throw Untold{42}; }
inline void throws_a_number() { throw 42; }
inline void throws_and_catches() {
  try {
    INFO("gone");
    (void)throws("caught");
  } catch (std::exception const&) {
  }
  CHECK(false);
}

inline void helper_with_a_subcase(int depth) {
  SUBCASE("the first of a helper") { CHECK(depth == 1); }
  SUBCASE("the second of a helper") { CHECK(depth == 2); }
}
inline void subcases() {
  int depth = 0;
  CHECK(depth == 0);
  SUBCASE("one") {
    ++depth;
    SUBCASE("one in one") { CHECK(depth == 1); }
    SUBCASE("two in one") { CHECK(depth == 3); }
    CHECK(depth == 1);
  }
  SUBCASE("two") {
    depth = 2;
    CHECK(depth == 2);
    helper_with_a_subcase(depth);
  }
  for (int i = 0; i < 2; ++i) {
    SUBCASE((i == 0 ? "loop 0" : "loop 1")) { CHECK(i == 0); }
  }
}
inline void subcase_that_throws() {
  SUBCASE("fine") { CHECK(true); }
  SUBCASE("throws") {
    SUBCASE("in here") { (void)throws("from a subcase"); }
  }
  SUBCASE("never seen") { CHECK(true); }
}
inline void subcase_that_requires() {
  SUBCASE("a") { REQUIRE(false); }
  SUBCASE("b") { CHECK(false); }
}
inline void subcase_left_before_a_throw() {
  SUBCASE("left") { CHECK(true); }
  (void)throws("after a subcase");
}
#ifdef DOCTEST_GENERATE
inline void generators() {
  int const a = GENERATE(1, 2, 3);
  SUBCASE("first") { CHECK(a < 3); }
  SUBCASE("second") { CHECK(a + GENERATE(10, 20) < 22); }
}
#endif

inline void says_and_checks() {
  std::printf("printf before\n");
  CHECK(1 == 2);
  std::cout << "cout between\n";
  CHECK(true);
  MESSAGE("a message between");
  std::cout << "no end of line, ";
  CHECK(2 == 3);
  std::printf("printf after\n");
}

inline void checks_in_threads() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([one = 1] {
      for (int k = 0; k < 100; ++k) CHECK(one == 1);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(threads.empty());
}

inline void many() {
  for (int i = 0; i < 20000; ++i) CHECK(i != 12345);
}
inline void large() {
  std::string const text(1'000'000, 'x');
  CHECK(text == "y");
}

// A listener of the user's own, which writes where doctest has no hand in.
class Witness : public cloister::detail::DoctestReporter {
 public:
  explicit Witness(doctest::ContextOptions const&) {}
  void log_assert(doctest::AssertData const& data) override {
    if (data.m_failed && std::getenv("CASES_WITNESS") != nullptr) ::dprintf(2, "witness: %s\n", data.m_expr);
  }
};
REGISTER_LISTENER("witness", 1, Witness);

}  // namespace cases

// Not run unless asked for. The two are on one line, so that what is said of them differs by their names alone.
#define CASES_BOTH(name, body)                        \
  TEST_SUITE("in place" * doctest::skip()) {          \
    TEST_CASE(name ", in place") { body(); }          \
  }                                                   \
  TEST_SUITE("isolated" * doctest::skip()) {          \
    ISOLATED_TEST_CASE(name ", isolated") { body(); } \
  }

CASES_BOTH("all pass", cases::all_pass)
CASES_BOTH("all fail", cases::all_fail)
CASES_BOTH("FAIL", cases::fails_at_once)
CASES_BOTH("contexts", cases::in_contexts)
CASES_BOTH("throws in contexts", cases::throws_in_contexts)
CASES_BOTH("throws something else", cases::throws_something_else)
CASES_BOTH("throws a number", cases::throws_a_number)
CASES_BOTH("throws and catches", cases::throws_and_catches)
CASES_BOTH("subcases", cases::subcases)
CASES_BOTH("a subcase that throws", cases::subcase_that_throws)
CASES_BOTH("a subcase that requires", cases::subcase_that_requires)
CASES_BOTH("a subcase left before a throw", cases::subcase_left_before_a_throw)
CASES_BOTH("says and checks", cases::says_and_checks)
CASES_BOTH("checks in threads", cases::checks_in_threads)
CASES_BOTH("many", cases::many)
CASES_BOTH("large", cases::large)
#ifdef DOCTEST_GENERATE
CASES_BOTH("generators", cases::generators)
#endif

// --- bodies that end otherwise than they should

namespace cases {

using namespace cloister::flags;
using cloister::isolated;

TEST_SUITE("endings" * doctest::skip()) {
  ISOLATED_TEST_CASE("crash") {
    CHECK(1 == 1);
    CHECK(1 == 2);
    ::raise(SIGSEGV);
  }
  ISOLATED_TEST_CASE("abort as PID 1", .unshare = user | pid) { std::abort(); }
  ISOLATED_TEST_CASE("exit") { std::exit(0); }
  ISOLATED_TEST_CASE("_exit") { ::_exit(3); }
  ISOLATED_TEST_CASE("pthread_exit") { ::pthread_exit(nullptr); }
  ISOLATED_TEST_CASE("decorated" * doctest::timeout(0.2)) {
    CHECK(1 == 3);
    for (;;) ::pause();
  }
  TEST_CASE("limited") {
    isolated({.init = cloister::Init::none},
             [] {
               for (;;) ::pause();
             },
             {.timeout = std::chrono::milliseconds(200)});
    CHECK(false);  // not reached
  }
  ISOLATED_TEST_CASE("for ever" * doctest::timeout(0.5)) {
    for (;;) CHECK(1 == 1);
  }
  ISOLATED_TEST_CASE("a contradiction", .hostname = "x") { CHECK(false); }
  ISOLATED_TEST_CASE("no such file", .unshare = user | mnt,
                     .mounts = {cloister::Mount::bind("/no/such/file", "/tmp")}) {
    CHECK(false);
  }
  ISOLATED_TEST_CASE("a subcase of a file that knows nothing of us") {
    doctest::detail::Subcase const unannounced{"unannounced", "elsewhere.cpp", 7};
    CHECK(false);
  }
}

// --- bodies in all sorts of circumstances; each fails once, in the line that says so

TEST_SUITE("circumstances" * doctest::skip()) {
  ISOLATED_TEST_CASE("closes every descriptor") {
    for (int fd = 0; fd < 1024; ++fd) ::close(fd);
    CHECK(std::string("without descriptors") == "");
  }
  ISOLATED_TEST_CASE("without inherited descriptors", .descriptors = cloister::Descriptors::none()) {
    CHECK(std::string("none inherited") == "");
  }
  ISOLATED_TEST_CASE("asserts in a process of its own") {
    if (pid_t const forked = ::fork(); forked == 0) {
      CHECK(std::string("in a fork") == "");
      ::_exit(0);
    } else {
      ::waitpid(forked, nullptr, 0);
    }
    CHECK(true);
  }
  ISOLATED_TEST_CASE("a process of its own returns as well") {
    SUBCASE("outer") {
      SUBCASE("inner") {
        if (::fork() == 0) {
          CHECK(std::string("in a fork that returns") == "");
        } else {
          ::wait(nullptr);
        }
      }
      SUBCASE("the next") { CHECK(std::string("in the next subcase") == ""); }
    }
    CHECK(true);
  }
  ISOLATED_TEST_CASE("kills one that asserts") {
    int const forked = ::fork();
    if (forked == 0)
      for (;;) CHECK(true);
    ::usleep(1000);
    ::kill(forked, SIGKILL);
    ::waitpid(forked, nullptr, 0);
    CHECK(std::string("after a killed one") == "");
  }
  ISOLATED_TEST_CASE("isolates further", .unshare = user | uts, .hostname = "outer") {
    INFO("around");
    isolated({.unshare = uts, .hostname = "inner"}, [] {
      INFO("within");
      CHECK(cloister::hostname() + " further" == "");
    });
    CHECK(cloister::hostname() == "outer");
  }
  ISOLATED_TEST_CASE("isolates further with subcases", .unshare = user | uts) {
    isolated({.unshare = uts}, [] {
      SUBCASE("one way") { CHECK(std::string("one way further in") == ""); }
      SUBCASE("another") { CHECK(std::string("another way further in") == ""); }
    });
  }
  TEST_CASE("after a subcase") {
    SUBCASE("before") { CHECK(true); }
    isolated({}, [] {
      SUBCASE("in the body") { CHECK(std::string("in a subcase of the body") == ""); }
    });
  }
  TEST_CASE("within subcases and contexts" * doctest::expected_failures(2)) {
    INFO("of the case");
    int runs = 0;
    SUBCASE("one") { runs = 1; }
    SUBCASE("two") { runs = 2; }
    isolated({}, [&] { CHECK(std::string("run ") + std::to_string(runs) == ""); });
  }
  TEST_CASE("untrusted") {
    isolated(cloister::Isolation::untrusted(), [] { CHECK(std::string("untrusted") == ""); });
  }
}

// --- what copies of a program would be in each other's way with

TEST_SUITE("worlds" * doctest::skip()) {
  ISOLATED_TEST_CASE("everything at once", .unshare = user | pid | net | mnt | uts | ipc,
                     .ids = cloister::IdMap::root(), .mounts = {cloister::Mount::tmpfs("/tmp", 1 << 20)}) {
    CHECK(::getpid() == 1);
    CHECK(::geteuid() == 0);
    int const listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    cloister::set_hostname("mine");
    CHECK(cloister::hostname() == "mine");
    std::FILE* const file = std::fopen("/tmp/mine", "wxe");
    REQUIRE(file != nullptr);
    std::fclose(file);
  }
  TEST_CASE("in part") {
    CHECK(true);
    if (!isolated({.unshare = user | uts, .hostname = "part"}, [] { CHECK(cloister::hostname() == "part"); })) return;
    CHECK(true);
  }
  TEST_CASE("not at all") { CHECK(true); }
}

}  // namespace cases

#if defined(__SANITIZE_ADDRESS__)
#define CASES_LEAKS_ARE_SEEN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CASES_LEAKS_ARE_SEEN
#endif
#endif
#ifdef CASES_LEAKS_ARE_SEEN
TEST_SUITE("leaks" * doctest::skip()) {
  using namespace cloister::flags;
  ISOLATED_TEST_CASE("leaks", .unshare = user | pid) {
    int** volatile lost = new int*(new int[25]);
    delete lost;
    CHECK(true);
  }
  ISOLATED_TEST_CASE("leaks and throws") {
    int** volatile lost = new int*(new int[25]);
    delete lost;
    (void)cases::throws("with a leak");
  }
  ISOLATED_TEST_CASE("does not leak", .unshare = user | pid) { CHECK(true); }
}
#endif
