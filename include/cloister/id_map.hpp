// How user and group ids inside a new user namespace correspond to ids outside.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cloister {

// `count` ids from `inside` on, seen in the new namespace, are the ids from `outside` on of the namespace of the caller.
struct IdRange {
  std::uint32_t inside;
  std::uint32_t outside;
  std::uint32_t count = 1;

  friend bool operator==(IdRange const&, IdRange const&) = default;
};

// The id maps of a new user namespace, user_namespaces(7). The child takes on an inside id before anything else of its world is
// made: the caller's own with self(), 0 with root() and subordinate(), and with ranges() 0 if it is mapped, else the first range's start.
// For a caller that is root, self() and root() map the host's root: what the child may do to files of the host is then no less
// than what the caller may. Only ranges() over unprivileged ids is a wall.
class IdMap {
 public:
  enum class Kind : std::uint8_t { self, root, ranges, subordinate };

  // The caller's effective ids to themselves: the default of a new user namespace. Needs no privilege.
  static IdMap self() { return IdMap{Kind::self}; }
  // The caller's effective ids to 0. Needs no privilege.
  static IdMap root() { return IdMap{Kind::root}; }
  // The caller to 0, and from 1 on the ids that /etc/subuid and /etc/subgid lend it, by newuidmap(1) and newgidmap(1) unless the caller
  // may map them itself. Starting a child then throws Error where nothing is lent, or the programs are missing or refuse.
  static IdMap subordinate() { return IdMap{Kind::subordinate}; }
  // As given: CAP_SETUID and CAP_SETGID are needed for more than one's own ids. Throws std::invalid_argument if a map is empty,
  // holds a range of no ids, overlaps, goes past the last id, or exceeds what the kernel takes: 340 lines, one page of text.
  static IdMap ranges(std::vector<IdRange> uids, std::vector<IdRange> gids) {
    validate("uids", uids);
    validate("gids", gids);
    IdMap map{Kind::ranges};
    map.uids_ = std::move(uids);
    map.gids_ = std::move(gids);
    return map;
  }
  // The same map, the child being these inside ids. Throws std::invalid_argument if ranges() does not map them.
  [[nodiscard]] IdMap as(std::uint32_t uid, std::uint32_t gid) const {
    if (kind_ == Kind::ranges) {
      if (!maps(uids_, uid)) throw std::invalid_argument("cloister: ids: as: uid " + std::to_string(uid) + " is not mapped");
      if (!maps(gids_, gid)) throw std::invalid_argument("cloister: ids: as: gid " + std::to_string(gid) + " is not mapped");
    }
    IdMap map = *this;
    map.as_.emplace(uid, gid);
    return map;
  }

  Kind kind() const noexcept { return kind_; }
  // Empty unless ranges().
  std::vector<IdRange> const& uids() const noexcept { return uids_; }
  std::vector<IdRange> const& gids() const noexcept { return gids_; }
  // What as() chose: uid and gid inside.
  std::optional<std::pair<std::uint32_t, std::uint32_t>> const& inside() const noexcept { return as_; }

  // The text that goes to uid_map or gid_map: a line a range.
  static std::string text(std::vector<IdRange> const& ranges) {
    std::string text;
    for (IdRange const& range : ranges)
      text += std::to_string(range.inside) + " " + std::to_string(range.outside) + " " + std::to_string(range.count) + "\n";
    return text;
  }
  static bool maps(std::vector<IdRange> const& ranges, std::uint32_t inside) noexcept {
    for (IdRange const& range : ranges)
      if (inside >= range.inside && inside - range.inside < range.count) return true;
    return false;
  }

  friend bool operator==(IdMap const&, IdMap const&) = default;

 private:
  explicit IdMap(Kind kind) noexcept : kind_(kind) {}

  static void validate(std::string const& which, std::vector<IdRange> const& ranges) {
    auto const refuse = [&](std::string const& why) { throw std::invalid_argument("cloister: ids: " + which + ": " + why); };
    if (ranges.empty()) refuse("no range");
    if (ranges.size() > 340) refuse("the kernel takes at most 340 lines, not " + std::to_string(ranges.size()));
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      IdRange const& a = ranges[i];
      std::string const line = "line " + std::to_string(i + 1);
      if (a.count == 0) refuse(line + " has a count of 0");
      // 2^32 - 1 is no id, so the last that can be mapped is one below.
      if (std::uint64_t{a.inside} + a.count > 0xffffffff || std::uint64_t{a.outside} + a.count > 0xffffffff)
        refuse(line + " goes past the last id");
      for (std::size_t j = 0; j < i; ++j) {
        IdRange const& b = ranges[j];
        if (overlap(a.inside, a.count, b.inside, b.count) || overlap(a.outside, a.count, b.outside, b.count))
          refuse("lines " + std::to_string(j + 1) + " and " + std::to_string(i + 1) + " overlap");
      }
    }
    if (text(ranges).size() >= 4096) refuse("the text is over 4095 bytes, more than the kernel takes at once");
  }
  static bool overlap(std::uint64_t a, std::uint64_t a_count, std::uint64_t b, std::uint64_t b_count) noexcept {
    return a < b + b_count && b < a + a_count;
  }

  Kind kind_;
  std::vector<IdRange> uids_, gids_;
  std::optional<std::pair<std::uint32_t, std::uint32_t>> as_;
};

// As in a uid_map: "0 1000 1".
inline std::string to_string(IdRange const& range) {
  return std::to_string(range.inside) + ' ' + std::to_string(range.outside) + ' ' + std::to_string(range.count);
}

// "self", "root", "uids 0 1000 1, 1 100000 65536; gids 0 100 1 as 0:0".
inline std::string to_string(IdMap const& map) {
  auto const lines = [](std::vector<IdRange> const& ranges) {
    std::string text;
    for (IdRange const& range : ranges) text += (text.empty() ? "" : ", ") + to_string(range);
    return text;
  };
  std::string text = map.kind() == IdMap::Kind::self   ? "self"
                     : map.kind() == IdMap::Kind::root ? "root"
                     : map.kind() == IdMap::Kind::subordinate ? "subordinate"
                                                       : "uids " + lines(map.uids()) + "; gids " + lines(map.gids());
  if (auto const& inside = map.inside())
    text += " as " + std::to_string(inside->first) + ':' + std::to_string(inside->second);
  return text;
}

}  // namespace cloister
