// Namespaces under names: mounted on a file, as `ip netns` keeps those of networks under /run/netns.
#pragma once

#include <string>

#include "../error.hpp"
#include "../file_descriptor.hpp"
#include "../namespace_type.hpp"
#include "hint.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// A name in its directory, which is looked up once: what becomes of the path meanwhile leads nowhere else.
class NameInDirectory {
 public:
  explicit NameInDirectory(std::string const& path) {
    std::size_t const slash = path.rfind('/');
    std::string const directory = slash == path.npos ? "." : path.substr(0, slash + 1);
    directory_ = FileDescriptor::adopt(
        check(sys::openat(AT_FDCWD, directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), "open", directory));
    name_ = slash == path.npos ? path : path.substr(slash + 1);
  }
  FileDescriptor open(int flags, char const* step, std::string const& path) const {
    return FileDescriptor::adopt(
        check(sys::openat(directory_.get(), name_.c_str(), flags | O_NOFOLLOW | O_CLOEXEC), step, path));
  }
  int remove() const noexcept { return sys::unlinkat(directory_.get(), name_.c_str()); }

 private:
  FileDescriptor directory_;
  std::string name_;
};

inline int detached_mount(int fd) noexcept {
  return sys::open_tree(fd, "", AT_EMPTY_PATH | kernel::open_tree_clone | kernel::open_tree_cloexec);
}

// Unmounts the very mount that the descriptor was opened in, with what lies on it. Only /proc names it.
inline constexpr char const* own_descriptors = "/proc/thread-self/fd/";
inline int unmount(int fd) {
  return sys::umount2(join({own_descriptors, std::to_string(fd)}).c_str(), kernel::mnt_detach);
}

// Mounts it not on the file, but on a mount of the file on itself that is shared with nobody.
inline int mount_unshared(int mount, int file) {
  int const opened = detached_mount(file);
  if (opened < 0) return opened;
  FileDescriptor const between = FileDescriptor::adopt(opened);
  int result = sys::move_mount(between.get(), file);
  if (result < 0) return result;
  kernel::mount_attr attributes{};
  attributes.propagation = kernel::ms_private;
  result = sys::mount_setattr(between.get(), 0, &attributes);
  if (result == 0) result = sys::move_mount(mount, between.get());
  if (result < 0) unmount(between.get());
  return result;
}

[[noreturn]] inline void throw_mount_error(int result, char const* step, std::string const& path) {
  char const* hint = "";
  if (result == -ENOENT && !exists(own_descriptors)) throw look_error(ENOENT, step, path, {});
  if (result == -EPERM)
    hint = "CAP_SYS_ADMIN is needed in the user namespace that owns the caller's mnt namespace";
  else if (result == -ELOOP)
    hint =
        "an mnt namespace can be mounted only in an older one; Linux 6.18 may mistake the age of one that was made on "
        "another processor";
  else if (result == -ENOSYS)
    hint = "this needs Linux 5.2, for an mnt namespace 5.12, and no seccomp filter that forbids it";
  throw Error(-result, step, path, Error::Side::parent, hint);
}

// A mount on a shared place shows at once in all mnt namespaces that share it, and when the file is removed the kernel
// unmounts it in all of them, also in those that do not share it any more. An mnt namespace is mounted on no shared
// place (EINVAL): each could then hold the other.
inline void pin(int ns, NamespaceType type, std::string const& path) {
  // The mount between must not be left behind.
  if (type == NamespaceType::mnt && !exists(own_descriptors)) throw_mount_error(-ENOENT, "mount", path);
  int const opened = detached_mount(ns);
  if (opened < 0) throw_mount_error(opened, "open_tree", path);
  FileDescriptor const mount = FileDescriptor::adopt(opened);
  NameInDirectory const name{path};
  FileDescriptor const file = name.open(O_RDONLY | O_CREAT | O_EXCL, "create", path);  // of mode 0
  int const result =
      type == NamespaceType::mnt ? mount_unshared(mount.get(), file.get()) : sys::move_mount(mount.get(), file.get());
  if (result < 0) {
    name.remove();
    throw_mount_error(result, "mount", path);
  }
}

inline void unpin(std::string const& path) {
  NameInDirectory const name{path};
  FileDescriptor const mount = name.open(O_PATH, "open", path);
  struct ::statfs system {};
  check(sys::fstatfs(mount.get(), &system), "statfs", path);
  if (system.f_type != kernel::nsfs_magic)
    throw Error(EINVAL, "unpin", path, Error::Side::parent, "no namespace is mounted there");
  if (int const result = unmount(mount.get()); result < 0) throw_mount_error(result, "unmount", path);

  FileDescriptor const file = name.open(O_PATH, "open", path);
  struct ::statx facts {};
  check(sys::statx_fd(file.get(), &facts), "statx", path);
  if (!S_ISREG(facts.stx_mode) || facts.stx_size != 0) return;  // not made by pin()
  // What pin() has put under an mnt namespace.
  if ((facts.stx_attributes & kernel::statx_attr_mount_root) != 0 && facts.stx_mode == S_IFREG) unmount(file.get());
  check(name.remove(), "unlink", path);
}

}  // namespace cloister::detail
