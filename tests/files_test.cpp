// The files of a child's world: roots and mounts of every kind, and what becomes of the caller's.
#include <elf.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <fstream>
#include <mutex>
#include <set>

#include "privileged.hpp"
#include "refusal.hpp"

using namespace cloister::flags;
using namespace test;
using namespace std::string_literals;
using namespace std::chrono_literals;
using cloister::ChildProcess, cloister::CloneFlags, cloister::Command, cloister::Descriptors, cloister::Error,
    cloister::IdMap, cloister::Init, cloister::Isolation, cloister::Mount, cloister::Root, cloister::run;

namespace {

// --- Worlds

// The kinds of children that this user may give a mount namespace.
std::vector<Kind> worlds() {
  std::vector<Kind> some;
  for (Kind kind : kinds())
    if (is_root() || kind.flags.contains(user)) {
      kind.flags |= mnt;
      some.push_back(std::move(kind));
    }
  return some;
}

// One that this user may have, without more than it takes.
Isolation world(std::vector<Mount> mounts, Root root = Root::host()) {
  Isolation isolation;
  isolation.unshare = is_root() ? CloneFlags(mnt) : user | mnt;
  isolation.root = std::move(root);
  isolation.mounts = std::move(mounts);
  return isolation;
}
Isolation world_of(Kind const& kind, std::vector<Mount> mounts, Root root = Root::host()) {
  Isolation isolation = kind.isolation();
  isolation.root = std::move(root);
  isolation.mounts = std::move(mounts);
  return isolation;
}

// What programs need, for a root of one's own.
std::vector<Mount> with_system(std::vector<Mount> const& others) {
  std::vector<Mount> mounts{Mount::bind("/usr", "/usr").read_only()};
  for (char const* path : {"/bin", "/lib", "/lib32", "/lib64", "/libx32"})
    cloister::detail::add_link_or_directory(mounts, path);
  mounts.insert(mounts.end(), others.begin(), others.end());
  return mounts;
}

// A directory of the caller's that everybody may read.
class Directory : public TemporaryDirectory {
 public:
  Directory() { ::chmod(path().c_str(), 0755); }
  std::string make_directory(std::string const& name, unsigned mode = 0755) const {
    std::string const path = *this / name;
    if (::mkdir(path.c_str(), 0755) != 0) throw std::system_error(errno, std::system_category(), "mkdir " + path);
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string make_file(std::string const& name, std::string const& text, unsigned mode = 0644) const {
    std::string const path = *this / name;
    if (!write_file(path, text)) throw std::system_error(errno, std::system_category(), "write " + path);
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string make_link(std::string const& name, std::string const& to) const {
    std::string const path = *this / name;
    if (::symlink(to.c_str(), path.c_str()) != 0) throw std::system_error(errno, std::system_category(), path);
    return path;
  }
};

// --- Looking

// The content of a file, or in brackets why it cannot be read.
std::string content(std::string const& path) {
  try {
    return read_file(path);
  } catch (std::system_error const& error) {
    return '(' + error.code().message() + ')';
  }
}
std::string read_inside(Kind const& kind, Isolation const& isolation, std::string const& path) {
  if (!kind.program) return run(isolation, [&] { return content(path); });
  cloister::Output const output = run(isolation, Command{"cat", path});
  return output.status.success() ? output.out : '(' + output.err + ')';
}

// The names in a directory, sorted, a space between each two.
std::string names(std::string const& path) {
  std::vector<std::string> list = test::detail::names_in(path);
  std::sort(list.begin(), list.end());
  std::string text;
  for (std::string const& name : list) text += (text.empty() ? "" : " ") + name;
  return text;
}

// 0, or the errno of opening it that way.
int opening(std::string const& path, int flags) {
  int const fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

// Permissions of a file in four octal digits, its link not followed.
std::string mode_of(std::string const& path) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) return std::strerror(errno);
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(facts.st_mode) & 07777);
  return text;
}

// A line of /proc/self/mountinfo, proc_pid_mountinfo(5).
struct MountLine {
  std::string id, parent, device, root, target, options, propagation, type;
  bool has(std::string const& option) const { return contains(',' + options + ',', ',' + option + ','); }
};
std::vector<MountLine> mount_lines(std::string const& text) {
  std::vector<MountLine> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    MountLine one;
    words >> one.id >> one.parent >> one.device >> one.root >> one.target >> one.options;
    std::string word;
    while (words >> word && word != "-") one.propagation += (one.propagation.empty() ? "" : " ") + word;
    words >> one.type;
    lines.push_back(one);
  }
  return lines;
}
std::vector<MountLine> mount_lines_of(Isolation const& isolation) {
  int const fd = ::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // a root without a /proc has it through this
  std::string const text = run(isolation, [fd] {
    std::string result;
    int const file = ::openat(fd, "thread-self/mountinfo", O_RDONLY | O_CLOEXEC);
    char part[4096];
    for (ssize_t size; (size = ::read(file, part, sizeof part)) > 0;)
      result.append(part, static_cast<std::size_t>(size));
    return result;
  });
  ::close(fd);
  return mount_lines(text);
}
// The topmost mount on that target, which must be there.
MountLine mount_on(std::vector<MountLine> const& lines, std::string const& target) {
  MountLine found;
  for (MountLine const& line : lines)
    if (line.target == target) found = line;
  if (found.id.empty()) throw std::runtime_error("nothing is mounted on " + target);
  return found;
}

// --- Refusals

Error refused(Isolation const& isolation, bool program) {
  return caught<Error>([&] {
    if (program)
      (void)run(isolation, Command{"true"});
    else
      run(isolation, [] {});
  });
}

// That each kind of child fails with this, and that it leaves nothing behind.
void check_refused(std::vector<Mount> const& mounts, Root const& root, int error_number, std::string const& step,
                   std::vector<std::string> const& words) {
  Unchanged const unchanged;
  for (Kind const& kind : worlds()) {
    CAPTURE(kind.name);
    Error const error = refused(world_of(kind, mounts, root), kind.program);
    CHECK(error.code().value() == error_number);
    CHECK(error.step() == step);
    CHECK(error.in_child());
    CAPTURE(std::string(error.what()));
    for (std::string const& word : words) {
      CAPTURE(word);
      CHECK(contains(error.what(), word));
    }
  }
}

constexpr char const* no_mounts = "neither root nor allowed a user namespace";

}  // namespace

// --- Binds

TEST_CASE("a directory and a file of the caller's are bound onto the host's, in children of every kind") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("from");
  place.make_file("from/name", "content");
  std::string const onto = place.make_directory("onto"), file = place.make_file("file", "of the host");
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : worlds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation const isolation =
          world_of(kind, {Mount::bind(place / "from", onto), Mount::bind(place / "from/name", file)});
      CHECK(on(where, [&] { return read_inside(kind, isolation, onto + "/name"); }) == "content");
      CHECK(on(where, [&] { return read_inside(kind, isolation, file); }) == "content");
    }
  CHECK(names(onto) == "");
  CHECK(read_file(file) == "of the host");
}

TEST_CASE("in an empty root only what is put there exists, in children of every kind") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_file("name", "content");
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : worlds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation const isolation = world_of(
          kind, with_system({Mount::bind(place.path(), "/deep/down/there"), Mount::bind(place / "name", "/deep/file")}),
          Root::empty());
      CHECK(on(where, [&] { return read_inside(kind, isolation, "/deep/down/there/name"); }) == "content");
      CHECK(on(where, [&] { return read_inside(kind, isolation, "/deep/file"); }) == "content");
      CHECK(contains(on(where, [&] { return read_inside(kind, isolation, "/etc/passwd"); }), "No such file"));
      if (!kind.program) CHECK(run(isolation, [] { return names("/deep") + "; " + names("/etc"); }) == "down file; ");
    }
}

TEST_CASE("a source may be relative to the caller's directory") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_file("name", "content");
  place.make_directory("root");
  int const status = expectations([&] {
    EXPECT(::chdir(place.path().c_str()) == 0);
    for (Kind const& kind : worlds()) {
      about = kind.name;
      EXPECT(read_inside(kind, world_of(kind, with_system({Mount::bind("./name", "/x")}), Root::empty()), "/x") ==
             "content");
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a bind is nosuid and nodev unless said otherwise, and writable unless read_only") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  for (Kind const& kind : callables()) {
    if (!is_root() && !kind.flags.contains(user)) continue;
    CAPTURE(kind.name);
    Isolation isolation = world_of(
        kind,
        {Mount::bind(place.path(), "/plain"), Mount::bind(place.path(), "/devices").with_devices(),
         Mount::bind(place.path(), "/setuid").with_setuid(),
         Mount::bind(place.path(), "/both").with_setuid().with_devices(), Mount::bind(place.path(), "/ro").read_only()},
        Root::empty());
    isolation.unshare = (isolation.unshare | mnt) - pid;
    isolation.init = Init::none;
    std::vector<MountLine> const lines = mount_lines_of(isolation);
    auto const flags = [&](char const* target) {
      MountLine const line = mount_on(lines, target);
      return (line.has("ro") ? "ro "s : "rw "s) + (line.has("nosuid") ? "nosuid " : "") +
             (line.has("nodev") ? "nodev" : "");
    };
    CHECK(flags("/plain") == "rw nosuid nodev");
    CHECK(flags("/devices") == "rw nosuid ");
    CHECK(flags("/setuid") == "rw nodev");
    CHECK(flags("/both") == "rw ");
    CHECK(flags("/ro") == "ro nosuid nodev");
  }
}

TEST_CASE("device files work in a bind with_devices alone") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (Kind const& kind : worlds()) {
    if (kind.program) continue;
    CAPTURE(kind.name);
    std::vector<Mount> const mounts{Mount::bind("/dev/zero", "/with").with_devices(),
                                    Mount::bind("/dev/zero", "/without")};
    CHECK(run(world_of(kind, mounts, Root::empty()), [] { return opening("/with", O_RDONLY); }) == 0);
    CHECK(run(world_of(kind, mounts, Root::empty()), [] { return opening("/without", O_RDONLY); }) == EACCES);
  }
}

