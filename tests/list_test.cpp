#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cloister/find.hpp>
#include <cloister/list.hpp>
#include <cloister/namespace.hpp>
#include <cloister/process_namespaces.hpp>
#include <cloister/run.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "fuse.hpp"
#include "privileged.hpp"
#include "refusal.hpp"

using namespace cloister::flags;
using cloister::ChildProcess, cloister::CloneFlags, cloister::Error, cloister::FileDescriptor, cloister::Isolation;
using cloister::Namespace, cloister::NamespaceId, cloister::NamespaceInfo, cloister::NamespaceListing;
using cloister::NamespaceType, cloister::list_namespaces, cloister::namespaces_of;

namespace {

// The entry of that namespace; an empty one if it is not listed.
NamespaceInfo entry(NamespaceListing const& listing, NamespaceId const& id) {
  for (NamespaceInfo const& info : listing.namespaces)
    if (same_namespace(info.id, id)) return info;
  return {};
}
NamespaceInfo entry(NamespaceId const& id) { return entry(list_namespaces(), id); }
bool is_listed(NamespaceListing const& listing, NamespaceId const& id) { return entry(listing, id).id == id; }

// A child that is seen only when it has done `body`, and then waits to be killed.
template <class Body>
ChildProcess<void()> resident(Isolation box, Body body) {
  int ready[2];
  REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
  box.descriptors = cloister::Descriptors::only({2, ready[1]});
  ChildProcess child{box, [body, end = ready[1]] {
                       body();
                       if (::write(end, "", 1) != 1) return;
                       for (;;) ::pause();
                     }};
  ::close(ready[1]);
  char byte;
  bool const is_ready = ::read(ready[0], &byte, 1) == 1;
  ::close(ready[0]);
  REQUIRE(is_ready);
  return child;
}
ChildProcess<void()> resident(CloneFlags types) {
  return resident({.unshare = types}, [] {});
}
// With that many processes, which end when the first one does.
ChildProcess<void()> crowd(CloneFlags types, int processes) {
  return resident({.unshare = types | pid}, [processes] {
    for (int i = 1; i < processes; ++i)
      if (::fork() == 0)
        for (;;) ::pause();
  });
}

// As a process that it forks has it too.
std::string own_command() {
  std::string command = test::read_file("/proc/self/cmdline");
  command.pop_back();
  std::replace(command.begin(), command.end(), '\0', ' ');
  return command;
}

#define NEEDS_USER_NAMESPACES SKIP_UNLESS(test::user_namespaces(), "no user namespaces")

}  // namespace

TEST_CASE("the caller's own namespaces are listed, as its handles have them, and it is counted in each") {
  test::Unchanged const unchanged;
  NamespaceListing const listing = list_namespaces();
  for (NamespaceType const type : namespaces_of(::getpid()).types()) {
    CAPTURE(type);
    Namespace const mine = Namespace::current(type);
    NamespaceInfo const info = entry(listing, mine.id());
    CHECK(info.id == mine.id());
    CHECK(info.id.id == mine.id().id);
    CHECK(info.processes >= 1);
    CHECK(info.first_pid > 0);
    CHECK(info.first_pid <= ::getpid());
    CHECK(info.uid);
    CHECK(info.command != "");
    std::optional<NamespaceId> owner;
    try {
      owner = mine.owner().id();
    } catch (Error const&) {  // the user namespace's lies outside
    }
    CHECK(info.owner == owner);
    CHECK(info.parent == (type == user ? info.owner : std::nullopt));
  }
}

TEST_CASE("the list is in the order of the ids, and each stands in it once") {
  NamespaceListing const listing = list_namespaces();
  for (std::size_t i = 1; i < listing.namespaces.size(); ++i)
    CHECK(listing.namespaces[i - 1].id < listing.namespaces[i].id);
}

