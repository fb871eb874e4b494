// Something befalls one system call of a start of a child, on whichever side it is made, and what comes of that is
// looked at from outside: a host is a forked process whose calls, and those of all that it starts, a seccomp filter has
// its parent decide about.
#pragma once

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <set>

#include "../kinds.hpp"

namespace faults {

// --- calls, and what may befall them

inline constexpr int errors[] = {EPERM, EINTR, ENOMEM, EAGAIN, EMFILE, ENOSYS};

struct Fault {
  enum Kind { error, delay, signal } kind;
  int number = 0;  // of the error
};
inline std::vector<Fault> const& all_faults() {
  static std::vector<Fault> const all = [] {
    std::vector<Fault> some;
    for (int const each : errors) some.push_back({Fault::error, each});
    some.push_back({Fault::delay});
    some.push_back({Fault::signal});
    return some;
  }();
  return all;
}
// More than the tenth of a second after which somebody who waits may look whether the other one is still there.
inline constexpr std::chrono::milliseconds length_of_delay{120};
// Who did look is held up as well, until this long after the delayed call has been made: what was found is old by then.
inline constexpr std::chrono::milliseconds length_of_look{20};
// The host handles it, without SA_RESTART. It does nothing to a child, which has no handler any more.
inline constexpr int the_signal = SIGURG;

// Calls that nobody refuses, and whose failure nobody could do anything about: they end a process or a signal handler,
// give something back (a close that is skipped leaks by construction), tell what is known, or set what cannot be wrong.
// When the last two fail the C library itself ends the process.
inline bool is_infallible(seccomp_data const& call) {
  constexpr long numbers[] = {SYS_exit,    SYS_exit_group, SYS_rt_sigreturn, SYS_close,        SYS_munmap,
                              SYS_brk,     SYS_getpid,     SYS_getppid,      SYS_gettid,       SYS_geteuid,
                              SYS_getegid, SYS_umask,      SYS_sched_yield,  SYS_rt_sigaction, SYS_rt_sigprocmask,
                              SYS_futex,   SYS_rseq};
  for (long const number : numbers)
    if (call.nr == number) return true;
  return call.nr == SYS_prctl && (call.args[0] == PR_GET_DUMPABLE || call.args[0] == PR_SET_DUMPABLE);
}

// A call of a start, by what stays the same from one to the next: who makes it (threads and processes in the order in
// which they come up, the one that starts the child being 0), and the how many-eth of its kind it is there.
struct Call {
  unsigned thread = 0;
  long number = 0;
  unsigned nth = 0;
  bool may_fail = true;
  bool is(Call const& other) const { return thread == other.thread && number == other.number && nth == other.nth; }
};

inline std::string name_of(long call) {
  // clang-format off
#define NAMED(name) {SYS_##name, #name}
  static constexpr std::pair<long, char const*> names[] = {
      NAMED(brk), NAMED(capget), NAMED(capset), NAMED(chdir), NAMED(clone), NAMED(clone3), NAMED(close),
      NAMED(close_range), NAMED(dup3), NAMED(execve), NAMED(execveat), NAMED(exit), NAMED(exit_group),
      NAMED(fchdir), NAMED(fchmod), NAMED(fcntl), NAMED(fsconfig), NAMED(fsmount), NAMED(fsopen), NAMED(fstatfs),
      NAMED(futex), NAMED(get_robust_list), NAMED(getdents64), NAMED(getegid), NAMED(geteuid), NAMED(getpid),
      NAMED(getppid), NAMED(gettid), NAMED(ioctl), NAMED(keyctl), NAMED(kill), NAMED(madvise), NAMED(memfd_create),
      NAMED(mkdirat), NAMED(mmap), NAMED(mount), NAMED(mount_setattr), NAMED(move_mount), NAMED(mprotect),
      NAMED(munmap), NAMED(open_tree), NAMED(openat), NAMED(openat2), NAMED(pidfd_open), NAMED(pidfd_send_signal),
      NAMED(pipe2), NAMED(pivot_root), NAMED(ppoll), NAMED(prctl), NAMED(pread64), NAMED(prlimit64), NAMED(read),
      NAMED(readlinkat), NAMED(recvfrom), NAMED(recvmsg), NAMED(rseq), NAMED(rt_sigaction), NAMED(rt_sigpending),
      NAMED(rt_sigprocmask), NAMED(rt_sigtimedwait), NAMED(sched_yield), NAMED(sendmsg), NAMED(sendto),
      NAMED(set_robust_list), NAMED(setdomainname), NAMED(setgroups), NAMED(sethostname), NAMED(setns),
      NAMED(setpgid), NAMED(setresgid), NAMED(setresuid), NAMED(setsid), NAMED(setsockopt), NAMED(socket),
      NAMED(socketpair), NAMED(statx), NAMED(symlinkat), NAMED(tgkill), NAMED(umask), NAMED(umount2), NAMED(uname),
      NAMED(unlinkat), NAMED(unshare), NAMED(wait4), NAMED(waitid), NAMED(write),
  };
#undef NAMED
  // clang-format on
  for (auto const& [number, name] : names)
    if (number == call) return name;
  return "system call " + std::to_string(call);
}
inline std::string text_of(Call const& call, Fault const& fault) {
  return name_of(call.number) + " no. " + std::to_string(call.nth + 1) + " of thread " + std::to_string(call.thread) +
         (fault.kind == Fault::delay    ? " delayed"
          : fault.kind == Fault::signal ? " with a signal"
                                        : " failing with " + std::string(::strerrorname_np(fault.number)));
}

// --- what is started

struct Start {
  std::string name;
  cloister::Isolation isolation;
  bool program;
  test::Where where = test::Where::main_thread;
  bool busy_threads = false;  // the host has others, which allocate meanwhile
};

// A world in which every step has something to do.
inline cloister::Isolation rich_world(cloister::Init init) {
  using cloister::Mount;
  cloister::Isolation world = cloister::Isolation::untrusted();
  world.unshare |= cloister::NamespaceType::time;
  world.hostname = "box";
  world.domainname = "example";
  world.clock.monotonic = std::chrono::hours(1);
  for (Mount const& mount :
       {Mount::sysfs(), Mount::mqueue(), Mount::file("/etc/hosts", "127.0.0.1 localhost\n"),
        Mount::file("/usr/bin/env", "other").read_only(), Mount::directory("/srv"), Mount::overlay("/usr/lib", "/opt")})
    world.mounts.push_back(mount);
  world.privileges.limits = {{cloister::Resource::open_files, 64}};
  world.init = init;
  return world;
}

enum class Outcome { worked, refused, wrong };

// Between a host and its parent.
struct Shared {
  static constexpr int not_yet = -100'000;
  std::atomic<int> listener{not_yet};  // a descriptor of the host's, or a negative errno
  std::atomic<unsigned> handled{0};
  std::atomic<bool> strayed{false};  // a handler of the host has run in another process
  Outcome outcome{};
  int error_number = 0;
  bool has_children = false;
  bool mask_changed = false;
  char text[1024]{};
};

// --- the host

// A call of this number is one to the parent, which answers it.
inline constexpr long marker = 0x10000;
enum class Mark : long { next, begin, end };
inline long tell(Mark what) { return ::syscall(marker, static_cast<long>(what)); }

inline Shared* shared_by_handler = nullptr;
inline pid_t host_of_handler = -1;
inline void count_signal(int) {
  if (::getpid() == host_of_handler)
    ++shared_by_handler->handled;
  else
    shared_by_handler->strayed = true;
}

inline int answer(Start const& start) {
  if (!start.program) {
    if (start.where == test::Where::other_thread) return cloister::run(start.isolation, [] { return 42; });
    return cloister::ChildProcess{start.isolation, [] { return 42; }}.get();
  }
  cloister::ExitStatus const status = cloister::run(start.isolation, cloister::Command{"sh", "-c", "exit 42"}).status;
  if (!status.code()) throw cloister::ChildDied(status);
  return *status.code();
}

// Starts a child and notes what comes of it.
inline void attempt(Start const& start, Shared& shared) {
  auto const note = [&](Outcome outcome, std::string const& text) {
    shared.outcome = outcome;
    std::snprintf(shared.text, sizeof shared.text, "%s", text.c_str());
  };
  test::on(start.where, [&] {
    struct Watched {
      Watched() { tell(Mark::begin); }
      ~Watched() { tell(Mark::end); }
    };
    sigset_t before, after;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
    try {
      int const result = [&] {
        Watched const watched;
        return answer(start);
      }();
      note(result == 42 ? Outcome::worked : Outcome::wrong, "it answers " + std::to_string(result));
    } catch (cloister::Error const& error) {
      std::string const step(error.step());
      shared.error_number = error.code().value();
      bool const named = !step.empty() && std::string(error.what()).starts_with("cloister: " + step);
      note(named ? Outcome::refused : Outcome::wrong, error.what());
    } catch (std::exception const& other) {
      note(Outcome::wrong, std::string("no Error but: ") + other.what());
    }
    ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
    shared.mask_changed = std::memcmp(&before, &after, 8) != 0;
  });
  siginfo_t info{};
  shared.has_children = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

// Has the parent asked about every call of this thread and of all that it starts. The descriptor, or a negative errno.
inline int install_filter() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 0, 1),  // there are none but for our signals
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  sock_fprog filter{std::size(program), program};
  if (!test::is_root()) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  // A signal is to meet the call that it is sent at, not the question about it: since Linux 5.19.
  constexpr unsigned long wait_killable = 1 << 5;
  long const fd =
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | wait_killable, &filter);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

