// Hosts that make life hard: they ignore SIGCHLD, reap what is not theirs, have closed their standard streams, live
// under a rain of signals, have many threads and much memory.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "caught.hpp"
#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace test;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::ExitStatus, cloister::Isolation;

namespace {

// The status of a child that exits with 7 although somebody else has reaped it.
bool is_seven_or_unknown(ExitStatus const& status, bool remembered) {
  return status == ExitStatus::exited(7) || (!remembered && status.is_unknown());
}
// What answer() may be, a program's being its status.
bool is_answer(Kind const& kind, int answer, bool remembered) {
  return answer == 42 || (kind.program && !remembered && answer == -1);
}

void expect_results(bool remembered, int rounds = 1) {
  for_each_kind_everywhere(kinds(), [&](Kind const& kind, Where where) {
    for (int round = 0; round < rounds; ++round) {
      EXPECT(is_answer(kind, on(where, [&] { return answer(kind); }), remembered));
      Child child = on(where, [&] { return start_exiting(kind, 7); });
      EXPECT(is_seven_or_unknown(child.wait(), remembered));
    }
  });
}

}  // namespace

TEST_CASE("a host that ignores SIGCHLD gets results and statuses") {
  bool const remembered = kernel_remembers_status();
  for (bool const by_flag : {false, true}) {
    CAPTURE(by_flag);
    int const status = expectations([&] {
      struct sigaction action {};
      action.sa_handler = by_flag ? SIG_DFL : SIG_IGN;
      action.sa_flags = by_flag ? SA_NOCLDWAIT : 0;
      ::sigaction(SIGCHLD, &action, nullptr);
      Unchanged const unchanged;
      expect_results(remembered, 3);
      EXPECT(unchanged.changes() == "");
    });
    CHECK(status == 0);
  }
}

TEST_CASE("a host that ignores SIGCHLD is told why a start failed") {
  int const status = expectations([] {
    ::signal(SIGCHLD, SIG_IGN);
    if (is_root() && ::setresuid(64999, 64999, 64999) != 0)
      throw std::system_error(errno, std::system_category(), "setresuid");
    for (int round = 0; round < 20; ++round)
      for (Where const where : everywhere) {
        Unchanged const unchanged;
        std::string step;
        int code = 0;
        try {
          on(where, [] { (void)ChildProcess{Isolation{.unshare = cloister::NamespaceType::uts}, [] { return 1; }}; });
        } catch (cloister::Error const& error) {
          step = error.step();
          code = error.code().value();
        }
        EXPECT(step == "unshare");
        EXPECT(code == EPERM);
        EXPECT(unchanged.changes() == "");
      }
  });
  CHECK(status == 0);
}

TEST_CASE("a busy machine does not make the status of a child that the kernel reaped unknown") {
  SKIP_UNLESS(kernel_remembers_status(), "needs Linux 6.15");
  int const status = expectations([] {
    ::signal(SIGCHLD, SIG_IGN);
    for (int i = 0; i < 6; ++i)
      if (::fork() == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::alarm(60);
        for (volatile bool forever = true; forever;) {
        }
      }
    for (int i = 0; i < 100; ++i) EXPECT(start_exiting(callables().front(), 7).wait() == ExitStatus::exited(7));
  });
  CHECK(status == 0);
}

TEST_CASE("another thread of the host that waits for any child takes no result away") {
  bool const remembered = kernel_remembers_status();
  int const status = expectations([&] {
    std::atomic<bool> stop{false};
    std::thread thief([&] {
      while (!stop)
        if (::waitpid(-1, nullptr, 0) < 0) ::sched_yield();
    });
    expect_results(remembered, 10);
    stop = true;
    thief.join();
  });
  CHECK(status == 0);
}

// --- Closed standard streams

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

// One letter for each of 0, 1 and 2: open, null device or closed.
std::string streams() {
  std::string text;
  for (int fd = 0; fd < 3; ++fd)
    text += !is_open(fd)                                                                      ? 'c'
            : test::detail::link_target("/proc/self/fd/" + std::to_string(fd)) == "/dev/null" ? 'n'
                                                                                              : 'o';
  return text;
}

// `expected` is also what the host itself has: nothing of ours may ever take the place of a closed stream.
void expect_closed_streams_of_callable(Kind const& kind, Where where, std::string const& expected) {
  ChildProcess child = on(where, [&] { return ChildProcess{kind.isolation(), streams}; });
  EXPECT(streams() == expected);
  EXPECT(child.pidfd() > 2);
  EXPECT(child.get() == expected);

  Isolation bare = kind.isolation();
  bare.descriptors = cloister::Descriptors::none();
  ChildProcess naked = on(where, [&] { return ChildProcess{bare, streams}; });
  EXPECT(naked.pidfd() > 2);
  EXPECT(naked.get() == "nnn");
}

// A pipe far from the standard streams.
std::pair<int, int> distant_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
  int const reader = ::fcntl(ends[0], F_DUPFD_CLOEXEC, 200);
  int const writer = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 200);
  ::close(ends[0]);
  ::close(ends[1]);
  return {reader, writer};
}

