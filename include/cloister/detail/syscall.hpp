// Every system call of cloister, and nothing else. Each function returns what the kernel returns: a result, or a negative errno.
// None allocates, locks, throws or (on the architectures below) touches errno, so all may run in a child that shares the memory of
// a threaded parent, between clone and execve.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "kernel.hpp"

// Code that runs in such a child stays uninstrumented: a sanitizer's run-time would take the borrowed stack for the thread's own.
#define CLOISTER_DETAIL_CHILD_SIDE \
  __attribute__((no_sanitize("address"), no_sanitize("thread"), no_sanitize("undefined")))

namespace cloister::detail::sys {

static_assert(sizeof(long) == 8, "cloister: 64-bit Linux only");

#if defined(__x86_64__)
CLOISTER_DETAIL_CHILD_SIDE inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                                            long f = 0) noexcept {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
CLOISTER_DETAIL_CHILD_SIDE inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                                            long f = 0) noexcept {
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}
#elif defined(__riscv)
CLOISTER_DETAIL_CHILD_SIDE inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                                            long f = 0) noexcept {
  register long a7 asm("a7") = number;
  register long a0 asm("a0") = a;
  register long a1 asm("a1") = b;
  register long a2 asm("a2") = c;
  register long a3 asm("a3") = d;
  register long a4 asm("a4") = e;
  register long a5 asm("a5") = f;
  asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
  return a0;
}
#else
CLOISTER_DETAIL_CHILD_SIDE inline long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                                            long f = 0) noexcept {
  int const saved = errno;
  long result = ::syscall(number, a, b, c, d, e, f);
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}
#endif

// Numbers that old libc headers lack. They are the same on every architecture (alpha apart) since Linux 5.1.
namespace number {
inline constexpr long pidfd_send_signal = 424;
inline constexpr long open_tree = 428;
inline constexpr long move_mount = 429;
inline constexpr long fsopen = 430;
inline constexpr long fsconfig = 431;
inline constexpr long fsmount = 432;
inline constexpr long pidfd_open = 434;
inline constexpr long clone3 = 435;
inline constexpr long close_range = 436;
inline constexpr long openat2 = 437;
inline constexpr long mount_setattr = 442;
}  // namespace number

template <class T>
CLOISTER_DETAIL_CHILD_SIDE inline long arg(T* pointer) noexcept {
  return reinterpret_cast<long>(pointer);
}

// --- descriptors

