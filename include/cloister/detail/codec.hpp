// How a value crosses from the child to its parent: written field by field, read back with every length and every value checked,
// because the child may be hostile.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <concepts>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../clone_flags.hpp"
#include "../error.hpp"
#include "../exit_status.hpp"

namespace cloister {

// Specialise as true for a type that is right to copy byte by byte to another process: no pointers, no views, no handles in it, and
// valid whatever its bytes are.
template <class T>
inline constexpr bool trivially_transferable = false;

// Specialise for a type of your own that is none of those known here:
//   static void encode(Encoder& to, T const& value);      to.put(field)...
//   static T decode(Decoder& from);                       from.get<Field>()...
template <class T>
struct codec;

// What was read is not what was written: only a child that lies sends that.
class CLOISTER_DETAIL_EXCEPTION MalformedResult : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Encoder {
 public:
  template <class T>
  void put(T const& value) {
    codec<T>::encode(*this, value);
  }
  void bytes(void const* from, std::size_t size) {
    if (long_.empty() && size <= short_.size() - size_) {
      if (size > 0) std::memcpy(short_.data() + size_, from, size);
      size_ += size;
      return;
    }
    if (long_.empty()) long_.assign(short_.data(), size_);
    long_.append(static_cast<char const*>(from), size);
  }
  std::string_view text() const noexcept { return long_.empty() ? std::string_view{short_.data(), size_} : long_; }

 private:
  std::array<char, 256> short_;  // most results fit, and cost no allocation in a process that has just been copied
  std::size_t size_ = 0;
  std::string long_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view text) noexcept : rest_(text) {}

  // Throws MalformedResult if the bytes are no T.
  template <class T>
  T get() {
    // A recursive type could be nested as deep as the message is long, and overflow our stack.
    struct Level {
      int& depth;
      ~Level() { --depth; }
    } const level{++depth_};
    if (depth_ > 256) malformed("it is nested too deep");
    return codec<T>::decode(*this);
  }
  void bytes(void* to, std::size_t size) {
    if (size > rest_.size()) malformed("it ends too early");
    if (size > 0) std::memcpy(to, rest_.data(), size);
    rest_.remove_prefix(size);
  }
  // The number of elements that follow; each takes at least a byte, so a lie cannot make us reserve more than we received.
  std::size_t count() {
    std::uint64_t count = 0;
    bytes(&count, sizeof count);
    if (count > rest_.size()) malformed("it claims more elements than it holds");
    return static_cast<std::size_t>(count);
  }
  std::size_t left() const noexcept { return rest_.size(); }
  void expect_end() const {
    if (!rest_.empty()) malformed("bytes follow it");
  }
  [[noreturn]] static void malformed(char const* why) {
    throw MalformedResult(std::string("cloister: the child's result is malformed: ") + why);
  }

 private:
  std::string_view rest_;
  int depth_ = 0;
};

