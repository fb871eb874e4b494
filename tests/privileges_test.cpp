// Privileges as a description: what is refused, and how it reads. Nothing is taken from anybody here.
#include <linux/capability.h>
#include <sys/resource.h>

#include <cloister/privileges.hpp>
#include <type_traits>

#include "caught.hpp"
#include "support.hpp"

using cloister::Capabilities, cloister::Capability, cloister::Privileges, cloister::Resource, cloister::ResourceLimit,
    cloister::SeccompFilter;
using namespace std::string_literals;

namespace {

constexpr ::sock_filter allow = BPF_STMT(BPF_RET | BPF_K, 0x7fff0000);

std::string refusal(std::size_t count) {
  return test::text_of<std::invalid_argument>([&] { (void)SeccompFilter(std::vector<::sock_filter>(count, allow)); });
}

}  // namespace

// --- Capabilities

TEST_CASE("capabilities have the kernel's numbers") {
  struct Pair {
    Capability ours;
    int kernels;
  };
  for (Pair const& pair : std::initializer_list<Pair>{{Capability::chown, CAP_CHOWN},
                                                      {Capability::kill, CAP_KILL},
                                                      {Capability::setpcap, CAP_SETPCAP},
                                                      {Capability::net_bind_service, CAP_NET_BIND_SERVICE},
                                                      {Capability::net_raw, CAP_NET_RAW},
                                                      {Capability::sys_chroot, CAP_SYS_CHROOT},
                                                      {Capability::sys_admin, CAP_SYS_ADMIN},
                                                      {Capability::sys_resource, CAP_SYS_RESOURCE},
                                                      {Capability::mknod, CAP_MKNOD},
                                                      {Capability::setfcap, CAP_SETFCAP},
                                                      {Capability::syslog, CAP_SYSLOG},
                                                      {Capability::audit_read, CAP_AUDIT_READ},
                                                      {Capability::checkpoint_restore, CAP_CHECKPOINT_RESTORE}})
    CHECK(static_cast<int>(pair.ours) == pair.kernels);
}

TEST_CASE("capabilities are named as in capabilities(7), in small letters") {
  CHECK(to_string(Capability::chown) == "chown");
  CHECK(to_string(Capability::net_admin) == "net_admin");
  CHECK(to_string(Capability::sys_admin) == "sys_admin");
  CHECK(to_string(Capability::wake_alarm) == "wake_alarm");
  CHECK(to_string(Capability::perfmon) == "perfmon");
  CHECK(to_string(Capability::checkpoint_restore) == "checkpoint_restore");
}

TEST_CASE("capabilities are inherited, none, or only some") {
  CHECK(Capabilities{} == Capabilities::inherit());
  CHECK(Capabilities::inherit().inherited());
  CHECK(Capabilities::inherit().bits() == 0);
  CHECK_FALSE(Capabilities::none().inherited());
  CHECK(Capabilities::none() == Capabilities::only({}));
  CHECK(Capabilities::none() != Capabilities::inherit());
  CHECK(Capabilities::none().bits() == 0);
  Capabilities const some = Capabilities::only({Capability::net_raw, Capability::checkpoint_restore});
  CHECK(some.contains(Capability::net_raw));
  CHECK(some.contains(Capability::checkpoint_restore));
  CHECK_FALSE(some.contains(Capability::net_admin));
  CHECK(some.bits() == (std::uint64_t{1} << CAP_NET_RAW | std::uint64_t{1} << CAP_CHECKPOINT_RESTORE));
  CHECK(some ==
        Capabilities::only(std::vector{Capability::checkpoint_restore, Capability::net_raw, Capability::net_raw}));
}

TEST_CASE("capabilities read in the kernel's order") {
  CHECK(to_string(Capabilities::inherit()) == "inherit");
  CHECK(to_string(Capabilities::none()) == "none");
  CHECK(to_string(Capabilities::only({Capability::net_raw, Capability::chown})) == "only chown net_raw");
}

// --- Limits

