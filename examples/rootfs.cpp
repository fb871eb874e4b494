// rootfs [--shell | DIRECTORY [COMMAND...]]: a directory tree as the root of a container, such as debootstrap(8) makes,
// or what is in the image of a Docker container. Runs the command in it, or a shell. Without a tree it makes a small
// one, shows the host and the container side by side, and removes it.
#include <algorithm>

#include "demo.hpp"

namespace ns = cloister::flags;
using cloister::Mount;

// What is written in the container goes to the tree, and the container's root is its owner there: the caller.
cloister::Isolation container_in(std::string const& tree) {
  return {
      .unshare = ns::user | ns::pid | ns::mnt | ns::uts | ns::ipc,  // not net, from which a system gets its packages
      .ids = cloister::IdMap::root(),
      .hostname = "rootfs",
      .root = cloister::Root::directory(tree),
      .mounts = {Mount::proc(), Mount::dev(), Mount::tmpfs("/tmp", 64 * demo::mebibyte)},
      .privileges = {.no_new_privs = true},
  };
}

// The smallest tree that has a name. Its programs are the host's, which it shows but does not hold.
cloister::Isolation container_in_small(std::string const& tree) {
  std::filesystem::create_directory(tree + "/etc");
  std::ofstream{tree + "/etc/os-release"} << "PRETTY_NAME=\"A small system\"\n";
  cloister::Isolation box = container_in(tree);
  for (char const* path : {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"})
    box.mounts.push_back(Mount::bind(path, path).read_only().optional());
  return box;
}

// What a command prints, in one line.
std::string line_of(cloister::Isolation const& box, cloister::Command const& command) {
  std::string text = demo::output(box, command);
  while (text.ends_with('\n')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

int main(int argc, char** argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && !words[0].starts_with("-")) {
    cloister::Isolation const box = container_in(words[0]);
    words.erase(words.begin());
    return demo::run_here(box, cloister::Command{words.empty() ? std::vector<std::string>{"/bin/sh"} : words});
  }
  if (!words.empty() && words != std::vector<std::string>{"--shell"})
    throw std::invalid_argument("usage: rootfs [--shell | DIRECTORY [COMMAND...]]");

  demo::Directory const tree;
  cloister::Isolation const box = container_in_small(tree.path);
  if (!words.empty()) return demo::shell(box, "ls /; cat /etc/os-release; ps -ef; touch /usr/file");

  demo::head();
  auto const compare = [&box](std::string const& what, cloister::Command const& command) {
    std::string const inside = line_of(box, command);
    demo::row(what, line_of({}, command), inside);
    return inside;
  };
  std::string const files = compare("ls /", {"ls", "/"});
  std::string const system = compare("its system", {"sed", "-n", "s/PRETTY_NAME=//p", "/etc/os-release"});
  std::string const name = compare("uname -n", {"uname", "-n"});
  std::string const user = compare("id -u", {"id", "-u"});
  std::string const pid = compare("echo $$", {"sh", "-c", "echo $$"});
  std::string const processes = compare("processes in /proc", {"sh", "-c", "ls -d /proc/[0-9]* | wc -l"});
  (void)cloister::run(box, cloister::Command{"cp", "/etc/os-release", "/etc/copy"});

  return demo::verdict({
      {files == line_of({}, {"ls", tree.path}), "its root is the tree: nothing else of the host can be named"},
      {system == "\"A small system\"" && name == "rootfs" && user == "0", "it is another system, and we are its root"},
      {pid == "1" && std::stoi(processes) <= 3, "a program there is PID 1, and sees its own processes only"},
      {std::filesystem::exists(tree.path + "/etc/copy"), "what is written there is in the tree"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
