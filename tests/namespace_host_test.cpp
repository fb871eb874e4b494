// Namespace in hosts of every kind: with threads, handlers and limits, on older kernels, under filters, without /proc.
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <atomic>
#include <cloister/namespace.hpp>
#include <optional>
#include <sstream>
#include <thread>
#include <unordered_set>

#include "privileged.hpp"
#include "refusal.hpp"

using cloister::FileDescriptor, cloister::Namespace, cloister::NamespaceType;
using namespace cloister::flags;
using namespace test;
namespace kernel = cloister::detail::kernel;
namespace sys = cloister::detail::sys;

namespace {

FileDescriptor pidfd_of(pid_t pid) { return FileDescriptor::adopt(sys::pidfd_open(pid)); }

std::vector<NamespaceType> types() {
  std::vector<NamespaceType> all;
  for (NamespaceType const type : cloister::all_namespace_types)
    if (cloister::detail::kernel_has(type)) all.push_back(type);
  return all;
}

// A process in new namespaces that does nothing until it is ended.
class Sleeper {
 public:
  explicit Sleeper(int unshared = 0) {
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    pid_ = ::fork();
    if (pid_ == 0) {
      char const outcome = unshared == 0 || ::unshare(unshared) == 0 ? 'y' : 'n';
      if (::write(ready[1], &outcome, 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char outcome = 'n';
    stands_ = ::read(ready[0], &outcome, 1) == 1 && outcome == 'y';
    ::close(ready[0]);
  }
  Sleeper(Sleeper const&) = delete;
  Sleeper& operator=(Sleeper const&) = delete;
  ~Sleeper() {
    become_zombie();
    reap();
  }
  void become_zombie() const {
    if (reaped_) return;
    ::kill(pid_, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT);
  }
  void reap() {
    if (!reaped_) ::waitpid(pid_, nullptr, 0);
    reaped_ = true;
  }
  pid_t pid() const { return pid_; }
  bool stands() const { return stands_; }

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
  bool stands_ = false;
};

bool no_child_is_left() { return ::waitpid(-1, nullptr, WNOHANG | __WALL) == -1 && errno == ECHILD; }

bool forbid(NamespaceType type) {
  return write_file(std::string("/proc/sys/user/") + cloister::detail::facts(type).limit, "0");
}

}  // namespace

// --- threads, signals, other waits

TEST_CASE("a thread sees its own namespaces, not those of the main thread") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const before = Namespace::current(uts);
          std::thread([&] {
            EXPECT(::unshare(CLONE_NEWUTS) == 0);
            EXPECT(Namespace::current(uts) != before);
            EXPECT(Namespace::of(::getpid(), uts) == before);
          }).join();
          EXPECT(Namespace::current(uts) == before);
        }) == 0);
}

TEST_CASE("handles are copied and dropped by many threads at once") {
  Unchanged const unchanged;
  Namespace const shared = Namespace::current(uts);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&shared] {
      for (int i = 0; i < 20000; ++i) Namespace const copy = shared;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(::fcntl(shared.fd(), F_GETFD) == FD_CLOEXEC);
}

TEST_CASE("many threads make namespaces at the same time") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          std::vector<std::thread> threads;
          std::vector<std::vector<Namespace>> made(4);
          for (std::vector<Namespace>& mine : made)
            threads.emplace_back([&mine] {
              for (int i = 0; i < 25; ++i) {
                mine.push_back(Namespace::create(user));
                mine.push_back(Namespace::create(uts));
              }
            });
          for (std::thread& thread : threads) thread.join();
          std::unordered_set<cloister::NamespaceId> ids;
          for (std::vector<Namespace> const& mine : made)
            for (Namespace const& one : mine) EXPECT(ids.insert(one.id()).second);
        }) == 0);
}

TEST_CASE("a user namespace is made without privileges in a process with threads, and nothing is left of its helper") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(unprivileged_expectations([] {
          std::atomic<bool> done{false};
          std::thread busy([&] {
            while (!done) std::string(100, 'x');
          });
          {
            Unchanged const unchanged;
            for (int i = 0; i < 100; ++i) EXPECT(Namespace::create(user).owner_uid() == ::geteuid());
            EXPECT(no_child_is_left());
            EXPECT(unchanged.changes() == "");
          }
          done = true;
          busy.join();
        }) == 0);
}

