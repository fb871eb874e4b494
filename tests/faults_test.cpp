// Every system call of a start fails once, on either side: the start then works all the same, or says what failed, and
// leaves nothing behind. A part of what faults/faults.cpp does, of more kinds of starts.
#include <doctest/doctest.h>

#include "faults/injector.hpp"
#include "privileged.hpp"

namespace {

using namespace test;
using cloister::Isolation;
namespace ns = cloister::flags;

struct Try {
  faults::Start start;
  unsigned share;  // of the calls
};
std::vector<Try> tries(Room const* room) {
  std::vector<Try> all;
  std::vector<Kind> some = kinds();
  for (Kind const& kind : room != nullptr ? joining_kinds(*room) : std::vector<Kind>{}) some.push_back(kind);
  for (Kind const& kind : some)
    for (Where const where : everywhere)
      all.push_back(
          {{kind.name + name_of(where), kind.isolation(), kind.program, where, where == Where::other_thread}, 1});
  if (room == nullptr) return all;
  // They have most calls in common.
  for (bool const program : {false, true})
    for (cloister::Init const init : {cloister::Init::none, cloister::Init::reaper})
      all.push_back(
          {{program ? "a program in a rich world" : "a callable in a rich world", faults::rich_world(init), program},
           8});
  return all;
}

}  // namespace

TEST_CASE("every system call of a start fails once, and the start works or says why, and leaves nothing") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer's own calls would fail");
  SKIP_UNLESS(faults::can_inject(), "the kernel is before 5.19, or lets no process decide about another's calls");
  std::optional<Room> room;
  if (user_namespaces()) room.emplace(Isolation{.unshare = ns::user | ns::pid | ns::uts | ns::time});
  Unchanged const unchanged;
  unsigned which = 0;
  for (Try const& each : tries(room ? &*room : nullptr)) {
    CAPTURE(each.start.name);
    // Each call with one of the errors, another one in each kind of start.
    ++which;
    faults::Tally const tally = faults::walk(each.start, [&](faults::Call const& call, faults::Fault const& fault) {
      auto const number = static_cast<unsigned>(&fault - faults::all_faults().data());
      return fault.kind == faults::Fault::error &&
             (faults::number_of(call) + which + number) % (std::size(faults::errors) * each.share) == 0;
    });
    CHECK(tally.calls > 10);
    CHECK(tally.points > 10);
    for (std::string const& failure : tally.failures) CHECK(failure == "");
  }
}

TEST_CASE("a child that is announced just when its parent asks whether somebody has ended is not taken for that one") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer's own calls would come late");
  SKIP_UNLESS(faults::can_inject(), "the kernel is before 5.19, or lets no process decide about another's calls");
  SKIP_UNLESS(user_namespaces(), "user namespaces are not to be had");
  faults::Start const start{"", {.unshare = ns::user | ns::pid}, false};
  faults::Tally const tally = faults::walk(start, [](faults::Call const& call, faults::Fault const& fault) {
    bool const of_middle = call.thread == 1 && (call.number == SYS_clone3 || call.number == SYS_sendmsg);
    return of_middle && fault.kind == faults::Fault::delay;
  });
  CHECK(tally.worked == 2);
  for (std::string const& failure : tally.failures) CHECK(failure == "");
}
