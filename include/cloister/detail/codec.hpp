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

// Numbers, of which every pattern of bits is one.
template <class T>
concept Number = std::is_arithmetic_v<T> && !std::same_as<T, bool>;

// Containers that own their elements: a view has no insert.
template <class C>
concept Container = requires(C c, C const& k, typename C::value_type v) {
  c.insert(c.end(), std::move(v));
  k.size();
  k.begin();
  k.end();
} && !std::same_as<typename C::value_type, C>;

template <class C>
concept ForwardList = requires(C c, C const& k, typename C::value_type v) {
  c.insert_after(c.before_begin(), std::move(v));
  k.begin();
  k.end();
};

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

// std::filesystem::path and std::complex, told without the costs of their headers.
template <class T>
concept Path = requires(T const& t) {
  { t.native() } -> std::same_as<std::basic_string<typename T::value_type> const&>;
  T(std::basic_string<typename T::value_type>());
};
template <class T>
concept Complex = Number<typename T::value_type> && requires(T const& t, typename T::value_type v) {
  { t.real() } -> std::same_as<typename T::value_type>;
  { t.imag() } -> std::same_as<typename T::value_type>;
  T(v, v);
};

template <class T>
concept SmartPointer = requires(T const& t) {
  typename T::element_type;
  *t;
  t.get();
};
template <class T>
concept Range = requires(T const& t) {
  t.begin();
  t.end();
};

// --- aggregates, taken apart by structured bindings

// They count initialisers, and are never called: but clang wants a definition where T has no linkage and a member, such as an
// optional, takes them in a constexpr constructor.
struct Anything {
  template <class T>
  operator T() const {
    __builtin_unreachable();
  }
};
struct AnyReference {
  template <class T>
  operator T&() const {
    __builtin_unreachable();
  }
};
template <class Derived>
struct AnyBaseOf {
  template <class T>
  requires(std::is_base_of_v<T, Derived> && !std::is_same_v<T, Derived>) operator T() const {
    __builtin_unreachable();
  }
};
template <class Initialiser, std::size_t>
using At = Initialiser;

template <class... Ts>
struct Fields {
  static constexpr bool has_array = (std::is_array_v<std::remove_reference_t<Ts>> || ...);
};

inline constexpr std::size_t most_fields = 16;

// Whether T takes that many initialisers.
template <class T, class Initialiser, std::size_t... I>
consteval bool takes(std::index_sequence<I...>) {
  return requires { T{At<Initialiser, I>{}...}; };
}
// The largest number that it takes, up to one more than can be taken apart; each element of an array is one.
template <class T, class Initialiser = Anything, std::size_t Least = 0, std::size_t Count = most_fields + 1>
consteval std::size_t initialiser_count() {
  if constexpr (Count == Least || takes<T, Initialiser>(std::make_index_sequence<Count>{}))
    return Count;
  else
    return initialiser_count<T, Initialiser, Least, Count - 1>();
}
template <class T>
consteval bool has_base() {
  return requires { T{AnyBaseOf<T>{}}; };
}

// Whether T takes initialisers of which one stands in braces.
template <class T, std::size_t... Before, std::size_t... After>
consteval bool takes_in_braces(std::index_sequence<Before...>, std::index_sequence<After...>) {
  return requires { T{At<Anything, Before>{}..., {Anything{}}, At<Anything, After>{}...}; };
}
template <class T, std::size_t Index, std::size_t... After>
consteval bool takes_fewer(std::index_sequence<After...>) {
  return (takes_in_braces<T>(std::make_index_sequence<Index>{}, std::make_index_sequence<After>{}) || ...);
}
// Whether the field of that initialiser is an array: in braces it takes the place of several.
template <class T, std::size_t Index, std::size_t Count>
consteval bool is_array_at() {
  constexpr std::make_index_sequence<Count - Index - 1> others;
  if constexpr (takes_in_braces<T>(std::make_index_sequence<Index>{}, others))
    return false;
  else
    return takes_fewer<T, Index>(others);
}
template <class T, std::size_t... I>
consteval bool has_array(std::index_sequence<I...>) {
  return (is_array_at<T, I, sizeof...(I)>() || ...);
}

