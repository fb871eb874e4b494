// Where the three standard streams of a program lead.
#pragma once

#include <cstdint>

namespace cloister {

// One stream. A default-constructed Redirect leaves the choice to who starts the program: a ChildProcess inherits the caller's
// stream; run() gives an empty input and captures the outputs.
class Redirect {
 public:
  enum class Kind : std::uint8_t { unset, inherit, null, pipe, descriptor, to_out };

  constexpr Redirect() noexcept = default;
  // The caller's; /dev/null if the caller's is closed.
  static constexpr Redirect inherit() noexcept { return Redirect{Kind::inherit}; }
  static constexpr Redirect null() noexcept { return Redirect{Kind::null}; }
  // A new pipe, whose other end the handle holds: Child::in(), out() or err().
  static constexpr Redirect pipe() noexcept { return Redirect{Kind::pipe}; }
  // An open descriptor of the caller, which stays open there.
  static constexpr Redirect descriptor(int fd) noexcept { return Redirect{Kind::descriptor, fd}; }
  // For err: where out leads, as 2>&1 does.
  static constexpr Redirect to_out() noexcept { return Redirect{Kind::to_out}; }

  constexpr Kind kind() const noexcept { return kind_; }
  constexpr int fd() const noexcept { return fd_; }
  friend constexpr bool operator==(Redirect const&, Redirect const&) noexcept = default;

 private:
  constexpr explicit Redirect(Kind kind, int fd = -1) noexcept : kind_(kind), fd_(fd) {}
  Kind kind_ = Kind::unset;
  int fd_ = -1;
};

struct Stdio {
  Redirect in{};
  Redirect out{};
  Redirect err{};

  friend constexpr bool operator==(Stdio const&, Stdio const&) noexcept = default;
};

}  // namespace cloister
