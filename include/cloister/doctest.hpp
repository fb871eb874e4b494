// doctest cases whose bodies run in a world of their own, as PID 1, as root, with their own network, host name, files
// and clock, while their assertions count as if they ran in place. Not part of cloister.hpp. Tested with
// doctest 2.4.9, 2.4.11 and 2.5.3.
//
//   ISOLATED_TEST_CASE("the daemon reaps" * doctest::timeout(5), .unshare = user | pid) { CHECK(getpid() == 1); }
//
//   TEST_CASE("part of a case") {
//     cloister::isolated({.unshare = user | net}, [&] { CHECK(listens_on(80)); });
//   }
//
// Every file with a SUBCASE that runs in such a body includes this header.
#pragma once

#ifndef DOCTEST_LIBRARY_INCLUDED
#include <doctest/doctest.h>
#endif

#ifdef DOCTEST_CONFIG_DISABLE

#include <concepts>

#include "run.hpp"

namespace cloister {
template <std::invocable F>
bool isolated(Isolation const&, F&&, CallOptions const& = {}) {
  return false;
}
}  // namespace cloister

#define ISOLATED_TEST_CASE(...) DOCTEST_TEST_CASE("")

#else

#include <chrono>
#include <concepts>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "testing.hpp"

#if DOCTEST_VERSION < 20409 || DOCTEST_VERSION >= 20600
#error "cloister/doctest.hpp goes through what the macros of doctest 2.4.9 to 2.5 expand to"
#endif

namespace cloister {
namespace detail {

// What a body says to its parent: an event of doctest's, with what the parent needs to have it happen again.
struct DoctestEvent {
  enum class Kind : std::uint8_t {
    assertion,
    message,
    subcase_entered,
    subcase_passed_by,
    subcase_left,
    generator,
    exception,
    stopped
  };
  Kind kind;
  int type = 0;  // of assertion or message; of a generator how many values it has
  int line = 0;
  bool failed = false, threw = false, threw_as = false, unwinding = false;
  std::string file{}, text{}, values{}, exception{}, exception_type{}, exception_string{};
  std::vector<std::string> contexts{};
};

// An exception that left a body, or another way in which it failed: doctest says `text` of the case. Not an
// std::exception, so that nothing between here and doctest takes it for one of its own.
struct DoctestBodyFailed {
  std::string text;
};

struct DoctestReporter : doctest::IReporter {
  void report_query(doctest::QueryData const&) override {}
  void test_run_start() override {}
  void test_run_end(doctest::TestRunStats const&) override {}
  void test_case_start(doctest::TestCaseData const&) override {}
  void test_case_reenter(doctest::TestCaseData const&) override {}
  void test_case_end(doctest::CurrentTestCaseStats const&) override {}
  void test_case_exception(doctest::TestCaseException const&) override {}
  void subcase_start(doctest::SubcaseSignature const&) override {}
  void subcase_end() override {}
  void log_assert(doctest::AssertData const&) override {}
  void log_message(doctest::MessageData const&) override {}
  void test_case_skipped(doctest::TestCaseData const&) override {}
};

struct DoctestReporters {
  doctest::IReporter **first = nullptr, **last = nullptr;
};

// The reporters and listeners of the run, of which `ours` is one. doctest has no way to silence them. They are in a
// vector, in an object of which only the file that implements doctest sees more than the beginning, the options; the
// vector follows another one, of nine filters, and holds `ours`, which is proof enough.
inline DoctestReporters find_reporters(doctest::IReporter const* ours) {
  auto const* const state = reinterpret_cast<unsigned char const*>(doctest::getContextOptions());
  struct Bounds {
    std::uintptr_t begin, end, limit;
    std::uintptr_t size() const { return end - begin; }
  };
  auto const bounds_at = [&](std::size_t offset) {
    Bounds bounds;
    std::memcpy(&bounds, state + offset, sizeof bounds);
    return bounds;
  };
  constexpr std::size_t step = alignof(void*), filters = 9 * sizeof(std::vector<doctest::String>), far = 8192,
                        near = 16 * step;
  for (std::size_t at = sizeof(doctest::ContextOptions); at < far; at += step) {
    Bounds const before = bounds_at(at);
    if (before.begin == 0 || before.size() != filters || before.limit != before.end) continue;
    for (std::size_t next = at + sizeof before; next < at + sizeof before + near; next += step) {
      Bounds const found = bounds_at(next);
      if (found.begin == 0 || found.begin % step != 0 || found.end <= found.begin || found.limit < found.end ||
          found.size() > far)
        continue;
      DoctestReporters const reporters{reinterpret_cast<doctest::IReporter**>(found.begin),
                                       reinterpret_cast<doctest::IReporter**>(found.end)};
      for (doctest::IReporter** each = reporters.first; each != reporters.last; ++each)
        if (*each == ours) return reporters;
    }
  }
  throw std::logic_error("cloister: the reporters of this doctest (" DOCTEST_VERSION_STR
                         ") are not where they were in 2.4.9 to 2.5.3");
}

// The listener of every run. In the child of a body it is the only one that hears of events.
class DoctestListener : public DoctestReporter {
 public:
  explicit DoctestListener(doctest::ContextOptions const& options)
      : options_(options), outer_(std::exchange(current_, this)) {}
  ~DoctestListener() override { current_ = outer_; }
  // That of the present run. Throws std::logic_error outside of one.
  static DoctestListener& current() {
    if (current_ == nullptr || !doctest::is_running_in_test)
      throw std::logic_error("cloister: isolated: not in a test case");
    return *current_;
  }

