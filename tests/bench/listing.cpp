// What list_namespaces() costs beside lsns(8), which is a program and has to be started, and how the cost of both grows
// with the number of processes: 200 namespaces, eight of their own for each of 25 crowds, and more and more processes
// in each crowd. The two take turns, a pair at a time; the table shows the medians.
//
//   listing [--pairs N]
#include <fmt/format.h>
#include <unistd.h>

#include <cloister/cloister.hpp>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "measure.hpp"

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

std::size_t processes_of(cloister::NamespaceListing const& listing) {
  std::size_t count = 0;
  for (cloister::NamespaceInfo const& info : listing.namespaces)
    if (info.id.type == cloister::NamespaceType::uts) count += info.processes;
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  int pairs = 20;
  if (argc == 3 && std::string_view(argv[1]) == "--pairs") pairs = std::max(1, std::atoi(argv[2]));

  constexpr std::size_t crowds = 25;
  constexpr double target = 5;
  cloister::Command const lsns = cloister::Command{"lsns", "-n"}.stdio({.out = cloister::Redirect::null()});
  fmt::print("{:<32} {:>10} {:>10} {:>8} {:>14} {:>7} {:>7}\n", fmt::format("median of {}, in ms", pairs), "lsns -n",
             "cloister", "µs each", "namespaces", "faster", "target");
  for (std::size_t const each : {10u, 20u, 40u, 80u}) {
    std::vector<cloister::ChildProcess<void()>> all;
    for (std::size_t i = 0; i < crowds; ++i) all.push_back(crowd(each));
    auto const listing = cloister::list_namespaces();
    auto const [theirs, ours] = medians(
        pairs,
        [&] {
          require(cloister::ChildProcess{{}, lsns}.wait().success(), "lsns");
        },
        [] { (void)cloister::list_namespaces(); });
    auto const processes = processes_of(listing) + listing.unreadable_processes;
    fmt::print("{:<32} {:>10.2f} {:>10.2f} {:>8.2f} {:>14} {:>7.2f} {:>7.2f}  {}\n",
               fmt::format("{} processes", processes), theirs / 1000, ours / 1000,
               ours / static_cast<double>(processes), listing.namespaces.size(), theirs / ours, target,
               theirs / ours >= target ? "ok" : "under");
  }
}
