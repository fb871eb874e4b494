// The description of a world for a child: nothing happens here.
#pragma once

#include <cerrno>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "cgroup.hpp"
#include "clock_offsets.hpp"
#include "clone_flags.hpp"
#include "detail/host_wide_calls.hpp"
#include "detail/id_map_file.hpp"
#include "id_map.hpp"
#include "mount.hpp"
#include "namespace.hpp"
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
// all else in the namespace.
enum class Init : bool { none, reaper };

// What happens to the child when the caller's *process* ends, however it ends. `kill_child`: it is killed, though not when merely the
// thread that started it ends; a main thread that leaves by pthread_exit counts as the end of the process. A set-uid program sheds
// it. A callable that is PID 1 and was started by another thread than the main one handles SIGRTMAX and SIGIO for this: if it blocks
// them or becomes a program by execve, it lives on.
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
  // Namespaces that exist, into which the child goes before it gets new ones; the description holds them open. As nsenter(1) does it: those
  // that the caller's privileges allow, then a user namespace, then the rest with what that grants. There the child is 0 if that is mapped,
  // else who the caller is, without groups where they may be dropped; with mnt it starts in "/". Needs CAP_SYS_ADMIN in the user namespace
  // that owns each, mnt also CAP_SYS_CHROOT. Those who are in a user or pid namespace cannot look into a callable, which is a copy of the
  // caller: it is not dumpable, prctl(2); nor is the caller while a program starts. A program that joins time, or user with a reaper or
  // a clock of its own, costs a copy of the caller's page tables. setns(2).
  std::vector<Namespace> join{};
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

  // The strictest description that still runs a program, for code that one does not trust: namespaces of its own of every type but time,
  // never the host's root (a root caller becomes 65534), an empty root with a read-only /usr and what links to it, /proc, a minimal /dev,
  // 64 MiB of /tmp, no capability, no new privilege, no user namespace below, no descriptor, PATH, LANG, LC_ALL, TERM and TZ, no terminal,
  // a reaper, and a filter of calls that reach out of every namespace (detail/host_wide_calls.hpp), which one of yours replaces. It looks
  // at the caller and its /usr now. Needs Linux 5.12 and user namespaces. A boundary against files, processes, networks and ids of the
  // host. Not against bugs of the kernel, what uses up processor and memory (see limits and cgroup) and, for a callable, what this process
  // has in memory or shares, and a change of mode of this program's file where a caller other than root owns it (/proc/self/exe).
  static Isolation untrusted();

  friend bool operator==(Isolation const&, Isolation const&) = default;
};

inline std::string to_string(Loopback loopback) { return loopback == Loopback::up ? "up" : "down"; }
inline std::string to_string(Session session) { return session == Session::fresh ? "fresh" : "inherit"; }
inline std::string to_string(Init init) { return init == Init::reaper ? "reaper" : "none"; }
inline std::string to_string(ParentDeath death) {
  return death == ParentDeath::kill_child ? "kill_child" : "leave_child";
}

// "inherit", "clear", "only PATH, LANG".
inline std::string to_string(Environment const& environment) {
  if (environment.kind() == Environment::Kind::inherit) return "inherit";
  if (environment.kind() == Environment::Kind::clear) return "clear";
  std::string text = "only";
  for (std::string const& name : environment.names()) text += (text == "only" ? " " : ", ") + name;
  return text;
}

// "inherit", "none", "only 1, 5".
inline std::string to_string(Descriptors const& descriptors) {
  if (descriptors.kind() == Descriptors::Kind::inherit) return "inherit";
  if (descriptors.kind() == Descriptors::Kind::none) return "none";
  std::string text = "only";
  for (int fd : descriptors.fds()) text += (text == "only" ? " " : ", ") + std::to_string(fd);
  return text;
}

