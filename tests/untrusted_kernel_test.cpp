// How code can try to get out of Isolation::untrusted() by way of the kernel: mounts, namespaces, privileges, devices, and the calls
// that steer a machine.
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/securebits.h>
#include <linux/sockios.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>

#include "attempts.hpp"
#if defined(__x86_64__) || defined(__i386__)
#include <sys/io.h>
#endif

using namespace std::string_literals;
using namespace std::chrono_literals;
using namespace test;
namespace ns = cloister::flags;
using cloister::Descriptors, cloister::IdMap, cloister::Isolation, cloister::Mount, cloister::run;
using test::detail::names_in;
namespace kernel = cloister::detail::kernel;
namespace sys = cloister::detail::sys;

namespace {

// A user and a mount namespace with the host's files in them: the least in which a caller that is nobody may mount.
Isolation own_mounts() { return {.unshare = ns::user | ns::mnt, .ids = IdMap::root()}; }

// Whether that file of the kernel's, if there is one, has these words in it.
bool says(std::string const& path, std::string const& words) { return !exists(path) || contains(read_file(path), words); }

// For what takes a capability of the host's.
void work_outside_with(unsigned capability, std::vector<Attempt> const& attempts) {
  if (has_capability(capability)) work_outside(attempts);
}

}  // namespace

// --- Mounts

TEST_CASE("nothing can be mounted, bound, moved, shared or made writable") {
  NEEDS_USER_NAMESPACES;
  auto const mount = [](char const* source, char const* target, char const* type, unsigned long flags) -> Act {
    return [=] { return why(::mount(source, target, type, flags, nullptr)); };
  };
  std::vector<Attempt> const mounts{
      {"a tmpfs", {EPERM}, mount("none", "/tmp", "tmpfs", 0)},
      {"a proc", {EPERM}, mount("none", "/tmp", "proc", 0)},
      {"the queues", {EPERM}, mount("none", "/tmp", "mqueue", 0)},
      {"the kernel's objects", {EPERM}, mount("none", "/tmp", "sysfs", 0)},
      {"cgroups", {EPERM}, mount("none", "/tmp", "cgroup2", 0)},
      {"bind", {EPERM}, mount("/usr", "/tmp", nullptr, MS_BIND | MS_REC)},
      {"share", {EPERM}, mount(nullptr, "/", nullptr, MS_SHARED | MS_REC)},
      {"move", {EPERM}, mount("/dev/shm", "/tmp", nullptr, MS_MOVE)},
      {"remount /", {EPERM}, mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND)},
      {"fsopen", {EPERM}, [] { return why(sys::fsopen("tmpfs") >= 0 ? 0 : (errno = EPERM, -1)); }},
      {"open_tree", {EPERM}, [] { return why(::syscall(SYS_open_tree, AT_FDCWD, "/usr", kernel::open_tree_clone)); }},
      {"mount_setattr", {EPERM}, [] {
         kernel::mount_attr writable{};
         writable.attr_clr = kernel::mount_attr_rdonly;
         return why(::syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &writable, sizeof writable));
       }}};
  refused_inside(mounts);
  work_outside({mounts.begin(), mounts.begin() + 3}, with_capabilities());
  work_outside({mounts.begin() + 5, mounts.end()}, with_capabilities());
  refused_inside({{"a file system of a disk", {EPERM}, mount("/tmp", "/tmp", "ext4", 0)},
                  {"the kernel's traces", {EPERM}, mount("none", "/tmp", "debugfs", 0)},
                  {"remount /usr", {EPERM}, mount(nullptr, "/usr", nullptr, MS_REMOUNT | MS_BIND)},
                  {"move_mount", {EPERM}, [] {
                     int const fd = ::open("/tmp", O_PATH | O_CLOEXEC);
                     return why(::syscall(SYS_move_mount, fd, "", AT_FDCWD, "/dev/shm", kernel::move_mount_f_empty_path));
                   }},
                  {"fspick", {EPERM}, [] { return why(::syscall(SYS_fspick, AT_FDCWD, "/", 0)); }}});
  CHECK_FALSE(shell(untrusted(), "mount -t tmpfs none /tmp || mount -o remount,bind,rw /usr || mount --bind /usr /tmp").status.success());
}

