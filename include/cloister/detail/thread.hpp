// A thread for one call.
#pragma once

#include <pthread.h>

#include "../error.hpp"

namespace cloister::detail {

struct Nothing {
  void operator()() const noexcept {}
};

// Calls `body` on a thread of its own, `meanwhile` on this one, and returns when both have ended; neither may throw. The
// thread inherits the signal mask, the namespaces and the privileges of the calling one. Throws Error if there can be
// none, before anything is called. pthread_create(3).
template <class Body, class Meanwhile = Nothing>
void on_own_thread(Body& body, Meanwhile const& meanwhile = {}) {
  ::pthread_t thread;
  int const result = ::pthread_create(
      &thread, nullptr,
      [](void* argument) noexcept -> void* {
        (*static_cast<Body*>(argument))();
        return nullptr;
      },
      &body);
  if (result != 0)
    throw Error(result, "pthread_create", {}, Error::Side::parent,
                result == EAGAIN ? Hint{Obstacle::limit, "no more threads are allowed: RLIMIT_NPROC, or pids.max of the cgroup"}
                : result == EINVAL ? Hint{"after an unshare of pid the kernel gives the thread no further ones"}
                                   : Hint{});
  // Joining is a cancellation point: unwinding from here would leave `body` to the thread alone.
  int cancelable = 0;
  ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
  meanwhile();
  ::pthread_join(thread, nullptr);
  ::pthread_setcancelstate(cancelable, nullptr);
}

}  // namespace cloister::detail
