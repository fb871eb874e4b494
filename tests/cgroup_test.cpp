// The cgroup that a child starts in, described and had.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cloister/cgroup.hpp>
#include <optional>

#include "privileged.hpp"

using namespace cloister::flags;
using namespace test;
using namespace std::string_literals;
using cloister::Cgroup, cloister::Child, cloister::ChildProcess, cloister::CloneFlags, cloister::Command,
    cloister::Error, cloister::Init, cloister::Isolation, cloister::Redirect;

namespace {

// --- A cgroup of the test's own

bool is_cgroup2(char const* path) {
  struct statfs facts {};
  return ::statfs(path, &facts) == 0 && facts.f_type == cloister::detail::kernel::cgroup2_super_magic;
}

// A directory of a cgroup v2 hierarchy, with nobody in it at the end.
class [[nodiscard]] TemporaryCgroup {
 public:
  // Empty where there is no such hierarchy, or none that this user may write.
  static std::optional<std::string> parent() {
    for (char const* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"})
      if (is_cgroup2(path) && ::access((path + "/cgroup.procs"s).c_str(), W_OK) == 0) return path;
    return std::nullopt;
  }
  explicit TemporaryCgroup(std::string const& parent) : path_(parent + "/cloister-test.XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::system_error(errno, std::system_category(), "mkdtemp " + path_);
  }
  TemporaryCgroup(TemporaryCgroup const&) = delete;
  ~TemporaryCgroup() {
    // The kernel takes a killed process off a moment after it has been reaped.
    if (::getpid() == home_) (void)wait_until([&] { return ::rmdir(path_.c_str()) == 0; }, std::chrono::seconds(5));
  }

  std::string const& path() const { return path_; }
  std::string name() const { return path_.substr(path_.rfind('/') + 1); }
  std::string processes() const { return read_file(path_ + "/cgroup.procs"); }

 private:
  pid_t home_ = ::getpid();
  std::string path_;
};

// The reason why there are no tests with a real one, or nothing.
std::string why_no_cgroup() {
  return TemporaryCgroup::parent() ? "" : "there is no cgroup v2 hierarchy that this user may write";
}

// The line of the unified hierarchy in /proc/self/cgroup, which is a path seen from the reader's cgroup namespace.
std::string unified_line(std::string const& text) {
  std::size_t const at = text.find("0::");
  return at == text.npos ? "" : text.substr(at, text.find('\n', at) - at);
}

// The same as a child of that kind sees it.
std::string seen_by(Kind const& kind, Isolation const& isolation) {
  if (!kind.program) return unified_line(cloister::run(isolation, [] { return read_file("/proc/self/cgroup"); }));
  return unified_line(cloister::run(isolation, Command{"cat", "/proc/self/cgroup"}).out);
}

}  // namespace

// --- The description

TEST_CASE("a cgroup is given by a path or by a descriptor") {
  CHECK(Cgroup::path("/sys/fs/cgroup/a").path() == "/sys/fs/cgroup/a");
  CHECK(Cgroup::path("a").fd() == -1);
  CHECK(Cgroup::descriptor(7).fd() == 7);
  CHECK(Cgroup::descriptor(0).path().empty());
  CHECK(Cgroup::path("a") == Cgroup::path("a"));
  CHECK(Cgroup::path("a") != Cgroup::path("b"));
  CHECK(Cgroup::descriptor(7) != Cgroup::descriptor(8));
}

TEST_CASE("a path that cannot be one and a number that is no descriptor are refused") {
  auto const refusal = [](auto call) { return text_of<std::invalid_argument>([&] { (void)call(); }); };
  CHECK(refusal([] { return Cgroup::path(""); }) == "cloister: cgroup: path \"\" is empty");
  CHECK(refusal([] { return Cgroup::path("a\0b"s); }) == "cloister: cgroup: path \"a\\0b\" holds a NUL");
  CHECK(
      contains(refusal([] { return Cgroup::path(std::string(4096, 'x')); }), "has 4096 bytes, the kernel takes 4095"));
  CHECK(refusal([] { return Cgroup::descriptor(-1); }) == "cloister: cgroup: -1 is no descriptor");
}

TEST_CASE("a cgroup reads as it was given") {
  CHECK(to_string(Cgroup::path("/sys/fs/cgroup/job")) == "/sys/fs/cgroup/job");
  CHECK(to_string(Cgroup::descriptor(7)) == "descriptor 7");
}

// --- What is none, found before any process exists

TEST_CASE("what is no cgroup is an Error of the caller, before any process exists") {
  static int forks = 0;
  REQUIRE(::pthread_atfork([] { ++forks; }, nullptr, nullptr) == 0);
  int const before = forks;
  Unchanged const unchanged;
  int const closed = ::dup(0);
  ::close(closed);
  int const root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  struct Wrong {
    Cgroup cgroup;
    int error;
    std::string text;
  };
  for (Wrong const& wrong : {
           Wrong{Cgroup::path("/"), EBADF,
                 "cloister: join cgroup /: Bad file descriptor (it is no directory of a cgroup v2 hierarchy)"},
           Wrong{Cgroup::descriptor(root), EBADF, "no directory of a cgroup v2 hierarchy"},
           Wrong{Cgroup::path("/nowhere/at/all"), ENOENT, "join cgroup /nowhere/at/all: No such file"},
           Wrong{Cgroup::path("/proc/self/status"), ENOTDIR, "join cgroup /proc/self/status: Not a directory"},
           Wrong{Cgroup::descriptor(closed), EBADF, "join cgroup descriptor " + std::to_string(closed)},
       }) {
    CAPTURE(wrong.text);
    Isolation const isolation{.cgroup = wrong.cgroup};
    Error const callable = caught<Error>([&] { cloister::run(isolation, [] {}); });
    Error const program = caught<Error>([&] { (void)cloister::run(isolation, Command{"true"}); });
    CHECK(callable.code().value() == wrong.error);
    CHECK(callable.step() == "join cgroup");
    CHECK_FALSE(callable.in_child());
    CHECK(contains(callable.what(), wrong.text));
    CHECK(callable.what() == std::string(program.what()));
  }
  ::close(root);
  CHECK(forks == before);
}

// --- Children in one

TEST_CASE("a child of every kind begins in the cgroup, given by path and by descriptor") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  int const fd = ::open(group.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  {
    Unchanged const unchanged;
    for (Where const where : everywhere)
      for (Kind const& kind : kinds())
        for (Cgroup const& cgroup : {Cgroup::path(group.path()), Cgroup::descriptor(fd)}) {
          CAPTURE(kind.name);
          CAPTURE(name_of(where));
          CAPTURE(to_string(cgroup));
          Isolation isolation = kind.isolation();
          isolation.cgroup = cgroup;
          std::string const seen = on(where, [&] { return seen_by(kind, isolation); });
          CHECK(contains(seen, "/" + group.name()));
        }
  }
  ::close(fd);
  CHECK(group.processes() == "");
}

TEST_CASE("a child that joins namespaces begins in the cgroup as well") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  SKIP_UNLESS(user_namespaces(), "user namespaces are not to be had");
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  Room const room{{.unshare = user | pid | cloister::flags::time}};
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : joining_kinds(room)) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation isolation = kind.isolation();
      isolation.cgroup = Cgroup::path(group.path());
      CHECK(contains(on(where, [&] { return seen_by(kind, isolation); }), "/" + group.name()));
    }
}

