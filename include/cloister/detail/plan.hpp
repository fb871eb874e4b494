// A description, checked and laid out so that the child needs no memory to carry it out.
#pragma once

#include <array>
#include <cstring>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../command.hpp"
#include "../error.hpp"
#include "../isolation.hpp"
#include "file_plan.hpp"
#include "subordinate_ids.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// Every step that can fail, in the parent or in the child. The child reports the number, the parent knows the name.
enum class Step : std::uint8_t {
  none,
  channel, fork, stack, clone3, clone, unshare, tid_address, pidfd_open, started, go,
  deny_setgroups, write_uid_map, write_gid_map, setgroups, setresgid, setresuid, capset,
  hide_memory, join,
  parent_death, hostname, domainname, loopback, clock_offsets, enter_time,
  private_mounts, scratch, open_root, mount_root, bind, mount_proc, mount_sysfs, mount_tmpfs, mount_dev, mount_mqueue, mount_overlay,
  put_file, symlink, make_directory, pivot_root,
  forbid_nesting, resource_limit, drop_capabilities, no_new_privs, seccomp, cgroup,
  setsid, setpgid, open_null, streams, keep_fd, close_descriptors, chdir, execve, reaper, init_program,
  read_result, memfd, write_result
};

constexpr char const* name_of(Step step) noexcept {
  switch (step) {
    case Step::none: break;
    case Step::channel: return "socketpair";
    case Step::fork: return "fork";
    case Step::stack: return "mmap";
    case Step::clone3: return "clone3";
    case Step::clone: return "clone";
    case Step::unshare: return "unshare";
    case Step::tid_address: return "prctl PR_GET_TID_ADDRESS";
    case Step::pidfd_open: return "pidfd_open";
    case Step::started: return "report the start";
    case Step::go: return "let the child go on";
    case Step::deny_setgroups: return "write setgroups";
    case Step::write_uid_map: return "write uid_map";
    case Step::write_gid_map: return "write gid_map";
    case Step::setgroups: return "setgroups";
    case Step::setresgid: return "setresgid";
    case Step::setresuid: return "setresuid";
    case Step::capset: return "capset";
    case Step::hide_memory: return "prctl PR_SET_DUMPABLE";
    case Step::join: return "setns";
    case Step::parent_death: return "arm on_parent_death";
    case Step::hostname: return "sethostname";
    case Step::domainname: return "setdomainname";
    case Step::loopback: return "bring up loopback";
    case Step::clock_offsets: return "write timens_offsets";
    case Step::enter_time: return "setns";
    case Step::private_mounts: return "make mounts private";
    case Step::scratch: return "mount scratch tmpfs";
    case Step::open_root: return "open root";
    case Step::mount_root: return "mount root";
    case Step::bind: return "bind";
    case Step::mount_proc: return "mount proc";
    case Step::mount_sysfs: return "mount sysfs";
    case Step::mount_tmpfs: return "mount tmpfs";
    case Step::mount_dev: return "mount dev";
    case Step::mount_mqueue: return "mount mqueue";
    case Step::mount_overlay: return "mount overlay";
    case Step::put_file: return "write file";
    case Step::symlink: return "symlink";
    case Step::make_directory: return "mkdir";
    case Step::pivot_root: return "pivot_root";
    case Step::forbid_nesting: return "write max_user_namespaces";
    case Step::resource_limit: return "setrlimit";
    case Step::drop_capabilities: return "drop capabilities";
    case Step::no_new_privs: return "prctl PR_SET_NO_NEW_PRIVS";
    case Step::seccomp: return "load seccomp filter";
    case Step::cgroup: return "join cgroup";
    case Step::setsid: return "setsid";
    case Step::setpgid: return "setpgid";
    case Step::open_null: return "open /dev/null";
    case Step::streams: return "dup";
    case Step::keep_fd: return "keep_fd";
    case Step::close_descriptors: return "close_range";
    case Step::chdir: return "chdir";
    case Step::execve: return "execve";
    case Step::reaper: return "start under the reaper";
    case Step::init_program: return "execute the init";
    case Step::read_result: return "read result";
    case Step::memfd: return "memfd_create";
    case Step::write_result: return "write result";
  }
  return "unknown step";
}

// What the child reads between clone and the callable or execve: numbers and pointers into the Plan that owns it.
struct ChildPlan {
  std::uint64_t unshare_flags;  // CLONE_NEW*

