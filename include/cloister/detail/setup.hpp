// The child walks the plan. Nothing here allocates, locks, throws or prints, and all of it may run in a process that shares the
// memory of its parent.
#pragma once

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#include "../loopback.hpp"
#include "files.hpp"
#include "program_path.hpp"

namespace cloister::detail {

// Every signal to its default: the parent's handlers mean nothing here, and an ignored signal would stay ignored across execve.
// But not the two that the C library uses between threads: it does not look whether its handlers are still there.
CLOISTER_DETAIL_CHILD_SIDE inline void reset_signal_dispositions() noexcept {
  kernel::signal_action const default_action{};
  for (int signal = 1; signal <= kernel::signal_count; ++signal)
    if (signal != SIGKILL && signal != SIGSTOP && signal != 32 && signal != 33) sys::sigaction(signal, &default_action);
}
CLOISTER_DETAIL_CHILD_SIDE inline void unblock_signals() noexcept {
  std::uint64_t const none = 0;
  sys::sigprocmask(SIG_SETMASK, &none);
}

CLOISTER_DETAIL_CHILD_SIDE inline Failure failed(Step step, long error, std::size_t item = 0) noexcept {
  return {step, static_cast<int>(-error), static_cast<int>(item)};
}
// A user namespace takes the caller's privileges away and gives those of its own: what can be entered with the former is, before it,
// the rest after it. The first step that failed, if one did.
CLOISTER_DETAIL_CHILD_SIDE inline Failure enter_namespaces(ChildPlan const& plan) noexcept {
  std::size_t refused[sizeof plan.joins / sizeof *plan.joins];
  std::size_t refused_count = 0;
  bool const user = joins(plan, kernel::clone_newuser);
  for (bool const is_user : {false, true})
    for (std::size_t i = 0; i < plan.join_count; ++i) {
      ChildPlan::Join const& each = plan.joins[i];
      if ((each.flag == kernel::clone_newuser) != is_user) continue;
      int const result = sys::setns(each.fd, each.flag);
      if (result == -EPERM && user && !is_user)
        refused[refused_count++] = i;
      else if (result < 0)
        return failed(Step::join, result, i);
    }
  for (std::size_t i = 0; i < refused_count; ++i) {
    ChildPlan::Join const& each = plan.joins[refused[i]];
    if (int const result = sys::setns(each.fd, each.flag); result < 0) return failed(Step::join, result, refused[i]);
  }
  return {Step::none, 0, 0};
}

// A new time namespace of who joins others is made on that occasion: who has hidden its memory finds its files in /proc to be root's, so
// that the one with the offsets has to be opened before.
CLOISTER_DETAIL_CHILD_SIDE constexpr bool makes_time_on_joining(ChildPlan const& plan) noexcept {
  return joins_others(plan) && !plan.new_user && (plan.unshare_flags & kernel::clone_newtime) != 0;
}

// Into the namespaces of the plan, in the child or in the middle that clones it. When it fails nothing has been left open: a middle may
// share the host's descriptors.
CLOISTER_DETAIL_CHILD_SIDE inline void join_namespaces(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  if (plan.join_count == 0) return;
  bool const has_offsets = makes_time_on_joining(plan) && plan.clock_offsets != nullptr;
  int const offsets = has_offsets ? sys::openat(AT_FDCWD, "/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC) : -1;
  if (has_offsets) require(side, offsets, Step::clock_offsets);
  // Those who are inside have privileges over all that is in their user namespace, but not over memory that was hidden before it came
  // there. It is the host's, or a copy of it, and so is what is open here. A change of ids or privileges keeps it hidden: the plan has
  // made sure of fs.suid_dumpable.
  int const hidden = joins_others(plan) ? sys::prctl(PR_SET_DUMPABLE, 0) : 0;
  Failure failure = hidden < 0 ? failed(Step::hide_memory, hidden) : enter_namespaces(plan);
  if (failure.step == Step::none && makes_time_on_joining(plan)) {
    if (int const result = sys::unshare(kernel::clone_newtime); result < 0) failure = failed(Step::unshare, result);
    bool const writes = failure.step == Step::none && has_offsets;
    long const written = writes ? sys::write(offsets, plan.clock_offsets, plan.clock_offsets_size) : 0;
    if (written < 0) failure = failed(Step::clock_offsets, written);
  }
  if (has_offsets) sys::close(offsets);
  if (failure.step != Step::none) fail(side, failure);
}

// Maps first, then the inside ids: an unmapped creator could not make a file (EOVERFLOW), and PR_SET_PDEATHSIG is lost when ids
// change. A change of ids keeps the capabilities, which the rest of the set-up needs.
CLOISTER_DETAIL_CHILD_SIDE inline void become_inside_ids(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  if (!plan.parent_writes_maps) {
    long const denied = write_in_proc(side, "/proc/self/setgroups", "deny", 4);
    if (denied != -ENOENT) require(side, denied, Step::deny_setgroups);  // no such file before Linux 3.19
    require(side, write_in_proc(side, "/proc/self/gid_map", plan.gid_map, plan.gid_map_size), Step::write_gid_map);
    require(side, write_in_proc(side, "/proc/self/uid_map", plan.uid_map, plan.uid_map_size), Step::write_uid_map);
  }
  // EPERM: setgroups was given up further out, and the namespace inherited that.
  if (!plan.setgroups_denied)
    if (int const result = sys::setgroups(0, nullptr); result != -EPERM) require(side, result, Step::setgroups);
  if (plan.ids_change) sys::prctl(PR_SET_KEEPCAPS, 1);
  require(side, sys::setresgid(plan.gid), Step::setresgid);
  require(side, sys::setresuid(plan.uid), Step::setresuid);
  if (plan.ids_change) {
    kernel::capability_header header{kernel::capability_version_3, 0};
    kernel::capability_data data[2] = {};
    require(side, sys::capget(&header, data), Step::capset);
    for (kernel::capability_data& part : data) part.effective = part.permitted;
    require(side, sys::capset(&header, data), Step::capset);
    sys::prctl(PR_SET_KEEPCAPS, 0);
  }
}

// In a user namespace that was joined: root where it has one, else who the caller is.
CLOISTER_DETAIL_CHILD_SIDE inline void become_joined_ids(ChildSide const& side) noexcept {
  // EPERM: setgroups was given up there.
  if (int const result = sys::setgroups(0, nullptr); result != -EPERM) require(side, result, Step::setgroups);
  // EINVAL: it is not mapped.
  if (int const result = sys::setresgid(0); result != -EINVAL) require(side, result, Step::setresgid);
  if (int const result = sys::setresuid(0); result != -EINVAL) require(side, result, Step::setresuid);
}

// Of a PID 1 that is a callable. Others of its namespace may send the signal as well.
inline int watched_lifeline = -1;
inline void look_at_lifeline(int) noexcept {
  ::pollfd lifeline{watched_lifeline, POLLIN, 0};
  ::timespec const now{};
  if (sys::poll(&lifeline, 1, &now) > 0 && (lifeline.revents & POLLHUP) != 0) sys::exit(128 + SIGKILL);
}

// Dies with the parent process. PR_SET_PDEATHSIG watches a thread, so it serves where that thread lives as long as the process;
// elsewhere a pipe, whose write end closes with the process, raises a signal at its read end: SIGKILL, or to PID 1, to which such a
// SIGKILL does nothing, SIGRTMAX with a handler, or SIGIO where the user's queue of signals is full. Armed last, it looks once more
// whether the parent is there.
CLOISTER_DETAIL_CHILD_SIDE inline void die_with_parent(ChildSide const& side) noexcept {
  if (!side.plan->dies_with_parent) return;
  if (side.lifeline < 0) {
    require(side, sys::prctl(PR_SET_PDEATHSIG, SIGKILL), Step::parent_death);
  } else {
    int signal = SIGKILL;
    if (side.is_init) {
      signal = kernel::signal_count;
      if (!side.plan->reaper) {
        watched_lifeline = side.lifeline;
        sys::handle_signal(signal, look_at_lifeline);
        sys::handle_signal(SIGIO, look_at_lifeline);
      }
    }
    require(side, sys::fcntl(side.lifeline, F_SETOWN, sys::getpid()), Step::parent_death);
    require(side, sys::fcntl(side.lifeline, F_SETSIG, signal), Step::parent_death);
    require(side, sys::fcntl(side.lifeline, F_SETFL, O_ASYNC), Step::parent_death);
    // A callable that becomes a program takes it along.
    require(side, sys::fcntl(side.lifeline, F_SETFD, 0), Step::parent_death);
    ::pollfd cut{side.lifeline, POLLIN, 0};
    ::timespec const now{};
    if (sys::poll(&cut, 1, &now) > 0) sys::exit(128 + SIGKILL);
  }
  // A forked copy of the parent may hold the channel open; in a pid namespace below the parent's there is no parent to be seen.
  int const parent = sys::getppid();
  if (parent != 0 && parent != side.parent) sys::exit(128 + SIGKILL);
  if (side.channel < 0) {
    ::pollfd gone{side.parent_watch, POLLIN, 0};
    ::timespec const now{};
    if (sys::poll(&gone, 1, &now) > 0) sys::exit(128 + SIGKILL);
    return;
  }
  char byte;
  if (sys::recv(side.channel, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) sys::exit(128 + SIGKILL);
}

// Before any change of ids, after which the files of /proc/self are no longer the child's own. A process that shares memory enters
// its new time namespace at execve; another must ask for it.
CLOISTER_DETAIL_CHILD_SIDE inline void set_clocks(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  if (plan.clock_offsets != nullptr && !makes_time_on_joining(plan))
    require(side, write_in_proc(side, "/proc/self/timens_offsets", plan.clock_offsets, plan.clock_offsets_size), Step::clock_offsets);
  if ((plan.unshare_flags & kernel::clone_newtime) == 0 || side.shares_memory) return;
  int const fd = open_in_proc(side, "/proc/self/ns/time_for_children", O_RDONLY);
  require(side, fd, Step::enter_time);
  require(side, sys::setns(fd, kernel::clone_newtime), Step::enter_time);
  sys::close(fd);
}

CLOISTER_DETAIL_CHILD_SIDE inline void make_world(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  if (plan.hostname != nullptr) require(side, sys::sethostname(plan.hostname, plan.hostname_size), Step::hostname);
  if (plan.domainname != nullptr) require(side, sys::setdomainname(plan.domainname, plan.domainname_size), Step::domainname);
  if (plan.loopback_up) require(side, set_loopback_up(), Step::loopback);
  if (plan.fresh_session) {
    require(side, sys::setsid(), Step::setsid);
    sys::keyctl(kernel::keyctl_join_session_keyring);  // there are kernels without keys, and filters that hide them
  } else if (plan.own_group) require(side, sys::setpgid(0, 0), Step::setpgid);
}

// --- descriptors

// Calls `visit(side, fd)` for every open descriptor above 2: by /proc where it is there, else by trying every number. A root directory
// may have something else in that place, or a link to other numbers of a proc: what lists us has a link under the number that we list by.
template <class Visit>
CLOISTER_DETAIL_CHILD_SIDE inline void for_each_descriptor(ChildSide const& side, Visit visit) noexcept {
  int const directory = sys::openat(AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct ::statfs facts {};
  bool const is_proc = directory >= 0 && sys::fstatfs(directory, &facts) == 0 && facts.f_type == kernel::proc_super_magic;
  bool lists_us = false;
  alignas(::dirent64) char buffer[2048];
  for (long size; is_proc && (size = sys::getdents64(directory, buffer, sizeof buffer)) > 0;)
    for (long at = 0; at < size;) {
      auto const* entry = reinterpret_cast<::dirent64 const*>(buffer + at);
      at += entry->d_reclen;
      int fd = 0;
      char const* digit = entry->d_name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) fd = fd * 10 + (*digit - '0');
      char target;
      if (*digit == '\0' && fd == directory) lists_us = sys::readlinkat(directory, entry->d_name, &target, 1) > 0;
      if (*digit == '\0' && fd > 2 && fd != directory) visit(side, fd);
    }
  if (directory >= 0) sys::close(directory);
  if (lists_us) return;
  ::rlimit limit{};
  sys::getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 3; static_cast<::rlim_t>(fd) < limit.rlim_cur; ++fd) visit(side, fd);
}

// close_range with CLOSE_RANGE_CLOEXEC is Linux 5.11, close_range itself 5.9.
CLOISTER_DETAIL_CHILD_SIDE inline void mark_all_close_on_exec(ChildSide const& side) noexcept {
  if (sys::close_range(3, ~0u, kernel::close_range_cloexec) == 0) return;
  for_each_descriptor(side, [](ChildSide const&, int fd) CLOISTER_DETAIL_CHILD_SIDE { sys::fcntl(fd, F_SETFD, FD_CLOEXEC); });
}

CLOISTER_DETAIL_CHILD_SIDE inline bool survives(ChildSide const& side, int fd) noexcept {
  if (fd == side.channel || fd == side.lifeline) return true;
  for (std::size_t i = 0; i < side.plan->kept_count; ++i)
    if (side.plan->kept[i].as == fd) return true;
  return false;
}
CLOISTER_DETAIL_CHILD_SIDE inline void close_all_others(ChildSide const& side) noexcept {
  for (int from = 3;;) {
    int next = -1;  // the lowest descriptor from here on that stays
    auto const consider = [&](int fd) CLOISTER_DETAIL_CHILD_SIDE {
      if (fd >= from && (next < 0 || fd < next)) next = fd;
    };
    consider(side.channel);
    consider(side.lifeline);
    for (std::size_t i = 0; i < side.plan->kept_count; ++i) consider(side.plan->kept[i].as);
    auto const last = next < 0 ? ~0u : static_cast<unsigned>(next) - 1;
    if ((next < 0 || next > from) && sys::close_range(static_cast<unsigned>(from), last, 0) < 0) break;
    if (next < 0) return;
    from = next + 1;
  }
  for_each_descriptor(side, [](ChildSide const& self, int fd) CLOISTER_DETAIL_CHILD_SIDE {
    if (!survives(self, fd)) sys::close(fd);
  });
}

// Before the root changes, after which there may be none. What is no such device is not written to.
CLOISTER_DETAIL_CHILD_SIDE inline int open_null() noexcept {
  int const fd = sys::openat(AT_FDCWD, "/dev/null", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fd;
  struct ::statx facts;
  int const looked = sys::statx_fd(fd, &facts);
  if (looked == 0 && S_ISCHR(facts.stx_mode) && facts.stx_rdev_major == 1 && facts.stx_rdev_minor == 3) return fd;
  sys::close(fd);
  return looked < 0 ? looked : -ENODEV;
}

// Whether a descriptor of ours will stand under this number.
CLOISTER_DETAIL_CHILD_SIDE inline bool is_target(ChildPlan const& plan, int number) noexcept {
  if (number < 3) return true;
  for (std::size_t i = 0; i < plan.kept_count; ++i)
    if (plan.kept[i].as == number) return true;
  return false;
}
// A descriptor that nothing will be put in the place of: `fd` itself if that will do, else a copy, close-on-exec.
CLOISTER_DETAIL_CHILD_SIDE inline int out_of_the_way(ChildPlan const& plan, int fd) noexcept {
  for (int from = 3; is_target(plan, fd); from = fd + 1) {
    int const copy = sys::fcntl(fd, F_DUPFD_CLOEXEC, from);
    if (copy < 0) return copy;
    if (from > 3) sys::close(fd);  // a copy that was in the way as well
    fd = copy;
  }
  return fd;
}

// Puts 0, 1 and 2 and the kept descriptors in their places and sees to it that no other outlives execve, or, for a callable, this
// call. Sources that are in the way are copied first, so that none is overwritten before it is used.
CLOISTER_DETAIL_CHILD_SIDE inline void place_descriptors(ChildSide& side) noexcept {
  ChildPlan const& plan = *side.plan;
  bool const program = plan.candidates != nullptr;
  if (program) {
    if (side.channel >= 0) require(side, side.channel = out_of_the_way(plan, side.channel), Step::close_descriptors);
    if (side.lifeline >= 0) side.lifeline = out_of_the_way(plan, side.lifeline);
    require(side, side.lifeline >= -1 ? 0 : side.lifeline, Step::close_descriptors);
    if (side.init_program >= 0) require(side, side.init_program = out_of_the_way(plan, side.init_program), Step::close_descriptors);
    mark_all_close_on_exec(side);
  }

  int sources[3] = {plan.streams[0], plan.streams[1], plan.streams[2]};
  for (int stream = 0; stream < 3; ++stream) {
    int& source = sources[stream];
    if (source == ChildPlan::from_caller) {
      if (stream == 2 && plan.err_to_out) continue;
      // A program must not get the first file that it opens as a standard stream that its parent had closed.
      if (!program || sys::fcntl(stream, F_SETFD, 0) == 0) continue;
      source = ChildPlan::from_null;
    }
    if (source == ChildPlan::from_null) {
      if (side.null == ChildSide::not_opened) side.null = open_null();
      require(side, side.null, Step::open_null);
      source = side.null;
    }
    source = out_of_the_way(plan, source);
    require(side, source, Step::streams, stream);
  }
  for (std::size_t i = 0; program && i < plan.kept_count; ++i) {
    Command::Kept const& kept = plan.kept[i];
    plan.kept_copies[i] = kept.fd == kept.as ? kept.fd : out_of_the_way(plan, kept.fd);
    require(side, plan.kept_copies[i], Step::keep_fd, kept.fd);
  }

  for (int stream = 0; stream < 3; ++stream)
    if (sources[stream] >= 0) require(side, sys::dup3(sources[stream], stream, 0), Step::streams, stream);
  if (program && plan.err_to_out) require(side, sys::dup3(1, 2, 0), Step::streams, 2);
  for (std::size_t i = 0; program && i < plan.kept_count; ++i) {
    Command::Kept const& kept = plan.kept[i];
    int const result = kept.fd == kept.as ? sys::fcntl(kept.fd, F_SETFD, 0) : sys::dup3(plan.kept_copies[i], kept.as, 0);
    require(side, result, Step::keep_fd, kept.fd);
  }
  if (!program) close_all_others(side);
}

// --- privileges

// No user namespace below this one, whose own limit that is. Through a proc of our own where the caller's is partly read-only.
CLOISTER_DETAIL_CHILD_SIDE inline void forbid_nesting(ChildSide const& side) noexcept {
  long const written = write_in_proc(side, "/proc/sys/user/max_user_namespaces", "0", 1);
  if (written >= 0 || !side.plan->files.own_namespace) return require(side, written, Step::forbid_nesting);
  int const proc = new_mount("proc", {MountOption{}}, 0);
  if (proc < 0) return require(side, written, Step::forbid_nesting);
  int const fd = sys::openat(proc, "sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
  require(side, fd, Step::forbid_nesting);
  require(side, sys::write(fd, "0", 1), Step::forbid_nesting);
  sys::close(fd);
  sys::close(proc);
}

// What is not kept leaves the bounding set too. Who may not change that has to rely on no_new_privs. Once for an init and its child:
// each takes the kernel new credentials.
CLOISTER_DETAIL_CHILD_SIDE inline void drop_bounding_set(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  for (int number = 0; number < 64; ++number) {
    if ((plan.capabilities >> number & 1) != 0) continue;
    int const dropped = sys::prctl(PR_CAPBSET_DROP, number);
    if (dropped == -EINVAL) break;  // the kernel knows no more
    if (dropped == -EPERM && plan.no_new_privs) break;
    require(side, dropped, Step::drop_capabilities);
  }
}
CLOISTER_DETAIL_CHILD_SIDE inline void drop_capabilities(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);  // Linux 4.3; emptied with the inheritable set anyway
  kernel::capability_header header{kernel::capability_version_3, 0};
  kernel::capability_data data[2] = {};
  require(side, sys::capget(&header, data), Step::drop_capabilities);
  for (unsigned part = 0; part < 2; ++part) {
    auto const kept = static_cast<std::uint32_t>(plan.capabilities >> (32 * part));
    data[part].permitted &= kept;
    data[part].effective = data[part].permitted;
    data[part].inheritable = 0;
  }
  require(side, sys::capset(&header, data), Step::drop_capabilities);
}

// An init needs none of them. Limits and filters are not for it: it is no code of the caller's.
CLOISTER_DETAIL_CHILD_SIDE inline void drop_init_privileges(ChildSide const& side) noexcept {
  if (side.plan->drops_capabilities) drop_capabilities(side);
  if (side.plan->no_new_privs) require(side, sys::prctl(PR_SET_NO_NEW_PRIVS, 1), Step::no_new_privs);
}

// In the process that the callable or program is, last of all. Limits come first, because a higher one takes a capability; the filter
// comes last, because it may forbid all the rest.
CLOISTER_DETAIL_CHILD_SIDE inline void drop_privileges(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  for (std::size_t i = 0; i < plan.limit_count; ++i) {
    ResourceLimit const& wanted = plan.limits[i];
    ::rlimit const limit{wanted.soft, wanted.hard ? *wanted.hard : wanted.soft};
    require(side, sys::setrlimit(static_cast<int>(wanted.resource), &limit), Step::resource_limit, static_cast<int>(i));
  }
  if (plan.drops_capabilities) drop_capabilities(side);
  if (plan.no_new_privs) require(side, sys::prctl(PR_SET_NO_NEW_PRIVS, 1), Step::no_new_privs);
  if (plan.seccomp.len > 0)
    require(side, sys::prctl(PR_SET_SECCOMP, kernel::seccomp_mode_filter, sys::arg(&plan.seccomp)), Step::seccomp);
}

// --- the whole

// Before anything of the world is made, and before a cgroup namespace of its own, whose root it is to be. The directory lies in a
// mount of the host's, from which ".." leads to the host's root: nobody in the child may have it.
CLOISTER_DETAIL_CHILD_SIDE inline void enter_cgroup(ChildSide const& side) noexcept {
  if (!side.joins_cgroup) return;
  int const fd = sys::openat(side.plan->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  require(side, write_and_close(fd, "0", 1), Step::cgroup);
}
CLOISTER_DETAIL_CHILD_SIDE inline void join_cgroup(ChildSide const& side) noexcept {
  enter_cgroup(side);
  if (side.plan->cgroup_is_ours) sys::close(side.plan->cgroup);
}

// From the new namespaces to the point where the callable or the program begins.
CLOISTER_DETAIL_CHILD_SIDE inline void set_up(ChildSide& side) noexcept {
  ChildPlan const& plan = *side.plan;
  if (std::exchange(side.waits_for_go, false)) require(side, await_go(side), Step::go);
  set_clocks(side);
  if (plan.files.own_namespace) open_sources(side);
  if (plan.new_user)
    become_inside_ids(side);
  else if (joins(plan, kernel::clone_newuser))
    become_joined_ids(side);
  die_with_parent(side);
  make_world(side);
  if (plan.forbid_nesting) forbid_nesting(side);
  if (plan.files.own_root && plan.close_others) side.null = open_null();  // which may turn out not to be needed
  make_files(side);
  if (side.proc >= 0) sys::close(side.proc);
  if (plan.close_others)
    place_descriptors(side);
  if (plan.drops_capabilities) drop_bounding_set(side);
  if (plan.directory != nullptr) enter_directory(side);
  if (has_other_root(plan) && plan.candidates != nullptr) check_programs(side);
}

// Becomes the program. The error that is reported is the one that says most: a file that may not be executed before none at all.
[[noreturn]] CLOISTER_DETAIL_CHILD_SIDE inline void become_program(ChildSide const& side) noexcept {
  ChildPlan const& plan = *side.plan;
  unblock_signals();
  drop_privileges(side);
  if (side.failure != nullptr) side.failure->step = Step::none;  // from here on, how it ends is the program's own end
  int error = ENOENT;
  int tried = 0;
  for (; plan.candidates[tried] != nullptr && tried != side.candidate_count; ++tried) {
    int const result = -sys::execve(plan.candidates[tried], plan.arguments, plan.environment);
    if (result != ENOENT && result != ENOTDIR && result != EACCES) fail(side, {Step::execve, result, 0});
    if (error != EACCES) error = result;
  }
  if (side.candidate_refused != 0) error = side.candidate_refused;  // as if execve had said it
  // The caller's filter may end us for looking: what is known is said before.
  if (side.failure != nullptr) *side.failure = {Step::execve, error, 0};
  int interpreter_is_missing = 0;
  for (int i = 0; error == ENOENT && i < tried; ++i)
    if (int const there = sys::openat(AT_FDCWD, plan.candidates[i], O_PATH | O_CLOEXEC); there >= 0) {
      interpreter_is_missing = 1;
      sys::close(there);
    }
  fail(side, {Step::execve, error, interpreter_is_missing});
}

}  // namespace cloister::detail