TEST_CASE("processes are counted in the namespaces that they share, and the one with the lowest pid speaks for them") {
  test::Unchanged const unchanged;
  NEEDS_USER_NAMESPACES;
  ChildProcess const child = crowd(user | uts | net, 4);
  NamespaceListing const listing = list_namespaces();
  auto const there = namespaces_of(child.pid());
  for (NamespaceType const type : user | pid | uts | net) {
    NamespaceInfo const info = entry(listing, there[type]);
    CHECK(info.processes == 4);
    CHECK(info.first_pid == child.pid());
    CHECK(info.uid == ::geteuid());
    CHECK(info.command == entry(listing, there[user]).command);
    CHECK(info.command == own_command());
    CHECK(info.owner == (type == user ? namespaces_of(::getpid())[user] : there[user]));
    CHECK(info.threads + info.descriptors + info.children_links + info.mounts.size() == 0);
  }
  CHECK(entry(listing, there[pid]).parent == namespaces_of(::getpid())[pid]);
  CHECK(entry(listing, there[user]).parent == namespaces_of(::getpid())[user]);
  CHECK_FALSE(entry(listing, there[net]).parent);
}

TEST_CASE("namespaces that no process lives in are listed where others hang on them") {
  NEEDS_USER_NAMESPACES;
  ChildProcess const child = resident({}, [] {
    for (int depth = 0; depth < 3; ++depth)
      if (!test::become_root_of_a_user_namespace()) ::_exit(1);
  });
  NamespaceListing const listing = list_namespaces(user);
  NamespaceInfo info = entry(listing, namespaces_of(child.pid())[user]);
  CHECK(info.processes == 1);
  for (int above = 0; above < 2; ++above) {
    REQUIRE(info.parent);
    CHECK(info.parent == info.owner);
    info = entry(listing, *info.parent);
    CHECK(info.id.type == user);
    CHECK(info.processes + info.descriptors == 0);
    CHECK(info.first_pid == 0);
    CHECK_FALSE(info.uid);
  }
  CHECK(info.parent == namespaces_of(::getpid())[user]);
}

TEST_CASE("pid namespaces hang on one another, and their processes are counted by the one that they live in") {
  NEEDS_USER_NAMESPACES;
  ChildProcess const outer = resident({.unshare = user | pid}, [] {
    static std::optional<cloister::Child> inner;
    inner.emplace(crowd(pid, 2));
  });
  NamespaceListing const listing = list_namespaces(pid);
  NamespaceId const of_outer = namespaces_of(outer.pid())[pid];
  auto const inner = std::find_if(listing.namespaces.begin(), listing.namespaces.end(),
                                  [&](NamespaceInfo const& info) { return info.parent == of_outer; });
  REQUIRE(inner != listing.namespaces.end());
  CHECK(inner->processes == 2);
  CHECK(entry(listing, of_outer).processes == 1);
  std::string const tree = format_tree(listing, pid);
  std::size_t const line = tree.find(to_string(of_outer) + "  1 process, " + std::to_string(outer.pid()) + ": ");
  REQUIRE(line != tree.npos);
  CHECK(tree.find("└─ " + to_string(inner->id) + "  2 processes, first " + std::to_string(inner->first_pid)) > line);
}

TEST_CASE("only the types that are asked for are listed, and each as in the whole list") {
  NEEDS_USER_NAMESPACES;
  ChildProcess const child = resident(user | pid | uts);
  auto const there = namespaces_of(child.pid());
  CHECK(list_namespaces({}).namespaces.empty());
  for (CloneFlags const types : {CloneFlags{pid}, CloneFlags{uts}, user | uts, CloneFlags::all() - mnt}) {
    NamespaceListing const listing = list_namespaces(types);
    for (NamespaceInfo const& info : listing.namespaces) CHECK(types.contains(info.id.type));
    for (NamespaceType const type : types&(user | pid | uts)) {
      CHECK(entry(listing, there[type]).processes == 1);
      CHECK(entry(listing, there[type]).owner == entry(there[type]).owner);
      CHECK(entry(listing, there[type]).parent == entry(there[type]).parent);
    }
  }
}