// Other threads of a host, which allocate and free and throw.
inline void make_busy_threads() {
  for (int i = 0; i < 3; ++i)
    std::thread([] {
      std::vector<std::string> kept(16);
      for (std::size_t round = 0;; ++round) {
        kept[round % kept.size()] = std::string(64 + 128 * (round % 50), 'x');
        try {
          if (round % 8 == 0) throw std::runtime_error("busy");
        } catch (std::runtime_error const&) {
        }
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }).detach();
}

[[noreturn]] inline void be_host(Start const& start, Shared& shared) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent becomes ours
  // Mounts of its own, shared as systemd has them: what got out of a child would show.
  if (test::is_root() && ::unshare(CLONE_NEWNS) == 0) {
    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    ::mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr);
  }
  if (start.busy_threads) make_busy_threads();
  shared_by_handler = &shared;
  host_of_handler = ::getpid();
  struct sigaction action {};
  action.sa_handler = count_signal;
  ::sigaction(the_signal, &action, nullptr);
  shared.listener = install_filter();
  if (shared.listener < 0) ::_exit(1);
  while (tell(Mark::next) == 1) attempt(start, shared);
  ::_exit(0);
}

// --- its parent

// What came of one start.
struct Round {
  std::vector<Call> calls;
  bool struck = false;  // whether the call in question was made at all
  Outcome outcome = Outcome::wrong;
  int error_number = 0;  // of an Error
  std::string text;
  std::string wrong;  // what must never be: a hang, a crash, something left behind
};

