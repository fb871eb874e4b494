// The three ways to start a child. The engine chooses:
//   a program                             clone, sharing our memory until its execve: the cost does not grow with our memory
//   a callable, no new pid namespace      fork(), then unshare() in the child
//   a callable in a new pid namespace     fork(), and from that single-threaded middle clone3 with CLONE_PARENT
// Namespaces that exist are joined by the child, or, where it is to be born in one (pid), by a middle: that of a callable, for a program
// one that shares our memory as well. A thread of ours could enter a pid namespace, but not the user namespace that may own it.
// A callable is never cloned straight from the host: nobody would repair the locks that other threads held at that moment. What shares
// our memory touches no variable of a thread (errno is one): they are not its own.
#pragma once

#include <atomic>

#include "../child_error.hpp"
#include "blocked_signals.hpp"
#include "fork_guard.hpp"
#include "hint.hpp"
#include "init.hpp"
#include "init_program.hpp"
#include "proc.hpp"
#include "setup.hpp"
#include "stopped_child.hpp"
#include "thread.hpp"
#include "wait.hpp"

namespace cloister::detail {

// What runs in the child at the end: must not return.
struct Body {
  void (*run)(void* self, ChildSide const& side) noexcept;
  void* self;
};

// A started child, and what its parent holds of it.
struct Running {
  int pid = -1;
  FileDescriptor pidfd;
  HostOnlyDescriptor channel;
  HostOnlyDescriptor moved;  // what a callable speaks through instead
  HostOnlyDescriptor lifeline;
  FileDescriptor in, out, err;
  Early early;  // what it has said already
};

[[noreturn]] inline void throw_failure(Plan const& plan, Failure const& failure, Error::Side side) {
  char const* const step = name_of(failure.step);
  throw Error(failure.error, step, plan.item(failure.step, failure.item), side,
              plan.hint(failure.step, failure.error, failure.item));
}

// A child between its creation and its being ready, and what it has said. If the start ends in an exception it is killed and reaped.
class Birth {
 public:
  Birth(Plan const& plan, int channel, bool through_middle) noexcept
      : channel_(channel), through_middle_(through_middle), among_others_(joins_others(plan.child)) {}
  Birth(Birth const&) = delete;
  ~Birth() {
    try {
      if (middle > 0) {
        send_message(channel_, MessageKind::failed);  // a middle that waits for a child that waits for us would wait for ever
        reap_middle();
        listen();  // for the child that it may have announced meanwhile
      }
    } catch (...) {  // out of memory: a child that nobody knows ends by itself, for want of a parent at the channel
      sys::kill(middle, SIGKILL);
      (void)reap_by_pid(middle);
    }
    kill();
    if (pid > 0) (void)reap();
  }

  int middle = -1;  // our child that clones the real one, by pid until it is reaped
  int announcer = -1;  // who may say that the child has started: the middle, or else the child itself
  int pid = -1;     // the real one
  FileDescriptor pidfd;
  HostOnlyDescriptor moved;  // the channel that the child has moved to; the middle and an init stay with the first
  bool announced = false;
  bool ready = false;
  Failure failure{Step::none, 0, 0};
  ExitStatus ended = ExitStatus::unknown();  // before it was ready, as an init has it

  Early early;  // what a quick child said after it was ready

  // Takes what has been said, up to both the announcement and the readiness; they come in any order from a middle and its child. What
  // is none of our messages before that is a failure: only code of ours has run in the child.
  void listen() {
    listen_to(channel_);
    if (has_moved() && !ready) listen_to(moved.get());
  }
  void listen_to(int channel) {
    while (!(ready && (announced || !through_middle_ || channel != channel_))) {
      HostOnlyDescriptor new_channel;
      Received received = [&] {
        HostOnlyDescriptors::Lock const lock;  // no copy of the host that is made meanwhile gets it
        Received one = receive_message(channel);
        if (!ready && one.fd && one.message.kind == MessageKind::moved) new_channel = HostOnlyDescriptor{std::move(one.fd), lock};
        return one;
      }();
      // What a child says of its failure comes before what its init says of its end.
      if (has_moved() && !ready && channel == channel_) listen_to(moved.get());
      if (received.status == -EAGAIN || received.status == 0) return;
      Message const& message = received.message;
      bool const announces = message.kind == MessageKind::started && received.status > 0 && received.sender == announcer;
      if (ready && !announces) {
        // Of one that floods us not all is kept, or it could take our memory.
        bool const is_outcome = message.kind >= MessageKind::failed && message.kind < MessageKind::ended;
        if (received.status > 0 && message.kind == MessageKind::ended)
          early.end = std::move(received);
        else if (received.status > 0 && is_outcome && early.outcome.status == 0)
          early.outcome = std::move(received);
        continue;
      }
      if (received.status < 0) {
        failure = {Step::started, static_cast<int>(-received.status), 0};
        return;
      }
      if (announces) {
        announced = true;
        if (message.value > 0) pid = message.value;
        if (received.fd) pidfd = std::move(received.fd);
      } else if (message.kind == MessageKind::ready) {
        ready = true;
      } else if (message.kind == MessageKind::moved) {
        if (new_channel.get() < 0) failure = {Step::channel, EMFILE, 0};  // it got lost on the way
        moved = std::move(new_channel);
      } else if (message.kind == MessageKind::failed) {
        failure = {message.step, message.value, message.item};
      } else if (message.kind == MessageKind::ended) {  // an init's word, which of a process that has failed comes as well
        ended = ExitStatus::from_wait_status(message.value);
      } else {
        failure = {Step::started, EBADMSG, 0};
      }
    }
  }
  bool has_moved() const noexcept { return moved.get() >= 0; }
  void wake_if_stopped() noexcept {
    if (!among_others_) return;
    for (int const each : {middle, pid})
      if (each > 0) stopped_.wake(each);
  }
  // Waits until there is more to hear, or the child has ended; the latter is the result. A child whose pidfd we do not have yet is
  // looked at ten times a second: it should speak long before.
  bool wait_for_more() noexcept {
    bool const all_said = has_moved() && (announced || !through_middle_);
    ::pollfd waiting[3] = {{all_said ? -1 : channel_, POLLIN, 0}, {pidfd.get(), POLLIN, 0}, {moved.get(), POLLIN, 0}};
    int const count = sys::poll(waiting, 3, pidfd && !among_others_ ? nullptr : &StoppedChild::look_every);
    if (count == 0) wake_if_stopped();
    if (pidfd) return count > 0 && waiting[1].revents != 0;
    return count == 0 && has_ended(middle > 0 ? middle : pid);
  }
  // A middle waits for nothing but room in the channel, which a hostile child may have filled before it was announced: what comes
  // is heard meanwhile. A channel that only we still hold is one that the middle no longer writes to.
  void reap_middle() {
    ::timespec const& tenth = StoppedChild::look_every;
    while (middle > 0 && !announced && failure.step == Step::none) {
      ::pollfd waiting{channel_, POLLIN, 0};
      int const count = sys::poll(&waiting, 1, &tenth);
      if (count == 0 ? has_ended(middle) : (waiting.revents & POLLHUP) != 0) break;
      if (count == 0) wake_if_stopped();
      listen();
    }
    if (middle > 0 && among_others_) {
      FileDescriptor const its_end = FileDescriptor::adopt(sys::pidfd_open(middle));  // without one, ten looks a second
      ::pollfd waiting{its_end ? its_end.get() : -1, POLLIN, 0};
      while (!has_ended(middle) && sys::poll(&waiting, 1, &tenth) <= 0) wake_if_stopped();
    }
    if (middle > 0) (void)reap_by_pid(middle);
    middle = -1;
  }
  void kill() noexcept {
    if (pidfd)
      signal_child(pidfd.get(), pid, SIGKILL);
    else if (pid > 0)
      sys::kill(pid, SIGKILL);
  }
  // Waits for the end of the child; its status where it can still be had.
  ExitStatus reap() noexcept {
    ExitStatus status = ExitStatus::unknown();
    if (pidfd)
      status = detail::reap(pidfd.get(), pid);
    else if (pid > 0)
      status = reap_by_pid(pid).value_or(status);
    pid = -1;
    pidfd.reset();
    return status;
  }

