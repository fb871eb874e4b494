// What becomes of children when their parent process ends, and when only the thread that started them does.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace test;
using cloister::Child, cloister::ChildProcess, cloister::Command, cloister::FileDescriptor, cloister::Init,
    cloister::Isolation, cloister::ParentDeath;

namespace {

struct Pipe {
  FileDescriptor read, write;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    read = FileDescriptor::adopt(ends[0]);
    write = FileDescriptor::adopt(ends[1]);
  }
  bool ends_within(std::chrono::milliseconds time) const {
    pollfd end{read.get(), 0, 0};  // POLLHUP comes without being asked for: nobody can write any more
    return ::poll(&end, 1, static_cast<int>(time.count())) == 1 && (end.revents & POLLHUP) != 0;
  }
};

enum class Starter { main_thread, thread_that_ends, thread_that_stays };
constexpr Starter starters[] = {Starter::main_thread, Starter::thread_that_ends, Starter::thread_that_stays};
char const* name_of(Starter starter) {
  return starter == Starter::main_thread        ? ", from the main thread"
         : starter == Starter::thread_that_ends ? ", from a thread that has ended"
                                                : ", from a thread that is still there";
}

// A process that starts children and waits to be killed. What it runs gets the write end of the pipe, whose end shows
// that nobody of it is left.
class HelperHost {
 public:
  // `act` returns what the host holds until its end.
  template <class Act>
  HelperHost(Pipe& held, Starter starter, Act&& act) {
    Pipe started;
    pid_ = ::fork();
    if (pid_ < 0) throw std::system_error(errno, std::system_category(), "fork");
    if (pid_ == 0) run(started, starter, act);
    held.write.reset();
    started.write.reset();
    char byte = 0;
    bool const ok = ::read(started.read.get(), &byte, 1) == 1 && byte == '+';
    if (!ok) {
      kill();
      throw std::runtime_error("the helper could not start its children");
    }
  }
  HelperHost(HelperHost const&) = delete;
  ~HelperHost() { kill(); }

  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  template <class Act>
  [[noreturn]] static void run(Pipe& started, Starter starter, Act& act) {
    for (int const signal : {SIGINT, SIGSEGV, SIGTERM, SIGABRT, SIGALRM}) ::signal(signal, SIG_DFL);
    ::alarm(60);
    try {
      using Held = decltype(act());
      static std::unique_ptr<Held> held;
      static std::atomic<bool> done{false};
      auto const start = [&] { held = std::make_unique<Held>(act()); };
      if (starter == Starter::main_thread) {
        start();
      } else if (starter == Starter::thread_that_ends) {
        std::thread(start).join();
      } else {
        std::thread([&] {
          try {
            start();
          } catch (std::exception const& error) {
            ::dprintf(2, "helper: %s\n", error.what());
            ::_exit(1);
          }
          done = true;
          for (;;) ::pause();
        }).detach();
        while (!done) std::this_thread::sleep_for(1ms);
      }
      if (::write(started.write.get(), "+", 1) != 1) ::_exit(1);
    } catch (std::exception const& error) {
      ::dprintf(2, "helper: %s\n", error.what());
      ::_exit(1);
    }
    for (;;) ::pause();
  }
  pid_t pid_ = -1;
};

// From the helper to the test, which gets a pidfd of the child.
void send_pid(Pipe& numbers, Child const& child) {
  pid_t const pid = child.pid();
  if (::write(numbers.write.get(), &pid, sizeof pid) != sizeof pid) throw std::runtime_error("write");
}
FileDescriptor receive_pid(Pipe& numbers) {
  pid_t pid = 0;
  REQUIRE(::read(numbers.read.get(), &pid, sizeof pid) == sizeof pid);
  FileDescriptor pidfd = FileDescriptor::adopt(cloister::detail::sys::pidfd_open(pid));
  REQUIRE(pidfd);
  return pidfd;
}

