#include <cloister/stdio.hpp>

#include "support.hpp"

using cloister::Redirect, cloister::Stdio;
using Kind = Redirect::Kind;

TEST_CASE("a Redirect knows where it leads") {
  static_assert(Redirect{}.kind() == Kind::unset);
  static_assert(Redirect::inherit().kind() == Kind::inherit);
  static_assert(Redirect::null().kind() == Kind::null);
  static_assert(Redirect::pipe().kind() == Kind::pipe);
  static_assert(Redirect::to_out().kind() == Kind::to_out);
  static_assert(Redirect::descriptor(7).kind() == Kind::descriptor && Redirect::descriptor(7).fd() == 7);
  CHECK(Redirect::pipe().fd() == -1);
}

TEST_CASE("redirects compare by kind and descriptor") {
  static_assert(Redirect::null() != Redirect::inherit());
  static_assert(Redirect::descriptor(7) == Redirect::descriptor(7));
  static_assert(Redirect::descriptor(7) != Redirect::descriptor(8));
  CHECK(Stdio{.out = Redirect::null()} == Stdio{{}, Redirect::null(), {}});
  CHECK(Stdio{.out = Redirect::null()} != Stdio{.err = Redirect::null()});
}

TEST_CASE("a number is no redirect: descriptor() says what it means") {
  static_assert(!std::is_constructible_v<Redirect, int>);
  static_assert(!std::is_convertible_v<int, Redirect>);
}
