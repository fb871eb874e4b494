#include <fcntl.h>

#include <cloister/process_namespaces.hpp>

#include "caught.hpp"
#include "support.hpp"

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
