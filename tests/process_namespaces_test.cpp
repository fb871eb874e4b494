#include <fcntl.h>

#include <atomic>
#include <cloister/process_namespaces.hpp>

#include "privileged.hpp"
#include "refusal.hpp"

using namespace cloister::flags;
using cloister::CloneFlags, cloister::Error, cloister::NamespaceType, cloister::ProcessNamespaces;
using cloister::differing, cloister::namespaces_of;

namespace {

// A process in new namespaces that waits to be killed.
class Resident {
 public:
  explicit Resident(CloneFlags types) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    pid_ = ::fork();
    if (pid_ == 0) {
      bool const moved = ::unshare(static_cast<int>(types.bits())) == 0;
      if (::write(ends[1], moved ? "1" : "0", 1) == 1)
        for (;;) ::pause();
      ::_exit(1);
    }
    ::close(ends[1]);
    char answer = '0';
    ready_ = ::read(ends[0], &answer, 1) == 1 && answer == '1';
    ::close(ends[0]);
  }
  Resident(Resident const&) = delete;
  Resident& operator=(Resident const&) = delete;
  ~Resident() {
    end();
    ::waitpid(pid_, nullptr, 0);
  }
  // It stays a zombie.
  void end() const {
    ::kill(pid_, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  pid_t pid() const { return pid_; }
  bool ready() const { return ready_; }

 private:
  pid_t pid_ = -1;
  bool ready_ = false;
};

// The ids of a process as the links of that directory under /proc show them.
bool as_shown(ProcessNamespaces const& seen, std::string const& directory) {
  for (NamespaceType const type : seen.types())
    if (to_string(seen[type]) != test::detail::link_target("/proc/" + directory + "/ns/" + to_string(type)))
      return false;
  return !seen.types().empty();
}

// In the init of a new pid namespace whose /proc is still that of the old one; the wait status.
template <class Body>
int under_a_stale_proc(Body&& body) {
  return test::expectations([&] {
    if (!EXPECT((test::is_root() || test::become_root_of_a_user_namespace()) && ::unshare(CLONE_NEWPID) == 0)) return;
    EXPECT(test::in_fork([&] {
             test::unmet = 0;
             EXPECT(::getpid() == 1);
             body();
             return test::unmet == 0;
           }) == 0);
  });
}

// Whether a pidfd gives namespaces: Linux 6.11.
bool has_requests() {
  int const self = cloister::detail::sys::pidfd_open(::getpid());
  int const opened = cloister::detail::sys::ioctl(self, cloister::detail::kernel::pidfd_get_uts_namespace);
  if (opened >= 0) ::close(opened);
  if (self >= 0) ::close(self);
  return opened >= 0;
}

int errno_of(pid_t pid) {
  return test::caught<Error>([&] { (void)namespaces_of(pid); }).code().value();
}

}  // namespace

TEST_CASE("all types of a process come in one look, and read as its links do") {
  test::Unchanged const unchanged;
  ProcessNamespaces const here = namespaces_of(::getpid());
  for (NamespaceType const type : cloister::all_namespace_types) {
    std::string const link = std::string("/proc/self/ns/") + to_string(type);
    CHECK(here.contains(type) == (::access(link.c_str(), F_OK) == 0));
    CHECK(here.types().contains(type) == here.contains(type));
    if (!here.contains(type)) continue;
    CHECK(to_string(here[type]) == test::detail::link_target(link));
    CHECK(here[type].type == type);
    CHECK(here[type].id == 0);
  }
  CHECK(here.contains(uts));
}

TEST_CASE("two looks at one process are equal, and differ in nothing") {
  ProcessNamespaces const here = namespaces_of(::getpid());
  CHECK(here == namespaces_of(::getpid()));
  CHECK(differing(here, here).empty());
}

TEST_CASE("a type that is absent is no namespace with number 0: asking for it throws, and the text names it") {
  constexpr ProcessNamespaces nothing;
  static_assert(nothing.types().empty() && !nothing.contains(uts));
  CHECK_THROWS_WITH_AS((void)nothing[uts], "cloister: ProcessNamespaces: no uts among them", std::out_of_range);
  ProcessNamespaces const here = namespaces_of(::getpid());
  CHECK(here != nothing);
  CHECK(differing(here, nothing) == here.types());
  CHECK(differing(nothing, here) == here.types());
  CHECK(differing(nothing, nothing).empty());
}

TEST_CASE("a process that went into new namespaces differs in them and in no others") {
  test::Unchanged const unchanged;
  SKIP_UNLESS(test::can_unshare_user(), "no user namespaces");
  for (CloneFlags const types : {CloneFlags{user}, user | uts, user | uts | ipc | net}) {
    Resident const resident(types);
    REQUIRE(resident.ready());
    ProcessNamespaces const here = namespaces_of(::getpid());
    ProcessNamespaces const there = namespaces_of(resident.pid());
    CHECK(differing(here, there) == types);
    CHECK(differing(there, here) == types);
    CHECK(there.types() == here.types());
  }
}

TEST_CASE("a thread is looked at by its own id: it may be elsewhere than its process") {
  SKIP_UNLESS(test::can_unshare_user(), "no user namespaces");
  CHECK(test::in_fork([] {
          if (::unshare(CLONE_NEWUSER) != 0) return false;
          bool well = false;
          std::thread([&] {
            well = ::unshare(CLONE_NEWUTS) == 0 &&
                   differing(namespaces_of(::getpid()), namespaces_of(::gettid())) == CloneFlags{uts};
          }).join();
          return well;
        }) == 0);
}

TEST_CASE("a process that does not exist is reported as such: negative, zero, too large, ended, reaped") {
  test::Unchanged const unchanged;
  for (pid_t const none : {-1, 0, -2147483647 - 1, 2147483647}) {
    CAPTURE(none);
    Error const error = test::caught<Error>([&] { (void)namespaces_of(none); });
    CHECK(error.code().value() == ESRCH);
    CHECK(error.what() == "cloister: open /proc/" + std::to_string(none) + "/ns: No such process");
    CHECK_FALSE(error.in_child());
  }
  pid_t gone = 0;
  {
    Resident const resident({});
    CHECK(namespaces_of(resident.pid()) == namespaces_of(::getpid()));
    resident.end();
    CHECK(errno_of(resident.pid()) == ESRCH);
    gone = resident.pid();
  }
  CHECK(errno_of(gone) == ESRCH);
}

TEST_CASE("what was seen stays when its process is gone") {
  Resident const resident({});
  ProcessNamespaces const seen = namespaces_of(resident.pid());
  resident.end();
  CHECK(seen == namespaces_of(::getpid()));
}

TEST_CASE("another user's process is refused, and the text says what is needed") {
  SKIP_UNLESS(test::is_root(), "needs another user, which root can become");
  CHECK(test::in_fork([] {
          pid_t const parent = ::getppid();
          if (::setresuid(65534, 65534, 65534) != 0) return false;
          Error const error = test::caught<Error>([&] { (void)namespaces_of(parent); });
          return error.code().value() == EACCES && test::contains(error.what(), "Permission denied (");
        }) == 0);
}

TEST_CASE("where no descriptor is to be had, that is what the Error says") {
  CHECK(test::in_fork([] {
          while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
          }
          return errno_of(::getpid()) == EMFILE;
        }) == 0);
}

