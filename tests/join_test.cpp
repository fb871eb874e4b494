// Children that go into namespaces which exist: Isolation::join.
#include <fcntl.h>
#include <grp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <cstring>
#include <ctime>
#include <set>

#include "fuse.hpp"
#include "privileged.hpp"
#include "refusal.hpp"

using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace test;
namespace ns = cloister::flags;
namespace number = cloister::detail::sys::number;
using cloister::Child, cloister::ChildDied, cloister::ChildProcess, cloister::ChildThrew, cloister::CloneFlags,
    cloister::Command, cloister::Error, cloister::IdMap, cloister::Init, cloister::Isolation, cloister::Mount,
    cloister::Namespace, cloister::NamespaceId, cloister::NamespaceType, cloister::Root, cloister::run;

#define NEEDS_USER_NAMESPACES SKIP_UNLESS(user_namespaces(), "user namespaces are not to be had")

namespace {

bool has(NamespaceType type) { return ::access(("/proc/self/ns/"s + to_string(type)).c_str(), F_OK) == 0; }
CloneFlags every_type() {
  CloneFlags types;
  for (NamespaceType const type : cloister::all_namespace_types)
    if (has(type)) types |= type;
  return types;
}

// What a child of both kinds sees, from both threads; a program has to say it as the callable returns it.
template <class Callable>
void check_seen(Isolation const& isolation, Callable const& callable, Command const& command,
                std::string const& expected) {
  CAPTURE(to_string(isolation));
  for (Where const where : everywhere) {
    CAPTURE(name_of(where));
    CHECK(on(where, [&] { return run(isolation, callable); }) == expected);
    CHECK(on(where, [&] { return run(isolation, command).out; }) == expected + "\n");
  }
}
void check_is_in(Isolation const& isolation, NamespaceId const& place) {
  std::string const link = "/proc/self/ns/"s + to_string(place.type);
  check_seen(
      isolation, [link] { return test::detail::link_target(link); }, Command{"readlink", link}, to_string(place));
}

std::string own_name() {
  char name[65] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

// "0 0", where user and group are what they are in every sense, and there are no other groups.
std::string own_ids() {
  std::uint32_t uids[3], gids[3];
  ::getresuid(&uids[0], &uids[1], &uids[2]);
  ::getresgid(&gids[0], &gids[1], &gids[2]);
  bool const same = uids[0] == uids[1] && uids[1] == uids[2] && gids[0] == gids[1] && gids[1] == gids[2];
  return std::to_string(uids[0]) + ' ' + std::to_string(gids[0]) + (same ? "" : ", in part") +
         (is_root() && ::getgroups(0, nullptr) > 0 ? " and groups" : "");
}
std::string line_of(std::string const& file, std::string const& key) {
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(key, 0) == 0) return line.substr(key.size());
  return {};
}

std::int64_t uptime() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec;
}

struct Pipe {
  cloister::FileDescriptor read, write;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    read = cloister::FileDescriptor::adopt(ends[0]);
    write = cloister::FileDescriptor::adopt(ends[1]);
  }
};

}  // namespace

// --- Where the child is

TEST_CASE(
    "a child goes into a namespace of each type, from either thread, together with the user namespace that owns it") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = every_type()}};
  Unchanged const unchanged;
  for (NamespaceType const type : every_type()) {
    Namespace const place = room[type];
    check_is_in({.join = type == ns::user ? std::vector{place} : std::vector{place, room[ns::user]}}, place.id());
  }
}

TEST_CASE("root goes into each type alone as well, whoever owns it") {
  SKIP_UNLESS(is_root(), "needs root");
  Room const room{{.unshare = every_type() - (user_namespaces() ? CloneFlags{} : ns::user)}};
  Room const host{{.unshare = ns::pid}};
  Unchanged const unchanged;
  for (NamespaceType const type : every_type() - ns::user) {
    check_is_in({.join = {room[type]}}, room[type].id());
    Namespace const of_the_host = type == ns::pid ? host[type] : Namespace::create(type);
    check_is_in({.join = {of_the_host}}, of_the_host.id());
  }
}

TEST_CASE("a child goes into all of them at once, in any order") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = every_type()}};
  std::vector<Namespace> places = room.all();
  std::vector<Namespace> const backwards(places.rbegin(), places.rend());
  for (std::vector<Namespace> const& join : {places, backwards})
    for (Namespace const& each : places) check_is_in({.join = join}, each.id());
}

