// Files and directories of /proc, as they are read: whole, and name by name.
#pragma once

#include <dirent.h>

#include <string>

#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// Calls `visit(name)` for each name in an open directory, until it returns false.
template <class Visit>
void for_each_name(int directory, Visit&& visit) {
  alignas(::dirent64) char buffer[4096];
  for (long size; (size = sys::getdents64(directory, buffer, sizeof buffer)) > 0;)
    for (long at = 0; at < size;) {
      auto const* const entry = reinterpret_cast<::dirent64 const*>(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] != '.' && !visit(static_cast<char const*>(entry->d_name))) return;
    }
}
// The same for the processes that an open /proc lists.
template <class Visit>
void for_each_process(int proc, Visit&& visit) {
  for_each_name(proc, [&](char const* name) { return *name < '1' || *name > '9' || visit(name); });
}

// The rest of an open file, as far as it can be read.
inline std::string read_rest(int fd) {
  std::string text;
  char part[4096];
  for (long size; (size = sys::read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<std::size_t>(size));
  return text;
}

// Opens a namespace by a name that somebody else may let lead to any file. What is there is looked at before it is opened: to open a
// device may be to use it, and a fifo would wait for its writer. A descriptor or a negative errno, EINVAL if it is no namespace.
inline int open_namespace_at(int directory, char const* path, int flags = 0) {
  int const found = sys::openat(directory, path, O_PATH | O_CLOEXEC | flags);
  if (found < 0) return found;
  struct ::statfs system {};
  int result = sys::fstatfs(found, &system);
  if (result == 0 && system.f_type != kernel::nsfs_magic) result = -EINVAL;
  if (result == 0)
    result = sys::openat(AT_FDCWD, join({"/proc/thread-self/fd/", std::to_string(found)}).c_str(), O_RDONLY | O_CLOEXEC);
  sys::close(found);
  return result;
}

}  // namespace cloister::detail
