#include <cloister/cloister.hpp>
#include <cstdio>
#include <unistd.h>

namespace ns = cloister::flags;

int main() {
  cloister::Isolation const box{.unshare = ns::user | ns::pid | ns::uts, .hostname = "container"};

  // A function in a world of its own: its value comes back, its exception too.
  int const pid = cloister::run(box, [] { return getpid(); });

  // A program in the same world, its output captured.
  cloister::Output const said = cloister::run(box, cloister::Command{"sh", "-c", "echo pid $$ on $(uname -n)"});

  // A child that runs beside us until its handle goes.
  cloister::ChildProcess sleeper{box, [] { pause(); }};
  cloister::NamespaceId const there = sleeper.namespace_of(ns::uts).id();

  std::printf("the function was pid %d\n", pid);
  std::printf("the program said: %s", said.out.c_str());
  std::printf("its host name is %s\n", there == cloister::Namespace::current(ns::uts).id() ? "ours" : "its own");
}
