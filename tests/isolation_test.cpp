#include <cloister/isolation.hpp>

#include "support.hpp"

namespace ns = cloister::flags;
using namespace std::chrono_literals;
using cloister::Descriptors, cloister::Environment, cloister::IdMap, cloister::Init, cloister::Isolation,
    cloister::Loopback, cloister::ParentDeath, cloister::Session;

TEST_CASE("an empty description changes nothing") {
  Isolation const same;
  CHECK(same.unshare.empty());
  CHECK(same.join.empty());
  CHECK_FALSE(same.ids);
  CHECK_FALSE(same.hostname);
  CHECK_FALSE(same.domainname);
  CHECK(same.clock == cloister::ClockOffsets{});
  CHECK(same.descriptors == Descriptors::inherit());
  CHECK(same.environment == Environment::inherit());
  CHECK(same.session == Session::inherit);
  CHECK(same.init == Init::none);
}

TEST_CASE("two defaults are not the kernel's: loopback is up, and a child does not survive its parent") {
  CHECK(Isolation{}.loopback == Loopback::up);
  CHECK(Isolation{}.on_parent_death == ParentDeath::kill_child);
}

TEST_CASE("a description is an aggregate that names its fields, and a value") {
  static_assert(std::is_aggregate_v<Isolation> && std::is_copy_assignable_v<Isolation> &&
                std::is_nothrow_move_constructible_v<Isolation>);
  Isolation const one{
      .unshare = ns::user | ns::uts | ns::time, .ids = IdMap::root(), .hostname = "box", .clock = {.boottime = 1h}};
  Isolation other = one;
  CHECK(other == one);
  other.hostname = "crate";
  CHECK(other != one);
  CHECK(one.hostname == "box");
}

TEST_CASE("whether something happens is no bool") {
  static_assert(!std::is_convertible_v<bool, Loopback> && !std::is_convertible_v<bool, Session>);
  static_assert(!std::is_convertible_v<bool, Init> && !std::is_convertible_v<bool, ParentDeath>);
}

TEST_CASE("an environment is inherited, cleared, or only some variables") {
  CHECK(Environment{} == Environment::inherit());
  CHECK(Environment::inherit().kind() == Environment::Kind::inherit);
  CHECK(Environment::clear().kind() == Environment::Kind::clear);
  CHECK(Environment::only({"PATH", "LANG"}).names() == std::vector<std::string>{"PATH", "LANG"});
  CHECK(Environment::only({}).kind() == Environment::Kind::only);
  CHECK(Environment::only({"A"}) != Environment::only({"B"}));
}

TEST_CASE("descriptors are inherited, none, or only some") {
  CHECK(Descriptors{} == Descriptors::inherit());
  CHECK(Descriptors::none().kind() == Descriptors::Kind::none);
  CHECK(Descriptors::only({1, 5}).fds() == std::vector<int>{1, 5});
  CHECK(Descriptors::only({1}) != Descriptors::none());
}

TEST_CASE("a description reads as the fields that are set, in their order, each as it reads itself") {
  CHECK(to_string(Isolation{}) == "{}");
  cloister::Namespace const net = cloister::Namespace::current(ns::net), uts = cloister::Namespace::current(ns::uts);
  Isolation all{.unshare = ns::user | ns::mnt,
                .join = {net, uts},
                .ids = IdMap::ranges({{0, 100000, 10}}, {{0, 200000}}).as(3, 0),
                .hostname = "box",
                .domainname = "example",
                .root = cloister::Root::empty().writable(),
                .mounts = {cloister::Mount::bind("/usr", "/usr").read_only(), cloister::Mount::proc()},
                .loopback = Loopback::down,
                .clock = {.monotonic = 1s},
                .privileges = {.no_new_privs = true, .limits = {{cloister::Resource::core, 0}}},
                .cgroup = cloister::Cgroup::path("/sys/fs/cgroup/box"),
                .descriptors = Descriptors::only({5}),
                .environment = Environment::clear(),
                .session = Session::fresh,
                .init = Init::reaper,
                .on_parent_death = ParentDeath::leave_child};
  std::vector<std::string> const fields{"unshare: mnt|user",
                                        "join: [" + to_string(net.id()) + ", " + to_string(uts.id()) + "]",
                                        "ids: " + to_string(*all.ids),
                                        "hostname: box",
                                        "domainname: example",
                                        "root: empty writable",
                                        "mounts: [bind /usr on /usr read_only, proc on /proc]",
                                        "loopback: down",
                                        "clock: " + to_string(all.clock),
                                        "privileges: [" + to_string(all.privileges) + "]",
                                        "cgroup: " + to_string(*all.cgroup),
                                        "descriptors: only 5",
                                        "environment: clear",
                                        "session: fresh",
                                        "init: reaper",
                                        "on_parent_death: leave_child"};
  std::string text;
  for (std::string const& field : fields) text += (text.empty() ? "" : ", ") + field;
  CHECK(to_string(all) == "{" + text + "}");
  cloister::Namespace moved = net;
  cloister::Namespace const owner = std::move(moved);
  CHECK(to_string(Isolation{.join = {moved, owner}}) == "{join: [empty, " + to_string(net.id()) + "]}");
  // A field that is set to its default is not.
  all = {.unshare = {}, .root = cloister::Root::host(), .mounts = {}, .loopback = Loopback::up, .init = Init::none};
  CHECK(to_string(all) == "{}");
}
