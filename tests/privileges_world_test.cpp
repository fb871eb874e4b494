// What is taken from a child before it begins: capabilities, limits, system calls, nesting, keys.
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <map>

#include "privileged.hpp"
#include "refusal.hpp"

using namespace cloister::flags;
using namespace test;
using namespace std::string_literals;
using cloister::Capabilities, cloister::Capability, cloister::ChildProcess, cloister::CloneFlags, cloister::Command,
    cloister::Descriptors, cloister::Error, cloister::ExitStatus, cloister::IdMap, cloister::Init, cloister::Isolation,
    cloister::Privileges, cloister::Resource, cloister::ResourceLimit, cloister::run, cloister::SeccompFilter,
    cloister::Session;

namespace {

Isolation with(Kind const& kind, Privileges const& privileges) {
  Isolation isolation = kind.isolation();
  isolation.privileges = privileges;
  return isolation;
}

// The fields of /proc/self/status as a child of that kind sees them.
using Status = std::map<std::string, std::string>;
Status parsed(std::string const& text) {
  Status status;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (std::size_t const colon = line.find(":\t"); colon != line.npos)
      status[line.substr(0, colon)] = line.substr(colon + 2);
  return status;
}
Status status_in(Kind const& kind, Isolation const& isolation) {
  if (kind.program) return parsed(run(isolation, Command{"cat", "/proc/self/status"}).out);
  return parsed(run(isolation, [] { return read_file("/proc/thread-self/status"); }));
}
std::uint64_t set_of(Status const& status, std::string const& name) {
  return std::strtoull(status.at(name).c_str(), nullptr, 16);
}
constexpr std::uint64_t bit(Capability capability) { return std::uint64_t{1} << static_cast<unsigned>(capability); }

// All kinds that may drop capabilities without further ado: an unprivileged caller's need a user namespace.
std::vector<Kind> privileged_kinds() {
  std::vector<Kind> some;
  for (Kind& kind : kinds())
    if (is_root() || kind.flags.contains(user)) some.push_back(std::move(kind));
  return some;
}

void start(Isolation const& isolation, bool program) {
  if (program)
    (void)run(isolation, Command{"true"});
  else
    run(isolation, [] {});
}

int forks = 0;
// That the start of either kind is refused before any process exists.
template <class Exception>
std::string refusal(Isolation const& isolation) {
  static int const counting = ::pthread_atfork([] { ++forks; }, nullptr, nullptr);
  REQUIRE(counting == 0);
  int const before = forks;
  std::string const callable = text_of<Exception>([&] { start(isolation, false); });
  CHECK(callable == text_of<Exception>([&] { start(isolation, true); }));
  CHECK(forks == before);
  return callable;
}

// A filter that answers this call with that errno.
SeccompFilter refusing(long call, int error) {
  return SeccompFilter({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
}

// A filter that kills who makes this call, or only where this argument has one of these bits.
SeccompFilter deadly(long call, unsigned argument = 0, std::uint32_t bits = 0) {
  constexpr std::size_t low_half = std::endian::native == std::endian::big ? sizeof(std::uint32_t) : 0;
  std::size_t const at = offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t) + low_half;
  return SeccompFilter({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(at)),
      bits == 0 ? sock_filter BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0, 0, 1)
                : sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
}

}  // namespace

// --- no_new_privs

TEST_CASE("no_new_privs is set in children of every kind where it is asked for, and only there") {
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      CHECK(on(where, [&] { return status_in(kind, with(kind, {.no_new_privs = true})); })["NoNewPrivs"] == "1");
      CHECK(on(where, [&] { return status_in(kind, kind.isolation()); })["NoNewPrivs"] ==
            parsed(read_file("/proc/thread-self/status"))["NoNewPrivs"]);
    }
}

// --- Capabilities