  // Before a child is started: what the child needs to know, looked up here, because memory and functions that are
  // first used in a fresh copy of the host cost most.
  void prepare() {
    reporters_ = find_reporters(this);
    if (!in_body()) all_reporters_.assign(reporters_.first, reporters_.last);
    active_contexts_ = get_num_active_contexts();
    stringified_contexts_ = get_num_stringified_contexts();
  }

  // --- in a child

  void begin(OutcomeRecorder<DoctestEvent> const& recorder) {
    recorder_ = &recorder;
    body_process_.emplace();
    inherited_contexts_ = active_contexts_;
    inherited_strings_ = stringified_contexts_;
    for (doctest::IReporter** each = reporters_.first; each != reporters_.last; ++each)
      if (*each != this) *each = &mute_;
  }
  bool in_body() const noexcept { return recorder_ != nullptr; }
  // A process that the body forked leaves the same subcases once more: those are not told.
  bool decides() const noexcept { return in_body() && body_process_->is_it(); }
  void tell(DoctestEvent const& event) const { recorder_->record(event); }

  void stopped() const { tell({.kind = DoctestEvent::Kind::stopped}); }
  // In a catch clause.
  void caught() const {
    doctest::detail::ResultBuilder translation(doctest::assertType::DT_WARN_NOTHROW, "", 0, "");
    translation.translateException();
    DoctestEvent event{.kind = DoctestEvent::Kind::exception, .text = translation.m_exception.c_str()};
    for (int i = inherited_strings_; i < get_num_stringified_contexts(); ++i)
      event.contexts.emplace_back(get_stringified_contexts()[i].c_str());
    tell(event);
  }

  void log_assert(doctest::AssertData const& data) override {
    if (!in_body()) return;
    bool const reported = data.m_failed || options_.success;
    DoctestEvent event{.kind = DoctestEvent::Kind::assertion,
                       .type = data.m_at,
                       .line = data.m_line,
                       .failed = data.m_failed,
                       .threw = data.m_threw,
                       .threw_as = data.m_threw_as,
                       .file = data.m_file,
                       .text = data.m_expr,
                       .values = data.m_decomp.c_str(),
                       .exception = data.m_exception.c_str(),
                       .exception_type = data.m_exception_type,
                       .exception_string = data.m_exception_string.c_str()};
    if (!reported) return tell(event);
    event.contexts = contexts();
    recorder_->record_and_wait(event);
  }
  void log_message(doctest::MessageData const& data) override {
    if (!in_body()) return;
    recorder_->record_and_wait({.kind = DoctestEvent::Kind::message,
                                .type = data.m_severity,
                                .line = data.m_line,
                                .file = data.m_file,
                                .text = data.m_string.c_str(),
                                .contexts = contexts()});
  }

  // A SUBCASE is announced before it is decided upon, because doctest tells of those only that are entered, and the
  // parent has to see all of them: it decides likewise, and so knows what is left to run.
  class Meeting {
   public:
    Meeting(char const* subcase, char const* file, int line)
        : listener_(current_), subcase_(subcase), file_(file), line_(line) {
      if (listener_ != nullptr) outer_ = std::exchange(listener_->meeting_, this);
    }
    ~Meeting() {
      if (listener_ == nullptr) return;
      listener_->meeting_ = outer_;
      if (listener_->decides() && !entered)
        listener_->tell(
            {.kind = DoctestEvent::Kind::subcase_passed_by, .line = line_, .file = file_, .text = subcase_});
    }
    Meeting(Meeting const&) = delete;
    bool entered = false;