class Host {
 public:
  explicit Host(Start const& start) {
    void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::system_category(), "mmap");
    shared_ = new (memory) Shared;
    struct stat facts {};
    if (::stat("/bin/sh", &facts) == 0) shell_ = facts.st_ino;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::system_error(errno, std::system_category(), "fork");
    if (pid_ == 0) be_host(start, *shared_);
    pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    for (pollfd ended{pidfd_, POLLIN, 0}; shared_->listener == Shared::not_yet && ::poll(&ended, 1, 0) == 0;)
      ::usleep(100);
    listener_ = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_, shared_->listener.load(), 0));
    if (listener_ < 0) return;
    ::ioctl(listener_, set_flags, 1);  // one of us waits for the other: they may share a processor
    Round nothing;
    serve(nothing);
    (void)round();  // what a first start allocates it keeps
    picture_ = picture();
  }
  Host(Host const&) = delete;
  ~Host() {
    ::kill(pid_, SIGKILL);
    while (::waitpid(-1, nullptr, __WALL | WNOHANG) > 0 || ::waitpid(pid_, nullptr, 0) > 0) {
    }
    for (int const fd : {listener_, pidfd_})
      if (fd >= 0) ::close(fd);
    ::munmap(shared_, sizeof(Shared));
  }

  bool can_decide() const { return listener_ >= 0; }
  bool is_alive() const { return alive_; }

  // One start; `fault` befalls the call, if there is one.
  Round round(Call const* call = nullptr, Fault const& fault = {}) {
    Round round;
    call_ = call;
    fault_ = fault;
    shared_->handled = 0;
    shared_->strayed = false;
    shared_->text[0] = '\0';
    signalled_starter_ = false;
    answer(waiting_, 1);
    serve(round);
    if (!alive_) return round;
    round.outcome = shared_->outcome;
    round.error_number = shared_->error_number;
    round.text = shared_->text;
    if (shared_->has_children) round.wrong += "a child is left; ";
    if (shared_->mask_changed) round.wrong += "the signal mask has changed; ";
    if (shared_->strayed) round.wrong += "a handler of the host has run in another process; ";
    if (signalled_starter_ && shared_->handled == 0) round.wrong += "the signal was lost; ";
    if (!picture_.empty()) round.wrong += changes();
    return round;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr unsigned long set_flags = _IOW('!', 4, std::uint64_t);

  // Answers the host until it asks what is next.
  void serve(Round& round) {
    constexpr std::chrono::seconds limit{30};
    Clock::time_point const deadline = Clock::now() + limit;
    held_.reset();
    looking_.reset();
    for (bool active = false;;) {
      Clock::time_point const until = held_ ? held_->until : deadline;
      auto const left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
      pollfd asked[] = {{listener_, POLLIN, 0}, {pidfd_, POLLIN, 0}};
      ::poll(asked, 2, left < 0 ? 0 : static_cast<int>(left));
      if (asked[1].revents != 0) return lose(round, "the host has crashed");
      if (Clock::now() >= deadline) return lose(round, "it hangs:" + whereabouts());
      if ((asked[0].revents & POLLIN) == 0) {
        if (held_ && Clock::now() >= held_->until) let_go();
        continue;
      }
      seccomp_notif request{};
      if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) continue;
      if (request.data.nr == marker) {
        Mark const mark{static_cast<long>(request.data.args[0])};
        waiting_ = request.id;
        if (mark == Mark::next) return;
        active = mark == Mark::begin;
        if (active) threads_.assign(1, {static_cast<pid_t>(request.pid), false, {}});
        answer(request.id, 0);
        continue;
      }
      bool const is_it = active && is_of_start(request) && note(request, round) && !round.struck;
      if (is_it) round.struck = true;
      if (held_ && static_cast<pid_t>(request.pid) == starter()) {
        if (fault_.kind == Fault::signal) {
          signal_starter();
        } else if (held_->caller != starter()) {
          looking_ = Held{request.id, starter(), {}};
          continue;
        }
      }
      if (!is_it || !strike(request)) go_on(request.id);
    }
  }
  // Whether the call has its answer, or will have it.
  bool strike(seccomp_notif const& request) {
    if (fault_.kind == Fault::error) {
      seccomp_notif_resp response{request.id, 0, -fault_.number, 0};
      ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
      return true;
    }
    if (fault_.kind == Fault::delay) {
      held_ = Held{request.id, static_cast<pid_t>(request.pid), Clock::now() + length_of_delay};
      return true;
    }
    auto const caller = static_cast<pid_t>(request.pid);
    std::string const status = text_of_file(caller, "status");
    constexpr std::uint64_t bit = std::uint64_t{1} << (the_signal - 1);
    bool const handles = (std::strtoull(field(status, "SigCgt").c_str(), nullptr, 16) & bit) != 0;
    if (handles) {
      signalled_starter_ = caller == starter();
      ::syscall(SYS_tkill, caller, the_signal);
      return false;
    }
    // One without a handler: the signal is for the thread that starts it, at the same moment.
    held_ = Held{request.id, caller, Clock::now()};
    return true;
  }
  // A question that we have not read yet would be answered by the signal, and the call not be made: it has to come at a
  // call that we hold, or that the starter sleeps in.
  void let_go() {
    if (fault_.kind == Fault::signal) {
      std::string const state = field(text_of_file(starter(), "status"), "State");
      pollfd asked{listener_, POLLIN, 0};
      if (state.find_first_of("SD") != 0 || ::poll(&asked, 1, 0) != 0) {
        held_->until = Clock::now() + std::chrono::milliseconds(1);
        return;
      }
      signal_starter();
    } else {
      go_on(held_->id);
      held_ = std::exchange(looking_, std::nullopt);
      if (held_) held_->until = Clock::now() + length_of_look;
    }
  }
  void signal_starter() {
    signalled_starter_ = true;
    ::syscall(SYS_tkill, starter(), the_signal);
    go_on(held_->id);
    held_.reset();
  }
  pid_t starter() const { return threads_.front().id; }
  void answer(std::uint64_t id, long value) {
    seccomp_notif_resp response{id, value, 0, 0};
    ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
  void go_on(std::uint64_t id) {
    seccomp_notif_resp response{id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
  void lose(Round& round, std::string const& why) {
    round.wrong = why;
    alive_ = false;
  }

  struct Held {
    std::uint64_t id;
    pid_t caller;
    Clock::time_point until;
  };
  struct Thread {
    pid_t id;
    bool has_executed = false;
    std::vector<std::pair<long, unsigned>> made{};
  };
  Thread& thread(pid_t id) {
    for (Thread& each : threads_)
      if (each.id == id) return each;
    return threads_.emplace_back(Thread{id});
  }
  // A program's own calls are no part of its start, nor are those of a main thread that waits for the one that starts
  // it.
  bool is_of_start(seccomp_notif const& request) {
    auto const who = static_cast<pid_t>(request.pid);
    if (who == pid_ && who != starter()) return false;
    Thread& caller = thread(who);
    if (caller.has_executed) {
      std::string const path = "/proc/" + std::to_string(request.pid) + "/exe";
      struct stat facts {};
      return ::stat(path.c_str(), &facts) != 0 || facts.st_ino != shell_;
    }
    caller.has_executed = request.data.nr == SYS_execve || request.data.nr == SYS_execveat;
    return true;
  }
  // Whether it is the call in question.
  bool note(seccomp_notif const& request, Round& round) {
    Thread& caller = thread(static_cast<pid_t>(request.pid));
    auto const number = static_cast<long>(request.data.nr);
    auto made =
        std::find_if(caller.made.begin(), caller.made.end(), [&](auto const& each) { return each.first == number; });
    if (made == caller.made.end()) made = caller.made.insert(made, {number, 0});
    round.calls.push_back(
        {static_cast<unsigned>(&caller - threads_.data()), number, made->second++, !is_infallible(request.data)});
    return call_ != nullptr && round.calls.back().is(*call_);
  }

  // --- what the host has, seen from outside

  static std::string text_of_file(pid_t pid, char const* name) {
    try {
      return test::read_file("/proc/" + std::to_string(pid) + "/" + name);
    } catch (std::system_error const&) {
      return {};
    }
  }
  static std::string field(std::string const& status, std::string const& name) {
    std::size_t const at = status.find("\n" + name + ":\t");
    if (at == std::string::npos) return {};
    std::size_t const begin = at + name.size() + 3;
    return status.substr(begin, status.find('\n', begin) - begin);
  }
  // Where everybody is who takes part, for a complaint.
  std::string whereabouts() const {
    std::string text;
    for (Thread const& each : threads_) {
      std::string const status = text_of_file(each.id, "status"), call = text_of_file(each.id, "syscall");
      text += " [" + std::to_string(each.id) + ' ' + field("\n" + status, "Name") + ", " + field(status, "State") +
              ", in " + name_of(std::atol(call.c_str())) + "]";
    }
    return text;
  }
  std::set<std::string> picture() const {
    std::set<std::string> lines;
    auto const add_directory = [&](std::string const& name, bool links) {
      std::string const path = "/proc/" + std::to_string(pid_) + "/" + name;
      DIR* const directory = ::opendir(path.c_str());
      if (directory == nullptr) return;
      while (dirent const* const entry = ::readdir(directory))
        if (entry->d_name[0] != '.')
          lines.insert(name + " " + entry->d_name +
                       (links ? " " + test::detail::link_target(path + "/" + entry->d_name) : ""));
      ::closedir(directory);
    };
    add_directory("fd", true);
    add_directory("ns", true);
    add_directory("task", false);
    for (char const* const name : {"mountinfo", "limits"}) {
      std::istringstream text(text_of_file(pid_, name));
      for (std::string line; std::getline(text, line);) lines.insert(std::string(name) + " " + line);
    }
    std::string const status = text_of_file(pid_, "status");
    for (char const* const name : {"Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm",
                                   "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"})
      lines.insert(std::string(name) + " " + field(status, name));
    for (char const* const name : {"cwd", "root"})
      lines.insert(std::string(name) + " " + test::detail::link_target("/proc/" + std::to_string(pid_) + "/" + name));
    return lines;
  }
  std::string changes() const {
    std::set<std::string> now;
    // A thread is on the kernel's list for a moment after it has been joined.
    test::wait_until([&] { return (now = picture()) == picture_; }, std::chrono::seconds(5));
    std::string text;
    for (std::string const& line : picture_)
      if (now.count(line) == 0) text += "gone: " + line + "; ";
    for (std::string const& line : now)
      if (picture_.count(line) == 0) text += "new: " + line + "; ";
    return text;
  }

  Shared* shared_ = nullptr;
  ino_t shell_ = 0;
  pid_t pid_ = -1;
  int pidfd_ = -1, listener_ = -1;
  bool alive_ = true;
  std::uint64_t waiting_ = 0;  // its question what is next
  std::vector<Thread> threads_;
  Call const* call_ = nullptr;
  Fault fault_{};
  std::optional<Held> held_;     // the call that a fault befalls, until it goes on
  std::optional<Held> looking_;  // that of the starter, if one has come meanwhile
  bool signalled_starter_ = false;
  std::set<std::string> picture_;
};

// Whether this kernel lets one process decide about another's calls, as it is done here: Linux 5.19.
inline bool can_inject() {
  Start const start{"", {}, false};
  return Host(start).can_decide();
}

// --- the walk

struct Tally {
  unsigned calls = 0, points = 0, worked = 0, refused = 0;
  unsigned unmet = 0;  // calls that did not come again
  std::vector<std::string> failures{};
};

// What is wrong with what came of a fault; empty if it is as it should be.
inline std::string complaint(Round const& round, Fault const& fault) {
  if (!round.wrong.empty()) return round.wrong;
  if (round.outcome == Outcome::wrong) return round.text;
  if (round.outcome == Outcome::worked) return {};
  // The C library says EAGAIN, whatever it was, where there can be no thread.
  bool const is_it = round.error_number == fault.number || round.text.starts_with("cloister: pthread_create:");
  return fault.kind == Fault::error && is_it ? "" : round.text;
}

// Whatever a process has learned of its kernel it remembers: after a start that went another way than the first one, in
// how it makes processes, the next gets another host.
inline std::vector<long> clones_of(std::vector<Call> const& calls) {
  std::vector<long> numbers;
  for (Call const& each : calls)
    if (each.number == SYS_clone || each.number == SYS_clone3) numbers.push_back(each.number);
  return numbers;
}
inline bool begins_with(std::vector<long> const& all, std::vector<long> const& some) {
  return some.size() <= all.size() && std::equal(some.begin(), some.end(), all.begin());
}

// Each call of a start meets each fault that `chosen(call, fault)` says; those that cannot fail are delayed and
// signalled only.
template <class Chosen>
Tally walk(Start const& start, Chosen const& chosen) {
  Tally tally;
  std::optional<Host> host(std::in_place, start);
  std::vector<Call> calls;
  std::vector<long> usual;
  for (int i = 0; i < 3; ++i) {
    Round const clean = host->round();
    if (std::string const wrong = !clean.wrong.empty()               ? clean.wrong
                                  : clean.outcome != Outcome::worked ? clean.text
                                                                     : "";
        !wrong.empty()) {
      tally.failures.push_back("without any fault: " + wrong);
      return tally;
    }
    for (Call const& each : clean.calls)
      if (std::none_of(calls.begin(), calls.end(), [&](Call const& known) { return known.is(each); }))
        calls.push_back(each);
    usual = clones_of(clean.calls);
  }
  tally.calls = static_cast<unsigned>(calls.size());
  bool fresh = true;
  for (Call const& call : calls)
    for (Fault const& fault : all_faults()) {
      if ((fault.kind == Fault::error && !call.may_fail) || !chosen(call, fault)) continue;
      Round round;
      bool usual_way = true;
      for (int attempt = 0; attempt < 3; ++attempt) {
        bool const was_fresh = std::exchange(fresh, false);
        round = host->round(&call, fault);
        usual_way = begins_with(usual, clones_of(round.calls));
        bool const clean = host->is_alive() && round.wrong.empty() && usual_way;
        if (!clean) {
          host.emplace(start);
          fresh = true;
        }
        if (!round.wrong.empty() || (round.struck && (usual_way || was_fresh))) break;
      }
      if (std::string const wrong = complaint(round, fault); !wrong.empty()) {
        tally.failures.push_back(text_of(call, fault) + ": " + wrong);
      } else if (!round.struck) {
        ++tally.unmet;
        continue;
      } else {
        ++(round.outcome == Outcome::worked ? tally.worked : tally.refused);
      }
      ++tally.points;
    }
  return tally;
}

// A number of a call that is the same in every run.
inline unsigned number_of(Call const& call) {
  std::uint64_t const mixed =
      (std::uint64_t{call.thread} * 31 + call.nth) * 1009 + static_cast<std::uint64_t>(call.number);
  return static_cast<unsigned>(mixed * 0x9e3779b97f4a7c15 >> 40);
}

}  // namespace faults
