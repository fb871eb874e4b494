// What is asked of the library in figures, measured in one run: each beside the least that could do it or a neighbour
// that does it, the two taking turns. Prints a table in Markdown of medians: for root, and for an ordinary user, which
// root becomes for it.
//
//   figures [--pairs N] [--only TEXT] [PROGRAM]
//
// TEXT picks the rows that contain it. PROGRAM is what is executed, by default `nothing` beside this program: a
// dynamically linked one takes longer to begin than the library takes to start it, which would hide the difference.
#include "figures.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace {

using namespace bench;

Options parse(int argc, char** argv) {
  Options options;
  std::string const self = argv[0];
  options.program = self.substr(0, self.rfind('/') + 1) + "nothing";
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    if (word.starts_with("--")) require(i + 1 < argc, "an option without its value");
    if (word == "--pairs")
      options.pairs = std::max(1, std::atoi(argv[++i]));
    else if (word == "--only")
      options.only = argv[++i];
    else
      options.program = word;
  }
  return options;
}

// The program in a place where every user reaches it.
class PublicCopy {
 public:
  explicit PublicCopy(std::string const& program) {
    require(::mkdtemp(directory_.data()) != nullptr && ::chmod(directory_.c_str(), 0755) == 0, directory_.c_str());
    std::filesystem::copy_file(program, path());
  }
  ~PublicCopy() { std::filesystem::remove_all(directory_); }
  PublicCopy(PublicCopy const&) = delete;
  std::string path() const { return directory_ + "/program"; }

 private:
  std::string directory_ = "/tmp/cloister-figures-XXXXXX";
};

void become_ordinary_user() {
  constexpr id_t nobody = 65534;
  require(::setgroups(0, nullptr) == 0 && ::setresgid(nobody, nobody, nobody) == 0 &&
              ::setresuid(nobody, nobody, nobody) == 0,
          "to become an ordinary user");
  ::prctl(PR_SET_DUMPABLE, 1);  // or /proc/self would still be root's
}

void measure_all(Figures& figures) {
  for (auto measure : {measure_starts, measure_worlds, measure_isolated, measure_looks, measure_listing})
    figures.in_fresh_process(0, measure);
}

std::string time(double microseconds) {
  if (microseconds < 1000) return fmt::format("{:.{}f} µs", microseconds, microseconds < 100 ? 1 : 0);
  return fmt::format("{:.3g} ms", microseconds / 1000);
}

// Bold where less was reached than is asked.
std::string cells(Row const& row) {
  bool const most = row.bound == Bound::at_most;
  double const reached = most ? row.cloister / row.other : row.other / row.cloister;
  bool const missed = row.asked != 0 && (most ? reached > row.asked : reached < row.asked);
  char const* const mark = missed ? "**" : "";
  return fmt::format(" {} | {} | {}{:.{}f}{} |", time(row.other), time(row.cloister), mark, reached,
                     reached < 10 ? 2 : 0, mark);
}

std::string asked(Row const& row) {
  if (row.asked == 0) return "";
  return fmt::format("{} {:g}", row.bound == Bound::at_most ? "≤" : "≥", row.asked);
}

}  // namespace

int main(int argc, char** argv) {
  Options options = parse(argc, argv);
  PublicCopy const program{options.program};
  options.program = program.path();

  bool const root = ::geteuid() == 0;
  Figures figures{options}, as_user{options};
  measure_all(figures);
  if (root)
    as_user.in_fresh_process(0, [](Figures& rows) {
      become_ordinary_user();
      measure_all(rows);
    });

  fmt::print("| | asked | {}: floor or neighbour | cloister | ratio |{}\n", root ? "root" : "user",
             root ? " user: floor or neighbour | cloister | ratio |" : "");
  fmt::print("| --- | --- | --- | --- | --- |{}\n", root ? " --- | --- | --- |" : "");
  for (Row const& row : figures.rows()) {
    auto const& users = as_user.rows();
    auto const user =
        std::find_if(users.begin(), users.end(), [&](Row const& other) { return other.what == row.what; });
    fmt::print("| {} | {} |{}{}\n", row.what, asked(row), cells(row),
               user != users.end() ? cells(*user)
               : root              ? " | | |"
                                   : "");
  }
}
