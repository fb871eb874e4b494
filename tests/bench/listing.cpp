// list_namespaces() beside lsns(8), which is a program and has to be started: some 200 namespaces and 1,000 processes,
// eight namespaces of their own for each of 25 crowds.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "figures.hpp"
#include "neighbours.hpp"

namespace {

using namespace bench;

// A process in eight namespaces of its own and others beside it, which end when it does, as it is their init. Each has
// the three descriptors of a daemon.
cloister::ChildProcess<void()> crowd(std::size_t processes) {
  int ready[2];
  require(::pipe(ready) == 0, "pipe");
  cloister::Isolation const box{.unshare = cloister::CloneFlags::all(),
                                .descriptors = cloister::Descriptors::only({ready[1]})};
  cloister::ChildProcess child{box, [processes, end = ready[1]] {
                                 for (std::size_t i = 1; i < processes; ++i) {
                                   pid_t const pid = ::fork();
                                   if (pid < 0) return;
                                   if (pid > 0) continue;
                                   ::close_range(3, ~0u, 0);
                                   for (;;) ::pause();
                                 }
                                 require(::write(end, "", 1) == 1, "write");
                                 for (;;) ::pause();
                               }};
  ::close(ready[1]);
  char byte;
  require(::read(ready[0], &byte, 1) == 1, "a crowd");
  ::close(ready[0]);
  return child;
}

}  // namespace

void bench::measure_listing(Figures& figures) {
  char const* const what = "`list_namespaces`, 1,000 processes, against lsns";
  if (!figures.wants(what) || !works({"lsns", "--version"})) return;
  std::vector<cloister::ChildProcess<void()>> all;
  for (int i = 0; i < 25; ++i) all.push_back(crowd(40));
  cloister::Command const lsns = cloister::Command{"lsns", "-n"}.stdio({.out = cloister::Redirect::null()});
  figures.at_least(
      5, what,
      [&] {
        require(cloister::ChildProcess{{}, lsns}.wait().success(), "lsns");
      },
      [] { (void)cloister::list_namespaces(); });
}
