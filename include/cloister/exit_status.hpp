// How a process ended.
#pragma once

#include <string.h>
#include <sys/wait.h>

#include <cstdint>
#include <optional>
#include <string>

#include "detail/text.hpp"

namespace cloister {

// Exited with a status, ended by a signal, or unknown: where the host ignores SIGCHLD or another part of it waits for any child,
// a kernel before 6.15 no longer knows. Unknown is not success.
class ExitStatus {
 public:
  constexpr ExitStatus() noexcept = default;  // unknown
  static constexpr ExitStatus exited(int code) noexcept { return {Kind::exited, code, false}; }
  static constexpr ExitStatus signaled(int signal, bool core_dumped = false) noexcept {
    return {Kind::signaled, signal, core_dumped};
  }
  static constexpr ExitStatus unknown() noexcept { return {}; }
  // From the status word of wait(2).
  static constexpr ExitStatus from_wait_status(int status) noexcept {
    if (WIFEXITED(status)) return exited(WEXITSTATUS(status));
    if (WIFSIGNALED(status)) return signaled(WTERMSIG(status), WCOREDUMP(status));
    return unknown();
  }

  constexpr bool success() const noexcept { return kind_ == Kind::exited && value_ == 0; }
  constexpr bool is_unknown() const noexcept { return kind_ == Kind::unknown; }
  // The exit status, 0 to 255, if it exited.
  constexpr std::optional<int> code() const noexcept {
    return kind_ == Kind::exited ? std::optional<int>{value_} : std::nullopt;
  }
  // The signal that ended it, if one did.
  constexpr std::optional<int> signal() const noexcept {
    return kind_ == Kind::signaled ? std::optional<int>{value_} : std::nullopt;
  }
  constexpr bool core_dumped() const noexcept { return core_dumped_; }

  // Whether a core was dumped does not count: it is the machine's setting, not the child's doing.
  friend constexpr bool operator==(ExitStatus const& a, ExitStatus const& b) noexcept {
    return a.kind_ == b.kind_ && a.value_ == b.value_;
  }

 private:
  enum class Kind : std::uint8_t { unknown, exited, signaled };
  constexpr ExitStatus(Kind kind, int value, bool core_dumped) noexcept
      : kind_(kind), core_dumped_(core_dumped), value_(value) {}
  Kind kind_ = Kind::unknown;
  bool core_dumped_ = false;
  int value_ = 0;
};

// "exited with status 3", "ended by signal 9 (SIGKILL)", "ended in an unknown way".
inline std::string to_string(ExitStatus const& status) {
  if (auto const code = status.code()) return detail::join({"exited with status ", std::to_string(*code)});
  if (auto const signal = status.signal()) {
    char const* name = nullptr;
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
    name = ::sigabbrev_np(*signal);
#endif
    bool const named = name != nullptr;
    return detail::join({"ended by signal ", std::to_string(*signal), named ? " (SIG" : "", named ? name : "",
                         named ? ")" : "", status.core_dumped() ? ", core dumped" : ""});
  }
  return "ended in an unknown way";
}

}  // namespace cloister
