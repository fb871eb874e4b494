// Starting and following children under kernels that lack a call, and under filters that forbid one.
#include <doctest/doctest.h>

#include "privileged.hpp"
#include "refusal.hpp"

namespace {

using namespace test;
using cloister::Error, cloister::run;
namespace number = cloister::detail::sys::number;

// Every kind of child, from either thread, gives its answer where these calls are refused, and leaves nothing.
int works_without(std::vector<Refusal> const& refusals, bool threads_too = true) {
  std::vector<Kind> const all = kinds();
  return expectations(
      [&] {
        refuse(refusals);
        for_each_kind_everywhere(all, [&](Kind const& kind, Where where) {
          if (where == Where::other_thread && !threads_too) return;
          on(where, [&] { return answer(kind); });
          Unchanged unchanged;
          EXPECT(on(where, [&] { return answer(kind); }) == 42);
          {
            cloister::Child child = on(where, [&] { return start_waiting(kind); });
            child.kill(SIGKILL);
            EXPECT(child.wait().signal() == SIGKILL);
          }
          EXPECT(unchanged.changes() == "");
        });
      },
      20);
}

std::string failure(std::function<void()> const& call) {
  try {
    call();
  } catch (Error const& error) {
    return std::string(error.step()) + ": " + std::to_string(error.code().value());
  } catch (std::exception const& error) {
    return error.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("without clone3 everything is started by clone") { CHECK(works_without({{number::clone3, ENOSYS}}) == 0); }

TEST_CASE("a filter that forbids clone3 with EPERM is told from a lack of privilege") {
  CHECK(works_without({{number::clone3, EPERM}}, false) == 0);  // the C library itself starts no thread then
}

TEST_CASE("without pidfd_open every child is cloned with a pidfd") {
  CHECK(works_without({{number::pidfd_open, ENOSYS}}) == 0);
  CHECK(works_without({{number::pidfd_open, EPERM}}) == 0);
}

TEST_CASE("without close_range, or its way to mark descriptors, they are closed one by one") {
  for (Refusal const& one : {Refusal{number::close_range, ENOSYS}, Refusal{number::close_range, EPERM},
                             Refusal{number::close_range, EINVAL, cloister::detail::kernel::close_range_cloexec, 2}}) {
    CHECK(works_without({one}) == 0);
    std::vector<Kind> const all = kinds();
    int const status = expectations([&] {
      int const leak = ::fcntl(2, F_DUPFD, 300);
      refuse({one});
      for (Kind const& kind : all) {
        about = kind.name;
        cloister::Isolation isolation = kind.isolation();
        isolation.descriptors = cloister::Descriptors::none();
        if (kind.program)
          EXPECT(run(isolation, cloister::Command{"sh", "-c", "ls /proc/self/fd | tr '\\n' ' '"}).out == "0 1 2 3 ");
        else
          EXPECT(run(isolation, [&] { return ::fcntl(leak, F_GETFD); }) == -1);
      }
    });
    CHECK(status == 0);
  }
}

TEST_CASE("without pidfd_send_signal children are signalled by their pids") {
  CHECK(works_without({{number::pidfd_send_signal, ENOSYS}}) == 0);
  CHECK(works_without({{number::pidfd_send_signal, EPERM}}) == 0);
}

TEST_CASE("without waitid by pidfd children are waited for by their pids") {
  CHECK(works_without({{SYS_waitid, EINVAL, cloister::detail::kernel::p_pidfd}}) == 0);
}

TEST_CASE("where the status of a child that somebody else has reaped cannot be had it is unknown") {
  std::vector<Kind> const all = kinds();
  int const status = expectations([&] {
    refuse({request(cloister::detail::kernel::pidfd_get_info)});
    ::signal(SIGCHLD, SIG_IGN);
    for_each_kind_everywhere(all, [](Kind const& kind, Where where) {
      Unchanged unchanged;
      int const result = on(where, [&] { return answer(kind); });
      // The init of a reaper tells the status by itself.
      EXPECT(result == 42 || (kind.program && !kind.reaper() && result == -1));
      cloister::ExitStatus const end = on(where, [&] { return start_exiting(kind, 7); }).wait();
      EXPECT(kind.reaper() ? end == cloister::ExitStatus::exited(7) : end.is_unknown());
      EXPECT(unchanged.changes() == "");
    });
  });
  CHECK(status == 0);
}

TEST_CASE("without any of them, and without the status of reaped children, everything works") {
  CHECK(works_without({{number::clone3, ENOSYS},
                       {number::pidfd_open, ENOSYS},
                       {number::close_range, ENOSYS},
                       {SYS_memfd_create, ENOSYS},
                       request(cloister::detail::kernel::pidfd_get_info)}) == 0);
}

TEST_CASE(
    "a kernel from before all the calls about pidfds, clone3 and close_range starts and ends every kind of child") {
  std::vector<Refusal> const missing = {{number::clone3, ENOSYS},
                                        {number::pidfd_open, ENOSYS},
                                        {number::close_range, ENOSYS},
                                        {number::pidfd_send_signal, ENOSYS}};
  CHECK(works_without(missing) == 0);
  std::vector<Kind> const all = kinds();
  int const status = expectations([&] {
    refuse(missing);
    for_each_kind_everywhere(all, [](Kind const& kind, Where where) {
      Unchanged unchanged;
      EXPECT(on(where, [&] { return start_exiting(kind, 7); }).wait() == cloister::ExitStatus::exited(7));
      {
        cloister::Child stopped = on(where, [&] { return start_waiting(kind); });
        EXPECT(!stopped.wait_for(std::chrono::milliseconds(1)));
        EXPECT(stopped.stop(std::chrono::milliseconds(kind.new_pid() ? 1 : 10'000)).signal().has_value());
      }
      // Killed and reaped by its handle's end.
      (void)on(where, [&] { return start_waiting(kind); });
      EXPECT(unchanged.changes() == "");
    });
  });
  CHECK(status == 0);
}

TEST_CASE("an init that is not told of signals gives up, and its child ends in one way or another") {
  std::vector<Kind> const all = kinds();
  // Where a file of memory may not be executed the init of a program is the one of a callable.
  for (std::vector<Refusal> const& also : {std::vector<Refusal>{}, {{SYS_execveat, EACCES}}})
    for (int const error : {ENOSYS, EPERM}) {
      CAPTURE(error);
      CAPTURE(also.size());
      int const status = expectations([&] {
        std::vector<Refusal> refusals = also;
        refusals.push_back({SYS_rt_sigtimedwait, error});
        refuse(refusals);
        for (Kind const& kind : all) {
          if (!kind.reaper()) continue;
          for (Where const where : everywhere) {
            about = kind.name + name_of(where);
            Unchanged const unchanged;
            try {
              cloister::Child child = on(where, [&] { return start_exiting(kind, 0); });
              if (!EXPECT(child.wait_for(std::chrono::seconds(10)))) return;  // and it is killed with its handle
            } catch (Error const&) {
            } catch (cloister::ChildDied const&) {
            }
            EXPECT(unchanged.changes() == "");
          }
        }
      });
      CHECK(status == 0);
    }
}

TEST_CASE("without memfd_create small results arrive, and a large one is an Error that says so") {
  int const status = expectations([] {
    refuse({{SYS_memfd_create, ENOSYS}});
    EXPECT(run({}, [] { return std::string(500, 'x'); }).size() == 500);
    std::string const got = failure([] { (void)run({}, [] { return std::string(1 << 20, 'x'); }); });
    EXPECT(got == "memfd_create: " + std::to_string(ENOSYS));
  });
  CHECK(status == 0);
}

TEST_CASE("where the kernel does not tell the address of the thread's id, a callable in a pid namespace is refused") {
  std::vector<Kind> const all = callables();
  int const status = expectations([&] {
    refuse({{SYS_prctl, EINVAL, PR_GET_TID_ADDRESS}});
    for (Kind const& kind : all) {
      about = kind.name;
      Unchanged unchanged;
      std::string const got = failure([&] { EXPECT(answer(kind) == 42); });
      EXPECT(got == (kind.new_pid() ? "prctl PR_GET_TID_ADDRESS: " + std::to_string(EINVAL) : "nothing"));
      EXPECT(unchanged.changes() == "");
    }
  });
  CHECK(status == 0);
}

TEST_CASE("a filter that forbids new namespaces is named by the Error of the call it forbids") {
  int const status = expectations([] {
    refuse({{number::clone3, EPERM}, {SYS_clone, EPERM}, {SYS_unshare, EPERM}});
    // fork() itself is clone(2): the start ends there.
    EXPECT(failure([] { (void)run({}, [] { return 1; }); }) == "fork: " + std::to_string(EPERM));
    EXPECT(failure([] { (void)run({}, cloister::Command{"true"}); }) == "clone3: " + std::to_string(EPERM));
  });
  CHECK(status == 0);
}

TEST_CASE("a filter that forbids unshare with EPERM is named beside what was to be made") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  namespace ns = cloister::flags;
  CHECK(unprivileged_expectations([] {
          refuse({{SYS_unshare, EPERM}});
          Unchanged unchanged;
          EXPECT(fails_with(EPERM, "unshare", [] { (void)run({.unshare = ns::user | ns::uts}, [] { return 1; }); },
                            {"cloister: unshare user|uts (in the child): ", "a seccomp filter is loaded"}));
          EXPECT(fails_with(EPERM, "unshare", [] { (void)run({.unshare = ns::uts}, [] { return 1; }); },
                            {"CAP_SYS_ADMIN is needed: unshare user beside uts"}));
          EXPECT(unchanged.changes() == "");
        }) == 0);
  CHECK(privileged_expectations([] {
          refuse({{SYS_unshare, EPERM}});
          Unchanged unchanged;
          EXPECT(fails_with(EPERM, "unshare", [] { (void)run({.unshare = ns::uts}, [] { return 1; }); },
                            {"cloister: unshare uts (in the child): ", "a seccomp filter is loaded"}));
          // A program is cloned into its namespaces.
          EXPECT(run({.unshare = ns::uts}, cloister::Command{"true"}).status.success());
          EXPECT(unchanged.changes() == "");
        }) == 0);
}

TEST_CASE("where a file of memory may not be executed the first program under a reaper works, and each after it") {
  SKIP_UNLESS(user_namespaces(), "no user namespaces");
  for (int const error : {EACCES, EPERM, ENOSYS, ENOMEM}) {  // the last may pass, and is not remembered
    CAPTURE(error);
    int const status = expectations([&] {
      refuse({{SYS_execveat, error}});
      cloister::Command const command =
          cloister::Command{"sh", "-c", "read line; echo $$ $line; readlink /proc/self/fd/7 >&2; pwd"}
              .cwd("/usr")
              .keep_fd(1, 7);
      for (int round = 1; round <= 2; ++round)
        for (Where const where : everywhere) {
          about = std::to_string(round) + name_of(where);
          Unchanged const unchanged;
          try {
            auto const output =
                on(where, [&] { return run(cloister::Isolation::untrusted(), command, {.input = "input\n"}); });
            EXPECT(output.status.success());
            EXPECT(output.out == "2 input\n/usr\n");
            EXPECT(output.err == test::detail::link_target("/proc/self/fd/1") + "\n");
          } catch (std::exception const& thrown) {
            expect(false, thrown.what(), __FILE__, __LINE__);
          }
        }
    });
    CHECK(status == 0);
  }
}