void expect_closed_streams_of_program(Kind const& kind, Where where, std::string const& expected) {
  auto const [reader, writer] = distant_pipe();
  Command const command{"sh", "-c",
                        "for i in 0 1 2; do"
                        "  if [ ! -e /proc/self/fd/$i ]; then printf c >&9;"
                        "  elif [ /proc/self/fd/$i -ef /dev/null ]; then printf n >&9; else printf o >&9; fi; done"};
  ChildProcess child = on(where, [&, out = writer] { return ChildProcess{kind.isolation(), command.keep_fd(out, 9)}; });
  ::close(writer);
  EXPECT(child.pidfd() > 2);
  EXPECT(child.get().success());
  char text[8] = {};
  std::string const seen(text, static_cast<std::size_t>(std::max<ssize_t>(::read(reader, text, sizeof text), 0)));
  ::close(reader);
  EXPECT(seen == expected);

  auto const pipe = cloister::Redirect::pipe();
  ChildProcess cat = on(where, [&] {
    return ChildProcess{kind.isolation(), Command{"cat"}.stdio({.in = pipe, .out = pipe, .err = pipe})};
  });
  EXPECT(cat.in().get() > 2);
  EXPECT(cat.out().get() > 2);
  EXPECT(cat.err().get() > 2);
  EXPECT(::write(cat.in().get(), "meow", 4) == 4);
  cat.in().reset();
  EXPECT(::read(cat.out().get(), text, sizeof text) == 4);
  EXPECT(std::string_view(text, 4) == "meow");
  EXPECT(cat.get().success());
}

}  // namespace

TEST_CASE("closed standard streams of the host harm neither children nor host") {
  for (int closed = 1; closed < 8; ++closed) {
    CAPTURE(closed);
    int const status = expectations([&] {
      std::string of_callable, of_program;
      int const zero =
          ::fcntl(::open("/dev/zero", O_RDWR | O_CLOEXEC), F_DUPFD_CLOEXEC, 100);  // an open file that is easy to tell
      for (int fd = 0; fd < 3; ++fd) {
        bool const stays = (closed & (1 << fd)) == 0;
        if (stays)
          ::dup2(zero, fd);
        else
          ::close(fd);
        of_callable += stays ? 'o' : 'c';
        of_program += stays ? 'o' : 'n';
      }
      for_each_kind_everywhere(kinds(), [&](Kind const& kind, Where where) {
        EXPECT(on(where, [&] { return answer(kind); }) == 42);
        if (kind.program)
          expect_closed_streams_of_program(kind, where, of_program);
        else
          expect_closed_streams_of_callable(kind, where, of_callable);
        EXPECT(streams() == of_callable);
      });
    });
    CHECK(status == 0);
  }
}

// --- Signals

TEST_CASE("a signal every millisecond disturbs no start and no wait") {
  for (int const flags : {0, SA_RESTART}) {
    CAPTURE(flags);
    int const status = expectations([&] {
      static std::atomic<int> caught{0};
      struct sigaction action {};
      action.sa_handler = [](int) { ++caught; };
      action.sa_flags = flags;
      ::sigaction(SIGUSR1, &action, nullptr);
      std::atomic<int> target{::gettid()};
      std::atomic<bool> stop{false};
      std::thread rain([&] {
        while (!stop) {
          ::syscall(SYS_tgkill, ::getpid(), target.load(), SIGUSR1);
          std::this_thread::sleep_for(1ms);
        }
      });
      for (int round = 0; round < 8; ++round)
        for_each_kind_everywhere(kinds(), [&](Kind const& kind, Where where) {
          on(where, [&] {
            target = ::gettid();
            EXPECT(answer(kind) == 42);
            Child child = start_exiting(kind, 7);
            EXPECT(child.wait_for(30s) == ExitStatus::exited(7));
            target = ::getpid();
          });
        });
      stop = true;
      rain.join();
      EXPECT(caught > 100);
    });
    CHECK(status == 0);
  }
}

TEST_CASE("signals do not make a wait shorter or longer than asked") {
  int const status = expectations([] {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
    int const target = ::gettid();
    std::atomic<bool> stop{false};
    std::thread rain([&] {
      while (!stop) {
        ::syscall(SYS_tgkill, ::getpid(), target, SIGUSR1);
        std::this_thread::sleep_for(1ms);
      }
    });
    Child child = start_waiting(callables().front());
    auto const start = std::chrono::steady_clock::now();
    EXPECT(!child.wait_for(150ms));
    auto const took = std::chrono::steady_clock::now() - start;
    EXPECT(took >= 150ms);
    EXPECT(took < 10s);
    stop = true;
    rain.join();
  });
  CHECK(status == 0);
}

// --- Size

