// A step that the kernel refused: programs test code() and step(), people read what().
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "detail/text.hpp"
#include "obstacle.hpp"

#if !defined(__cpp_exceptions) || !defined(__cpp_rtti)
#error "cloister: errors are exceptions, whose types are told apart: build without -fno-exceptions and -fno-rtti"
#endif

// Exceptions must be the same type in every shared object, also where everything else is hidden.
#define CLOISTER_DETAIL_EXCEPTION __attribute__((visibility("default")))

namespace cloister {

namespace detail {

// Why a step was probably refused and what would help, each a sentence without its full stop, or empty.
struct Hint {
  Hint() noexcept = default;
  Hint(char const* text) : cause(text) {}             // NOLINT(google-explicit-constructor): of no particular kind
  Hint(std::string text) : cause(std::move(text)) {}  // NOLINT(google-explicit-constructor)
  Hint(Obstacle what, std::string_view why, std::string_view help = {})
      : obstacle(what), cause(why.data(), why.size()), remedy(help.data(), help.size()) {}
  bool empty() const noexcept { return cause.empty(); }

  Obstacle obstacle = Obstacle::other;
  std::string cause, remedy;
};

}  // namespace detail

// A step that the kernel refused. what() reads
//   cloister: bind /src on /dst (in the child): No such file or directory
// followed, where it can be told, by the likely cause and what would help.
class CLOISTER_DETAIL_EXCEPTION Error : public std::system_error {
 public:
  enum class Side : bool { parent, child };

  // `step` is a literal: the call or the file ("clone3", "write uid_map", "execve"); `item` is what it worked on.
  Error(int error_number, char const* step, std::string_view item = {}, Side side = Side::parent,
        detail::Hint const& hint = {})
      : std::system_error(error_number, std::system_category()),
        text_(sentence(error_number, step, item, side, hint)),
        reason_(detail::join({step, item.empty() ? "" : " ", item, ": ",
                              hint.empty() ? std::system_category().message(error_number) : hint.cause})),
        remedy_(hint.remedy),
        step_(step),
        side_(side),
        obstacle_(hint.obstacle) {}

  std::string_view step() const noexcept { return step_; }
  // Whether it happened in the child; the child has ended and been reaped.
  bool in_child() const noexcept { return side_ == Side::child; }
  // What probably stood in the way, and the same for people: "bind /src on /dst: the source does not exist". The remedy
  // is empty where none is known.
  Obstacle obstacle() const noexcept { return obstacle_; }
  std::string_view reason() const noexcept { return reason_.what(); }
  std::string_view remedy() const noexcept { return remedy_.what(); }
  char const* what() const noexcept override { return text_.what(); }

 private:
  static std::string sentence(int error_number, std::string_view step, std::string_view item, Side side,
                              detail::Hint const& hint) {
    return detail::join({"cloister: ", step, item.empty() ? "" : " ", item,
                         side == Side::child ? " (in the child): " : ": ", std::system_category().message(error_number),
                         hint.empty() ? "" : " (", hint.cause, hint.remedy.empty() ? "" : ": ", hint.remedy,
                         hint.empty() ? "" : ")"});
  }
  std::runtime_error text_, reason_, remedy_;  // their strings are counted, so that copying an Error cannot throw
  char const* step_;
  Side side_;
  Obstacle obstacle_;
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
