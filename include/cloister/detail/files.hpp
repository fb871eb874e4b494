// The child puts the files of its world in place: mounts by descriptor, then the new root.
//
// Paths are looked at once. Sources are opened before anything is mounted, as detached trees; targets are resolved by openat2 inside
// the new root, and a mount goes to the descriptor that was found: whoever swaps a path for a symlink meanwhile changes nothing.
#pragma once

#include <sys/sysmacros.h>

#include "child_side.hpp"

namespace cloister::detail {

// --- small things

CLOISTER_DETAIL_CHILD_SIDE inline void require_mount(ChildSide const& side, long result, Step step, std::size_t index,
                                                     MountPart part = MountPart::whole) noexcept {
  require(side, result, step, mount_item(index, part));
}

CLOISTER_DETAIL_CHILD_SIDE inline int open_in(int root, char const* path, std::uint64_t flags = 0) noexcept {
  kernel::open_how const how{static_cast<std::uint64_t>(O_PATH | O_CLOEXEC) | flags, 0,
                             kernel::resolve_in_root | kernel::resolve_no_magiclinks};
  return sys::openat2(root, path, &how);
}
// `dir` itself, whose descriptor stays open, or another.
CLOISTER_DETAIL_CHILD_SIDE inline void close_unless(int fd, int dir) noexcept {
  if (fd != dir) sys::close(fd);
}

// Copies what is before `end` into `to`, which has room for a path, and ends it.
CLOISTER_DETAIL_CHILD_SIDE inline void copy_until(char* to, char const* from, char const* end) noexcept {
  while (from != end) *to++ = *from++;
  *to = '\0';
}

// A path that leads to a descriptor of this process, for the calls that take no descriptor.
struct DescriptorPath {
  char text[32] = "/proc/self/fd/";
  CLOISTER_DETAIL_CHILD_SIDE explicit DescriptorPath(int fd) noexcept {
    char digits[12];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + fd % 10);
    while ((fd /= 10) > 0);
    char* at = text + sizeof "/proc/self/fd/" - 1;
    while (count > 0) *at++ = digits[--count];
    *at = '\0';
  }
};

// An option of a file system; a null value is passed over.
struct MountOption {
  char const* key;
  char const* value;
};

// A new file system, mounted nowhere yet. As negative errno what went wrong.
template <std::size_t N>
CLOISTER_DETAIL_CHILD_SIDE inline int new_mount(char const* type, MountOption const (&options)[N], std::uint64_t attributes) noexcept {
  int const context = sys::fsopen(type);
  if (context < 0) return context;
  int result = 0;
  for (MountOption const& option : options)
    if (result == 0 && option.value != nullptr) result = sys::fsconfig(context, kernel::fsconfig_set_string, option.key, option.value);
  if (result == 0) result = sys::fsconfig(context, kernel::fsconfig_cmd_create);
  if (result == 0) result = sys::fsmount(context, attributes);
  sys::close(context);
  return result;
}

CLOISTER_DETAIL_CHILD_SIDE inline int make_read_only(int mount) noexcept {
  kernel::mount_attr wanted{};
  wanted.attr_set = kernel::mount_attr_rdonly;
  return sys::mount_setattr(mount, 0, &wanted);
}

// Permissions as four octal digits, for an option.
struct OctalMode {
  char text[5];
  CLOISTER_DETAIL_CHILD_SIDE explicit OctalMode(unsigned mode) noexcept
      : text{static_cast<char>('0' + (mode >> 9 & 7)), static_cast<char>('0' + (mode >> 6 & 7)), static_cast<char>('0' + (mode >> 3 & 7)),
             static_cast<char>('0' + (mode & 7)), '\0'} {}
};

// --- targets