TEST_CASE("a child's list is what it sees from inside, and comes back as a value") {
  NEEDS_USER_NAMESPACES;
  Isolation const box{.unshare = user | pid | mnt, .mounts = {cloister::Mount::proc()}};
  auto const [listing, own] = cloister::run(box, [] {
    return std::pair{list_namespaces(), namespaces_of(::getpid())[user]};
  });
  CHECK(listing.unreadable_processes == 0);
  for (CloneFlags const types : {user, pid, mnt, uts}) {
    std::size_t const listed = static_cast<std::size_t>(
        std::count_if(listing.namespaces.begin(), listing.namespaces.end(),
                      [&](NamespaceInfo const& info) { return types.contains(info.id.type); }));
    CHECK(listed == 1);
  }
  CHECK(entry(listing, own).first_pid == 1);
  CHECK_FALSE(entry(listing, own).parent);  // ours: it lies outside
}

// --- Held by something else than a process

TEST_CASE("a namespace is listed that only a descriptor holds, for as long as that is open") {
  test::Unchanged const unchanged;
  NEEDS_USER_NAMESPACES;
  NamespaceId id;
  {
    Namespace const held = Namespace::create(user);
    FileDescriptor const again = FileDescriptor::duplicate(held.fd());
    id = held.id();
    NamespaceInfo const info = entry(id);
    CHECK(info.id == id);
    CHECK(info.descriptors == 2);
    CHECK(info.processes + info.threads + info.children_links == 0);
    CHECK(info.first_pid == 0);
    CHECK_FALSE(info.uid);
    CHECK(info.command == "");
    CHECK(info.owner == Namespace::current(user).id());
    CHECK(info.parent == info.owner);
  }
  if (id.id != 0) CHECK_FALSE(is_listed(list_namespaces(), id));
}

TEST_CASE("a namespace is listed that only a bind mount holds, also one in another mnt namespace") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  test::TemporaryDirectory const directory;
  std::string const path = directory / "of two words";
  auto const bind = [&] {
    Namespace const fresh = Namespace::create(uts);
    std::string const link = "/proc/self/fd/" + std::to_string(fresh.fd());
    if (!test::write_file(path, "") || ::mount(link.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0)
      throw std::system_error(errno, std::system_category(), "mount");
    return fresh.id();
  };
  auto const bound = [&](NamespaceListing const& listing) {
    auto const found =
        std::find_if(listing.namespaces.begin(), listing.namespaces.end(),
                     [&](NamespaceInfo const& info) { return info.mounts == std::vector<std::string>{path}; });
    return found == listing.namespaces.end() ? NamespaceInfo{} : *found;
  };
  int const status = test::privileged_expectations([&] {
    NamespaceId const id = bind();
    ChildProcess const same_again{{.unshare = mnt}, [] { ::pause(); }};
    for (CloneFlags const types : {CloneFlags::all(), CloneFlags{uts}}) {
      NamespaceInfo const info = bound(list_namespaces(types));
      EXPECT(info.id == id && info.id.id == id.id);
      EXPECT(info.processes + info.threads + info.descriptors == 0);
      EXPECT(info.owner == Namespace::current(user).id());
    }
  });
  CHECK(status == 0);
  NEEDS_USER_NAMESPACES;
  ChildProcess const elsewhere = resident({}, [&] {
    if (!test::become_privileged()) ::_exit(1);
    (void)bind();
  });
  NamespaceInfo const info = bound(list_namespaces());
  CHECK(info.id.type == uts);
  CHECK(info.owner == namespaces_of(elsewhere.pid())[user]);
}

TEST_CASE("a namespace is listed and found that is mounted where a file system does not answer any more") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  SKIP_UNLESS(::access("/dev/fuse", R_OK | W_OK) == 0, "needs /dev/fuse");
  test::TemporaryDirectory const directory;
  std::string const path = directory / "mounted";
  test::Shared<std::atomic<int>> asked;
  test::Shared<std::atomic<bool>> answers;
  *answers = true;
  int const status = test::privileged_expectations([&] {
    int const fuse = test::mount_fuse(directory.path());
    EXPECT(fuse >= 0);
    ChildProcess const server{{}, [&] { test::serve_fuse(fuse, *answers, *asked); }};
    ::close(fuse);
    NamespaceId const id = [&] {
      Namespace const fresh = Namespace::create(uts);
      std::string const link = "/proc/self/fd/" + std::to_string(fresh.fd());
      EXPECT(::mount(link.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0);
      return fresh.id();
    }();
    *answers = false;
    NamespaceListing const listing = list_namespaces();
    EXPECT(std::any_of(listing.namespaces.begin(), listing.namespaces.end(), [&](NamespaceInfo const& info) {
      return info.id.inode == id.inode && info.mounts == std::vector<std::string>{path};
    }));
    try {
      EXPECT(cloister::find_namespace_by_inode(id.inode).id() == id);
    } catch (Error const& error) {
      EXPECT(error.code().value() == ENOENT);
    }
  });
  CHECK(status == 0);
}

