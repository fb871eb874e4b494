// The namespaces of a process, all types in one look.
#pragma once

#include <array>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "clone_flags.hpp"
#include "detail/hint.hpp"
#include "detail/proc.hpp"
#include "detail/text.hpp"
#include "file_descriptor.hpp"
#include "namespace_id.hpp"

namespace cloister {

template <class T>
struct codec;

// Ids by type: `here[uts]`. Types that the kernel lacks are absent. Nothing is held open, so the 64-bit `id` of each is
// 0, and the values identify while the process lives.
class [[nodiscard]] ProcessNamespaces {
 public:
  constexpr CloneFlags types() const noexcept { return present_; }
  constexpr bool contains(NamespaceType type) const noexcept { return present_.contains(type); }
  // Throws std::out_of_range, which names the type, if contains(type) is false.
  NamespaceId const& operator[](NamespaceType type) const {
    if (!contains(type))
      throw std::out_of_range(detail::join({"cloister: ProcessNamespaces: no ", to_string(type), " among them"}));
    return ids_[static_cast<std::size_t>(type)];
  }
  friend constexpr bool operator==(ProcessNamespaces const&, ProcessNamespaces const&) noexcept = default;

 private:
  friend ProcessNamespaces namespaces_of(pid_t pid);
  friend struct codec<ProcessNamespaces>;

  static int open(std::string const& path) noexcept {
    return detail::sys::openat(AT_FDCWD, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  }

  // All looks go through one directory, which stays the process's own should the pid be reused meanwhile.
  static ProcessNamespaces in(FileDescriptor const& directory, std::string const& path) {
    auto const refuse = [&](long result, char const* step, NamespaceType type) {
      throw detail::look_error(static_cast<int>(-result), step, detail::join({path, "/", to_string(type)}), type);
    };
    ProcessNamespaces found;
    for (NamespaceType type : all_namespace_types) {
      char text[64];
      long const size = detail::sys::readlinkat(directory.get(), to_string(type), text, sizeof text - 1);
      if (size == -ENOENT && !detail::kernel_has(type)) continue;
      if (size < 0) refuse(size, "readlink", type);
      text[size] = '\0';
      char const* const number = std::strchr(text, '[');  // uts:[4026531838]
      if (number == nullptr) refuse(-EINVAL, "readlink", type);
      // The device is the same for all namespaces of a kernel, and to ask for it costs more than two links.
      static std::uint64_t known_device = 0;
      std::uint64_t device = __atomic_load_n(&known_device, __ATOMIC_RELAXED);
      if (device == 0) {
        struct ::stat file {};
        int const result = detail::sys::fstatat(directory.get(), to_string(type), &file, 0);
        if (result < 0) refuse(result, "stat", type);
        device = file.st_dev;
        __atomic_store_n(&known_device, device, __ATOMIC_RELAXED);
      }
      found.add({type, device, std::strtoull(number + 1, nullptr, 10), 0});
    }
    return found;
  }

  static ProcessNamespaces by_pidfd(pid_t pid) {
    std::string const number = std::to_string(pid);
    std::string const path = detail::join({"/proc/", number, "/ns"});
    int opened = detail::sys::pidfd_open(pid, detail::kernel::pidfd_thread);
    if (opened == -EINVAL) opened = detail::sys::pidfd_open(pid);  // before Linux 6.9
    if (opened < 0) {
      bool const id_of_a_thread = pid > 0 && (opened == -EINVAL || opened == -ENOENT);  // likewise
      if (id_of_a_thread || opened == -ENOSYS || opened == -EPERM) throw detail::foreign_proc_error(path);
      throw Error(opened == -EINVAL ? ESRCH : -opened, "pidfd_open", number);
    }
    FileDescriptor const pidfd = FileDescriptor::adopt(opened);

    ProcessNamespaces found;
    for (NamespaceType type : all_namespace_types) {
      int const fd = detail::sys::ioctl(pidfd.get(), detail::pidfd_requests[static_cast<std::size_t>(type)]);
      if (fd == -ENOTTY || fd == -ENOSYS || fd == -EPERM) return by_number_of(pidfd, path);
      if (fd == -EOPNOTSUPP) continue;
      if (fd < 0) throw detail::look_error(-fd, "open", detail::join({to_string(type), " of process ", number}), type);
      FileDescriptor const held = FileDescriptor::adopt(fd);
      struct ::stat file {};
      detail::check(detail::sys::fstat(fd, &file), "fstat", to_string(type));
      found.add({type, file.st_dev, file.st_ino, 0});
    }
    return found;
  }

  // Before Linux 6.11: this /proc knows the process by a number of its own.
  static ProcessNamespaces by_number_of(FileDescriptor const& pidfd, std::string const& path) {
    long const number = detail::number_in_proc(pidfd.get());
    std::string const path_here = detail::join({"/proc/", std::to_string(number), "/ns"});
    int const opened = number > 0 ? open(path_here) : -ENOENT;
    // The directory is this process's, if the process is there afterwards.
    if (detail::sys::pidfd_send_signal(pidfd.get(), 0) == -ESRCH) throw Error(ESRCH, "open", path);
    if (number < 0 && number != -ESRCH && number != -ENOENT) throw Error(static_cast<int>(-number), "open", path);
    if (number <= 0) throw detail::foreign_proc_error(path);
    if (opened < 0) throw detail::look_error(-opened, "open", path_here, {});
    return in(FileDescriptor::adopt(opened), path_here);
  }

  void add(NamespaceId const& id) noexcept {
    ids_[static_cast<std::size_t>(id.type)] = id;
    present_ |= id.type;
  }

  std::array<NamespaceId, 8> ids_{};
  CloneFlags present_;
};

// Those of a process, or of a thread if `pid` is a thread's id, in the caller's pid namespace. The children's links are
// not among them: Namespace::for_children. Needs the same user or CAP_SYS_PTRACE, and a /proc: of any pid namespace
// that sees the process, before Linux 5.3 of the caller's own; since Linux 6.11 none. Throws Error (ESRCH: there is no
// such process, or it has ended; EACCES; ENOENT: no such /proc, or a kernel before 3.8). namespaces(7).
inline ProcessNamespaces namespaces_of(pid_t pid) {
  std::string const name = detail::name_in_proc(pid);
  if (name.empty()) return ProcessNamespaces::by_pidfd(pid);
  std::string const path = detail::join({"/proc/", name, "/ns"});
  int const opened = ProcessNamespaces::open(path);
  if (opened >= 0) return ProcessNamespaces::in(FileDescriptor::adopt(opened), path);
  Error const error = detail::look_error(-opened, "open", path, {});
  int const number = error.code().value();
  if (number == ENOENT) return ProcessNamespaces::by_pidfd(pid);
  if (number == ESRCH && pid > 0 && detail::sys::kill(pid, 0) != -ESRCH)
    throw Error(EACCES, "open", path, Error::Side::parent,
                {Obstacle::capability, "the process exists, but this /proc hides it"});
  throw error;
}

// The types in which two processes differ. A type that only one of them has counts as different.
inline CloneFlags differing(ProcessNamespaces const& a, ProcessNamespaces const& b) {
  CloneFlags types = (a.types() | b.types()) - (a.types() & b.types());
  for (NamespaceType type : a.types() & b.types())
    if (a[type] != b[type]) types |= type;
  return types;
}

}  // namespace cloister
