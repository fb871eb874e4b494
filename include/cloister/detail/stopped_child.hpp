// Waiting for a child that shares our memory, and for one that others may stop.
#pragma once

#include <sys/wait.h>

#include "syscall.hpp"

namespace cloister::detail {

// Waits until the kernel clears the word, as it does when a child lets go of our memory (CLONE_CHILD_CLEARTID).
inline void await_cleared(int& word) noexcept {
  while (int const value = __atomic_load_n(&word, __ATOMIC_ACQUIRE)) sys::futex_wait(&word, value);
}

// Those whom a child has come among may be able to stop it, and who waits for it with it. It is let go on, ten times; then it is killed.
// By number, which stays taken while it is a child of ours and not reaped.
class StoppedChild {
 public:
  CLOISTER_DETAIL_CHILD_SIDE void wake(int pid) noexcept {
    ::siginfo_t info{};
    if (sys::waitid(P_PID, pid, &info, WSTOPPED | WNOHANG | WNOWAIT | __WALL) == 0 && info.si_pid == pid)
      sys::kill(pid, ++stops_ < 10 ? SIGCONT : SIGKILL);
  }
  void await_cleared(int& word, int pid) noexcept {
    while (int const value = __atomic_load_n(&word, __ATOMIC_ACQUIRE))
      if (sys::futex_wait(&word, value, &look_every) == -ETIMEDOUT) wake(pid);
  }
  static constexpr ::timespec look_every{0, 100'000'000};

 private:
  int stops_ = 0;
};

}  // namespace cloister::detail