TEST_CASE("a read-only bind is read-only down into what is mounted below its source") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  int const status = privileged_expectations([&] {
    std::string const below = place.make_directory("below", 0777);
    EXPECT(::mount("tmpfs", below.c_str(), "tmpfs", 0, "mode=0777") == 0);
    EXPECT(write_file(below + "/name", "content"));
    for (CloneFlags const flags : {CloneFlags(mnt), user | mnt}) {
      Isolation isolation{.unshare = flags,
                          .root = Root::empty(),
                          .mounts = {Mount::bind(place.path(), "/ro").read_only(), Mount::bind(place.path(), "/rw")}};
      if (!flags.contains(user)) isolation.ids = std::nullopt;
      EXPECT(run(isolation, [] { return content("/ro/below/name"); }) == "content");
      EXPECT(run(isolation, [] { return opening("/ro/below/new", O_WRONLY | O_CREAT); }) == EROFS);
      EXPECT(run(isolation, [] { return opening("/ro/new", O_WRONLY | O_CREAT); }) == EROFS);
      EXPECT(run(isolation, [] { return opening("/rw/below/new", O_WRONLY | O_CREAT); }) == 0);
    }
    EXPECT(write_file(below + "/by_caller", "the caller's mount is as it was"));
  });
  CHECK(status == 0);
}

TEST_CASE("this_mount_only leaves out what is mounted below the source, where the kernel lets it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  int const status = privileged_expectations([&] {
    std::string const below = place.make_directory("below");
    EXPECT(::mount("tmpfs", below.c_str(), "tmpfs", 0, nullptr) == 0);
    EXPECT(write_file(below + "/name", "content"));
    std::vector<Mount> const mounts{Mount::bind(place.path(), "/all"),
                                    Mount::bind(place.path(), "/one").this_mount_only()};
    Isolation isolation{.unshare = mnt, .root = Root::empty(), .mounts = mounts};
    auto const look = [] { return names("/all/below") + ";" + names("/one/below"); };
    EXPECT(run(isolation, look) == "name;");
    // A caller that has the privilege opens what is bound itself.
    isolation.unshare |= user;
    EXPECT(run(isolation, look) == "name;");
    // One that has not gets its child's: those may hide something.
    EXPECT(drop_capabilities());
    Unchanged const unchanged;
    for (bool const program : {false, true})
      EXPECT(fails_with(EINVAL, "bind", [&] { throw refused(isolation, program); },
                        {place.path() + " on /one (in the child)", "in a user namespace what is mounted below"}));
    EXPECT(unchanged.changes().empty());
  });
  CHECK(status == 0);
}

TEST_CASE("an optional source that does not exist is passed over, any other is not") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_file("file", "");
  place.make_link("dangling", "nowhere");
  for (Kind const& kind : worlds()) {
    if (kind.program) continue;
    CAPTURE(kind.name);
    Isolation const isolation =
        world_of(kind,
                 {Mount::bind(place / "no/such", "/a").optional(), Mount::bind(place / "file/below", "/b").optional(),
                  Mount::bind(place / "dangling", "/c").optional(), Mount::overlay(place / "none", "/d").optional(),
                  Mount::bind(place / "file", "/e").optional()},
                 Root::empty());
    CHECK(run(isolation, [] { return names("/"); }) == "e");
  }
  check_refused({Mount::bind(place / "no", "/a")}, Root::empty(), ENOENT, "bind",
                {"cloister: bind " + (place / "no") + " on /a (in the child): No such file or directory",
                 "the source does not exist"});
  check_refused({Mount::overlay(place / "no", "/a")}, Root::empty(), ENOENT, "mount overlay",
                {(place / "no") + " on /a", "the source does not exist"});
}

TEST_CASE("an optional source that is out of reach is an Error") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  Directory const place;
  place.make_directory("shut");
  place.make_directory("shut/in");
  ::chmod((place / "shut").c_str(), 0);
  int const status = unprivileged_expectations([&] {
    ::prctl(PR_SET_DUMPABLE, 1);
    Isolation const isolation{
        .unshare = user | mnt, .root = Root::empty(), .mounts = {Mount::bind(place / "shut/in", "/a").optional()}};
    for (bool const program : {false, true})
      EXPECT(fails_with(EACCES, "bind", [&] { throw refused(isolation, program); },
                        {(place / "shut/in") + " on /a (in the child)", "out of the caller's reach"}));
  });
  CHECK(status == 0);
  ::chmod((place / "shut").c_str(), 0755);
}

TEST_CASE("root's child with ids of its own gets a directory that only root may enter, opened by its parent") {
  SKIP_UNLESS(is_root(), "only root has what others may not enter");
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  Directory const place;
  std::string const shut = place.make_directory("shut", 0700);
  place.make_directory("shut/in", 0755);
  place.make_file("shut/in/name", "content");
  for (bool const program : {false, true})
    for (CloneFlags const more : {CloneFlags{}, CloneFlags(pid)}) {
      Isolation const isolation{.unshare = user | mnt | more,
                                .ids = IdMap::ranges({{65534, 65534}}, {{65534, 65534}}),
                                .root = Root::empty(),
                                .mounts = with_system({Mount::bind(shut + "/in", "/x"), Mount::bind(shut, "/shut")})};
      Kind kind{};
      kind.program = program;
      CHECK(read_inside(kind, isolation, "/x/name") == "content");
      CHECK(contains(read_inside(kind, isolation, "/shut/in/name"), "Permission denied"));
    }
}

TEST_CASE("root's child with ids of its own gets a root directory that lies where only root may go") {
  SKIP_UNLESS(is_root(), "only root has what others may not enter");
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  Directory const place;
  place.make_directory("shut", 0700);
  place.make_directory("shut/root", 0755);
  place.make_file("shut/root/name", "content");
  Isolation const isolation{.unshare = user | mnt,
                            .ids = IdMap::ranges({{65534, 65534}}, {{65534, 65534}}),
                            .root = Root::directory(place / "shut/root")};
  CHECK(run(isolation, [] { return content("/name"); }) == "content");
}

// --- Targets

TEST_CASE("a target on the host's root must exist") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const hint = "the target must exist: nothing is made on the host's file systems";
  check_refused({Mount::bind(place.path(), place / "a")}, Root::host(), ENOENT, "bind",
                {place.path() + " on " + (place / "a") + " (in the child)", hint});
  check_refused({Mount::tmpfs(place / "a/b", 4096)}, Root::host(), ENOENT, "mount tmpfs",
                {"on " + (place / "a/b"), hint});
  check_refused({Mount::file(place / "f", "x")}, Root::host(), ENOENT, "write file", {place / "f", hint});
  CHECK(names(place.path()) == "");
}

TEST_CASE("a symlink or a directory is not made on the host's root, which is seen before any process exists") {
  for (Mount const& mount : {Mount::symlink("x", "/tmp/link"), Mount::directory("/tmp/directory")}) {
    std::string const text = text_of<std::invalid_argument>([&] { run(world({mount}), [] {}); });
    CHECK(contains(text, "mounts: " + to_string(mount) + ": nothing is made on the host's file systems"));
  }
}

TEST_CASE("a file and a directory do not go onto one another") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("directory");
  place.make_file("file", "");
  for (Root const& root : {Root::host(), Root::directory("/")}) {
    CAPTURE(to_string(root));
    check_refused({Mount::bind(place / "file", place / "directory")}, root, EISDIR, "bind",
                  {(place / "file") + " on " + (place / "directory"), "a file is to be mounted on a directory"});
    check_refused({Mount::bind(place / "directory", place / "file")}, root, ENOTDIR, "bind",
                  {(place / "directory") + " on " + (place / "file"), "a directory is to be mounted on what is none"});
    check_refused({Mount::tmpfs(place / "file", 4096)}, root, ENOTDIR, "mount tmpfs", {"on what is none"});
    check_refused({Mount::file(place / "directory", "x")}, root, EISDIR, "write file", {"on a directory"});
  }
}

TEST_CASE("in a root of one's own what is missing on the way to a target is made, once") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Isolation const isolation =
      world({Mount::directory("/a/b/c"), Mount::directory("//a/./b//d/"), Mount::file("/a/b/f", "x"),
             Mount::tmpfs("/a/t", 4096), Mount::directory("/a/t/in"), Mount::directory("/a"),
             Mount::symlink("b", "/a/link"), Mount::directory("/a/link/e")},
            Root::empty());
  CHECK(run(isolation, [] { return names("/a") + "; " + names("/a/b") + "; " + names("/a/t"); }) ==
        "b link t; c d e f; in");
  CHECK(run(isolation, [] { return mode_of("/a") + mode_of("/a/b/c") + mode_of("/a/t"); }) == "075507551777");
}

TEST_CASE("a symlink on the way to a target stays inside the root, absolute or climbing") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("root", 0777);
  place.make_directory("outside", 0777);
  place.make_link("root/absolute", place / "outside");
  place.make_link("root/climbing", "../outside");
  place.make_link("root/up", "../../../../../../..");
  Isolation const isolation = world(
      {
          Mount::directory(place / "outside"),
          Mount::directory("/outside"),
          Mount::file("/absolute/file", "a"),
          Mount::file("/climbing/file", "b"),
          Mount::tmpfs("/up/other", 4096),
          Mount::symlink("x", "/absolute/link"),
          Mount::directory("/climbing/directory"),
      },
      Root::directory(place / "root"));
  std::string const inside = place / "outside";
  CHECK(run(isolation, [&] { return names(inside) + "; " + names("/outside") + "; " + mode_of("/other"); }) ==
        "file link; directory file; 1777");
  CHECK(names(place / "outside") == "");
}

