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
  std::string result(text);
  for (std::size_t at = 0; (at = result.find('\0', at)) != std::string::npos; at += 2) result.replace(at, 1, "\\0");
  return result;
}

}  // namespace cloister::detail