TEST_CASE("a host of much resident memory starts children") {
  // CLOISTER_TEST_HOST_MIB=1024 for more.
  char const* const asked = std::getenv("CLOISTER_TEST_HOST_MIB");
  std::size_t const size = (asked != nullptr ? std::stoul(asked) : 256) << 20;
  int const status = expectations([&] {
    std::unique_ptr<char[]> const memory{new char[size]};
    std::memset(memory.get(), 1, size);
    for_each_kind_everywhere(
        kinds(), [&](Kind const& kind, Where where) { EXPECT(on(where, [&] { return answer(kind); }) == 42); });
    EXPECT(memory[size - 1] == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("a host that may write no files starts children, and is not killed for the memory that it writes to") {
  int const status = expectations([] {
    rlimit const none{0, 0};
    EXPECT(::setrlimit(RLIMIT_FSIZE, &none) == 0);
    for_each_kind_everywhere(kinds(), [](Kind const& kind, Where where) {
      Unchanged unchanged;
      EXPECT(on(where, [&] { return answer(kind); }) == 42);
      EXPECT(unchanged.changes() == "");
    });
  });
  CHECK(status == 0);
}

// --- Threads

namespace {

// Allocates, prints and throws, as any code of a host does.
int commotion(unsigned seed) {
  std::vector<std::string> texts;
  for (unsigned i = 0; i < 20; ++i) texts.emplace_back(16 + (seed * 7919 + i * 104729) % 3000, 'x');
  std::printf("%s\n", texts[seed % texts.size()].c_str());
  try {
    if (texts.size() == 20) throw std::runtime_error(texts.front());
  } catch (std::exception const& thrown) {
    return static_cast<int>(std::strlen(thrown.what()) > 15);
  }
  return 0;
}

}  // namespace

// With the address sanitizer of g++ 12 and of clang 14 a plain fork() in such a host hangs as well: its allocator's
// locks are copied as they are held.
constexpr char const* sanitizer_hangs =
    "the address sanitizer's allocator does not survive a fork of threads that allocate";

TEST_CASE("threads that allocate, print and throw make no child hang") {
  SKIP_UNLESS(!test::address_sanitizer, sanitizer_hangs);
  int const status = expectations(
      [] {
        EXPECT(std::freopen("/dev/null", "w", stdout) != nullptr);
        std::atomic<bool> stop{false};
        std::vector<std::thread> busy;
        for (unsigned i = 0; i < 8; ++i)
          busy.emplace_back([&, i] {
            for (unsigned n = i; !stop; ++n) {
              commotion(n);
              std::this_thread::sleep_for(50us);  // so that the children get their turn
            }
          });
        std::vector<Kind> const some = callables();
        for (unsigned i = 0; i < 500; ++i) {
          Kind const& kind = some[i % some.size()];
          about = kind.name;
          EXPECT(cloister::run(kind.isolation(), [i] {
                   int sum = commotion(i);
                   std::thread([&] { sum += commotion(i + 1); }).join();
                   return sum + commotion(i + 2);
                 }) == 3);
        }
        for (Kind const& kind : programs())
          for (int i = 0; i < 10; ++i) EXPECT(answer(kind) == 42);
        stop = true;
        for (std::thread& thread : busy) thread.join();
      },
      100);
  CHECK(status == 0);
}

TEST_CASE("threads that start children at the same time get their own results") {
  SKIP_UNLESS(!test::address_sanitizer, sanitizer_hangs);
  int const status = expectations([] {
    std::vector<Kind> const some = kinds();
    std::atomic<int> wrong{0};
    std::vector<std::thread> starters;
    for (int thread = 0; thread < 4; ++thread)
      starters.emplace_back([&, thread] {
        try {
          for (int i = 0; i < 60; ++i) {
            Kind const& kind = some[static_cast<std::size_t>(i * 5 + thread) % some.size()];
            std::string const mine = std::to_string(thread) + " " + std::to_string(i);
            if (kind.program) {
              if (cloister::run(kind.isolation(), Command{"echo", mine}).out != mine + "\n") ++wrong;
              continue;
            }
            // Small results travel in another way than large ones.
            std::size_t const size = i % 2 == 0 ? 10 : 100'000;
            std::string const text = cloister::run(
                kind.isolation(), [&] { return mine + std::string(size, static_cast<char>('a' + thread)); });
            if (text != mine + std::string(size, static_cast<char>('a' + thread))) ++wrong;
          }
        } catch (std::exception const& error) {
          std::fprintf(stderr, "%s\n", error.what());
          ++wrong;
        }
      });
    for (std::thread& starter : starters) starter.join();
    EXPECT(wrong == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("a thread that changes the ids of all threads again and again does not block a start") {
  int const status = expectations([] {
    std::atomic<bool> stop{false};
    std::thread changer([&] {
      while (!stop)
        if (::setuid(::getuid()) != 0 || ::setgid(::getgid()) != 0) std::terminate();
    });
    for (int round = 0; round < 2; ++round)
      for_each_kind_everywhere(
          kinds(), [&](Kind const& kind, Where where) { EXPECT(on(where, [&] { return answer(kind); }) == 42); });
    stop = true;
    changer.join();
  });
  CHECK(status == 0);
}
