// The description of a world for a child: nothing happens here.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "clock_offsets.hpp"
#include "clone_flags.hpp"
#include "id_map.hpp"
#include "mount.hpp"
#include "privileges.hpp"

namespace cloister {

// The loopback interface of a new network namespace, which the kernel leaves down.
enum class Loopback : bool { up, down };

// Whether the child keeps the caller's session and its terminal, as an interactive shell needs, or starts one without a terminal,
// so that it can neither read what is typed there nor push input into it. setsid(2).
enum class Session : bool { inherit, fresh };

// Who is PID 1 of a new pid namespace. With `none`, as clone(2) has it, the callable or program itself: signals without a handler
// do nothing to it, abort() shows as SIGSEGV, and orphans below it stay zombies until it waits for them. With `reaper` a small init
// of ours, which reaps orphans, forwards signals and reports the status; the callable or program is PID 2. When that ends, so does
// all else in the namespace. A program under a reaper costs a copy of the caller's page tables, as a callable does.
enum class Init : bool { none, reaper };

// What happens to the child when the caller's *process* ends, however it ends. `kill_child`: it is killed, though not when merely the
// thread that started it ends; a main thread that leaves by pthread_exit counts as the end of the process. A set-uid program sheds
// it. A callable that is PID 1 and was started by another thread than the main one handles SIGRTMAX for this: if it blocks that
// signal or becomes a program by execve, it lives on.
enum class ParentDeath : bool { kill_child, leave_child };

// What the child sees of the caller's environment.
class Environment {
 public:
  enum class Kind : std::uint8_t { inherit, clear, only };
  static Environment inherit() { return Environment{Kind::inherit, {}}; }
  static Environment clear() { return Environment{Kind::clear, {}}; }
  // The variables of these names, where the caller has them.
  static Environment only(std::vector<std::string> names) { return Environment{Kind::only, std::move(names)}; }

  Environment() = default;
  Kind kind() const noexcept { return kind_; }
  std::vector<std::string> const& names() const noexcept { return names_; }
  friend bool operator==(Environment const&, Environment const&) = default;

 private:
  Environment(Kind kind, std::vector<std::string> names) : kind_(kind), names_(std::move(names)) {}
  Kind kind_ = Kind::inherit;
  std::vector<std::string> names_;
};

// Which descriptors of the caller a callable keeps, under the same numbers. By default all, because its captures may own some; with
// none() and only() 0, 1 and 2 lead to /dev/null unless listed. A program starts with 0, 1, 2 (its streams), those of only(), and
// those of Command::keep_fd, whatever else is said here.
class Descriptors {
 public:
  enum class Kind : std::uint8_t { inherit, none, only };
  static Descriptors inherit() { return Descriptors{Kind::inherit, {}}; }
  static Descriptors none() { return Descriptors{Kind::none, {}}; }
  static Descriptors only(std::vector<int> fds) { return Descriptors{Kind::only, std::move(fds)}; }

  Descriptors() = default;
  Kind kind() const noexcept { return kind_; }
  std::vector<int> const& fds() const noexcept { return fds_; }
  friend bool operator==(Descriptors const&, Descriptors const&) = default;

 private:
  Descriptors(Kind kind, std::vector<int> fds) : kind_(kind), fds_(std::move(fds)) {}
  Kind kind_ = Kind::inherit;
  std::vector<int> fds_;
};

// How a child's world differs from the caller's. What is not set is as the caller has it. A value: one description serves many
// children, from any thread. A description that contradicts itself (a host name without a uts namespace would rename the host) is
// refused with std::invalid_argument, which names the field, before any process exists.
struct Isolation {
  // The namespaces that the child gets anew. All but user need CAP_SYS_ADMIN, or user beside them, which needs nothing.
  CloneFlags unshare{};
  // The id maps of the new user namespace; IdMap::self() if not set.
  std::optional<IdMap> ids{};
  // At most 64 bytes; needs uts. sethostname(2), setdomainname(2).
  std::optional<std::string> hostname{};
  std::optional<std::string> domainname{};
  // Files; both need mnt. Nothing that is mounted here shows outside, also where the caller's mounts are shared.
  Root root{};
  std::vector<Mount> mounts{};
  // Of a new net namespace.
  Loopback loopback = Loopback::up;
  // Of a new time namespace.
  ClockOffsets clock{};
  Privileges privileges{};
  std::optional<Cgroup> cgroup{};
  Descriptors descriptors{};
  Environment environment{};
  Session session = Session::inherit;
  Init init = Init::none;
  ParentDeath on_parent_death = ParentDeath::kill_child;

  friend bool operator==(Isolation const&, Isolation const&) = default;
};

}  // namespace cloister
