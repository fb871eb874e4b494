// Each cause of a refusal that can be played is played, in a process of its own. What goes by files that only other
// kernels have is in hint_test.cpp.
#include <sys/resource.h>

#include <cloister/cloister.hpp>

#include "privileged.hpp"
#include "refusal.hpp"

using namespace cloister::flags;
using namespace test;
using cloister::CloneFlags, cloister::Error, cloister::IdMap, cloister::Isolation, cloister::Mount,
    cloister::NamespaceType, cloister::Obstacle, cloister::probe, cloister::Root, cloister::Support;

namespace {

constexpr char const* no_users = "no user namespaces";

bool supported(Support const& support) {
  if (!support) ::dprintf(complaints, "not supported: %s\n", to_string(support).c_str());
  return support && support.obstacle() == Obstacle::none && support.reason().empty() && support.remedy().empty();
}

// Whether it is that obstacle, with these words in the reason, which is one sentence, and in the remedy.
bool hindered(Support const& support, Obstacle obstacle, std::vector<std::string> const& reason = {},
              std::string const& remedy = {}) {
  bool met = !support && support.obstacle() == obstacle && contains(support.remedy(), remedy);
  for (std::string const& word : reason) met = met && contains(support.reason(), word);
  met =
      met && !support.reason().empty() && !contains(support.reason(), "\n") && !contains(support.reason(), "cloister:");
  if (!met) ::dprintf(complaints, "%s: %s\n", to_string(support.obstacle()), to_string(support).c_str());
  return met;
}

// Whether a start ends in an Error that says the same.
bool fails_alike(Isolation const& isolation) {
  Support const support = probe(isolation);
  try {
    run(isolation, [] {});
  } catch (Error const& error) {
    return error.obstacle() == support.obstacle() && error.reason() == support.reason() &&
           error.remedy() == support.remedy() && contains(error.what(), support.remedy());
  }
  return false;
}

bool forbid(NamespaceType type) {
  return write_file(std::string("/proc/sys/user/") + cloister::detail::facts(type).limit, "0");
}

// clone(2) and clone3(2) where they make namespaces: to a filter the arguments of clone3 are out of sight.
std::vector<Refusal> namespaces_by_clone(int by_clone3, int by_clone) {
  return {{cloister::detail::sys::number::clone3, by_clone3}, {SYS_clone, by_clone, CLONE_NEWCGROUP, 0, 0x7fffffff}};
}

// As a filter that is loaded and forbids nothing of interest.
void load_a_filter() { refuse({{SYS_acct, EPERM}}); }

constexpr std::uint32_t nobody = 65534;

}  // namespace

TEST_CASE("what can be had is supported, from every thread, and nothing of the attempt stays") {
  std::vector<Kind> const all = callables();
  CHECK(expectations([&] {
          for_each_kind_everywhere(all, [](Kind const& kind, Where where) {
            Unchanged const unchanged;
            EXPECT(supported(on(where, [&] { return probe(kind.isolation()); })));
            EXPECT(unchanged.changes() == "");
          });
        }) == 0);
  CHECK(probe(Isolation{}));
  CHECK(probe(CloneFlags{}));
  CHECK(to_string(Support{}) == "supported");
}

TEST_CASE("a whole world is tried: mounts, names, clocks, the loopback, privileges") {
  SKIP_UNLESS(user_namespaces(), no_users);
  Unchanged const unchanged;
  CHECK(supported(probe(CloneFlags::all())));
  CHECK(supported(probe(Isolation::untrusted())));
  CHECK(supported(probe({.unshare = CloneFlags::all(),
                         .hostname = "box",
                         .root = Root::empty(),
                         .mounts = {Mount::proc(), Mount::dev(), Mount::tmpfs("/tmp", 1 << 20)},
                         .clock = {.monotonic = std::chrono::hours(1)},
                         .init = cloister::Init::reaper})));
}

TEST_CASE("a description that contradicts itself is no question of support") {
  CHECK_THROWS_AS((void)probe({.hostname = "box"}), std::invalid_argument);
  CHECK_THROWS_AS((void)probe({.mounts = {Mount::proc()}}), std::invalid_argument);
}

