#include "support.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <thread>

using namespace std::chrono_literals;

// Run by name from the cases below, and hidden from everyone else.
TEST_SUITE("sample" * doctest::skip()) {
  TEST_CASE("sample: passes") { CHECK(true); }
  TEST_CASE("sample: is skipped") {
    SKIP_UNLESS(true, "not this one");
    SKIP_UNLESS(1 + 1 == 3, "sums are as usual");
    CHECK(false);
  }
  TEST_CASE("sample: fails and is skipped") {
    CHECK(false);
    SKIP("too late");
  }
  TEST_CASE("sample: leaks a descriptor") {
    test::Unchanged unchanged;
    (void)::dup(0);
  }
  TEST_CASE("sample: comes back from a fork") {
    if (::fork() != 0) ::wait(nullptr);
  }
}

namespace {

struct Run {
  std::string output;
  int status;
  bool says(std::string const& text) const { return output.find(text) != std::string::npos; }
};

// This program once more, with the samples that match.
Run run_samples(std::string const& pattern) {
  std::string const self = test::detail::link_target("/proc/self/exe");
  std::FILE* const pipe =
      ::popen(("'" + self + "' --no-colors --no-skip -ts=sample -tc='" + pattern + "' 2>&1").c_str(), "re");
  REQUIRE(pipe != nullptr);
  Run run{};
  char part[4096];
  while (std::size_t const size = std::fread(part, 1, sizeof part, pipe)) run.output.append(part, size);
  int const status = ::pclose(pipe);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

}  // namespace

TEST_CASE("a passed case is counted") {
  Run const run = run_samples("sample: passes");
  CHECK(run.says("cloister-tests: 1 passed, 0 failed, 0 skipped\n"));
  CHECK(run.status == 0);
}

TEST_CASE("a skipped case is neither passed nor failed, and says why") {
  Run const run = run_samples("sample: is skipped");
  CHECK(run.says("\nskipped: sample: is skipped: sums are as usual\n"));
  CHECK(run.says("cloister-tests: 0 passed, 0 failed, 1 skipped\n"));
  CHECK(run.status == 77);
}

TEST_CASE("a skip hides no failure") {
  Run const run = run_samples("sample: fails and is skipped");
  CHECK(run.says("cloister-tests: 0 passed, 1 failed, 0 skipped\n"));
  CHECK(run.status == 1);
}

TEST_CASE("a child that comes back from fork runs no further case") {
  Run const run = run_samples("sample: *o*");
  CHECK(run.says("a forked child came back into the runner"));
}

TEST_CASE("Unchanged fails the case that leaks") {
  Run const run = run_samples("sample: leaks a descriptor");
  CHECK(run.says(" is new: "));
  CHECK(run.says("cloister-tests: 0 passed, 1 failed, 0 skipped\n"));
}

TEST_CASE("Unchanged is content where nothing changed") {
  test::Unchanged unchanged;
  std::thread([] {}).join();
  ::close(::dup(0));
  CHECK(test::in_fork([] { return true; }) == 0);
  errno = EXDEV;
  CHECK(unchanged.changes() == "");
  CHECK(errno == EXDEV);
}

TEST_CASE("Unchanged notices what a process can lose or gain") {
  // In a fork, so that this process stays clean.
  auto const noticed = [](auto change, std::string_view expected) {
    return test::in_fork([&] {
             test::Unchanged unchanged;
             change();
             std::string const changes = unchanged.changes();
             bool const seen = changes.find(expected) != std::string::npos;
             if (!seen)
               std::fprintf(stderr, "instead of \"%.*s\": %s\n", int(expected.size()), expected.data(),
                            changes.c_str());
             ::_exit(seen ? 0 : 1);  // its destructor would find the same
             return false;
           }) == 0;
  };
  CHECK(noticed([] { (void)::open("/dev/null", O_RDONLY | O_CLOEXEC); }, " is new: /dev/null"));
  CHECK(noticed([] { ::close(0); }, "descriptor 0 is gone"));
  CHECK(noticed([] { ::dup2(::open("/dev/full", O_RDONLY | O_CLOEXEC), 0); }, "and is /dev/full"));
  CHECK(noticed(
      [] {
        if (::fork() == 0) ::_exit(0);
      },
      "child"));
  CHECK(noticed([] { std::thread([] { std::this_thread::sleep_for(1min); }).detach(); }, " is new: running"));
  CHECK(noticed([] { CHECK(::chdir("/proc") == 0); }, "cwd was"));
  CHECK(noticed([] { ::umask(0123); }, "Umask was"));
  CHECK(noticed([] { ::signal(SIGCHLD, SIG_IGN); }, "signal 17 was default"));
  CHECK(noticed([] { ::prctl(PR_SET_DUMPABLE, 0); }, "dumpable was 1"));
  CHECK(noticed(
      [] {
        sigset_t set;
        ::sigemptyset(&set);
        ::sigaddset(&set, SIGUSR1);
        ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
      },
      "SigBlk was"));
}

TEST_CASE("Unchanged notices another namespace and another mount") {
  SKIP_UNLESS(test::is_root() || test::can_unshare_user(), "no user namespace to be had");
  CHECK(test::in_fork([] {
          if (!test::is_root() && ::unshare(CLONE_NEWUSER) != 0) return false;
          test::Unchanged unchanged;
          if (::unshare(CLONE_NEWUTS) != 0) return false;
          bool const seen = unchanged.changes().find("namespace uts was") != std::string::npos;
          ::_exit(seen ? 0 : 1);
          return false;
        }) == 0);
}

TEST_CASE("in_fork tells how the child ended") {
  CHECK(test::in_fork([] { return true; }) == 0);
  CHECK(WEXITSTATUS(test::in_fork([] { return false; })) == 1);
  CHECK(WEXITSTATUS(test::in_fork([] { return 3; })) == 3);
  CHECK(WTERMSIG(test::in_fork([] { return ::raise(SIGTERM); })) == SIGTERM);
}

TEST_CASE("a temporary directory goes with what is in it, and only in the process that made it") {
  std::string path;
  {
    test::TemporaryDirectory directory;
    path = directory.path();
    REQUIRE(::mkdir((directory / "inner").c_str(), 0700) == 0);
    REQUIRE(::symlink("/", (directory / "inner/link").c_str()) == 0);
    CHECK(test::in_fork([&] {
            directory.~TemporaryDirectory();
            return ::access(path.c_str(), F_OK) == 0;
          }) == 0);
  }
  CHECK(::access(path.c_str(), F_OK) != 0);
  CHECK(::access("/proc", F_OK) == 0);
}

TEST_CASE("read_file reads all of a file, and says what it could not open") {
  CHECK(test::read_file("/proc/self/comm") == "support_test\n");
  CHECK_THROWS_WITH_AS(test::read_file("/nowhere"), "open /nowhere: No such file or directory", std::system_error);
}

TEST_CASE("wait_until gives up in time") {
  int asked = 0;
  CHECK(test::wait_until([&] { return ++asked == 3; }));
  CHECK(asked == 3);
  CHECK_FALSE(test::wait_until([] { return false; }, 5ms));
}
