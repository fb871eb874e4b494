// Waiting by a pidfd: deadlines, and how a child ended.
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <limits>

#include "caught.hpp"
#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace test;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::ExitStatus, cloister::Isolation;
using cloister::detail::Deadline, cloister::detail::poll_until;

namespace {

template <class Call>
std::chrono::steady_clock::duration time_of(Call&& call) {
  auto const start = std::chrono::steady_clock::now();
  call();
  return std::chrono::steady_clock::now() - start;
}

}  // namespace

TEST_CASE("a deadline lies as far ahead as asked, and not before now") {
  timespec room{};
  CHECK(Deadline{}.left(room) == nullptr);
  CHECK_FALSE(Deadline{}.passed());
  for (auto const over : {0s, -1s, std::chrono::seconds::min()}) {
    Deadline const deadline{over};
    CHECK(deadline.passed());
    REQUIRE(deadline.left(room) != nullptr);
    CHECK(room.tv_sec == 0);
    CHECK(room.tv_nsec == 0);
  }
  Deadline const hour{1h};
  CHECK_FALSE(hour.passed());
  REQUIRE(hour.left(room) != nullptr);
  CHECK(room.tv_sec >= 3500);
  CHECK(room.tv_sec <= 3600);
  CHECK(room.tv_nsec >= 0);
  CHECK(room.tv_nsec < 1'000'000'000);
  // What no clock can count is for ever.
  CHECK(Deadline{std::chrono::hours::max()}.left(room) == nullptr);
  CHECK(Deadline{std::chrono::nanoseconds::max()}.left(room) == nullptr);
  CHECK(Deadline{std::chrono::duration<double>(1e300)}.left(room) == nullptr);
  CHECK(Deadline{std::chrono::duration<double>(std::numeric_limits<double>::infinity())}.left(room) == nullptr);
  CHECK(Deadline{std::chrono::duration<double>(-1e300)}.passed());
  CHECK(Deadline{std::chrono::duration<float, std::milli>(0.25F)}.left(room) != nullptr);
}

TEST_CASE("waiting for a time takes that time, and ends with the child") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Child child = start_waiting(kind);
    CHECK(time_of([&] { CHECK_FALSE(child.try_wait()); }) < 5s);
    CHECK(time_of([&] { CHECK_FALSE(child.wait_for(-1s)); }) < 5s);
    CHECK(time_of([&] { CHECK_FALSE(child.wait_for(20ms)); }) >= 20ms);
    std::thread([&] {
      std::this_thread::sleep_for(10ms);
      child.kill(SIGKILL);
    }).detach();
    std::optional<ExitStatus> status;
    CHECK(time_of([&] { status = child.wait_for(std::chrono::hours::max()); }) < 10s);
    CHECK(status == ExitStatus::signaled(SIGKILL));
    CHECK(child.try_wait() == status);
    CHECK(child.wait_for(-1s) == status);
    CHECK(child.wait() == *status);
  }
}

TEST_CASE("every exit status and every signal that ends a process is told") {
  Kind const kind = callables().front();
  for (int const code : {0, 1, 2, 126, 127, 128, 137, 255})
    for (Kind const& any : kinds()) {
      CAPTURE(any.name);
      CAPTURE(code);
      CHECK(start_exiting(any, code).wait() == ExitStatus::exited(code));
    }
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == 32 || signal == 33) continue;  // the C library's
    if (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU) continue;  // these end nobody
    CAPTURE(signal);
    ExitStatus const status = ChildProcess{
        kind.isolation(), [signal] {
          rlimit const none{};
          ::setrlimit(RLIMIT_CORE, &none);
          ::raise(signal);
          ::_exit(200);
        }}.wait();
    bool const harmless = signal == SIGCHLD || signal == SIGCONT || signal == SIGURG || signal == SIGWINCH;
    CHECK(status == (harmless ? ExitStatus::exited(200) : ExitStatus::signaled(signal)));
  }
}

TEST_CASE("a child that stops and goes on has not ended") {
  Child child = start_waiting(callables().front());
  child.kill(SIGSTOP);
  CHECK_FALSE(child.wait_for(20ms));
  child.kill(SIGCONT);
  CHECK_FALSE(child.wait_for(20ms));
  child.kill(SIGKILL);
  CHECK(child.wait() == ExitStatus::signaled(SIGKILL));
}

