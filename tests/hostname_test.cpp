#include <cloister/doctest.hpp>
#include <cloister/hostname.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::domainname, cloister::hostname, cloister::set_domainname, cloister::set_hostname;
using namespace cloister::flags;
using namespace test;

TEST_CASE("the names are those that uname tells") {
  Unchanged const unchanged;
  utsname names{};
  REQUIRE(::uname(&names) == 0);
  CHECK(hostname() == names.nodename);
  CHECK(domainname() == names.domainname);
}

ISOLATED_TEST_CASE("a name that is set is read back, with 64 bytes, with none, with any byte but NUL", as_root_in(uts)) {
  std::string every_byte;
  for (int byte = 1; byte <= 64; ++byte) every_byte += static_cast<char>(byte * 4 - 1);
  for (std::string const& name : {std::string("plain"), std::string(64, 'x'), std::string(), every_byte}) {
    set_hostname(name);
    CHECK(hostname() == name);
    set_domainname(name);
    CHECK(domainname() == name);
  }
  set_hostname("one");
  set_domainname("two");
  CHECK(hostname() == "one");
  CHECK(domainname() == "two");
}

ISOLATED_TEST_CASE("a part of a longer text is a name of its own", as_root_in(uts)) {
  std::string_view const text = "builder.example";
  set_hostname(text.substr(0, 7));
  CHECK(hostname() == "builder");
}

TEST_CASE("a name of 65 bytes or with a NUL is refused before the kernel sees it, and the text says why") {
  std::string const before = hostname();
  std::string const with_nul = std::string("a") + '\0' + "b";
  CHECK(text_of<std::invalid_argument>([] { set_hostname(std::string(65, 'x')); }) ==
        "cloister: sethostname: the name has 65 bytes, and the kernel takes 64");
  CHECK(contains(text_of<std::invalid_argument>([] { set_domainname(std::string(4096, 'x')); }), "setdomainname"));
  CHECK(contains(text_of<std::invalid_argument>([&] { set_hostname(with_nul); }), "NUL"));
  CHECK(contains(text_of<std::invalid_argument>([&] { set_domainname(with_nul); }), "NUL"));
  CHECK(hostname() == before);
}

TEST_CASE("without the privilege the kernel refuses, and the text says which one") {
  CHECK(
      unprivileged_expectations([] {
        EXPECT(fails_with(EPERM, "sethostname", [] { set_hostname("other"); }, {"sethostname other", "CAP_SYS_ADMIN"}));
        EXPECT(fails_with(EPERM, "setdomainname", [] { set_domainname("other"); }, {"CAP_SYS_ADMIN"}));
      }) == 0);
}

ISOLATED_TEST_CASE("the capability in a user namespace does not count for a uts namespace of another", .unshare = user) {
  CHECK(contains(text_of<cloister::Error>([] { set_hostname("other"); }),
                 "sethostname other: Operation not permitted (CAP_SYS_ADMIN is needed in the user namespace that owns the uts namespace"));
}

ISOLATED_TEST_CASE("a name belongs to the thread's uts namespace", as_root_in(uts)) {
  set_hostname("main");
  std::thread([] {
    CHECK(::unshare(CLONE_NEWUTS) == 0);
    CHECK(hostname() == "main");
    set_hostname("thread");
    CHECK(hostname() == "thread");
  }).join();
  CHECK(hostname() == "main");
}
