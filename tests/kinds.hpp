// The kinds of children that can be started, for tests that hold for all of them, and checks inside a forked process.
#pragma once

#include <fcntl.h>
#include <stdio.h>

#include <cloister/run.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support.hpp"

namespace test {

// --- Checks where doctest's assertions reach nobody: in a process that the test has forked

inline int complaints = 2;  // where they go: a copy of stderr
inline int unmet = 0;       // how many expectations were not met in this process
inline std::string about;   // what is being tried, for the message

inline bool expect(bool met, char const* what, char const* file, int line) {
  if (met) return true;
  // Not through stderr: a test may have closed it.
  if (++unmet <= 5)
    ::dprintf(complaints, "%s:%d: not so%s%s: %s\n", file, line, about.empty() ? "" : ", with ", about.c_str(), what);
  return false;
}
#define EXPECT(...) ::test::expect(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

// Whether this user may have user namespaces. Asked once, and before a process is changed.
inline bool user_namespaces() {
  static bool const possible = can_unshare_user();
  return possible;
}

// The wait status of a fork in which `body` ran: 0 if every EXPECT was met and nothing was thrown, SIGALRM if it hung.
// What it had started dies with it.
template <class Body>
int expectations(Body&& body, unsigned seconds = 60) {
  (void)user_namespaces();
  return in_fork([&] {
    ::signal(SIGALRM, SIG_DFL);
    ::alarm(seconds);
    unmet = 0;
    complaints = ::fcntl(2, F_DUPFD_CLOEXEC, 900);
    body();
    return unmet == 0;
  });
}

// --- Kinds

struct Kind {
  std::string name;
  bool program;
  cloister::CloneFlags flags;
  cloister::Init init;
  std::optional<cloister::IdMap> ids;
  std::vector<cloister::Namespace> join{};

  bool new_pid() const { return flags.contains(cloister::NamespaceType::pid); }
  bool reaper() const { return init == cloister::Init::reaper; }
  cloister::Isolation isolation() const {
    cloister::Isolation isolation;
    isolation.unshare = flags;
    isolation.join = join;
    isolation.ids = ids;
    isolation.init = init;
    return isolation;
  }
};

// The kinds that this user may start: callables and programs, without and with a pid namespace and a reaper, without
// and with a user namespace. Root's user namespace maps other ids, so that the child changes its own.
inline std::vector<Kind> kinds() {
  using cloister::CloneFlags, cloister::IdMap, cloister::Init, cloister::NamespaceType;
  std::vector<Kind> all;
  auto const add = [&](std::string const& suffix, CloneFlags flags, std::optional<IdMap> const& ids, bool pid_allowed) {
    for (bool const program : {false, true}) {
      std::string const name = program ? "a program" : "a callable";
      all.push_back({name + suffix, program, flags, Init::none, ids});
      if (!pid_allowed) continue;
      all.push_back({name + " in a pid namespace" + suffix, program, flags | NamespaceType::pid, Init::none, ids});
      all.push_back({name + " under a reaper" + suffix, program, flags | NamespaceType::pid, Init::reaper, ids});
    }
  };
  add("", {}, std::nullopt, is_root());
  if (user_namespaces()) {
    std::optional<IdMap> ids;
    if (is_root()) ids = IdMap::ranges({{0, 100000, 65536}}, {{0, 100000, 65536}});
    add(" and a user namespace", NamespaceType::user, ids, true);
  }
  return all;
}
inline std::vector<Kind> callables() {
  std::vector<Kind> some;
  for (Kind& kind : kinds())
    if (!kind.program) some.push_back(std::move(kind));
  return some;
}
inline std::vector<Kind> programs() {
  std::vector<Kind> some;
  for (Kind& kind : kinds())
    if (kind.program) some.push_back(std::move(kind));
  return some;
}

// Namespaces for others to join: those of a child that waits in them until it is killed. The user namespace maps 0, for
// root to another id.
class Room {
 public:
  explicit Room(cloister::Isolation isolation)
      : Room(std::move(isolation), [] {
          for (;;) ::pause();
        }) {}
  template <class Callable>
  Room(cloister::Isolation isolation, Callable callable)
      : types_(isolation.unshare),
        child_(cloister::ChildProcess{with_ids(std::move(isolation)), std::move(callable)}) {}

  cloister::Child& child() { return child_; }
  cloister::Child const& child() const { return child_; }
  cloister::Namespace operator[](cloister::NamespaceType type) const { return child_.namespace_of(type); }
  std::vector<cloister::Namespace> all() const {
    std::vector<cloister::Namespace> found;
    for (cloister::NamespaceType type : types_) found.push_back(child_.namespace_of(type));
    return found;
  }

 private:
  static cloister::Isolation with_ids(cloister::Isolation isolation) {
    using cloister::IdMap;
    bool const user = isolation.unshare.contains(cloister::NamespaceType::user);
    if (user && !isolation.ids)
      isolation.ids.emplace(is_root() ? IdMap::ranges({{0, 100000, 65536}}, {{0, 100000, 65536}}) : IdMap::root());
    return isolation;
  }

