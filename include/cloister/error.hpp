// A step that the kernel refused: programs test code() and step(), people read what().
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "detail/text.hpp"

#if !defined(__cpp_exceptions) || !defined(__cpp_rtti)
#error "cloister: errors are exceptions, whose types are told apart: build without -fno-exceptions and -fno-rtti"
#endif

// Exceptions must be the same type in every shared object, also where everything else is hidden.
#define CLOISTER_DETAIL_EXCEPTION __attribute__((visibility("default")))

namespace cloister {

// A step that the kernel refused. what() reads
//   cloister: bind /src on /dst (in the child): No such file or directory
// followed, where it can be told, by the likely cause and what would help.
class CLOISTER_DETAIL_EXCEPTION Error : public std::system_error {
 public:
  enum class Side : bool { parent, child };

  // `step` is a literal: the call or the file ("clone3", "write uid_map", "execve"); `item` is what it worked on.
  Error(int error_number, char const* step, std::string_view item = {}, Side side = Side::parent, std::string_view hint = {})
      : std::system_error(error_number, std::system_category()),
        text_(sentence(error_number, step, item, side, hint)),
        step_(step),
        side_(side) {}

  std::string_view step() const noexcept { return step_; }
  // Whether it happened in the child; the child has ended and been reaped.
  bool in_child() const noexcept { return side_ == Side::child; }
  char const* what() const noexcept override { return text_.what(); }

 private:
  static std::string sentence(int error_number, std::string_view step, std::string_view item, Side side,
                              std::string_view hint) {
    return detail::join({"cloister: ", step, item.empty() ? "" : " ", item, side == Side::child ? " (in the child): " : ": ",
                         std::system_category().message(error_number), hint.empty() ? "" : " (", hint,
                         hint.empty() ? "" : ")"});
  }
  std::runtime_error text_;  // its string is counted, so that copying an Error cannot throw
  char const* step_;
  Side side_;
};

namespace detail {

// The result of a system call, or an Error: `result` is what the functions of sys:: return.
template <class Result>
Result check(Result result, char const* step, std::string_view item = {}) {
  if (result < 0) throw Error(static_cast<int>(-result), step, item);
  return result;
}

}  // namespace detail
}  // namespace cloister