TEST_CASE("a start fails with what the probe has said") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(expectations([] {
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(forbid(uts));
          EXPECT(fails_alike({.unshare = uts}));
          EXPECT(fails_alike({.unshare = pid | uts}));
          EXPECT(fails_alike({.unshare = mnt, .root = Root::empty(), .mounts = {Mount::bind("/none", "/x")}}));
          EXPECT(fails_alike({.unshare = user, .ids = IdMap::ranges({{0, 12345}}, {{0, 12345}})}));
        }) == 0);
}

TEST_CASE("what the description asks for and is not there is told with its name") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Support const support =
              probe({.unshare = mnt, .root = Root::empty(), .mounts = {Mount::bind("/none", "/x")}});
          EXPECT(support.obstacle() == Obstacle::other);
          EXPECT(support.reason() == "bind /none on /x: the source does not exist");
          EXPECT(support.remedy() == "");
          EXPECT(hindered(probe({.unshare = mnt, .mounts = {Mount::tmpfs("/none", 4096)}}), Obstacle::other,
                          {"mount tmpfs on /none: "}));
          EXPECT(hindered(probe({.descriptors = cloister::Descriptors::only({777})}), Obstacle::other,
                          {"descriptors 777: ", "not open"}));
        }) == 0);
}

// --- Capabilities

TEST_CASE("a privilege that is missing is told, and what does without") {
  auto const asks = [] {
    EXPECT(hindered(probe(uts), Obstacle::capability, {"unshare uts: CAP_SYS_ADMIN is needed"},
                    "unshare user beside uts"));
    EXPECT(
        hindered(probe(pid | net), Obstacle::capability, {"clone3 net|pid: CAP_SYS_ADMIN is needed"}, "run as root"));
    Isolation keeps{.privileges = {.capabilities = cloister::Capabilities::only({cloister::Capability::net_admin})}};
    EXPECT(hindered(probe(keeps), Obstacle::capability, {"net_admin"}));
  };
  CHECK(unprivileged_expectations(asks) == 0);
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([&] {
          EXPECT(supported(probe(uts)));
          EXPECT(drop_capabilities());
          asks();
        }) == 0);
}

// --- Limits

TEST_CASE("each limit of namespaces is named by its sysctl, and hinders only its type") {
  SKIP_UNLESS(user_namespaces(), no_users);
  for (NamespaceType const type : cloister::all_namespace_types) {
    CAPTURE(to_string(type));
    CHECK(expectations([&] {
            std::string const name = std::string("user.") + cloister::detail::facts(type).limit;
            EXPECT(become_root_of_a_user_namespace());
            Unchanged const unchanged;
            EXPECT(supported(probe(type)));
            EXPECT(forbid(type));
            EXPECT(hindered(probe(type), Obstacle::limit, {name + " is 0"},
                            std::string("raise it to allow ") + to_string(type)));
            EXPECT(supported(probe(CloneFlags::all() - type)));
            EXPECT(hindered(probe((CloneFlags::all() - user) | type), Obstacle::limit, {name + " is 0"}));
            EXPECT(unchanged.changes() == "");
          }) == 0);
  }
}

TEST_CASE("a limit further out is told from one here") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(expectations([] {
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(write_file("/proc/sys/user/max_uts_namespaces", "1") && ::unshare(CLONE_NEWUTS) == 0);
          EXPECT(hindered(probe(uts), Obstacle::limit, {"user.max_uts_namespaces is used up, here"}, "raise"));
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(hindered(probe(uts), Obstacle::limit,
                          {"user.max_uts_namespaces of an outer user namespace is used up"}, "raise"));
        }) == 0);
}

TEST_CASE("user namespaces that are nested too deeply are told from a limit of zero") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(expectations([] {
          int made = 0;
          while (made < 40 && become_root_of_a_user_namespace()) ++made;
          EXPECT(made >= 30 && made < 40);
          EXPECT(supported(probe(uts)));
          EXPECT(hindered(probe(user | uts), Obstacle::limit, {"nested over 32 deep"}, "nest less deeply"));
          EXPECT(forbid(user));
          EXPECT(hindered(probe(user | uts), Obstacle::limit, {"user.max_user_namespaces is 0"}));
        }) == 0);
}

