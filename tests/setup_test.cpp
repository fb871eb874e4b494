// What a callable finds itself in: a process that can be used as any other, whichever way it was started.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <random>

#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace cloister::flags;
using namespace test;
using cloister::CloneFlags, cloister::Command, cloister::IdMap, cloister::Isolation, cloister::run;

namespace {

// Runs `body` as a callable of each kind, from either thread; it returns what is wrong, or nothing.
template <class Body>
void for_each_callable(Body const& body) {
  for (Where const where : everywhere)
    for (Kind const& kind : callables()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      std::string const wrong =
          on(where, [&] { return run(kind.isolation(), [&] { return std::string(body(kind)); }); });
      CHECK(wrong == "");
    }
}

}  // namespace

TEST_CASE("a callable has the pid and the thread id of its new process, and the C library knows them") {
  for_each_callable([host = ::getpid()](Kind const& kind) {
    pid_t const expected = kind.reaper() ? 2 : 1;
    if (kind.new_pid() ? ::getpid() != expected : ::getpid() == host) return "getpid";
    if (::gettid() != ::getpid()) return "gettid";
    if (::syscall(SYS_getpid) != ::getpid()) return "getpid is remembered";
    // What the C library writes into a mutex is its own idea of the thread's id.
    pthread_mutex_t mutex;
    pthread_mutexattr_t errorcheck;
    ::pthread_mutexattr_init(&errorcheck);
    ::pthread_mutexattr_settype(&errorcheck, PTHREAD_MUTEX_ERRORCHECK);
    ::pthread_mutex_init(&mutex, &errorcheck);
    if (::pthread_mutex_lock(&mutex) != 0) return "lock";
#if defined(__GLIBC__)
    if (mutex.__data.__owner != ::gettid()) return "the owner of a mutex";
#endif
    if (::pthread_mutex_lock(&mutex) != EDEADLK) return "a second lock";
    int by_other = 0;
    std::thread([&] { by_other = ::pthread_mutex_unlock(&mutex); }).join();
    if (by_other != EPERM) return "an unlock by another thread";
    return ::pthread_mutex_unlock(&mutex) == 0 ? "" : "unlock";
  });
}

TEST_CASE("a mutex that the host's thread holds is not the callable's to unlock twice") {
  // The thread's own mutex stays its own in the copy, as after fork(): with an id that the C library has not noticed it
  // would not.
  static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  for (Where const where : everywhere)
    for (Kind const& kind : callables()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      bool const usable = on(where, [&] {
        return run(kind.isolation(), [] {
          return ::pthread_mutex_lock(&mutex) == 0 && ::pthread_mutex_lock(&mutex) == 0 &&
                 ::pthread_mutex_unlock(&mutex) == 0 && ::pthread_mutex_unlock(&mutex) == 0 &&
                 ::pthread_mutex_trylock(&mutex) == 0;
        });
      });
      CHECK(usable);
    }
}

TEST_CASE("a robust mutex tells that its owner died, be it a thread of the callable or the callable itself") {
  struct Shared {
    pthread_mutex_t by_thread, by_child;
  };
  void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const shared = static_cast<Shared*>(memory);
  pthread_mutexattr_t robust;
  ::pthread_mutexattr_init(&robust);
  ::pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
  for (Where const where : everywhere)
    for (Kind const& kind : callables()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      ::pthread_mutex_init(&shared->by_thread, &robust);
      ::pthread_mutex_init(&shared->by_child, &robust);
      int const in_child = on(where, [&] {
        return run(kind.isolation(), [&] {
          std::thread([&] { ::pthread_mutex_lock(&shared->by_thread); }).join();
          int const result = ::pthread_mutex_lock(&shared->by_thread);
          ::pthread_mutex_lock(&shared->by_child);  // and dies with it
          return result;
        });
      });
      CHECK(in_child == EOWNERDEAD);
      timespec deadline{};
      ::clock_gettime(CLOCK_REALTIME, &deadline);
      deadline.tv_sec += 10;
      CHECK(::pthread_mutex_timedlock(&shared->by_child, &deadline) == EOWNERDEAD);
    }
  ::munmap(memory, sizeof(Shared));
}

// --- Handlers of fork

namespace {

std::array<std::atomic<int>, 3> fork_handlers{};  // how often prepare, parent and child have run in this process

}  // namespace

