#include <cloister/error.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::Error, cloister::Obstacle;
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

TEST_CASE("an Error has a diagnosis: what stands in the way, why, and what would help") {
  Error const known(ENOSPC, "unshare", "uts", Side::child, {Obstacle::limit, "the limit is 0", "raise it"});
  CHECK(known.what() ==
        std::string("cloister: unshare uts (in the child): No space left on device (the limit is 0: raise it)"));
  CHECK(known.obstacle() == Obstacle::limit);
  CHECK(known.reason() == "unshare uts: the limit is 0");
  CHECK(known.remedy() == "raise it");
  Error const helpless(EPERM, "clone3", {}, Side::parent, {Obstacle::chroot, "it is a chroot"});
  CHECK(helpless.what() == std::string("cloister: clone3: Operation not permitted (it is a chroot)"));
  CHECK(helpless.reason() == "clone3: it is a chroot");
  CHECK(helpless.remedy() == "");
  Error const unknown(EIO, "read", "/x");
  CHECK(unknown.obstacle() == Obstacle::other);
  CHECK(unknown.reason() == "read /x: Input/output error");
  CHECK(unknown.remedy() == "");
  CHECK(Error(EPERM, "unshare", "uts", Side::parent, std::string("text")).obstacle() == Obstacle::other);
}

TEST_CASE("each obstacle has a name of its own") {
  std::string names;
  for (int number = 0; number <= static_cast<int>(Obstacle::other); ++number)
    names += to_string(static_cast<Obstacle>(number)) + std::string(" ");
  CHECK(names ==
        "none capability limit seccomp security_module chroot id_map masked_proc kernel_too_old threads other ");
  CHECK(to_string(static_cast<Obstacle>(200)) == std::string("other"));
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
}

TEST_CASE("a copy says the same as the original, also after that is gone, and as the one that it was assigned over") {
  Error copy(EPERM, "open");
  {
    std::string const item(200, 'x');
    Error const original(ENOENT, "stat", item, Side::child, {Obstacle::id_map, "none", "lend some"});
    copy = original;
  }
  CHECK(copy.what() ==
        "cloister: stat " + std::string(200, 'x') + " (in the child): No such file or directory (none: lend some)");
  CHECK(copy.obstacle() == Obstacle::id_map);
  CHECK(copy.reason() == "stat " + std::string(200, 'x') + ": none");
  CHECK(copy.remedy() == "lend some");
  CHECK(copy.step() == "stat");
  CHECK(copy.in_child());
  CHECK(copy.code().value() == ENOENT);
  Error const moved = std::move(copy);
  CHECK(std::string(moved.what()).starts_with("cloister: stat xxx"));
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
