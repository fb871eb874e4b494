// Waiting for a child by its pidfd.
#pragma once

#include <chrono>
#include <optional>

#include "../exit_status.hpp"
#include "syscall.hpp"

namespace cloister::detail {

inline ExitStatus status_of(::siginfo_t const& info) noexcept {
  if (info.si_code == CLD_EXITED) return ExitStatus::exited(info.si_status);
  if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
    return ExitStatus::signaled(info.si_status, info.si_code == CLD_DUMPED);
  return ExitStatus::unknown();
}

// How a child ended that somebody else has reaped: another wait of the host, or the kernel because the host ignores SIGCHLD. The
// kernel notes it a moment after the child counts as ended, or later on a busy machine, and before its pidfd hangs up: hence the
// patience. If that happens while the kernel looks it says ESRCH, and knows the next time. Linux 6.15, ioctl_pidfd(2); unknown before.
inline ExitStatus status_from_pidfd(int pidfd) noexcept {
  constexpr int quick = 100, patient = 300;
  bool is_gone = false;
  for (int attempt = 0; attempt < patient; ++attempt) {
    kernel::pidfd_info info{};
    info.mask = kernel::pidfd_info_exit;
    int const result = sys::ioctl(pidfd, kernel::pidfd_get_info, sys::arg(&info));
    if (result == 0 && (info.mask & kernel::pidfd_info_exit) != 0) return ExitStatus::from_wait_status(info.exit_code);
    if (is_gone || (result < 0 && result != -ESRCH)) break;
    is_gone = result < 0;
    if (is_gone) continue;
    if (attempt < quick) {
      sys::sched_yield();
      continue;
    }
    ::pollfd gone{pidfd, 0, 0};
    ::timespec const millisecond{0, 1'000'000};
    is_gone = sys::poll(&gone, 1, &millisecond) > 0;
  }
  return ExitStatus::unknown();
}

// Signals a child of ours; 0 or a negative errno. Where pidfd_send_signal is missing (before Linux 5.1) or refused by its pid, which
// means it for as long as it is not reaped: that is looked at first.
inline int signal_child(int pidfd, int pid, int signal) noexcept {
  int const result = sys::pidfd_send_signal(pidfd, signal);
  if (result == 0 || result == -ESRCH || result == -EINVAL) return result;
  ::siginfo_t info{};
  if (sys::waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) return result == -EPERM ? result : -ESRCH;
  return sys::kill(pid, signal);
}

// Waits until the child with that pid has ended, and reaps it, where waitid is refused by wait4; empty if it is no child of this process
// or has been reaped.
inline std::optional<ExitStatus> reap_by_pid(int pid) noexcept {
  ::siginfo_t info{};
  int const result = sys::waitid(P_PID, pid, &info, WEXITED | __WALL);
  if (result == 0) return status_of(info);
  int status = 0;
  if (result != -ECHILD && sys::wait4(pid, &status, __WALL) == pid) return ExitStatus::from_wait_status(status);
  return std::nullopt;
}

// Waits until the child has ended, and reaps it; by its pid before Linux 5.4, and where waitid is refused.
inline ExitStatus reap(int pidfd, int pid) noexcept {
  ::siginfo_t info{};
  int const result = sys::waitid(kernel::p_pidfd, pidfd, &info, WEXITED | __WALL);
  if (result == 0) return status_of(info);
  if (result != -ECHILD)
    if (auto const status = reap_by_pid(pid)) return *status;
  ::pollfd ended{pidfd, POLLIN, 0};  // no child of this process, such as a forked copy of the host: it may still run
  while (sys::poll(&ended, 1, nullptr) == -EINTR) {
  }
  return status_from_pidfd(pidfd);
}

// A point in time that a wait must not go past; without one it waits for ever.
class Deadline {
 public:
  Deadline() noexcept = default;
  // From now on. A negative duration is over at once, one of more than a century never.
  explicit Deadline(std::chrono::nanoseconds in) noexcept {
    std::int64_t const count = in.count();
    if (count >= century * second) return;
    at_ = now() + (count <= 0 ? 0 : count);
    set_ = true;
  }
  template <class Rep, class Period>
  explicit Deadline(std::chrono::duration<Rep, Period> in) noexcept {
    using namespace std::chrono;
    double const seconds = duration<double>(in).count();
    if (seconds < century) *this = Deadline{seconds <= 0 ? nanoseconds{} : ceil<nanoseconds>(in)};
  }
  bool passed() const noexcept { return set_ && now() >= at_; }
  // What ppoll(2) takes: null for no limit.
  ::timespec const* left(::timespec& room) const noexcept {
    if (!set_) return nullptr;
    std::int64_t const time = now(), left = at_ > time ? at_ - time : 0;
    room.tv_sec = left / second;
    room.tv_nsec = left % second;
    return &room;
  }

 private:
  // Plain numbers, of nanoseconds: arithmetic with std::chrono is templates for every including file to instantiate.
  static constexpr std::int64_t second = 1'000'000'000, century = std::int64_t{100} * 365 * 24 * 3600;
  static std::int64_t now() noexcept {
    ::timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * second + time.tv_nsec;
  }

  std::int64_t at_ = 0;
  bool set_ = false;
};

// Waits for any of the descriptors, through signals, until the deadline. The number that are ready, 0 when time is up, or a negative
// errno.
inline int poll_until(::pollfd* fds, unsigned count, Deadline const& deadline) noexcept {
  for (;;) {
    ::timespec room;
    int const ready = sys::poll(fds, count, deadline.left(room));
    if (ready != -EINTR) return ready;
  }
}

}  // namespace cloister::detail
