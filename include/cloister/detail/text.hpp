// Texts put together: one function for all of them, because every other way to join strings costs each file that
// includes it more.
#pragma once

#include <initializer_list>
#include <stdexcept>
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

[[noreturn]] inline void refuse_path(std::string_view field, std::string_view what, std::string_view path, std::string_view why) {
  throw std::invalid_argument(join({"cloister: ", field, ": ", what, " \"", printable(path.substr(0, 200)), "\" ", why}));
}
// A path that the kernel could take.
inline std::string checked_path(std::string_view field, std::string_view what, std::string_view path) {
  if (path.empty()) refuse_path(field, what, path, "is empty");
  if (path.find('\0') != path.npos) refuse_path(field, what, path, "holds a NUL");
  if (path.size() > 4095) refuse_path(field, what, path, join({"... has ", std::to_string(path.size()), " bytes, the kernel takes 4095"}));
  return std::string(path);
}

}  // namespace cloister::detail