CLOISTER_DETAIL_CHILD_SIDE inline int openat(int dir, char const* path, int flags, unsigned mode = 0) noexcept {
  long result;
  do result = call(SYS_openat, dir, arg(path), flags, mode);
  while (result == -EINTR);
  return static_cast<int>(result);
}
// The descriptor is gone whatever this returns, also with EINTR: never call it twice.
CLOISTER_DETAIL_CHILD_SIDE inline int close(int fd) noexcept { return static_cast<int>(call(SYS_close, fd)); }
CLOISTER_DETAIL_CHILD_SIDE inline int close_range(unsigned first, unsigned last, unsigned flags) noexcept {
  return static_cast<int>(call(number::close_range, first, last, flags));
}
CLOISTER_DETAIL_CHILD_SIDE inline long read(int fd, void* to, std::size_t size) noexcept {
  long result;
  do result = call(SYS_read, fd, arg(to), static_cast<long>(size));
  while (result == -EINTR);
  return result;
}
CLOISTER_DETAIL_CHILD_SIDE inline long pread(int fd, void* to, std::size_t size, long offset) noexcept {
  long result;
  do result = call(SYS_pread64, fd, arg(to), static_cast<long>(size), offset);
  while (result == -EINTR);
  return result;
}
CLOISTER_DETAIL_CHILD_SIDE inline long write(int fd, void const* from, std::size_t size) noexcept {
  long result;
  do result = call(SYS_write, fd, arg(from), static_cast<long>(size));
  while (result == -EINTR);
  return result;
}
CLOISTER_DETAIL_CHILD_SIDE inline int dup3(int from, int to, int flags) noexcept {
  long result;
  do result = call(SYS_dup3, from, to, flags);
  while (result == -EINTR);
  return static_cast<int>(result);
}
CLOISTER_DETAIL_CHILD_SIDE inline int fcntl(int fd, int command, long argument = 0) noexcept {
  return static_cast<int>(call(SYS_fcntl, fd, command, argument));
}
CLOISTER_DETAIL_CHILD_SIDE inline int ioctl(int fd, unsigned long request, long argument = 0) noexcept {
  return static_cast<int>(call(SYS_ioctl, fd, static_cast<long>(request), argument));
}
CLOISTER_DETAIL_CHILD_SIDE inline int pipe2(int (&ends)[2], int flags) noexcept {
  return static_cast<int>(call(SYS_pipe2, arg(ends), flags));
}
inline int memfd_create(char const* name, unsigned flags) noexcept {
  return static_cast<int>(call(SYS_memfd_create, arg(name), flags));
}
inline int fstat(int fd, struct ::stat* out) noexcept { return ::fstat(fd, out) == 0 ? 0 : -errno; }
inline int stat(char const* path, struct ::stat* out) noexcept { return ::stat(path, out) == 0 ? 0 : -errno; }
inline int fstatat(int dir, char const* path, struct ::stat* out, int flags) noexcept {
  return ::fstatat(dir, path, out, flags) == 0 ? 0 : -errno;
}
inline int statx(int dir, char const* path, int flags, unsigned mask, struct ::statx* out) noexcept {
  return ::statx(dir, path, flags, mask, out) == 0 ? 0 : -errno;
}
CLOISTER_DETAIL_CHILD_SIDE inline int fstatfs(int fd, struct ::statfs* out) noexcept {
  return static_cast<int>(call(SYS_fstatfs, fd, arg(out)));
}
CLOISTER_DETAIL_CHILD_SIDE inline long readlinkat(int dir, char const* path, char* to, std::size_t size) noexcept {
  return call(SYS_readlinkat, dir, arg(path), arg(to), static_cast<long>(size));
}
CLOISTER_DETAIL_CHILD_SIDE inline long getdents64(int fd, void* to, std::size_t size) noexcept {
  return call(SYS_getdents64, fd, arg(to), static_cast<long>(size));
}
CLOISTER_DETAIL_CHILD_SIDE inline int chdir(char const* path) noexcept {
  return static_cast<int>(call(SYS_chdir, arg(path)));
}
// Waits at most `timeout` (null: for ever). EINTR is returned, because the caller owns the deadline.
CLOISTER_DETAIL_CHILD_SIDE inline int poll(::pollfd* fds, unsigned count, ::timespec const* timeout) noexcept {
  ::timespec copy{};
  if (timeout != nullptr) copy = *timeout;  // the kernel writes what is left into it
  return static_cast<int>(call(SYS_ppoll, arg(fds), count, timeout != nullptr ? arg(&copy) : 0, 0, sizeof(std::uint64_t)));
}

// --- sockets

CLOISTER_DETAIL_CHILD_SIDE inline int socket(int domain, int type, int protocol) noexcept {
  return static_cast<int>(call(SYS_socket, domain, type, protocol));
}
inline int socketpair(int type, int (&ends)[2]) noexcept {
  return static_cast<int>(call(SYS_socketpair, AF_UNIX, type, 0, arg(ends)));
}
inline int setsockopt(int fd, int level, int option, int value) noexcept {
  return static_cast<int>(call(SYS_setsockopt, fd, level, option, arg(&value), sizeof value));
}
CLOISTER_DETAIL_CHILD_SIDE inline long sendmsg(int fd, ::msghdr const* message, int flags) noexcept {
  long result;
  do result = call(SYS_sendmsg, fd, arg(message), flags);
  while (result == -EINTR);
  return result;
}
CLOISTER_DETAIL_CHILD_SIDE inline long send(int fd, void const* from, std::size_t size, int flags) noexcept {
  long result;
  do result = call(SYS_sendto, fd, arg(from), static_cast<long>(size), flags);
  while (result == -EINTR);
  return result;
}
CLOISTER_DETAIL_CHILD_SIDE inline long recv(int fd, void* to, std::size_t size, int flags) noexcept {
  long result;
  do result = call(SYS_recvfrom, fd, arg(to), static_cast<long>(size), flags);
  while (result == -EINTR);
  return result;
}
inline long recvmsg(int fd, ::msghdr* message, int flags) noexcept {
  long result;
  do result = call(SYS_recvmsg, fd, arg(message), flags);
  while (result == -EINTR);
  return result;
}

// --- namespaces

