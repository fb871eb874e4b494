// A running child of this process, whatever it runs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "detail/launch.hpp"
#include "namespace.hpp"

namespace cloister {

// A child that has been given up: the caller reaps it.
struct ReleasedChild {
  pid_t pid = -1;
  FileDescriptor pidfd;
};

// Owns a child process: when the handle goes, the child is killed and reaped, but only in the process that made the handle; in a
// forked copy of the host it does nothing. Signals and waits go through a pidfd, so that a reused pid is never hit. Movable; moved
// from, it is empty: a call on it throws std::logic_error, and destroying it does nothing. One thread at a time may use it.
class [[nodiscard]] Child {
 public:
  Child(Child&& other) noexcept : Child(std::move(other.state_)) { other.state_ = State{}; }
  Child& operator=(Child&& other) noexcept {
    if (this != &other) {
      end();
      state_ = std::move(other.state_);
      other.state_ = State{};
    }
    return *this;
  }
  ~Child() { end(); }

  // The pid in the pid namespace of the caller; with Init::reaper that of the init. Valid until the child is reaped.
  pid_t pid() const { return running().pid; }
  // A descriptor that becomes readable when the child ends, for poll(2) and event loops. Borrowed: the handle owns it.
  int pidfd() const { return running().pidfd.get(); }

  // The caller's ends of the streams that were Redirect::pipe(); empty otherwise. Writing to a program that has gone raises SIGPIPE.
  FileDescriptor& in() { return running().in; }
  FileDescriptor& out() { return running().out; }
  FileDescriptor& err() { return running().err; }

  // Waits for the end and reaps; asked again, gives the same answer. Unknown if another wait of the host, or SIGCHLD being ignored,
  // took the status and the kernel is before 6.15. Never depends on a result being fetched.
  ExitStatus wait() {
    Running const& child = running();
    if (!state_.status) {
      ExitStatus const status = detail::reap(child.pidfd.get(), child.pid);
      take_messages();
      state_.status = state_.reported && is_told_by(*state_.reported, status) ? *state_.reported : status;
    }
    return *state_.status;
  }
  // The status if it has ended, without waiting.
  std::optional<ExitStatus> try_wait() { return wait_until(detail::Deadline{std::chrono::nanoseconds{0}}); }
  // Waits at most that long; empty when time is up.
  template <class Rep, class Period>
  std::optional<ExitStatus> wait_for(std::chrono::duration<Rep, Period> time) {
    return wait_until(detail::Deadline{time});
  }

  // Sends a signal, with Init::reaper to the init, which forwards it. Nothing happens if the child has ended. To PID 1 of a pid
  // namespace only SIGKILL, SIGSTOP and the signals that it handles get through. Throws Error (EPERM: the child became another
  // user). pidfd_send_signal(2).
  void kill(int signal) {
    int const result = detail::signal_child(running().pidfd.get(), running().pid, signal);
    if (result < 0 && result != -ESRCH) throw Error(-result, "pidfd_send_signal", std::to_string(signal));
  }

  // Asks it to end with SIGTERM, and kills it if it has not within `grace`. A PID 1 that does not handle SIGTERM would never hear
  // it and is killed after 50 ms: one that fetches it with sigwait cannot be told from it sooner.
  template <class Rep, class Period>
  ExitStatus stop(std::chrono::duration<Rep, Period> grace) {
    if (auto const status = try_wait()) return *status;
    bool const deaf = deaf_to_sigterm();
    kill(SIGTERM);
    constexpr std::chrono::milliseconds patience{50};
    if (auto const status = deaf && std::chrono::duration<double>(grace) > patience ? wait_for(patience) : wait_for(grace)) return *status;
    kill(SIGKILL);
    return wait();
  }

  // The namespace that the child is in. Throws Error (ESRCH: it has ended; EACCES: it may not be looked at).
  Namespace namespace_of(NamespaceType type) const { return Namespace::of_pidfd(pidfd(), type); }

  // Gives up ownership: the child goes on by itself, and the caller reaps it. Streams that were not moved out of in(), out() and err()
  // are closed. Throws std::logic_error unless the description says ParentDeath::leave_child.
  [[nodiscard]] ReleasedChild release() {
    Running& child = running();
    if (state_.status) throw std::logic_error("cloister: release: the child has been reaped");
    if (state_.dies_with_parent)
      throw std::logic_error("cloister: release: the child would die with this process: start it with ParentDeath::leave_child");
    ReleasedChild released{child.pid, std::move(child.pidfd)};
    state_ = State{};
    return released;
  }

