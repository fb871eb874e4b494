// A namespace with all that can be seen of it, and a list of them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "namespace_id.hpp"

namespace cloister {

// A namespace, and what was seen to keep it alive. Where all the counts are 0 and nothing is mounted, it is the owner
// or the parent of another one.
struct NamespaceInfo {
  NamespaceId id;  // with the 64-bit `id` where the kernel has it (6.18)

  std::size_t processes = 0;       // whose main thread is in it; a zombie still is in its user and pid namespaces
  std::size_t threads = 0;         // that are in it while the main thread of their process is not
  std::size_t children_links = 0;  // threads that are elsewhere and whose children will be born into it: pid and time
  std::size_t descriptors = 0;     // by which processes hold it open
  // Where it is bound to: the caller's own paths first, then those of other mnt namespaces as their first process sees
  // them; each text once.
  std::vector<std::string> mounts;

  pid_t first_pid = 0;       // the lowest of its processes; 0 if it has none
  std::optional<uid_t> uid;  // that process's effective user, as an id of the caller's
  std::string command;       // its command line or, if it has none, its name; '?' for a control character

  // Empty if it lies outside the caller's own user or pid namespace, or there is none.
  std::optional<NamespaceId> owner;   // the user namespace whose capabilities count for it
  std::optional<NamespaceId> parent;  // in which it was made: user and pid
};

// What list_namespaces() saw, and how much it could not see.
struct NamespaceListing {
  std::vector<NamespaceInfo> namespaces;         // in the order of their ids, type by type
  std::size_t unreadable_processes = 0;          // whose namespaces the caller may not see
  std::size_t unreadable_descriptor_tables = 0;  // other processes whose descriptors it may not see
  std::size_t unreadable_mount_tables = 0;       // mnt namespaces whose mounts it could not see
  bool hidden_processes = false;                 // this /proc does not even list all processes (hidepid of proc(5))
};

}  // namespace cloister
