#include <fcntl.h>
#include <sys/syscall.h>

#include <atomic>
#include <cloister/enter.hpp>
#include <cloister/hostname.hpp>
#include <memory>
#include <thread>

#include "privileged.hpp"
#include "refusal.hpp"

using cloister::CloneFlags, cloister::Namespace, cloister::NamespaceType, cloister::ScopedEnter,
    cloister::ScopedUnshare;
using cloister::enter, cloister::hostname, cloister::set_hostname, cloister::within;
using namespace cloister::flags;
using namespace test;

namespace {

// A uts namespace with that host name.
Namespace host(std::string_view name) {
  Namespace made = Namespace::create(uts);
  within(made, [&] { set_hostname(name); });
  return made;
}

// As privileged_expectations(), with a host name to come back to.
template <class Body>
int expectations_at_home(Body&& body) {
  return privileged_expectations([&] {
    set_hostname("home");
    body();
  });
}

struct Ended {
  int signal;
  std::string said;
};

// How a forked child ends in which the body runs, and what it writes to stderr.
template <class Body>
Ended end_of(Body&& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
  int const status = expectations([&] {
    ::dup2(ends[1], 2);
    ::signal(SIGABRT, SIG_DFL);
    EXPECT(become_privileged());
    body();
  });
  ::close(ends[1]);
  Ended ended{WIFSIGNALED(status) ? WTERMSIG(status) : 0, {}};
  char part[1024];
  for (ssize_t size; (size = ::read(ends[0], part, sizeof part)) > 0;)
    ended.said.append(part, static_cast<std::size_t>(size));
  ::close(ends[0]);
  return ended;
}

struct Unusual : std::exception {
  explicit Unusual(int n) : number(n) {}
  char const* what() const noexcept override { return "unusual"; }
  int number;
};

}  // namespace

// --- within

TEST_CASE("a call within a namespace sees that one, on a thread of its own, and the caller stays where it is") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue");
          Unchanged const unchanged;
          pid_t const caller = ::gettid();
          pid_t callee = caller;
          EXPECT(within(blue, [&] {
                   callee = ::gettid();
                   return hostname();
                 }) == "blue");
          EXPECT(callee != caller);
          EXPECT(hostname() == "home");
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("several namespaces are entered at once, given as a list or a vector, and none is the same as a plain call") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          std::vector<Namespace> const places{host("blue"), Namespace::create(net), Namespace::create(ipc),
                                              Namespace::create(cgroup), Namespace::create(mnt)};
          auto const all_here = [&] {
            for (Namespace const& place : places)
              if (Namespace::current(place.type()) != place) return false;
            return true;
          };
          EXPECT(within(places, all_here));
          EXPECT(within({places[0], places[1], places[2], places[3], places[4]}, all_here));
          EXPECT(within({places[0]}, [] { return hostname(); }) == "blue");
          EXPECT(!all_here());
          EXPECT(within({}, [] { return hostname(); }) == "home");
          EXPECT(within(std::vector<Namespace>{}, [] { return hostname(); }) == "home");
        }) == 0);
}

TEST_CASE("mnt may be entered: the caller keeps its mounts and its working directory") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          EXPECT(::chdir("/proc") == 0);
          Namespace const place = Namespace::create(mnt);
          auto const shows = [&] { return contains(read_file("/proc/thread-self/mountinfo"), directory.path()); };
          within(place, [&] {
            EXPECT(::mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0);
            EXPECT(::chdir(directory.path().c_str()) == 0);
            EXPECT(shows());
          });
          EXPECT(within(place, shows));
          EXPECT(!shows());
          char name[64] = {};
          EXPECT(::getcwd(name, sizeof name) != nullptr && std::string(name) == "/proc");
        }) == 0);
}

TEST_CASE("any result comes back: nothing, a value, a value that only moves, a reference of either kind") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const place = Namespace::create(uts);
          static_assert(std::is_void_v<decltype(within(place, [] {}))>);
          static_assert(std::is_same_v<decltype(within(place, [] { return 1; })), int>);
          EXPECT(*within(place, [] { return std::make_unique<int>(7); }) == 7);
          int number = 1;
          static_assert(std::is_same_v<decltype(within(place, [&]() -> int& { return number; })), int&>);
          EXPECT(&within(place, [&]() -> int& { return number; }) == &number);
          EXPECT(&within(place, [&]() -> int const& { return number; }) == &number);
          std::string text = "moved";
          std::string const taken = within(place, [&]() -> std::string&& { return std::move(text); });
          EXPECT(taken == "moved");
          EXPECT(within(place, []() -> std::string const { return "const"; }) == "const");
          EXPECT(within(place, [] { return std::vector<bool>{true}; })[0]);
        }) == 0);
}

