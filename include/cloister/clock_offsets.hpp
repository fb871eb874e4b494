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

}  // namespace cloister