constexpr auto soon = 5s;  // it takes milliseconds, unless the machine is very busy

}  // namespace

TEST_CASE("a child dies with the process that started it, whichever thread did") {
  for (Starter const starter : starters)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held;
      HelperHost host{held, starter, [&] { return start_waiting(kind, held.write.get()); }};
      CHECK_FALSE(held.ends_within(0ms));
      host.kill();
      CHECK(held.ends_within(soon));
    }
}

TEST_CASE("what a child has started in its pid namespace dies with the process as well") {
  for (Starter const starter : starters)
    for (Kind const& kind : kinds()) {
      if (!kind.new_pid()) continue;
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held;
      HelperHost host{held, starter, [&]() -> Child {
                        if (kind.program)
                          return ChildProcess{
                              kind.isolation(),
                              Command{"sh", "-c", "setsid sleep 1000 & sleep 1000"}.keep_fd(held.write.get())};
                        return ChildProcess{kind.isolation(), [] {
                                              if (::fork() == 0) ::setsid();
                                              for (;;) ::pause();
                                            }};
                      }};
      host.kill();
      CHECK(held.ends_within(soon));
    }
}

TEST_CASE("a child lives on when the thread that started it ends, and when others do") {
  std::vector<Child> children;
  std::vector<std::unique_ptr<Pipe>> pipes;
  for (Kind const& kind : kinds()) {
    pipes.push_back(std::make_unique<Pipe>());
    int const end = pipes.back()->read.get();  // it waits for the end of this pipe
    children.push_back(on(Where::other_thread, [&]() -> Child {
      if (kind.program)
        return ChildProcess{kind.isolation(),
                            Command{"sh", "-c", "cat; exit 7"}.stdio({.in = cloister::Redirect::descriptor(end)})};
      int const mine = pipes.back()->write.get();
      return ChildProcess{kind.isolation(), [end, mine] {
                            ::close(mine);
                            char byte;
                            while (::read(end, &byte, 1) > 0) {
                            }
                            ::_exit(7);
                          }};
    }));
  }
  for (int i = 0; i < 10; ++i) std::thread([] {}).join();
  std::this_thread::sleep_for(300ms);
  std::vector<Kind> const all = kinds();
  for (std::size_t i = 0; i < children.size(); ++i) {
    CAPTURE(all[i].name);
    CHECK_FALSE(children[i].try_wait());
  }
  // The later children hold copies of the earlier pipes' ends.
  for (std::size_t i = children.size(); i-- > 0;) {
    CAPTURE(all[i].name);
    pipes[i]->write.reset();
    CHECK(children[i].wait_for(soon) == cloister::ExitStatus::exited(7));
  }
}

TEST_CASE("with leave_child a child lives on without its parent") {
  for (Starter const starter : starters)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held, numbers;
      HelperHost host{held, starter, [&] {
                        Child child = start_waiting(kind, held.write.get(), ParentDeath::leave_child);
                        send_pid(numbers, child);
                        return child;
                      }};
      FileDescriptor const pidfd = receive_pid(numbers);
      host.kill();
      CHECK_FALSE(held.ends_within(30ms));
      CHECK(cloister::detail::sys::pidfd_send_signal(pidfd.get(), SIGKILL) == 0);
      CHECK(held.ends_within(soon));
    }
}

// --- Who else could keep a child from noticing

TEST_CASE("a copy of the host that outlives it keeps no child alive") {
  for (Starter const starter : starters)
    for (Kind const& kind : kinds())
      for (bool const copy_is_callable : {false, true}) {
        CAPTURE(kind.name);
        CAPTURE(name_of(starter));
        CAPTURE(copy_is_callable);
        Pipe held, copies;
        int const writer = held.write.get();
        HelperHost host{held, starter, [&] {
                          Child child = start_waiting(kind, writer);
                          // The copy holds none of the pipe itself, and ends with this test.
                          auto const outlive = [&] {
                            ::close(writer);
                            copies.write.reset();
                            ::prctl(PR_SET_PDEATHSIG, 0);
                            char byte;
                            while (::read(copies.read.get(), &byte, 1) > 0) {
                            }
                            ::_exit(0);
                          };
                          if (copy_is_callable) {
                            Isolation isolation;
                            isolation.on_parent_death = ParentDeath::leave_child;
                            (void)ChildProcess{isolation, outlive}.release();
                          } else if (::fork() == 0) {
                            outlive();
                          }
                          return child;
                        }};
        host.kill();
        CHECK(held.ends_within(soon));
      }
}