TEST_CASE("a /dev of the root directory that is a link to the outside leads nowhere") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("root", 0777);
  place.make_directory("outside", 0777);
  place.make_link("root/dev", place / "outside");
  for (Mount const& mount :
       {Mount::dev(), Mount::tmpfs("/dev", 4096), Mount::file("/dev/null", "x"), Mount::symlink("x", "/dev/x"),
        Mount::directory("/dev/x"), Mount::mqueue(), Mount::bind("/dev/null", "/dev/null")}) {
    CAPTURE(to_string(mount));
    Isolation isolation = world({mount}, Root::directory(place / "root"));
    isolation.unshare |= ipc;
    Error const error = refused(isolation, false);
    CHECK(error.code().value() == ENOENT);
    CHECK(contains(error.what(), "the target is a symlink to nowhere"));
    CHECK(names(place / "outside") == "");
    CHECK(names(place / "root") == "dev");
  }
}

TEST_CASE("a target that is a symlink to nowhere is refused, and one in circles") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  check_refused({Mount::symlink("nowhere", "/a"), Mount::tmpfs("/a", 4096)}, Root::empty(), ENOENT, "mount tmpfs",
                {"on /a", "the target is a symlink to nowhere"});
  check_refused({Mount::symlink("nowhere", "/a"), Mount::tmpfs("/a/b", 4096)}, Root::empty(), ENOENT, "mount tmpfs",
                {"on /a/b", "the target is a symlink to nowhere"});
  check_refused({Mount::symlink("nowhere", "/a"), Mount::file("/a", "x")}, Root::empty(), ENOENT, "write file",
                {"/a", "the target is a symlink to nowhere"});
  check_refused({Mount::symlink("b", "/a"), Mount::symlink("a", "/b"), Mount::tmpfs("/a", 4096)}, Root::empty(), ELOOP,
                "mount tmpfs", {"on /a", "or in circles"});
}

TEST_CASE("no target leads through a magic link of a proc") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (char const* target : {"/proc/self/root/tmp", "/proc/self/cwd", "/proc/self/fd/0"})
    for (CloneFlags const types : {user | mnt | pid}) {
      SKIP_UNLESS(user_namespaces(), "no user namespaces");
      Isolation const isolation{
          .unshare = types, .root = Root::empty(), .mounts = {Mount::proc(), Mount::tmpfs(target, 4096)}};
      Error const error = refused(isolation, false);
      CAPTURE(std::string(error.what()));
      CHECK(error.code().value() == ELOOP);
      CHECK(contains(error.what(), "leads through a link of a proc"));
    }
}

TEST_CASE("below a read-only bind a target must exist, and may") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("there");
  Mount const source = Mount::bind(place.path(), "/x").read_only();
  check_refused({source, Mount::tmpfs("/x/missing", 4096)}, Root::empty(), EROFS, "mount tmpfs",
                {"on /x/missing", "the target does not exist, and what it would be made in is read-only"});
  CHECK(run(world({source, Mount::tmpfs("/x/there", 4096)}, Root::empty()),
            [] { return opening("/x/there/new", O_WRONLY | O_CREAT); }) == 0);
  CHECK(names(place / "there") == "");
}

TEST_CASE("a target that the child may not make says so") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  Directory const place;
  place.make_directory("root", 0555);
  int const status = unprivileged_expectations([&] {
    ::prctl(PR_SET_DUMPABLE, 1);
    // The child has no capability over files of an id that its user namespace does not have.
    if (::geteuid() != 65534 || is_root()) return;
    Isolation const isolation{
        .unshare = user | mnt, .root = Root::directory("/usr"), .mounts = {Mount::directory("/cloister-no-such")}};
    EXPECT(fails_with(EACCES, "mkdir", [&] { throw refused(isolation, false); },
                      {"/cloister-no-such (in the child)", "may not be made there by the child"}));
  });
  CHECK(status == 0);
}

TEST_CASE("children that make the same directories at once do not disturb one another") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  for (int round = 0; round < 20; ++round) {
    std::string const root = place.make_directory("root" + std::to_string(round), 0777);
    Isolation const isolation = world({Mount::tmpfs("/a/b/c/d", 4096), Mount::directory("/e/f/g"),
                                       Mount::file("/h/i/j", "x"), Mount::symlink("x", "/k/l/m")},
                                      Root::directory(root));
    std::atomic<int> done{0};
    std::vector<std::thread> threads;
    std::string wrong;
    std::mutex lock;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        try {
          done += run(isolation, [] { return opening("/a/b/c/d/x", O_WRONLY | O_CREAT) == 0 ? 1 : 0; });
        } catch (std::exception const& error) {
          std::lock_guard const guard(lock);
          wrong = error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == "");
    CHECK(done.load() == 4);
  }
}

// --- Files

TEST_CASE("a file has its content, is plain in an empty root, and elsewhere leaves the host's as it is") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const hosts = place.make_file("hosts", "of the host");
  std::string const large(5 * 1024 * 1024, 'x');
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : worlds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation const host = world_of(kind, {Mount::file(hosts, "of the child")});
      CHECK(on(where, [&] { return read_inside(kind, host, hosts); }) == "of the child");
      Isolation const empty = world_of(
          kind, with_system({Mount::file("/etc/motd", "welcome\n"), Mount::file("/etc/none", "")}), Root::empty());
      CHECK(on(where, [&] { return read_inside(kind, empty, "/etc/motd"); }) == "welcome\n");
      CHECK(on(where, [&] { return read_inside(kind, empty, "/etc/none"); }) == "");
    }
  CHECK(read_file(hosts) == "of the host");

  for (Root const& root : {Root::host(), Root::empty()}) {
    CAPTURE(to_string(root));
    CHECK(run(world({Mount::file(hosts, large)}, root), [&] { return content(hosts) == large; }));
    CHECK(run(world({Mount::file(hosts, "a\0b"s)}, root), [&] { return content(hosts); }) == "a\0b"s);
  }
}

TEST_CASE("a file is 0644, and executable where it says so, whichever root it is in") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const path = place.make_file("name", "of the host", 0600);
  std::string const script = "#!/bin/sh\necho run\n";
  for (Root const& root : {Root::host(), Root::empty()}) {
    CAPTURE(to_string(root));
    auto const mode = [&](Mount const& mount) { return run(world({mount}, root), [&] { return mode_of(path); }); };
    CHECK(mode(Mount::file(path, "x")) == "0644");
    CHECK(mode(Mount::file(path, "x").executable()) == "0755");
    CHECK(mode(Mount::file(path, "x").mode(0400)) == "0400");
    CHECK(mode(Mount::file(path, "x").mode(0751).executable()) == "0751");
    CHECK(mode(Mount::file(path, "x").mode(04711)) == "4711");
    std::vector<Mount> const one{Mount::file(path, script).executable()};
    bool const own = root.kind() == Root::Kind::empty;
    CHECK(run(world(own ? with_system(one) : one, root), Command{path}).out == "run\n");
    std::vector<Mount> const other{Mount::file(path, script).mode(0755)};
    if (!own) CHECK(caught<Error>([&] { (void)run(world(other, root), Command{path}); }).code().value() == EACCES);
  }
}

TEST_CASE("a file may be written by the child, unless it is read_only, and that is gone with it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const path = place.make_file("name", "of the host", 0666);
  auto const overwrite = [&] { return write_file(path, "changed") ? content(path) : std::strerror(errno); };
  for (Root const& root : {Root::host(), Root::empty().writable()}) {
    CAPTURE(to_string(root));
    CHECK(run(world({Mount::file(path, "x")}, root), overwrite) == "changed");
    CHECK(run(world({Mount::file(path, "x").read_only()}, root), overwrite) == "Read-only file system");
  }
  CHECK(read_file(path) == "of the host");
}

TEST_CASE("of two files at one place the later is seen, and one can go into a tmpfs and over a bind") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const name = place.make_file("name", "of the host");
  std::vector<Mount> const mounts{Mount::file("/a", "1"),          Mount::file("/a", "2"),
                                  Mount::tmpfs("/t", 1 << 20),     Mount::file("/t/in", "3"),
                                  Mount::bind(place.path(), "/b"), Mount::file("/b/name", "4")};
  CHECK(run(world(mounts, Root::empty()), [] { return content("/a") + content("/t/in") + content("/b/name"); }) ==
        "234");
  CHECK(read_file(name) == "of the host");
}

TEST_CASE("symlinks and directories have what they were given, and may be there already") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  std::vector<Mount> const mounts{
      Mount::symlink("usr/bin", "/bin"),     Mount::symlink("usr/bin", "/bin"),      Mount::directory("/plain"),
      Mount::directory("/open").mode(01777), Mount::directory("/group").mode(02770), Mount::directory("/shut").mode(0),
      Mount::directory("/plain").mode(0700)};
  CHECK(run(world(mounts, Root::empty()), [] {
          return test::detail::link_target("/bin") + " " + mode_of("/plain") + " " + mode_of("/open") + " " +
                 mode_of("/group") + " " + mode_of("/shut");
        }) == "usr/bin 0755 1777 2770 0000");
  check_refused({Mount::symlink("a", "/x"), Mount::symlink("b", "/x")}, Root::empty(), EEXIST, "symlink",
                {"/x to b", "something else is there"});
  check_refused({Mount::directory("/x"), Mount::symlink("b", "/x")}, Root::empty(), EEXIST, "symlink", {"/x to b"});
  check_refused({Mount::file("/x", ""), Mount::directory("/x")}, Root::empty(), ENOTDIR, "mkdir", {"/x"});
}