TEST_CASE("nothing can be unmounted, and nothing of the host lies under what is mounted") {
  NEEDS_USER_NAMESPACES;
  std::vector<Attempt> attempts;
  for (char const* path : {"/tmp", "/proc", "/usr", "/dev", "/dev/shm"})
    attempts.push_back({"umount "s + path, {EPERM}, [path] { return why(::umount2(path, MNT_DETACH)); }});
  refused_inside(attempts);
  work_outside(attempts, with_capabilities());
  refused_inside({{"umount /", {EPERM}, [] { return why(::umount2("/", MNT_DETACH)); }},
                  {"umount /, by force", {EPERM}, [] { return why(::umount2("/", MNT_FORCE)); }}});

  // Whoever could, and enters the mount namespace anew besides, which leads to the lowest root of it, finds nothing.
  std::vector<std::string> const left = run(with_capabilities(), [] {
    int const mine = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 8; ++i)
      for (char const* path : {"/dev/shm", "/dev/pts", "/dev", "/tmp", "/proc", "/usr", "/etc/alternatives", "/etc/ld.so.cache", "/"})
        ::umount2(path, MNT_DETACH);
    std::vector<std::string> found = names_in("/usr");
    if (::setns(mine, CLONE_NEWNS) != 0) found.push_back(std::strerror(errno));
    for (char const* path : {"/", "/usr", "/dev", "/proc", "/tmp", "/etc/alternatives"})
      for (std::string const& name : names_in(path))
        if (path != "/"s || in_the_root.count(name) == 0) found.push_back(path + ("/" + name));
    return found;
  });
  CHECK(left == std::vector<std::string>{});
}

TEST_CASE("a change of root directory is refused, and would not lead out") {
  NEEDS_USER_NAMESPACES;
  refused_inside({{"chroot", {EPERM}, [] { return why(::chroot("/tmp")); }},
                  {"pivot_root", {EPERM}, [] { return why(::syscall(SYS_pivot_root, ".", ".")); }}});
  CHECK_FALSE(shell(untrusted(), "chroot /usr /bin/true").status.success());

  // The old way out of a chroot: into another one, and up from where that left us.
  TemporaryDirectory const directory;
  REQUIRE(::mkdir((directory / "jail").c_str(), 0755) == 0);
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  auto const climb_out = [secret = directory.path()](std::string const& jail) {
    return [=] {
      if (::chroot(jail.c_str()) != 0 || ::chdir("/") != 0 || exists(secret)) return -1;
      ::mkdir("below", 0755);
      if (::chroot("below") != 0) return -2;
      for (int i = 0; i < 40; ++i) (void)!::chdir("..");
      if (::chroot(".") != 0) return -3;
      return exists(secret) ? 1 : only_these("/", in_the_root) ? 0 : -4;
    };
  };
  CHECK(in_a_child(own_mounts(), climb_out(directory / "jail")) == 1);
  CHECK(in_a_child(with_capabilities(), climb_out("/tmp")) == 0);
}

TEST_CASE("files of the host cannot be opened by their handles") {
  NEEDS_USER_NAMESPACES;
  TemporaryDirectory const directory;
  REQUIRE(write_file(directory / "secret", "secret"));
  struct Handle {
    unsigned size = 128;
    int type = 0;
    unsigned char bytes[128] = {};
  };
  auto const handle_of = [](int dir, std::string const& path, int flags) {
    Handle handle;
    int mount = 0;
    // 0, or what it lacks here
    int const error = why(::syscall(SYS_name_to_handle_at, dir, path.c_str(), &handle, &mount, flags));
    return std::pair{handle, error};
  };
  auto const open_it = [](Handle handle, std::string const& place) -> Act {
    return [=]() mutable {
      int const mount = ::open(place.c_str(), O_RDONLY | O_CLOEXEC);
      return why(::syscall(SYS_open_by_handle_at, mount, &handle, O_RDONLY | O_CLOEXEC));
    };
  };
  // A file of a file system that shows inside, and one that does not.
  for (std::string const& path : {"/usr/bin/env"s, directory / "secret"}) {
    CAPTURE(path);
    auto const [handle, error] = handle_of(AT_FDCWD, path, 0);
    if (error == EOPNOTSUPP) continue;
    REQUIRE(error == 0);
    refused_inside({{"by /usr", {EPERM, ESTALE}, open_it(handle, "/usr")}, {"by /tmp", {EPERM, ESTALE}, open_it(handle, "/tmp")}});
    work_outside_with(CAP_DAC_READ_SEARCH, {{"by where it is", {}, open_it(handle, path)}});
  }
  // Namespaces and processes have handles as well: Linux 6.18 and 6.14.
  constexpr int root_of_processes = -10002, root_of_namespaces = -10003;
  auto const open_in = [](int root, Handle handle) -> Act {
    return [=]() mutable { return why(::syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY | O_CLOEXEC)); };
  };
  std::set<int> const refusals{EPERM, ESTALE, EBADF, ENOENT, ESRCH};
  for (char const* name : {"uts", "net", "user", "mnt", "pid"}) {
    CAPTURE(std::string(name));
    int const fd = ::open(("/proc/self/ns/"s + name).c_str(), O_RDONLY | O_CLOEXEC);
    auto const [handle, error] = handle_of(fd, "", AT_EMPTY_PATH);
    ::close(fd);
    if (error == 0) {
      refused_inside({{"a namespace's", refusals, open_in(root_of_namespaces, handle)}});
      work_outside({{"a namespace's", {}, open_in(root_of_namespaces, handle)}});
    }
  }
  int const pidfd = sys::pidfd_open(::getpid());
  auto const [handle, error] = handle_of(pidfd, "", AT_EMPTY_PATH);
  ::close(pidfd);
  if (error == 0) {
    refused_inside({{"a process's", refusals, open_in(root_of_processes, handle)}});
    work_outside({{"a process's", {}, open_in(root_of_processes, handle)}});
  }
}

