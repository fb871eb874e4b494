// Some of the tests of app_test.cpp, with Catch2.
#define CATCH_CONFIG_MAIN
#include "app.hpp"
#include "catch2_isolated.hpp"

using namespace cloister::flags;
using catch2_isolated::isolated;

TEST_CASE("as PID 1 it reaps orphans") {
  isolated({.unshare = user | pid}, [] {
    REQUIRE(::getpid() == 1);
    pid_t const main_process = ::fork();
    if (main_process == 0) {
      if (::fork() == 0) ::usleep(10'000);
      ::_exit(0);
    }
    CHECK(app::reap_until_all_have_ended(main_process) == 1);
  });
}

TEST_CASE("the state directory is whose it is") {
  SECTION("root's") {
    isolated({.unshare = user, .ids = cloister::IdMap::root()},
             [] { CHECK(app::state_directory() == "/var/lib/app"); });
  }
  SECTION("a user's") {
    isolated({.unshare = user, .ids = cloister::IdMap::ranges({{1000, ::geteuid()}}, {{1000, ::getegid()}})}, [] {
      ::setenv("HOME", "/home/somebody", 1);
      CHECK(app::state_directory() == "/home/somebody/.local/state/app");
    });
  }
}

TEST_CASE("the server has port 80") {
  isolated({.unshare = user | net}, [] { CHECK_NOTHROW(app::Server{}); });
}