TEST_CASE("the caller's umask changes no mode, and is the child's again afterwards") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  int const status = expectations([] {
    ::umask(077);
    for (Kind const& kind : worlds()) {
      if (kind.program) continue;
      about = kind.name;
      std::string const seen =
          run(world_of(kind, {Mount::directory("/a/b"), Mount::file("/f", ""), Mount::tmpfs("/t", 4096), Mount::dev()},
                       Root::empty()),
              [] {
                unsigned const mask = ::umask(0);
                return mode_of("/") + mode_of("/a") + mode_of("/a/b") + mode_of("/f") + mode_of("/t") +
                       mode_of("/dev") + mode_of("/dev/shm") + mode_of("/dev/pts") + " " + std::to_string(mask);
              });
      EXPECT(seen == "07550755075506441777075517770755 63");
    }
    EXPECT(::umask(0) == 077);
  });
  CHECK(status == 0);
}

// --- Overlays

namespace {

// An overlay in a user namespace copies no file of an id that it does not have.
void give_to_children(std::vector<std::string> const& paths) {
  for (std::string const& path : paths)
    if (is_root() && ::chown(path.c_str(), 100000, 100000) != 0)
      throw std::system_error(errno, std::system_category(), "chown " + path);
}

}  // namespace

TEST_CASE("an overlay shows its lower directory and keeps changes in memory, in children of every kind") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const lower = place.make_directory("lower", 0777);
  place.make_file("lower/name", "of the host", 0666);
  give_to_children({lower, lower + "/name"});
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : worlds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      for (Root const& root : {Root::host(), Root::empty()}) {
        std::string const target = root.kind() == Root::Kind::host ? lower : "/merged";
        CAPTURE(target);
        std::vector<Mount> const one{Mount::overlay(lower, target)};
        Isolation const isolation = world_of(kind, root.kind() == Root::Kind::host ? one : with_system(one), root);
        CHECK(on(where, [&] { return read_inside(kind, isolation, target + "/name"); }) == "of the host");
        if (kind.program) {
          std::string const script = "echo changed > name; echo x > new; mkdir -p d/e; cat name new; ls -d d/e";
          CHECK(run(isolation, Command{"sh", "-c", script}.cwd(target)).out == "changed\nx\nd/e\n");
        } else {
          CHECK(run(isolation, [&] {
                  write_file(target + "/name", "changed");
                  write_file(target + "/new", "x");
                  return content(target + "/name") + content(target + "/new");
                }) == "changedx");
        }
      }
    }
  CHECK(names(lower) == "name");
  CHECK(read_file(lower + "/name") == "of the host");
}

TEST_CASE("a directory that the child removes and makes again in an overlay is empty") {
  // For which the file system keeps a note, in attributes that not every caller may write.
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const lower = place.make_directory("lower", 0777);
  place.make_directory("lower/d", 0777);
  place.make_file("lower/d/name", "", 0666);
  give_to_children({lower, lower + "/d", lower + "/d/name"});
  auto const again = [] {
    if (::unlink("/m/d/name") != 0 || ::rmdir("/m/d") != 0 || ::mkdir("/m/d", 0755) != 0)
      return std::strerror(errno) + ""s;
    return "made again:" + names("/m/d");
  };
  // tmpfs has the attributes since Linux 6.6.
  for (Kind const& kind : worlds())
    if (!kind.program) {
      CAPTURE(kind.name);
      std::string const result = run(world_of(kind, {Mount::overlay(lower, "/m")}, Root::empty()), again);
      CHECK((result == "made again:" || result == std::strerror(EIO)));
    }
  int const status = privileged_expectations([&] {
    std::string const result =
        run(Isolation{.unshare = mnt, .root = Root::empty(), .mounts = {Mount::overlay(lower, "/m")}}, again);
    if (!EXPECT(result == "made again:")) ::dprintf(complaints, "%s\n", result.c_str());
  });
  CHECK(status == 0);
  CHECK(names(lower + "/d") == "name");
}

TEST_CASE("an overlay over a directory has the permissions that the directory has") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  for (unsigned const mode : {0755u, 01777u, 0700u}) {
    std::string const lower = place.make_directory("lower" + std::to_string(mode), mode);
    CHECK(run(world({Mount::overlay(lower, "/m")}, Root::empty()), [] { return mode_of("/m"); }) == mode_of(lower));
  }
}

TEST_CASE("an overlay keeps changes in its upper directory, and the lower one is as it was") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  // An upper directory must be writable for the child, whose ids may be others.
  for (Kind const& kind : worlds()) {
    if (is_root() && kind.flags.contains(user)) continue;
    CAPTURE(kind.name);
    Directory const here;
    std::string const lower = here.make_directory("lower");
    here.make_file("lower/name", "of the host", 0644);
    here.make_file("lower/other", "", 0644);
    std::string const upper = here.make_directory("upper"), work = here.make_directory("work");
    Mount const overlay = Mount::overlay(lower, upper, work, "/merged");
    Isolation isolation = world_of(kind, with_system({overlay}), Root::empty());
    if (kind.program)
      CHECK(run(isolation, Command{"sh", "-c", "echo changed > /merged/name; echo x > /merged/new; rm /merged/other"})
                .status.success());
    else
      run(isolation, [] {
        write_file("/merged/name", "changed\n");
        write_file("/merged/new", "x\n");
        ::unlink("/merged/other");
      });
    CHECK(read_file(upper + "/name") == "changed\n");
    CHECK(read_file(upper + "/new") == "x\n");
    CHECK(read_file(lower + "/name") == "of the host");
    CHECK(names(lower) == "name other");
    isolation.mounts.back() = overlay.read_only();
    CHECK(read_inside(kind, isolation, "/merged/name") == "changed\n");
    if (!kind.program) {
      CHECK(run(isolation, [] { return names("/merged"); }) == "name new");
      CHECK(run(isolation, [] { return opening("/merged/more", O_WRONLY | O_CREAT); }) == EROFS);
    }
    ::chmod((work + "/work").c_str(), 0700);  // the kernel leaves it without any permission
  }
}

TEST_CASE("an overlay whose work directory is on another file system than the upper one is refused by the caller") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const lower = place.make_directory("lower"), upper = place.make_directory("upper"),
                    work = place.make_directory("work");
  Isolation const isolation{
      .unshare = mnt, .root = Root::empty(), .mounts = {Mount::overlay(lower, upper, work, "/m")}};
  int const status = privileged_expectations([&] {
    EXPECT(::mount("tmpfs", work.c_str(), "tmpfs", 0, nullptr) == 0);
    for (bool const program : {false, true})
      EXPECT(fails_with(EXDEV, "mount overlay", [&] { throw refused(isolation, program); },
                        {"cloister: mount overlay " + work + " on /m: ",
                         "the work directory must be on the same file system as " + upper}));
    EXPECT(::umount(work.c_str()) == 0);
    EXPECT(::mount(work.c_str(), work.c_str(), nullptr, MS_BIND, nullptr) == 0);
    for (bool const program : {false, true})
      EXPECT(fails_with(EINVAL, "mount overlay", [&] { throw refused(isolation, program); },
                        {lower + " on /m (in the child): ", "two directories of one mount, neither inside the other"}));
  });
  CHECK(status == 0);
}

TEST_CASE("an overlay whose upper or work directory is missing names that one, also if its lower one is optional") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const there = place.make_directory("there"), missing = place / "missing";
  for (bool const optional : {false, true}) {
    auto const overlay = [&](std::string const& upper, std::string const& work) {
      Mount const mount = Mount::overlay(there, upper, work, "/m");
      return std::vector<Mount>{optional ? mount.optional() : mount};
    };
    check_refused(overlay(missing, there), Root::empty(), ENOENT, "mount overlay", {missing + " on /m"});
    check_refused(overlay(there, missing), Root::empty(), ENOENT, "mount overlay", {missing + " on /m"});
  }
  std::string const file = place.make_file("file", "");
  check_refused({Mount::overlay(file, "/m")}, Root::empty(), ENOTDIR, "mount overlay", {file + " on /m"});
  CHECK(run(world({Mount::overlay(missing, missing, missing, "/m").optional()}, Root::empty()),
            [] { return names("/"); }) == "");
}

// --- tmpfs

TEST_CASE("a tmpfs holds so many bytes and files, and no more") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (Kind const& kind : worlds()) {
    if (kind.program) continue;
    CAPTURE(kind.name);
    std::vector<Mount> const mounts{Mount::tmpfs("/t", 1 << 20), Mount::tmpfs("/small", 1)};
    auto const [bytes, files, error] = run(world_of(kind, mounts, Root::empty()), [] {
      int const fd = ::open("/t/x", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      std::string const part(4096, 'x');
      long written = 0;
      for (ssize_t size; (size = ::write(fd, part.data(), part.size())) > 0;) written += size;
      int const full = errno;
      ::ftruncate(fd, 0);
      int count = 1;
      for (; count < 100'000; ++count)
        if (opening("/t/" + std::to_string(count), O_WRONLY | O_CREAT) != 0) break;
      return std::tuple{written, count, full};
    });
    CHECK(bytes <= 1 << 20);
    CHECK(bytes >= 1 << 19);
    CHECK(error == ENOSPC);
    CHECK(files > 100);
    CHECK(files <= 1024 + 64);
  }
}

TEST_CASE("a tmpfs is for everybody, nosuid, nodev and noexec, unless said otherwise") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::vector<Mount> const mounts{Mount::tmpfs("/plain", 4096), Mount::tmpfs("/exec", 4096).executable().mode(0711),
                                  Mount::tmpfs("/ro", 4096).read_only(), Mount::directory("/ro/made")};
  std::vector<MountLine> const lines = mount_lines_of(world(mounts, Root::empty()));
  for (char const* target : {"/plain", "/exec", "/ro"}) {
    MountLine const line = mount_on(lines, target);
    CHECK(line.type == "tmpfs");
    CHECK(line.has("nosuid"));
    CHECK(line.has("nodev"));
    CHECK(line.has("noexec") == (target != "/exec"s));
    CHECK(line.has("ro") == (target == "/ro"s));
  }
  CHECK(run(world(mounts, Root::empty()), [] { return mode_of("/plain") + mode_of("/exec") + names("/ro"); }) ==
        "17770711made");
  std::string const script = "#!/bin/sh\necho run\n";
  std::string const try_it = "printf '%s' \"$1\" > $0/x; chmod +x $0/x; $0/x";
  CHECK(run(world(with_system(mounts), Root::empty()), Command{"sh", "-c", try_it, "/exec", script}).out == "run\n");
  CHECK_FALSE(
      run(world(with_system(mounts), Root::empty()), Command{"sh", "-c", try_it, "/plain", script}).status.success());
}

