#include <cloister/detail/hint.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::CloneFlags, cloister::NamespaceType;
using namespace cloister::flags;
using namespace test;
using cloister::detail::read_number, cloister::detail::refusal_hint;

TEST_CASE("a number is read from a file of lines: after its key, at the start, or not at all") {
  TemporaryDirectory const directory;
  std::string const path = directory / "file";
  auto const reads = [&](std::string const& text, char const* key) {
    REQUIRE(write_file(path, text));
    return read_number(path.c_str(), key);
  };
  CHECK(reads("Name:\tx\nThreads:\t12\nSeccomp:\t2\n", "Threads:") == 12);
  CHECK(reads("Name:\tx\nThreads:\t12\nSeccomp:\t2\n", "Seccomp:") == 2);
  CHECK(reads("Name:\tThreads:\t1\n", "Threads:") == -1);
  CHECK(reads("Threads:", "Threads:") == -1);
  CHECK(reads("Pid:\t-1\n", "Pid:") == -1);
  CHECK(reads("Thread", "Threads:") == -1);
  CHECK(reads("", "Threads:") == -1);
  CHECK(reads("", "") == -1);
  CHECK(reads("0\n", "") == 0);
  CHECK(reads("96343", "") == 96343);
  CHECK(reads("         0       1000          1\n", "") == 0);
  CHECK(reads(std::string(5000, 'x') + "\nThreads:\t12\n", "Threads:") == -1);
  CHECK(read_number((directory / "none").c_str(), "") == -1);
  CHECK(read_number(directory.path().c_str(), "") == -1);
}

TEST_CASE("what this process is like is seen as it is") {
  CHECK(cloister::detail::has_threads() == (detail::names_in("/proc/self/task").size() > 1));
  std::thread([] { CHECK(cloister::detail::has_threads()); }).join();
  CHECK(!cloister::detail::children_go_elsewhere());
  for (NamespaceType const type : {mnt, uts, user, pid}) CHECK(cloister::detail::kernel_has(type));
  CHECK(expectations([] {
          EXPECT(!cloister::detail::seccomp_filter_loaded() || contains(read_file("/proc/self/status"), "Seccomp:\t2"));
          EXPECT(!cloister::detail::has_threads() || address_sanitizer);
        }) == 0);
  CHECK(unprivileged_expectations([] { EXPECT(!cloister::detail::has_cap_sys_admin()); }) == 0);
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(!cloister::detail::ids_unmapped());
          EXPECT(::unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
          EXPECT(cloister::detail::ids_unmapped());
          EXPECT(cloister::detail::has_cap_sys_admin());
          EXPECT(cloister::detail::children_go_elsewhere());
        }) == 0);
}

TEST_CASE("a chroot is told from the root of a mount") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(!cloister::detail::in_chroot());
          EXPECT(::chroot(directory.path().c_str()) == 0);
          EXPECT(cloister::detail::in_chroot());
        }) == 0);
}

TEST_CASE("no hint is given where nothing can be told") {
  for (char const* const step : {"execve", "chdir", "write result", "", "no step"})
    for (int const number : {0, EINVAL, ENOENT, ENOSPC, EUSERS, EAGAIN, ENOMEM, EIO, -1, 100000})
      CHECK(refusal_hint(step, number, user | uts) == "");
  CHECK(refusal_hint("unshare", ENOENT, user | uts) == "");
  CHECK(refusal_hint("execve", EPERM, {}) == "");
}

TEST_CASE("every step, error and set has a hint of one line or none") {
  for (char const* const step : {"unshare", "clone3", "clone", "fork", "setns", "sethostname", "bring up loopback",
                                 "mount", "write uid_map", "write gid_map", "write setgroups", "write timens_offsets"})
    for (int number = 0; number < 134; ++number)
      for (CloneFlags const wanted : {CloneFlags(), CloneFlags(uts), user | pid, CloneFlags::all()}) {
        std::string const hint = refusal_hint(step, number, wanted);
        if (contains(hint, "\n") || hint.size() > 250) CHECK(hint == "one line");
      }
}

TEST_CASE("a missing privilege is told from one that is there and does not help") {
  CHECK(unprivileged_expectations([] {
          EXPECT(refusal_hint("clone3", EPERM, pid | uts) ==
                 "CAP_SYS_ADMIN is needed; with user beside pid|uts no privilege is");
          EXPECT(contains(refusal_hint("setns", EPERM, uts), "here and in the user namespace that owns the target"));
        }) == 0);
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          EXPECT(!contains(refusal_hint("clone3", EPERM, pid | uts), "CAP_SYS_ADMIN is needed"));
          EXPECT(contains(refusal_hint("setns", EPERM, uts), "also in the user namespace that owns the target"));
        }) == 0);
}

TEST_CASE("limits, missing calls and full machines are named") {
  CHECK(contains(refusal_hint("unshare", ENOSPC, net | uts), "one of user.max_*_namespaces is used up"));
  CHECK(refusal_hint("unshare", ENOSPC, uts) ==
        "user.max_uts_namespaces is used up, here or in an outer user namespace");
  CHECK(contains(refusal_hint("clone3", ENOSPC, user | uts), "nested over 32 deep"));
  CHECK(contains(refusal_hint("clone", EUSERS, user), "nested over 32 deep"));
  CHECK(contains(refusal_hint("setns", EUSERS, NamespaceType::time), "threads"));
  CHECK(refusal_hint("clone3", ENOSYS, user) != "");
  CHECK(contains(refusal_hint("fork", EAGAIN, {}), "RLIMIT_NPROC"));
  CHECK(contains(refusal_hint("clone3", ENOMEM, pid), "init of the pid namespace"));
}

TEST_CASE("a second unshare of pid is seen for what it is") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(::unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
          EXPECT(::unshare(CLONE_NEWPID) == -1 && errno == EINVAL);
          EXPECT(contains(refusal_hint("unshare", EINVAL, pid), "has unshared pid already"));
        }) == 0);
}

TEST_CASE("a file of /proc that is not there is told from a kernel that has none such") {
  for (char const* const step :
       {"write uid_map", "write gid_map", "write setgroups", "write timens_offsets", "setns"}) {
    CAPTURE(step);
    CHECK(contains(refusal_hint(step, ENOENT, user | uts), "/proc is not mounted there"));
    for (int const other : {EIO, EINVAL}) CHECK_FALSE(contains(refusal_hint(step, other, user | uts), "/proc"));
  }
}

TEST_CASE("where /proc is missing, or something else is in its place, the step that needs it says so") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  std::vector<std::string> const words = {"(/proc is not mounted there"};
  std::vector<std::string> const child_words = {"(in the child)", words.front()};
  CHECK(privileged_expectations([&] {
          bool const clocks = cloister::detail::kernel_has(NamespaceType::time);
          auto const unshare_user = [] { (void)cloister::run({.unshare = user}, [] {}); };
          EXPECT(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
          EXPECT(fails_with(ENOENT, "write uid_map", unshare_user, words));
          if (clocks) {
            cloister::ClockOffsets const ahead{.monotonic = std::chrono::seconds(5)};
            auto const unshare_time = [](cloister::ClockOffsets const& clock) {
              (void)cloister::run({.unshare = NamespaceType::time, .clock = clock}, [] {});
            };
            EXPECT(fails_with(
                ENOENT, "write timens_offsets", [&] { unshare_time(ahead); }, child_words));
            EXPECT(fails_with(
                ENOENT, "setns", [&] { unshare_time({}); }, child_words));
          }
          EXPECT(drop_capabilities());
          EXPECT(fails_with(ENOENT, "write gid_map", unshare_user, child_words));
        }) == 0);
}