// --- Namespaces

TEST_CASE("the host's namespaces cannot be joined, not even with a descriptor of them and all capabilities inside") {
  NEEDS_USER_NAMESPACES;
  std::vector<int> fds;
  std::vector<Attempt> joins, own;
  for (char const* name : {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}) {
    int const fd = ::open(("/proc/self/ns/"s + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;  // a kernel without it
    fds.push_back(fd);
    joins.push_back({"join "s + name, {EPERM}, [=] { return why(::setns(fd, 0)); }});
    if (name != "user"s) own.push_back(joins.back());  // nobody joins the one that they are in
  }
  int const host = sys::pidfd_open(::getpid());
  fds.push_back(host);
  std::set<int> const refusals{EPERM, EACCES, EINVAL, ESRCH};
  joins.push_back({"by the host's pidfd", {EPERM}, [=] { return why(::setns(host, CLONE_NEWUTS | CLONE_NEWNET)); }});
  std::vector<Attempt> const handles{
      {"signal", refusals, [=] { return why(::syscall(SYS_pidfd_send_signal, host, 0, nullptr, 0)); }},
      {"take a descriptor", refusals, [=] { return why(::syscall(SYS_pidfd_getfd, host, fds.front(), 0)); }},
      {"take a namespace", refusals, [=] { return why(::ioctl(host, kernel::pidfd_get_uts_namespace, 0)); }}};
  for (bool const capable : {false, true}) {
    Isolation holding = capable ? with_capabilities() : untrusted();
    holding.descriptors = Descriptors::only(fds);
    refused_inside(joins, holding);
    refused_inside(handles, holding);
  }
  work_outside_with(CAP_SYS_ADMIN, own);
  work_outside({handles.front()});
  for (int const fd : fds) ::close(fd);
}

TEST_CASE("no namespace inside leads to one of the host") {
  NEEDS_USER_NAMESPACES;
  auto const own = [](char const* name) { return ::open(("/proc/self/ns/"s + name).c_str(), O_RDONLY | O_CLOEXEC); };
  auto const ask = [=](char const* name, unsigned long request) -> Act { return [=] { return why(::ioctl(own(name), request)); }; };
  std::vector<Attempt> const up{{"the parent of the user namespace", {EPERM}, ask("user", kernel::ns_get_parent)},
                                {"the owner of the user namespace", {EPERM}, ask("user", kernel::ns_get_userns)},
                                {"the parent of the pid namespace", {EPERM}, ask("pid", kernel::ns_get_parent)}};
  refused_inside(up);
  refused_inside(up, with_capabilities());
  work_outside({{"the owner of the uts namespace", {}, ask("uts", kernel::ns_get_userns)}}, with_capabilities());
  auto const anew = [=](char const* name) -> Act { return [=] { return why(::setns(own(name), 0)); }; };
  std::vector<Attempt> const joins{{"mnt anew", {EPERM}, anew("mnt")},
                                   {"uts anew", {EPERM}, anew("uts")},
                                   {"net anew", {EPERM}, anew("net")},
                                   {"pid anew", {EPERM}, anew("pid")}};
  refused_inside(joins);
  work_outside(joins, with_capabilities());
  refused_inside({{"user anew", {EINVAL}, anew("user")},
                  {"those of the reaper", {EPERM}, [] {
                     return why(::setns(static_cast<int>(::syscall(SYS_pidfd_open, 1, 0)), CLONE_NEWNS | CLONE_NEWUTS));
                   }},
                  {"that of the channel's network", {EPERM}, [] {
                     for (int fd = 3; fd < 64; ++fd) {
                       int const error = why(::ioctl(fd, SIOCGSKNS));
                       if (error != EBADF && error != ENOTTY) return error;  // a socket
                     }
                     return EBADF;
                   }}});
  CHECK_FALSE(shell(untrusted(), "nsenter -t 1 -a true || nsenter -t 1 -m true || nsenter --net=/proc/1/ns/net true").status.success());
}

TEST_CASE("the mounts of the host are not listed for who knows the number of its namespace") {
  NEEDS_USER_NAMESPACES;
  struct Request {
    std::uint32_t size, spare;
    std::uint64_t mount, last, mount_namespace;
  };
  constexpr long listmount = 458;                                                       // Linux 6.8
  constexpr unsigned long number_of_mounts = kernel::ioctl_number(2, 0xb7, 5, sizeof(std::uint64_t));  // NS_GET_MNTNS_ID, 6.11
  std::uint64_t host = 0;
  int const fd = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  int const asked = ::ioctl(fd, number_of_mounts, &host);
  ::close(fd);
  auto const list = [host] {
    Request const request{sizeof request, 0, ~std::uint64_t{0}, 0, host};
    std::uint64_t mounts[16];
    return why(::syscall(listmount, &request, mounts, 16, 0));
  };
  SKIP_UNLESS(asked == 0 && in_a_child(plain(), list) == 0, "the kernel does not list mounts");
  refused_inside({{"listmount", {EPERM, ENOENT}, list}});
  refused_inside({{"listmount", {EPERM, ENOENT}, list}}, with_capabilities());
}

TEST_CASE("no namespace is made inside, and no user namespace at all") {
  NEEDS_USER_NAMESPACES;
  auto const make = [](int type) -> Act { return [=] { return why(::unshare(type)); }; };
  std::vector<Attempt> const others{{"mnt", {EPERM}, make(CLONE_NEWNS)},       {"uts", {EPERM}, make(CLONE_NEWUTS)},
                                    {"ipc", {EPERM}, make(CLONE_NEWIPC)},      {"net", {EPERM}, make(CLONE_NEWNET)},
                                    {"pid", {EPERM}, make(CLONE_NEWPID)},      {"cgroup", {EPERM}, make(CLONE_NEWCGROUP)},
                                    {"user", {ENOSPC}, make(CLONE_NEWUSER)},   {"user by clone3", {ENOSPC}, [] {
                                       kernel::clone_args args{};
                                       args.flags = kernel::clone_newuser;
                                       args.exit_signal = SIGCHLD;
                                       long const pid = ::syscall(SYS_clone3, &args, sizeof args);
                                       if (pid == 0) ::_exit(0);
                                       return why(pid);
                                     }}};
  refused_inside(others);
  work_outside(others, with_capabilities());
  refused_inside({{"all with user", {ENOSPC}, make(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)},
                  {"time", {EPERM, EINVAL}, make(kernel::clone_newtime)},
                  {"another clock", {EACCES, EPERM, ENOENT}, [] {
                     int const fd = ::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
                     return fd < 0 ? errno : why(::write(fd, "monotonic 100 0", 15));
                   }},
                  open_attempt("/proc/sys/user/max_user_namespaces", O_WRONLY, {EACCES, EPERM, EROFS}),
                  open_attempt("/proc/sys/user/max_mnt_namespaces", O_WRONLY, {EACCES, EPERM, EROFS})});
  CHECK_FALSE(shell(untrusted(), "unshare -U true || unshare -Ur true || unshare -m true || unshare -n true").status.success());
  CHECK(shell(plain(), "unshare -U true").status.success());
}

TEST_CASE("the ids of the host are out of reach: maps are written once, and no id but one's own can be taken on") {
  NEEDS_USER_NAMESPACES;
  auto const rewrite = [](char const* name, char const* text) -> Act {
    return [=] {
      int const fd = ::open(("/proc/self/"s + name).c_str(), O_WRONLY | O_CLOEXEC);
      return fd < 0 ? errno : why(::write(fd, text, std::strlen(text)));
    };
  };
  refused_inside({{"uid_map", {EPERM, EACCES}, rewrite("uid_map", "0 0 1")},
                  {"gid_map", {EPERM, EACCES}, rewrite("gid_map", "0 0 1")},
                  {"setgroups", {EPERM, EACCES}, rewrite("setgroups", "allow")},
                  {"setresuid", {EINVAL, EPERM}, [] { return why(::setresuid(0, 0, 0)); }},
                  {"setresgid", {EINVAL, EPERM}, [] { return why(::setresgid(0, 0, 0)); }},
                  {"setgroups", {EINVAL, EPERM}, [] {
                     gid_t const root = 0;
                     return why(::setgroups(1, &root));
                   }},
                  {"chown", {EINVAL, EPERM}, [] {
                     ::close(::open("/tmp/mine", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
                     return why(::chown("/tmp/mine", 0, 0));
                   }}});
  CHECK(run(untrusted(), [] {
    ::setfsuid(0);
    ::setfsgid(0);
    return ::setfsuid(static_cast<uid_t>(-1)) == static_cast<int>(::geteuid()) &&
           ::setfsgid(static_cast<gid_t>(-1)) == static_cast<int>(::getegid());
  }));
  // Nor has it kept any of the host's groups.
  if (is_root()) CHECK(run(untrusted(), [] { return ::getgroups(0, nullptr); }) == 0);
  work_outside({{"setresuid", {}, [] { return why(::setresuid(0, 0, 0)); }}}, own_mounts());
}

// --- Capabilities

TEST_CASE("no capability comes back") {
  NEEDS_USER_NAMESPACES;
  auto const take = [](bool inheritable) -> Act {
    return [=] {
      kernel::capability_header header{kernel::capability_version_3, 0};
      kernel::capability_data data[2] = {};
      data[0] = {1 << CAP_NET_RAW, 1 << CAP_NET_RAW, inheritable ? 1u << CAP_NET_RAW : 0u};
      return why(::syscall(SYS_capset, &header, data));
    };
  };
  std::vector<Attempt> const attempts{
      {"capset", {EPERM}, take(false)},
      {"capset, inheritable", {EPERM}, take(true)},
      {"drop of the bounding set", {EPERM}, [] { return why(::prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0)); }},
      {"securebits", {EPERM}, [] { return why(::prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0)); }}};
  refused_inside(attempts);
  work_outside(attempts, with_capabilities());
  refused_inside({{"ambient", {EPERM}, [] { return why(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0)); }}});
  auto const sets_of = [](std::string const& status) {
    std::string sets;
    std::istringstream lines(status);
    for (std::string line; std::getline(lines, line);)
      if (line.rfind("Cap", 0) == 0) sets += line.substr(line.find('\t') + 1) + ' ';
    return sets;
  };
  std::string none;
  for (int i = 0; i < 5; ++i) none += "0000000000000000 ";
  CHECK(sets_of(run(untrusted(), [] { return read_file("/proc/self/status"); })) == none);
  CHECK(sets_of(shell(untrusted(), "cat /proc/self/status").out) == none);
  CHECK(sets_of(run(with_capabilities(), [] { return read_file("/proc/self/status"); })) != none);
}

// --- Devices

TEST_CASE("no device of the host is there, none can be made, and none works in a directory that is shown inside") {
  NEEDS_USER_NAMESPACES;
  CHECK(run(untrusted(), [] {
    return only_these("/dev", {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "ptmx", "fd", "stdin", "stdout",
                               "stderr"});
  }));
  auto const make = [](mode_t type, dev_t device) -> Act {
    return [=] { return why(::mknod("/tmp/device", type | 0600, device)); };
  };
  std::vector<Attempt> attempts{{"memory", {EPERM}, make(S_IFCHR, makedev(1, 1))},
                                {"null", {EPERM}, make(S_IFCHR, makedev(1, 3))},
                                {"the kernel's messages", {EPERM}, make(S_IFCHR, makedev(1, 11))},
                                {"fuse", {EPERM}, make(S_IFCHR, makedev(10, 229))},
                                {"a loop device", {EPERM}, make(S_IFBLK, makedev(7, 0))}};
  std::istringstream partitions(exists("/proc/partitions") ? read_file("/proc/partitions") : "");
  for (std::string line; std::getline(partitions, line);) {
    unsigned major = 0, minor = 0;
    if (std::istringstream(line) >> major >> minor && major != 0)
      attempts.push_back({"disk" + line, {EPERM}, make(S_IFBLK, makedev(major, minor))});
  }
  refused_inside(attempts);
  refused_inside(attempts, with_capabilities());
  CHECK_FALSE(shell(untrusted(), "mknod /tmp/device c 1 3 || mknod /tmp/device b 7 0").status.success());

  Isolation shown = untrusted();
  shown.mounts.push_back(Mount::bind("/dev", "/shown"));
  Isolation with_devices = untrusted();
  with_devices.mounts.push_back(Mount::bind("/dev", "/shown").with_devices());
  Attempt const open_null = open_attempt("/shown/null", O_RDWR, {EACCES});
  refused_inside({open_null}, shown);
  work_outside({open_null}, with_devices);
  CHECK_FALSE(shell(shown, ": >/shown/null").status.success());
  CHECK(shell(with_devices, ": >/shown/null").status.success());

  if (!has_capability(CAP_MKNOD)) return;
  TemporaryDirectory const directory;
  CHECK(in_a_child(plain(), [path = directory / "null"] { return why(::mknod(path.c_str(), S_IFCHR | 0666, makedev(1, 3))); }) == 0);
}

// --- What steers the machine

TEST_CASE("the machine is not steered: clock, name, swap, modules, restart, accounting, ports") {
  NEEDS_USER_NAMESPACES;
  struct Steering {
    unsigned capability;
    Attempt attempt;
  };
  // Some systems forbid part of it to everybody: kernel_lockdown(7), and switches that stay off once they are.
  bool const closed_to_all = !says("/sys/kernel/security/lockdown", "[none]") || !says("/proc/sys/kernel/modules_disabled", "0") ||
                             !says("/proc/sys/kernel/kexec_load_disabled", "0");
  // All with arguments without a meaning, so that even who may does nothing.
  std::vector<Steering> const steering{
      {CAP_SYS_TIME, {"settimeofday", {EPERM}, [] { return why(::syscall(SYS_settimeofday, nullptr, nullptr)); }}},
      {CAP_SYS_BOOT, {"reboot", {EPERM}, [] { return why(::syscall(SYS_reboot, 0, 0, 0, nullptr), EINVAL); }}},
      {CAP_SYS_ADMIN, {"swapon", {EPERM}, [] { return why(::swapon("/no/such/file", 0), ENOENT); }}},
      {CAP_SYS_ADMIN, {"swapoff", {EPERM}, [] { return why(::swapoff("/no/such/file"), ENOENT); }}},
      {CAP_SYS_ADMIN, {"sethostname", {EPERM}, [] { return why(::syscall(SYS_sethostname, "", 65), EINVAL); }}},
      {CAP_SYS_ADMIN, {"setdomainname", {EPERM}, [] { return why(::syscall(SYS_setdomainname, "", 65), EINVAL); }}},
      {CAP_SYS_PACCT, {"acct", {EPERM, ENOSYS}, [] { return why(::acct("/no/such/file"), ENOENT); }}},
      {CAP_SYSLOG, {"syslog, level of messages", {EPERM, ENOSYS}, [] { return why(::klogctl(8, nullptr, 0), EINVAL); }}},
      {CAP_SYS_MODULE, {"init_module", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_init_module, nullptr, 0, ""), ENOEXEC); }}},
      {CAP_SYS_MODULE, {"finit_module", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_finit_module, -1, "", 0), EBADF); }}},
      {CAP_SYS_MODULE, {"delete_module", {EPERM, ENOSYS}, [] {
                          return why(::syscall(SYS_delete_module, "no such one", O_NONBLOCK), ENOENT);
                        }}},
      {CAP_SYS_BOOT, {"kexec_load", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_kexec_load, 0, 0, nullptr, 0xffffL), EINVAL); }}},
