// IdMap::subordinate(): the ids that /etc/subuid and /etc/subgid lend a user.
#include <grp.h>

#include "caught.hpp"
#include "privileged.hpp"

using namespace test;
using cloister::Command, cloister::Error, cloister::IdMap, cloister::Isolation;

namespace {

constexpr char const* needs_root = "needs root, to lend ids and become the user who borrows them";
constexpr char const* needs_helpers = "newuidmap and newgidmap are not installed";

bool helpers() { return ::access("/usr/bin/newuidmap", X_OK) == 0 && ::access("/usr/bin/newgidmap", X_OK) == 0; }

bool cover(std::string const& path, std::string const& with) {
  return ::mount(with.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

// In a process of its own, as an unprivileged user (or as root), with these files in the place of the machine's.
template <class Body>
int with_lent(std::string const& subuid, std::string const& subgid, bool as_root, Body&& body) {
  TemporaryDirectory const directory;
  ::chmod(directory.path().c_str(), 0755);
  write_file(directory / "uid", subuid);
  write_file(directory / "gid", subgid);
  return expectations([&] {
    if (!EXPECT(::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0)) return;
    if (!EXPECT(cover("/etc/subuid", directory / "uid") && cover("/etc/subgid", directory / "gid"))) return;
    if (!as_root)
      if (!EXPECT(::setgroups(0, nullptr) == 0 && ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0)) return;
    ::prctl(PR_SET_DUMPABLE, 1);
    body();
  });
}

Isolation const lent{.unshare = cloister::NamespaceType::user, .ids = IdMap::subordinate()};
std::string maps() {
  std::string text;
  for (std::string const file : {"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"})
    for (char const c : read_file(file))
      if (c != ' ' || (!text.empty() && text.back() != ' ' && text.back() != '\n')) text += c;
  return text;
}
constexpr char const* expected = "0 65534 1\n1 200000 1000\n1001 400000 5\n0 65534 1\n1 300000 65536\nallow\n";

}  // namespace

TEST_CASE("a user becomes root and has the ids that it was lent, in a callable and in a program") {
  SKIP_UNLESS(is_root(), needs_root);
  SKIP_UNLESS(helpers(), needs_helpers);
  int const status = with_lent("root:1:5\n65534:200000:1000\nnonsense\n65534:x:3\n65534:400000:5\n", "nobody:300000:65536\n", false, [] {
    EXPECT(cloister::run(lent, [] { return ::getuid() + ::getgid(); }) == 0);
    EXPECT(cloister::run(lent, maps) == expected);
    EXPECT(cloister::run(lent, [] { return ::setgroups(0, nullptr) + ::setresgid(70, 70, 70) + ::setresuid(1001, 1001, 1001); }) == 0);
    EXPECT(cloister::run(lent, Command{"sh", "-c", "id -u; grep -c . /proc/self/uid_map"}).out == "0\n3\n");
    Isolation with_pid = lent;
    with_pid.unshare |= cloister::NamespaceType::pid;
    EXPECT(cloister::run(with_pid, maps) == expected);
    EXPECT(cloister::run(with_pid, Command{"id", "-u"}).out == "0\n");
    Isolation other = lent;
    other.ids = IdMap::subordinate().as(1000, 65536);
    EXPECT(cloister::run(other, [] { return std::pair(::getuid(), ::getgid()); }) == std::pair<uid_t, gid_t>(1000, 65536));
  });
  CHECK(status == 0);
}

TEST_CASE("root maps what it was lent without any helper") {
  SKIP_UNLESS(is_root(), needs_root);
  int const status = with_lent("root:200000:1000\n", "0:300000:1000\n", true, [] {
    EXPECT(cloister::run(lent, maps) == "0 0 1\n1 200000 1000\n0 0 1\n1 300000 1000\nallow\n");
  });
  CHECK(status == 0);
}

TEST_CASE("a user to whom nothing was lent is told so, and how that is done") {
  SKIP_UNLESS(is_root(), needs_root);
  SKIP_UNLESS(helpers(), needs_helpers);
  int const status = with_lent("someone:200000:1000\n1234:1:1\n655346:1:1\n", "nobody:300000:65536\n", false, [] {
    EXPECT(fails_with(ENOENT, "read", [] { cloister::run(lent, [] {}); }, {"/etc/subuid for nobody", "usermod --add-subuids"}));
  });
  CHECK(status == 0);
  int const no_gids = with_lent("65534:200000:1000\n", "", false, [] {
    EXPECT(fails_with(ENOENT, "read", [] { cloister::run(lent, [] {}); }, {"/etc/subgid"}));
  });
  CHECK(no_gids == 0);
}

TEST_CASE("without the helpers the error names the one that is missing") {
  SKIP_UNLESS(is_root(), needs_root);
  SKIP_UNLESS(helpers(), needs_helpers);
  int const status = expectations([] {
    TemporaryDirectory const empty;
    if (!EXPECT(::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0)) return;
    write_file(empty / "ids", "65534:200000:1000\n");
    ::chmod((empty / "ids").c_str(), 0644);
    EXPECT(cover("/etc/subuid", empty / "ids") && cover("/etc/subgid", empty / "ids"));
    ::unlink((empty / "ids").c_str());
    EXPECT(::mount(empty.path().c_str(), "/usr/bin", nullptr, MS_BIND, nullptr) == 0);
    EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    EXPECT(fails_with(ENOENT, "newuidmap", [] { cloister::run(lent, [] {}); }, {"package uidmap"}));
  });
  CHECK(status == 0);
}

TEST_CASE("what a helper refuses is an Error with the helper's own words, and leaves nothing behind") {
  SKIP_UNLESS(is_root(), needs_root);
  SKIP_UNLESS(helpers(), needs_helpers);
  std::string many;  // more lines than the kernel takes
  for (int i = 0; i < 400; ++i) many += "nobody:" + std::to_string(300000 + i * 10) + ":1\n";
  int const status = with_lent("nobody:200000:1000\n", many, false, [] {
    for (cloister::CloneFlags const types : {cloister::CloneFlags{}, cloister::CloneFlags{cloister::NamespaceType::pid}}) {
      Isolation box = lent;
      box.unshare |= types;
      EXPECT(fails_with(EPERM, "write gid_map", [&] { cloister::run(box, [] {}); }, {"by /usr/bin/newgidmap", "newgidmap: "}));
      EXPECT(fails_with(EPERM, "write gid_map", [&] { (void)cloister::run(box, Command{"true"}); }, {"newgidmap: "}));
    }
    siginfo_t info{};
    EXPECT(::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL) == -1 && errno == ECHILD);
  });
  CHECK(status == 0);
}
