// The files of a child's world, described: its root directory, and what is mounted there. Nothing happens here.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "detail/text.hpp"

namespace cloister {

// The root directory of a child in a mount namespace of its own. A new one is entered by pivot_root(2) when all of the mounts stand,
// and the old one is detached: nothing of the host can be reached but what the mounts show. The child's directory is then "/".
// Needs Linux 5.12, and mnt in `unshare`.
class Root {
 public:
  enum class Kind : std::uint8_t { host, directory, empty };

  // The caller's own. Mounts go onto directories and files that exist: nothing is made on the host's file systems.
  static Root host() { return Root{}; }
  // A directory with a system in it, such as debootstrap makes, with what is mounted below it; nosuid and nodev. What the mounts need
  // to stand on is made in it. Throws std::invalid_argument for an empty path, a NUL, and over 4095 bytes.
  static Root directory(std::string_view path) {
    Root root{Kind::directory};
    root.path_ = detail::checked_path("root", "directory", path);
    return root;
  }
  // A new file system in memory: only what the mounts put there exists. Read-only once they stand, unless writable().
  static Root empty() { return Root{Kind::empty}; }
  // Throws std::invalid_argument unless empty(): what may be written elsewhere is for its files to say.
  [[nodiscard]] Root writable() const {
    if (kind_ != Kind::empty) throw std::invalid_argument("cloister: root: only an empty one is writable()");
    Root root = *this;
    root.writable_ = true;
    return root;
  }

  Root() = default;
  Kind kind() const noexcept { return kind_; }
  std::string const& path() const noexcept { return path_; }
  bool is_writable() const noexcept { return writable_; }

  friend bool operator==(Root const&, Root const&) = default;

 private:
  explicit Root(Kind kind) : kind_(kind) {}
  Kind kind_ = Kind::host;
  bool writable_ = false;
  std::string path_;
};

// Something to be put into a child's mount namespace, in the order of Isolation::mounts. Sources are the caller's, opened once
// before anything is mounted; targets are absolute paths of the child's root, out of which neither they nor a symlink on their way
// can lead. What a target needs to stand on is made in a root of our own. A value: the verbs return a changed copy. All throw
// std::invalid_argument for paths that cannot be right, and for a verb that means nothing to that kind of mount.
class Mount {
 public:
  enum class Kind : std::uint8_t { bind, proc, sysfs, tmpfs, dev, mqueue, overlay, file, symlink, directory };

