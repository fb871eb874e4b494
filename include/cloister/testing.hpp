// The body of a test in a world of its own, for any test framework: what it says of its assertions reaches the parent
// one by one. doctest.hpp is built on it; examples/testing has adapters for GoogleTest and Catch2.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "child_process.hpp"
#include "detail/instruments.hpp"
#include "detail/outcome_stream.hpp"
#include "probe.hpp"
#include "run.hpp"

namespace cloister {

// How the body of a test ended. Failed assertions do not count here: they are outcomes.
struct TestEnding {
  // completed: it returned. skipped: it did not run, because such a world cannot be had here; `text` is why. failed: it
  // threw, crashed, called exit(), ran out of time, leaked, or may not be skipped; `text` is a sentence that says so.
  enum class Kind : std::uint8_t { completed, skipped, failed };
  Kind kind = Kind::completed;
  std::string text{};
};

namespace detail {
enum class Frame : std::uint8_t { outcome, ending, coverage, leak };
}

// What the body of a test, in its child, tells its parent by. An Outcome is whatever a framework needs, of the types
// that a ChildProcess may return. From any thread of the child and any process that it forks.
template <class Outcome>
class OutcomeRecorder {
 public:
  explicit OutcomeRecorder(detail::OutcomeStream& stream) noexcept : stream_(stream) {}
  // It is in the parent's hands, even if the child crashes now.
  void record(Outcome const& outcome) const { put(outcome, detail::OutcomeStream::Until::written); }
  // Returns when it has been reported, so that what the child writes before and after stands before and after it in the
  // output.
  void record_and_wait(Outcome const& outcome) const {
    detail::flush_output();
    put(outcome, detail::OutcomeStream::Until::taken);
  }

