// A fuzzer of what a parent believes of a hostile child: the bytes of its result. Whatever they are, the answer is a value or
// MalformedResult, within the memory that the message itself takes; and what was decoded can be encoded and decoded again, to the
// same bytes. See fuzz.sh.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include <cloister/cloister.hpp>

namespace {

enum class Colour : std::uint8_t { red, green };

struct Point {
  int x, y;
  bool seen;
};
struct Picture {
  std::string name;
  std::vector<Point> points;
  std::optional<Colour> colour;
  std::map<std::string, std::vector<std::uint16_t>> tags;
  std::variant<std::monostate, int, std::string> more;
};
struct Tree {
  int value;
  std::vector<Tree> branches;
};

template <class T>
std::string encoded(T const& value) {
  cloister::Encoder encoder;
  encoder.put(value);
  return std::string{encoder.text()};
}

enum class Order { kept, any };

template <class T, Order order = Order::kept>
void read_as(std::string_view bytes) {
  try {
    cloister::Decoder decoder{bytes};
    T const value = decoder.get<T>();
    decoder.expect_end();
    std::string const once = encoded(value);
    cloister::Decoder again{once};
    T const copy = again.get<T>();
    again.expect_end();
    std::string const twice = encoded(copy);
    if (order == Order::kept ? twice != once : twice.size() != once.size()) std::abort();
  } catch (cloister::MalformedResult const&) {
  }
}

using Reader = void (*)(std::string_view);
constexpr Reader readers[] = {
    read_as<bool>,
    read_as<std::string>,
    read_as<std::vector<std::string>>,
    read_as<std::vector<bool>>,
    read_as<std::map<std::string, int>>,
    read_as<std::unordered_map<int, std::string>, Order::any>,
    read_as<std::set<std::uint16_t>>,
    read_as<std::list<std::optional<std::string>>>,
    read_as<std::variant<int, std::string, std::vector<int>>>,
    read_as<std::tuple<bool, char, std::array<std::string, 3>>>,
    read_as<std::pair<Colour, double>>,
    read_as<Picture>,
    read_as<Tree>,
    read_as<std::vector<Tree>>,
    read_as<cloister::ExitStatus>,
    read_as<cloister::CloneFlags>,
    read_as<cloister::NamespaceId>,
    read_as<cloister::ProcessNamespaces>,
    read_as<cloister::Output>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view const bytes{reinterpret_cast<char const*>(data) + 1, size - 1};
  readers[data[0] % std::size(readers)](bytes);
  return 0;
}
