#include <cloister/id_map.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::IdMap, cloister::IdRange;
using Ranges = std::vector<IdRange>;

namespace {

constexpr std::uint32_t last_id = 0xfffffffe;  // 2^32 - 1 means "no id"

std::string refusal(Ranges const& uids, Ranges const& gids = {{0, 0}}) {
  return test::text_of<std::invalid_argument>([&] { (void)IdMap::ranges(uids, gids); });
}

// `count` ranges of one id each, apart from each other.
Ranges apart(std::uint32_t count, std::uint32_t first = 0) {
  Ranges ranges;
  for (std::uint32_t i = 0; i < count; ++i) ranges.push_back({first + 2 * i, first + 2 * i});
  return ranges;
}

}  // namespace

TEST_CASE("an IdMap is a value that knows its kind") {
  CHECK(IdMap::self().kind() == IdMap::Kind::self);
  CHECK(IdMap::root().kind() == IdMap::Kind::root);
  IdMap const map = IdMap::ranges({{0, 1000, 10}}, {{0, 100}});
  CHECK(map.kind() == IdMap::Kind::ranges);
  CHECK(map.uids() == Ranges{{0, 1000, 10}});
  CHECK(map.gids() == Ranges{{0, 100, 1}});
  CHECK_FALSE(map.inside());
  CHECK(map == IdMap{map});
  CHECK(map != map.as(3, 0));
  CHECK(IdMap::self() != IdMap::root());
  CHECK(IdMap::self().uids().empty());
  CHECK(IdMap::root().gids().empty());
  static_assert(!std::is_default_constructible_v<IdMap>, "which map it is must be said");
}

TEST_CASE("a range has one id unless said otherwise") { CHECK(IdRange{5, 6} == IdRange{5, 6, 1}); }

TEST_CASE("the text of a map is a line a range") {
  CHECK(IdMap::text({{0, 1000, 1}, {1, 100000, 65536}}) == "0 1000 1\n1 100000 65536\n");
  CHECK(IdMap::text({{last_id, last_id, 1}}) == "4294967294 4294967294 1\n");
  CHECK(IdMap::text({}).empty());
}

TEST_CASE("maps() knows the ends of a range") {
  Ranges const ranges{{10, 0, 5}, {last_id, 1, 1}};
  CHECK_FALSE(IdMap::maps(ranges, 9));
  CHECK(IdMap::maps(ranges, 10));
  CHECK(IdMap::maps(ranges, 14));
  CHECK_FALSE(IdMap::maps(ranges, 15));
  CHECK(IdMap::maps(ranges, last_id));
  CHECK_FALSE(IdMap::maps(ranges, last_id + 1));
  CHECK_FALSE(IdMap::maps({}, 0));
}

TEST_CASE("an empty map is refused, and the text says which one") {
  CHECK(refusal({}) == "cloister: ids: uids: no range");
  CHECK(refusal({{0, 0}}, {}) == "cloister: ids: gids: no range");
}

TEST_CASE("a range of no ids is refused, and the text says which line") {
  CHECK(refusal({{0, 0, 0}}) == "cloister: ids: uids: line 1 has a count of 0");
  CHECK(refusal({{0, 0}}, {{0, 0}, {1, 1, 0}}) == "cloister: ids: gids: line 2 has a count of 0");
}

TEST_CASE("a range that goes past the last id is refused, inside and outside, also where the sum wraps") {
  std::string const expected = "cloister: ids: uids: line 1 goes past the last id";
  CHECK(refusal({{last_id, 0, 2}}) == expected);
  CHECK(refusal({{0, last_id, 2}}) == expected);
  CHECK(refusal({{last_id + 1, 0, 1}}) == expected);
  CHECK(refusal({{0, last_id + 1, 1}}) == expected);
  CHECK(refusal({{1, 1, last_id + 1}}) == expected);
  CHECK(refusal({{last_id, 0, last_id}}) == expected);
  CHECK_NOTHROW((void)IdMap::ranges({{last_id, last_id, 1}}, {{0, 0, last_id + 1}}));
}

TEST_CASE("ranges that overlap are refused, inside and outside, and the text says which") {
  std::string const expected = "cloister: ids: uids: lines 1 and 2 overlap";
  CHECK(refusal({{0, 0, 10}, {9, 100, 1}}) == expected);
  CHECK(refusal({{0, 100, 10}, {50, 109, 1}}) == expected);
  CHECK(refusal({{9, 200, 1}, {0, 100, 10}}) == expected);
  CHECK(refusal({{5, 5, 1}, {0, 100, 100}}) == expected);
  CHECK(refusal({{5, 5}, {5, 6}}) == expected);
  CHECK(refusal({{0, 0}}, {{0, 0}, {1, 1}, {1, 2}}) == "cloister: ids: gids: lines 2 and 3 overlap");
  CHECK_NOTHROW((void)IdMap::ranges({{0, 100, 10}, {10, 110, 10}}, {{10, 10, 10}, {0, 20, 10}}));
}

TEST_CASE("as many lines as the kernel takes are taken, and not one more") {
  CHECK_NOTHROW((void)IdMap::ranges(apart(340), apart(340)));
  CHECK(refusal(apart(341)) == "cloister: ids: uids: the kernel takes at most 340 lines, not 341");
  CHECK(refusal({{0, 0}}, apart(10'000)) == "cloister: ids: gids: the kernel takes at most 340 lines, not 10000");
}

TEST_CASE("as many bytes as the kernel takes are taken, and not one more") {
  // A line of 24 bytes each, and one that fills up.
  auto const filled = [](std::uint32_t inside) {
    Ranges ranges = apart(170, 1'000'000'000);
    ranges.push_back({inside, 1'000, 1});
    return ranges;
  };
  REQUIRE(IdMap::text(filled(10'000'000)).size() == 4096);
  CHECK(refusal(filled(10'000'000)) ==
        "cloister: ids: uids: the text is over 4095 bytes, more than the kernel takes at once");
  REQUIRE(IdMap::text(filled(1'000'000)).size() == 4095);
  CHECK_NOTHROW((void)IdMap::ranges(filled(1'000'000), {{0, 0}}));
}

TEST_CASE("as() takes ids that are mapped, and leaves the map that it was called on") {
  IdMap const map = IdMap::ranges({{0, 1000, 10}}, {{100, 100, 1}});
  IdMap const other = map.as(9, 100);
  CHECK(other.inside() == std::pair<std::uint32_t, std::uint32_t>{9, 100});
  CHECK(other.uids() == map.uids());
  CHECK_FALSE(map.inside());
  CHECK(other.as(3, 100).inside() == std::pair<std::uint32_t, std::uint32_t>{3, 100});
}

TEST_CASE("as() refuses ids that are not mapped, and says which") {
  IdMap const map = IdMap::ranges({{0, 1000, 10}}, {{100, 100, 1}});
  CHECK_THROWS_WITH_AS((void)map.as(10, 100), "cloister: ids: as: uid 10 is not mapped", std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)map.as(9, 0), "cloister: ids: as: gid 0 is not mapped", std::invalid_argument);
  CHECK_THROWS_AS((void)map.as(last_id + 1, 100), std::invalid_argument);
}

TEST_CASE("what self() and root() map is known only when a child is started, so as() waits until then") {
  CHECK(IdMap::self().as(5, 6).inside() == std::pair<std::uint32_t, std::uint32_t>{5, 6});
  CHECK(IdMap::root().as(0, 0).kind() == IdMap::Kind::root);
}
