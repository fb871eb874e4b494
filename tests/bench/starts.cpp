// Starting a child, beside a floor: the same child by raw system calls, with nothing checked, reported or cleaned up;
// and beside what else starts programs. Without privilege a user namespace goes along with every other.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <latch>
#include <thread>

#ifdef CLOISTER_BENCH_BOOST
#include <boost/process.hpp>
#endif

#include "figures.hpp"
#include "neighbours.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
namespace sys = cloister::detail::sys;
namespace kernel = cloister::detail::kernel;

// --- the floor

struct Maps {
  std::string uid = fmt::format("{0} {0} 1\n", ::geteuid());
  std::string gid = fmt::format("{0} {0} 1\n", ::getegid());
};

CLOISTER_DETAIL_CHILD_SIDE void write_or_exit(char const* path, char const* text, std::size_t size) {
  int const fd = sys::openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || sys::write(fd, text, size) != static_cast<long>(size)) sys::exit(1);
  sys::close(fd);
}
// In the child, as one that has no privilege must.
CLOISTER_DETAIL_CHILD_SIDE void write_maps(Maps const& maps) {
  write_or_exit("/proc/self/setgroups", "deny", 4);
  write_or_exit("/proc/self/gid_map", maps.gid.data(), maps.gid.size());
  write_or_exit("/proc/self/uid_map", maps.uid.data(), maps.uid.size());
}

void reap_one(idtype_t type = P_ALL, id_t id = 0) {
  siginfo_t info{};
  require(::waitid(type, id, &info, WEXITED) == 0, "waitid");
  require(info.si_code == CLD_EXITED && info.si_status == 0, "a child of the floor failed");
}

struct Floor {
  std::uint64_t flags;
  Maps maps{};

  bool has_user() const { return (flags & kernel::clone_newuser) != 0; }
  bool has_pid() const { return (flags & kernel::clone_newpid) != 0; }

  void callable() const { has_pid() ? through_middle() : by_fork(); }

  void by_fork() const {
    pid_t const pid = ::fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
      if (flags != 0 && sys::unshare(flags) < 0) sys::exit(1);
      if (has_user()) write_maps(maps);
      sys::exit(0);
    }
    reap_one(P_PID, static_cast<id_t>(pid));
  }

  void through_middle() const {
    pid_t const middle = ::fork();
    require(middle >= 0, "fork");
    if (middle == 0) {
      kernel::clone_args args{};
      args.flags = flags | kernel::clone_parent;
      long const pid = sys::clone3(&args);
      if (pid < 0) sys::exit(1);
      if (pid == 0 && has_user()) write_maps(maps);
      sys::exit(0);
    }
    reap_one();
    reap_one();
  }

  struct Exec {
    Floor const* floor;
    char const* program;
  };
  CLOISTER_DETAIL_CHILD_SIDE static void execute(void* argument) noexcept {
    auto const* exec = static_cast<Exec const*>(argument);
    if (exec->floor->has_user()) write_maps(exec->floor->maps);
    char const* const words[] = {exec->program, nullptr};
    sys::execve(exec->program, words, environ);
    sys::exit(1);
  }
  // The stack is there already: nobody can do better than that.
  void program(char const* path) const {
    static constexpr std::size_t stack_size = 64 * 1024;
    static void* const stack = sys::mmap(stack_size, PROT_READ | PROT_WRITE, MAP_STACK);
    Exec exec{this, path};
    kernel::clone_args args{};
    args.flags = flags | kernel::clone_vm | kernel::clone_vfork;
    args.exit_signal = SIGCHLD;
    args.stack = reinterpret_cast<std::uint64_t>(stack);
    args.stack_size = stack_size;
    long const pid = sys::clone3_on_stack(&args, execute, &exec);
    require(pid > 0, "clone3");
    reap_one(P_PID, static_cast<id_t>(pid));
  }
};

// --- the library

struct Library {
  cloister::Isolation isolation;

  void callable() const {
    cloister::ChildProcess child{isolation, [] { return 42; }};
    require(child.get() == 42, "a callable's result");
  }
  void program(cloister::Command const& command) const {
    cloister::ChildProcess child{isolation, command};
    require(child.wait().success(), "a program's status");
  }
};

// --- who starts the children

// The threads that do nothing sleep.
void beside_threads(std::invocable auto const& body) {
  std::latch done{1};
  std::vector<std::jthread> idle;
  for (int i = 0; i < 3; ++i) idle.emplace_back([&done] { done.wait(); });
  body();
  done.count_down();
}

// --- the rows

struct Case {
  char const* name;
  cloister::Isolation isolation;
};

// All eight leave the loopback interface alone, as the floor does: to bring it up is work, not overhead.
std::vector<Case> cases() {
  std::vector<Case> all{{"no namespaces", {}},
                        {"ipc, uts", {.unshare = ns::uts | ns::ipc}},
                        {"ipc, pid, uts", {.unshare = ns::uts | ns::ipc | ns::pid}},
                        {"all eight", {.unshare = cloister::CloneFlags::all(), .loopback = cloister::Loopback::down}}};
  if (::geteuid() != 0)
    for (Case& one : all)
      if (!one.isolation.unshare.empty()) one.isolation.unshare |= ns::user;
  return all;
}

