// Formatters for {fmt} 9.1 and newer, for every value of the library: fmt::print("{:<12}",
// cloister::NamespaceType::pid). Not part of cloister.hpp. Each is formatted as a string, so width, fill, alignment and
// precision work.
#pragma once

#include <fmt/format.h>

#include <string>

#include "clock_offsets.hpp"
#include "clone_flags.hpp"
#include "command.hpp"
#include "exit_status.hpp"
#include "id_map.hpp"
#include "isolation.hpp"
#include "namespace_id.hpp"
#include "namespace_type.hpp"
#include "obstacle.hpp"
#include "probe.hpp"
#include "run.hpp"
#include "stdio.hpp"

namespace cloister::detail {

// --- the texts of those that have no to_string()

inline std::string text_of(Redirect const& redirect) {
  switch (redirect.kind()) {
    case Redirect::Kind::unset:
      return "unset";
    case Redirect::Kind::inherit:
      return "inherit";
    case Redirect::Kind::null:
      return "null";
    case Redirect::Kind::pipe:
      return "pipe";
    case Redirect::Kind::descriptor:
      return "descriptor " + std::to_string(redirect.fd());
    case Redirect::Kind::to_out:
      return "to_out";
  }
  return "?";
}

// "in null, out pipe, err to_out".
inline std::string text_of(Stdio const& streams) {
  return "in " + text_of(streams.in) + ", out " + text_of(streams.out) + ", err " + text_of(streams.err);
}

// "exited with status 1", "ended by signal 9 (SIGKILL), timed out", and what it wrote, a stream a paragraph.
inline std::string text_of(Output const& output) {
  std::string text = to_string(output.status);
  if (output.timed_out) text += ", timed out";
  if (!output.out.empty()) text += "\nout: " + output.out;
  if (!output.err.empty()) text += "\nerr: " + output.err;
  return text;
}

// --- the formatter that they share

template <class Value>
struct TextFormatter : fmt::formatter<fmt::string_view> {
  void set_debug_format(bool) = delete;  // else fmt/ranges.h puts quotes around each element of a range

  template <class Context>
  auto format(Value const& value, Context& context) const {
    if constexpr (requires { to_string(value); })
      return write(to_string(value), context);
    else
      return write(text_of(value), context);
  }

 private:
  template <class Context>
  auto write(fmt::string_view text, Context& context) const {
    return fmt::formatter<fmt::string_view>::format(text, context);
  }
};

}  // namespace cloister::detail

// Whole specialisations, so that those of fmt/ranges.h and fmt/std.h do not compete.
template <>
struct fmt::formatter<cloister::NamespaceType> : cloister::detail::TextFormatter<cloister::NamespaceType> {};
template <>
struct fmt::formatter<cloister::CloneFlags> : cloister::detail::TextFormatter<cloister::CloneFlags> {};
template <>
struct fmt::formatter<cloister::NamespaceId> : cloister::detail::TextFormatter<cloister::NamespaceId> {};
template <>
struct fmt::formatter<cloister::ExitStatus> : cloister::detail::TextFormatter<cloister::ExitStatus> {};
template <>
struct fmt::formatter<cloister::IdRange> : cloister::detail::TextFormatter<cloister::IdRange> {};
template <>
struct fmt::formatter<cloister::IdMap> : cloister::detail::TextFormatter<cloister::IdMap> {};
template <>
struct fmt::formatter<cloister::ClockOffsets> : cloister::detail::TextFormatter<cloister::ClockOffsets> {};
template <>
struct fmt::formatter<cloister::Redirect> : cloister::detail::TextFormatter<cloister::Redirect> {};
template <>
struct fmt::formatter<cloister::Stdio> : cloister::detail::TextFormatter<cloister::Stdio> {};
template <>
struct fmt::formatter<cloister::Command> : cloister::detail::TextFormatter<cloister::Command> {};
template <>
struct fmt::formatter<cloister::Loopback> : cloister::detail::TextFormatter<cloister::Loopback> {};
template <>
struct fmt::formatter<cloister::Session> : cloister::detail::TextFormatter<cloister::Session> {};
template <>
struct fmt::formatter<cloister::Init> : cloister::detail::TextFormatter<cloister::Init> {};
template <>
struct fmt::formatter<cloister::ParentDeath> : cloister::detail::TextFormatter<cloister::ParentDeath> {};
template <>
struct fmt::formatter<cloister::Environment> : cloister::detail::TextFormatter<cloister::Environment> {};
template <>
struct fmt::formatter<cloister::Descriptors> : cloister::detail::TextFormatter<cloister::Descriptors> {};
template <>
struct fmt::formatter<cloister::Isolation> : cloister::detail::TextFormatter<cloister::Isolation> {};
template <>
struct fmt::formatter<cloister::Output> : cloister::detail::TextFormatter<cloister::Output> {};
template <>
struct fmt::formatter<cloister::Obstacle> : cloister::detail::TextFormatter<cloister::Obstacle> {};
template <>
struct fmt::formatter<cloister::Support> : cloister::detail::TextFormatter<cloister::Support> {};
