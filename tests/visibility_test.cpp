#include "visibility_library.hpp"

#include <cloister/cloister.hpp>

#include "support.hpp"

TEST_CASE("what is thrown in a library that hides its symbols is caught here by its type") {
  CHECK_THROWS_AS(throw_across(Thrown::error), cloister::Error);
  CHECK_THROWS_AS(throw_across(Thrown::threw), cloister::ChildThrew);
  CHECK_THROWS_AS(throw_across(Thrown::died), cloister::ChildDied);
  CHECK_THROWS_AS(throw_across(Thrown::timed_out), cloister::ChildTimedOut);
  CHECK_THROWS_AS(throw_across(Thrown::malformed), cloister::MalformedResult);
  CHECK_THROWS_WITH(throw_across(Thrown::error), "cloister: open /dev/null: Invalid argument (it is no namespace)");
}

TEST_CASE("a child that was started in such a library is waited for here") {
  test::Unchanged const unchanged;
  cloister::ChildProcess child = start_across();
  CHECK(child.get() == 42);
  CHECK(child.wait() == cloister::ExitStatus::exited(0));
}

TEST_CASE("the dumpable attribute of the process has one gate, however many libraries hide their symbols") {
  CHECK(gate_across() == &cloister::detail::place_of_gate_with_mutex_and_users());
}
