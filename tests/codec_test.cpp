#include <cloister/detail/codec.hpp>
#include <cloister/exit_status.hpp>
#include <cloister/namespace_id.hpp>
#include <cloister/run.hpp>
#include <cmath>
#include <complex>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <limits>
#include <list>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "caught.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
using cloister::CloneFlags, cloister::codec, cloister::Decoder, cloister::Encoder, cloister::ExitStatus,
    cloister::MalformedResult, cloister::NamespaceId, cloister::NamespaceType;

// --- Types that cross

namespace {

enum class Colour : std::uint16_t { red, green = 500 };
enum Plain { one_thing, another };
enum class Truth : bool { no, yes };

struct Maybe {
  std::optional<Colour> colour;
  friend bool operator==(Maybe const&, Maybe const&) = default;
};
struct None {
  friend bool operator==(None const&, None const&) = default;
};
struct One {
  int a;
  friend bool operator==(One const&, One const&) = default;
};
struct Point {
  int x, y;
  friend bool operator==(Point const&, Point const&) = default;
};
struct F3 {
  char a;
  std::string b;
  double c;
  friend bool operator==(F3 const&, F3 const&) = default;
};
struct F4 {
  int a, b, c, d;
  friend bool operator==(F4 const&, F4 const&) = default;
};
struct F5 {
  int a, b, c, d, e;
  friend bool operator==(F5 const&, F5 const&) = default;
};
struct F6 {
  int a, b, c, d, e, f;
  friend bool operator==(F6 const&, F6 const&) = default;
};
struct F7 {
  int a, b, c, d, e, f, g;
  friend bool operator==(F7 const&, F7 const&) = default;
};
struct F8 {
  int a, b, c, d, e, f, g, h;
  friend bool operator==(F8 const&, F8 const&) = default;
};
struct F9 {
  int a, b, c, d, e, f, g, h, i;
  friend bool operator==(F9 const&, F9 const&) = default;
};
struct F10 {
  int a, b, c, d, e, f, g, h, i, j;
  friend bool operator==(F10 const&, F10 const&) = default;
};
struct F11 {
  int a, b, c, d, e, f, g, h, i, j, k;
  friend bool operator==(F11 const&, F11 const&) = default;
};
struct F12 {
  int a, b, c, d, e, f, g, h, i, j, k, l;
  friend bool operator==(F12 const&, F12 const&) = default;
};
struct F13 {
  int a, b, c, d, e, f, g, h, i, j, k, l, m;
  friend bool operator==(F13 const&, F13 const&) = default;
};
struct F14 {
  int a, b, c, d, e, f, g, h, i, j, k, l, m, n;
  friend bool operator==(F14 const&, F14 const&) = default;
};
struct F15 {
  int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o;
  friend bool operator==(F15 const&, F15 const&) = default;
};
struct F16 {
  int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p;
  friend bool operator==(F16 const&, F16 const&) = default;
};

// Each field is of a kind that initialisers are easily miscounted by.
struct Everything {
  bool flag = false;
  Colour colour{};
  std::string text{};
  std::optional<std::string> maybe_text{};
  std::optional<int> maybe_number{};
  std::variant<std::monostate, int, std::string> either{};
  std::vector<Point> points{};
  std::map<std::string, std::vector<int>> map{};
  std::array<short, 3> three{};
  std::pair<int, std::string> pair{};
  std::tuple<long> alone{};
  std::tuple<> nothing{};
  None none{};
  CloneFlags flags{};
  ExitStatus status{};
  std::chrono::milliseconds time{};
  friend bool operator==(Everything const&, Everything const&) = default;
};

// What cannot be assigned to, or made of nothing.
struct Fixed {
  int const number;
  std::string const text;
  cloister::IdMap ids;
  friend bool operator==(Fixed const&, Fixed const&) = default;
};
struct Bits {
  unsigned few : 3;
  bool flag : 1;
  friend bool operator==(Bits const&, Bits const&) = default;
};

struct Tree {
  int value = 0;
  std::vector<Tree> children{};
  friend bool operator==(Tree const&, Tree const&) = default;
};

struct Packed {
  explicit Packed(std::uint64_t b) : bits(b) {}
  std::uint64_t bits;
  friend bool operator==(Packed const&, Packed const&) = default;
};

class Celsius {
 public:
  explicit Celsius(double degrees) : degrees_(degrees) {}
  double degrees() const { return degrees_; }
  friend bool operator==(Celsius const&, Celsius const&) = default;

