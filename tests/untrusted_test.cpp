// How code can try to get at files, processes and terminals of the host out of Isolation::untrusted().
#include <endian.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <termios.h>

#include "attempts.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using namespace test;
using cloister::Command, cloister::Descriptors, cloister::Init, cloister::Isolation, cloister::Mount, cloister::Redirect, cloister::run;
using test::detail::names_in, test::detail::link_target;
namespace kernel = cloister::detail::kernel;

namespace {

// Whether a process may look into others of its user that are not below it, where Yama is asked.
bool may_trace_the_parent() {
  try {
    return read_file("/proc/sys/kernel/yama/ptrace_scope")[0] == '0';
  } catch (std::system_error const&) {
    return true;
  }
}

// What is numbered in a directory such as /proc.
std::set<int> numbers_in(std::string const& path) {
  std::set<int> numbers;
  for (std::string const& name : names_in(path))
    if (name.find_first_not_of("0123456789") == std::string::npos) numbers.insert(std::stoi(name));
  return numbers;
}

std::string const a_secret = "the host's secret";

}  // namespace

// --- Descriptors and directories

TEST_CASE("a descriptor that the host has open is not there inside") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(write_file(directory / "secret", a_secret));
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
  REQUIRE(write_file(directory / "secret", a_secret));
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

TEST_CASE("no descriptor inside leads to a directory, and none but the channel to the outside") {
  NEEDS_USER_NAMESPACES;
  auto const directories_and_others = [] {
    int directories = 0, others = 0;
    for (int fd = 0; fd < 1024; ++fd) {
      struct stat facts {};
      if (::fstat(fd, &facts) != 0) continue;
      bool const null = S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(1, 3);
      if (S_ISDIR(facts.st_mode) || ::fchdir(fd) == 0)
        ++directories;
      else if (!null)
        ++others;
    }
    return std::pair{directories, others};
  };
  CHECK(run(untrusted(), directories_and_others) == std::pair{0, 1});
  int const fd = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  CHECK(run(plain(), directories_and_others).first > 0);
  ::close(fd);
  // A program has its streams.
  CHECK(shell(untrusted(), "for fd in 0 1 2 3 4 5 6 7 8 9; do (: <&$fd) 2>/dev/null && echo $fd; done").out == "0\n1\n2\n");
}

