// Why the kernel probably refused a step, and what would help: the end of an Error's text.
#pragma once

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "../clone_flags.hpp"
#include "../error.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// --- what the kernel shows of the caller

// The start of a file; empty where it cannot be read. Plain pointers: a string_view that is cut costs each including
// file a dozen ms.
struct FileStart {
  explicit FileStart(char const* path) noexcept {
    int const fd = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? fd : sys::read(fd, text, sizeof text - 1);
    if (fd >= 0) sys::close(fd);
    text[size > 0 ? size : 0] = '\0';
  }
  // What follows `key` where that begins a line; null if it begins none.
  char const* after(char const* key) const noexcept {
    char const* at = text;
    for (char const* rest = key; *rest != '\0';) {
      if (*at == *rest) {
        ++at;
        ++rest;
        continue;
      }
      while (*at != '\0' && *at != '\n') ++at;
      if (*at == '\0') return nullptr;
      ++at;
      rest = key;
    }
    return at;
  }
  // The number that follows it; -1 if there is none.
  long number_after(char const* key) const noexcept {
    char const* at = after(key);
    if (at == nullptr) return -1;
    while (*at == ' ' || *at == '\t') ++at;
    if (*at < '0' || *at > '9') return -1;
    return std::strtol(at, nullptr, 10);
  }
  long size;  // or a negative errno
  char text[4096];
};

// The number after `key` at the start of a line, as in "Threads:\t1"; without a key the one that the file starts with.
// -1 if there is none, and where the file cannot be read.
inline long read_number(char const* path, char const* key = "") noexcept { return FileStart{path}.number_after(key); }

