#include <doctest/doctest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <chrono>

#include "kinds.hpp"

namespace {

using namespace test;
using namespace std::chrono_literals;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::ExitStatus, cloister::Init,
    cloister::Isolation;
using cloister::ParentDeath;
namespace ns = cloister::flags;

cloister::CloneFlags new_pid() { return is_root() ? cloister::CloneFlags{ns::pid} : ns::user | ns::pid; }

bool alive(pid_t pid) { return ::kill(pid, 0) == 0 || errno == EPERM; }

}  // namespace

TEST_CASE("waiting gives the status, and the same status again") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    test::Unchanged const unchanged;
    Child child = start_exiting(kind, 7);
    CHECK(child.wait() == ExitStatus::exited(7));
    CHECK(child.wait() == ExitStatus::exited(7));
    CHECK(child.try_wait() == ExitStatus::exited(7));
    CHECK(child.wait_for(0s) == ExitStatus::exited(7));
    CHECK(child.stop(0s) == ExitStatus::exited(7));
    CHECK_NOTHROW(child.kill(SIGTERM));  // it has ended: nothing happens
  }
}

TEST_CASE("a child that runs has no status yet") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Child child = start_waiting(kind);
    CHECK_FALSE(child.try_wait());
    auto const before = std::chrono::steady_clock::now();
    CHECK_FALSE(child.wait_for(20ms));
    CHECK(std::chrono::steady_clock::now() - before >= 20ms);
    CHECK_FALSE(child.wait_for(-1s));
    pollfd ready{child.pidfd(), POLLIN, 0};
    CHECK(::poll(&ready, 1, 0) == 0);
    child.kill(SIGKILL);
    CHECK(::poll(&ready, 1, 10'000) == 1);
    CHECK(child.wait_for(std::chrono::hours::max()) == ExitStatus::signaled(SIGKILL));
  }
}

TEST_CASE("stop() asks first, and kills what does not listen") {
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Child child = start_waiting(kind);
    auto const before = std::chrono::steady_clock::now();
    ExitStatus const status = child.stop(20s);
    CHECK(std::chrono::steady_clock::now() - before < 10s);  // a PID 1 without a handler is not given the time
    CHECK(status.signal() == (kind.new_pid() && !kind.reaper() ? SIGKILL : SIGTERM));
  }
}

TEST_CASE("a PID 1 with a handler gets its time") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  ChildProcess child{{.unshare = new_pid()}, [&] {
                       ::signal(SIGTERM, [](int) { ::_exit(5); });
                       (void)!::write(ready[1], "+", 1);
                       for (;;) ::pause();
                     }};
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(child.stop(20s) == ExitStatus::exited(5));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("a reaper makes its process PID 2 and reports exactly how that ended") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  Isolation const box{.unshare = new_pid(), .init = Init::reaper};
  CHECK(cloister::run(box, [] { return ::getpid(); }) == 2);
  ChildProcess aborts{box, [] { std::abort(); }};
  CHECK(aborts.wait().signal() == SIGABRT);
  ChildProcess exits{box, [] { ::_exit(200); }};
  CHECK(exits.wait() == ExitStatus::exited(200));
  ChildProcess program{box, Command{"sh", "-c", "kill -USR1 $$"}};
  CHECK(program.get().signal() == SIGUSR1);
}

TEST_CASE("a reaper forwards what is sent to it, and reaps orphans") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  Isolation const box{.unshare = new_pid(), .init = Init::reaper};
  ChildProcess traps{box, Command{"sh", "-c", "trap 'exit 9' USR1; echo; while :; do sleep 0.01; done"}.stdio(
                              {.out = cloister::Redirect::pipe()})};
  char byte;
  REQUIRE(::read(traps.out().get(), &byte, 1) == 1);
  traps.kill(SIGUSR1);
  CHECK(traps.wait() == ExitStatus::exited(9));

  bool const reaped = cloister::run(box, [] {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    if (::fork() == 0) {
      if (pid_t const orphan = ::fork(); orphan != 0) {
        (void)!::write(ends[1], &orphan, sizeof orphan);
        ::_exit(0);
      }
      ::_exit(0);
    }
    ::wait(nullptr);
    pid_t orphan = 0;
    if (::read(ends[0], &orphan, sizeof orphan) != sizeof orphan) return false;
    return wait_until([&] { return ::kill(orphan, 0) == -1 && errno == ESRCH; });
  });
  CHECK(reaped);
}