TEST_CASE("a host that ignores SIGCHLD, that counts it, or that waits for any child notices nothing of a creation") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          ::signal(SIGCHLD, SIG_IGN);
          EXPECT(Namespace::create(user).type() == user);
          static std::atomic<int> signals{0};
          ::signal(SIGCHLD, [](int) { ++signals; });
          EXPECT(Namespace::create(user).type() == user);
          EXPECT(signals == 0);
          std::atomic<bool> done{false};
          std::thread waiter([&] {
            while (!done) ::waitpid(-1, nullptr, WNOHANG);
          });
          for (int i = 0; i < 200; ++i) EXPECT(Namespace::create(user).type() == user);
          done = true;
          waiter.join();
          EXPECT(no_child_is_left());
        }) == 0);
}

TEST_CASE("signals that arrive all the time do not disturb a creation, and are not handled in the helper") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          static pid_t const home = ::getpid();
          static std::atomic<int> handled{0};
          static std::atomic<int> elsewhere{0};
          ::signal(SIGVTALRM, [](int) { ++(::getpid() == home ? handled : elsewhere); });
          ::signal(SIGUSR1, [](int) { ++(::getpid() == home ? handled : elsewhere); });
          std::atomic<bool> done{false};
          std::thread sender([&] {
            while (!done) ::kill(home, SIGUSR1);
          });
          for (int i = 0; i < 300; ++i) EXPECT(Namespace::create(user).type() == user);
          done = true;
          sender.join();
          EXPECT(handled > 0);
          EXPECT(elsewhere == 0);
        }) == 0);
}

// --- mounts, limits, privileges

TEST_CASE("what was made is the same one for all who enter it") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const made = Namespace::create(uts);
          auto const inside = [&](auto body) {
            std::thread([&] {
              EXPECT(::setns(made.fd(), CLONE_NEWUTS) == 0);
              body();
            }).join();
          };
          inside([] { EXPECT(::sethostname("kept", 4) == 0); });
          inside([] {
            char name[65] = {};
            EXPECT(::gethostname(name, sizeof name) == 0 && std::string(name) == "kept");
          });
        }) == 0);
}

TEST_CASE("mounts in a namespace that was made do not show outside, also where the mounts outside are shared") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0);
          Namespace const made = Namespace::create(mnt);
          std::thread([&] {
            EXPECT(::unshare(CLONE_FS) == 0 && ::setns(made.fd(), CLONE_NEWNS) == 0);
            EXPECT(::mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0);
          }).join();
          EXPECT(!contains(read_file("/proc/thread-self/mountinfo"), directory.path()));
        }) == 0);
}

TEST_CASE("a namespace that another tool has bound to a file opens as what it is") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  std::string const name = directory / "kept";
  CHECK(privileged_expectations([&] {
          EXPECT(write_file(name, ""));
          EXPECT(::mount("/proc/self/ns/net", name.c_str(), nullptr, MS_BIND, nullptr) == 0);
          EXPECT(Namespace::open(name).type() == net);
          EXPECT(Namespace::open(name) == Namespace::current(net));
        }) == 0);
}

TEST_CASE("another user's process is refused with what would help") {
  CHECK(
      unprivileged_expectations([] {
        EXPECT(fails_with(EACCES, "open", [] { (void)Namespace::of(1, uts); }, {"uts of process 1", "CAP_SYS_PTRACE"}));
      }) == 0);
}

TEST_CASE("without privileges nothing but a user namespace is made, and the text says what is needed") {
  std::vector<NamespaceType> const all = types();
  CHECK(unprivileged_expectations([&] {
          Unchanged const unchanged;
          for (NamespaceType const type : all) {
            if (type == user || type == pid) continue;
            EXPECT(fails_with(EPERM, "unshare", [&] { (void)Namespace::create(type); },
                              {std::string("unshare ") + to_string(type) + ":", "CAP_SYS_ADMIN is needed"}));
          }
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a limit that is used up is named") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(become_root_of_a_user_namespace());  // the limits outside are the machine's
          for (NamespaceType const type : {uts, user}) {
            EXPECT(forbid(type));
            EXPECT(fails_with(ENOSPC, type == user ? "clone" : "unshare", [&] { (void)Namespace::create(type); },
                              {std::string("user.") + cloister::detail::facts(type).limit + " is 0"}));
          }
        }) == 0);
}

