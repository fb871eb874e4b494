// No handler of the host may run in a process that shares its memory, or before a copy of it has its own dispositions.
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

}  // namespace cloister::detail