TEST_CASE("the callable is used where it stands: moved from only if it is a temporary, called as what it is") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          Namespace const place = Namespace::create(uts);
          auto counter = [calls = 0]() mutable { return ++calls; };
          EXPECT(within(place, counter) == 1);
          EXPECT(within(place, counter) == 2);
          struct OnlyOnce {
            std::unique_ptr<int> held = std::make_unique<int>(3);
            int operator()() && { return *held; }
          };
          EXPECT(within(place, OnlyOnce{}) == 3);
          EXPECT(within(
                     place, +[] { return 4; }) == 4);
        }) == 0);
}

TEST_CASE("what the callable throws comes through as the very object, whatever its type") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const place = Namespace::create(uts);
          Unchanged const unchanged;
          void const* thrown = nullptr;
          bool came_through = false;
          try {
            within(place, [&]() -> int {
              try {
                throw Unusual(42);
              } catch (Unusual const& here) {
                thrown = &here;
                throw;
              }
            });
          } catch (Unusual const& there) {
            came_through = there.number == 42 && &there == thrown;
          }
          EXPECT(came_through);
          bool number = false;
          try {
            within(place, [] { throw 5; });
          } catch (int five) {
            number = five == 5;
          }
          EXPECT(number);
          EXPECT(hostname() == "home");
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("calls nest, and go on from many threads at the same time") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue"), red = host("red");
          EXPECT(within(blue, [&] { return within(red, [] { return hostname(); }) + hostname(); }) == "redblue");
          std::vector<std::thread> threads;
          for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
              for (int i = 0; i < 100; ++i)
                EXPECT(within(i % 2 == 0 ? blue : red, [] { return hostname(); }).size() >= 3);
            });
          for (std::thread& thread : threads) thread.join();
          EXPECT(hostname() == "home");
        }) == 0);
}

TEST_CASE("user, pid and time are refused with the reason, before there is a thread, and so is a type given twice") {
  Unchanged const unchanged;
  std::vector<NamespaceType> refused{user, pid};
  if (cloister::detail::kernel_has(NamespaceType::time)) refused.push_back(NamespaceType::time);
  for (NamespaceType const type : refused) {
    Namespace const place = Namespace::current(type);
    bool called = false;
    std::string const text = text_of<std::invalid_argument>([&] { within(place, [&] { called = true; }); });
    CHECK(text.starts_with(std::string("cloister: within: ") + to_string(type)));
    CHECK(contains(text, "start a child"));
    CHECK(!called);
    CHECK(contains(text_of<std::invalid_argument>([&] { ScopedEnter const none{place}; }), "ScopedEnter"));
    CHECK_THROWS_AS((void)ScopedUnshare{type}, std::invalid_argument);
    CHECK_THROWS_AS((void)ScopedUnshare(uts | type), std::invalid_argument);
  }
  Namespace const mine = Namespace::current(uts);
  CHECK(contains(text_of<std::invalid_argument>([&] { within({mine, mine}, [] {}); }), "two namespaces of type uts"));
  CHECK(contains(text_of<std::invalid_argument>([&] {
                   ScopedEnter const none{mine, mine};
                 }),
                 "two namespaces of type uts"));
}

TEST_CASE("an empty handle is entered by nobody") {
  Namespace place = Namespace::current(uts);
  Namespace const taken = std::move(place);
  CHECK_THROWS_AS(within(place, [] {}), std::logic_error);
  CHECK_THROWS_AS((void)ScopedEnter{place}, std::logic_error);
}

TEST_CASE("without the privilege it is an error that names what is missing, and the callable is not called") {
  CHECK(unprivileged_expectations([] {
          Namespace const place = Namespace::current(uts);
          bool called = false;
          EXPECT(fails_with(EPERM, "setns", [&] { within(place, [&] { called = true; }); },
                            {"setns uts:[", "CAP_SYS_ADMIN"}));
          EXPECT(!called);
          EXPECT(fails_with(EPERM, "setns", [&] { ScopedEnter inside{place}; }, {"uts", "no way back"}));
          EXPECT(fails_with(EPERM, "setns", [] { ScopedUnshare alone{ipc}; }, {"ipc", "no way back"}));
        }) == 0);
}