TEST_CASE("the pidfd of a child becomes readable when it ends, and stays so") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Child child = start_waiting(kind);
    pollfd end{child.pidfd(), POLLIN, 0};
    CHECK(::poll(&end, 1, 0) == 0);
    child.kill(SIGKILL);
    CHECK(::poll(&end, 1, 10'000) == 1);
    CHECK((end.revents & POLLIN) != 0);
    (void)child.wait();
    CHECK(::poll(&end, 1, 0) == 1);
    CHECK_NOTHROW(child.kill(SIGTERM));  // nobody is there any more
  }
}

TEST_CASE("a signal to an ended child hits nobody, even where its pid is another's by now") {
  int const status = expectations([] {
    Child child = start_exiting(callables().front(), 7);
    pid_t const pid = child.pid();
    EXPECT(child.wait() == ExitStatus::exited(7));
    // The pid is free: take it, where the kernel lets us choose.
    cloister::detail::kernel::clone_args args{};
    struct {
      cloister::detail::kernel::clone_args common;
      std::uint64_t set_tid, set_tid_size;
    } wanted{args, reinterpret_cast<std::uint64_t>(&pid), 1};
    wanted.common.exit_signal = SIGCHLD;
    long const stranger = ::syscall(cloister::detail::sys::number::clone3, &wanted, sizeof wanted);
    if (stranger == 0) {
      ::usleep(50'000);
      ::_exit(9);
    }
    if (stranger < 0) return;
    EXPECT(stranger == pid);
    child.kill(SIGKILL);
    { Child const gone = std::move(child); }
    int code = 0;
    EXPECT(::waitpid(pid, &code, 0) == pid);
    EXPECT(WIFEXITED(code) && WEXITSTATUS(code) == 9);
  });
  CHECK(status == 0);
}

TEST_CASE("poll_until goes on through signals until its deadline") {
  int const status = expectations([] {
    struct sigaction action {};
    static std::atomic<int> caught{0};
    action.sa_handler = [](int) { ++caught; };
    ::sigaction(SIGUSR1, &action, nullptr);
    std::atomic<bool> stop{false};
    std::thread rain([&, target = ::gettid()] {
      while (!stop) {
        ::syscall(SYS_tgkill, ::getpid(), target, SIGUSR1);
        std::this_thread::sleep_for(1ms);
      }
    });
    pollfd nothing{-1, POLLIN, 0};
    auto const took = time_of([&] { EXPECT(poll_until(&nothing, 1, Deadline{100ms}) == 0); });
    EXPECT(took >= 100ms);
    EXPECT(took < 10s);
    EXPECT(caught > 1);
    stop = true;
    rain.join();
  });
  CHECK(status == 0);
}

TEST_CASE("a pidfd that somebody has made non-blocking is waited for as well, and leaves no zombie") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    auto const start = [&](std::chrono::milliseconds pause) -> Child {
      if (!kind.program)
        return ChildProcess{kind.isolation(), [pause] {
                              std::this_thread::sleep_for(pause);
                              ::_exit(7);
                            }};
      return ChildProcess{kind.isolation(),
                          Command{"sh", "-c", "sleep 0." + std::to_string(pause.count()) + "; exit 7"}};
    };
    auto const make_non_blocking = [](Child const& child) {
      REQUIRE(::fcntl(child.pidfd(), F_SETFL, O_NONBLOCK) == 0);  // as an event loop may, of all that it polls
    };
    {
      Child child = start(100ms);
      make_non_blocking(child);
      CHECK(child.wait() == ExitStatus::exited(7));
      CHECK(child.wait() == ExitStatus::exited(7));
    }
    {
      Child child = start(100ms);
      make_non_blocking(child);
      CHECK(child.wait_for(10s) == ExitStatus::exited(7));
    }
    {
      Child child = start_waiting(kind);
      make_non_blocking(child);
      CHECK_FALSE(child.wait_for(1ms));
      child.kill(SIGKILL);
      CHECK(child.wait() == ExitStatus::signaled(SIGKILL));
    }
    Child abandoned = start_waiting(kind);
    make_non_blocking(abandoned);
  }
}