TEST_CASE("when the process of a reaper ends, so does all else in its namespace") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  ChildProcess child{{.unshare = new_pid(), .init = Init::reaper},
                     Command{"sh", "-c", "setsid sleep 1000 & exit 3"}.stdio({.out = cloister::Redirect::pipe()})};
  char byte;
  CHECK(::read(child.out().get(), &byte, 1) == 0);  // nobody holds it any more
  CHECK(child.get() == ExitStatus::exited(3));
}

TEST_CASE("only a child that may outlive its parent can be released") {
  Child bound = ChildProcess{Isolation{}, Command{"sleep", "1000"}};
  CHECK_THROWS_AS((void)bound.release(), std::logic_error);
  CHECK(bound.pid() > 0);  // and is still held

  Child free = ChildProcess{{.on_parent_death = ParentDeath::leave_child}, Command{"sh", "-c", "exit 4"}};
  cloister::ReleasedChild const released = free.release();
  CHECK_THROWS_AS((void)free.wait(), std::logic_error);
  int status = 0;
  CHECK(::waitpid(released.pid, &status, 0) == released.pid);
  CHECK(WEXITSTATUS(status) == 4);
}

TEST_CASE("a moved-from handle is empty, says so, and does nothing at its end") {
  Child child = ChildProcess{Isolation{}, Command{"sleep", "1000"}};
  Child other = std::move(child);
  CHECK_THROWS_AS((void)child.pid(), std::logic_error);  // NOLINT(bugprone-use-after-move)
  CHECK_THROWS_AS((void)child.pidfd(), std::logic_error);
  CHECK_THROWS_AS((void)child.in(), std::logic_error);
  CHECK_THROWS_AS((void)child.wait(), std::logic_error);
  CHECK_THROWS_AS((void)child.try_wait(), std::logic_error);
  CHECK_THROWS_AS((void)child.wait_for(1s), std::logic_error);
  CHECK_THROWS_AS((void)child.stop(1s), std::logic_error);
  CHECK_THROWS_AS(child.kill(SIGTERM), std::logic_error);
  CHECK_THROWS_AS((void)child.release(), std::logic_error);
  CHECK_THROWS_AS((void)child.namespace_of(ns::uts), std::logic_error);
  CHECK_FALSE(other.try_wait());
}

TEST_CASE("handles of all kinds live in one vector") {
  test::Unchanged const unchanged;
  std::vector<Child> children;
  for (Kind const& kind : kinds()) children.push_back(start_exiting(kind, 1));
  for (Child& child : children) CHECK(child.wait() == ExitStatus::exited(1));
}

TEST_CASE("a handle that goes kills its child, but not in a forked copy of the host") {
  for (bool const by_library : {true, false}) {
    pid_t gone = 0;
    {
      Child child = ChildProcess{Isolation{}, Command{"sleep", "1000"}};
      gone = child.pid();
      pid_t const copy =
          by_library ? ::fork() : static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      if (copy == 0) {
        child.~Child();
        ::_exit(0);
      }
      REQUIRE(copy > 0);
      CHECK(::waitpid(copy, nullptr, 0) == copy);
      CHECK_FALSE(child.wait_for(50ms));
    }
    CHECK_FALSE(alive(gone));
  }
}

TEST_CASE("the namespaces of a child can be looked at while it runs") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no uts namespace to be had");
  Child child =
      ChildProcess{{.unshare = is_root() ? cloister::CloneFlags{ns::uts} : ns::user | ns::uts}, [] { ::pause(); }};
  CHECK(child.namespace_of(ns::uts).id() != cloister::Namespace::current(ns::uts).id());
  CHECK(child.namespace_of(ns::net).id() == cloister::Namespace::current(ns::net).id());
  child.kill(SIGKILL);
  (void)child.wait();
  CHECK_THROWS_AS((void)child.namespace_of(ns::uts), cloister::Error);
}

