// Formatters for {fmt} 9.1 and newer, for every value of the library: fmt::print("{:<12}",
// cloister::NamespaceType::pid). Not part of cloister.hpp. Each is formatted as a string, so width, fill, alignment and
// precision work.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>

#include "clock_offsets.hpp"
#include "clone_flags.hpp"
#include "command.hpp"
#include "exit_status.hpp"
#include "id_map.hpp"
#include "isolation.hpp"
#include "namespace_id.hpp"
#include "namespace_type.hpp"
#include "run.hpp"
#include "stdio.hpp"

namespace cloister::detail {

// --- the texts of those that have no to_string()

// As in a uid_map: "0 1000 1".
inline std::string text_of(IdRange const& range) {
  return std::to_string(range.inside) + ' ' + std::to_string(range.outside) + ' ' + std::to_string(range.count);
}

// "self", "root", "uids 0 1000 1, 1 100000 65536; gids 0 100 1 as 0:0".
inline std::string text_of(IdMap const& map) {
  auto const lines = [](std::vector<IdRange> const& ranges) {
    std::string text;
    for (IdRange const& range : ranges) text += (text.empty() ? "" : ", ") + text_of(range);
    return text;
  };
  std::string text = map.kind() == IdMap::Kind::self   ? "self"
                     : map.kind() == IdMap::Kind::root ? "root"
                                                       : "uids " + lines(map.uids()) + "; gids " + lines(map.gids());
  if (auto const& inside = map.inside())
    text += " as " + std::to_string(inside->first) + ':' + std::to_string(inside->second);
  return text;
}

// In seconds: "90s", "-1.5s".
inline std::string text_of(std::chrono::nanoseconds time) {
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

// "monotonic 90s, boottime -1.5s".
inline std::string text_of(ClockOffsets const& offsets) {
  return "monotonic " + text_of(offsets.monotonic) + ", boottime " + text_of(offsets.boottime);
}

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

inline std::string text_of(Loopback loopback) { return loopback == Loopback::up ? "up" : "down"; }
inline std::string text_of(Session session) { return session == Session::fresh ? "fresh" : "inherit"; }
inline std::string text_of(Init init) { return init == Init::reaper ? "reaper" : "none"; }
inline std::string text_of(ParentDeath death) {
  return death == ParentDeath::kill_child ? "kill_child" : "leave_child";
}

// "inherit", "clear", "only PATH, LANG".
inline std::string text_of(Environment const& environment) {
  if (environment.kind() == Environment::Kind::inherit) return "inherit";
  if (environment.kind() == Environment::Kind::clear) return "clear";
  std::string text = "only";
  for (std::string const& name : environment.names()) text += (text == "only" ? " " : ", ") + name;
  return text;
}

// "inherit", "none", "only 1, 5".
inline std::string text_of(Descriptors const& descriptors) {
  if (descriptors.kind() == Descriptors::Kind::inherit) return "inherit";
  if (descriptors.kind() == Descriptors::Kind::none) return "none";
  std::string text = "only";
  for (int fd : descriptors.fds()) text += (text == "only" ? " " : ", ") + std::to_string(fd);
  return text;
}

// The fields that differ from their defaults: "{unshare: uts|user, ids: root, hostname: box}".
inline std::string text_of(Isolation const& isolation) {
  Isolation const unset;
  std::string text;
  auto const add = [&](char const* field, std::string const& value) {
    text += (text.empty() ? "" : ", ") + std::string(field) + ": " + value;
  };
  if (isolation.unshare != unset.unshare) add("unshare", to_string(isolation.unshare));
  if (isolation.ids) add("ids", text_of(*isolation.ids));
  if (isolation.hostname) add("hostname", *isolation.hostname);
  if (isolation.domainname) add("domainname", *isolation.domainname);
  if (isolation.loopback != unset.loopback) add("loopback", text_of(isolation.loopback));
  if (isolation.clock != unset.clock) add("clock", text_of(isolation.clock));
  if (isolation.descriptors != unset.descriptors) add("descriptors", text_of(isolation.descriptors));
  if (isolation.environment != unset.environment) add("environment", text_of(isolation.environment));
  if (isolation.session != unset.session) add("session", text_of(isolation.session));
  if (isolation.init != unset.init) add("init", text_of(isolation.init));
  if (isolation.on_parent_death != unset.on_parent_death) add("on_parent_death", text_of(isolation.on_parent_death));
  return '{' + text + '}';
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
