// A shared library that hides everything but one function, as a plug-in does. See visibility_test.cpp.
#include "visibility_library.hpp"

#include <cloister/cloister.hpp>
#include <stdexcept>

void throw_across(Thrown what) {
  namespace ns = cloister::flags;
  using cloister::run;
  switch (what) {
    case Thrown::error: (void)cloister::Namespace::open("/dev/null"); break;
    case Thrown::threw: (void)run({}, []() -> int { throw std::runtime_error("inside"); }); break;
    case Thrown::died: (void)run({}, []() -> int { ::_exit(7); }); break;
    case Thrown::timed_out: (void)run({}, [] { ::pause(); }, {.timeout = std::chrono::milliseconds{20}}); break;
    case Thrown::malformed: (void)cloister::Decoder{"?"}.get<int>(); break;
  }
}

cloister::ChildProcess<int()> start_across() {
  return cloister::ChildProcess<int()>{cloister::Isolation{}, [] { return 42; }};
}

void const* gate_across() { return &cloister::detail::place_of_gate_with_mutex_and_users(); }
