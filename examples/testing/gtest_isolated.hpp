// ISOLATED_TEST for GoogleTest (seen to work with 1.12), as an example of an adapter to testing.hpp: in the child a
// listener in the place of the printers records what is asserted; in the parent it happens again, through what
// GoogleTest's macros expand to.
#pragma once

#include <gtest/gtest.h>

#include <cloister/testing.hpp>
#include <string>
#include <utility>

namespace gtest_isolated {

struct Part {
  int type;
  std::string file;
  int line;
  std::string message;
};

class Listener : public testing::EmptyTestEventListener {
 public:
  explicit Listener(cloister::OutcomeRecorder<Part> const& recorder) : recorder_(recorder) {}
  void OnTestPartResult(testing::TestPartResult const& result) override {
    Part const part{result.type(), result.file_name() != nullptr ? result.file_name() : "", result.line_number(),
                    result.message()};
    result.failed() ? recorder_.record_and_wait(part) : recorder_.record(part);
  }

 private:
  cloister::OutcomeRecorder<Part> const& recorder_;
};

inline void report(Part const& part) {
  using Type = testing::TestPartResult::Type;
  testing::internal::AssertHelper(static_cast<Type>(part.type), part.file.c_str(), part.line, part.message.c_str()) =
      testing::Message();
}

// Runs the body of a test, or a part of it, in a world of its own.
template <class Body>
void isolated(cloister::Isolation const& isolation, Body&& body, cloister::CallOptions const& options = {},
              char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
  using Kind = cloister::TestEnding::Kind;
  cloister::TestEnding const ending = cloister::run_test<Part>(
      isolation,
      [&](cloister::OutcomeRecorder<Part> const& recorder) {
        testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
        delete listeners.Release(listeners.default_result_printer());
        delete listeners.Release(listeners.default_xml_generator());
        listeners.Append(new Listener(recorder));
        body();
      },
      report, options);
  if (ending.kind == Kind::failed) ADD_FAILURE_AT(file, line) << ending.text;
  if (ending.kind == Kind::skipped) GTEST_SKIP() << ending.text;
}

}  // namespace gtest_isolated

// ISOLATED_TEST(suite, name, fields of Isolation...)
#define ISOLATED_TEST(suite, name, ...)                                                                        \
  static void suite##_##name##_isolated();                                                                     \
  TEST(suite, name) { gtest_isolated::isolated(cloister::Isolation{__VA_ARGS__}, suite##_##name##_isolated); } \
  static void suite##_##name##_isolated()