TEST_CASE("pid namespaces that are nested too deeply are seen to be") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          // Each process is the init of a namespace in its parent's.
          int depth = 0;
          pid_t child = 0;
          while (child == 0 && depth < 40 && ::unshare(CLONE_NEWPID) == 0) {
            child = ::fork();
            if (child == 0) ++depth;
          }
          if (child == 0) {
            EXPECT(depth >= 20 && depth < 40);
            EXPECT(hindered(probe(pid), Obstacle::limit, {"pid namespaces are nested 32 deep already"},
                            "nest them less deeply"));
            EXPECT(supported(probe(uts)));
          } else {
            int status = -1;
            EXPECT(::waitpid(child, &status, 0) == child && status == 0);
          }
          if (depth > 0) ::_exit(unmet == 0 ? 0 : 1);
        }) == 0);
}

TEST_CASE("no room for another process is a limit") {
  CHECK(unprivileged_expectations([] {
          rlimit const one{1, 1};
          EXPECT(::setrlimit(RLIMIT_NPROC, &one) == 0);
          Unchanged const unchanged;
          EXPECT(hindered(probe(Isolation{}), Obstacle::limit,
                          {"fork: no more processes are allowed: RLIMIT_NPROC is 1"}, "raise"));
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a cgroup without room for another process is named") {
  std::string const cgroup = "/sys/fs/cgroup/pids/cloister-test." + std::to_string(::getpid());
  SKIP_UNLESS(::mkdir(cgroup.c_str(), 0755) == 0,
              "no cgroup for processes can be made: needs root, and version 1 of them");
  CHECK(expectations([&] {
          EXPECT(write_file(cgroup + "/cgroup.procs", "0") && write_file(cgroup + "/pids.max", "1"));
          EXPECT(hindered(probe(Isolation{}), Obstacle::limit, {"fork: the cgroup /", "cloister-test", "pids.max"},
                          "raise"));
        }) == 0);
  CHECK(wait_until([&] { return ::rmdir(cgroup.c_str()) == 0; }));
}

TEST_CASE("a resource limit above the caller's own is told before anything happens") {
  CHECK(unprivileged_expectations([] {
          rlimit const none{0, 0};
          EXPECT(::setrlimit(RLIMIT_CORE, &none) == 0);
          EXPECT(hindered(probe({.privileges = {.limits = {{cloister::Resource::core, 1}}}}), Obstacle::limit,
                          {"CAP_SYS_RESOURCE"}));
        }) == 0);
}

// --- Filters

TEST_CASE("a filter is told to be one, whichever call it refuses and however") {
  SKIP_UNLESS(user_namespaces(), no_users);
  struct Case {
    std::string name;
    std::vector<Refusal> refusals;
    Isolation isolation;
    char const* step;
  };
  for (int const error : {EPERM, ENOSYS}) {
    CAPTURE(error);
    std::vector<Case> cases = {
        {"fork", {{SYS_clone, error}}, {}, "fork"},
        {"clone3 and clone", namespaces_by_clone(error, error), {.unshare = user | pid}, "clone"},
        {"clone3 as on docker", namespaces_by_clone(ENOSYS, error), {.unshare = user | pid}, "clone pid|user"},
        {"unshare", {{SYS_unshare, error}}, {.unshare = user | uts}, "unshare user|uts"},
        {"sethostname", {{SYS_sethostname, error}}, {.unshare = user | uts, .hostname = "box"}, "sethostname box"},
        {"mount", {{SYS_mount, error}}, {.unshare = user | mnt}, "make mounts private"},
        {"fsopen", {{430, error}}, {.unshare = user | mnt, .root = Root::empty()}, "mount"},
        {"pivot_root", {{SYS_pivot_root, error}}, {.unshare = user | mnt, .root = Root::empty()}, "pivot_root"},
    };
    if (cloister::detail::kernel_has(NamespaceType::time))
      cases.push_back(
          {"setns", {{SYS_setns, error}}, {.unshare = user | NamespaceType::time}, "setns time_for_children"});
    for (Case const& each : cases) {
      CAPTURE(each.name);
      CHECK(expectations([&] {
              refuse(each.refusals);
              Unchanged const unchanged;
              EXPECT(hindered(probe(each.isolation), Obstacle::seccomp, {each.step, "a seccomp filter is loaded"},
                              "filter"));
              EXPECT(unchanged.changes() == "");
            }) == 0);
    }
  }
}

TEST_CASE("a filter that is known by clone3 alone is no obstacle") {
  SKIP_UNLESS(user_namespaces(), no_users);
  for (int const error : {EPERM, ENOSYS})
    CHECK(expectations([&] {
            refuse({{cloister::detail::sys::number::clone3, error}});
            EXPECT(supported(probe(user | pid)));
          }) == 0);
}

TEST_CASE("a filter that kills is told by how the child ended") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(expectations([] {
          refuse({killing(SYS_unshare)});
          Unchanged const unchanged;
          EXPECT(hindered(probe(user | uts), Obstacle::seccomp, {"the child", "SIGSYS"}, "filter"));
          EXPECT(supported(probe(Isolation{})));
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("where a filter is loaded, other causes are told all the same") {
  SKIP_UNLESS(can_be_privileged() && user_namespaces(), no_users);
  TemporaryDirectory const directory;
  CHECK(
      unprivileged_expectations([] {
        ::prctl(PR_SET_DUMPABLE, 1);
        load_a_filter();
        EXPECT(hindered(probe(uts), Obstacle::capability));
        EXPECT(hindered(probe({.unshare = user, .ids = IdMap::ranges({{0, 12345}}, {{0, 12345}})}), Obstacle::id_map));
      }) == 0);
  CHECK(privileged_expectations([&] {
          load_a_filter();
          EXPECT(::chroot(directory.path().c_str()) == 0);
          EXPECT(hindered(probe(user), Obstacle::chroot));
        }) == 0);
}

TEST_CASE("a filter of the description's own does not keep the probe from answering") {
  SKIP_UNLESS(user_namespaces(), no_users);
  // As of a program that needs neither.
  cloister::SeccompFilter const own({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
  Isolation isolation{.unshare = user | uts, .privileges = {.no_new_privs = true, .seccomp = own}};
  CHECK_THROWS_AS(run(isolation, [] {}), cloister::ChildDied);
  CHECK(supported(probe(isolation)));
  CHECK(expectations([&] {
          EXPECT(become_root_of_a_user_namespace() && forbid(uts));
          EXPECT(hindered(probe(isolation), Obstacle::limit));
        }) == 0);
  cloister::SeccompFilter const malformed(
      {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)});
  isolation.privileges.seccomp = malformed;
  CHECK(hindered(probe(isolation), Obstacle::other, {"load seccomp filter", "malformed"}));
}

TEST_CASE("a security module that shows itself nowhere is told by there being nothing else") {
  constexpr long create_ruleset = 444, restrict_self = 446;  // landlock_create_ruleset(2) and so on
  SKIP_UNLESS(user_namespaces(), no_users);
  SKIP_UNLESS(::syscall(create_ruleset, nullptr, 0, 1) > 0, "no Landlock, which is one");
  SKIP_UNLESS(cloister::detail::evident_hint(EPERM).empty(), "a filter or another module is in force here already");
  CHECK(expectations([] {
          std::uint64_t const make_char = 1u << 6;  // forbids that, and to mount
          long const ruleset = ::syscall(create_ruleset, &make_char, sizeof make_char, 0);
          EXPECT(ruleset >= 0 && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                 ::syscall(restrict_self, ruleset, 0) == 0);
          EXPECT(supported(probe(user | uts)));
          EXPECT(hindered(probe(user | mnt), Obstacle::security_module, {"make mounts private: a security module"}));
        }) == 0);
}

// --- What the caller is in

TEST_CASE("a chroot is told to be one") {
  SKIP_UNLESS(can_be_privileged() && user_namespaces(), no_users);
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          EXPECT(hindered(probe(user | uts), Obstacle::chroot, {"unshare user|uts: ", "chroot"}, "pivot_root"));
          EXPECT(hindered(probe(user | pid), Obstacle::chroot, {"clone3 pid|user: "}));
          EXPECT(hindered(probe(mnt), Obstacle::chroot, {"make mounts private: "}, "pivot_root"));
          EXPECT(supported(probe(uts)));
        }) == 0);
}

TEST_CASE("a /proc that is hidden in part is told to be that, with a filter loaded or not") {
  SKIP_UNLESS(user_namespaces(), no_users);
  Isolation const with_proc{.unshare = user | mnt | pid, .mounts = {Mount::proc()}};
  for (bool const filter : {false, true})
    CHECK(privileged_expectations([&] {
            bool const covered = cloister::detail::proc_is_covered();
            if (filter) load_a_filter();
            if (!covered) EXPECT(supported(probe(with_proc)));
            EXPECT(::mount("none", "/proc/sys", "tmpfs", 0, nullptr) == 0);
            EXPECT(cloister::detail::proc_is_covered());
            EXPECT(hindered(probe(with_proc), Obstacle::masked_proc,
                            {"mount proc on /proc: parts of the caller's /proc are hidden"}, "bind"));
            Isolation without = with_proc;
            without.mounts.clear();
            EXPECT(supported(probe(without)));
          }) == 0);
  CHECK(privileged_expectations([&] {
          if (cloister::detail::proc_is_covered()) return;
          refuse({{430, EPERM}});  // fsopen
          EXPECT(hindered(probe(with_proc), Obstacle::seccomp, {"mount proc on /proc: a seccomp filter"}));
        }) == 0);
}

TEST_CASE("a /proc that is missing is told by what needs it") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(privileged_expectations([] {
          EXPECT(::mount("none", "/proc", "tmpfs", 0, nullptr) == 0);
          EXPECT(hindered(probe(user), Obstacle::masked_proc, {"write uid_map", "/proc is not mounted there"}));
          EXPECT(supported(probe(uts)));
        }) == 0);
}

TEST_CASE("a type that the kernel lacks is told, with the version that it came with") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          // Such a kernel has no link for it and calls it an invalid argument.
          EXPECT(::mount("none", "/proc/self/ns", "tmpfs", 0, nullptr) == 0);
          for (char const* const name : {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"})
            EXPECT(::symlink("x", (std::string("/proc/self/ns/") + name).c_str()) == 0);
          refuse({{SYS_unshare, EINVAL}});
          EXPECT(hindered(probe(uts | NamespaceType::time), Obstacle::kernel_too_old,
                          {"no time namespaces", "Linux 5.6"}));
        }) == 0);
}

TEST_CASE("a caller with threads is no obstacle to a child, and one to what the caller does to itself") {
  SKIP_UNLESS(user_namespaces(), no_users);
  CHECK(expectations([] {
          on(Where::other_thread, [] {
            EXPECT(supported(probe(user | uts)));
            EXPECT(supported(probe(CloneFlags::all())));
            Obstacle obstacle = Obstacle::none;
            try {
              cloister::unshare(user);
            } catch (Error const& error) {
              obstacle = error.obstacle();
              EXPECT(contains(std::string(error.reason()), "has threads"));
              EXPECT(error.remedy() == "start a child instead");
            }
            EXPECT(obstacle == Obstacle::threads);
          });
        }) == 0);
  // Which a kernel may say to a child for other reasons.
  CHECK(expectations([] {
          refuse({{SYS_unshare, EINVAL}});
          on(Where::other_thread, [] { EXPECT(hindered(probe(user | uts), Obstacle::other, {"Invalid argument"})); });
        }) == 0);
}

TEST_CASE("in a process that can start nothing any more the probe answers, and takes nothing with it") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer needs descriptors of its own");
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          (void)probe(Isolation{});
          ::signal(SIGCHLD, SIG_IGN);
          EXPECT(supported(probe(uts)));
          Unchanged const unchanged;
          rlimit before{};
          EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
          rlimit const full{3, before.rlim_max};
          EXPECT(::setrlimit(RLIMIT_NOFILE, &full) == 0);
          Support const support = probe(uts);
          EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
          EXPECT(hindered(support, Obstacle::other, {"Too many open files"}));
          EXPECT(unchanged.changes() == "");
        }) == 0);
  CHECK(privileged_expectations([] {
          EXPECT(::unshare(CLONE_NEWPID) == 0);
          pid_t const init = ::fork();
          if (init == 0) ::_exit(0);
          EXPECT(::waitpid(init, nullptr, 0) == init);
          EXPECT(
              hindered(probe(Isolation{}), Obstacle::other, {"the init of the pid namespace for children has ended"}));
        }) == 0);
}

