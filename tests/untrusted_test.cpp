// What code can try that Isolation::untrusted() is to hold. Each attempt is seen to fail inside, and, wherever that does no harm, to
// get through in a child that is isolated less: else a test would also pass for an attempt that never works.
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <cloister/run.hpp>
#include <cstring>
#include <ctime>
#include <set>

#include "caught.hpp"
#include "kinds.hpp"
#include "privileged.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
namespace ns = cloister::flags;
using cloister::Command, cloister::Descriptors, cloister::Error, cloister::IdMap, cloister::Init, cloister::Isolation,
    cloister::Mount, cloister::Output, cloister::run;
using test::contains, test::expectations, test::is_root, test::TemporaryDirectory, test::user_namespaces;
namespace detail = cloister::detail;

#define NEEDS_USER_NAMESPACES SKIP_UNLESS(user_namespaces(), "user namespaces are not to be had")

namespace {

// --- Attempts

// 0 if a call got through, else the errno with which it was refused.
int why(long result) { return result < 0 ? errno : 0; }

struct Attempt {
  std::string what;
  std::set<int> refusals;
  std::function<int()> act;
};

Isolation untrusted() { return Isolation::untrusted(); }
// As the test itself.
Isolation plain() { return {}; }
int in_a_child(Isolation const& isolation, std::function<int()> const& act) { return run(isolation, act, {.timeout = 30s}); }

// All in one child: what is refused changes nothing for the next.
void refused_inside(std::vector<Attempt> const& attempts, Isolation const& isolation = untrusted()) {
  auto const errors = run(
      isolation,
      [&] {
        std::vector<int> found;
        for (Attempt const& attempt : attempts) found.push_back(attempt.act());
        return found;
      },
      {.timeout = 30s});
  REQUIRE(errors.size() == attempts.size());
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    CAPTURE(attempts[i].what);
    CAPTURE(std::string(std::strerror(errors[i])));
    CHECK(errors[i] != 0);
    CHECK(attempts[i].refusals.count(errors[i]) == 1);
  }
}
// Each in a child of its own.
void work_outside(std::vector<Attempt> const& attempts, Isolation const& isolation = plain()) {
  for (Attempt const& attempt : attempts) {
    CAPTURE(attempt.what);
    CHECK(std::string(std::strerror(in_a_child(isolation, attempt.act))) == std::strerror(0));
  }
}

Attempt open_attempt(std::string const& path, int flags, std::set<int> refusals) {
  return {"open " + path, std::move(refusals), [path, flags] { return why(::open(path.c_str(), flags | O_CLOEXEC)); }};
}

// --- Programs

Output shell(Isolation const& isolation, std::string const& script) {
  return run(isolation, Command{"/bin/sh", "-c", script}, {.timeout = 30s});
}
std::vector<std::string> words_of(std::string const& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}
bool exists(std::string const& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

// --- The machine

bool has_capability(unsigned number) {
  detail::kernel::capability_header header{detail::kernel::capability_version_3, 0};
  detail::kernel::capability_data data[2] = {};
  return detail::sys::capget(&header, data) == 0 && (data[number / 32].effective >> (number % 32) & 1) != 0;
}
// Whether a process may look into others of its user that are not below it, where Yama is asked.
bool may_trace_the_parent() {
  try {
    return test::read_file("/proc/sys/kernel/yama/ptrace_scope")[0] == '0';
  } catch (std::system_error const&) {
    return true;
  }
}

// What is numbered in a directory such as /proc.
std::set<int> numbers_in(std::string const& path) {
  std::set<int> numbers;
  for (std::string const& name : test::detail::names_in(path))
    if (name.find_first_not_of("0123456789") == std::string::npos) numbers.insert(std::stoi(name));
  return numbers;
}

std::string const a_secret = "the host's secret";

}  // namespace

// --- Descriptors and directories

