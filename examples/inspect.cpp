// inspect [PID]: the links under /proc/[pid]/ns beside the caller's own. Two processes whose links have the same number
// share that namespace. Without a pid it starts a child in new namespaces, to have something to show.
#include <optional>

#include "demo.hpp"

namespace ns = cloister::flags;

// A link's number, and in brackets the one that the kernel never gives twice, where it has that (6.18): the link's is
// given anew when a namespace has gone.
std::string numbers(cloister::NamespaceId const& link, pid_t pid) {
  cloister::NamespaceId const open = cloister::Namespace::of(pid, link.type).id();
  return fmt::format("{}{}", link.inode, open == link && open.id != 0 ? fmt::format(" ({})", open.id) : "");
}

int main(int argc, char** argv) try {
  if (argc > 2) throw std::invalid_argument("usage: inspect [PID]");
  pid_t const self = getpid();
  cloister::ProcessNamespaces const here = cloister::namespaces_of(self);
  std::optional<cloister::ChildProcess<void()>> child;
  if (argc == 1) child.emplace(cloister::Isolation{.unshare = ns::user | ns::uts | ns::ipc | ns::pid}, [] { pause(); });
  pid_t const pid = child ? child->pid() : demo::parse_pid(argv[1]);
  cloister::ProcessNamespaces const there = cloister::namespaces_of(pid);
  cloister::CloneFlags const different = differing(here, there);
  demo::row("/proc/[pid]/ns", fmt::format("pid {}, this one", self), fmt::format("pid {}", pid));
  for (cloister::NamespaceType type : here.types() & there.types())
    demo::row(to_string(type), numbers(here[type], self), numbers(there[type], pid),
              different.contains(type) ? "its own" : "shared");
  if (!child) return 0;
  return demo::verdict({{different == (ns::user | ns::uts | ns::ipc | ns::pid),
                         "the child has those of its own that it was given, and no other"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
