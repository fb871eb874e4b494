// What it costs to start a program, and to call a function in a child, from a parent with more and more memory, beside
// what else starts programs. A process of its own for each size; the ways take turns. Prints a table that gnuplot reads
// as well: by_memory.gp draws it.
//
//   by_memory [--rounds N] [--largest MIB] [PROGRAM]
//
// PROGRAM is what is executed, by default `nothing` beside this program.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cloister/cloister.hpp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#ifdef CLOISTER_BENCH_BOOST
#include <boost/process.hpp>
#endif

#include "neighbours.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
using cloister::Isolation;

void reap(pid_t pid) {
  int status = 0;
  require(::waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
}

struct Way {
  char const* name;
  std::function<void()> start;
};

std::vector<Way> ways(std::string const& program) {
  Isolation none, three{.unshare = ns::ipc | ns::pid | ns::uts};
  if (::geteuid() != 0) three.unshare |= ns::user;
  auto const fork = [program] {
    pid_t const pid = ::fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
      char* words[] = {const_cast<char*>(program.c_str()), nullptr};
      ::execv(words[0], words);
      ::_exit(127);
    }
    reap(pid);
  };
  auto const start = [program](Isolation const& isolation) {
    return [program, isolation] {
      cloister::ChildProcess child{isolation, cloister::Command{program}};
      require(child.wait().success(), "a program's status");
    };
  };
  auto const call = [](Isolation const& isolation) {
    return [isolation] { require(cloister::run(isolation, [] { return 42; }) == 42, "a callable's result"); };
  };
  std::vector<Way> all{
#ifdef CLOISTER_BENCH_BOOST
      {"Boost.Process v1", [program] { require(boost::process::system(program) == 0, "boost::process::system"); }},
#endif
      {"fork and exec", fork},
      {"posix_spawn", [program] { spawn_and_reap({program}); }},
      {"cloister, a program", start(none)},
      {"cloister, a program in ipc, pid, uts", start(three)},
      {"cloister, a function", call(none)},
      {"cloister, a function in ipc, pid, uts", call(three)},
  };
  for (auto const& [name, words] : {std::pair{"unshare(1)", unshare(program)}, std::pair{"bwrap", bwrap(program)}})
    if (works(words)) all.push_back({name, [words = words] { spawn_and_reap(words); }});
  return all;
}

// The median of each way, in µs.
std::vector<double> measure(std::vector<Way> const& all, int rounds) {
  std::vector<std::vector<double>> times(all.size());
  for (int round = -3; round < rounds; ++round)
    for (std::size_t i = 0; i < all.size(); ++i) {
      double const time = microseconds(all[i].start);
      if (round >= 0) times[i].push_back(time);
    }
  std::vector<double> medians;
  for (std::vector<double>& one : times) medians.push_back(median(std::move(one)));
  return medians;
}

}  // namespace

int main(int argc, char** argv) {
  int rounds = 50;
  std::size_t largest = 4096;
  std::string const self = argv[0];
  std::string program = self.substr(0, self.rfind('/') + 1) + "nothing";
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    if (word.starts_with("--")) require(i + 1 < argc, "an option without its value");
    if (word == "--rounds")
      rounds = std::max(1, std::atoi(argv[++i]));
    else if (word == "--largest")
      largest = static_cast<std::size_t>(std::atol(argv[++i]));
    else
      program = word;
  }

  std::vector<Way> const all = ways(program);
  fmt::print("\"medians of {}, in µs, by MiB\"", rounds);
  for (Way const& way : all) fmt::print(" \"{}\"", way.name);
  fmt::print("\n");
  for (int const size : {0, 64, 256, 1024, 4096}) {
    auto const mebibytes = static_cast<std::size_t>(size);
    if (mebibytes > largest) continue;
    std::vector<double> const figures = cloister::run({}, [&] {
      become_large(mebibytes);
      return measure(all, rounds);
    });
    fmt::print("{}", mebibytes);
    for (double const figure : figures) fmt::print(" {:.1f}", figure);
    fmt::print("\n");
    std::fflush(stdout);
  }
}
