// What all tests use: doctest, skipping with a reason, and proof that a case left its process as it was.
#pragma once

#include <dirent.h>
#include <doctest/doctest.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

// For a case's own body: ends it and counts it as skipped, neither passed nor failed. doctest's own skip() decorator is
// decided before main() and hides the case from every count: not for tests.
#define SKIP(reason)                           \
  do {                                         \
    MESSAGE("skipped: ", std::string(reason)); \
    return;                                    \
  } while (false)
#define SKIP_UNLESS(condition, reason) \
  do {                                 \
    if (!(condition)) SKIP(reason);    \
  } while (false)

namespace test {

// Runs `body` in a plain fork, for a test that changes its own process, and returns the wait status. `body` returns
// true or 0 if all is well. Assertions in it reach nobody, so that a case reads
//   CHECK(test::in_fork([] { return ...; }) == 0);
template <class Body>
int in_fork(Body&& body) {
  std::fflush(nullptr);  // else the child would write it a second time
  pid_t const child = ::fork();
  if (child < 0) throw std::system_error(errno, std::system_category(), "fork");
  if (child == 0) {
    // doctest's handlers would report a crash here as the parent's.
    for (int const signal : {SIGINT, SIGILL, SIGFPE, SIGSEGV, SIGTERM, SIGABRT}) ::signal(signal, SIG_DFL);
    int code = 125;
    try {
      auto const result = std::forward<Body>(body)();
      if constexpr (std::is_same_v<decltype(result), bool const>)
        code = result ? 0 : 1;
      else
        code = static_cast<int>(result);
    } catch (std::exception const& error) {
      std::fprintf(stderr, "in_fork: %s\n", error.what());
    } catch (...) {
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) throw std::system_error(errno, std::system_category(), "waitpid");
  return status;
}

inline bool is_root() { return ::geteuid() == 0; }

// Whether a user namespace can be had, and is of any use: some systems grant it and withhold the capabilities in it.
inline bool can_unshare_user() {
  return in_fork([] { return ::unshare(CLONE_NEWUSER) == 0 && ::unshare(CLONE_NEWUTS) == 0; }) == 0;
}

// Memory that forks share.
template <class T>
class Shared {
 public:
  Shared() : value_(new (::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) T{}) {}
  Shared(Shared const&) = delete;
  ~Shared() { ::munmap(value_, sizeof(T)); }
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// Throws std::system_error if it cannot be read.
inline std::string read_file(std::string const& path) {
  std::FILE* const file = std::fopen(path.c_str(), "re");
  if (file == nullptr) throw std::system_error(errno, std::system_category(), "open " + path);
  std::string text;
  char part[4096];
  while (std::size_t const size = std::fread(part, 1, sizeof part, file)) text.append(part, size);
  bool const broken = std::ferror(file) != 0;
  int const why = errno;
  std::fclose(file);
  if (broken) throw std::system_error(why, std::system_category(), "read " + path);
  return text;
}

// Asks again and again until it is true (the result) or the time is over.
template <class Predicate>
bool wait_until(Predicate&& predicate, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
  auto const deadline = std::chrono::steady_clock::now() + limit;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// A fresh directory under $TMPDIR or /tmp, removed with what is in it, by the process that made it.
class [[nodiscard]] TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char const* const parent = std::getenv("TMPDIR");
    path_ = parent != nullptr && *parent != '\0' ? parent : "/tmp";
    path_ += "/cloister-test." + std::string(6, 'X');
    if (::mkdtemp(path_.data()) == nullptr) throw std::system_error(errno, std::system_category(), "mkdtemp " + path_);
  }
  TemporaryDirectory(TemporaryDirectory const&) = delete;
  TemporaryDirectory& operator=(TemporaryDirectory const&) = delete;
  ~TemporaryDirectory() {
    if (::getpid() != home_) return;
    try {
      // What a forgotten bind mount shows is not ours to remove, and may be the machine's own files.
      if (read_file("/proc/thread-self/mountinfo").find(" " + path_) != std::string::npos) return;
    } catch (std::exception const&) {
      return;
    }
    ::nftw(
        path_.c_str(), [](char const* path, struct stat const*, int, FTW*) { return ::remove(path); }, 16,
        FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  }

  std::string const& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  pid_t home_ = ::getpid();
  std::string path_;
};

// --- The leak fixture

// What a process can lose or gain, by name: "descriptor 3" is "/dev/null", "signal 17" is "ignored".
using Picture = std::map<std::string, std::string>;

namespace detail {

inline std::string link_target(std::string const& path) {
  char target[4096];
  ssize_t const size = ::readlink(path.c_str(), target, sizeof target);
  return size < 0 ? "(none)" : std::string(target, static_cast<std::size_t>(size));
}

inline std::vector<std::string> names_in(std::string const& path) {
  std::vector<std::string> names;
  DIR* const directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  std::string const own = std::to_string(::dirfd(directory));  // seen in /proc/self/fd, and gone when we are
  while (dirent const* const entry = ::readdir(directory))
    if (std::string_view const name = entry->d_name; name != "." && name != ".." && name != own)
      names.emplace_back(name);
  ::closedir(directory);
  return names;
}

inline void add_threads(Picture& picture) {
  for (std::string const& thread : names_in("/proc/self/task")) picture["thread " + thread] = "running";
}

inline void add_children(Picture& picture) {
  bool listed = false;
  for (std::string const& thread : names_in("/proc/self/task")) {
    std::string text;
    try {
      text = read_file("/proc/self/task/" + thread + "/children");
    } catch (std::system_error const&) {
      continue;
    }
    listed = true;
    std::istringstream children(text);
    for (std::string child; children >> child;) picture["child " + child] = "not reaped";
  }
  if (listed) return;
  siginfo_t info{};  // a kernel without that file knows at least whether there are any
  bool const none = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0 && errno == ECHILD;
  picture["children"] = none ? "none" : "some";
}

inline void add_signals(Picture& picture) {
  for (int signal = 1; signal <= 64; ++signal) {
    struct sigaction now {};
    if (::sigaction(signal, nullptr, &now) != 0) continue;  // 32 and 33 are libc's
    std::string text = now.sa_handler == SIG_DFL ? "default"
                       : now.sa_handler == SIG_IGN
                           ? "ignored"
                           : "handler " + std::to_string(reinterpret_cast<std::uintptr_t>(now.sa_handler));
    text += ", flags " + std::to_string(now.sa_flags) + ", mask";
    for (int other = 1; other <= 64; ++other)
      if (::sigismember(&now.sa_mask, other) == 1) text += ' ' + std::to_string(other);
    picture["signal " + std::to_string(signal)] = text;
  }
}

// Ids, capabilities, umask and the signal mask of this thread.
inline void add_status(Picture& picture) {
  std::istringstream lines(read_file("/proc/thread-self/status"));
  for (std::string line; std::getline(lines, line);) {
    std::string const key = line.substr(0, line.find(':'));
    for (std::string_view const wanted : {"Umask", "Uid", "Gid", "Groups", "SigBlk", "CapInh", "CapPrm", "CapEff",
                                          "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"})
      if (key == wanted) picture[key] = line.substr(key.size() + 2);
  }
}

inline void add_limits(Picture& picture) {
  constexpr std::size_t name_width = 26;
  std::istringstream lines(read_file("/proc/self/limits"));
  for (std::string line; std::getline(lines, line);)
    if (line.size() > name_width) picture["limit " + line.substr(0, name_width)] = line.substr(name_width);
}

inline void add_mounts(Picture& picture) {
  std::istringstream lines(read_file("/proc/thread-self/mountinfo"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, target;
    words >> id >> parent >> device >> root >> target;
    picture["mount " + id] = target;
  }
}

inline void add_attributes(Picture& picture) {
  for (char const* const place : {"cwd", "root"})
    picture[place] = link_target(std::string("/proc/thread-self/") + place);
  for (std::string const& name : names_in("/proc/thread-self/ns"))
    picture["namespace " + name] = link_target("/proc/thread-self/ns/" + name);
  // A child that shares our memory and changes its ids takes this from us as well.
  picture["dumpable"] = std::to_string(::prctl(PR_GET_DUMPABLE));
  int subreaper = 0;
  int death_signal = 0;
  ::prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
  ::prctl(PR_GET_PDEATHSIG, &death_signal);
  picture["subreaper"] = std::to_string(subreaper);
  picture["parent death signal"] = std::to_string(death_signal);
}

inline Picture take_picture() {
  Picture picture;
  for (std::string const& fd : names_in("/proc/self/fd"))
    picture["descriptor " + fd] = link_target("/proc/self/fd/" + fd);
  add_threads(picture);
  add_children(picture);
  add_signals(picture);
  add_status(picture);
  add_limits(picture);
  add_mounts(picture);
  add_attributes(picture);
  return picture;
}

}  // namespace detail

// Put at the start of a case: when it ends, or at check(), whatever this process or this thread has gained, lost or
// changed fails the case: descriptors, children, threads, signal dispositions and mask, cwd, root, umask, ids,
// capabilities, limits, mounts, namespaces. errno stays as it was. A test that mounts does so in a mount namespace of
// its own: test programs run in parallel, and another one's mounts would show here.
class [[nodiscard]] Unchanged {
 public:
  Unchanged() {
    int const kept = errno;
    before_ = detail::take_picture();
    errno = kept;
  }
  Unchanged(Unchanged const&) = delete;
  Unchanged& operator=(Unchanged const&) = delete;
  ~Unchanged() noexcept(false) {
    // A failed REQUIRE has already failed the case, and may well have left things behind.
    if (!checked_ && std::uncaught_exceptions() == unwinding_) check();
  }

  void check() {
    checked_ = true;
    CHECK(changes() == "");
  }

  // What is different now, a line each; empty if nothing is. Asserts nothing.
  std::string changes() const {
    int const kept = errno;
    // pthread_join returns a moment before the kernel takes the thread off the list.
    wait_until(
        [&] {
          Picture threads;
          detail::add_threads(threads);
          for (auto const& [name, value] : threads)
            if (!before_.contains(name)) return false;
          return true;
        },
        std::chrono::seconds(1));
    Picture const after = detail::take_picture();
    std::string lines;
    for (auto const& [name, value] : before_) {
      auto const now = after.find(name);
      if (now == after.end())
        lines += name + " is gone: " + value + "\n";
      else if (now->second != value)
        lines += name + " was " + value + " and is " + now->second + "\n";
    }
    for (auto const& [name, value] : after)
      if (!before_.contains(name)) lines += name + " is new: " + value + "\n";
    errno = kept;
    return lines;
  }

 private:
  Picture before_;
  int unwinding_ = std::uncaught_exceptions();
  bool checked_ = false;
};

}  // namespace test
