// What a child may do, described: capabilities, resource limits, system calls. Nothing happens here.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "detail/text.hpp"

namespace cloister {

// The kernel's numbers, capabilities(7).
enum class Capability : std::uint8_t {
  chown, dac_override, dac_read_search, fowner, fsetid, kill, setgid, setuid, setpcap, linux_immutable, net_bind_service,
  net_broadcast, net_admin, net_raw, ipc_lock, ipc_owner, sys_module, sys_rawio, sys_chroot, sys_ptrace, sys_pacct, sys_admin,
  sys_boot, sys_nice, sys_resource, sys_time, sys_tty_config, mknod, lease, audit_write, audit_control, setfcap, mac_override,
  mac_admin, syslog, wake_alarm, block_suspend, audit_read, perfmon, bpf, checkpoint_restore
};

// As capabilities(7) has it, without CAP_ and in small letters: "net_admin".
constexpr std::string_view to_string(Capability capability) noexcept {
  constexpr std::string_view names[] = {
      "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
      "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot",
      "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease",
      "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read",
      "perfmon", "bpf", "checkpoint_restore"};
  return names[static_cast<std::size_t>(capability)];
}

// The capabilities that a child keeps once its world stands; in a user namespace of its own they reach no further than that. What is
// not kept leaves the bounding set as well, so that no program brings it back. Unless everything is inherited, the inheritable and
// the ambient set are emptied: over an execve only root inside keeps what only() lists, as capabilities(7) has it.
class Capabilities {
 public:
  static Capabilities inherit() { return Capabilities{}; }
  static Capabilities none() { return only({}); }
  static Capabilities only(std::initializer_list<Capability> kept) { return only(kept.begin(), kept.size()); }
  static Capabilities only(std::vector<Capability> const& kept) { return only(kept.data(), kept.size()); }

  Capabilities() = default;
  bool inherited() const noexcept { return inherited_; }
  bool contains(Capability capability) const noexcept { return (bits_ >> static_cast<unsigned>(capability) & 1) != 0; }
  // Bit n is capability n. 0 if everything is inherited.
  std::uint64_t bits() const noexcept { return bits_; }
  friend bool operator==(Capabilities const&, Capabilities const&) = default;

 private:
  static Capabilities only(Capability const* kept, std::size_t count) noexcept {
    Capabilities result;
    result.inherited_ = false;
    for (std::size_t i = 0; i < count; ++i) result.bits_ |= std::uint64_t{1} << static_cast<unsigned>(kept[i]);
    return result;
  }

  bool inherited_ = true;
  std::uint64_t bits_ = 0;
};

// What a resource limit bounds, with its unit; setrlimit(2).
enum class Resource : std::uint8_t {
  cpu = 0,              // seconds of processor time; then SIGXCPU, at the hard limit SIGKILL
  file_size = 1,        // bytes of a file that is written
  data = 2,             // bytes of heap and private memory
  stack = 3,            // bytes of the main thread's stack
  core = 4,             // bytes of a core dump
  processes = 6,        // processes and threads of the user, wherever they run
  open_files = 7,       // the highest number of a descriptor, and one more
  locked_memory = 8,    // bytes
  address_space = 9,    // bytes of all mappings
  pending_signals = 11, // queued signals of the user
  message_queues = 12,  // bytes of the user's POSIX message queues
  nice = 13,            // 20 minus the lowest nice value
  realtime_priority = 14
};
constexpr std::string_view to_string(Resource resource) noexcept {
  constexpr std::string_view names[] = {"cpu", "file_size", "data", "stack", "core", "", "processes", "open_files",
                                        "locked_memory", "address_space", "", "pending_signals", "message_queues", "nice",
                                        "realtime_priority"};
  return names[static_cast<std::size_t>(resource)];
}

// A bound on a resource of the child, set before it begins. `hard`, up to which the child may raise it again, is `soft` if not given.
struct ResourceLimit {
  Resource resource;
  std::uint64_t soft;
  std::optional<std::uint64_t> hard{};