TEST_CASE("where no thread can be had, that is the error") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          EXPECT(::unshare(CLONE_NEWPID) == 0);
          EXPECT(
              fails_with(EINVAL, "pthread_create", [] { within(Namespace::current(uts), [] {}); }, {"unshare of pid"}));
        }) == 0);
}

TEST_CASE("a call may start threads and children, which are inside, also when it has returned") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue");
          std::atomic<bool> returned{false};
          std::thread later = within(blue, [&] {
            std::thread([] { EXPECT(hostname() == "blue"); }).join();
            EXPECT(cloister::run({}, [] { return hostname(); }) == "blue");
            EXPECT(cloister::run({}, cloister::Command{"uname", "-n"}).out == "blue\n");
            return std::thread([&] {
              while (!returned) std::this_thread::yield();
              EXPECT(hostname() == "blue");
            });
          });
          returned = true;
          later.join();
        }) == 0);
}

TEST_CASE("a namespace of strangers is refused by its name, with who would have to grant it") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          Namespace const theirs = Namespace::current(uts);
          EXPECT(become_root_of_a_user_namespace());
          std::vector<std::string> const words{"setns " + to_string(theirs.id()), "Operation not permitted",
                                               "also in the user namespace that owns the target"};
          EXPECT(fails_with(
              EPERM, "setns", [&] { within(theirs, [] {}); }, words));
          EXPECT(fails_with(
              EPERM, "setns", [&] { enter(theirs); }, words));
        }) == 0);
}

// --- those of a process

TEST_CASE("the namespaces of a process are entered through its pidfd, several at once, also before Linux 5.8") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  for (bool const one_by_one : {false, true}) {
    CAPTURE(one_by_one);
    CHECK(
        expectations_at_home([&] {
          cloister::ChildProcess const room{{.unshare = uts | net | ipc | mnt, .hostname = "room"}, [] { ::pause(); }};
          CloneFlags const types = uts | net | mnt;
          auto const all_there = [&] {
            for (NamespaceType const type : types)
              if (Namespace::current(type) != room.namespace_of(type)) return false;
            return Namespace::current(ipc) != room.namespace_of(ipc);
          };
          if (one_by_one) refuse({{SYS_setns, EINVAL, static_cast<std::uint32_t>(room.pidfd())}});
          Unchanged const unchanged;
          EXPECT(within(room.pidfd(), types, all_there));
          EXPECT(within(room.pidfd(), uts, [] { return hostname(); }) == "room");
          EXPECT(within(room.pidfd(), {}, [] { return hostname(); }) == "home");
          {
            ScopedEnter const inside{room.pidfd(), uts | net};
            EXPECT(hostname() == "room" && Namespace::current(net) == room.namespace_of(net));
          }
          EXPECT(hostname() == "home");
          std::thread([&] {
            enter(room.pidfd(), types);
            EXPECT(all_there());
          }).join();
          EXPECT(unchanged.changes() == "");
        }) == 0);
  }
}

TEST_CASE("a process that has ended, what is no pidfd, and a type that no thread can enter are refused") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          cloister::ChildProcess gone{{}, [] {}};
          cloister::FileDescriptor const pidfd = cloister::FileDescriptor::duplicate(gone.pidfd());
          gone.wait();
          EXPECT(fails_with(ESRCH, "setns", [&] { within(pidfd.get(), uts | net, [] {}); },
                            {"net|uts of pidfd " + std::to_string(pidfd.get())}));
          EXPECT(fails_with(EBADF, "setns", [] { within(-1, uts, [] {}); }));
          cloister::FileDescriptor const null = cloister::FileDescriptor::adopt(::open("/dev/null", O_RDONLY));
          EXPECT(fails_with(EINVAL, "open", [&] { ScopedEnter const inside(null.get(), uts); }));
          EXPECT(throws<std::invalid_argument>([&] { within(pidfd.get(), uts | user, [] {}); }, {"within: user"}));
          EXPECT(throws<std::invalid_argument>([&] { enter(pidfd.get(), pid); }, {"enter: pid"}));
          EXPECT(
              throws<std::invalid_argument>([&] { ScopedEnter const inside(pidfd.get(), mnt); }, {"ScopedEnter: mnt"}));
        }) == 0);
  CHECK(unprivileged_expectations([] {
          cloister::ChildProcess const mine{{}, [] { ::pause(); }};
          EXPECT(
              fails_with(EPERM, "setns", [&] { within(mine.pidfd(), uts, [] {}); }, {"uts of pidfd", "CAP_SYS_ADMIN"}));
        }) == 0);
}

