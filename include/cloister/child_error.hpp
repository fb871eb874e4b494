// What goes wrong in a child that was started: the callable's exception, and an end without a result.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "detail/text.hpp"
#include "error.hpp"
#include "exit_status.hpp"

namespace cloister {

// The callable threw: the demangled name of the type and the text of what(), as text: no foreign object crosses.
class CLOISTER_DETAIL_EXCEPTION ChildThrew : public std::runtime_error {
 public:
  ChildThrew(std::string_view type_name, std::string_view text)
      : std::runtime_error(
            detail::join({"cloister: the callable threw ", type_name, text.empty() ? "" : ": ", text})),
        type_name_(std::string(type_name)) {}
  std::string_view type_name() const noexcept { return type_name_.what(); }

 private:
  std::runtime_error type_name_;
};

// The child ended without a result.
class CLOISTER_DETAIL_EXCEPTION ChildDied : public std::runtime_error {
 public:
  explicit ChildDied(ExitStatus const& status)
      : ChildDied(status, detail::join({"cloister: the child ", to_string(status), " and left no result"})) {}
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
      : ChildDied(status, detail::join({"cloister: the child timed out and was killed: it ", to_string(status)})) {}
};

}  // namespace cloister
