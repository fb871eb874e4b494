// Start, wait, and take what comes back, in one call.
#pragma once

#include <sys/ioctl.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "child_process.hpp"

namespace cloister {

namespace detail {

struct Runner {
  // Waits for the end, or the deadline, instead of the beginning.
  template <class R, class F>
  static ChildProcess<R()> start(Isolation const& isolation, F&& callable, Deadline const& deadline) {
    return {Plan{isolation}, std::decay_t<F>(std::forward<F>(callable)), &deadline};
  }
  // In a process group of its own, which a time-out can end.
  static ChildProcess<ExitStatus()> start(Isolation const& isolation, Command const& command) {
    return {isolation, command, {.own_group = true}};
  }
  static void kill_group(ChildProcess<ExitStatus()>& child) { child.kill_group(SIGKILL); }
};

}  // namespace detail

struct CallOptions {
  // From the call on; when it is over the child is killed.
  std::optional<std::chrono::nanoseconds> timeout{};
};

// Runs a callable in a child and returns its result. Throws what ChildProcess's constructor and get() throw, and ChildTimedOut.
template <detail::Callable F>
[[nodiscard]] detail::ResultOf<F> run(Isolation const& isolation, F&& callable, CallOptions const& options = {}) {
  detail::Deadline const deadline = options.timeout ? detail::Deadline{*options.timeout} : detail::Deadline{};
  auto child = detail::Runner::start<detail::ResultOf<F>>(isolation, std::forward<F>(callable), deadline);
  ::pollfd ended{child.pidfd(), POLLIN, 0};
  if (detail::check(detail::poll_until(&ended, 1, deadline), "poll") == 0) {
    child.kill(SIGKILL);
    throw ChildTimedOut(child.wait());
  }
  return child.get();
}

struct RunOptions {
  // What the program reads from its standard input; without any, and without a stream set in the command, /dev/null.
  std::string input{};
  // From the call on; when it is over the program's process group is killed.
  std::optional<std::chrono::nanoseconds> timeout{};
};

// What a program wrote and how it ended. A stream that the command sent elsewhere is empty here.
struct Output {
  ExitStatus status{};
  std::string out{};
  std::string err{};
  bool timed_out = false;

  friend bool operator==(Output const&, Output const&) = default;
};

namespace detail {

inline void make_nonblocking(FileDescriptor const& fd) {
  if (fd) check(sys::fcntl(fd.get(), F_SETFL, O_NONBLOCK), "fcntl", "O_NONBLOCK");
}

// Appends what one read gives. Closes the pipe at its end.
inline void read_some(FileDescriptor& from, std::string& to, std::size_t most = std::size_t{64} * 1024) {
  if (!from || most == 0) return;
  std::size_t const before = to.size();
  to.resize(before + most);
  long const got = sys::read(from.get(), to.data() + before, most);
  to.resize(before + static_cast<std::size_t>(std::max(got, 0L)));
  if (got <= 0 && got != -EAGAIN) from.reset();
}

// Appends what a pipe holds at this moment, and no more: somebody may go on writing for ever.
inline void drain(FileDescriptor& from, std::string& to) {
  int held = 0;
  if (from && sys::ioctl(from.get(), FIONREAD, sys::arg(&held)) == 0) read_some(from, to, static_cast<std::size_t>(held));
}

// Writes as much as fits now. Closes it when all is written or nobody reads any more.
inline void feed(FileDescriptor& to, std::string_view& input) {
  SuppressedSignal const no_sigpipe{SIGPIPE};
  while (to) {
    if (input.empty()) return to.reset();
    long const written = sys::write(to.get(), input.data(), input.size());
    if (written == -EAGAIN) return;
    if (written < 0) return to.reset();
    input.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace detail

// Runs a program, in a process group of its own, and captures what it writes to its standard output and error, both in memory and
// without a limit. When it has ended, what is in the pipes is taken; a background process that still holds them is not awaited.
// A time-out kills the group and is no exception: `timed_out` says so. Throws what ChildProcess's constructor throws.
inline Output run(Isolation const& isolation, Command const& command, RunOptions const& options = {}) {
  detail::Deadline const deadline = options.timeout ? detail::Deadline{*options.timeout} : detail::Deadline{};
  using Kind = Redirect::Kind;
  Stdio streams = command.streams();
  if (!options.input.empty() && streams.in.kind() != Kind::unset && streams.in.kind() != Kind::pipe)
    throw std::invalid_argument("cloister: run: input, but the command's stdio sends its standard input elsewhere");
  if (streams.in.kind() == Kind::unset) streams.in = options.input.empty() ? Redirect::null() : Redirect::pipe();
  if (streams.out.kind() == Kind::unset) streams.out = Redirect::pipe();
  if (streams.err.kind() == Kind::unset) streams.err = Redirect::pipe();

  auto child = detail::Runner::start(isolation, command.stdio(streams));
  for (FileDescriptor const* stream : {&child.in(), &child.out(), &child.err()}) detail::make_nonblocking(*stream);

  Output output;
  std::string_view input = options.input;
  for (bool ended = false; !ended;) {
    // A negative descriptor is passed over by poll(2).
    ::pollfd waiting[4] = {{child.pidfd(), POLLIN, 0},
                           {child.in().get(), POLLOUT, 0},
                           {child.out().get(), POLLIN, 0},
                           {child.err().get(), POLLIN, 0}};
    int const ready = detail::check(detail::poll_until(waiting, 4, deadline), "poll");
    if (ready == 0 || (deadline.passed() && waiting[0].revents == 0)) {
      output.timed_out = true;
      detail::Runner::kill_group(child);
      child.kill(SIGKILL);
    }
    ended = output.timed_out || waiting[0].revents != 0;
    if (ended) output.status = child.wait();
    if (waiting[1].revents != 0) detail::feed(child.in(), input);
    if (waiting[2].revents != 0) detail::read_some(child.out(), output.out);
    if (waiting[3].revents != 0) detail::read_some(child.err(), output.err);
  }
  detail::drain(child.out(), output.out);
  detail::drain(child.err(), output.err);
  return output;
}

}  // namespace cloister
