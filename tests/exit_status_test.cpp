#include <cloister/exit_status.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::ExitStatus;

TEST_CASE("a process that exited has a code and no signal") {
  constexpr ExitStatus status = ExitStatus::exited(3);
  static_assert(status.code() == 3 && !status.signal() && !status.success());
  static_assert(!status.is_unknown() && !status.core_dumped());
  static_assert(ExitStatus::exited(0).success() && ExitStatus::exited(0).code() == 0);
  CHECK_FALSE(ExitStatus::exited(255).success());
}

TEST_CASE("a process that a signal ended has that signal and no code, and was no success") {
  constexpr ExitStatus status = ExitStatus::signaled(SIGKILL);
  static_assert(status.signal() == SIGKILL && !status.code() && !status.success());
  static_assert(!status.is_unknown() && !status.core_dumped());
  static_assert(ExitStatus::signaled(SIGSEGV, true).core_dumped());
}

TEST_CASE("an unknown end is no success, has neither code nor signal, and is what there is by default") {
  constexpr ExitStatus status = ExitStatus::unknown();
  static_assert(status.is_unknown() && !status.success() && !status.code() && !status.signal());
  static_assert(ExitStatus{} == status);
  CHECK(status != ExitStatus::exited(0));
}

TEST_CASE("ends compare by kind and number: signal 9 is not status 9") {
  static_assert(ExitStatus::exited(9) == ExitStatus::exited(9));
  static_assert(ExitStatus::exited(9) != ExitStatus::exited(8));
  static_assert(ExitStatus::exited(9) != ExitStatus::signaled(9));
  static_assert(ExitStatus::signaled(9) != ExitStatus::signaled(15));
  CHECK(ExitStatus::unknown() == ExitStatus::unknown());
}

TEST_CASE("whether a core was dumped is told, and does not count when ends are compared") {
  CHECK(ExitStatus::signaled(SIGABRT, true) == ExitStatus::signaled(SIGABRT, false));
  CHECK(ExitStatus::signaled(SIGABRT, true).core_dumped() != ExitStatus::signaled(SIGABRT, false).core_dumped());
}

TEST_CASE("an end is no number and no truth value by accident") {
  static_assert(!std::is_constructible_v<ExitStatus, int>);
  static_assert(!std::is_constructible_v<bool, ExitStatus>);
  static_assert(std::is_trivially_copyable_v<ExitStatus>);
}

TEST_CASE("the status word of a process that exited is read") {
  for (int const code : {0, 1, 3, 127, 128, 255}) {
    CAPTURE(code);
    CHECK(ExitStatus::from_wait_status(test::in_fork([&] { return code; })) == ExitStatus::exited(code));
  }
  CHECK(ExitStatus::from_wait_status(test::in_fork([] { return 256 + 7; })).code() == 7);
}

TEST_CASE("the status word of a process that a signal ended is read, real-time ones as well") {
  for (int const signal : {SIGKILL, SIGTERM, SIGHUP, SIGRTMIN, SIGRTMAX}) {
    CAPTURE(signal);
    int const status = test::in_fork([&] {
      ::signal(signal, SIG_DFL);
      sigset_t all;
      ::sigfillset(&all);
      ::sigprocmask(SIG_UNBLOCK, &all, nullptr);
      ::raise(signal);
      return false;
    });
    CHECK(ExitStatus::from_wait_status(status) == ExitStatus::signaled(signal));
  }
}

TEST_CASE("the bit of the core is read from the status word") {
  constexpr int core_flag = 0x80;
  static_assert(ExitStatus::from_wait_status(SIGSEGV | core_flag).core_dumped());
  static_assert(ExitStatus::from_wait_status(SIGSEGV | core_flag).signal() == SIGSEGV);
  static_assert(!ExitStatus::from_wait_status(SIGSEGV).core_dumped());
  CHECK(ExitStatus::from_wait_status(0).success());
}

TEST_CASE("the status word of a process that has not ended is an unknown end") {
  CHECK(ExitStatus::from_wait_status((SIGSTOP << 8) | 0x7f).is_unknown());
  CHECK(ExitStatus::from_wait_status((SIGTRAP << 8) | 0x7f).is_unknown());
  CHECK(ExitStatus::from_wait_status(0xffff).is_unknown());  // continued
}

TEST_CASE("an end reads as people say it") {
  CHECK(to_string(ExitStatus::exited(0)) == "exited with status 0");
  CHECK(to_string(ExitStatus::exited(255)) == "exited with status 255");
  CHECK(to_string(ExitStatus::unknown()) == "ended in an unknown way");
  CHECK(to_string(ExitStatus::signaled(SIGKILL)).starts_with("ended by signal 9"));
  CHECK(to_string(ExitStatus::signaled(SIGSEGV, true)).ends_with(", core dumped"));
}

TEST_CASE("a signal without a name reads as its number alone") {
  CHECK(to_string(ExitStatus::signaled(SIGRTMIN + 3)) == "ended by signal " + std::to_string(SIGRTMIN + 3));
  CHECK(to_string(ExitStatus::signaled(0)) == "ended by signal 0");
  CHECK(to_string(ExitStatus::signaled(1000)) == "ended by signal 1000");
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
TEST_CASE("a signal reads with its name") {
  CHECK(to_string(ExitStatus::signaled(SIGKILL)) == "ended by signal 9 (SIGKILL)");
  CHECK(to_string(ExitStatus::signaled(SIGSEGV, true)) == "ended by signal 11 (SIGSEGV), core dumped");
}
#endif
