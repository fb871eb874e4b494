// PID 1 of a pid namespace with Init::reaper: the smallest init that does its duties.
#pragma once

#include <signal.h>

#include "setup.hpp"

namespace cloister::detail {

// Reaps whatever is orphaned, forwards the signals that processes send, and when `main_pid` ends reports its status on the channel
// and ends, with which the kernel ends all else in the namespace. The signals that the terminal sends have reached the main
// process by themselves. Ends at once when the lifeline is cut. No signal has a handler here.
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void run_init(ChildSide const& side, int main_pid) noexcept {
  sys::prctl(PR_SET_NAME, sys::arg("cloister-init"));
  ChildPlan nothing_kept{};
  ChildSide self = side;
  self.plan = &nothing_kept;
  close_all_others(self);
  for (int stream = 0; stream < 3; ++stream) sys::close(stream);

  std::uint64_t const all = ~std::uint64_t{0};
  sys::sigprocmask(SIG_SETMASK, &all);
  for (;;) {
    ::siginfo_t info{};
    int const signal = sys::sigwaitinfo(&all, &info);
    if (signal < 0) continue;
    bool const from_lifeline = signal == kernel::signal_count || signal == SIGIO;  // SIGIO where the queue of signals is full
    if (from_lifeline && info.si_code > 0 && side.lifeline >= 0) sys::exit(128 + SIGKILL);
    if (signal != SIGCHLD) {
      if (info.si_code <= 0) sys::kill(main_pid, signal);
      continue;
    }
    for (;;) {
      ::siginfo_t ended{};
      int const result = sys::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | __WALL);
      if (result == -ECHILD || (result == 0 && ended.si_pid == 0)) break;
      if (result < 0 || ended.si_pid != main_pid) continue;
      bool const exited = ended.si_code == CLD_EXITED;
      int const status = exited ? (ended.si_status & 0xff) << 8 : (ended.si_status & 0x7f) | (ended.si_code == CLD_DUMPED ? 0x80 : 0);
      // Not waiting: a child may have filled the channel, and then the exit status below has to do.
      Message const message{MessageKind::ended, Step::none, status, 0, 0};
      send_message(side.channel, message, nullptr, 0, -1, MSG_DONTWAIT);
      sys::exit(exited ? ended.si_status : 128 + ended.si_status);
    }
  }
}

}  // namespace cloister::detail
