// The files of a child's world: roots and mounts of every kind, and what becomes of the caller's.
#include <fcntl.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <fstream>

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
