// A namespace that is held open: it exists for as long as its handle does, also without a process in it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "detail/blocked_signals.hpp"
#include "detail/hint.hpp"
#include "detail/pin.hpp"
#include "detail/proc.hpp"
#include "detail/stopped_child.hpp"
#include "detail/text.hpp"
#include "detail/thread.hpp"
#include "file_descriptor.hpp"
#include "namespace_id.hpp"

namespace cloister {

namespace detail {

// A link under /proc/[pid]/ns, and the request that needs no /proc.
struct NamespaceLink {
  explicit NamespaceLink(NamespaceType type)
      : name(to_string(type)), request(pidfd_requests[static_cast<std::size_t>(type)]) {}
  static NamespaceLink for_children(NamespaceType type) {
    NamespaceLink link{type};
    link.suffix = "_for_children";
    link.request = type == NamespaceType::pid ? kernel::pidfd_get_pid_for_children_namespace
                                              : kernel::pidfd_get_time_for_children_namespace;
    return link;
  }
  std::string in(std::string_view process) const { return join({"/proc/", process, "/ns/", name, suffix}); }

  char const* name;
  char const* suffix = "";
  unsigned long request;
};

// A descriptor of a namespace of the calling thread, or a negative errno; the thread may be a child that shares our
// memory. A root directory without /proc is no obstacle to a kernel that has the request.
CLOISTER_DETAIL_CHILD_SIDE inline int open_own_namespace(char const* path, unsigned long request) noexcept {
  int const fd = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return fd;
  int const self = sys::pidfd_open(sys::gettid(), kernel::pidfd_thread);
  if (self < 0) return fd;
  int const by_request = sys::ioctl(self, request);
  sys::close(self);
  return by_request >= 0 ? by_request : fd;
}

// What a helper does: it makes a namespace for itself and opens it.
struct Creation {
  std::uint64_t unshare_flag;  // 0: the helper was cloned into it
  bool is_mnt;
  char const* path;
  unsigned long request;

  int fd = -1;
  char const* failed_step = nullptr;
  int error = 0;
};

CLOISTER_DETAIL_CHILD_SIDE inline void create_and_open(Creation& creation) noexcept {
  char const* step = "unshare";
  int result = creation.unshare_flag != 0 ? sys::unshare(creation.unshare_flag) : 0;
  if (result == 0 && creation.is_mnt) {
    // What is mounted inside later must not show outside.
    step = "make mounts private";
    result = sys::mount("none", "/", nullptr, kernel::ms_rec | kernel::ms_private, nullptr);
  }
  if (result == 0) {
    step = "open";
    result = creation.fd = open_own_namespace(creation.path, creation.request);
  }
  if (result < 0) {
    creation.failed_step = step;
    creation.error = -result;
  }
}

CLOISTER_DETAIL_CHILD_SIDE inline void create_and_exit(void* creation) noexcept {
  create_and_open(*static_cast<Creation*>(creation));
  sys::exit(0);
}

// Runs `function`, which must not return, in a process that shares our memory, and returns when that has ended: 0 or a
// negative errno. It costs the same in a large host as in a small one, runs none of the host's code, and sends no
// signal when it ends, so that neither a handler nor a wait of the host takes notice. Who it comes among may stop it.
inline int run_in_helper(std::uint64_t more_flags, sys::ChildFunction function, void* argument) {
  std::uint64_t const flags = more_flags | kernel::clone_vm | kernel::clone_child_cleartid;
  alignas(16) unsigned char stack[16384];
  int unfinished = 1;
  kernel::clone_args args{};
  args.flags = flags;
  args.child_tid = reinterpret_cast<std::uint64_t>(&unfinished);
  args.stack = reinterpret_cast<std::uint64_t>(stack);
  args.stack_size = sizeof stack;
  sys::ChildStart start{function, argument};

  BlockedSignals const blocked;
  long pid = sys::clone3_on_stack(&args, function, argument);
  if (pid == -ENOSYS || pid == -EPERM)
    pid = sys::clone_on_stack(flags, stack + sizeof stack, nullptr, nullptr, &unfinished, &start);
  if (pid < 0) return static_cast<int>(pid);
  StoppedChild{}.await_cleared(unfinished, static_cast<int>(pid));
  sys::waitid(P_PID, static_cast<int>(pid), nullptr, WEXITED | __WALL);
  return 0;
}

// In a process, because one with threads cannot unshare its user namespace. It shares our descriptors, so that what it
// opens is ours. Linux 3.8.
inline void create_in_child(Creation& creation) {
  int const result = run_in_helper(kernel::clone_newuser | kernel::clone_files, create_and_exit, &creation);
  if (result == 0) return;
  creation.failed_step = "clone";
  creation.error = -result;
}

class ThreadScope;

}  // namespace detail

// A handle of a namespace. Copies share one open descriptor, which keeps the namespace alive. A moved-from handle is
// empty, and false as a condition; to ask it for anything throws std::logic_error.
class [[nodiscard]] Namespace {
 public:
  // That of the calling thread. Needs no privilege. Throws Error (ENOENT: the kernel lacks the type, or there is no
  // /proc).
  static Namespace current(NamespaceType type) {
    detail::NamespaceLink const link{type};
    std::string const path = link.in("thread-self");
    int const fd = detail::open_own_namespace(path.c_str(), link.request);
    if (fd < 0) throw detail::look_error(-fd, "open", path, type);
    return Namespace{FileDescriptor::adopt(fd), type};
  }