  static constexpr std::uint64_t unlimited = UINT64_MAX;
  friend bool operator==(ResourceLimit const&, ResourceLimit const&) = default;
};

// A compiled seccomp filter, seccomp(2): the instructions of a program for the kernel's packet filter machine, such as
// seccomp_export_bpf_mem() of libseccomp makes. Loaded last, when everything else stands, in the callable or program alone. A program
// still needs execve; a callable sendto, sendmsg and exit_group, and for a result over 1 KiB memfd_create, write, fcntl, rt_sigprocmask,
// rt_sigpending and rt_sigtimedwait.
class SeccompFilter {
 public:
  SeccompFilter() = default;
  // Throws std::invalid_argument if there is no instruction, or more than the 4096 that the kernel takes.
  SeccompFilter(std::vector<::sock_filter> instructions)  // NOLINT(google-explicit-constructor): the one thing that it is
      : instructions_(std::move(instructions)) {
    if (instructions_.empty() || instructions_.size() > 4096)
      throw std::invalid_argument("cloister: privileges: seccomp: a filter has 1 to 4096 instructions, not " +
                                  std::to_string(instructions_.size()));
  }

  // Empty where there is no filter.
  std::vector<::sock_filter> const& instructions() const noexcept { return instructions_; }
  friend bool operator==(SeccompFilter const& a, SeccompFilter const& b) noexcept {
    if (a.instructions_.size() != b.instructions_.size()) return false;
    for (std::size_t i = 0; i < a.instructions_.size(); ++i) {
      ::sock_filter const &x = a.instructions_[i], &y = b.instructions_[i];
      if (x.code != y.code || x.jt != y.jt || x.jf != y.jf || x.k != y.k) return false;
    }
    return true;
  }

 private:
  std::vector<::sock_filter> instructions_;
};

// What is taken from a child before its callable or program begins, in this order: nesting, limits, capabilities, and last the filter.
struct Privileges {
  // Set-user-id programs and file capabilities give nothing: PR_SET_NO_NEW_PRIVS(2const). Inherited by all below.
  bool no_new_privs = false;
  Capabilities capabilities{};
  std::vector<ResourceLimit> limits{};
  // No user namespace can be made inside the child's own, by which code gets at much of the kernel that it otherwise could not.
  // Needs user in `unshare`: it would forbid it to the whole host. A child that keeps CAP_SYS_RESOURCE may allow it to itself again.
  bool forbid_nesting = false;
  // Needs no_new_privs.
  SeccompFilter seccomp{};

  friend bool operator==(Privileges const&, Privileges const&) = default;
};

// "inherit", "none", "only kill net_admin".
inline std::string to_string(Capabilities const& capabilities) {
  if (capabilities.inherited()) return "inherit";
  if (capabilities.bits() == 0) return "none";
  std::string text = "only";
  for (unsigned number = 0; number <= static_cast<unsigned>(Capability::checkpoint_restore); ++number)
    if (auto const capability = static_cast<Capability>(number); capabilities.contains(capability))
      text += detail::join({" ", to_string(capability)});
  return text;
}

// "address_space 1073741824", "cpu 10 to 20", "core unlimited".
inline std::string to_string(ResourceLimit const& limit) {
  auto const number = [](std::uint64_t value) {
    return value == ResourceLimit::unlimited ? std::string("unlimited") : std::to_string(value);
  };
  std::string text = detail::join({to_string(limit.resource), " ", number(limit.soft)});
  if (limit.hard && *limit.hard != limit.soft) text += " to " + number(*limit.hard);
  return text;
}

// What is set: "no_new_privs, capabilities none, limits cpu 10 core 0, forbid_nesting, seccomp 12 instructions".
inline std::string to_string(Privileges const& privileges) {
  std::string text;
  auto const add = [&](std::string const& what) { text += (text.empty() ? "" : ", ") + what; };
  if (privileges.no_new_privs) add("no_new_privs");
  if (!privileges.capabilities.inherited()) add("capabilities " + to_string(privileges.capabilities));
  std::string limits;
  for (ResourceLimit const& limit : privileges.limits) limits += ' ' + to_string(limit);
  if (!limits.empty()) add("limits" + limits);
  if (privileges.forbid_nesting) add("forbid_nesting");
  if (auto const count = privileges.seccomp.instructions().size(); count > 0)
    add("seccomp " + std::to_string(count) + (count == 1 ? " instruction" : " instructions"));
  return text;
}

}  // namespace cloister