  // Namespaces to go into first.
  struct Join {
    int fd;
    std::uint64_t flag;  // its CLONE_NEW*
  };
  Join joins[8];  // a type once
  std::size_t join_count;
  std::uint64_t join_flags;  // of all of them

  // User namespace. Maps that a caller may write for itself alone are written by the child; others by the parent, meanwhile the
  // child waits.
  bool new_user;
  bool parent_writes_maps;
  bool setgroups_denied;
  bool ids_change;
  std::uint32_t uid, gid;
  char const* uid_map;
  std::size_t uid_map_size;
  char const* gid_map;
  std::size_t gid_map_size;

  char const* hostname;
  std::size_t hostname_size;
  char const* domainname;
  std::size_t domainname_size;
  bool loopback_up;
  char const* clock_offsets;
  std::size_t clock_offsets_size;

  ChildFiles files;

  // Privileges, and the cgroup, which the child joins if it was not cloned into it.
  bool forbid_nesting;
  bool no_new_privs;
  bool drops_capabilities;
  std::uint64_t capabilities;
  ResourceLimit const* limits;
  std::size_t limit_count;
  ::sock_fprog seccomp;
  int cgroup;  // -1: the caller's
  bool cgroup_is_ours;  // a descriptor of the plan's, and none that a callable may have

  bool fresh_session;
  bool own_group;
  bool reaper;
  bool dies_with_parent;

  // Descriptors: where 0, 1 and 2 come from, what else survives. All sources are above 2 or the caller's own.
  static constexpr int from_caller = -1, from_null = -2;
  std::array<int, 3> streams;
  bool err_to_out;
  bool close_others;
  Command::Kept const* kept;
  int* kept_copies;  // room for one number each
  std::size_t kept_count;

  // Program only; a callable has no candidates, and an environment only if it differs from the caller's.
  char const* directory;
  char const* const* candidates;  // paths to try, in order, ended by null
  char const* const* arguments;
  char const* const* environment;
};
static_assert(std::is_trivially_destructible_v<ChildPlan> && std::is_standard_layout_v<ChildPlan>);

CLOISTER_DETAIL_CHILD_SIDE constexpr bool joins(ChildPlan const& plan, std::uint64_t flag) noexcept { return (plan.join_flags & flag) != 0; }
// Whether the child comes to where others may be that could look into it: by its number, or with the privileges of their namespace.
CLOISTER_DETAIL_CHILD_SIDE constexpr bool joins_others(ChildPlan const& plan) noexcept {
  return joins(plan, kernel::clone_newuser | kernel::clone_newpid);
}
// Whether what the child finds under its root may be a stranger's.
CLOISTER_DETAIL_CHILD_SIDE constexpr bool has_other_root(ChildPlan const& plan) noexcept {
  return plan.files.own_root || joins(plan, kernel::clone_newns);
}

// Texts that others own, as execve(2) takes them: ended by null. A vector of pointers would be one more for every including file to
// compile.
class TextPointers {
 public:
  TextPointers() noexcept = default;
  TextPointers(TextPointers const&) = delete;
  ~TextPointers() { delete[] pointers_; }
  void add(char const* text) {
    if (size_ + 1 >= room_) grow();
    pointers_[size_++] = text;
    pointers_[size_] = nullptr;
  }
  // Takes out those which `is_unwanted`.
  template <class Predicate>
  void remove(Predicate const& is_unwanted) noexcept {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < size_; ++i)
      if (!is_unwanted(pointers_[i])) pointers_[kept++] = pointers_[i];
    size_ = kept;
    if (pointers_ != nullptr) pointers_[size_] = nullptr;
  }
  char const* const* get() const noexcept { return pointers_ != nullptr ? pointers_ : &nothing; }

 private:
  void grow() {
    std::size_t const room = 2 * room_ + 16;
    char const** const larger = new char const*[room];
    for (std::size_t i = 0; i < size_; ++i) larger[i] = pointers_[i];
    delete[] pointers_;
    pointers_ = larger;
    room_ = room;
  }

  static constexpr char const* nothing = nullptr;
  char const** pointers_ = nullptr;
  std::size_t size_ = 0, room_ = 0;
};

// Checks a description for itself and against the caller; std::invalid_argument or Error before any process exists. It points into the
// description and the command, which must outlive it.
// Its vectors are filled by push_back alone: each further operation is one more template that every including file compiles.
class Plan {
 public:
  struct Options {
    bool own_group = false;
  };