 private:
  // Whether this child of ours has ended, without reaping it. True as well if somebody else has reaped it.
  static bool has_ended(int pid) noexcept {
    ::siginfo_t info{};
    return sys::waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 || info.si_pid == pid;
  }

  int channel_;
  bool through_middle_;
  bool among_others_;
  StoppedChild stopped_;
};

inline Running launch_program(Plan& plan, Stdio const& streams);

// Has newuidmap or newgidmap write a map of the child with that number in this /proc. Its own words are the error's hint.
inline void run_id_helper(std::string const& helper, char const* step, long child, std::vector<IdRange> const& ranges) {
  std::vector<std::string> words{helper, std::to_string(child)};
  for (IdRange const& range : ranges)
    for (std::uint32_t number : {range.inside, range.outside, range.count}) words.push_back(std::to_string(number));
  Command const command = Command(std::move(words)).stdio({.in = Redirect::null(), .out = Redirect::null(), .err = Redirect::pipe()});
  Isolation const none;
  Plan plan{none, &command, {}};
  Running const running = launch_program(plan, command.streams());
  std::string said;
  char part[512];
  for (long got; (got = sys::read(running.err.get(), part, sizeof part)) > 0;)
    if (said.size() < 4096) said.append(part, static_cast<std::size_t>(got));
  ExitStatus const status = reap(running.pidfd.get(), running.pid);
  while (!said.empty() && said.back() == '\n') said.pop_back();
  if (!status.success() && !status.is_unknown()) throw Error(EPERM, step, "by " + helper, Error::Side::parent, {Obstacle::id_map, printable(said)});
}

// Not in the order in which they were written: the kernel sorts what is over five lines. No two lines of one are the same.
inline bool same_map(std::vector<IdRange> const& a, std::vector<IdRange> const& b) noexcept {
  std::size_t same = 0;
  for (IdRange const& x : a)
    for (IdRange const& y : b) same += x == y;
  return same == a.size() && same == b.size();
}

// Writes the id maps of a child that waits for them, reads them back and compares. Its directory is opened once, found to be one of a
// proc, and to be the child's because that is there afterwards, before anything is written. Step::none if all went well.
inline Failure write_maps(Plan const& plan, int pidfd, int child) {
  auto const refused = [](Step step, long error) { return Failure{step, static_cast<int>(-error), 0}; };
  // The child's number in the pid namespace of this /proc, which may be an outer one's.
  long const pid = number_in_proc(pidfd);
  if (pid < 0) return refused(Step::write_uid_map, pid);
  std::string const path = "/proc/" + std::to_string(pid);
  int const opened = sys::openat(AT_FDCWD, path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return refused(Step::write_uid_map, opened);
  FileDescriptor const directory = FileDescriptor::adopt(opened);
  struct ::statfs file_system {};
  if (int const result = sys::fstatfs(opened, &file_system); result < 0) return refused(Step::write_uid_map, result);
  if (file_system.f_type != kernel::proc_super_magic) return refused(Step::write_uid_map, -ENOENT);
  if (int const result = signal_child(pidfd, child, 0); result < 0) return refused(Step::write_uid_map, result);

  if (!plan.uid_helper.empty()) {
    run_id_helper(plan.gid_helper, name_of(Step::write_gid_map), pid, plan.gid_ranges);
    run_id_helper(plan.uid_helper, name_of(Step::write_uid_map), pid, plan.uid_ranges);
  } else {
    auto const write = [&](char const* name, char const* text, std::size_t size) -> long {
      int const fd = sys::openat(directory.get(), name, O_WRONLY | O_CLOEXEC);
      if (fd < 0) return fd;
      long const written = sys::write(fd, text, size);
      sys::close(fd);
      return written;
    };
    ChildPlan const& texts = plan.child;
    if (texts.setgroups_denied)
      if (long const result = write("setgroups", "deny", 4); result < 0) return refused(Step::deny_setgroups, result);
    if (long const result = write("gid_map", texts.gid_map, texts.gid_map_size); result < 0)
      return refused(Step::write_gid_map, result);
    if (long const result = write("uid_map", texts.uid_map, texts.uid_map_size); result < 0)
      return refused(Step::write_uid_map, result);
  }
  long difference = -EBADMSG;
  if (!same_map(read_id_map(directory.get(), "gid_map", &difference), plan.gid_ranges)) return refused(Step::write_gid_map, difference);
  if (!same_map(read_id_map(directory.get(), "uid_map", &difference), plan.uid_ranges)) return refused(Step::write_uid_map, difference);
  return {Step::none, 0, 0};
}

inline void write_maps_if_asked(Plan const& plan, Birth const& birth) {
  if (!plan.child.parent_writes_maps) return;
  Failure const failure = write_maps(plan, birth.pidfd.get(), birth.pid);
  if (failure.step != Step::none) throw_failure(plan, failure, Error::Side::parent);
}

// One that has ended meanwhile is noticed elsewhere.
inline void tell_to_go(Plan const& plan, int channel) {
  long const sent = send_message(channel, MessageKind::go);
  if (sent < 0 && sent != -EPIPE && sent != -ECONNRESET) throw_failure(plan, {Step::go, static_cast<int>(-sent), 0}, Error::Side::parent);
}

// The lifeline of a child whose starting thread may end before the process does. See die_with_parent.
struct Lifeline {
  FileDescriptor child;
  HostOnlyDescriptor parent;
};
inline bool started_by_main_thread() noexcept { return sys::gettid() == sys::getpid(); }
inline Lifeline make_lifeline() {
  HostOnlyDescriptors::Lock const lock;
  Pipe pipe = make_pipe();
  return {std::move(pipe.read), HostOnlyDescriptor{std::move(pipe.write), lock}};
}

struct Channel {
  HostOnlyDescriptor parent;
  FileDescriptor child;
};
inline Channel make_channel() {
  HostOnlyDescriptors::Lock const lock;
  int ends[2];
  check(sys::socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC, ends), name_of(Step::channel));
  FileDescriptor second = FileDescriptor::adopt(ends[1]);
  FileDescriptor first = above_stdio(ends[0]);
  second = above_stdio(second.release());
  check(sys::setsockopt(first.get(), SOL_SOCKET, SO_PASSCRED, 1), name_of(Step::channel));
  return {HostOnlyDescriptor{std::move(first), lock}, std::move(second)};
}

// --- by fork: a callable, and a program under a reaper where PID 1 can be no program of ours

// Tells the parent that the world stands. A child that is to die with its parent has nobody to run for without one; any other goes on
// if there is nobody to hear it.
inline void say_ready(ChildSide const& side) noexcept {
  long const said = send_message(side.channel, MessageKind::ready);
  bool const goes_on = (said == -EPIPE || said == -ECONNRESET) && !side.plan->dies_with_parent;
  if (!goes_on) require(side, said, Step::started);
}

// A socket belongs to the network namespace that it was made in, for ever: who has it may ask there for interfaces and addresses, and
// take a name. So a callable in one of its own speaks through one that is made in there.
inline void move_channel(ChildSide const& side) noexcept {
  if (((side.plan->unshare_flags | side.plan->join_flags) & kernel::clone_newnet) == 0) return;
  int ends[2];
  require(side, sys::socketpair(SOCK_SEQPACKET | SOCK_CLOEXEC, ends), Step::channel);
  require(side, sys::setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, 1), Step::channel);
  require(side, send_message(side.channel, Message{MessageKind::moved, Step::none, 0, 0, 0}, nullptr, 0, ends[0]), Step::channel);
  require(side, sys::dup3(ends[1], side.channel, O_CLOEXEC), Step::channel);
  for (int const end : ends) sys::close(end);
}

