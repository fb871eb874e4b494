// Roots and mounts as descriptions: what is refused, and how they read. Nothing is mounted here.
#include <cloister/mount.hpp>
#include <limits>
#include <type_traits>
#include <vector>

#include "caught.hpp"
#include "support.hpp"

using cloister::Mount, cloister::Root;
using namespace std::string_literals;
using test::contains;

namespace {

template <class Call>
std::string refusal(Call&& call) {
  return test::text_of<std::invalid_argument>([&] { (void)call(); });
}

// One of each kind, on the target /t.
std::vector<Mount> each_kind() {
  return {Mount::bind("/s", "/t"),    Mount::proc("/t"),
          Mount::sysfs("/t"),         Mount::tmpfs("/t", 4096),
          Mount::dev("/t"),           Mount::mqueue("/t"),
          Mount::overlay("/l", "/t"), Mount::overlay("/l", "/u", "/w", "/t"),
          Mount::file("/t", "x"),     Mount::symlink("s", "/t"),
          Mount::directory("/t")};
}

// The kinds, in the order of the enumeration, for which a verb means something; the text of the others names the verb.
template <class Verb>
std::vector<Mount::Kind> meant_for(std::string const& name, Verb verb) {
  std::vector<Mount::Kind> kinds;
  for (Mount const& mount : each_kind()) {
    try {
      (void)verb(mount);
      if (kinds.empty() || kinds.back() != mount.kind()) kinds.push_back(mount.kind());
    } catch (std::invalid_argument const& error) {
      CHECK(error.what() == "cloister: mounts: " + name + " means nothing to what is put on /t");
    }
  }
  return kinds;
}

}  // namespace

// --- Roots

TEST_CASE("a root is the host's, a directory, or empty") {
  CHECK(Root{} == Root::host());
  CHECK(Root::host().kind() == Root::Kind::host);
  CHECK(Root::directory("/srv/debian").kind() == Root::Kind::directory);
  CHECK(Root::directory("/srv/debian").path() == "/srv/debian");
  CHECK(Root::directory("relative").path() == "relative");
  CHECK(Root::empty().kind() == Root::Kind::empty);
  CHECK(Root::directory("/a") != Root::directory("/b"));
  CHECK(Root::empty() != Root::empty().writable());
}

TEST_CASE("an empty root alone can be said to be writable, and the verb returns a copy") {
  Root const root = Root::empty();
  CHECK(root.writable().is_writable());
  CHECK_FALSE(root.is_writable());
  CHECK(refusal([] { return Root::host().writable(); }) == "cloister: root: only an empty one is writable()");
  CHECK(contains(refusal([] { return Root::directory("/").writable(); }), "only an empty one"));
}

TEST_CASE("a root directory needs a path that the kernel could take") {
  CHECK(refusal([] { return Root::directory(""); }) == "cloister: root: directory \"\" is empty");
  CHECK(refusal([] { return Root::directory("/a\0b"s); }) == "cloister: root: directory \"/a\\0b\" holds a NUL");
  CHECK(contains(refusal([] { return Root::directory(std::string(5000, 'x')); }),
                 "has 5000 bytes, the kernel takes 4095"));
}

TEST_CASE("a root reads as it was made") {
  CHECK(to_string(Root::host()) == "host");
  CHECK(to_string(Root::directory("/srv/debian")) == "/srv/debian");
  CHECK(to_string(Root::empty()) == "empty");
  CHECK(to_string(Root::empty().writable()) == "empty writable");
}

// --- Paths

