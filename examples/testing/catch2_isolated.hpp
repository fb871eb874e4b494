// isolated() for Catch2 (seen to work with 2.13), as an example of an adapter to testing.hpp: in the child an
// IResultCapture in the place of Catch2's records what is asserted; in the parent it happens again, through what
// Catch2's macros expand to.
#pragma once

#include <catch2/catch.hpp>
#include <cloister/testing.hpp>
#include <list>
#include <sstream>
#include <string>
#include <vector>

namespace catch2_isolated {

struct Assertion {
  int type, disposition, line;
  bool is_expression;
  std::string macro, file, expression, text;
  std::vector<std::string> infos;
};

class Capture : public Catch::IResultCapture {
 public:
  explicit Capture(cloister::OutcomeRecorder<Assertion> const& recorder) : recorder_(recorder) {}

  void handleExpr(Catch::AssertionInfo const& info, Catch::ITransientExpression const& expression,
                  Catch::AssertionReaction& reaction) override {
    bool const met = expression.getResult() != Catch::isFalseTest(info.resultDisposition);
    std::ostringstream text;
    expression.streamReconstructedExpression(text);
    record(info, met ? Catch::ResultWas::Ok : Catch::ResultWas::ExpressionFailed, true, text.str(), reaction);
  }
  void handleMessage(Catch::AssertionInfo const& info, Catch::ResultWas::OfType type, Catch::StringRef const& message,
                     Catch::AssertionReaction& reaction) override {
    record(info, type, false, static_cast<std::string>(message), reaction);
  }
  void handleUnexpectedExceptionNotThrown(Catch::AssertionInfo const& info,
                                          Catch::AssertionReaction& reaction) override {
    record(info, Catch::ResultWas::DidntThrowException, false, "no exception was thrown", reaction);
  }
  void handleUnexpectedInflightException(Catch::AssertionInfo const& info, std::string const& message,
                                         Catch::AssertionReaction& reaction) override {
    record(info, Catch::ResultWas::ThrewException, false, message, reaction);
  }
  void handleNonExpr(Catch::AssertionInfo const& info, Catch::ResultWas::OfType type,
                     Catch::AssertionReaction& reaction) override {
    record(info, type, false, "", reaction);
  }
  void pushScopedMessage(Catch::MessageInfo const& message) override { infos_.push_back(message.message); }
  void popScopedMessage(Catch::MessageInfo const&) override { infos_.pop_back(); }

  bool lastAssertionPassed() override { return passed_; }
  void assertionPassed() override {}
  void handleIncomplete(Catch::AssertionInfo const&) override {}
  void handleFatalErrorCondition(Catch::StringRef) override {}
  void emplaceUnscopedMessage(Catch::MessageBuilder const&) override {}
  std::string getCurrentTestName() const override { return {}; }
  Catch::AssertionResult const* getLastResult() const override { return nullptr; }
  void exceptionEarlyReported() override {}
  bool sectionStarted(Catch::SectionInfo const&, Catch::Counts&) override { refuse("SECTION"); }
  void sectionEnded(Catch::SectionEndInfo const&) override {}
  void sectionEndedEarly(Catch::SectionEndInfo const&) override {}
  auto acquireGeneratorTracker(Catch::StringRef, Catch::SourceLineInfo const&) -> Catch::IGeneratorTracker& override {
    refuse("GENERATE");
  }

 private:
  [[noreturn]] static void refuse(char const* what) {
    throw std::logic_error(std::string(what) + " goes around an isolated body, not into it");
  }
  void record(Catch::AssertionInfo const& info, Catch::ResultWas::OfType type, bool is_expression,
              std::string const& text, Catch::AssertionReaction& reaction) {
    passed_ = Catch::isOk(type) || Catch::shouldSuppressFailure(info.resultDisposition);
    Assertion const assertion{type,
                              info.resultDisposition,
                              static_cast<int>(info.lineInfo.line),
                              is_expression,
                              static_cast<std::string>(info.macroName),
                              info.lineInfo.file,
                              static_cast<std::string>(info.capturedExpression),
                              text,
                              infos_};
    passed_ ? recorder_.record(assertion) : recorder_.record_and_wait(assertion);
    reaction.shouldThrow = !passed_ && !Catch::shouldContinueOnFailure(info.resultDisposition);
  }

  cloister::OutcomeRecorder<Assertion> const& recorder_;
  std::vector<std::string> infos_;
  bool passed_ = true;
};

struct Expression : Catch::ITransientExpression {
  Expression(bool met, std::string const& text) : ITransientExpression(true, met), text_(text) {}
  void streamReconstructedExpression(std::ostream& to) const override { to << text_; }
  std::string const& text_;
};

inline void report(Assertion const& now) {
  // Reporters keep pointers into it until the end of the run.
  static std::list<Assertion> all;
  Assertion const& assertion = all.emplace_back(now);
  Catch::SourceLineInfo const line{assertion.file.c_str(), static_cast<std::size_t>(assertion.line)};
  std::list<Catch::ScopedMessage> infos;
  for (std::string const& text : assertion.infos)
    infos.emplace_back(Catch::MessageBuilder("INFO", line, Catch::ResultWas::Info) << text);
  auto const type = static_cast<Catch::ResultWas::OfType>(assertion.type);
  auto const disposition = static_cast<Catch::ResultDisposition::Flags>(assertion.disposition);
  Catch::AssertionHandler handler(Catch::StringRef(assertion.macro), line, Catch::StringRef(assertion.expression),
                                  disposition | Catch::ResultDisposition::ContinueOnFailure);
  if (assertion.is_expression)
    handler.handleExpr(Expression{Catch::isOk(type) != Catch::isFalseTest(disposition), assertion.text});
  else
    handler.handleMessage(type, Catch::StringRef(assertion.text));
  handler.complete();
}

// Runs a part of a test case in a world of its own.
template <class Body>
void isolated(cloister::Isolation const& isolation, Body&& body, cloister::CallOptions const& options = {},
              char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
  using Kind = cloister::TestEnding::Kind;
  bool required = true;
  cloister::TestEnding const ending = cloister::run_test<Assertion>(
      isolation,
      [&](cloister::OutcomeRecorder<Assertion> const& recorder) {
        static Capture capture{recorder};
        Catch::getCurrentMutableContext().setResultCapture(&capture);
        try {
          body();
        } catch (Catch::TestFailureException const&) {  // has been recorded
        }
      },
      [&](Assertion const& assertion) {
        report(assertion);
        required = Catch::isOk(static_cast<Catch::ResultWas::OfType>(assertion.type)) ||
                   Catch::shouldContinueOnFailure(assertion.disposition);
      },
      options);
  auto const say = [&](Catch::ResultWas::OfType type, char const* macro, std::string const& text) {
    report({type, Catch::ResultDisposition::Normal, line, false, macro, file, "", text, {}});
  };
  if (ending.kind == Kind::skipped) say(Catch::ResultWas::Warning, "WARN", "skipped: " + ending.text);
  if (ending.kind == Kind::failed) say(Catch::ResultWas::ExplicitFailure, "FAIL", ending.text);
  if (!required || ending.kind == Kind::failed) throw Catch::TestFailureException{};
}

}  // namespace catch2_isolated