// What joins others hides its memory, which a change of ids or privileges would show again where fs.suid_dumpable is 1, a setting for
// debugging, proc_sys_fs(5). Without a /proc that tells it is taken to be the default.
inline void require_that_memory_stays_hidden() {
  constexpr char const* path = "/proc/sys/fs/suid_dumpable";
  if (read_number(path) == 1)
    throw Error(EPERM, "prctl PR_SET_DUMPABLE", "with fs.suid_dumpable=1", Error::Side::parent,
                {Obstacle::other, "it would show the caller's memory to those who are there", "sysctl fs.suid_dumpable=2, or 0"});
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
inline bool has_capability(unsigned number) noexcept {
  kernel::capability_header header{kernel::capability_version_3, 0};
  kernel::capability_data data[2] = {};
  return sys::capget(&header, data) == 0 && (data[number / 32].effective >> number % 32 & 1) != 0;
}
inline bool has_cap_sys_admin() noexcept { return has_capability(kernel::cap_sys_admin); }
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

// The namespaces that the kernel was booted with have these numbers; true where /proc cannot tell.
inline bool is_initial(char const* link, std::uint64_t inode) noexcept {
  struct ::stat own {};
  return sys::stat(link, &own) < 0 || own.st_ino == inode;
}
inline bool in_initial_user_namespace() noexcept { return is_initial("/proc/thread-self/ns/user", 0xEFFFFFFD); }
inline bool in_initial_pid_namespace() noexcept { return is_initial("/proc/thread-self/ns/pid", 0xEFFFFFFC); }
// How many pid namespaces, one inside the other, the caller is in, from that of this /proc on: further out it does not
// show.
inline long pid_namespace_levels() noexcept {
  FileStart const status{"/proc/thread-self/status"};
  long levels = 0;
  char const* at = status.after("NSpid:");
  for (; at != nullptr && *at != '\0' && *at != '\n'; ++at) levels += *at == '\t';
  return levels;
}

// --- hints

inline Hint no_kernel_support(CloneFlags wanted) {
  for (NamespaceType type : wanted)
    if (!kernel_has(type))
      return {Obstacle::kernel_too_old,
              join({"the kernel has no ", to_string(type), " namespaces: they came with Linux ", facts(type).since,
                    " and can be left out of a build"})};
  return {};
}

// One comparison for all of them, because the compiler weighs every operator== of the standard library at each.
inline bool is(std::string_view step, std::string_view name) noexcept { return step == name; }

inline Hint filter_hint() {
  if (!seccomp_filter_loaded()) return {};
  return {Obstacle::seccomp, "a seccomp filter is loaded and may forbid it, as that of a container does by default",
          "use a filter that allows it, in a container by --security-opt seccomp=FILE"};
}

// Only what is in force for the caller: that a kernel has a module says little.
inline Hint security_module_hint() {
  FileStart file{"/proc/thread-self/attr/apparmor/current"};
  if (file.text[0] == '\0') file = FileStart{"/proc/thread-self/attr/current"};
  char* const label = file.text;
  label[std::strcspn(label, "\n")] = '\0';
  if (sysctl_is("/sys/fs/selinux/enforce", 1))
    return {Obstacle::security_module,
            join({"SELinux is enforcing and may forbid it to ", label[0] != '\0' ? label : "the caller"}),
            "look for the denial with `ausearch -m avc`, and allow it in the policy"};
  // "docker-default (enforce)". An "unconfined" program and a profile that only complains are let through.
  if (std::strstr(label, " (") == nullptr || std::strstr(label, " (complain)") != nullptr ||
      std::strstr(label, " (unconfined)") != nullptr)
    return {};
  return {Obstacle::security_module, join({"AppArmor confines the caller as ", label, " and may forbid it"}),
          "allow it in the profile or use another one, in a container by --security-opt apparmor=NAME"};
}

// What is seen that may refuse something for which the caller, or a child in a world of its own, has the capability.
inline Hint evident_hint(int error_number) {
  // Filters mostly say EPERM; it is security modules that say EACCES.
  Hint hint = error_number == EACCES ? security_module_hint() : filter_hint();
  if (hint.empty()) hint = error_number == EACCES ? filter_hint() : security_module_hint();
  return hint;
}
// The same where nothing but those is left: not every module shows itself.
inline Hint forbidden_hint(int error_number) {
  Hint hint = evident_hint(error_number);
  return hint.empty() ? Hint{Obstacle::security_module, "a security module, such as Landlock, may forbid it"} : hint;
}

// Ubuntu's: AppArmor lets the user namespace be made and withholds the capabilities in it, so a later step may be the
// one that fails.
inline Hint withheld_user_namespace_hint(CloneFlags wanted) {
  if (!wanted.contains(NamespaceType::user) || has_cap_sys_admin() ||
      !sysctl_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1))
    return {};
  return {Obstacle::security_module, "kernel.apparmor_restrict_unprivileged_userns is 1",
          "the program needs a profile that allows userns, or the sysctl 0"};
}

// Of writing an id map.
inline Hint map_hint() {
  if (!has_capability(kernel::cap_setuid))
    return {Obstacle::id_map, "without CAP_SETUID and CAP_SETGID only one's own ids can be mapped, one to one",
            "IdMap::self() and IdMap::root() do that, and IdMap::subordinate() maps what /etc/subuid lends"};
  if (!has_capability(kernel::cap_setfcap))
    return {Obstacle::capability,
            "since Linux 5.12 CAP_SETFCAP is needed to map the id 0 of the caller's user namespace"};
  return {Obstacle::id_map, "the map leads to an id that the caller's own user namespace does not map"};
}

