// The root and the mounts of a description, laid out for the child.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "../error.hpp"
#include "../file_descriptor.hpp"
#include "../isolation.hpp"
#include "hint.hpp"
#include "syscall.hpp"

namespace cloister::detail {

// What the child reads of a mount, and where it keeps what it has opened for it.
struct MountStep {
  Mount::Kind kind;
  bool recursive, optional, writable, executable;
  unsigned mode;
  char const* target;  // "/a/b": no empty and no "." component
  char const* source;  // of a symlink where it points
  char const* content;
  std::size_t content_size;
  char const* upper;
  char const* work;
  char const* size;    // of a tmpfs, as its options say it
  char const* inodes;
  std::uint64_t attributes;  // of a bind: MOUNT_ATTR_*

  int source_fd;  // of a bind a detached tree, of an overlay the lower directory; -1: not opened
  int upper_fd;
  int work_fd;
  int mount_fd;   // of what becomes read-only at the end
};

struct ChildFiles {
  bool own_namespace;
  bool own_root;         // a root into which things may be put
  bool empty_root;
  bool writable_root;
  bool user_attributes;  // overlays may not write trusted.* ones
  bool needs_scratch;    // files and overlays keep what is theirs in a file system in memory
  char const* root;      // path of its source, for a directory
  int root_fd;           // its tree, opened by a privileged parent; -1 otherwise
  MountStep* steps;
  std::size_t count;
};

// A detached copy of what is mounted at `path`, with these attributes. As negative errno what went wrong.
CLOISTER_DETAIL_CHILD_SIDE inline int open_tree_with(int dir, char const* path, std::uint64_t attributes, bool recursive) noexcept {
  unsigned const below = recursive ? kernel::at_recursive : 0;
  int const tree = sys::open_tree(dir, path, kernel::open_tree_clone | kernel::open_tree_cloexec | below);
  if (tree < 0) return tree;
  kernel::mount_attr wanted{};
  wanted.attr_set = attributes;
  wanted.propagation = kernel::ms_private;
  int const result = sys::mount_setattr(tree, static_cast<int>(below), &wanted);
  if (result == 0) return tree;
  sys::close(tree);
  return result;
}

// What went wrong with a mount: with which of them, and with what of it.
enum class MountPart : int { whole = 0, source, target, upper, work };
constexpr int mount_item(std::size_t index, MountPart part) noexcept { return static_cast<int>(index) << 3 | static_cast<int>(part); }

// Whether something is mounted below /proc, as containers hide parts of it. Of its own empty directories, which are there for such
// mounts, the kernel does not mind it.
inline bool proc_is_covered() {
  std::string mounts;
  int const fd = sys::openat(AT_FDCWD, "/proc/thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
  char part[4096];
  for (long size; fd >= 0 && (size = sys::read(fd, part, sizeof part)) > 0;)
    mounts.append(part, static_cast<std::size_t>(size));
  if (fd >= 0) sys::close(fd);
  for (std::size_t at = 0; (at = mounts.find(" /proc/", at)) != mounts.npos; ++at)
    if (mounts.compare(at, 25, " /proc/sys/fs/binfmt_misc") != 0 && mounts.compare(at, 14, " /proc/fs/nfsd") != 0) return true;
  return false;
}

class FilePlan {
 public:
  explicit FilePlan(Isolation const& isolation) : isolation_(isolation), steps_(new MountStep[isolation.mounts.size()]{}) {}
  FilePlan(FilePlan const&) = delete;
  FilePlan& operator=(FilePlan const&) = delete;
  ~FilePlan() {
    for (int const fd : opened_) sys::close(fd);
    delete[] steps_;
  }

  // `as_caller`: a caller that has privileges in its own mount namespace, and whose child will have fewer, opens what is to be bound
  // itself, as detached trees: the only kind of descriptor that crosses. What it cannot open the child tries again, and says why not.
  ChildFiles lay_out(bool as_caller) {
    ChildFiles files{};
    files.own_namespace = isolation_.unshare.contains(NamespaceType::mnt);
    files.root_fd = -1;
    Root const& root = isolation_.root;
    files.own_root = root.kind() != Root::Kind::host;
    files.empty_root = root.kind() == Root::Kind::empty;
    files.writable_root = root.is_writable();
    if (root.kind() == Root::Kind::directory) files.root = root.path().c_str();
    texts_.reserve(isolation_.mounts.size() * 3);  // the steps point into it
    files.steps = steps_;
    files.count = isolation_.mounts.size();
    for (std::size_t i = 0; i < files.count; ++i) {
      Mount const& mount = isolation_.mounts[i];
      require_one_file_system(mount);
      steps_[i] = step_of(mount);
      bool const overlay = mount.kind() == Mount::Kind::overlay;
      files.needs_scratch |= (overlay && mount.upper().empty()) || mount.kind() == Mount::Kind::file;
      if (overlay && !files.user_attributes)
        files.user_attributes = has_other_user() || !in_initial_user_namespace();
    }
    if (as_caller) {
      if (files.root != nullptr) files.root_fd = keep(open_tree_with(AT_FDCWD, files.root, root_attributes, true));
      for (std::size_t i = 0; i < files.count; ++i)
        if (MountStep& step = steps_[i]; step.kind == Mount::Kind::bind)
          step.source_fd = keep(open_tree_with(AT_FDCWD, step.source, step.attributes, step.recursive));
    }
    return files;
  }
  static constexpr std::uint64_t root_attributes = kernel::mount_attr_nosuid | kernel::mount_attr_nodev;

  // "/src on /dst", "on /proc".
  std::string item(int number) const {
    Mount const& mount = mount_of(number);
    using Kind = Mount::Kind;
    if (mount.kind() == Kind::bind || mount.kind() == Kind::overlay) {
      std::string const& shown = part_of(number) == MountPart::upper  ? mount.upper()
                                 : part_of(number) == MountPart::work ? mount.work()
                                                                      : mount.source();
      return join({shown, " on ", mount.target()});
    }
    if (mount.kind() == Kind::symlink) return join({mount.target(), " to ", mount.source()});
    return mount.kind() == Kind::file || mount.kind() == Kind::directory ? mount.target() : "on " + mount.target();
  }

  // What probably went wrong, as far as that can be told.
  Hint hint(int number, int error) const {
    using enum Obstacle;
    using Kind = Mount::Kind;
    Mount const& mount = mount_of(number);
    MountPart const part = part_of(number);
    auto const unshares = [&](NamespaceType type) { return isolation_.unshare.contains(type); };
    if (error == ENOSYS) return no_mount_calls();
    if (part == MountPart::target) {
      if (error == ENOENT)
        return isolation_.root.kind() == Root::Kind::host ? "the target must exist: nothing is made on the host's file systems"
                                                          : "the target is a symlink to nowhere";
      if (error == ENOTDIR) return "a directory is to be mounted on what is none";
      if (error == EISDIR) return "a file is to be mounted on a directory";
      if (error == EROFS) return "the target does not exist, and what it would be made in is read-only";
      if (error == ELOOP) return "the way to the target leads through a link of a proc, or in circles";
      if (error == EACCES || error == EPERM) return {capability, "the target does not exist, and may not be made there by the child"};
      if (error == EEXIST) return "something else is there";
    } else if (mount.kind() == Kind::dev && error == ENODEV) {
      return "a device of the host's /dev is not what its name says";
    } else if (part != MountPart::whole) {
      if (error == ENOENT) return part == MountPart::source ? "the source does not exist" : "it must exist";
      if (error == EACCES) return {capability, "the source is out of the caller's reach"};
      if (error == EINVAL && mount.is_this_mount_only())
        return "in a user namespace what is mounted below the source may not be left out: it may hide something";
    } else if (mount.kind() == Kind::proc && error == EPERM) {
      if (!unshares(NamespaceType::pid)) return {other, "a proc shows a pid namespace, and only one's own may be mounted", "add pid"};
      if (Hint hint = filter_hint(); !hint.empty() && !proc_is_covered()) return hint;
      return {masked_proc, "parts of the caller's /proc are hidden by mounts, as in a container: the kernel then grants no other proc",
              "bind the caller's own /proc, or have the engine leave it whole (docker: --security-opt systempaths=unconfined)"};
    } else if (mount.kind() == Kind::sysfs && error == EPERM) {
      if (!unshares(NamespaceType::net)) return {other, "a sysfs shows a network namespace, and only one's own may be mounted", "add net"};
      return {masked_proc, "parts of the caller's /sys are hidden by mounts, as in a container: the kernel then grants no other sysfs"};
    } else if (mount.kind() == Kind::overlay && error == EINVAL && !mount.upper().empty()) {
      return "upper and work must be two directories of one mount, neither inside the other, on a file system that can keep changes";
    } else if (mount.kind() == Kind::mqueue && error == EPERM && !unshares(NamespaceType::ipc)) {
      return {other, "a mqueue shows an ipc namespace, and only one's own may be mounted", "add ipc"};
    }
    return {};
  }
  static Hint no_mount_calls() {
    if (!seccomp_filter_loaded()) return {Obstacle::kernel_too_old, "roots and mounts need Linux 5.12"};
    return {Obstacle::seccomp, "a seccomp filter is loaded and hides the calls, or the kernel is before Linux 5.12", filter_hint().remedy};
  }

 private:
  Mount const& mount_of(int number) const { return isolation_.mounts.at(static_cast<std::size_t>(number) >> 3); }
  static MountPart part_of(int number) noexcept { return static_cast<MountPart>(number & 7); }

  bool has_other_user() const {
    for (Namespace const& each : isolation_.join)
      if (each.type() == NamespaceType::user) return true;
    return isolation_.unshare.contains(NamespaceType::user);
  }

  // For which the kernel has but EINVAL. Directories that cannot be looked at are the child's to complain about.
  void require_one_file_system(Mount const& mount) const {
    struct ::stat upper {
    }, work{};
    if (mount.upper().empty() || sys::stat(mount.upper().c_str(), &upper) < 0 || sys::stat(mount.work().c_str(), &work) < 0) return;
    if (upper.st_dev != work.st_dev)
      throw Error(EXDEV, "mount overlay", join({mount.work(), " on ", mount.target()}), Error::Side::parent,
                  join({"the work directory must be on the same file system as ", mount.upper()}));
  }

  int keep(int fd) {
    if (fd < 0) return -1;
    FileDescriptor tree = above_stdio(fd);
    int const number = tree.get();
    opened_.push_back(number);
    return tree.release();
  }

  char const* text(std::string text) {
    texts_.push_back(std::move(text));
    return texts_.back().c_str();
  }
  // Without "//", "/./" and a slash at the end.
  static std::string plain(std::string const& path) {
    std::string result;
    for (std::size_t at = 0; at < path.size();) {
      std::size_t const end = std::min(path.find('/', at), path.size());
      std::string_view const part = std::string_view(path).substr(at, end - at);
      if (!part.empty() && part != ".") (result += '/') += part;
      at = end + 1;
    }
    return result;
  }

  MountStep step_of(Mount const& mount) {
    using Kind = Mount::Kind;
    MountStep step{};
    step.kind = mount.kind();
    step.recursive = !mount.is_this_mount_only();
    step.optional = mount.is_optional();
    step.writable = !mount.is_read_only();
    step.executable = mount.is_executable();
    step.mode = mount.permissions().value_or(mount.kind() == Kind::tmpfs       ? 01777
                                             : mount.kind() == Kind::directory ? 0755
                                             : mount.is_executable()           ? 0755
                                                                               : 0644);
    step.target = text(plain(mount.target()));
    step.source = mount.source().c_str();
    step.content = mount.source().data();
    step.content_size = mount.source().size();
    step.upper = mount.upper().empty() ? nullptr : mount.upper().c_str();
    step.work = mount.work().c_str();
    if (mount.kind() == Kind::tmpfs) {
      step.size = text(std::to_string(mount.size()));
      // An empty file costs about a KiB of the kernel's memory, which `size` does not count.
      step.inodes = text(std::to_string(mount.size() / 1024 + 64));
    }
    step.attributes = (mount.has_setuid() ? 0 : kernel::mount_attr_nosuid) | (mount.has_devices() ? 0 : kernel::mount_attr_nodev) |
                      (mount.is_read_only() ? kernel::mount_attr_rdonly : 0);
    step.source_fd = step.upper_fd = step.work_fd = step.mount_fd = -1;
    return step;
  }

  Isolation const& isolation_;
  std::vector<std::string> texts_;
  std::vector<int> opened_;
  MountStep* steps_;  // no vector: that would be one more for every including file to compile
};

}  // namespace cloister::detail