   private:
    DoctestListener* listener_;
    Meeting* outer_ = nullptr;
    char const *subcase_, *file_;
    int line_;
  };
  void subcase_start(doctest::SubcaseSignature const& subcase) override {
    if (!in_body()) return;
    if (meeting_ == nullptr)
      throw std::logic_error(join({"cloister: SUBCASE(\"", subcase.m_name.c_str(),
                                   "\") in an isolated body: ", subcase.m_file, " must include cloister/doctest.hpp"}));
    meeting_->entered = true;
    if (decides()) tell({.kind = DoctestEvent::Kind::subcase_entered,
          .line = subcase.m_line,
          .file = subcase.m_file,
          .text = subcase.m_name.c_str()});
  }
  void subcase_end() override {
    if (decides()) tell({.kind = DoctestEvent::Kind::subcase_left, .unwinding = std::uncaught_exceptions() > 0});
  }

  // A GENERATE, likewise.
  static void announce_generator(std::size_t values) {
    if (current_ != nullptr && current_->decides())
      current_->tell({.kind = DoctestEvent::Kind::generator, .type = static_cast<int>(values)});
  }

  // --- in the parent

  void test_case_start(doctest::TestCaseData const& data) override {
    case_ = &data;
    case_began_ = std::chrono::steady_clock::now();
    case_skipped_ = false;
  }
  void test_case_end(doctest::CurrentTestCaseStats const& stats) override {
    if (case_skipped_ && stats.testCaseSuccess) ++skipped_;
  }
  // doctest counts as skipped what was left out before it began, by the difference of two numbers. We hear of them
  // before its reporters.
  void test_run_end(doctest::TestRunStats const& stats) override {
    const_cast<doctest::TestRunStats&>(stats).numTestCasesPassingFilters -= skipped_;
  }
  void skip(std::string const& why, char const* file, int line) {
    case_skipped_ = true;
    DOCTEST_ADD_MESSAGE_AT(file, line, "skipped: ", doctest::String(why.c_str()));
  }
  // What doctest::timeout leaves of the case, or the caller, whichever is less.
  CallOptions limited(CallOptions options) const {
    if (case_ == nullptr || !(case_->m_timeout > 0)) return options;
    using namespace std::chrono;
    duration<double> const most{1e9}, limit{case_->m_timeout}, left = limit - (steady_clock::now() - case_began_);
    nanoseconds const until = ceil<nanoseconds>(left < most ? left : most);
    if (!options.timeout || until < *options.timeout) options.timeout = until;
    return options;
  }

 private:
  std::vector<std::string> contexts() const {
    std::vector<std::string> texts;
    for (int i = inherited_contexts_; i < get_num_active_contexts(); ++i) {
      std::ostringstream text;
      get_active_contexts()[i]->stringify(&text);
      texts.push_back(text.str());
    }
    return texts;
  }

  static inline DoctestListener* current_ = nullptr;
  doctest::ContextOptions const& options_;
  DoctestListener* outer_;
  DoctestReporters reporters_;
  std::vector<doctest::IReporter*> all_reporters_;  // or they would be leaks in the child
  int active_contexts_ = 0, stringified_contexts_ = 0;
  DoctestReporter mute_;
  OutcomeRecorder<DoctestEvent> const* recorder_ = nullptr;
  std::optional<ThisProcess> body_process_;
  Meeting* meeting_ = nullptr;
  // Of this thread: those around the call of isolated(), which are the parent's.
  static inline thread_local int inherited_contexts_ = 0;
  int inherited_strings_ = 0;
  doctest::TestCaseData const* case_ = nullptr;
  std::chrono::steady_clock::time_point case_began_{};
  bool case_skipped_ = false;
  unsigned skipped_ = 0;
};

inline int const doctest_listener =
    doctest::registerReporter<DoctestListener>("cloister", std::numeric_limits<int>::max(), false);
inline int const doctest_translator = doctest::registerExceptionTranslator<DoctestBodyFailed const&>(
    +[](DoctestBodyFailed const& failed) { return doctest::String(failed.text.c_str()); });

// Has the events of a body happen again in its parent, through what doctest's macros expand to.
class DoctestReplay {
 public:
  void operator()(DoctestEvent const& event) {
    using Kind = DoctestEvent::Kind;
    // What of subcases an exception leaves is left here when it is known whether that leaves the body as well: then by
    // the one that is thrown here, of which doctest speaks.
    if (event.kind == Kind::subcase_left && event.unwinding && left_unwinding_ < subcases_.size()) {
      ++left_unwinding_;
      return;
    }
    if (event.kind != Kind::exception && event.kind != Kind::stopped) leave_unwound();
    switch (event.kind) {
      case Kind::assertion:
        assertion(event);
        break;
      case Kind::message:
        message(event);
        break;
      case Kind::subcase_entered:
      case Kind::subcase_passed_by:
        subcase(event, event.kind == Kind::subcase_entered);
        break;
      case Kind::subcase_left:
        leave();
        break;
      case Kind::generator:
#ifdef DOCTEST_GENERATE
        DoctestListener::announce_generator(static_cast<std::size_t>(event.type));
        (void)doctest::detail::acquireGeneratorDecisionIndex(static_cast<std::size_t>(event.type));
#endif
        break;
      case Kind::exception:
        exception_ = std::make_unique<DoctestEvent>(event);
        break;
      case Kind::stopped:
        stopped_ = true;
        break;
    }
    if (!event.file.empty()) last_ = join({event.file, ":", std::to_string(event.line)});
  }

