#include <cloister/hostname.hpp>
#include <thread>

#include "privileged.hpp"

using cloister::domainname, cloister::hostname, cloister::set_domainname, cloister::set_hostname;
using namespace test;

TEST_CASE("the names are those that uname tells") {
  Unchanged const unchanged;
  utsname names{};
  REQUIRE(::uname(&names) == 0);
  CHECK(hostname() == names.nodename);
  CHECK(domainname() == names.domainname);
}

TEST_CASE("a name that is set is read back, with 64 bytes, with none, with any byte but NUL") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          std::string every_byte;
          for (int byte = 1; byte <= 64; ++byte) every_byte += static_cast<char>(byte * 4 - 1);
          for (std::string const& name : {std::string("plain"), std::string(64, 'x'), std::string(), every_byte}) {
            about = name;
            set_hostname(name);
            EXPECT(hostname() == name);
            set_domainname(name);
            EXPECT(domainname() == name);
          }
          set_hostname("one");
          set_domainname("two");
          EXPECT(hostname() == "one" && domainname() == "two");
        }) == 0);
}

TEST_CASE("a part of a longer text is a name of its own") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          std::string_view const text = "builder.example";
          set_hostname(text.substr(0, 7));
          EXPECT(hostname() == "builder");
        }) == 0);
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

TEST_CASE("the capability in a user namespace does not count for a uts namespace of another") {
  SKIP_UNLESS(can_unshare_user(), "no user namespaces");
  CHECK(expectations([] {
          EXPECT(::unshare(CLONE_NEWUSER) == 0);
          EXPECT(fails_with(EPERM, "sethostname", [] { set_hostname("other"); }, {"that owns the uts namespace"}));
        }) == 0);
}

TEST_CASE("a name belongs to the thread's uts namespace") {
  SKIP_UNLESS(can_be_privileged(), "neither root nor allowed a user namespace");
  CHECK(privileged_expectations([] {
          set_hostname("main");
          std::thread([] {
            EXPECT(::unshare(CLONE_NEWUTS) == 0);
            EXPECT(hostname() == "main");
            set_hostname("thread");
            EXPECT(hostname() == "thread");
          }).join();
          EXPECT(hostname() == "main");
        }) == 0);
}