  Plan(Isolation const& isolation, Command const* command, Options options)
      : isolation_(isolation), command_(command), options_(options) {
    refuse_contradictions();
    child.unshare_flags = isolation_.unshare.bits();
    for (Namespace const& each : isolation_.join) {
      std::uint64_t const flag = CloneFlags{each.type()}.bits();
      child.joins[child.join_count++] = {each.fd(), flag};
      child.join_flags |= flag;
    }
    if (joins_others(child)) require_that_memory_stays_hidden();
    plan_ids();
    plan_world();
    plan_privileges();
    plan_cgroup();
    child.files = files_.lay_out(has_other_user() && has_cap_sys_admin());
    plan_environment();
    child.own_group = options.own_group;
    if (command != nullptr)
      plan_program();
    else
      plan_callable_descriptors();
  }
  explicit Plan(Isolation const& isolation) : Plan(isolation, nullptr, {}) {}
  explicit Plan(Isolation&&) = delete;
  Plan(Isolation&&, Command const*, Options) = delete;
  Plan(Plan const&) = delete;

  // A second plan of the same, for a second child.
  Plan again() const { return Plan{isolation_, command_, options_}; }

  ChildPlan child{};
  // What the maps say, and the programs that write them for a caller who may not; empty if there is no need for them.
  std::vector<IdRange> uid_ranges, gid_ranges;
  std::string uid_helper, gid_helper;

  CloneFlags unshare() const noexcept { return isolation_.unshare; }
  bool new_pid() const noexcept { return isolation_.unshare.contains(NamespaceType::pid); }

  // Whether a child cannot make its new namespaces itself once it has joined others: a process is in a pid namespace from its birth.
  bool born_after_joining() const noexcept { return child.join_count > 0 && (new_pid() || joins(child, kernel::clone_newpid)); }

  // Whether a callable has nothing to set up that could fail, and need not be awaited.
  bool nothing_can_fail() const noexcept {
    return child.unshare_flags == 0 && child.join_count == 0 && !child.close_others && !child.fresh_session && !child.forbid_nesting &&
           !child.no_new_privs && !child.drops_capabilities && child.limit_count == 0 && child.seccomp.len == 0 && child.cgroup < 0;
  }

  // Redirects one of the streams 0 to 2 to a descriptor above 2.
  void set_stream(int stream, int fd) noexcept { child.streams[static_cast<std::size_t>(stream)] = fd; }

