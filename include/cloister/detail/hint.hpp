// Why the kernel probably refused a step, and what would help: the end of an Error's text.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "../clone_flags.hpp"
#include "../error.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// The number after `key` at the start of a line, as in "Threads:\t1"; without a key the one that the file starts with.
// -1 if there is none, and where the file cannot be read. Plain pointers: a string_view that is cut costs each
// including file a dozen ms.
inline long read_number(char const* path, char const* key = "") noexcept {
  char text[4096];
  int const fd = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  long const size = sys::read(fd, text, sizeof text - 1);
  sys::close(fd);
  text[size > 0 ? size : 0] = '\0';
  char const* at = text;
  for (char const* rest = key; *rest != '\0';) {
    if (*at == *rest) {
      ++at;
      ++rest;
      continue;
    }
    while (*at != '\0' && *at != '\n') ++at;
    if (*at == '\0') return -1;
    ++at;
    rest = key;
  }
  while (*at == ' ' || *at == '\t') ++at;
  if (*at < '0' || *at > '9') return -1;
  return std::strtol(at, nullptr, 10);
}

inline bool exists(char const* path) noexcept {
  struct ::stat file {};
  return sys::stat(path, &file) == 0;
}
inline bool link_exists(char const* path) noexcept {
  struct ::stat link {};
  return sys::fstatat(AT_FDCWD, path, &link, AT_SYMLINK_NOFOLLOW) == 0;
}

inline bool sysctl_is(char const* path, long value) noexcept { return read_number(path) == value; }
inline bool seccomp_filter_loaded() noexcept { return read_number("/proc/thread-self/status", "Seccomp:") == 2; }
inline bool has_threads() noexcept { return read_number("/proc/thread-self/status", "Threads:") > 1; }
inline bool has_cap_sys_admin() noexcept {
  kernel::capability_header header{kernel::capability_version_3, 0};
  kernel::capability_data data[2] = {};
  return sys::capget(&header, data) == 0 && (data[0].effective & (1u << kernel::cap_sys_admin)) != 0;
}
// Whether the root directory is one inside a mount, as chroot leaves it, and not the root of one.
inline bool in_chroot() noexcept {
  struct ::statx root {};
  if (sys::statx(AT_FDCWD, "/", 0, 0, &root) < 0) return false;
  return (root.stx_attributes_mask & ~root.stx_attributes & kernel::statx_attr_mount_root) != 0;
}
// Whether the ids of the caller mean nothing in its user namespace, because nobody has written its maps yet.
inline bool ids_unmapped() noexcept {
  auto const empty = [](char const* map) { return exists(map) && read_number(map) < 0; };
  return empty("/proc/thread-self/uid_map") || empty("/proc/thread-self/gid_map");
}
// Whether the children of the calling thread go into another pid namespace than its own. Linux 4.12.
inline bool children_go_elsewhere() noexcept {
  constexpr char const* link = "/proc/thread-self/ns/pid_for_children";
  struct ::stat own {
  }, children{};
  if (!link_exists(link)) return false;
  if (sys::stat(link, &children) < 0) return true;  // no process has begun it yet
  return sys::stat("/proc/thread-self/ns/pid", &own) == 0 && own.st_ino != children.st_ino;
}
// Whether the running kernel has that type, as far as /proc can tell.
inline bool kernel_has(NamespaceType type) {
  return !exists("/proc/self/ns") || link_exists(join({"/proc/self/ns/", to_string(type)}).c_str());
}

inline std::string no_kernel_support(CloneFlags wanted) {
  for (NamespaceType type : wanted)
    if (!kernel_has(type))
      return join({"the kernel has no ", to_string(type), " namespaces: they came with Linux ", facts(type).since,
                   " and can be left out of a build"});
  return {};
}

// One comparison for all of them, because the compiler weighs every operator== of the standard library at each.
inline bool is(std::string_view step, std::string_view name) noexcept { return step == name; }

inline std::string permission_hint(std::string_view step, CloneFlags wanted, bool creates) {
  constexpr char const* apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
  bool const user = wanted.contains(NamespaceType::user);
  bool const admin = has_cap_sys_admin();
  std::string_view hint;
  // AppArmor lets the user namespace be made and withholds the capabilities in it, so a later step may be the one that
  // fails.
  if (user && !admin && sysctl_is(apparmor, 1))
    hint =
        "kernel.apparmor_restrict_unprivileged_userns is 1: the program needs a profile that allows userns, or the "
        "sysctl 0";
  else if (creates && user && in_chroot())
    hint = "the kernel makes no user namespace inside a chroot: enter the directory with pivot_root instead";
  else if (creates && user && ids_unmapped())
    hint = "the caller's own ids are not mapped: its uid_map and gid_map must be written first";
  else if (creates && user && !admin && sysctl_is("/proc/sys/kernel/unprivileged_userns_clone", 0))
    hint = "kernel.unprivileged_userns_clone is 0: set it to 1, or run as root";
  else if (creates && !user && !admin)
    return join({"CAP_SYS_ADMIN is needed; with user beside ", to_string(wanted), " no privilege is"});
  else if (is(step, "write uid_map") || is(step, "write gid_map"))
    hint = "without CAP_SETUID and CAP_SETGID only one's own ids can be mapped, one to one";
  else if (is(step, "setns"))
    hint = admin ? "CAP_SYS_ADMIN is needed also in the user namespace that owns the target"
                 : "CAP_SYS_ADMIN is needed, here and in the user namespace that owns the target";
  else if (is(step, "sethostname") || is(step, "setdomainname"))
    hint = "CAP_SYS_ADMIN is needed in the user namespace that owns the uts namespace";
  else if (is(step, "bring up loopback"))
    hint = "CAP_NET_ADMIN is needed in the user namespace that owns the network namespace";
  else if (creates && seccomp_filter_loaded())
    hint = "a seccomp filter is loaded and may forbid it, as that of a container does by default";
  else if (creates)
    hint = "a security module may forbid it";
  return join({hint});
}

