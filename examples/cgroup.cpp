// CLONE_NEWCGROUP: the cgroup that one starts in becomes the root of all that can be seen.
#include <map>

#include "demo.hpp"

namespace ns = cloister::flags;

// The caller's cgroups by hierarchy, of /proc/self/cgroup, "4:memory:/a/b" a line. v1 has many, v2 one without a name.
std::map<std::string, std::string> cgroups() {
  std::map<std::string, std::string> paths;
  for (std::string const& line : demo::lines("/proc/self/cgroup")) {
    std::size_t const name = line.find(':') + 1, path = line.find(':', name) + 1;
    paths[path - 1 == name ? "(v2)" : line.substr(name, path - 1 - name)] = line.substr(path);
  }
  return paths;
}

int main(int argc, char** argv) try {
  cloister::Isolation const box{.unshare = ns::user | ns::cgroup, .ids = cloister::IdMap::root()};
  if (demo::wants_shell(argc, argv)) return demo::shell(box, "cat /proc/self/cgroup (and in a terminal outside)");

  struct Sight {
    std::map<std::string, std::string> paths;
    cloister::NamespaceId id;
  };
  auto const look = [] { return Sight{cgroups(), cloister::Namespace::current(ns::cgroup).id()}; };
  Sight const outside = look(), inside = cloister::run(box, look);

  demo::head();
  demo::row("namespace", outside.id, inside.id);
  bool hidden = false, all_root = !inside.paths.empty();
  for (auto const& [hierarchy, path] : inside.paths) {
    std::string const& path_outside = outside.paths.at(hierarchy);
    all_root = all_root && path == "/";
    hidden = hidden || path_outside != "/";
    if (path_outside != "/" || hierarchy == "(v2)") demo::row("cgroup " + hierarchy, path_outside, path);
  }
  return demo::verdict({
      {inside.id != outside.id, "the container has a cgroup namespace of its own"},
      {all_root, hidden ? "where it is in the host's cgroups does not show inside: it sees itself at /"
                        : "it sees itself at /, and so does the host, which is at the root"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
