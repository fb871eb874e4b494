// Every namespace in sight, as lsns(8) shows them, and the trees that they form.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "clone_flags.hpp"
#include "detail/namespace_search.hpp"
#include "detail/text.hpp"
#include "namespace_info.hpp"

namespace cloister {

namespace detail {

// The namespaces of one type, each below its parent.
class NamespaceTree {
 public:
  explicit NamespaceTree(NamespaceListing const& listing, NamespaceType type) : nodes_(listing.namespaces.size()) {
    for (NamespaceInfo const& info : listing.namespaces) {
      if (info.id.type != type) continue;
      places_.find_or_add(static_cast<long>(info.id.inode), count_);
      nodes_[count_++].info = &info;
    }
    for (std::size_t i = count_; i-- > 0;) {
      auto const& parent = nodes_[i].info->parent;
      std::size_t const above = parent ? places_.find(static_cast<long>(parent->inode), none) : none;
      std::size_t& first = above == none ? roots_ : nodes_[above].first_child;
      nodes_[i].next = first;
      first = i;
    }
  }
  std::string text() const {
    std::string text;
    for (std::size_t root = roots_; root != none; root = nodes_[root].next) add(text, root, "", "");
    return text;
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct Node {
    NamespaceInfo const* info = nullptr;
    std::size_t first_child = none, next = none;
  };

  void add(std::string& text, std::size_t at, std::string_view indent, std::string_view child_indent) const {
    NamespaceInfo const& info = *nodes_[at].info;
    text += join({indent, to_string(info.id), "  "});
    if (info.processes == 0)
      text += "no process";
    else
      text += join({std::to_string(info.processes), info.processes == 1 ? " process, " : " processes, first ",
                    std::to_string(info.first_pid), ": ", info.command});
    text += '\n';
    for (std::size_t child = nodes_[at].first_child; child != none; child = nodes_[child].next) {
      bool const last = nodes_[child].next == none;
      add(text, child, join({child_indent, last ? "└─ " : "├─ "}), join({child_indent, last ? "   " : "│  "}));
    }
  }

  NumberIndex places_;
  std::vector<Node> nodes_;
  std::size_t count_ = 0;  // of those that are of the type
  std::size_t roots_ = none;
};

}  // namespace detail

// Every namespace of these types that the caller can see: those that a process or thread is in, that a link for its
// children, an open descriptor or a bind mount leads to, and their owners and parents; not one that only a socket
// holds. What may not be read is counted, what vanishes meanwhile is no error. Needs a /proc of the caller's pid
// namespace, no privilege to see one's own processes, CAP_SYS_PTRACE for those of other users. A passing thread helps
// from 128 processes on. Throws Error (ENOENT: no such /proc; EMFILE). Linux 4.9 for owners and parents, 5.6 for those
// of what only a mount holds. namespaces(7), ioctl_nsfs(2), lsns(8).
inline NamespaceListing list_namespaces(CloneFlags types = CloneFlags::all()) {
  return detail::search_namespaces(types);
}

// The tree of the user or pid namespaces of a listing, drawn with lines of UTF-8, a namespace a line: its id, how many
// processes it has, the first of them and its command. Where a parent is not in the listing, its children stand at the
// top. Throws std::invalid_argument for the other types, which have no parents.
inline std::string format_tree(NamespaceListing const& listing, NamespaceType type) {
  if (type != NamespaceType::user && type != NamespaceType::pid)
    throw std::invalid_argument(detail::join(
        {"cloister: format_tree: ", to_string(type), " namespaces have no parents: only user and pid are trees"}));
  return detail::NamespaceTree{listing, type}.text();
}

}  // namespace cloister