TEST_CASE("the namespace into which a process will bear its children is listed before there are any") {
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(namespaces_of(::getpid()).contains(NamespaceType::time), "the kernel has no time namespaces");
  ChildProcess const child = resident({}, [] {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0) ::_exit(1);
  });
  NamespaceListing const listing = list_namespaces();
  NamespaceId const owner = namespaces_of(child.pid())[user];
  auto const found = std::find_if(listing.namespaces.begin(), listing.namespaces.end(), [&](NamespaceInfo const& info) {
    return info.id.type == NamespaceType::time && info.owner == owner;
  });
  REQUIRE(found != listing.namespaces.end());
  CHECK(found->children_links == 1);
  CHECK(found->processes + found->threads + found->descriptors == 0);
  CHECK(test::detail::link_target("/proc/" + std::to_string(child.pid()) + "/ns/time_for_children") ==
        to_string(found->id));
}

TEST_CASE("a pid namespace counts its processes, and those outside whose children are born into it") {
  NEEDS_USER_NAMESPACES;
  ChildProcess const child = resident({.unshare = user | pid}, [] {
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
    if (::fork() == 0)
      for (;;) ::pause();
  });
  NamespaceListing const listing = list_namespaces();
  NamespaceId const outer = namespaces_of(child.pid())[pid];
  auto const found = std::find_if(listing.namespaces.begin(), listing.namespaces.end(),
                                  [&](NamespaceInfo const& info) { return info.parent == outer; });
  REQUIRE(found != listing.namespaces.end());
  CHECK(found->processes == 1);
  CHECK(found->children_links == 1);
  CHECK(entry(listing, outer).processes == 1);
}

TEST_CASE("a namespace is listed that only a thread is in, whether its process's main thread lives or not") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  for (bool const main_thread_ends : {false, true}) {
    CAPTURE(main_thread_ends);
    int const status = test::privileged_expectations([&] {
      int ready[2];
      EXPECT(::pipe(ready) == 0);
      if (namespaces_of(::getpid()).contains(NamespaceType::time)) EXPECT(::unshare(CLONE_NEWTIME) == 0);
      pid_t const process = ::fork();
      if (process == 0) {
        std::thread([&] {
          if (::unshare(CLONE_NEWUTS) != 0 || ::write(ready[1], "", 1) != 1) ::_exit(1);
          for (;;) ::pause();
        }).detach();
        if (main_thread_ends) ::syscall(SYS_exit, 0);  // pthread_exit would unwind, and be caught
        for (;;) ::pause();
      }
      char byte;
      EXPECT(::read(ready[0], &byte, 1) == 1);
      std::string const stat = "/proc/" + std::to_string(process) + "/stat";
      if (main_thread_ends) EXPECT(test::wait_until([&] { return test::contains(test::read_file(stat), ") Z "); }));
      auto const here = namespaces_of(::getpid());
      NamespaceListing const listing = list_namespaces();
      auto const found =
          std::find_if(listing.namespaces.begin(), listing.namespaces.end(), [&](NamespaceInfo const& info) {
            return info.id.type == uts && info.owner == here[user] && info.processes == 0 && info.threads == 1;
          });
      EXPECT(found != listing.namespaces.end());
      // Those of ours that it is in with one thread or the other; the user namespace of a user is the test's own.
      EXPECT(entry(listing, here[net]).processes == (main_thread_ends ? 1u : 2u));
      EXPECT(entry(listing, here[net]).threads == (main_thread_ends ? 1u : 0u));
      EXPECT(entry(listing, here[pid]).threads == 0);
      // In the time namespace, which is that of our children, the process is and we are not.
      if (here.contains(NamespaceType::time)) {
        NamespaceInfo const born_into = entry(listing, Namespace::for_children(NamespaceType::time).id());
        EXPECT(born_into.processes == (main_thread_ends ? 0u : 1u));
        EXPECT(born_into.threads == (main_thread_ends ? 1u : 0u));
        EXPECT(born_into.children_links == 1);
      }
      ::kill(process, SIGKILL);
      EXPECT(::waitpid(process, nullptr, 0) == process);
    });
    CHECK(status == 0);
  }
}

