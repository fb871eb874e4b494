// The skeleton: clone(2), a child that runs a shell, waitpid(2). Nothing is isolated yet.
#include "demo.hpp"

int main(int argc, char** argv) try {
  bool const shell = demo::wants_shell(argc, argv);
  cloister::Isolation const nothing{};  // clone(..., SIGCHLD, ...), without any CLONE_NEW*

  fmt::print("the program starts: pid {} on {}\n", getpid(), cloister::hostname());
  std::fflush(stdout);  // before the child writes to the same place

  // The tutorial allots a stack, calls clone() and execs in its child_main(); here a handle stands for the child.
  // Unattended it reads a line before it ends, so that there is time to look at it.
  cloister::Command const bash =
      shell ? cloister::Command{"/bin/bash"}
            : cloister::Command{"/bin/bash", "-c", "echo in the container: pid $$ on $(uname -n); read"};
  cloister::Redirect const in = shell ? cloister::Redirect::inherit() : cloister::Redirect::pipe();
  cloister::ChildProcess child{nothing, bash.stdio({.in = in})};
  bool const is_another = child.pid() != getpid();
  cloister::CloneFlags const its_own =
      differing(cloister::namespaces_of(getpid()), cloister::namespaces_of(child.pid()));
  if (!shell) demo::check(write(child.in().get(), "\n", 1), "write to the child");

  cloister::ExitStatus const status = child.get();  // waitpid()
  demo::take_terminal_back();
  fmt::print("it has ended: {}\n", status);
  if (shell) return status.code().value_or(1);
  return demo::verdict({{is_another, "the child is a process of its own"},
                        {its_own.empty(), "it shares every namespace of the host: a container it is not, yet"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
