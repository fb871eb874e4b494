#include <cloister/doctest.hpp>
#include <cloister/namespace.hpp>
#include <cloister/unshare.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::CloneFlags, cloister::Namespace, cloister::NamespaceType;
using namespace cloister::flags;
using namespace test;

namespace {

constexpr CloneFlags plain_types = cgroup | ipc | mnt | net | uts;

std::vector<Namespace> present(CloneFlags types) {
  std::vector<Namespace> all;
  for (NamespaceType const type : types) all.push_back(Namespace::current(type));
  return all;
}

CloneFlags changed(std::vector<Namespace> const& before) {
  CloneFlags types;
  for (Namespace const& one : before)
    if (Namespace::current(one.type()) != one) types |= one.type();
  return types;
}

}  // namespace

ISOLATED_TEST_CASE("the types that are named are new afterwards, and no others", as_root_in(plain_types)) {
  for (CloneFlags const types :
       {CloneFlags(cgroup), CloneFlags(ipc), CloneFlags(mnt), CloneFlags(net), CloneFlags(uts), uts | net, plain_types}) {
    CAPTURE(to_string(types));
    std::vector<Namespace> const before = present(plain_types | user | pid);
    cloister::unshare(types);
    CHECK(to_string(changed(before)) == to_string(types));
  }
}

TEST_CASE("no type is no change, and needs nothing") {
  CHECK(unprivileged_expectations([] {
          std::vector<Namespace> const before = present(plain_types | user | pid);
          cloister::unshare({});
          EXPECT(changed(before).empty());
        }) == 0);
}

ISOLATED_TEST_CASE("it is the calling thread that moves: the others stay, and those it starts later are with it",
                   as_root_in(plain_types)) {
  std::vector<Namespace> const before = present(plain_types);
  std::thread([&] {
    cloister::unshare(plain_types);
    CHECK(to_string(changed(before)) == to_string(plain_types));
    std::vector<Namespace> const here = present(plain_types);
    std::thread([&] { CHECK(changed(here).empty()); }).join();
  }).join();
  CHECK(changed(before).empty());
}

TEST_CASE("user needs no privilege, and gives it for the types beside it") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(unprivileged_expectations([] {
          std::vector<Namespace> const before = present(user | uts | net);
          cloister::unshare(user | uts | net);
          EXPECT(changed(before) == (user | uts | net));
          EXPECT(Namespace::current(uts).owner() == Namespace::current(user));
          cloister::unshare(ipc);
        }) == 0);
}

TEST_CASE("user is refused in a process with threads, in these words, and nothing has changed") {
  CHECK(expectations([] {
          std::vector<Namespace> const before = present(user | uts);
          std::thread([&] {
            EXPECT(fails_with(EINVAL, "unshare", [] { cloister::unshare(user | uts); },
                              {"unshare user|uts", "the process has threads", "start a child instead"}));
            EXPECT(changed(before).empty());
          }).join();
        }) == 0);
}

TEST_CASE(
    "pid is refused before anything happens, alone and among others: it would cost the host its threads and children") {
  Unchanged const unchanged;
  for (CloneFlags const types : {CloneFlags(pid), user | pid, CloneFlags::all()})
    CHECK(contains(text_of<std::invalid_argument>([&] { cloister::unshare(types); }), "unshare: pid"));
}

TEST_CASE("time is for the children that come: this process stays, and can still start threads") {
  SKIP_UNLESS(cloister::detail::kernel_has(NamespaceType::time), "the kernel is before 5.6: no time namespaces");
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const before = Namespace::current(NamespaceType::time);
          cloister::unshare(NamespaceType::time);
          EXPECT(Namespace::current(NamespaceType::time) == before);
          std::thread([&] { EXPECT(Namespace::current(NamespaceType::time) == before); }).join();
          Namespace const theirs = Namespace::for_children(NamespaceType::time);
          EXPECT(theirs != before);
          EXPECT(in_fork([&] { return Namespace::current(NamespaceType::time) == theirs; }) == 0);
        }) == 0);
}

TEST_CASE("mounts in a new mnt namespace do not show in the old one, also where that one is shared") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::mount("none", "/", nullptr, MS_REC | MS_SHARED, nullptr) == 0);
          auto const shows = [&] { return contains(read_file("/proc/thread-self/mountinfo"), directory.path()); };
          std::thread([&] {
            cloister::unshare(mnt);
            EXPECT(::mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0);
            EXPECT(shows());
          }).join();
          EXPECT(!shows());
          EXPECT(::mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0);
          EXPECT(shows());
        }) == 0);
}

ISOLATED_TEST_CASE("a thread in a new mnt namespace has a working directory of its own", as_root_in(mnt)) {
  CHECK(::chdir("/") == 0);
  std::thread([] {
    cloister::unshare(mnt);
    CHECK(::chdir("/proc") == 0);
  }).join();
  char directory[64] = {};
  REQUIRE(::getcwd(directory, sizeof directory) != nullptr);
  CHECK(std::string(directory) == "/");
}

TEST_CASE(
    "mounts cannot be made private where the root directory is none of a mount: the error says which step that was") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          EXPECT(fails_with(EINVAL, "make mounts private", [] { cloister::unshare(mnt); }));
        }) == 0);
}

TEST_CASE("without privileges every type but user is refused, and the text says what would help") {
  CHECK(unprivileged_expectations([] {
          std::vector<Namespace> const before = present(plain_types);
          for (NamespaceType const type : plain_types)
            EXPECT(fails_with(EPERM, "unshare", [&] { cloister::unshare(type); },
                              {std::string("unshare ") + to_string(type) + ": Operation not permitted",
                               "CAP_SYS_ADMIN is needed", std::string("unshare user beside ") + to_string(type)}));
          EXPECT(changed(before).empty());
        }) == 0);
}

TEST_CASE("in a user namespace without maps no further one is had, and the text says that the maps come first") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          cloister::unshare(user);
          EXPECT(fails_with(EPERM, "unshare", [] { cloister::unshare(user); }, {"ids are not mapped"}));
        }) == 0);
}

TEST_CASE("in a chroot no user namespace is had, and the text says so") {
  SKIP_UNLESS(can_be_privileged() && user_namespaces(), "no user namespaces");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          EXPECT(fails_with(EPERM, "unshare", [] { cloister::unshare(user | uts); }, {"chroot", "pivot_root"}));
        }) == 0);
}

TEST_CASE("a limit that is used up is named, and so is the depth of nesting") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(write_file("/proc/sys/user/max_uts_namespaces", "0"));
          EXPECT(fails_with(ENOSPC, "unshare", [] { cloister::unshare(net | uts); }, {"user.max_uts_namespaces is 0"}));
        }) == 0);
  CHECK(expectations([] {
          int made = 0;
          while (made < 40 && become_root_of_a_user_namespace()) ++made;
          EXPECT(made >= 30 && made < 40);
          EXPECT(fails_with(ENOSPC, "unshare", [] { cloister::unshare(user); }, {"nested over 32 deep"}));
        }) == 0);
}
