#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <cloister/translate.hpp>
#include <sstream>
#include <thread>

#include "privileged.hpp"
#include "refusal.hpp"

using cloister::Namespace, cloister::NamespaceType;
using cloister::translate, cloister::translate_gid, cloister::translate_uid;
using namespace cloister::flags;
using namespace test;
namespace kernel = cloister::detail::kernel;

namespace {

// The numbers after a key of /proc/[pid]/status.
std::vector<int> status_numbers(pid_t process, std::string const& key) {
  std::istringstream lines(read_file("/proc/" + std::to_string(process) + "/status"));
  std::vector<int> numbers;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream rest(line.substr(key.size() + 1));
    for (int number; rest >> number;) numbers.push_back(number);
  }
  return numbers;
}

// A process that does `body`, which gets the write end of a pipe. It is killed with this, and before, all that it says
// can be read.
class Process {
 public:
  template <class Body>
  explicit Process(Body&& body) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    pid_ = ::fork();
    if (pid_ == 0) {
      body(ends[1]);
      ::_exit(0);
    }
    ::close(ends[1]);
    said_ = ends[0];
  }
  Process(Process const&) = delete;
  Process& operator=(Process const&) = delete;
  ~Process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(said_);
  }
  pid_t pid() const { return pid_; }
  int hear() const {
    int number = -1;
    EXPECT(::read(said_, &number, sizeof number) == sizeof number);
    return number;
  }

 private:
  pid_t pid_ = -1;
  int said_ = -1;
};

bool say(int where, int number) { return ::write(where, &number, sizeof number) == sizeof number; }
[[noreturn]] void wait_for_the_end() {
  for (;;) ::pause();
}

// Pid namespaces in one another, three with ours: the init of the middle one has made the inner one, whose init is the
// only process there.
struct Nest {
  Namespace here = Namespace::current(pid);
  Process middle_init{[this](int heard) {
    for (int i = 0; i < 5; ++i) (void)in_fork([] { return true; });  // so that numbers differ
    EXPECT(::unshare(CLONE_NEWPID) == 0);
    pid_t const inner_init = ::fork();
    if (inner_init == 0) wait_for_the_end();
    say(heard, inner_init);
    say(heard, seen_from_within());
    wait_for_the_end();
  }};
  pid_t inner_init_in_middle = middle_init.hear();
  bool right_from_within = middle_init.hear() == 0;
  Namespace middle = Namespace::of(middle_init.pid(), pid);

  // How many expectations are not met.
  int seen_from_within() const {
    unmet = 0;
    Namespace const mine = Namespace::current(pid);
    EXPECT(translate(1, mine, here).has_value());
    EXPECT(translate(*translate(1, mine, here), here, mine) == 1);
    EXPECT(
        fails_with(ESRCH, "translate", [&] { (void)translate(1, here, mine); }, {"1 of pid:[", "pid namespace sees"}));
    return unmet;
  }
};

// Calls it with a nest, in a process whose children are born into a new pid namespace.
template <class Body>
int in_a_nest(Body&& body) {
  return expectations([&] {
    EXPECT((is_root() || become_root_of_a_user_namespace()) && ::unshare(CLONE_NEWPID) == 0);
    Nest const nest;
    body(nest);
  });
}

// --- user namespaces

struct Maps {
  std::string uid, gid;
};

// In one call: the kernel takes no second one.
bool write_map(std::string const& path, std::string const& text) {
  int const fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool const written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return ::close(fd) == 0 && written;
}

// For a child, which goes on in a new user namespace once its parent has written the maps.
bool unshare_user() { return ::unshare(CLONE_NEWUSER) == 0 && ::raise(SIGSTOP) == 0; }
bool write_maps(pid_t child, Maps const& maps) {
  std::string const directory = "/proc/" + std::to_string(child);
  return ::waitpid(child, nullptr, WUNTRACED) == child && write_map(directory + "/setgroups", "deny") &&
         write_map(directory + "/gid_map", maps.gid) && write_map(directory + "/uid_map", maps.uid) &&
         ::kill(child, SIGCONT) == 0;
}

// A process in a new user namespace, with these maps.
struct Tenant {
  explicit Tenant(Maps const& maps)
      : process([](int) {
          EXPECT(unshare_user());
          wait_for_the_end();
        }) {
    EXPECT(write_maps(process.pid(), maps));
    place = Namespace::of(process.pid(), user);
  }
  Process process;
  Namespace place = Namespace::current(user);  // until it has another one
};