// --- Devices and what the kernel shows

TEST_CASE("the devices of dev() work, in children of every kind") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : worlds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      for (bool const own_root : {false, true}) {
        Isolation const isolation =
            own_root ? world_of(kind, with_system({Mount::dev()}), Root::empty()) : world_of(kind, {Mount::dev()});
        if (kind.program) {
          std::string const script =
              "head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null && echo ok";
          CHECK(on(where, [&] { return run(isolation, Command{"sh", "-c", script}).out; }) == "3\n3\nok\n");
          continue;
        }
        std::string const seen = on(where, [&] {
          return run(isolation, [] {
            std::string text = names("/dev");
            for (char const* name : {"null", "zero", "full", "random", "urandom"})
              text += "; " + std::to_string(opening("/dev/"s + name, O_RDWR));
            int const full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
            text += ::write(full, "x", 1) < 0 && errno == ENOSPC ? "; full" : "; not full";
            text += "; " + std::to_string(opening("/dev/new", O_WRONLY | O_CREAT));
            text += "; " + std::to_string(opening("/dev/shm/new", O_WRONLY | O_CREAT));
            return text;
          });
        });
        CHECK(seen == "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero; 0; 0; 0; 0; 0; full; " +
                          std::to_string(EROFS) + "; 0");
      }
    }
}

TEST_CASE("a dev() has pseudo terminals of its own") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (Kind const& kind : worlds()) {
    if (kind.program) continue;
    CAPTURE(kind.name);
    CHECK(run(world_of(kind, {Mount::dev()}, Root::empty()), [] {
            int const master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (master < 0) return "posix_openpt: "s + std::strerror(errno);
            if (::unlockpt(master) != 0) return "unlockpt: "s + std::strerror(errno);
            char name[64];
            if (::ptsname_r(master, name, sizeof name) != 0) return "ptsname: "s + std::strerror(errno);
            int const slave = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
            if (slave < 0) return name + ": "s + std::strerror(errno);
            if (::write(slave, "hello", 5) != 5) return "write"s;
            char text[5];
            if (::read(master, text, sizeof text) != 5) return "read"s;
            return name + " "s + std::string(text, 5);
          }) == "/dev/pts/0 hello");
  }
}

TEST_CASE("a device of the host that is not what its name says is an Error, and so is one that is missing") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  int const status = privileged_expectations([] {
    std::string const saved = "/tmp";
    EXPECT(::mount("tmpfs", saved.c_str(), "tmpfs", 0, nullptr) == 0);
    for (char const* name : {"null", "zero", "full", "random", "urandom", "tty"}) {
      EXPECT(write_file(saved + "/" + name, ""));
      EXPECT(::mount(("/dev/"s + name).c_str(), (saved + "/" + name).c_str(), nullptr, MS_BIND, nullptr) == 0);
    }
    EXPECT(::mount(saved.c_str(), "/dev", nullptr, MS_BIND | MS_REC, nullptr) == 0);
    auto const start = [&](CloneFlags more) {
      return [more] { run(Isolation{.unshare = mnt | more, .root = Root::empty(), .mounts = {Mount::dev()}}, [] {}); };
    };
    start({})();
    {
      Unchanged const unchanged;
      for (CloneFlags const more : {CloneFlags{}, CloneFlags(user)}) {
        about = to_string(more);
        EXPECT(::mount("/proc/self/status", "/dev/null", nullptr, MS_BIND, nullptr) == 0);
        EXPECT(fails_with(
            ENODEV, "mount dev", start(more),
            {"on /dev (in the child): No such device", "a device of the host's /dev is not what its name says"}));
        EXPECT(::umount("/dev/null") == 0);
        EXPECT(::mount("/dev/zero", "/dev/full", nullptr, MS_BIND, nullptr) == 0);
        EXPECT(fails_with(ENODEV, "mount dev", start(more), {"is not what its name says"}));
        EXPECT(::umount("/dev/full") == 0);
      }
      EXPECT(unchanged.changes().empty());
    }
    EXPECT(::umount("/dev/tty") == 0 && ::umount((saved + "/tty").c_str()) == 0 && ::unlink("/dev/tty") == 0);
    EXPECT(fails_with(ENOENT, "mount dev", start({}), {"on /dev (in the child)", "the source does not exist"}));
  });
  CHECK(status == 0);
}

TEST_CASE("a host without a /dev/null starts in a root of one's own what needs none, and else the Error says so") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  int const status = privileged_expectations([] {
    EXPECT(::mount("tmpfs", "/dev", "tmpfs", 0, nullptr) == 0);
    Unchanged const unchanged;
    Command const command{"cat"};
    cloister::Redirect const pipe = cloister::Redirect::pipe();
    for (Init const init : {Init::none, Init::reaper}) {
      Isolation isolation{.unshare = mnt, .root = Root::empty(), .mounts = with_system({}), .init = init};
      if (init == Init::reaper) isolation.unshare |= pid;
      for (Where const where : everywhere) {
        about = to_string(isolation.unshare) + name_of(where);
        try {
          EXPECT(on(where, [&] {
                   return run(isolation, command.stdio({pipe, pipe, pipe}), {.input = "input"});
                 }).out == "input");
          for (Descriptors const& descriptors : {Descriptors::only({0, 1, 2}), Descriptors::inherit()}) {
            isolation.descriptors = descriptors;
            EXPECT(on(where, [&] { return run(isolation, [] { return 42; }); }) == 42);
          }
        } catch (std::exception const& error) {
          expect(false, error.what(), __FILE__, __LINE__);
        }
        isolation.descriptors = Descriptors::none();
        for (bool const program : {false, true})
          EXPECT(fails_with(ENOENT, "open /dev/null", [&] {
            on(where, [&] {
              if (program)
                (void)run(isolation, command.stdio({cloister::Redirect::null(), pipe, pipe}));
              else
                run(isolation, [] {});
            });
          }));
      }
    }
    EXPECT(unchanged.changes() == "");
  });
  CHECK(status == 0);
}

TEST_CASE("a proc shows the child's pid namespace, and is refused without one, which the hint says") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (Kind const& kind : worlds()) {
    if (!kind.flags.contains(pid)) continue;
    CAPTURE(kind.name);
    Isolation const isolation = world_of(kind, with_system({Mount::proc()}), Root::empty());
    std::string const number = kind.reaper() ? "2" : "1";
    if (kind.program)
      CHECK(run(isolation, Command{"readlink", "/proc/self"}).out == number + "\n");
    else
      CHECK(run(isolation, [] { return test::detail::link_target("/proc/self"); }) == number);
  }
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  int const status = unprivileged_expectations([] {
    ::prctl(PR_SET_DUMPABLE, 1);
    Unchanged const unchanged;
    for (bool const program : {false, true})
      EXPECT(fails_with(
          EPERM, "mount proc",
          [&] { throw refused({.unshare = user | mnt, .root = Root::empty(), .mounts = {Mount::proc()}}, program); },
          {"mount proc on /proc (in the child)", "only one's own may be mounted: add pid"}));
    EXPECT(fails_with(
        EPERM, "mount sysfs",
        [&] { throw refused({.unshare = user | mnt, .root = Root::empty(), .mounts = {Mount::sysfs()}}, false); },
        {"on /sys", "only one's own may be mounted: add net"}));
    EXPECT(fails_with(
        EPERM, "mount mqueue",
        [&] { throw refused({.unshare = user | mnt, .root = Root::empty(), .mounts = {Mount::mqueue()}}, false); },
        {"on /dev/mqueue", "only one's own may be mounted: add ipc"}));
    EXPECT(unchanged.changes().empty());
  });
  CHECK(status == 0);
}

TEST_CASE("a proc is not granted where the caller's is partly hidden, and the hint says so") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  int const status = privileged_expectations([] {
    EXPECT(::mount("tmpfs", "/proc/sys", "tmpfs", 0, nullptr) == 0);
    EXPECT(fails_with(
        EPERM, "mount proc",
        [] { throw refused({.unshare = user | mnt | pid, .root = Root::empty(), .mounts = {Mount::proc()}}, false); },
        {"parts of the caller's /proc are hidden by mounts, as in a container"}));
  });
  CHECK(status == 0);
}

TEST_CASE("a sysfs shows the child's network, and a mqueue its message queues") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Isolation isolation = world({Mount::sysfs(), Mount::sysfs("/ro").read_only(), Mount::dev(), Mount::mqueue(),
                               Mount::mqueue("/queues").read_only()},
                              Root::empty());
  isolation.unshare |= net | ipc;
  CHECK(run(isolation, [] { return names("/sys/class/net"); }) == "lo");
  CHECK(run(isolation, [] {
          mqd_t const queue = ::mq_open("/queue", O_CREAT | O_RDWR, 0600, nullptr);
          if (queue == static_cast<mqd_t>(-1)) return "mq_open: "s + std::strerror(errno);
          ::mq_close(queue);
          return names("/dev/mqueue") + " " + names("/queues") + " " +
                 std::to_string(opening("/queues/x", O_WRONLY | O_CREAT));
        }) == "queue queue " + std::to_string(EROFS));
  std::vector<MountLine> const lines = mount_lines_of(isolation);
  for (char const* target : {"/sys", "/ro", "/dev/mqueue", "/queues"}) {
    MountLine const line = mount_on(lines, target);
    CHECK(line.has("nosuid"));
    CHECK(line.has("nodev"));
    CHECK(line.has("noexec"));
    CHECK(line.has("ro") == (target == "/ro"s || target == "/queues"s));
  }
}

