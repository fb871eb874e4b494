// What a process or a user is called in another namespace.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "detail/fork_guard.hpp"
#include "detail/hint.hpp"
#include "detail/proc_files.hpp"
#include "detail/text.hpp"
#include "namespace.hpp"

namespace cloister {

namespace detail {

inline void require_type(char const* who, NamespaceType type, Namespace const& from, Namespace const& to) {
  for (Namespace const* each : {&from, &to})
    if (each->type() != type)
      throw std::invalid_argument(
          join({"cloister: ", who, ": ", to_string(each->id()), " is no ", to_string(type), " namespace"}));
}

// --- processes

[[noreturn]] inline void throw_no_process(pid_t pid, Namespace const& from) {
  throw Error(ESRCH, "translate", join({std::to_string(pid), " of ", to_string(from.id())}), Error::Side::parent,
              "no process that the caller's pid namespace sees has that id there");
}

// The numbers of "NSpid:\t5\t1", one for each pid namespace: from that of the /proc to the process's own.
inline std::vector<pid_t> pids_in(std::string const& status) {
  constexpr char const* key = "\nNSpid:";
  std::vector<pid_t> pids;
  std::size_t const line = status.find(key);
  if (line == status.npos) return pids;
  char const* at = status.c_str() + line + std::strlen(key);
  while (*at == '\t') {
    char* end = nullptr;
    pids.push_back(static_cast<pid_t>(std::strtol(at + 1, &end, 10)));
    at = end;
  }
  return pids;
}

// What a process with those numbers, whose pid namespace is `innermost`, is called in another one; 0 if it is not in
// there.
inline pid_t pid_of(std::vector<pid_t> const& pids, FileDescriptor const& innermost, Namespace const& place) {
  int fd = innermost.get();
  FileDescriptor outer;
  for (std::size_t i = pids.size(); i > 0 && fd >= 0; --i) {
    struct ::stat file {};
    if (sys::fstat(fd, &file) == 0 && file.st_ino == place.id().inode) return pids[i - 1];
    outer = FileDescriptor::adopt(sys::ioctl(fd, kernel::ns_get_parent));
    fd = outer.get();
  }
  return 0;
}

// Before Linux 6.11.
inline std::optional<pid_t> translate_by_proc(pid_t pid, Namespace const& from, Namespace const& to) {
  int const opened = sys::openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) throw look_error(-opened, "open", "/proc", {});
  FileDescriptor const proc = FileDescriptor::adopt(opened);
  bool found = false;
  pid_t translated = 0;
  for_each_number(opened, [&](char const* name) {
    // It stays the directory of this process.
    auto const process = FileDescriptor::adopt(sys::openat(opened, name, O_PATH | O_DIRECTORY | O_CLOEXEC));
    auto const status = FileDescriptor::adopt(sys::openat(process.get(), "status", O_RDONLY | O_CLOEXEC));
    std::vector<pid_t> const pids = pids_in(read_rest(status.get()));
    bool possible = false;
    for (pid_t each : pids) possible |= each == pid;
    if (!possible) return true;
    auto const innermost = FileDescriptor::adopt(sys::openat(process.get(), "ns/pid", O_RDONLY | O_CLOEXEC));
    if (pid_of(pids, innermost, from) != pid) return true;
    found = true;
    translated = pid_of(pids, innermost, to);
    return false;
  });
  if (!found) throw_no_process(pid, from);
  return translated != 0 ? std::optional<pid_t>(translated) : std::nullopt;
}

// --- users and groups

// Of the helper that reads the id map of another user namespace, which it goes into.
struct MapReading {
  int ns;
  char const* path;
  char* text;
  std::size_t capacity;

