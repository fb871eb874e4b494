#include <cloister/clock_offsets.hpp>

#include "support.hpp"

using cloister::ClockOffsets;
using namespace std::chrono_literals;

TEST_CASE("clock offsets are nothing by default, and take any unit") {
  static_assert(ClockOffsets{} == ClockOffsets{.monotonic = 0s, .boottime = 0s});
  ClockOffsets const ahead{.boottime = std::chrono::hours{24 * 365}};
  CHECK(ahead.monotonic == 0ns);
  CHECK(ahead.boottime == 31'536'000s);
  CHECK(ahead != ClockOffsets{});
  CHECK(ClockOffsets{.monotonic = -1500ms}.monotonic.count() == -1'500'000'000);
}

TEST_CASE("a number without a unit is no offset") {
  static_assert(!std::is_convertible_v<int, decltype(ClockOffsets::monotonic)>);
  static_assert(!std::is_convertible_v<std::chrono::duration<double>, decltype(ClockOffsets::monotonic)>);
}