TEST_CASE("the host's current directory is left behind") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(write_file(directory / "secret", a_secret));
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  CHECK(expectations([&] {
          EXPECT(::chdir(directory.path().c_str()) == 0);
          auto const open_it = [] { return why(::open("secret", O_RDONLY | O_CLOEXEC)); };
          EXPECT(in_a_child(plain(), open_it) == 0);
          EXPECT(in_a_child(untrusted(), open_it) == ENOENT);
          EXPECT(run(untrusted(), [] { return link_target("/proc/self/cwd"); }) == "/");
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
  REQUIRE(write_file(directory / "secret", a_secret));
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

  CHECK(run(untrusted(), [] { return only_these("/", in_the_root) && only_these("/etc", {"alternatives", "ld.so.cache"}); }));
  CHECK(run(untrusted(), [] { return names_in("/tmp"); }).empty());
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
  isolation.mounts.push_back(Mount::bind(directory.path(), "/shown"));
  CHECK(in_a_child(isolation, [] { return why(::open("/shown/by-callable", O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); }) == 0);
  CHECK(shell(isolation, "echo > /shown/by-program && chmod 4755 /shown/by-program").status.success());
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
    for (std::string const& name : names_in("/proc/self/map_files"))
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
      {"have the kernel signal it", {ESRCH}, [=] {
         int ends[2];
         return ::pipe2(ends, O_CLOEXEC) < 0 ? 0 : why(::fcntl(ends[0], F_SETOWN, victim));
       }},
      {"setpriority", {ESRCH}, [=] { return why(::setpriority(PRIO_PROCESS, static_cast<id_t>(victim), 19)); }},
      {"prlimit", {ESRCH}, [=] { return why(::prlimit(victim, RLIMIT_CORE, nullptr, nullptr)); }},
      {"sched_setaffinity", {ESRCH}, [=] {
         cpu_set_t all;
         std::memset(&all, 0xff, sizeof all);
         return why(::sched_setaffinity(victim, sizeof all, &all));
       }}};
  refused_inside(attempts);
  work_outside({attempts[0], attempts[1], attempts[2], attempts[3], attempts[4]});

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
  for (Where const where : everywhere) {
    CAPTURE(name_of(where));
    CHECK(on(where, [] {
            return run(untrusted(), [] {
              for (int const signal : {SIGTERM, SIGSEGV, SIGABRT, SIGRTMAX}) ::signal(signal, SIG_IGN);  // they come back to us
              for (int const signal : {SIGKILL, SIGSTOP, SIGTERM, SIGSEGV, SIGABRT, SIGRTMAX}) ::kill(1, signal);
              // And in the kernel's name, as news of a pipe.
              for (int const signal : {SIGKILL, SIGSTOP, SIGTERM, SIGCHLD, SIGRTMAX}) {
                int ends[2];
                if (::pipe2(ends, O_CLOEXEC) != 0 || ::fcntl(ends[0], F_SETOWN, 1) != 0 || ::fcntl(ends[0], F_SETSIG, signal) != 0 ||
                    ::fcntl(ends[0], F_SETFL, O_ASYNC) != 0 || ::write(ends[1], "x", 1) != 1)
                  return signal;
              }
              ::usleep(20'000);
              return 142;
            }, {.timeout = 30s});
          }) == 142);
    CHECK(on(where, [] { return shell(untrusted(), "kill -KILL 1; kill -STOP 1; exit 42"); }).status.code() == 42);
  }
}

TEST_CASE("the channel to the host is no handle on the host's process") {
  NEEDS_USER_NAMESPACES;
  constexpr int so_peerpidfd = 77;  // Linux 6.5
  auto const of_the_peer = [](auto call) {
    return [call]() -> int {
      for (int fd = 3; fd < 64; ++fd) {
        int pidfd = -1;
        socklen_t size = sizeof pidfd;
        if (::getsockopt(fd, SOL_SOCKET, so_peerpidfd, &pidfd, &size) != 0) continue;
        ucred peer{};
        size = sizeof peer;
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == ::getpid()) return ENOENT;  // made in here
        return why(call(pidfd));
      }
      return ENOPROTOOPT;
    };
  };
  // ENOENT and the like: it may be that there is none to be had.
  std::set<int> const none{ENOENT, EPERM, EACCES, EINVAL, ESRCH, EBADF, ENOPROTOOPT};
  refused_inside({{"signal", none, of_the_peer([](int fd) { return ::syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0); })},
                  {"take a descriptor", none, of_the_peer([](int fd) { return ::syscall(SYS_pidfd_getfd, fd, 0, 0); })},
                  {"join", none, of_the_peer([](int fd) { return long{::setns(fd, CLONE_NEWUTS)}; })},
                  {"look at its namespaces", none,
                   of_the_peer([](int fd) { return long{::ioctl(fd, kernel::pidfd_get_pid_namespace, 0)}; })}});
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

TEST_CASE("what shakes off every signal and every tie does not outlive the host") {
  NEEDS_USER_NAMESPACES;
  // The pipe ends when nobody has it open any more.
  auto const outlives_the_host = [](Isolation isolation) {
    int hold[2];
    REQUIRE(::pipe2(hold, O_CLOEXEC) == 0);
    isolation.descriptors = Descriptors::only({hold[1]});
    pid_t const host = ::fork();
    if (host == 0) {
      ::close(hold[0]);
      try {
        run(isolation, [&] {
          ::prctl(PR_SET_PDEATHSIG, 0);
          ::setsid();
          for (int signal = 1; signal <= 64; ++signal) ::signal(signal, SIG_IGN);
          for (int fd = 0; fd < 1024; ++fd)
            if (fd != hold[1]) ::close(fd);
          pid_t const self = ::getpid();
          (void)!::write(hold[1], &self, sizeof self);
          for (;;) ::pause();
        });
      } catch (...) {
      }
      ::_exit(1);
    }
    ::close(hold[1]);
    pid_t survivor = -1;
    CHECK(::read(hold[0], &survivor, sizeof survivor) == sizeof survivor);
    ::kill(host, SIGKILL);
    ::waitpid(host, nullptr, 0);
    pollfd ended{hold[0], POLLIN, 0};
    bool const outlives = ::poll(&ended, 1, isolation.init == Init::none ? 100 : 10'000) == 0;
    if (outlives && isolation.init == Init::none) ::kill(survivor, SIGKILL);
    ::close(hold[0]);
    return outlives;
  };
  CHECK(outlives_the_host(plain()));
  CHECK_FALSE(outlives_the_host(untrusted()));
}

// --- Terminals

TEST_CASE("no input is pushed into a terminal of the host, and none of it is read") {
  NEEDS_USER_NAMESPACES;
  int const master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  SKIP_UNLESS(master >= 0 && ::grantpt(master) == 0 && ::unlockpt(master) == 0, "no terminal is to be had");
  // Linux 6.2 can forbid it to all that have no privileges.
  bool const may_push = !exists("/proc/sys/dev/tty/legacy_tiocsti") || read_file("/proc/sys/dev/tty/legacy_tiocsti")[0] == '1' ||
                        has_capability(CAP_SYS_ADMIN);
  CHECK(expectations([&] {
          ::setsid();
          char name[64] = "";
          EXPECT(::ptsname_r(master, name, sizeof name) == 0);
          int const terminal = ::open(name, O_RDWR | O_CLOEXEC);  // becomes that of this session
          termios raw{};
          EXPECT(::tcgetattr(terminal, &raw) == 0);
          ::cfmakeraw(&raw);
          EXPECT(::tcsetattr(terminal, TCSANOW, &raw) == 0);
          auto const pushed = [&] {
            int count = -1;
            ::ioctl(terminal, FIONREAD, &count);
            return count;
          };
          auto const push = [](int fd) {
            char letter = 'x';
            return why(::ioctl(fd, TIOCSTI, &letter));
          };
          auto const push_by_name = [=] {
            int const fd = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
            return fd < 0 ? errno : push(fd);
          };
          std::string const by_program = "perl -e '$x = \"x\"; exit(ioctl(STDIN, " + std::to_string(TIOCSTI) + ", $x) ? 0 : 1)'";
          bool const perl = exists("/usr/bin/perl");
          auto const program = [&](Isolation const& isolation) {
            return run(isolation, Command{"/bin/sh", "-c", by_program}.stdio({.in = Redirect::descriptor(terminal)})).status.success();
          };

          int expected = 0;
          if (may_push) {
            EXPECT(in_a_child(plain(), push_by_name) == 0);
            EXPECT(in_a_child(plain(), [=] { return push(terminal); }) == 0);
            expected = 2;
            if (perl) EXPECT(program(plain()) && pushed() == ++expected);
          }
          EXPECT(shell(plain(), ": </dev/tty").status.success());
          EXPECT(pushed() == expected);

          EXPECT(in_a_child(untrusted(), push_by_name) == ENXIO);
          EXPECT(in_a_child(untrusted(), [=] { return push(terminal); }) == EBADF);
          EXPECT(!shell(untrusted(), ": </dev/tty").status.success());
          if (perl) EXPECT(!program(untrusted()));
          // Not even where it is handed over, and whoever gets it tries to make it their own.
          Isolation holding = untrusted();
          holding.descriptors = Descriptors::only({terminal});
          int const refused = in_a_child(holding, [=] { return push(terminal); });
          EXPECT(refused == EPERM || refused == EIO);
          for (int const steal : {0, 1})
            EXPECT(in_a_child(holding, [=] { return ::setsid() < 0 ? 0 : why(::ioctl(terminal, TIOCSCTTY, steal)); }) == EPERM);
          EXPECT(in_a_child(holding, [=] { return why(::tcsetpgrp(terminal, ::getpgrp())); }) == ENOTTY);
          EXPECT(pushed() == expected);
        }) == 0);
  ::close(master);
}

TEST_CASE("the sandbox has its own terminals, and is in a session without one") {
  NEEDS_USER_NAMESPACES;
  CHECK(run(untrusted(), [] { return names_in("/dev/pts"); }) == std::vector<std::string>{"ptmx"});
  CHECK(words_of(shell(untrusted(), "cd /dev/pts && echo *").out) == std::vector<std::string>{"ptmx"});
  CHECK(run(untrusted(), [] { return ::getsid(0); }) == 1);  // that of its reaper, as seen from there
  CHECK(run(plain(), [] { return ::getsid(0); }) == ::getsid(0));
  // One that is opened inside is the first of its own, whatever there is outside.
  CHECK(run(untrusted(), [] {
          int const master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
          return master >= 0 && ::unlockpt(master) == 0 ? std::string(::ptsname(master)) : std::string(std::strerror(errno));
        }) == "/dev/pts/0");
  std::vector<Attempt> consoles;
  for (char const* path : {"/dev/console", "/dev/tty0", "/dev/tty1", "/dev/ttyS0", "/dev/vcs", "/dev/vcsa", "/dev/uinput", "/dev/input"})
    consoles.push_back(open_attempt(path, O_RDONLY | O_NOCTTY, {ENOENT}));
  refused_inside(consoles);
}

// --- Programs of other users

TEST_CASE("no program gives back what was taken: set-user-id and capabilities of files mean nothing") {
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(has_capability(CAP_SETFCAP) && is_root(), "it takes root to make such programs");
  TemporaryDirectory const directory;
  struct statvfs where {};
  REQUIRE(::statvfs(directory.path().c_str(), &where) == 0);
  SKIP_UNLESS((where.f_flag & (ST_NOSUID | ST_NOEXEC)) == 0, "programs mean nothing in the directory for temporary files");
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  REQUIRE(shell(plain(), "cp /usr/bin/id /usr/bin/cat " + directory.path()).status.success());
  REQUIRE(::chmod((directory / "id").c_str(), 06755) == 0);
  vfs_cap_data const net_raw{::htole32(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE), {{::htole32(1 << CAP_NET_RAW), 0}, {0, 0}}};
  REQUIRE(::setxattr((directory / "cat").c_str(), "security.capability", &net_raw, sizeof net_raw, 0) == 0);

  auto const capabilities = [](std::string const& status) {
    std::size_t const at = status.find("CapEff:\t");
    return at == std::string::npos ? "did not run" : status.substr(at + 8, 16);
  };
  CHECK(unprivileged_expectations([&] {
          EXPECT(shell(plain(), (directory / "id") + " -u").out == "0\n");
          EXPECT(capabilities(shell(plain(), (directory / "cat") + " /proc/self/status").out) == "0000000000002000");
        }) == 0);
  for (bool const with_setuid : {false, true}) {
    CAPTURE(with_setuid);
    Isolation isolation = untrusted();
    Mount const bind = Mount::bind(directory.path(), "/shown");
    isolation.mounts.push_back(with_setuid ? bind.with_setuid() : bind);
    CHECK(shell(isolation, "/shown/id -u; /shown/id -g").out == "65534\n65534\n");
    // Where the file's capabilities count at all, a program that cannot have them does not start.
    std::string const found = capabilities(shell(isolation, "/shown/cat /proc/self/status").out);
    CAPTURE(found);
    CHECK((found == "0000000000000000" || (with_setuid && found == "did not run")));
    // By a callable that becomes the program.
    int out[2];
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    isolation.descriptors = Descriptors::only({out[1]});
    try {
      run(isolation, [&] {
        ::dup2(out[1], 1);
        ::execl("/shown/id", "id", "-u", nullptr);
      });
    } catch (cloister::ChildDied const&) {  // it has no result
    }
    ::close(out[1]);
    char said[16] = "";
    CHECK(::read(out[0], said, sizeof said - 1) > 0);
    CHECK(said == "65534\n"s);
    ::close(out[0]);
  }
}

TEST_CASE("the set-user-id programs of the host's /usr are plain programs") {
  NEEDS_USER_NAMESPACES;
  auto const flags_of = [](char const* path) {
    struct statvfs where {};
    return ::statvfs(path, &where) == 0 ? where.f_flag & (ST_NOSUID | ST_NODEV) : 0ul;
  };
  for (char const* path : {"/", "/usr", "/proc", "/tmp", "/dev/shm"}) {
    CAPTURE(std::string(path));
    CHECK(run(untrusted(), [=] { return flags_of(path); }) == (ST_NOSUID | ST_NODEV));
  }
  CHECK(run(untrusted(), [=] { return flags_of("/dev"); }) == ST_NOSUID);
  refused_inside({{"take no_new_privs back", {EINVAL}, [] { return why(::prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)); }}});
  CHECK(run(untrusted(), [] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }) == 1);
  CHECK(contains(shell(untrusted(), "cat /proc/self/status").out, "NoNewPrivs:\t1"));
}
