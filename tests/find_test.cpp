#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cloister/find.hpp>
#include <thread>

#include "privileged.hpp"
#include "refusal.hpp"

using cloister::find_namespace, cloister::find_namespace_by_id, cloister::find_namespace_by_inode;
using cloister::Namespace, cloister::NamespaceId, cloister::NamespaceType;
using namespace cloister::flags;
using namespace test;

namespace {

// Whether all ways find it, and find that one.
bool is_found(NamespaceId const& id) {
  return same_namespace(find_namespace_by_inode(id.inode).id(), id) && same_namespace(find_namespace(id).id(), id) &&
         (id.id == 0 || same_namespace(find_namespace_by_id(id.id).id(), id));
}
// Not by the inode number, which another one may have got meanwhile. The kernel may end a user namespace a little later
// than its last process.
bool is_gone(NamespaceId const& id) {
  auto const not_found = [&] {
    try {
      (void)find_namespace(id);
      return false;
    } catch (cloister::Error const& error) {
      return error.code().value() == ENOENT;
    }
  };
  return id.id == 0 ||
         (wait_until(not_found) && fails_with(ENOENT, "find namespace", [&] { (void)find_namespace_by_id(id.id); },
                                              {"id " + std::to_string(id.id)}));
}

// A process that does `prepare`, reports it and waits to be killed.
template <class Prepare>
class Other {
 public:
  explicit Other(Prepare prepare) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::system_category(), "pipe2");
    pid_ = ::fork();
    if (pid_ == 0) {
      NamespaceId const id = prepare();
      if (::write(ends[1], &id, sizeof id) == sizeof id)
        for (;;) ::pause();
      ::_exit(1);
    }
    ::close(ends[1]);
    EXPECT(::read(ends[0], &id_, sizeof id_) == sizeof id_);
    ::close(ends[0]);
  }
  Other(Other const&) = delete;
  Other& operator=(Other const&) = delete;
  ~Other() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  NamespaceId const& id() const { return id_; }

 private:
  pid_t pid_;
  NamespaceId id_;
};

}  // namespace

TEST_CASE("the caller's own namespaces are found by the numbers that its links show") {
  Unchanged const unchanged;
  for (NamespaceType const type : cloister::all_namespace_types) {
    if (!cloister::detail::kernel_has(type)) continue;
    CAPTURE(type);
    Namespace const mine = Namespace::current(type);
    CHECK(find_namespace_by_inode(mine.id().inode) == mine);
    CHECK(find_namespace(mine.id()) == mine);
    if (mine.id().id != 0) CHECK(find_namespace_by_id(mine.id().id) == mine);
  }
}

TEST_CASE("a namespace is found where another process, its thread or its children's link shows it, and gone with it") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          NamespaceId id;
          {
            Other const resident([] {
              EXPECT(::unshare(CLONE_NEWIPC) == 0);
              return Namespace::current(ipc).id();
            });
            EXPECT(is_found(id = resident.id()));
          }
          EXPECT(is_gone(id));
          {
            Other const with_thread([] {
              NamespaceId shown;
              std::thread([&] {
                EXPECT(::unshare(CLONE_NEWUTS) == 0);
                shown = Namespace::current(uts).id();
                std::thread([] { ::pause(); }).detach();  // born into it, and this one ends
              }).join();
              return shown;
            });
            EXPECT(is_found(id = with_thread.id()));
          }
          EXPECT(is_gone(id));
          if (!cloister::detail::kernel_has(NamespaceType::time)) return;
          {
            Other const with_link([] {
              EXPECT(::unshare(static_cast<int>(cloister::detail::kernel::clone_newtime)) == 0);
              return Namespace::for_children(NamespaceType::time).id();
            });
            EXPECT(is_found(id = with_link.id()));
          }
          EXPECT(is_gone(id));
        }) == 0);
}

TEST_CASE("a namespace is found by a descriptor, by a mount, and as the parent of another one") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  std::string const path = directory / "a name";
  bool const users = user_namespaces();
  CHECK(privileged_expectations([&] {
          NamespaceId id;
          {
            Namespace const held = Namespace::create(uts);
            EXPECT(is_found(id = held.id()));
            held.pin(path);
          }
          EXPECT(is_found(id));
          Namespace::unpin(path);
          EXPECT(is_gone(id));
          {
            Other const holder([] {
              static Namespace const held = Namespace::create(uts);
              return held.id();
            });
            EXPECT(is_found(id = holder.id()));
          }
          EXPECT(is_gone(id));
          {
            Other const with_mount([&] {
              EXPECT(::unshare(CLONE_NEWNS) == 0);
              Namespace const held = Namespace::create(uts);
              held.pin(path);
              return held.id();
            });
            EXPECT(is_found(id = with_mount.id()));
            EXPECT(read_file("/proc/thread-self/mountinfo").find(path) == std::string::npos);
          }
          EXPECT(is_gone(id));
          if (!users) return;
          {
            Other const grandchild([] {
              EXPECT(become_root_of_a_user_namespace());
              NamespaceId const between = Namespace::current(user).id();
              EXPECT(become_root_of_a_user_namespace());
              return between;
            });
            EXPECT(is_found(id = grandchild.id()));
          }
          EXPECT(is_gone(id));
        }) == 0);
}

