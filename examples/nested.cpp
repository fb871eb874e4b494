// A container in a container, three deep. Each process has a pid in its own pid namespace and in every one above it.
#include <sstream>

#include "demo.hpp"

namespace ns = cloister::flags;

cloister::Isolation const box{.unshare = ns::user | ns::pid, .ids = cloister::IdMap::root()};

struct Level {
  pid_t own;             // what getpid() says there
  pid_t seen_by_parent;  // what the level above calls it
  std::vector<pid_t>
      all;  // NSpid of /proc/self/status: all of its pids, from the namespace of /proc, the host's, to its own
};

std::vector<pid_t> all_pids() {
  std::vector<pid_t> pids;
  for (std::string const& line : demo::lines("/proc/self/status"))
    if (line.starts_with("NSpid:")) {
      std::istringstream words{line.substr(6)};
      for (pid_t pid; words >> pid;) pids.push_back(pid);
    }
  return pids;
}

// The calling process, and as many levels below it.
std::vector<Level> descend(int levels) {
  std::vector<Level> found{{getpid(), 0, all_pids()}};
  if (levels == 0) return found;
  cloister::ChildProcess child{box, [levels] { return descend(levels - 1); }};
  pid_t const pid = child.pid();
  std::vector<Level> below = child.get();
  below.front().seen_by_parent = pid;
  found.insert(found.end(), below.begin(), below.end());
  return found;
}

int open_shell(int levels) {
  if (levels == 1) return demo::shell(box, "echo $$; grep NSpid /proc/self/status");
  return cloister::run(box, [levels] { return open_shell(levels - 1); });
}

int main(int argc, char** argv) try {
  if (demo::wants_shell(argc, argv)) {
    int const status = open_shell(3);
    demo::take_terminal_back();  // only here: the terminal does not know the pids of the levels between
    return status;
  }

  std::vector<Level> const levels = descend(3);
  demo::row("", "its own pid", "its parent calls it", "all of its pids, the host's first");
  bool one = true, agree = true;
  for (std::size_t depth = 0; depth < levels.size(); ++depth) {
    auto const& [own, seen_by_parent, all] = levels[depth];
    demo::row(depth == 0 ? "the host" : fmt::format("{}container {}", std::string(2 * depth, ' '), depth), own,
              depth == 0 ? "" : fmt::to_string(seen_by_parent), fmt::format("{}", fmt::join(all, " ")));
    one = one && (depth == 0 || own == 1);
    agree = agree && all.size() == levels[0].all.size() + depth && all.back() == own &&
            (depth == 0 || all[all.size() - 2] == seen_by_parent);
  }
  return demo::verdict({{levels.size() == 4 && one, "each container begins with PID 1"},
                        {agree, "each level has one pid more, and calls its child as the child's list says"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