TEST_CASE("a child with no capabilities has none in any set, and no program brings one back") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : privileged_kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Status const status =
          on(where, [&] { return status_in(kind, with(kind, {.capabilities = Capabilities::none()})); });
      for (char const* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
        CAPTURE(std::string(set));
        CHECK(set_of(status, set) == 0);
      }
    }
}

TEST_CASE("a child keeps the capabilities of only(), a callable as they are, root inside over an execve") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  Privileges const some{.capabilities = Capabilities::only({Capability::net_raw, Capability::sys_chroot})};
  std::uint64_t const bits = bit(Capability::net_raw) | bit(Capability::sys_chroot);
  for (Kind const& kind : privileged_kinds()) {
    CAPTURE(kind.name);
    Isolation isolation = with(kind, some);
    if (kind.flags.contains(user) && !kind.ids) isolation.ids = IdMap::root();
    Status const status = status_in(kind, isolation);
    CHECK(set_of(status, "CapBnd") == bits);
    CHECK(set_of(status, "CapPrm") == bits);
    CHECK(set_of(status, "CapEff") == bits);
    CHECK(set_of(status, "CapInh") == 0);
    CHECK(set_of(status, "CapAmb") == 0);
  }
}

TEST_CASE("who is not root inside keeps the capabilities of only() until an execve") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  std::uint32_t const uid = ::geteuid(), gid = ::getegid();
  Isolation const isolation{.unshare = user,
                            .ids = IdMap::ranges({{1000, uid}}, {{1000, gid}}),
                            .privileges = {.capabilities = Capabilities::only({Capability::kill})}};
  Kind kind{};
  CHECK(set_of(status_in(kind, isolation), "CapEff") == bit(Capability::kill));
  kind.program = true;
  CHECK(set_of(status_in(kind, isolation), "CapEff") == 0);
  CHECK(set_of(status_in(kind, isolation), "CapBnd") == bit(Capability::kill));
}

TEST_CASE("a capability that is kept works, and one that is not does not") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  auto const rename = [](Capabilities const& kept) {
    Isolation isolation{.unshare = user | uts, .privileges = {.capabilities = kept}};
    return run(isolation, [] { return ::sethostname("other", 5) == 0 ? 0 : errno; });
  };
  CHECK(rename(Capabilities::inherit()) == 0);
  CHECK(rename(Capabilities::only({Capability::sys_admin})) == 0);
  CHECK(rename(Capabilities::only({Capability::net_admin})) == EPERM);
  CHECK(rename(Capabilities::none()) == EPERM);
}

TEST_CASE("the world is made before the capabilities go") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (bool const program : {false, true})
    for (Init const init : {Init::none, Init::reaper}) {
      Isolation isolation{.unshare = user | pid | mnt | uts | net | ipc,
                          .hostname = "box",
                          .mounts = {cloister::Mount::proc()},
                          .privileges = {.no_new_privs = true, .capabilities = Capabilities::none()},
                          .descriptors = Descriptors::none(),
                          .session = Session::fresh,
                          .init = init};
      Kind kind{};
      kind.program = program;
      Status const status = status_in(kind, isolation);
      CHECK(set_of(status, "CapEff") == 0);
      CHECK(status.at("NoNewPrivs") == "1");
    }
}

