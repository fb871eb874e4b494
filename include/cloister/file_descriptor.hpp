// An open file descriptor that one object owns.
#pragma once

#include "detail/syscall.hpp"
#include "error.hpp"

namespace cloister {

// Owns a descriptor and closes it. Empty when default-constructed or moved from.
class [[nodiscard]] FileDescriptor {
 public:
  FileDescriptor() noexcept = default;
  // Takes over a descriptor that nobody else closes. A negative number makes it empty.
  static FileDescriptor adopt(int fd) noexcept {
    FileDescriptor owner;
    owner.fd_ = fd < 0 ? -1 : fd;
    return owner;
  }
  // A second descriptor of the same open file, close-on-exec. Throws Error (EBADF, EMFILE). fcntl(2), F_DUPFD_CLOEXEC.
  static FileDescriptor duplicate(int fd) { return adopt(detail::check(detail::sys::fcntl(fd, F_DUPFD_CLOEXEC, 0), "dup")); }

  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~FileDescriptor() { reset(); }

  // The number, or -1; it stays owned.
  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return exchange(-1); }
  // Closes what is owned. An error of close(2) is not reported: the descriptor is gone all the same.
  void reset() noexcept { reset(-1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  friend bool operator==(FileDescriptor const&, FileDescriptor const&) = delete;  // two owners of one descriptor are a bug

 private:
  void reset(int fd) noexcept {
    int const old = exchange(fd);
    if (old >= 0) detail::sys::close(old);
  }
  int exchange(int fd) noexcept {
    int const old = fd_;
    fd_ = fd;
    return old;
  }
  int fd_ = -1;
};

namespace detail {

// Owns a new descriptor, moved out of the way of 0, 1 and 2, which a host may have closed.
inline FileDescriptor above_stdio(int fd) {
  FileDescriptor owner = FileDescriptor::adopt(fd);
  if (fd > 2 || fd < 0) return owner;
  return FileDescriptor::adopt(check(sys::fcntl(fd, F_DUPFD_CLOEXEC, 3), "dup"));
}

}  // namespace detail
}  // namespace cloister
