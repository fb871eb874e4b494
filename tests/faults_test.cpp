// Every system call of a start fails once, on either side: the start then works all the same, or says what failed, and
// leaves nothing behind. faults/faults.cpp does more of it, and takes longer.
#include <doctest/doctest.h>

#include <cstring>

#include "faults/injector.hpp"
#include "privileged.hpp"

namespace {

using namespace test;
using namespace std::chrono_literals;
using cloister::ChildProcess, cloister::Command, cloister::Isolation, cloister::Mount;
namespace ns = cloister::flags;

// A world in which every step has something to do.
Isolation rich_world(Kind const& kind) {
  Isolation world = Isolation::untrusted();
  world.unshare |= ns::time;
  world.hostname = "box";
  world.domainname = "example";
  world.clock.monotonic = 1h;
  for (Mount const& mount :
       {Mount::sysfs(), Mount::mqueue(), Mount::file("/etc/hosts", "127.0.0.1 localhost\n"),
        Mount::file("/usr/bin/env", "other").read_only(), Mount::directory("/srv"), Mount::overlay("/usr/lib", "/opt")})
    world.mounts.push_back(mount);
  world.privileges.limits = {{cloister::Resource::open_files, 64}};
  world.init = kind.init;
  return world;
}

std::vector<Start> starts(Room const* room) {
  std::vector<Start> all;
  for (Kind const& kind : room != nullptr ? joining_kinds(*room) : std::vector<Kind>{})
    for (Where const where : everywhere)
      all.push_back({kind.name + name_of(where), kind.isolation(), kind.program, where});
  for (Kind const& kind : kinds()) {
    for (Where const where : everywhere)
      all.push_back({kind.name + name_of(where), kind.isolation(), kind.program, where});
    if (kind.flags == (ns::user | ns::pid))
      all.push_back({kind.name + ", in a rich world", rich_world(kind), kind.program, Where::main_thread, true});
  }
  return all;
}

}  // namespace

TEST_CASE("every system call of a start fails once, and the start works or says why, and leaves nothing") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer's own calls would fail");
  SKIP_UNLESS(can_be_asked(), "the kernel is before 5.5, or lets no filter ask");
  std::optional<Room> room;
  if (user_namespaces()) room.emplace(Isolation{.unshare = ns::user | ns::pid | ns::uts | ns::time});
  std::vector<Start> const all = starts(room ? &*room : nullptr);
  for (std::size_t which = 0; which < all.size(); ++which) {
    Start const& start = all[which];
    CAPTURE(start.name);
    int const status = expectations([&] {
      ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what loses its parent becomes ours
      FaultInjector& injector = *new FaultInjector;
      about = start.name;
      EXPECT(outcome(start, injector, {}).complaint == "");  // what a first start allocates it keeps
      Unchanged const unchanged;
      EXPECT(outcome(start, injector, {}).complaint == "");
      unsigned const count = injector.count();
      EXPECT(count > 10);
      std::string const open = descriptors();
      // Each call with one of the errors, that of its number in the start: all errors come up among the kinds of
      // starts, which have most calls in common. Of rich worlds, which share theirs, each has a quarter.
      for (unsigned at = start.rich ? which % 4 : 0; at < count; at += start.rich ? 4 : 1) {
        Fault const fault{at, Fault::Kind::error, errors[(at + which) % std::size(errors)]};
        about = start.name + ", call " + std::to_string(at) + " failing with error " + std::to_string(fault.error);
        std::string const wrong = outcome(start, injector, fault).complaint;
        about += ", the number of the call being " + std::to_string(injector.call());
        expect(wrong == "", wrong.c_str(), __FILE__, __LINE__);
        EXPECT(descriptors() == open);
        EXPECT(!has_children());
        while (has_children()) ::waitpid(-1, nullptr, __WALL);
      }
      about = start.name;
      std::string const changes = unchanged.changes();
      expect(changes == "", changes.c_str(), __FILE__, __LINE__);
    });
    CHECK(status == 0);
  }
}