TEST_CASE(
    "what is the caller's own is entered with its privileges, what is the user namespace's with those that this "
    "gives") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, and user namespaces");
  Room const room{{.unshare = ns::user | ns::pid}};
  Namespace const uts = Namespace::create(ns::uts), net = Namespace::create(ns::net), mnt = Namespace::create(ns::mnt);
  for (std::vector<Namespace> const& join : {std::vector{uts, room[ns::user], net, mnt, room[ns::pid]},
                                             std::vector{room[ns::pid], room[ns::user], mnt, net, uts}})
    for (Namespace const& each : join) check_is_in({.join = join}, each.id());
}

TEST_CASE("a description keeps alive what it names") {
  SKIP_UNLESS(is_root(), "needs root");
  Isolation const kept{.join = {Namespace::create(ns::uts)}};
  Isolation const copy = kept;
  CHECK(copy == kept);
  CHECK(run(copy, [] { return Namespace::current(ns::uts).id(); }) == kept.join[0].id());
}

// --- Who it is there

TEST_CASE("in a user namespace the child is root where that is mapped, without groups, and with all privileges") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::uts}};
  Isolation const guest{.join = {room[ns::user], room[ns::uts]}};
  check_seen(guest, own_ids, Command{"sh", "-c", "echo $(id -u) $(id -g)"}, "0 0");
  CHECK(run(guest, [] { return ::sethostname("guest", 5) == 0; }));
  CHECK(run(guest, Command{"hostname"}).out == "guest\n");
  CHECK(own_name() != "guest");
  auto const capabilities = [] { return line_of("/proc/self/status", "CapEff:"); };
  CHECK(run(guest, capabilities) != "\t0000000000000000");
  check_seen(guest, capabilities, Command{"sh", "-c", "sed -n s/^CapEff://p /proc/self/status"},
             run(guest, capabilities));
  if (!is_root()) return;  // who may write no maps but its own has to keep its groups
  std::string const groups = line_of("/proc/self/status", "Groups:");
  int const status = expectations([&] {
    gid_t const some[] = {4, 24};
    EXPECT(::setgroups(2, some) == 0);
    EXPECT(run(guest, [] { return ::getgroups(0, nullptr); }) == 0);
    ChildProcess const child{guest, Command{"sleep", "1000"}};
    std::string const file = "/proc/" + std::to_string(child.pid()) + "/status";
    EXPECT(line_of(file, "Uid:") == "\t100000\t100000\t100000\t100000");
    EXPECT(line_of(file, "Groups:") == "\t ");
  });
  CHECK(status == 0);
}

TEST_CASE("where 0 is not mapped the child stays who the caller is") {
  NEEDS_USER_NAMESPACES;
  std::uint32_t const uid = ::geteuid(), gid = ::getegid();
  Room const room{{.unshare = ns::user, .ids = IdMap::ranges({{7, uid}}, {{8, gid}})}};
  check_seen({.join = {room[ns::user]}}, own_ids, Command{"sh", "-c", "echo $(id -u) $(id -g)"}, "7 8");
}

TEST_CASE("in a pid namespace the child has a number of its own, and is no init") {
  NEEDS_USER_NAMESPACES;
  Room room{{.unshare = ns::user | ns::pid}};
  Isolation const guest{.join = {room[ns::user], room[ns::pid]}};
  for (Where const where : everywhere) {
    CHECK(on(where, [&] { return run(guest, [] { return ::getpid(); }); }) > 1);
    CHECK(on(where, [&] { return run(guest, [] { return ::getppid(); }); }) == 0);
    CHECK(std::stoi(on(where, [&] { return run(guest, Command{"sh", "-c", "echo $$"}); }).out) > 1);
  }
  ChildProcess child{guest, Command{"sleep", "1000"}};
  std::string const numbers = line_of("/proc/" + std::to_string(child.pid()) + "/status", "NSpid:");
  CHECK(numbers.rfind("\t" + std::to_string(child.pid()) + "\t", 0) == 0);
  CHECK(child.stop(10s).signal() == SIGTERM);  // to which an init is deaf
  // With the init the namespace ends, and all that is in it.
  ChildProcess other{guest, [] { ::pause(); }};
  room.child().kill(SIGKILL);
  CHECK(other.wait().signal() == SIGKILL);
}

TEST_CASE("in a time namespace the child has its clocks") {
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(has(ns::time), "the kernel has no time namespaces");
  constexpr auto ahead = 24h * 10000;
  Room const room{{.unshare = ns::user | ns::time, .clock = {.boottime = ahead}}};
  Isolation const guest{.join = {room[ns::user], room[ns::time]}};
  std::int64_t const then = uptime() + std::chrono::seconds(ahead).count();
  for (Where const where : everywhere) {
    CHECK(on(where, [&] { return run(guest, uptime); }) >= then);
    CHECK(std::stoll(on(where, [&] { return run(guest, Command{"cat", "/proc/uptime"}); }).out) >= then);
  }
}

