#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cloister/namespace.hpp>

#include "caught.hpp"
#include "support.hpp"

using namespace cloister::flags;
using cloister::Error, cloister::FileDescriptor, cloister::Namespace, cloister::NamespaceType;

namespace {

std::string link_of(NamespaceType type) { return std::string("/proc/thread-self/ns/") + to_string(type); }
bool kernel_has(NamespaceType type) { return ::access(link_of(type).c_str(), F_OK) == 0; }
bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

template <class Call>
int errno_of(Call&& call) {
  return test::caught<Error>(std::forward<Call>(call)).code().value();
}

int pidfd_of(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

// A process that has ended, reaped at reap() or at the end.
class Zombie {
 public:
  Zombie() : pid_(::fork()) {
    if (pid_ == 0) ::_exit(0);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  Zombie(Zombie const&) = delete;
  Zombie& operator=(Zombie const&) = delete;
  ~Zombie() { reap(); }
  void reap() {
    if (!std::exchange(reaped_, true)) ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
  bool reaped_ = false;
};

}  // namespace

TEST_CASE("the namespaces of this thread are those that its links show, however they are asked for") {
  test::Unchanged const unchanged;
  for (NamespaceType const type : cloister::all_namespace_types) {
    if (!kernel_has(type)) continue;
    CAPTURE(type);
    Namespace const mine = Namespace::current(type);
    CHECK(mine.type() == type);
    CHECK(to_string(mine.id()) == test::detail::link_target(link_of(type)));
    CHECK(::fcntl(mine.fd(), F_GETFD) == FD_CLOEXEC);
    CHECK(mine == Namespace::of(::getpid(), type));
    CHECK(mine == Namespace::open(link_of(type)));
    CHECK(mine == Namespace::adopt(FileDescriptor::duplicate(mine.fd())));
    int const pidfd = pidfd_of(::getpid());
    if (pidfd < 0) continue;
    CHECK(mine == Namespace::of_pidfd(pidfd, type));
    CHECK(is_open(pidfd));
    ::close(pidfd);
  }
  CHECK(Namespace::current(uts) != Namespace::current(ipc));
}

TEST_CASE("copies share one descriptor, which the last one closes") {
  test::Unchanged const unchanged;
  int fd = -1;
  {
    Namespace const original = Namespace::current(uts);
    fd = original.fd();
    Namespace other = original;
    CHECK(other.fd() == fd);
    other = Namespace::current(ipc);
    CHECK(other.type() == ipc);
    Namespace& same = other;
    other = same;
    CHECK(other.type() == ipc);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
  static_assert(std::is_nothrow_copy_constructible_v<Namespace> && std::is_nothrow_move_constructible_v<Namespace>);
  static_assert(!std::is_default_constructible_v<Namespace>);
}

TEST_CASE("a moved-from handle throws when it is used, and can be compared, copied and assigned to") {
  test::Unchanged const unchanged;
  Namespace from = Namespace::current(user);
  Namespace const to = std::move(from);
  CHECK_FALSE(from);
  CHECK(to);
  CHECK(test::text_of<std::logic_error>([&] { (void)from.fd(); }).starts_with("cloister: this Namespace is empty"));
  CHECK_THROWS_AS((void)from.id(), std::logic_error);
  CHECK_THROWS_AS((void)from.type(), std::logic_error);
  CHECK_THROWS_AS((void)from.owner(), std::logic_error);
  CHECK_THROWS_AS((void)from.parent(), std::logic_error);
  CHECK_THROWS_AS((void)from.owner_uid(), std::logic_error);
  Namespace const copy = from;
  CHECK(copy == from);
  CHECK(from != to);
  CHECK(to != from);
  from = to;
  CHECK(from == to);
}

TEST_CASE("a process that does not exist has no namespaces: dead, reaped, negative, zero, or a mere thread") {
  test::Unchanged const unchanged;
  for (pid_t const none : {-1, 0, -2147483647 - 1, 2147483647})
    CHECK(errno_of([&] { (void)Namespace::of(none, uts); }) == ESRCH);
  Zombie dead;
  CHECK(errno_of([&] { (void)Namespace::of(dead.pid(), uts); }) == ESRCH);
  int const pidfd = pidfd_of(dead.pid());
  dead.reap();
  CHECK(errno_of([&] { (void)Namespace::of(dead.pid(), uts); }) == ESRCH);
  if (pidfd >= 0) {
    CHECK(errno_of([&] { (void)Namespace::of_pidfd(pidfd, uts); }) == ESRCH);
    ::close(pidfd);
  }
  std::string text;
  std::thread([&] { text = test::text_of<Error>([] { (void)Namespace::of(::gettid(), uts); }); }).join();
  CHECK(test::contains(text, "No such process (it is the id of a thread"));
}

TEST_CASE("what is no pidfd is refused") {
  test::Unchanged const unchanged;
  CHECK(errno_of([] { (void)Namespace::of_pidfd(-1, uts); }) == EBADF);
  FileDescriptor const null = FileDescriptor::adopt(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  CHECK(errno_of([&] { (void)Namespace::of_pidfd(null.get(), uts); }) == EINVAL);
}

TEST_CASE("a file that is no namespace is refused with a reason, and a fifo does not block") {
  test::Unchanged const unchanged;
  test::TemporaryDirectory const directory;
  REQUIRE(::mkfifo((directory / "fifo").c_str(), 0600) == 0);
  for (std::string const& path :
       {std::string("/dev/null"), std::string("/"), std::string("/proc/self/status"), directory / "fifo"}) {
    Error const error = test::caught<Error>([&] { (void)Namespace::open(path); });
    CHECK(error.code().value() == EINVAL);
    CHECK(error.what() == "cloister: open " + path + ": Invalid argument (it is no namespace)");
  }
  CHECK(errno_of([&] { (void)Namespace::open(directory / "none"); }) == ENOENT);
  CHECK(errno_of([] { (void)Namespace::open(""); }) == ENOENT);
  CHECK_THROWS_WITH_AS((void)Namespace::open(std::string("/proc/self/ns/uts\0x", 19)),
                       "cloister: Namespace::open: a NUL in the path", std::invalid_argument);
}

TEST_CASE("a descriptor that is empty, closed or of something else is not adopted, and is closed") {
  test::Unchanged const unchanged;
  CHECK(errno_of([] { (void)Namespace::adopt(FileDescriptor{}); }) == EBADF);
  int const null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(errno_of([&] { (void)Namespace::adopt(FileDescriptor::adopt(null)); }) == EINVAL);
  CHECK_FALSE(is_open(null));
  CHECK(errno_of([&] { (void)Namespace::adopt(FileDescriptor::adopt(null)); }) == EBADF);
}

TEST_CASE("a new namespace is another than ours, lives without a process, and leaves us where we are") {
  SKIP_UNLESS(test::can_unshare_user(), "no user namespaces");
  CHECK(test::in_fork([] {
          if (::unshare(CLONE_NEWUSER) != 0) return false;
          test::Picture const before = test::detail::take_picture();
          for (NamespaceType const type : cloister::all_namespace_types) {
            if (type == pid || !kernel_has(type)) continue;
            if (type == user) continue;  // the ids here are not mapped: see the next case
            Namespace const fresh = Namespace::create(type);
            if (fresh == Namespace::current(type) || fresh.type() != type) return false;
            if (fresh == Namespace::create(type) || fresh.owner() != Namespace::current(user)) return false;
            if (Namespace::open("/proc/self/fd/" + std::to_string(fresh.fd())) != fresh) return false;
          }
          return test::detail::take_picture() == before;
        }) == 0);
}

TEST_CASE("a new user namespace hangs below ours and is ours, also when the process has threads") {
  test::Unchanged const unchanged;
  SKIP_UNLESS(test::can_unshare_user(), "no user namespaces");
  std::thread([] {
    Namespace const fresh = Namespace::create(user);
    CHECK(fresh != Namespace::current(user));
    CHECK(fresh.parent() == Namespace::current(user));
    CHECK(fresh.owner() == Namespace::current(user));
    CHECK(fresh.owner_uid() == ::geteuid());
  }).join();
}

TEST_CASE("a pid namespace is not made without a process, and nothing is made without the privilege") {
  CHECK_THROWS_AS((void)Namespace::create(pid), std::invalid_argument);
  CHECK(test::in_fork([] {
          if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return false;
          Error const error = test::caught<Error>([] { (void)Namespace::create(uts); });
          return error.code().value() == EPERM && error.step() == "unshare" &&
                 test::contains(error.what(), "CAP_SYS_ADMIN is needed: unshare user beside uts");
        }) == 0);
}

TEST_CASE("only pid and time namespaces can differ for children") {
  CHECK_THROWS_AS((void)Namespace::for_children(uts), std::invalid_argument);
  CHECK_THROWS_AS((void)Namespace::for_children(user), std::invalid_argument);
  CHECK(Namespace::for_children(pid) == Namespace::current(pid));
  SKIP_UNLESS(test::can_unshare_user(), "no user namespaces");
  CHECK(test::in_fork([] {
          if (::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0 || Namespace::for_children(pid)) return 2;  // empty yet
          pid_t const init = ::fork();
          if (init == 0) ::_exit(0);
          Namespace const theirs = Namespace::for_children(pid);
          if (!theirs || theirs == Namespace::current(pid)) return 3;
          return ::waitpid(init, nullptr, 0) == init ? 0 : 4;
        }) == 0);
}

TEST_CASE("only user and pid namespaces have a parent, only user namespaces an owner's id, and ours lie at the edge") {
  test::Unchanged const unchanged;
  CHECK_THROWS_AS((void)Namespace::current(uts).parent(), std::invalid_argument);
  CHECK_THROWS_AS((void)Namespace::current(uts).owner_uid(), std::invalid_argument);
  for (NamespaceType const type : {user, pid}) {
    Error const error = test::caught<Error>([&] { (void)Namespace::current(type).parent(); });
    CHECK(error.code().value() == EPERM);
    CHECK(error.step() == "NS_GET_PARENT");
  }
}