#if defined(__x86_64__) || defined(__i386__)
      {CAP_SYS_RAWIO, {"iopl", {EPERM, ENOSYS}, [] { return why(::iopl(3)); }}},
      {CAP_SYS_RAWIO, {"ioperm", {EPERM, ENOSYS}, [] { return why(::ioperm(0x80, 1, 1), EIO); }}},
#endif
  };
  std::vector<Attempt> attempts;
  for (Steering const& one : steering) {
    attempts.push_back(one.attempt);
    if (closed_to_all || !has_capability(one.capability)) continue;
    int const outside = in_a_child(plain(), one.attempt.act);
    CAPTURE(one.attempt.what);
    CAPTURE(std::string(std::strerror(outside)));
    CHECK((outside == 0 || outside == ENOSYS));  // the latter where the kernel was built without
  }
  refused_inside(attempts);

  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  refused_inside({{"clock_settime", {EPERM}, [=] { return why(::clock_settime(CLOCK_REALTIME, &now)); }},
                  {"adjtimex", {EPERM}, [] {
                     timex wanted{};
                     wanted.modes = ADJ_SETOFFSET;
                     return why(::adjtimex(&wanted));
                   }},
                  {"clock_adjtime", {EPERM}, [] {
                     timex wanted{};
                     wanted.modes = ADJ_TICK;
                     wanted.tick = 10'000;
                     return why(::clock_adjtime(CLOCK_REALTIME, &wanted));
                   }},
                  {"vhangup", {EPERM}, [] { return why(::vhangup()); }}});
  // In that world with its capabilities it is the sandbox's own name.
  std::string const name = run(plain(), [] { return read_file("/proc/sys/kernel/hostname"); });
  work_outside({{"sethostname", {}, [] { return why(::sethostname("another", 7)); }}}, with_capabilities());
  CHECK(read_file("/proc/sys/kernel/hostname") == name);
  CHECK_FALSE(shell(untrusted(), "hostname another || date -s now").status.success());
}