 private:
  double degrees_;
};

}  // namespace

template <>
inline constexpr bool cloister::trivially_transferable<Packed> = true;

template <>
struct cloister::codec<Celsius> {
  static void encode(Encoder& to, Celsius const& value) { to.put(value.degrees()); }
  static Celsius decode(Decoder& from) { return Celsius{from.get<double>()}; }
};

// --- Helpers

namespace {

template <class T>
std::string encoded(T const& value) {
  Encoder encoder;
  encoder.put(value);
  return std::string{encoder.text()};
}

template <class T>
T decoded(std::string_view bytes) {
  Decoder decoder{bytes};
  T value = decoder.get<T>();
  decoder.expect_end();
  return value;
}

template <class T>
bool survives(T const& value) {
  return decoded<T>(encoded(value)) == value;
}

// What a lying child gets to hear, without the part that is always the same; empty if it was believed.
template <class T>
std::string refusal(std::string_view bytes) {
  std::string const start = "cloister: the child's result is malformed: ";
  try {
    (void)decoded<T>(bytes);
  } catch (MalformedResult const& error) {
    std::string const text = error.what();
    return text.compare(0, start.size(), start) == 0 ? text.substr(start.size()) : "not our words: " + text;
  }
  return {};
}

std::string number(std::uint64_t count) {
  std::string bytes(sizeof count, '\0');
  std::memcpy(bytes.data(), &count, sizeof count);
  return bytes;
}

constexpr std::uint64_t huge = std::uint64_t{1} << 60;
std::string const too_early = "it ends too early";
std::string const too_many = "it claims more elements than it holds";

// Neither cut off anywhere nor with a byte more is it a value, and with any one byte changed it is a value or refused.
template <class T>
void attack(T const& value) {
  std::string const good = encoded(value);
  for (std::size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK(refusal<T>(good.substr(0, size)) != "");
  }
  CHECK(refusal<T>(good + '\0') == "bytes follow it");
  for (std::size_t at = 0; at < good.size(); ++at)
    for (int const byte : {0, 1, 2, 0x7f, 0x80, 200, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(byte);
      CAPTURE(at);
      CAPTURE(byte);
      CHECK_NOTHROW((void)refusal<T>(bad));
    }
}

Everything everything() {
  return {.flag = true,
          .colour = Colour::green,
          .text = "text\0with a NUL"s,
          .maybe_text = "",
          .maybe_number = std::nullopt,
          .either = "either",
          .points = {{1, 2}, {-3, 4}},
          .map = {{"a", {1, 2}}, {"", {}}},
          .three = {7, 8, 9},
          .pair = {5, "five"},
          .alone = {6},
          .none = {},
          .flags = NamespaceType::user | NamespaceType::pid,
          .status = ExitStatus::signaled(9, true),
          .time = 1500ms};
}

Tree chain(int depth) {
  Tree tree;
  for (int i = 0; i < depth; ++i) {
    std::vector<Tree> children;
    children.push_back(std::move(tree));
    tree = Tree{i, std::move(children)};
  }
  return tree;
}

}  // namespace

// --- Round trips

TEST_CASE("numbers of every size and kind survive, at their limits too") {
  auto const limits = [](auto zero) {
    using T = decltype(zero);
    using Limits = std::numeric_limits<T>;
    return survives(Limits::min()) && survives(Limits::max()) && survives(Limits::lowest()) && survives(T{});
  };
  CHECK(limits(char{}));
  CHECK(limits(std::int8_t{}));
  CHECK(limits(std::uint8_t{}));
  CHECK(limits(std::int16_t{}));
  CHECK(limits(std::uint16_t{}));
  CHECK(limits(std::int32_t{}));
  CHECK(limits(std::uint32_t{}));
  CHECK(limits(std::int64_t{}));
  CHECK(limits(std::uint64_t{}));
  CHECK(limits(float{}));
  CHECK(limits(double{}));
  CHECK(limits(static_cast<long double>(0)));
  CHECK(limits(wchar_t{}));
  CHECK(limits(char8_t{}));
  CHECK(limits(char32_t{}));
  CHECK(survives(true));
  CHECK(survives(false));
  CHECK(std::isnan(decoded<double>(encoded(std::numeric_limits<double>::quiet_NaN()))));
  CHECK(std::signbit(decoded<double>(encoded(-0.0))));
}

TEST_CASE("enumerations survive") {
  CHECK(survives(Colour::green));
  CHECK(survives(another));
  CHECK(survives(Truth::yes));
  CHECK(survives(std::byte{200}));
  for (NamespaceType const type : cloister::all_namespace_types) CHECK(survives(type));
}

TEST_CASE("strings survive, whatever is in them and however long they are") {
  for (std::size_t const size : {0u, 1u, 247u, 248u, 249u, 255u, 256u, 257u, 1000u, 1'000'000u}) {
    CAPTURE(size);
    CHECK(survives(std::string(size, 'x')));
    CHECK(survives(std::vector<std::string>{"before", std::string(size, 'x'), "", "after"}));
  }
  CHECK(survives("a\0b\xff"s));
  CHECK(survives(std::wstring{L"wide \u20ac"}));
  CHECK(survives(std::u8string{u8"\u20ac"}));
  CHECK(survives(std::u32string{U"\U0001f40c"}));
}

TEST_CASE("the standard containers survive") {
  CHECK(survives(std::vector<int>{}));
  CHECK(survives(std::vector<int>{1, -2, 3}));
  CHECK(survives(std::vector<double>(100'000, 0.5)));
  CHECK(survives(std::vector<std::string>{"a", "", "c"}));
  CHECK(survives(std::vector<std::vector<std::vector<int>>>{{{1}, {}}, {}, {{2, 3}}}));
  CHECK(survives(std::deque<int>{1, 2, 3}));
  CHECK(survives(std::list<std::string>{"x", "y"}));
  CHECK(survives(std::set<int>{3, 1, 2}));
  CHECK(survives(std::multiset<int>{3, 1, 3}));
  CHECK(survives(std::unordered_set<std::string>{"a", "b"}));
  CHECK(survives(std::map<std::string, int>{{"k", 1}, {"l", 2}}));
  CHECK(survives(std::map<int, std::map<int, std::string>>{{1, {{2, "deep"}}}, {3, {}}}));
  CHECK(survives(std::multimap<int, int>{{1, 1}, {1, 2}}));
  CHECK(survives(std::unordered_map<int, std::string>{{1, "one"}, {2, "two"}}));
  CHECK(survives(std::array<int, 3>{1, 2, 3}));
  CHECK(survives(std::array<std::string, 2>{"a", "b"}));
  CHECK(survives(std::array<int, 0>{}));
  CHECK(survives(std::vector<std::array<int, 0>>(3)));
}

TEST_CASE("a list with links in one direction survives, in its order") {
  CHECK(survives(std::forward_list<int>{}));
  CHECK(survives(std::forward_list<int>{3, 1, 2}));
  CHECK(survives(std::forward_list<std::string>{"a", "", "b"}));
}

TEST_CASE("complex numbers and paths survive, of which the library includes no header") {
  CHECK(survives(std::complex<double>{1.5, -2}));
  CHECK(survives(std::vector<std::complex<float>>{{1, 2}, {3, 4}}));
  CHECK(survives(std::filesystem::path{}));
  CHECK(survives(std::filesystem::path{"/a/../b c/\xff"}));
  CHECK(survives(std::map<std::filesystem::path, int>{{"/etc", 1}, {"relative", 2}}));
}

TEST_CASE("a vector of bool survives, though its elements are none") {
  CHECK(survives(std::vector<bool>{}));
  CHECK(survives(std::vector<bool>{true, false, true, true, false, false, true, true, true}));
}

TEST_CASE("optional, pair, tuple and variant survive") {
  CHECK(survives(std::optional<int>{}));
  CHECK(survives(std::optional<int>{0}));
  CHECK(survives(std::optional<bool>{false}));
  CHECK(survives(std::pair{1, "one"s}));
  CHECK(survives(std::tuple{}));
  CHECK(survives(std::tuple{1}));
  CHECK(survives(std::tuple{1, 2.5, std::vector<int>{1, 2}, "x"s}));
  using Variant = std::variant<int, std::string, int, std::monostate>;
  CHECK(survives(Variant{std::in_place_index<0>, 5}));
  CHECK(survives(Variant{std::in_place_index<2>, 5}));
  CHECK(survives(Variant{"text"}));
  CHECK(survives(Variant{std::monostate{}}));
}

TEST_CASE("an optional of nothing is not nothing") {
  using Nested = std::optional<std::optional<int>>;
  CHECK(survives(Nested{}));
  CHECK(survives(Nested{std::optional<int>{}}));
  CHECK(survives(Nested{5}));
}

TEST_CASE("containers of what takes no room survive") {
  CHECK(survives(std::vector<None>(3)));
  CHECK(survives(std::vector<std::monostate>(3)));
  CHECK(survives(std::vector<std::tuple<>>(3)));
}

TEST_CASE("durations and points in time survive") {
  CHECK(survives(-5ns));
  CHECK(survives(std::chrono::duration<double, std::ratio<60>>{1.5}));
  CHECK(survives(std::chrono::system_clock::now()));
  CHECK(survives(std::chrono::steady_clock::now()));
  CHECK(survives(std::chrono::sys_days{std::chrono::days{19'000}}));
}

TEST_CASE("dates and times of day survive, also those that there are not") {
  using namespace std::chrono;
  CHECK(survives(2024y / February / 29));
  CHECK(survives(2023y / February / 29));
  CHECK(survives(year_month_day{}));
  CHECK(survives(day{31}));
  CHECK(survives(December));
  CHECK(survives(year::min()));
  CHECK(survives(Sunday));
  CHECK(survives(Monday[3]));
  CHECK(survives(Monday[last]));
  CHECK(survives(June / 5));
  CHECK(survives(June / last));
  CHECK(survives(June / Monday[1]));
  CHECK(survives(June / Monday[last]));
  CHECK(survives(2024y / June));
  CHECK(survives(2024y / June / last));
  CHECK(survives(2024y / June / Monday[1]));
  CHECK(survives(2024y / June / Monday[last]));
  hh_mm_ss const before{-(3h + 4min + 5s + 6ms)};
  hh_mm_ss const after = decoded<hh_mm_ss<milliseconds>>(encoded(before));
  CHECK(after.to_duration() == before.to_duration());
  CHECK(after.is_negative());
}

TEST_CASE("aggregates survive field by field, from none to sixteen") {
  CHECK(survives(None{}));
  CHECK(survives(One{1}));
  CHECK(survives(Point{1, 2}));
  CHECK(survives(F3{'a', "b", 2.5}));
  CHECK(survives(F4{1, 2, 3, 4}));
  CHECK(survives(F5{1, 2, 3, 4, 5}));
  CHECK(survives(F6{1, 2, 3, 4, 5, 6}));
  CHECK(survives(F7{1, 2, 3, 4, 5, 6, 7}));
  CHECK(survives(F8{1, 2, 3, 4, 5, 6, 7, 8}));
  CHECK(survives(F9{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  CHECK(survives(F10{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  CHECK(survives(F11{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  CHECK(survives(F12{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  CHECK(survives(F13{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}));
  CHECK(survives(F14{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}));
  CHECK(survives(F15{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}));
  CHECK(survives(F16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
  CHECK(survives(std::vector<Point>{{1, 2}, {3, 4}}));
  CHECK(survives(std::map<std::string, F3>{{"k", {'a', "b", 2.5}}}));
}

TEST_CASE("an aggregate of a field of every kind survives") {
  CHECK(survives(Everything{}));
  CHECK(survives(everything()));
}

TEST_CASE("an aggregate survives that holds an optional of a type without linkage") {
  CHECK(survives(Maybe{Colour::green}));
  CHECK(survives(Maybe{std::nullopt}));
}

TEST_CASE("an aggregate survives whose fields can be made but not assigned to") {
  CHECK(survives(Fixed{1, "text", cloister::IdMap::root()}));
  CHECK(survives(Bits{5, true}));
}

TEST_CASE("a type that contains itself survives") {
  CHECK(survives(Tree{1, {{2, {{3, {}}}}, {4, {}}}}));
  CHECK(survives(chain(100)));
}

TEST_CASE("the library's own values survive") {
  CHECK(survives(CloneFlags{}));
  CHECK(survives(CloneFlags::all()));
  CHECK(survives(ExitStatus::exited(3)));
  CHECK(survives(ExitStatus::signaled(11, true)));
  CHECK(decoded<ExitStatus>(encoded(ExitStatus::signaled(11, true))).core_dumped());
  CHECK(survives(ExitStatus::unknown()));
  NamespaceId const id = decoded<NamespaceId>(encoded(NamespaceId{NamespaceType::uts, 4, 5, 6}));
  CHECK(id == NamespaceId{NamespaceType::uts, 4, 5, 6});
  CHECK(id.id == 6);
  CHECK(survives(cloister::ClockOffsets{.monotonic = -5ns, .boottime = 7s}));
  CHECK(survives(cloister::IdRange{1, 2, 3}));
  CHECK(survives(cloister::Output{.status = ExitStatus::exited(1), .out = "o", .err = "e", .timed_out = true}));
}

namespace {

cloister::IdMap some_map() { return cloister::IdMap::ranges({{0, 100000, 10}, {10, 7}}, {{5, 5, 2}}).as(3, 6); }
cloister::Command some_command() {
  return cloister::Command{"sh", "-c", "exit 3"}
      .env("A", "b=c")
      .env("EMPTY", "")
      .cwd("/tmp")
      .stdio({.in = cloister::Redirect::descriptor(7), .err = cloister::Redirect::to_out()})
      .keep_fd(5)
      .keep_fd(6, 9);
}

}  // namespace

TEST_CASE("the library's descriptions survive with all that they hold") {
  for (cloister::IdMap const& map : {cloister::IdMap::self(), cloister::IdMap::root().as(1, 2), some_map()})
    CHECK(survives(map));
  using cloister::Redirect;
  for (Redirect const& stream : {Redirect{}, Redirect::inherit(), Redirect::null(), Redirect::pipe(),
                                 Redirect::descriptor(9), Redirect::to_out()})
    CHECK(survives(stream));
  CHECK(survives(some_command()));
  CHECK(survives(std::vector<cloister::Command>{cloister::Command{"true"}, some_command()}));
  for (cloister::Environment const& one :
       {cloister::Environment::inherit(), cloister::Environment::clear(), cloister::Environment::only({"A", "B"})})
    CHECK(survives(one));
  for (cloister::Descriptors const& one :
       {cloister::Descriptors::inherit(), cloister::Descriptors::none(), cloister::Descriptors::only({4, 5})})
    CHECK(survives(one));
  CHECK(survives(cloister::Session::fresh));
  CHECK(survives(cloister::namespaces_of(::getpid())));
  CHECK(survives(cloister::ProcessNamespaces{}));
}

TEST_CASE("they come back from a real child as they were there") {
  using cloister::run;
  CHECK(run({}, some_map) == some_map());
  CHECK(run({}, some_command) == some_command());
  CHECK(run({}, [] { return cloister::namespaces_of(::getpid()); }) == cloister::namespaces_of(::getpid()));
  CHECK(run({}, [] {
          return run({}, cloister::Command{"sh", "-c", "echo out; exit 3"});
        }) == cloister::Output{.status = ExitStatus::exited(3), .out = "out\n"});
  CHECK(run({}, [] { return cloister::namespaces_of(::getpid())[NamespaceType::uts]; }) ==
        cloister::namespaces_of(::getpid())[NamespaceType::uts]);
  CHECK(run({}, [] { return CloneFlags::all(); }) == CloneFlags::all());
  CHECK(run({}, [] { return NamespaceType::net; }) == NamespaceType::net);
  CHECK(run({}, [] { return ExitStatus::signaled(9); }) == ExitStatus::signaled(9));
  CHECK(run({}, [] { return cloister::ClockOffsets{.boottime = 7s}; }) == cloister::ClockOffsets{.boottime = 7s});
  CHECK(run({}, [] { return std::filesystem::current_path(); }) == std::filesystem::current_path());
  CHECK(run({}, [] { return std::complex<double>{1, 2}; }) == std::complex<double>{1, 2});
  CHECK(run({}, [] { return std::forward_list<int>{1, 2}; }) == std::forward_list<int>{1, 2});
  CHECK(run({}, [] { return std::chrono::year{2024} / 2 / 29; }).ok());
  CHECK(run({}, [] { return Fixed{1, "text", some_map()}; }) == Fixed{1, "text", some_map()});
}

TEST_CASE("a type that says that its bytes are all there is to it survives") {
  CHECK(survives(Packed{0x0123456789abcdef}));
  CHECK(survives(std::vector<Packed>{Packed{1}, Packed{2}}));
}

TEST_CASE("a type with a codec of its own survives, also inside others") {
  CHECK(survives(Celsius{36.6}));
  CHECK(survives(std::vector<Celsius>{Celsius{1}, Celsius{2}}));
  CHECK(survives(std::map<std::string, Celsius>{{"a", Celsius{1}}}));
  CHECK(survives(std::optional<Celsius>{Celsius{3}}));
}

// --- Lies

TEST_CASE("what is cut off, too long or changed in one byte is refused or a value, and nothing worse") {
  attack(0x0102030405060708);
  attack(true);
  attack("some text"s);
  attack(std::vector<int>{1, 2, 3});
  attack(std::vector<bool>{true, false});
  attack(std::vector<std::string>{"a", "bc"});
  attack(std::map<std::string, int>{{"k", 1}, {"l", 2}});
  attack(std::unordered_map<int, std::string>{{1, "one"}});
  attack(std::list<std::optional<int>>{1, std::nullopt});
  attack(std::variant<int, std::string>{"v"});
  attack(std::array<int, 2>{1, 2});
  attack(std::array<int, 0>{});
  attack(std::tuple{1, "x"s});
  attack(Point{1, 2});
  attack(None{});
  attack(5s);
  attack(CloneFlags::all());
  attack(ExitStatus::exited(1));
  attack(Packed{7});
  attack(Celsius{7});
  attack(Tree{1, {{2, {}}}});
  attack(everything());
  attack(std::forward_list<std::string>{"a", "bc"});
  attack(std::complex<float>{1, 2});
  attack(std::filesystem::path{"/a/b"});
  attack(std::chrono::year{2024} / 2 / 29);
  attack(std::chrono::hh_mm_ss{90s});
  attack(Fixed{1, "x", cloister::IdMap::self()});
  attack(Bits{5, true});
  attack(some_map());
  attack(some_command());
  attack(cloister::Environment::only({"A"}));
  attack(cloister::Descriptors::only({4}));
  attack(cloister::namespaces_of(::getpid()));
}

TEST_CASE("nothing at all is no value") {
  CHECK(refusal<int>("") == too_early);
  CHECK(refusal<std::string>("") == too_early);
  CHECK(refusal<std::vector<int>>("") == too_early);
  CHECK(refusal<Point>("") == too_early);
  CHECK(refusal<std::optional<int>>("") == too_early);
}

TEST_CASE("a container that claims more than it holds is refused before memory is taken for it") {
  CHECK(refusal<std::string>(number(huge)) == too_many);
  CHECK(refusal<std::string>(number(~std::uint64_t{0})) == too_many);
  CHECK(refusal<std::string>(number(3) + "ab") == too_many);
  CHECK(refusal<std::vector<int>>(number(huge) + "abcd") == too_many);
  CHECK(refusal<std::vector<std::uint64_t>>(number(4) + "12345678") == too_many);
  CHECK(refusal<std::vector<std::uint64_t>>(number(huge / 4) + "12345678") == too_many);  // times 8 it is 0
  CHECK(refusal<std::vector<std::string>>(number(huge) + "abcd") == too_many);
  CHECK(refusal<std::vector<bool>>(number(huge) + "\1\1") == too_many);
  CHECK(refusal<std::map<int, int>>(number(huge)) == too_many);
  CHECK(refusal<std::list<None>>(number(huge) + "\1") == too_many);
  CHECK(refusal<std::vector<std::tuple<>>>(number(huge)) != "");
  CHECK(refusal<std::vector<std::string>>(number(2) + number(huge) + "abcd") == too_many);
}

TEST_CASE("a bool is 0 or 1, wherever it is") {
  std::string const neither = "a bool that is neither true nor false";
  CHECK(refusal<bool>("\xc8") == neither);
  CHECK(refusal<bool>("\2") == neither);
  CHECK(refusal<Truth>("\xc8") == neither);
  CHECK(refusal<std::optional<int>>("\2") == neither);
  CHECK(refusal<std::vector<bool>>(number(2) + "\1\2") == neither);
  CHECK(refusal<std::pair<bool, bool>>("\1\xff") == neither);
  CHECK(refusal<std::array<bool, 2>>("\1\xff\1") == neither);
}

TEST_CASE("an enumeration over bool is 0 or 1 in a container too") {
  std::string const neither = "a bool that is neither true nor false";
  CHECK(refusal<std::vector<Truth>>(number(2) + "\1\xc8") == neither);
  CHECK(refusal<std::list<Truth>>(number(2) + "\1\xc8") == neither);
  CHECK(refusal<std::array<Truth, 2>>("\1\xc8\1") == neither);
}

TEST_CASE("a namespace type that is none of the eight is refused: it would index an array") {
  CHECK(refusal<NamespaceType>("\x08") != "");
  CHECK(refusal<NamespaceType>("\xc8") != "");
  CHECK(refusal<std::vector<NamespaceType>>(number(2) + "\1\xc8") != "");
  std::string id = encoded(NamespaceId{NamespaceType::uts, 4, 5, 6});
  id[1] = '\x7f';
  CHECK(refusal<NamespaceId>(id) != "");
}

TEST_CASE("a description is refused that its own checks would refuse, or that is of no kind") {
  std::string const by_its_checks = "a value that its own checks refuse";
  std::string const no_kind = "a kind that there is none of";
  using cloister::Command, cloister::IdMap, cloister::IdRange, cloister::ProcessNamespaces;
  using Ranges = std::vector<IdRange>;
  using Inside = std::optional<std::pair<std::uint32_t, std::uint32_t>>;
  auto const map = [](int kind, Ranges const& ranges, Inside const& inside) {
    return encoded(static_cast<std::uint8_t>(kind)) + encoded(ranges) + encoded(ranges) + encoded(inside);
  };
  CHECK(refusal<IdMap>(map(2, {{0, 5, 1}}, {{0, 0}})) == "");
  CHECK(refusal<IdMap>(map(2, {{0, 5, 1}}, {{1, 0}})) == by_its_checks);
  CHECK(refusal<IdMap>(map(2, {{0, 5, 2}, {1, 9, 1}}, {})) == by_its_checks);
  CHECK(refusal<IdMap>(map(2, {}, {})) == by_its_checks);
  CHECK(refusal<IdMap>(map(4, {}, {})) == no_kind);
  auto const command = [](std::vector<std::string> const& words, std::string const& variable,
                          cloister::Stdio const& streams, std::vector<Command::Kept> const& kept) {
    return encoded(words) + encoded(std::vector{std::pair{variable, "x"s}}) + encoded(std::optional{"/"s}) +
           encoded(streams) + encoded(kept);
  };
  CHECK(refusal<Command>(command({"a"}, "A", {}, {{3, 3}})) == "");
  CHECK(refusal<Command>(command({}, "A", {}, {})) == by_its_checks);
  CHECK(refusal<Command>(command({"a\0b"s}, "A", {}, {})) == by_its_checks);
  CHECK(refusal<Command>(command({"a"}, "A=", {}, {})) == by_its_checks);
  CHECK(refusal<Command>(command({"a"}, "A", {.in = cloister::Redirect::to_out()}, {})) == by_its_checks);
  CHECK(refusal<Command>(command({"a"}, "A", {}, {{3, 2}})) == by_its_checks);
  CHECK(refusal<Command>(command({"a"}, "A", {}, {{-1, 3}})) == by_its_checks);
  CHECK(refusal<cloister::Redirect>("\6" + encoded(3)) == no_kind);
  CHECK(refusal<cloister::Environment>("\3" + number(0)) == no_kind);
  CHECK(refusal<cloister::Descriptors>("\3" + number(0)) == no_kind);
  CHECK(refusal<ProcessNamespaces>(encoded(CloneFlags{NamespaceType::uts}) +
                                   encoded(NamespaceId{NamespaceType::net, 1, 2, 0})) == "a namespace of another type");
}

TEST_CASE("a variant has only the alternatives that it has") {
  using Variant = std::variant<int, std::string>;
  std::string bytes = encoded(Variant{5});
  bytes[0] = 99;
  CHECK(refusal<Variant>(bytes) == "a variant without that alternative");
  bytes[0] = 2;
  CHECK(refusal<Variant>(bytes) == "a variant without that alternative");
  CHECK(refusal<Variant>("\xff\xff\xff\xff") == "a variant without that alternative");
}

TEST_CASE("flags that are no namespace types are refused") {
  CHECK(refusal<CloneFlags>(number(1)) == "flags that are no namespace types");
  CHECK(refusal<CloneFlags>(number(~std::uint64_t{0})) == "flags that are no namespace types");
}

TEST_CASE("an exit status cannot be two things") {
  std::string const bytes = encoded(std::optional<int>{3}) + encoded(std::optional<int>{9}) + encoded(true);
  ExitStatus const status = decoded<ExitStatus>(bytes);
  CHECK((status.code().has_value() != status.signal().has_value()));
}

TEST_CASE("an aggregate and an array begin or end as such") {
  CHECK(refusal<None>("\2") == "a structure that does not begin as one");
  CHECK(refusal<Point>(std::string("\0", 1) + number(0)) == "a structure that does not begin as one");
  CHECK(refusal<std::array<char, 2>>("ab\2") == "an array that does not end as one");
}

TEST_CASE("what is nested too deep is refused before the stack overflows") {
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += '\1' + number(1).substr(0, 4) + number(1);
  bytes += '\1' + number(1).substr(0, 4) + number(0);
  CHECK(refusal<Tree>(bytes) == "it is nested too deep");
}

TEST_CASE("a decoder that has refused a thousand times still reads: a codec may try one thing and then another") {
  std::string const bytes(1001, '\5');
  Decoder decoder{bytes};
  for (int i = 0; i < 1000; ++i) CHECK_THROWS_AS((void)decoder.get<bool>(), MalformedResult);
  CHECK_NOTHROW(CHECK(decoder.get<char>() == 5));
  CHECK(decoder.left() == 0);
}

// --- What is no value

TEST_CASE("a decoder throws what a child's lie deserves, and it is a runtime_error") {
  static_assert(std::is_base_of_v<std::runtime_error, MalformedResult>);
  CHECK_THROWS_WITH_AS(Decoder::malformed("why"), "cloister: the child's result is malformed: why", MalformedResult);
}

namespace {

struct Base {
  int a;
};
struct Empty {};
struct WithBase : Base {
  int b;
};
struct WithEmptyBase : Empty {
  int b;
};
struct WithArray {
  std::string before;
  int numbers[3];
  cloister::IdMap after;
};
struct WithArrayOfOne {
  int number[1];
  int after;
};
struct WithArrayOfArrays {
  std::string texts[2][2];
};
struct WithBuffer {
  char name[64];
  int number;
};
struct WithReference {
  int before;
  int& number;
};
struct WithConstReference {
  int const& number;
  std::string after;
};
struct Seventeen {
  int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q;
};
union Either {
  int number;
  char const* text;
};
class Opaque {
 public:
  explicit Opaque(int number) : number_(number) {}
  int number() const { return number_; }

 private:
  int number_;
};

}  // namespace

TEST_CASE("what cannot cross is told from what can, and each reason from the others") {
  using cloister::detail::Treatment, cloister::detail::treatment;
  static_assert(treatment<int*>() == Treatment::no_pointer);
  static_assert(treatment<int Base::*>() == Treatment::no_pointer);
  static_assert(treatment<void (*)()>() == Treatment::no_pointer);
  static_assert(treatment<std::nullptr_t>() == Treatment::no_pointer);
  static_assert(treatment<std::unique_ptr<int>>() == Treatment::no_pointer);
  static_assert(treatment<std::shared_ptr<Opaque>>() == Treatment::no_pointer);
  static_assert(treatment<int&>() == Treatment::no_reference);
  static_assert(treatment<WithReference>() == Treatment::no_reference);
  // A value can initialise that one: it is the field that is refused.
  static_assert(treatment<WithConstReference>() == Treatment::aggregate);
  static_assert(treatment<std::string_view>() == Treatment::no_view);
  static_assert(treatment<std::span<int const>>() == Treatment::no_view);
  static_assert(treatment<std::initializer_list<int>>() == Treatment::no_view);
  static_assert(treatment<Either>() == Treatment::no_union);
  static_assert(treatment<int[3]>() == Treatment::no_array);
  static_assert(treatment<WithArray>() == Treatment::no_array);
  static_assert(treatment<WithArrayOfOne>() == Treatment::no_array);
  static_assert(treatment<WithArrayOfArrays>() == Treatment::no_array);
  static_assert(treatment<WithBuffer>() == Treatment::too_many_fields);
  static_assert(treatment<Seventeen>() == Treatment::too_many_fields);
  static_assert(treatment<WithBase>() == Treatment::no_base);
  static_assert(treatment<WithEmptyBase>() == Treatment::no_base);
  static_assert(treatment<Opaque>() == Treatment::unknown);
  static_assert(treatment<cloister::FileDescriptor>() == Treatment::unknown);
  static_assert(treatment<cloister::Namespace>() == Treatment::unknown);
  static_assert(treatment<std::error_code>() == Treatment::unknown);
  static_assert(treatment<F16>() == Treatment::aggregate);
  static_assert(treatment<Everything>() == Treatment::aggregate);
  static_assert(treatment<Tree>() == Treatment::aggregate);
  static_assert(treatment<Fixed>() == Treatment::aggregate);
  static_assert(treatment<cloister::Output>() == Treatment::aggregate);
}