TEST_CASE("a cgroup namespace of the child's own has that cgroup as its root") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation isolation = kind.isolation();
      isolation.unshare |= cgroup;
      isolation.cgroup = Cgroup::path(group.path());
      CHECK(on(where, [&] { return seen_by(kind, isolation); }) == "0::/");
    }
}

TEST_CASE("without a cgroup of its own a child stays in the caller's") {
  std::string const own = unified_line(read_file("/proc/self/cgroup"));
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    CHECK(seen_by(kind, kind.isolation()) == own);
  }
}

TEST_CASE("all that lives in the child is in the cgroup: an init, and what the child starts") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  {
    ChildProcess const child{Isolation{.unshare = pid, .cgroup = Cgroup::path(group.path()), .init = Init::reaper},
                             Command{"sh", "-c", "sleep 1000 & sleep 1000"}};
    // Init, shell, and two of sleep; the caller has the number of the first.
    CHECK(wait_until([&] {
      std::istringstream lines(group.processes());
      int count = 0;
      for (std::string line; std::getline(lines, line);) ++count;
      return count == 4;
    }));
    CHECK(contains("\n" + group.processes(), "\n" + std::to_string(child.pid()) + "\n"));
  }
  CHECK(wait_until([&] { return group.processes().empty(); }));
}

TEST_CASE("a callable has no descriptor of a cgroup that was given by path") {
  // By one of the host's mount it could walk up to the host's root.
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    auto const open_ones = [&] {
      return cloister::run(isolation, [] {
        std::vector<std::string> open;
        for (std::string const& fd : test::detail::names_in("/proc/self/fd"))
          open.push_back(test::detail::link_target("/proc/self/fd/" + fd));
        return open;
      });
    };
    std::size_t const before = open_ones().size();
    isolation.cgroup = Cgroup::path(group.path());
    std::vector<std::string> const after = open_ones();
    CHECK(after.size() == before);
    for (std::string const& target : after) CHECK_FALSE(contains(target, group.name()));
  }
}

TEST_CASE("a descriptor of the caller's stays open in the caller and, unless told otherwise, in a callable") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  int const fd = ::open(group.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    isolation.cgroup = Cgroup::descriptor(fd);
    CHECK(cloister::run(isolation, [fd] { return ::fcntl(fd, F_GETFD); }) == FD_CLOEXEC);
    CHECK(::fcntl(fd, F_GETFD) == FD_CLOEXEC);
  }
  ::close(fd);
}