TEST_CASE("nothing of the kernel's in /proc can be written") {
  NEEDS_USER_NAMESPACES;
  // Whatever opens for writing outside of the directories of processes.
  auto const writable = [] {
    std::vector<std::string> found, left{"/proc"};
    while (!left.empty()) {
      std::string const path = left.back();
      left.pop_back();
      for (std::string const& name : names_in(path)) {
        if (path == "/proc" && (name[0] <= '9' || name == "self" || name == "thread-self")) continue;
        if (path == "/proc/pressure" || name == "ns_last_pid") continue;  // open to all, for little: see below
        std::string const entry = path + "/" + name;
        struct stat facts {};
        if (::lstat(entry.c_str(), &facts) != 0) continue;
        if (S_ISDIR(facts.st_mode)) left.push_back(entry);
        if (!S_ISREG(facts.st_mode)) continue;
        if (int const fd = ::open(entry.c_str(), O_WRONLY | O_CLOEXEC); fd >= 0) {
          found.push_back(entry);
          ::close(fd);
        }
      }
    }
    return found;
  };
  CHECK(run(untrusted(), writable) == std::vector<std::string>{});
  CHECK_FALSE(run(with_capabilities(), writable).empty());  // what is the user namespace's own, as its limits
  Attempt const next_pid{"ns_last_pid", {EPERM, EACCES}, [] {
                           int const fd = ::open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
                           return fd < 0 ? errno : why(::write(fd, "100", 3));
                         }};
  if (exists("/proc/sys/kernel/ns_last_pid")) {
    refused_inside({next_pid});
    work_outside({next_pid}, with_capabilities());
  }

  std::vector<Attempt> attempts;
  for (char const* path : {"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
                           "/proc/sys/kernel/randomize_va_space", "/proc/sys/fs/suid_dumpable", "/proc/irq/default_smp_affinity"})
    if (exists(path)) attempts.push_back(open_attempt(path, O_WRONLY, {EACCES, EPERM, EROFS, ENOENT}));
  refused_inside(attempts);
  // To open them does nothing yet.
  if (is_root() && has_capability(CAP_DAC_OVERRIDE)) work_outside({attempts.front()});
  CHECK_FALSE(shell(untrusted(), "echo x >/proc/sys/kernel/core_pattern || echo b >/proc/sysrq-trigger").status.success());
}