// Calls `visit` with the declared types of the fields and with the fields, of a T that can be taken apart.
template <class T, class Visit>
constexpr decltype(auto) visit_fields(T const& value, Visit visit) {
  constexpr std::size_t count = initialiser_count<T>();
  if constexpr (count == 0) {
    return visit(Fields<>{});
  } else if constexpr (count == 1) {
    auto& [a] = value;
    return visit(Fields<decltype(a)>{}, a);
  } else if constexpr (count == 2) {
    auto& [a, b] = value;
    return visit(Fields<decltype(a), decltype(b)>{}, a, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c)>{}, a, b, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d)>{}, a, b, c, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e)>{}, a, b, c, d, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, f] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f)>{}, a, b, c, d, e,
                 f);
  } else if constexpr (count == 7) {
    auto& [a, b, c, d, e, f, g] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g)>{}, a,
                 b, c, d, e, f, g);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, f, g, h] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h)>{},
                 a, b, c, d, e, f, g, h);
  } else if constexpr (count == 9) {
    auto& [a, b, c, d, e, f, g, h, i] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i)>{},
                 a, b, c, d, e, f, g, h, i);
  } else if constexpr (count == 10) {
    auto& [a, b, c, d, e, f, g, h, i, j] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j)>{},
                 a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (count == 11) {
    auto& [a, b, c, d, e, f, g, h, i, j, k] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j), decltype(k)>{},
                 a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (count == 12) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j), decltype(k), decltype(l)>{},
                 a, b, c, d, e, f, g, h, i, j, k, l);
  } else if constexpr (count == 13) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j), decltype(k), decltype(l), decltype(m)>{},
                 a, b, c, d, e, f, g, h, i, j, k, l, m);
  } else if constexpr (count == 14) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j), decltype(k), decltype(l), decltype(m), decltype(n)>{},
                 a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (count == 15) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = value;
    return visit(
        Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g), decltype(h),
               decltype(i), decltype(j), decltype(k), decltype(l), decltype(m), decltype(n), decltype(o)>{},
        a, b, c, d, e, f, g, h, i, j, k, l, m, n, o);
  } else if constexpr (count == 16) {
    auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value;
    return visit(Fields<decltype(a), decltype(b), decltype(c), decltype(d), decltype(e), decltype(f), decltype(g),
                        decltype(h), decltype(i), decltype(j), decltype(k), decltype(l), decltype(m), decltype(n),
                        decltype(o), decltype(p)>{},
                 a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
  }
}
struct TypesOnly {
  template <class Types, class... Values>
  constexpr Types operator()(Types types, Values const&...) const {
    return types;
  }
};
template <class T>
using FieldsOf = decltype(visit_fields(std::declval<T const&>(), TypesOnly{}));

// --- what is done with a type, or why nothing can be

enum class Treatment {
  boolean,
  enumeration,
  bytes,
  path,
  complex,
  container,
  forward_list,
  tuple,
  aggregate,
  no_pointer,
  no_reference,
  no_view,
  no_union,
  no_array,
  no_base,
  too_many_fields,
  unknown
};

template <class T>
consteval Treatment treatment_of_aggregate() {
  constexpr std::size_t count = initialiser_count<T>();
  if constexpr (has_base<T>())
    return Treatment::no_base;
  else if constexpr (count > most_fields)
    return Treatment::too_many_fields;
  else if constexpr (initialiser_count<T, AnyReference, count>() > count)
    return Treatment::no_reference;
  else if constexpr (has_array<T>(std::make_index_sequence<count>{}))
    return Treatment::no_array;
  else if constexpr (FieldsOf<T>::has_array)
    return Treatment::no_array;
  else
    return Treatment::aggregate;
}

template <class T>
consteval Treatment treatment() {
  if constexpr (std::is_reference_v<T>)
    return Treatment::no_reference;
  else if constexpr (std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::same_as<T, std::nullptr_t>)
    return Treatment::no_pointer;
  else if constexpr (std::same_as<T, bool>)
    return Treatment::boolean;
  else if constexpr (trivially_transferable<T> || Number<T>)
    return Treatment::bytes;
  else if constexpr (std::is_enum_v<T>)
    return Treatment::enumeration;
  else if constexpr (Path<T>)
    return Treatment::path;
  else if constexpr (Complex<T>)
    return Treatment::complex;
  else if constexpr (Container<T>)
    return Treatment::container;
  else if constexpr (ForwardList<T>)
    return Treatment::forward_list;
  else if constexpr (TupleLike<T>)
    return Treatment::tuple;
  else if constexpr (SmartPointer<T>)
    return Treatment::no_pointer;
  else if constexpr (Range<T>)
    return Treatment::no_view;
  else if constexpr (std::is_union_v<T>)
    return Treatment::no_union;
  else if constexpr (std::is_array_v<T>)
    return Treatment::no_array;
  else if constexpr (std::is_aggregate_v<T>)
    return treatment_of_aggregate<T>();
  else
    return Treatment::unknown;
}

}  // namespace detail

