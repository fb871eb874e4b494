// The loopback interface, which a new network namespace has but leaves down.
#pragma once

#include "detail/hint.hpp"
#include "error.hpp"

namespace cloister {

namespace detail {

// 0 or a negative errno; also for a child before its execve. What an interface's flags are does not depend on the
// family of the socket, and unix sockets are the ones that every kernel has and filters allow.
CLOISTER_DETAIL_CHILD_SIDE inline int set_loopback_up() noexcept {
  int const fd = sys::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  kernel::interface_request request{{'l', 'o'}, 0, {}};
  int result = sys::ioctl(fd, kernel::siocgifflags, sys::arg(&request));
  if (result == 0 && (request.flags & kernel::iff_up) == 0) {
    request.flags = static_cast<std::int16_t>(request.flags | kernel::iff_up);
    result = sys::ioctl(fd, kernel::siocsifflags, sys::arg(&request));
  }
  sys::close(fd);
  return result;
}

}  // namespace detail

// Brings lo up in the network namespace of the calling thread; it has 127.0.0.1 and ::1 then. Nothing happens where it
// is up. Needs CAP_NET_ADMIN in the user namespace that owns the network namespace. Throws Error (EPERM). netdevice(7).
inline void bring_up_loopback() {
  int const result = detail::set_loopback_up();
  if (result >= 0) return;
  constexpr char const* step = "bring up loopback";
  throw Error(-result, step, {}, Error::Side::parent, detail::refusal_hint(step, -result, {}));
}

}  // namespace cloister
