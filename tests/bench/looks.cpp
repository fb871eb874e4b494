// What a look at the namespaces of a process, and a visit to one, cost beside the same by raw system calls. The two
// take turns, a pair at a time; the table shows the medians and their ratio.
//
//   looks [--pairs N]
#include <fmt/format.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cloister/cloister.hpp>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
namespace sys = cloister::detail::sys;
using cloister::Namespace;

// --- the floors

// Eight readlinks, each by its path.
class Readlinks {
 public:
  explicit Readlinks(pid_t pid) {
    for (cloister::NamespaceType type : cloister::all_namespace_types)
      paths_[static_cast<std::size_t>(type)] = fmt::format("/proc/{}/ns/{}", pid, to_string(type));
  }
  void operator()() const {
    char text[64];
    for (std::string const& path : paths_) require(::readlink(path.c_str(), text, sizeof text) > 0, "readlink");
  }

 private:
  std::array<std::string, 8> paths_;
};

// A thread that goes into each of them, says where it is and ends.
struct VisitByHand {
  std::vector<int> fds;
  bool other_mounts = false;

  void operator()() const {
    pthread_t thread;
    auto const visit = [](void* argument) -> void* {
      auto const* self = static_cast<VisitByHand const*>(argument);
      if (self->other_mounts) require(sys::unshare(cloister::detail::kernel::clone_fs) == 0, "unshare");
      for (int fd : self->fds) require(sys::setns(fd, 0) == 0, "setns");
      return reinterpret_cast<void*>(static_cast<long>(sys::gettid()));
    };
    require(::pthread_create(&thread, nullptr, visit, const_cast<VisitByHand*>(this)) == 0, "pthread_create");
    void* tid = nullptr;
    ::pthread_join(thread, &tid);
    require(tid != nullptr, "a thread's id");
  }
};

// A thread that goes into two namespaces of a process in one step.
void visit_process_by_hand(int pidfd) {
  pthread_t thread;
  auto const visit = [](void* argument) -> void* {
    require(sys::setns(*static_cast<int*>(argument), (ns::uts | ns::ipc).bits()) == 0, "setns");
    return argument;
  };
  require(::pthread_create(&thread, nullptr, visit, &pidfd) == 0, "pthread_create");
  ::pthread_join(thread, nullptr);
}

// --- the table

class Table {
 public:
  explicit Table(int pairs) : pairs_(pairs) {
    fmt::print("{:<52} {:>9} {:>9} {:>6} {:>6}\n", fmt::format("median of {}, in µs", pairs), "floor", "cloister",
               "ratio", "target");
  }
  // `times`: how often it is done between two looks at the clock, which would be a good part of something short.
  void row(std::string_view name, int times, std::invocable auto const& floor,
           std::invocable auto const& library) const {
    constexpr double target = 1.2;
    auto const repeated = [times](auto const& f) {
      return [&f, times] {
        for (int i = 0; i < times; ++i) f();
      };
    };
    auto const [below, above] = medians(pairs_, repeated(floor), repeated(library));
    double const ratio = above / below;
    fmt::print("{:<51} {:>9.1f} {:>9.1f} {:>6.2f} {:>6.2f}  {}\n", name, below / times, above / times, ratio, target,
               ratio <= target ? "ok" : "over");
    std::fflush(stdout);
  }

 private:
  int pairs_;
};

void measure(int pairs) {
  Table const table{pairs};
  cloister::ChildProcess const other{{.unshare = ns::uts | ns::ipc | ns::net}, [] { ::pause(); }};
  table.row("namespaces_of, another process", 20, Readlinks{other.pid()},
            [&] { require(cloister::namespaces_of(other.pid()).contains(ns::uts), "uts"); });
  table.row("namespaces_of, this process", 20, Readlinks{::getpid()},
            [] { require(cloister::namespaces_of(::getpid()).contains(ns::uts), "uts"); });

  auto const where = [] { return sys::gettid(); };
  Namespace const uts = other.namespace_of(ns::uts), ipc = other.namespace_of(ns::ipc),
                  net = other.namespace_of(ns::net), mnt = Namespace::create(ns::mnt);
  table.row("within uts", 1, VisitByHand{{uts.fd()}}, [&] { require(cloister::within(uts, where) > 0, "within"); });
  table.row("within ipc, net, uts", 1, VisitByHand{{ipc.fd(), net.fd(), uts.fd()}}, [&] {
    require(cloister::within({ipc, net, uts}, where) > 0, "within");
  });
  table.row("within mnt", 1, VisitByHand{{mnt.fd()}, true},
            [&] { require(cloister::within(mnt, where) > 0, "within"); });
  table.row(
      "within ipc, uts of a process", 1, [&] { visit_process_by_hand(other.pidfd()); },
      [&] { require(cloister::within(other.pidfd(), ns::uts | ns::ipc, where) > 0, "within"); });
}

}  // namespace

int main(int argc, char** argv) {
  int pairs = 2000;
  if (argc == 3 && std::string_view{argv[1]} == "--pairs")
    pairs = std::max(1, std::atoi(argv[2]));
  else
    require(argc == 1, "usage: looks [--pairs N]");
  if (::geteuid() == 0)
    measure(pairs);
  else  // to go anywhere takes privileges
    cloister::run({.unshare = ns::user, .ids = cloister::IdMap::root()}, [pairs] { measure(pairs); });
}