TEST_CASE("resources have the kernel's numbers") {
  struct Pair {
    Resource ours;
    int kernels;
    char const* name;
  };
  for (Pair const& pair :
       std::initializer_list<Pair>{{Resource::cpu, RLIMIT_CPU, "cpu"},
                                   {Resource::file_size, RLIMIT_FSIZE, "file_size"},
                                   {Resource::data, RLIMIT_DATA, "data"},
                                   {Resource::stack, RLIMIT_STACK, "stack"},
                                   {Resource::core, RLIMIT_CORE, "core"},
                                   {Resource::processes, RLIMIT_NPROC, "processes"},
                                   {Resource::open_files, RLIMIT_NOFILE, "open_files"},
                                   {Resource::locked_memory, RLIMIT_MEMLOCK, "locked_memory"},
                                   {Resource::address_space, RLIMIT_AS, "address_space"},
                                   {Resource::pending_signals, RLIMIT_SIGPENDING, "pending_signals"},
                                   {Resource::message_queues, RLIMIT_MSGQUEUE, "message_queues"},
                                   {Resource::nice, RLIMIT_NICE, "nice"},
                                   {Resource::realtime_priority, RLIMIT_RTPRIO, "realtime_priority"}}) {
    CHECK(static_cast<int>(pair.ours) == pair.kernels);
    CHECK(to_string(pair.ours) == pair.name);
  }
  static_assert(ResourceLimit::unlimited == RLIM_INFINITY);
}

TEST_CASE("a limit reads with its hard one only where that is another") {
  CHECK(to_string(ResourceLimit{Resource::address_space, 1 << 30}) == "address_space 1073741824");
  CHECK(to_string(ResourceLimit{Resource::cpu, 10, 20}) == "cpu 10 to 20");
  CHECK(to_string(ResourceLimit{Resource::cpu, 10, 10}) == "cpu 10");
  CHECK(to_string(ResourceLimit{Resource::core, ResourceLimit::unlimited}) == "core unlimited");
  CHECK(to_string(ResourceLimit{Resource::core, 0, ResourceLimit::unlimited}) == "core 0 to unlimited");
}

// --- Filters

TEST_CASE("a seccomp filter has 1 to 4096 instructions") {
  CHECK(refusal(0) == "cloister: privileges: seccomp: a filter has 1 to 4096 instructions, not 0");
  CHECK(refusal(4097) == "cloister: privileges: seccomp: a filter has 1 to 4096 instructions, not 4097");
  CHECK(SeccompFilter({allow}).instructions().size() == 1);
  CHECK(SeccompFilter(std::vector<::sock_filter>(4096, allow)).instructions().size() == 4096);
  CHECK(SeccompFilter{}.instructions().empty());
}

TEST_CASE("filters are equal if their instructions are") {
  CHECK(SeccompFilter({allow}) == SeccompFilter({allow}));
  CHECK(SeccompFilter({allow}) != SeccompFilter({allow, allow}));
  CHECK(SeccompFilter({allow}) != SeccompFilter{});
  for (::sock_filter const& other : {::sock_filter{BPF_LD, 0, 0, allow.k}, ::sock_filter{allow.code, 1, 0, allow.k},
                                     ::sock_filter{allow.code, 0, 1, allow.k}, ::sock_filter{allow.code, 0, 0, 0}})
    CHECK(SeccompFilter({allow}) != SeccompFilter({other}));
}

// --- The whole

TEST_CASE("by default nothing is taken") {
  Privileges const same;
  CHECK_FALSE(same.no_new_privs);
  CHECK(same.capabilities.inherited());
  CHECK(same.limits.empty());
  CHECK_FALSE(same.forbid_nesting);
  CHECK(same.seccomp.instructions().empty());
  CHECK(to_string(same) == "");
  static_assert(std::is_aggregate_v<Privileges> && std::is_copy_assignable_v<Privileges>);
}

TEST_CASE("privileges read as what is set, in one order") {
  Privileges const all{.no_new_privs = true,
                       .capabilities = Capabilities::none(),
                       .limits = {{Resource::cpu, 10}, {Resource::core, 0}},
                       .forbid_nesting = true,
                       .seccomp = SeccompFilter({allow, allow})};
  CHECK(to_string(all) ==
        "no_new_privs, capabilities none, limits cpu 10 core 0, forbid_nesting, seccomp 2 instructions");
  CHECK(to_string(Privileges{.seccomp = SeccompFilter({allow})}) == "seccomp 1 instruction");
  CHECK(to_string(Privileges{.limits = {{Resource::cpu, 1, 2}}}) == "limits cpu 1 to 2");
  Privileges const other = all;
  CHECK(other == all);
  CHECK(other != Privileges{});
}