TEST_CASE("the inheritable and the ambient set are emptied where capabilities are not all inherited") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  int const status = privileged_expectations([] {
    cloister::detail::kernel::capability_header header{cloister::detail::kernel::capability_version_3, 0};
    cloister::detail::kernel::capability_data data[2] = {};
    EXPECT(cloister::detail::sys::capget(&header, data) == 0);
    for (auto& part : data) part.inheritable = part.permitted;
    EXPECT(cloister::detail::sys::capset(&header, data) == 0);
    EXPECT(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, static_cast<int>(Capability::net_raw), 0, 0) == 0);
    for (bool const program : {false, true}) {
      Kind kind{};
      kind.program = program;
      Status const kept = status_in(kind, Isolation{});
      EXPECT(set_of(kept, "CapInh") != 0 && set_of(kept, "CapAmb") == bit(Capability::net_raw));
      for (Capabilities const& some : {Capabilities::none(), Capabilities::only({Capability::net_raw})}) {
        Status const seen = status_in(kind, Isolation{.privileges = {.capabilities = some}});
        EXPECT(set_of(seen, "CapInh") == 0);
        EXPECT(set_of(seen, "CapAmb") == 0);
        EXPECT(set_of(seen, "CapBnd") == some.bits());
      }
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a capability that the caller has not got is refused before any process exists") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  Isolation isolation{.privileges = {.capabilities = Capabilities::only({Capability::chown, Capability::sys_time})}};
  int const status = unprivileged_expectations([&] {
    EXPECT(drop_capabilities());
    for (bool const program : {false, true})
      EXPECT(fails_with(EPERM, "privileges", [&] { start(isolation, program); },
                        {"cloister: privileges capability chown: Operation not permitted",
                         "the caller has not got it, so that nothing of it could be kept"}));
    // In a user namespace of its own it has them all.
    isolation.unshare = user;
    if (user_namespaces()) {
      ::prctl(PR_SET_DUMPABLE, 1);
      start(isolation, false);
    }
  });
  CHECK(status == 0);
  if (is_root()) return;
  isolation.unshare = {};
  CHECK(contains(refusal<Error>(isolation), "capability chown"));
}

TEST_CASE("an unprivileged caller drops capabilities with no_new_privs, and without is told to") {
  int const status = unprivileged_expectations([] {
    EXPECT(drop_capabilities());
    Unchanged const unchanged;
    for (bool const program : {false, true}) {
      Kind kind{};
      kind.program = program;
      Isolation isolation{.privileges = {.capabilities = Capabilities::none()}};
      EXPECT(fails_with(EPERM, "drop capabilities", [&] { start(isolation, program); },
                        {"cloister: drop capabilities to none (in the child)",
                         "without CAP_SETPCAP it takes no_new_privs to keep a program from getting them back"}));
      isolation.privileges.no_new_privs = true;
      EXPECT(set_of(status_in(kind, isolation), "CapPrm") == 0);
    }
    EXPECT(unchanged.changes().empty());
  });
  CHECK(status == 0);
}

// --- Limits

TEST_CASE("limits are those of the child alone, callable or program") {
  Unchanged const unchanged;
  Privileges const limits{.limits = {{Resource::open_files, 64, 128},
                                     {Resource::core, 0},
                                     {Resource::cpu, 30, 40},
                                     {Resource::file_size, 1 << 20},
                                     {Resource::stack, 1 << 20, 2 << 20}}};
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      std::string const text = on(where, [&] {
        Isolation const isolation = with(kind, limits);
        if (kind.program) return run(isolation, Command{"cat", "/proc/self/limits"}).out;
        return run(isolation, [] { return read_file("/proc/self/limits"); });
      });
      auto const shown = [&](std::string const& name) {
        std::size_t const at = text.find(name);
        std::istringstream words(text.substr(at == text.npos ? text.size() : at + 26));
        std::string soft, hard;
        words >> soft >> hard;
        return soft + " " + hard;
      };
      CHECK(shown("Max open files") == "64 128");
      CHECK(shown("Max core file size") == "0 0");
      CHECK(shown("Max cpu time") == "30 40");
      CHECK(shown("Max file size") == "1048576 1048576");
      CHECK(shown("Max stack size") == "1048576 2097152");
    }
}