  // What the step worked on, for people.
  std::string item(Step step, int index) const {
    switch (step) {
      case Step::stack: return "a stack for the child";
      case Step::clone3:
      case Step::clone:
        for (Namespace const& each : isolation_.join)
          if (each.type() == NamespaceType::pid)
            return join({to_string(isolation_.unshare), isolation_.unshare.empty() ? "" : " ", "in ", to_string(each.id())});
        [[fallthrough]];
      case Step::unshare: return to_string(isolation_.unshare);
      case Step::join: return to_string(joined(index).id());
      case Step::write_uid_map: return quoted(uid_map_);
      case Step::write_gid_map: return quoted(gid_map_);
      case Step::hostname: return text_of(isolation_.hostname);
      case Step::domainname: return text_of(isolation_.domainname);
      case Step::setresuid: return std::to_string(child.uid);
      case Step::setresgid: return std::to_string(child.gid);
      case Step::clock_offsets: return quoted(clock_offsets_);
      case Step::enter_time: return "time_for_children";
      case Step::streams: return index == 0 ? "to stdin" : index == 1 ? "to stdout" : "to stderr";
      case Step::keep_fd: return std::to_string(index);
      case Step::open_root: return isolation_.root.path();
      case Step::bind:
      case Step::mount_proc:
      case Step::mount_sysfs:
      case Step::mount_tmpfs:
      case Step::mount_dev:
      case Step::mount_mqueue:
      case Step::mount_overlay:
      case Step::put_file:
      case Step::symlink:
      case Step::make_directory: return files_.item(index);
      case Step::resource_limit: return to_string(isolation_.privileges.limits.at(static_cast<std::size_t>(index)));
      case Step::drop_capabilities: return "to " + to_string(isolation_.privileges.capabilities);
      case Step::cgroup: return to_string(*isolation_.cgroup);
      case Step::chdir: return text_of(command_->directory());
      case Step::execve: return candidate_paths_.size() < 2 ? program() : join({program(), ", looked for in ", path_, ","});
      default: return {};
    }
  }
  // Why it probably went wrong and what would help, also for people.
  Hint hint(Step step, int error, int index) const {
    using enum Obstacle;
    bool const forbidden = error == EPERM || error == EACCES;
    switch (step) {
      case Step::bind:
      case Step::mount_proc:
      case Step::mount_sysfs:
      case Step::mount_tmpfs:
      case Step::mount_dev:
      case Step::mount_mqueue:
      case Step::mount_overlay:
      case Step::put_file:
      case Step::symlink:
      case Step::make_directory:
        if (Hint of_mount = files_.hint(index, error); !of_mount.empty()) return of_mount;
        if (Hint withheld = withheld_user_namespace_hint(unshare()); forbidden && !withheld.empty()) return withheld;
        if (forbidden) return evident_hint(error);
        break;
      case Step::join: return join_hint(joined(index).type(), error);
      case Step::clone3:
      case Step::clone:
        if (error == ENOMEM && joins(child, kernel::clone_newpid))
          return "the init of the pid namespace has probably ended, and nothing can begin there any more";
        break;
      case Step::open_root:
        if (error == ENOTDIR) return "it is no directory";
        [[fallthrough]];
      case Step::scratch:
      case Step::mount_root:
        if (error == ENOSYS) return FilePlan::no_mount_calls();
        if (forbidden) return own_world_hint(error);
        break;
      case Step::private_mounts:
        if (error == EINVAL && in_chroot()) return {chroot, "the caller is in a chroot", "enter the directory with pivot_root instead"};
        if (forbidden) return own_world_hint(error);
        break;
      case Step::pivot_root:
        if (error == EINVAL && in_chroot())
          return {chroot, "the caller is in a chroot, where no root can be changed", "enter the directory with pivot_root instead"};
        if (error == EINVAL) return "the caller's root may be the rootfs that the kernel was booted with, which cannot be changed";
        if (forbidden) return own_world_hint(error);
        break;
      case Step::hostname:
      case Step::domainname:
      case Step::loopback:
      case Step::enter_time:
        if (forbidden) return own_world_hint(error);
        break;
      case Step::forbid_nesting:
        if (error != ENOENT) return {masked_proc, "parts of /proc/sys are read-only here, as in a container"};
        if (exists("/proc/self/ns")) return {kernel_too_old, "limits of namespaces came with Linux 4.9"};
        return {masked_proc, "/proc is not mounted"};
      case Step::chdir:
      case Step::execve:
        if (error == ELOOP) return "the way there leads through a link of a proc, which until then leads to the host, or in circles";
        if (error == ENOENT && index != 0) return "the program is there, but not the interpreter or loader that it names";
        if (error == EPERM && step == Step::execve)
          return "in a root of its own a program must be one that the child may read, to see which interpreter it names";
        break;
      case Step::drop_capabilities:
        if (error == EPERM) return {capability, "without CAP_SETPCAP it takes no_new_privs to keep a program from getting them back"};
        break;
      case Step::resource_limit:
        if (error == EPERM) return {limit, "above the caller's hard limit, which only CAP_SYS_RESOURCE raises"};
        break;
      case Step::seccomp:
        if (error == EINVAL) return "the kernel takes the filter for malformed, or has no filters";
        break;
      case Step::cgroup:
        if (error == EBUSY) return "a cgroup that hands controllers to those below it takes no processes";
        if (error == EOPNOTSUPP) return "the cgroup is threaded, or invalid as a domain";
        if (forbidden) return {capability, "its cgroup.procs, and that of the nearest common ancestor, must be writable for the caller"};
        break;
      default: break;
    }
    Hint hint = refusal_hint(name_of(step), error, unshare());
    return hint.obstacle == threads ? Hint{} : hint;  // the caller may have some, the child has none
  }

 private:
  // The child has every capability in the namespaces that it has made, unless a security module withholds them.
  Hint own_world_hint(int error) const {
    Hint hint = withheld_user_namespace_hint(unshare());
    return hint.empty() ? forbidden_hint(error) : hint;
  }
  static std::string text_of(std::optional<std::string> const& text) { return text ? *text : std::string{}; }
  static std::string quoted(std::string text) {
    while (!text.empty() && text.back() == '\n') text.pop_back();
    for (char& c : text)
      if (c == '\n') c = ',';
    return '"' + text + '"';
  }
  Namespace const& joined(int index) const { return isolation_.join.at(static_cast<std::size_t>(index)); }
  Hint join_hint(NamespaceType type, int error) const {
    using enum Obstacle;
    if (type == NamespaceType::user && error == EINVAL) return "it is the user namespace that the caller is in";
    if (type == NamespaceType::user && error == EPERM)
      return {capability, "CAP_SYS_ADMIN is needed in it: its maker has that, who is in the namespace above, and those who have it further up"};
    if (type == NamespaceType::pid && error == EINVAL) return "it is neither the caller's pid namespace nor one below it";
    if (type == NamespaceType::mnt && error == EPERM)
      return {capability, "CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed, and CAP_SYS_ADMIN also in the user namespace that owns the target"};
    Hint hint = refusal_hint(name_of(Step::join), error, type);
    // Their owner may be what the caller has a right to.
    if (hint.obstacle == capability && type != NamespaceType::user && !joins(child, kernel::clone_newuser))
      hint.remedy = "join the user namespace that owns it as well, if it is the caller's";
    return hint;
  }
  [[noreturn]] static void refuse(std::string const& why) { throw std::invalid_argument("cloister: isolation: " + why); }

