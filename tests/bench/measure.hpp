// What the benchmarks share: runs in turn, their medians, and a host with much memory.
#pragma once

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace bench {

inline void require(bool condition, char const* what) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, std::strerror(errno));
  std::_Exit(1);
}

inline double microseconds(std::invocable auto const& f) {
  auto const start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Who goes first alternates: what a child leaves to be cleaned up behind it is a burden on the next one. Slow pairs are fewer.
inline std::pair<double, double> medians(int pairs, std::invocable auto const& floor, std::invocable auto const& library) {
  constexpr double most = 2e6;
  constexpr int fewest = 10;
  std::vector<double> floor_times, library_times;
  double total = 0;
  for (int pair = -10; pair < pairs && (total < most || pair < fewest); ++pair) {
    double first = 0, second = 0;
    if (pair % 2 == 0) {
      first = microseconds(floor);
      second = microseconds(library);
    } else {
      second = microseconds(library);
      first = microseconds(floor);
    }
    total += first + second;
    if (pair < 0) continue;  // warming up
    floor_times.push_back(first);
    library_times.push_back(second);
  }
  return {median(floor_times), median(library_times)};
}

// Touched pages of the common size: what a heap of many small things is.
inline void become_large(std::size_t mebibytes) {
  std::size_t const size = mebibytes * 1024 * 1024;
  if (size == 0) return;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  ::madvise(memory, size, MADV_NOHUGEPAGE);
  std::memset(memory, 1, size);
}

}  // namespace bench