  // A directory or file of the caller's, with what is mounted below it; nosuid and nodev.
  static Mount bind(std::string_view source, std::string_view target) {
    return Mount{Kind::bind, target, detail::checked_path("mounts", "bind", source)};
  }
  // The processes of the child's pid namespace, proc(5). Without root's privileges that must be a new one: add pid.
  static Mount proc(std::string_view target = "/proc") { return Mount{Kind::proc, target}; }
  // The kernel's objects, sysfs(5), writable for whom the kernel lets unless read_only(). Needs a net namespace of the child's own.
  static Mount sysfs(std::string_view target = "/sys") { return Mount{Kind::sysfs, target}; }
  // A new file system in memory of at most `size` bytes, mode 1777, nosuid, nodev and, unless executable(), noexec. The number of
  // files is bounded as well, by one a KiB.
  static Mount tmpfs(std::string_view target, std::uint64_t size) {
    // What lies beyond was a negative number once.
    if (size == 0 || size > UINT64_MAX / 2)
      throw std::invalid_argument("cloister: mounts: tmpfs: a size of " + std::to_string(size) + " bytes cannot be meant");
    Mount mount{Kind::tmpfs, target};
    mount.size_ = size;
    return mount;
  }
  // The least that programs expect there: null zero full random urandom tty, which must be on the host what they claim to be, pts with
  // a ptmx of its own, shm (64 MiB), and the links fd stdin stdout stderr. Read-only otherwise.
  static Mount dev(std::string_view target = "/dev") { return Mount{Kind::dev, target}; }
  // The POSIX message queues of the child's ipc namespace, mq_overview(7), which must be its own.
  static Mount mqueue(std::string_view target = "/dev/mqueue") { return Mount{Kind::mqueue, target}; }
  // A directory that shows `lower`, and keeps changes in `upper`, with `work` for itself on the same file system. In a user namespace
  // Linux 5.11; files of ids that it does not have cannot be changed there.
  static Mount overlay(std::string_view lower, std::string_view upper, std::string_view work, std::string_view target) {
    Mount mount{Kind::overlay, target, detail::checked_path("mounts", "overlay: lower", lower)};
    mount.upper_ = detail::checked_path("mounts", "overlay: upper", upper);
    mount.work_ = detail::checked_path("mounts", "overlay: work", work);
    return mount;
  }
  // The same with changes kept in memory and gone with the child.
  static Mount overlay(std::string_view lower, std::string_view target) {
    return Mount{Kind::overlay, target, detail::checked_path("mounts", "overlay: lower", lower)};
  }
  // A file with this content, mode 0644. Over a file of the host it is a mount, and leaves that as it is.
  static Mount file(std::string_view target, std::string_view content) {
    Mount mount{Kind::file, target};
    mount.source_ = content;
    return mount;
  }
  // For a root of our own.
  static Mount symlink(std::string_view points_to, std::string_view at) {
    return Mount{Kind::symlink, at, detail::checked_path("mounts", "symlink", points_to)};
  }
  // An empty directory, mode 0755, if there is none, for a root of our own.
  static Mount directory(std::string_view target) { return Mount{Kind::directory, target}; }

  // Recursively, for a bind. A child that keeps CAP_SYS_ADMIN may undo it; where the caller is root also what the host has made
  // read-only or hidden below the source, because the kernel locks what crosses into a user namespace only for others.
  [[nodiscard]] Mount read_only() const {
    return with(&Mount::read_only_, "read_only", kind_ != Kind::symlink && kind_ != Kind::directory);
  }
  // Not the mounts below the source. In a user namespace the kernel refuses that where there are any: they may hide something.
  [[nodiscard]] Mount this_mount_only() const { return with(&Mount::this_mount_only_, "this_mount_only", kind_ == Kind::bind); }
  // A source that does not exist is passed over.
  [[nodiscard]] Mount optional() const {
    return with(&Mount::optional_, "optional", kind_ == Kind::bind || kind_ == Kind::overlay);
  }
  // Of a file: mode 0755. A bind shows what is executable as it is.
  [[nodiscard]] Mount executable() const {
    return with(&Mount::executable_, "executable", kind_ == Kind::bind || kind_ == Kind::tmpfs || kind_ == Kind::file);
  }
  // Device files work, where the source has them.
  [[nodiscard]] Mount with_devices() const { return with(&Mount::with_devices_, "with_devices", kind_ == Kind::bind); }
  // Set-user-id programs work, for ids that the child's user namespace has.
  [[nodiscard]] Mount with_setuid() const { return with(&Mount::with_setuid_, "with_setuid", kind_ == Kind::bind); }
  // Permissions of a tmpfs, a file or a directory, such as 0700.
  [[nodiscard]] Mount mode(unsigned permissions) const {
    if (permissions > 07777) throw std::invalid_argument("cloister: mounts: mode: permissions have twelve bits, as in 01777");
    Mount mount = with(nullptr, "mode", kind_ == Kind::tmpfs || kind_ == Kind::file || kind_ == Kind::directory);
    mount.mode_.emplace(permissions);
    return mount;
  }

