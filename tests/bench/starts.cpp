// What starting a child costs, beside a floor: the same child by raw system calls, with nothing checked, reported or cleaned up.
// The floor and the library take turns, a pair at a time, in the same process; the table shows the medians and their ratio.
//
//   starts [--pairs N] [--only TEXT] [--resident MIB] [PROGRAM]
//
// TEXT picks the rows that contain it. PROGRAM is what is executed, by default `nothing` beside this program: a dynamically linked
// one takes longer to begin than the library takes to start it, which would hide the difference. Without privilege a user
// namespace goes along with every other.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cloister/cloister.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
namespace sys = cloister::detail::sys;
namespace kernel = cloister::detail::kernel;
using cloister::ParentDeath;

struct Options {
  int pairs = 200;
  std::string only;
  std::size_t resident = 1024;  // MiB
  std::string program;
};

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

// --- measuring

// Who starts the children. The threads that do nothing sleep.
enum class Host { alone, threads, other_thread };
constexpr Host hosts[] = {Host::alone, Host::threads, Host::other_thread};

char const* to_string(Host host) {
  switch (host) {
    case Host::alone: return "1 thread";
    case Host::threads: return "4 threads";
    case Host::other_thread: break;
  }
  return "4 threads, not main";
}

void run_as(Host host, std::invocable auto const& body) {
  std::latch done{1};
  std::vector<std::jthread> idle;
  int const sleepers = host == Host::alone ? 0 : host == Host::threads ? 3 : 2;  // the main thread waits as well
  for (int i = 0; i < sleepers; ++i) idle.emplace_back([&done] { done.wait(); });
  if (host == Host::other_thread)
    std::jthread{[&body] { body(); }}.join();
  else
    body();
  done.count_down();
}

// In a process of its own: a process that has had a thread, or a gigabyte, is not the same again.
void in_fresh_process(std::invocable auto const& body) {
  std::fflush(stdout);
  pid_t const pid = ::fork();
  require(pid >= 0, "fork");
  if (pid == 0) {
    body();
    std::fflush(stdout);
    std::_Exit(0);
  }
  int status = 0;
  require(::waitpid(pid, &status, 0) == pid && WIFEXITED(status), "waitpid");
  if (WEXITSTATUS(status) != 0) std::exit(1);
}

// --- the table

class Table {
 public:
  explicit Table(Options const& options) : options_(options) {
    fmt::print("{:<76} {:>9} {:>9} {:>6} {:>6}\n", "median of " + std::to_string(options.pairs) + ", in µs", "floor", "cloister",
               "ratio", "target");
  }
  bool wants(std::string const& name) const { return name.find(options_.only) != name.npos; }
  void row(std::string const& name, double target, std::invocable auto const& floor, std::invocable auto const& library) const {
    if (!wants(name)) return;
    auto const [below, above] = medians(options_.pairs, floor, library);
    double const ratio = above / below;
    fmt::print("{:<75} {:>9.1f} {:>9.1f} {:>6.2f} {:>6.2f}  {}\n", name, below, above, ratio, target,
               ratio <= target ? "ok" : "over");
    std::fflush(stdout);
  }
  void row(std::string const& name, std::invocable auto const& floor) const {
    if (!wants(name)) return;
    fmt::print("{:<75} {:>9.1f}\n", name, medians(options_.pairs, floor, [] {}).first);
    std::fflush(stdout);
  }

 private:
  Options const& options_;
};

// All eight leave the loopback interface alone, as the floor does: to bring it up is work, not overhead.
std::vector<cloister::Isolation> worlds() {
  std::vector<cloister::Isolation> all(4);
  all[1].unshare = ns::uts | ns::ipc;
  all[2].unshare = ns::uts | ns::ipc | ns::pid;
  all[3].unshare = ns::cgroup | ns::ipc | ns::mnt | ns::net | ns::pid | ns::time | ns::user | ns::uts;
  all[3].loopback = cloister::Loopback::down;
  if (::geteuid() != 0)
    for (cloister::Isolation& world : all)
      if (!world.unshare.empty()) world.unshare |= ns::user;
  return all;
}
std::string name_of(cloister::CloneFlags flags) {
  if (flags.empty()) return "none";
  std::string text = to_string(flags);
  return std::count(text.begin(), text.end(), '|') == 7 ? "all eight" : text;
}

template <class Measure>
void for_each_case(std::string const& what, Host host, Measure const& measure) {
  for (cloister::Isolation isolation : worlds())
    for (ParentDeath death : {ParentDeath::leave_child, ParentDeath::kill_child}) {
      isolation.on_parent_death = death;
      measure(fmt::format("{:<17} {:<19} {:<11} {}", what, to_string(host),
                          death == ParentDeath::leave_child ? "leave_child" : "kill_child", name_of(isolation.unshare)),
              isolation);
    }
}