  cloister::CloneFlags types_;
  cloister::Child child_;
};

// The kinds of children that join such a room, which has user, pid and time among others: a pid namespace that exists,
// and a time namespace, which no program can enter that shares our memory, have ways of their own.
inline std::vector<Kind> joining_kinds(Room const& room) {
  using cloister::Init, cloister::NamespaceType;
  std::vector<cloister::Namespace> without_time;
  for (cloister::Namespace const& each : room.all())
    if (each.type() != NamespaceType::time) without_time.push_back(each);
  cloister::Namespace const user = room[NamespaceType::user];
  std::vector<Kind> all;
  for (bool const program : {false, true}) {
    std::string const name = program ? "a program" : "a callable";
    all.push_back({name + " that joins a user namespace", program, {}, Init::none, {}, {user}});
    all.push_back({name + " that joins user and pid", program, {}, Init::none, {}, without_time});
    all.push_back({name + " that joins time as well", program, {}, Init::none, {}, room.all()});
    for (Init const init : {Init::none, Init::reaper})
      all.push_back({name + " in a pid namespace" + (init == Init::reaper ? " under a reaper" : "") +
                         " of a user namespace that it joins",
                     program,
                     NamespaceType::pid,
                     init,
                     {},
                     {user}});
  }
  return all;
}

// What a child answers: 42 if all went well.
inline int answer(Kind const& kind) {
  if (!kind.program) return cloister::run(kind.isolation(), [] { return 42; });
  return cloister::run(kind.isolation(), cloister::Command{"sh", "-c", "exit 42"}).status.code().value_or(-1);
}

// A child that ends with that status by itself.
inline cloister::Child start_exiting(Kind const& kind, int code) {
  if (kind.program)
    return cloister::ChildProcess{kind.isolation(), cloister::Command{"sh", "-c", "exit " + std::to_string(code)}};
  return cloister::ChildProcess{kind.isolation(), [code] { ::_exit(code); }};
}

// A child that waits to be killed and meanwhile holds the descriptor `held` open, if there is one.
inline cloister::Child start_waiting(Kind const& kind, int held = -1,
                                     cloister::ParentDeath on_parent_death = cloister::ParentDeath::kill_child) {
  cloister::Isolation isolation = kind.isolation();
  isolation.on_parent_death = on_parent_death;
  if (!kind.program)
    return cloister::ChildProcess{isolation, [] {
                                    for (;;) ::pause();
                                  }};
  cloister::Command command{"sleep", "1000"};
  return cloister::ChildProcess{isolation, held < 0 ? command : command.keep_fd(held)};
}

// --- Threads

enum class Where { main_thread, other_thread };
inline constexpr Where everywhere[] = {Where::main_thread, Where::other_thread};
inline char const* name_of(Where where) { return where == Where::main_thread ? ", main thread" : ", another thread"; }

// Calls it on this thread or on one of its own, whose exceptions come out here.
template <class F>
auto on(Where where, F&& call) {
  using Result = std::invoke_result_t<F&>;
  if (where == Where::main_thread) return call();
  std::exception_ptr thrown;
  // pthread_join returns a moment before the kernel takes the thread off its list.
  struct Gone {
    ~Gone() {
      int const kept = errno;
      while (::tgkill(::getpid(), tid, 0) == 0) ::sched_yield();
      errno = kept;
    }
    pid_t tid = 0;
  } thread;
  if constexpr (std::is_void_v<Result>) {
    std::thread([&] {
      thread.tid = ::gettid();
      try {
        call();
      } catch (...) {
        thrown = std::current_exception();
      }
    }).join();
    if (thrown) std::rethrow_exception(thrown);
  } else {
    std::optional<Result> result;
    std::thread([&] {
      thread.tid = ::gettid();
      try {
        result.emplace(call());
      } catch (...) {
        thrown = std::current_exception();
      }
    }).join();
    if (thrown) std::rethrow_exception(thrown);
    return std::move(*result);
  }
}

// Calls it for each kind from the main thread and from another one, within a fork.
template <class F>
void for_each_kind_everywhere(std::vector<Kind> const& some, F&& call) {
  for (Where const where : everywhere)
    for (Kind const& kind : some) {
      about = kind.name + name_of(where);
      try {
        call(kind, where);
      } catch (std::exception const& error) {
        expect(false, error.what(), __FILE__, __LINE__);
      }
    }
  about.clear();
}

// Whether the kernel tells how a child ended that somebody else has reaped: Linux 6.15.
inline bool kernel_remembers_status() {
  return in_fork([] {
           ::signal(SIGCHLD, SIG_IGN);
           pid_t const child = ::fork();
           if (child == 0) {
             ::usleep(20'000);
             ::_exit(7);
           }
           int const pidfd = cloister::detail::sys::pidfd_open(child);
           return pidfd >= 0 &&
                  wait_until(
                      [&] {
                        cloister::detail::kernel::pidfd_info info{};
                        info.mask = cloister::detail::kernel::pidfd_info_exit;
                        return cloister::detail::sys::ioctl(pidfd, cloister::detail::kernel::pidfd_get_info,
                                                            cloister::detail::sys::arg(&info)) == 0 &&
                               (info.mask & cloister::detail::kernel::pidfd_info_exit) != 0;
                      },
                      std::chrono::seconds(1));
         }) == 0;
}

}  // namespace test