TEST_CASE("a PID 1 that fetches SIGTERM itself, with sigwait or a signalfd, gets its time as well") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  ChildProcess child{{.unshare = new_pid()}, [&] {
                       sigset_t term;
                       ::sigemptyset(&term);
                       ::sigaddset(&term, SIGTERM);
                       ::pthread_sigmask(SIG_BLOCK, &term, nullptr);
                       (void)!::write(ready[1], "+", 1);
                       int signal = 0;
                       ::sigwait(&term, &signal);
                       ::_exit(signal);
                     }};
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(child.stop(20s) == ExitStatus::exited(SIGTERM));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("a callable under a reaper hears SIGTERM, and stop() tells how it ended") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  ChildProcess child{{.unshare = new_pid(), .init = Init::reaper}, [&] {
                       ::signal(SIGTERM, [](int) { ::_exit(77); });
                       (void)!::write(ready[1], "+", 1);
                       for (;;) ::pause();
                     }};
  char byte;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  CHECK(child.stop(20s) == ExitStatus::exited(77));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("stop() kills what ignores it, and what is stopped") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    ChildProcess deaf{kind.isolation(), [&] {
                        ::signal(SIGTERM, SIG_IGN);
                        (void)!::write(ready[1], "+", 1);
                        for (;;) ::pause();
                      }};
    char byte;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    CHECK(deaf.stop(30ms).signal() == SIGKILL);
    Child stopped = start_waiting(kind);
    stopped.kill(SIGSTOP);
    CHECK_FALSE(stopped.wait_for(20ms));  // stopped is not ended
    CHECK(stopped.stop(30ms).signal() == SIGKILL);
    ::close(ready[0]);
    ::close(ready[1]);
  }
}

TEST_CASE("a child that is stopped can be continued, and its handle's end kills it all the same") {
  test::Unchanged const unchanged;
  Child child = ChildProcess{Isolation{}, Command{"sleep", "1000"}};
  child.kill(SIGSTOP);
  child.kill(SIGCONT);
  CHECK_FALSE(child.wait_for(20ms));
  child.kill(SIGSTOP);
}

TEST_CASE("a number that is no signal is an Error") {
  Child child = ChildProcess{Isolation{}, Command{"sleep", "1000"}};
  try {
    child.kill(1000);
    FAIL("nothing was thrown");
  } catch (cloister::Error const& error) {
    CHECK(error.code() == std::errc::invalid_argument);
    CHECK(error.step() == "pidfd_send_signal");
    CHECK(std::string(error.what()) == "cloister: pidfd_send_signal 1000: Invalid argument");
  }
  CHECK_NOTHROW(child.kill(0));
  CHECK_FALSE(child.try_wait());
}

TEST_CASE("a child that has been reaped cannot be released: its pid may be another's by now") {
  Child child = ChildProcess{{.on_parent_death = ParentDeath::leave_child}, Command{"true"}};
  (void)child.wait();
  CHECK_THROWS_AS((void)child.release(), std::logic_error);
  CHECK(child.wait().success());
}

