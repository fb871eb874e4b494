// The seccomp filter of Isolation::untrusted().
#pragma once

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <bit>
#include <cerrno>
#include <cstddef>

#include "../privileges.hpp"

namespace cloister::detail {

// Instructions as they are put together: a vector that is inserted into costs each including file a hundredth of a second.
struct FilterText {
  ::sock_filter instructions[128];
  std::uint8_t size = 0;
  void put(std::uint16_t code, std::uint8_t if_true, std::uint8_t if_false, std::uint32_t operand) noexcept {
    instructions[size++] = {code, if_true, if_false, operand};
  }
  void answer(std::uint32_t action) noexcept { put(BPF_RET | BPF_K, 0, 0, action); }
  void append(FilterText const& other) noexcept {
    for (std::uint8_t i = 0; i < other.size; ++i) instructions[size++] = other.instructions[i];
  }
};

// The numbers of calls on one kind of machine.
struct CallNumbers {
  std::uint32_t arch, add_key, socket, setsockopt, perf_event_open, syslog;
  std::uint32_t setsockopt_again = 0;  // where it has another number as well
  std::uint32_t socketcall = 0;        // where programs still use it
};

// Refuses what reaches out of every namespace:
//   add_key, request_key, keyctl  as a kernel without them would. Keys belong to users of the host: a process of the same one may
//                                 link that user's key ring into its own, and then read it and empty it.
//   sockets of vsock(7), qrtr     which lead to whatever listens there on this machine, the one that it runs on, and its modem
//   perf_event_open, syslog       by which other processes and the kernel's messages are seen, where the machine's settings allow it
//   io_uring                      which makes sockets past every filter
//   SO_LINGER of socket(7)        without a word, so that programs go on. A callable can send its sockets to the host, which would wait
//                                 where it closes them
inline SeccompFilter without_host_wide_calls() {
  static_assert(SYS_request_key == SYS_add_key + 1 && SYS_keyctl == SYS_add_key + 2);
  constexpr std::uint32_t x32 = 0x4000'0000;
  constexpr auto number = [](long call) { return static_cast<std::uint32_t>(call) & ~x32; };
  CallNumbers own{0, number(SYS_add_key), number(SYS_socket), number(SYS_setsockopt), number(SYS_perf_event_open), number(SYS_syslog)};
#if defined(SYS_socketcall)
  own.socketcall = SYS_socketcall;
#endif
  // The other numbering that programs may use. Machines that are not named here are taken to have one only.
#if defined(__x86_64__)
  CallNumbers const other{AUDIT_ARCH_I386, 286, 359, 366, 336, 103, 0, 102};
  own.setsockopt_again = 541;  // of x32
#elif defined(__aarch64__)
  CallNumbers const other{AUDIT_ARCH_ARM, 309, 281, 294, 364, 103};
#else
  CallNumbers const other = own;
#endif
  constexpr std::uint32_t io_uring_setup = 425, io_uring_register = 427;  // everywhere
  constexpr std::uint32_t af_vsock = 40, af_qipcrtr = 42;
  // The half of it that an int is.
  auto const argument = [](std::size_t index) {
    return static_cast<std::uint32_t>(offsetof(::seccomp_data, args) + index * sizeof(std::uint64_t) +
                                      (std::endian::native == std::endian::big ? sizeof(std::uint32_t) : 0));
  };
  constexpr std::uint16_t load = BPF_LD | BPF_W | BPF_ABS, equal = BPF_JMP | BPF_JEQ | BPF_K, at_least = BPF_JMP | BPF_JGE | BPF_K,
                          above = BPF_JMP | BPF_JGT | BPF_K;

  auto const refusals = [&](CallNumbers const& calls) {
    FilterText part;
    part.put(load, 0, 0, offsetof(::seccomp_data, nr));
    part.put(BPF_ALU | BPF_AND | BPF_K, 0, 0, ~x32);
    auto const refuse = [&](std::uint32_t first, std::uint32_t last, std::uint32_t error) {
      part.put(at_least, 0, 2, first);
      part.put(above, 1, 0, last);
      part.answer(SECCOMP_RET_ERRNO | error);
    };
    refuse(calls.add_key, calls.add_key + 2, ENOSYS);
    refuse(io_uring_setup, io_uring_register, ENOSYS);
    refuse(calls.perf_event_open, calls.perf_event_open, EPERM);
    refuse(calls.syslog, calls.syslog, EPERM);
    // What a filter cannot look into: such a program has no sockets.
    if (calls.socketcall != 0) refuse(calls.socketcall, calls.socketcall, ENOSYS);
    for (std::uint32_t const call : {calls.setsockopt, calls.setsockopt_again}) {
      if (call == 0) continue;
      part.put(equal, 0, 6, call);
      part.put(load, 0, 0, argument(1));
      part.put(equal, 0, 3, SOL_SOCKET);
      part.put(load, 0, 0, argument(2));
      part.put(equal, 0, 1, SO_LINGER);
      part.answer(SECCOMP_RET_ERRNO);
      part.answer(SECCOMP_RET_ALLOW);
    }
    part.put(equal, 0, 4, calls.socket);
    part.put(load, 0, 0, argument(0));
    part.put(equal, 1, 0, af_vsock);
    part.put(equal, 0, 1, af_qipcrtr);
    part.answer(SECCOMP_RET_ERRNO | EAFNOSUPPORT);
    part.answer(SECCOMP_RET_ALLOW);
    return part;
  };
  FilterText const of_own = refusals(own), of_other = refusals(other);
  FilterText filter;
  filter.put(load, 0, 0, offsetof(::seccomp_data, arch));
  filter.put(equal, of_own.size, 0, other.arch);
  filter.append(of_own);
  filter.append(of_other);
  std::vector<::sock_filter> instructions(filter.size);
  for (std::uint8_t i = 0; i < filter.size; ++i) instructions[i] = filter.instructions[i];
  return instructions;
}

}  // namespace cloister::detail