  // That into which the calling thread's children are born; pid and time only, else std::invalid_argument. Empty if the
  // kernel has none to show: after an unshare of pid, until the first child. Throws Error (ENOENT). Linux 4.12 (pid),
  // 5.6 (time).
  static Namespace for_children(NamespaceType type) {
    if (type != NamespaceType::pid && type != NamespaceType::time)
      throw std::invalid_argument(
          detail::join({"cloister: Namespace::for_children: children have the ", to_string(type),
                        " namespace of their parent: only pid and time can differ"}));
    detail::NamespaceLink const link = detail::NamespaceLink::for_children(type);
    std::string const path = link.in("thread-self");
    int fd = detail::sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd == -ENOENT && detail::link_exists(path.c_str())) return Namespace{};
    if (fd < 0) fd = detail::open_own_namespace(path.c_str(), link.request);
    if (fd < 0) throw detail::look_error(-fd, "open", path, type);
    return Namespace{FileDescriptor::adopt(fd), type};
  }

  // That of a process, by its id in the caller's pid namespace. Needs the same user, or CAP_SYS_PTRACE. Throws Error
  // (ESRCH: there is no such process; EACCES; ENOENT: neither pidfds nor a /proc of the caller's pid namespace tell). A
  // pid reused between two steps of the look is noticed. pidfd_open(2), ioctl_pidfd(2).
  static Namespace of(pid_t pid, NamespaceType type) {
    int const opened = detail::sys::pidfd_open(pid);
    std::string const number = std::to_string(pid);
    if (opened >= 0) {
      FileDescriptor const pidfd = FileDescriptor::adopt(opened);
      return of_process(pidfd.get(), detail::join({"process ", number}), type);
    }
    // Without pidfds (Linux 5.3, or a filter) the one look that is needed is a single step.
    if (opened == -ENOSYS || opened == -EPERM) {
      std::string const name = detail::name_in_proc(pid);
      if (name.empty()) throw detail::foreign_proc_error(detail::NamespaceLink{type}.in(number));
      return open_link(name, type);
    }
    bool const nobody = opened == -EINVAL || opened == -ENOENT || opened == -ESRCH;
    throw Error(nobody ? ESRCH : -opened, "pidfd_open", number, Error::Side::parent,
                nobody && pid > 0 && opened != -ESRCH ? "it is the id of a thread: give that of its process" : "");
  }

  // That of the process behind a pidfd, which stays the caller's. Throws Error (ESRCH: it has ended; EINVAL: no pidfd;
  // EACCES). ioctl_pidfd(2), before Linux 6.11 by way of /proc.
  static Namespace of_pidfd(int pidfd, NamespaceType type) {
    return of_process(pidfd, detail::join({"pidfd ", std::to_string(pidfd)}), type);
  }