TEST_CASE("in a network namespace a callable has no socket of the caller's network, and its result arrives") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::net}};
  NamespaceId const place = room[ns::net].id();
  Isolation guest{.join = {room[ns::user], room[ns::net]}};
  guest.descriptors = cloister::Descriptors::none();
  std::string const found = run(guest, [place] {
    std::string all;
    for (int fd = 3; fd < 64; ++fd)
      if (auto net = cloister::FileDescriptor::adopt(::ioctl(fd, SIOCGSKNS)); net)
        all += Namespace::adopt(std::move(net)).id() == place ? "own " : "other ";
    return all + std::string(100'000, '.');
  });
  CHECK(found == "own " + std::string(100'000, '.'));
}

// --- Its files

TEST_CASE("in other mounts the child starts in their root, and a program is one that is there") {
  NEEDS_USER_NAMESPACES;
  std::vector<Mount> mounts{Mount::directory("/srv"),
                            Mount::file("/opt/tool", "#!/bin/sh\necho of the room\n").executable()};
  for (char const* path : {"/usr", "/bin", "/lib", "/lib64"})
    mounts.push_back(Mount::bind(path, path).read_only().optional());
  // Without a /proc: there is nothing in it that the start could use.
  Room const room{{.unshare = ns::user | ns::mnt | ns::pid, .root = Root::empty(), .mounts = mounts}};
  Isolation const guest{.join = {room[ns::user], room[ns::mnt], room[ns::pid]}};
  Unchanged const unchanged;
  check_seen(
      guest,
      [] {
        char path[4096] = {};
        return std::string(::getcwd(path, sizeof path) != nullptr ? path : "nowhere");
      },
      Command{"pwd"}, "/");
  CHECK(run(guest, Command{"pwd"}.cwd("/srv")).out == "/srv\n");
  CHECK(run(guest, Command{"tool"}.env("PATH", "/opt")).out == "of the room\n");
  CHECK(run(guest, Command{"./tool"}.cwd("/opt")).out == "of the room\n");
  Error const absent = caught<Error>([&] { (void)run(guest, Command{"/etc/passwd"}); });
  CHECK(absent.code().value() == ENOENT);
  CHECK(absent.step() == "execve");
  CHECK(caught<Error>([&] { (void)run(guest, Command{"pwd"}.cwd("/home")); }).step() == "chdir");
  // Its standard streams are the host's /dev/null, which the room has not got.
  Isolation bare = guest;
  bare.descriptors = cloister::Descriptors::none();
  CHECK(run(bare, [] {
    struct stat facts {};
    return ::fstat(1, &facts) == 0 && S_ISCHR(facts.st_mode) && facts.st_rdev == makedev(1, 3);
  }));
  CHECK(run(guest, Command{"tool"}.env("PATH", "/opt").stdio({.err = cloister::Redirect::null()})).out ==
        "of the room\n");
}

TEST_CASE("no way in other mounts leads back by a link of a proc") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::mnt | ns::pid, .mounts = {Mount::proc()}}};
  Isolation const guest{.join = {room[ns::user], room[ns::mnt], room[ns::pid]}};
  for (Command const& command : {Command{"/proc/self/exe"}, Command{"true"}.cwd("/proc/self/cwd")})
    CHECK(caught<Error>([&] { (void)run(guest, command); }).code().value() == ELOOP);
}

// --- New namespaces besides

TEST_CASE("in a user namespace that it joins a child gets new namespaces and sets them up") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user}};
  for (Init const init : {Init::none, Init::reaper}) {
    Isolation const guest{.unshare = ns::pid | ns::mnt | ns::uts | ns::net,
                          .join = {room[ns::user]},
                          .hostname = "guest",
                          .mounts = {Mount::proc(), Mount::tmpfs("/tmp", 1 << 20)},
                          .privileges = {.no_new_privs = true, .capabilities = cloister::Capabilities::none()},
                          .session = cloister::Session::fresh,
                          .init = init};
    check_seen(
        guest,
        [] {
          return own_name() + ' ' + std::to_string(::getpid()) + ' ' + test::detail::link_target("/proc/self") +
                 line_of("/proc/self/status", "CapEff:");
        },
        Command{"sh", "-c",
                "echo $(hostname) $$ $(readlink /proc/self/task/../../$$/../self >/dev/null; echo $$)\"$(sed -n "
                "s/^CapEff://p /proc/self/status)\""},
        init == Init::reaper ? "guest 2 2\t0000000000000000" : "guest 1 1\t0000000000000000");
  }
}

