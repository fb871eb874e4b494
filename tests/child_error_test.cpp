#include <cloister/child_error.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::ChildDied, cloister::ChildThrew, cloister::ChildTimedOut, cloister::Error, cloister::ExitStatus;

TEST_CASE("ChildThrew has the type's name and the text") {
  ChildThrew const threw("std::out_of_range", "index 7");
  CHECK(threw.what() == std::string("cloister: the callable threw std::out_of_range: index 7"));
  CHECK(threw.type_name() == "std::out_of_range");
  CHECK(ChildThrew("int", "").what() == std::string("cloister: the callable threw int"));
  ChildThrew const copy = threw;
  CHECK(copy.type_name() == "std::out_of_range");
}

TEST_CASE("ChildDied tells how the child ended") {
  ChildDied const died(ExitStatus::exited(3));
  CHECK(died.what() == std::string("cloister: the child exited with status 3 and left no result"));
  CHECK(died.status() == ExitStatus::exited(3));
  CHECK(ChildDied(ExitStatus::unknown()).what() ==
        std::string("cloister: the child ended in an unknown way and left no result"));
  CHECK(ChildDied(ExitStatus::unknown()).status().is_unknown());
}

TEST_CASE("ChildTimedOut is a ChildDied with a text of its own") {
  auto const fail = [] { throw ChildTimedOut(ExitStatus::signaled(SIGKILL)); };
  CHECK(test::caught<ChildDied>(fail).status() == ExitStatus::signaled(SIGKILL));
  CHECK(test::text_of<ChildTimedOut>(fail).starts_with(
      "cloister: the child timed out and was killed: it ended by signal 9"));
}

TEST_CASE("the kinds of failure are apart: what the kernel refused, what the callable threw, and how the child died") {
  static_assert(!std::is_base_of_v<Error, ChildThrew> && !std::is_base_of_v<Error, ChildDied>);
  static_assert(!std::is_base_of_v<ChildThrew, ChildDied> && !std::is_base_of_v<ChildDied, ChildThrew>);
  static_assert(std::is_base_of_v<std::runtime_error, ChildThrew> && std::is_base_of_v<std::runtime_error, ChildDied>);
  static_assert(!std::is_convertible_v<ExitStatus, ChildDied>);
}

TEST_CASE("they can be copied while another exception is in flight: copying throws nothing") {
  static_assert(std::is_nothrow_copy_constructible_v<ChildThrew> && std::is_nothrow_copy_constructible_v<ChildDied>);
  static_assert(std::is_nothrow_copy_constructible_v<ChildTimedOut>);
}