TEST_CASE("a descriptor that the host has open is not there inside") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(test::write_file(directory / "secret", a_secret));
  int const inherited = ::open((directory / "secret").c_str(), O_RDONLY);  // also over an execve
  int const low = ::fcntl(inherited, F_DUPFD, 7);
  std::vector<Attempt> const attempts{
      {"read it", {EBADF}, [=] {
         char byte;
         return why(::pread(inherited, &byte, 1, 0));
       }},
      {"open it by /proc", {ENOENT}, [=] {
         return why(::open(("/proc/self/fd/" + std::to_string(inherited)).c_str(), O_RDONLY | O_CLOEXEC));
       }}};
  work_outside(attempts);
  refused_inside(attempts);

  // What a program is born with.
  std::string const list = "ls -l /proc/self/fd";
  std::string const inside = shell(untrusted(), list).out;
  CHECK(contains(inside, " 2 -> "));
  CHECK_FALSE(contains(inside, "secret"));
  CHECK_FALSE(contains(inside, "socket:"));
  ::close(inherited);
  ::close(low);
}

TEST_CASE("a directory that the host has open leads nowhere, unless it is handed over") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(::mkdir((directory / "open").c_str(), 0777) == 0);
  REQUIRE(test::write_file(directory / "secret", a_secret));
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  int const fd = ::open((directory / "open").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::vector<Attempt> const attempts{
      {"open what lies beside it", {EBADF}, [=] { return why(::openat(fd, "../secret", O_RDONLY | O_CLOEXEC)); }},
      {"go there", {EBADF}, [=] { return why(::fchdir(fd)); }}};
  work_outside(attempts);
  refused_inside(attempts);
  // It is the descriptor that counts: with it there would be a way out, and so it is the user's to say.
  Isolation holding = untrusted();
  holding.descriptors = Descriptors::only({fd});
  work_outside(attempts, holding);
  ::close(fd);
}

TEST_CASE("the host's current directory is left behind") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(test::write_file(directory / "secret", a_secret));
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  CHECK(expectations([&] {
          EXPECT(::chdir(directory.path().c_str()) == 0);
          auto const open_it = [] { return why(::open("secret", O_RDONLY | O_CLOEXEC)); };
          EXPECT(in_a_child(plain(), open_it) == 0);
          EXPECT(in_a_child(untrusted(), open_it) == ENOENT);
          EXPECT(run(untrusted(), [] { return test::detail::link_target("/proc/self/cwd"); }) == "/");
          EXPECT(shell(untrusted(), "pwd; cat secret").out == "/\n");
          EXPECT(shell(plain(), "cat secret").out == a_secret);
        }) == 0);
}

TEST_CASE("there is nothing above the root directory") {
  NEEDS_USER_NAMESPACES;
  CHECK(run(untrusted(), [] {
    struct stat root {}, above {};
    ::stat("/", &root);
    for (int i = 0; i < 40; ++i)
      if (::chdir("..") != 0) return false;
    ::stat(".", &above);
    char here[4096];
    return root.st_ino == above.st_ino && root.st_dev == above.st_dev && ::getcwd(here, sizeof here) == "/"s;
  }));
}

TEST_CASE("no file of the host is there but what lies in /usr") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(test::write_file(directory / "secret", a_secret));
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  std::vector<std::string> paths{directory / "secret"};
  for (char const* path : {"/etc/passwd", "/etc/shadow", "/etc/hosts", "/etc/ssl", "/etc/ld.so.conf", "/root", "/home", "/var", "/run",
                           "/boot", "/mnt", "/media", "/opt", "/srv", "/sys", "/lost+found", "/dev/kmsg", "/dev/mem", "/dev/disk"})
    if (exists(path)) paths.emplace_back(path);
  std::vector<Attempt> attempts;
  for (std::string const& path : paths)
    attempts.push_back({"look at " + path, {ENOENT}, [path] {
                          struct stat facts {};
                          return why(::lstat(path.c_str(), &facts));
                        }});
  work_outside(attempts);
  refused_inside(attempts);
  for (std::string const& path : paths) CHECK_FALSE(shell(untrusted(), "test -e " + path).status.success());
  CHECK(shell(plain(), "test -e " + paths.front()).status.success());

  std::set<std::string> const allowed{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "proc", "dev", "tmp"};
  for (std::string const& name : run(untrusted(), [] { return test::detail::names_in("/"); })) CHECK(allowed.count(name) == 1);
  std::set<std::string> const in_etc{"alternatives", "ld.so.cache"};
  for (std::string const& name : run(untrusted(), [] { return test::detail::names_in("/etc"); })) CHECK(in_etc.count(name) == 1);
  CHECK(run(untrusted(), [] { return test::detail::names_in("/tmp"); }).empty());
}