TEST_CASE("a proc that is mounted by a child in a pid namespace shows who is there") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid}, [] {
                    ::prctl(PR_SET_NAME, "the init");
                    for (;;) ::pause();
                  }};
  Isolation const guest{.unshare = ns::mnt,
                        .join = {room[ns::user], room[ns::pid]},
                        .mounts = {Mount::proc(), Mount::bind("/etc", "/mnt")}};
  std::string const name = "/proc/" + std::to_string(room.child().pid()) + "/comm";
  REQUIRE(wait_until([&] { return read_file(name) == "the init\n"; }));
  check_seen(
      guest, [] { return line_of("/proc/1/comm", ""); }, Command{"cat", "/proc/1/comm"}, "the init");
  CHECK(run(guest, Command{"ls", "/mnt/passwd"}).out == "/mnt/passwd\n");
}

TEST_CASE("so it has beside a pid namespace that is joined alone") {
  SKIP_UNLESS(can_be_privileged() && has(ns::time), "neither root nor allowed a user namespace, or no time namespaces");
  int const status = privileged_expectations([] {
    ChildProcess const init{{.unshare = ns::pid}, [] { ::pause(); }};
    std::int64_t const before = uptime();
    Isolation const guest{
        .unshare = ns::time, .join = {init.namespace_of(ns::pid)}, .clock = {.boottime = std::chrono::hours{1}}};
    for (Where const where : everywhere) {
      EXPECT(on(where, [&] { return run(guest, uptime); }) >= before + 3600);
      EXPECT(std::stoll(on(where, [&] { return run(guest, Command{"cat", "/proc/uptime"}).out; })) >= before + 3600);
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a new time namespace in a user namespace that is joined has the clocks that are asked for") {
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(has(ns::time), "the kernel has no time namespaces");
  constexpr auto ahead = 24h * 20000;
  Room const room{{.unshare = ns::user | ns::pid | ns::mnt}};
  std::int64_t const then = uptime() + std::chrono::seconds(ahead).count();
  // With mnt the caller's /proc is out of sight, with pid a middle makes them.
  for (std::vector<Namespace> const& join :
       {std::vector{room[ns::user]}, std::vector{room[ns::user], room[ns::mnt]}, room.all()}) {
    Isolation const guest{.unshare = ns::time, .join = join, .clock = {.boottime = ahead}};
    CAPTURE(to_string(guest));
    for (Where const where : everywhere) {
      CHECK(on(where, [&] { return run(guest, uptime); }) >= then);
      CHECK(std::stoll(on(where, [&] { return run(guest, Command{"cat", "/proc/uptime"}); }).out) >= then);
    }
  }
}

TEST_CASE("root's child joins what is root's, and then gets a user namespace with the ids that are asked for") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, and user namespaces");
  Room const room{{.unshare = ns::pid | ns::uts | ns::mnt, .hostname = "room"}};
  for (CloneFlags const anew : {CloneFlags{ns::user}, ns::user | ns::time, ns::user | ns::net})
    for (std::vector<Namespace> const& join :
         {std::vector{room[ns::uts]}, std::vector{room[ns::uts], room[ns::pid]}, room.all()}) {
      Isolation const guest{.unshare = anew, .join = join, .ids = IdMap::ranges({{3, 100000, 5}}, {{4, 100000, 5}})};
      check_seen(
          guest, [] { return own_name() + ' ' + own_ids(); }, Command{"sh", "-c", "echo $(hostname) $(id -u) $(id -g)"},
          "room 3 4");
    }
  Isolation const forbidding{.unshare = ns::user, .join = {room[ns::mnt]}, .privileges = {.forbid_nesting = true}};
  CHECK(run(forbidding, [] { return ::unshare(CLONE_NEWUSER) < 0 ? errno : 0; }) == ENOSPC);
}

// --- What comes back

TEST_CASE("results, exceptions and statuses come back from inside") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid | ns::uts | ns::time}};
  Unchanged const unchanged;
  for (Kind const& kind : joining_kinds(room))
    for (Where const where : everywhere) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Isolation const guest = kind.isolation();
      CHECK(on(where, [&] { return answer(kind); }) == 42);
      CHECK(on(where, [&] { return start_exiting(kind, 7); }).wait() == cloister::ExitStatus::exited(7));
      Child waiting = on(where, [&] { return start_waiting(kind); });
      CHECK_FALSE(waiting.wait_for(1ms));
      waiting.kill(SIGKILL);
      CHECK(waiting.wait().signal() == SIGKILL);
      (void)on(where, [&] { return start_waiting(kind); });  // killed and reaped by the end of its handle
      if (kind.program) {
        Error const error = caught<Error>([&] { on(where, [&] { return run(guest, Command{"/nowhere/at/all"}); }); });
        CHECK(error.step() == "execve");
        CHECK(error.in_child());
        auto const output = on(where, [&] { return run(guest, Command{"sleep", "1000"}, {.timeout = 50ms}); });
        CHECK(output.timed_out);
        CHECK(on(where, [&] { return run(guest, Command{"cat"}, {.input = "in and out"}); }).out == "in and out");
      } else {
        CHECK(on(where, [&] { return run(guest, [] { return std::string(1 << 20, 'x'); }); }).size() == 1 << 20);
        auto const throwing = []() -> int { throw std::runtime_error("of the room"); };
        CHECK(contains(text_of<ChildThrew>([&] { on(where, [&] { return run(guest, throwing); }); }), "of the room"));
        CHECK_THROWS_AS((void)on(where,
                                 [&] {
                                   return run(guest,
                                              [] {
                                                ::pause();
                                                return 1;
                                              },
                                              {.timeout = 50ms});
                                 }),
                        cloister::ChildTimedOut);
      }
    }
}