CLOISTER_DETAIL_CHILD_SIDE inline int unshare(std::uint64_t flags) noexcept {
  return static_cast<int>(call(SYS_unshare, static_cast<long>(flags)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int setns(int fd, std::uint64_t flags) noexcept {
  return static_cast<int>(call(SYS_setns, fd, static_cast<long>(flags)));
}
// Opens a namespace by its 64-bit number.
inline int open_nsfs_handle(kernel::nsfs_handle* handle) noexcept {
  return static_cast<int>(call(SYS_open_by_handle_at, kernel::fd_nsfs_root, arg(handle), O_RDONLY | O_CLOEXEC));
}
CLOISTER_DETAIL_CHILD_SIDE inline int sethostname(char const* name, std::size_t size) noexcept {
  return static_cast<int>(call(SYS_sethostname, arg(name), static_cast<long>(size)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int setdomainname(char const* name, std::size_t size) noexcept {
  return static_cast<int>(call(SYS_setdomainname, arg(name), static_cast<long>(size)));
}
inline int uname(::utsname* out) noexcept { return static_cast<int>(call(SYS_uname, arg(out))); }
CLOISTER_DETAIL_CHILD_SIDE inline int mount(char const* source, char const* target, char const* type, unsigned long flags,
                                            char const* data) noexcept {
  return static_cast<int>(call(SYS_mount, arg(source), arg(target), arg(type), static_cast<long>(flags), arg(data)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int umount2(char const* target, int flags) noexcept {
  return static_cast<int>(call(SYS_umount2, arg(target), flags));
}
CLOISTER_DETAIL_CHILD_SIDE inline int pivot_root(char const* new_root, char const* put_old) noexcept {
  return static_cast<int>(call(SYS_pivot_root, arg(new_root), arg(put_old)));
}

// --- mounts by descriptor

// A detached copy of the mount at `path`, with AT_RECURSIVE of those below it as well.
CLOISTER_DETAIL_CHILD_SIDE inline int open_tree(int dir, char const* path, unsigned flags) noexcept {
  return static_cast<int>(call(number::open_tree, dir, arg(path), flags));
}
// Attaches the mount of one descriptor to the place of another.
CLOISTER_DETAIL_CHILD_SIDE inline int move_mount(int mount, int target) noexcept {
  return static_cast<int>(call(number::move_mount, mount, arg(""), target, arg(""),
                               kernel::move_mount_f_empty_path | kernel::move_mount_t_empty_path));
}
CLOISTER_DETAIL_CHILD_SIDE inline int fsopen(char const* type) noexcept {
  return static_cast<int>(call(number::fsopen, arg(type), kernel::fsopen_cloexec));
}
CLOISTER_DETAIL_CHILD_SIDE inline int fsconfig(int context, unsigned command, char const* key = nullptr,
                                               char const* value = nullptr) noexcept {
  return static_cast<int>(call(number::fsconfig, context, command, arg(key), arg(value), 0));
}
CLOISTER_DETAIL_CHILD_SIDE inline int fsmount(int context, std::uint64_t attributes) noexcept {
  return static_cast<int>(call(number::fsmount, context, kernel::fsmount_cloexec, static_cast<long>(attributes)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int mount_setattr(int mount, int flags, kernel::mount_attr const* attributes) noexcept {
  return static_cast<int>(call(number::mount_setattr, mount, arg(""), AT_EMPTY_PATH | flags, arg(attributes), sizeof *attributes));
}

// --- files of a new root

// EAGAIN: a rename raced with the walk, so it is walked again.
CLOISTER_DETAIL_CHILD_SIDE inline int openat2(int dir, char const* path, kernel::open_how const* how) noexcept {
  long result;
  int tries = 100;
  do result = call(number::openat2, dir, arg(path), arg(how), sizeof *how);
  while (result == -EINTR || (result == -EAGAIN && --tries > 0));
  return static_cast<int>(result);
}
CLOISTER_DETAIL_CHILD_SIDE inline int mkdirat(int dir, char const* path, unsigned mode) noexcept {
  return static_cast<int>(call(SYS_mkdirat, dir, arg(path), mode));
}
inline int unlinkat(int dir, char const* path) noexcept {
  return static_cast<int>(call(SYS_unlinkat, dir, arg(path), 0));
}
CLOISTER_DETAIL_CHILD_SIDE inline int fchmod(int fd, unsigned mode) noexcept {
  return static_cast<int>(call(SYS_fchmod, fd, mode));
}
CLOISTER_DETAIL_CHILD_SIDE inline int symlinkat(char const* points_to, int dir, char const* path) noexcept {
  return static_cast<int>(call(SYS_symlinkat, arg(points_to), dir, arg(path)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int fchdir(int dir) noexcept { return static_cast<int>(call(SYS_fchdir, dir)); }
CLOISTER_DETAIL_CHILD_SIDE inline unsigned umask(unsigned mask) noexcept {
  return static_cast<unsigned>(call(SYS_umask, mask));
}
// Of the descriptor itself, which may be an O_PATH one. stx_mask is not looked at: all file systems that matter have these fields.
CLOISTER_DETAIL_CHILD_SIDE inline int statx_fd(int fd, struct ::statx* out) noexcept {
  return static_cast<int>(call(SYS_statx, fd, arg(""), AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, arg(out)));
}

// --- ids and privileges of the calling thread alone (glibc's functions would change every thread)

CLOISTER_DETAIL_CHILD_SIDE inline int setgroups(std::size_t count, std::uint32_t const* groups) noexcept {
  return static_cast<int>(call(SYS_setgroups, static_cast<long>(count), arg(groups)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int setresuid(std::uint32_t id) noexcept {
  return static_cast<int>(call(SYS_setresuid, id, id, id));
}
CLOISTER_DETAIL_CHILD_SIDE inline int setresgid(std::uint32_t id) noexcept {
  return static_cast<int>(call(SYS_setresgid, id, id, id));
}
CLOISTER_DETAIL_CHILD_SIDE inline std::uint32_t geteuid() noexcept { return static_cast<std::uint32_t>(call(SYS_geteuid)); }
CLOISTER_DETAIL_CHILD_SIDE inline std::uint32_t getegid() noexcept { return static_cast<std::uint32_t>(call(SYS_getegid)); }
CLOISTER_DETAIL_CHILD_SIDE inline int capget(kernel::capability_header* header, kernel::capability_data* data) noexcept {
  return static_cast<int>(call(SYS_capget, arg(header), arg(data)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int capset(kernel::capability_header* header, kernel::capability_data const* data) noexcept {
  return static_cast<int>(call(SYS_capset, arg(header), arg(data)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int prctl(int option, long a = 0, long b = 0, long c = 0, long d = 0) noexcept {
  return static_cast<int>(call(SYS_prctl, option, a, b, c, d));
}

CLOISTER_DETAIL_CHILD_SIDE inline int getrlimit(int resource, ::rlimit* out) noexcept {
  return static_cast<int>(call(SYS_prlimit64, 0, resource, 0, arg(out)));
}
CLOISTER_DETAIL_CHILD_SIDE inline int setrlimit(int resource, ::rlimit const* limit) noexcept {
  return static_cast<int>(call(SYS_prlimit64, 0, resource, arg(limit), 0));
}
CLOISTER_DETAIL_CHILD_SIDE inline long keyctl(int operation, long a = 0) noexcept { return call(SYS_keyctl, operation, a); }

// --- processes

CLOISTER_DETAIL_CHILD_SIDE inline int getpid() noexcept { return static_cast<int>(call(SYS_getpid)); }
CLOISTER_DETAIL_CHILD_SIDE inline int getppid() noexcept { return static_cast<int>(call(SYS_getppid)); }
CLOISTER_DETAIL_CHILD_SIDE inline int gettid() noexcept { return static_cast<int>(call(SYS_gettid)); }
CLOISTER_DETAIL_CHILD_SIDE inline int kill(int pid, int signal) noexcept {
  return static_cast<int>(call(SYS_kill, pid, signal));
}
inline int tgkill(int pid, int tid, int signal) noexcept { return static_cast<int>(call(SYS_tgkill, pid, tid, signal)); }
inline int sched_yield() noexcept { return static_cast<int>(call(SYS_sched_yield)); }
CLOISTER_DETAIL_CHILD_SIDE inline int setsid() noexcept { return static_cast<int>(call(SYS_setsid)); }
CLOISTER_DETAIL_CHILD_SIDE inline int setpgid(int pid, int group) noexcept {
  return static_cast<int>(call(SYS_setpgid, pid, group));
}
CLOISTER_DETAIL_CHILD_SIDE inline int execve(char const* path, char const* const* argv, char const* const* envp) noexcept {
  return static_cast<int>(call(SYS_execve, arg(path), arg(argv), arg(envp)));
}
// Executes the file of a descriptor.
CLOISTER_DETAIL_CHILD_SIDE inline int execveat_fd(int fd, char const* const* argv, char const* const* envp) noexcept {
  return static_cast<int>(call(SYS_execveat, fd, arg(""), arg(argv), arg(envp), AT_EMPTY_PATH));
}
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void exit(int status) noexcept {
  for (;;) call(SYS_exit_group, status);
}
CLOISTER_DETAIL_CHILD_SIDE inline int waitid(int type, int id, ::siginfo_t* info, int options) noexcept {
  long result;
  do result = call(SYS_waitid, type, id, arg(info), options);
  while (result == -EINTR);
  return static_cast<int>(result);
}
CLOISTER_DETAIL_CHILD_SIDE inline int wait4(int pid, int* status, int options) noexcept {
  long result;
  do result = call(SYS_wait4, pid, arg(status), options, 0);
  while (result == -EINTR);
  return static_cast<int>(result);
}
CLOISTER_DETAIL_CHILD_SIDE inline int pidfd_open(int pid, unsigned flags = 0) noexcept {
  return static_cast<int>(call(number::pidfd_open, pid, flags));
}
CLOISTER_DETAIL_CHILD_SIDE inline int pidfd_send_signal(int pidfd, int signal, unsigned flags = 0) noexcept {
  return static_cast<int>(call(number::pidfd_send_signal, pidfd, signal, 0, flags));
}

// What the C library finds the calling thread's variables by.
inline void* thread_pointer() noexcept {
#if defined(__x86_64__)
  void* pointer;
  asm("mov %%fs:0, %0" : "=r"(pointer));
  return pointer;
#else
  return __builtin_thread_pointer();
#endif
}

// Waits while `*word` is `value`, at most that long. The kernel's own wake-up (CLONE_CHILD_CLEARTID) is of the shared kind, so this is
// too. futex(2).
inline int futex_wait(int const* word, int value, ::timespec const* timeout = nullptr) noexcept {
  return static_cast<int>(call(SYS_futex, arg(word), 0, value, arg(timeout)));
}
// Wakes all that wait for the word to change, also in other processes that share the memory.
inline int futex_wake(int const* word) noexcept { return static_cast<int>(call(SYS_futex, arg(word), 1, 0x7fffffff)); }
inline int get_robust_list(void** head, std::size_t* size) noexcept {
  return static_cast<int>(call(SYS_get_robust_list, 0, arg(head), arg(size)));
}
inline int set_robust_list(void* head, std::size_t size) noexcept {
  return static_cast<int>(call(SYS_set_robust_list, arg(head), static_cast<long>(size)));
}

// --- signals; masks have a bit a signal, signal 1 in bit 0

CLOISTER_DETAIL_CHILD_SIDE inline int sigprocmask(int how, std::uint64_t const* set, std::uint64_t* old = nullptr) noexcept {
  return static_cast<int>(call(SYS_rt_sigprocmask, how, arg(set), arg(old), sizeof *set));
}
CLOISTER_DETAIL_CHILD_SIDE inline int sigaction(int signal, kernel::signal_action const* set,
                                                kernel::signal_action* old = nullptr) noexcept {
  return static_cast<int>(call(SYS_rt_sigaction, signal, arg(set), arg(old), sizeof set->mask));
}
// By the C library, which knows how a handler returns: not where memory is shared with a parent.
inline void handle_signal(int signal, void (*handler)(int)) noexcept {
  struct ::sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  ::sigaction(signal, &action, nullptr);
}
CLOISTER_DETAIL_CHILD_SIDE inline int sigwaitinfo(std::uint64_t const* set, ::siginfo_t* info) noexcept {
  return static_cast<int>(call(SYS_rt_sigtimedwait, arg(set), arg(info), 0, sizeof *set));
}

// The next pending signal of the set, without waiting: -EAGAIN if there is none.
inline int take_pending_signal(std::uint64_t const* set) noexcept {
  ::timespec const now{};
  return static_cast<int>(call(SYS_rt_sigtimedwait, arg(set), 0, arg(&now), sizeof *set));
}
inline int sigpending(std::uint64_t* set) noexcept { return static_cast<int>(call(SYS_rt_sigpending, arg(set), sizeof *set)); }

// --- memory

inline void* mmap(std::size_t size, int protection, int flags) noexcept {
  void* const result = ::mmap(nullptr, size, protection, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return result == MAP_FAILED ? nullptr : result;
}
// Zeroed memory that a forked copy of the process shares with it.
inline void* mmap_shared(std::size_t size) noexcept {
  void* const result = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return result == MAP_FAILED ? nullptr : result;
}
inline int munmap(void* at, std::size_t size) noexcept { return static_cast<int>(call(SYS_munmap, arg(at), static_cast<long>(size))); }
inline int mprotect(void* at, std::size_t size, int protection) noexcept {
  return static_cast<int>(call(SYS_mprotect, arg(at), static_cast<long>(size), protection));
}
inline int madvise(void* at, std::size_t size, int advice) noexcept {
  return static_cast<int>(call(SYS_madvise, arg(at), static_cast<long>(size), advice));
}

// --- starting processes

// glibc's fork, not the raw call: it repairs the locks of malloc and stdio, the thread's id and its robust list, and runs the
// atfork handlers, without which a child of a threaded program may not even allocate.
inline int fork() noexcept {
  int const saved = errno;
  int result = ::fork();
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}

// clone3(2) without a stack: returns twice, like fork. Linux 5.3.
inline long clone3(kernel::clone_args const* args, std::size_t size = sizeof(kernel::clone_args)) noexcept {
  return call(number::clone3, arg(args), static_cast<long>(size));
}

// clone(2) without a stack: returns twice, like fork. `pidfd` is where CLONE_PIDFD stores, `child_tid` where the tid goes.
inline long clone(std::uint64_t flags, int* pidfd, int* child_tid) noexcept {
#if defined(__x86_64__)
  return call(SYS_clone, static_cast<long>(flags), 0, arg(pidfd), arg(child_tid), 0);
#elif defined(__s390x__)
  return call(SYS_clone, 0, static_cast<long>(flags), arg(pidfd), arg(child_tid), 0);
#else
  return call(SYS_clone, static_cast<long>(flags), 0, arg(pidfd), 0, arg(child_tid));
#endif
}

using ChildFunction = void (*)(void*) noexcept;

// clone3(2) for a child that shares our memory: it runs `function(argument)`, which must not return, on the stack in `args`.
// -ENOSYS where this file has no entry code for the architecture; clone_on_stack is the other way then.
inline long clone3_on_stack([[maybe_unused]] kernel::clone_args const* args, [[maybe_unused]] ChildFunction function,
                            [[maybe_unused]] void* argument,
                            [[maybe_unused]] std::size_t size = sizeof(kernel::clone_args)) noexcept {
#if defined(__x86_64__)
  long result;
  register ChildFunction r8 asm("r8") = function;
  register void* r9 asm("r9") = argument;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r9, %%rdi\n\t"
      "call *%%r8\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "0"(number::clone3), "D"(args), "S"(size), "r"(r8), "r"(r9)
      : "rcx", "r11", "memory", "cc");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number::clone3;
  register long x0 asm("x0") = arg(args);
  register long x1 asm("x1") = static_cast<long>(size);
  register ChildFunction x10 asm("x10") = function;
  register void* x11 asm("x11") = argument;
  asm volatile(
      "svc #0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, #0\n\t"
      "mov x30, #0\n\t"
      "mov x0, x11\n\t"
      "blr x10\n\t"
      "brk #1\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x10), "r"(x11)
      : "memory", "cc");
  return x0;
#elif defined(__riscv)
  register long a7 asm("a7") = number::clone3;
  register long a0 asm("a0") = arg(args);
  register long a1 asm("a1") = static_cast<long>(size);
  register ChildFunction a3 asm("a3") = function;
  register void* a4 asm("a4") = argument;
  asm volatile(
      "ecall\n\t"
      "bnez a0, 1f\n\t"
      "li s0, 0\n\t"
      "mv a0, a4\n\t"
      "jalr a3\n\t"
      "ebreak\n"
      "1:"
      : "+r"(a0)
      : "r"(a7), "r"(a1), "r"(a3), "r"(a4)
      : "memory");
  return a0;
#else
  return -ENOSYS;
#endif
}

struct ChildStart {
  ChildFunction function;
  void* argument;
};

// The same through clone(2), for kernels and filters without clone3: no CLONE_NEWTIME, no flag above bit 31. `start` must stay
// valid until the child has begun. `parent_word` is where CLONE_PIDFD or CLONE_PARENT_SETTID stores.
inline long clone_on_stack(std::uint64_t flags, void* stack_top, int* parent_word, void* tls, int* child_tid,
                           ChildStart* start) noexcept {
  int const saved = errno;
  long result = ::clone(
      [](void* p) CLOISTER_DETAIL_CHILD_SIDE -> int {
        auto const* begin = static_cast<ChildStart const*>(p);
        begin->function(begin->argument);
        return 0;
      },
      stack_top, static_cast<int>(flags), start, parent_word, tls, child_tid);
  if (result == -1) result = -errno;
  errno = saved;
  return result;
}

}  // namespace cloister::detail::sys
