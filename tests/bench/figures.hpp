// The parts of `figures`, each a file here, and the rows that they fill in.
#pragma once

#include <unistd.h>

#include <cloister/cloister.hpp>
#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace bench {

// at_most: what it costs by the least that can do it, and the library that many times as much. at_least: what it costs
// with a neighbour, the library being that many times as fast. Zero: nothing is asked.
enum class Bound { at_most, at_least };

struct Row {
  std::string what;
  Bound bound;
  double asked;
  double other, cloister;  // medians, in µs
};

struct Options {
  int pairs = 200;
  std::string only;     // picks the rows that contain it
  std::string program;  // what is executed
};

class Figures {
 public:
  explicit Figures(Options options) : options_(std::move(options)) {}

  Options const& options() const { return options_; }
  std::vector<Row> const& rows() const { return rows_; }
  bool wants(std::string_view what) const { return what.find(options_.only) != what.npos; }

  void at_most(double asked, std::string const& what, std::invocable auto const& floor,
               std::invocable auto const& cloister) {
    add(what, Bound::at_most, asked, floor, cloister);
  }
  void at_least(double asked, std::string const& what, std::invocable auto const& neighbour,
                std::invocable auto const& cloister) {
    add(what, Bound::at_least, asked, neighbour, cloister);
  }

  // In a process of its own: one that has had a thread, or a gigabyte, is not the same again.
  void in_fresh_process(std::size_t resident, std::invocable<Figures&> auto const& body) {
    in_child({}, [&](Figures& rows) {
      become_large(resident);
      body(rows);
    });
  }
  void in_child(cloister::Isolation const& isolation, std::invocable<Figures&> auto const& body) {
    std::vector<Row> const more = cloister::run(isolation, [&] {
      Figures inner{options_};
      body(inner);
      return inner.rows_;
    });
    rows_.insert(rows_.end(), more.begin(), more.end());
  }

 private:
  void add(std::string const& what, Bound bound, double asked, std::invocable auto const& other,
           std::invocable auto const& cloister) {
    if (!wants(what)) return;
    auto const [theirs, ours] = medians(options_.pairs, other, cloister);
    rows_.push_back({what, bound, asked, theirs, ours});
  }

  Options options_;
  std::vector<Row> rows_;
};

inline constexpr std::size_t large = 1024;  // MiB

void measure_starts(Figures&);
void measure_worlds(Figures&);
void measure_isolated(Figures&);
void measure_looks(Figures&);
void measure_listing(Figures&);

}  // namespace bench