TEST_CASE("a stream that the host has closed is /dev/null, and nothing that the start has opened meanwhile") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid | ns::uts | ns::time}};
  std::vector<Kind> const all = joining_kinds(room);
  int const status = expectations([&] {
    ::close(0);
    for_each_kind_everywhere(all, [](Kind const& kind, Where where) {
      if (!kind.program) return;
      Command const command{"sh", "-c", "test \"$(readlink /proc/self/fd/0)\" = /dev/null"};
      EXPECT(on(where, [&] { return ChildProcess{kind.isolation(), command}; }).wait().success());
    });
  });
  CHECK(status == 0);
}

TEST_CASE("a child that has joined namespaces dies with its parent process, and not with the thread that started it") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid | ns::uts | ns::time}};
  for (Kind const& kind : joining_kinds(room))
    for (Where const where : everywhere) {
      CAPTURE(kind.name);
      CAPTURE(name_of(where));
      Pipe held, started;
      pid_t const host = ::fork();
      REQUIRE(host >= 0);
      if (host == 0) {
        ::alarm(60);
        try {
          Child const child = on(where, [&] { return start_waiting(kind, held.write.get()); });
          (void)!::write(started.write.get(), "+", 1);
          for (;;) ::pause();
        } catch (...) {
        }
        ::_exit(1);
      }
      held.write.reset();
      started.write.reset();
      char byte = 0;
      CHECK(::read(started.read.get(), &byte, 1) == 1);
      pollfd gone{held.read.get(), 0, 0};
      CHECK(::poll(&gone, 1, 20) == 0);  // it lives
      ::kill(host, SIGKILL);
      CHECK(::poll(&gone, 1, 10'000) == 1);
      ::waitpid(host, nullptr, 0);
    }
}

TEST_CASE("threads start children in namespaces and in new ones at the same time") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid | ns::uts | ns::time}};
  std::vector<Kind> all = joining_kinds(room);
  // The files in /proc by which these write their maps are the host's as long as it hides its memory.
  for (Kind const& kind : kinds())
    if (kind.program && kind.flags.contains(ns::user)) all.push_back(kind);
  int const status = expectations([&] {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (std::size_t which = 0; which < 4; ++which)
      threads.emplace_back([&, which] {
        for (std::size_t round = 0; round < 5; ++round)
          for (std::size_t i = 0; i < all.size(); ++i) try {
              if (answer(all[(i + which * all.size() / 4) % all.size()]) != 42) ++wrong;
            } catch (std::exception const& error) {
              ::dprintf(complaints, "%s\n", error.what());
              ++wrong;
            }
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT(wrong == 0);
    EXPECT(::prctl(PR_GET_DUMPABLE) == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("under kernels and filters without the newer calls a child joins all the same") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::pid | ns::uts | ns::time}};
  std::vector<Kind> const all = joining_kinds(room);
  for (std::vector<Refusal> const& refusals :
       {std::vector<Refusal>{{number::clone3, ENOSYS}},
        {{number::clone3, EPERM}},
        {{number::pidfd_open, ENOSYS}},
        {{SYS_memfd_create, ENOSYS}},
        {{number::clone3, ENOSYS}, {number::pidfd_open, ENOSYS}, {number::close_range, ENOSYS}}}) {
    int const status = expectations([&] {
      refuse(refusals);
      for (Kind const& kind : all) {
        about = kind.name + ", without the call " + std::to_string(refusals[0].call);
        Unchanged const unchanged;
        EXPECT(answer(kind) == 42);
        EXPECT(start_exiting(kind, 7).wait() == cloister::ExitStatus::exited(7));
        EXPECT(unchanged.changes() == "");
      }
    });
    CHECK(status == 0);
  }
}

// --- What goes wrong

TEST_CASE("a namespace that the caller may not enter is an Error that names it and the rule") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::uts | ns::mnt}};
  Namespace const user = room[ns::user], uts = room[ns::uts], mnt = room[ns::mnt];
  int const status = expectations([&] {
    // Root becomes another user, to whom the room is a stranger's; for who is another user already it is its own.
    bool const stranger = is_root();
    if (stranger) EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    Unchanged const unchanged;
    auto const refused = [](Namespace const& place, std::vector<std::string> words) {
      words.push_back("setns " + to_string(place.id()) + " (in the child): Operation not permitted");
      Isolation const guest{.join = {place}};
      EXPECT(fails_with(
          EPERM, "setns", [&] { run(guest, [] {}); }, words));
      EXPECT(fails_with(
          EPERM, "setns", [&] { (void)run(guest, Command{"true"}); }, words));
    };
    refused(uts, {"CAP_SYS_ADMIN is needed", "join the user namespace that owns it as well"});
    refused(mnt, {"CAP_SYS_CHROOT"});
    if (stranger) refused(user, {"CAP_SYS_ADMIN is needed in it"});
    EXPECT(unchanged.changes() == "");
  });
  CHECK(status == 0);
}

