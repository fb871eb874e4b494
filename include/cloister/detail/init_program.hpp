// The init of Init::reaper as a program of its own, so that PID 1 need not be a copy of the host: a program's start stays as cheap as
// the host is large. What run_init() of init.hpp does in a forked copy, this does in a page of machine code, without a library.
#pragma once

#include <elf.h>

#include <cstring>

#include "../file_descriptor.hpp"
#include "blocked_signals.hpp"
#include "channel.hpp"
#include "syscall.hpp"

namespace cloister::detail {

// Where the program finds what it needs: the channel, and a pipe at whose other end PID 2 waits for a byte: that it has begun.
inline constexpr int init_channel = 0;
inline constexpr int init_begun = 1;

#if defined(__x86_64__)

static_assert(static_cast<int>(MessageKind::ended) == 6 && offsetof(Message, value) == 8, "as in the code below");

// Inherits every signal blocked. Its memory is no business of those inside, so it says that first, and only then lets PID 2 go on.
asm(R"(
  .pushsection .rodata.cloister_init_program, "aG", @progbits, cloister_init_program, comdat
  .weak cloister_init_program_begin
  .hidden cloister_init_program_begin
  .weak cloister_init_program_end
  .hidden cloister_init_program_end
cloister_init_program_begin:
  subq $256, %rsp                # 0: siginfo, 128: signal mask, 160: message
  movl $157, %eax                # prctl(PR_SET_DUMPABLE, 0)
  movl $4, %edi
  xorl %esi, %esi
  syscall
  movl $157, %eax                # prctl(PR_SET_NAME, "cloister-init")
  movl $15, %edi
  leaq 6f(%rip), %rsi
  syscall
9:
  movl $1, %eax                  # write(init_begun, any byte, 1)
  movl $1, %edi
  leaq 6f(%rip), %rsi
  movl $1, %edx
  syscall
  cmpl $-4, %eax                 # EINTR
  je 9b
  movl $3, %eax                  # close(init_begun)
  movl $1, %edi
  syscall
  movq $-1, 128(%rsp)
  movl $1000, %r12d
1:                               # next signal
  movl $128, %eax                # rt_sigtimedwait(all, &info, no time-out, 8)
  leaq 128(%rsp), %rdi
  movq %rsp, %rsi
  xorl %edx, %edx
  movl $8, %r10d
  syscall
  testl %eax, %eax
  jg 8f
  decl %r12d                     # patience
  jnz 1b
  movl $127, %ebx
  jmp 4f
8:
  cmpl $17, %eax                 # SIGCHLD
  je 2f
  cmpl $0, 8(%rsp)               # si_code: what the kernel sends has reached the main process by itself
  jg 1b
  movl %eax, %esi                # kill(2, signal)
  movl $2, %edi
  movl $62, %eax
  syscall
  jmp 1b
2:                               # reap
  movl $61, %eax                 # wait4(any, &status, WNOHANG | __WALL, no usage)
  movq $-1, %rdi
  leaq 168(%rsp), %rsi
  movl $0x40000001, %edx
  xorl %r10d, %r10d
  syscall
  testl %eax, %eax
  jz 1b
  cmpl $-10, %eax                # ECHILD
  je 1b
  testl %eax, %eax
  jns 7f
  decl %r12d                     # patience
  jnz 2b
  movl $127, %ebx
  jmp 4f
7:
  cmpl $2, %eax
  jne 2b
  movl 168(%rsp), %ecx           # ended: its wait status; our own exit status goes to ebx
  movl %ecx, %ebx
  shrl $8, %ebx
  andl $0xff, %ebx
  testl $0x7f, %ecx
  jz 3f
  andl $0x7f, %ecx
  leal 128(%rcx), %ebx
3:
  movq $6, 160(%rsp)             # MessageKind::ended; the status is in its place already
  movl $0, 172(%rsp)
  movq $0, 176(%rsp)
  movl $44, %eax                 # sendto(init_channel, message, 24, MSG_DONTWAIT | MSG_NOSIGNAL)
  xorl %edi, %edi
  leaq 160(%rsp), %rsi
  movl $24, %edx
  movl $0x4040, %r10d
  xorl %r8d, %r8d
  xorl %r9d, %r9d
  syscall
4:
  movl $231, %eax                # exit_group
  movl %ebx, %edi
  syscall
  ud2
6:
  .asciz "cloister-init"
cloister_init_program_end:
  .popsection
)");
extern "C" {
extern __attribute__((visibility("hidden"))) unsigned char const cloister_init_program_begin[];
extern __attribute__((visibility("hidden"))) unsigned char const cloister_init_program_end[];
}

// A descriptor of the program, sealed; empty where the machine does not let memory be executed, or the host is to write no files.
inline FileDescriptor make_init_program() {
  struct {
    ::Elf64_Ehdr header;
    ::Elf64_Phdr segments[2];
  } start{};
  static_assert(sizeof start == sizeof(::Elf64_Ehdr) + 2 * sizeof(::Elf64_Phdr));
  auto const size = static_cast<std::size_t>(cloister_init_program_end - cloister_init_program_begin);
  constexpr std::uint64_t base = 0x400000;
  std::memcpy(start.header.e_ident, ELFMAG, SELFMAG);
  start.header.e_ident[EI_CLASS] = ELFCLASS64;
  start.header.e_ident[EI_DATA] = ELFDATA2LSB;
  start.header.e_ident[EI_VERSION] = EV_CURRENT;
  start.header.e_type = ET_EXEC;
  start.header.e_machine = EM_X86_64;
  start.header.e_version = EV_CURRENT;
  start.header.e_entry = base + sizeof start;
  start.header.e_phoff = sizeof start.header;
  start.header.e_ehsize = sizeof start.header;
  start.header.e_phentsize = sizeof(::Elf64_Phdr);
  start.header.e_phnum = 2;
  start.segments[0].p_type = PT_LOAD;
  start.segments[0].p_flags = PF_R | PF_X;
  start.segments[0].p_vaddr = start.segments[0].p_paddr = base;
  start.segments[0].p_filesz = start.segments[0].p_memsz = sizeof start + size;
  start.segments[0].p_align = 4096;
  start.segments[1].p_type = PT_GNU_STACK;
  start.segments[1].p_flags = PF_R | PF_W;

  constexpr unsigned mfd_exec = 0x10;  // Linux 6.3, without which a sysctl may take the right to be executed
  constexpr unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = sys::memfd_create("cloister-init", flags | mfd_exec);
  if (fd == -EINVAL) fd = sys::memfd_create("cloister-init", flags);
  if (fd < 0) return {};
  FileDescriptor program = above_stdio(fd);
  SuppressedSignal const no_sigxfsz{SIGXFSZ};
  auto const put = [&](void const* bytes, std::size_t count) {
    return sys::write(program.get(), bytes, count) == static_cast<long>(count);
  };
  constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
  if (!put(&start, sizeof start) || !put(cloister_init_program_begin, size) || sys::fcntl(program.get(), F_ADD_SEALS, seals) < 0) return {};
  return program;
}

#else

// There is none for this architecture: PID 1 is a forked copy then.
inline FileDescriptor make_init_program() { return {}; }

#endif

}  // namespace cloister::detail
