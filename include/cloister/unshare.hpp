// New namespaces for the calling thread, to stay.
#pragma once

#include <stdexcept>

#include "clone_flags.hpp"
#include "detail/hint.hpp"
#include "error.hpp"

namespace cloister {

namespace detail {

// Mounts in a new mnt namespace would show in the old one wherever that is shared, as systemd makes it.
inline void make_mounts_private() {
  check(sys::mount("none", "/", nullptr, kernel::ms_rec | kernel::ms_private, nullptr), "make mounts private");
}

}  // namespace detail

// Moves the calling thread, not the others of the process, into new namespaces. mnt gets private mounts, and the thread
// a working directory of its own; user leaves it without ids until maps are written; time is entered by children
// started later. There is no way back: see ScopedUnshare. Needs CAP_SYS_ADMIN, or user among the types. Throws
// std::invalid_argument for pid, and Error: EPERM; EINVAL (user in a process with threads, a type the kernel lacks);
// ENOSPC (a limit). Linux 2.6.16, unshare(2).
inline void unshare(CloneFlags types) {
  if (types.contains(NamespaceType::pid))
    throw std::invalid_argument(
        "cloister: unshare: pid would take this thread's children away, and keep it from starting threads: start a "
        "child instead");
  if (int const result = detail::sys::unshare(types.bits()); result < 0)
    throw Error(-result, "unshare", to_string(types), Error::Side::parent,
                detail::refusal_hint("unshare", -result, types));
  if (types.contains(NamespaceType::mnt)) detail::make_mounts_private();
}

}  // namespace cloister