// --- Roots

TEST_CASE("an empty root is read-only when it stands, unless writable") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (Kind const& kind : worlds()) {
    CAPTURE(kind.name);
    for (bool const writable : {false, true}) {
      CAPTURE(writable);
      Root const root = writable ? Root::empty().writable() : Root::empty();
      if (kind.program) {
        Isolation const isolation = world_of(kind, with_system({Mount::directory("/d")}), root);
        CHECK(run(isolation, Command{"mkdir", "/new", "/d/new"}).status.success() == writable);
        continue;
      }
      Isolation const isolation =
          world_of(kind, {Mount::directory("/d"), Mount::tmpfs("/t", 4096), Mount::file("/f", "x")}, root);
      std::string const seen = run(isolation, [] {
        auto const result = [](int outcome) { return outcome == 0 ? "0 "s : std::to_string(errno) + ' '; };
        return result(::mkdir("/new", 0755)) + result(::mkdir("/d/new", 0755)) + result(::mkdir("/t/new", 0755)) +
               result(::chmod("/", 0700)) + result(::unlink("/f"));
      });
      CHECK(seen == (writable ? "0 0 0 0 0 " : "30 30 0 30 30 "));
    }
  }
}

TEST_CASE("a root directory is the root, with what is mounted below it, and the mounts are on it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  int const status = privileged_expectations([&] {
    std::string const root = place.make_directory("root", 0777), below = place.make_directory("root/below", 0777);
    place.make_file("root/name", "content", 0644);
    EXPECT(::mount("tmpfs", below.c_str(), "tmpfs", 0, nullptr) == 0);
    EXPECT(write_file(below + "/name", "below"));
    for (CloneFlags const more : {CloneFlags{}, CloneFlags(user), CloneFlags(pid), user | pid}) {
      about = to_string(more);
      Isolation const isolation{
          .unshare = mnt | more, .root = Root::directory(root), .mounts = {Mount::tmpfs("/made/here", 4096)}};
      EXPECT(run(isolation, [] {
               return names("/") + "; " + content("/name") + "; " + content("/below/name") + "; " +
                      std::to_string(opening("/made/here/x", O_WRONLY | O_CREAT));
             }) == "below made name; content; below; 0");
      std::vector<MountLine> const lines = mount_lines_of(isolation);
      MountLine const top = mount_on(lines, "/"), other = mount_on(lines, "/below");
      EXPECT(top.has("nosuid") && top.has("nodev") && other.has("nosuid") && other.has("nodev"));
      EXPECT(lines.size() == 3);
    }
    EXPECT(names(root + "/made/here") == "");
  });
  CHECK(status == 0);
}

TEST_CASE("a program starts in a root directory") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("root", 0777);
  for (Kind const& kind : worlds())
    if (kind.program) {
      CAPTURE(kind.name);
      Isolation const isolation = world_of(kind, with_system({}), Root::directory(place / "root"));
      CHECK(run(isolation, Command{"sh", "-c", "pwd; ls -d /usr /etc"}).out == "/\n/usr\n");
    }
}

TEST_CASE("a root that is not there, or is no directory, is an Error that names it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const file = place.make_file("file", "");
  check_refused({}, Root::directory(place / "no"), ENOENT, "open root",
                {"cloister: open root " + (place / "no") + " (in the child): No such file or directory"});
  check_refused({}, Root::directory(file), ENOTDIR, "open root", {"open root " + file, "it is no directory"});
}

TEST_CASE("the child's directory is the root, and the C library finds it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  int const status = expectations([&] {
    EXPECT(::chdir(place.path().c_str()) == 0);
    for (Where const where : everywhere)
      for (Kind const& kind : worlds()) {
        about = kind.name + name_of(where);
        for (Root const& root : {Root::empty(), Root::directory("/")}) {
          Isolation const isolation =
              world_of(kind, root.kind() == Root::Kind::empty ? with_system({}) : std::vector<Mount>{}, root);
          auto const own = [] {
            char path[4096];
            return std::string(::getcwd(path, sizeof path) != nullptr ? path : std::strerror(errno));
          };
          if (kind.program)
            EXPECT(on(where, [&] { return run(isolation, Command{"pwd"}.env("PWD", "")).out; }) == "/\n");
          else
            EXPECT(on(where, [&] { return run(isolation, own); }) == "/");
        }
        // On the host's root it stays where it is.
        Isolation const host = world_of(kind, {Mount::file("/etc/hostname", "x")});
        if (!kind.program)
          EXPECT(on(where, [&] { return run(host, [] { return test::detail::link_target("/proc/self/cwd"); }); }) ==
                 place.path());
      }
    char path[4096];
    EXPECT(::getcwd(path, sizeof path) == place.path());
  });
  CHECK(status == 0);
}

TEST_CASE("nothing is left of the old root: only what was asked for is mounted") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("lower");
  std::vector<Mount> const mounts{Mount::tmpfs("/t", 4096), Mount::file("/f", "x").read_only(),
                                  Mount::overlay(place / "lower", "/o"), Mount::bind(place.path(), "/b"),
                                  Mount::file("/plain", "x")};
  Unchanged const unchanged;
  for (Kind const& kind : callables()) {
    if (!is_root() && !kind.flags.contains(user)) continue;
    CAPTURE(kind.name);
    Isolation isolation = world_of(kind, mounts, Root::empty());
    isolation.unshare |= mnt;
    std::multiset<std::string> targets;
    for (MountLine const& line : mount_lines_of(isolation)) targets.insert(line.target);
    CHECK(targets == std::multiset<std::string>{"/", "/b", "/f", "/o", "/t"});
    // Who has the privilege could get at what lies on top of the root by entering the namespace again.
    isolation.mounts.push_back(Mount::directory("/proc"));
    isolation.unshare |= pid;
    isolation.mounts.push_back(Mount::proc());
    CHECK(run(isolation, [] {
            int const own = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
            if (::setns(own, CLONE_NEWNS) != 0) return std::string(std::strerror(errno));
            return names("/");
          }) == "b f o plain proc t");
  }
}

TEST_CASE("what is needed to put files onto the host's root is not left mounted") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const file = place.make_file("file", ""), lower = place.make_directory("lower");
  std::vector<MountLine> const before = mount_lines_of(world({}));
  std::vector<MountLine> const after = mount_lines_of(world({Mount::file(file, "x"), Mount::overlay(lower, lower)}));
  CHECK(after.size() == before.size() + 2);
  CHECK(mount_on(after, file).type == "tmpfs");
  CHECK(mount_on(after, lower).type == "overlay");
}

TEST_CASE("nothing that a child mounts shows where the caller's mounts are shared") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const here = place.make_directory("here"), file = place.make_file("file", "of the host");
  int const status = privileged_expectations([&] {
    EXPECT(::mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0);
    Unchanged const unchanged;
    for (Where const where : everywhere)
      for (bool const program : {false, true})
        for (CloneFlags const more : {CloneFlags{}, CloneFlags(pid), CloneFlags(user), user | pid}) {
          about = to_string(more) + name_of(where);
          Isolation isolation{.unshare = mnt | more};
          isolation.mounts = {Mount::tmpfs(here, 4096), Mount::file(file, "of the child"), Mount::dev()};
          Kind kind{};
          kind.program = program;
          EXPECT(on(where, [&] { return read_inside(kind, isolation, file); }) == "of the child");
          EXPECT(unchanged.changes().empty());
          isolation.root = Root::empty();
          isolation.mounts = with_system({Mount::bind(place.path(), "/x"), Mount::tmpfs("/x/here", 4096)});
          EXPECT(on(where, [&] { return read_inside(kind, isolation, "/x/file"); }) == "of the host");
          EXPECT(unchanged.changes().empty());
          // Nor does what the child mounts later, nor what the caller mounts show there.
          if (program) continue;
          EXPECT(on(where, [&] {
            return run(isolation, [] { return ::mount("tmpfs", "/x/here", "tmpfs", 0, nullptr) == 0; });
          }));
          EXPECT(unchanged.changes().empty());
        }
    ChildProcess child{Isolation{.unshare = mnt, .root = Root::empty(), .mounts = {Mount::bind(place.path(), "/x")}},
                       [] { return wait_until([] { return names("/x/here") == "new"; }, 300ms); }};
    EXPECT(::mount("tmpfs", here.c_str(), "tmpfs", 0, nullptr) == 0 && ::mkdir((here + "/new").c_str(), 0755) == 0);
    EXPECT(!child.get());
    EXPECT(::umount(here.c_str()) == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("mounts are private to the child also if the description has none") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  int const status = privileged_expectations([] {
    EXPECT(::mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0);
    Unchanged const unchanged;
    EXPECT(run(Isolation{.unshare = mnt}, [] { return ::mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) == 0; }));
    for (MountLine const& line : mount_lines_of(Isolation{.unshare = mnt})) EXPECT(line.propagation.empty());
  });
  CHECK(status == 0);
}

// --- Races, numbers, and odd callers

TEST_CASE("whoever swaps what a target leads through for a symlink leads nothing outside") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const root = place.make_directory("root", 0777), outside = place.make_directory("outside", 0777);
  std::string const real = place.make_directory("root/real", 0777);
  place.make_link("root/link", outside);
  std::string const name = root + "/x", link = root + "/link";
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop)
      if (::renameat2(AT_FDCWD, real.c_str(), AT_FDCWD, name.c_str(), 0) == 0) {
        ::renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
        ::renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, link.c_str(), RENAME_EXCHANGE);
        ::renameat2(AT_FDCWD, name.c_str(), AT_FDCWD, real.c_str(), 0);
      }
  });
  auto const deadline = std::chrono::steady_clock::now() + 1s;
  int started = 0, refusals = 0;
  do {
    Isolation const isolation =
        world({Mount::directory("/x/a/b"), Mount::file("/x/f", "x"), Mount::symlink("y", "/x/s"),
               Mount::tmpfs("/x/t", 4096), Mount::tmpfs("/x", 4096)},
              Root::directory(root));
    try {
      run(isolation, [] {});
      ++started;
    } catch (Error const& error) {
      ++refusals;
      int const number = error.code().value();
      CHECK((number == ENOENT || number == EEXIST || number == EAGAIN || number == ENOTDIR));
    }
  } while (std::chrono::steady_clock::now() < deadline);
  stop = true;
  swapper.join();
  CHECK(started + refusals > 10);
  CHECK(names(outside) == "");
}