// The directory that the target lies in; what is missing of it is made in a root of our own. The last component is where `name` points.
CLOISTER_DETAIL_CHILD_SIDE inline int parent_of(ChildFiles const& files, int root, char const* target, char const** name) noexcept {
  char path[4096];
  char const* last = target;
  for (char const* at = target; *at != '\0'; ++at)
    if (*at == '/') last = at;
  *name = last + 1;
  if (last == target) return root;
  copy_until(path, target, last);
  int const parent = open_in(root, path, O_DIRECTORY);
  if (parent != -ENOENT || !files.own_root) return parent;

  int above = root;
  for (char const* begin = target; begin != last;) {
    char const* end = begin + 1;
    while (*end != '/') ++end;
    copy_until(path, target, end);
    int next = open_in(root, path, O_DIRECTORY);
    if (next == -ENOENT) {
      // EEXIST: another child makes the same one, or a symlink leads to nowhere.
      int const made = sys::mkdirat(above, path + (begin - target) + 1, 0755);
      next = made < 0 && made != -EEXIST ? made : open_in(root, path, O_DIRECTORY);
    }
    close_unless(above, root);
    if (next < 0) return next;
    above = next;
    begin = end;
  }
  return above;
}

// What a mount goes onto: a directory, or a file; made if it is missing, in a root of our own.
CLOISTER_DETAIL_CHILD_SIDE inline int place_for(ChildFiles const& files, int root, char const* target, bool directory) noexcept {
  int place = open_in(root, target);
  if (place == -ENOENT && files.own_root) {
    char const* name;
    int const parent = parent_of(files, root, target, &name);
    if (parent < 0) return parent;
    int made = 0;
    if (directory) {
      made = sys::mkdirat(parent, name, 0755);
    } else {
      made = sys::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
      if (made >= 0) sys::close(made);
    }
    close_unless(parent, root);
    if (made < 0 && made != -EEXIST) return made;
    place = open_in(root, target);
  }
  if (place < 0) return place;
  struct ::statx facts;
  int result = sys::statx_fd(place, &facts);
  if (result == 0 && S_ISDIR(facts.stx_mode) != directory) result = directory ? -ENOTDIR : -EISDIR;
  if (result == 0) return place;
  sys::close(place);
  return result;
}

// Puts a mount where it belongs, and closes it.
CLOISTER_DETAIL_CHILD_SIDE inline void attach(ChildSide const& side, int root, std::size_t index, Step step, int mount,
                                              bool directory) noexcept {
  ChildFiles const& files = side.plan->files;
  int const place = place_for(files, root, files.steps[index].target, directory);
  require_mount(side, place, step, index, MountPart::target);
  require_mount(side, sys::move_mount(mount, place), step, index);
  sys::close(place);
}

// --- each kind of mount

