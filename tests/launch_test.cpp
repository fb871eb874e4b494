// Every way to start a child leaves its host as it was, whether the start succeeds or fails, and a start that fails
// says why.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <set>
#include <string>

#include "caught.hpp"
#include "kinds.hpp"
#include "refusal.hpp"

using namespace std::chrono_literals;
using namespace cloister::flags;
using namespace test;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::Descriptors, cloister::Error,
    cloister::ExitStatus, cloister::IdMap, cloister::Isolation;

namespace {

bool write_text(std::string const& path, std::string const& text) {
  int const fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool const written = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return written;
}

// What a start that should fail failed with: "clone3: ENOSPC" as "step: number", or what else happened.
template <class Start>
std::string failure_of(Start&& start) {
  try {
    start();
  } catch (Error const& error) {
    return std::string(error.step()) + ": " + std::to_string(error.code().value());
  } catch (std::exception const& error) {
    return std::string("no Error: ") + error.what();
  }
  return "nothing";
}
std::string failed(std::string const& step, int error) { return step + ": " + std::to_string(error); }

// The call that a kind's namespaces come by.
std::string creating_step(Kind const& kind) { return kind.program || kind.new_pid() ? "clone3" : "unshare"; }

void leave_root() {
  if (!is_root()) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(64999, 64999, 64999) != 0 || ::setresuid(64999, 64999, 64999) != 0)
    throw std::system_error(errno, std::system_category(), "setresuid");
  ::prctl(PR_SET_DUMPABLE, 1);  // or its /proc would belong to root
}

// Expects the failure from each place, and the host to be as before.
template <class Start>
void expect_failure(Kind const& kind, std::string const& expected, Start const& start) {
  for (Where const where : everywhere) {
    about = kind.name + name_of(where);
    Unchanged unchanged;
    std::string const got = on(where, [&] { return failure_of(start); });
    if (!EXPECT(got == expected)) ::dprintf(complaints, "    it is %s\n", got.c_str());
    std::string const changes = unchanged.changes();
    if (!EXPECT(changes == "")) ::dprintf(complaints, "%s", changes.c_str());
  }
}

void start(Kind const& kind, Isolation const& isolation) {
  if (kind.program)
    (void)ChildProcess{isolation, Command{"true"}};
  else
    (void)ChildProcess{isolation, [] {}};
}

}  // namespace

TEST_CASE("a start, a result and an end leave the host as it was") {
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      on(where, [&] { return answer(kind); });  // what the first start of a thread allocates, it keeps
      Unchanged const unchanged;
      errno = EXDEV;
      int const result = where == Where::main_thread ? answer(kind) : on(where, [&] { return answer(kind); });
      CHECK(errno == EXDEV);
      CHECK(result == 42);
      Child child = on(where, [&] { return start_waiting(kind); });
      child.kill(SIGKILL);
      CHECK(child.wait() == ExitStatus::signaled(SIGKILL));
    }
}

TEST_CASE("a handle that goes leaves nothing of its child") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    {
      Child const from_here = start_waiting(kind);
      Child const from_there = on(Where::other_thread, [&] { return start_waiting(kind); });
    }
  }
}

