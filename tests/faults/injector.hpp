// Decides about the system calls of a start: one of them fails, comes late, or with a signal.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../kinds.hpp"
#include "../refusal.hpp"

namespace test {

inline constexpr int errors[] = {EPERM, EINTR, ENOMEM, EAGAIN, EMFILE, ENOSYS};

// Calls that nobody refuses, and whose failure nobody could do anything about: they end a process or a signal handler,
// give something back (a close that is skipped leaks by construction), tell what is known, or set what cannot be wrong.
// When the last two fail the C library itself ends the process.
inline constexpr long infallible[] = {SYS_exit,    SYS_exit_group, SYS_rt_sigreturn, SYS_close,        SYS_munmap,
                               SYS_brk,     SYS_getpid,     SYS_getppid,      SYS_gettid,       SYS_geteuid,
                               SYS_getegid, SYS_umask,      SYS_sched_yield,  SYS_rt_sigaction, SYS_rt_sigprocmask,
                               SYS_futex,   SYS_rseq};
inline bool is_infallible(seccomp_data const& call) {
  for (long const each : infallible)
    if (call.nr == each) return true;
  return call.nr == SYS_prctl && (call.args[0] == PR_GET_DUMPABLE || call.args[0] == PR_SET_DUMPABLE);
}

struct Fault {
  enum class Kind { none, error, delay, signal };
  unsigned at = 0;  // of the calls of a start the one with this number, from 0
  Kind kind = Kind::none;
  int error = 0;
};
// Handled by the host, without SA_RESTART; a child, whose handlers are gone, does not notice it.
inline constexpr int fault_signal = SIGURG;

// Decides about the system calls of the thread that made it, and of all that this starts from then on: a seccomp filter
// asks, and a thread of its own answers, until the end of the process: so long it has to live. Unless it asks about
// `every_call`, those that nobody refuses are not counted.
class FaultInjector {
 public:
  explicit FaultInjector(bool every_call = false) : every_call_(every_call) {
    struct stat facts {};
    if (::stat("/bin/sh", &facts) != 0) throw std::system_error(errno, std::system_category(), "stat /bin/sh");
    shell_ = facts.st_ino;
    std::thread([this] { decide(); }).detach();
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offsetof(seccomp_data, nr)))};
    for (long const call : infallible) {
      if (every_call) break;
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
      program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (!is_root()) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // A signal shall come with the call, and not end the wait for the answer.
    constexpr unsigned long wait_killable = 1ul << 5;
    unsigned long const flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | (every_call ? wait_killable : 0);
    long const fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    if (fd < 0) throw std::system_error(errno, std::system_category(), "seccomp");
    listener_.store(static_cast<int>(fd));
  }
  FaultInjector(FaultInjector const&) = delete;

  // Until end() the calls are counted, and one fails.
  void begin(Fault const& fault, bool program) {
    fault_ = fault;
    program_ = program;
    count_ = 0;
    hit_ = -1;
    began_ = std::chrono::steady_clock::now();
    active_.store(true);
  }
  void end() { active_.store(false); }

  unsigned count() const { return count_; }
  long call() const { return hit_; }  // the number of the one that it was; -1 if the start had fewer

 private:
  // Allocates nothing and takes no lock: the thread that waits for the answer may hold any.
  [[noreturn]] void decide() {
    while (listener_.load() < 0) ::sched_yield();
    seccomp_notif_resp late{};  // an answer that is held back, while others are given
    for (std::chrono::steady_clock::time_point due;;) {
      auto const now = std::chrono::steady_clock::now();
      if (active_ && now - began_ > std::chrono::seconds(20)) {
        ::dprintf(complaints, "%s, call %ld: it hangs\n", about.c_str(), hit_.load());
        ::_exit(124);
      }
      if (late.id != 0 && now >= due) {
        ::ioctl(listener_.load(), SECCOMP_IOCTL_NOTIF_SEND, &late);
        late.id = 0;
      }
      pollfd asked{listener_.load(), POLLIN, 0};
      if (::poll(&asked, 1, late.id != 0 ? 5 : 100) == 0) continue;
      seccomp_notif request{};
      if (::ioctl(listener_.load(), SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
      seccomp_notif_resp answer{};
      answer.id = request.id;
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
      if (is_struck(request)) {
        if (fault_.kind == Fault::Kind::delay) {
          due = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
          late = answer;
          continue;
        }
        if (fault_.kind == Fault::Kind::signal) {
          ::syscall(SYS_tkill, request.pid, fault_signal);
        } else {
          answer.flags = 0;
          answer.error = -fault_.error;
        }
      }
      ::ioctl(listener_.load(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
  }
  bool is_struck(seccomp_notif const& request) {
    if (!active_ || (!every_call_ && is_infallible(request.data))) return false;
    if (program_ && is_the_program(request.pid)) return false;
    if (count_.fetch_add(1) != fault_.at || fault_.kind == Fault::Kind::none) return false;
    if (fault_.kind == Fault::Kind::error && is_infallible(request.data)) return false;
    hit_ = request.data.nr;
    return true;
  }
  // Whose own calls are no part of its start.
  bool is_the_program(unsigned pid) const {
    char path[32];
    std::snprintf(path, sizeof path, "/proc/%u/exe", pid);
    struct stat facts {};
    return ::stat(path, &facts) == 0 && facts.st_ino == shell_;
  }

  bool every_call_;
  ino_t shell_ = 0;
  std::atomic<int> listener_{-1};
  std::atomic<bool> active_{false};
  std::atomic<unsigned> count_{0};
  std::atomic<long> hit_{-1};
  Fault fault_{};
  bool program_ = false;
  std::chrono::steady_clock::time_point began_{};
};

struct Start {
  std::string name;
  cloister::Isolation isolation;
  bool program;
  Where where;
  bool rich = false;
};
inline int answer(Start const& start) {
  if (start.program) return cloister::run(start.isolation, cloister::Command{"sh", "-c", "exit 42"}).status.code().value_or(-1);
  if (start.where == Where::other_thread) return cloister::run(start.isolation, [] { return 42; });
  return cloister::ChildProcess{start.isolation, [] { return 42; }}.get();
}

struct Outcome {
  bool worked;
  std::string complaint{};  // what is wrong with it; a start that says why it did not work is as it should be
};
inline Outcome outcome(Start const& start, FaultInjector& injector, Fault const& fault) {
  return on(start.where, [&]() -> Outcome {
    struct Round {
      Round(FaultInjector& its, Fault const& one, bool program) : injector(its) { injector.begin(one, program); }
      ~Round() { injector.end(); }
      FaultInjector& injector;
    };
    try {
      Round const round{injector, fault, start.program};
      int const result = answer(start);
      return result == 42 ? Outcome{true} : Outcome{true, "it answers " + std::to_string(result)};
    } catch (cloister::Error const& error) {
      return {false, error.step().empty() ? std::string("an Error without a step: ") + error.what() : ""};
    } catch (cloister::ChildDied const&) {
      return {false};
    } catch (std::exception const& other) {
      return {false, std::string("another exception: ") + other.what()};
    }
  });
}

inline std::string descriptors() {
  std::string all;
  for (std::string const& name : test::detail::names_in("/proc/self/fd")) all += name + ' ';
  return all;
}
// Whether a filter of this process may ask it.
inline bool can_be_asked(bool every_call = false) {
  return in_fork([every_call] {
           FaultInjector& injector = *new FaultInjector{every_call};
           injector.begin({}, false);
           return ::access("/", F_OK) == 0 && injector.count() == 1;
         }) == 0;
}
inline bool has_children() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

}  // namespace test