inline Hint permission_hint(std::string_view step, int error_number, CloneFlags wanted, bool starts, bool creates) {
  using enum Obstacle;
  bool const user = wanted.contains(NamespaceType::user);
  bool const admin = has_cap_sys_admin();
  if (Hint hint = withheld_user_namespace_hint(wanted); !hint.empty()) return hint;
  if (creates && user && in_chroot())
    return {chroot, "the kernel makes no user namespace inside a chroot",
            "enter the directory with pivot_root instead"};
  if (creates && user && ids_unmapped())
    return {id_map, "the caller's own ids are not mapped", "its uid_map and gid_map must be written first"};
  if (creates && user && !admin && sysctl_is("/proc/sys/kernel/unprivileged_userns_clone", 0))
    return {capability, "kernel.unprivileged_userns_clone is 0", "set it to 1, or run as root"};
  if (creates && !user && !admin)
    return {capability, "CAP_SYS_ADMIN is needed",
            join({"unshare user beside ", to_string(wanted), ", which takes no privilege, or run as root"})};
  if (is(step, "write uid_map") || is(step, "write gid_map")) return map_hint();
  if (is(step, "setns")) {
    // For a number that is no descriptor the kernel has another answer, but a filter the same.
    if (Hint hint = filter_hint(); !hint.empty() && sys::setns(-1, 0) != -EBADF) return hint;
    return {capability, admin ? "CAP_SYS_ADMIN is needed also in the user namespace that owns the target"
                              : "CAP_SYS_ADMIN is needed, here and in the user namespace that owns the target"};
  }
  if (is(step, "sethostname") || is(step, "setdomainname"))
    return {capability, "CAP_SYS_ADMIN is needed in the user namespace that owns the uts namespace"};
  if (is(step, "bring up loopback"))
    return {capability, "CAP_NET_ADMIN is needed in the user namespace that owns the network namespace"};
  return starts || creates ? forbidden_hint(error_number) : Hint{};
}

inline Hint namespace_limit_hint(CloneFlags wanted) {
  std::string limit;
  bool here = false;  // or in an outer user namespace: in a new one all limits are the largest int
  for (NamespaceType type : wanted) {
    char const* const name = facts(type).limit;
    long const value = read_number(join({"/proc/sys/user/", name}).c_str());
    if (value == 0)
      return {Obstacle::limit, join({"user.", name, " is 0"}),
              join({"raise it to allow ", to_string(type), " namespaces"})};
    limit = wanted.size() == 1 ? join({"user.", name}) : "one of user.max_*_namespaces";
    here = here || value != 0x7fffffff;
  }
  bool const pid = wanted.contains(NamespaceType::pid);
  if (pid && pid_namespace_levels() > 32)
    return {Obstacle::limit, "pid namespaces are nested 32 deep already",
            "nest them less deeply: the kernel takes no more"};
  bool const inside = !in_initial_user_namespace();
  bool const nested = (inside && wanted.contains(NamespaceType::user)) || (pid && !in_initial_pid_namespace());
  // How deep the caller is it cannot see itself, nor what the limits outside are.
  return {Obstacle::limit,
          join({limit, inside && !here ? " of an outer user namespace" : "", " is used up",
                inside && here ? ", here or in an outer user namespace" : "",
                nested ? ", or they are nested over 32 deep" : ""}),
          nested ? "end what holds such namespaces, raise the limit where it is set, or nest less deeply"
                 : "end what holds such namespaces, or raise the limit where it is set"};
}

// The cgroup, the caller's or one above it, that may hold no more processes; empty if none is seen to be full. Of
// version 2, or of the controller of version 1.
inline std::string full_cgroup() {
  FileStart file{"/proc/thread-self/cgroup"};
  for (bool const first_version : {false, true}) {
    char const* const key = first_version ? ":pids:" : "0::";
    char const* const mount = first_version ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup";
    char* path = std::strstr(file.text, key);
    if (path == nullptr) continue;
    path += std::strlen(key);
    for (char* end = path + std::strcspn(path, "\n"); end > path;) {
      *end = '\0';
      long const most = read_number(join({mount, path, "/pids.max"}).c_str());
      if (most >= 0 && read_number(join({mount, path, "/pids.current"}).c_str()) >= most) return path;
      while (end > path && *--end != '/') {
      }
    }
  }
  return {};
}