TEST_CASE("where no descriptor or no thread can be had, that is the error, and nothing is left") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer needs descriptors of its own");
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          (void)Namespace::create(uts);
          {
            Unchanged const unchanged;
            rlimit before{};
            EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
            rlimit const full{static_cast<rlim_t>(FileDescriptor::duplicate(0).get()), before.rlim_max};
            EXPECT(::setrlimit(RLIMIT_NOFILE, &full) == 0);
            EXPECT(fails_with(EMFILE, "open", [] { (void)Namespace::create(uts); }));
            EXPECT(fails_with(EMFILE, "open", [] { (void)Namespace::create(user); }));
            EXPECT(fails_with(EMFILE, "open", [] { (void)Namespace::current(uts); }));
            EXPECT(fails_with(EMFILE, "open", [] { (void)Namespace::open("/proc/self/ns/uts"); }));
            EXPECT(fails_with(EMFILE, "pidfd_open", [] { (void)Namespace::of(::getpid(), uts); }));
            EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
            EXPECT(unchanged.changes() == "");
          }
          EXPECT(::unshare(CLONE_NEWPID) == 0);
          EXPECT(fails_with(EINVAL, "pthread_create", [] { (void)Namespace::create(uts); }, {"unshare of pid"}));
        }) == 0);
}

TEST_CASE("the time namespace for children is the new one at once, and can be had by its creator too") {
  SKIP_UNLESS(cloister::detail::kernel_has(NamespaceType::time), "the kernel is before 5.6: no time namespaces");
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const mine = Namespace::current(NamespaceType::time);
          EXPECT(Namespace::for_children(NamespaceType::time) == mine);
          EXPECT(::unshare(static_cast<int>(kernel::clone_newtime)) == 0);
          EXPECT(Namespace::for_children(NamespaceType::time) != mine);
          EXPECT(Namespace::current(NamespaceType::time) == mine);
          EXPECT(::setns(Namespace::create(NamespaceType::time).fd(), 0) == 0);
          EXPECT(Namespace::current(NamespaceType::time) != mine);
        }) == 0);
}

// --- older kernels, filters, and a root directory without /proc

TEST_CASE("without the requests of pidfds (before Linux 6.11) /proc gives the same answers and the same refusals") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  std::vector<NamespaceType> const all = types();
  CHECK(expectations([&] {
          Sleeper other(CLONE_NEWUSER | CLONE_NEWUTS);
          EXPECT(other.stands());
          FileDescriptor const pidfd = pidfd_of(other.pid());
          std::vector<Namespace> expected;
          for (NamespaceType const type : all) expected.push_back(Namespace::of(other.pid(), type));
          refuse({namespace_requests()});
          for (Namespace const& one : expected) {
            EXPECT(Namespace::of(other.pid(), one.type()) == one);
            EXPECT(Namespace::of_pidfd(pidfd.get(), one.type()) == one);
          }
          EXPECT(fails_with(EINVAL, "open", [] { (void)Namespace::of_pidfd(0, uts); }, {"no descriptor of a process"}));
          if (!address_sanitizer) {
            rlimit before{};
            EXPECT(::getrlimit(RLIMIT_NOFILE, &before) == 0);
            rlimit const full{static_cast<rlim_t>(FileDescriptor::duplicate(0).get()), before.rlim_max};
            EXPECT(::setrlimit(RLIMIT_NOFILE, &full) == 0);
            EXPECT(fails_with(EMFILE, "open", [&] { (void)Namespace::of_pidfd(pidfd.get(), uts); }));
            EXPECT(::setrlimit(RLIMIT_NOFILE, &before) == 0);
          }
          other.become_zombie();
          EXPECT(fails_with(ESRCH, "open", [&] { (void)Namespace::of_pidfd(pidfd.get(), uts); }));
          EXPECT(fails_with(ESRCH, "open", [&] { (void)Namespace::of(other.pid(), uts); }));
          other.reap();
          EXPECT(fails_with(ESRCH, "open", [&] { (void)Namespace::of_pidfd(pidfd.get(), uts); }));
          EXPECT(fails_with(ESRCH, "pidfd_open", [&] { (void)Namespace::of(other.pid(), uts); }));
        }) == 0);
}

TEST_CASE("without pidfds at all (before Linux 5.3, or under a filter) processes are found by /proc") {
  for (int const error : {ENOSYS, EPERM})
    CHECK(expectations([&] {
            refuse({{SYS_pidfd_open, error}});
            EXPECT(Namespace::of(::getpid(), uts) == Namespace::current(uts));
            EXPECT(fails_with(ESRCH, "open", [] { (void)Namespace::of(-1, uts); }, {"-1"}));
            EXPECT(fails_with(ESRCH, "open", [] { (void)Namespace::of(2147483647, uts); }, {"2147483647"}));
          }) == 0);
}

