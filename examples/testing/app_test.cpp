// Tests of app.hpp for an ordinary user: each in a world that has what it wants, and nothing of the machine changes.
// They can run beside copies of themselves. `CLOISTER_REQUIRE_ISOLATION=1` fails what could not be isolated instead of
// skipping it.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "app.hpp"

#include <cloister/cloister.hpp>
#include <cloister/doctest.hpp>
#include <future>

using namespace cloister::flags;
using namespace std::chrono_literals;
using cloister::IdMap, cloister::Loopback, cloister::Mount;

// Port 80 is free in a network of its own, and a user namespace's owner may bind it.
ISOLATED_TEST_CASE("the server greets a client on port 80" * doctest::timeout(10), .unshare = user | net) {
  app::Server server;
  auto greeting = std::async(std::launch::async, [] {
    app::Socket const client = app::connect_patiently(80, 1, 0ms);
    char text[64] = {};
    app::check(::read(client.fd(), text, sizeof text - 1), "read");
    return std::string(text);
  });
  CHECK(server.serve_one() == "127.0.0.1");
  CHECK(greeting.get() == "hello, 127.0.0.1\n");
}

// The body is PID 1: orphans become its children.
ISOLATED_TEST_CASE("as PID 1 it reaps orphans" * doctest::timeout(10), .unshare = user | pid) {
  REQUIRE(::getpid() == 1);
  pid_t const main_process = ::fork();
  if (main_process == 0) {
    for (int i = 0; i < 3; ++i)
      if (::fork() == 0) {
        ::usleep(10'000);
        ::_exit(0);
      }
    ::_exit(0);
  }
  CHECK(app::reap_until_all_have_ended(main_process) == 3);
}

// An /etc that exists only here, empty at first, and another one for each SUBCASE.
ISOLATED_TEST_CASE("settings are read from /etc/app.conf", .unshare = user | mnt,
                   .mounts = {Mount::tmpfs("/etc", 1 << 20)}) {
  SUBCASE("as they are written there") {
    std::ofstream{"/etc/app.conf"} << "port = 80\ngreeting = good day\n";
    auto const settings = app::load_settings();
    CHECK(settings.size() == 2);
    CHECK(settings.at("greeting") == "good day");
  }
  SUBCASE("and without it there are none") { CHECK_THROWS_WITH(app::load_settings(), "/etc/app.conf is missing"); }
}

// Thirty days pass in no time; without a reboot, and only for who asks here.
TEST_CASE("the trial expires after thirty days") {
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);
  std::chrono::seconds const so_far{up.tv_sec};
  auto const days_after_boot = [&](int days) {
    return cloister::Isolation{.unshare = user | cloister::NamespaceType::time,
                               .clock = {.boottime = 24h * days - so_far}};
  };
  cloister::isolated(days_after_boot(29), [] { CHECK(!app::trial_has_expired()); });
  cloister::isolated(days_after_boot(30), [] { CHECK(app::trial_has_expired()); });
}

// Who this user is outside does not matter.
ISOLATED_TEST_CASE("root works for the whole machine", .unshare = user, .ids = IdMap::root()) {
  CHECK(app::state_directory() == "/var/lib/app");
}
ISOLATED_TEST_CASE("a user works at home", .unshare = user,
                   .ids = IdMap::ranges({{1000, ::geteuid()}}, {{1000, ::getegid()}})) {
  ::setenv("HOME", "/home/somebody", 1);
  CHECK(app::state_directory() == "/home/somebody/.local/state/app");
}

// The loopback interface is down, as on a machine that lost its network, and comes up while the code tries.
ISOLATED_TEST_CASE("it is patient with a network that is down" * doctest::timeout(10), .unshare = user | net,
                   .loopback = Loopback::down) {
  CHECK_THROWS_WITH_AS(app::connect_patiently(80, 3, 1ms), "no answer after 3 attempts: Network is unreachable",
                       std::system_error);
  app::Server const server;
  auto connected = std::async(std::launch::async, [] { return app::connect_patiently(80, 10, 1ms).fd() >= 0; });
  cloister::bring_up_loopback();
  CHECK(connected.get());
}
