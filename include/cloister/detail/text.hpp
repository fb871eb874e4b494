// Texts put together: one function for all of them, because every other way to join strings costs each file that
// includes it more.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace cloister::detail {

inline std::string join(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (std::string_view part : parts) text.append(part.data(), part.size());
  return text;
}

// A text from elsewhere, fit for the message of an exception, which a NUL would cut off.
inline std::string printable(std::string_view text) {
  std::string result;
  for (char const& c : text) result.append(c == '\0' ? "\\0" : &c, c == '\0' ? 2 : 1);
  return result;
}

}  // namespace cloister::detail