// Opens what the child can open itself, while it still has the caller's ids.
CLOISTER_DETAIL_CHILD_SIDE inline void open_sources(ChildSide& side) noexcept {
  ChildFiles const& files = side.plan->files;
  side.root = files.root_fd;
  if (files.root != nullptr && side.root < 0) {
    side.root = open_tree_with(AT_FDCWD, files.root, FilePlan::root_attributes, true);
    require(side, side.root, Step::open_root);
  }
  if (struct ::statx facts; side.root >= 0 && sys::statx_fd(side.root, &facts) == 0 && !S_ISDIR(facts.stx_mode))
    require(side, -ENOTDIR, Step::open_root);
  for (std::size_t i = 0; i < files.count; ++i) {
    MountStep& step = files.steps[i];
    auto const open = [&](char const* path, Step name, MountPart part) CLOISTER_DETAIL_CHILD_SIDE {
      int const fd = name == Step::bind ? open_tree_with(AT_FDCWD, path, step.attributes, step.recursive)
                                        : sys::openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
      if (step.optional && part == MountPart::source && (fd == -ENOENT || fd == -ENOTDIR)) return -1;
      require_mount(side, fd, name, i, part);
      return fd;
    };
    if (step.kind == Mount::Kind::bind && step.source_fd < 0) step.source_fd = open(step.source, Step::bind, MountPart::source);
    if (step.kind != Mount::Kind::overlay) continue;
    step.source_fd = open(step.source, Step::mount_overlay, MountPart::source);
    if (step.upper == nullptr || step.source_fd < 0) continue;
    step.upper_fd = open(step.upper, Step::mount_overlay, MountPart::upper);
    step.work_fd = open(step.work, Step::mount_overlay, MountPart::work);
  }
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_bind(ChildSide const& side, int root, std::size_t index) noexcept {
  int const tree = side.plan->files.steps[index].source_fd;
  if (tree < 0) return;  // optional, and not there
  struct ::statx facts;
  require_mount(side, sys::statx_fd(tree, &facts), Step::bind, index, MountPart::source);
  attach(side, root, index, Step::bind, tree, S_ISDIR(facts.stx_mode));
  sys::close(tree);
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_kernel_files(ChildSide const& side, int root, std::size_t index, Step step,
                                                        char const* type) noexcept {
  std::uint64_t attributes = kernel::mount_attr_nosuid | kernel::mount_attr_nodev | kernel::mount_attr_noexec;
  if (!side.plan->files.steps[index].writable) attributes |= kernel::mount_attr_rdonly;
  int const mount = new_mount(type, {MountOption{}}, attributes);
  require_mount(side, mount, step, index);
  attach(side, root, index, step, mount, true);
  sys::close(mount);
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_tmpfs(ChildSide const& side, int root, std::size_t index) noexcept {
  MountStep& step = side.plan->files.steps[index];
  std::uint64_t const attributes =
      kernel::mount_attr_nosuid | kernel::mount_attr_nodev | (step.executable ? 0 : kernel::mount_attr_noexec);
  OctalMode const mode{step.mode};
  int const mount = new_mount("tmpfs", {{"size", step.size}, {"nr_inodes", step.inodes}, {"mode", mode.text}}, attributes);
  require_mount(side, mount, Step::mount_tmpfs, index);
  attach(side, root, index, Step::mount_tmpfs, mount, true);
  if (step.writable)
    sys::close(mount);
  else
    step.mount_fd = mount;
}

struct DeviceFile {
  char const* path;
  unsigned major, minor;
};

CLOISTER_DETAIL_CHILD_SIDE inline void put_dev(ChildSide const& side, int root, std::size_t index) noexcept {
  constexpr DeviceFile devices[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                                    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
  constexpr std::size_t count = sizeof devices / sizeof *devices;
  constexpr std::size_t prefix = sizeof "/dev/" - 1;
  constexpr std::uint64_t quiet = kernel::mount_attr_nosuid | kernel::mount_attr_noexec;
  auto const check = [&](long result, MountPart part = MountPart::whole) CLOISTER_DETAIL_CHILD_SIDE {
    require_mount(side, result, Step::mount_dev, index, part);
  };
  int trees[count];
  for (std::size_t i = 0; i < count; ++i) {
    trees[i] = open_tree_with(AT_FDCWD, devices[i].path, quiet, false);
    check(trees[i], MountPart::source);
    struct ::statx facts;
    check(sys::statx_fd(trees[i], &facts), MountPart::source);
    bool const genuine =
        S_ISCHR(facts.stx_mode) && facts.stx_rdev_major == devices[i].major && facts.stx_rdev_minor == devices[i].minor;
    check(genuine ? 0 : -ENODEV, MountPart::source);
  }
  int const dev = new_mount("tmpfs", {{"size", "64k"}, {"nr_inodes", "64"}, {"mode", "0755"}}, quiet);
  check(dev);
  attach(side, root, index, Step::mount_dev, dev, true);
  for (std::size_t i = 0; i < count; ++i) {
    char const* const name = devices[i].path + prefix;
    int const file = sys::openat(dev, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    check(file);
    check(sys::move_mount(trees[i], file));
    sys::close(file);
    sys::close(trees[i]);
  }
  auto const put = [&](char const* name, int mount) CLOISTER_DETAIL_CHILD_SIDE {
    check(mount);
    check(sys::mkdirat(dev, name, 0755));
    int const place = sys::openat(dev, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    check(place);
    check(sys::move_mount(mount, place));
    sys::close(place);
    sys::close(mount);
  };
  put("pts", new_mount("devpts", {{"ptmxmode", "0666"}, {"mode", "0620"}}, quiet));
  put("shm", new_mount("tmpfs", {{"size", "64m"}, {"nr_inodes", "65536"}, {"mode", "1777"}}, quiet | kernel::mount_attr_nodev));
  check(sys::symlinkat("pts/ptmx", dev, "ptmx"));
  check(sys::symlinkat("/proc/self/fd", dev, "fd"));
  check(sys::symlinkat("/proc/self/fd/0", dev, "stdin"));
  check(sys::symlinkat("/proc/self/fd/1", dev, "stdout"));
  check(sys::symlinkat("/proc/self/fd/2", dev, "stderr"));
  side.plan->files.steps[index].mount_fd = dev;
}

// In the scratch file system of this child a directory of this mount's own, whose names are those of its number.
CLOISTER_DETAIL_CHILD_SIDE inline int scratch_directory(int scratch, std::size_t index) noexcept {
  DescriptorPath const number{static_cast<int>(index)};
  char const* const name = number.text + sizeof "/proc/self/fd/" - 1;
  int const made = sys::mkdirat(scratch, name, 0700);
  return made < 0 ? made : sys::openat(scratch, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_overlay(ChildSide const& side, int root, int scratch, std::size_t index) noexcept {
  MountStep const& step = side.plan->files.steps[index];
  if (step.source_fd < 0) return;
  auto const check = [&](long result) CLOISTER_DETAIL_CHILD_SIDE { require_mount(side, result, Step::mount_overlay, index); };
  int upper = step.upper_fd, work = step.work_fd;
  if (step.upper == nullptr) {
    int const own = scratch_directory(scratch, index);
    check(own);
    // The merged directory has the permissions of the upper one.
    struct ::statx lower;
    check(sys::statx_fd(step.source_fd, &lower));
    check(sys::mkdirat(own, "upper", lower.stx_mode & 01777u));
    check(sys::mkdirat(own, "work", 0700));
    check(upper = sys::openat(own, "upper", O_PATH | O_DIRECTORY | O_CLOEXEC));
    check(work = sys::openat(own, "work", O_PATH | O_DIRECTORY | O_CLOEXEC));
    sys::close(own);
  }
  // The file system takes paths only. In a user namespace it has to keep its notes in user.* attributes.
  DescriptorPath const lower_path{step.source_fd}, upper_path{upper}, work_path{work};
  int const context = sys::fsopen("overlay");
  check(context);
  check(sys::fsconfig(context, kernel::fsconfig_set_string, "lowerdir", lower_path.text));
  check(sys::fsconfig(context, kernel::fsconfig_set_string, "upperdir", upper_path.text));
  check(sys::fsconfig(context, kernel::fsconfig_set_string, "workdir", work_path.text));
  if (side.plan->files.user_attributes) check(sys::fsconfig(context, kernel::fsconfig_set_flag, "userxattr"));
  check(sys::fsconfig(context, kernel::fsconfig_cmd_create));
  std::uint64_t attributes = kernel::mount_attr_nosuid | kernel::mount_attr_nodev;
  if (!step.writable) attributes |= kernel::mount_attr_rdonly;
  int const mount = sys::fsmount(context, attributes);
  check(mount);
  sys::close(context);
  attach(side, root, index, Step::mount_overlay, mount, true);
  for (int fd : {mount, step.source_fd, upper, work}) sys::close(fd);
}

constexpr unsigned set_ids = 06000;

// A new file: -EEXIST if there is one.
CLOISTER_DETAIL_CHILD_SIDE inline long make_file(int dir, char const* name, MountStep const& step) noexcept {
  int const file = sys::openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, step.mode);
  if (file < 0) return file;
  long result = 0;
  for (std::size_t done = 0; result == 0 && done < step.content_size;) {
    long const written = sys::write(file, step.content + done, step.content_size - done);
    if (written > 0)
      done += static_cast<std::size_t>(written);
    else
      result = written < 0 ? written : -EIO;
  }
  if (result == 0 && (step.mode & set_ids) != 0) result = sys::fchmod(file, step.mode);  // a write took them off
  sys::close(file);
  return result;
}

// On a file system in memory that is the new root, a plain file. Elsewhere a mount, so that no file of anybody's is changed.
CLOISTER_DETAIL_CHILD_SIDE inline void put_file(ChildSide const& side, int root, int scratch, std::size_t index) noexcept {
  ChildFiles const& files = side.plan->files;
  MountStep const& step = files.steps[index];
  if (files.empty_root && step.writable) {
    char const* name;
    int const parent = parent_of(files, root, step.target, &name);
    require_mount(side, parent, Step::put_file, index, MountPart::target);
    struct ::statx here, top;
    bool const in_memory = sys::statx_fd(parent, &here) == 0 && sys::statx_fd(root, &top) == 0 &&
                           here.stx_dev_major == top.stx_dev_major && here.stx_dev_minor == top.stx_dev_minor;
    long const made = in_memory ? make_file(parent, name, step) : -EEXIST;
    close_unless(parent, root);
    if (made != -EEXIST) return require_mount(side, made, Step::put_file, index);
  }
  int const own = scratch_directory(scratch, index);
  require_mount(side, own, Step::put_file, index);
  require_mount(side, make_file(own, "file", step), Step::put_file, index);
  std::uint64_t const attributes = kernel::mount_attr_nosuid | kernel::mount_attr_nodev |
                                   (step.executable ? 0 : kernel::mount_attr_noexec) |
                                   (step.writable ? 0 : kernel::mount_attr_rdonly);
  int const tree = open_tree_with(own, "file", attributes, false);
  require_mount(side, tree, Step::put_file, index);
  sys::close(own);
  attach(side, root, index, Step::put_file, tree, false);
  sys::close(tree);
}

CLOISTER_DETAIL_CHILD_SIDE inline bool same_text(char const* a, char const* b, long size) noexcept {
  for (long i = 0; i < size; ++i)
    if (a[i] != b[i] || a[i] == '\0') return false;
  return a[size] == '\0';
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_symlink(ChildSide const& side, int root, std::size_t index) noexcept {
  MountStep const& step = side.plan->files.steps[index];
  char const* name;
  int const parent = parent_of(side.plan->files, root, step.target, &name);
  require_mount(side, parent, Step::symlink, index, MountPart::target);
  long result = sys::symlinkat(step.source, parent, name);
  if (result == -EEXIST) {  // the same one is as good
    char there[4096];
    long const size = sys::readlinkat(parent, name, there, sizeof there);
    if (size > 0 && size < static_cast<long>(sizeof there) && same_text(step.source, there, size)) result = 0;
  }
  require_mount(side, result, Step::symlink, index, MountPart::target);
  close_unless(parent, root);
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_directory(ChildSide const& side, int root, std::size_t index) noexcept {
  MountStep const& step = side.plan->files.steps[index];
  char const* name;
  int const parent = parent_of(side.plan->files, root, step.target, &name);
  require_mount(side, parent, Step::make_directory, index, MountPart::target);
  int made = sys::mkdirat(parent, name, step.mode);
  if (made == 0 && (step.mode & set_ids) != 0) {  // which mkdir leaves out
    made = sys::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (int const fd = made; fd >= 0) {
      made = sys::fchmod(fd, step.mode);
      sys::close(fd);
    }
  }
  close_unless(parent, root);
  if (made != -EEXIST) return require_mount(side, made, Step::make_directory, index, MountPart::target);
  int const there = place_for(side.plan->files, root, step.target, true);
  require_mount(side, there, Step::make_directory, index, MountPart::target);
  sys::close(there);
}

// --- the whole

// Mounts a file system over "/", under which this process goes on to see what it saw.
CLOISTER_DETAIL_CHILD_SIDE inline void stack_on_root(ChildSide const& side, int mount, Step step) noexcept {
  require(side, mount, step);
  int const top = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  require(side, top, step);
  require(side, sys::move_mount(mount, top), step);
  sys::close(top);
}

// Takes off the mount that `dir` is the root of, or what lies on top of it.
CLOISTER_DETAIL_CHILD_SIDE inline void detach(ChildSide const& side, int dir, Step step) noexcept {
  require(side, sys::fchdir(dir), step);
  require(side, sys::umount2(".", kernel::mnt_detach), step);
}

CLOISTER_DETAIL_CHILD_SIDE inline void put_mounts(ChildSide const& side, int root, int scratch) noexcept {
  ChildFiles const& files = side.plan->files;
  for (std::size_t i = 0; i < files.count; ++i) {
    using Kind = Mount::Kind;
    switch (files.steps[i].kind) {
      case Kind::bind: put_bind(side, root, i); break;
      case Kind::proc: put_kernel_files(side, root, i, Step::mount_proc, "proc"); break;
      case Kind::sysfs: put_kernel_files(side, root, i, Step::mount_sysfs, "sysfs"); break;
      case Kind::mqueue: put_kernel_files(side, root, i, Step::mount_mqueue, "mqueue"); break;
      case Kind::tmpfs: put_tmpfs(side, root, i); break;
      case Kind::dev: put_dev(side, root, i); break;
      case Kind::overlay: put_overlay(side, root, scratch, i); break;
      case Kind::file: put_file(side, root, scratch, i); break;
      case Kind::symlink: put_symlink(side, root, i); break;
      case Kind::directory: put_directory(side, root, i); break;
    }
  }
  for (std::size_t i = 0; i < files.count; ++i)
    if (int const mount = files.steps[i].mount_fd; mount >= 0) {
      require_mount(side, make_read_only(mount), files.steps[i].kind == Mount::Kind::dev ? Step::mount_dev : Step::mount_tmpfs, i);
      sys::close(mount);
    }
}

// In a mount namespace of our own, with the inside ids: an unmapped creator could make no file there.
CLOISTER_DETAIL_CHILD_SIDE inline void make_files(ChildSide const& side) noexcept {
  ChildFiles const& files = side.plan->files;
  if (!files.own_namespace) return;
  // Or what is mounted here would show where the caller's mounts are shared, as under systemd.
  require(side, sys::mount(nullptr, "/", nullptr, kernel::ms_rec | kernel::ms_private, nullptr), Step::private_mounts);
  if (!files.own_root && files.count == 0) return;

  unsigned const mask = sys::umask(0);
  int const here = files.own_root ? -1 : sys::openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int scratch = -1;
  if (files.needs_scratch) {
    scratch = new_mount("tmpfs", {{"mode", "0700"}}, kernel::mount_attr_nosuid | kernel::mount_attr_nodev);
    stack_on_root(side, scratch, Step::scratch);
  }
  int root = side.root;
  if (files.own_root) {
    if (files.empty_root) root = new_mount("tmpfs", {{"mode", "0755"}}, kernel::mount_attr_nosuid | kernel::mount_attr_nodev);
    stack_on_root(side, root, Step::mount_root);
  } else {
    require(side, root = sys::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC), Step::mount_root);
  }

  put_mounts(side, root, scratch);

  if (files.own_root) {
    if (files.empty_root && !files.writable_root) require(side, make_read_only(root), Step::mount_root);
    // The old root comes to lie on top of the new one: pivot_root(2) has this under NOTES. What lay on the old one comes along, and
    // would be all that the second umount takes off, with the old root left for whoever enters this namespace anew.
    require(side, sys::fchdir(root), Step::pivot_root);
    require(side, sys::pivot_root(".", "."), Step::pivot_root);
    if (scratch >= 0) detach(side, scratch, Step::pivot_root);
    detach(side, root, Step::pivot_root);
    require(side, sys::chdir("/"), Step::pivot_root);
  } else if (scratch >= 0) {
    detach(side, scratch, Step::scratch);
    require(side, here < 0 ? here : sys::fchdir(here), Step::scratch);
  }
  for (int fd : {root, scratch, here})
    if (fd >= 0) sys::close(fd);
  sys::umask(mask);
}

}  // namespace cloister::detail