 protected:
  using Running = detail::Running;
  struct State {
    Running running;
    detail::ProcessMark mark;  // of the process that made the handle
    std::optional<ExitStatus> status;
    std::optional<ExitStatus> reported;  // by an init
    detail::Received outcome;            // the callable's result or exception, once it has a status
    bool dies_with_parent = true;
    bool is_init = false;  // PID 1 without a reaper
    bool has_reaper = false;
    bool is_program = false;
    bool fetched = false;
  };

  Child(Running&& running, detail::Plan const& plan) {
    state_.running = std::move(running);
    state_.mark = detail::ProcessMark::own();
    state_.dies_with_parent = plan.child.dies_with_parent;
    state_.has_reaper = plan.child.reaper;
    state_.is_init = plan.new_pid() && !plan.child.reaper;
    state_.is_program = plan.child.candidates != nullptr;
  }

  Running const& running() const {
    if (!state_.running.pidfd) throw std::logic_error("cloister: this handle holds no child");
    return state_.running;
  }
  Running& running() { return const_cast<Running&>(std::as_const(*this).running()); }

  std::optional<ExitStatus> wait_until(detail::Deadline const& deadline) {
    if (!state_.status) {
      ::pollfd ended{pidfd(), POLLIN, 0};
      if (detail::check(detail::poll_until(&ended, 1, deadline), "poll") == 0) return std::nullopt;
    }
    return wait();
  }

  // Signals the process group of the child, which may hold more than the child: by pidfd since Linux 6.9, else by number, which
  // stays taken while the child is not reaped.
  void kill_group(int signal) {
    constexpr unsigned process_group = 1u << 2;
    Running const& child = running();
    int const result = detail::sys::pidfd_send_signal(child.pidfd.get(), signal, process_group);
    if (result == -EINVAL || result == -ENOSYS || result == -EPERM) detail::sys::kill(-child.pid, signal);
  }

  // Takes what the child has said without waiting. What it leaves behind may go on writing for ever: no more is read than the channel
  // can have held when the child ended.
  void take_messages() {
    take(std::move(state_.running.early.outcome));
    take(std::move(state_.running.early.end));
    state_.running.early = {};
    for (int const channel : {state_.running.channel.get(), state_.running.moved.get()})
      for (int count = 0; channel >= 0 && count < 1024; ++count) {
        detail::Received received = detail::receive_message(channel);
        if (received.status <= 0 && received.status != -EBADMSG) break;
        take(std::move(received));
      }
  }
  // The first outcome counts. What is no message of ours is dropped: the child may send what it likes.
  void take(detail::Received&& received) {
    if (received.status <= 0) return;
    using Kind = detail::MessageKind;
    Kind const kind = received.message.kind;
    if (kind == Kind::ended && state_.has_reaper)
      state_.reported = ExitStatus::from_wait_status(received.message.value);
    else if ((kind == Kind::result || kind == Kind::threw || kind == Kind::failed) && state_.outcome.status == 0)
      state_.outcome = std::move(received);
  }

  State state_;

 private:
  explicit Child(State&& state) noexcept : state_(std::move(state)) {}

  // An init reports how the process that it is there for ended, and ends itself as a shell would: so much of it the kernel confirms.
  // Else it is a lie of the child, or the init did not get to its end.
  static bool is_told_by(ExitStatus const& reported, ExitStatus const& init) noexcept {
    return init.is_unknown() || init.code() == reported.code().value_or(128 + reported.signal().value_or(128));
  }

  bool deaf_to_sigterm() const {
    if (!state_.is_init) return false;
    std::string const path = "/proc/" + std::to_string(pid()) + "/status";
    FileDescriptor const file = FileDescriptor::adopt(detail::sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return false;
    std::string text(4096, '\0');
    long const size = detail::sys::read(file.get(), text.data(), text.size());
    if (size <= 0) return false;
    // Caught by a handler, or blocked for a signalfd.
    auto const holds_sigterm = [&](char const* field) {
      std::size_t const at = text.find(field);
      if (at == text.npos) return true;
      return (std::strtoull(text.c_str() + at + 9, nullptr, 16) & (std::uint64_t{1} << (SIGTERM - 1))) != 0;
    };
    return !holds_sigterm("\nSigCgt:\t") && !holds_sigterm("\nSigBlk:\t");
  }

  // A child that became another user may refuse to be killed; waiting for it would then hang the host.
  void end() noexcept {
    if (!state_.running.pidfd || state_.status || !state_.mark.is_of_this_process()) return;
    int const pidfd = state_.running.pidfd.get(), pid = state_.running.pid;
    if (detail::signal_child(pidfd, pid, SIGKILL) != -EPERM) (void)detail::reap(pidfd, pid);
  }
};

}  // namespace cloister