// --- to stay

TEST_CASE("a thread that enters stays inside with what it starts, and the other threads stay where they are") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(expectations_at_home([&] {
          Namespace const blue = host("blue"), files = Namespace::create(mnt), wires = Namespace::create(net);
          Unchanged const unchanged;
          std::thread([&] {
            enter(blue);
            EXPECT(hostname() == "blue");
            enter({files, wires});
            EXPECT(::mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0);
            enter(std::vector<Namespace>{wires});
            std::thread([&] {
              EXPECT(hostname() == "blue" && Namespace::current(mnt) == files && Namespace::current(net) == wires);
            }).join();
            EXPECT(in_fork([] { return hostname() == "blue"; }) == 0);
            EXPECT(within(Namespace::of(::getpid(), uts), [] { return hostname(); }) == "home");
          }).join();
          EXPECT(hostname() == "home");
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("what a thread cannot enter to stay is refused with the reason, and so is an empty handle") {
  Unchanged const unchanged;
  for (NamespaceType const type : {user, pid})
    CHECK(contains(text_of<std::invalid_argument>([&] { enter(Namespace::current(type)); }),
                   std::string("cloister: enter: ") + to_string(type)));
  Namespace mine = Namespace::current(uts);
  CHECK(contains(text_of<std::invalid_argument>([&] { enter({mine, mine}); }), "enter: two namespaces of type uts"));
  Namespace const taken = std::move(mine);
  CHECK_THROWS_AS(enter(mine), std::logic_error);
}

// --- scopes

TEST_CASE("a scope is inside until its end, also when an exception ends it") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue");
          Unchanged const unchanged;
          {
            ScopedEnter const inside{blue};
            EXPECT(hostname() == "blue");
            EXPECT(Namespace::current(uts) == blue);
          }
          EXPECT(hostname() == "home");
          bool caught_it = false;
          try {
            ScopedEnter const inside(blue);
            throw Unusual(1);
          } catch (Unusual const&) {
            caught_it = hostname() == "home";
          }
          EXPECT(caught_it);
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a scope takes several namespaces, as a list or a vector") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue"), wires = Namespace::create(net);
          Unchanged const unchanged;
          {
            ScopedEnter const inside{blue, wires};
            EXPECT(hostname() == "blue" && Namespace::current(net) == wires);
          }
          {
            ScopedEnter const inside(std::vector<Namespace>{blue, wires});
            EXPECT(hostname() == "blue" && Namespace::current(net) == wires);
          }
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("an unshared scope is in new namespaces of each type named, and comes back from them") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Unchanged const unchanged;
          for (CloneFlags const types : {CloneFlags(uts), CloneFlags(ipc), CloneFlags(net), CloneFlags(cgroup),
                                         uts | ipc | net | cgroup, CloneFlags()}) {
            about = to_string(types);
            std::vector<Namespace> before;
            for (NamespaceType const type : uts | ipc | net | cgroup) before.push_back(Namespace::current(type));
            {
              ScopedUnshare const alone{types};
              for (Namespace const& one : before)
                EXPECT((Namespace::current(one.type()) != one) == types.contains(one.type()));
              if (types.contains(uts)) set_hostname("alone");
            }
            for (Namespace const& one : before) EXPECT(Namespace::current(one.type()) == one);
          }
          EXPECT(hostname() == "home");
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a thread or a child started in a scope is inside, and other threads of the host are not") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          std::atomic<int> turn{0};
          std::string seen;
          std::thread other([&] {
            while (turn != 1) std::this_thread::yield();
            seen = hostname();
            turn = 2;
          });
          {
            ScopedUnshare const alone{uts};
            set_hostname("alone");
            turn = 1;
            while (turn != 2) std::this_thread::yield();
            std::thread([] { EXPECT(hostname() == "alone"); }).join();
            EXPECT(in_fork([] { return hostname() == "alone"; }) == 0);
          }
          other.join();
          EXPECT(seen == "home");
        }) == 0);
}

