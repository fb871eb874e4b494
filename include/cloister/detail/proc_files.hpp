// Files and directories of /proc, as they are read: whole, and name by name.
#pragma once

#include <dirent.h>
#include <sys/sysmacros.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "../namespace_type.hpp"
#include "syscall.hpp"
#include "text.hpp"

namespace cloister::detail {

// Calls `visit(name)` for each name in an open directory, until it returns false. 0 or a negative errno.
template <class Visit>
int for_each_name(int directory, Visit&& visit) {
  alignas(::dirent64) char buffer[8192];
  for (;;) {
    long const size = sys::getdents64(directory, buffer, sizeof buffer);
    if (size <= 0) return static_cast<int>(size);
    for (long at = 0; at < size;) {
      auto const* const entry = reinterpret_cast<::dirent64 const*>(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] != '.' && !visit(static_cast<char const*>(entry->d_name))) return 0;
    }
  }
}
// The same for each name that is a number: a process, a thread, a descriptor.
template <class Visit>
int for_each_number(int directory, Visit&& visit) {
  return for_each_name(directory, [&](char const* name) { return *name < '0' || *name > '9' || visit(name); });
}

// The rest of an open file, as far as it can be read.
inline std::string read_rest(int fd) {
  std::string text;
  char part[4096];
  for (long size; (size = sys::read(fd, part, sizeof part)) > 0;) text.append(part, static_cast<std::size_t>(size));
  return text;
}

// Names of namespaces that somebody else may let lead to any file. What is there is looked at before it is opened: to open a device may be
// to use it, a fifo would wait for its writer, and a file system in user space may never answer. `device` is the one of all namespaces. A
// descriptor or a negative errno, EINVAL if it is no namespace.
inline int reopen_namespace(int found, std::uint64_t device) {
  if (found < 0) return found;
  struct ::statx file {};
  int result = sys::statx(found, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &file);
  if (result == 0 && makedev(file.stx_dev_major, file.stx_dev_minor) != device) result = -EINVAL;
  if (result == 0)
    result = sys::openat(AT_FDCWD, join({"/proc/thread-self/fd/", std::to_string(found)}).c_str(), O_RDONLY | O_CLOEXEC);
  sys::close(found);
  return result;
}
inline int open_namespace_at(int directory, char const* name, std::uint64_t device) {
  return reopen_namespace(sys::openat(directory, name, O_PATH | O_CLOEXEC), device);
}
// One that is mounted there in that root. The kernel has the way to what is mounted in memory, and need not ask a file system for it.
inline int open_mounted_namespace(int root, char const* path, std::uint64_t device) {
  kernel::open_how how{O_PATH | O_CLOEXEC, 0, kernel::resolve_in_root | kernel::resolve_no_magiclinks | kernel::resolve_cached};
  int found = sys::openat2(root, path, &how);
  if (found == -EINVAL) {
    how.resolve &= ~kernel::resolve_cached;
    found = sys::openat2(root, path, &how);
  }
  // Before Linux 5.6, and under a filter: a path of mountinfo has no symbolic links.
  if (found == -ENOSYS || found == -EPERM) found = sys::openat(root, path + (*path == '/'), O_PATH | O_CLOEXEC | O_NOFOLLOW);
  return reopen_namespace(found, device);
}

// Of "net:[4026531840]"; 0 if it is no namespace. The path of a file begins with a slash or a bracket.
inline std::pair<NamespaceType, long> parse_link(char const* text) {
  for (NamespaceType type : all_namespace_types) {
    char const* const name = to_string(type);
    std::size_t const size = std::strlen(name);
    if (std::strncmp(text, name, size) == 0 && text[size] == ':' && text[size + 1] == '[')
      return {type, std::strtol(text + size + 2, nullptr, 10)};
  }
  return {NamespaceType{}, 0};
}

// Blanks, tabs, newlines and backslashes stand in mountinfo as \040 and so on.
inline std::string unescaped(char const* text) {
  auto const is_octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string path;
  for (; *text != '\0' && *text != ' '; ++text) {
    if (*text == '\\' && is_octal(text[1]) && is_octal(text[2]) && is_octal(text[3])) {
      path += static_cast<char>((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
      text += 3;
    } else {
      path += *text;
    }
  }
  return path;
}

// Where in a list each inode number stands, in the order of the numbers.
class NumberIndex {
 public:
  struct Place {
    long number;
    std::size_t at;
  };
  // The place of the number: `at` if it had none.
  std::size_t find_or_add(long number, std::size_t at) {
    std::size_t const i = lower_bound(number);
    if (is_at(number, i)) return places_[i].at;
    places_.push_back({number, at});  // and not insert(), which costs each including file several ms
    for (std::size_t last = places_.size() - 1; last > i; --last) places_[last] = places_[last - 1];
    places_[i] = {number, at};
    return at;
  }
  std::size_t find(long number, std::size_t otherwise) const {
    std::size_t const i = lower_bound(number);
    return is_at(number, i) ? places_[i].at : otherwise;
  }
  bool contains(long number) const { return is_at(number, lower_bound(number)); }
  auto begin() const { return places_.begin(); }
  auto end() const { return places_.end(); }

 private:
  bool is_at(long number, std::size_t i) const { return i < places_.size() && places_[i].number == number; }
  std::size_t lower_bound(long number) const {
    std::size_t low = 0;
    for (std::size_t high = places_.size(); low < high;) {
      std::size_t const middle = low + (high - low) / 2;
      if (places_[middle].number < number)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  std::vector<Place> places_;
};

}  // namespace cloister::detail