TEST_CASE("what succeeds leaves errno alone, and so does the end of a handle, whatever it has to clean up") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    errno = EXDEV;
    {
      Child child = start_waiting(kind);
      CHECK(errno == EXDEV);
      (void)child.try_wait();
      (void)child.wait_for(1ms);
      child.kill(SIGCONT);
      CHECK(errno == EXDEV);
      Child other = start_exiting(kind, 7);
      CHECK(errno == EXDEV);
      other = std::move(child);  // kills the one
      CHECK(errno == EXDEV);
      (void)other.stop(1ms);
      CHECK(errno == EXDEV);
      other = start_exiting(kind, 7);
      (void)other.wait();
      CHECK(errno == EXDEV);
      other = start_waiting(kind);
    }  // kills the other
    CHECK(errno == EXDEV);
    // With descriptors, output and a large result to take care of.
    Isolation bare = kind.isolation();
    bare.descriptors = Descriptors::none();
    if (kind.program)
      (void)cloister::run(bare, Command{"sh", "-c", "cat; echo x >&2"}, {.input = std::string(100'000, 'x')});
    else
      (void)cloister::run(bare, [] { return std::string(100'000, 'x'); });
    CHECK(errno == EXDEV);
  }
}

TEST_CASE("many children at once leave nothing") {
  Unchanged const unchanged;
  std::vector<Child> children;
  for (int round = 0; round < 3; ++round)
    for (Kind const& kind : kinds()) children.push_back(start_waiting(kind));
  children.clear();
}

TEST_CASE("threads that start programs under other ids do not take the host's dumpable attribute") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, whose programs change their ids");
  int const status = expectations([] {
    std::vector<std::thread> starters;
    for (int i = 0; i < 4; ++i)
      starters.emplace_back([&] {
        for (Kind const& kind : programs())
          for (int round = 0; round < 15; ++round)
            if (kind.ids) start(kind, kind.isolation());
      });
    for (std::thread& starter : starters) starter.join();
    EXPECT(::prctl(PR_GET_DUMPABLE) == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("a host that is not dumpable stays so") {
  int const status = expectations([] {
    ::prctl(PR_SET_DUMPABLE, 0);
    for (Kind const& kind : kinds())
      if (is_root() || !kind.flags.contains(user)) {  // one's own maps cannot be written then
        about = kind.name;
        EXPECT(answer(kind) == 42);
      }
    EXPECT(::prctl(PR_GET_DUMPABLE) == 0);
  });
  CHECK(status == 0);
}

// --- What fails

TEST_CASE("a program that is not there, or is none, is an Error of execve and leaves nothing") {
  TemporaryDirectory const directory;
  std::string const text = directory / "text";
  ::close(::open(text.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  std::string const empty_executable = directory / "empty";
  ::close(::open(empty_executable.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
  ::chmod(directory.path().c_str(), 0755);
  int const status = expectations([&] {
    for (Kind const& kind : programs()) {
      auto const starting = [&](Command const& command) {
        return [&kind, command] { (void)ChildProcess{kind.isolation(), command}; };
      };
      expect_failure(kind, failed("execve", ENOENT), starting(Command{"no-such-program"}.env("PATH", "/usr/bin:/bin")));
      expect_failure(kind, failed("execve", ENOENT), starting({"/no/such/program"}));
      expect_failure(kind, failed("execve", EACCES), starting({text}));
      expect_failure(kind, failed("execve", ENOEXEC), starting({empty_executable}));
      expect_failure(kind, failed("execve", EACCES), starting({directory.path()}));
      expect_failure(kind, failed("chdir", ENOENT), starting(Command{"true"}.cwd("/no/such/directory")));
      expect_failure(kind, failed("execve", E2BIG), starting({"true", std::string(200'000, 'x')}));
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a step that the kernel refuses to the child leaves nothing") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no time namespace to be had");
  int const status = expectations([] {
    for (Kind const& kind : kinds()) {
      Isolation isolation = kind.isolation();
      isolation.unshare |= cloister::flags::time | (is_root() ? cloister::CloneFlags{} : user);
      isolation.clock.monotonic = std::chrono::hours(-24 * 365 * 200);
      expect_failure(kind, failed("write timens_offsets", ERANGE), [&] { start(kind, isolation); });
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a namespace that an unprivileged caller may not have is an Error that names the call") {
  int const status = expectations([] {
    leave_root();
    for (Kind const& kind : kinds()) {
      if (kind.flags.contains(user)) continue;
      Isolation isolation = kind.isolation();
      isolation.unshare |= uts;
      expect_failure(kind, failed(creating_step(kind), EPERM), [&] { start(kind, isolation); });
    }
  });
  CHECK(status == 0);
}

TEST_CASE("an id map that an unprivileged caller may not have is an Error of the map") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  int const status = expectations([] {
    leave_root();
    for (Kind const& kind : kinds()) {
      Isolation isolation = kind.isolation();
      isolation.unshare |= user;
      std::uint32_t const uid = ::geteuid(), gid = ::getegid();
      isolation.ids = IdMap::ranges({{0, 0}}, {{0, gid}});
      expect_failure(kind, failed("write uid_map", EPERM), [&] { start(kind, isolation); });
      isolation.ids = IdMap::ranges({{0, uid}}, {{0, 0}});
      expect_failure(kind, failed("write gid_map", EPERM), [&] { start(kind, isolation); });
      isolation.ids = IdMap::ranges({{0, uid, 2}}, {{0, gid}});
      expect_failure(kind, failed("write uid_map", EPERM), [&] { start(kind, isolation); });
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a limit on namespaces is an Error that names the call") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  int const status = expectations([] {
    leave_root();
    std::string const uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
    if (::unshare(CLONE_NEWUSER) != 0) throw std::system_error(errno, std::system_category(), "unshare");
    EXPECT(write_text("/proc/self/setgroups", "deny"));
    EXPECT(write_text("/proc/self/uid_map", "0 " + uid + " 1"));
    EXPECT(write_text("/proc/self/gid_map", "0 " + gid + " 1"));
    EXPECT(write_text("/proc/sys/user/max_uts_namespaces", "0"));
    EXPECT(write_text("/proc/sys/user/max_user_namespaces", "0"));
    for (Kind const& kind : kinds()) {
      if (kind.flags.contains(user)) continue;
      Isolation isolation = kind.isolation();
      isolation.unshare |= uts;
      expect_failure(kind, failed(creating_step(kind), ENOSPC), [&] { start(kind, isolation); });
      isolation = kind.isolation();
      isolation.unshare |= user;
      expect_failure(kind, failed(creating_step(kind), ENOSPC), [&] { start(kind, isolation); });
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a description that contradicts itself is refused before anything is started") {
  Unchanged const unchanged;
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Isolation isolation = kind.isolation();
    isolation.hostname = "name";  // without a namespace of its own for it
    CHECK_THROWS_AS(start(kind, isolation), std::invalid_argument);
  }
}

// --- Nothing left

namespace {

// Leaves this process with `count` free descriptors, all high ones taken.
class FewDescriptors {
 public:
  explicit FewDescriptors(int count) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = 64;
    ::setrlimit(RLIMIT_NOFILE, &few);
    for (int fd; (fd = ::fcntl(2, F_DUPFD_CLOEXEC, 3)) >= 0;) taken_.push_back(fd);
    for (int i = 0; i < count && !taken_.empty(); ++i) {
      ::close(taken_.back());
      taken_.pop_back();
    }
  }
  FewDescriptors(FewDescriptors const&) = delete;
  ~FewDescriptors() {
    for (int const fd : taken_) ::close(fd);
    ::setrlimit(RLIMIT_NOFILE, &before_);
  }

 private:
  rlimit before_{};
  std::vector<int> taken_;
};

}  // namespace

TEST_CASE("without free descriptors a start fails with EMFILE, and with few it fails or works, but leaves nothing") {
  int const status = expectations([] {
    for (Kind const& kind : kinds())
      for (Where const where : everywhere) {
        about = kind.name + name_of(where);
        int fewest = -1;
        for (int count = 0; count <= 16; ++count) {
          Unchanged unchanged;
          std::string result;
          bool works = false;
          {
            FewDescriptors const few{count};
            result = on(where, [&] { return failure_of([&] { works = answer(kind) == 42; }); });
          }
          if (works && fewest < 0) fewest = count;
          // It works, and goes on working with more; or it says what is missing.
          bool const clear = works || (fewest < 0 && result.ends_with(": " + std::to_string(EMFILE)));
          if (!EXPECT(clear)) ::dprintf(complaints, "    with %d free descriptors: %s\n", count, result.c_str());
          std::string const changes = unchanged.changes();
          if (!EXPECT(changes == "")) ::dprintf(complaints, "    with %d free descriptors: %s", count, changes.c_str());
        }
        EXPECT(fewest >= 1);
        EXPECT(fewest <= 12);
      }
  });
  CHECK(status == 0);
}

TEST_CASE("without processes left a start fails with EAGAIN and leaves nothing") {
  int const status = expectations([] {
    leave_root();
    for (Kind const& kind : kinds()) {
      if (!is_root() && kind.new_pid() && !kind.flags.contains(user)) continue;
      for (Where const where : everywhere) {
        about = kind.name + name_of(where);
        Isolation isolation = kind.isolation();
        isolation.ids.reset();
        Unchanged unchanged;
        std::string const result = on(where, [&] {  // the thread is there before the limit
          rlimit before{};
          ::getrlimit(RLIMIT_NPROC, &before);
          rlimit none = before;
          none.rlim_cur = 0;
          ::setrlimit(RLIMIT_NPROC, &none);
          std::string const got = failure_of([&] { start(kind, isolation); });
          ::setrlimit(RLIMIT_NPROC, &before);
          return got;
        });
        if (!EXPECT(result.ends_with(": " + std::to_string(EAGAIN))))
          ::dprintf(complaints, "    it is %s\n", result.c_str());
        EXPECT(unchanged.changes() == "");
      }
    }
  });
  CHECK(status == 0);
}

TEST_CASE("the last descriptor that the limit allows can be kept") {
  int const status = expectations([] {
    rlimit few{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &few);
    int const null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (Kind const& kind : programs()) {
      about = kind.name;
      // Where it cannot be done it must be an Error, never a status of the program.
      Child child = ChildProcess{kind.isolation(), Command{"sh", "-c", "exit 3"}.keep_fd(null, 63)};
      EXPECT(child.wait() == ExitStatus::exited(3));
    }
    ::dup2(null, 63);
    for (Kind const& kind : callables()) {
      about = kind.name;
      Isolation isolation = kind.isolation();
      isolation.descriptors = Descriptors::only({63});
      EXPECT(cloister::run(isolation, [] { return ::fcntl(63, F_GETFD) >= 0 ? 3 : 4; }) == 3);
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a thread with a pending cancellation starts a child and waits for it") {
  int const status = expectations([] {
    for (Kind const& kind : kinds()) {
      about = kind.name;
      Unchanged unchanged;
      struct Task {
        Kind const* kind;
        int result;
      } task{&kind, 0};
      pthread_t thread;
      int const created = ::pthread_create(
          &thread, nullptr,
          [](void* p) -> void* {
            auto& mine = *static_cast<Task*>(p);
            ::pthread_cancel(::pthread_self());  // acts at the next cancellation point
            Child child = start_exiting(*mine.kind, 7);
            mine.result = child.wait().code().value_or(-1);
            ::pthread_testcancel();
            return nullptr;
          },
          &task);
      EXPECT(created == 0);
      void* end = nullptr;
      ::pthread_join(thread, &end);
      EXPECT(task.result == 7);
      EXPECT(end == PTHREAD_CANCELED);
      EXPECT(unchanged.changes() == "");
    }
  });
  CHECK(status == 0);
}

// --- Threads

namespace {

// Each thread from now on, also those that the library starts, loses its variables with its end: they lie on its stack,
// and of so large ones glibc keeps none for the next thread.
bool variables_end_with_their_thread() {
  pthread_attr_t attributes;
  return ::pthread_attr_init(&attributes) == 0 && ::pthread_attr_setstacksize(&attributes, 64 << 20) == 0 &&
         ::pthread_setattr_default_np(&attributes) == 0;
}
void no_core() {
  rlimit const none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
}
int programs_of_another_thread(std::vector<Refusal> const& refusals) {
  std::vector<Kind> const some = programs();
  return expectations([&] {
    no_core();
    EXPECT(variables_end_with_their_thread());
    refuse(refusals);
    for (int round = 0; round < 3; ++round)
      for (Kind const& kind : some) {
        about = kind.name;
        try {
          EXPECT(on(Where::other_thread, [&] { return answer(kind); }) == 42);
        } catch (std::exception const& error) {
          expect(false, error.what(), __FILE__, __LINE__);
        }
      }
  });
}

}  // namespace

TEST_CASE("a program that another thread starts finds its stack protector where no thread has ended") {
#if defined(__SSP_STRONG__) || defined(__SSP_ALL__)
  CHECK(programs_of_another_thread({}) == 0);
#else
  SKIP("needs -fstack-protector-strong");
#endif
}

TEST_CASE("a program that another thread starts finds an errno where no thread has ended") {
  // By the C library's clone, which knows it.
  CHECK(programs_of_another_thread({{cloister::detail::sys::number::clone3, ENOSYS}}) == 0);
}

// --- Killed on the way

TEST_CASE("an init that is killed when it starts the program is the end of the start") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (Where const where : everywhere) {
    CAPTURE(name_of(where));
    int const status = expectations([&] {
      no_core();
      // A start that hangs has every signal blocked: no alarm ends it.
      std::thread([] {
        std::this_thread::sleep_for(20s);
        ::kill(::getpid(), SIGKILL);
      }).detach();
      // By its flags, which begin with CLONE_VM and CLONE_CHILD_CLEARTID and are less than any namespace's.
      constexpr std::uint32_t first = 0x200100, last = 0x3001ff;
      refuse({{cloister::detail::sys::number::clone3, ENOSYS}, {SYS_clone, 0, first, 0, last, true}});
      Unchanged unchanged;
      try {
        (void)on(where, [] { return cloister::run(Isolation::untrusted(), Command{"true"}, {.timeout = 10s}); });
        expect(false, "an exception is thrown", __FILE__, __LINE__);
      } catch (cloister::ChildDied const& died) {
        EXPECT(died.status().signal() == SIGSYS);
      }
      EXPECT(unchanged.changes() == "");
    });
    CHECK(status == 0);
  }
}

TEST_CASE("a program that is killed before it has begun is no program that ran") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (cloister::Init const init : {cloister::Init::none, cloister::Init::reaper})
    for (long const call : {long{SYS_pivot_root}, long{SYS_sethostname}, long{SYS_fchdir}}) {
      CAPTURE(init);
      CAPTURE(call);
      int const status = expectations([&] {
        no_core();
        Isolation isolation = Isolation::untrusted();
        isolation.init = init;
        isolation.hostname = "box";
        refuse({killing(call)});
        for (Where const where : everywhere) {
          about = name_of(where);
          Unchanged unchanged;
          try {
            on(where, [&] { (void)ChildProcess{isolation, Command{"true"}}; });
            expect(false, "an exception is thrown", __FILE__, __LINE__);
          } catch (cloister::ChildDied const& died) {
            EXPECT(died.status().signal() == SIGSYS);
          }
          EXPECT(unchanged.changes() == "");
        }
      });
      CHECK(status == 0);
    }
}

TEST_CASE(
    "a callable that is killed before it is ready has died of that, under a reaper and in a network of its own too") {
  Unchanged const unchanged;
  for (Kind const& kind : callables())
    for (bool const own_network : {false, true}) {
      if (own_network && !is_root() && !kind.flags.contains(user)) continue;
      CAPTURE(kind.name);
      CAPTURE(own_network);
      Isolation isolation = kind.isolation();
      if (own_network) isolation.unshare |= net;
      isolation.privileges.no_new_privs = true;
      isolation.privileges.limits = {{cloister::Resource::core, 0}};
      isolation.privileges.seccomp = cloister::SeccompFilter({
          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 1),  // by which it says that it is
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      });
      for (Where const where : everywhere) {
        CAPTURE(name_of(where));
        auto const died =
            caught<cloister::ChildDied>([&] { on(where, [&] { return cloister::run(isolation, [] { return 1; }); }); });
        CHECK(died.status() == ExitStatus::signaled(SIGSYS));
      }
    }
}

// --- What a copy of the host must not hold

namespace {

// Takes a byte from each descriptor that gives one as a socket, but for those; how many did.
int take_from_sockets(std::set<std::string> const& others) {
  int taken = 0;
  for (std::string const& name : test::detail::names_in("/proc/self/fd")) {
    char byte;
    if (!others.contains(name) && ::recv(std::stoi(name), &byte, 1, MSG_DONTWAIT) > 0) ++taken;
  }
  return taken;
}

}  // namespace

TEST_CASE("no copy of the host can take the result of a callable, in a network of its own too") {
  Unchanged const unchanged;
  std::vector<std::string> const names = test::detail::names_in("/proc/self/fd");
  std::set<std::string> const before(names.begin(), names.end());
  for (Where const where : everywhere)
    for (Kind const& kind : callables())
      for (bool const own_network : {false, true})
        for (bool const plain_fork : {false, true}) {
          if (own_network && !is_root() && !kind.flags.contains(user)) continue;
          CAPTURE(name_of(where));
          CAPTURE(kind.name);
          CAPTURE(own_network);
          CAPTURE(plain_fork);
          Isolation isolation = kind.isolation();
          if (own_network) isolation.unshare |= net;
          auto child = on(where, [&] { return ChildProcess{isolation, [] { return 42; }}; });
          pollfd ended{child.pidfd(), POLLIN, 0};
          REQUIRE(::poll(&ended, 1, 20'000) == 1);  // its result has been sent, and lies there
          auto const take = [&] { return take_from_sockets(before); };
          if (plain_fork)
            CHECK(in_fork(take) == 0);
          else
            CHECK(cloister::run(Isolation{.descriptors = Descriptors::inherit()}, take) == 0);
          CHECK(child.get() == 42);
        }
}
