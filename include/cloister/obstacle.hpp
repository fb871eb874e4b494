// What stands in the way, for programs that decide what to do about it; people read the reason beside it.
#pragma once

#include <cstdint>

namespace cloister {

// By the evidence that the kernel shows to the caller. Where more than one could be it, the likelier one.
enum class Obstacle : std::uint8_t {
  none,             // nothing: it works
  capability,       // a capability or a permission that the caller has not got
  limit,            // of namespaces, of their nesting, of processes, or one set with setrlimit(2)
  seccomp,          // a filter of system calls, as containers have
  security_module,  // AppArmor, SELinux or another
  chroot,           // the caller is in one
  id_map,           // ids that are not mapped, were not lent, or may not be mapped by the caller
  masked_proc,      // the caller's /proc (or /sys) is missing, another pid namespace's, or hidden in part by mounts
  kernel_too_old,   // or built without it
  threads,          // the process has threads
  other             // anything else, as a file that is not there
};

constexpr char const* to_string(Obstacle obstacle) noexcept {
  switch (obstacle) {
    case Obstacle::none:
      return "none";
    case Obstacle::capability:
      return "capability";
    case Obstacle::limit:
      return "limit";
    case Obstacle::seccomp:
      return "seccomp";
    case Obstacle::security_module:
      return "security_module";
    case Obstacle::chroot:
      return "chroot";
    case Obstacle::id_map:
      return "id_map";
    case Obstacle::masked_proc:
      return "masked_proc";
    case Obstacle::kernel_too_old:
      return "kernel_too_old";
    case Obstacle::threads:
      return "threads";
    case Obstacle::other:
      break;
  }
  return "other";
}

}  // namespace cloister