TEST_CASE("a path that is empty, holds a NUL or is too long is refused, whatever it is for") {
  struct Made {
    char const* what;
    Mount (*with)(std::string_view path);
  };
  for (Made const& made : std::initializer_list<Made>{
           {"bind", [](std::string_view path) { return Mount::bind(path, "/t"); }},
           {"target", [](std::string_view path) { return Mount::bind("/s", path); }},
           {"target", [](std::string_view path) { return Mount::proc(path); }},
           {"target", [](std::string_view path) { return Mount::sysfs(path); }},
           {"target", [](std::string_view path) { return Mount::tmpfs(path, 1); }},
           {"target", [](std::string_view path) { return Mount::dev(path); }},
           {"target", [](std::string_view path) { return Mount::mqueue(path); }},
           {"overlay: lower", [](std::string_view path) { return Mount::overlay(path, "/t"); }},
           {"overlay: lower", [](std::string_view path) { return Mount::overlay(path, "/u", "/w", "/t"); }},
           {"overlay: upper", [](std::string_view path) { return Mount::overlay("/l", path, "/w", "/t"); }},
           {"overlay: work", [](std::string_view path) { return Mount::overlay("/l", "/u", path, "/t"); }},
           {"target", [](std::string_view path) { return Mount::overlay("/l", path); }},
           {"target", [](std::string_view path) { return Mount::file(path, "x"); }},
           {"symlink", [](std::string_view path) { return Mount::symlink(path, "/t"); }},
           {"target", [](std::string_view path) { return Mount::symlink("s", path); }},
           {"target", [](std::string_view path) { return Mount::directory(path); }}}) {
    CAPTURE(made.what);
    std::string const start = "cloister: mounts: "s + made.what + " \"";
    CHECK(refusal([&] { return made.with(""); }) == start + "\" is empty");
    CHECK(refusal([&] { return made.with("/a\0b"s); }) == start + "/a\\0b\" holds a NUL");
    std::string const long_path = '/' + std::string(4999, 'x');
    CHECK(refusal([&] { return made.with(long_path); }) ==
          start + long_path.substr(0, 200) + "\" ... has 5000 bytes, the kernel takes 4095");
    CHECK_NOTHROW((void)made.with('/' + std::string(4094, 'x')));
  }
}

TEST_CASE("a target is an absolute path that does not climb") {
  CHECK(refusal([] { return Mount::proc("proc"); }) == "cloister: mounts: target \"proc\" is not absolute");
  CHECK(refusal([] { return Mount::file("./a", ""); }) == "cloister: mounts: target \"./a\" is not absolute");
  for (char const* path : {"/..", "/../a", "/a/../b", "/a/..", "/a/../", "//..//a"}) {
    CAPTURE(path);
    CHECK(refusal([&] { return Mount::directory(path); }) ==
          "cloister: mounts: target \""s + path + "\" has a \"..\" in it");
  }
}

TEST_CASE("a target is not the root itself, which the root is for") {
  for (char const* path : {"/", "//", "/.", "/./", "/.//./"}) {
    CAPTURE(path);
    CHECK(refusal([&] { return Mount::tmpfs(path, 1); }) ==
          "cloister: mounts: target \""s + path + "\" is the root itself, which is for Isolation::root to say");
  }
}

TEST_CASE("names of dots that are no way up are names") {
  for (char const* path : {"/...", "/..a", "/a..", "/a/..b/c", "/.a", "/....", "/.../"}) {
    CAPTURE(path);
    CHECK(Mount::directory(path).target() == path);
  }
}

TEST_CASE("sources may be relative and may climb: they are the caller's") {
  CHECK(Mount::bind("../a", "/t").source() == "../a");
  CHECK(Mount::overlay("l", "u/../u", "w", "/t").upper() == "u/../u");
  CHECK(Mount::symlink("../../x", "/t").source() == "../../x");
}

// --- Sizes and modes

TEST_CASE("a tmpfs has a size, and none that was a negative number once") {
  CHECK(Mount::tmpfs("/t", 1).size() == 1);
  CHECK(Mount::tmpfs("/t", UINT64_MAX / 2).size() == UINT64_MAX / 2);
  CHECK(refusal([] { return Mount::tmpfs("/t", 0); }) == "cloister: mounts: tmpfs: a size of 0 bytes cannot be meant");
  int const negative = -1;
  CHECK(contains(refusal([&] { return Mount::tmpfs("/t", static_cast<std::uint64_t>(negative)); }), "cannot be meant"));
  CHECK(refusal([] { return Mount::tmpfs("/t", UINT64_MAX / 2 + 1); }) ==
        "cloister: mounts: tmpfs: a size of 9223372036854775808 bytes cannot be meant");
}

TEST_CASE("permissions have twelve bits") {
  CHECK(Mount::directory("/t").mode(0).permissions() == 0u);
  CHECK(Mount::directory("/t").mode(07777).permissions() == 07777u);
  CHECK_FALSE(Mount::directory("/t").permissions());
  for (unsigned const mode : {010000u, 0100644u, std::numeric_limits<unsigned>::max()})
    CHECK(refusal([&] { return Mount::file("/t", "").mode(mode); }) ==
          "cloister: mounts: mode: permissions have twelve bits, as in 01777");
}

// --- Verbs

