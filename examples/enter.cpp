// enter PID [COMMAND...]: a command, or else your shell, in the namespaces of another process, as nsenter(1) --all does
// it. Those in which we are ourselves are left as they are. Its exit status is the command's.
#include <sys/syscall.h>

#include "demo.hpp"

int main(int argc, char** argv) try {
  if (argc < 2) throw std::invalid_argument("usage: enter PID [COMMAND...]");
  // By a descriptor, which means the same process for as long as we look: its number may come to mean another.
  int const pidfd = static_cast<int>(syscall(SYS_pidfd_open, demo::parse_pid(argv[1]), 0));
  demo::check(pidfd, "pidfd_open");
  cloister::FileDescriptor const process = cloister::FileDescriptor::adopt(pidfd);

  cloister::Isolation inside;
  for (cloister::NamespaceType type : cloister::namespaces_of(getpid()).types()) {
    cloister::Namespace const there = cloister::Namespace::of_pidfd(process.get(), type);
    if (there != cloister::Namespace::current(type)) inside.join.push_back(there);
  }

  std::vector<std::string> words(argv + 2, argv + argc);
  if (words.empty()) {
    char const* const shell = std::getenv("SHELL");
    words.push_back(shell != nullptr && *shell != '\0' ? shell : "/bin/sh");
  }
  return demo::run_here(inside, cloister::Command{words});
} catch (std::exception const& e) {
  return demo::failed(e);
}