TEST_CASE("a source is looked at once: what it is swapped for later is not what is mounted") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const secret = place.make_file("secret", "secret"), source = place.make_file("source", "content");
  // A child waits for its parent to write the maps after it was cloned and before it opens anything, so this is as late
  // as it gets.
  ChildProcess const child{world({Mount::bind(source, "/x")}, Root::empty()), [] {
                             for (;;) ::pause();
                           }};
  REQUIRE(::unlink(source.c_str()) == 0);
  place.make_link("source", secret);
  std::string const inside = "/proc/" + std::to_string(child.pid()) + "/root/x";
  CHECK(content(inside) == "content");
}

TEST_CASE("a description may have many mounts") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_file("name", "content");
  std::vector<Mount> mounts;
  for (int i = 0; i < 75; ++i) {
    std::string const number = std::to_string(i);
    mounts.push_back(Mount::bind(place.path(), "/bind/" + number).read_only());
    mounts.push_back(Mount::tmpfs("/tmpfs/" + number, 4096));
    mounts.push_back(Mount::file("/file/" + number, number).read_only());
    mounts.push_back(Mount::overlay(place.path(), "/overlay/" + number));
  }
  Unchanged const unchanged;
  for (Kind const& kind : worlds()) {
    CAPTURE(kind.name);
    Isolation const isolation = world_of(kind, with_system(mounts), Root::empty());
    CHECK(read_inside(kind, isolation, "/file/74") == "74");
    CHECK(read_inside(kind, isolation, "/overlay/74/name") == "content");
  }
}

TEST_CASE("a callable has none of the descriptors that its world took to make") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_directory("lower");
  place.make_directory("root", 0777);
  auto const open_ones = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    return count;
  };
  for (Kind const& kind : worlds()) {
    if (kind.program) continue;
    CAPTURE(kind.name);
    int const without = run(kind.isolation(), open_ones);
    for (Root const& root : {Root::host(), Root::empty(), Root::directory(place / "root")}) {
      CAPTURE(to_string(root));
      std::string const at = root.kind() == Root::Kind::host ? place.path() + "/lower" : "/at";
      std::vector<Mount> mounts{Mount::overlay(place / "lower", at), Mount::bind(place / "lower", at),
                                Mount::tmpfs(at, 4096).read_only(), Mount::dev(),
                                Mount::bind("/nowhere", at).optional()};
      if (root.kind() != Root::Kind::host) mounts.push_back(Mount::file("/file", "x").read_only());
      CHECK(run(world_of(kind, mounts, root), open_ones) == without);
    }
  }
}

TEST_CASE("a caller whose 0, 1 and 2 are closed gives its child files all the same") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  std::string const lower = place.make_directory("lower", 0777);
  place.make_file("lower/name", "content");
  int const status = expectations([&] {
    for (int fd : {0, 1, 2}) ::close(fd);
    for (Where const where : everywhere)
      for (Kind const& kind : worlds()) {
        about = kind.name + name_of(where);
        std::vector<Mount> const mounts{Mount::bind(lower, "/b"), Mount::overlay(lower, "/o"), Mount::dev(),
                                        Mount::file("/f", "x").read_only()};
        Isolation isolation = world_of(kind, with_system(mounts), Root::empty());
        for (char const* path : {"/b/name", "/o/name"}) {
          EXPECT(on(where, [&] { return read_inside(kind, isolation, path); }) == "content");
          if (kind.program) continue;
          isolation.descriptors = Descriptors::none();
          EXPECT(on(where, [&] { return read_inside(kind, isolation, path); }) == "content");
          EXPECT(on(where, [&] {
                   return run(isolation,
                              [] { return ::fcntl(0, F_GETFD) + ::fcntl(1, F_GETFD) + ::fcntl(2, F_GETFD); });
                 }) == 0);
        }
        for (int fd : {0, 1, 2}) EXPECT(::fcntl(fd, F_GETFD) < 0);
      }
  });
  CHECK(status == 0);
}

TEST_CASE("a caller in a chroot gets an Error that says so") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  int const status = privileged_expectations([&] {
    std::string const root = place.make_directory("root");
    for (char const* name : {"usr", "proc", "dev"}) place.make_directory("root/"s + name);
    for (char const* name : {"/usr", "/proc", "/dev"})
      EXPECT(::mount(name, (root + name).c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0);
    for (char const* name : {"bin", "lib", "lib64"}) place.make_link("root/"s + name, "usr/"s + name);
    EXPECT(::chroot(root.c_str()) == 0 && ::chdir("/") == 0);
    Unchanged const unchanged;
    for (bool const program : {false, true}) {
      EXPECT(fails_with(
          EPERM, program ? "clone3" : "unshare",
          [&] { throw refused({.unshare = user | mnt, .root = Root::empty(), .mounts = {Mount::dev()}}, program); },
          {"inside a chroot"}));
      for (Root const& own : {Root::empty(), Root::host(), Root::directory("/usr")})
        EXPECT(fails_with(EINVAL, "make mounts private", [&] { throw refused({.unshare = mnt, .root = own}, program); },
                          {"the caller is in a chroot: enter the directory with pivot_root instead"}));
    }
    EXPECT(unchanged.changes().empty());
  });
  CHECK(status == 0);
}

TEST_CASE("a kernel without the calls for mounts is named") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  for (long const call : {428L, 429L, 430L, 437L, 442L}) {  // open_tree, move_mount, fsopen, openat2, mount_setattr
    CAPTURE(call);
    int const status = privileged_expectations([&] {
      refuse({{call, ENOSYS}});
      bool const bind = call == 428 || call == 442;
      Unchanged const unchanged;
      for (bool const program : {false, true}) {
        Isolation isolation{.unshare = mnt, .root = Root::empty(), .mounts = {Mount::tmpfs("/x", 4096)}};
        if (bind) isolation.mounts = {Mount::bind("/usr", "/usr")};
        try {
          throw refused(isolation, program);
        } catch (Error const& error) {
          EXPECT(error.code().value() == ENOSYS && error.in_child());
          EXPECT(contains(error.what(),
                          "a seccomp filter is loaded and hides the calls, or the kernel is before Linux 5.12"));
        }
      }
      EXPECT(unchanged.changes().empty());
    });
    CHECK(status == 0);
  }
}

TEST_CASE("mounts and roots without a mount namespace are refused before any process exists") {
  CHECK(contains(text_of<std::invalid_argument>([] { run({.mounts = {Mount::proc()}}, [] {}); }),
                 "mounts without mnt in unshare: they would be the caller's own"));
  CHECK(contains(text_of<std::invalid_argument>([] { run({.unshare = user, .root = Root::empty()}, [] {}); }),
                 "root without mnt in unshare: it would be the caller's own root"));
}

TEST_CASE("one description gives many children, one after another and at once") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  place.make_file("name", "content");
  Isolation const isolation = world({Mount::bind(place / "name", "/name"), Mount::tmpfs("/t", 4096), Mount::dev(),
                                     Mount::overlay(place.path(), "/o"), Mount::file("/f", "x").read_only()},
                                    Root::empty());
  Unchanged const unchanged;
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 10; ++n) good += run(isolation, [] { return content("/name") == "content" ? 1 : 0; });
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(good.load() == 40);
}

// --- A root directory that a stranger has filled

namespace {

// It has a proc of its own, through whose links the host could be reached until the program has begun.
class StrangersRoot : public Directory {
 public:
  StrangersRoot() {
    ::chmod(path().c_str(), 0777);
    for (char const* name : {"proc", "usr", "inside"}) make_directory(name);
    make_directory("marks", 0777);
    make_link("to-inside", "/inside");
    make_link("climbing", "../../../inside");
    std::string const etc = "/proc/self/fd/" + std::to_string(etc_.get());
    make_link("etc-of-the-host", etc);
    make_link("exe-of-the-host", "/proc/self/exe");
    make_link("program-of-the-host", etc + "/../usr/bin/env");
    make_file("script", "#!/bin/sh\necho ran $0\n", 0755);
    make_file("script-of-a-script", "#! /script \t-x\n", 0755);
    make_link("shell", "bin/sh");
    make_file("script-of-a-link", "#!/shell\necho ran $0\n", 0755);
    make_link("link-to-a-script", "inside/../script");
    make_file("script-of-the-host", "#!/proc/self/exe --version\n", 0755);
    make_file("script-of-that", "#!\t/script-of-the-host", 0755);
    // A program names its interpreter as well.
    auto const [program, at] = program_and_interpreter();
    char real[PATH_MAX];
    if (::realpath(program.c_str() + at, real) == nullptr)
      throw std::system_error(errno, std::system_category(), "realpath");
    make_link("ld", real);
    make_link("ld-host", etc + "/.." + real);
    for (std::string const name : {"ld", "ld-host"}) {
      std::string changed = program;
      changed.replace(at, name.size() + 2, '/' + name + '\0');
      make_file("program-by-" + name, changed, 0755);
    }
    // In whichever layout its header says that it is.
    ld_ = cloister::FileDescriptor::adopt(::open(real, O_RDONLY | O_CLOEXEC));
    for (int const layout : {ELFCLASSNONE, ELFCLASS32, ELFCLASS64})
      for (auto const& [name, interpreter] :
           {std::pair{"exe"s, "/proc/self/exe"s}, {"descriptor", "/proc/self/fd/" + std::to_string(ld_.get())}}) {
        std::string changed = program;
        changed[EI_CLASS] = static_cast<char>(layout);
        changed.replace(at, interpreter.size() + 1, interpreter + '\0');
        programs_of_the_host.push_back("/program-" + std::to_string(layout) + "-by-" + name);
        make_file(programs_of_the_host.back().substr(1), changed, 0755);
      }
    // What PATH leads to.
    make_directory("circle");
    make_link("circle/true", "true");
    make_directory("host");
    make_link("host/true", "/proc/self/exe");
  }
  Isolation world(Kind const& kind) const {
    return world_of(kind, with_system({kind.new_pid() ? Mount::proc() : Mount::bind("/proc", "/proc")}),
                    Root::directory(path()));
  }