// The callable begins. Its parent must not find signals blocked that the callable has not blocked: stop() looks at that. `begun` is the
// end of a pipe, or -1.
[[noreturn]] inline void begin(ChildSide const& side, Body const& body, int begun = -1) noexcept {
  unblock_signals();
  move_channel(side);
  drop_privileges(side);
  say_ready(side);
  if (begun >= 0) sys::close(begun);
  body.run(body.self, side);
  sys::exit(0);
}

// The list by which the kernel finds the robust mutexes of a thread that dies; a raw clone forgets it.
class RobustList {
 public:
  RobustList() noexcept { sys::get_robust_list(&head_, &size_); }
  void register_again() const noexcept {
    if (head_ != nullptr) sys::set_robust_list(head_, size_);
  }

 private:
  void* head_ = nullptr;
  std::size_t size_ = 0;
};

// Runs in PID 1 of Init::reaper: starts PID 2, which becomes the program or runs the body, and stays as its init. CLONE_VFORK, here
// without CLONE_VM, means that the program has begun, or has failed and said so, when clone returns. Where others may stop PID 2, who can
// only be seen from here, PID 1 looks after it until it has begun, which closes its end of a pipe.
[[noreturn]] inline void start_under_reaper(ChildSide& side, Body const& body, void* tid_address) noexcept {
  bool const program = side.plan->candidates != nullptr, among_others = joins_others(*side.plan);
  int begun[2] = {-1, -1};
  if (among_others) require(side, sys::pipe2(begun, O_CLOEXEC), Step::reaper);
  kernel::clone_args args{};
  args.flags = kernel::clone_child_settid | kernel::clone_child_cleartid | (program && !among_others ? kernel::clone_vfork : 0);
  args.child_tid = reinterpret_cast<std::uint64_t>(tid_address);
  args.exit_signal = SIGCHLD;
  RobustList const robust_list;
  // Before there is anybody inside who could look at the init, whose memory is a copy of the host's.
  int const dumpable = sys::prctl(PR_GET_DUMPABLE);
  sys::prctl(PR_SET_DUMPABLE, 0);
  long pid = sys::clone3(&args);
  if (pid == -ENOSYS || pid == -EPERM) pid = sys::clone(args.flags | SIGCHLD, nullptr, static_cast<int*>(tid_address));
  require(side, pid, Step::reaper);
  if (pid > 0) {
    drop_init_privileges(side);
    if (among_others) {
      sys::close(begun[1]);
      ::pollfd waiting[2] = {{begun[0], POLLIN, 0}, {side.lifeline, POLLIN, 0}};
      StoppedChild second;
      int ready = 0;
      while ((ready = sys::poll(waiting, 2, &StoppedChild::look_every)) == 0 || ready == -EINTR) second.wake(static_cast<int>(pid));
      if (ready > 0 && waiting[1].revents != 0) sys::exit(128 + SIGKILL);
    }
    if (program) say_ready(side);
    run_init(side, static_cast<int>(pid));
  }
  if (among_others) sys::close(begun[0]);
  if (dumpable == 1) sys::prctl(PR_SET_DUMPABLE, 1);
  robust_list.register_again();
  if (side.lifeline >= 0) sys::close(std::exchange(side.lifeline, -1));  // it dies with its init
  if (program) become_program(side);
  begin(side, body, begun[1]);
}

