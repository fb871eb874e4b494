#include <algorithm>
#include <cloister/clone_flags.hpp>
#include <ranges>

#include "caught.hpp"
#include "support.hpp"

using namespace cloister::flags;
using cloister::CloneFlags, cloister::NamespaceType;

namespace {

// All 256 sets.
std::vector<CloneFlags> every_set() {
  std::vector<CloneFlags> sets{CloneFlags{}};
  for (NamespaceType const type : cloister::all_namespace_types)
    for (std::size_t i = 0, size = sets.size(); i < size; ++i) sets.push_back(sets[i] | type);
  return sets;
}

std::string refusal(std::string_view text) {
  return test::text_of<std::invalid_argument>([&] { (void)CloneFlags::parse(text); });
}

}  // namespace

TEST_CASE("a set is made of types, also at compile time") {
  constexpr CloneFlags set = uts | ipc | pid;
  static_assert(set.size() == 3 && !set.empty());
  static_assert(set.contains(ipc) && set.contains(uts | pid) && !set.contains(net) && !set.contains(uts | net));
  static_assert(CloneFlags{}.empty() && CloneFlags{}.size() == 0 && CloneFlags{}.bits() == 0);
  static_assert(CloneFlags::all().size() == 8 && CloneFlags::all().contains(set));
  static_assert(set.contains({}) && CloneFlags{}.contains({}), "the empty set is part of every set");
}

TEST_CASE("only types convert to a set: no number, no bool, no text") {
  static_assert(std::is_convertible_v<NamespaceType, CloneFlags>);
  static_assert(!std::is_constructible_v<CloneFlags, int> && !std::is_constructible_v<CloneFlags, std::uint64_t>);
  static_assert(!std::is_constructible_v<CloneFlags, bool> && !std::is_constructible_v<CloneFlags, char const*>);
  static_assert(!std::is_convertible_v<CloneFlags, bool> && !std::is_convertible_v<CloneFlags, int>);
}

TEST_CASE("sets are joined, cut and subtracted") {
  static_assert((uts | uts) == CloneFlags{uts});
  static_assert(((uts | ipc) & (ipc | net)) == CloneFlags{ipc});
  static_assert((CloneFlags{uts} & ipc).empty());
  static_assert(((uts | ipc) - ipc) == CloneFlags{uts});
  static_assert((CloneFlags{uts} - net) == CloneFlags{uts}, "what is not in it cannot be taken out");
  static_assert((CloneFlags::all() - CloneFlags::all()).empty());
  CloneFlags set;
  CHECK((set |= uts | ipc) == (ipc | uts));
  CHECK((set -= uts) == ipc);
  CHECK((set &= net).empty());
  CHECK(&(set |= mnt) == &set);
}

TEST_CASE("the bits are those of sched.h") {
  static_assert((uts | ipc | pid).bits() == (CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID));
  static_assert((user | net | mnt | cgroup).bits() == (CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWCGROUP));
  static_assert(CloneFlags{cloister::NamespaceType::time}.bits() == 0x80);
  static_assert(CloneFlags::from_bits(CLONE_NEWUTS | CLONE_NEWNS) == (uts | mnt));
}

TEST_CASE("every set comes back from its bits and from its text, and goes over as many types as it has") {
  std::vector<CloneFlags> const sets = every_set();
  REQUIRE(sets.size() == 256);
  for (CloneFlags const set : sets) {
    CAPTURE(to_string(set));
    CHECK(CloneFlags::from_bits(set.bits()) == set);
    CHECK(CloneFlags::parse(to_string(set)) == set);
    std::vector<NamespaceType> const types(set.begin(), set.end());
    CHECK(types.size() == set.size());
    CHECK(std::ranges::is_sorted(types));
    CHECK(std::ranges::all_of(types, [&](NamespaceType type) { return set.contains(type); }));
  }
  CHECK(sets.back() == CloneFlags::all());
}

TEST_CASE("any other bit is refused, alone and among good ones") {
  for (std::uint64_t const other : {std::uint64_t{CLONE_VM}, std::uint64_t{CLONE_FS}, std::uint64_t{SIGCHLD},
                                    std::uint64_t{1}, std::uint64_t{1} << 32, std::uint64_t{1} << 63}) {
    CAPTURE(other);
    for (std::uint64_t const good : {std::uint64_t{0}, CloneFlags{uts}.bits(), CloneFlags::all().bits()})
      CHECK_THROWS_WITH_AS((void)CloneFlags::from_bits(good | other),
                           "cloister: CloneFlags::from_bits takes CLONE_NEW* bits only", std::invalid_argument);
  }
}

TEST_CASE("a set reads in the order of the alphabet, however it was written") {
  CHECK(to_string(uts | ipc | pid) == "ipc|pid|uts");
  CHECK(to_string(CloneFlags{user}) == "user");
  CHECK(to_string(CloneFlags{}) == "");
  CHECK(to_string(CloneFlags::all()) == "cgroup|ipc|mnt|net|pid|time|user|uts");
}

TEST_CASE("a set is written with commas or bars, in any order, a name also twice, and all and nothing are sets too") {
  CHECK(CloneFlags::parse("uts,ipc,pid") == (ipc | pid | uts));
  CHECK(CloneFlags::parse("uts|ipc,pid") == (ipc | pid | uts));
  CHECK(CloneFlags::parse("uts,uts") == uts);
  CHECK(CloneFlags::parse("all") == CloneFlags::all());
  CHECK(CloneFlags::parse("net,all") == CloneFlags::all());
  static_assert(CloneFlags::parse("").empty());
  static_assert(CloneFlags::parse("mnt|net") == (net | mnt));
}

TEST_CASE("a word that is not known is refused, and the text names it") {
  CHECK(refusal("uts,bogus").starts_with("cloister: no namespace type \"bogus\""));
  CHECK(refusal("bogus,uts").starts_with("cloister: no namespace type \"bogus\""));
  CHECK(refusal("uts, ipc").starts_with("cloister: no namespace type \" ipc\""));
  CHECK(refusal("ALL").starts_with("cloister: no namespace type \"ALL\""));
  CHECK(refusal("uts;ipc").starts_with("cloister: no namespace type \"uts;ipc\""));
  CHECK_THROWS_AS((void)CloneFlags::parse(std::string_view("uts\0ipc", 7)), std::invalid_argument);
}

TEST_CASE("a missing word is refused, at the start, in the middle and at the end") {
  for (char const* const text : {",", "|", ",uts", "uts,,ipc", "uts|,ipc"})
    CHECK(refusal(text).starts_with("cloister: no namespace type \"\""));
  for (char const* const text : {"uts,", "uts|", "all,"})
    CHECK(refusal(text) == "cloister: CloneFlags::parse: a name is missing at the end");
}

TEST_CASE("a set is a range for the standard algorithms") {
  static_assert(std::ranges::forward_range<CloneFlags>);
  CloneFlags const set = uts | cgroup;
  auto each = set.begin();
  CHECK(*each++ == cgroup);
  CHECK(*each == uts);
  CHECK(++each == set.end());
  CHECK(CloneFlags{}.begin() == CloneFlags{}.end());
}