TEST_CASE("no file can be made or changed outside of /tmp and /dev/shm") {
  NEEDS_USER_NAMESPACES;
  std::vector<Attempt> attempts;
  for (char const* directory : {"/", "/usr", "/usr/bin", "/etc", "/dev", "/proc", "/proc/self"}) {
    std::string const path = directory + "/a-new-one"s;
    attempts.push_back(open_attempt(path, O_CREAT | O_WRONLY, {EROFS, EACCES, ENOENT}));
    attempts.push_back({"mkdir " + path, {EROFS, EACCES, ENOENT}, [path] { return why(::mkdir(path.c_str(), 0777)); }});
  }
  attempts.push_back(open_attempt("/usr/bin/env", O_WRONLY, {EROFS, EACCES}));
  attempts.push_back({"chmod /", {EROFS}, [] { return why(::chmod("/", 0777)); }});
  attempts.push_back({"chmod /dev", {EROFS}, [] { return why(::chmod("/dev", 0777)); }});
  attempts.push_back({"remove /dev/null", {EROFS, EBUSY}, [] { return why(::unlink("/dev/null")); }});
  attempts.push_back({"remove /bin", {EROFS, EXDEV}, [] { return why(::rename("/bin", "/tmp/bin")); }});
  attempts.push_back({"chmod /dev/null", {EPERM, EROFS}, [] { return why(::chmod("/dev/null", 0666)); }});
  refused_inside(attempts);
  for (char const* path : {"/tmp/file", "/dev/shm/file"})
    work_outside({open_attempt(path, O_CREAT | O_WRONLY, {})}, untrusted());
  CHECK_FALSE(shell(untrusted(), "echo > /file || echo > /usr/file || echo > /etc/file || echo > /dev/file").status.success());
  CHECK(shell(untrusted(), "echo > /tmp/file").status.success());
}

TEST_CASE("files in a directory of the host that is shown inside never come to belong to root") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(::chmod(directory.path().c_str(), 0777) == 0);
  Isolation isolation = untrusted();
  isolation.mounts.push_back(Mount::bind(directory.path(), "/work"));
  CHECK(in_a_child(isolation, [] { return why(::open("/work/by-callable", O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); }) == 0);
  CHECK(shell(isolation, "echo > /work/by-program && chmod 4755 /work/by-program").status.success());
  for (char const* name : {"by-callable", "by-program"}) {
    struct stat facts {};
    REQUIRE(::stat((directory / name).c_str(), &facts) == 0);
    CHECK(facts.st_uid == (is_root() ? 65534 : ::geteuid()));
    CHECK(facts.st_gid == (is_root() ? 65534 : ::getegid()));
  }
}

// --- Processes

TEST_CASE("/proc shows the processes of the sandbox and no other") {
  NEEDS_USER_NAMESPACES;
  auto const pids = [] { return numbers_in("/proc"); };
  CHECK(run(plain(), pids).count(::getpid()) == 1);
  CHECK(run(untrusted(), pids) == std::set<int>{1, 2});
  std::vector<std::string> const seen = words_of(shell(untrusted(), "cd /proc && echo [0-9]*").out);
  CHECK(seen == std::vector<std::string>{"1", "2"});
  Attempt const attempt{"look at the host's process", {ENOENT}, [host = ::getpid()] {
                          return why(::open(("/proc/" + std::to_string(host) + "/status").c_str(), O_RDONLY | O_CLOEXEC));
                        }};
  work_outside({attempt});
  refused_inside({attempt});
}

