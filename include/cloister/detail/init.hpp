// PID 1 of a pid namespace with Init::reaper: the smallest init that does its duties.
#pragma once

#include <signal.h>

#include "setup.hpp"

namespace cloister::detail {

// Reaps whatever is orphaned, forwards the signals that processes send, and when `main_pid` ends reports its status on the channel
// and ends, with which the kernel ends all else in the namespace. The signals that the terminal sends have reached the main
// process by themselves. Ends at once when the lifeline is cut (the init of init_program.hpp has none: it hangs on the host's main
// thread). No signal has a handler here.
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void run_init(ChildSide const& side, int main_pid) noexcept {
  sys::prctl(PR_SET_NAME, sys::arg("cloister-init"));
  ChildPlan nothing_kept{};
  ChildSide self = side;
  self.plan = &nothing_kept;
  close_all_others(self);
  for (int stream = 0; stream < 3; ++stream) sys::close(stream);

  std::uint64_t const all = ~std::uint64_t{0};
  sys::sigprocmask(SIG_SETMASK, &all);
  int patience = 1000;  // with a kernel that does not let it hear of signals, or see who has ended: its parent must not wait for ever
  for (;;) {
    ::siginfo_t info{};
    int const signal = sys::sigwaitinfo(&all, &info);
    if (signal < 0) {
      if (--patience == 0) sys::exit(127);
      continue;
    }
    // Looked at whatever the signal was: those inside can have the kernel send this one as well, by a pipe of theirs and F_SETOWN,
    // fcntl(2), and where the queue is full a SIGIO comes in its place.
    ::pollfd cut{side.lifeline, POLLIN, 0};
    ::timespec const now{};
    if (side.lifeline >= 0 && sys::poll(&cut, 1, &now) > 0) sys::exit(128 + SIGKILL);
    if (signal != SIGCHLD) {
      if (info.si_code <= 0) sys::kill(main_pid, signal);
      continue;
    }
    for (;;) {
      int status = 0;
      int const ended = sys::wait4(-1, &status, WNOHANG | __WALL);
      if (ended == 0 || ended == -ECHILD) break;
      if (ended < 0 && --patience == 0) sys::exit(127);
      if (ended != main_pid) continue;
      // Not waiting: a child may have filled the channel, and then the exit status below has to do.
      Message const message{MessageKind::ended, Step::none, status, 0, 0};
      send_message(side.channel, message, nullptr, 0, -1, MSG_DONTWAIT);
      sys::exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
  }
}

}  // namespace cloister::detail
