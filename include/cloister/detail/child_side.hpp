// What every step of the child's set-up uses: its side of the channel, and how a step that fails is told.
#pragma once

#include <utility>

#include "channel.hpp"
#include "plan.hpp"
#include "syscall.hpp"

namespace cloister::detail {

struct Failure {
  Step step;
  int error;
  int item;
};

// What a child has besides its plan.
struct ChildSide {
  ChildPlan const* plan;
  int channel = -1;           // its end; a program that has nothing to hear or to say later has none
  int parent_channel = -1;    // the parent's end, where the child still holds a copy
  int parent = 0;             // its pid, in its own pid namespace
  int lifeline = -1;          // read end of a pipe whose write end only the parent holds; -1: PR_SET_PDEATHSIG instead
  std::uint64_t unshare_flags = 0;  // CLONE_NEW* that it was not cloned with
  bool has_joined = false;          // the namespaces of its plan: whoever cloned it was in them
  bool waits_for_go = false;        // until the parent has written the id maps, or the thread that cloned it has ended
  bool shares_memory = false;       // a program before execve,
  Failure* failure = nullptr;       // and where it says what went wrong
  int parent_watch = -1;            // a pidfd of the parent, for a child without a channel
  bool is_init = false;             // PID 1 of a new pid namespace
  bool joins_cgroup = false;        // it was not cloned into it
  int init_program = -1;            // a program under a reaper: what PID 1 becomes,
  void* second_stack = nullptr;     // the stack of PID 2, its lower end,
  std::size_t stack_size = 0;
  int* second_unfinished = nullptr; // and what the kernel clears when PID 2 lets go of our memory
  int root = -1;                    // the tree of a root that is a directory, once it is open
  static constexpr int not_opened = -4096;
  int null = not_opened;            // /dev/null, or why it could not be opened before the root changed
  int proc = not_opened;            // likewise the caller's /proc, where the child goes into other mounts
  int candidate_count = -1;         // how many of the paths a program may be executed by; -1: all,
  int candidate_refused = 0;        // and with which errno it is not by the next
};

// Ends a child whose parent has gone. A negative errno if it cannot be heard.
CLOISTER_DETAIL_CHILD_SIDE inline long await_go(ChildSide const& side) noexcept {
  Message message;
  long const got = sys::recv(side.channel, &message, sizeof message, 0);
  if (got == 0 || (got > 0 && message.kind != MessageKind::go)) sys::exit(127);
  return got;
}

// A child that its parent has no pidfd of yet may not end: nobody could tell its pid from that of another process.
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void fail(ChildSide const& side, Failure const& failure) noexcept {
  long told = 0;
  if (side.failure != nullptr)
    *side.failure = failure;
  else
    told = send_message(side.channel, MessageKind::failed, failure.step, failure.error, failure.item);
  if (told == 0 && side.waits_for_go) (void)await_go(side);
  sys::exit(127);
}
CLOISTER_DETAIL_CHILD_SIDE inline void require(ChildSide const& side, long result, Step step, int item = 0) noexcept {
  if (result < 0) fail(side, {step, static_cast<int>(-result), item});
}

// A file of /proc, by its path. In mounts that the child has joined, the one that is there is not to be trusted.
CLOISTER_DETAIL_CHILD_SIDE inline int open_in_proc(ChildSide const& side, char const* path, int flags) noexcept {
  if (side.proc == ChildSide::not_opened) return sys::openat(AT_FDCWD, path, flags | O_CLOEXEC);
  return side.proc < 0 ? side.proc : sys::openat(side.proc, path + sizeof "/proc/" - 1, flags | O_CLOEXEC);
}
CLOISTER_DETAIL_CHILD_SIDE inline long write_and_close(int fd, char const* text, std::size_t size) noexcept {
  if (fd < 0) return fd;
  long const written = sys::write(fd, text, size);
  sys::close(fd);
  return written;
}
CLOISTER_DETAIL_CHILD_SIDE inline long write_in_proc(ChildSide const& side, char const* path, char const* text,
                                                     std::size_t size) noexcept {
  return write_and_close(open_in_proc(side, path, O_WRONLY), text, size);
}

}  // namespace cloister::detail