TEST_CASE("the reaper's memory, environment, descriptors and directories are closed to those inside") {
  NEEDS_USER_NAMESPACES;
  auto const files_of = [](std::string const& process, std::vector<std::string> const& names) {
    std::vector<Attempt> attempts;
    for (std::string const& name : names) {
      std::string const path = process + "/" + name;
      attempts.push_back({"read " + path, {EACCES, EPERM}, [path] {
                            int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
                            char byte;
                            return fd < 0 ? errno : why(::read(fd, &byte, 1));
                          }});
    }
    return attempts;
  };
  auto const links_of = [](std::string const& process, std::vector<std::string> const& names) {
    std::vector<Attempt> attempts;
    for (std::string const& name : names) {
      std::string const path = process + "/" + name;
      attempts.push_back({"follow " + path, {EACCES, EPERM}, [path] {
                            char target[4096];
                            return why(::readlink(path.c_str(), target, sizeof target));
                          }});
    }
    return attempts;
  };
  refused_inside(files_of("/proc/1", {"mem", "environ", "maps", "auxv", "smaps", "pagemap", "task/1/environ", "task/1/mem"}));
  refused_inside(links_of("/proc/1", {"root", "cwd", "exe", "ns/user", "ns/pid", "ns/mnt"}));
  refused_inside({{"list /proc/1/fd", {EACCES, EPERM}, [] { return why(::open("/proc/1/fd", O_RDONLY | O_DIRECTORY)); }},
                  {"list /proc/1/map_files", {EACCES, EPERM}, [] {
                     int const fd = ::open("/proc/1/map_files", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                     char entries[1024];
                     return fd < 0 ? errno : why(::syscall(SYS_getdents64, fd, entries, sizeof entries));
                   }},
                  open_attempt("/proc/1/root/etc/passwd", O_RDONLY, {EACCES, EPERM}),
                  open_attempt("/proc/1/mem", O_RDWR, {EACCES, EPERM})});
  std::string const host = "/proc/" + std::to_string(::getpid());
  work_outside(files_of(host, {"environ", "maps", "auxv"}));
  work_outside(links_of(host, {"root", "cwd", "exe", "ns/pid"}));
  CHECK_FALSE(shell(untrusted(), "cat /proc/1/environ || cat /proc/1/maps || ls /proc/1/root/ || ls /proc/1/fd/").status.success());
}

TEST_CASE("the reaper cannot be traced, read or written, not even at the first moment") {
  NEEDS_USER_NAMESPACES;
  static std::uint64_t volatile word = 42;
  auto const trace = [](int request) {
    return [request] { return why(::ptrace(static_cast<__ptrace_request>(request), 1, nullptr, nullptr)); };
  };
  auto const memory = [](auto call, pid_t of) {
    return [call, of] {
      std::uint64_t here = 0;
      iovec local{&here, sizeof here}, remote{const_cast<std::uint64_t*>(&word), sizeof word};
      return why(call(of, &local, 1, &remote, 1, 0));
    };
  };
  std::vector<Attempt> const attempts{{"PTRACE_ATTACH", {EPERM}, trace(PTRACE_ATTACH)},
                                      {"PTRACE_SEIZE", {EPERM}, trace(PTRACE_SEIZE)},
                                      {"process_vm_readv", {EPERM}, memory(::process_vm_readv, 1)},
                                      {"process_vm_writev", {EPERM}, memory(::process_vm_writev, 1)},
                                      {"pidfd_getfd", {EPERM}, [] {
                                         int const pidfd = static_cast<int>(::syscall(SYS_pidfd_open, 1, 0));
                                         return why(::syscall(SYS_pidfd_getfd, pidfd, 0, 0));
                                       }}};
  // It is a copy of the host until it has shut itself off: whoever is quick must not find it open.
  for (int i = 0; i < 20; ++i) refused_inside({attempts[static_cast<std::size_t>(i) % attempts.size()]});
  refused_inside(attempts);
  if (may_trace_the_parent()) work_outside({{"process_vm_readv", {}, memory(::process_vm_readv, ::getpid())}});
  // Tracing is not forbidden as such: what belongs to the sandbox may be looked at.
  CHECK(run(untrusted(), [] {
    pid_t const child = ::fork();
    if (child == 0) {
      ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    bool const traced = WIFSTOPPED(status) && ::ptrace(PTRACE_CONT, child, nullptr, nullptr) == 0;
    ::kill(child, SIGKILL);
    return traced;
  }));
}

TEST_CASE("a callable cannot write to this program's file, nor a program to its own") {
  NEEDS_USER_NAMESPACES;
  // ETXTBSY for the owner of a file that runs: Linux 6.11 and 6.12 allowed even that.
  refused_inside({open_attempt("/proc/self/exe", O_WRONLY, {EACCES, ETXTBSY, EROFS}),
                  open_attempt("/proc/self/exe", O_RDWR, {EACCES, ETXTBSY, EROFS})});
  CHECK_FALSE(shell(untrusted(), "(: >>/proc/self/exe) || (: >>/usr/bin/env) || (: >>/bin/sh)").status.success());
}

TEST_CASE("a callable cannot change the mode of this program's file") {
  NEEDS_USER_NAMESPACES;
  struct stat facts {};
  REQUIRE(::stat("/proc/self/exe", &facts) == 0);
  SKIP_UNLESS(is_root() || facts.st_uid != ::geteuid(), "this program's file belongs to the user who runs it, who keeps that power");
  refused_inside({{"chmod", {EPERM, EROFS}, [mode = facts.st_mode & 07777] { return why(::chmod("/proc/self/exe", mode)); }}});
}

TEST_CASE("what is mapped cannot be opened by way of /proc/self/map_files") {
  NEEDS_USER_NAMESPACES;
  auto const open_all = [] {
    int last = ENOENT;
    for (std::string const& name : test::detail::names_in("/proc/self/map_files"))
      if ((last = why(::open(("/proc/self/map_files/" + name).c_str(), O_RDONLY | O_CLOEXEC))) == 0) return 0;
    return last;
  };
  refused_inside({{"open what is mapped", {EPERM, ENOENT}, open_all}});
  if (is_root() && has_capability(CAP_SYS_ADMIN)) work_outside({{"open what is mapped", {}, open_all}});
}

TEST_CASE("no signal gets out, and no handle on a process of the host in") {
  NEEDS_USER_NAMESPACES;
  int hold[2];
  REQUIRE(::pipe2(hold, O_CLOEXEC) == 0);
  pid_t const victim = ::fork();
  if (victim == 0) {
    if (is_root()) (void)::setresuid(65534, 65534, 65534);  // the user that root's sandbox runs as
    char byte;
    ::close(hold[1]);
    (void)!::read(hold[0], &byte, 1);  // until we let go of it
    ::_exit(33);
  }
  std::vector<Attempt> const attempts{
      {"kill(host, 0)", {ESRCH}, [host = ::getpid()] { return why(::kill(host, 0)); }},
      {"kill(victim, 0)", {ESRCH}, [=] { return why(::kill(victim, 0)); }},
      {"pidfd_open", {ESRCH}, [=] { return why(::syscall(SYS_pidfd_open, victim, 0)); }},
      {"kill the group", {ESRCH}, [group = ::getpgrp()] { return why(::kill(-group, 0)); }},
      {"setpriority", {ESRCH}, [=] { return why(::setpriority(PRIO_PROCESS, static_cast<id_t>(victim), 19)); }},
      {"prlimit", {ESRCH}, [=] { return why(::prlimit(victim, RLIMIT_CORE, nullptr, nullptr)); }},
      {"sched_setaffinity", {ESRCH}, [=] {
         cpu_set_t all;
         std::memset(&all, 0xff, sizeof all);
         return why(::sched_setaffinity(victim, sizeof all, &all));
       }}};
  refused_inside(attempts);
  work_outside({attempts[0], attempts[1], attempts[2], attempts[3]});

  // Everybody that it may signal: in the sandbox alone, or it would not be tried.
  CHECK(run(untrusted(), [] {
    if (::getpid() != 2) return false;
    pid_t const child = ::fork();
    if (child == 0)
      for (;;) ::pause();
    if (::kill(-1, SIGKILL) != 0) return false;
    int status = 0;
    return ::waitpid(child, &status, 0) == child && WIFSIGNALED(status);
  }));
  ::close(hold[1]);
  int status = 0;
  ::waitpid(victim, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 33);
  ::close(hold[0]);
}

TEST_CASE("the reaper cannot be killed or stopped from inside") {
  NEEDS_USER_NAMESPACES;
  CHECK(run(untrusted(), [] {
          for (int const signal : {SIGTERM, SIGSEGV, SIGABRT, SIGRTMAX}) ::signal(signal, SIG_IGN);  // they come back to us
          for (int const signal : {SIGKILL, SIGSTOP, SIGTERM, SIGSEGV, SIGABRT, SIGRTMAX}) ::kill(1, signal);
          ::usleep(20'000);
          return 42;
        }, {.timeout = 30s}) == 42);
  CHECK(shell(untrusted(), "kill -KILL 1; kill -STOP 1; exit 42").status.code() == 42);
}

TEST_CASE("the channel to the host is no handle on the host's process") {
  NEEDS_USER_NAMESPACES;
  constexpr int so_peerpidfd = 77;  // Linux 6.5
  auto const of_the_peer = [](auto call) {
    return [call]() -> int {
      for (int fd = 3; fd < 64; ++fd) {
        int pidfd = -1;
        socklen_t size = sizeof pidfd;
        if (::getsockopt(fd, SOL_SOCKET, so_peerpidfd, &pidfd, &size) == 0) return why(call(pidfd));
      }
      return ENOPROTOOPT;
    };
  };
  // ENOENT and the like: it may be that there is none to be had.
  std::set<int> const none{EPERM, EACCES, EINVAL, ESRCH, EBADF, ENOPROTOOPT};
  refused_inside({{"signal", none, of_the_peer([](int fd) { return ::syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0); })},
                  {"take a descriptor", none, of_the_peer([](int fd) { return ::syscall(SYS_pidfd_getfd, fd, 0, 0); })},
                  {"join", none, of_the_peer([](int fd) { return long{::setns(fd, CLONE_NEWUTS)}; })},
                  {"look at its namespaces", none,
                   of_the_peer([](int fd) { return long{::ioctl(fd, detail::kernel::pidfd_get_pid_namespace, 0)}; })}});
}

TEST_CASE("orphans and daemons end with the sandbox") {
  NEEDS_USER_NAMESPACES;
  auto const daemon_survives = [](Isolation isolation) {
    int hold[2];
    REQUIRE(::pipe2(hold, O_CLOEXEC) == 0);
    isolation.descriptors = Descriptors::only({hold[1]});
    pid_t const pid = run(isolation, [&] {
      pid_t const middle = ::fork();
      if (middle == 0) {
        ::setsid();
        pid_t const daemon = ::fork();
        if (daemon == 0) {
          for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_IGN);
          // As seen from here: what a test starts outside has to be ended.
          pid_t const self = ::getpid();
          (void)!::write(hold[1], &self, sizeof self);
          for (;;) ::pause();
        }
        ::_exit(0);
      }
      ::waitpid(middle, nullptr, 0);
      ::usleep(50'000);
      return ::getpid();
    });
    CHECK(pid > 0);
    ::close(hold[1]);
    pid_t daemon = -1;
    CHECK(::read(hold[0], &daemon, sizeof daemon) == sizeof daemon);
    // The pipe ends when nobody has it open any more.
    pollfd ended{hold[0], POLLIN, 0};
    bool const survives = ::poll(&ended, 1, isolation.init == Init::none ? 100 : 10'000) == 0;
    if (survives && isolation.init == Init::none) ::kill(daemon, SIGKILL);
    ::close(hold[0]);
    return survives;
  };
  CHECK(daemon_survives(plain()));
  CHECK_FALSE(daemon_survives(untrusted()));
  // A program's as well: it would hold the output open.
  auto const start = std::chrono::steady_clock::now();
  CHECK(shell(untrusted(), "setsid sleep 1000 & exit 0").status.success());
  CHECK(std::chrono::steady_clock::now() - start < 20s);
}
