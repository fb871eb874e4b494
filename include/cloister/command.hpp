// A program, its arguments, and what it starts with.
#pragma once

#include <concepts>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "detail/text.hpp"
#include "stdio.hpp"

namespace cloister {

// One word of a command line: anything that is a string. A number, nullptr or a string with a NUL in it is none.
class Argument {
 public:
  template <class String>
    requires std::convertible_to<String const&, std::string_view>
  Argument(String const& text)  // NOLINT(google-explicit-constructor): a word is a string
      : text_(view(text)) {}
  Argument(std::nullptr_t) = delete;
  template <class Number>
    requires std::is_arithmetic_v<Number>
  Argument(Number) = delete;  // write std::to_string(n)

  std::string const& text() const noexcept { return text_; }

 private:
  template <class String>
  static std::string_view view(String const& text) {
    if constexpr (std::is_pointer_v<String>)
      if (text == nullptr) throw std::invalid_argument("cloister: command: an argument is a null pointer");
    return text;
  }
  std::string text_;
};

// A program to execute, with its arguments: no shell is involved. A name without a slash is looked for in the PATH that the program
// itself will see; a relative name with a slash starts from cwd(). A value: the verbs return a changed copy.
class Command {
 public:
  // A descriptor of the caller that the program gets, and the number it has there.
  struct Kept {
    int fd;
    int as;
    friend bool operator==(Kept const&, Kept const&) = default;
  };

  // The program and its arguments. Throws std::invalid_argument if there is none, or if a word holds a NUL.
  Command(std::initializer_list<Argument> words) {
    for (Argument const& word : words) words_.emplace_back(word.text());
    validate();
  }
  explicit Command(std::vector<std::string> words) : words_(std::move(words)) { validate(); }

  // Sets a variable on top of the environment that the isolation leaves. Throws std::invalid_argument for a name that is empty or
  // holds '=', and for a NUL.
  [[nodiscard]] Command env(std::string_view name, std::string_view value) && {
    if (name.empty() || name.find('=') != name.npos)
      throw std::invalid_argument("cloister: command: env: \"" + detail::printable(name) + "\" is no name of a variable");
    refuse_nul("env", name);
    refuse_nul("env", value);
    variables_.emplace_back(name, value);
    return std::move(*this);
  }
  // The directory that the program starts in, by default the caller's. Throws std::invalid_argument for a NUL or nothing.
  [[nodiscard]] Command cwd(std::string_view directory) && {
    if (directory.empty()) throw std::invalid_argument("cloister: command: cwd is empty");
    refuse_nul("cwd", directory);
    directory_.emplace(directory);
    return std::move(*this);
  }
  [[nodiscard]] Command stdio(Stdio const& streams) && {
    if (streams.in.kind() == Redirect::Kind::to_out || streams.out.kind() == Redirect::Kind::to_out)
      throw std::invalid_argument("cloister: command: stdio: only err can go to_out");
    streams_ = streams;
    return std::move(*this);
  }
  // Lets the program have the caller's descriptor `fd`, as the same number or as `as`. Only these, 0, 1 and 2 survive.
  // Throws std::invalid_argument for 0 to 2, which are stdio()'s, and for a number that is taken.
  [[nodiscard]] Command keep_fd(int fd, int as) && {
    if (fd < 0) throw std::invalid_argument("cloister: command: keep_fd: " + std::to_string(fd) + " is no descriptor");
    if (as < 3) throw std::invalid_argument("cloister: command: keep_fd: 0, 1 and 2 are set by stdio, not kept");
    for (Kept const& other : kept_)
      if (other.as == as)
        throw std::invalid_argument("cloister: command: keep_fd: " + std::to_string(as) + " is taken by another");
    kept_.push_back({fd, as});
    return std::move(*this);
  }
  [[nodiscard]] Command keep_fd(int fd) && { return std::move(*this).keep_fd(fd, fd); }

  [[nodiscard]] Command env(std::string_view name, std::string_view value) const& { return Command{*this}.env(name, value); }
  [[nodiscard]] Command cwd(std::string_view directory) const& { return Command{*this}.cwd(directory); }
  [[nodiscard]] Command stdio(Stdio const& streams) const& { return Command{*this}.stdio(streams); }
  [[nodiscard]] Command keep_fd(int fd, int as) const& { return Command{*this}.keep_fd(fd, as); }
  [[nodiscard]] Command keep_fd(int fd) const& { return Command{*this}.keep_fd(fd, fd); }

  std::vector<std::string> const& words() const noexcept { return words_; }
  std::vector<std::pair<std::string, std::string>> const& variables() const noexcept { return variables_; }
  std::optional<std::string> const& directory() const noexcept { return directory_; }
  Stdio const& streams() const noexcept { return streams_; }
  std::vector<Kept> const& kept() const noexcept { return kept_; }

  friend bool operator==(Command const&, Command const&) = default;

 private:
  void validate() const {
    if (words_.empty() || words_.front().empty()) throw std::invalid_argument("cloister: command: no program is named");
    for (std::string const& word : words_) refuse_nul("argument", word);
  }
  static void refuse_nul(char const* what, std::string_view text) {
    if (std::size_t const at = text.find('\0'); at != text.npos)
      throw std::invalid_argument("cloister: command: " + std::string(what) + " \"" + std::string(text.substr(0, at)) +
                                  "...\" holds a NUL");
  }

  std::vector<std::string> words_;
  std::vector<std::pair<std::string, std::string>> variables_;
  std::optional<std::string> directory_;
  Stdio streams_;
  std::vector<Kept> kept_;
};

// The words as a shell would read them: `sh -c 'exit 3'`.
inline std::string to_string(Command const& command) {
  std::string text;
  for (std::string const& word : command.words()) {
    if (!text.empty()) text += ' ';
    auto const plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             std::string_view{"-_./=:,+@%"}.find(c) != std::string_view::npos;
    };
    bool quote = word.empty();
    for (char c : word) quote = quote || !plain(c);
    if (!quote) {
      text += word;
      continue;
    }
    text += '\'';
    for (char c : word)
      if (c == '\'')
        text += "'\\''";
      else
        text += c;
    text += '\'';
  }
  return text;
}

}  // namespace cloister