TEST_CASE("no process inside looks better to the kernel than it did") {
  NEEDS_USER_NAMESPACES;
  auto const write_own = [](char const* name, char const* text) -> Act {
    return [=] {
      int const fd = ::open(("/proc/self/"s + name).c_str(), O_WRONLY | O_CLOEXEC);
      return fd < 0 ? errno : why(::write(fd, text, std::strlen(text)));
    };
  };
  auto const raise = [](int resource) -> Act {
    return [=] {
      rlimit limit{};
      ::getrlimit(static_cast<__rlimit_resource>(resource), &limit);
      ++limit.rlim_max;
      return why(::setrlimit(static_cast<__rlimit_resource>(resource), &limit));
    };
  };
  rlimit nice{}, realtime{}, files{};
  ::getrlimit(RLIMIT_NICE, &nice);
  ::getrlimit(RLIMIT_RTPRIO, &realtime);
  ::getrlimit(RLIMIT_NOFILE, &files);
  std::vector<Attempt> of_nice, of_resource;
  if (nice.rlim_max == 0) of_nice.push_back({"nice", {EACCES, EPERM}, [] { return why(::setpriority(PRIO_PROCESS, 0, -20)); }});
  if (realtime.rlim_max == 0)
    of_nice.push_back({"realtime", {EPERM}, [] {
                         sched_param lowest{};
                         lowest.sched_priority = 1;
                         return why(::sched_setscheduler(0, SCHED_FIFO, &lowest));
                       }});
  if (files.rlim_max != RLIM_INFINITY) of_resource.push_back({"open files", {EPERM}, raise(RLIMIT_NOFILE)});
  if (nice.rlim_max == 0) of_resource.push_back({"niceness", {EPERM}, raise(RLIMIT_NICE)});
  if (realtime.rlim_max == 0) of_resource.push_back({"priority", {EPERM}, raise(RLIMIT_RTPRIO)});
  refused_inside(of_nice);
  refused_inside(of_resource);
  work_outside_with(CAP_SYS_NICE, of_nice);
  work_outside_with(CAP_SYS_RESOURCE, of_resource);
  refused_inside({{"priority of input and output", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_ioprio_set, 1, 0, 1 << 13)); }},
                  {"memory map of a program", {EPERM, EINVAL}, [] { return why(::prctl(PR_SET_MM, PR_SET_MM_START_BRK, 4096ul, 0, 0)); }},
                  {"the program that it is", {EPERM, EINVAL}, [] { return why(::prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, 0, 0, 0)); }},
                  {"out of the way of the memory killer", {EACCES, EPERM}, write_own("oom_score_adj", "-1000")}});
  // Whose files these are a program may ask for more as well.
  CHECK_FALSE(shell(untrusted(), "echo -1000 >/proc/self/oom_score_adj").status.success());
  CHECK(shell(untrusted(), "echo 1000 >/proc/self/oom_score_adj").status.success());
  if (files.rlim_max != RLIM_INFINITY) CHECK_FALSE(shell(untrusted(), "ulimit -Hn unlimited").status.success());
  if (nice.rlim_max == 0) CHECK(shell(untrusted(), "nice -n -5 nice").out == shell(plain(), "nice").out);
}