  void refuse_contradictions() const {
    CloneFlags joined;
    for (Namespace const& each : isolation_.join) {
      if (!each) refuse("join holds an empty Namespace");
      std::string const type = to_string(each.type());
      if (isolation_.unshare.contains(each.type())) refuse(type + " in join and in unshare: a child is in one of each type");
      if (joined.contains(each.type())) refuse("join holds two of type " + type + ": a child is in one of each");
      joined |= each.type();
    }
    auto const require_new = [&](NamespaceType type, std::string const& field, std::string const& otherwise = {}) {
      if (isolation_.unshare.contains(type)) return;
      std::string const why = joined.contains(type) ? "what is joined keeps the settings that it has" : otherwise;
      refuse(field + " without " + to_string(type) + " in unshare" + (why.empty() ? "" : ": ") + why);
    };
    auto const check_name = [&](char const* field, std::optional<std::string> const& name) {
      if (!name) return;
      require_new(NamespaceType::uts, field, "it would rename the host");
      if (name->size() > 64) refuse(std::string(field) + " has " + std::to_string(name->size()) + " bytes, the kernel takes 64");
      if (name->find('\0') != name->npos) refuse(std::string(field) + " holds a NUL");
    };
    check_name("hostname", isolation_.hostname);
    check_name("domainname", isolation_.domainname);
    if (isolation_.ids) require_new(NamespaceType::user, "ids");
    if (isolation_.clock != ClockOffsets{}) require_new(NamespaceType::time, "clock");
    if (isolation_.loopback != Loopback::up) require_new(NamespaceType::net, "loopback");
    if (isolation_.root.kind() != Root::Kind::host) require_new(NamespaceType::mnt, "root", "it would be the caller's own root");
    if (!isolation_.mounts.empty()) require_new(NamespaceType::mnt, "mounts", "they would be the caller's own");
    for (Mount const& mount : isolation_.mounts)
      if (isolation_.root.kind() == Root::Kind::host &&
          (mount.kind() == Mount::Kind::symlink || mount.kind() == Mount::Kind::directory))
        refuse("mounts: " + to_string(mount) + ": nothing is made on the host's file systems, only in a root of one's own");
    if (isolation_.privileges.forbid_nesting)
      require_new(NamespaceType::user, "privileges: forbid_nesting", "it would forbid it to the caller's whole user namespace");
    if (!isolation_.privileges.seccomp.instructions().empty() && !isolation_.privileges.no_new_privs)
      refuse("privileges: seccomp without no_new_privs: a set-user-id program could be fooled by the filter");
    if (isolation_.init == Init::reaper && !isolation_.unshare.contains(NamespaceType::pid))
      refuse("init is a reaper without pid in unshare: only PID 1 of a new pid namespace reaps what others leave");
    for (std::string const& name : isolation_.environment.names())
      if (name.empty() || name.find('=') != name.npos || name.find('\0') != name.npos)
        refuse("environment: \"" + printable(name) + "\" is no name of a variable");
  }