// --- Ids

TEST_CASE("ids that the caller may not map are told, and which it may") {
  SKIP_UNLESS(user_namespaces(), no_users);
  Isolation const foreign{.unshare = user, .ids = IdMap::ranges({{0, 12345}}, {{0, 12345}})};
  CHECK(unprivileged_expectations([&] {
          ::prctl(PR_SET_DUMPABLE, 1);
          EXPECT(hindered(probe(foreign), Obstacle::id_map, {"write gid_map", "only one's own ids"},
                          "IdMap::subordinate()"));
          ::prctl(PR_SET_DUMPABLE, 0);
          EXPECT(hindered(probe(foreign), Obstacle::other, {"the host process is not dumpable"}, "PR_SET_DUMPABLE"));
        }) == 0);
  CHECK(expectations([&] {
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(hindered(probe(foreign), Obstacle::id_map, {"write gid_map", "user namespace does not map"}));
          cloister::detail::kernel::capability_header header{cloister::detail::kernel::capability_version_3, 0};
          cloister::detail::kernel::capability_data data[2] = {};
          EXPECT(cloister::detail::sys::capget(&header, data) == 0);
          data[0].effective &= ~(1u << cloister::detail::kernel::cap_setfcap);
          EXPECT(cloister::detail::sys::capset(&header, data) == 0);
          EXPECT(hindered(probe({.unshare = user, .ids = IdMap::root()}), Obstacle::capability,
                          {"write uid_map", "CAP_SETFCAP"}));
        }) == 0);
  CHECK(expectations([] {
          EXPECT(::unshare(CLONE_NEWUSER) == 0);
          EXPECT(hindered(probe(user), Obstacle::id_map, {"ids are not mapped"}, "uid_map"));
        }) == 0);
}

