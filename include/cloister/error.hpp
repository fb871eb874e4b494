// What goes wrong, as types: programs test code() and step(), people read what().
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "exit_status.hpp"

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
    std::string text = "cloister: ";
    text += step;
    if (!item.empty()) (text += ' ') += item;
    if (side == Side::child) text += " (in the child)";
    (text += ": ") += std::system_category().message(error_number);
    if (!hint.empty()) ((text += " (") += hint) += ")";
    return text;
  }
  std::runtime_error text_;  // its string is counted, so that copying an Error cannot throw
  char const* step_;
  Side side_;
};

// The callable threw: the demangled name of the type and the text of what(), as text: no foreign object crosses.
class CLOISTER_DETAIL_EXCEPTION ChildThrew : public std::runtime_error {
 public:
  ChildThrew(std::string_view type_name, std::string_view text)
      : std::runtime_error("cloister: the callable threw " + std::string(type_name) + (text.empty() ? "" : ": ") +
                           std::string(text)),
        type_name_(std::string(type_name)) {}
  std::string_view type_name() const noexcept { return type_name_.what(); }

 private:
  std::runtime_error type_name_;
};

// The child ended without a result.
class CLOISTER_DETAIL_EXCEPTION ChildDied : public std::runtime_error {
 public:
  explicit ChildDied(ExitStatus const& status)
      : ChildDied(status, "cloister: the child " + to_string(status) + " and left no result") {}
  ExitStatus const& status() const noexcept { return status_; }

 protected:
  ChildDied(ExitStatus const& status, std::string const& text) : std::runtime_error(text), status_(status) {}

 private:
  ExitStatus status_;
};

// The child did not end in time and was killed; status() says how that ended it.
class CLOISTER_DETAIL_EXCEPTION ChildTimedOut : public ChildDied {
 public:
  explicit ChildTimedOut(ExitStatus const& status)
      : ChildDied(status, "cloister: the child timed out and was killed: it " + to_string(status)) {}
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
