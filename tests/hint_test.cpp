#include <cloister/detail/hint.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::CloneFlags, cloister::NamespaceType, cloister::Obstacle;
using cloister::detail::Hint, cloister::detail::read_number, cloister::detail::refusal_hint;
using namespace cloister::flags;
using namespace test;

namespace {

// As an Error shows it.
std::string text(Hint const& hint) { return hint.cause + (hint.remedy.empty() ? "" : ": ") + hint.remedy; }
std::string hint_text(char const* step, int error_number, CloneFlags wanted) {
  return text(refusal_hint(step, error_number, wanted));
}

}  // namespace

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
    for (int const number : {0, EINVAL, ENOENT, ENOSPC, EUSERS, EAGAIN, ENOMEM, EIO, -1, 100000}) {
      Hint const hint = refusal_hint(step, number, user | uts);
      CHECK(hint.empty());
      CHECK(hint.remedy == "");
      CHECK(hint.obstacle == Obstacle::other);
    }
  CHECK(refusal_hint("unshare", ENOENT, user | uts).empty());
  CHECK(refusal_hint("execve", EPERM, {}).empty());
}

TEST_CASE("every step, error and set has a hint of one line or none, and no remedy without a cause") {
  for (char const* const step : {"unshare", "clone3", "clone", "fork", "setns", "sethostname", "bring up loopback",
                                 "mount", "write uid_map", "write gid_map", "write setgroups", "write timens_offsets"})
    for (int number = 0; number < 134; ++number)
      for (CloneFlags const wanted : {CloneFlags(), CloneFlags(uts), user | pid, CloneFlags::all()}) {
        Hint const hint = refusal_hint(step, number, wanted);
        std::string const all = text(hint);
        if (contains(all, "\n") || all.size() > 300) CHECK(all == "one line");
        if (hint.empty()) CHECK(all == "");
        if (hint.obstacle == Obstacle::none) CHECK(all == "an obstacle");
      }
}

TEST_CASE("a missing privilege is told from one that is there and does not help") {
  CHECK(unprivileged_expectations([] {
          Hint const hint = refusal_hint("clone3", EPERM, pid | uts);
          EXPECT(hint.obstacle == Obstacle::capability);
          EXPECT(hint.cause == "CAP_SYS_ADMIN is needed");
          EXPECT(hint.remedy == "unshare user beside pid|uts, which takes no privilege, or run as root");
          EXPECT(contains(hint_text("setns", EPERM, uts), "here and in the user namespace that owns the target"));
          EXPECT(refusal_hint("write uid_map", EPERM, user).obstacle == Obstacle::id_map);
          EXPECT(contains(hint_text("write uid_map", EPERM, user), "only one's own ids"));
        }) == 0);
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          EXPECT(!contains(hint_text("clone3", EPERM, pid | uts), "CAP_SYS_ADMIN is needed"));
          EXPECT(contains(hint_text("setns", EPERM, uts), "also in the user namespace that owns the target"));
          EXPECT(contains(hint_text("write uid_map", EPERM, user), "does not map"));
        }) == 0);
}

TEST_CASE("limits, missing calls and full machines are named") {
  CHECK(contains(hint_text("unshare", ENOSPC, net | uts), "one of user.max_*_namespaces"));
  CHECK(contains(hint_text("unshare", ENOSPC, uts), "user.max_uts_namespaces"));
  CHECK(contains(hint_text("setns", EUSERS, NamespaceType::time), "threads"));
  CHECK(refusal_hint("setns", EUSERS, NamespaceType::time).obstacle == Obstacle::threads);
  CHECK(contains(hint_text("fork", EAGAIN, {}), "pids.max"));
  CHECK(contains(hint_text("clone3", ENOMEM, pid), "init of the pid namespace"));
  for (char const* const step : {"unshare", "clone3", "clone"})
    for (int const number : {ENOSPC, EUSERS}) CHECK(refusal_hint(step, number, user | pid).obstacle == Obstacle::limit);
  for (char const* const step : {"fork", "clone3", "clone", "start under the reaper"})
    CHECK(refusal_hint(step, EAGAIN, {}).obstacle == Obstacle::limit);
}