template <class T>
struct codec {
 private:
  using Treatment = detail::Treatment;
  static constexpr Treatment treatment = detail::treatment<T>();

  // Not in the class itself, which would then be incomplete to some compilers and hide the reason among what follows.
  static consteval void explain() {
    static_assert(treatment != Treatment::no_pointer,
                  "cloister: a pointer means nothing in another process: return the value that it points to (a "
                  "std::string for a text)");
    static_assert(treatment != Treatment::no_reference,
                  "cloister: a reference means nothing in another process: return a value");
    static_assert(treatment != Treatment::no_view,
                  "cloister: a view (string_view, span) points into the child's memory: return what owns the elements, "
                  "such as std::string or std::vector");
    static_assert(treatment != Treatment::no_union,
                  "cloister: a union does not tell which of its members is alive: return a std::variant");
    static_assert(treatment != Treatment::no_array,
                  "cloister: an aggregate with a C array in it cannot be taken apart: make it a std::array, or "
                  "specialise cloister::trivially_transferable if the aggregate holds no pointers");
    static_assert(treatment != Treatment::no_base,
                  "cloister: an aggregate with a base class cannot be taken apart: make the base a member, or "
                  "specialise cloister::codec");
    static_assert(
        treatment != Treatment::too_many_fields,
        "cloister: an aggregate with more than 16 fields, each element of a C array being one, cannot be taken "
        "apart: specialise cloister::codec, or cloister::trivially_transferable if it holds no pointers");
    static_assert(treatment != Treatment::unknown,
                  "cloister: this type cannot cross from the child to its parent. Values can: numbers, enums, strings, "
                  "the standard containers, optional, pair, tuple, variant, chrono types, paths, and aggregates of "
                  "these. A handle (a descriptor, a thread, a lock) is its process's own. For a class of your own "
                  "specialise cloister::codec, or cloister::trivially_transferable if its "
                  "bytes are all there is to it");
    static_assert(!trivially_transferable<T> || std::is_trivially_copyable_v<T>,
                  "cloister: trivially_transferable needs a trivially copyable type");
  }

 public:
  static void encode([[maybe_unused]] Encoder& to, [[maybe_unused]] T const& value) {
    explain();
    if constexpr (treatment == Treatment::boolean) {
      to.put(static_cast<unsigned char>(value));
    } else if constexpr (treatment == Treatment::bytes || treatment == Treatment::enumeration) {
      to.bytes(&value, sizeof value);
    } else if constexpr (treatment == Treatment::path) {
      to.put(value.native());
    } else if constexpr (treatment == Treatment::complex) {
      to.put(value.real());
      to.put(value.imag());
    } else if constexpr (treatment == Treatment::container) {
      to.put(std::uint64_t{value.size()});
      using Element = typename detail::ElementOf<typename T::value_type>::type;
      if constexpr (detail::Number<Element> && requires { value.data(); })
        to.bytes(value.data(), value.size() * sizeof(Element));
      else
        for (auto const& element : value) to.put<Element>(element);
    } else if constexpr (treatment == Treatment::forward_list) {
      std::uint64_t count = 0;
      for (auto at = value.begin(); at != value.end(); ++at) ++count;
      to.put(count);
      for (auto const& element : value) to.put(element);
    } else if constexpr (treatment == Treatment::tuple) {
      to.put(std::uint8_t{1});  // so that nothing takes a byte in a container too
      std::apply([&](auto const&... parts) { (to.put(parts), ...); }, value);
    } else if constexpr (treatment == Treatment::aggregate) {
      to.put(std::uint8_t{1});  // as above
      detail::visit_fields(value, [&]<class... Ts>(detail::Fields<Ts...>, auto const&... fields) {
        (to.put<std::remove_cv_t<Ts>>(fields), ...);
      });
    }
  }