TEST_CASE("scopes nest") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue"), red = host("red");
          Unchanged const unchanged;
          {
            ScopedEnter const outer{blue};
            {
              ScopedEnter const inner{red};
              ScopedUnshare const alone{uts | net};
              EXPECT(hostname() == "red");
              EXPECT(within(blue, [] { return hostname(); }) == "blue");
            }
            EXPECT(hostname() == "blue");
          }
          EXPECT(hostname() == "home");
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a scope that fails half-way has gone back when it throws") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          Namespace const blue = host("blue");
          Namespace const broken = Namespace::create(net);
          // Somebody has put another file in the place of the descriptor.
          int const null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
          EXPECT(::dup3(null, broken.fd(), O_CLOEXEC) == broken.fd());
          ::close(null);
          EXPECT(fails_with(EINVAL, "setns", [&] { ScopedEnter const none{blue, broken}; }, {"setns net"}));
          EXPECT(hostname() == "home");
          EXPECT(fails_with(EINVAL, "setns", [&] { within({blue, broken}, [] {}); }, {"setns net"}));
        }) == 0);
}

TEST_CASE("where there would be no way back a scope does not begin, and nothing has changed") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(::unshare(CLONE_NEWUSER) == 0);  // capable inside, but the uts namespace belongs to the old one
          Namespace const made = Namespace::create(uts);
          Unchanged const unchanged;
          EXPECT(fails_with(EPERM, "setns", [] { ScopedUnshare alone{uts}; },
                            {"no way back", "the user namespace that owns uts:["}));
          EXPECT(fails_with(EPERM, "setns", [&] { ScopedEnter inside{made}; }, {"no way back"}));
          EXPECT(within(made, [&] { return Namespace::current(uts) == made; }));
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("mnt is refused for a scope, with the way that is open: within") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  for (CloneFlags const types : {CloneFlags(mnt), uts | mnt})
    CHECK(contains(text_of<std::invalid_argument>([&] { ScopedUnshare const none{types}; }), "use within"));
  CHECK(contains(text_of<std::invalid_argument>([] { ScopedEnter const none{Namespace::current(mnt)}; }),
                 "working directory"));
}

TEST_CASE("a limit that is used up is named") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(become_root_of_a_user_namespace());
          EXPECT(::unshare(CLONE_NEWUTS | CLONE_NEWIPC) == 0);
          EXPECT(write_file("/proc/sys/user/max_ipc_namespaces", "0"));
          set_hostname("home");
          EXPECT(fails_with(ENOSPC, "unshare", [] { ScopedUnshare const none{uts | ipc}; },
                            {"user.max_ipc_namespaces is 0"}));
          EXPECT(hostname() == "home");
        }) == 0);
}

TEST_CASE("a copy of the process that leaves the scope comes back as well") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(expectations_at_home([] {
          int status = 0;
          pid_t child = -1;
          bool in_child = false;
          {
            ScopedUnshare const alone{uts};
            set_hostname("alone");
            child = ::fork();
            in_child = child == 0;
          }
          if (in_child) ::_exit(hostname() == "home" ? 0 : 1);
          EXPECT(::waitpid(child, &status, 0) == child && status == 0);
          EXPECT(hostname() == "home");
        }) == 0);
}

TEST_CASE("a scope that cannot come back ends the program, and says so") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  Ended const ended = end_of([] {
    ScopedUnshare const alone{uts};
    drop_capabilities();
  });
  CHECK(ended.signal == SIGABRT);
  CHECK(contains(ended.said,
                 "cloister: a ScopedUnshare cannot go back into its uts namespace: Operation not permitted\n"));
}

TEST_CASE("a scope that ends before one that began later, or on another thread, ends the program, and says so") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  Ended const out_of_order = end_of([] {
    auto first = std::make_unique<ScopedUnshare>(uts);
    auto second = std::make_unique<ScopedUnshare>(uts);
    first.reset();
  });
  CHECK(out_of_order.signal == SIGABRT);
  CHECK(contains(out_of_order.said, "before a scope that began later"));

  Ended const elsewhere = end_of([] {
    auto scope = std::make_unique<ScopedEnter>(Namespace::create(uts));
    std::thread([&] { scope.reset(); }).join();
  });
  CHECK(elsewhere.signal == SIGABRT);
  CHECK(contains(elsewhere.said, "cloister: a ScopedEnter ends on another thread than it began on"));
}

TEST_CASE("a scope belongs to its place in the program: it is neither copied nor moved") {
  static_assert(!std::is_move_constructible_v<ScopedEnter> && !std::is_move_assignable_v<ScopedEnter>);
  static_assert(!std::is_move_constructible_v<ScopedUnshare> && !std::is_move_assignable_v<ScopedUnshare>);
  static_assert(!std::is_convertible_v<Namespace, ScopedEnter> && !std::is_convertible_v<CloneFlags, ScopedUnshare>);
  static_assert(!std::is_default_constructible_v<ScopedUnshare>);
}