void measure_callables(Figures& figures, char const* host) {
  for (auto const& [name, isolation] : cases()) {
    Floor const floor{isolation.unshare.bits()};
    Library const library{isolation};
    figures.at_most(
        floor.has_pid() ? 1.25 : 1.15, fmt::format("a function, {}, {}", name, host), [&] { floor.callable(); },
        [&] { library.callable(); });
  }
}

void measure_programs(Figures& figures, std::string const& host) {
  cloister::Command const command{figures.options().program};
  for (auto const& [name, isolation] : cases()) {
    Floor const floor{isolation.unshare.bits()};
    Library const library{isolation};
    figures.at_most(
        1.10, fmt::format("a program, {}, {}", name, host), [&] { floor.program(figures.options().program.c_str()); },
        [&] { library.program(command); });
  }
}

// --- what else starts programs

// What the library does for a program without namespaces, as far as posix_spawn can be told to: every signal to its
// default and unblocked, no descriptor but 0, 1 and 2, and a pidfd to wait by.
class SpawnByHand {
 public:
  SpawnByHand() {
    sigset_t all, none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    require(::posix_spawnattr_init(&attributes_) == 0, "posix_spawnattr_init");
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    require(::posix_spawn_file_actions_init(&actions_) == 0, "posix_spawn_file_actions_init");
#if __GLIBC_PREREQ(2, 34)
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
#endif
  }
  ~SpawnByHand() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnByHand(SpawnByHand const&) = delete;

  void operator()(std::string const& program) const {
    char* words[] = {const_cast<char*>(program.c_str()), nullptr};
    pid_t pid = 0;
    require(::posix_spawn(&pid, words[0], &actions_, &attributes_, words, environ) == 0, "posix_spawn");
    int const pidfd = sys::pidfd_open(pid);
    require(pidfd >= 0, "pidfd_open");
    reap_one(static_cast<idtype_t>(kernel::p_pidfd), static_cast<id_t>(pidfd));
    sys::close(pidfd);
  }

 private:
  posix_spawnattr_t attributes_;
  posix_spawn_file_actions_t actions_;
};

void measure_neighbours(Figures& figures, std::string const& host) {
  std::string const& program = figures.options().program;
  cloister::Command const command{program};
  auto const named = [&](char const* what) { return fmt::format("a program, {}, {}", what, host); };

  SpawnByHand const by_hand;
  Library const plain{};
  auto const start = [&] { plain.program(command); };
  figures.at_least(
      1, named("against posix_spawn and the same work by hand"), [&] { by_hand(program); }, start);
  figures.at_least(
      0, named("against posix_spawn alone"), [&] { spawn_and_reap({program}); }, start);
#ifdef CLOISTER_BENCH_BOOST
  figures.at_least(
      host == "0 MiB" ? 0 : 20, named("against Boost.Process v1"),
      [&] { require(boost::process::system(program) == 0, "boost::process::system"); }, start);
#endif

  Library seven{};
  seven.isolation.unshare = cloister::CloneFlags::all() - ns::time;
  if (::geteuid() == 0) seven.isolation.unshare -= ns::user;
  seven.isolation.loopback = cloister::Loopback::down;
  if (Words const words = unshare(program); works(words))
    figures.at_least(
        2, named("against unshare(1), the same namespaces"), [&] { spawn_and_reap(words); },
        [&] { seven.program(command); });

  Library with_user{seven};
  with_user.isolation.unshare |= ns::user;
  with_user.isolation.loopback = cloister::Loopback::up;
  if (Words const words = bwrap(program); works(words))
    figures.at_least(
        3, named("against bwrap, the same namespaces, its root bound"), [&] { spawn_and_reap(words); },
        [&] { with_user.program(command); });
}

// What a function in a pid namespace costs beside nothing but fork(): the second process in between is part of it.
void measure_against_fork(Figures& figures) {
  Library const library{cases()[2].isolation};
  figures.at_most(
      1.6, "a function, ipc, pid, uts, against fork() alone", [] { Floor{0}.by_fork(); }, [&] { library.callable(); });
}

}  // namespace

void bench::measure_starts(Figures& figures) {
  figures.in_fresh_process(0, [](Figures& rows) { measure_callables(rows, "1 thread"); });
  figures.in_fresh_process(0, [](Figures& rows) { beside_threads([&] { measure_callables(rows, "4 threads"); }); });
  figures.in_fresh_process(0, measure_against_fork);
  for (auto const& [resident, host] : {std::pair{std::size_t{0}, "0 MiB"}, std::pair{large, "1 GiB"}}) {
    figures.in_fresh_process(resident, [host = host](Figures& rows) { measure_programs(rows, host); });
    figures.in_fresh_process(resident, [host = host](Figures& rows) { measure_neighbours(rows, host); });
  }
  figures.in_fresh_process(0, [](Figures& rows) {
    std::jthread{[&] { measure_programs(rows, "from another thread than the main one"); }}.join();
  });
}
