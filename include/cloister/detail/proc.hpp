// Processes by their ids, where /proc may be another pid namespace's: to it the same numbers are other processes.
#pragma once

#include <array>
#include <cstdlib>
#include <string>

#include "../file_descriptor.hpp"
#include "hint.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// PIDFD_GET_*_NAMESPACE, by type. Linux 6.11.
inline constexpr std::array<unsigned long, 8> pidfd_requests{
    kernel::pidfd_get_cgroup_namespace, kernel::pidfd_get_ipc_namespace, kernel::pidfd_get_mnt_namespace,
    kernel::pidfd_get_net_namespace,    kernel::pidfd_get_pid_namespace, kernel::pidfd_get_time_namespace,
    kernel::pidfd_get_user_namespace,   kernel::pidfd_get_uts_namespace};

// Whether the numbers under /proc are the caller's pids: not if there is no /proc, or it is another pid namespace's: one
// that numbers the caller differently, or does not see it.
inline bool proc_is_own() {
  char text[16];
  long const size = sys::readlinkat(AT_FDCWD, "/proc/self", text, sizeof text - 1);
  text[size > 0 ? size : 0] = '\0';
  return std::strtol(text, nullptr, 10) == sys::getpid();
}

// The directory under /proc of the process, or thread, with that id in the caller's pid namespace; empty if that is not
// what its numbers are. What it calls the caller itself is right in any.
inline std::string name_in_proc(int pid) {
  if (pid == sys::getpid()) return "self";
  if (pid == sys::gettid()) return "thread-self";
  return proc_is_own() ? std::to_string(pid) : std::string{};
}

// The number under /proc, whosever it is, of the process behind a pidfd: 0 if that /proc does not show it, else a negative
// errno: ESRCH if it has been reaped or is no process, ENOENT without a /proc. Linux 5.3.
inline long number_in_proc(int pidfd) {
  std::string const info = join({"/proc/thread-self/fdinfo/", std::to_string(pidfd)});
  FileStart const file{info.c_str()};
  if (file.size < 0) return file.size;
  long const number = file.number_after("Pid:");
  return number < 0 ? -ESRCH : number;
}

// The Error of a look that needs a /proc of the caller's own pid namespace.
inline Error foreign_proc_error(std::string_view item) {
  if (!exists("/proc/self/ns")) return look_error(ENOENT, "open", item, {});
  return Error(ENOENT, "open", item, Error::Side::parent,
               {Obstacle::masked_proc, "this /proc is another pid namespace's, where the number is another process's",
                "mount one of the caller's own"});
}

}  // namespace cloister::detail