TEST_CASE("a user namespace that the caller is in, and a pid namespace that is not below, cannot be entered") {
  Error const own = caught<Error>([] { run({.join = {Namespace::current(ns::user)}}, [] {}); });
  CHECK(own.code().value() == EINVAL);
  CHECK(own.step() == "setns");
  CHECK(contains(own.what(), "it is the user namespace that the caller is in"));
  SKIP_UNLESS(is_root(), "the rest needs root");
  Isolation const outside{.join = {Namespace::current(ns::pid)}};
  CHECK(run({.unshare = ns::pid}, [&] {
          std::string texts;
          for (bool const program : {false, true}) try {
              program ? (void)run(outside, Command{"true"}) : run(outside, [] {});
            } catch (Error const& error) {
              texts += contains(error.what(), "neither the caller's pid namespace nor one below it") ? "as said "
                                                                                                     : error.what();
            }
          return texts;
        }) == "as said as said ");
}

TEST_CASE("in a pid namespace whose init has ended nothing begins any more, and the Error names it") {
  NEEDS_USER_NAMESPACES;
  Room room{{.unshare = ns::user | ns::pid}};
  Isolation const guest{.join = room.all()};
  std::string const place = to_string(room[ns::pid].id());
  room.child().kill(SIGKILL);
  room.child().wait();
  Unchanged const unchanged;
  for (Where const where : everywhere)
    for (bool const program : {false, true}) {
      CAPTURE(program);
      Error const error =
          caught<Error>([&] { on(where, [&] { program ? (void)run(guest, Command{"true"}) : run(guest, [] {}); }); });
      CHECK(error.code().value() == ENOMEM);
      CHECK(error.step() == "clone3");
      CHECK(contains(error.what(), "in " + place));
      CHECK(contains(error.what(), "the init of the pid namespace has probably ended"));
    }
}

// --- Those who are there already

