// Every system call of a start fails once, on either side: the start then works all the same, or says what failed, and
// leaves nothing behind.
#include <doctest/doctest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>

#include "privileged.hpp"
#include "refusal.hpp"

namespace {

using namespace test;
using namespace std::chrono_literals;
using cloister::ChildProcess, cloister::Command, cloister::Isolation, cloister::Mount;
namespace ns = cloister::flags;

constexpr int errors[] = {EPERM, EINTR, ENOMEM, EAGAIN, EMFILE, ENOSYS};

// Calls that nobody refuses, and whose failure nobody could do anything about: they end a process or a signal handler,
// give something back (a close that is skipped leaks by construction), tell what is known, or set what cannot be wrong.
// When the last two fail the C library itself ends the process.
constexpr long infallible[] = {SYS_exit,    SYS_exit_group, SYS_rt_sigreturn, SYS_close,        SYS_munmap,
                               SYS_brk,     SYS_getpid,     SYS_getppid,      SYS_gettid,       SYS_geteuid,
                               SYS_getegid, SYS_umask,      SYS_sched_yield,  SYS_rt_sigaction, SYS_rt_sigprocmask,
                               SYS_futex,   SYS_rseq};
bool is_infallible(seccomp_data const& call) {
  return call.nr == SYS_prctl && (call.args[0] == PR_GET_DUMPABLE || call.args[0] == PR_SET_DUMPABLE);
}

struct Fault {
  unsigned at = 0;  // of the calls of a start the one with this number, from 0
  int error = 0;
};

// Decides about the system calls of the thread that made it, and of all that this starts from then on: a seccomp filter
// asks, and a thread of its own answers.
class FaultInjector {
 public:
  FaultInjector() {
    struct stat facts {};
    if (::stat("/bin/sh", &facts) != 0) throw std::system_error(errno, std::system_category(), "stat /bin/sh");
    shell_ = facts.st_ino;
    std::thread([this] { decide(); }).detach();
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offsetof(seccomp_data, nr)))};
    for (long const call : infallible) {
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
      program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (!is_root()) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long const fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (fd < 0) throw std::system_error(errno, std::system_category(), "seccomp");
    listener_.store(static_cast<int>(fd));
  }
  FaultInjector(FaultInjector const&) = delete;

  // Until end() the calls are counted, and one fails.
  void begin(Fault const& fault, bool program) {
    fault_ = fault;
    program_ = program;
    count_ = 0;
    failed_ = -1;
    began_ = std::chrono::steady_clock::now();
    active_.store(true);
  }
  void end() { active_.store(false); }

  unsigned count() const { return count_; }
  long failed_call() const { return failed_; }  // its number; -1 if the start had fewer calls

 private:
  // Allocates nothing and takes no lock: the thread that waits for the answer may hold any.
  [[noreturn]] void decide() {
    while (listener_.load() < 0) ::sched_yield();
    for (;;) {
      pollfd asked{listener_.load(), POLLIN, 0};
      bool const idle = ::poll(&asked, 1, 100) == 0;
      if (active_ && std::chrono::steady_clock::now() - began_ > 20s) {
        ::dprintf(complaints, "%s, number %ld: it hangs\n", about.c_str(), failed_.load());
        ::_exit(124);
      }
      if (idle) continue;
      seccomp_notif request{};
      if (::ioctl(listener_.load(), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
      seccomp_notif_resp answer{};
      answer.id = request.id;
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      if (active_ && !is_infallible(request.data) && !(program_ && is_the_program(request.pid)) &&
          count_.fetch_add(1) == fault_.at && fault_.error) {
        failed_ = request.data.nr;
        answer.flags = 0;
        answer.error = -fault_.error;
      }
      ::ioctl(listener_.load(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
  }
  // Whose own calls are no part of its start.
  bool is_the_program(unsigned pid) const {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%u/exe", pid);
    struct stat facts {};
    return ::stat(path, &facts) == 0 && facts.st_ino == shell_;
  }

  ino_t shell_ = 0;
  std::atomic<int> listener_{-1};
  std::atomic<bool> active_{false};
  std::atomic<unsigned> count_{0};
  std::atomic<long> failed_{-1};
  Fault fault_{};
  bool program_ = false;
  std::chrono::steady_clock::time_point began_{};
};

// A world in which every step has something to do.
Isolation rich_world(Kind const& kind) {
  Isolation world = Isolation::untrusted();
  world.unshare |= ns::time;
  world.hostname = "box";
  world.domainname = "example";
  world.clock.monotonic = 1h;
  for (Mount const& mount :
       {Mount::sysfs(), Mount::mqueue(), Mount::file("/etc/hosts", "127.0.0.1 localhost\n"),
        Mount::file("/usr/bin/env", "other").read_only(), Mount::directory("/srv"), Mount::overlay("/usr/lib", "/opt")})
    world.mounts.push_back(mount);
  world.privileges.limits = {{cloister::Resource::open_files, 64}};
  world.init = kind.init;
  return world;
}

struct Start {
  std::string name;
  Isolation isolation;
  bool program;
  Where where;
  bool rich = false;
};
std::vector<Start> starts(Room const* room) {
  std::vector<Start> all;
  for (Kind const& kind : room != nullptr ? joining_kinds(*room) : std::vector<Kind>{})
    for (Where const where : everywhere)
      all.push_back({kind.name + name_of(where), kind.isolation(), kind.program, where});
  for (Kind const& kind : kinds()) {
    for (Where const where : everywhere)
      all.push_back({kind.name + name_of(where), kind.isolation(), kind.program, where});
    if (kind.flags == (ns::user | ns::pid))
      all.push_back({kind.name + ", in a rich world", rich_world(kind), kind.program, Where::main_thread, true});
  }
  return all;
}

int answer(Start const& start) {
  if (start.program) return cloister::run(start.isolation, Command{"sh", "-c", "exit 42"}).status.code().value_or(-1);
  if (start.where == Where::other_thread) return cloister::run(start.isolation, [] { return 42; });
  return ChildProcess{start.isolation, [] { return 42; }}.get();
}

// What is wrong with what came of a start; empty if it is as it should be.
std::string complaint(Start const& start, FaultInjector& injector, Fault const& fault) {
  return on(start.where, [&]() -> std::string {
    struct Round {
      Round(FaultInjector& its, Fault const& one, bool program) : injector(its) { injector.begin(one, program); }
      ~Round() { injector.end(); }
      FaultInjector& injector;
    };
    try {
      Round const round{injector, fault, start.program};
      int const result = answer(start);
      return result == 42 ? "" : "it answers " + std::to_string(result);
    } catch (cloister::Error const& error) {
      return error.step().empty() ? std::string("an Error without a step: ") + error.what() : "";
    } catch (cloister::ChildDied const&) {
      return "";
    } catch (std::exception const& other) {
      return std::string("another exception: ") + other.what();
    }
  });
}

std::string descriptors() {
  std::string all;
  for (std::string const& name : test::detail::names_in("/proc/self/fd")) all += name + ' ';
  return all;
}
// Whether a filter of this process may ask it.
bool can_be_asked() {
  return in_fork([] {
           FaultInjector injector;
           injector.begin({}, false);
           return ::access("/", F_OK) == 0 && injector.count() == 1;
         }) == 0;
}
bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

}  // namespace

TEST_CASE("every system call of a start fails once, and the start works or says why, and leaves nothing") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer's own calls would fail");
  SKIP_UNLESS(can_be_asked(), "the kernel is before 5.5, or lets no filter ask");
  std::optional<Room> room;
  if (user_namespaces()) room.emplace(Isolation{.unshare = ns::user | ns::pid | ns::uts | ns::time});
  std::vector<Start> const all = starts(room ? &*room : nullptr);
  for (std::size_t which = 0; which < all.size(); ++which) {
    Start const& start = all[which];
    CAPTURE(start.name);
    int const status = expectations([&] {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent becomes ours
      FaultInjector injector;
      about = start.name;
      EXPECT(complaint(start, injector, {}) == "");  // what a first start allocates it keeps
      Unchanged const unchanged;
      EXPECT(complaint(start, injector, {}) == "");
      unsigned const count = injector.count();
      EXPECT(count > 10);
      std::string const open = descriptors();
      // Each call with one of the errors, that of its number in the start: all errors come up among the kinds of
      // starts, which have most calls in common. Of rich worlds, which share theirs, each has a quarter.
      for (unsigned at = start.rich ? which % 4 : 0; at < count; at += start.rich ? 4 : 1) {
        Fault const fault{at, errors[(at + which) % std::size(errors)]};
        about = start.name + ", call " + std::to_string(at) + " failing with error " + std::to_string(fault.error);
        std::string const wrong = complaint(start, injector, fault);
        about += ", the number of the call being " + std::to_string(injector.failed_call());
        expect(wrong == "", wrong.c_str(), __FILE__, __LINE__);
        EXPECT(descriptors() == open);
        EXPECT(!has_children());
        while (has_children()) ::waitpid(-1, nullptr, __WALL);
      }
      about = start.name;
      std::string const changes = unchanged.changes();
      expect(changes == "", changes.c_str(), __FILE__, __LINE__);
    });
    CHECK(status == 0);
  }
}
