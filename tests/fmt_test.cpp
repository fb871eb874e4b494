#include <fmt/compile.h>
#include <fmt/ranges.h>

#include <cloister/cloister.hpp>
#include <cloister/fmt.hpp>

#include "support.hpp"

using namespace std::chrono_literals;
namespace ns = cloister::flags;
using cloister::Command, cloister::Descriptors, cloister::Environment, cloister::ExitStatus, cloister::IdMap,
    cloister::IdRange, cloister::Init, cloister::Isolation, cloister::Loopback, cloister::NamespaceId,
    cloister::NamespaceType, cloister::Output, cloister::ParentDeath, cloister::Redirect, cloister::Session,
    cloister::Stdio;
using fmt::format;

TEST_CASE("what has a to_string is formatted as that") {
  CHECK(format("{}", NamespaceType::pid) == "pid");
  CHECK(format("{}", ns::user | ns::pid) == "pid|user");
  CHECK(format("{}", cloister::CloneFlags{}).empty());
  CHECK(format("{}", NamespaceId{NamespaceType::uts, 4, 4026531838}) == "uts:[4026531838]");
  CHECK(format("{}", ExitStatus::exited(3)) == "exited with status 3");
  CHECK(format("{}", ExitStatus{}) == "ended in an unknown way");
  CHECK(format("{}", Command{"sh", "-c", "exit 3"}) == "sh -c 'exit 3'");
  CHECK(format("{}", cloister::Obstacle::id_map) == "id_map");
  CHECK(format("{}", cloister::Support{}) == "supported");
  CHECK(format("{}", cloister::Support{cloister::Obstacle::limit, "unshare uts: it is 0", "raise it"}) ==
        "unshare uts: it is 0; raise it");
}

TEST_CASE("width, fill, alignment and precision are those of a string") {
  CHECK(format("[{:8}]", NamespaceType::pid) == "[pid     ]");
  CHECK(format("[{:>8}]", NamespaceType::pid) == "[     pid]");
  CHECK(format("[{:-^9}]", ns::uts | ns::pid) == "[-pid|uts-]");
  CHECK(format("[{:{}}]", Init::reaper, 8) == "[reaper  ]");
  CHECK(format("[{:.6}]", ExitStatus::exited(3)) == "[exited]");
}

TEST_CASE("a format that suits no string is refused") {
  CHECK_THROWS_AS((void)format(fmt::runtime("{:d}"), NamespaceType::pid), fmt::format_error);
  CHECK_THROWS_AS((void)format(fmt::runtime("{:+}"), ns::uts | ns::pid), fmt::format_error);
}

TEST_CASE("formatters work wherever fmt does") {
  CHECK(format(FMT_COMPILE("{:>4}"), NamespaceType::pid) == " pid");
  fmt::memory_buffer buffer;
  fmt::format_to(std::back_inserter(buffer), "{} {}", NamespaceType::pid, ExitStatus::exited(0));
  CHECK(to_string(buffer) == "pid exited with status 0");
  CHECK(fmt::formatted_size("{}", NamespaceType::pid) == 3);
}

TEST_CASE("a set of namespace types is formatted as a set, also where fmt knows ranges, and can be joined") {
  CHECK(format("{}", ns::uts | ns::pid) == "pid|uts");
  CHECK(format("{}", fmt::join(ns::uts | ns::pid, ", ")) == "pid, uts");
  CHECK(format("{}", std::vector{ExitStatus::exited(0), ExitStatus::exited(1)}) ==
        "[exited with status 0, exited with status 1]");
}

TEST_CASE("id maps are formatted as the kernel reads them") {
  CHECK(format("{}", IdRange{0, 1000, 5}) == "0 1000 5");
  CHECK(format("{}", IdMap::self()) == "self");
  CHECK(format("{}", IdMap::root().as(0, 0)) == "root as 0:0");
  CHECK(format("{}", IdMap::ranges({{0, 1000}, {1, 100000, 65536}}, {{0, 100}}).as(1, 0)) ==
        "uids 0 1000 1, 1 100000 65536; gids 0 100 1 as 1:0");
}

TEST_CASE("clock offsets are formatted in seconds") {
  CHECK(format("{}", cloister::ClockOffsets{.monotonic = 24h, .boottime = -1500ms}) ==
        "monotonic 86400s, boottime -1.5s");
  CHECK(format("{}", cloister::ClockOffsets{.monotonic = 1ns}) == "monotonic 0.000000001s, boottime 0s");
  CHECK(format("{}", cloister::ClockOffsets{.monotonic = std::chrono::nanoseconds::min()}) ==
        "monotonic -9223372036.854775808s, boottime 0s");
}

TEST_CASE("streams are formatted as where they lead") {
  CHECK(format("{}", Redirect{}) == "unset");
  CHECK(format("{}", Redirect::descriptor(7)) == "descriptor 7");
  CHECK(format("{}", Stdio{.in = Redirect::null(), .out = Redirect::pipe(), .err = Redirect::to_out()}) ==
        "in null, out pipe, err to_out");
  CHECK(format("{}", Redirect::inherit()) == "inherit");
}

TEST_CASE("choices are formatted as their names") {
  CHECK(format("{} {}", Loopback::up, Loopback::down) == "up down");
  CHECK(format("{} {}", Session::inherit, Session::fresh) == "inherit fresh");
  CHECK(format("{} {}", Init::none, Init::reaper) == "none reaper");
  CHECK(format("{} {}", ParentDeath::kill_child, ParentDeath::leave_child) == "kill_child leave_child");
  CHECK(format("{}, {}", Environment::inherit(), Environment::clear()) == "inherit, clear");
  CHECK(format("{}, {}", Environment::only({"PATH", "LANG"}), Environment::only({})) == "only PATH, LANG, only");
  CHECK(format("{}, {}", Descriptors::inherit(), Descriptors::none()) == "inherit, none");
  CHECK(format("{}", Descriptors::only({1, 5})) == "only 1, 5");
}

TEST_CASE("a description is formatted as the fields that are set") {
  CHECK(format("{}", Isolation{}) == "{}");
  CHECK(format("{}", Isolation{.unshare = ns::user | ns::uts,
                               .ids = IdMap::root(),
                               .hostname = "box",
                               .domainname = "example",
                               .loopback = Loopback::down,
                               .clock = {.boottime = 1h},
                               .descriptors = Descriptors::none(),
                               .environment = Environment::clear(),
                               .session = Session::fresh,
                               .init = Init::reaper,
                               .on_parent_death = ParentDeath::leave_child}) ==
        "{unshare: user|uts, ids: root, hostname: box, domainname: example, loopback: down, "
        "clock: monotonic 0s, boottime 3600s, descriptors: none, environment: clear, session: fresh, init: reaper, "
        "on_parent_death: leave_child}");
}

TEST_CASE("what a program left is formatted with what it wrote") {
  CHECK(format("{}", Output{.status = ExitStatus::exited(0)}) == "exited with status 0");
  CHECK(format("{}", Output{.status = ExitStatus::signaled(9), .out = "half", .err = "oh\n", .timed_out = true}) ==
        "ended by signal 9 (SIGKILL), timed out\nout: half\nerr: oh\n");
}