TEST_CASE("a number means the caller's process also where /proc is another pid namespace's") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations([] {
          EXPECT((is_root() || become_root_of_a_user_namespace()) && ::unshare(CLONE_NEWPID) == 0);
          EXPECT(in_fork([] {
                   unmet = 0;
                   Sleeper const other(CLONE_NEWUTS);
                   EXPECT(other.stands() && ::getpid() == 1 && other.pid() == 2);
                   Namespace const own = Namespace::current(uts);
                   Namespace const others = Namespace::of(2, uts);
                   EXPECT(Namespace::of(1, uts) == own);
                   EXPECT(others != own);
                   refuse({namespace_requests()});
                   EXPECT(Namespace::of(1, uts) == own);
                   EXPECT(Namespace::of(2, uts) == others);
                   refuse({{SYS_pidfd_open, ENOSYS}});
                   EXPECT(Namespace::of(1, uts) == own);
                   EXPECT(fails_with(ENOENT, "open", [] { (void)Namespace::of(2, uts); },
                                     {"/proc/2/ns/uts", "this /proc is another pid namespace's"}));
                   return unmet == 0;
                 }) == 0);
        }) == 0);
}

TEST_CASE("without clone3 a user namespace is made by clone, and without both it is the kernel's refusal") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  for (int const error : {ENOSYS, EPERM})
    CHECK(expectations([&] {
            refuse({{sys::number::clone3, error}});
            EXPECT(Namespace::create(user).parent() == Namespace::current(user));
            EXPECT(no_child_is_left());
            refuse({{SYS_clone, EPERM}});
            EXPECT(fails_with(EPERM, "clone", [] { (void)Namespace::create(user); }, {"clone user", "seccomp filter"}));
          }) == 0);
}

TEST_CASE("without 64-bit numbers (before Linux 6.18) a namespace is the same by its inode") {
  CHECK(expectations([] {
          Namespace const before = Namespace::current(uts);
          refuse({request(kernel::ns_get_id)});
          EXPECT(Namespace::current(uts).id().id == 0);
          EXPECT(Namespace::current(uts) == before);
          EXPECT(same_namespace(Namespace::current(uts).id(), before.id()));
        }) == 0);
}

TEST_CASE("where the type of an open namespace cannot be told (before Linux 4.11) that is said") {
  CHECK(expectations([] {
          refuse({request(kernel::ns_get_nstype)});
          EXPECT(fails_with(ENOTTY, "open", [] { (void)Namespace::open("/proc/self/ns/uts"); }, {"4.11"}));
        }) == 0);
}

TEST_CASE(
    "in a root directory without /proc a thread still finds its namespaces and makes new ones, if the kernel can") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  FileDescriptor const self = pidfd_of(::getpid());
  bool const has_requests = FileDescriptor::adopt(sys::ioctl(self.get(), kernel::pidfd_get_uts_namespace)).get() >= 0;
  CHECK(privileged_expectations([&] {
          Namespace const before = Namespace::current(uts);
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          if (has_requests) {
            EXPECT(Namespace::current(uts) == before);
            EXPECT(Namespace::of(::getpid(), uts) == before);
            EXPECT(Namespace::create(uts) != before);
            EXPECT(Namespace::for_children(pid) == Namespace::current(pid));
          }
          EXPECT(fails_with(EPERM, "clone", [] { (void)Namespace::create(user); }, {"chroot", "pivot_root"}));
          refuse({namespace_requests()});
          EXPECT(fails_with(ENOENT, "open", [] { (void)Namespace::current(uts); },
                            {"/proc/thread-self/ns/uts", "not mounted"}));
          EXPECT(fails_with(ENOENT, "open", [] { (void)Namespace::of(::getpid(), uts); }, {"not mounted"}));
        }) == 0);
}

// --- names