  Kind kind() const noexcept { return kind_; }
  std::string const& target() const noexcept { return target_; }
  // Of a bind and an overlay (its lower directory); where a symlink points; the content of a file.
  std::string const& source() const noexcept { return source_; }
  // Of an overlay whose changes are kept; else empty.
  std::string const& upper() const noexcept { return upper_; }
  std::string const& work() const noexcept { return work_; }
  // Of a tmpfs, in bytes.
  std::uint64_t size() const noexcept { return size_; }
  std::optional<unsigned> permissions() const noexcept { return mode_; }
  bool is_read_only() const noexcept { return read_only_; }
  bool is_this_mount_only() const noexcept { return this_mount_only_; }
  bool is_optional() const noexcept { return optional_; }
  bool is_executable() const noexcept { return executable_; }
  bool has_devices() const noexcept { return with_devices_; }
  bool has_setuid() const noexcept { return with_setuid_; }

  friend bool operator==(Mount const&, Mount const&) = default;

 private:
  Mount(Kind kind, std::string_view target, std::string source = {})
      : kind_(kind), target_(detail::checked_path("mounts", "target", target)), source_(std::move(source)) {
    if (target_.front() != '/') detail::refuse_path("mounts", "target", target_, "is not absolute");
    if (("/" + target_ + "/").find("/../") != std::string::npos) detail::refuse_path("mounts", "target", target_, "has a \"..\" in it");
    if (target_.find_first_not_of("/.") == std::string::npos && target_.find("..") == std::string::npos)
      detail::refuse_path("mounts", "target", target_, "is the root itself, which is for Isolation::root to say");
  }
  Mount with(bool Mount::*verb, char const* name, bool has_meaning) const {
    if (!has_meaning) throw std::invalid_argument(detail::join({"cloister: mounts: ", name, " means nothing to what is put on ", target_}));
    Mount mount = *this;
    if (verb != nullptr) mount.*verb = true;
    return mount;
  }

  Kind kind_;
  bool read_only_ = false, this_mount_only_ = false, optional_ = false, executable_ = false, with_devices_ = false, with_setuid_ = false;
  std::string target_, source_, upper_, work_;
  std::uint64_t size_ = 0;
  std::optional<unsigned> mode_;
};

// As in a log line: "bind /usr on /usr read_only", "tmpfs on /tmp 1048576 bytes", "symlink /bin to usr/bin".
inline std::string to_string(Mount const& mount) {
  static constexpr char const* names[] = {"bind", "proc", "sysfs", "tmpfs", "dev", "mqueue", "overlay", "file", "symlink", "directory"};
  std::string text = names[static_cast<std::size_t>(mount.kind())];
  using Kind = Mount::Kind;
  if (mount.kind() == Kind::symlink) return detail::join({text, " ", mount.target(), " to ", mount.source()});
  if (mount.kind() == Kind::bind || mount.kind() == Kind::overlay) text += ' ' + mount.source();
  if (!mount.upper().empty()) text += " under " + mount.upper();
  text += (mount.kind() == Kind::file || mount.kind() == Kind::directory ? " " : " on ") + mount.target();
  if (mount.kind() == Kind::tmpfs) text += ' ' + std::to_string(mount.size()) + " bytes";
  if (auto const mode = mount.permissions()) {
    text += " mode 0";
    for (unsigned shift = *mode > 0777 ? 12 : 9; shift > 0; shift -= 3) text += static_cast<char>('0' + ((*mode >> (shift - 3)) & 7));
  }
  // Each literal of another length that is appended to a string by itself is templates of its own.
  auto const add_if = [&](bool is_so, char const* word) {
    if (is_so) text += word;
  };
  add_if(mount.is_read_only(), " read_only");
  add_if(mount.is_this_mount_only(), " this_mount_only");
  add_if(mount.is_optional(), " optional");
  add_if(mount.is_executable(), " executable");
  add_if(mount.has_devices(), " with_devices");
  add_if(mount.has_setuid(), " with_setuid");
  return text;
}

// "host", "/srv/debian", "empty", "empty writable".
inline std::string to_string(Root const& root) {
  if (root.kind() == Root::Kind::directory) return root.path();
  return root.kind() == Root::Kind::host ? "host" : root.is_writable() ? "empty writable" : "empty";
}

}  // namespace cloister