TEST_CASE("a limit of the cgroup holds from the first moment") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  std::string const parent = *TemporaryCgroup::parent();
  SKIP_UNLESS(contains(" " + read_file(parent + "/cgroup.controllers"), "pids"),
              "the cgroup v2 hierarchy has no pids controller");
  SKIP_UNLESS(contains(read_file(parent + "/cgroup.subtree_control"), "pids"),
              "the pids controller is not handed down");
  TemporaryCgroup const group(parent);
  REQUIRE(write_file(group.path() + "/pids.max", "1"));
  for (Kind const& kind : callables()) {
    if (kind.reaper()) continue;  // that takes two
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    isolation.cgroup = Cgroup::path(group.path());
    CHECK(cloister::run(isolation, [] { return ::fork() < 0 && errno == EAGAIN; }));
  }
}

TEST_CASE("a child of a frozen cgroup begins when that is thawed") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  SKIP_UNLESS(::access((group.path() + "/cgroup.freeze").c_str(), W_OK) == 0, "cgroup.freeze came with Linux 5.2");
  REQUIRE(write_file(group.path() + "/cgroup.freeze", "1"));
  std::thread thaw([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    (void)write_file(group.path() + "/cgroup.freeze", "0");
  });
  CHECK(cloister::run(Isolation{.cgroup = Cgroup::path(group.path())}, [] { return 7; }) == 7);
  thaw.join();
}

TEST_CASE("an unprivileged caller starts children in a cgroup that has been handed to it") {
  SKIP_UNLESS(is_root(), "only root can hand one to somebody");
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  std::string const callers = group.path() + "/caller", job = group.path() + "/job";
  REQUIRE(::mkdir(callers.c_str(), 0755) == 0);
  REQUIRE(::mkdir(job.c_str(), 0755) == 0);
  for (std::string const& path : {group.path(), callers, job})
    for (char const* name : {"", "/cgroup.procs"}) REQUIRE(::chown((path + name).c_str(), 65534, 65534) == 0);
  int const status = expectations([&] {
    EXPECT(write_file(callers + "/cgroup.procs", "0"));
    EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    EXPECT(::prctl(PR_SET_DUMPABLE, 1) == 0);  // or its files under /proc would still be root's
    for (Kind const& kind : kinds()) {
      about = kind.name;
      Isolation isolation = kind.isolation();
      isolation.cgroup = Cgroup::path(job);
      EXPECT(contains(seen_by(kind, isolation), group.name() + "/job"));
      isolation.unshare |= user | cgroup;
      EXPECT(seen_by(kind, isolation) == "0::/");
    }
  });
  CHECK(status == 0);
  for (std::string const& path : {job, callers}) CHECK(wait_until([&] { return ::rmdir(path.c_str()) == 0; }));
}

// --- Refused

TEST_CASE("a cgroup that the caller may not write is an Error that says what must be writable") {
  SKIP_UNLESS(is_root(), "there is no cgroup of anybody else to try");
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  REQUIRE(::chmod(group.path().c_str(), 0755) == 0);
  int const status = unprivileged_expectations([&] {
    Unchanged const unchanged;
    for (Kind const& kind : kinds()) {
      about = kind.name;
      Isolation isolation = kind.isolation();
      isolation.cgroup = Cgroup::path(group.path());
      auto const start = [&] {
        if (kind.program)
          (void)cloister::run(isolation, Command{"true"});
        else
          cloister::run(isolation, [] {});
      };
      EXPECT(
          fails_with(EACCES, "join cgroup", start, {group.path(), "in the child", "cgroup.procs", "must be writable"}));
    }
    EXPECT(unchanged.changes().empty());
  });
  CHECK(status == 0);
}

TEST_CASE("a cgroup that takes no processes is an Error, and nothing is left behind") {
  SKIP_UNLESS(why_no_cgroup().empty(), why_no_cgroup());
  TemporaryCgroup const group(*TemporaryCgroup::parent());
  // A threaded cgroup under it makes this one's own sub-groups invalid for processes of the domain.
  REQUIRE(::mkdir((group.path() + "/threads").c_str(), 0755) == 0);
  REQUIRE(::mkdir((group.path() + "/rest").c_str(), 0755) == 0);
  bool const threaded = write_file(group.path() + "/threads/cgroup.type", "threaded");
  if (threaded) {
    Unchanged const unchanged;
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      Isolation isolation = kind.isolation();
      isolation.cgroup = Cgroup::path(group.path() + "/rest");
      Error const error = caught<Error>([&] {
        if (kind.program)
          (void)cloister::run(isolation, Command{"true"});
        else
          cloister::run(isolation, [] {});
      });
      CHECK(error.code().value() == EOPNOTSUPP);
      CHECK(error.step() == "join cgroup");
      CHECK(error.in_child());
    }
  }
  ::rmdir((group.path() + "/threads").c_str());
  ::rmdir((group.path() + "/rest").c_str());
  SKIP_UNLESS(threaded, "the kernel makes no cgroup threaded here");
}