namespace {

// Lines with that text in the mount table of a process or of this thread.
int mounts_with(std::string const& text, std::string const& process = "thread-self") {
  std::istringstream lines(read_file("/proc/" + process + "/mountinfo"));
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += contains(line, text) ? 1 : 0;
  return count;
}

bool exists(std::string const& path) {
  struct ::stat file {};
  return ::lstat(path.c_str(), &file) == 0;
}

// Makes the directory a mount of its own that mnt namespaces made from now on share.
bool share(std::string const& path) {
  return ::mount("none", path.c_str(), "tmpfs", 0, nullptr) == 0 &&
         ::mount(nullptr, path.c_str(), nullptr, MS_SHARED, nullptr) == 0;
}

// A new one, for mnt one that the kernel takes for younger than the caller's: Linux 6.18 goes by numbers that each
// processor gives out by itself.
Namespace make_to_pin(NamespaceType type) {
  Namespace made = Namespace::create(type);
  if (type != mnt) return made;
  std::uint64_t const own = Namespace::current(mnt).id().id;
  cpu_set_t before;
  ::sched_getaffinity(0, sizeof before, &before);
  for (unsigned cpu = 0; cpu < CPU_SETSIZE && own != 0 && made.id().id < own; ++cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (::sched_setaffinity(0, sizeof one, &one) == 0) made = Namespace::create(mnt);
  }
  ::sched_setaffinity(0, sizeof before, &before);
  return made;
}

}  // namespace

TEST_CASE("a pinned namespace lives under its name without a handle, until it is unpinned") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  std::vector<NamespaceType> const all = types();
  CHECK(privileged_expectations([&] {
          EXPECT(::chdir(directory.path().c_str()) == 0);
          Unchanged const unchanged;
          for (std::string const& path : {directory / "a name", std::string("relative")})
            for (NamespaceType const type : all) {
              about = path + ", " + to_string(type);
              std::optional<Namespace> made = type == pid ? Namespace::current(pid) : make_to_pin(type);
              cloister::NamespaceId const id = made->id();
              made->pin(path);
              made.reset();
              EXPECT(same_namespace(Namespace::open(path).id(), id));
              Namespace::unpin(path);
              EXPECT(!exists(path));
              EXPECT(unchanged.changes() == "");
            }
        }) == 0);
}

TEST_CASE("a name that is taken, a directory that is missing and a path that can be none are refused by pin") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          Unchanged const unchanged;
          Namespace place = Namespace::create(uts);
          EXPECT(write_file(directory / "taken", "text"));
          EXPECT(::symlink("nowhere", (directory / "link").c_str()) == 0);
          for (char const* name : {"taken", "link"})
            EXPECT(fails_with(EEXIST, "create", [&] { place.pin(directory / name); }, {name}));
          EXPECT(fails_with(ENOENT, "open", [&] { place.pin(directory / "none/x"); }, {"none/"}));
          EXPECT(fails_with(ENOENT, "create", [&] { place.pin(directory / ""); }));
          EXPECT(throws<std::invalid_argument>([&] { place.pin(""); }, {"Namespace::pin", "is empty"}));
          EXPECT(throws<std::invalid_argument>([] { Namespace::unpin(std::string("a\0b", 3)); },
                                               {"Namespace::unpin", "NUL"}));
          EXPECT(read_file(directory / "taken") == "text");
          Namespace const taken = std::move(place);
          EXPECT(throws<std::logic_error>([&] { place.pin(directory / "x"); }, {"this Namespace is empty"}));
          EXPECT(!exists(directory / "x"));
        }) == 0);
}

TEST_CASE("where a namespace cannot be mounted no file is left, and the reason is told") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  REQUIRE(::chmod(directory.path().c_str(), 0777) == 0);
  std::string const path = directory / "x";
  CHECK(privileged_expectations([&] {
          Namespace const place = Namespace::create(mnt);
          // It would hold what it is held by.
          EXPECT(fails_with(ELOOP, "mount", [&] { Namespace::current(mnt).pin(path); }, {path, "an older one"}));
          EXPECT(!exists(path));
          refuse({{sys::number::mount_setattr, ENOSYS}});
          EXPECT(fails_with(ENOSYS, "mount", [&] { place.pin(path); }, {"5.12"}));
          EXPECT(!exists(path));
          Namespace::create(uts).pin(path);
          Namespace::unpin(path);
          refuse({{sys::number::open_tree, ENOSYS}});
          EXPECT(fails_with(ENOSYS, "open_tree", [&] { Namespace::current(uts).pin(path); }, {"5.2"}));
          EXPECT(!exists(path));
          EXPECT(mounts_with(directory.path()) == 0);
        }) == 0);
  CHECK(unprivileged_expectations([&] {
          EXPECT(fails_with(EPERM, "open_tree", [&] { Namespace::current(uts).pin(path); }, {path, "CAP_SYS_ADMIN"}));
          EXPECT(!exists(path));
        }) == 0);
}