namespace {

char volatile secret[] = "of the room";
off_t secret_address() { return static_cast<off_t>(reinterpret_cast<std::uintptr_t>(&secret[0])); }

// What a process of a room has found out about those that have come into it.
struct Found {
  std::atomic<int> newcomers{0}, unborn{0}, programs{0}, secrets{0};
};

// Looks into the process as who has privileges over it can: whose program it is, and into its memory.
void look_into(Found& found, std::string const& directory, std::string const& host) {
  if (test::detail::link_target(directory + "/exe") == host) ++found.programs;
  cloister::FileDescriptor const memory =
      cloister::FileDescriptor::adopt(::open((directory + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  char text[sizeof secret] = {};
  if (memory && ::pread(memory.get(), text, sizeof text, secret_address()) > 0 && std::strcmp(text, "of the host") == 0)
    ++found.secrets;
}

// Waits for newcomers, stops each and looks into it, time and again. Unless it `lets_go`, those that are no programs
// yet are stopped again and again.
[[noreturn]] void lie_in_wait(Found& found, bool lets_go) {
  std::string const host = test::detail::link_target("/proc/self/exe"), name = read_file("/proc/self/comm");
  std::set<int> known;
  for (int pid = 2;; pid = pid < 4000 ? pid + 1 : 2) {
    if (::kill(pid, SIGSTOP) != 0) continue;
    std::string const directory = "/proc/" + std::to_string(pid);
    std::string comm;
    try {
      comm = read_file(directory + "/comm");
    } catch (std::system_error const&) {  // it has ended
    }
    for (int times = 0; times < 3; ++times) look_into(found, directory, host);
    bool const is_new = known.insert(pid).second;
    if (is_new && comm == name) ++found.unborn;
    if (is_new) ++found.newcomers;
    while (!lets_go && comm == name && ::kill(pid, SIGSTOP) == 0) {
      try {
        comm = read_file(directory + "/comm");
      } catch (std::system_error const&) {
        break;
      }
    }
    ::kill(pid, SIGCONT);
  }
}

void make_secret() { std::memcpy(const_cast<char*>(secret), "of the host", sizeof secret); }

}  // namespace

TEST_CASE(
    "those who are in a user and a pid namespace cannot look into a child before it is a program, nor into a "
    "callable") {
  NEEDS_USER_NAMESPACES;
  Shared<Found> found;
  Room const room{{.unshare = ns::user | ns::pid | ns::mnt | ns::uts, .mounts = {Mount::proc()}},
                  [&found] { lie_in_wait(*found, true); }};
  make_secret();
  auto const meet = [&](auto const& start) {
    int const before = found->newcomers;
    Child const child = start();
    CHECK(wait_until([&] { return found->newcomers > before; }));
  };
  for (std::vector<Namespace> const& join : {std::vector{room[ns::user], room[ns::pid]}, room.all()}) {
    Isolation const guest{.join = join};
    found->unborn = 0;
    // Not each is seen before it is its program.
    for (int i = 0; i < 2000 && found->unborn < 5; ++i)
      meet([&] { return ChildProcess{guest, Command{"sleep", "1000"}}; });
    CHECK(found->unborn >= 5);
    for (int i = 0; i < 5; ++i)
      meet([&] {
        return ChildProcess{guest, [] {
                              for (;;) ::pause();
                            }};
      });
  }
  CHECK(found->programs == 0);
  CHECK(found->secrets == 0);
  // Who does not hide is looked into.
  ChildProcess const shown{{.join = room.all()}, [] {
                             ::prctl(PR_SET_DUMPABLE, 1);
                             for (;;) ::pause();
                           }};
  CHECK(wait_until([&] { return found->programs > 0 && found->secrets > 0; }));
}

TEST_CASE("those who stop each newcomer do not stop the host") {
  NEEDS_USER_NAMESPACES;
  Shared<Found> found;
  Room const room{{.unshare = ns::user | ns::pid | ns::mnt, .mounts = {Mount::proc()}},
                  [&found] { lie_in_wait(*found, false); }};
  Isolation const guest{.join = {room[ns::user], room[ns::pid]}};
  // A program whose start takes its time, because it is looked for in many places.
  std::string path;
  for (int i = 0; i < 5000; ++i) path += "/nowhere:";
  Command const absent = Command{"no-such-program"}.env("PATH", path);
  int const status = expectations([&] {
    Unchanged const unchanged;
    for (int i = 0; i < 1000 && found->unborn < 3; ++i) try {
        // Stopped too often, either where it looks for the program, or before.
        EXPECT(run(guest, absent).status.signal() == SIGKILL);
      } catch (ChildDied const& died) {
        EXPECT(died.status().signal() == SIGKILL);
      } catch (Error const& error) {
        EXPECT(error.code().value() == ENOENT);
      }
    for (int i = 0; i < 20; ++i) try {
        ChildProcess const callable{guest, [] {}};
      } catch (ChildDied const& died) {
        EXPECT(died.status().signal() == SIGKILL);
      }
    EXPECT(found->unborn >= 3);
    EXPECT(unchanged.changes() == "");
  });
  CHECK(status == 0);
}

namespace {

// Stops whatever second process of a pid namespace is still a copy of the host, time and again.
[[noreturn]] void stop_second_processes(std::atomic<int>& stopped) {
  std::string const name = read_file("/proc/self/comm");
  for (;;)
    for (std::string const& each : test::detail::names_in("/proc")) try {
        int const pid = std::atoi(each.c_str());
        if (pid < 2 || read_file("/proc/" + each + "/comm") != name) continue;
        std::string const numbers = line_of("/proc/" + each + "/status", "NSpid:");
        if (numbers == "\t" + each + "\t2" && ::kill(pid, SIGSTOP) == 0) ++stopped;
      } catch (std::system_error const&) {  // it has ended
      }
}

}  // namespace

TEST_CASE("nor do those who stop the second process of a reaper") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, whose own processes nobody in the room may stop");
  Shared<std::atomic<int>> stopped;
  Room const room{{.unshare = ns::user}, [&stopped] { stop_second_processes(*stopped); }};
  Isolation const guest{.unshare = ns::pid, .join = {room[ns::user]}, .init = Init::reaper};
  std::string path;
  for (int i = 0; i < 5000; ++i) path += "/nowhere:";
  Command const absent = Command{"no-such-program"}.env("PATH", path);
  int const status = expectations([&] {
    Unchanged const unchanged;
    for (bool const program : {true, false})
      for (int const wanted = *stopped + 3; *stopped < wanted;) try {
          if (program) (void)run(guest, absent);
          ChildProcess const callable{guest, [] {}};
        } catch (ChildDied const& died) {
          EXPECT(died.status().signal() == SIGKILL);
        } catch (Error const& error) {
          EXPECT(error.code().value() == ENOENT);
        }
    EXPECT(unchanged.changes() == "");
  });
  CHECK(status == 0);
}

TEST_CASE("a file system of theirs that does not answer holds up who goes there, and nobody else in the host") {
  NEEDS_USER_NAMESPACES;
  SKIP_UNLESS(::access("/dev/fuse", R_OK | W_OK) == 0, "needs /dev/fuse");
  TemporaryDirectory const directory;
  Shared<std::atomic<int>> asked;
  Shared<std::atomic<bool>> answers;
  // In one with the host's ids, to whom the device belongs.
  Room room{{.unshare = ns::user | ns::mnt, .ids = IdMap::root()}, [&, path = directory.path()] {
              serve_fuse(mount_fuse(path), *answers, *asked);
            }};
  Room const other{{.unshare = ns::user | ns::pid | ns::time}};
  std::vector<Kind> all = joining_kinds(other);
  for (Kind const& kind : kinds()) all.push_back(kind);
  int const status = expectations([&] {
    Isolation const guest{.join = room.all()};
    bool ended_by_error = false;
    std::thread held([&] {
      try {
        (void)run(guest, Command{"no-such-program"}.env("PATH", directory.path()));
      } catch (Error const&) {
        ended_by_error = true;
      }
    });
    EXPECT(wait_until([&] { return *asked > 0; }));
    EXPECT(in_fork([] { return ::prctl(PR_GET_DUMPABLE) == 1; }) == 0);
    for (Kind const& kind : all) {
      about = kind.name;
      EXPECT(answer(kind) == 42);
      EXPECT(start_exiting(kind, 7).wait() == cloister::ExitStatus::exited(7));
    }
    about.clear();
    EXPECT(!ended_by_error);
    ::kill(room.child().pid(), SIGKILL);
    held.join();
    EXPECT(ended_by_error);
    EXPECT(::prctl(PR_GET_DUMPABLE) == 1);
  });
  CHECK(status == 0);
}

TEST_CASE("where a change of ids would show what is hidden, nobody who could look is joined") {
  NEEDS_USER_NAMESPACES;
  Room const room{{.unshare = ns::user | ns::uts}};
  Isolation const guest{.join = room.all()};
  CHECK(in_fork([&] {
          if (!is_root() && !become_root_of_a_user_namespace()) return false;
          TemporaryDirectory const directory;
          std::string const one = directory.path() + "/one";
          if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
          if (!write_file(one, "1\n")) return false;
          if (::mount(one.c_str(), "/proc/sys/fs/suid_dumpable", nullptr, MS_BIND, nullptr) != 0) return false;
          bool told = true;
          for (bool const program : {false, true}) try {
              program ? (void)run(guest, Command{"true"}) : run(guest, [] {});
              told = false;
            } catch (Error const& error) {
              told = told && contains(error.what(), "fs.suid_dumpable") && error.step() == "prctl PR_SET_DUMPABLE";
            }
          return told;
        }) == 0);
}