// The child of fork(), or of the middle.
[[noreturn]] inline void child_main(ChildSide side, Body const& body, bool announces, void* tid_address) noexcept {
  reset_signal_dispositions();
  join_cgroup(side);
  if (!side.has_joined) join_namespaces(side);
  if (side.unshare_flags != 0) require(side, sys::unshare(side.unshare_flags), Step::unshare);
  if (announces) require(side, send_message(side.channel, MessageKind::started), Step::started);
  set_up(side);
  if (side.plan->candidates == nullptr && side.plan->environment != nullptr)
    ::environ = const_cast<char**>(side.plan->environment);
  if (side.plan->reaper) start_under_reaper(side, body, tid_address);
  begin(side, body);
}

// What a clone leaves to unshare in the child: the new time namespace, whose offsets are written first, and a cgroup namespace whose
// root is to be the cgroup that the child starts in.
inline std::uint64_t unshared_later(ChildPlan const& plan) noexcept {
  std::uint64_t const time = makes_time_on_joining(plan) ? 0 : kernel::clone_newtime;
  return plan.unshare_flags & (time | (plan.cgroup >= 0 ? kernel::clone_newcgroup : 0));
}
inline std::uint64_t unshared_by_clone(ChildPlan const& plan) noexcept {
  return plan.unshare_flags & ~kernel::clone_newtime & ~unshared_later(plan);
}

// What a middle says of the child that it has cloned. A child of which nobody knows does not stay.
inline void announce(ChildSide const& side, int pid, int pidfd) noexcept {
  long sent = send_message(side.channel, Message{MessageKind::started, Step::none, pid, 0, 0}, nullptr, 0, pidfd);
  if (sent < 0) sent = send_message(side.channel, MessageKind::started, Step::none, pid);
  if (sent < 0) sys::kill(pid, SIGKILL);
}

// The middle: a single-threaded copy of the host that clones the real child as a child of the host, and ends. What glibc's fork
// does for the new thread's identity is done again: the kernel stores the tid where glibc keeps it, and the robust list is registered.
[[noreturn]] inline void middle_main(ChildSide const& side, Body const& body) noexcept {
  void* tid_address = nullptr;
  ChildSide self = side;
  self.waits_for_go = false;  // of its failures: nobody asks for its pidfd
  require(self, sys::prctl(PR_GET_TID_ADDRESS, sys::arg(&tid_address)), Step::tid_address);
  RobustList const robust_list;
  bool const joins = side.plan->join_count > 0;
  if (joins) {
    enter_cgroup(self);  // which may take the host's privileges
    join_namespaces(self);
  }

  int pidfd = -1;
  kernel::clone_args_cgroup with_cgroup{};
  kernel::clone_args& args = with_cgroup.common;
  args.flags = unshared_by_clone(*side.plan) | kernel::clone_parent | kernel::clone_pidfd |
               kernel::clone_child_settid | kernel::clone_child_cleartid;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.child_tid = reinterpret_cast<std::uint64_t>(tid_address);
  Step step = Step::clone3;
  bool into_cgroup = side.plan->cgroup >= 0 && !joins;
  long pid = -E2BIG;
  if (into_cgroup) {
    args.flags |= kernel::clone_into_cgroup;
    with_cgroup.cgroup = static_cast<std::uint64_t>(side.plan->cgroup);
    pid = sys::clone3(&args, sizeof with_cgroup);
    if (pid < 0) {  // an old kernel, or a reason that the older way tells better
      into_cgroup = false;
      args.flags &= ~kernel::clone_into_cgroup;
    }
  }
  if (!into_cgroup) pid = sys::clone3(&args);
  if (pid == -ENOSYS || pid == -EPERM) {
    long const by_clone = sys::clone(args.flags, &pidfd, static_cast<int*>(tid_address));
    if (by_clone >= 0 || pid == -ENOSYS) {
      pid = by_clone;
      step = Step::clone;
    }
  }
  require(self, pid, step);
  if (pid == 0) {
    robust_list.register_again();
    self = side;
    self.joins_cgroup = side.plan->cgroup >= 0 && !into_cgroup && !joins;
    self.has_joined = joins;
    child_main(self, body, false, tid_address);
  }
  announce(side, static_cast<int>(pid), pidfd);
  sys::exit(0);
}

[[noreturn]] inline void program_middle_main(ChildSide const& side) noexcept;

// Hears a new child out until it is ready, or with `linger` until its end or that deadline. Throws what went wrong; `birth` then
// cleans up.
inline void await_ready(Plan const& plan, Birth& birth, int channel, bool waits_for_go, Deadline const* linger) {
  bool told_to_go = !waits_for_go;
  if (told_to_go) birth.reap_middle();  // it has announced its child by then, which meanwhile goes on
  for (bool ended = false;; ended = birth.wait_for_more()) {
    bool const knew_child = static_cast<bool>(birth.pidfd);
    birth.listen();
    if (linger != nullptr && birth.pidfd && told_to_go && !joins_others(plan.child)) {
      // Whoever waits for the end anyway need not wake up in between: all that has been said can be heard then.
      ::pollfd end{birth.pidfd.get(), POLLIN, 0};
      poll_until(&end, 1, *std::exchange(linger, nullptr));
      birth.listen();
    }
    if (birth.failure.step != Step::none) throw_failure(plan, birth.failure, Error::Side::child);
    if (birth.announced && !birth.pidfd) {
      // The pidfd got lost on the way, for want of a free descriptor. The child is ours and not reaped: its number will do.
      int const opened = sys::pidfd_open(birth.pid);
      if (opened < 0) throw_failure(plan, {Step::pidfd_open, -opened, 0}, Error::Side::parent);
      birth.pidfd = above_stdio(opened);
    }
    // Who was seen to have ended is its middle, which had announced it just before.
    if (!knew_child && birth.pidfd) ended = false;
    if (birth.announced && !told_to_go) {
      write_maps_if_asked(plan, birth);
      tell_to_go(plan, channel);
      told_to_go = true;
    }
    if (birth.pidfd && birth.ready) return birth.reap_middle();
    if (ended || (birth.middle < 0 && birth.pid < 0)) {
      birth.kill();
      birth.reap_middle();
      birth.listen();  // of a program's beginning its middle tells, perhaps after its end
      if (birth.failure.step != Step::none) throw_failure(plan, birth.failure, Error::Side::child);
      if (birth.ready) return;
      ExitStatus const status = birth.reap();
      throw ChildDied(birth.ended.is_unknown() ? status : birth.ended);
    }
  }
}

