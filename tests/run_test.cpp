#include <doctest/doctest.h>
#include <sys/prctl.h>

#include <chrono>

#include "kinds.hpp"

namespace {

using namespace test;
using namespace std::chrono_literals;
using cloister::ChildProcess, cloister::Command, cloister::Error, cloister::ExitStatus, cloister::Isolation,
    cloister::Output;
using cloister::Redirect, cloister::run;
namespace ns = cloister::flags;

Command shell(std::string const& script) { return Command{"sh", "-c", script}; }

// The Error of a program that cannot be started.
Error refusal(Command const& command) {
  try {
    (void)run({}, command);
  } catch (Error const& error) {
    return error;
  }
  FAIL("nothing was thrown");
  throw 0;
}

std::uint64_t blocked_signals() {
  std::uint64_t mask = 0;
  cloister::detail::sys::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return mask;
}

}  // namespace

TEST_CASE("what a program writes is captured, both streams apart") {
  test::Unchanged const unchanged;
  Output const output = run({}, shell("echo out; echo err >&2; exit 3"));
  CHECK(output.out == "out\n");
  CHECK(output.err == "err\n");
  CHECK(output.status == ExitStatus::exited(3));
  CHECK_FALSE(output.timed_out);
  Output const both = run({}, shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero"));
  CHECK(both.out.size() == 1'000'000);
  CHECK(both.err.size() == 1'000'000);
}

TEST_CASE("a program without an input finds it empty") {
  CHECK(run({}, Command{"cat"}).out.empty());
  CHECK(run({}, shell("readlink /proc/self/fd/0")).out == "/dev/null\n");
}

TEST_CASE("an input larger than a pipe is fed while the output is taken") {
  std::string const input(3'000'000, 'x');
  CHECK(run({}, Command{"cat"}, {.input = input}).out == input);
}

TEST_CASE("a program that does not read its input costs the host no SIGPIPE") {
  std::string const input(1'000'000, 'x');
  test::Unchanged const unchanged;
  CHECK(run({}, Command{"true"}, {.input = input}).status.success());
  int const status = expectations([&] {
    std::uint64_t const sigpipe = std::uint64_t{1} << (SIGPIPE - 1);
    cloister::detail::sys::sigprocmask(SIG_BLOCK, &sigpipe);
    ::raise(SIGPIPE);
    EXPECT(run({}, Command{"true"}, {.input = input}).status.success());
    EXPECT(blocked_signals() == sigpipe);
    std::uint64_t pending = 0;
    cloister::detail::sys::sigpending(&pending);
    EXPECT(pending == sigpipe);  // the host's own is still there
    ::signal(SIGPIPE, SIG_IGN);
    EXPECT(run({}, Command{"true"}, {.input = input}).status.success());
  });
  CHECK(status == 0);
}

TEST_CASE("an input for a program whose stdin leads elsewhere is refused") {
  CHECK_THROWS_AS((void)run({}, Command{"cat"}.stdio({.in = Redirect::null()}), {.input = "x"}), std::invalid_argument);
  CHECK(run({}, Command{"cat"}.stdio({.in = Redirect::pipe()}), {.input = "x"}).out == "x");
}

TEST_CASE("a time-out ends the whole process group, and says so") {
  test::Unchanged const unchanged;
  auto const before = std::chrono::steady_clock::now();
  Output const output = run({}, shell("echo began; sleep 1000 & sleep 1000"), {.timeout = 200ms});
  CHECK(output.timed_out);
  CHECK(output.status.signal() == SIGKILL);
  CHECK(output.out == "began\n");
  CHECK(std::chrono::steady_clock::now() - before < 20s);
  Output const endless = run({}, Command{"yes"}, {.timeout = 50ms});
  CHECK(endless.timed_out);
  CHECK(endless.out.starts_with("y\ny\n"));
}

TEST_CASE("a program that is in time is not disturbed by its limit") {
  Output const output = run({}, shell("echo in time"), {.timeout = 1h});
  CHECK(output.out == "in time\n");
  CHECK_FALSE(output.timed_out);
}

TEST_CASE("a background process that holds the pipes is not waited for") {
  auto const before = std::chrono::steady_clock::now();
  Output const output = run({}, shell("sleep 30 & echo $!"));
  CHECK(std::chrono::steady_clock::now() - before < 20s);
  int const background = std::atoi(output.out.c_str());
  REQUIRE(background > 1);
  CHECK(::kill(background, SIGKILL) == 0);
}

TEST_CASE("streams lead where the command says") {
  CHECK(run({}, shell("echo out; echo err >&2").stdio({.err = Redirect::to_out()})).out == "out\nerr\n");
  Output const silent = run({}, shell("echo out; echo err >&2").stdio({.out = Redirect::null()}));
  CHECK(silent.out.empty());
  CHECK(silent.err == "err\n");
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  (void)run({}, shell("echo elsewhere").stdio({.out = Redirect::descriptor(ends[1])}));
  char text[32] = {};
  CHECK(::read(ends[0], text, sizeof text) == 10);
  CHECK(std::string(text) == "elsewhere\n");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("two streams can change places") {
  int const status = expectations([] {
    int out[2], err[2];
    EXPECT(::pipe(out) == 0 && ::pipe(err) == 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    (void)run({}, shell("echo o; echo e >&2").stdio({.out = Redirect::descriptor(2), .err = Redirect::descriptor(1)}));
    char text[8] = {};
    EXPECT(::read(out[0], text, sizeof text) == 2 && text[0] == 'e');
    EXPECT(::read(err[0], text, sizeof text) == 2 && text[0] == 'o');
  });
  CHECK(status == 0);
}

TEST_CASE("kept descriptors get the numbers asked for, also each other's") {
  int const status = expectations([] {
    int a[2], b[2];
    EXPECT(::pipe(a) == 0 && ::pipe(b) == 0);
    EXPECT(::dup3(a[1], 10, O_CLOEXEC) == 10 && ::dup3(b[1], 11, O_CLOEXEC) == 11);
    Output const output =
        run({}, shell("echo to-a >/proc/self/fd/11; echo to-b >/proc/self/fd/10; ls /proc/self/fd | sort -n")
                    .keep_fd(10, 11)
                    .keep_fd(11, 10));
    EXPECT(output.status.success());
    EXPECT(output.out == "0\n1\n2\n3\n10\n11\n");
    char text[8] = {};
    EXPECT(::read(a[0], text, sizeof text) == 5 && std::string(text, 5) == "to-a\n");
    EXPECT(::read(b[0], text, sizeof text) == 5 && std::string(text, 5) == "to-b\n");
  });
  CHECK(status == 0);
}

TEST_CASE("a program that cannot be started is an Error that names the step and the item") {
  test::Unchanged const unchanged;
  test::TemporaryDirectory const directory;
  std::string const text = directory / "text";
  ::close(::open(text.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  Error const missing = refusal({"/no/such/program"});
  CHECK(missing.code() == std::errc::no_such_file_or_directory);
  CHECK(missing.step() == "execve");
  CHECK(missing.in_child());
  CHECK(std::string(missing.what()) == "cloister: execve /no/such/program (in the child): No such file or directory");
  CHECK(refusal({text}).code() == std::errc::permission_denied);
  Error const nowhere = refusal(Command{"true"}.cwd("/no/such/directory"));
  CHECK(nowhere.step() == "chdir");
  CHECK(std::string(nowhere.what()).find("/no/such/directory") != std::string::npos);
}

TEST_CASE("a relative program is looked for where the program starts") {
  test::TemporaryDirectory const directory;
  ::chmod(directory.path().c_str(), 0755);
  std::string const tool = directory / "tool";
  int const fd = ::open(tool.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
  CHECK(::write(fd, "#!/bin/sh\npwd\n", 14) == 14);
  ::close(fd);
  CHECK(run({}, Command{"./tool"}.cwd(directory.path())).out == directory.path() + "\n");
}

TEST_CASE("a fresh session has no terminal and its own id") {
  CHECK(run({.session = cloister::Session::fresh}, shell("test $(ps -o sid= -p $$) = $$")).status.success());
}

TEST_CASE("a program gets the environment that the isolation leaves, and what the command adds") {
  ::setenv("CLOISTER_A", "a", 1);
  ::setenv("CLOISTER_B", "b", 1);
  Command const show = shell("echo \"${CLOISTER_A-none} ${CLOISTER_B-none}\"");
  CHECK(run({}, show).out == "a b\n");
  CHECK(run({.environment = cloister::Environment::clear()}, show).out == "none none\n");
  CHECK(run({.environment = cloister::Environment::only({"CLOISTER_B"})}, show).out == "none b\n");
  CHECK(run({}, show.env("CLOISTER_A", "other")).out == "other b\n");
  CHECK(run({.environment = cloister::Environment::clear()}, show.env("CLOISTER_A", "")).out == " none\n");
  ::unsetenv("CLOISTER_A");
  ::unsetenv("CLOISTER_B");
}

TEST_CASE("a program runs in all the namespaces at once, as PID 1 and under a reaper") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no user namespace to be had");
  Isolation box{.unshare = cloister::CloneFlags::all(), .ids = cloister::IdMap::root(), .hostname = "box"};
  box.clock.boottime = 24h * 365;
  Command const look = shell("echo $$ $(uname -n) $(id -u)");
  CHECK(run(box, look).out == "1 box 0\n");
  box.init = cloister::Init::reaper;
  CHECK(run(box, look).out == "2 box 0\n");
}

TEST_CASE("the program finds its words as they are, the first one too") {
  Output const output = run(
      {}, Command{"sh", "-c", "tr '\\0' '|' </proc/$$/cmdline; for word; do :; done", "", "a b", "*", "$HOME", "it's"});
  CHECK(output.out == "sh|-c|tr '\\0' '|' </proc/$$/cmdline; for word; do :; done||a b|*|$HOME|it's|");
}

TEST_CASE("words that are more than the kernel takes are an Error") {
  test::Unchanged const unchanged;
  Error const error = refusal({"true", std::string(200'000, 'x')});
  CHECK(error.code() == std::errc::argument_list_too_long);
  CHECK(error.step() == "execve");
  CHECK(error.in_child());
  CHECK(run({}, Command{"true", std::string(100'000, 'x')}).status.success());
}

TEST_CASE("a file that is no program is an Error, and no shell tries it") {
  test::TemporaryDirectory const directory;
  std::string const text = directory / "text";
  int const fd = ::open(text.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
  CHECK(::write(fd, "echo hello\n", 11) == 11);
  ::close(fd);
  Error const error = refusal({text});
  CHECK(error.code() == std::errc::executable_format_error);
  CHECK(std::string(error.what()).starts_with("cloister: execve " + text + " (in the child): Exec format error"));
  CHECK(refusal({directory.path()}).code() == std::errc::permission_denied);
  CHECK(refusal({text + "/beneath"}).code() == std::errc::not_a_directory);
}

TEST_CASE("a program that cannot be started is an Error of every kind of start, and leaves nothing") {
  test::Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : programs()) {
      CAPTURE(kind.name);
      try {
        (void)on(where, [&] { return run(kind.isolation(), Command{"/no/such/program"}); });
        FAIL("nothing was thrown");
      } catch (Error const& error) {
        CHECK(error.code() == std::errc::no_such_file_or_directory);
        CHECK(error.step() == "execve");
        CHECK(error.in_child());
      }
    }
}

TEST_CASE("a directory that may not be entered is an Error of chdir") {
  SKIP_UNLESS(!is_root(), "root may enter any");
  test::TemporaryDirectory const directory;
  REQUIRE(::chmod(directory.path().c_str(), 0) == 0);
  Error const error = refusal(Command{"true"}.cwd(directory.path()));
  CHECK(error.code() == std::errc::permission_denied);
  CHECK(error.step() == "chdir");
  REQUIRE(::chmod(directory.path().c_str(), 0700) == 0);
}

TEST_CASE("a program starts with every signal at its default and none blocked, whatever the host has") {
  std::vector<Kind> const some = programs();
  int const status = expectations([&] {
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGCHLD, [](int) {});
    sigset_t most;
    ::sigfillset(&most);
    ::pthread_sigmask(SIG_BLOCK, &most, nullptr);
    for_each_kind_everywhere(some, [](Kind const& kind, Where where) {
      std::string const out = on(where, [&] { return run(kind.isolation(), Command{"cat", "/proc/self/status"}).out; });
      for (char const* const set : {"SigPnd", "SigBlk", "SigIgn", "SigCgt"})
        EXPECT(out.find(std::string(set) + ":\t0000000000000000\n") != out.npos);
    });
  });
  CHECK(status == 0);
}

TEST_CASE("a program has its streams and what was kept, and no other descriptor") {
  std::vector<Kind> const some = programs();
  int const status = expectations([&] {
    int const zero = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    EXPECT(::dup3(zero, 40, O_CLOEXEC) == 40 && ::dup2(zero, 41) == 41 && ::dup2(zero, 900) == 900);
    Command const look = shell(
        "cd /proc/self/fd; for fd in 3 4 5 6 7 8 9 10 20 40 41 42 900; do test -e $fd && printf '%s ' $fd; done; "
        "readlink 20 40");
    for_each_kind_everywhere(some, [&](Kind const& kind, Where where) {
      Isolation isolation = kind.isolation();
      isolation.descriptors = cloister::Descriptors::only({40});
      // 3 is the directory that the shell's own look at /proc opens, if it does.
      std::string out = on(where, [&] { return run(isolation, look.keep_fd(41, 20)).out; });
      if (out.starts_with("3 ")) out.erase(0, 2);
      EXPECT(out == "20 40 /dev/zero\n/dev/zero\n");
    });
  });
  CHECK(status == 0);
}

TEST_CASE("kept descriptors may go round in a circle, be doubled, and be streams") {
  int const status = expectations([] {
    int pipes[3][2];
    for (int i = 0; i < 3; ++i)
      EXPECT(::pipe2(pipes[i], O_CLOEXEC) == 0 && ::dup3(pipes[i][1], 60 + i, O_CLOEXEC) == 60 + i);
    Command const circle =
        shell("for fd in 60 61 62 70 71; do printf %s $fd >/proc/self/fd/$fd; done; printf tty >/proc/self/fd/72")
            .keep_fd(60, 61)
            .keep_fd(61, 62)
            .keep_fd(62, 60)
            .keep_fd(60, 70)
            .keep_fd(60, 71)
            .keep_fd(1, 72);
    ::dup2(pipes[1][1], 1);
    Output const output = run({}, circle.stdio({.out = Redirect::null()}));
    EXPECT(output.status.success());
    EXPECT(output.err.empty());
    std::string const expected[3] = {"617071", "62tty", "60"};
    for (int i = 0; i < 3; ++i) {
      char text[16] = {};
      EXPECT(::read(pipes[i][0], text, sizeof text) > 0 && text == expected[i]);
    }
  });
  CHECK(status == 0);
}

TEST_CASE("err goes where out goes, wherever that is") {
  Command const both = shell("echo out; echo err >&2");
  CHECK(run({}, both.stdio({.out = Redirect::null(), .err = Redirect::to_out()})) ==
        Output{.status = ExitStatus::exited(0)});
  CHECK(run({}, both.stdio({.out = Redirect::pipe(), .err = Redirect::to_out()})).out == "out\nerr\n");
  int const status = expectations([&] {
    int ends[2];
    EXPECT(::pipe2(ends, O_CLOEXEC) == 0);
    char text[16] = {};
    EXPECT(run({}, both.stdio({.out = Redirect::descriptor(ends[1]), .err = Redirect::to_out()})).status.success());
    EXPECT(::read(ends[0], text, sizeof text) == 8 && std::string(text) == "out\nerr\n");
    ::dup2(ends[1], 1);
    EXPECT(run({}, both.stdio({.out = Redirect::inherit(), .err = Redirect::to_out()})).status.success());
    EXPECT(::read(ends[0], text, sizeof text) == 8 && std::string(text) == "out\nerr\n");
    ::dup2(ends[1], 2);
    EXPECT(run({}, both.stdio({.out = Redirect::null(), .err = Redirect::inherit()})).status.success());
    EXPECT(::read(ends[0], text, sizeof text) == 4 && std::string(text, 4) == "err\n");
    EXPECT(run({}, both.stdio({.out = Redirect::descriptor(2), .err = Redirect::null()})).status.success());
    EXPECT(::read(ends[0], text, sizeof text) == 4 && std::string(text, 4) == "out\n");
  });
  CHECK(status == 0);
}

TEST_CASE("a handle has an end of the streams that are pipes, and of no other") {
  ChildProcess child{Isolation{}, Command{"cat"}.stdio({.in = Redirect::pipe(), .err = Redirect::null()})};
  CHECK(child.in());
  CHECK_FALSE(child.out());
  CHECK_FALSE(child.err());
  CHECK((::fcntl(child.in().get(), F_GETFD) & FD_CLOEXEC) != 0);
  child.in().reset();
  CHECK(child.get().success());
}

TEST_CASE("a program that closes its streams is waited for without a hurry") {
  auto const before = std::clock();
  CHECK(run({}, shell("exec >&- 2>&-; sleep 0.3; exit 4")).status == ExitStatus::exited(4));
  CHECK(std::clock() - before < CLOCKS_PER_SEC / 10);
}

TEST_CASE("a program may read a part of its input, or read it late") {
  std::string const input(300'000, 'x');
  CHECK(run({}, Command{"head", "-c", "70000"}, {.input = input}).out.size() == 70'000);
  CHECK(run({}, shell("sleep 0.1; wc -c"), {.input = input}).out == "300000\n");
  std::string const binary("\0\xff\n\0", 4);
  CHECK(run({}, Command{"cat"}, {.input = binary}).out == binary);
  CHECK(run({}, Command{"sleep", "1000"}, {.input = input, .timeout = 50ms}).timed_out);
}

TEST_CASE("a time-out of nothing or less is over at once, and of ever never") {
  for (auto const timeout : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    Output const output = run({}, Command{"sleep", "1000"}, {.timeout = timeout});
    CHECK(output.timed_out);
    CHECK(output.status.signal() == SIGKILL);
  }
  CHECK_FALSE(run({}, Command{"true"}, {.timeout = std::chrono::nanoseconds::max()}).timed_out);
}

TEST_CASE("a time-out ends what is in the pid namespace too, whatever it ignores and whichever group it is in") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  test::Unchanged const unchanged;
  for (Kind const& kind : programs()) {
    if (!kind.new_pid()) continue;
    CAPTURE(kind.name);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    Command const stubborn =
        shell("trap '' TERM INT HUP; setsid sleep 1000 & echo began; sleep 1000; sleep 1000").keep_fd(ends[1]);
    Output const output = run(kind.isolation(), stubborn, {.timeout = 200ms});
    ::close(ends[1]);
    CHECK(output.timed_out);
    CHECK(output.out == "began\n");
    char byte;
    CHECK(::read(ends[0], &byte, 1) == 0);
    ::close(ends[0]);
  }
}

TEST_CASE("every kind of program gives its output, its status and its errors") {
  test::Unchanged const unchanged;
  std::string const input(100'000, 'x');
  for (Where const where : everywhere)
    for (Kind const& kind : programs()) {
      CAPTURE(kind.name);
      Output const output =
          on(where, [&] { return run(kind.isolation(), shell("cat; echo err >&2; exit 200"), {.input = input}); });
      CHECK(output.out == input);
      CHECK(output.err == "err\n");
      CHECK(output.status == ExitStatus::exited(200));
    }
}

TEST_CASE("a program is in a process group of its own, so that the terminal's signals and time-outs are its own") {
  CHECK(run({}, shell("test $(ps -o pgid= -p $$) = $$")).status.success());
  CHECK(run({}, shell("test $(ps -o sid= -p $$) != $$")).status.success());
}

TEST_CASE("a program that becomes ours by a handle stays in the host's process group") {
  pid_t const group = ::getpgrp();
  ChildProcess child{Isolation{}, Command{"sleep", "1000"}};
  CHECK(::getpgid(child.pid()) == group);
}

TEST_CASE("one description and one command serve many children, from many threads") {
  test::Unchanged const unchanged;
  Isolation const isolation{.environment = cloister::Environment::only({"PATH"})};
  Command const command = shell("cat; echo $A").env("A", "a");
  std::vector<std::string> outputs(8);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    threads.emplace_back([&, i] {
      for (int again = 0; again < 5; ++again) outputs[i] = run(isolation, command, {.input = std::to_string(i)}).out;
    });
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < outputs.size(); ++i) CHECK(outputs[i] == std::to_string(i) + "a\n");
}

TEST_CASE("a kept descriptor may have any number, and the right program runs, also under a reaper") {
  for (Kind const& kind : programs())
    for (char const* file :
         {"/bin/true", "/etc/passwd"}) {  // one that could be taken for a program, and one that could not
      CAPTURE(kind.name);
      CAPTURE(file);
      auto const kept = cloister::FileDescriptor::adopt(::open(file, O_RDONLY | O_CLOEXEC));
      REQUIRE(kept);
      struct stat wanted {};
      REQUIRE(::fstat(kept.get(), &wanted) == 0);
      std::string const number = kind.new_pid() ? kind.reaper() ? "2" : "1" : "";
      for (int as = 3; as <= 20; ++as) {
        CAPTURE(as);
        Output const output = run(kind.isolation(), shell(std::string(kind.new_pid() ? "echo $$; " : "echo; ") +
                                                          "exec stat -L -c %i /proc/self/fd/" + std::to_string(as))
                                                        .keep_fd(kept.get(), as));
        CHECK(output.status.success());
        CHECK(output.err == "");
        CHECK(output.out == number + "\n" + std::to_string(wanted.st_ino) + "\n");
      }
    }
}
