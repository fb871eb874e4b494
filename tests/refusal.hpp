// Kernels that lack a call, and filters that forbid one, played by a seccomp filter in a process of the test's own.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kinds.hpp"

namespace test {

#if defined(__x86_64__)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_AARCH64;
#elif defined(__riscv)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_RISCV64;
#elif defined(__s390x__)
inline constexpr std::uint32_t audit_arch = AUDIT_ARCH_S390X;
#else
#error "the name of this architecture in linux/audit.h is missing here"
#endif

struct Refusal {
  long call;
  int error;
  std::optional<std::uint32_t> argument{};  // only where one argument has this value
  unsigned index = 0;                       // the argument's
  std::optional<std::uint32_t> last{};      // or any value from that one to this one
  bool kills = false;                       // the caller, with SIGSYS, in place of the error
};
inline Refusal killing(long call) { return {call, 0, {}, 0, {}, true}; }

// From now on, in this thread and all it starts, the kernel refuses these.
inline void refuse(std::vector<Refusal> const& refusals) {
  auto const load = [](std::size_t offset) {
    return sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
  };
  auto const pass = [](unsigned test, std::uint32_t value, unsigned skipped_otherwise) {
    return sock_filter BPF_JUMP(static_cast<unsigned short>(BPF_JMP | test | BPF_K), value, 0,
                                static_cast<unsigned char>(skipped_otherwise));
  };
  constexpr std::size_t low_half = std::endian::native == std::endian::big ? sizeof(std::uint32_t) : 0;
  // To a program of another architecture, which the same kernel may run, the numbers are other calls.
  std::vector<sock_filter> program{load(offsetof(seccomp_data, arch)),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, audit_arch, 1, 0),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  for (Refusal const& one : refusals) {
    program.push_back(load(offsetof(seccomp_data, nr)));
    program.push_back(pass(BPF_JEQ, static_cast<std::uint32_t>(one.call), one.argument ? 4 : 1));
    if (one.argument) {
      program.push_back(load(offsetof(seccomp_data, args) + one.index * sizeof(std::uint64_t) + low_half));
      program.push_back(pass(BPF_JGE, *one.argument, 2));
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, one.last.value_or(*one.argument), 1, 0));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, one.kills ? SECCOMP_RET_KILL_PROCESS
                                                          : SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(one.error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  EXPECT(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  EXPECT(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0);
}

// A request of ioctl(2), and all by which pidfds give namespaces.
inline Refusal request(unsigned long which) { return {SYS_ioctl, ENOTTY, static_cast<std::uint32_t>(which), 1}; }
inline Refusal namespace_requests() {
  Refusal all = request(cloister::detail::kernel::pidfd_get_cgroup_namespace);
  all.last = static_cast<std::uint32_t>(cloister::detail::kernel::pidfd_get_uts_namespace);
  return all;
}

}  // namespace test
