// No path by which a program starts leads out of its root.
#pragma once

#include <elf.h>
#include <sys/stat.h>

#include "child_side.hpp"

namespace cloister::detail {

// A root directory, and mounts that are joined, may be a stranger's, and until the execve /proc/self leads from there to the host:
// /proc/self/exe to the host's program, /proc/self/fd to what the host has open. So neither the program, nor the interpreter that a script or a program names, nor the
// directory to start in may be reached through such a link. What is looked at here is looked up again by execve: it is a matter of who
// else may change the directory meanwhile.
CLOISTER_DETAIL_CHILD_SIDE inline int open_without_proc_links(char const* path, std::uint64_t flags) noexcept {
  kernel::open_how const how{flags | O_CLOEXEC, 0, kernel::resolve_no_magiclinks};
  return sys::openat2(AT_FDCWD, path, &how);
}
// 0 or a negative errno.
CLOISTER_DETAIL_CHILD_SIDE inline int look_without_proc_links(char const* path) noexcept {
  int const fd = open_without_proc_links(path, O_PATH);
  if (fd < 0) return fd;
  sys::close(fd);
  return 0;
}

// Looks at the interpreter that an ELF program names, if it is one of that layout.
template <class Header, class Segment, std::size_t Size>
CLOISTER_DETAIL_CHILD_SIDE inline int check_interpreter(int fd, char (&name)[Size]) noexcept {
  Header header;
  if (sys::pread(fd, &header, sizeof header, 0) != sizeof header || header.e_phentsize != sizeof(Segment)) return 0;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    auto const at = static_cast<long>(header.e_phoff + i * sizeof segment);
    if (sys::pread(fd, &segment, sizeof segment, at) != sizeof segment) return 0;
    if (segment.p_type != PT_INTERP) continue;
    std::size_t const wanted = segment.p_filesz < Size ? segment.p_filesz : Size - 1;
    long const size = sys::pread(fd, name, wanted, static_cast<long>(segment.p_offset));
    name[size < 0 ? 0 : size] = '\0';
    return look_without_proc_links(name);
  }
  return 0;
}
CLOISTER_DETAIL_CHILD_SIDE inline long check_program(char const* path) noexcept {
  char text[4096 + 1];  // the longest name of an interpreter, PATH_MAX
  for (int depth = 0; depth < 6; ++depth) {  // as deep as the kernel goes: five scripts and a program
    int fd = open_without_proc_links(path, O_PATH);
    if (fd < 0) return fd;
    struct ::statx facts;
    int const looked = sys::statx_fd(fd, &facts);
    sys::close(fd);
    if (looked < 0 || !S_ISREG(facts.stx_mode)) return looked < 0 ? looked : -EACCES;
    fd = open_without_proc_links(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return fd == -EACCES ? -EPERM : fd;  // the kernel would read it all the same
    long const size = sys::read(fd, text, 256);      // what the kernel reads of a script
    bool const script = size >= 3 && text[0] == '#' && text[1] == '!';
    int interpreter = 0;
    // In both layouts: the byte that tells them apart is one that the kernel's loaders do not look at.
    if (!script && size >= 0) {
      interpreter = check_interpreter<::Elf64_Ehdr, ::Elf64_Phdr>(fd, text);
      if (interpreter == 0) interpreter = check_interpreter<::Elf32_Ehdr, ::Elf32_Phdr>(fd, text);
    }
    sys::close(fd);
    if (size < 0) return size;
    if (!script) return interpreter;
    text[size] = '\0';
    char* begin = text + 2;
    while (*begin == ' ' || *begin == '\t') ++begin;
    char* end = begin;
    while (*end != '\0' && *end != ' ' && *end != '\t' && *end != '\n') ++end;
    *end = '\0';
    path = begin;
  }
  return -ELOOP;
}
// The candidates end before the first that is not to be executed: what comes before it may still be found.
CLOISTER_DETAIL_CHILD_SIDE inline void check_programs(ChildSide& side) noexcept {
  for (side.candidate_count = 0; char const* const path = side.plan->candidates[side.candidate_count]; ++side.candidate_count) {
    long const result = check_program(path);
    if (result >= 0 || result == -ENOENT || result == -ENOTDIR || result == -EACCES) continue;
    side.candidate_refused = static_cast<int>(-result);
    return;
  }
}
CLOISTER_DETAIL_CHILD_SIDE inline void enter_directory(ChildSide const& side) noexcept {
  char const* const path = side.plan->directory;
  if (!has_other_root(*side.plan)) return require(side, sys::chdir(path), Step::chdir);
  int const fd = open_without_proc_links(path, O_PATH | O_DIRECTORY);
  require(side, fd, Step::chdir);
  require(side, sys::fchdir(fd), Step::chdir);
  sys::close(fd);
}

}  // namespace cloister::detail
