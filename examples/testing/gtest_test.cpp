// Some of the tests of app_test.cpp, with GoogleTest.
#include "app.hpp"
#include "gtest_isolated.hpp"

using namespace cloister::flags;

ISOLATED_TEST(Daemon, ReapsOrphansAsPid1, .unshare = user | pid) {
  ASSERT_EQ(::getpid(), 1);
  pid_t const main_process = ::fork();
  if (main_process == 0) {
    if (::fork() == 0) ::usleep(10'000);
    ::_exit(0);
  }
  EXPECT_EQ(app::reap_until_all_have_ended(main_process), 1);
}

ISOLATED_TEST(Daemon, WorksForTheMachineAsRoot, .unshare = user, .ids = cloister::IdMap::root()) {
  EXPECT_EQ(app::state_directory(), "/var/lib/app");
}

TEST(Server, HasPort80) {
  gtest_isolated::isolated({.unshare = user | net}, [] { EXPECT_NO_THROW(app::Server{}); });
}
