// The id maps of a process, as /proc shows them.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "../file_descriptor.hpp"
#include "../id_map.hpp"
#include "syscall.hpp"

namespace cloister::detail {

// The lines of a uid_map or gid_map as the kernel shows them; none if it cannot be read, and then `error`, where given, is the negative
// errno. `name` is looked for from that directory.
inline std::vector<IdRange> read_id_map(int directory, char const* name, long* error = nullptr) {
  int const fd = sys::openat(directory, name, O_RDONLY | O_CLOEXEC);
  FileDescriptor const file = FileDescriptor::adopt(fd);
  std::string text(std::size_t{16} * 1024, '\0');
  std::size_t size = 0;
  long got = fd;
  while (file && size < text.size() && (got = sys::read(fd, text.data() + size, text.size() - size)) > 0)
    size += static_cast<std::size_t>(got);
  if (got < 0) {
    if (error != nullptr) *error = got;
    return {};
  }
  text.resize(size);
  std::vector<IdRange> ranges;
  for (char* at = text.data(); *at != '\0';) {
    char const* const line = at;
    auto const number = [&] { return static_cast<std::uint32_t>(std::strtoull(at, &at, 10)); };
    ranges.push_back({number(), number(), number()});  // in this order: braces say so
    if (at == line) return {};                         // this is no map
    while (*at == '\n') ++at;
  }
  return ranges;
}

}  // namespace cloister::detail
