// The control group that a child starts in. Nothing happens here.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "detail/text.hpp"

namespace cloister {

// A directory of a cgroup v2 hierarchy, whose limits hold for the child from its first moment (CLONE_INTO_CGROUP, Linux 5.7) or, for
// a callable without a pid namespace and on older kernels, before anything of its world is made. A cgroup namespace of the child's own
// has it as its root. The caller must be allowed to write its cgroup.procs, and that of the nearest common ancestor: cgroups(7).
class Cgroup {
 public:
  // Throws std::invalid_argument for an empty path, a NUL, and over 4095 bytes.
  static Cgroup path(std::string_view directory) {
    Cgroup cgroup;
    cgroup.path_ = detail::checked_path("cgroup", "path", directory);
    return cgroup;
  }
  // An open descriptor of the directory, O_PATH is enough; borrowed, and looked at when a child is started.
  static Cgroup descriptor(int fd) {
    if (fd < 0) throw std::invalid_argument("cloister: cgroup: " + std::to_string(fd) + " is no descriptor");
    Cgroup cgroup;
    cgroup.fd_ = fd;
    return cgroup;
  }

  // Empty if it was given by descriptor.
  std::string const& path() const noexcept { return path_; }
  // -1 if it was given by path.
  int fd() const noexcept { return fd_; }
  friend bool operator==(Cgroup const&, Cgroup const&) = default;

 private:
  Cgroup() = default;
  std::string path_;
  int fd_ = -1;
};

// "/sys/fs/cgroup/job", "descriptor 7".
inline std::string to_string(Cgroup const& cgroup) {
  return cgroup.fd() < 0 ? cgroup.path() : "descriptor " + std::to_string(cgroup.fd());
}

}  // namespace cloister
