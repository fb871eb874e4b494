// An exception in hand, for tests that look at more of it than its type and text, and how doctest prints an ExitStatus.
#pragma once

#include <doctest/doctest.h>

#include <cloister/exit_status.hpp>
#include <stdexcept>
#include <string>
#include <utility>

template <>
struct doctest::StringMaker<cloister::ExitStatus> {
  static String convert(cloister::ExitStatus const& status) { return to_string(status).c_str(); }
};

namespace test {

// The exception of that type which the call throws; fails the case if it throws none. Of any other type, it goes on its
// way.
template <class Exception, class Call>
Exception caught(Call&& call) {
  try {
    std::forward<Call>(call)();
  } catch (Exception const& exception) {
    return exception;
  }
  FAIL("nothing was thrown");
  throw std::logic_error("FAIL returned");
}

// Its text.
template <class Exception, class Call>
std::string text_of(Call&& call) {
  return caught<Exception>(std::forward<Call>(call)).what();
}

inline bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool address_sanitizer = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif
#else
inline constexpr bool address_sanitizer = false;
#endif

}  // namespace test
