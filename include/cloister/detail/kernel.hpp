// The kernel's numbers and structures that cloister uses, declared here because the headers installed on a machine may be years
// older than the kernel that runs on it. Names are the kernel's in lower case. Source: include/uapi/linux of Linux 6.18.
#pragma once

#if !defined(__linux__)
#error "cloister: namespaces exist on Linux only"
#endif
#if !defined(_GNU_SOURCE)
#error "cloister: define _GNU_SOURCE before the first include (g++ and clang++ do so by themselves)"
#endif

#include <cstddef>
#include <cstdint>

namespace cloister::detail::kernel {

// clone(2), clone3(2), unshare(2), setns(2)
inline constexpr std::uint64_t clone_newtime = 0x00000080;  // clone3 and unshare only: the bit lies in clone's exit signal
inline constexpr std::uint64_t clone_vm = 0x00000100;
inline constexpr std::uint64_t clone_fs = 0x00000200;
inline constexpr std::uint64_t clone_files = 0x00000400;
inline constexpr std::uint64_t clone_pidfd = 0x00001000;
inline constexpr std::uint64_t clone_vfork = 0x00004000;
inline constexpr std::uint64_t clone_parent = 0x00008000;
inline constexpr std::uint64_t clone_newns = 0x00020000;
inline constexpr std::uint64_t clone_settls = 0x00080000;
inline constexpr std::uint64_t clone_parent_settid = 0x00100000;
inline constexpr std::uint64_t clone_child_cleartid = 0x00200000;
inline constexpr std::uint64_t clone_child_settid = 0x01000000;
inline constexpr std::uint64_t clone_newcgroup = 0x02000000;
inline constexpr std::uint64_t clone_newuts = 0x04000000;
inline constexpr std::uint64_t clone_newipc = 0x08000000;
inline constexpr std::uint64_t clone_newuser = 0x10000000;
inline constexpr std::uint64_t clone_newpid = 0x20000000;
inline constexpr std::uint64_t clone_newnet = 0x40000000;
inline constexpr std::uint64_t clone_into_cgroup = 0x200000000;  // Linux 5.7

struct clone_args {
  std::uint64_t flags;
  std::uint64_t pidfd;
  std::uint64_t child_tid;
  std::uint64_t parent_tid;
  std::uint64_t exit_signal;
  std::uint64_t stack;
  std::uint64_t stack_size;
  std::uint64_t tls;
};
static_assert(sizeof(clone_args) == 64);  // CLONE_ARGS_SIZE_VER0, Linux 5.3
struct clone_args_cgroup {
  clone_args common;
  std::uint64_t set_tid;
  std::uint64_t set_tid_size;
  std::uint64_t cgroup;
};
static_assert(sizeof(clone_args_cgroup) == 88);  // CLONE_ARGS_SIZE_VER2, Linux 5.7

// pidfd_open(2), waitid(2), ioctl_pidfd(2)
inline constexpr int p_pidfd = 3;
inline constexpr unsigned pidfd_thread = 0x80;  // O_EXCL, Linux 6.9

struct pidfd_info {
  std::uint64_t mask;
  std::uint64_t cgroupid;
  std::uint32_t pid, tgid, ppid;
  std::uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  std::int32_t exit_code;
};
static_assert(sizeof(pidfd_info) == 64);  // PIDFD_INFO_SIZE_VER0, Linux 6.13
inline constexpr std::uint64_t pidfd_info_exit = 1 << 3;

// The ioctl numbers are built as _IO and friends do; the encoding is the one of x86, arm, riscv and s390.
constexpr unsigned long ioctl_number(unsigned direction, unsigned type, unsigned number, std::size_t size) {
  return (static_cast<unsigned long>(direction) << 30) | (static_cast<unsigned long>(size) << 16) |
         (static_cast<unsigned long>(type) << 8) | number;
}
#if defined(__powerpc__) || defined(__mips__) || defined(__sparc__) || defined(__alpha__)
#error "cloister: this architecture encodes ioctl numbers in another way"
#endif
inline constexpr unsigned long pidfd_get_info = ioctl_number(3, 0xFF, 11, sizeof(pidfd_info));
inline constexpr unsigned long pidfd_get_cgroup_namespace = ioctl_number(0, 0xFF, 1, 0);
inline constexpr unsigned long pidfd_get_ipc_namespace = ioctl_number(0, 0xFF, 2, 0);
inline constexpr unsigned long pidfd_get_mnt_namespace = ioctl_number(0, 0xFF, 3, 0);
inline constexpr unsigned long pidfd_get_net_namespace = ioctl_number(0, 0xFF, 4, 0);
inline constexpr unsigned long pidfd_get_pid_namespace = ioctl_number(0, 0xFF, 5, 0);
inline constexpr unsigned long pidfd_get_pid_for_children_namespace = ioctl_number(0, 0xFF, 6, 0);
inline constexpr unsigned long pidfd_get_time_namespace = ioctl_number(0, 0xFF, 7, 0);
inline constexpr unsigned long pidfd_get_time_for_children_namespace = ioctl_number(0, 0xFF, 8, 0);
inline constexpr unsigned long pidfd_get_user_namespace = ioctl_number(0, 0xFF, 9, 0);
inline constexpr unsigned long pidfd_get_uts_namespace = ioctl_number(0, 0xFF, 10, 0);

// ioctl_nsfs(2)
inline constexpr unsigned long ns_get_userns = ioctl_number(0, 0xb7, 0x1, 0);
inline constexpr unsigned long ns_get_parent = ioctl_number(0, 0xb7, 0x2, 0);
inline constexpr unsigned long ns_get_nstype = ioctl_number(0, 0xb7, 0x3, 0);
inline constexpr unsigned long ns_get_owner_uid = ioctl_number(0, 0xb7, 0x4, 0);
inline constexpr unsigned long ns_get_pid_from_pidns = ioctl_number(2, 0xb7, 0x6, sizeof(int));  // Linux 6.11
inline constexpr unsigned long ns_get_pid_in_pidns = ioctl_number(2, 0xb7, 0x8, sizeof(int));
inline constexpr unsigned long ns_get_id = ioctl_number(2, 0xb7, 0xd, sizeof(std::uint64_t));

// open_by_handle_at(2) of a namespace, Linux 6.18
struct nsfs_handle {
  std::uint32_t size = 16;
  std::int32_t kind = 0xf1;  // FILEID_NSFS
  std::uint64_t id;
  std::uint32_t type;   // CLONE_NEW*
  std::uint32_t inode;  // both are 0 if not known, which Linux 6.18 itself refuses
};
static_assert(sizeof(nsfs_handle) == 24);
inline constexpr int fd_nsfs_root = -10003;

// statfs(2): f_type
inline constexpr long nsfs_magic = 0x6e736673;
inline constexpr long proc_super_magic = 0x9fa0;
inline constexpr long cgroup2_super_magic = 0x63677270;

// netdevice(7): struct ifreq as SIOCGIFFLAGS and SIOCSIFFLAGS use it
struct interface_request {
  char name[16];
  std::int16_t flags;
  char unused[22];
};
static_assert(sizeof(interface_request) == 40);
inline constexpr unsigned long siocgifflags = 0x8913;
inline constexpr unsigned long siocsifflags = 0x8914;
inline constexpr std::int16_t iff_up = 1;

// statx(2): stx_attributes
inline constexpr std::uint64_t statx_attr_mount_root = 0x2000;  // Linux 5.8

// mount(2)
inline constexpr unsigned long ms_rec = 16384;
inline constexpr unsigned long ms_private = 1 << 18;
inline constexpr int mnt_detach = 2;

// open_tree(2), move_mount(2), fsopen(2), fsconfig(2), fsmount(2): Linux 5.2. mount_setattr(2): Linux 5.12
inline constexpr unsigned open_tree_clone = 1;
inline constexpr unsigned open_tree_cloexec = 02000000;
inline constexpr int at_recursive = 0x8000;
inline constexpr unsigned move_mount_f_empty_path = 0x00000004;
inline constexpr unsigned move_mount_t_empty_path = 0x00000040;
inline constexpr unsigned fsopen_cloexec = 1;
inline constexpr unsigned fsmount_cloexec = 1;
inline constexpr unsigned fsconfig_set_flag = 0;
inline constexpr unsigned fsconfig_set_string = 1;
inline constexpr unsigned fsconfig_cmd_create = 6;
inline constexpr std::uint64_t mount_attr_rdonly = 0x00000001;
inline constexpr std::uint64_t mount_attr_nosuid = 0x00000002;
inline constexpr std::uint64_t mount_attr_nodev = 0x00000004;
inline constexpr std::uint64_t mount_attr_noexec = 0x00000008;
struct mount_attr {
  std::uint64_t attr_set;
  std::uint64_t attr_clr;
  std::uint64_t propagation;
  std::uint64_t userns_fd;
};
static_assert(sizeof(mount_attr) == 32);  // MOUNT_ATTR_SIZE_VER0

// openat2(2), Linux 5.6
struct open_how {
  std::uint64_t flags;
  std::uint64_t mode;
  std::uint64_t resolve;
};
static_assert(sizeof(open_how) == 24);
inline constexpr std::uint64_t resolve_no_magiclinks = 0x02;
inline constexpr std::uint64_t resolve_in_root = 0x10;
inline constexpr std::uint64_t resolve_cached = 0x20;  // Linux 5.12

// prctl(2)
inline constexpr int seccomp_mode_filter = 2;

// keyctl(2)
inline constexpr int keyctl_join_session_keyring = 1;

// close_range(2)
inline constexpr unsigned close_range_cloexec = 1u << 2;

// The kernel's capability sets, version 3 (capset(2))
struct capability_header {
  std::uint32_t version;
  std::int32_t pid;
};
struct capability_data {
  std::uint32_t effective, permitted, inheritable;
};
inline constexpr std::uint32_t capability_version_3 = 0x20080522;
inline constexpr unsigned cap_setuid = 7;
inline constexpr unsigned cap_sys_admin = 21;
inline constexpr unsigned cap_sys_resource = 24;
inline constexpr unsigned cap_setfcap = 31;

// rt_sigaction(2) takes this, not the C library's struct sigaction.
struct signal_action {
  void (*handler)(int);
  unsigned long flags;
#if !defined(__riscv)
  void (*restorer)();
#endif
  std::uint64_t mask;
};
inline constexpr int signal_count = 64;

}  // namespace cloister::detail::kernel