TEST_CASE("a limit that is used up is told from one further out, as far as that can be seen") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          bool const outermost = cloister::detail::in_initial_user_namespace();
          if (outermost) {
            EXPECT(refusal_hint("unshare", ENOSPC, uts).cause == "user.max_uts_namespaces is used up");
            EXPECT(refusal_hint("unshare", ENOSPC, user).cause == "user.max_user_namespaces is used up");
          }
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(!cloister::detail::in_initial_user_namespace());
          EXPECT(refusal_hint("unshare", ENOSPC, uts).cause ==
                 "user.max_uts_namespaces of an outer user namespace is used up");
          EXPECT(contains(hint_text("unshare", EUSERS, user), "or they are nested over 32 deep"));
          EXPECT(write_file("/proc/sys/user/max_uts_namespaces", "7"));
          EXPECT(refusal_hint("unshare", ENOSPC, uts).cause ==
                 "user.max_uts_namespaces is used up, here or in an outer user namespace");
          EXPECT(write_file("/proc/sys/user/max_uts_namespaces", "0"));
          for (CloneFlags const types : {CloneFlags(uts), net | uts, user | uts}) {
            Hint const hint = refusal_hint("unshare", ENOSPC, types);
            EXPECT(hint.cause == "user.max_uts_namespaces is 0");
            EXPECT(hint.remedy == "raise it to allow uts namespaces");
          }
        }) == 0);
}

TEST_CASE("a cgroup that is full is found, the caller's or one above it, in either version") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  for (bool const first : {false, true}) {
    CAPTURE(first);
    CHECK(privileged_expectations([&] {
            std::string const top = first ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup";
            EXPECT(::mount("none", "/sys/fs/cgroup", "tmpfs", 0, nullptr) == 0);
            ::mkdir(top.c_str(), 0755);
            EXPECT(::mkdir((top + "/a").c_str(), 0755) == 0 && ::mkdir((top + "/a/b").c_str(), 0755) == 0);
            EXPECT(write_file(directory / "cgroup",
                              first ? "9:name=systemd:/\n8:pids:/a/b\n1:cpu:/\n0::/\n" : "0::/a/b\n"));
            EXPECT(::mount((directory / "cgroup").c_str(), "/proc/thread-self/cgroup", nullptr, MS_BIND, nullptr) == 0);
            auto const with = [&](std::string const& inner, std::string const& outer) {
              EXPECT(write_file(top + "/a/b/pids.max", inner) && write_file(top + "/a/b/pids.current", "4\n"));
              EXPECT(write_file(top + "/a/pids.max", outer) && write_file(top + "/a/pids.current", "9\n"));
              Hint const hint = refusal_hint("fork", EAGAIN, {});
              EXPECT(hint.obstacle == Obstacle::limit && hint.remedy != "");
              return hint.cause;
            };
            EXPECT(with("4\n", "max\n") == "the cgroup /a/b holds as many processes as its pids.max allows");
            EXPECT(with("5\n", "9\n") == "the cgroup /a holds as many processes as its pids.max allows");
            EXPECT(with("max\n", "8\n") == "the cgroup /a holds as many processes as its pids.max allows");
            EXPECT(contains(with("5\n", "10\n"), "no more processes are allowed"));
            EXPECT(contains(with("max\n", "max\n"), "no more processes are allowed"));
          }) == 0);
  }
}

TEST_CASE("how deep pid namespaces are nested is seen in a /proc from further out") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          long const levels = cloister::detail::pid_namespace_levels();
          EXPECT(levels >= 1);
          EXPECT(::unshare(CLONE_NEWPID) == 0);
          pid_t const child = ::fork();
          if (child == 0) ::_exit(cloister::detail::pid_namespace_levels() == levels + 1 ? 0 : 1);
          int status = -1;
          EXPECT(::waitpid(child, &status, 0) == child && status == 0);
        }) == 0);
}

// --- What cannot be played here: by files in the place of those that such a kernel has