  void plan_ids() {
    if (!isolation_.unshare.contains(NamespaceType::user)) return;
    std::uint32_t const uid = sys::geteuid(), gid = sys::getegid();
    IdMap const self = IdMap::self();
    IdMap const& map = isolation_.ids ? *isolation_.ids : self;
    std::vector<IdRange> &uids = uid_ranges, &gids = gid_ranges;
    if (map.kind() == IdMap::Kind::self) {
      uids.push_back({uid, uid});
      gids.push_back({gid, gid});
    } else if (map.kind() == IdMap::Kind::root) {
      uids.push_back({0, uid});
      gids.push_back({0, gid});
    } else if (map.kind() == IdMap::Kind::subordinate) {
      uids = subordinate_ranges("/etc/subuid", uid, uid);
      gids = subordinate_ranges("/etc/subgid", uid, gid);
    } else {
      uids = std::vector<IdRange>(map.uids());
      gids = std::vector<IdRange>(map.gids());
    }
    child.uid = IdMap::maps(uids, 0) ? 0 : uids.front().inside;
    child.gid = IdMap::maps(gids, 0) ? 0 : gids.front().inside;
    if (map.inside()) {
      child.uid = map.inside()->first;
      child.gid = map.inside()->second;
      if (!IdMap::maps(uids, child.uid) || !IdMap::maps(gids, child.gid))
        refuse("ids: as(" + std::to_string(child.uid) + ", " + std::to_string(child.gid) + ") is not mapped");
    }
    child.ids_change = outside(uids, child.uid) != uid || outside(gids, child.gid) != gid;
    uid_map_ = IdMap::text(uids);
    gid_map_ = IdMap::text(gids);

    // One's own ids alone may be written by the child, once it has given up setgroups. A caller that may do more writes itself,
    // so that setgroups stays allowed and the child can drop the groups that it came with.
    bool const own_only = is_alone(uids, uid) && is_alone(gids, gid);
    bool const privileged = caller_may_set_ids();
    child.new_user = true;
    child.parent_writes_maps = privileged || !own_only;
    child.setgroups_denied = !privileged && map.kind() != IdMap::Kind::subordinate;
    if (map.kind() == IdMap::Kind::subordinate && !privileged) {
      uid_helper = id_helper("newuidmap");
      gid_helper = id_helper("newgidmap");
      if (joins(child, kernel::clone_newpid))
        refuse("ids: newuidmap serves no process that hides its memory, as one does that joins a pid namespace");
    }
    child.uid_map = uid_map_.c_str();
    child.uid_map_size = uid_map_.size();
    child.gid_map = gid_map_.c_str();
    child.gid_map_size = gid_map_.size();
  }
  bool has_other_user() const noexcept { return child.new_user || joins(child, kernel::clone_newuser); }
  static bool is_alone(std::vector<IdRange> const& ranges, std::uint32_t id) noexcept {
    return ranges.size() == 1 && ranges[0].outside == id && ranges[0].count == 1;
  }
  static std::uint32_t outside(std::vector<IdRange> const& ranges, std::uint32_t inside) noexcept {
    for (IdRange const& range : ranges)
      if (inside >= range.inside && inside - range.inside < range.count) return range.outside + (inside - range.inside);
    return 0xffffffff;
  }
  static bool caller_may_set_ids() noexcept {
    kernel::capability_header header{kernel::capability_version_3, 0};
    std::array<kernel::capability_data, 2> data{};
    constexpr std::uint32_t setgid_and_setuid = (1u << 6) | (1u << 7);
    return sys::capget(&header, data.data()) == 0 && (data[0].effective & setgid_and_setuid) == setgid_and_setuid;
  }

  void plan_world() {
    if (isolation_.hostname) {
      child.hostname = isolation_.hostname->c_str();
      child.hostname_size = isolation_.hostname->size();
    }
    if (isolation_.domainname) {
      child.domainname = isolation_.domainname->c_str();
      child.domainname_size = isolation_.domainname->size();
    }
    child.loopback_up = isolation_.unshare.contains(NamespaceType::net) && isolation_.loopback == Loopback::up;
    if (isolation_.clock != ClockOffsets{}) {
      auto const line = [](char const* clock, std::chrono::nanoseconds offset) {
        constexpr std::int64_t second = 1'000'000'000;
        std::int64_t seconds = offset.count() / second, rest = offset.count() % second;
        if (rest < 0) {  // the rest counts forward, also from a time that is back
          rest += second;
          --seconds;
        }
        return join({clock, " ", std::to_string(seconds), " ", std::to_string(rest), "\n"});
      };
      clock_offsets_ = line("monotonic", isolation_.clock.monotonic);
      clock_offsets_ += line("boottime", isolation_.clock.boottime);
      child.clock_offsets = clock_offsets_.c_str();
      child.clock_offsets_size = clock_offsets_.size();
    }
    child.fresh_session = isolation_.session == Session::fresh;
    child.reaper = isolation_.init == Init::reaper;
    child.dies_with_parent = isolation_.on_parent_death == ParentDeath::kill_child;
    child.streams = {ChildPlan::from_caller, ChildPlan::from_caller, ChildPlan::from_caller};
  }