inline Hint process_limit_hint() {
  if (std::string const cgroup = full_cgroup(); !cgroup.empty())
    return {Obstacle::limit, join({"the cgroup ", cgroup, " holds as many processes as its pids.max allows"}),
            "end some, or raise it"};
  // The machine's root is not counted.
  bool const counted = !(in_initial_user_namespace() &&
                         (sys::geteuid() == 0 || has_cap_sys_admin() || has_capability(kernel::cap_sys_resource)));
  ::rlimit limit{};
  if (counted && sys::getrlimit(RLIMIT_NPROC, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    return {Obstacle::limit,
            join({"no more processes are allowed: RLIMIT_NPROC is ", std::to_string(limit.rlim_cur),
                  ", and pids.max of the cgroup may be less"}),
            "end some, or raise the limit"};
  return {Obstacle::limit,
          "no more processes are allowed: pids.max of the cgroup, kernel.pid_max or kernel.threads-max",
          "end some, or raise the limit"};
}

// For people, and for programs an Obstacle, about an `error_number` at a step of that name; `wanted` is what the step,
// or the description it belongs to, makes or enters. Empty where nothing can be told.
inline Hint refusal_hint(std::string_view step, int error_number, CloneFlags wanted) {
  using enum Obstacle;
  bool const starts = is(step, "fork") || is(step, "clone3") || is(step, "clone") || is(step, "start under the reaper");
  bool const creates = is(step, "clone3") || is(step, "clone") || is(step, "unshare");
  bool const writes_map = is(step, "write uid_map") || is(step, "write gid_map") || is(step, "write setgroups");
  switch (error_number) {
    case EPERM:
      return permission_hint(step, error_number, wanted, starts, creates);
    case ENOSPC:
      if (creates) return namespace_limit_hint(wanted);
      break;
    case EUSERS:
      if (creates) return namespace_limit_hint(wanted);
      if (is(step, "setns"))
        return {threads, "a process with threads cannot enter a time namespace", "start a child instead"};
      break;
    case EINVAL:
      if (!creates && !is(step, "setns")) break;
      if (Hint hint = no_kernel_support(wanted); !hint.empty()) return hint;
      if (creates && wanted.contains(NamespaceType::pid) && children_go_elsewhere())
        return "this thread has unshared pid already: its children go into that pid namespace";
      if (is(step, "unshare") && wanted.contains(NamespaceType::user) && has_threads())
        return {threads, "the process has threads, and a user namespace belongs to all of them",
                "start a child instead"};
      break;
    case ENOSYS:
      if (Hint hint = filter_hint(); !hint.empty())
        return {seccomp, "a seccomp filter is loaded and hides the call", hint.remedy};
      return {kernel_too_old, "the kernel has no such call"};
    case EACCES:
      if (writes_map) {
        if (Hint hint = withheld_user_namespace_hint(wanted); !hint.empty()) return hint;
        if (sys::prctl(PR_GET_DUMPABLE) != 1)
          return {other, "the host process is not dumpable, as after a change of its ids",
                  "prctl(PR_SET_DUMPABLE, 1) gives it its /proc files back"};
      }
      if (creates || starts || writes_map) return forbidden_hint(error_number);
      break;
    case ENOENT:
      // setns(2) itself never says that: it is the namespace's file that is not there.
      if (!writes_map && !is(step, "write timens_offsets") && !is(step, "setns")) break;
      if (Hint hint = no_kernel_support(wanted); !hint.empty()) return hint;
      return {masked_proc, "/proc is not mounted there, or is another pid namespace's",
              "mount one of the caller's own pid namespace"};
    case EAGAIN:
      if (starts) return process_limit_hint();
      break;
    case ENOMEM:
      if (starts) return "no memory, or the init of the pid namespace for children has ended";
      break;
    default:
      break;
  }
  return {};
}

// The Error of a look at a namespace of a process. The kernel says ENOENT for much: no /proc, no such type, no such
// process, one that has ended.
inline Error look_error(int error_number, char const* step, std::string_view item, CloneFlags types) {
  auto const error = [&](int number, Hint const& hint) { return Error(number, step, item, Error::Side::parent, hint); };
  if (error_number == EACCES)
    return error(EACCES, {Obstacle::capability, "it is another user's process, or keeps its memory secret",
                          "CAP_SYS_PTRACE is needed"});
  if (error_number == ENOENT && !exists("/proc/self/ns"))
    return error(ENOENT, {Obstacle::masked_proc,
                          "/proc is not mounted, or is another pid namespace's, or the kernel is before 3.8"});
  if (error_number != ENOENT && error_number != EOPNOTSUPP) return error(error_number, {});
  Hint const hint = no_kernel_support(types);
  return error(hint.empty() ? ESRCH : error_number, hint);
}

}  // namespace cloister::detail