// --- A /proc of another pid namespace, and none

TEST_CASE("under a /proc of another pid namespace the numbers are still the caller's") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  for (bool const with_requests : {true, false}) {
    CAPTURE(with_requests);
    int const status = under_a_stale_proc([&] {
      if (!with_requests) test::refuse({test::namespace_requests()});
      ProcessNamespaces const own = namespaces_of(::getpid());
      EXPECT(as_shown(own, "self"));
      Resident const other(uts);
      EXPECT(other.ready() && other.pid() == 2);
      ProcessNamespaces const seen = namespaces_of(other.pid());
      EXPECT(differing(own, seen) == CloneFlags{uts});
      EXPECT(differing(own, namespaces_of(::getpid())).empty());
      other.end();
      EXPECT(errno_of(other.pid()) == ESRCH);
      // There is such a process in /proc, and none for the caller.
      std::string const stranger = test::detail::link_target("/proc/self");
      EXPECT(stranger != "1");
      EXPECT(errno_of(std::stoi(stranger)) == ESRCH);
      std::thread([&] {
        EXPECT(::unshare(CLONE_NEWUTS) == 0);
        EXPECT(as_shown(namespaces_of(::gettid()), "thread-self"));
        EXPECT(differing(namespaces_of(::gettid()), own) == CloneFlags{uts});
      }).join();
    });
    CHECK(status == 0);
  }
}

TEST_CASE("under a /proc of another pid namespace a thread is looked at by its id, or that is what the Error says") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  int const status = under_a_stale_proc([] {
    std::atomic<pid_t> thread{0};
    std::atomic<bool> seen{false};
    std::thread waiting([&] {
      EXPECT(::unshare(CLONE_NEWUTS) == 0);
      thread = ::gettid();
      while (!seen) ::sched_yield();
    });
    while (thread == 0) ::sched_yield();
    try {
      EXPECT(differing(namespaces_of(thread), namespaces_of(::getpid())) == CloneFlags{uts});
    } catch (Error const& error) {
      EXPECT(error.code().value() == ENOENT && test::contains(error.what(), "another pid namespace's"));
    }
    seen = true;
    waiting.join();
  });
  CHECK(status == 0);
}

TEST_CASE("where neither pidfds nor a /proc of the caller's pid namespace tell, that is what the Error says") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  for (int const error : {ENOSYS, EPERM}) {
    int const status = under_a_stale_proc([&] {
      Resident const other({});
      EXPECT(namespaces_of(other.pid()) == namespaces_of(::getpid()));
      test::refuse({{SYS_pidfd_open, error}});
      EXPECT(as_shown(namespaces_of(::getpid()), "self"));
      EXPECT(test::fails_with(ENOENT, "open", [&] { (void)namespaces_of(other.pid()); },
                              {"/proc/2/ns", "this /proc is another pid namespace's"}));
    });
    CHECK(status == 0);
  }
}

TEST_CASE("without /proc a kernel that has the requests tells all the same, and another says what is missing") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  bool const tells = has_requests();
  test::TemporaryDirectory const directory;
  int const status = test::privileged_expectations([&] {
    Resident const other(uts);
    EXPECT(other.ready());
    ProcessNamespaces const own = namespaces_of(::getpid());
    ProcessNamespaces const seen = namespaces_of(other.pid());
    EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
    if (tells) {
      EXPECT(namespaces_of(::getpid()) == own);
      EXPECT(namespaces_of(other.pid()) == seen);
      EXPECT(errno_of(2147483647) == ESRCH);
    }
    test::refuse({test::namespace_requests()});
    for (pid_t const pid : {::getpid(), other.pid()})
      EXPECT(test::fails_with(ENOENT, "open", [&] { (void)namespaces_of(pid); }, {"/proc is not mounted"}));
  });
  CHECK(status == 0);
}