  static T decode([[maybe_unused]] Decoder& from) {
    explain();
    if constexpr (treatment == Treatment::boolean) {
      auto const byte = from.get<unsigned char>();
      if (byte > 1) Decoder::malformed("a bool that is neither true nor false");
      return byte == 1;
    } else if constexpr (treatment == Treatment::enumeration) {
      return static_cast<T>(from.get<std::underlying_type_t<T>>());  // one over bool is checked as a bool
    } else if constexpr (treatment == Treatment::bytes) {
      std::array<char, sizeof(T)> bytes;
      from.bytes(bytes.data(), bytes.size());
      return std::bit_cast<T>(bytes);
    } else if constexpr (treatment == Treatment::path) {
      return T{from.get<std::basic_string<typename T::value_type>>()};
    } else if constexpr (treatment == Treatment::complex) {
      return T{from.get<typename T::value_type>(), from.get<typename T::value_type>()};
    } else if constexpr (treatment == Treatment::container) {
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
    } else if constexpr (treatment == Treatment::forward_list) {
      T value;
      auto last = value.before_begin();
      for (std::size_t left = from.count(); left > 0; --left)
        last = value.insert_after(last, from.get<typename T::value_type>());
      return value;
    } else if constexpr (treatment == Treatment::tuple) {
      if (from.get<std::uint8_t>() != 1) Decoder::malformed("a tuple that does not begin as one");
      return decode_parts(from, std::make_index_sequence<std::tuple_size_v<T>>{});
    } else if constexpr (treatment == Treatment::aggregate) {
      if (from.get<std::uint8_t>() != 1) Decoder::malformed("a structure that does not begin as one");
      return decode_fields(from, detail::FieldsOf<T>{});
    } else {
      Decoder::malformed("it is of a type that cannot cross");
    }
  }

 private:
  // Braces, because they fix the order in which the parts are read.
  template <std::size_t... I>
  static T decode_parts(Decoder& from, std::index_sequence<I...>) {
    return T{from.get<std::remove_cv_t<std::tuple_element_t<I, T>>>()...};
  }
  // A bit-field that has been given too much takes its low bits.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
  template <class... Ts>
  static T decode_fields([[maybe_unused]] Decoder& from, detail::Fields<Ts...>) {
    return T{from.get<std::remove_cv_t<Ts>>()...};
  }
#pragma GCC diagnostic pop
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

template <std::same_as<std::monostate> T>
struct codec<T> {
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

template <class Duration>
struct codec<std::chrono::hh_mm_ss<Duration>> {
  using Time = std::chrono::hh_mm_ss<Duration>;
  static void encode(Encoder& to, Time const& value) { to.put(value.to_duration()); }
  static Time decode(Decoder& from) { return Time{from.get<typename Time::precision>()}; }
};
// Those of the calendar hold whatever number they are given: ok() tells whether it is a date.
template <>
inline constexpr bool trivially_transferable<std::chrono::day> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::month> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::weekday> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::weekday_indexed> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::weekday_last> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::month_day> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::month_day_last> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::month_weekday> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::month_weekday_last> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year_month> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year_month_day> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year_month_day_last> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year_month_weekday> = true;
template <>
inline constexpr bool trivially_transferable<std::chrono::year_month_weekday_last> = true;

template <std::same_as<NamespaceType> T>
struct codec<T> {
  static void encode(Encoder& to, NamespaceType value) { to.put(static_cast<std::uint8_t>(value)); }
  static NamespaceType decode(Decoder& from) {
    auto const index = from.get<std::uint8_t>();
    if (index >= all_namespace_types.size()) Decoder::malformed("a namespace type that is none");
    return all_namespace_types[index];
  }
};

template <std::same_as<CloneFlags> T>
struct codec<T> {
  static void encode(Encoder& to, CloneFlags value) { to.put(value.bits()); }
  static CloneFlags decode(Decoder& from) {
    try {
      return CloneFlags::from_bits(from.get<std::uint64_t>());
    } catch (std::invalid_argument const&) {
      Decoder::malformed("flags that are no namespace types");
    }
  }
};

template <std::same_as<ExitStatus> T>
struct codec<T> {
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
