// The namespaces of a process, all types in one look.
#pragma once

#include <array>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "clone_flags.hpp"
#include "detail/hint.hpp"
#include "detail/text.hpp"
#include "file_descriptor.hpp"
#include "namespace_id.hpp"

namespace cloister {

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
  std::array<NamespaceId, 8> ids_{};
  CloneFlags present_;
};

// Those of a process, or of a thread if `pid` is a thread's id. The children's links are not among them:
// Namespace::for_children. Needs /proc, and the same user or CAP_SYS_PTRACE. Throws Error (ESRCH: there is no such
// process, or it has ended; EACCES; ENOENT: no /proc, or a kernel before 3.8). namespaces(7).
inline ProcessNamespaces namespaces_of(pid_t pid) {
  // All looks go through one directory, which stays the process's own should the pid be reused meanwhile.
  std::string const path = detail::join({"/proc/", std::to_string(pid), "/ns"});
  int const opened = detail::sys::openat(AT_FDCWD, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) {
    Error const error = detail::look_error(-opened, "open", path, {});
    if (error.code().value() == ESRCH && pid > 0 && detail::sys::kill(pid, 0) != -ESRCH)
      throw Error(EACCES, "open", path, Error::Side::parent,
                  "the process exists, but this /proc hides it or is another pid namespace's");
    throw error;
  }
  FileDescriptor const directory = FileDescriptor::adopt(opened);
  auto const refuse = [&](long result, char const* step, NamespaceType type) {
    throw detail::look_error(static_cast<int>(-result), step, detail::join({path, "/", to_string(type)}), type);
  };

  ProcessNamespaces found;
  std::uint64_t device = 0;
  for (NamespaceType type : all_namespace_types) {
    // Reading a link is half the price of a stat, for which the kernel makes an inode. The device is the same for all.
    char text[64];
    long const size = detail::sys::readlinkat(directory.get(), to_string(type), text, sizeof text - 1);
    if (size == -ENOENT && !detail::kernel_has(type)) continue;
    if (size < 0) refuse(size, "readlink", type);
    text[size] = '\0';
    char const* const number = std::strchr(text, '[');  // uts:[4026531838]
    if (number == nullptr) refuse(-EINVAL, "readlink", type);
    if (device == 0) {
      struct ::stat file {};
      int const result = detail::sys::fstatat(directory.get(), to_string(type), &file, 0);
      if (result < 0) refuse(result, "stat", type);
      device = file.st_dev;
    }
    found.ids_[static_cast<std::size_t>(type)] = {type, device, std::strtoull(number + 1, nullptr, 10), 0};
    found.present_ |= type;
  }
  return found;
}

// The types in which two processes differ. A type that only one of them has counts as different.
inline CloneFlags differing(ProcessNamespaces const& a, ProcessNamespaces const& b) {
  CloneFlags types = (a.types() | b.types()) - (a.types() & b.types());
  for (NamespaceType type : a.types() & b.types())
    if (a[type] != b[type]) types |= type;
  return types;
}

}  // namespace cloister
