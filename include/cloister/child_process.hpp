// A child that runs a callable or a program, and what comes back of it.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "child.hpp"
#include "command.hpp"
#include "detail/callable.hpp"
#include "detail/value_codecs.hpp"
#include "isolation.hpp"

namespace cloister {

template <class Signature>
class ChildProcess;

namespace detail {

struct Runner;  // run() starts children in its own ways

template <class F>
using ResultOf = std::remove_cv_t<std::invoke_result_t<std::decay_t<F>>>;

// From -> To as a function's return value would convert, but without narrowing.
template <class To, class From>
concept BecomesWithoutNarrowing = requires(From (&make)()) { std::type_identity_t<To[]>{make()}; };

template <class F, class R>
concept CallableFor = std::invocable<std::decay_t<F>> && !std::same_as<std::decay_t<F>, Command> &&
                      (std::is_void_v<R> ? std::is_void_v<ResultOf<F>>
                                         : std::same_as<ResultOf<F>, R> || BecomesWithoutNarrowing<R, ResultOf<F>>);

template <class F>
concept Callable = std::invocable<std::decay_t<F>>;

}  // namespace detail

// A child that computes an R. The signature is deduced from the callable, `ChildProcess child{isolation, [] { return 42; }}` being a
// ChildProcess<int()>, so that the handle can be a member or an element of a vector. For a program it is ChildProcess<ExitStatus()>.
// Everything but get() is Child's, and nothing is added: a ChildProcess may be moved into a Child.
template <class R>
class [[nodiscard]] ChildProcess<R()> : public Child {
  static_assert(!std::is_reference_v<R>,
                "cloister: a reference means nothing in another process: let the callable return a value");

 public:
  // Starts `callable` in a copy of this process, in the world that the isolation describes; returns when that world stands. The
  // callable is invoked once, as an rvalue; what it changes in captured references changes in the child alone: its result is the
  // only way back. Its signal handlers are the defaults, its output is flushed at its end, no atexit handler of the host runs. Throws
  // std::invalid_argument for a description that contradicts itself, Error for a step that failed, the child being reaped by then.
  template <detail::CallableFor<R> F>
  [[nodiscard]] ChildProcess(Isolation const& isolation, F&& callable)
      : ChildProcess(detail::Plan{isolation}, std::decay_t<F>(std::forward<F>(callable))) {}

  // Starts a program; returns when it runs. Its cost does not depend on this process's memory (under Init::reaper on x86-64, where
  // memory files may be executed). Throws std::invalid_argument and Error as above: a program that cannot be executed is an Error of step
  // "execve", no exit status; one that dies before that ChildDied.
  [[nodiscard]] ChildProcess(Isolation const& isolation, Command const& command)
    requires std::same_as<R, ExitStatus>
      : ChildProcess(isolation, command, {}) {}

  ChildProcess(ChildProcess&&) noexcept = default;
  ChildProcess& operator=(ChildProcess&&) noexcept = default;

  // Waits for the end of the child and gives its result, once; of a program its status, as often as asked. Throws ChildThrew for an
  // exception of the callable, ChildDied if it ended without a result, MalformedResult or Error if the child sent something else,
  // std::logic_error a second time.
  R get() {
    if constexpr (std::same_as<R, ExitStatus>)
      if (state_.is_program) return wait();
    std::string const text = fetch();
    Decoder decoder{text};
    if constexpr (std::is_void_v<R>) {
      decoder.expect_end();
    } else {
      R result = decoder.get<R>();
      decoder.expect_end();
      return result;
    }
  }

 private:
  friend struct detail::Runner;
  template <class F>
  ChildProcess(detail::Plan const& plan, F callable, detail::Deadline const* linger = nullptr)
      : Child(detail::launch_callable<R>(plan, callable, linger), plan) {}
  ChildProcess(Isolation const& isolation, Command const& command, detail::Plan::Options options)
    requires std::same_as<R, ExitStatus>
      : ChildProcess(detail::Plan{isolation, &command, options}, command.streams()) {}
  ChildProcess(detail::Plan&& plan, Stdio const& streams)
    requires std::same_as<R, ExitStatus>
      : Child(detail::launch_program(plan, streams), plan) {}

  // The encoded result. By the time the child has ended, all that it said is in the channel.
  std::string fetch() {
    (void)running();
    if (state_.fetched) throw std::logic_error("cloister: get: the result has been fetched");
    state_.fetched = true;
    ExitStatus const status = wait();
    if (state_.outcome.status == 0) take_messages();
    state_.running.channel = {};
    state_.running.moved = {};
    if (state_.outcome.status == 0) throw ChildDied(status);
    detail::Received outcome = std::move(state_.outcome);
    if (outcome.message.kind == detail::MessageKind::failed)
      throw Error(outcome.message.value, detail::name_of(outcome.message.step), {}, Error::Side::child);
    std::string text = outcome.fd ? detail::read_memfd(outcome.fd.get(), outcome.message.size) : std::move(outcome.bytes);
    if (text.size() != outcome.message.size) Decoder::malformed("it is not as long as announced");
    if (outcome.message.kind == detail::MessageKind::threw) {
      std::size_t const end = std::min(text.find('\0'), text.size());
      throw ChildThrew(text.substr(0, end), std::string_view{text}.substr(std::min(end + 1, text.size())));
    }
    return text;
  }
};

template <detail::Callable F>
ChildProcess(Isolation, F) -> ChildProcess<detail::ResultOf<F>()>;
ChildProcess(Isolation, Command) -> ChildProcess<ExitStatus()>;

static_assert(sizeof(ChildProcess<int()>) == sizeof(Child), "a ChildProcess must fit into a Child");

}  // namespace cloister