TEST_CASE("a released child goes on, and its pidfd is the caller's") {
  test::Unchanged const unchanged;
  for (Kind const& kind : kinds()) {
    CAPTURE(kind.name);
    Child child = start_waiting(kind, -1, ParentDeath::leave_child);
    cloister::ReleasedChild released = child.release();
    { Child const gone = std::move(child); }
    pollfd ended{released.pidfd.get(), POLLIN, 0};
    CHECK(::poll(&ended, 1, 20) == 0);
    CHECK(::kill(released.pid, SIGKILL) == 0);
    CHECK(::poll(&ended, 1, 10'000) == 1);
    int status = 0;
    CHECK(::waitpid(released.pid, &status, 0) == released.pid);
    CHECK(WTERMSIG(status) == SIGKILL);
  }
}

TEST_CASE("when a handle goes, so do all in the pid namespace of its child") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  for (Init const init : {Init::none, Init::reaper}) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    {
      Child const child = ChildProcess{{.unshare = new_pid(), .init = init}, [&] {
                                         for (int i = 0; i < 20; ++i)
                                           if (::fork() == 0) {
                                             ::setsid();
                                             for (;;) ::pause();
                                           }
                                         (void)!::write(ends[1], "+", 1);
                                         for (;;) ::pause();
                                       }};
      char byte;
      REQUIRE(::read(ends[0], &byte, 1) == 1);
    }
    ::close(ends[1]);
    char byte;
    CHECK(::read(ends[0], &byte, 1) == 0);  // nobody holds it any more
    ::close(ends[0]);
  }
}

TEST_CASE("a reaper reaps hundreds of orphans, and leaves the callable's own children to it") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  CHECK(cloister::run({.unshare = new_pid(), .init = Init::reaper}, [] {
    pid_t const own = ::fork();
    if (own == 0) ::_exit(11);
    for (int i = 0; i < 200; ++i) {
      pid_t const between = ::fork();
      if (between == 0) {
        if (::fork() == 0) ::usleep(1000);
        ::_exit(0);
      }
      ::waitpid(between, nullptr, 0);
    }
    int status = 0;
    bool const mine = ::waitpid(own, &status, 0) == own && WEXITSTATUS(status) == 11;
    // All pids there are: ours, the reaper's, and no zombie's.
    return mine && wait_until([] {
             for (pid_t pid = 3; pid < 500; ++pid)
               if (::kill(pid, 0) == 0) return false;
             return true;
           });
  }));
}

TEST_CASE("a reaper that is killed takes its process along, and the status says SIGKILL") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  Isolation const box{.unshare = new_pid(), .init = Init::reaper};
  ChildProcess child{box, [] {
                       for (;;) ::pause();
                     }};
  child.kill(SIGKILL);
  CHECK(child.wait().signal() == SIGKILL);
  CHECK_THROWS_AS(child.get(), cloister::ChildDied);
}

TEST_CASE("a signal to a child that has just started is not lost") {
  for (Kind const& kind : kinds()) {
    if (kind.new_pid() && !kind.reaper()) continue;  // PID 1 does not hear it
    CAPTURE(kind.name);
    for (int i = 0; i < 10; ++i) {
      Child child = start_waiting(kind);
      child.kill(SIGUSR1);
      CHECK(child.wait_for(20s) == ExitStatus::signaled(SIGUSR1));
    }
  }
}

TEST_CASE("a child can be waited for and fetched by another thread than the one that started it") {
  test::Unchanged const unchanged;
  for (Kind const& kind : callables()) {
    auto child = on(Where::other_thread, [&] { return ChildProcess{kind.isolation(), [] { return 9; }}; });
    CHECK(child.get() == 9);
    ChildProcess other{kind.isolation(), [] { return 8; }};
    CHECK(on(Where::other_thread, [&] { return other.get(); }) == 8);
  }
}

TEST_CASE("in a forked copy of the host a wait lasts until the child ends as well") {
  int gate[2];
  REQUIRE(::pipe2(gate, O_CLOEXEC) == 0);
  ChildProcess child{Isolation{}, [&] {
                       char byte;
                       (void)!::read(gate[0], &byte, 1);
                       return 6;
                     }};
  CHECK(in_fork([&] {
          std::thread opener([&] {
            std::this_thread::sleep_for(100ms);
            (void)!::write(gate[1], "+", 1);
          });
          ExitStatus const status = child.wait();
          pollfd ended{child.pidfd(), POLLIN, 0};
          bool const over = ::poll(&ended, 1, 0) == 1;
          opener.join();
          return over && (status.is_unknown() || status.success());
        }) == 0);
  CHECK(child.get() == 6);
  ::close(gate[0]);
  ::close(gate[1]);
}