TEST_CASE("the sysctls of Ubuntu and Debian are seen, and speak of user namespaces without privilege alone") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  for (bool const ubuntu : {true, false}) {
    CAPTURE(ubuntu);
    CHECK(privileged_expectations([&] {
            std::string const name = ubuntu ? "apparmor_restrict_unprivileged_userns" : "unprivileged_userns_clone";
            std::string const file = "/proc/sys/kernel/" + name;
            Obstacle const obstacle = ubuntu ? Obstacle::security_module : Obstacle::capability;
            std::string const forbids = ubuntu ? "1" : "0", allows = ubuntu ? "0" : "1";
            EXPECT(::mount("none", "/proc/sys/kernel", "tmpfs", 0, nullptr) == 0);
            EXPECT(write_file(file, forbids + "\n"));
            // Who may all the same is not hindered by it.
            EXPECT(!contains(hint_text("unshare", EPERM, user | uts), name));
            EXPECT(drop_capabilities());
            Hint const hint = refusal_hint("unshare", EPERM, user | uts);
            EXPECT(hint.obstacle == obstacle);
            EXPECT(hint.cause == "kernel." + name + " is " + forbids);
            EXPECT(hint.remedy != "");
            EXPECT(!contains(hint_text("unshare", EPERM, uts), name));
            // AppArmor grants the namespace and refuses what comes then.
            for (char const* const step : {"write uid_map", "write setgroups"})
              for (int const number : {EPERM, EACCES})
                EXPECT((refusal_hint(step, number, user | uts).obstacle == obstacle) == ubuntu);
            EXPECT(write_file(file, allows + "\n"));
            EXPECT(!contains(hint_text("unshare", EPERM, user | uts), name));
          }) == 0);
  }
}

TEST_CASE("a security module is named where it is in force for the caller") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  SKIP_UNLESS(::access("/proc/self/attr/current", F_OK) == 0, "a kernel without security modules");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          std::string const label = directory / "label";
          EXPECT(write_file(label, "unconfined\n"));
          EXPECT(::mount(label.c_str(), "/proc/thread-self/attr/current", nullptr, MS_BIND, nullptr) == 0);
          auto const of_label = [&](std::string const& name) {
            EXPECT(write_file(label, name));
            return cloister::detail::security_module_hint();
          };
          for (std::string const name : {"", "unconfined\n", "firefox (unconfined)\n", "/usr/bin/man (complain)\n",
                                         "system_u:system_r:init_t:s0"})
            EXPECT(of_label(name).empty());
          Hint const apparmor = of_label("docker-default (enforce)\n");
          EXPECT(apparmor.obstacle == Obstacle::security_module);
          EXPECT(contains(apparmor.cause, "AppArmor confines the caller as docker-default (enforce)"));
          EXPECT(contains(apparmor.remedy, "profile"));
          // What the kernel says where there is neither a lack of privilege nor a filter.
          EXPECT(refusal_hint("unshare", EACCES, user).obstacle == Obstacle::security_module);
          EXPECT(refusal_hint("clone3", EACCES, pid | uts).obstacle == Obstacle::security_module);
          // A machine without it has no such directory: it is put where one can be.
          EXPECT(::mount("none", "/sys/fs", "tmpfs", 0, nullptr) == 0 && ::mkdir("/sys/fs/selinux", 0755) == 0);
          EXPECT(write_file("/sys/fs/selinux/enforce", "0"));
          EXPECT(of_label("system_u:system_r:init_t:s0").empty());
          EXPECT(write_file("/sys/fs/selinux/enforce", "1"));
          Hint const selinux = of_label("system_u:system_r:init_t:s0");
          EXPECT(selinux.obstacle == Obstacle::security_module);
          EXPECT(contains(selinux.cause, "SELinux is enforcing and may forbid it to system_u:system_r:init_t:s0"));
          EXPECT(contains(selinux.remedy, "ausearch"));
        }) == 0);
}

TEST_CASE("a second unshare of pid is seen for what it is") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(::unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
          EXPECT(::unshare(CLONE_NEWPID) == -1 && errno == EINVAL);
          EXPECT(contains(hint_text("unshare", EINVAL, pid), "has unshared pid already"));
        }) == 0);
}

TEST_CASE("a file of /proc that is not there is told from a kernel that has none such") {
  for (char const* const step :
       {"write uid_map", "write gid_map", "write setgroups", "write timens_offsets", "setns"}) {
    CAPTURE(step);
    CHECK(contains(hint_text(step, ENOENT, user | uts), "/proc is not mounted there"));
    for (int const other : {EIO, EINVAL}) CHECK_FALSE(contains(hint_text(step, other, user | uts), "/proc"));
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
