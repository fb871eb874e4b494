// How far the clocks of a new time namespace are ahead of the caller's.
#pragma once

#include <chrono>

namespace cloister {

// Added to CLOCK_MONOTONIC and CLOCK_BOOTTIME (and what derives from them, such as uptime and sleeps); negative goes back, but
// not to before the boot. CLOCK_REALTIME has no namespace. Linux 5.6, time_namespaces(7).
struct ClockOffsets {
  std::chrono::nanoseconds monotonic{};
  std::chrono::nanoseconds boottime{};

  friend bool operator==(ClockOffsets const&, ClockOffsets const&) = default;
};

namespace detail {

// In seconds: "90s", "-1.5s".
inline std::string seconds_text(std::chrono::nanoseconds time) {
  auto const count = time.count();
  bool const negative = count < 0;
  auto const size = negative ? 0 - static_cast<std::uint64_t>(count) : static_cast<std::uint64_t>(count);
  constexpr std::uint64_t second = 1'000'000'000;
  std::string text = (negative ? "-" : "") + std::to_string(size / second);
  if (size % second != 0) {
    text += '.' + std::to_string(second + size % second).substr(1);
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + 's';
}

}  // namespace detail

// "monotonic 90s, boottime -1.5s".
inline std::string to_string(ClockOffsets const& offsets) {
  return "monotonic " + detail::seconds_text(offsets.monotonic) + ", boottime " + detail::seconds_text(offsets.boottime);
}

}  // namespace cloister
