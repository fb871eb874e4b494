// What identifies a namespace: a value, as readlink(1) of /proc/[pid]/ns/* shows it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "detail/text.hpp"
#include "namespace_type.hpp"

namespace cloister {

// Two equal ids are the same namespace while somebody holds it open (a process in it, a descriptor, a mount):
// afterwards the kernel gives the inode number to another one, sometimes at once. same_namespace() can tell those
// apart.
struct NamespaceId {
  NamespaceType type{};
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  // The kernel's number for it, never used twice between two boots (Linux 6.18, NS_GET_ID); 0 if not known.
  std::uint64_t id = 0;

  friend constexpr bool operator==(NamespaceId const& a, NamespaceId const& b) noexcept {
    return a.type == b.type && a.device == b.device && a.inode == b.inode;
  }
  friend constexpr std::strong_ordering operator<=>(NamespaceId const& a, NamespaceId const& b) noexcept {
    if (a.type != b.type) return a.type <=> b.type;
    if (a.device != b.device) return a.device <=> b.device;
    return a.inode <=> b.inode;
  }
};

// Whether both are the same namespace, also if one of them has ended meanwhile: equal, and equal in `id` where both
// have one.
constexpr bool same_namespace(NamespaceId const& a, NamespaceId const& b) noexcept {
  return a == b && (a.id == b.id || a.id == 0 || b.id == 0);
}

// "uts:[4026531838]", as the links under /proc/[pid]/ns read.
inline std::string to_string(NamespaceId const& id) {
  return detail::join({to_string(id.type), ":[", std::to_string(id.inode), "]"});
}

}  // namespace cloister

template <>
struct std::hash<cloister::NamespaceId> {
  std::size_t operator()(cloister::NamespaceId const& id) const noexcept {
    // Inode numbers differ in their low bits, and the type in what a shift leaves free.
    return std::hash<std::uint64_t>{}(((id.inode << 3) | static_cast<std::uint64_t>(id.type)) ^ (id.device << 48));
  }
};
