// Copies of the host that the library did not make: what they must not do to the host's children, and must not hold.
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <atomic>
#include <memory>
#include <optional>
#include <set>

#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace test;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::ExitStatus, cloister::Isolation;
using cloister::detail::process_mark;

namespace {

// A forked copy by the bare system call: no handler of pthread_atfork runs.
pid_t raw_fork() { return static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)); }
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
pid_t bare_fork() { return ::_Fork(); }
#else
pid_t bare_fork() { return raw_fork(); }
#endif

// What `call` returns in a copy made by `copy`; at most 255.
template <class Call>
int in_copy(pid_t (*copy)(), Call&& call) {
  pid_t const pid = copy();
  if (pid == 0) {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(30);
    int result = 255;
    try {
      result = static_cast<int>(call());
    } catch (...) {
    }
    ::_exit(result);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
constexpr pid_t (*copies[])() = {::fork, bare_fork, raw_fork};

}  // namespace

TEST_CASE("the mark of a process differs in its copies, and in theirs, whoever made them") {
  std::uint64_t const mine = process_mark();
  CHECK(mine != 0);
  CHECK(process_mark() == mine);
  for (auto const copy : copies) {
    CHECK(in_copy(copy, [&] { return process_mark() != mine; }) == 1);
    for (auto const again : copies)
      CHECK(in_copy(copy, [&] {
              std::uint64_t const child = process_mark();
              return in_copy(again, [&] { return process_mark() != mine && process_mark() != child; }) == 1 &&
                     process_mark() == child;
            }) == 1);
    // A copy that has not asked for its mark has one all the same.
    CHECK(in_copy(copy, [&] { return in_copy(copy, [&] { return process_mark() != mine; }) == 1; }) == 1);
  }
  CHECK(process_mark() == mine);
}

TEST_CASE("all threads of a process see the same mark, also those that ask first at the same time") {
  int const status = expectations([] {
    for (int round = 0; round < 50; ++round)
      EXPECT(in_copy(::fork, [] {
               std::atomic<bool> go{false};
               std::uint64_t marks[4] = {};
               std::vector<std::thread> threads;
               for (std::uint64_t& mark : marks)
                 threads.emplace_back([&] {
                   while (!go) {
                   }
                   mark = process_mark();
                 });
               go = true;
               for (std::thread& thread : threads) thread.join();
               return std::set<std::uint64_t>(std::begin(marks), std::end(marks)).size() == 1 &&
                      marks[0] == process_mark();
             }) == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("a handle that is destroyed, overwritten or moved in a copy of the host leaves the child alone") {
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (Kind const& kind : kinds())
      for (auto const copy : copies) {
        CAPTURE(kind.name);
        CAPTURE(name_of(where));
        std::optional<Child> child = on(where, [&] { return start_waiting(kind); });
        CHECK(in_copy(copy, [&] {
                std::optional<Child> other = std::move(child);
                other.reset();
                child.reset();
                return 7;
              }) == 7);
        CHECK_FALSE(child->wait_for(2ms));
        CHECK(in_copy(copy, [&] {
                *child = start_waiting(callables().front());
                return 7;
              }) == 7);
        CHECK_FALSE(child->wait_for(2ms));
        child->kill(SIGKILL);
        CHECK(child->wait() == ExitStatus::signaled(SIGKILL));
      }
}

TEST_CASE("a copy of the host that has the same pid leaves the child alone") {
  SKIP_UNLESS(is_root(), "needs root, for a pid namespace without a user namespace whose ids nobody has mapped");
  int const status = expectations([] {
    // The wait status of a child that is PID 1 of a new pid namespace.
    auto const as_pid_1 = [](auto&& body, int flags) {
      auto const pid =
          static_cast<pid_t>(::syscall(SYS_clone, flags | CLONE_NEWPID | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      if (pid == 0) ::_exit(body() ? 0 : 1);
      int code = -1;
      return pid > 0 && ::waitpid(pid, &code, 0) == pid ? code : -1;
    };
    EXPECT(as_pid_1(
               [&] {
                 std::optional<Child> child = ChildProcess{Isolation{}, [] { ::pause(); }};
                 bool const left_alone = ::getpid() == 1 && as_pid_1(
                                                                [&] {
                                                                  child.reset();
                                                                  return ::getpid() == 1;
                                                                },
                                                                0) == 0;
                 return left_alone && !child->wait_for(20ms);
               },
               is_root() ? 0 : CLONE_NEWUSER) == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("a copy of the host that asks a handle takes nothing from the host and does not hang") {
  Unchanged const unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    int const wait_on = ends[0];
    int const keep = ends[1];
    ChildProcess child{kind.isolation(), [wait_on, keep] {
                         ::close(keep);
                         char byte;
                         (void)!::read(wait_on, &byte, 1);
                         return std::string(100'000, 'x');
                       }};
    for (auto const copy : copies)
      CHECK(in_copy(copy, [&] {
              // Numbers that the copy has closed may be somebody else's by now.
              int others[2];
              if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, others) != 0 ||
                  ::send(others[0], "mine", 4, 0) != 4)
                return 1;
              std::optional<ExitStatus> told;
              try {
                told = child.wait_for(1ms);
              } catch (std::logic_error const&) {
              }
              char text[4];
              return told && !told->is_unknown() ? 2 : ::recv(others[1], text, 4, MSG_DONTWAIT) != 4 ? 3 : 7;
            }) == 7);
    ::close(ends[1]);
    CHECK(child.get().size() == 100'000);
    ::close(ends[0]);
  }
}

// --- What a copy holds

namespace {

// How many descriptors of this process are write ends of pipes; sockets of the kind that the library uses.
int pipe_writers() {
  int count = 0;
  for (std::string const& name : test::detail::names_in("/proc/self/fd")) {
    struct stat facts {};
    int const fd = std::stoi(name);
    count += ::fstat(fd, &facts) == 0 && S_ISFIFO(facts.st_mode) && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
  }
  return count;
}
int channels() {
  int count = 0;
  for (std::string const& name : test::detail::names_in("/proc/self/fd")) {
    int type = 0;
    socklen_t size = sizeof type;
    count += ::getsockopt(std::stoi(name), SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
  }
  return count;
}

}  // namespace

TEST_CASE("a copy of the host holds nothing by which children notice the host's end") {
  for (Where const where : everywhere) {
    CAPTURE(name_of(where));
    int const writers_before = pipe_writers();
    int const channels_before = channels();
    std::vector<Child> children;
    for (Kind const& kind : kinds()) children.push_back(on(where, [&] { return start_waiting(kind); }));
    CHECK(in_copy(::fork, pipe_writers) == writers_before);
    CHECK(in_copy(::fork, channels) == channels_before);
    // Nor does a callable of it, which keeps the host's other descriptors: only its own end of its own channel.
    CHECK(cloister::run({}, pipe_writers) == writers_before);
    CHECK(cloister::run({}, channels) == channels_before + 1);
  }
}

TEST_CASE("nor does a copy that is made while other threads start children") {
  int const status = expectations([] {
    int const before = pipe_writers();
    std::atomic<bool> stop{false};
    std::vector<std::thread> starters;
    for (int i = 0; i < 2; ++i)
      starters.emplace_back([&] {
        while (!stop) (void)cloister::run({}, [] { return 1; });
      });
    // The child's end of a channel that another thread has just made may be in the copy. A pipe's write end may not.
    for (int i = 0; i < 300; ++i) EXPECT(in_copy(::fork, pipe_writers) == before);
    stop = true;
    for (std::thread& starter : starters) starter.join();
  });
  CHECK(status == 0);
}

TEST_CASE("the copies' own children are their own") {
  for (auto const copy : copies) {
    Child mine = start_waiting(callables().front());
    CHECK(in_copy(copy, [&] {
            Unchanged const unchanged;
            bool met = true;
            for (Kind const& kind : kinds()) {
              met = met && answer(kind) == 42;
              met = met && on(Where::other_thread, [&] { return answer(kind); }) == 42;
            }
            return met && unchanged.changes() == "" ? 7 : 1;
          }) == 7);
    CHECK_FALSE(mine.try_wait());
  }
}

// --- The dumpable attribute

TEST_CASE("who lends the dumpable attribute waits for those who rely on it, and they for it, but not for ever") {
  int const status = expectations([] {
    using cloister::detail::Dumpable;
    auto const elsewhere = [](auto&& call) { return on(Where::other_thread, [&] { return call(); }); };
    auto const can_rely = [] { return Dumpable{}.rely(); };
    auto const can_lend = [] { return Dumpable{}.lend(); };
    {
      Dumpable relying;
      EXPECT(relying.rely());
      EXPECT(elsewhere(can_rely));
      EXPECT(!elsewhere(can_lend));
      EXPECT(elsewhere(can_rely));  // who gave up is in nobody's way
      EXPECT(relying.lend());
      EXPECT(!elsewhere(can_rely));
      EXPECT(!elsewhere(can_lend));
      ::prctl(PR_SET_DUMPABLE, 0);
      for (auto const copy : copies) EXPECT(in_copy(copy, can_rely) == 1);
      EXPECT(in_copy(::fork, [] { return ::prctl(PR_GET_DUMPABLE); }) == 1);
      EXPECT(::prctl(PR_GET_DUMPABLE) == 0);
    }
    EXPECT(::prctl(PR_GET_DUMPABLE) == 1);
    EXPECT(elsewhere(can_lend));
    // Nobody's business while it is not lent.
    ::prctl(PR_SET_DUMPABLE, 0);
    EXPECT(in_copy(::fork, [] { return ::prctl(PR_GET_DUMPABLE); }) == 0);
    EXPECT(elsewhere(can_lend));
    EXPECT(::prctl(PR_GET_DUMPABLE) == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("what would have to wait too long for it is started as a copy") {
  int const status = expectations([] {
    using cloister::detail::Dumpable;
    for (bool const lent : {true, false}) {
      std::atomic<bool> has{false}, stop{false};
      std::thread holder([&] {
        Dumpable dumpable;
        has = lent ? dumpable.lend() : dumpable.rely();
        while (!stop) std::this_thread::sleep_for(1ms);
      });
      while (!has) std::this_thread::sleep_for(1ms);
      for (Where const where : everywhere)
        for (Kind const& kind : kinds()) {
          if (!kind.program) continue;
          about = kind.name + (lent ? ", lent" : ", relied on");
          Unchanged const unchanged;
          EXPECT(on(where, [&] { return answer(kind); }) == 42);
          EXPECT(unchanged.changes() == "");
        }
      stop = true;
      holder.join();
    }
  });
  CHECK(status == 0);
}
