#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cloister/doctest.hpp>
#include <cloister/loopback.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::bring_up_loopback;
using namespace test;

namespace {

bool loopback_is_up() {
  int const fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  bool const asked = ::ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  ::close(fd);
  return asked && (request.ifr_flags & IFF_UP) != 0;
}

// Whether a byte goes from a socket to another by 127.0.0.1.
bool a_byte_goes_round() {
  int const to = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int const from = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  char byte = 'x';
  bool const went = ::bind(to, generic, size) == 0 && ::getsockname(to, generic, &size) == 0 &&
                    ::sendto(from, &byte, 1, 0, generic, size) == 1 && ::recv(to, &byte, 1, MSG_DONTWAIT) == 1;
  ::close(to);
  ::close(from);
  return went;
}

// With its loopback as the kernel makes it.
cloister::Isolation as_root_without_loopback() {
  cloister::Isolation world = as_root_in(cloister::NamespaceType::net);
  world.loopback = cloister::Loopback::down;
  return world;
}

}  // namespace

ISOLATED_TEST_CASE("a new network namespace has its loopback down, and it works when brought up; twice is as good as once",
                   as_root_without_loopback()) {
  CHECK(!loopback_is_up());
  CHECK(!a_byte_goes_round());
  Unchanged const unchanged;
  bring_up_loopback();
  CHECK(loopback_is_up());
  CHECK(a_byte_goes_round());
  bring_up_loopback();
  CHECK(a_byte_goes_round());
  CHECK(cloister::detail::set_loopback_up() == 0);
}

TEST_CASE(
    "where it is up nothing is needed to ask for it, and where it is down the privilege that is missing is named") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          bring_up_loopback();
          EXPECT(::unshare(CLONE_NEWNET) == 0);
          std::thread([] {
            EXPECT(drop_capabilities());
            EXPECT(cloister::detail::set_loopback_up() == -EPERM);
            EXPECT(fails_with(EPERM, "bring up loopback", [] { bring_up_loopback(); },
                              {"CAP_NET_ADMIN", "network namespace"}));
          }).join();
          bring_up_loopback();
          EXPECT(drop_capabilities());
          bring_up_loopback();
        }) == 0);
}

ISOLATED_TEST_CASE("it is the calling thread's loopback", as_root_without_loopback()) {
  std::thread([] {
    CHECK(::unshare(CLONE_NEWNET) == 0);
    bring_up_loopback();
    CHECK(loopback_is_up());
  }).join();
  CHECK(!loopback_is_up());
}

TEST_CASE("where no descriptor can be had, that is the error") {
  CHECK(expectations([] {
          int const fd = ::dup(0);
          ::close(fd);
          rlimit const full{static_cast<rlim_t>(fd), static_cast<rlim_t>(fd)};
          EXPECT(::setrlimit(RLIMIT_NOFILE, &full) == 0);
          EXPECT(cloister::detail::set_loopback_up() == -EMFILE);
          if (!address_sanitizer) EXPECT(fails_with(EMFILE, "bring up loopback", [] { bring_up_loopback(); }));
        }) == 0);
}