  std::size_t size = 0;
  char const* failed_step = "wait";  // until it says otherwise: who lives in there may have killed it
  int error = ECHILD;
};

CLOISTER_DETAIL_CHILD_SIDE inline void read_map_and_exit(void* argument) noexcept {
  auto& reading = *static_cast<MapReading*>(argument);
  // Who has privileges inside shall not look into what is the host's memory.
  char const* step = "prctl PR_SET_DUMPABLE";
  long result = sys::prctl(PR_SET_DUMPABLE, 0);
  if (result == 0) {
    step = "setns";
    result = sys::setns(reading.ns, kernel::clone_newuser);
  }
  if (result == 0) {
    step = "open";
    int const fd = sys::openat(AT_FDCWD, reading.path, O_RDONLY | O_CLOEXEC);
    for (result = fd; result >= 0 && reading.size < reading.capacity;) {
      step = "read";
      result = sys::read(fd, reading.text + reading.size, reading.capacity - reading.size);
      if (result <= 0) break;
      reading.size += static_cast<std::size_t>(result);
    }
    if (fd >= 0) sys::close(fd);
  }
  reading.failed_step = result < 0 ? step : nullptr;
  reading.error = static_cast<int>(-result);
  sys::exit(0);
}

// The map from a user namespace to its parent: a line a range, its start inside, its start outside, its length. Who
// reads the file of a process in its own user namespace is shown the ids of the parent as the outer ones.
inline std::string id_map_of(Namespace const& place, Namespace const& here, char const* path) {
  if (place == here) {
    int const opened = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (opened < 0) throw look_error(-opened, "open", path, {});
    return read_rest(FileDescriptor::adopt(opened).get());
  }
  constexpr std::size_t lines = 340, line_size = 33;
  std::string text(lines * line_size + 1, '\0');
  MapReading reading{place.fd(), path, text.data(), text.size()};
  {
    require_that_memory_stays_hidden();
    Dumpable dumpable;
    if (!dumpable.lend(2'000))
      throw Error(EBUSY, "prctl PR_SET_DUMPABLE", to_string(place.id()), Error::Side::parent,
                  "another thread has been starting a child among others for two seconds");
    if (int const result = run_in_helper(0, read_map_and_exit, &reading); result < 0) {
      reading.failed_step = "clone";
      reading.error = -result;
    }
  }
  if (reading.failed_step != nullptr && reading.error == ENOENT) throw look_error(ENOENT, "open", path, {});
  if (reading.failed_step != nullptr)
    throw Error(reading.error, reading.failed_step, to_string(place.id()), Error::Side::parent,
                refusal_hint(reading.failed_step, reading.error, NamespaceType::user));
  text.resize(reading.size);
  return text;
}

enum class Direction { inward, outward };
inline std::optional<std::uint32_t> mapped(std::uint32_t id, std::string const& map, Direction direction) {
  for (char const* at = map.c_str(); *at != '\0';) {
    std::uint32_t numbers[3];
    for (std::uint32_t& number : numbers) {
      char* end = nullptr;
      number = static_cast<std::uint32_t>(std::strtoul(at, &end, 10));
      at = end;
    }
    auto const [inside, outside, count] = numbers;
    std::uint32_t const start = direction == Direction::inward ? outside : inside;
    if (id >= start && id - start < count) return (direction == Direction::inward ? inside : outside) + (id - start);
    if (*at != '\n') break;
    ++at;
  }
  return std::nullopt;
}

// An id of the caller's as one of a namespace below the caller's.
inline std::optional<std::uint32_t> inward(std::uint32_t id, Namespace const& place, Namespace const& here,
                                           char const* path) {
  if (place == here) return id;
  std::optional<std::uint32_t> const outer = inward(id, place.parent(), here, path);
  return outer ? mapped(*outer, id_map_of(place, here, path), Direction::inward) : std::nullopt;
}

// By way of the caller's: whatever is mapped further in is mapped there.
inline std::optional<std::uint32_t> translate_id(char const* who, std::uint32_t id, Namespace const& from,
                                                 Namespace const& to, char const* path) {
  require_type(who, NamespaceType::user, from, to);
  Namespace const here = Namespace::current(NamespaceType::user);
  if (from == to) return mapped(id, id_map_of(from, here, path), Direction::outward) ? std::optional(id) : std::nullopt;
  Namespace place = from;
  for (Namespace outer = from; place != here; place = outer) {
    outer = place.parent();
    std::optional<std::uint32_t> const outer_id = mapped(id, id_map_of(place, here, path), Direction::outward);
    if (!outer_id) return std::nullopt;
    id = *outer_id;
  }
  return inward(id, to, here, path);
}

}  // namespace detail

// The id in the pid namespace `to` of the process that has the id `pid` in `from`; empty if `to` does not see it. It
// holds while the process lives. The process must be one that the caller's pid namespace sees. Throws Error (ESRCH:
// there is none with that id), std::invalid_argument if they are no pid namespaces. Linux 6.11, ioctl_nsfs(2); before
// that, 4.9 and by way of /proc, for processes that the caller may look at.
inline std::optional<pid_t> translate(pid_t pid, Namespace const& from, Namespace const& to) {
  using namespace detail;
  require_type("translate", NamespaceType::pid, from, to);
  int const here = sys::ioctl(from.fd(), kernel::ns_get_pid_from_pidns, pid);
  if (here == -ENOTTY || here == -ENOSYS || here == -EPERM) return translate_by_proc(pid, from, to);
  int const there = here < 0 ? here : sys::ioctl(to.fd(), kernel::ns_get_pid_in_pidns, here);
  // It was still this process's number here if it is now.
  if (here < 0 || sys::ioctl(from.fd(), kernel::ns_get_pid_from_pidns, pid) != here) throw_no_process(pid, from);
  return there > 0 ? std::optional<pid_t>(there) : std::nullopt;
}

// The id in the user namespace `to` of the user that is `uid` in `from`; empty if it is not mapped in both. Each is the
// caller's own or lies below it. To read the map of another one than the caller's, a helper process goes into it and is
// gone when this returns: that needs CAP_SYS_ADMIN in it, which who made it has. Throws Error (EPERM: it lies outside
// of the caller's own; ENOENT: there is no /proc; EBUSY: another thread's start among others holds it up),
// std::invalid_argument if they are no user namespaces. Linux 4.9, user_namespaces(7).
inline std::optional<uid_t> translate_uid(uid_t uid, Namespace const& from, Namespace const& to) {
  return detail::translate_id("translate_uid", uid, from, to, "/proc/self/uid_map");
}

// The same for a group.
inline std::optional<gid_t> translate_gid(gid_t gid, Namespace const& from, Namespace const& to) {
  return detail::translate_id("translate_gid", gid, from, to, "/proc/self/gid_map");
}

}  // namespace cloister