TEST_CASE("ids that nobody has lent, and programs that are not there to map them, are told") {
  SKIP_UNLESS(is_root(), "needs root, to take them from a user");
  Isolation const lent{.unshare = user, .ids = IdMap::subordinate()};
  TemporaryDirectory const directory;
  ::chmod(directory.path().c_str(), 0755);
  enum class Missing { line, file, helper };
  for (Missing const missing : {Missing::line, Missing::file, Missing::helper}) {
    CAPTURE(static_cast<int>(missing));
    CHECK(privileged_expectations([&] {
            std::string const text =
                missing == Missing::line ? "somebody:200000:1000\n" : std::to_string(nobody) + ":200000:1000\n";
            EXPECT(::mount("none", "/etc", "tmpfs", 0, nullptr) == 0);
            if (missing != Missing::file) EXPECT(write_file("/etc/subuid", text) && write_file("/etc/subgid", text));
            // A directory without a program in it.
            for (char const* const place : {"/usr/bin", "/bin", "/usr/local/bin"})
              if (missing == Missing::helper)
                EXPECT(::mount(directory.path().c_str(), place, nullptr, MS_BIND, nullptr) == 0);
            EXPECT(::setresgid(nobody, nobody, nobody) == 0 && ::setresuid(nobody, nobody, nobody) == 0);
            ::prctl(PR_SET_DUMPABLE, 1);
            if (missing == Missing::helper)
              EXPECT(hindered(probe(lent), Obstacle::id_map, {"newuidmap"}, "package uidmap"));
            else
              EXPECT(
                  hindered(probe(lent), Obstacle::id_map, {"/etc/subuid", "no ids are lent"}, "usermod --add-subuids"));
          }) == 0);
  }
}