TEST_CASE("a number that is no namespace's is an error, and 0 is nobody's") {
  Unchanged const unchanged;
  std::string const none = text_of<cloister::Error>([] { (void)find_namespace_by_inode(1); });
  CHECK(none.starts_with("cloister: find namespace inode 1: No such file or directory (nothing in sight shows it"));
  CHECK_THROWS_WITH_AS((void)find_namespace_by_inode(0), "cloister: find_namespace: inode 0 is that of no namespace",
                       std::invalid_argument);
  CHECK_THROWS_AS((void)find_namespace_by_id(0), std::invalid_argument);
  CHECK_THROWS_AS((void)find_namespace(NamespaceId{}), std::invalid_argument);
}

TEST_CASE("another namespace that has the same inode number now is not taken for the one that had it") {
  NamespaceId const mine = Namespace::current(uts).id();
  NamespaceId of_another_type = mine;
  of_another_type.type = ipc;
  CHECK(caught<cloister::Error>([&] { (void)find_namespace(of_another_type); }).code().value() == ENOENT);
  SKIP_UNLESS(mine.id != 0, "the kernel is before 6.18: no 64-bit numbers");
  NamespaceId older = mine;
  older.id = ~std::uint64_t{0};
  CHECK(caught<cloister::Error>([&] { (void)find_namespace(older); }).code().value() == ENOENT);
}

TEST_CASE("what another user's process shows is not in sight, and the error says how many may not be looked at") {
  SKIP_UNLESS(is_root(), "needs a process of another user");
  CHECK(privileged_expectations([] {
          Other const roots([] {
            EXPECT(::unshare(CLONE_NEWUTS) == 0);
            return Namespace::current(uts).id();
          });
          EXPECT(in_fork([&] {
                   unmet = 0;
                   EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
                   EXPECT(fails_with(ENOENT, "find namespace", [&] { (void)find_namespace(roots.id()); },
                                     {"processes that may not be looked at without CAP_SYS_PTRACE: "}));
                   return unmet == 0;
                 }) == 0);
          EXPECT(is_found(roots.id()));
        }) == 0);
}

TEST_CASE("without the kernel's handles, and without its 64-bit numbers (before Linux 6.18), /proc is searched") {
  CHECK(expectations([] {
          Namespace const mine = Namespace::current(uts);
          refuse({{SYS_open_by_handle_at, EPERM}});
          EXPECT(is_found(mine.id()));
          refuse({request(cloister::detail::kernel::ns_get_id)});
          EXPECT(find_namespace(Namespace::current(uts).id()) == mine);
          EXPECT(find_namespace_by_inode(mine.id().inode) == mine);
          EXPECT(fails_with(ENOENT, "find namespace", [] { (void)find_namespace_by_id(1); }, {"id 1"}));
        }) == 0);
}

TEST_CASE("where there is no /proc that is said, and what the kernel knows by its number is found all the same") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  TemporaryDirectory const directory;
  NamespaceId const mine = Namespace::current(ipc).id();
  CHECK(privileged_expectations([&] {
          Namespace const other = Namespace::create(uts);
          EXPECT(::chroot(directory.path().c_str()) == 0 && ::chdir("/") == 0);
          if (mine.id != 0) EXPECT(find_namespace(other.id()) == other);
          EXPECT(
              fails_with(ENOENT, "open", [&] { (void)find_namespace_by_inode(mine.inode); }, {"/proc is not mounted"}));
        }) == 0);
}

TEST_CASE("where no descriptor can be had, that is the error, and not that there is no such namespace") {
  SKIP_UNLESS(!address_sanitizer, "the sanitizer needs descriptors of its own");
  CHECK(expectations([] {
          Namespace const mine = Namespace::current(uts);
          rlimit limit{};
          EXPECT(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
          limit.rlim_cur = static_cast<rlim_t>(cloister::FileDescriptor::duplicate(0).get()) + 2;
          EXPECT(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
          Unchanged const unchanged;
          EXPECT(fails_with(EMFILE, "open", [&] { (void)find_namespace_by_inode(1); }));
          EXPECT(unchanged.changes() == "");
        }) == 0);
}
