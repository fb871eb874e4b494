#include <cloister/command.hpp>

#include "caught.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::string_view_literals;
using cloister::Argument, cloister::Command, cloister::Redirect;
using Words = std::vector<std::string>;

namespace {

template <class T>
constexpr bool is_word = std::is_convertible_v<T, Argument>;

std::string refusal(Command const& command, Command (Command::*verb)(std::string_view, std::string_view) const&,
                    std::string_view name, std::string_view value) {
  return test::text_of<std::invalid_argument>([&] { (void)(command.*verb)(name, value); });
}

}  // namespace

TEST_CASE("the words of a command are anything that is a string") {
  std::string const text = "c";
  CHECK(Command{"a", "b"s, text, "d"sv, ""}.words() == Words{"a", "b", "c", "d", ""});
  char buffer[8] = "e";
  CHECK(Command{"a", static_cast<char const*>(buffer), buffer}.words() == Words{"a", "e", "e"});
}

TEST_CASE("two words are two words, and not a range of characters") {
  char const text[] = "echo hello";
  CHECK(Command{&text[0], &text[5]}.words() == Words{"echo hello", "hello"});
}

TEST_CASE("the words of a command may come from elsewhere") {
  CHECK(Command{Words{"ls", "-l"}}.words() == Words{"ls", "-l"});
  Words const words{"ls"};
  CHECK(Command{words}.words() == words);
  static_assert(!std::is_convertible_v<Words, Command>, "a list of strings becomes a command only where one is named");
}

TEST_CASE("a number is no word") {
  static_assert(is_word<char const*> && is_word<std::string> && is_word<std::string_view>);
  static_assert(!is_word<int> && !is_word<unsigned long> && !is_word<char> && !is_word<bool> && !is_word<double>);
  static_assert(!is_word<std::nullptr_t>);
  static_assert(!is_word<std::vector<std::string>> && !is_word<std::optional<std::string>>);
  static_assert(!std::is_constructible_v<Argument, int>);
}

TEST_CASE("a command without a program is refused") {
  CHECK_THROWS_WITH_AS(Command{Words{}}, "cloister: command: no program is named", std::invalid_argument);
  CHECK_THROWS_WITH_AS(Command{""}, "cloister: command: no program is named", std::invalid_argument);
  CHECK_THROWS_WITH_AS((Command{"", "x"}), "cloister: command: no program is named", std::invalid_argument);
  CHECK_NOTHROW((void)Command{"x", ""});
}

TEST_CASE("a null pointer is no word") {
  char const* const nothing = nullptr;
  CHECK_THROWS_WITH_AS((Command{"x", nothing}), "cloister: command: an argument is a null pointer",
                       std::invalid_argument);
}

TEST_CASE("a word with a NUL in it, which the kernel would cut short, is refused") {
  std::string const expected = "cloister: command: argument \"ab...\" holds a NUL";
  CHECK_THROWS_WITH_AS((Command{"x", "ab\0cd"sv}), expected.c_str(), std::invalid_argument);
  CHECK_THROWS_WITH_AS(Command{"ab\0cd"s}, expected.c_str(), std::invalid_argument);
  CHECK_THROWS_WITH_AS((Command{Words{"x", "ab\0"s}}), expected.c_str(), std::invalid_argument);
}

TEST_CASE("a variable must have a name, without '=' or NUL") {
  Command const command{"x"};
  CHECK(refusal(command, &Command::env, "", "v") == "cloister: command: env: \"\" is no name of a variable");
  CHECK(refusal(command, &Command::env, "A=B", "v") == "cloister: command: env: \"A=B\" is no name of a variable");
  CHECK(refusal(command, &Command::env, "A\0B"sv, "v") == "cloister: command: env \"A...\" holds a NUL");
  CHECK(refusal(command, &Command::env, "A", "v\0w"sv) == "cloister: command: env \"v...\" holds a NUL");
  CHECK_NOTHROW((void)command.env("A", "").env("B", "x=y"));
}

TEST_CASE("a directory must be named, without a NUL") {
  CHECK_THROWS_WITH_AS((void)Command{"x"}.cwd(""), "cloister: command: cwd is empty", std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)Command{"x"}.cwd("/a\0b"sv), "cloister: command: cwd \"/a...\" holds a NUL",
                       std::invalid_argument);
}

TEST_CASE("only err can go where out goes") {
  CHECK_NOTHROW((void)Command{"x"}.stdio({.err = Redirect::to_out()}));
  char const* const expected = "cloister: command: stdio: only err can go to_out";
  CHECK_THROWS_WITH_AS((void)Command{"x"}.stdio({.in = Redirect::to_out()}), expected, std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)Command{"x"}.stdio({.out = Redirect::to_out()}), expected, std::invalid_argument);
}

TEST_CASE("keep_fd takes descriptors above the streams, each number once") {
  Command const command = Command{"x"}.keep_fd(5).keep_fd(0, 9).keep_fd(5, 6);
  CHECK(command.kept() == std::vector<Command::Kept>{{5, 5}, {0, 9}, {5, 6}});
  CHECK_THROWS_WITH_AS((void)command.keep_fd(7, 9), "cloister: command: keep_fd: 9 is taken by another",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)command.keep_fd(2), "cloister: command: keep_fd: 0, 1 and 2 are set by stdio, not kept",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)command.keep_fd(7, 0), "cloister: command: keep_fd: 0, 1 and 2 are set by stdio, not kept",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)command.keep_fd(-1, 7), "cloister: command: keep_fd: -1 is no descriptor",
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS((void)command.keep_fd(-1), "cloister: command: keep_fd: -1 is no descriptor",
                       std::invalid_argument);
  CHECK_THROWS_AS((void)command.keep_fd(7, -3), std::invalid_argument);
}

TEST_CASE("the verbs change a copy of a command") {
  Command const plain{"x", "y"};
  Command const dressed = plain.env("A", "1").cwd("/").stdio({.in = Redirect::null()}).keep_fd(7);
  CHECK(plain == Command{"x", "y"});
  CHECK(dressed != plain);
  CHECK(dressed.words() == plain.words());
  CHECK(dressed.variables() == std::vector<std::pair<std::string, std::string>>{{"A", "1"}});
  CHECK(dressed.directory() == "/");
  CHECK(dressed.streams().in == Redirect::null());
  CHECK(plain.variables().empty());
  CHECK_FALSE(plain.directory());
}

TEST_CASE("a verb that refuses leaves the command as it was") {
  Command command{"x", "y"};
  CHECK_THROWS_AS((void)std::move(command).cwd(""), std::invalid_argument);
  CHECK(command == Command{"x", "y"});
}

TEST_CASE("a command reads as a shell would read it") {
  CHECK(to_string(Command{"ls", "-l", "/tmp/a_b.txt"}) == "ls -l /tmp/a_b.txt");
  CHECK(to_string(Command{"sh", "-c", "exit 3"}) == "sh -c 'exit 3'");
  CHECK(to_string(Command{"echo", "", "it's", "$HOME", "a\nb", "*"}) == "echo '' 'it'\\''s' '$HOME' 'a\nb' '*'");
}
