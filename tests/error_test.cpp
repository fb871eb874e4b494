#include <cloister/error.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::ChildDied, cloister::ChildThrew, cloister::ChildTimedOut, cloister::Error, cloister::ExitStatus;
using Side = Error::Side;

TEST_CASE("an Error reads as a sentence: the step, what it worked on, where, why, and what would help") {
  CHECK(Error(ENOENT, "clone3").what() == std::string("cloister: clone3: No such file or directory"));
  CHECK(Error(ENOENT, "open", "/src").what() == std::string("cloister: open /src: No such file or directory"));
  CHECK(Error(EPERM, "bind", "/src on /dst", Side::child).what() ==
        std::string("cloister: bind /src on /dst (in the child): Operation not permitted"));
  CHECK(Error(EPERM, "unshare", "uts", Side::parent, "try harder").what() ==
        std::string("cloister: unshare uts: Operation not permitted (try harder)"));
  CHECK(Error(EPERM, "execve", {}, Side::child, "try harder").what() ==
        std::string("cloister: execve (in the child): Operation not permitted (try harder)"));
}

TEST_CASE("an Error is for programs too: its code, its step and its side") {
  Error const error(EACCES, "write uid_map", "0 0 1", Side::child);
  CHECK(error.code() == std::error_code(EACCES, std::system_category()));
  CHECK(error.code() == std::errc::permission_denied);
  CHECK(error.step() == "write uid_map");
  CHECK(error.in_child());
  CHECK_FALSE(Error(EACCES, "open").in_child());
}

TEST_CASE("a number that is no errno makes an Error all the same") {
  CHECK(Error(0, "nothing").code().value() == 0);
  CHECK(Error(99999, "step").code().value() == 99999);
  CHECK(std::string(Error(99999, "step").what()).starts_with("cloister: step: "));
}

TEST_CASE("an Error is caught as what it is derived from, and its text stays whole") {
  std::string const text = "cloister: open /x: No such file or directory";
  auto const fail = [] { throw Error(ENOENT, "open", "/x"); };
  CHECK_THROWS_WITH_AS(fail(), text.c_str(), Error);
  try {
    fail();
  } catch (std::system_error const& error) {
    CHECK(error.what() == text);
    CHECK(error.code().value() == ENOENT);
  }
  try {
    fail();
  } catch (std::exception const& error) {
    CHECK(error.what() == text);
  }
}

TEST_CASE("exceptions can be copied while another one is in flight: copying throws nothing") {
  static_assert(std::is_nothrow_copy_constructible_v<Error> && std::is_nothrow_copy_assignable_v<Error>);
  static_assert(std::is_nothrow_copy_constructible_v<ChildThrew> && std::is_nothrow_copy_constructible_v<ChildDied>);
  static_assert(std::is_nothrow_copy_constructible_v<ChildTimedOut>);
}

TEST_CASE("a copy says the same as the original, also after that is gone, and as the one that it was assigned over") {
  Error copy(EPERM, "open");
  {
    std::string const item(200, 'x');
    Error const original(ENOENT, "stat", item, Side::child);
    copy = original;
  }
  CHECK(copy.what() == "cloister: stat " + std::string(200, 'x') + " (in the child): No such file or directory");
  CHECK(copy.step() == "stat");
  CHECK(copy.in_child());
  CHECK(copy.code().value() == ENOENT);
  Error const moved = std::move(copy);
  CHECK(std::string(moved.what()).starts_with("cloister: stat xxx"));
}

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

TEST_CASE("check() passes a result on, and throws what is below zero") {
  CHECK(cloister::detail::check(0, "open") == 0);
  CHECK(cloister::detail::check(7L, "open") == 7L);
  Error const error = test::caught<Error>([] { cloister::detail::check(-EMFILE, "open", "/x"); });
  CHECK(error.code() == std::errc::too_many_files_open);
  CHECK(error.what() == std::string("cloister: open /x: Too many open files"));
  CHECK_FALSE(error.in_child());
  CHECK(test::caught<Error>([] { cloister::detail::check(-1L, "read"); }).code().value() == EPERM);
}
