// Namespaces by the numbers that tools print.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "detail/proc_files.hpp"
#include "namespace.hpp"

namespace cloister {

namespace detail {

// Looks where a namespace may show, until it is found: the kernel's own table; the links of threads and what is mounted
// in their mnt namespaces, those of the calling thread first; descriptors; and the owners and parents of all these.
// Each namespace is opened once, and asked for its numbers itself: what led to it may have changed meanwhile.
class NumberSearch {
 public:
  // A number that is 0 is not known, and so is the type: a CLONE_NEW* flag.
  NumberSearch(std::uint64_t type, std::uint64_t inode, std::uint64_t id) : type_(type), inode_(inode), id_(id) {}

  // A descriptor of it; empty if it is not in sight.
  FileDescriptor run() {
    ask_kernel();
    if (!found_) proc_ = try_open(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY);
    if (!found_ && !proc_) throw look_error(ENOENT, "open", "/proc", {});
    struct ::stat own {};
    if (!found_ && sys::fstatat(proc_.get(), "thread-self/ns/mnt", &own, 0) == 0) device_ = own.st_dev;
    if (!found_) look_at_task("thread-self");
    if (!found_) look_into("thread-self/fd");
    look_at_each_process([this](std::string const& process) { look_at_process(process); });
    look_at_each_process([this](std::string const& process) { look_into(join({process, "/fd"})); });
    return std::move(found_);
  }
  // How many processes may not be looked at.
  std::size_t unreadable() const noexcept { return unreadable_; }

 private:
  void ask_kernel() {
    if (id_ == 0) return;
    kernel::nsfs_handle handle{};
    handle.id = id_;
    if (type_ != 0 && inode_ != 0) {
      handle.type = static_cast<std::uint32_t>(type_);
      handle.inode = static_cast<std::uint32_t>(inode_);
    }
    look_at(FileDescriptor::adopt(sys::open_nsfs_handle(&handle)));
  }

  // Empty where that one could not be opened. Throws Error if none can.
  static FileDescriptor adopt(int fd, std::string_view item) {
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM) throw Error(-fd, "open", item);
    return FileDescriptor::adopt(fd);
  }
  static FileDescriptor try_open(int directory, char const* path, int flags) {
    return adopt(sys::openat(directory, path, flags | O_CLOEXEC), path);
  }

  // --- through /proc

  template <class Look>
  void look_at_each_process(Look&& look) {
    if (found_) return;
    FileDescriptor const proc = try_open(proc_.get(), ".", O_RDONLY | O_DIRECTORY);
    for_each_number(proc.get(), [&](char const* name) {
      look(name);
      return !found_;
    });
  }

  void look_at_process(std::string const& process) {
    if (!look_at_task(process)) {
      ++unreadable_;
      return;
    }
    std::string const path = join({process, "/task"});
    FileDescriptor const threads = try_open(proc_.get(), path.c_str(), O_RDONLY | O_DIRECTORY);
    if (!threads) return;
    for_each_name(threads.get(), [&](char const* name) {
      if (process != name) look_at_task(join({path, "/", name}));
      return !found_;
    });
  }
  bool look_at_task(std::string const& task) {
    if (!look_into(join({task, "/ns"}))) return false;
    long const mnt = number_of_link(proc_.get(), join({task, "/ns/mnt"}).c_str());
    if (mnt != 0 && !found_ && !mount_tables_.contains(mnt) && look_at_mounts(task)) mount_tables_.find_or_add(mnt, 0);
    return true;
  }

