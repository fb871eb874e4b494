// CLONE_NEWTIME: another time since boot. The tutorial is older than this one (Linux 5.6).
#include <ctime>

#include "demo.hpp"

namespace ns = cloister::flags;
using namespace std::chrono_literals;

std::chrono::seconds read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return std::chrono::seconds{now.tv_sec};
}

std::string show(std::chrono::seconds time) {
  return fmt::format("{} days {:02}:{:02}:{:02}", time / 24h, time / 1h % 24, time / 1min % 60, time.count() % 60);
}

int main(int argc, char** argv) try {
  cloister::Isolation const box{
      .unshare = ns::user | ns::time,
      .ids = cloister::IdMap::root(),
      // For /proc/self/timens_offsets. Sleeps and time-outs go by the monotonic clock, uptime(1) by the other.
      .clock = {.monotonic = 24h * 500, .boottime = 24h * 1000},
  };
  if (demo::wants_shell(argc, argv)) return demo::shell(box, "uptime -p; date (and in a terminal outside)");

  struct Clocks {
    std::chrono::seconds boottime, monotonic, realtime;
  };
  auto const look = [] {
    return Clocks{read_clock(CLOCK_BOOTTIME), read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME)};
  };
  Clocks const before = look(), inside = cloister::run(box, look), after = look();

  demo::head();
  demo::row("since boot", show(before.boottime), show(inside.boottime));
  demo::row("monotonic", show(before.monotonic), show(inside.monotonic));
  demo::row("since 1970", show(before.realtime), show(inside.realtime));
  auto const between = [](auto low, auto value, auto high) { return low <= value && value <= high; };
  return demo::verdict({
      {between(before.boottime + 24h * 1000, inside.boottime, after.boottime + 24h * 1000),
       "the container runs a thousand days longer"},
      {between(before.monotonic + 24h * 500, inside.monotonic, after.monotonic + 24h * 500),
       "its monotonic clock is five hundred days ahead"},
      {after.boottime < before.boottime + 24h, "the host's clocks are where they were"},
      {between(before.realtime, inside.realtime, after.realtime), "the date is the same: it has no namespace"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