// Two user namespaces in one another; in the inner one a process has become a user and a group of it.
struct Household {
  Household(Maps const& outer_maps, Maps const& inner_maps, unsigned uid, unsigned gid)
      : head([&](int heard) {
          EXPECT(unshare_user());
          // Whose own ids are not mapped may make no other user namespace; and the files in /proc of who has changed
          // its ids are root's.
          EXPECT(::setresgid(0, 0, 0) == 0 && ::setresuid(0, 0, 0) == 0 && ::prctl(PR_SET_DUMPABLE, 1) == 0);
          pid_t const child = ::fork();
          if (child == 0) {
            EXPECT(unshare_user());
            EXPECT(::setresgid(gid, gid, gid) == 0 && ::setresuid(uid, uid, uid) == 0);
            say(heard, ::getpid());
            wait_for_the_end();
          }
          EXPECT(write_maps(child, inner_maps));
          wait_for_the_end();
        }) {
    EXPECT(write_maps(head.pid(), outer_maps));
    outer = Namespace::of(head.pid(), user);
    member = head.hear();
  }
  ~Household() { ::kill(member, SIGKILL); }

  Process head;
  Namespace here = Namespace::current(user);
  Namespace outer = here;  // until it is made
  pid_t member = -1;
};

}  // namespace

// --- processes

TEST_CASE("a pid is translated outward, inward and across, as the processes see it themselves") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  for (bool const by_proc : {false, true}) {
    CAPTURE(by_proc);
    CHECK(in_a_nest([&](Nest const& nest) {
            EXPECT(nest.right_from_within);
            if (by_proc) refuse({request(kernel::ns_get_pid_from_pidns)});  // before Linux 6.11
            Namespace const &here = nest.here, &middle = nest.middle;
            pid_t const middle_init = nest.middle_init.pid(), inner_init_in_middle = nest.inner_init_in_middle;
            EXPECT(translate(1, middle, here) == middle_init);
            EXPECT(translate(middle_init, here, middle) == 1);
            EXPECT(translate(::getpid(), here, here) == ::getpid());

            std::optional<pid_t> const inner_init = translate(inner_init_in_middle, middle, here);
            if (!EXPECT(inner_init.has_value())) return;
            EXPECT((status_numbers(*inner_init, "NSpid") == std::vector<int>{*inner_init, inner_init_in_middle, 1}));
            Namespace const inner = Namespace::of(*inner_init, pid);
            Unchanged const unchanged;
            EXPECT(inner.parent() == middle && middle.parent() == here);
            EXPECT(translate(1, inner, here) == *inner_init);
            EXPECT(translate(1, inner, middle) == inner_init_in_middle);
            EXPECT(translate(inner_init_in_middle, middle, inner) == 1);
            EXPECT(translate(*inner_init, here, inner) == 1);

            EXPECT(translate(::getpid(), here, middle) == std::nullopt);
            EXPECT(translate(middle_init, here, inner) == std::nullopt);
            EXPECT(translate(1, middle, inner) == std::nullopt);
            for (pid_t const nobody : {0, -1, 2147483647, inner_init_in_middle + 1})
              EXPECT(fails_with(ESRCH, "translate", [&] { (void)translate(nobody, middle, here); },
                                {std::to_string(nobody) + " of pid:[" + std::to_string(middle.id().inode)}));
            EXPECT(unchanged.changes() == "");
          }) == 0);
  }
}

TEST_CASE("what is no namespace of the type, and an empty handle, are refused before anything is asked") {
  Namespace const pids = Namespace::current(pid);
  Namespace users = Namespace::current(user);
  CHECK_THROWS_WITH_AS((void)translate(1, users, pids),
                       ("cloister: translate: " + to_string(users.id()) + " is no pid namespace").c_str(),
                       std::invalid_argument);
  CHECK_THROWS_AS((void)translate(1, pids, users), std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)translate_uid(1, pids, users),
                       ("cloister: translate_uid: " + to_string(pids.id()) + " is no user namespace").c_str(),
                       std::invalid_argument);
  CHECK_THROWS_AS((void)translate_gid(1, users, pids), std::invalid_argument);
  Namespace const taken = std::move(users);
  CHECK_THROWS_AS((void)translate_uid(1, users, taken), std::logic_error);
}