  std::vector<std::string> programs_of_the_host{"/exe-of-the-host", "/program-of-the-host", "/script-of-the-host",
                                                "/script-of-that", "/program-by-ld-host"};

 private:
  // A program of the system's, and where in it the name of its interpreter begins.
  static std::pair<std::string, std::size_t> program_and_interpreter() {
    std::string program = read_file("/bin/echo");
    Elf64_Ehdr header;
    std::memcpy(&header, program.data(), sizeof header);
    for (unsigned i = 0; i < header.e_phnum; ++i) {
      Elf64_Phdr segment;
      std::memcpy(&segment, program.data() + header.e_phoff + i * sizeof segment, sizeof segment);
      if (segment.p_type == PT_INTERP) return {std::move(program), segment.p_offset};
    }
    throw std::runtime_error("/bin/echo has no interpreter");
  }

  cloister::FileDescriptor etc_ = cloister::FileDescriptor::adopt(::open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  cloister::FileDescriptor ld_;
};

}  // namespace

TEST_CASE("a program does not start in a directory of the host's that its root directory leads to") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  StrangersRoot const place;
  for (Kind const& kind : worlds())
    if (kind.program) {
      CAPTURE(kind.name);
      Command const look{"sh", "-c", "touch /marks/started; pwd -P"};
      for (char const* within : {"/inside", "/to-inside", "/climbing", "climbing/../to-inside"})
        CHECK(run(place.world(kind), look.cwd(within)).out == "/inside\n");
      CHECK(::unlink((place / "marks/started").c_str()) == 0);

      Error const error = caught<Error>([&] { (void)run(place.world(kind), look.cwd("/etc-of-the-host")); });
      CHECK(error.step() == "chdir");
      CHECK(error.code().value() == ELOOP);
      CHECK(error.in_child());
      CHECK(contains(error.what(), "/etc-of-the-host"));
      CHECK(contains(error.what(), "leads through a link of a proc"));
      CHECK(names(place / "marks") == "");
    }
}

TEST_CASE(
    "no program of the host's is started that the root directory leads to, nor by a script or a program that names "
    "it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  StrangersRoot const place;
  for (Kind const& kind : worlds())
    if (kind.program) {
      CAPTURE(kind.name);
      for (char const* path :
           {"/script", "/script-of-a-script", "/script-of-a-link", "/link-to-a-script", "/shell", "/program-by-ld"}) {
        CAPTURE(path);
        Command const command = path == "/shell"s ? Command{path, "-c", "echo ran"} : Command{path, "ran"};
        CHECK(contains(run(place.world(kind), command).out, "ran"));
      }
      for (std::string const& path : place.programs_of_the_host) {
        CAPTURE(path);
        // What the test program does, and env(1) too, if it is started after all.
        Error const error = caught<Error>([&] { (void)run(place.world(kind), Command{path, "--version"}); });
        CHECK(error.step() == "execve");
        CHECK(error.code().value() == ELOOP);
        CHECK(error.in_child());
        CHECK(contains(error.what(), path));
        CHECK(contains(error.what(), "leads through a link of a proc"));
      }
    }
}

TEST_CASE("what PATH leads to on the way to the host is an Error only where no program comes before it") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  StrangersRoot const place;
  Unchanged const unchanged;
  for (Kind const& kind : worlds())
    if (kind.program)
      for (std::string const directory : {"/circle", "/host"}) {
        CAPTURE(kind.name);
        CAPTURE(directory);
        // With what the test program does, too, if it is started after all.
        Command const command{"true", "--version"};
        for (std::string const& path :
             {"/usr/bin:" + directory, "/no/such/directory:/usr/bin:" + directory + ":/bin"}) {
          CAPTURE(path);
          cloister::Output const output = run(place.world(kind), command.env("PATH", path));
          CHECK(output.status.success());
          CHECK(output.out.starts_with("true "));
        }
        for (std::string const& path : {directory, "/no/such/directory:" + directory, directory + ":/usr/bin"}) {
          CAPTURE(path);
          Error const error = caught<Error>([&] { (void)run(place.world(kind), command.env("PATH", path)); });
          CHECK(error.step() == "execve");
          CHECK(error.code().value() == ELOOP);
          CHECK(error.in_child());
        }
      }
}

TEST_CASE("scripts name one another as deep as the kernel goes, and in circles they are an Error") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  Directory const place;
  for (int i = 1; i <= 7; ++i) {
    std::string const next = i == 1 ? "/bin/echo" : "/script-" + std::to_string(i - 1);
    place.make_file("script-" + std::to_string(i), "#!" + next + "\n", 0755);
  }
  place.make_file("circle", "#!/circle\n", 0755);
  place.make_directory("usr");
  ::chmod(place.path().c_str(), 0777);
  for (Kind const& kind : worlds())
    if (kind.program) {
      CAPTURE(kind.name);
      Isolation const isolation = world_of(kind, with_system({}), Root::directory(place.path()));
      auto const result = [&](std::string const& path) {
        try {
          return run(isolation, Command{path}).status.code().value_or(-1);
        } catch (Error const& error) {
          return error.step() == "execve" ? error.code().value() : -2;
        }
      };
      for (int depth = 1; depth <= 5; ++depth) CHECK(result("/script-" + std::to_string(depth)) == 0);
      CHECK(result("/script-6") == ELOOP);
      CHECK(result("/script-7") == ELOOP);
      CHECK(result("/circle") == ELOOP);
    }
}

TEST_CASE("a program that may be executed but not read is refused in a root of its own, and works on the host's") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, to have a file that others may not read");
  Directory const place;
  ::chmod(place.path().c_str(), 0777);
  place.make_directory("usr");
  std::string const program = place.make_file("program", read_file("/bin/true"), 0711);
  place.make_directory("unreadable");
  place.make_file("unreadable/true", read_file("/bin/true"), 0711);
  for (Init const init : {Init::none, Init::reaper}) {
    CAPTURE(init);
    Isolation isolation{.unshare = user | mnt | pid, .ids = IdMap::ranges({{1, 65534}}, {{1, 65534}}), .init = init};
    CHECK(run(isolation, [&] { return opening(program, O_RDONLY); }) == EACCES);
    CHECK(run(isolation, Command{program}).status.success());
    isolation.root = Root::directory(place.path());
    isolation.mounts = with_system({});
    Error const error = caught<Error>([&] { (void)run(isolation, Command{"/program"}); });
    CHECK(error.step() == "execve");
    CHECK(error.code().value() == EPERM);
    CHECK(contains(error.what(), "a program must be one that the child may read"));
    // By PATH as well, unless another one is found before.
    Error const alone = caught<Error>([&] { (void)run(isolation, Command{"true"}.env("PATH", "/unreadable")); });
    CHECK(alone.step() == "execve");
    CHECK(alone.code().value() == EPERM);
    CHECK(run(isolation, Command{"true"}.env("PATH", "/usr/bin:/unreadable")).status.success());
  }
}

TEST_CASE("what a root directory has in the place of /proc/self/fd hides no descriptor of the host's") {
  SKIP_UNLESS(can_be_privileged(), no_mounts);
  // A directory with names in it, or a link to numbers that a proc has in another place.
  Directory const places[2];
  for (Directory const& place : places) {
    ::chmod(place.path().c_str(), 0777);
    for (char const* name : {"usr", "proc", "proc/self", "p"}) place.make_directory(name);
  }
  places[0].make_directory("proc/self/fd");
  for (int fd = 0; fd < 20; ++fd) places[0].make_link("proc/self/fd/" + std::to_string(fd), "anywhere");
  places[1].make_link("proc/self/fd", "/p/self/task");
  std::vector<Kind> const all = worlds();
  int const status = expectations([&] {
    // Where the descriptors cannot be listed all numbers below the limit are tried.
    rlimit const few{256, 256};
    EXPECT(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    int const leak = ::open("/etc", O_RDONLY | O_DIRECTORY);
    EXPECT(::dup2(leak, 200) == 200);
    refuse({{cloister::detail::sys::number::close_range, EPERM}});
    for (Kind const& kind : all)
      for (Directory const& place : places) {
        if (!kind.new_pid()) continue;
        about = kind.name + (&place == places ? ", a directory" : ", a link");
        Isolation isolation = world_of(kind, with_system({Mount::proc("/p")}), Root::directory(place.path()));
        isolation.descriptors = Descriptors::none();
        if (kind.program)
          EXPECT(run(isolation, Command{"sh", "-c", "ls /p/self/fd | tr '\\n' ' '"}).out == "0 1 2 3 ");
        else
          EXPECT(run(isolation, [&] { return ::fcntl(leak, F_GETFD) < 0 && ::fcntl(200, F_GETFD) < 0; }));
      }
  });
  CHECK(status == 0);
}
