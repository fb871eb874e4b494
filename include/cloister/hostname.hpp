// The host and domain name of the calling thread's uts namespace.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "detail/hint.hpp"
#include "error.hpp"

namespace cloister {

namespace detail {

inline void set_uts_name(int (*set)(char const*, std::size_t) noexcept, char const* step, std::string_view name) {
  constexpr std::size_t longest = 64;
  if (name.size() > longest)
    throw std::invalid_argument("cloister: " + std::string(step) + ": the name has " + std::to_string(name.size()) +
                                " bytes, and the kernel takes 64");
  if (name.find('\0') != std::string_view::npos)
    throw std::invalid_argument("cloister: " + std::string(step) + ": the name has a NUL in it");
  if (int const result = set(name.data(), name.size()); result < 0)
    throw Error(-result, step, name, Error::Side::parent, refusal_hint(step, -result, {}));
}

}  // namespace detail

// Empty if none was ever set. uname(2).
inline std::string hostname() {
  ::utsname names{};
  detail::check(detail::sys::uname(&names), "uname");
  return names.nodename;
}

// The NIS domain name, "(none)" if none was ever set; not that of DNS. uname(2).
inline std::string domainname() {
  ::utsname names{};
  detail::check(detail::sys::uname(&names), "uname");
  return names.domainname;
}

// At most 64 bytes. It holds for every process of the calling thread's uts namespace, which may be the host's.
// Needs CAP_SYS_ADMIN in the user namespace that owns it. Throws Error (EPERM), and std::invalid_argument for a name
// that is too long or has a NUL in it. sethostname(2).
inline void set_hostname(std::string_view name) { detail::set_uts_name(detail::sys::sethostname, "sethostname", name); }

// As set_hostname. setdomainname(2).
inline void set_domainname(std::string_view name) {
  detail::set_uts_name(detail::sys::setdomainname, "setdomainname", name);
}

}  // namespace cloister