TEST_CASE("a zombie is still in its user and pid namespaces, and in no others") {
  NEEDS_USER_NAMESPACES;
  ChildProcess child = resident(user | pid | uts);
  auto const there = namespaces_of(child.pid());
  child.kill(SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOWAIT) == 0);
  NamespaceListing const listing = list_namespaces();
  for (NamespaceType const type : user | pid) {
    CHECK(entry(listing, there[type]).processes == 1);
    CHECK(entry(listing, there[type]).first_pid == child.pid());
    CHECK(entry(listing, there[type]).command != "");
  }
  CHECK(entry(listing, there[uts]).processes == 0);
}

// --- What cannot be seen

TEST_CASE("a process that may not be looked at is counted, and its namespaces are not listed") {
  SKIP_UNLESS(test::is_root(), "needs another user, which root can become");
  ChildProcess const child = resident(CloneFlags{uts});
  auto const there = namespaces_of(child.pid());
  CHECK(is_listed(list_namespaces(), there[uts]));
  std::size_t const before = list_namespaces().unreadable_processes;
  int const status = test::unprivileged_expectations([&] {
    NamespaceListing const listing = list_namespaces();
    EXPECT(listing.unreadable_processes > before);
    EXPECT(!is_listed(listing, there[uts]));
    EXPECT(listing.namespaces.size() >= namespaces_of(::getpid()).types().size());
    EXPECT(entry(listing, namespaces_of(::getpid())[uts]).uid == 65534u);
    EXPECT(!listing.hidden_processes);
  });
  CHECK(status == 0);
}

TEST_CASE("descriptors that may not be looked at are counted, where the links may") {
  SKIP_UNLESS(test::is_root(), "needs another user's process, which root can start");
  int const status = test::expectations([&] {
    Namespace held = Namespace::create(uts);
    NamespaceId const id = held.id();
    pid_t const other = ::fork();
    if (other == 0) {
      if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
      ::prctl(PR_SET_DUMPABLE, 1);
      for (;;) ::pause();
    }
    EXPECT(test::wait_until([&] {
      struct stat facts {};
      return ::stat(("/proc/" + std::to_string(other) + "/fd").c_str(), &facts) == 0 && facts.st_uid == 65534;
    }));
    held = Namespace::current(uts);
    NamespaceListing const before = list_namespaces();
    EXPECT(entry(before, id).descriptors == 1);
    // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, but not CAP_SYS_PTRACE.
    cloister::detail::kernel::capability_header header{cloister::detail::kernel::capability_version_3, 0};
    cloister::detail::kernel::capability_data data[2] = {};
    EXPECT(cloister::detail::sys::capget(&header, data) == 0);
    data[0].effective &= ~6u;
    EXPECT(cloister::detail::sys::capset(&header, data) == 0);
    NamespaceListing const after = list_namespaces();
    EXPECT(after.unreadable_descriptor_tables > before.unreadable_descriptor_tables);
    EXPECT(!is_listed(after, id));
    ::kill(other, SIGKILL);
    ::waitpid(other, nullptr, 0);
  });
  CHECK(status == 0);
}