TEST_CASE("a limit bites: files, memory, processor time") {
  Isolation isolation;
  isolation.privileges.limits = {{Resource::open_files, 20}};
  CHECK(run(isolation, [] {
          while (::dup(2) >= 0) {
          }
          return errno;
        }) == EMFILE);
  isolation.privileges.limits = {{Resource::cpu, 1}};
  CHECK(run(isolation, Command{"sh", "-c", "while :; do :; done"}).status.signal() == SIGKILL);
  isolation.privileges.limits = {{Resource::cpu, 1, 2}};
  CHECK(run(isolation, Command{"sh", "-c", "while :; do :; done"}).status.signal() == SIGXCPU);
  TemporaryDirectory const directory;
  std::string const file = directory / "file";
  isolation.privileges.limits = {{Resource::file_size, 4096}};
  CHECK(run(isolation, Command{"sh", "-c", "exec head -c 10000 /dev/zero > $0", file}).status.signal() == SIGXFSZ);
  CHECK(read_file(file).size() == 4096);
  if (address_sanitizer) SKIP("the sanitizer reserves more address space than any limit");
  isolation.privileges.limits = {{Resource::address_space, 256 << 20}};
  CHECK(run(isolation, [] {
    void* const memory = std::malloc(512 << 20);
    bool const refused = memory == nullptr;
    std::free(memory);
    return refused;
  }));
}

TEST_CASE(
    "a result larger than the files that a callable may write is an Error that says so, and a small one arrives") {
  Unchanged const unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation const isolation = with(kind, {.limits = {{Resource::file_size, 1000}}});
    CHECK(run(isolation, [] { return std::string(900, 'x'); }).size() == 900);
    Error const error = caught<Error>([&] { (void)run(isolation, [] { return std::string(5000, 'x'); }); });
    CHECK(error.step() == "write result");
    CHECK(error.code() == std::errc::file_too_large);
    CHECK(error.in_child());
    // What the callable itself writes beyond it ends it, unless it is PID 1.
    ExitStatus const status = ChildProcess{
        isolation, [] {
          int const fd = ::memfd_create("large", MFD_CLOEXEC);
          std::string const text(5000, 'x');
          while (::write(fd, text.data(), text.size()) > 0) {
          }
          ::_exit(7);
        }}.wait();
    CHECK(status == (kind.new_pid() && !kind.reaper() ? ExitStatus::exited(7) : ExitStatus::signaled(SIGXFSZ)));
  }
}