inline std::string limit_hint(CloneFlags wanted) {
  std::string limit = join({"one of user.max_*_namespaces"});
  for (NamespaceType type : wanted) {
    char const* const name = facts(type).limit;
    if (sysctl_is(join({"/proc/sys/user/", name}).c_str(), 0))
      return join({"user.", name, " is 0: raise it to allow ", to_string(type), " namespaces"});
    if (wanted.size() == 1) limit = join({"user.", name});
  }
  bool const nests = wanted.contains(NamespaceType::user) || wanted.contains(NamespaceType::pid);
  return join(
      {limit, " is used up, here or in an outer user namespace", nests ? ", or they are nested over 32 deep" : ""});
}

// A sentence for people about an `error_number` at a step of that name; `wanted` is what the step, or the description
// it belongs to, makes or enters. Empty where nothing can be told.
inline std::string refusal_hint(std::string_view step, int error_number, CloneFlags wanted) {
  bool const starts = is(step, "fork") || is(step, "clone3") || is(step, "clone");
  bool const creates = !is(step, "fork") && (starts || is(step, "unshare"));
  bool const writes_map = is(step, "write uid_map") || is(step, "write gid_map") || is(step, "write setgroups");
  std::string_view hint;
  switch (error_number) {
    case EPERM:
      return permission_hint(step, wanted, creates);
    case ENOSPC:
      if (creates) return limit_hint(wanted);
      break;
    case EUSERS:
      if (creates) return limit_hint(wanted);
      if (is(step, "setns")) hint = "a process with threads cannot enter a time namespace";
      break;
    case EINVAL:
      if (!creates && step != "setns") break;
      if (std::string text = no_kernel_support(wanted); !text.empty()) return text;
      if (creates && wanted.contains(NamespaceType::pid) && children_go_elsewhere())
        hint = "this thread has unshared pid already: its children go into that pid namespace";
      else if (is(step, "unshare") && wanted.contains(NamespaceType::user) && has_threads())
        hint = "the process has threads, and a user namespace belongs to all of them: start a child instead";
      break;
    case ENOSYS:
      hint = seccomp_filter_loaded() ? "a seccomp filter is loaded and hides the call" : "the kernel has no such call";
      break;
    case EACCES:
      if (writes_map)
        hint =
            "the host process is not dumpable, as after a change of its ids: prctl(PR_SET_DUMPABLE, 1) gives it its "
            "/proc files back";
      break;
    case ENOENT:
      // setns(2) itself never says that: it is the namespace's file that is not there.
      if (!writes_map && step != "write timens_offsets" && step != "setns") break;
      if (std::string text = no_kernel_support(wanted); !text.empty()) return text;
      hint = "/proc is not mounted there, or is another pid namespace's";
      break;
    case EAGAIN:
      if (starts) hint = "no more processes are allowed: RLIMIT_NPROC, or pids.max of the cgroup";
      break;
    case ENOMEM:
      if (starts) hint = "no memory, or the init of the pid namespace for children has ended";
      break;
    default:
      break;
  }
  return join({hint});
}

// The Error of a look at a namespace of a process. The kernel says ENOENT for much: no /proc, no such type, no such
// process, one that has ended.
inline Error look_error(int error_number, char const* step, std::string_view item, CloneFlags types) {
  auto const error = [&](int number, std::string_view hint) {
    return Error(number, step, item, Error::Side::parent, hint);
  };
  if (error_number == EACCES)
    return error(EACCES, "it is another user's process, or keeps its memory secret: CAP_SYS_PTRACE is needed");
  if (error_number == ENOENT && !exists("/proc/self/ns"))
    return error(ENOENT, "/proc is not mounted, or is another pid namespace's, or the kernel is before 3.8");
  if (error_number != ENOENT && error_number != EOPNOTSUPP) return error(error_number, {});
  std::string const hint = no_kernel_support(types);
  return error(hint.empty() ? ESRCH : error_number, hint);
}

}  // namespace cloister::detail
