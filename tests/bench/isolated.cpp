// The body of an isolated test case beside a bare ChildProcess of the same description; and a thousand of them.
#define DOCTEST_CONFIG_IMPLEMENT
#include <fmt/format.h>

#include <cloister/doctest.hpp>

#include "figures.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;

void start(cloister::Isolation const& isolation) {
  cloister::ChildProcess{isolation, [] { (void)::getpid(); }}.get();
}
void isolate(cloister::Isolation const& isolation) {
  cloister::isolated(isolation, [] { CHECK(::getpid() > 0); });
}

Figures* table;  // a test case takes no argument

}  // namespace

TEST_CASE("figures") {
  std::pair<char const*, cloister::CloneFlags> const worlds[] = {
      {"user", ns::user},
      {"user, pid", ns::user | ns::pid},
      {"user, pid, uts, ipc, mnt", ns::user | ns::pid | ns::uts | ns::ipc | ns::mnt}};
  for (auto const& [name, types] : worlds) {
    cloister::Isolation const isolation{.unshare = types};
    table->at_most(
        1.3, fmt::format("a test's body, {}, against a `ChildProcess`", name), [&] { start(isolation); },
        [&] { isolate(isolation); });
  }
}

void bench::measure_isolated(Figures& figures) {
  table = &figures;
  doctest::Context context;
  context.setOption("minimal", true);
  require(context.run() == 0, "the test case");
}
