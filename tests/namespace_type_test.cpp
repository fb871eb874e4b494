#include <cloister/namespace_type.hpp>

#include "caught.hpp"
#include "support.hpp"

using cloister::NamespaceType, cloister::all_namespace_types, cloister::parse_namespace_type;

namespace {

std::string refusal(std::string_view name) {
  return test::text_of<std::invalid_argument>([&] { (void)parse_namespace_type(name); });
}

}  // namespace

TEST_CASE("all types are listed once, in the order of the alphabet, so that they index an array") {
  std::size_t index = 0;
  std::string before;
  for (NamespaceType const type : all_namespace_types) {
    CHECK(static_cast<std::size_t>(type) == index++);
    CHECK(before < to_string(type));
    before = to_string(type);
  }
  CHECK(index == 8);
}

TEST_CASE("a type reads as its enumerator does") {
  CHECK(to_string(NamespaceType::cgroup) == std::string("cgroup"));
  CHECK(to_string(NamespaceType::ipc) == std::string("ipc"));
  CHECK(to_string(NamespaceType::mnt) == std::string("mnt"));
  CHECK(to_string(NamespaceType::net) == std::string("net"));
  CHECK(to_string(NamespaceType::pid) == std::string("pid"));
  CHECK(to_string(NamespaceType::time) == std::string("time"));
  CHECK(to_string(NamespaceType::user) == std::string("user"));
  CHECK(to_string(NamespaceType::uts) == std::string("uts"));
}

TEST_CASE("the names are those under /proc/[pid]/ns: every link there is known, but for those of the children") {
  for (std::string const& name : test::detail::names_in("/proc/self/ns")) {
    if (name.ends_with("_for_children")) continue;
    CHECK(to_string(parse_namespace_type(name)) == name);
    CHECK(test::detail::link_target("/proc/self/ns/" + name).starts_with(name + ":["));
  }
}

TEST_CASE("a type comes back from its name, also at compile time") {
  for (NamespaceType const type : all_namespace_types) CHECK(parse_namespace_type(to_string(type)) == type);
  static_assert(parse_namespace_type("uts") == NamespaceType::uts);
  CHECK(parse_namespace_type(std::string_view("network").substr(0, 3)) == NamespaceType::net);
}

TEST_CASE("what is no name is refused, and the text quotes it and lists the names") {
  CHECK(refusal("bogus") == "cloister: no namespace type \"bogus\": one of cgroup ipc mnt net pid time user uts");
  CHECK(refusal("") == "cloister: no namespace type \"\": one of cgroup ipc mnt net pid time user uts");
}

TEST_CASE("a name that is nearly right is refused") {
  using namespace std::string_view_literals;
  for (std::string_view const name : {"UTS"sv, "Uts"sv, " uts"sv, "uts "sv, "uts\n"sv, "ut"sv, "utss"sv, "mount"sv,
                                      "network"sv, "pid_for_children"sv, "all"sv, "uts,ipc"sv, "uts\0"sv, "\0uts"sv}) {
    CAPTURE(name);
    CHECK_THROWS_AS((void)parse_namespace_type(name), std::invalid_argument);
  }
}

TEST_CASE("the short names are the very enumerators, whole or under a name of one's own") {
  namespace ns = cloister::flags;
  static_assert(ns::user == NamespaceType::user && ns::net == NamespaceType::net);
  using namespace cloister::flags;
  static_assert(uts == NamespaceType::uts && cgroup == NamespaceType::cgroup && ipc == NamespaceType::ipc);
  static_assert(mnt == NamespaceType::mnt && pid == NamespaceType::pid);
}

TEST_CASE("a type is neither a number nor made from one by accident") {
  static_assert(!std::is_convertible_v<int, NamespaceType>);
  static_assert(!std::is_convertible_v<NamespaceType, int>);
  static_assert(sizeof(NamespaceType) == 1);
}

TEST_CASE("what is known of a type is what the kernel says: its flag, and the sysctl that limits it") {
  using cloister::detail::facts;
  CHECK(facts(NamespaceType::cgroup).clone_flag == CLONE_NEWCGROUP);
  CHECK(facts(NamespaceType::ipc).clone_flag == CLONE_NEWIPC);
  CHECK(facts(NamespaceType::mnt).clone_flag == CLONE_NEWNS);
  CHECK(facts(NamespaceType::net).clone_flag == CLONE_NEWNET);
  CHECK(facts(NamespaceType::pid).clone_flag == CLONE_NEWPID);
  CHECK(facts(NamespaceType::time).clone_flag == 0x80);
  CHECK(facts(NamespaceType::user).clone_flag == CLONE_NEWUSER);
  CHECK(facts(NamespaceType::uts).clone_flag == CLONE_NEWUTS);
  SKIP_UNLESS(::access("/proc/sys/user", R_OK) == 0, "the kernel has no limits of namespaces");
  for (NamespaceType const type : all_namespace_types)
    if (::access((std::string("/proc/self/ns/") + to_string(type)).c_str(), F_OK) == 0)
      CHECK_NOTHROW((void)test::read_file(std::string("/proc/sys/user/") + facts(type).limit));
}