 private:
  void put(Outcome const& outcome, detail::OutcomeStream::Until until) const {
    Encoder frame;
    frame.put(detail::Frame::outcome);
    frame.put(outcome);
    stream_.put(frame.text(), until);
  }
  detail::OutcomeStream& stream_;
};

namespace detail {

// The frame of a body in its child. A process that the body forked, and that returns from it as well, ends here: it is
// not the child whose ending counts.
template <class Body>
__attribute__((no_sanitize("null")))  // a forced unwind is caught as a reference to nothing
void run_body(OutcomeStream& stream, Body&& body) {
  ThisProcess const child;
  forget_coverage();
  TestEnding ending;
  auto const threw = [&](std::string const& type, std::string_view text) {
    ending = {TestEnding::Kind::failed, join({"the body threw ", type, text.empty() ? "" : ": ", text})};
  };
  try {
    body();
  } catch (abi::__forced_unwind&) {  // pthread_exit: no ending, as with exit()
    throw;
  } catch (std::exception const& error) {
    threw(demangled(typeid(error)), error.what());
  } catch (...) {
    std::type_info const* const type = abi::__cxa_current_exception_type();
    threw(type != nullptr ? demangled(*type) : "an unknown type", {});
  }
  if (!child.is_it()) return;
  auto const put = [&](Frame kind, auto const&... content) {
    Encoder frame;
    frame.put(kind);
    (frame.put(content), ...);
    stream.put(frame.text(), OutcomeStream::Until::written);
  };
  put(Frame::ending, ending);  // before the instruments, which may end the process
  if (leaks()) put(Frame::leak);
  if (std::string const counts = save_coverage(); !counts.empty()) put(Frame::coverage, counts);
}

// What becomes of a body whose child could not be started; empty if it is not for the lack of such a world.
inline std::optional<TestEnding> refused(Isolation const& isolation) {
  Support const support = probe(isolation);
  // A file that is not there, descriptors that have run out: mistakes of the test, no lack of the machine.
  if (support || support.obstacle() == Obstacle::other) return std::nullopt;
  std::string reason = join({support.reason(), support.remedy().empty() ? "" : "; ", support.remedy()});
  char const* const required = std::getenv("CLOISTER_REQUIRE_ISOLATION");  // NOLINT(concurrency-mt-unsafe): safe unless someone sets it
  if (required == nullptr || std::string_view{required}.empty() || std::string_view{required} == "0")
    return TestEnding{TestEnding::Kind::skipped, std::move(reason)};
  return TestEnding{TestEnding::Kind::failed,
                    join({"the body cannot be isolated, and CLOISTER_REQUIRE_ISOLATION is set: ", reason})};
}

// A sentence for a child that ended otherwise than by the end of its body.
inline std::string untimely_end(Isolation const& isolation, ExitStatus const& status, bool body_is_done) {
  bool const first = isolation.unshare.contains(NamespaceType::pid) && isolation.init == Init::none;
  return join({"the child ", to_string(status), body_is_done ? " after" : " before", " the body was done",
               first && status.signal() == SIGSEGV ? " (for a PID 1 that is how abort() ends, too)" : ""});
}

}  // namespace detail

// Runs `body(OutcomeRecorder<Outcome> const&)` in a child, in a world of its own, and calls `report(Outcome)` here with
// what it records, in order, while it runs. A body that does not end within options.timeout is killed. Where the world
// cannot be had and probe() says why, the body is skipped, unless the environment has CLOISTER_REQUIRE_ISOLATION=1. A
// leak that LeakSanitizer finds in the child fails the body; what gcov and clang have counted in the child is added to
// this process's counts, by gcov through the files, where the child's world has them. Throws std::invalid_argument and
// Error as a ChildProcess does, and what `report` throws. What processes that the body left behind say after its end is
// not heard; with pid in the description they end with it.
template <class Outcome, class Body, class Report>
TestEnding run_test(Isolation const& isolation, Body&& body, Report&& report, CallOptions const& options = {}) {
  detail::Deadline const deadline = options.timeout ? detail::Deadline{*options.timeout} : detail::Deadline{};
  detail::OutcomeStream stream;
  OutcomeRecorder<Outcome> const recorder{stream};
  detail::flush_output();  // what comes before the body's output
  std::optional<ChildProcess<void()>> child;
  try {
    child.emplace(isolation, [&] { detail::run_body(stream, [&] { body(recorder); }); });
  } catch (Error const&) {
    if (auto ending = detail::refused(isolation)) return *std::move(ending);
    throw;
  } catch (ChildDied const&) {  // before the world stood: perhaps by a filter of system calls
    if (auto ending = detail::refused(isolation)) return *std::move(ending);
    throw;
  }

  std::optional<TestEnding> ending;
  bool leaked = false;
  auto const take = [&] {
    return stream.take([&](std::string_view bytes) {
      Decoder frame{bytes};
      switch (frame.get<detail::Frame>()) {
        case detail::Frame::outcome:
          report(frame.get<Outcome>());
          break;
        case detail::Frame::ending:
          ending = frame.get<TestEnding>();
          break;
        case detail::Frame::coverage:
          detail::add_coverage(frame.get<std::string>());
          break;
        case detail::Frame::leak:
          leaked = true;
          break;
        default:
          Decoder::malformed("it is of no known kind");
      }
      detail::flush_output();  // before the body goes on
    });
  };
  // The child's end is seen at once. What it says before is looked for soon after it has said something, and then ever
  // less often.
  constexpr std::chrono::microseconds soon{50}, later{1000}, latest{16000};
  std::chrono::microseconds pause = later;
  std::optional<ExitStatus> status;
  bool timed_out = false;
  while (!(status = child->wait_for(pause))) {
    pause = take() ? soon : std::min(2 * pause, latest);
    if (!deadline.passed()) continue;
    timed_out = true;
    child->kill(SIGKILL);
    status = child->wait();
    break;
  }
  take();
  using Kind = TestEnding::Kind;
  if (timed_out) return {Kind::failed, "the body timed out and was killed"};
  if (stream.lost()) return {Kind::failed, "assertions of the body are lost: this process took none for a minute"};
  bool const done = ending && ending->kind == Kind::completed;
  if (!ending || (done && !status->success() && !status->is_unknown()))
    return {Kind::failed, detail::untimely_end(isolation, *status, done)};
  // What this process has lost before, or only other threads of it still know, every copy of it has lost.
  if (leaked && done && !run(isolation, [] { return detail::leaks(); }))
    return {Kind::failed, "the body leaked memory: LeakSanitizer has said what, on its standard error"};
  return *std::move(ending);
}

}  // namespace cloister
