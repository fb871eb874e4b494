// A set of namespace types: what clone(2), unshare(2) and setns(2) all understand.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "namespace_type.hpp"

namespace cloister {

// Namespace types and nothing else: no other option of clone fits in, so every value suits clone, unshare and setns alike.
class [[nodiscard]] CloneFlags {
 public:
  constexpr CloneFlags() noexcept = default;
  constexpr CloneFlags(NamespaceType type) noexcept : set_(bit(type)) {}  // NOLINT(google-explicit-constructor): a set of one

  static constexpr CloneFlags all() noexcept {
    CloneFlags flags;
    flags.set_ = 0xff;
    return flags;
  }

  // From the CLONE_NEW* bits of <sched.h>. Throws std::invalid_argument if any other bit is set.
  static constexpr CloneFlags from_bits(std::uint64_t bits) {
    CloneFlags flags;
    for (NamespaceType type : all_namespace_types) {
      std::uint64_t const flag = detail::facts(type).clone_flag;
      if (bits & flag) flags.set_ = static_cast<std::uint8_t>(flags.set_ | bit(type));
      bits &= ~flag;
    }
    if (bits != 0) throw std::invalid_argument("cloister: CloneFlags::from_bits takes CLONE_NEW* bits only");
    return flags;
  }

  // Names separated by ',' or '|', as to_string writes them and people type them; "all" and "" are sets too.
  // Throws std::invalid_argument that names the word it does not know.
  static constexpr CloneFlags parse(std::string_view text) {
    CloneFlags flags;
    while (!text.empty()) {
      std::size_t const end = text.find_first_of(",|");
      std::string_view const word = text.substr(0, end);
      flags = flags | (word == "all" ? all() : CloneFlags{parse_namespace_type(word)});
      if (end == std::string_view::npos) break;
      text.remove_prefix(end + 1);
      if (text.empty()) throw std::invalid_argument("cloister: CloneFlags::parse: a name is missing at the end");
    }
    return flags;
  }

  // The CLONE_NEW* bits, for clone, unshare or setns by hand.
  constexpr std::uint64_t bits() const noexcept {
    std::uint64_t bits = 0;
    for (NamespaceType type : *this) bits |= detail::facts(type).clone_flag;
    return bits;
  }

  constexpr bool contains(CloneFlags part) const noexcept { return (set_ & part.set_) == part.set_; }
  constexpr bool empty() const noexcept { return set_ == 0; }
  // A builtin, because <bit> is dear to a file that needs little else.
  constexpr std::size_t size() const noexcept { return static_cast<std::size_t>(__builtin_popcount(set_)); }

  friend constexpr CloneFlags operator|(CloneFlags a, CloneFlags b) noexcept { return from_set(a.set_ | b.set_); }
  friend constexpr CloneFlags operator&(CloneFlags a, CloneFlags b) noexcept { return from_set(a.set_ & b.set_); }
  friend constexpr CloneFlags operator-(CloneFlags a, CloneFlags b) noexcept { return from_set(a.set_ & ~b.set_); }
  constexpr CloneFlags& operator|=(CloneFlags other) noexcept { return *this = *this | other; }
  constexpr CloneFlags& operator&=(CloneFlags other) noexcept { return *this = *this & other; }
  constexpr CloneFlags& operator-=(CloneFlags other) noexcept { return *this = *this - other; }
  friend constexpr bool operator==(CloneFlags, CloneFlags) noexcept = default;

  // Goes over the types of the set in the order of the alphabet.
  class iterator {
   public:
    using value_type = NamespaceType;
    using difference_type = std::ptrdiff_t;
    constexpr iterator() noexcept = default;
    constexpr NamespaceType operator*() const noexcept { return static_cast<NamespaceType>(__builtin_ctz(rest_)); }
    constexpr iterator& operator++() noexcept {
      rest_ = static_cast<std::uint8_t>(rest_ & (rest_ - 1));
      return *this;
    }
    constexpr iterator operator++(int) noexcept {
      iterator const before = *this;
      ++*this;
      return before;
    }
    friend constexpr bool operator==(iterator, iterator) noexcept = default;

   private:
    friend class CloneFlags;
    constexpr explicit iterator(std::uint8_t rest) noexcept : rest_(rest) {}
    std::uint8_t rest_ = 0;
  };
  constexpr iterator begin() const noexcept { return iterator{set_}; }
  constexpr iterator end() const noexcept { return iterator{}; }

 private:
  static constexpr std::uint8_t bit(NamespaceType type) noexcept {
    return static_cast<std::uint8_t>(1u << static_cast<unsigned>(type));
  }
  static constexpr CloneFlags from_set(int set) noexcept {
    CloneFlags flags;
    flags.set_ = static_cast<std::uint8_t>(set);
    return flags;
  }
  std::uint8_t set_ = 0;
};

constexpr CloneFlags operator|(NamespaceType a, NamespaceType b) noexcept { return CloneFlags{a} | CloneFlags{b}; }

// "ipc|pid|uts"; empty for the empty set. CloneFlags::parse reads it back.
inline std::string to_string(CloneFlags flags) {
  std::string text;
  for (NamespaceType type : flags) {
    if (!text.empty()) text += '|';
    text += to_string(type);
  }
  return text;
}

}  // namespace cloister
