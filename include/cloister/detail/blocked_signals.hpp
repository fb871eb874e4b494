// No handler of the host may run in a process that shares its memory, or before a copy of it has its own dispositions; and no write of
// ours may end the process.
#pragma once

#include "syscall.hpp"

namespace cloister::detail {

// Blocks every signal of the calling thread but the two that the C library uses between threads: a setuid() on another thread waits
// for us to handle one of them while it holds a lock that pthread_create needs.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    constexpr std::uint64_t all_but_library = ~((std::uint64_t{1} << 31) | (std::uint64_t{1} << 32));
    sys::sigprocmask(SIG_SETMASK, &all_but_library, &before_);
  }
  ~BlockedSignals() { sys::sigprocmask(SIG_SETMASK, &before_); }
  BlockedSignals(BlockedSignals const&) = delete;

 private:
  std::uint64_t before_ = 0;
};

// Keeps a write from ending the process, by SIGPIPE to a pipe that nobody reads, by SIGXFSZ beyond the limit on files, which holds for
// memfds too: the signal is blocked in this thread, and one that a write of ours raised is taken back.
class SuppressedSignal {
 public:
  explicit SuppressedSignal(int signal) noexcept : set_(std::uint64_t{1} << (signal - 1)) {
    sys::sigprocmask(SIG_BLOCK, &set_, &before_);
    std::uint64_t pending = 0;
    sys::sigpending(&pending);
    was_pending_ = (pending & set_) != 0;
  }
  ~SuppressedSignal() {
    if (!was_pending_) sys::take_pending_signal(&set_);
    sys::sigprocmask(SIG_SETMASK, &before_);
  }
  SuppressedSignal(SuppressedSignal const&) = delete;

 private:
  std::uint64_t set_;
  std::uint64_t before_ = 0;
  bool was_pending_ = false;
};

}  // namespace cloister::detail