TEST_CASE("children of other threads that start at the same time keep no child alive") {
  // Each start may copy what another is just making.
  Pipe held;
  HelperHost host{held, Starter::main_thread, [&] {
                    std::vector<std::thread> threads;
                    auto children = std::make_unique<std::array<std::vector<Child>, 3>>();
                    std::vector<Kind> const all = kinds();
                    for (std::size_t i = 0; i < children->size(); ++i)
                      threads.emplace_back([&, i] {
                        for (std::size_t n = 0; n < 2 * all.size(); ++n)
                          (*children)[i].push_back(start_waiting(all[(n + 4 * i) % all.size()], held.write.get()));
                      });
                    for (std::thread& thread : threads) thread.join();
                    return children;
                  }};
  CHECK_FALSE(held.ends_within(0ms));
  host.kill();
  CHECK(held.ends_within(soon));
}

// --- What a child does to itself

namespace {

// PID 1, which the kernel shields from what would end another process, and started by another thread than the main one,
// needs a handler of its own: it may neither block that signal nor become a program. The description says so.
bool needs_a_handler(Kind const& kind, Starter starter) {
  return kind.new_pid() && !kind.reaper() && starter != Starter::main_thread;
}

}  // namespace

TEST_CASE("a callable that becomes a program by itself dies with the process") {
  for (Starter const starter : starters)
    for (Kind const& kind : callables()) {
      if (needs_a_handler(kind, starter)) continue;
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held, numbers;
      HelperHost host{held, starter, [&] {
                        int const writer = held.write.get();
                        Child child = ChildProcess{kind.isolation(), [writer] {
                                                     ::fcntl(writer, F_SETFD, 0);
                                                     ::execlp("sleep", "sleep", "1000", nullptr);
                                                   }};
                        wait_until([&] {
                          std::string const line = "/proc/" + std::to_string(child.pid()) + "/comm";
                          return kind.reaper() || read_file(line) == "sleep\n";
                        });
                        send_pid(numbers, child);
                        return child;
                      }};
      FileDescriptor const pidfd = receive_pid(numbers);
      host.kill();
      CHECK(held.ends_within(soon));
      cloister::detail::sys::pidfd_send_signal(pidfd.get(), SIGKILL);  // for the case that it lives on
    }
}

TEST_CASE("a child whose user may queue no signals dies with the process") {
  for (Starter const starter : starters)
    for (Kind const& kind : kinds()) {
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held;
      HelperHost host{held, starter, [&] {
                        rlimit const none{0, 0};
                        if (::setrlimit(RLIMIT_SIGPENDING, &none) != 0) throw std::runtime_error("setrlimit");
                        return start_waiting(kind, held.write.get());
                      }};
      host.kill();
      CHECK(held.ends_within(soon));
    }
}

TEST_CASE("a PID 1 lives on when others of its namespace send what tells it of its parent's end") {
  SKIP_UNLESS(is_root() || user_namespaces(), "no pid namespace to be had");
  for (Kind const& kind : callables()) {
    if (!kind.new_pid() || kind.reaper()) continue;
    CAPTURE(kind.name);
    CHECK(on(Where::other_thread, [&] {
            return cloister::run(kind.isolation(), [] {
              pid_t const other = ::fork();
              if (other == 0) ::_exit(::kill(1, SIGRTMAX) == 0 && ::kill(1, SIGIO) == 0 ? 0 : 1);
              int status = -1;
              return ::waitpid(other, &status, 0) == other && status == 0 ? 42 : 1;
            });
          }) == 42);
  }
}

