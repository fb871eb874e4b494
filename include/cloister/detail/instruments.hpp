// What tools that are compiled into a program must be told when it ends by _exit(2), as a child does: the coverage of
// gcov and of clang, and LeakSanitizer. Each is there only in a program that was built with it.
#pragma once

#include <cstdint>
#include <string>

// NOLINTBEGIN(bugprone-reserved-identifier): their names are what they are
extern "C" {
__attribute__((weak)) void __gcov_reset();
__attribute__((weak)) void __gcov_dump();
__attribute__((weak)) void __llvm_profile_reset_counters();
__attribute__((weak)) std::uint64_t __llvm_profile_get_size_for_buffer();
__attribute__((weak)) int __llvm_profile_write_buffer(char* buffer);
__attribute__((weak)) int __llvm_profile_merge_from_buffer(char const* buffer, std::uint64_t size);
__attribute__((weak)) int __lsan_do_recoverable_leak_check();
}
// NOLINTEND(bugprone-reserved-identifier)

namespace cloister::detail {

// In a child that has just begun: what its parent has counted is the parent's.
inline void forget_coverage() noexcept {
  if (__gcov_reset != nullptr) __gcov_reset();
  if (__llvm_profile_reset_counters != nullptr) __llvm_profile_reset_counters();
}

// A weak symbol does not ask a static library for what it names. g++ does, in a program that it counts for gcov, by a
// call of execv(3), before which the counts have to be saved.
inline void ask_for_gcov() noexcept {
#if defined(__GNUC__) && !defined(__clang__)
  static bool const volatile asked = false;
  char* const nothing[] = {nullptr};
  if (asked) (void)__builtin_execv("", nothing);
#endif
}

// Before the child ends. gcov adds its counts to those in its files, with a message where it cannot. clang's would be
// overwritten by the parent's: they are returned, and the parent adds them to its own.
inline std::string save_coverage() {
  ask_for_gcov();
  if (__gcov_dump != nullptr) __gcov_dump();
  std::string counts;
  if (__llvm_profile_get_size_for_buffer == nullptr || __llvm_profile_write_buffer == nullptr ||
      __llvm_profile_merge_from_buffer == nullptr)
    return counts;
  counts.resize(static_cast<std::size_t>(__llvm_profile_get_size_for_buffer()));
  if (__llvm_profile_write_buffer(counts.data()) != 0) counts.clear();
  return counts;
}
inline void add_coverage(std::string const& counts) noexcept {
  if (__llvm_profile_merge_from_buffer != nullptr && !counts.empty())
    (void)__llvm_profile_merge_from_buffer(counts.data(), counts.size());
}

// Whether this process has lost track of memory; LeakSanitizer reports it on standard error.
inline bool leaks() noexcept {
  return __lsan_do_recoverable_leak_check != nullptr && __lsan_do_recoverable_leak_check() != 0;
}

}  // namespace cloister::detail
