// What an isolated test body costs, beside a bare ChildProcess of the same description, in turn; and a thousand of
// them.
#define DOCTEST_CONFIG_IMPLEMENT
#include <fmt/format.h>

#include <cloister/cloister.hpp>
#include <cloister/doctest.hpp>

#include "measure.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;

void start(cloister::Isolation const& isolation) {
  cloister::ChildProcess{isolation, [] { (void)::getpid(); }}.get();
}
void isolate(cloister::Isolation const& isolation) {
  cloister::isolated(isolation, [] { CHECK(::getpid() > 0); });
}

}  // namespace

TEST_CASE("figures") {
  struct Row {
    char const* name;
    cloister::CloneFlags types;
  };
  constexpr Row rows[] = {{"user", ns::user},
                          {"user, pid", ns::user | ns::pid},
                          {"user, pid, uts, ipc, mnt", ns::user | ns::pid | ns::uts | ns::ipc | ns::mnt}};
  fmt::print("{:<28}{:>12}{:>12}{:>8}\n", "median of 300, us", "ChildProcess", "isolated", "ratio");
  for (Row const& row : rows) {
    cloister::Isolation const isolation{.unshare = row.types};
    auto const [floor, ours] = medians(
        300, [&] { start(isolation); }, [&] { isolate(isolation); });
    fmt::print("{:<28}{:>12.0f}{:>12.0f}{:>8.2f}\n", row.name, floor, ours, ours / floor);
  }
  cloister::Isolation const isolation{.unshare = rows[2].types};
  constexpr int bodies = 1000;
  double const bare = microseconds([&] {
    for (int i = 0; i < bodies; ++i) start(isolation);
  });
  double const total = microseconds([&] {
    for (int i = 0; i < bodies; ++i) isolate(isolation);
  });
  fmt::print("{} bodies in {}, one after the other: {:.2f} s, {:.0f} us each; children alone: {:.2f} s\n", bodies,
             rows[2].name, total / 1e6, total / bodies, bare / 1e6);
}

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  context.setOption("minimal", true);
  return context.run();
}