// The fields that differ from their defaults: "{unshare: uts|user, ids: root, hostname: box}".
inline std::string to_string(Isolation const& isolation) {
  Isolation const unset;
  std::string text;
  auto const add = [&](char const* field, std::string const& value) {
    text += (text.empty() ? "" : ", ") + std::string(field) + ": " + value;
  };
  if (isolation.unshare != unset.unshare) add("unshare", to_string(isolation.unshare));
  if (!isolation.join.empty()) {
    std::string joined;
    for (Namespace const& each : isolation.join) joined += (joined.empty() ? "" : ", ") + (each ? to_string(each.id()) : "empty");
    add("join", '[' + joined + ']');
  }
  if (isolation.ids) add("ids", to_string(*isolation.ids));
  if (isolation.hostname) add("hostname", *isolation.hostname);
  if (isolation.domainname) add("domainname", *isolation.domainname);
  if (isolation.root.kind() != unset.root.kind()) add("root", to_string(isolation.root));
  if (!isolation.mounts.empty()) {
    std::string mounts;
    for (Mount const& mount : isolation.mounts) mounts += (mounts.empty() ? "" : ", ") + to_string(mount);
    add("mounts", '[' + mounts + ']');
  }
  if (isolation.loopback != unset.loopback) add("loopback", to_string(isolation.loopback));
  if (isolation.clock != unset.clock) add("clock", to_string(isolation.clock));
  if (std::string const privileges = to_string(isolation.privileges); !privileges.empty()) add("privileges", '[' + privileges + ']');
  if (isolation.cgroup) add("cgroup", to_string(*isolation.cgroup));
  if (isolation.descriptors.kind() != unset.descriptors.kind()) add("descriptors", to_string(isolation.descriptors));
  if (isolation.environment.kind() != unset.environment.kind()) add("environment", to_string(isolation.environment));
  if (isolation.session != unset.session) add("session", to_string(isolation.session));
  if (isolation.init != unset.init) add("init", to_string(isolation.init));
  if (isolation.on_parent_death != unset.on_parent_death) add("on_parent_death", to_string(isolation.on_parent_death));
  return '{' + text + '}';
}

namespace detail {

// Whether an id of the caller's user namespace means anything outside of it. True where /proc cannot tell.
inline bool id_is_mapped(char const* map, std::uint32_t id) {
  std::vector<IdRange> const ranges = read_id_map(AT_FDCWD, map);
  return ranges.empty() || IdMap::maps(ranges, id);
}

// A directory such as /bin as the host has it: a link into /usr, or what it holds.
inline void add_link_or_directory(std::vector<Mount>& mounts, char const* path) {
  char target[4096];
  long const size = sys::readlinkat(AT_FDCWD, path, target, sizeof target);
  if (size > 0 && size < static_cast<long>(sizeof target))
    mounts.push_back(Mount::symlink(std::string(target, static_cast<std::size_t>(size)), path));
  else if (size == -EINVAL)
    mounts.push_back(Mount::bind(path, path).read_only());
}

}  // namespace detail

inline Isolation Isolation::untrusted() {
  using enum NamespaceType;
  Isolation box;
  box.unshare = user | pid | mnt | uts | ipc | net | cgroup;
  if (std::uint32_t const uid = detail::sys::geteuid(), gid = detail::sys::getegid(); uid == 0) {
    constexpr std::uint32_t nobody = 65534;
    // In a user namespace that maps one id alone that one has to do, under another name; it is not the host's root.
    box.ids.emplace(IdMap::ranges({{nobody, detail::id_is_mapped("/proc/self/uid_map", nobody) ? nobody : uid}},
                                  {{nobody, detail::id_is_mapped("/proc/self/gid_map", nobody) ? nobody : gid}}));
  }
  box.root = Root::empty();
  box.mounts.push_back(Mount::bind("/usr", "/usr").read_only());
  for (char const* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) detail::add_link_or_directory(box.mounts, path);
  for (char const* path : {"/etc/alternatives", "/etc/ld.so.cache"}) box.mounts.push_back(Mount::bind(path, path).read_only().optional());
  box.mounts.push_back(Mount::proc());
  box.mounts.push_back(Mount::dev());
  box.mounts.push_back(Mount::tmpfs("/tmp", 64 << 20));
  // Names the keys of its user. A device file without with_devices() opens for nobody.
  if (struct ::stat facts; detail::sys::fstatat(AT_FDCWD, "/proc/keys", &facts, 0) == 0)
    box.mounts.push_back(Mount::bind("/dev/null", "/proc/keys"));
  box.privileges.no_new_privs = true;
  box.privileges.capabilities = Capabilities::none();
  box.privileges.forbid_nesting = true;
  box.privileges.seccomp = detail::without_host_wide_calls();
  box.descriptors = Descriptors::none();
  box.environment = Environment::only({"PATH", "LANG", "LC_ALL", "TERM", "TZ"});
  box.session = Session::fresh;
  box.init = Init::reaper;
  return box;
}

}  // namespace cloister