TEST_CASE("a limit above the caller's hard one is refused before any process exists") {
  struct rlimit before {};
  int const status = unprivileged_expectations([&] {
    EXPECT(drop_capabilities());
    EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    struct rlimit const low{100, 200};
    EXPECT(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    for (ResourceLimit const& limit : {ResourceLimit{Resource::open_files, 201},
                                       {Resource::open_files, 50, 201},
                                       {Resource::open_files, ResourceLimit::unlimited}})
      for (CloneFlags const types : {CloneFlags{}, CloneFlags(user)})
        for (bool const program : {false, true}) {
          Isolation const isolation{.unshare = types, .privileges = {.limits = {limit}}};
          EXPECT(fails_with(EPERM, "setrlimit", [&] { start(isolation, program); },
                            {"cloister: setrlimit " + to_string(limit) + ": ",
                             "the caller's hard limit is 200, and only CAP_SYS_RESOURCE raises it"}));
        }
    EXPECT(run(Isolation{.privileges = {.limits = {{Resource::open_files, 200}}}}, [] { return 1; }) == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("a soft limit above its hard one contradicts itself") {
  CHECK(refusal<std::invalid_argument>({.privileges = {.limits = {{Resource::cpu, 20, 10}}}}) ==
        "cloister: isolation: privileges: limit cpu 20 to 10: the soft one is above the hard one");
}

// --- Nesting

TEST_CASE("where nesting is forbidden there is no user namespace below, and outside there still is") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (Kind const& kind : kinds()) {
    if (!kind.flags.contains(user)) continue;
    CAPTURE(kind.name);
    Isolation isolation = with(kind, {.forbid_nesting = true});
    for (bool const own_files : {false, true}) {
      CAPTURE(own_files);
      if (own_files) isolation.unshare |= mnt | net | uts | ipc;
      if (kind.program)
        CHECK_FALSE(run(isolation, Command{"unshare", "-U", "true"}).status.success());
      else
        CHECK(run(isolation, [] { return ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno; }) == ENOSPC);
    }
    isolation.privileges.forbid_nesting = false;
    if (!kind.program) CHECK(run(isolation, [] { return ::unshare(CLONE_NEWUSER) == 0; }));
  }
  CHECK(can_unshare_user());
}

TEST_CASE("nesting is forbidden also where /proc/sys is read-only, if the child may mount a proc") {
  SKIP_UNLESS(can_be_privileged() && user_namespaces(), "no user namespaces");
  int const status = privileged_expectations([] {
    EXPECT(::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr) == 0);
    EXPECT(::mount(nullptr, "/proc/sys", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0);
    Isolation isolation{.unshare = user, .privileges = {.forbid_nesting = true}};
    for (bool const program : {false, true})
      EXPECT(fails_with(EROFS, "write max_user_namespaces", [&] { start(isolation, program); },
                        {"(in the child)", "parts of /proc/sys are read-only here, as in a container"}));
  });
  CHECK(status == 0);
}

TEST_CASE("nesting is not forbidden to the caller's own user namespace") {
  for (CloneFlags const types : {CloneFlags{}, CloneFlags(uts)})
    CHECK(contains(refusal<std::invalid_argument>({.unshare = types, .privileges = {.forbid_nesting = true}}),
                   "privileges: forbid_nesting without user in unshare"));
}

// --- Filters

TEST_CASE("a filter is loaded in children of every kind, last of all") {
  long const call = SYS_getpriority;
  Privileges const privileges{.no_new_privs = true, .capabilities = {}, .seccomp = refusing(call, EXDEV)};
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation const isolation = with(kind, privileges);
      Status const status = on(where, [&] { return status_in(kind, isolation); });
      CHECK(status.at("Seccomp") == "2");
      if (kind.program)
        CHECK(contains(on(where, [&] { return run(isolation, Command{"nice"}); }).err, "cross-device"));
      else
        CHECK(on(where, [&] {
                return run(isolation, [] { return ::syscall(call, PRIO_PROCESS, 0) < 0 ? errno : 0; });
              }) == EXDEV);
    }
}

TEST_CASE("a filter may forbid what making the world takes") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (long const call :
       {SYS_mount, SYS_setresuid, SYS_setsid, SYS_capset, SYS_prctl, SYS_unshare, SYS_fork, SYS_clone}) {
    CAPTURE(call);
    for (Init const init : {Init::none, Init::reaper}) {
      Isolation const isolation{.unshare = user | pid | mnt | uts | net | ipc,
                                .hostname = "box",
                                .mounts = {cloister::Mount::proc()},
                                .privileges = {.no_new_privs = true,
                                               .capabilities = Capabilities::none(),
                                               .limits = {{Resource::core, 0}},
                                               .forbid_nesting = true,
                                               .seccomp = refusing(call, EPERM)},
                                .session = Session::fresh,
                                .init = init};
      CHECK(run(isolation, [] { return 7; }) == 7);
      CHECK(run(isolation, Command{"true"}).status.success());
    }
  }
}

TEST_CASE("a filter that kills ends the child, which says so") {
  Isolation isolation{.privileges = {.no_new_privs = true}};
  isolation.privileges.seccomp = SeccompFilter({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
  isolation.privileges.limits = {{Resource::core, 0}};
  auto const died = caught<cloister::ChildDied>([&] { run(isolation, [] { ::getpriority(PRIO_PROCESS, 0); }); });
  CHECK(died.status().signal() == SIGSYS);
  CHECK(run(isolation, Command{"nice"}).status.signal() == SIGSYS);
}

TEST_CASE("a filter that the kernel does not take is an Error of the child, callable, program or under a reaper") {
  Unchanged const unchanged;
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    // Without a return at its end.
    Isolation isolation =
        with(kind, {.no_new_privs = true, .seccomp = SeccompFilter({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)})});
    // A callable in a network namespace of its own tells it by a channel of its own.
    for (bool const own_network : {false, true}) {
      if (own_network && !is_root() && !kind.flags.contains(user)) continue;
      CAPTURE(own_network);
      if (own_network) isolation.unshare |= net;
      Error const error = caught<Error>([&] { start(isolation, kind.program); });
      CHECK(error.code().value() == EINVAL);
      CHECK(error.step() == "load seccomp filter");
      CHECK(error.in_child());
    }
  }
}

TEST_CASE("a filter without no_new_privs is refused before any process exists") {
  CHECK(contains(refusal<std::invalid_argument>({.privileges = {.seccomp = refusing(SYS_mount, EPERM)}}),
                 "privileges: seccomp without no_new_privs"));
}

// --- Keys

TEST_CASE("a fresh session has a session keyring of its own") {
  auto const keyring = [] { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0); };
  long const own = keyring();
  SKIP_UNLESS(own >= 0, "no keys here: "s + std::strerror(errno));
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    // Another user namespace shows no key of this one's.
    long const inherited = run(isolation, keyring);
    if (!kind.flags.contains(user)) CHECK(inherited == own);
    isolation.session = Session::fresh;
    long const fresh = run(isolation, keyring);
    CHECK(fresh >= 0);
    CHECK(fresh != own);
    CHECK(fresh != inherited);
    CHECK(fresh != run(isolation, keyring));
  }
  CHECK(keyring() == own);
}