namespace detail {

template <class T>
inline constexpr bool always_false = false;

// Numbers, of which every pattern of bits is one.
template <class T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

template <class T>
concept Raw = (std::is_arithmetic_v<T> && !std::same_as<T, bool>) || std::is_enum_v<T>;

// Containers that own their elements: a view has no insert.
template <class C>
concept Container = requires(C c, C const& k, typename C::value_type v) {
  c.insert(c.end(), std::move(v));
  k.size();
  k.begin();
  k.end();
} && !std::same_as<typename C::value_type, C>;

template <class T>
struct ElementOf {
  using type = T;
};
template <class K, class V>
struct ElementOf<std::pair<K const, V>> {
  using type = std::pair<K, V>;
};

template <class T>
concept TupleLike = requires { std::tuple_size<T>::value; };

// --- aggregates, taken apart by structured bindings

struct Anything {
  template <class T>
  operator T() const;  // declared only: counts initialisers
};
template <class T, class... Fields>
consteval std::size_t field_count() {
  if constexpr (requires { T{Fields{}..., Anything{}}; })
    return field_count<T, Fields..., Anything>();
  else
    return sizeof...(Fields);
}
inline constexpr std::size_t most_fields = 16;

template <class T, class Visit>
constexpr decltype(auto) visit_fields(T& value, Visit visit) {
  constexpr std::size_t count = field_count<std::remove_const_t<T>>();
  static_assert(count <= most_fields,
                "cloister: an aggregate with more than 16 fields cannot cross to the parent by itself: specialise cloister::codec, or "
                "cloister::trivially_transferable if it holds no pointers");
  if constexpr (count == 0) {
    return visit();
  } else if constexpr (count == 1) {
    auto& [a] = value;
    return visit(a);
  } else if constexpr (count == 2) {
    auto& [a, b] = value;
    return visit(a, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = value;
    return visit(a, b, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = value;
    return visit(a, b, c, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = value;
    return visit(a, b, c, d, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, f] = value;
    return visit(a, b, c, d, e, f);
  } else if constexpr (count == 7) {
    auto& [a, b, c, d, e, f, g] = value;
    return visit(a, b, c, d, e, f, g);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, f, g, h] = value;
    return visit(a, b, c, d, e, f, g, h);
  } else if constexpr (count == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = value;
    return visit(a, b, c, d, e, f, g, h, i);
  } else if constexpr (count == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = value;
    return visit(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (count == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (count == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (count == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (count == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (count == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value;
    return visit(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
}

}  // namespace detail

template <class T>
struct codec {
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::same_as<T, std::nullptr_t>,
                "cloister: a pointer means nothing in another process: return the value that it points to (a std::string for a text)");
  static_assert(!std::is_reference_v<T>,
                "cloister: a reference means nothing in another process: return a value");
  static_assert(std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_reference_v<T> || std::same_as<T, std::nullptr_t> ||
                    trivially_transferable<T> || detail::Raw<T> || std::same_as<T, bool> || detail::Container<T> ||
                    detail::TupleLike<T> || (std::is_aggregate_v<T> && !std::is_array_v<T>),
                "cloister: this type cannot cross from the child to its parent. Values can: numbers, enums, strings, the standard "
                "containers, optional, pair, tuple, variant, durations, and aggregates of these. A view (string_view, span) points "
                "into the child's memory. For a class of your own specialise cloister::codec, or cloister::trivially_transferable "
                "if its bytes are all there is to it");

  static void encode(Encoder& to, T const& value) {
    if constexpr (std::same_as<T, bool>) {
      to.put(static_cast<unsigned char>(value));
    } else if constexpr (trivially_transferable<T> || detail::Raw<T>) {
      static_assert(std::is_trivially_copyable_v<T>, "cloister: trivially_transferable needs a trivially copyable type");
      to.bytes(&value, sizeof value);
    } else if constexpr (detail::Container<T>) {
      to.put(std::uint64_t{value.size()});
      using Element = typename detail::ElementOf<typename T::value_type>::type;
      if constexpr (detail::Number<Element> && requires { value.data(); })
        to.bytes(value.data(), value.size() * sizeof(Element));
      else
        for (auto const& element : value) to.put<Element>(element);
    } else if constexpr (detail::TupleLike<T>) {
      to.put(std::uint8_t{1});  // so that nothing takes a byte in a container too
      std::apply([&](auto const&... parts) { (to.put(parts), ...); }, value);
    } else if constexpr (std::is_aggregate_v<T>) {
      to.put(std::uint8_t{1});  // as above
      detail::visit_fields(value, [&](auto const&... fields) { (to.put(fields), ...); });
    }
  }

  static T decode(Decoder& from) {
    if constexpr (std::same_as<T, bool>) {
      auto const byte = from.get<unsigned char>();
      if (byte > 1) Decoder::malformed("a bool that is neither true nor false");
      return byte == 1;
    } else if constexpr (std::is_enum_v<T>) {
      return static_cast<T>(from.get<std::underlying_type_t<T>>());  // one over bool is checked as a bool
    } else if constexpr (trivially_transferable<T> || detail::Raw<T>) {
      std::array<char, sizeof(T)> bytes;
      from.bytes(bytes.data(), bytes.size());
      return std::bit_cast<T>(bytes);
    } else if constexpr (detail::Container<T>) {
      using Element = typename detail::ElementOf<typename T::value_type>::type;
      T value;
      std::size_t const count = from.count();
      if constexpr (detail::Number<Element> && requires { value.data(); value.resize(count); }) {
        if (count > from.left() / sizeof(Element)) Decoder::malformed("it claims more elements than it holds");
        value.resize(count);
        from.bytes(value.data(), count * sizeof(Element));
      } else {
        for (std::size_t i = 0; i < count; ++i) value.insert(value.end(), from.get<Element>());
      }
      return value;
    } else if constexpr (detail::TupleLike<T>) {
      if (from.get<std::uint8_t>() != 1) Decoder::malformed("a tuple that does not begin as one");
      return decode_parts(from, std::make_index_sequence<std::tuple_size_v<T>>{});
    } else if constexpr (std::is_aggregate_v<T>) {
      if (from.get<std::uint8_t>() != 1) Decoder::malformed("a structure that does not begin as one");
      T value{};
      detail::visit_fields(value, [&](auto&... fields) { ((fields = from.get<std::remove_reference_t<decltype(fields)>>()), ...); });
      return value;
    }
  }

 private:
  // Braces, because they fix the order in which the parts are read.
  template <std::size_t... I>
  static T decode_parts(Decoder& from, std::index_sequence<I...>) {
    return T{from.get<std::remove_cv_t<std::tuple_element_t<I, T>>>()...};
  }
};

template <class T, std::size_t N>
struct codec<std::array<T, N>> {
  static void encode(Encoder& to, std::array<T, N> const& value) {
    for (T const& element : value) to.put(element);
    to.put(std::uint8_t{1});
  }
  static std::array<T, N> decode(Decoder& from) {
    std::array<T, N> value{};
    for (T& element : value) element = from.get<T>();
    if (from.get<std::uint8_t>() != 1) Decoder::malformed("an array that does not end as one");
    return value;
  }
};

template <class T>
struct codec<std::optional<T>> {
  static void encode(Encoder& to, std::optional<T> const& value) {
    to.put(value.has_value());
    if (value) to.put(*value);
  }
  static std::optional<T> decode(Decoder& from) {
    if (!from.get<bool>()) return std::nullopt;
    return from.get<T>();
  }
};

template <>
struct codec<std::monostate> {
  static void encode(Encoder& to, std::monostate) { to.put(std::uint8_t{0}); }
  static std::monostate decode(Decoder& from) {
    (void)from.get<std::uint8_t>();
    return {};
  }
};

template <class... Ts>
struct codec<std::variant<Ts...>> {
  using Variant = std::variant<Ts...>;
  static void encode(Encoder& to, Variant const& value) {
    to.put(static_cast<std::uint32_t>(value.index()));
    std::visit([&](auto const& alternative) { to.put(alternative); }, value);
  }
  static Variant decode(Decoder& from) {
    auto const index = from.get<std::uint32_t>();
    return alternative<0>(from, index);
  }

 private:
  template <std::size_t I>
  static Variant alternative(Decoder& from, std::uint32_t index) {
    if constexpr (I < sizeof...(Ts)) {
      if (index == I) return Variant{std::in_place_index<I>, from.get<std::variant_alternative_t<I, Variant>>()};
      return alternative<I + 1>(from, index);
    } else {
      Decoder::malformed("a variant without that alternative");
    }
  }
};

template <class Rep, class Period>
struct codec<std::chrono::duration<Rep, Period>> {
  using Duration = std::chrono::duration<Rep, Period>;
  static void encode(Encoder& to, Duration const& value) { to.put(value.count()); }
  static Duration decode(Decoder& from) { return Duration{from.get<Rep>()}; }
};
template <class Clock, class Duration>
struct codec<std::chrono::time_point<Clock, Duration>> {
  using TimePoint = std::chrono::time_point<Clock, Duration>;
  static void encode(Encoder& to, TimePoint const& value) { to.put(value.time_since_epoch()); }
  static TimePoint decode(Decoder& from) { return TimePoint{from.get<Duration>()}; }
};

template <>
struct codec<NamespaceType> {
  static void encode(Encoder& to, NamespaceType value) { to.put(static_cast<std::uint8_t>(value)); }
  static NamespaceType decode(Decoder& from) {
    auto const index = from.get<std::uint8_t>();
    if (index >= all_namespace_types.size()) Decoder::malformed("a namespace type that is none");
    return all_namespace_types[index];
  }
};

template <>
struct codec<CloneFlags> {
  static void encode(Encoder& to, CloneFlags value) { to.put(value.bits()); }
  static CloneFlags decode(Decoder& from) {
    try {
      return CloneFlags::from_bits(from.get<std::uint64_t>());
    } catch (std::invalid_argument const&) {
      Decoder::malformed("flags that are no namespace types");
    }
  }
};

template <>
struct codec<ExitStatus> {
  static void encode(Encoder& to, ExitStatus const& value) {
    to.put(value.code());
    to.put(value.signal());
    to.put(value.core_dumped());
  }
  static ExitStatus decode(Decoder& from) {
    auto const code = from.get<std::optional<int>>();
    auto const signal = from.get<std::optional<int>>();
    bool const core_dumped = from.get<bool>();
    return code ? ExitStatus::exited(*code) : signal ? ExitStatus::signaled(*signal, core_dumped) : ExitStatus::unknown();
  }
};

}  // namespace cloister