  // That which a file shows: a link under /proc/[pid]/ns, or the name that a tool has bound it to (/run/netns/NAME).
  // Throws Error; EINVAL if the file is no namespace. Linux 4.11, ioctl_nsfs(2).
  static Namespace open(std::string const& path) {
    if (path.find('\0') != std::string::npos)
      throw std::invalid_argument("cloister: Namespace::open: a NUL in the path");
    // Not blocking: a fifo would wait for its writer.
    int const fd = detail::sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) throw Error(-fd, "open", path);
    return from_file(FileDescriptor::adopt(fd), "open", path);
  }

  // Takes over an open descriptor of a namespace, one received over a socket, say. Throws Error; EINVAL if it is of
  // something else.
  static Namespace adopt(FileDescriptor fd) {
    std::string const number = std::to_string(fd.get());
    return from_file(std::move(fd), "adopt descriptor", number);
  }

  // A new namespace without a process, made by a helper: a thread, or for user a process that is gone when this
  // returns. Not pid: it needs an init and ends with it (std::invalid_argument). A new mnt is a private copy of the
  // caller's, a new user has no id maps. Needs CAP_SYS_ADMIN, user nothing. Throws Error (EPERM; ENOSPC: a limit).
  // unshare(2), clone(2).
  static Namespace create(NamespaceType type) {
    if (type == NamespaceType::pid)
      throw std::invalid_argument(
          "cloister: Namespace::create: a pid namespace needs a process: its init, with which it ends");
    bool const is_user = type == NamespaceType::user;
    detail::NamespaceLink const link =
        type == NamespaceType::time ? detail::NamespaceLink::for_children(type) : detail::NamespaceLink{type};
    std::string const path = link.in("thread-self");
    detail::Creation creation{is_user ? 0 : CloneFlags{type}.bits(), type == NamespaceType::mnt, path.c_str(),
                              link.request};
    if (is_user) {
      detail::create_in_child(creation);
    } else {
      auto helper = [&creation] { detail::create_and_open(creation); };
      detail::on_own_thread(helper);
    }
    if (creation.failed_step != nullptr)
      throw Error(creation.error, creation.failed_step, to_string(type), Error::Side::parent,
                  detail::refusal_hint(creation.failed_step, creation.error, type));
    return Namespace{FileDescriptor::adopt(creation.fd), type};
  }

  Namespace(Namespace const& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) __atomic_add_fetch(&shared_->holders, 1, __ATOMIC_RELAXED);
  }
  Namespace(Namespace&& other) noexcept : shared_(other.shared_) { other.shared_ = nullptr; }
  Namespace& operator=(Namespace other) noexcept {
    Shared* const old = shared_;
    shared_ = other.shared_;
    other.shared_ = old;
    return *this;
  }
  ~Namespace() {
    if (shared_ != nullptr && __atomic_sub_fetch(&shared_->holders, 1, __ATOMIC_ACQ_REL) == 0) delete shared_;
  }

  explicit operator bool() const noexcept { return shared_ != nullptr; }
  NamespaceType type() const { return shared().id.type; }
  // With the 64-bit `id` where the kernel has it (6.18).
  NamespaceId id() const { return shared().id; }
  // The descriptor, close-on-exec; it stays the handle's.
  int fd() const { return shared().fd.get(); }

  // The user namespace whose capabilities count for this one. Throws Error (EPERM: it lies outside the caller's own).
  // Linux 4.9.
  Namespace owner() const { return related(detail::kernel::ns_get_userns, "NS_GET_USERNS", NamespaceType::user); }

  // The namespace in which this one was made; user and pid only, else std::invalid_argument.
  // Throws Error (EPERM: it lies outside the caller's own, or there is none). Linux 4.9, ioctl_nsfs(2).
  Namespace parent() const {
    if (type() != NamespaceType::user && type() != NamespaceType::pid)
      throw std::invalid_argument(
          detail::join({"cloister: Namespace::parent: ", to_string(id()), " has none: only user and pid are trees"}));
    return related(detail::kernel::ns_get_parent, "NS_GET_PARENT", type());
  }

  // Who made this user namespace, as an id of the caller's; another type throws std::invalid_argument. Linux 4.11,
  // ioctl_nsfs(2).
  uid_t owner_uid() const {
    if (type() != NamespaceType::user)
      throw std::invalid_argument(detail::join({"cloister: Namespace::owner_uid: ", to_string(id()),
                                                " belongs to a user namespace, not to a user: ask owner()"}));
    uid_t uid = 0;
    detail::check(detail::sys::ioctl(fd(), detail::kernel::ns_get_owner_uid, detail::sys::arg(&uid)),
                  "NS_GET_OWNER_UID");
    return uid;
  }

  // Keeps it under a name as `ip netns` does: makes a file and mounts the namespace on it, where open() finds it and
  // the namespace lives on without handles, until unpin(). A pid namespace ends with its init all the same. Where the
  // mounts at that place are shared (mount_namespaces(7)) the others that share them see it too, but an mnt namespace.
  // Needs CAP_SYS_ADMIN over the calling thread's mnt namespace. Throws Error (EEXIST; EPERM; ELOOP: an mnt namespace
  // that is the caller's own or counts as older), and leaves no file then. Linux 5.2; mnt 5.12,
  // and a /proc.
  void pin(std::string const& path) const {
    detail::pin(fd(), type(), detail::checked_path("Namespace::pin", "path", path));
  }

  // Unmounts a namespace and removes its file, which takes it out of every mnt namespace that shows it. Nothing else is
  // unmounted: a last part of the path that is a symbolic link is not followed, and a file that is not empty stays.
  // Needs CAP_SYS_ADMIN over the calling thread's mnt namespace, and a /proc. Throws Error (EINVAL: no namespace is
  // mounted there; EPERM). umount(2).
  static void unpin(std::string const& path) { detail::unpin(detail::checked_path("Namespace::unpin", "path", path)); }

  // Whether both are the same namespace, or both empty. Both are held open, so their ids tell.
  friend bool operator==(Namespace const& a, Namespace const& b) noexcept {
    return a.shared_ == b.shared_ || (a.shared_ != nullptr && b.shared_ != nullptr && a.shared_->id == b.shared_->id);
  }

 private:
  friend class detail::ThreadScope;  // keeps empty ones
  Namespace() noexcept = default;

  struct Shared {
    FileDescriptor fd;
    NamespaceId id;
    std::uint32_t holders;
  };

  Namespace(FileDescriptor fd, NamespaceType type) {
    struct ::stat file {};
    detail::check(detail::sys::fstat(fd.get(), &file), "fstat", to_string(type));
    NamespaceId id{type, file.st_dev, file.st_ino, 0};
    if (detail::sys::ioctl(fd.get(), detail::kernel::ns_get_id, detail::sys::arg(&id.id)) < 0) id.id = 0;
    shared_ = new Shared{std::move(fd), id, 1};
  }

  static Namespace from_file(FileDescriptor fd, char const* step, std::string const& item) {
    struct ::statfs system {};
    detail::check(detail::sys::fstatfs(fd.get(), &system), step, item);
    if (system.f_type != detail::kernel::nsfs_magic)
      throw Error(EINVAL, step, item, Error::Side::parent, "it is no namespace");
    int const flag = detail::sys::ioctl(fd.get(), detail::kernel::ns_get_nstype);
    for (NamespaceType type : all_namespace_types)
      if (flag > 0 && detail::facts(type).clone_flag == static_cast<std::uint64_t>(flag))
        return Namespace{std::move(fd), type};
    throw Error(flag < 0 ? -flag : EINVAL, step, item, Error::Side::parent,
                {Obstacle::kernel_too_old, "its type cannot be told: that needs Linux 4.11"});
  }

  static Namespace open_link(std::string const& process, NamespaceType type) {
    std::string const path = detail::NamespaceLink{type}.in(process);
    int const fd = detail::sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw detail::look_error(-fd, "open", path, type);
    return Namespace{FileDescriptor::adopt(fd), type};
  }

  static Namespace of_process(int pidfd, std::string const& process, NamespaceType type) {
    detail::NamespaceLink const link{type};
    std::string const item = detail::join({link.name, " of ", process});
    int const fd = detail::sys::ioctl(pidfd, link.request);
    if (fd >= 0) return Namespace{FileDescriptor::adopt(fd), type};
    if (fd != -ENOTTY && fd != -ENOSYS && fd != -EPERM) throw detail::look_error(-fd, "open", item, type);

    long const pid = detail::number_in_proc(pidfd);
    bool const ended = detail::sys::pidfd_send_signal(pidfd, 0) == -ESRCH;
    if (ended) throw Error(ESRCH, "open", item);
    if (pid == -ESRCH || (pid == -ENOENT && detail::exists("/proc/thread-self/fdinfo")))
      throw Error(EINVAL, "open", item, Error::Side::parent, "it is no descriptor of a process");
    if (pid < 0 && pid != -ENOENT) throw Error(static_cast<int>(-pid), "open", item);
    if (pid <= 0) throw detail::foreign_proc_error(item);
    Namespace found = open_link(std::to_string(pid), type);
    // It was that of this process, if the process is there afterwards: a zombie keeps its number.
    if (detail::sys::pidfd_send_signal(pidfd, 0) == -ESRCH) throw Error(ESRCH, "open", item);
    return found;
  }

  Namespace related(unsigned long request, char const* step, NamespaceType type) const {
    int const result = detail::sys::ioctl(fd(), request);
    if (result < 0)
      throw Error(-result, step, to_string(id()), Error::Side::parent,
                  result == -EPERM ? "it lies outside the caller's own, or there is none" : "");
    return Namespace{FileDescriptor::adopt(result), type};
  }

  Shared& shared() const {
    if (shared_ == nullptr) throw std::logic_error("cloister: this Namespace is empty");
    return *shared_;
  }

  Shared* shared_ = nullptr;
};

}  // namespace cloister