  void plan_privileges() {
    Privileges const& wanted = isolation_.privileges;
    child.forbid_nesting = wanted.forbid_nesting;
    child.no_new_privs = wanted.no_new_privs;
    child.drops_capabilities = !wanted.capabilities.inherited();
    child.capabilities = wanted.capabilities.bits();
    // In another user namespace a child has all that the kernel knows, else what the caller may have.
    bool const asks = child.capabilities != 0 || !wanted.limits.empty();
    std::uint64_t const had = has_other_user() ? ~std::uint64_t{0} : asks ? permitted_capabilities() : 0;
    for (unsigned number = 0; number < 64; ++number)
      if ((child.capabilities & ~had) >> number & 1)
        throw Error(EPERM, "privileges", join({"capability ", to_string(static_cast<Capability>(number))}), Error::Side::parent,
                    {Obstacle::capability, "the caller has not got it, so that nothing of it could be kept"});
    bool const may_raise = !has_other_user() && (had >> kernel::cap_sys_resource & 1) != 0;
    for (ResourceLimit const& limit : wanted.limits) {
      std::uint64_t const hard = limit.hard.value_or(limit.soft);
      if (limit.soft > hard) refuse("privileges: limit " + to_string(limit) + ": the soft one is above the hard one");
      ::rlimit now{};
      check(sys::getrlimit(static_cast<int>(limit.resource), &now), "getrlimit", to_string(limit.resource));
      if (hard > now.rlim_max && !may_raise)
        throw Error(EPERM, "setrlimit", to_string(limit), Error::Side::parent,
                    {Obstacle::limit,
                     join({"the caller's hard limit is ", std::to_string(now.rlim_max), ", and only CAP_SYS_RESOURCE raises it"})});
    }
    child.limits = wanted.limits.data();
    child.limit_count = wanted.limits.size();
    auto const& filter = wanted.seccomp.instructions();
    child.seccomp = {static_cast<unsigned short>(filter.size()), const_cast<::sock_filter*>(filter.data())};
  }
  static std::uint64_t permitted_capabilities() noexcept {
    kernel::capability_header header{kernel::capability_version_3, 0};
    kernel::capability_data data[2] = {};
    if (sys::capget(&header, data) < 0) return 0;
    return std::uint64_t{data[1].permitted} << 32 | data[0].permitted;
  }

  void plan_cgroup() {
    child.cgroup = -1;
    if (!isolation_.cgroup) return;
    Cgroup const& wanted = *isolation_.cgroup;
    std::string const item = to_string(wanted);
    char const* const step = name_of(Step::cgroup);
    child.cgroup = wanted.fd();
    if (child.cgroup < 0) {
      cgroup_ = above_stdio(check(sys::openat(AT_FDCWD, wanted.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), step, item));
      child.cgroup = cgroup_.get();
      child.cgroup_is_ours = true;
    }
    struct ::statfs facts {};
    check(sys::fstatfs(child.cgroup, &facts), step, item);
    if (facts.f_type != kernel::cgroup2_super_magic)
      throw Error(EBADF, step, item, Error::Side::parent, "it is no directory of a cgroup v2 hierarchy");
  }