  // After the body's end: throws what left it, or what else there is to say.
  void end(TestEnding const& ending) {
    bool const failed = ending.kind == TestEnding::Kind::failed;
    if (exception_) {
      // As they were left: the innermost first.
      std::vector<std::string> const texts(exception_->contexts.rbegin(), exception_->contexts.rend());
      Contexts const contexts{texts};
      throw DoctestBodyFailed{join({exception_->text, failed ? "; cloister: " : "", ending.text})};
    }
    if (stopped_ && !failed) doctest::detail::throwException();
    leave_all();
    if (failed)
      throw DoctestBodyFailed{join({"cloister: ", ending.text, last_.empty() ? "" : "; last heard at ", last_})};
  }

  DoctestReplay() = default;
  DoctestReplay(DoctestReplay const&) = delete;
  ~DoctestReplay() { leave_all(); }

 private:
  // The INFO and CAPTURE that were active where it happened, the outermost first.
  class Contexts {
   public:
    explicit Contexts(std::vector<std::string> const& texts) {
      for (std::string const& text : texts) scopes_.push_back(std::make_unique<Scope>(Text{&text}));
    }
    Contexts(Contexts const&) = delete;
    ~Contexts() {
      while (!scopes_.empty()) scopes_.pop_back();
    }

   private:
    struct Text {
      std::string const* text;
      void operator()(std::ostream* to) const { *to << *text; }
    };
    using Scope = doctest::detail::ContextScope<Text>;
    std::vector<std::unique_ptr<Scope>> scopes_;
  };

  static void assertion(DoctestEvent const& event) {
    Contexts const contexts{event.contexts};
    auto const type = static_cast<doctest::assertType::Enum>(event.type);
    // Without the quotes that log() puts around it.
    std::string exception = event.exception;
    if (exception.size() >= 2) exception = exception.substr(1, exception.size() - 2);
    auto const log = [&](auto const& expected) {
      doctest::detail::ResultBuilder result(type, event.file.c_str(), event.line, event.text.c_str(),
                                            event.exception_type.c_str(), expected);
      result.m_failed = event.failed;
      result.m_threw = event.threw;
      result.m_threw_as = event.threw_as;
      result.m_exception = exception.c_str();
      result.m_decomp = event.values.c_str();
      (void)result.log();  // a debugger has been stopped in the child
    };
    // log() looks once more whether the exception has the expected text: where it passed and is not that text it
    // contains it.
    doctest::String const expected = event.exception_string.c_str();
    if (!event.failed && event.exception_string != exception)
      log(doctest::Contains(expected));
    else
      log(expected);
  }
  static void message(DoctestEvent const& event) {
    Contexts const contexts{event.contexts};
    doctest::detail::MessageBuilder message(event.file.c_str(), event.line,
                                            static_cast<doctest::assertType::Enum>(event.type));
    *message.m_stream << event.text;
    (void)message.log();
  }

  void subcase(DoctestEvent const& event, bool entered) {
    // Where this process is itself the child of a body, its parent has to hear of it too.
    DoctestListener::Meeting const meeting{event.text.c_str(), kept(event.file), event.line};
    auto here = std::make_unique<doctest::detail::Subcase>(event.text.c_str(), kept(event.file), event.line);
    if (here->m_entered != entered)
      throw std::logic_error("cloister: a SUBCASE was decided upon in one way in the child and in the other here");
    if (entered) subcases_.push_back(std::move(here));
  }
  void leave() {
    if (!subcases_.empty()) subcases_.pop_back();
  }
  void leave_unwound() {
    for (; left_unwinding_ > 0; --left_unwinding_) leave();
  }
  void leave_all() {
    left_unwinding_ = 0;
    while (!subcases_.empty()) leave();
  }
  // doctest keeps a pointer to the name of a file.
  static char const* kept(std::string const& file) {
    static std::vector<std::unique_ptr<std::string>> names;
    for (auto const& name : names)
      if (*name == file) return name->c_str();
    return names.emplace_back(std::make_unique<std::string>(file))->c_str();
  }

