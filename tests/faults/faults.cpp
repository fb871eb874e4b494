// Every system call of a start, on either side, fails with each of six errors, comes 100 ms late, and comes with a signal that the host
// handles. After each, the start has to have worked or to have said which step failed, late calls and signals may not keep it from
// working, and nothing may be left: no child, descriptor, thread or mount, nor anything else of Unchanged. Prints a table, a line a kind
// of start; the exit status is 0 if all is as it should be.
//
//   faults [SHARE]     every SHARE-th of these points; by default all
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>

#include "injector.hpp"

namespace {

using namespace test;
using cloister::Isolation;
namespace ns = cloister::flags;

// Most of a point is waiting, for a late call as for the thread that decides.
constexpr unsigned workers = 12;

struct Tally {
  std::atomic<unsigned> calls{0}, points{0}, worked{0}, refused{0}, wrong{0};
};

std::vector<Fault> faults_of(unsigned at) {
  std::vector<Fault> all;
  for (int const error : errors) all.push_back({at, Fault::Kind::error, error});
  all.push_back({at, Fault::Kind::delay});
  all.push_back({at, Fault::Kind::signal});
  return all;
}
std::string name_of(Fault const& fault) {
  if (fault.kind == Fault::Kind::delay) return "late";
  if (fault.kind == Fault::Kind::signal) return "with a signal";
  return fmt::format("failing by {}", ::strerrorname_np(fault.error));
}

void complain(Tally& tally, std::string const& what) {
  ++tally.wrong;
  ::dprintf(complaints, "%s: %s\n", about.c_str(), what.c_str());
}

// One of several that share the points of a start. What it tries is noted, for when it does not live to tell.
void work(Start const& start, unsigned which, unsigned share, Tally& tally, char (&trying)[80]) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent becomes ours
  struct sigaction handled {};
  handled.sa_handler = [](int) {};
  ::sigaction(fault_signal, &handled, nullptr);
  FaultInjector& injector = *new FaultInjector{true};
  about = start.name;
  (void)outcome(start, injector, {});  // what a first start allocates it keeps
  Unchanged const& unchanged = *new Unchanged;  // which asserts when it ends, and nothing here is a test case
  Outcome const plain = outcome(start, injector, {});
  if (!plain.worked || !plain.complaint.empty()) return complain(tally, "it does not work anyway: " + plain.complaint);
  unsigned const count = injector.count();
  tally.calls = count;
  std::string const open = descriptors();
  for (unsigned at = which; at < count; at += workers) {
    std::vector<Fault> const all = faults_of(at);
    for (unsigned i = 0; i < all.size(); ++i) {
      if ((at / workers * all.size() + i + which) % share != 0) continue;
      *fmt::format_to_n(trying, sizeof trying - 1, "call {} {}", at, name_of(all[i])).out = '\0';
      Outcome const result = outcome(start, injector, all[i]);
      if (injector.call() < 0) continue;  // one that nobody refuses, or the start had fewer this time
      about = fmt::format("{}, call {} (number {}) {}", start.name, at, injector.call(), name_of(all[i]));
      ++tally.points;
      ++(result.worked ? tally.worked : tally.refused);
      if (!result.complaint.empty()) complain(tally, result.complaint);
      if (!result.worked && all[i].kind != Fault::Kind::error) complain(tally, "it does not work");
      if (descriptors() != open) complain(tally, fmt::format("open are {}, and were {}", descriptors(), open));
      if (has_children()) complain(tally, "it leaves a child");
      while (has_children()) ::waitpid(-1, nullptr, __WALL);
    }
  }
  about = start.name;
  if (std::string const changes = unchanged.changes(); !changes.empty()) complain(tally, changes);
}

void try_all(Start const& start, unsigned share, Tally& tally) {
  std::fflush(nullptr);
  std::vector<pid_t> pids;
  Shared<std::array<char[80], workers>> trying;
  for (unsigned which = 0; which < workers; ++which) {
    pid_t const pid = ::fork();
    if (pid == 0) {
      ::alarm(900);
      try {
        work(start, which, share, tally, (*trying)[which]);
        ::_exit(0);
      } catch (std::exception const& error) {
        ::dprintf(complaints, "%s: %s\n", about.c_str(), error.what());
      }
      ::_exit(1);
    }
    pids.push_back(pid);
  }
  for (unsigned which = 0; which < workers; ++which) {
    int status = 0;
    ::waitpid(pids[which], &status, 0);
    if (status == 0) continue;
    about = start.name;
    complain(tally, fmt::format("a worker ended with the wait status {}, trying {}", status, (*trying)[which]));
  }
}

std::vector<Start> all_starts(std::optional<Room> const& room) {
  using cloister::Init, cloister::NamespaceType;
  constexpr auto here = Where::main_thread, elsewhere = Where::other_thread;
  std::vector<Start> all{
      {"a callable", {}, false, here},
      {"a callable, from another thread", {}, false, elsewhere},
      {"a program", {}, true, here},
      {"a program, from another thread", {}, true, elsewhere},
  };
  if (!room) {
    fmt::print("no user namespaces: the starts that need one are left out\n");
    return all;
  }
  std::vector<cloister::Namespace> joined;
  for (cloister::Namespace const& each : room->all())
    if (each.type() != NamespaceType::time) joined.push_back(each);
  Isolation const inner{.unshare = ns::user | ns::pid | ns::mnt | ns::uts | ns::net, .hostname = "box"};
  Isolation under_reaper = inner;
  under_reaper.init = Init::reaper;
  Isolation const guest{.join = joined};
  all.insert(all.end(), {
                            {"a callable in namespaces of its own", inner, false, here},
                            {"a program in namespaces of its own", inner, true, here},
                            {"a callable under a reaper", under_reaper, false, here},
                            {"a program in an untrusted() world", Isolation::untrusted(), true, here},
                            {"a callable that joins user, pid and uts", guest, false, here},
                            {"a program that joins user, pid and uts", guest, true, here},
                            {"a program that joins them and time", {.join = room->all()}, true, here},
                        });
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  unsigned const share = argc > 1 ? static_cast<unsigned>(std::max(1, std::atoi(argv[1]))) : 1;
  complaints = ::fcntl(2, F_DUPFD_CLOEXEC, 900);
  if (!can_be_asked(true)) {
    fmt::print("skipped: the kernel is before 5.19, or lets no filter ask\n");
    return 0;
  }
  std::optional<Room> room;
  if (user_namespaces()) room.emplace(Isolation{.unshare = ns::user | ns::pid | ns::uts | ns::time});
  fmt::print("| the start, {} | system calls | points | it works all the same | it says what failed | wrong |\n|---|---|---|---|---|---|\n",
             is_root() ? "by root" : "by a user");
  Tally sum;
  for (Start const& start : all_starts(room)) {
    Shared<Tally> tally;
    try_all(start, share, *tally);
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", start.name, tally->calls.load(), tally->points.load(), tally->worked.load(),
               tally->refused.load(), tally->wrong.load());
    std::fflush(stdout);
    sum.points += tally->points;
    sum.worked += tally->worked;
    sum.refused += tally->refused;
    sum.wrong += tally->wrong;
  }
  fmt::print("| together | | {} | {} | {} | {} |\n", sum.points.load(), sum.worked.load(), sum.refused.load(), sum.wrong.load());
  return sum.wrong == 0 && sum.points > 0 ? 0 : 1;
}