  void plan_environment() {
    Environment const& wanted = isolation_.environment;
    bool const inherits = wanted.kind() == Environment::Kind::inherit;
    if (command_ == nullptr && inherits) return;
    auto const has_name = [](char const* entry, std::string const& name) {
      return std::strncmp(entry, name.c_str(), name.size()) == 0 && entry[name.size()] == '=';
    };
    auto const is_wanted = [&](char const* entry) {
      bool found = inherits;
      for (std::string const& name : wanted.names()) found = found || has_name(entry, name);
      return found;
    };
    // The pointers alone, in one pass: another thread's setenv() may move the array meanwhile.
    for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry)
      if (is_wanted(*entry)) environment_.add(*entry);
    if (command_ != nullptr) {
      variables_.reserve(command_->variables().size());
      for (auto const& variable : command_->variables()) {
        environment_.remove([&](char const* entry) { return has_name(entry, variable.first); });
        variables_.push_back(variable.first + '=' + variable.second);
        environment_.add(variables_.back().c_str());
      }
    }
    child.environment = environment_.get();
  }

  std::string const& program() const { return command_->words().front(); }

  // The paths at which the program may be, in the PATH that it will see.
  void plan_candidates() {
    if (program().find('/') != std::string::npos) {
      candidates_.add(program().c_str());
      return;
    }
    path_ = "/usr/local/bin:/usr/bin:/bin";
    for (char const* const* entry = child.environment; entry != nullptr && *entry != nullptr; ++entry)
      if (std::strncmp(*entry, "PATH=", 5) == 0) path_ = *entry + 5;
    for (std::size_t start = 0; start <= path_.size();) {
      std::size_t const end = std::min(path_.find(':', start), path_.size());
      std::string directory = path_.substr(start, end - start);
      candidate_paths_.push_back(directory.empty() ? program() : directory + '/' + program());
      start = end + 1;
    }
    for (std::string const& path : candidate_paths_) candidates_.add(path.c_str());
  }

  void plan_program() {
    Command const& command = *command_;
    for (std::string const& word : command.words()) arguments_.add(word.c_str());
    child.arguments = arguments_.get();
    plan_candidates();
    child.candidates = candidates_.get();
    if (command.directory()) child.directory = command.directory()->c_str();

    for (Command::Kept const& each : command.kept()) kept_.push_back({each.fd, each.as});
    for (int fd : isolation_.descriptors.fds())
      if (fd > 2) kept_.push_back({fd, fd});
    for (std::size_t i = 0; i < kept_.size(); ++i)
      for (std::size_t j = 0; j < i; ++j)
        if (kept_[i].as == kept_[j].as && kept_[i].fd != kept_[j].fd)
          throw std::invalid_argument("cloister: command: keep_fd: " + std::to_string(kept_[i].as) + " is taken twice");
    require_open_descriptors();

    auto const plan_stream = [&](int stream, Redirect const& redirect) {
      switch (redirect.kind()) {
        case Redirect::Kind::null: set_stream(stream, ChildPlan::from_null); break;
        case Redirect::Kind::descriptor:
          require_open(redirect.fd(), "stdio");
          set_stream(stream, redirect.fd());
          break;
        case Redirect::Kind::to_out: child.err_to_out = true; break;
        case Redirect::Kind::unset:
        case Redirect::Kind::inherit:
        case Redirect::Kind::pipe: break;  // the launch makes the pipes
      }
    };
    plan_stream(0, command.streams().in);
    plan_stream(1, command.streams().out);
    plan_stream(2, command.streams().err);
    child.close_others = true;
    finish_kept();
  }

  void plan_callable_descriptors() {
    if (isolation_.descriptors.kind() == Descriptors::Kind::inherit) return;
    child.close_others = true;
    child.streams = {ChildPlan::from_null, ChildPlan::from_null, ChildPlan::from_null};
    for (int fd : isolation_.descriptors.fds()) {
      if (fd >= 0 && fd <= 2)
        child.streams[static_cast<std::size_t>(fd)] = ChildPlan::from_caller;
      else
        kept_.push_back({fd, fd});
    }
    require_open_descriptors();
    finish_kept();
  }

  void require_open_descriptors() const {
    for (int fd : isolation_.descriptors.fds()) require_open(fd, "descriptors");
    for (auto const& kept : kept_) require_open(kept.fd, "keep_fd");
  }
  static void require_open(int fd, char const* field) {
    if (int const result = sys::fcntl(fd, F_GETFD); result < 0)
      throw Error(-result, field, std::to_string(fd), Error::Side::parent, "the descriptor is not open");
  }

  void finish_kept() {
    // They are few, and std::sort is a heavy template.
    for (std::size_t i = 1; i < kept_.size(); ++i)
      for (std::size_t j = i; j > 0 && kept_[j].as < kept_[j - 1].as; --j) std::swap(kept_[j], kept_[j - 1]);
    std::size_t count = 0;
    for (Command::Kept const& each : kept_)
      if (count == 0 || kept_[count - 1] != each) kept_[count++] = each;
    while (kept_.size() > count) kept_.pop_back();
    child.kept = kept_.data();
    child.kept_count = kept_.size();
    for (Command::Kept const& each : kept_) kept_copies_.push_back(each.fd);
    child.kept_copies = kept_copies_.data();
  }

  Isolation const& isolation_;
  Command const* command_;
  Options options_;
  FilePlan files_{isolation_};
  FileDescriptor cgroup_;
  std::string uid_map_, gid_map_, clock_offsets_, path_;
  std::vector<std::string> variables_, candidate_paths_;
  TextPointers arguments_, environment_, candidates_;
  std::vector<Command::Kept> kept_;
  std::vector<int> kept_copies_;
};

}  // namespace cloister::detail