TEST_CASE("no other process and nothing of the kernel is observed") {
  NEEDS_USER_NAMESPACES;
  auto const profile = [](pid_t process, int processor) -> Act {
    return [=] {
      perf_event_attr wanted{};
      wanted.size = sizeof wanted;
      wanted.type = PERF_TYPE_SOFTWARE;
      wanted.config = PERF_COUNT_SW_CPU_CLOCK;
      return why(::syscall(SYS_perf_event_open, &wanted, process, processor, -1, 0));
    };
  };
  auto const next_program = [](int command) -> Act {
    return [=] {
      bpf_attr asked{};
      return why(::syscall(SYS_bpf, command, &asked, sizeof asked), ENOENT);
    };
  };
  std::vector<Attempt> const of_admin{{"programs of bpf", {EPERM, ENOSYS}, next_program(BPF_PROG_GET_NEXT_ID)},
                                      {"maps of bpf", {EPERM, ENOSYS}, next_program(BPF_MAP_GET_NEXT_ID)},
                                      {"fanotify", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_fanotify_init, 4, O_RDONLY)); }}};
  refused_inside(of_admin);
  if (has_capability(CAP_SYS_ADMIN))
    for (Attempt const& attempt : of_admin) {
      CAPTURE(attempt.what);
      int const error = in_a_child(plain(), attempt.act);
      CHECK((error == 0 || error == ENOSYS));
    }
  // Of the kernel's own faults, by which its bugs are waited for; one's own may be handled.
  Attempt const faults{"userfaultfd", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_userfaultfd, O_CLOEXEC)); }};
  if (says("/proc/sys/vm/unprivileged_userfaultfd", "0")) refused_inside({faults});
  refused_inside({open_attempt("/dev/userfaultfd", O_RDWR, {ENOENT})});
  // Machines differ in whom they allow this.
  std::vector<Attempt> const of_settings{{"the profile of a processor", {EPERM}, profile(-1, 0)},
                                         {"one's own profile", {EPERM}, profile(0, -1)},
                                         {"the kernel's messages", {EPERM}, [] {
                                            char text[64];
                                            return why(::klogctl(3, text, sizeof text));
                                          }}};
  refused_inside(of_settings);
  if (has_capability(CAP_SYSLOG) && has_capability(CAP_PERFMON)) work_outside(of_settings);
  CHECK_FALSE(shell(untrusted(), "dmesg").status.success());
  refused_inside({{"another kind of program for bpf", {EPERM, ENOSYS}, [] {
                     bpf_attr wanted{};
                     wanted.prog_type = BPF_PROG_TYPE_KPROBE;
                     return why(::syscall(SYS_bpf, BPF_PROG_LOAD, &wanted, sizeof wanted));
                   }},
                  {"the reaper's profile", {EPERM}, profile(1, -1)},
                  {"the reaper's files by kcmp", {EPERM, ENOSYS}, [] { return why(::syscall(SYS_kcmp, 1, ::getpid(), 0, 0, 0)); }},
                  {"the reaper's robust list", {EPERM, ENOSYS}, [] {
                     void* head = nullptr;
                     std::size_t size = 0;
                     return why(::syscall(SYS_get_robust_list, 1, &head, &size));
                   }},
                  {"the reaper's pages", {EPERM, ENOSYS}, [] {
                     return why(::syscall(SYS_move_pages, 1, 0, nullptr, nullptr, nullptr, 0));
                   }}});
  for (char const* path : {"/proc/kcore", "/proc/kmsg", "/proc/vmallocinfo", "/proc/kpageflags", "/proc/slabinfo", "/proc/timer_list"})
    if (exists(path)) refused_inside({open_attempt(path, O_RDONLY, {EACCES, EPERM})});
}

TEST_CASE("cgroups of the host are neither seen nor left") {
  NEEDS_USER_NAMESPACES;
  auto const paths = [](std::string const& text) {
    std::set<std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) found.insert(line.substr(line.find(':', line.find(':') + 1) + 1));
    return found;
  };
  CHECK(paths(run(untrusted(), [] { return read_file("/proc/self/cgroup"); })) == std::set<std::string>{"/"});
  CHECK(paths(shell(untrusted(), "cat /proc/self/cgroup").out) == std::set<std::string>{"/"});
  std::string const mounts = run(untrusted(), [] { return read_file("/proc/self/mountinfo"); });
  CHECK_FALSE(contains(mounts, " - cgroup"));
  CHECK_FALSE(contains(mounts, " - sysfs"));
  refused_inside({open_attempt("/sys/fs/cgroup/cgroup.procs", O_WRONLY, {ENOENT})});
}
