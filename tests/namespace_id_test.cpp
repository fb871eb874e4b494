#include <sys/stat.h>

#include <algorithm>
#include <cloister/namespace_id.hpp>
#include <set>
#include <unordered_set>

#include "caught.hpp"
#include "support.hpp"

using cloister::NamespaceId, cloister::NamespaceType, cloister::same_namespace;
using namespace cloister::flags;

namespace {

constexpr NamespaceId sample{uts, 4, 4026531838, 0};

NamespaceId with_id(std::uint64_t id) {
  NamespaceId copy = sample;
  copy.id = id;
  return copy;
}

}  // namespace

TEST_CASE("an id reads as the links under /proc/[pid]/ns do") {
  CHECK(to_string(sample) == "uts:[4026531838]");
  CHECK(to_string(NamespaceId{}) == "cgroup:[0]");
  CHECK(to_string(NamespaceId{net, 0, ~std::uint64_t{0}, 7}) == "net:[18446744073709551615]");
  for (NamespaceType const type : cloister::all_namespace_types) {
    std::string const link = std::string("/proc/self/ns/") + to_string(type);
    struct stat file {};
    if (::stat(link.c_str(), &file) != 0) continue;
    CHECK(to_string(NamespaceId{type, file.st_dev, file.st_ino, 0}) == test::detail::link_target(link));
  }
}

TEST_CASE("ids are equal in type, device and inode") {
  static_assert(sample == NamespaceId{uts, 4, 4026531838, 0});
  static_assert(sample != NamespaceId{ipc, 4, 4026531838, 0});
  static_assert(sample != NamespaceId{uts, 5, 4026531838, 0});
  static_assert(sample != NamespaceId{uts, 4, 4026531839, 0});
  CHECK(NamespaceId{} == NamespaceId{});
}

TEST_CASE("the kernel's own number does not count for equality, as one side may not know it") {
  CHECK(with_id(1) == with_id(2));
  CHECK(with_id(1) == with_id(0));
  CHECK((with_id(1) <=> with_id(2)) == 0);
}

TEST_CASE("same_namespace() tells apart those that had an inode one after the other, where both numbers are known") {
  CHECK(same_namespace(with_id(1), with_id(1)));
  CHECK_FALSE(same_namespace(with_id(1), with_id(2)));
  CHECK(same_namespace(with_id(1), with_id(0)));
  CHECK(same_namespace(with_id(0), with_id(1)));
  CHECK(same_namespace(sample, sample));
  NamespaceId other = with_id(1);
  other.inode += 1;
  CHECK_FALSE(same_namespace(with_id(1), other));
  other = with_id(1);
  other.type = ipc;
  CHECK_FALSE(same_namespace(with_id(1), other));
  static_assert(same_namespace(NamespaceId{}, NamespaceId{}));
}

TEST_CASE("ids are ordered by type, then device, then inode, large numbers as well") {
  constexpr std::uint64_t large = ~std::uint64_t{0};
  std::vector<NamespaceId> const sorted{{cgroup, large, large, 0}, {ipc, 0, 0, 0}, {ipc, 0, large, 0}, {ipc, 1, 0, 0},
                                        {ipc, large, 0, 0},        {uts, 0, 0, 0}};
  CHECK(std::is_sorted(sorted.begin(), sorted.end()));
  for (std::size_t i = 0; i < sorted.size(); ++i)
    for (std::size_t j = 0; j < sorted.size(); ++j) {
      CHECK((sorted[i] < sorted[j]) == (i < j));
      CHECK((sorted[i] == sorted[j]) == (i == j));
    }
}

TEST_CASE("an id is a key of maps and sets, whether the kernel's number is known or not") {
  std::set<NamespaceId> const ordered{with_id(1), with_id(2), with_id(0), {ipc, 4, 4026531838, 0}};
  CHECK(ordered.size() == 2);
  std::unordered_set<NamespaceId> const hashed{with_id(1), with_id(2), with_id(0), {ipc, 4, 4026531838, 0}};
  CHECK(hashed.size() == 2);
  CHECK(hashed.contains(sample));
  CHECK_FALSE(hashed.contains(NamespaceId{uts, 4, 1, 0}));
}

TEST_CASE("equal ids have equal hashes, and those of the namespaces of a machine differ") {
  std::hash<NamespaceId> const hash;
  CHECK(hash(with_id(1)) == hash(with_id(2)));
  std::set<std::size_t> hashes;
  for (NamespaceType const type : cloister::all_namespace_types)
    for (std::uint64_t inode = 4026531834; inode < 4026531834 + 1000; ++inode)
      hashes.insert(hash(NamespaceId{type, 4, inode, 0}));
  CHECK(hashes.size() == 8 * 1000);
}

TEST_CASE("an id is a plain value") {
  static_assert(std::is_trivially_copyable_v<NamespaceId> && std::is_aggregate_v<NamespaceId>);
  static_assert(NamespaceId{} == NamespaceId{cgroup, 0, 0, 0});
  static_assert(!std::is_convertible_v<NamespaceId, bool>);
}
