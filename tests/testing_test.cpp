#include <cloister/testing.hpp>

#include "kinds.hpp"
#include "support.hpp"

using cloister::CallOptions, cloister::Isolation, cloister::OutcomeRecorder, cloister::TestEnding,
    cloister::detail::OutcomeStream;
using namespace std::chrono_literals;
using namespace test;
using End = TestEnding::Kind;
using Until = OutcomeStream::Until;

namespace {

using Texts = std::vector<std::string>;
using Recorder = OutcomeRecorder<std::string>;

struct Ran {
  TestEnding ending;
  Texts outcomes;
};
template <class Body>
Ran run(Isolation const& isolation, Body&& body, CallOptions const& options = {}) {
  Ran ran;
  ran.ending = cloister::run_test<std::string>(
      isolation, body, [&](std::string outcome) { ran.outcomes.push_back(std::move(outcome)); }, options);
  return ran;
}

}  // namespace

TEST_CASE("outcomes come in order, whatever their size, from every kind of child, and none stays behind") {
  Unchanged const unchanged;
  for (test::Kind const& kind : callables()) {
    CAPTURE(kind.name);
    std::string const large(2'000'000, 'x');
    Ran const ran = run(kind.isolation(), [&](Recorder const& recorder) {
      recorder.record("one");
      recorder.record_and_wait("");
      recorder.record(large);
      recorder.record("last");
    });
    CHECK(ran.ending.kind == End::completed);
    CHECK(ran.ending.text == "");
    CHECK(ran.outcomes == Texts{"one", "", large, "last"});
  }
}

TEST_CASE("a body that waits goes on when its outcome has been reported") {
  TemporaryDirectory const directory;
  std::string const file = directory / "reported";
  auto const ending = cloister::run_test<int>(
      {},
      [&](OutcomeRecorder<int> const& recorder) {
        recorder.record_and_wait(1);
        recorder.record(::access(file.c_str(), F_OK));
      },
      [&](int outcome) {
        if (outcome == 1) std::fclose(std::fopen(file.c_str(), "we"));
        CHECK(outcome != -1);
      });
  CHECK(ending.kind == End::completed);
}

TEST_CASE("a flood of outcomes blocks nobody and needs little memory") {
  std::size_t count = 0;
  auto const ending = cloister::run_test<std::string>(
      {},
      [](Recorder const& recorder) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
          threads.emplace_back([&] {
            for (int k = 0; k < 50'000; ++k) recorder.record(std::string(static_cast<std::size_t>(k % 100), 'y'));
          });
        for (std::thread& thread : threads) thread.join();
      },
      [&](std::string const& outcome) { count += outcome.find_first_not_of('y') == outcome.npos; });
  CHECK(ending.kind == End::completed);
  CHECK(count == 200'000);
}

TEST_CASE("how a body ended otherwise is told in a sentence") {
  auto const said = [](auto body, CallOptions const& options = {}) {
    Ran const ran = run(
        {},
        [&](Recorder const& recorder) {
          recorder.record("before");
          body();
        },
        options);
    CHECK(ran.outcomes == Texts{"before"});
    CHECK(ran.ending.kind == End::failed);
    return ran.ending.text;
  };
  CHECK(said([] { throw std::runtime_error("a text"); }) == "the body threw std::runtime_error: a text");
  CHECK(said([] { throw 42; }) == "the body threw int");
  CHECK(said([] { ::_exit(0); }) == "the child exited with status 0 before the body was done");
  CHECK(said([] { ::raise(SIGKILL); }) == "the child ended by signal 9 (SIGKILL) before the body was done");
  CHECK(said(
            [] {
              for (;;) ::pause();
            },
            {.timeout = 100ms}) == "the body timed out and was killed");
}

TEST_CASE("what reports may throw: the child does not outlive it") {
  Unchanged const unchanged;
  CHECK_THROWS_AS(cloister::run_test<int>(
                      {},
                      [](OutcomeRecorder<int> const& recorder) {
                        recorder.record_and_wait(1);
                        for (;;) ::pause();
                      },
                      [](int) { throw std::length_error("enough"); }),
                  std::length_error);
}

TEST_CASE("a description that contradicts itself is an error, and no reason to skip") {
  CHECK_THROWS_AS(run({.hostname = "x"}, [](Recorder const&) {}), std::invalid_argument);
}

TEST_CASE("a process of the body that is killed while it speaks leaves the others a stream that can be read") {
  OutcomeStream stream;
  int const talker = ::fork();
  if (talker == 0)
    for (;;)
      stream.put(std::string(1'000'000, 'z'), Until::written);  // more than there is room for: it waits in the middle
  Texts taken;
  auto const take = [&] { return stream.take([&](std::string_view frame) { taken.emplace_back(frame); }); };
  REQUIRE(wait_until(take));
  ::kill(talker, SIGKILL);
  ::waitpid(talker, nullptr, 0);
  std::thread other([&] { stream.put("whole", Until::written); });
  CHECK(wait_until([&] {
    take();
    return !taken.empty() && taken.back() == "whole";
  }));
  other.join();
  for (std::string const& frame : taken) CHECK((frame == "whole" || frame == std::string(1'000'000, 'z')));
}

TEST_CASE("who speaks to a parent that takes nothing does not wait for ever, and what is lost is known") {
  OutcomeStream stream{0s};
  stream.put("taken", Until::taken);
  CHECK(stream.lost());
  stream.put("after it", Until::taken);
  Texts taken;
  stream.take([&](std::string_view frame) { taken.emplace_back(frame); });
  CHECK(taken == Texts{"taken"});

  OutcomeStream full{0s};
  for (int i = 0; i < 1000 && !full.lost(); ++i) full.put(std::string(10'000, 'a'), Until::written);
  CHECK(full.lost());
}
