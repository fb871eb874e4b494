// A look at the namespaces of a process, and a visit to one, beside the same by raw system calls.
#include <fmt/format.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "figures.hpp"

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

// --- the rows

void measure(Figures& figures) {
  constexpr double asked = 1.2;
  cloister::ChildProcess const other{{.unshare = ns::uts | ns::ipc | ns::net}, [] { ::pause(); }};
  auto const look = [&](char const* what, pid_t pid) {
    figures.at_most(asked, what, Readlinks{pid},
                    [pid] { require(cloister::namespaces_of(pid).contains(ns::uts), "uts"); });
  };
  look("`namespaces_of` another process, against eight readlinks", other.pid());
  look("`namespaces_of` this process, against eight readlinks", ::getpid());

  auto const where = [] { return sys::gettid(); };
  Namespace const uts = other.namespace_of(ns::uts), ipc = other.namespace_of(ns::ipc),
                  net = other.namespace_of(ns::net), mnt = Namespace::create(ns::mnt);
  auto const visit = [&](char const* what, VisitByHand const& by_hand, auto const& places) {
    figures.at_most(asked, fmt::format("`within` {}, against a thread and setns", what), by_hand,
                    [&] { require(cloister::within(places, where) > 0, "within"); });
  };
  visit("uts", VisitByHand{{uts.fd()}}, uts);
  visit("ipc, net, uts", VisitByHand{{ipc.fd(), net.fd(), uts.fd()}}, std::vector<Namespace>{ipc, net, uts});
  visit("mnt", VisitByHand{{mnt.fd()}, true}, mnt);
  figures.at_most(
      asked, "`within` ipc, uts of a process, against a thread and setns",
      [&] { visit_process_by_hand(other.pidfd()); },
      [&] { require(cloister::within(other.pidfd(), ns::uts | ns::ipc, where) > 0, "within"); });
}

}  // namespace

void bench::measure_looks(Figures& figures) {
  if (::geteuid() == 0) return measure(figures);
  // To go anywhere takes privileges.
  figures.in_child({.unshare = ns::user, .ids = cloister::IdMap::root()}, measure);
}