TEST_CASE("a callable that blocks every signal dies with the process") {
  for (Starter const starter : starters)
    for (Kind const& kind : callables()) {
      if (needs_a_handler(kind, starter)) continue;
      CAPTURE(kind.name);
      CAPTURE(name_of(starter));
      Pipe held, numbers;
      HelperHost host{held, starter, [&] {
                        Pipe ready;
                        int const end = ready.write.get();
                        Child child = ChildProcess{kind.isolation(), [end] {
                                                     sigset_t all;
                                                     ::sigfillset(&all);
                                                     ::sigprocmask(SIG_SETMASK, &all, nullptr);
                                                     (void)!::write(end, "+", 1);
                                                     for (;;) ::pause();
                                                   }};
                        char byte;
                        (void)!::read(ready.read.get(), &byte, 1);
                        send_pid(numbers, child);
                        return child;
                      }};
      FileDescriptor const pidfd = receive_pid(numbers);
      host.kill();
      CHECK(held.ends_within(soon));
      cloister::detail::sys::pidfd_send_signal(pidfd.get(), SIGKILL);
    }
}

TEST_CASE("a kept descriptor takes nothing's place by which a program under a reaper notices its parent's death") {
  for (Kind const& kind : programs()) {
    CAPTURE(kind.name);
    for (int as = 4; as < 16; ++as) {
      CAPTURE(as);
      Pipe held;
      HelperHost host{
          held, Starter::thread_that_stays, [&] {
            return Child{ChildProcess{kind.isolation(), Command{"sleep", "1000"}.keep_fd(held.write.get(), as)}};
          }};
      host.kill();
      CHECK(held.ends_within(soon));
    }
  }
}

TEST_CASE("a callable under a reaper that fills its queue of signals dies with the process") {
  std::vector<std::pair<std::string, Isolation>> descriptions;
  for (Kind const& kind : callables())
    if (kind.reaper()) descriptions.emplace_back(kind.name, kind.isolation());
  if (user_namespaces()) descriptions.emplace_back("untrusted", Isolation::untrusted());
  SKIP_UNLESS(!descriptions.empty(), "no pid namespaces");
  for (Starter const starter : starters)
    for (auto& description : descriptions) {
      CAPTURE(description.first);
      CAPTURE(name_of(starter));
      Pipe held, numbers, ready;
      Isolation& isolation = description.second;
      isolation.descriptors = cloister::Descriptors::only({held.write.get(), ready.write.get()});
      HelperHost host{held, starter, [&] {
                        // The queue is the user's, who has other processes too.
                        rlimit const few{64, 64};
                        ::setrlimit(RLIMIT_SIGPENDING, &few);
                        int const end = ready.write.get();
                        Child child =
                            ChildProcess{isolation, [end] {
                                           sigset_t all;
                                           ::sigfillset(&all);
                                           ::sigprocmask(SIG_SETMASK, &all, nullptr);
                                           int count = 0;
                                           while (count < 10'000 && ::sigqueue(::getpid(), SIGRTMIN + 1, {}) == 0)
                                             ++count;
                                           (void)!::write(end, count < 10'000 && errno == EAGAIN ? "+" : "-", 1);
                                           for (;;) ::pause();
                                         }};
                        char byte = 0;
                        if (::read(ready.read.get(), &byte, 1) != 1 || byte != '+')
                          throw std::runtime_error("the queue is not full");
                        send_pid(numbers, child);
                        return child;
                      }};
      FileDescriptor const pidfd = receive_pid(numbers);
      CHECK_FALSE(held.ends_within(0ms));
      host.kill();
      CHECK(held.ends_within(soon));
      cloister::detail::sys::pidfd_send_signal(pidfd.get(), SIGKILL);
    }
}