// --- Filters that reach into the start

TEST_CASE("a filter that kills at the execve itself is the program's end, and no failed start") {
  for (Kind const& kind : programs()) {
    CAPTURE(kind.name);
    Isolation isolation = with(kind, {.no_new_privs = true,
                                      .limits = {{Resource::core, 0}},
                                      .seccomp = SeccompFilter({
                                          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 0, 1),
                                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                                      })});
    for (Where const where : everywhere) {
      CAPTURE(name_of(where));
      CHECK(on(where, [&] { return run(isolation, Command{"true"}); }).status.signal() == SIGSYS);
    }
  }
}

TEST_CASE("a filter that refuses to change the signal mask leaves no signal blocked") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Isolation const isolation = with(kind, {.no_new_privs = true, .seccomp = refusing(SYS_rt_sigprocmask, EPERM)});
    for (Where const where : everywhere) {
      CAPTURE(name_of(where));
      CHECK(on(where, [&] { return status_in(kind, isolation); }).at("SigBlk") == "0000000000000000");
    }
  }
}

TEST_CASE(
    "a filter that kills who looks for a missing program hides neither the Error nor the program further on in PATH") {
  TemporaryDirectory const directory;
  ::chmod(directory.path().c_str(), 0755);
  std::string const script = directory / "script";
  REQUIRE(write_file(script, "#!/no/such/interpreter\n"));
  ::chmod(script.c_str(), 0755);
  Unchanged const unchanged;
  for (Kind const& kind : programs()) {
    CAPTURE(kind.name);
    Isolation isolation = with(kind, {.no_new_privs = true, .limits = {{Resource::core, 0}}});
    for (Where const where : everywhere) {
      CAPTURE(name_of(where));
      isolation.privileges.seccomp = deadly(SYS_openat);
      for (Command const& command :
           {Command{"/no/such/program"}, Command{"no-such-program"}.env("PATH", "/no/such/directory:/usr/bin"),
            Command{script}, Command{"script"}.env("PATH", "/no/such/directory:" + directory.path())}) {
        Error const error = caught<Error>([&] { on(where, [&] { return run(isolation, command); }); });
        CHECK(error.step() == "execve");
        CHECK(error.code().value() == ENOENT);
        CHECK(error.in_child());
      }
      // A program opens files itself, but not in this way.
      isolation.privileges.seccomp = deadly(SYS_openat, 2, O_PATH);
      Command const second = Command{"true"}.env("PATH", directory.path() + ":/usr/bin:/bin");
      CHECK(on(where, [&] { return run(isolation, second); }).status == ExitStatus::exited(0));
    }
  }
}
