#include <doctest/doctest.h>

#include <cloister/cloister.hpp>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support.hpp"

namespace {

using cloister::Command, cloister::Output;

std::string const source = CLOISTER_SOURCE_ROOT "/tests/misuse.cpp";

std::vector<std::string> lines_of(std::istream& in) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}
std::vector<std::string> words_of(std::string const& text, char between) {
  std::vector<std::string> words;
  std::istringstream in{text};
  for (std::string word; std::getline(in, word, between);)
    if (!word.empty()) words.push_back(word);
  return words;
}

#if defined(__clang__)
constexpr bool by_clang = true;
#else
constexpr bool by_clang = false;
#endif

Output compile(std::vector<std::string> const& more) {
  std::vector<std::string> words = words_of(CLOISTER_COMPILER, ' ');
  words.insert(words.end(), {"-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", CLOISTER_SOURCE_ROOT "/include"});
  if (by_clang) words.push_back("-ferror-limit=0");
  words.insert(words.end(), more.begin(), more.end());
  words.push_back(source);
  return cloister::run({}, Command{words}.env("LC_ALL", "C"));
}

bool has_one_of(std::string const& line, std::vector<std::string> const& words) {
  for (std::string const& word : words)
    if (line.find(word) != std::string::npos) return true;
  return false;
}

// A line is refused if the compiler names it in an error, or in what leads to one: clang says so after the error, g++ before.
bool refused_for(std::vector<std::string> const& said, std::size_t number, std::vector<std::string> const& reasons) {
  std::string const place = "misuse.cpp:" + std::to_string(number) + ":";
  auto const is_error = [&](std::size_t at) { return said[at].find("error:") != std::string::npos; };
  for (std::size_t i = 0; i < said.size(); ++i) {
    if (said[i].find(place) == std::string::npos) continue;
    std::size_t at = i;
    if (by_clang)
      while (at > 0 && !is_error(at)) --at;
    else
      while (at + 1 < said.size() && !is_error(at)) ++at;
    if (is_error(at) && has_one_of(said[at], reasons)) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("what must not compile does not, for the reason that it names, and its right form does") {
  std::ifstream file{source};
  SKIP_UNLESS(file.good(), "this user cannot read the sources");
  std::vector<std::string> const text = lines_of(file);

  Output const right = compile({});
  INFO(right.err);
  REQUIRE(right.status.success());

  for (char const* without : {"-fno-rtti", "-fno-exceptions"})
    CHECK(compile({without}).err.find("cloister: errors are exceptions") != std::string::npos);

  Output const wrong = compile({"-DMISUSE"});
  CHECK(!wrong.status.success());
  std::istringstream err{wrong.err};
  std::vector<std::string> const said = lines_of(err);
  int snippets = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool const is_snippet = text[i].starts_with("  WRONG(");
    std::size_t const mark = text[i].find("// refused: ");
    CHECK_MESSAGE(is_snippet == (mark != std::string::npos), text[i]);
    if (!is_snippet) continue;
    ++snippets;
    std::string const reasons = text[i].substr(mark + std::string_view{"// refused: "}.size());
    CHECK_MESSAGE(refused_for(said, i + 1, words_of(reasons, '|')), text[i], "\n", wrong.err);
  }
  CHECK(snippets >= 24);
}