// Whether pidfd_open is refused here, by an old kernel or a filter: then every child is cloned with a pidfd.
inline std::atomic<bool>& pidfd_open_is_refused() noexcept {
  static std::atomic<bool> refused{false};
  return refused;
}

// What lies outside of the mounts that a child joins.
class OutsideFiles {
 public:
  OutsideFiles(Plan const& plan, ChildSide& side) {
    if (!joins(plan.child, kernel::clone_newns)) return;
    side.proc = sys::openat(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (side.proc >= 0) side.proc = (proc_ = above_stdio(side.proc)).get();
    if (!plan.child.close_others) return;
    side.null = open_null();
    null_ = FileDescriptor::adopt(side.null);
  }

 private:
  FileDescriptor proc_, null_;
};

// Does it on a thread that has ended when this returns, so that what it starts hangs on the main thread and PR_SET_PDEATHSIG, which
// watches a thread, means the process. A joined thread may still be on its way out, hence the look at its id.
template <class Start>
void on_passing_thread(Start const& start) {
  int thread = 0;
  auto body = [&]() noexcept {
    BlockedSignals const blocked;
    thread = sys::gettid();
    start();
  };
  on_own_thread(body);
  while (sys::tgkill(sys::getpid(), thread, 0) == 0) sys::sched_yield();
}

// With `linger` it returns not when the child is ready but at its end, or at that deadline.
inline Running launch_by_fork(Plan const& plan, Body const& body, Deadline const* linger = nullptr) {
  bool const lone_program = plan.child.candidates != nullptr && !plan.child.reaper;
  bool const through_middle = plan.new_pid() || joins(plan.child, kernel::clone_newpid) || lone_program ||
                              pidfd_open_is_refused().load(std::memory_order_relaxed);
  // A program cannot keep a lifeline.
  bool const needs_lifeline = plan.child.dies_with_parent && !started_by_main_thread();
  bool const passing_thread = needs_lifeline && lone_program;
  bool const waits = plan.child.parent_writes_maps || passing_thread;
  Running running;
  Channel channel = make_channel();
  running.channel = std::move(channel.parent);
  Lifeline lifeline;
  if (needs_lifeline && !passing_thread) lifeline = make_lifeline();

  ChildSide side{};
  side.plan = &plan.child;
  side.channel = channel.child.get();
  side.parent = sys::getpid();
  side.lifeline = lifeline.child.get();
  side.is_init = plan.new_pid();
  // A child that was not cloned with a pidfd may not end before we have opened one: its pid could come to mean another.
  side.waits_for_go = waits || !through_middle;
  side.unshare_flags = unshared_later(plan.child) | (through_middle ? 0 : unshared_by_clone(plan.child));
  side.joins_cgroup = plan.child.cgroup >= 0;
  OutsideFiles const outside{plan, side};

  Birth birth{plan, running.channel.get(), through_middle};
  {
    BlockedSignals const blocked;
    int pid = 0;
    auto const start = [&]() noexcept {
      pid = sys::fork();
      if (pid != 0) return;
      if (lone_program) program_middle_main(side);
      if (through_middle) middle_main(side, body);
      child_main(side, body, plan.child.parent_writes_maps, nullptr);
    };
    if (passing_thread)
      on_passing_thread(start);
    else
      start();
    if (pid < 0) throw_failure(plan, {Step::fork, -pid, 0}, Error::Side::parent);
    (through_middle ? birth.middle : birth.pid) = birth.announcer = pid;
  }
  channel.child.reset();
  lifeline.child.reset();
  running.lifeline = std::move(lifeline.parent);
  if (!through_middle) {
    int const pidfd = sys::pidfd_open(birth.pid);
    if (pidfd == -ENOSYS || pidfd == -EPERM) {
      pidfd_open_is_refused().store(true, std::memory_order_relaxed);
      return launch_by_fork(plan, body, linger);
    }
    if (pidfd < 0) throw_failure(plan, {Step::pidfd_open, -pidfd, 0}, Error::Side::parent);
    birth.pidfd = above_stdio(pidfd);
    if (!plan.child.parent_writes_maps) tell_to_go(plan, running.channel.get());
  }
  if (!plan.nothing_can_fail() || through_middle) await_ready(plan, birth, running.channel.get(), waits, linger);
  if (lone_program) running.channel = HostOnlyDescriptor{};
  running.pid = std::exchange(birth.pid, -1);
  running.pidfd = std::move(birth.pidfd);
  running.moved = std::move(birth.moved);
  running.early = std::move(birth.early);
  return running;
}

// --- a program, sharing our memory until its execve

// One for the child, one for a PID 2 that it may start, and one for a middle.
class ChildStacks {
 public:
  ChildStacks() : base_(spare.exchange(nullptr, std::memory_order_acquire)) {
    if (base_ == nullptr) base_ = sys::mmap(count * size, PROT_READ | PROT_WRITE, MAP_STACK | MAP_NORESERVE);
    if (base_ == nullptr) throw Error(ENOMEM, "mmap", "a stack for the child");
  }
  ~ChildStacks() {
    if (void* const other = spare.exchange(base_, std::memory_order_release)) sys::munmap(other, count * size);
  }
  ChildStacks(ChildStacks const&) = delete;
  // Their lower ends.
  void* first() const noexcept { return static_cast<char*>(base_) + size; }
  void* second() const noexcept { return base_; }
  void* middle() const noexcept { return static_cast<char*>(base_) + 2 * size; }
  static constexpr std::size_t size = 64 * 1024, count = 3;

