// The ids that the administrator lends a user, subuid(5), and the programs that map them.
#pragma once

#include <pwd.h>

#include <string>
#include <vector>

#include "../error.hpp"
#include "../file_descriptor.hpp"
#include "../id_map.hpp"
#include "hint.hpp"
#include "text.hpp"

namespace cloister::detail {

// The name of a user, or the number where it has none.
inline std::string user_name(std::uint32_t uid) {
  std::string room(std::size_t{16} * 1024, '\0');
  ::passwd entry{};
  ::passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, room.data(), room.size(), &found) == 0 && found != nullptr) return found->pw_name;
  return std::to_string(uid);
}

// Empty if there is no such file.
inline std::string whole_file(char const* path) {
  int const opened = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (opened == -ENOENT) return {};
  FileDescriptor const file = FileDescriptor::adopt(check(opened, "open", path));
  std::string text;
  for (;;) {
    std::size_t const before = text.size();
    text.resize(before + 4096);
    long const got = sys::read(file.get(), text.data() + before, 4096);
    text.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
    if (check(got, "read", path) == 0) return text;
  }
}

// The user's lines of /etc/subuid or /etc/subgid, "NAME:START:COUNT" or "UID:START:COUNT", laid out from the inside id 1 on; id 0 is
// the caller itself. Throws Error (ENOENT) where there is no line.
inline std::vector<IdRange> subordinate_ranges(char const* path, std::uint32_t uid, std::uint32_t own_id) {
  std::string const name = user_name(uid), number = std::to_string(uid), text = whole_file(path);
  std::vector<IdRange> ranges{{0, own_id}};
  std::uint64_t inside = 1;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t const end = std::min(text.find('\n', at), text.size());
    std::string const line = text.substr(at, end - at);
    at = end + 1;
    std::size_t const colon = line.find(':');
    if (colon == line.npos || (line.compare(0, colon, name) != 0 && line.compare(0, colon, number) != 0)) continue;
    char* rest = nullptr;
    std::uint64_t const start = std::strtoull(line.c_str() + colon + 1, &rest, 10);
    std::uint64_t const count = *rest == ':' ? std::strtoull(rest + 1, &rest, 10) : 0;
    if (count == 0 || *rest != '\0' || start + count > 0xffffffff || inside + count > 0xffffffff) continue;
    ranges.push_back({static_cast<std::uint32_t>(inside), static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(count)});
    inside += count;
  }
  if (ranges.size() == 1)
    throw Error(ENOENT, "read", join({path, " for ", name}), Error::Side::parent,
                {Obstacle::id_map, "no ids are lent to this user",
                 join({"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ", name})});
  return ranges;
}

// newuidmap or newgidmap. Throws Error (ENOENT).
inline std::string id_helper(char const* name) {
  for (char const* directory : {"/usr/bin/", "/bin/", "/usr/local/bin/"})
    if (std::string path = join({directory, name}); exists(path.c_str())) return path;
  throw Error(ENOENT, name, {}, Error::Side::parent,
              {Obstacle::id_map, "only this program may map ids that are lent", "it is in the package uidmap or shadow-utils"});
}

}  // namespace cloister::detail
