// The eight kinds of namespace, named as under /proc/[pid]/ns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "detail/kernel.hpp"
#include "detail/text.hpp"

namespace cloister {

// One kind of namespace; the enumerators stand in the order of the alphabet, so that they index an array of eight.
// Since Linux 2.4.19 (mnt), 2.6.19 (ipc, uts), 2.6.24 (pid), 2.6.29 (net), 3.8 (user), 4.6 (cgroup), 5.6 (time). namespaces(7).
enum class NamespaceType : std::uint8_t { cgroup, ipc, mnt, net, pid, time, user, uts };

// The short names, for `using namespace cloister::flags` or, where user, net and pid would clash, `namespace ns = cloister::flags`.
namespace flags {
using enum NamespaceType;
}

inline constexpr std::array<NamespaceType, 8> all_namespace_types{
    NamespaceType::cgroup, NamespaceType::ipc,  NamespaceType::mnt,  NamespaceType::net,
    NamespaceType::pid,    NamespaceType::time, NamespaceType::user, NamespaceType::uts};

namespace detail {

struct NamespaceTypeFacts {
  char const* name;           // also the name of the link under /proc/[pid]/ns
  std::uint64_t clone_flag;   // CLONE_NEW*
  char const* limit;          // the sysctl that caps its number, under /proc/sys/user
  char const* since;
};
inline constexpr std::array<NamespaceTypeFacts, 8> namespace_type_facts{{
    {"cgroup", kernel::clone_newcgroup, "max_cgroup_namespaces", "4.6"},
    {"ipc", kernel::clone_newipc, "max_ipc_namespaces", "2.6.19"},
    {"mnt", kernel::clone_newns, "max_mnt_namespaces", "2.4.19"},
    {"net", kernel::clone_newnet, "max_net_namespaces", "2.6.24"},
    {"pid", kernel::clone_newpid, "max_pid_namespaces", "2.6.24"},
    {"time", kernel::clone_newtime, "max_time_namespaces", "5.6"},
    {"user", kernel::clone_newuser, "max_user_namespaces", "3.8"},
    {"uts", kernel::clone_newuts, "max_uts_namespaces", "2.6.19"},
}};
constexpr NamespaceTypeFacts const& facts(NamespaceType type) noexcept {
  return namespace_type_facts[static_cast<std::size_t>(type)];
}

}  // namespace detail

constexpr char const* to_string(NamespaceType type) noexcept { return detail::facts(type).name; }

// The type of that name. Throws std::invalid_argument, which lists the names.
constexpr NamespaceType parse_namespace_type(std::string_view name) {
  for (NamespaceType type : all_namespace_types)
    if (name == to_string(type)) return type;
  throw std::invalid_argument(
      detail::join({"cloister: no namespace type \"", name, "\": one of cgroup ipc mnt net pid time user uts"}));
}

}  // namespace cloister