void measure_callables(Table const& table) {
  for (Host host : hosts)
    in_fresh_process([&] {
      run_as(host, [&] {
        for_each_case("callable", host, [&](std::string const& name, cloister::Isolation const& isolation) {
          Floor const floor{isolation.unshare.bits()};
          Library const library{isolation};
          table.row(name, floor.has_pid() ? 1.25 : 1.15, [&] { floor.callable(); }, [&] { library.callable(); });
        });
      });
    });
}

void measure_programs(Options const& options, Table const& table) {
  cloister::Command const command{options.program};
  for (std::size_t resident : {std::size_t{0}, options.resident})
    for (Host host : {Host::alone, Host::other_thread})
      in_fresh_process([&] {
        become_large(resident);
        run_as(host, [&] {
          for_each_case(fmt::format("program, {} MiB", resident), host,
                        [&](std::string const& name, cloister::Isolation const& isolation) {
                          Floor const floor{isolation.unshare.bits()};
                          Library const library{isolation};
                          table.row(name, 1.10, [&] { floor.program(options.program.c_str()); },
                                    [&] { library.program(command); });
                        });
        });
      });
}

// What else starts children.
void spawn_and_reap(std::vector<std::string> words, posix_spawnattr_t const* attributes = nullptr,
                    posix_spawn_file_actions_t const* actions = nullptr) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = 0;
  require(::posix_spawnp(&pid, pointers[0], actions, attributes, pointers.data(), environ) == 0, "posix_spawn");
  reap_one(P_PID, static_cast<id_t>(pid));
}

// What the library does for a program without namespaces, as far as posix_spawn can be told to: every signal to its default and
// unblocked, no descriptor but 0, 1 and 2, and a pidfd to wait by.
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

// A tool that is missing, or that may not do this here, gives no row.
bool works(std::vector<std::string> const& words) {
  std::string command;
  for (std::string const& word : words) command += word + ' ';
  return std::system((command + ">/dev/null 2>&1").c_str()) == 0;
}

void measure_others(Options const& options, Table const& table) {
  cloister::Command const command{options.program};
  bool const root = ::geteuid() == 0;
  for (std::size_t resident : {std::size_t{0}, options.resident})
    in_fresh_process([&] {
      become_large(resident);
      auto const named = [&](char const* what) { return fmt::format("{}, {} MiB", what, resident); };
      table.row(named("fork()"), [] { Floor{0}.by_fork(); });
      table.row(named("posix_spawn() of the program"), [&] { spawn_and_reap({options.program}); });

      SpawnByHand const by_hand;
      Library const plain{};
      table.row(named("against posix_spawn() and the same work by hand"), 1.0, [&] { by_hand(options.program); },
                [&] { plain.program(command); });

      Library seven{};  // root needs no user namespace
      seven.isolation.unshare = cloister::CloneFlags::all() - ns::time;
      if (root) seven.isolation.unshare -= ns::user;
      std::vector<std::string> unshare{"unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"};
      if (!root) unshare.insert(unshare.end(), {"--user", "--map-current-user"});
      unshare.push_back(options.program);
      seven.isolation.loopback = cloister::Loopback::down;
      if (works(unshare))
        table.row(named("against unshare(1), the same namespaces"), 0.5, [&] { spawn_and_reap(unshare); },
                  [&] { seven.program(command); });

      Library all_but_time{seven};  // bwrap makes a user namespace for root too
      all_but_time.isolation.unshare |= ns::user;
      all_but_time.isolation.loopback = cloister::Loopback::up;
      std::vector<std::string> const bwrap{"bwrap", "--unshare-all", "--bind", "/", "/", "--die-with-parent", options.program};
      if (works(bwrap))
        table.row(named("against bwrap, the same namespaces, its root bound"), 1.0 / 3, [&] { spawn_and_reap(bwrap); },
                  [&] { all_but_time.program(command); });
    });
}

Options parse(int argc, char** argv) {
  Options options;
  std::string const self = argv[0];
  options.program = self.substr(0, self.rfind('/') + 1) + "nothing";
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    bool const takes_value = word.substr(0, 2) == "--";
    if (takes_value && i + 1 == argc) require(false, "an option without its value");
    if (word == "--pairs")
      options.pairs = std::max(1, std::atoi(argv[++i]));
    else if (word == "--only")
      options.only = argv[++i];
    else if (word == "--resident")
      options.resident = static_cast<std::size_t>(std::atol(argv[++i]));
    else
      options.program = word;
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  Options const options = parse(argc, argv);
  Table const table{options};
  measure_callables(table);
  measure_programs(options, table);
  measure_others(options, table);
}