TEST_CASE("the handlers of pthread_atfork run as they do after fork()") {
  int const status = expectations([] {
    ::pthread_atfork([] { ++fork_handlers[0]; }, [] { ++fork_handlers[1]; }, [] { ++fork_handlers[2]; });
    for_each_kind_everywhere(callables(), [](Kind const& kind, Where where) {
      for (auto& count : fork_handlers) count = 0;
      std::array<int, 3> const seen = on(where, [&] {
        return run(kind.isolation(), [] {
          return std::array<int, 3>{fork_handlers[0], fork_handlers[1], fork_handlers[2]};
        });
      });
      EXPECT(seen == std::array<int, 3>{1, 0, 1});
      EXPECT(fork_handlers[0] == 1);
      EXPECT(fork_handlers[1] == 1);
      EXPECT(fork_handlers[2] == 0);
    });
    // A program is no copy of the host: there is nothing to repair.
    for (Kind const& kind : programs()) {
      if (kind.reaper()) continue;
      about = kind.name;
      for (auto& count : fork_handlers) count = 0;
      EXPECT(answer(kind) == 42);
      EXPECT(fork_handlers[0] == 0);
    }
  });
  CHECK(status == 0);
}

// --- Threads, errno, random numbers

TEST_CASE("a callable has an errno for each thread, and starts threads of its own") {
  for_each_callable([](Kind const&) {
    errno = EDOM;
    int elsewhere = 1;
    std::vector<std::thread> threads;
    std::atomic<int> sum{0};
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        errno = i;
        std::this_thread::yield();
        sum += errno;
      });
    for (std::thread& thread : threads) thread.join();
    std::thread([&] { elsewhere = errno; }).join();
    return errno == EDOM && elsewhere == 0 && sum == 6 ? "" : "errno";
  });
}

TEST_CASE("a callable signals its own threads") {
  for_each_callable([](Kind const&) {
    static std::atomic<int> caught;
    caught = 0;
    ::signal(SIGUSR1, [](int) { caught = ::gettid(); });
    if (::pthread_kill(::pthread_self(), SIGUSR1) != 0 || caught != ::gettid()) return "pthread_kill of itself";
    if (::raise(SIGUSR1) != 0) return "raise";
    std::atomic<int> other{0};
    std::atomic<bool> stop{false};
    std::thread thread([&] {
      other = ::gettid();
      while (!stop) std::this_thread::yield();
    });
    while (other == 0) std::this_thread::yield();
    ::pthread_kill(thread.native_handle(), SIGUSR1);
    bool const arrived = wait_until([&] { return caught == other; });
    stop = true;
    thread.join();
    return arrived ? "" : "pthread_kill of another";
  });
}

TEST_CASE("a callable with threads may change its ids, and cancel a thread, also if the host has") {
  // The C library sends its threads signals for that, whose handlers it installs once.
  auto const cancel_a_thread = [] {
    pthread_t thread;
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          for (;;) ::pause();
        },
        nullptr);
    ::usleep(5000);
    ::pthread_cancel(thread);
    void* end = nullptr;
    ::pthread_join(thread, &end);
    return end == PTHREAD_CANCELED;
  };
  auto const change_ids = [] {
    std::atomic<bool> stop{false};
    std::thread thread([&] {
      while (!stop) std::this_thread::yield();
    });
    bool const changed = ::setuid(::getuid()) == 0 && ::setgid(::getgid()) == 0;
    stop = true;
    thread.join();
    return changed;
  };
  CHECK(cancel_a_thread());
  CHECK(change_ids());
  for_each_callable([&](Kind const&) { return !cancel_a_thread() ? "cancellation" : !change_ids() ? "setuid" : ""; });
}

TEST_CASE("random numbers of children differ") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    auto const numbers = [] {
      std::vector<std::uint32_t> some{std::random_device{}()};
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 36)
      some.push_back(::arc4random());
#endif
      return some;
    };
    auto const one = run(kind.isolation(), numbers), another = run(kind.isolation(), numbers), own = numbers();
    CHECK(one != another);
    for (std::size_t i = 0; i < own.size(); ++i) CHECK_FALSE((one[i] == another[i] && one[i] == own[i]));
    // What is no secret goes on as in any copy.
    std::srand(7);
    int const expected = std::rand();
    std::srand(7);
    CHECK(run(kind.isolation(), [] { return std::rand(); }) == expected);
  }
}

// --- Attributes that the way to the callable must not leave behind

TEST_CASE("the way to a callable leaves nothing on it") {
  for_each_callable([](Kind const& kind) {
    if (::prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0) != 0) return "capabilities would be kept by a change of ids";
    if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) return "no_new_privs";
    int subreaper = 0;
    ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    if (subreaper != 0) return "subreaper";
    sigset_t pending;
    ::sigpending(&pending);
    for (int signal = 1; signal <= 64; ++signal)
      if (::sigismember(&pending, signal) == 1) return "a pending signal";
    if (::getppid() != 0 && kind.new_pid() && !kind.reaper()) return "getppid";
    if (kind.reaper() && ::getppid() != 1) return "getppid under a reaper";
    if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return "a child of its own";
    return "";
  });
}