TEST_CASE("a verb that means nothing to a kind of mount is refused and named") {
  using enum Mount::Kind;
  using Kinds = std::vector<Mount::Kind>;
  CHECK(meant_for("read_only", [](Mount const& m) { return m.read_only(); }) ==
        Kinds{bind, proc, sysfs, tmpfs, dev, mqueue, overlay, file});
  CHECK(meant_for("this_mount_only", [](Mount const& m) { return m.this_mount_only(); }) == Kinds{bind});
  CHECK(meant_for("optional", [](Mount const& m) { return m.optional(); }) == Kinds{bind, overlay});
  CHECK(meant_for("executable", [](Mount const& m) { return m.executable(); }) == Kinds{bind, tmpfs, file});
  CHECK(meant_for("with_devices", [](Mount const& m) { return m.with_devices(); }) == Kinds{bind});
  CHECK(meant_for("with_setuid", [](Mount const& m) { return m.with_setuid(); }) == Kinds{bind});
  CHECK(meant_for("mode", [](Mount const& m) { return m.mode(0700); }) == Kinds{tmpfs, file, directory});
}

TEST_CASE("a verb returns a changed copy and leaves the original") {
  Mount const plain = Mount::bind("/s", "/t");
  Mount const all = plain.read_only().this_mount_only().optional().executable().with_devices().with_setuid();
  CHECK(all.is_read_only());
  CHECK(all.is_this_mount_only());
  CHECK(all.is_optional());
  CHECK(all.is_executable());
  CHECK(all.has_devices());
  CHECK(all.has_setuid());
  CHECK(all != plain);
  CHECK(plain == Mount::bind("/s", "/t"));
  CHECK_FALSE(plain.is_read_only());
  CHECK_FALSE(plain.has_devices());
  CHECK_FALSE(plain.has_setuid());
  CHECK(plain.read_only().read_only() == plain.read_only());
  Mount const file = Mount::file("/t", "x");
  CHECK(file.mode(0600).permissions() == 0600u);
  CHECK_FALSE(file.permissions());
}

TEST_CASE("what a mount was made with can be asked for") {
  Mount const overlay = Mount::overlay("/l", "/u", "/w", "/t");
  CHECK(overlay.source() == "/l");
  CHECK(overlay.upper() == "/u");
  CHECK(overlay.work() == "/w");
  CHECK(overlay.target() == "/t");
  CHECK(Mount::overlay("/l", "/t").upper().empty());
  CHECK(Mount::file("/t", "a\0b"s).source() == "a\0b"s);
  CHECK(Mount::proc().target() == "/proc");
  CHECK(Mount::sysfs().target() == "/sys");
  CHECK(Mount::dev().target() == "/dev");
  CHECK(Mount::mqueue().target() == "/dev/mqueue");
}

TEST_CASE("roots and mounts are values") {
  static_assert(std::is_copy_assignable_v<Mount> && std::is_nothrow_move_constructible_v<Mount>);
  static_assert(std::is_copy_assignable_v<Root> && std::is_nothrow_move_constructible_v<Root>);
  static_assert(!std::is_default_constructible_v<Mount>);
  CHECK(Mount::bind("/a", "/t") != Mount::bind("/b", "/t"));
  CHECK(Mount::tmpfs("/t", 1) != Mount::tmpfs("/t", 2));
  CHECK(Mount::proc("/t") != Mount::sysfs("/t"));
}

TEST_CASE("a mount reads as in a log line") {
  CHECK(to_string(Mount::bind("/usr", "/usr").read_only()) == "bind /usr on /usr read_only");
  CHECK(to_string(Mount::bind("/a", "/b").this_mount_only().optional().executable().with_devices().with_setuid()) ==
        "bind /a on /b this_mount_only optional executable with_devices with_setuid");
  CHECK(to_string(Mount::proc()) == "proc on /proc");
  CHECK(to_string(Mount::sysfs().read_only()) == "sysfs on /sys read_only");
  CHECK(to_string(Mount::tmpfs("/tmp", 1 << 20)) == "tmpfs on /tmp 1048576 bytes");
  CHECK(to_string(Mount::tmpfs("/tmp", 4096).mode(0700).executable()) ==
        "tmpfs on /tmp 4096 bytes mode 0700 executable");
  CHECK(to_string(Mount::dev()) == "dev on /dev");
  CHECK(to_string(Mount::mqueue()) == "mqueue on /dev/mqueue");
  CHECK(to_string(Mount::overlay("/l", "/t")) == "overlay /l on /t");
  CHECK(to_string(Mount::overlay("/l", "/u", "/w", "/t").optional()) == "overlay /l under /u on /t optional");
  CHECK(to_string(Mount::file("/etc/motd", "hello")) == "file /etc/motd");
  CHECK(to_string(Mount::symlink("usr/bin", "/bin")) == "symlink /bin to usr/bin");
  CHECK(to_string(Mount::directory("/var").mode(01777)) == "directory /var mode 01777");
  CHECK(to_string(Mount::directory("/var").mode(0)) == "directory /var mode 0000");
}