  std::vector<std::unique_ptr<doctest::detail::Subcase>> subcases_;  // the innermost last
  std::size_t left_unwinding_ = 0;  // how many of them the body has left by an exception that may leave it
  std::unique_ptr<DoctestEvent> exception_;
  bool stopped_ = false;
  std::string last_;
};

inline doctest::detail::Subcase meet_subcase(doctest::String const& name, char const* file, int line) {
  DoctestListener::Meeting const meeting{name.c_str(), file, line};
  return {name, file, line};
}

#ifdef DOCTEST_GENERATE
template <class First, class... Rest>
First generate(First first, Rest... rest) {
  DoctestListener::announce_generator(1 + sizeof...(rest));
  return doctest::detail::acquireGeneratorValue(first, rest...);
}
#endif

template <class F>
__attribute__((no_sanitize("null")))  // a forced unwind is caught as a reference to nothing
void run_doctest_body(DoctestListener& listener, OutcomeRecorder<DoctestEvent> const& recorder, F&& body) {
  listener.begin(recorder);
  try {
    (void)std::forward<F>(body)();
  } catch (doctest::detail::TestFailureException const&) {
    listener.stopped();
  } catch (abi::__forced_unwind&) {
    throw;
  } catch (...) {
    listener.caught();
  }
}

}  // namespace detail

// Runs `body` in a child, in a world of its own, as a part of the present test case: what it asserts is reported by
// this process, once, and counts here; a REQUIRE that fails in it, an exception that leaves it, a crash, exit(), and
// the end of options.timeout or of what doctest::timeout leaves to the case, which kill it, end the case. A SUBCASE in
// it works, each path in a child of its own. It runs in a copy of memory: what it changes in captured variables is
// lost. False if it did not run, because such a world cannot be had here: the case then says "skipped: " and why, and
// counts as skipped, or fails if the environment has CLOISTER_REQUIRE_ISOLATION=1. From the thread of the case. Throws
// std::invalid_argument and Error as a ChildProcess does.
template <std::invocable F>
bool isolated(Isolation const& isolation, F&& body, CallOptions const& options = {},
              char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
  detail::DoctestListener& listener = detail::DoctestListener::current();
  listener.prepare();
  detail::DoctestReplay replay;
  TestEnding const ending = run_test<detail::DoctestEvent>(
      isolation, [&](auto const& recorder) { detail::run_doctest_body(listener, recorder, std::forward<F>(body)); },
      [&](detail::DoctestEvent const& event) { replay(event); }, listener.limited(options));
  if (ending.kind == TestEnding::Kind::skipped) {
    listener.skip(ending.text, file, line);
    return false;
  }
  replay.end(ending);
  return true;
}

}  // namespace cloister

// ISOLATED_TEST_CASE(name and decorators, fields of Isolation...): a test case all of whose body is isolated().
#define CLOISTER_DETAIL_FIRST(first, ...) first
#define CLOISTER_DETAIL_REST(first, ...) __VA_ARGS__
#define CLOISTER_DETAIL_ISOLATED_TEST_CASE(body, decorators, ...)                               \
  static void body();                                                                           \
  DOCTEST_TEST_CASE(decorators) { cloister::isolated(cloister::Isolation{__VA_ARGS__}, body); } \
  static void body()
#define ISOLATED_TEST_CASE(...)                                                                                        \
  CLOISTER_DETAIL_ISOLATED_TEST_CASE(DOCTEST_ANONYMOUS(CLOISTER_ISOLATED_BODY_), CLOISTER_DETAIL_FIRST(__VA_ARGS__, ), \
                                     CLOISTER_DETAIL_REST(__VA_ARGS__, ))

#undef DOCTEST_SUBCASE
#define DOCTEST_SUBCASE(name)                                                                   \
  if (doctest::detail::Subcase const& DOCTEST_ANONYMOUS(DOCTEST_ANON_SUBCASE_) DOCTEST_UNUSED = \
          cloister::detail::meet_subcase(name, __FILE__, __LINE__))
#ifdef DOCTEST_GENERATE
#undef DOCTEST_GENERATE
#define DOCTEST_GENERATE(...) cloister::detail::generate(__VA_ARGS__)
#endif

#endif
