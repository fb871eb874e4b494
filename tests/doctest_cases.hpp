// Bodies of test cases, most of which fail as they should: each once in place, as doctest has it, and once in a child. doctest_test.cpp
// runs them as a program of their own and compares what doctest says of the two.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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
REGISTER_EXCEPTION_TRANSLATOR(Untold const& untold) { return doctest::String("translated ") + doctest::toString(untold.value); }

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
  std::string const text(3'000'000, 'x');
  CHECK(text == "y");
}

}  // namespace cases

#define CASES_BOTH(name, body)                                                       \
  TEST_SUITE("in place" * doctest::skip()) {                                         \
    TEST_CASE(name ", in place") { body(); }                                         \
  }                                                                                  \
  TEST_SUITE("isolated" * doctest::skip()) {                                         \
    ISOLATED_TEST_CASE(name ", isolated") { body(); }                                \
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
