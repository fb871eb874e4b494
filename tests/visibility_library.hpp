#pragma once

#include <cloister/child_process.hpp>

enum class Thrown { error, threw, died, timed_out, malformed };

__attribute__((visibility("default"))) void throw_across(Thrown what);
__attribute__((visibility("default"))) cloister::ChildProcess<int()> start_across();
// The gate that only one in a process may have.
__attribute__((visibility("default"))) void const* gate_across();