 private:
  // The last ones are kept: to map them, fault them in and unmap them again costs a tenth of a small program's start, and more in a host
  // whose other threads are running.
  static inline std::atomic<void*> spare{nullptr};
  void* base_;
};

// PID 2 of a program under a reaper. It shares the host's memory until its execve, as PID 1 does, and waits until that is a program of
// its own that nobody inside may look into: by then nothing is left inside that could lead to the host's memory.
struct SecondProcess {
  ChildSide side;
  int begun[2];  // a pipe
};
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void second_main(void* argument) noexcept {
  SecondProcess const second = *static_cast<SecondProcess const*>(argument);
  sys::close(second.begun[1]);
  char begun;
  long const got = sys::read(second.begun[0], &begun, 1);
  if (got == 1) become_program(second.side);
  // Without an init there is nothing to do. It may have said why.
  if (second.side.failure->step != Step::started) sys::exit(127);
  fail(second.side, {Step::init_program, got < 0 ? static_cast<int>(-got) : EPIPE, 0});
}
CLOISTER_DETAIL_CHILD_SIDE inline void second_entry(void* argument) noexcept { second_main(argument); }

// PID 1, once the world stands: starts PID 2 and becomes the init.
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void become_init(ChildSide const& side) noexcept {
  // PID 2 reads both in its own time: they stay where they are, on a stack that is left by execve only.
  SecondProcess second{side, {-1, -1}};
  sys::ChildStart start{second_entry, &second};
  require(side, sys::pipe2(second.begun, O_CLOEXEC), Step::reaper);
  kernel::clone_args args{};
  // The kernel sets the word itself: whatever ends us before there is a PID 2, nobody waits for one.
  args.flags = kernel::clone_vm | kernel::clone_parent_settid | kernel::clone_child_cleartid;
  args.parent_tid = args.child_tid = reinterpret_cast<std::uint64_t>(side.second_unfinished);
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<std::uint64_t>(side.second_stack);
  args.stack_size = side.stack_size;
  long pid = sys::clone3_on_stack(&args, second_entry, &second);
  if (pid == -ENOSYS || pid == -EPERM)
    pid = sys::clone_on_stack(args.flags | SIGCHLD, static_cast<char*>(side.second_stack) + side.stack_size, side.second_unfinished,
                              nullptr, side.second_unfinished, &start);
  require(side, pid, Step::reaper);

  drop_init_privileges(side);
  mark_all_close_on_exec(side);
  int const begun = sys::dup3(second.begun[1], init_begun, 0);
  require(side, begun, Step::init_program);
  require(side, sys::dup3(side.channel, init_channel, 0), Step::init_program);
  sys::fcntl(2, F_SETFD, FD_CLOEXEC);
  char const* const nothing[] = {nullptr};
  char const* const name[] = {"cloister-init", nullptr};
  // The pointers are on our own stack, which PID 2 does not use.
  fail(side, {Step::init_program, -sys::execveat_fd(side.init_program, name, nothing), 0});
}

[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void program_main(void* argument) noexcept {
  ChildSide side = *static_cast<ChildSide const*>(argument);
  if (side.parent_channel >= 0) sys::close(side.parent_channel);
  reset_signal_dispositions();
  join_cgroup(side);
  if (!side.has_joined) join_namespaces(side);
  if (side.unshare_flags != 0) require(side, sys::unshare(side.unshare_flags), Step::unshare);
  set_up(side);
  if (side.init_program >= 0) become_init(side);
  become_program(side);
}
CLOISTER_DETAIL_CHILD_SIDE inline void program_entry(void* argument) noexcept { program_main(argument); }

struct SharingClone {
  kernel::clone_args_cgroup args{};
  sys::ChildStart start{};
  int pidfd = -1;
  int pid = 0;         // as the kernel notes it before the child begins, if it was asked to
  int unfinished = 1;  // cleared by the kernel when the child lets go of our memory
  long result = 0;
  Step step = Step::clone3;
  ChildSide* side = nullptr;

  // `stack` is its lower end.
  void prepare(sys::ChildFunction function, void* argument, std::uint64_t flags, int exit_signal, void* stack) noexcept {
    args.common.flags = flags | kernel::clone_vm;
    args.common.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
    args.common.parent_tid = reinterpret_cast<std::uint64_t>(&pid);
    args.common.child_tid = reinterpret_cast<std::uint64_t>(&unfinished);
    args.common.exit_signal = static_cast<std::uint64_t>(exit_signal);
    args.common.stack = reinterpret_cast<std::uint64_t>(stack);
    args.common.stack_size = ChildStacks::size;
    start = {function, argument};
  }
};

inline void clone_sharing(SharingClone& clone) noexcept {
  static std::atomic<bool> clone3_is_refused{false};
  clone.result = -ENOSYS;
  kernel::clone_args& args = clone.args.common;
  if (!clone3_is_refused.load(std::memory_order_relaxed)) {
    bool const into_cgroup = (args.flags & kernel::clone_into_cgroup) != 0;
    clone.result = sys::clone3_on_stack(&args, clone.start.function, clone.start.argument,
                                        into_cgroup ? sizeof clone.args : sizeof args);
    if (clone.result < 0 && into_cgroup) {  // an old kernel, or a reason that the older way tells better
      args.flags &= ~kernel::clone_into_cgroup;
      clone.side->joins_cgroup = true;
      clone.result = sys::clone3_on_stack(&args, clone.start.function, clone.start.argument);
    }
  }
  if (clone.result != -ENOSYS && clone.result != -EPERM) return;
  // EPERM may be a lack of privilege or a filter that does not know clone3: if clone works it was the filter.
  if ((args.flags & kernel::clone_into_cgroup) != 0) {
    args.flags &= ~kernel::clone_into_cgroup;
    clone.side->joins_cgroup = true;
  }
  void* const stack_top = reinterpret_cast<char*>(args.stack) + args.stack_size;
  long const by_clone = sys::clone_on_stack(args.flags | args.exit_signal, stack_top, &clone.pidfd, reinterpret_cast<void*>(args.tls),
                                            &clone.unfinished, &clone.start);
  if (by_clone >= 0) clone3_is_refused.store(true, std::memory_order_relaxed);
  if (by_clone >= 0 || clone.result == -ENOSYS) {
    clone.result = by_clone;
    clone.step = Step::clone;
  }
}

// The middle of a program that is born in a namespace which exists. It shares the host's memory, and the host's descriptors: the pidfd
// of the child that it clones is the host's. Only clone3 will do, which notes the child's pid before the child begins: whatever ends
// the middle then, the host knows of a child that uses its memory.
struct SharingMiddle {
  ChildSide side;
  SharingClone* child;
};
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void sharing_middle_main(void* argument) noexcept {
  SharingMiddle const& middle = *static_cast<SharingMiddle const*>(argument);
  enter_cgroup(middle.side);
  join_namespaces(middle.side);
  SharingClone& child = *middle.child;
  child.result = sys::clone3_on_stack(&child.args.common, child.start.function, child.start.argument);
  if (child.result < 0) fail(middle.side, {child.step, static_cast<int>(-child.result), 0});
  sys::exit(0);
}
CLOISTER_DETAIL_CHILD_SIDE inline void sharing_middle_entry(void* argument) noexcept { sharing_middle_main(argument); }

// The middle of a program that cannot share the host's memory: nobody who shares memory may enter a time namespace (EUSERS). It is a
// copy of the host, shares its own memory with the program, and stays until that has begun: so it can tell.
[[noreturn]] inline void program_middle_main(ChildSide const& side) noexcept {
  ChildSide self = side;
  self.waits_for_go = false;  // of its failures: nobody asks for its pidfd
  enter_cgroup(self);
  join_namespaces(self);

  Failure failure{Step::started, 0, 0};
  ChildSide child = side;
  child.has_joined = true;
  child.joins_cgroup = false;
  child.shares_memory = true;
  child.failure = &failure;
  void* const stack = sys::mmap(ChildStacks::size, PROT_READ | PROT_WRITE, MAP_STACK | MAP_NORESERVE);
  require(self, stack != nullptr ? 0 : -errno, Step::stack);
  SharingClone clone;
  constexpr std::uint64_t how = kernel::clone_parent | kernel::clone_pidfd | kernel::clone_child_cleartid;
  clone.prepare(program_entry, &child, unshared_by_clone(*side.plan) | how, 0, stack);
  clone_sharing(clone);
  require(self, clone.result, clone.step);
  announce(side, static_cast<int>(clone.result), clone.pidfd);
  await_cleared(clone.unfinished);
  long told = 0;
  if (failure.step == Step::none)
    told = send_message(side.channel, MessageKind::ready);
  else if (failure.step != Step::started)
    told = send_message(side.channel, MessageKind::failed, failure.step, failure.error, failure.item);
  if (told < 0) {  // of a program that has begun and that nobody knows of
    sys::pidfd_send_signal(clone.pidfd, SIGKILL);
    fail(self, {Step::started, static_cast<int>(-told), 0});
  }
  sys::exit(0);
}

// From a plan of its own, because a child has worked through the first.
inline Running launch_again_by_fork(Plan const& plan) {
  Plan second = plan.again();
  second.child.streams = plan.child.streams;
  return launch_by_fork(second, Body{nullptr, nullptr});
}

// `init_program`: what PID 1 becomes under a reaper; empty without one. What cannot be started so for now, because others hold what it
// takes, or here at all, is started by fork.
inline Running launch_sharing(Plan const& plan, FileDescriptor const& init_program) {
  Body const none{nullptr, nullptr};
  bool const passing_thread = plan.child.dies_with_parent && !started_by_main_thread();
  bool const waits = plan.child.parent_writes_maps || passing_thread;
  bool const among_others = joins_others(plan.child);
  // Maps are written when the child is in its user namespace: if it joins others first, with a middle, from its birth.
  bool const through_middle = plan.born_after_joining() || (plan.child.join_count > 0 && plan.child.parent_writes_maps);
  Dumpable dumpable;
  if (among_others || (plan.child.ids_change && !waits)) {
    if (!dumpable.lend()) return launch_by_fork(plan, none);
  } else if (plan.child.new_user || plan.child.clock_offsets != nullptr) {  // maps and the offsets of clocks are files in /proc
    if (!dumpable.rely()) return launch_by_fork(plan, none);
  }
  Running running;
  // What goes wrong is told in our memory. A channel is for a child that has to hear from us, or for an init, which has the last word;
  // and the end of the parent can be seen by it, as by a pidfd, which costs half of it.
  Failure failure{Step::started, 0, 0};  // until it says otherwise
  Channel channel;
  FileDescriptor parent_watch;
  bool has_channel = waits || init_program;
  if (!has_channel && plan.child.dies_with_parent) {
    int const fd = sys::pidfd_open(sys::getpid());
    if (fd < 0)
      has_channel = true;
    else
      parent_watch = above_stdio(fd);
  }
  if (has_channel) {
    channel = make_channel();
    running.channel = std::move(channel.parent);
  }

  ChildStacks const stacks;
  ChildSide side{};
  side.plan = &plan.child;
  side.channel = channel.child.get();
  side.failure = &failure;
  side.parent_watch = parent_watch.get();
  side.parent = sys::getpid();
  side.parent_channel = running.channel.get();
  side.is_init = plan.new_pid();
  side.shares_memory = true;
  side.waits_for_go = waits;
  // Not before it has joined others.
  std::uint64_t const by_clone = plan.child.join_count == 0 || through_middle ? unshared_by_clone(plan.child) : 0;
  side.unshare_flags = unshared_later(plan.child) | (unshared_by_clone(plan.child) & ~by_clone);
  side.has_joined = through_middle;
  OutsideFiles const outside{plan, side};
  int second_unfinished = 0;
  if (init_program) {
    side.init_program = init_program.get();
    side.second_stack = stacks.second();
    side.stack_size = ChildStacks::size;
    side.second_unfinished = &second_unfinished;
  }

  // Who may be stopped by others is not waited for by the kernel.
  bool const waited_for = waits || among_others || through_middle;
  SharingClone clone;
  clone.prepare(program_entry, &side,
                by_clone | kernel::clone_pidfd | (waited_for ? kernel::clone_child_cleartid : kernel::clone_vfork) |
                    (through_middle ? kernel::clone_parent | kernel::clone_parent_settid : 0),
                through_middle ? 0 : SIGCHLD, stacks.first());
  clone.side = &side;
  SharingMiddle middle{side, &clone};
  middle.side.waits_for_go = false;
  SharingClone middle_clone;  // without a pidfd: if a stream of the host's is closed the child would find it in that place
  middle_clone.prepare(sharing_middle_entry, &middle, kernel::clone_files | kernel::clone_child_cleartid, 0, stacks.middle());
  middle_clone.side = &middle.side;

  SharingClone& first = through_middle ? middle_clone : clone;
  if (plan.child.cgroup >= 0) {
    first.args.common.flags |= kernel::clone_into_cgroup;
    first.args.cgroup = static_cast<std::uint64_t>(plan.child.cgroup);
  }
  if (passing_thread) {
    // The compiler may have functions look at the thread's variables, as for a stack protector: those of a thread that has ended are
    // anybody's memory, ours stay while we wait.
    first.args.common.flags |= kernel::clone_settls;
    first.args.common.tls = reinterpret_cast<std::uint64_t>(sys::thread_pointer());
  }

  Birth birth{plan, running.channel.get(), false};
  ExitStatus end_of_middle = ExitStatus::unknown();
  bool may_go = true;
  {
    BlockedSignals const blocked;
    if (passing_thread)
      on_passing_thread([&first]() noexcept { clone_sharing(first); });
    else
      clone_sharing(first);
    if (first.result < 0) throw_failure(plan, {first.step, static_cast<int>(-first.result), 0}, Error::Side::parent);
    StoppedChild stopped;
    auto const wait_for = [&](int& word) noexcept {
      among_others ? stopped.await_cleared(word, birth.pid) : await_cleared(word);
    };
    if (through_middle) {
      birth.pid = static_cast<int>(first.result);
      wait_for(first.unfinished);
      end_of_middle = birth.reap();
      clone.result = clone.pid;
    }
    if (clone.result > 0) {
      birth.pid = static_cast<int>(clone.result);
      birth.pidfd = above_stdio(clone.pidfd);
    }
    channel.child.reset();
    parent_watch.reset();
    auto const let_go = [&]() noexcept {
      if (waited_for && birth.pid > 0) wait_for(clone.unfinished);
      wait_for(second_unfinished);
    };
    if (waits && birth.pid > 0) {
      try {
        write_maps_if_asked(plan, birth);
        may_go = !plan.child.ids_change || among_others || dumpable.lend();
        if (may_go)
          tell_to_go(plan, running.channel.get());
        else
          birth.kill();
      } catch (...) {
        birth.kill();
        let_go();
        throw;
      }
    }
    let_go();
  }
  dumpable.give_back();
  if (!may_go) {
    (void)birth.reap();
    return launch_again_by_fork(plan);
  }
  // Where clone3 is missing the middle has to be a copy of the host.
  if (through_middle && birth.pid < 0 && failure.step == Step::clone3 && (failure.error == ENOSYS || failure.error == EPERM))
    return launch_by_fork(plan, none);
  // It has become the program, or it has failed and said so before it ended: there is nothing to wait for.
  if (failure.step != Step::none) {
    ExitStatus const status = birth.pid > 0 ? birth.reap() : end_of_middle;
    if (failure.step != Step::started) throw_failure(plan, failure, Error::Side::child);
    Received const last_words = receive_message(running.channel.get());  // of an init
    bool const told = last_words.status > 0 && last_words.message.kind == MessageKind::ended;
    throw ChildDied(told ? ExitStatus::from_wait_status(last_words.message.value) : status);
  }
  if (!init_program) running.channel = HostOnlyDescriptor{};
  running.pid = std::exchange(birth.pid, -1);
  running.pidfd = std::move(birth.pidfd);
  return running;
}

// Under a reaper PID 1 becomes a program of ours as well, unless the machine forbids memory to be executed, or there is none for its
// architecture: then it is a forked copy.
inline Running launch_under_reaper(Plan const& plan) {
  static std::atomic<bool> is_refused{false};
  if (!is_refused.load(std::memory_order_relaxed))
    if (FileDescriptor const init_program = make_init_program()) try {
        return launch_sharing(plan, init_program);
      } catch (Error const& error) {
        if (error.step() != name_of(Step::init_program)) throw;
        int const number = error.code().value();
        if (number == EACCES || number == EPERM || number == ENOSYS) is_refused.store(true, std::memory_order_relaxed);
      }
  return launch_again_by_fork(plan);
}

// Who shares memory may not enter a time namespace. PID 2 of a reaper among others might be stopped where we cannot see it. And a middle
// that shares our descriptors must not be killed by others while it has one open.
inline bool must_be_copied(Plan const& plan) noexcept {
  bool const opens_offsets = makes_time_on_joining(plan.child) && plan.child.clock_offsets != nullptr && plan.born_after_joining();
  return joins(plan.child, kernel::clone_newtime) || (plan.child.reaper && joins_others(plan.child)) || opens_offsets;
}

inline Running launch_program(Plan& plan, Stdio const& streams) {
  Pipe in, out, err;
  if (streams.in.kind() == Redirect::Kind::pipe) plan.set_stream(0, (in = make_pipe()).read.get());
  if (streams.out.kind() == Redirect::Kind::pipe) plan.set_stream(1, (out = make_pipe()).write.get());
  if (streams.err.kind() == Redirect::Kind::pipe) plan.set_stream(2, (err = make_pipe()).write.get());
  Running running = must_be_copied(plan)  ? launch_by_fork(plan, Body{nullptr, nullptr})
                    : plan.child.reaper ? launch_under_reaper(plan)
                                        : launch_sharing(plan, {});
  running.in = std::move(in.write);
  running.out = std::move(out.read);
  running.err = std::move(err.read);
  return running;
}

}  // namespace cloister::detail
