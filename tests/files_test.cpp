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
