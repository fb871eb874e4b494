// What must not compile, and beside it what does. misuse_test.cpp compiles this file as it is, and once more with MISUSE
// defined: then every line that is marked has to be refused, for a reason that has these words in it.
#include <cloister/cloister.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#ifdef MISUSE
#define WRONG(...) __VA_ARGS__
#else
#define WRONG(...)
#endif

namespace ns = cloister::flags;
using cloister::ChildProcess, cloister::Isolation, cloister::Command, cloister::Namespace;

namespace {

struct Message {
  int number;
  char* text;
};
struct Owned {
  int number;
  std::string text;
};
union Either {
  int number;
  float fraction;
};

[[maybe_unused]] void handles(Isolation const& box, std::string const& words) {
  ChildProcess child{box, [] { return 1; }};
  auto moved = std::move(child);
  WRONG(auto copy = moved;)  // refused: deleted
  cloister::Child erased = std::move(moved);
  WRONG(cloister::Child other{erased};)  // refused: deleted
  WRONG(ChildProcess{box, [] { return 1; }};)  // refused: nodiscard|unused|ignoring
  (void)words.size();

  cloister::FileDescriptor const fd = cloister::FileDescriptor::adopt(-1);
  WRONG(cloister::FileDescriptor second = fd;)  // refused: deleted
  WRONG(cloister::FileDescriptor third{3};)  // refused: no matching
  WRONG(int const number = fd;)  // refused: convert|conversion
}

[[maybe_unused]] void results(Isolation const& box, std::string const& words, int& number) {
  (void)cloister::run(box, [&] { return words; });
  WRONG((void)cloister::run(box, [&] { return std::string_view{words}; });)  // refused: view
  WRONG((void)cloister::run(box, [&] { return words.c_str(); });)  // refused: pointer
  WRONG((void)cloister::run(box, [&]() -> int& { return number; });)  // refused: reference
  (void)cloister::run(box, [&] { return Owned{number, words}; });
  WRONG((void)cloister::run(box, [&] { return Message{number, nullptr}; });)  // refused: pointer
  WRONG((void)cloister::run(box, [&] { return Either{number}; });)  // refused: union
  (void)cloister::run(box, [&] { return std::optional{number}; });
  WRONG((void)cloister::run(box, [&] { return std::optional{&number}; });)  // refused: pointer
  ChildProcess<long()> wider{box, [] { return 1; }};
  WRONG(ChildProcess<int()> narrower{box, [] { return 1.5; }};)  // refused: no matching
  WRONG(ChildProcess needs_argument{box, [](int value) { return value; }};)  // refused: no viable|no matching|deduction
}

[[maybe_unused]] void descriptions() {
  Isolation box{.unshare = ns::user | ns::pid};
  WRONG(box.unshare = 0x10000000;)  // refused: no match|no viable
  WRONG(box.unshare = ns::user | 1;)  // refused: no match|invalid operands
  WRONG(std::uint64_t const bits = box.unshare;)  // refused: convert|conversion
  WRONG(box.init = true;)  // refused: convert|incompatible|assigning
  box.init = cloister::Init::reaper;
  WRONG(box.mounts.push_back("/usr");)  // refused: no match|no viable|convert
  WRONG(cloister::IdMap map;)  // refused: no matching|default constructor
  Command const sleep{"sleep", "5"};
  WRONG(Command const number{"sleep", 5};)  // refused: deleted
}

[[maybe_unused]] void places(Namespace const& place) {
  cloister::ScopedEnter inside{place};
  WRONG(cloister::ScopedEnter moved = std::move(inside);)  // refused: deleted|implicitly
  WRONG(cloister::ScopedEnter{place};)  // refused: nodiscard|unused|ignoring
  WRONG((void)Namespace::current("uts");)  // refused: convert|initialize
  WRONG((void)Namespace::current(ns::uts | ns::net);)  // refused: convert|conversion
  WRONG((void)(place == place.id());)  // refused: no match|invalid operands
}

}  // namespace