// --- users and groups

TEST_CASE(
    "a user and a group are translated through the maps, as the kernel does, and to nobody where they are not mapped") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, to map other ids than its own");
  CHECK(expectations([] {
          Household const house{
              {"0 100000 1000\n5000 7 1\n", "0 200000 10\n"}, {"3 5000 1\n10 20 5\n", "4 9 1\n"}, 12, 4};
          Tenant const neighbour{{"1 100000 10\n", "1 100000 10\n"}};
          Namespace const &here = house.here, &outer = house.outer, &beside = neighbour.place;
          Namespace const inner = Namespace::of(house.member, user);
          EXPECT(inner.parent() == outer && outer.parent() == here);
          Unchanged const unchanged;

          EXPECT(status_numbers(house.member, "Uid") == std::vector<int>(4, 100022));
          EXPECT(status_numbers(house.member, "Gid") == std::vector<int>(4, 200009));
          EXPECT(translate_uid(12, inner, here) == 100022u && translate_uid(100022, here, inner) == 12u);
          EXPECT(translate_gid(4, inner, here) == 200009u && translate_gid(200009, here, inner) == 4u);
          EXPECT(translate_uid(12, inner, outer) == 22u && translate_uid(22, outer, inner) == 12u);
          EXPECT(translate_uid(3, inner, here) == 7u && translate_uid(7, here, outer) == 5000u);
          EXPECT(translate_uid(12, inner, inner) == 12u && translate_uid(0, here, here) == 0u);
          EXPECT(translate_uid(5, outer, beside) == 6u && translate_uid(1, beside, outer) == 0u);
          EXPECT(translate_uid(999, outer, here) == 100999u);

          std::optional<uid_t> const nobody;
          EXPECT(translate_uid(1000, outer, here) == nobody && translate_uid(101000, here, outer) == nobody);
          EXPECT(translate_uid(15, inner, inner) == nobody && translate_uid(9, inner, here) == nobody);
          EXPECT(translate_uid(0, outer, inner) == nobody && translate_uid(0, here, outer) == nobody);
          EXPECT(translate_uid(500, outer, beside) == nobody);
          EXPECT(translate_gid(12, inner, here) == nobody);
          for (Namespace const& place : {here, outer, inner})
            EXPECT(translate_uid(static_cast<uid_t>(-1), place, here) == nobody);
          EXPECT(translate_uid(0, Namespace::create(user), here) == nobody);
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("a map of as many lines as the kernel takes is read to its end") {
  SKIP_UNLESS(is_root() && user_namespaces(), "needs root, to map other ids than its own");
  CHECK(expectations([] {
          std::string lines;
          for (int i = 0; i < 340; ++i) lines += std::to_string(2 * i) + " " + std::to_string(2 * (339 - i)) + " 1\n";
          Tenant const tenant{{lines, lines}};
          Namespace const here = Namespace::current(user);
          for (uid_t const i : {0u, 200u, 339u}) {
            EXPECT(translate_uid(2 * i, tenant.place, here) == 2 * (339 - i));
            EXPECT(translate_uid(2 * i, here, tenant.place) == 2 * (339 - i));
            EXPECT(translate_uid(2 * i + 1, tenant.place, here) == std::nullopt);
          }
        }) == 0);
}

TEST_CASE("without privileges one translates through the namespaces that one has made") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  CHECK(unprivileged_expectations([] {
          std::string const uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
          ::prctl(PR_SET_DUMPABLE, 1);  // the files in /proc of who has changed its ids are root's
          Household const house{{"0 " + uid + " 1", "0 " + gid + " 1"}, {"7 0 1", "8 0 1"}, 7, 8};
          Namespace const inner = Namespace::of(house.member, user);
          Unchanged const unchanged;
          std::thread([&] {
            EXPECT(translate_uid(7, inner, house.here) == ::geteuid());
            EXPECT(translate_gid(::getegid(), house.here, inner) == 8u);
            EXPECT(translate_uid(7, inner, house.outer) == 0u);
            EXPECT(translate_uid(0, inner, house.here) == std::nullopt);
          }).join();
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("what lies outside of the caller's user namespace, or is another user's, is an error that says so") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  CHECK(expectations([] {
          Namespace const outside = Namespace::current(user);
          EXPECT(become_root_of_a_user_namespace());
          Namespace const mine = Namespace::current(user);
          EXPECT(translate_uid(0, mine, mine) == 0u);
          EXPECT(fails_with(EPERM, "NS_GET_PARENT", [&] { (void)translate_uid(0, outside, mine); }, {"outside"}));
          EXPECT(fails_with(EPERM, "NS_GET_PARENT", [&] { (void)translate_uid(0, mine, outside); }, {"outside"}));
        }) == 0);
  if (!is_root()) return;
  CHECK(expectations([] {
          Namespace const roots = Namespace::create(user), here = Namespace::current(user);
          EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
          EXPECT(fails_with(EPERM, "setns", [&] { (void)translate_uid(0, roots, here); },
                            {to_string(roots.id()), "CAP_SYS_ADMIN"}));
        }) == 0);
}

TEST_CASE("a host stays as dumpable as it was, and one that is not is none the less answered") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (int const dumpable : {0, 1}) {
    CAPTURE(dumpable);
    CHECK(expectations([&] {
            Namespace const fresh = Namespace::create(user), here = Namespace::current(user);
            EXPECT(::prctl(PR_SET_DUMPABLE, dumpable) == 0);
            EXPECT(translate_uid(0, fresh, here) == std::nullopt);
            EXPECT(::prctl(PR_GET_DUMPABLE) == dumpable);
            EXPECT(in_fork([&] { return ::prctl(PR_GET_DUMPABLE) == dumpable; }) == 0);
          }) == 0);
  }
}

TEST_CASE("without a helper, and without /proc, no map can be read, and that is the error") {
  SKIP_UNLESS(can_be_privileged() && user_namespaces(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  CHECK(privileged_expectations([&] {
          Namespace const fresh = Namespace::create(user), here = Namespace::current(user);
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          for (Namespace const& place : {fresh, here})
            EXPECT(fails_with(ENOENT, "open", [&] { (void)translate_uid(0, place, place); },
                              {"/proc/self/uid_map", "/proc is not mounted"}));
          refuse({{cloister::detail::sys::number::clone3, EPERM}, {SYS_clone, EPERM}});
          EXPECT(fails_with(EPERM, "clone", [&] { (void)translate_uid(0, fresh, here); }));
        }) == 0);
}

// --- The helper

namespace {

namespace sys = cloister::detail::sys;

CLOISTER_DETAIL_CHILD_SIDE void stop_twice(void* went_on) noexcept {
  for (int times = 0; times < 2; ++times) {
    sys::kill(sys::getpid(), SIGSTOP);
    ++*static_cast<int*>(went_on);
  }
  sys::exit(0);
}
CLOISTER_DETAIL_CHILD_SIDE void stop_always(void* went_on) noexcept {
  for (;;) {
    sys::kill(sys::getpid(), SIGSTOP);
    ++*static_cast<int*>(went_on);
  }
}

}  // namespace

TEST_CASE("a helper that others stop is let go on, and one that they stop time and again is killed") {
  int const status = expectations([] {
    Unchanged const unchanged;
    int went_on = 0;
    EXPECT(cloister::detail::run_in_helper(0, stop_twice, &went_on) == 0);
    EXPECT(went_on == 2);
    went_on = 0;
    EXPECT(cloister::detail::run_in_helper(0, stop_always, &went_on) == 0);
    EXPECT(went_on > 5);
    EXPECT(unchanged.changes() == "");
  });
  CHECK(status == 0);
}

TEST_CASE("no map is read while another thread holds what hides the helper, and that is the error") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  int const status = expectations([] {
    Namespace const fresh = Namespace::create(user), here = Namespace::current(user);
    std::atomic<bool> has{false}, stop{false};
    std::thread holder([&] {
      cloister::detail::Dumpable dumpable;
      has = dumpable.lend();
      while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    });
    while (!has) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    EXPECT(fails_with(EBUSY, "prctl PR_SET_DUMPABLE", [&] { (void)translate_uid(0, fresh, here); }, {"another thread"}));
    stop = true;
    holder.join();
    EXPECT(translate_uid(0, fresh, here) == std::nullopt);
  });
  CHECK(status == 0);
}