TEST_CASE("where there is no /proc a namespace is pinned, but an mnt namespace is not, and nothing is unpinned") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          Namespace const place = Namespace::create(uts), files = Namespace::create(mnt);
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          place.pin("/x");
          EXPECT(Namespace::open("/x") == place);
          EXPECT(fails_with(ENOENT, "unmount", [] { Namespace::unpin("/x"); }, {"/proc is not mounted"}));
          EXPECT(Namespace::open("/x") == place);
          EXPECT(fails_with(ENOENT, "mount", [&] { files.pin("/y"); }, {"/proc is not mounted"}));
          EXPECT(!exists("/y"));
        }) == 0);
}

TEST_CASE("what is no pinned namespace is not unpinned, and nothing is unmounted") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          Namespace const place = Namespace::create(uts);
          std::string const pinned = directory / "pinned", link = directory / "link", file = directory / "file",
                            mounted = directory / "mounted";
          place.pin(pinned);
          EXPECT(::symlink("pinned", link.c_str()) == 0 && write_file(file, "") && ::mkdir(mounted.c_str(), 0700) == 0);
          EXPECT(::mount("none", mounted.c_str(), "tmpfs", 0, nullptr) == 0);
          {
            Unchanged const unchanged;
            for (std::string const& path : {link, file, mounted, directory.path(), std::string("/proc/self/ns/uts"),
                                            "/proc/self/fd/" + std::to_string(place.fd())})
              EXPECT(fails_with(EINVAL, "unpin", [&] { Namespace::unpin(path); }, {path, "no namespace is mounted"}));
            EXPECT(fails_with(ENOENT, "open", [] { Namespace::unpin("/"); }));
            EXPECT(fails_with(ENOENT, "open", [&] { Namespace::unpin(directory / "none"); }));
            EXPECT(unchanged.changes() == "");
          }
          EXPECT(exists(link) && exists(file) && Namespace::open(pinned) == place);
          EXPECT(in_fork([&] {
                   unmet = 0;
                   EXPECT(drop_capabilities());
                   EXPECT(fails_with(EPERM, "unmount", [&] { Namespace::unpin(pinned); }, {pinned, "CAP_SYS_ADMIN"}));
                   return unmet == 0;
                 }) == 0);
          EXPECT(Namespace::open(pinned) == place);
          Namespace::unpin(pinned);
          EXPECT(!exists(pinned));
        }) == 0);
}

TEST_CASE("a namespace that another tool has mounted on a file of its own is unpinned, and the file stays") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  std::string const path = directory / "file";
  CHECK(privileged_expectations([&] {
          EXPECT(write_file(path, "text"));
          EXPECT(::mount("/proc/self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) == 0);
          Namespace::unpin(path);
          EXPECT(read_file(path) == "text");
          EXPECT(write_file(path, ""));
          for (int i = 0; i < 2; ++i)
            EXPECT(::mount("/proc/self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) == 0);
          EXPECT(fails_with(EBUSY, "unlink", [&] { Namespace::unpin(path); }));  // the second is not ours to take
          Namespace::unpin(path);
          EXPECT(!exists(path));
        }) == 0);
}

TEST_CASE("unpinning takes a namespace out of every mnt namespace that shows it, whether it shares mounts or not") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(share(directory.path()));
          Sleeper const sharing(CLONE_NEWNS);
          EXPECT(sharing.stands());
          std::string const neighbour = std::to_string(sharing.pid());
          for (NamespaceType const type : {uts, mnt}) {
            about = to_string(type);
            std::string const path = directory / to_string(type);
            make_to_pin(type).pin(path);
            Sleeper const copy(CLONE_NEWNS);
            std::string const copied = std::to_string(copy.pid());
            std::thread([&] {  // which stops sharing
              Namespace const theirs = Namespace::of(copy.pid(), mnt);
              EXPECT(::unshare(CLONE_FS) == 0 && ::setns(theirs.fd(), CLONE_NEWNS) == 0);
              EXPECT(::mount("none", directory.path().c_str(), nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
            })
                .join();
            // An mnt namespace could be held by what it holds, so the kernel shows it nowhere else.
            EXPECT(mounts_with(" nsfs ", neighbour) == (type == mnt ? 0 : 1));
            EXPECT(mounts_with(" nsfs ", copied) == (type == mnt ? 0 : 1));
            EXPECT(Namespace::open(path).type() == type);
            Namespace::unpin(path);
            for (std::string const& process : {neighbour, copied, std::string("thread-self")})
              EXPECT(mounts_with(path, process) == 0);
            EXPECT(!exists(path));
          }
        }) == 0);
}