TEST_CASE("a callable that was started by root under other ids keeps root's memory from others of these ids") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, whose callables change their ids");
  for (Kind const& kind : callables()) {
    if (!kind.ids) continue;
    CAPTURE(kind.name);
    CHECK(run(kind.isolation(), [] { return ::prctl(PR_GET_DUMPABLE); }) == 0);
  }
}

TEST_CASE("clocks can be set in a world whose ids are others") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no time namespace to be had");
  for (Where const where : everywhere)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation isolation = kind.isolation();
      if (!is_root()) isolation.unshare |= user;
      isolation.unshare |= cloister::flags::time;
      isolation.clock.boottime = 1'000'000s;
      auto const uptime = [&]() -> long {
        if (kind.program) return std::stol(run(isolation, Command{"cat", "/proc/uptime"}).out);
        return run(isolation, [] {
          timespec now{};
          ::clock_gettime(CLOCK_BOOTTIME, &now);
          return static_cast<long>(now.tv_sec);
        });
      };
      CHECK(on(where, uptime) >= 1'000'000);
    }
}

// --- Children of children

TEST_CASE("a callable starts children of every kind that its world allows") {
  SKIP_UNLESS(user_namespaces(), "no user namespace to be had");
  for (Kind const& outer : callables())
    for (IdMap const& ids : {IdMap::self(), IdMap::root()}) {
      CAPTURE(outer.name);
      Isolation isolation = outer.isolation();
      isolation.unshare |= user;
      isolation.ids = ids;
      std::string const wrong = run(isolation, [&] {
        std::string text;
        for (CloneFlags const& flags :
             {CloneFlags{}, CloneFlags{uts}, CloneFlags{user}, user | pid, user | pid | cloister::flags::time}) {
          Isolation inner;
          inner.unshare = flags;
          for (Where const where : everywhere) try {
              if (on(where, [&] { return run(inner, [] { return 42; }); }) != 42)
                text += to_string(flags) + ": wrong result\n";
              if (on(where, [&] { return run(inner, Command{"sh", "-c", "exit 42"}); }).status.code() != 42)
                text += to_string(flags) + ": wrong status\n";
            } catch (std::exception const& error) {
              text += to_string(flags) + ": " + error.what() + "\n";
            }
        }
        return text;
      });
      CHECK(wrong == "");
    }
}

// --- Hosts of a special kind

TEST_CASE("a host that is PID 1, without a /proc of its own, starts children") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  int const status = expectations([] {
    std::vector<Kind> const all = kinds();
    int const flags = CLONE_NEWPID | (is_root() ? 0 : CLONE_NEWUSER) | SIGCHLD;
    auto const pid = static_cast<pid_t>(::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
    if (pid == 0) {
      ::alarm(60);
      for_each_kind_everywhere(all, [](Kind const& kind, Where where) {
        if (kind.flags.contains(user) && !is_root()) return;  // its own ids are not mapped
        EXPECT(on(where, [&] { return answer(kind); }) == 42);
      });
      ::_exit(::getpid() == 1 && unmet == 0 ? 0 : 1);
    }
    int code = -1;
    EXPECT(pid > 0);
    EXPECT(::waitpid(pid, &code, 0) == pid);
    EXPECT(code == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("large results arrive where the machine forbids executable memory files") {
  SKIP_UNLESS(is_root(), "needs root, to set vm.memfd_noexec in a pid namespace");
  SKIP_UNLESS(::access("/proc/sys/vm/memfd_noexec", F_OK) == 0, "needs Linux 6.3");
  int const status = expectations([] {
    int const flags = CLONE_NEWPID | CLONE_NEWNS | SIGCHLD;
    auto const pid = static_cast<pid_t>(::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
    if (pid == 0) {
      ::alarm(30);
      int const sysctl = ::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC);
      if (::write(sysctl, "2", 1) != 1) ::_exit(2);
      for (Kind const& kind : callables())
        EXPECT(run(kind.isolation(), [] { return std::string(100'000, 'x'); }).size() == 100'000);
      ::_exit(unmet == 0 ? 0 : 1);
    }
    int code = -1;
    EXPECT(pid > 0);
    EXPECT(::waitpid(pid, &code, 0) == pid);
    EXPECT(code == 0);
  });
  CHECK(status == 0);
}