TEST_CASE("an mnt namespace without a process or a thread does not show its mounts, and is counted") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  int const status = test::privileged_expectations([] {
    Namespace const held = Namespace::create(mnt);
    for (CloneFlags const types : {CloneFlags::all(), CloneFlags{net}}) {
      NamespaceListing const listing = list_namespaces(types);
      EXPECT(listing.unreadable_mount_tables >= 1);
      EXPECT(is_listed(listing, held.id()) == types.contains(mnt));
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a /proc that shows the processes of others only by name, or not at all, is said to be one") {
  SKIP_UNLESS(test::is_root(), "needs a second user in a pid namespace");
  int const status = test::privileged_expectations([] {
    EXPECT(::unshare(CLONE_NEWPID) == 0);
    EXPECT(test::in_fork([] {
             EXPECT(::mount("proc", "/proc", "proc", 0, "hidepid=1") == 0);
             NamespaceListing const of_root = list_namespaces();
             EXPECT(!of_root.hidden_processes && of_root.unreadable_processes == 0);
             EXPECT(test::unprivileged_expectations([] {
                      NamespaceListing const listing = list_namespaces();
                      EXPECT(!listing.hidden_processes && listing.unreadable_processes == 1);
                    }) == 0);
             EXPECT(::mount("none", "/proc", nullptr, MS_REMOUNT, "hidepid=2") == 0);
             EXPECT(test::unprivileged_expectations([] {
                      NamespaceListing const listing = list_namespaces();
                      EXPECT(listing.hidden_processes && listing.unreadable_processes == 0);
                      EXPECT(entry(listing, namespaces_of(::getpid())[pid]).processes == 1);
                    }) == 0);
             return test::unmet == 0;
           }) == 0);
  });
  CHECK(status == 0);
}

TEST_CASE("a /proc of another pid namespace is refused, for its numbers are not the caller's, and so is none") {
  SKIP_UNLESS(test::can_be_privileged(), "neither root nor allowed a user namespace");
  test::TemporaryDirectory const directory;
  int const status = test::privileged_expectations([&] {
    EXPECT(::unshare(CLONE_NEWPID) == 0);
    EXPECT(test::in_fork([] {
             return test::fails_with(ENOENT, "open", [] { (void)list_namespaces(); },
                                     {"/proc", "this /proc is another pid namespace's"});
           }) == 0);
    EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
    EXPECT(test::fails_with(ENOENT, "open", [] { (void)list_namespaces(); }, {"/proc is not mounted"}));
  });
  CHECK(status == 0);
}

// --- Many, and none left

TEST_CASE("of many processes none is counted twice or left out, with a second thread and without") {
  NEEDS_USER_NAMESPACES;
  std::vector<ChildProcess<void()>> crowds;
  for (int processes = 10; processes < 22; ++processes) crowds.push_back(crowd(user | uts, processes));
  auto const as_made = [&] {
    NamespaceListing const listing = list_namespaces();
    for (std::size_t i = 0; i < crowds.size(); ++i)
      for (NamespaceType const type : user | pid | uts) {
        NamespaceInfo const info = entry(listing, namespaces_of(crowds[i].pid())[type]);
        if (!EXPECT(info.processes == 10 + i && info.first_pid == crowds[i].pid() && info.owner)) return false;
      }
    return true;
  };
  CHECK(as_made());
  int const status = test::expectations([&] {
    test::refuse({{SYS_clone3, EAGAIN}, {SYS_clone, EAGAIN}});
    bool no_thread = false;
    try {
      std::thread([] {}).join();
    } catch (std::system_error const&) {
      no_thread = true;
    }
    EXPECT(no_thread && as_made());
  });
  CHECK(status == 0);
  CHECK(test::in_fork([] {
          while (::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) {
          }
          for (int fd = 20; fd < 24; ++fd) {  // some are to be had, but not enough
            if (test::caught<Error>([] { (void)list_namespaces(); }).code().value() != EMFILE) return false;
            ::close(fd);
          }
          return true;
        }) == 0);
}

TEST_CASE("processes that begin and end meanwhile do no harm") {
  NEEDS_USER_NAMESPACES;
  ChildProcess const settled = crowd(user | uts, 100);
  ChildProcess const busy = resident({.unshare = user | pid, .init = cloister::Init::reaper}, [] {
    for (int i = 0; i < 4; ++i)
      if (::fork() == 0)
        for (;;) {
          pid_t const brief = ::fork();
          if (brief == 0) ::_exit(::unshare(CLONE_NEWUTS));
          ::waitpid(brief, nullptr, 0);
        }
  });
  NamespaceId const id = namespaces_of(settled.pid())[uts];
  for (int i = 0; i < 10; ++i) CHECK(entry(list_namespaces(), id).processes == 100);
}

TEST_CASE("what a process calls itself does not reach the terminal as it is") {
  ChildProcess const child{{}, cloister::Command{"/bin/sh", "-c", "kill -STOP $$ # \x1b[31m\n\x7f end"}};
  NamespaceListing const listing = list_namespaces(uts);
  CHECK(listing.namespaces.size() >= 1);
  NEEDS_USER_NAMESPACES;
  ChildProcess const apart{{.unshare = user}, cloister::Command{"/bin/sh", "-c", "kill -STOP $$ # \x1b[31m\n\x7f end"}};
  CHECK(entry(apart.namespace_of(user).id()).command == "/bin/sh -c kill -STOP $$ # ?[31m?? end");
}

// --- lsns

TEST_CASE("of dozens of namespaces lsns says the same") {
  test::Unchanged const unchanged;
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(::access("/usr/bin/lsns", X_OK) == 0, "no lsns to compare with");
  std::vector<ChildProcess<void()>> crowds;
  std::set<std::string> ours;
  for (int processes = 1; processes <= 6; ++processes) {
    crowds.push_back(crowd(CloneFlags::all(), processes));
    for (NamespaceType const type : namespaces_of(::getpid()).types())
      ours.insert(std::to_string(namespaces_of(crowds.back().pid())[type].inode));
  }
  REQUIRE(ours.size() >= 42);

  // Others come and go meanwhile.
  std::set<std::string> here, there;
  for (NamespaceInfo const& info : list_namespaces().namespaces)
    if (std::string const number = std::to_string(info.id.inode); ours.count(number) == 1)
      here.insert(number + " " + to_string(info.id.type) + " " + std::to_string(info.processes) + " " +
                  std::to_string(info.first_pid));
  cloister::Command const lsns{"/usr/bin/lsns", "--noheadings", "--raw", "--output", "NS,TYPE,NPROCS,PID"};
  std::istringstream lines(cloister::run({}, lsns).out);
  for (std::string line; std::getline(lines, line);)
    if (ours.count(line.substr(0, line.find(' '))) == 1) there.insert(line);
  CHECK(here == there);
  CHECK(here.size() == ours.size());
}

// --- The tree

TEST_CASE("a tree shows each namespace below its parent, and those whose parent is not listed at the top") {
  auto const user_namespace = [](std::uint64_t inode, std::optional<std::uint64_t> parent, std::size_t processes) {
    NamespaceInfo info;
    info.id = {user, 4, inode, 0};
    if (parent) info.parent = NamespaceId{user, 4, *parent, 0};
    info.processes = processes;
    if (processes > 0) {
      info.first_pid = static_cast<pid_t>(inode + 100);
      info.command = "sleep 1";
    }
    return info;
  };
  NamespaceListing listing;
  listing.namespaces = {user_namespace(5, 3, 1), user_namespace(1, std::nullopt, 7),
                        user_namespace(2, 1, 0), user_namespace(3, 1, 2),
                        user_namespace(4, 2, 1), user_namespace(9, 8, 1)};
  NamespaceInfo other;
  other.id = {pid, 4, 1, 0};
  listing.namespaces.push_back(other);
  CHECK(format_tree(listing, user) ==
        "user:[1]  7 processes, first 101: sleep 1\n"
        "├─ user:[2]  no process\n"
        "│  └─ user:[4]  1 process, 104: sleep 1\n"
        "└─ user:[3]  2 processes, first 103: sleep 1\n"
        "   └─ user:[5]  1 process, 105: sleep 1\n"
        "user:[9]  1 process, 109: sleep 1\n");
  CHECK(format_tree(listing, pid) == "pid:[1]  no process\n");
  CHECK(format_tree({}, user) == "");
  CHECK_THROWS_WITH_AS((void)format_tree(listing, net),
                       "cloister: format_tree: net namespaces have no parents: only user and pid are trees",
                       std::invalid_argument);
}
