// What shows only in numbers: children started by the ten thousand from a host whose threads allocate, free each other's memory, print
// and throw meanwhile, and from two threads at once; and starts of every kind, good ones and bad ones, after which the host is as
// before. Prints a line a part; the exit status is 0 if all of them held. A hang ends it by SIGALRM.
//
//   stress [CHILDREN]     by default 20000, of which the parts take all or a half
#include <dirent.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cloister/cloister.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace cloister;
namespace ns = cloister::flags;
using namespace std::chrono_literals;

// --- a busy host

// Four threads that take memory which another of them gives back, write to a stream, and throw.
class BusyThreads {
 public:
  BusyThreads() : null_(std::fopen("/dev/null", "w")) {
    for (int i = 0; i < 4; ++i) threads_.emplace_back([this, i] { work(i); });
  }
  ~BusyThreads() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
    std::fclose(null_);
  }

 private:
  void work(int number) {
    for (std::size_t round = 0; !stop_; ++round) {
      std::string text(64 + 37 * (round % 50), 'x');
      std::fprintf(null_, "%d %s\n", number, text.c_str());
      {
        std::lock_guard const lock{mutex_};
        shared_.push_back(std::move(text));
        if (shared_.size() > 256) shared_.erase(shared_.begin(), shared_.begin() + 200);
      }
      try {
        throw std::runtime_error("busy");
      } catch (std::runtime_error const& error) {
        if (error.what()[0] != 'b') std::abort();
      }
      if (round % 8 == 0) ::sched_yield();
    }
  }
  std::FILE* null_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<std::string> shared_;
  std::vector<std::thread> threads_;
};

// --- what a host has

std::size_t entries(char const* path) {
  std::size_t count = 0;
  if (::DIR* const directory = ::opendir(path)) {
    while (::readdir(directory) != nullptr) ++count;
    ::closedir(directory);
  }
  return count;
}
std::size_t lines(char const* path) {
  std::ifstream file{path};
  std::size_t count = 0;
  for (std::string line; std::getline(file, line);) ++count;
  return count;
}
struct Belongings {
  std::size_t descriptors = entries("/proc/self/fd");
  std::size_t threads = entries("/proc/self/task");
  std::size_t mounts = lines("/proc/self/mountinfo");
  bool has_children = ::waitid(P_ALL, 0, nullptr, WEXITED | WNOHANG | WNOWAIT) == 0;
  friend bool operator==(Belongings const&, Belongings const&) = default;
};

// --- the parts

bool hold(char const* what, bool good, int children, std::chrono::steady_clock::time_point since) {
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
  fmt::print("{}: {}, {} children in {:.1f} s\n", good ? "ok" : "FAILED", what, children, seconds);
  std::fflush(stdout);
  return good;
}

// The child allocates, prints and throws too: what it finds locked would never be unlocked. Its result names it.
int echo(int number) {
  std::vector<std::string> words;
  for (int i = 0; i < 20; ++i) words.push_back(std::string(static_cast<std::size_t>(100 * i), 'y'));
  std::fflush(nullptr);
  try {
    throw std::runtime_error(words.back());
  } catch (std::runtime_error const&) {
  }
  return number;
}

bool from_a_busy_host(int children) {
  auto const since = std::chrono::steady_clock::now();
  BusyThreads const busy;
  Isolation const kinds[] = {{}, {.unshare = ns::user | ns::uts}, {.unshare = ns::user | ns::pid}};
  int right = 0;
  for (int i = 0; i < children; ++i) right += run(kinds[i % 3], [i] { return echo(i); }) == i;
  return hold("results of a host with four busy threads", right == children, children, since);
}

bool from_two_threads(int children) {
  auto const since = std::chrono::steady_clock::now();
  BusyThreads const busy;
  std::atomic<int> right{0};
  auto const start = [&](int first) {
    for (int i = first; i < children; i += 2) {
      if (i % 10 < 2) {
        Output const said = run({.unshare = ns::user | ns::pid}, Command{"echo", std::to_string(i)});
        right += said.out == std::to_string(i) + "\n";
      } else {
        ChildProcess child{{.unshare = ns::user | ns::pid}, [i] { return echo(i); }};
        right += child.get() == i;
      }
    }
  };
  std::thread other{start, 1};
  start(0);
  other.join();
  return hold("results of two threads at once", right == children, children, since);
}

template <class Exception>
bool throws(auto const& start) {
  try {
    start();
  } catch (Exception const&) {
    return true;
  }
  return false;
}

bool mixed(int children) {
  auto const since = std::chrono::steady_clock::now();
  Belongings const before;
  Isolation const world{.unshare = ns::user | ns::mnt | ns::pid | ns::ipc | ns::uts,
                        .hostname = "stress",
                        .root = Root::empty(),
                        .mounts = {Mount::bind("/usr", "/usr").read_only(), Mount::proc(), Mount::tmpfs("/tmp", 1 << 20)},
                        .init = Init::reaper};
  Isolation missing = world;
  missing.mounts.push_back(Mount::bind("/no/such/directory", "/x"));
  std::function<bool()> const starts[] = {
      [] { return run({}, [] { return 1; }) == 1; },
      [] { return run({.unshare = ns::user | ns::pid}, [] { return ::getpid(); }) == 1; },
      [] { return run({}, Command{"true"}).status.success(); },
      [] { return !run({.unshare = ns::user | ns::pid}, Command{"false"}).status.success(); },
      [&] { return run(world, [] { return ::getpid(); }) == 2; },
      [&] { return throws<Error>([&] { (void)run(missing, [] {}); }); },
      [] { return throws<Error>([] { (void)run({.unshare = ns::user}, Command{"/no/such/program"}); }); },
      [] { return throws<ChildThrew>([] { (void)run({}, []() -> int { throw 1; }); }); },
      [] { return throws<ChildDied>([] { (void)run({.unshare = ns::user | ns::pid}, []() -> int { ::_exit(3); }); }); },
      [] { return throws<ChildTimedOut>([] { (void)run({}, [] { ::pause(); }, {.timeout = 1ms}); }); },
      [] {
        ChildProcess forgotten{{.unshare = ns::user | ns::pid}, [] { ::pause(); }};
        return true;
      },
      [] { return throws<std::invalid_argument>([] { (void)run({.hostname = "x"}, [] {}); }); },
  };
  int right = 0;
  for (int i = 0; i < children; ++i) right += starts[static_cast<std::size_t>(i) % std::size(starts)]();
  Belongings const after;
  bool const same = before == after;
  if (!same)
    fmt::print("descriptors {} then {}, threads {} then {}, mounts {} then {}, children {} then {}\n", before.descriptors,
               after.descriptors, before.threads, after.threads, before.mounts, after.mounts, before.has_children,
               after.has_children);
  return hold("good and bad starts of every kind, the host as before", same && right == children, children, since);
}

}  // namespace

int main(int argc, char** argv) {
  int const children = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20'000;
  ::alarm(600);
  bool const busy = from_a_busy_host(children);
  bool const two = from_two_threads(children / 2);
  bool const all = mixed(children / 2);
  return busy && two && all ? 0 : 1;
}
