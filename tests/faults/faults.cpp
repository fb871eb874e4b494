// Each system call of each kind of start, on either side of it, fails with each of six errors, is delayed, and meets a
// signal. The start then works all the same, or, if the call failed, throws an Error that names a step; and nothing is
// left behind. Prints a table. The exit status is 0 if nothing else came of it, 77 where the kernel does not let calls
// be failed.
//
//   faults [SHARE] [WORD...]     one in SHARE of the eight faults of each call, of starts whose names have the words
#include <fmt/format.h>

#include <cstdlib>

#include "../caught.hpp"
#include "injector.hpp"

namespace {

using namespace faults;
using namespace cloister;
using test::Where;
namespace ns = cloister::flags;

// Each has hosts of its own. Most of the time some of them wait.
constexpr unsigned workers = 16;

std::vector<Start> starts() {
  std::vector<Start> all;
  auto const add = [&](std::string const& name, Isolation const& isolation, bool program,
                       Where where = Where::main_thread, bool busy = false) {
    all.push_back({name, isolation, program, where, busy});
  };
  CloneFlags const everything = ns::cgroup | ns::ipc | ns::mnt | ns::net | ns::pid | ns::time | ns::user | ns::uts;
  bool const users = test::user_namespaces();
  Isolation world{.unshare = everything};
  // Root's child changes its own ids.
  if (test::is_root()) world.ids = IdMap::ranges({{0, 100000, 65536}}, {{0, 100000, 65536}});
  Isolation reaped = world;
  reaped.init = Init::reaper;
  Isolation apart = world;
  apart.unshare = ns::user | ns::pid;

  for (bool const program : {false, true}) {
    std::string const what = program ? "a program" : "a callable";
    add(what + ", one thread", {}, program);
    add(what + ", several threads", {}, program, Where::main_thread, true);
    add(what + ", from another thread", {}, program, Where::other_thread, true);
    add(what + " that outlives the host", {.on_parent_death = ParentDeath::leave_child}, program);
    if (users) {
      add(what + " in user and pid", apart, program);
      add(what + " in all namespaces", world, program);
      add(what + " in all namespaces, under a reaper", reaped, program, Where::other_thread);
    }
    if (test::is_root()) add(what + " in pid and mnt, no user", {.unshare = ns::pid | ns::mnt}, program);
  }
  if (users) {
    add("an untrusted() callable", Isolation::untrusted(), false);
    add("an untrusted() program", Isolation::untrusted(), true);
    add("an untrusted() program with all settings", rich_world(Init::reaper), true);
  }
  return all;
}

// Those that join namespaces of `room`.
std::vector<Start> joins(test::Room const* room, test::Room const* without_user) {
  std::vector<Start> all;
  auto const add = [&](std::string const& name, std::vector<Namespace> const& join, bool program,
                       CloneFlags unshare = {}, Init init = Init::none) {
    all.push_back({name, {.unshare = unshare, .join = join, .init = init}, program});
  };
  for (bool const program : {false, true}) {
    std::string const what = program ? "a program that joins " : "a callable that joins ";
    if (room != nullptr) {
      test::Room const& all_of = *room;
      add(what + "user", {all_of[ns::user]}, program);
      add(what + "user, with a pid of its own", {all_of[ns::user]}, program, ns::pid);
      add(what + "user, with a reaper of its own", {all_of[ns::user]}, program, ns::pid, Init::reaper);
      add(what + "user, mnt, net, ipc, uts",
          {all_of[ns::user], all_of[ns::mnt], all_of[ns::net], all_of[ns::ipc], all_of[ns::uts]}, program);
      add(what + "user, pid, mnt", {all_of[ns::user], all_of[ns::pid], all_of[ns::mnt]}, program);
      add(what + "all", all_of.all(), program);
    }
    if (without_user != nullptr) add(what + "mnt and net", without_user->all(), program);
  }
  return all;
}

// What all workers have found of one kind.
struct Row {
  std::atomic<unsigned> calls{0}, points{0}, worked{0}, refused{0}, failed{0}, unmet{0};
};
constexpr std::size_t most_rows = 64;

struct Selection {
  unsigned share = 1;
  std::vector<std::string> words;
  bool has(std::string const& name) const {
    return std::all_of(words.begin(), words.end(),
                       [&](std::string const& word) { return name.find(word) != std::string::npos; });
  }
};

void work(unsigned worker, std::vector<Start> const& all, Selection const& selection, Row* rows) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!selection.has(all[i].name)) continue;
    Tally const tally = walk(all[i], [&](Call const& call, Fault const& fault) {
      auto const which = static_cast<unsigned>(&fault - all_faults().data());
      unsigned const number = number_of(call);
      return (number + which) % selection.share == 0 && (number / 8 + which) % workers == worker;
    });
    Row& row = rows[i];
    row.points += tally.points;
    row.worked += tally.worked;
    row.refused += tally.refused;
    row.failed += static_cast<unsigned>(tally.failures.size());
    row.unmet += tally.unmet;
    unsigned known = row.calls;  // the fewest: where threads wait for each other there are more at times
    while ((known == 0 || tally.calls < known) && !row.calls.compare_exchange_weak(known, tally.calls)) {
    }
    for (std::string const& failure : tally.failures) {
      std::string const line = "FAILED: " + all[i].name + ": " + failure + "\n";
      if (::write(1, line.data(), line.size()) < 0) std::abort();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  auto const since = std::chrono::steady_clock::now();
  Selection selection;
  for (int i = 1; i < argc; ++i)
    if (int const share = std::atoi(argv[i]); share > 0)
      selection.share = static_cast<unsigned>(share);
    else
      selection.words.emplace_back(argv[i]);
  if (test::address_sanitizer) {
    fmt::print("skipped: the sanitizer's own calls would fail\n");
    return 77;
  }
  if (!can_inject()) {
    fmt::print(
        "skipped: no process may decide about another's calls here: that needs Linux 5.19, and no filter that forbids "
        "it\n");
    return 77;
  }
  if (!test::user_namespaces()) fmt::print("skipped: all that needs user namespaces, which are not to be had\n");
  if (!test::is_root()) fmt::print("skipped: pid, mnt and joins without a user namespace, which only root may have\n");
  std::fflush(stdout);

  void* const memory =
      ::mmap(nullptr, sizeof(Row) * most_rows, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  Row* const rows = new (memory) Row[most_rows];
  std::optional<test::Room> room, without_user;
  CloneFlags const joined = ns::ipc | ns::mnt | ns::net | ns::pid | ns::time | ns::uts;
  if (test::user_namespaces()) room.emplace(Isolation{.unshare = joined | ns::user});
  if (test::is_root()) without_user.emplace(Isolation{.unshare = ns::mnt | ns::net});
  std::vector<Start> all = starts();
  for (Start& join : joins(room ? &*room : nullptr, without_user ? &*without_user : nullptr))
    all.push_back(std::move(join));
  if (all.size() > most_rows) return 1;

  std::vector<pid_t> running;
  for (unsigned worker = 0; worker < workers; ++worker) {
    pid_t const pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      try {
        work(worker, all, selection, rows);
      } catch (std::exception const& error) {
        fmt::print("FAILED: a worker: {}\n", error.what());
        std::fflush(stdout);
        ::_exit(1);
      }
      ::_exit(0);
    }
    running.push_back(pid);
  }
  bool good = true;
  for (pid_t const pid : running) {
    int status = 0;
    if (::waitpid(pid, &status, 0) == pid && status == 0) continue;
    fmt::print("FAILED: a worker has not done its part (wait status {})\n", status);
    good = false;
  }

  fmt::print(
      "| kind of start | calls | points | worked all the same | refused, naming the step | failed |\n"
      "| --- | --- | --- | --- | --- | --- |\n");
  Row sum;
  auto const print = [](std::string const& name, Row const& row) {
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", name, row.calls.load(), row.points.load(), row.worked.load(),
               row.refused.load(), row.failed.load());
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!selection.has(all[i].name)) continue;
    print(all[i].name, rows[i]);
    sum.calls += rows[i].calls;
    sum.points += rows[i].points;
    sum.worked += rows[i].worked;
    sum.refused += rows[i].refused;
    sum.failed += rows[i].failed;
    sum.unmet += rows[i].unmet;
  }
  print("together", sum);
  fmt::print("{}, {} calls that did not come again, {:.0f} s\n", test::is_root() ? "root" : "an unprivileged user",
             sum.unmet.load(), std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count());
  return good && sum.points > 0 && sum.failed == 0 ? 0 : 1;
}