  // At all links in a directory. False if they may not be read.
  bool look_into(std::string const& path) {
    int const opened = sys::openat(proc_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FileDescriptor const directory = adopt(opened, path);
    if (!directory) return opened != -EACCES && opened != -EPERM;
    bool readable = true;
    for_each_name(opened, [&](char const* name) {
      long const number = number_of_link(opened, name, &readable);
      if (number != 0 && !seen_.contains(number)) look_at(adopt(open_namespace_at(opened, name, device_), name));
      return !found_;
    });
    return readable;
  }
  static long number_of_link(int directory, char const* name, bool* readable = nullptr) {
    char text[64];
    long const size = sys::readlinkat(directory, name, text, sizeof text - 1);
    if (size == -EACCES && readable != nullptr) *readable = false;
    text[size > 0 ? size : 0] = '\0';
    return parse_link(text).second;
  }

  // False if they may not be read: another task of the same mnt namespace may show them.
  bool look_at_mounts(std::string const& task) {
    FileDescriptor const file = try_open(proc_.get(), join({task, "/mountinfo"}).c_str(), O_RDONLY);
    FileDescriptor const directory = try_open(proc_.get(), join({task, "/root"}).c_str(), O_PATH | O_DIRECTORY);
    std::string const text = read_rest(file.get());
    // 36 35 0:4 net:[4026532567] /run/netns/blue rw - nsfs nsfs rw
    for (char const* line = text.c_str(); *line != '\0' && !found_; line += std::strcspn(line, "\n") + 1) {
      char const* root = line;
      for (int field = 0; field < 3; ++field) root += std::strcspn(root, " ") + 1;
      long const number = parse_link(root).second;
      if (number == 0 || seen_.contains(number)) continue;
      std::string const path = unescaped(root + std::strcspn(root, " ") + 1);
      look_at(adopt(open_mounted_namespace(directory.get(), path.c_str(), device_), path));
    }
    return !text.empty();
  }

  // --- the namespaces themselves

  void look_at(FileDescriptor fd) {
    struct ::statfs system {};
    struct ::stat file {};
    if (!fd || sys::fstatfs(fd.get(), &system) < 0 || system.f_type != kernel::nsfs_magic) return;
    if (sys::fstat(fd.get(), &file) < 0 || seen_.contains(static_cast<long>(file.st_ino))) return;
    seen_.find_or_add(static_cast<long>(file.st_ino), 0);
    if (is_wanted(fd.get(), file.st_ino)) {
      found_ = std::move(fd);
      return;
    }
    for (unsigned long const request : {kernel::ns_get_userns, kernel::ns_get_parent})
      if (!found_) look_at(adopt(sys::ioctl(fd.get(), request), "the owner or parent of a namespace"));
  }
  bool is_wanted(int fd, std::uint64_t inode) const noexcept {
    std::uint64_t id = 0;
    if (inode_ != 0 && inode_ != inode) return false;
    if (type_ != 0 && static_cast<std::uint64_t>(sys::ioctl(fd, kernel::ns_get_nstype)) != type_) return false;
    return id_ == 0 || (sys::ioctl(fd, kernel::ns_get_id, sys::arg(&id)) == 0 && id == id_);
  }

  std::uint64_t type_, inode_, id_;
  FileDescriptor proc_;
  std::uint64_t device_ = 0;  // of all namespaces
  FileDescriptor found_;
  NumberIndex seen_;          // inode numbers
  NumberIndex mount_tables_;  // those of mnt namespaces
  std::size_t unreadable_ = 0;
};

// `item` names it in an Error.
inline Namespace find_namespace(NumberSearch search, std::string_view what, std::uint64_t number) {
  std::string const item = join({what, " ", std::to_string(number)});
  if (number == 0) throw std::invalid_argument(join({"cloister: find_namespace: ", item, " is that of no namespace"}));
  if (FileDescriptor found = search.run()) return Namespace::adopt(std::move(found));
  std::string hint = "nothing in sight shows it";
  if (search.unreadable() > 0)
    hint +=
        join({"; processes that may not be looked at without CAP_SYS_PTRACE: ", std::to_string(search.unreadable())});
  throw Error(ENOENT, "find namespace", item, Error::Side::parent, hint);
}

}  // namespace detail

// The namespace with an inode number, as lsns(8) prints it and the links under /proc/[pid]/ns hold it: no two have the
// same at a time, whatever their types. It is in sight if a process, a thread, a descriptor, a mount or another
// namespace that the caller may look at shows it; for those of other users that takes CAP_SYS_PTRACE. Needs a /proc.
// Throws Error (ENOENT: it is not in sight), std::invalid_argument for 0. namespaces(7).
inline Namespace find_namespace_by_inode(std::uint64_t inode) {
  return detail::find_namespace({0, inode, 0}, "inode", inode);
}

// The namespace with a 64-bit number, NamespaceId::id, which no other ever gets. Linux 6.18. The rest is as above.
inline Namespace find_namespace_by_id(std::uint64_t id) { return detail::find_namespace({0, 0, id}, "id", id); }

// The namespace that a value was taken from, by id() or in a list. Where the value has the 64-bit number, another one
// that has got the same inode number since is not mistaken for it, and the kernel opens it without a search. The rest
// is as above.
inline Namespace find_namespace(NamespaceId const& id) {
  return detail::find_namespace({CloneFlags{id.type}.bits(), id.inode, id.id}, to_string(id.type), id.inode);
}

}  // namespace cloister
