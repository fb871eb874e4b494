// How the library's own values cross from a child: what a description may not hold is refused by the same checks. The
// codecs are templates, so that only a program that uses one pays for compiling it.
#pragma once

#include <concepts>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../command.hpp"
#include "../id_map.hpp"
#include "../isolation.hpp"
#include "../process_namespaces.hpp"
#include "../stdio.hpp"
#include "codec.hpp"

namespace cloister {

namespace detail {

// What `make` makes, unless it is refused as a contradiction.
template <class Make>
auto made(Make const& make) {
  try {
    return make();
  } catch (std::invalid_argument const&) {
    Decoder::malformed("a value that its own checks refuse");
  }
}

// A Kind, whose enumerators count from 0 to `last`.
template <class Kind>
Kind kind_from(Decoder& from, Kind last) {
  auto const kind = from.get<Kind>();
  if (kind > last) Decoder::malformed("a kind that there is none of");
  return kind;
}

}  // namespace detail

template <std::same_as<ProcessNamespaces> T>
struct codec<T> {
  static void encode(Encoder& to, ProcessNamespaces const& value) {
    to.put(value.types());
    for (NamespaceType type : value.types()) to.put(value[type]);
  }
  static ProcessNamespaces decode(Decoder& from) {
    ProcessNamespaces value;
    for (NamespaceType type : from.get<CloneFlags>()) {
      auto const id = from.get<NamespaceId>();
      if (id.type != type) Decoder::malformed("a namespace of another type");
      value.add(id);
    }
    return value;
  }
};

template <std::same_as<IdMap> T>
struct codec<T> {
  static void encode(Encoder& to, IdMap const& value) {
    to.put(value.kind());
    to.put(value.uids());
    to.put(value.gids());
    to.put(value.inside());
  }
  static IdMap decode(Decoder& from) {
    auto const kind = detail::kind_from(from, IdMap::Kind::subordinate);
    auto uids = from.get<std::vector<IdRange>>();
    auto gids = from.get<std::vector<IdRange>>();
    auto const inside = from.get<std::optional<std::pair<std::uint32_t, std::uint32_t>>>();
    return detail::made([&] {
      IdMap const map = kind == IdMap::Kind::self   ? IdMap::self()
                        : kind == IdMap::Kind::root ? IdMap::root()
                        : kind == IdMap::Kind::subordinate ? IdMap::subordinate()
                                                    : IdMap::ranges(std::move(uids), std::move(gids));
      return inside ? map.as(inside->first, inside->second) : map;
    });
  }
};

template <std::same_as<Redirect> T>
struct codec<T> {
  static void encode(Encoder& to, Redirect const& value) {
    to.put(value.kind());
    to.put(value.fd());
  }
  static Redirect decode(Decoder& from) {
    auto const kind = detail::kind_from(from, Redirect::Kind::to_out);
    int const fd = from.get<int>();
    switch (kind) {
      case Redirect::Kind::unset:
        return {};
      case Redirect::Kind::inherit:
        return Redirect::inherit();
      case Redirect::Kind::null:
        return Redirect::null();
      case Redirect::Kind::pipe:
        return Redirect::pipe();
      case Redirect::Kind::descriptor:
        return Redirect::descriptor(fd);
      case Redirect::Kind::to_out:
        break;
    }
    return Redirect::to_out();
  }
};

template <std::same_as<Command> T>
struct codec<T> {
  static void encode(Encoder& to, Command const& value) {
    to.put(value.words());
    to.put(value.variables());
    to.put(value.directory());
    to.put(value.streams());
    to.put(value.kept());
  }
  static Command decode(Decoder& from) {
    return detail::made([&] {
      Command command{from.get<std::vector<std::string>>()};
      for (auto const& [name, text] : from.get<std::vector<std::pair<std::string, std::string>>>())
        command = std::move(command).env(name, text);
      if (auto const directory = from.get<std::optional<std::string>>()) command = std::move(command).cwd(*directory);
      command = std::move(command).stdio(from.get<Stdio>());
      for (Command::Kept const& kept : from.get<std::vector<Command::Kept>>())
        command = std::move(command).keep_fd(kept.fd, kept.as);
      return command;
    });
  }
};

template <std::same_as<Environment> T>
struct codec<T> {
  static void encode(Encoder& to, Environment const& value) {
    to.put(value.kind());
    to.put(value.names());
  }
  static Environment decode(Decoder& from) {
    auto const kind = detail::kind_from(from, Environment::Kind::only);
    auto names = from.get<std::vector<std::string>>();
    return kind == Environment::Kind::inherit ? Environment::inherit()
           : kind == Environment::Kind::clear ? Environment::clear()
                                              : Environment::only(std::move(names));
  }
};

template <std::same_as<Descriptors> T>
struct codec<T> {
  static void encode(Encoder& to, Descriptors const& value) {
    to.put(value.kind());
    to.put(value.fds());
  }
  static Descriptors decode(Decoder& from) {
    auto const kind = detail::kind_from(from, Descriptors::Kind::only);
    auto fds = from.get<std::vector<int>>();
    return kind == Descriptors::Kind::inherit ? Descriptors::inherit()
           : kind == Descriptors::Kind::none  ? Descriptors::none()
                                              : Descriptors::only(std::move(fds));
  }
};

}  // namespace cloister
