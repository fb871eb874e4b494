// What comes back of a callable: its result, its exception, its death; and the handle that holds it.
#include <fcntl.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <sys/mman.h>

#include <climits>
#include <cloister/child_process.hpp>
#include <cloister/run.hpp>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <thread>

#include "caught.hpp"
#include "kinds.hpp"
#include "support.hpp"

using namespace std::string_literals;
using namespace std::chrono_literals;
namespace ns = cloister::flags;
using cloister::Child, cloister::ChildDied, cloister::ChildProcess, cloister::ChildThrew, cloister::Command,
    cloister::Error, cloister::ExitStatus, cloister::Init, cloister::Isolation, cloister::run;
using test::callables, test::caught, test::Kind;

namespace {

struct OwnError {
  int code;
};
struct WithText : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Callable>
ExitStatus death_of(Isolation const& isolation, Callable callable) {
  return caught<ChildDied>([&] { (void)run(isolation, std::move(callable)); }).status();
}

int free_function() { return 11; }

// To look at it is a fault of the machine, but nothing that a sanitizer would stop first.
int volatile* forbidden_memory() {
  return static_cast<int volatile*>(::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

struct OnlyAsRvalue {
  int operator()() && { return 1; }
};
struct OnlyAsLvalue {
  int operator()() & { return 1; }
};
struct EitherWay {
  std::string operator()() const& { return "lvalue"; }
  std::string operator()() && { return "rvalue"; }
};
struct NeedsArgument {
  int operator()(int) { return 1; }
};

struct Unencodable {
  int value = 0;
};

}  // namespace

template <>
struct cloister::codec<Unencodable> {
  static void encode(Encoder&, Unencodable const&) { throw std::length_error("cannot be written"); }
  static Unencodable decode(Decoder& from) { return {from.get<int>()}; }
};

// --- Which callables are taken, and what the handle is

TEST_CASE("a handle is made of a callable whose result it holds, or becomes it without narrowing") {
  using Int = int (*)();
  using Long = long (*)();
  using Text = char const* (*)();
  static_assert(std::is_constructible_v<ChildProcess<int()>, Isolation, Int>);
  static_assert(std::is_constructible_v<ChildProcess<long()>, Isolation, Int>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, Long>);
  static_assert(!std::is_constructible_v<ChildProcess<double()>, Isolation, Long>);
  static_assert(!std::is_constructible_v<ChildProcess<bool()>, Isolation, Int>);
  static_assert(!std::is_constructible_v<ChildProcess<void()>, Isolation, Int>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, void (*)()>);
  static_assert(std::is_constructible_v<ChildProcess<std::string()>, Isolation, Text>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, Text>);
  static_assert(std::is_constructible_v<ChildProcess<std::optional<int>()>, Isolation, Int>);
  CHECK(ChildProcess<long()>{Isolation{}, [] { return 5; }}.get() == 5);
  CHECK(ChildProcess<std::string()>{Isolation{}, [] { return "made in the child"; }}.get() == "made in the child");
  CHECK(ChildProcess<std::optional<int>()>{Isolation{}, [] { return 5; }}.get() == 5);
}

TEST_CASE("a handle is made of what can be called once without arguments") {
  static_assert(std::is_constructible_v<ChildProcess<int()>, Isolation, OnlyAsRvalue>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, OnlyAsLvalue>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, NeedsArgument>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, int>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation>);
}

TEST_CASE("only a handle of an ExitStatus is made of a program") {
  static_assert(std::is_constructible_v<ChildProcess<ExitStatus()>, Isolation, Command>);
  static_assert(!std::is_constructible_v<ChildProcess<int()>, Isolation, Command>);
  static_assert(!std::is_constructible_v<ChildProcess<void()>, Isolation, Command>);
}

TEST_CASE("a handle is moved and not copied, and is no larger than a Child") {
  using Handle = ChildProcess<int()>;
  static_assert(!std::is_copy_constructible_v<Handle> && !std::is_copy_assignable_v<Handle>);
  static_assert(std::is_nothrow_move_constructible_v<Handle> && std::is_nothrow_move_assignable_v<Handle>);
  static_assert(std::is_nothrow_destructible_v<Handle> && !std::is_default_constructible_v<Handle>);
  static_assert(sizeof(Handle) == sizeof(Child));
  static_assert(std::is_constructible_v<Child, Handle> && !std::is_constructible_v<Handle, Child>);
}

TEST_CASE("the signature is deduced from any callable") {
  int ten = 10;
  auto const lambda = [ten] { return ten; };
  std::function<double()> function = [] { return 2.5; };
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, lambda}), ChildProcess<int()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, function}), ChildProcess<double()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, free_function}), ChildProcess<int()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, &free_function}), ChildProcess<int()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, [] {}}), ChildProcess<void()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, []() -> std::string const { return ""; }}),
                               ChildProcess<std::string()>>);
  static_assert(std::is_same_v<decltype(ChildProcess{Isolation{}, Command{"x"}}), ChildProcess<ExitStatus()>>);
  static_assert(
      std::is_same_v<decltype(ChildProcess{Isolation{}, [] { return ExitStatus{}; }}), ChildProcess<ExitStatus()>>);
  CHECK(run({}, lambda) == 10);
  CHECK(run({}, function) == 2.5);
  CHECK(run({}, free_function) == 11);
  CHECK(run({}, &free_function) == 11);
  CHECK(run({}, std::bind(free_function)) == 11);
}

TEST_CASE("a callable is called once and as an rvalue, and may be move-only or change itself") {
  CHECK(run({}, OnlyAsRvalue{}) == 1);
  CHECK(run({}, EitherWay{}) == "rvalue");
  EitherWay const kept;
  CHECK(run({}, kept) == "rvalue");
  CHECK(run({}, [text = std::make_unique<std::string>("mine")] { return *text; }) == "mine");
  auto owner = std::make_unique<int>(7);
  CHECK(run({}, [owner = std::move(owner)]() mutable { return *std::exchange(owner, nullptr); }) == 7);
  CHECK(run({}, [count = 0]() mutable { return ++count; }) == 1);
}

TEST_CASE("a callable that is kept can start many children") {
  std::vector<std::string> const words{"a", "b"};
  auto const count = [words] { return words.size(); };
  for (int i = 0; i < 5; ++i) CHECK(run({}, count) == 2);
}

TEST_CASE("what the callable owns is destroyed in the host alone") {
  test::TemporaryDirectory directory;
  auto const path = directory / "destroyed";
  struct Mark {
    explicit Mark(std::string p) : path(std::move(p)) {}
    Mark(Mark&& other) noexcept : path(std::exchange(other.path, "")) {}
    ~Mark() {
      if (!path.empty()) ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600));
    }
    std::string path;
  };
  ChildProcess child{Isolation{}, [mark = Mark{path}] { return ::access(mark.path.c_str(), F_OK); }};
  CHECK(::access(path.c_str(), F_OK) == 0);  // the host is done with its copy
  child.wait();
  REQUIRE(::unlink(path.c_str()) == 0);
  CHECK(run({}, [mark = Mark{path}] { return 1; }) == 1);
  CHECK(::access(path.c_str(), F_OK) == 0);
}

// --- Results

TEST_CASE("a result of any size comes back") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    for (std::size_t const size :
         {0u, 1u, 255u, 256u, 1000u, 1016u, 1017u, 1023u, 1024u, 1025u, 65536u, 1u << 20, 20u << 20}) {
      CAPTURE(size);
      std::string const result = run(kind.isolation(), [size] { return std::string(size, 'x'); });
      CHECK(result.size() == size);
      CHECK(result.find_first_not_of('x') == result.npos);
    }
  }
}

TEST_CASE("a result of void comes back as an end without an error") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    ChildProcess child{kind.isolation(), [] {}};
    static_assert(std::is_void_v<decltype(child.get())>);
    CHECK_NOTHROW(child.get());
    CHECK(child.wait().success());
  }
}

TEST_CASE("a callable may return how something else ended, and that is its result and not its own status") {
  ChildProcess child{Isolation{}, [] { return run({}, Command{"sh", "-c", "exit 3"}).status; }};
  CHECK(child.get() == ExitStatus::exited(3));
  CHECK(child.wait() == ExitStatus::exited(0));
  CHECK_THROWS_AS((void)child.get(), std::logic_error);
}

TEST_CASE("nobody waits for a result that nobody fetches") {
  test::Unchanged unchanged;
  ChildProcess child{Isolation{}, [] { return std::vector<int>(5'000'000, 1); }};
  CHECK(child.wait_for(1min) == ExitStatus::exited(0));
  CHECK(child.get().size() == 5'000'000);
}

TEST_CASE("results are fetched in any order") {
  test::Unchanged unchanged;
  std::vector<ChildProcess<std::string()>> children;
  for (int i = 0; i < 8; ++i)
    children.push_back({Isolation{}, [i] { return std::string(static_cast<std::size_t>(i) * 1000, 'x'); }});
  for (std::size_t i = children.size(); i-- > 0;) CHECK(children[i].get().size() == i * 1000);
}

TEST_CASE("captured references show the host's values, and changes stay in the child") {
  int number = 1;
  std::string text = "before";
  std::size_t const size = run({}, [&] {
    number += 1;
    text += " and after";
    return text.size() + static_cast<std::size_t>(number);
  });
  CHECK(size == 18);
  CHECK(number == 1);
  CHECK(text == "before");
}

// --- Exceptions

TEST_CASE("an exception comes back as the name of its type and its text") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    auto const error = caught<ChildThrew>(
        [&] { (void)run(kind.isolation(), []() -> int { throw std::out_of_range("no such row"); }); });
    CHECK(error.type_name() == "std::out_of_range");
    CHECK(error.what() == "cloister: the callable threw std::out_of_range: no such row"s);
  }
}

TEST_CASE("an exception of any type comes back") {
  auto const thrown = [](auto callable) { return caught<ChildThrew>([&] { run({}, callable); }); };
  CHECK(thrown([] { throw WithText("own text"); }).type_name() == "(anonymous namespace)::WithText");
  CHECK(thrown([] { throw WithText("own text"); }).what() ==
        "cloister: the callable threw (anonymous namespace)::WithText: own text"s);
  CHECK(thrown([] { throw std::bad_alloc(); }).type_name() == "std::bad_alloc");
  CHECK(thrown([] { throw std::runtime_error(""); }).what() == "cloister: the callable threw std::runtime_error"s);
  CHECK(thrown([] { throw 42; }).type_name() == "int");
  CHECK(thrown([] { throw 42; }).what() == "cloister: the callable threw int"s);
  CHECK(thrown([] { throw "text"; }).type_name() == "char const*");
  CHECK(thrown([] { throw OwnError{3}; }).type_name() == "(anonymous namespace)::OwnError");
  CHECK(thrown([] { throw nullptr; }).type_name() == "decltype(nullptr)");
  CHECK(thrown([] { (void)std::vector<int>{}.at(5); }).type_name() == "std::out_of_range");
}

TEST_CASE("an exception is no result: there is no second try") {
  ChildProcess child{Isolation{}, []() -> int { throw std::runtime_error("once"); }};
  CHECK_THROWS_AS((void)child.get(), ChildThrew);
  CHECK_THROWS_AS((void)child.get(), std::logic_error);
  CHECK(child.wait() == ExitStatus::exited(1));
}

TEST_CASE("an exception with a long text comes back whole") {
  test::Unchanged unchanged;
  for (std::size_t const size : {900u, 1000u, 1024u, 100'000u, 3'000'000u}) {
    auto const error =
        caught<ChildThrew>([&] { run({}, [size] { throw std::runtime_error(std::string(size, 'x')); }); });
    CHECK(error.what() == "cloister: the callable threw std::runtime_error: " + std::string(size, 'x'));
  }
}

TEST_CASE("a result that cannot be encoded is an exception of the callable") {
  auto const error = caught<ChildThrew>([] { (void)run({}, [] { return Unencodable{}; }); });
  CHECK(error.type_name() == "std::length_error");
}

TEST_CASE("an exception of a child's child comes back through both") {
  auto const error = caught<ChildThrew>([] { run({}, [] { run({}, [] { throw std::range_error("inner"); }); }); });
  CHECK(error.type_name() == "cloister::ChildThrew");
  CHECK(test::contains(error.what(), "std::range_error: inner"));
}

// --- Deaths

TEST_CASE("a callable that exits leaves no result, and its exit status is told") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(death_of(kind.isolation(), [] {
            ::_exit(7);
            return 1;
          }) == ExitStatus::exited(7));
    CHECK(death_of(kind.isolation(), [] {
            ::_exit(0);
            return 1;
          }) == ExitStatus::exited(0));
    CHECK(death_of(kind.isolation(), [] { ::_exit(255); }) == ExitStatus::exited(255));
  }
  CHECK(caught<ChildDied>([] {
          (void)run({}, [] {
            ::_exit(7);
            return 1;
          });
        }).what() == "cloister: the child exited with status 7 and left no result"s);
}

TEST_CASE("the host's atexit handlers do not run in a child, unless its callable calls exit()") {
  SKIP_UNLESS(!test::address_sanitizer, "the leak check at exit has a status of its own");
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(test::expectations([&] {
            static int ends[2];
            EXPECT(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
            EXPECT(std::atexit([] { (void)!::write(ends[1], "!", 1); }) == 0);
            char said;
            EXPECT(cloister::run(kind.isolation(), [] { return 42; }) == 42);
            EXPECT(::read(ends[0], &said, 1) == -1);
            ChildProcess exits{kind.isolation(), [] { std::exit(7); }};
            EXPECT(exits.wait() == ExitStatus::exited(7));
            EXPECT(::read(ends[0], &said, 1) == 1);
          }) == 0);
  }
}

TEST_CASE("a callable that calls exit() ends with that status") {
  SKIP_UNLESS(!test::address_sanitizer, "the leak check at exit has a status of its own");
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(death_of(kind.isolation(), [] {
            std::exit(7);
            return 1;
          }) == ExitStatus::exited(7));
  }
}

TEST_CASE("a callable that a signal ends leaves no result, and the signal is told") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    bool const deaf = kind.new_pid() && !kind.reaper();  // PID 1 does not get what it sends itself
    CHECK(death_of(kind.isolation(), [] { return *forbidden_memory(); }).signal() == SIGSEGV);
    if (deaf) continue;
    CHECK(death_of(kind.isolation(), [] {
            ::raise(SIGKILL);
            return 1;
          }).signal() == SIGKILL);
    CHECK(death_of(kind.isolation(), [] {
            ::raise(SIGTERM);
            return 1;
          }).signal() == SIGTERM);
    CHECK(death_of(kind.isolation(), [] {
            ::raise(SIGPIPE);
            return 1;
          }).signal() == SIGPIPE);
    CHECK(death_of(kind.isolation(), [] {
            ::raise(SIGRTMAX);
            return 1;
          }).signal() == SIGRTMAX);
  }
  CHECK(caught<ChildDied>([] { run({}, [] { ::raise(SIGKILL); }); }).what() ==
        "cloister: the child ended by signal 9 (SIGKILL) and left no result"s);
}

TEST_CASE("a callable that aborts or terminates dies of SIGABRT, as PID 1 of SIGSEGV") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    int const expected = kind.new_pid() && !kind.reaper() ? SIGSEGV : SIGABRT;
    CHECK(death_of(kind.isolation(), [] { std::abort(); }).signal() == expected);
    // What the runtime says about it is not for the log of the tests.
    auto const quiet = [] { ::close(2); };
    CHECK(death_of(kind.isolation(), [=] {
            quiet();
            std::terminate();
          }).signal() == expected);
    CHECK(death_of(kind.isolation(), [=] {
            quiet();
            []() noexcept { (void)std::vector<int>{}.at(5); }();
          }).signal() == expected);
    CHECK(death_of(kind.isolation(), [=] {
            quiet();
            std::thread([] { throw 1; }).join();
          }).signal() == expected);
  }
}

TEST_CASE("a callable that overflows its stack dies of SIGSEGV") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(death_of(kind.isolation(), [] {
            std::function<int(int)> dive = [&](int depth) {
              char volatile room[4096] = {};
              return room[depth % 4096] + dive(depth + 1) + room[0];
            };
            return dive(0);
          }).signal() == SIGSEGV);
  }
}

TEST_CASE("pthread_exit ends the child without a result") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(death_of(kind.isolation(), [] {
            ::pthread_exit(nullptr);
            return 1;
          }) == ExitStatus::exited(0));
    CHECK(death_of(kind.isolation(), [] { ::pthread_exit(nullptr); }) == ExitStatus::exited(0));
  }
}

// --- Output

namespace {

// What a fresh copy of this process writes to its standard output while `body` runs in it, until its end.
template <class Body>
std::string output_of(Body body) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  std::thread reader;
  std::string text;
  std::fflush(nullptr);
  std::cout.flush();
  pid_t const copy = ::fork();
  if (copy == 0) {
    ::dup2(ends[1], 1);
    static char buffer[1 << 16];
    ::setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    try {
      body();
    } catch (std::exception const& error) {
      std::printf("thrown: %s", error.what());
    }
    std::fflush(stdout);
    std::cout.flush();
    ::_exit(0);
  }
  ::close(ends[1]);
  char part[4096];
  for (ssize_t size; (size = ::read(ends[0], part, sizeof part)) > 0;)
    text.append(part, static_cast<std::size_t>(size));
  ::close(ends[0]);
  ::waitpid(copy, nullptr, 0);
  return text;
}

}  // namespace

TEST_CASE("what a callable prints appears once, and so does what the host had not flushed") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(output_of([&] {
            std::printf("[host before]");
            run(kind.isolation(), [] { std::printf("[child]"); });
            std::printf("[host after]");
          }) == "[child][host before][host after]");
    CHECK(output_of([&] {
            std::cout << "[host before]";
            run(kind.isolation(), [] { std::cout << "[child]"; });
            std::cout << "[host after]";
          }) == "[child][host before][host after]");
  }
}

TEST_CASE("the same holds where C++ and C streams are not synchronised") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(output_of([&] {
            std::ios::sync_with_stdio(false);
            std::cout << "[host]" << std::string(500, '.');
            std::printf("(host)");
            run(kind.isolation(), [] {
              std::cout << "[child]";
              std::printf("(child)");
            });
          }).substr(0, 21) == "[child](child)(host)["s);
  }
}

TEST_CASE("output of a callable that throws, exits or forks appears once too") {
  CHECK(output_of([] {
          std::printf("[host]");
          run({}, [] {
            std::printf("[child]");
            throw std::runtime_error("x");
          });
        }) == "[child][host]thrown: cloister: the callable threw std::runtime_error: x");
  CHECK(output_of([] {
          std::printf("[host]");
          try {
            run({}, [] {
              std::printf("[child]");
              ::pthread_exit(nullptr);
            });
          } catch (ChildDied const&) {
          }
        }) == "[child][host]");
  CHECK(output_of([] {
          std::printf("[host]");
          run({}, [] {
            if (::fork() == 0)
              std::printf("[grandchild]");
            else
              ::wait(nullptr);
          });
        }) == "[grandchild][host]");
  CHECK(output_of([] {
          std::printf("[host]");
          run({}, [] {
            run({}, [] { std::printf("[inner]"); });
            std::printf("[outer]");
          });
        }) == "[inner][outer][host]");
}

TEST_CASE("much output of a callable appears once and whole") {
  std::string const text = output_of([] {
    std::printf("[host]");
    run({}, [] {
      for (int i = 0; i < 100'000; ++i) std::printf("0123456789");
    });
  });
  CHECK(text.size() == 1'000'006);
  CHECK(text.substr(1'000'000) == "[host]");
}

TEST_CASE("output through a stream buffer without a put area is flushed as well") {
  // Collects by itself, and writes when it is told to.
  struct Collector : std::streambuf {
    std::string held;
    std::streamsize xsputn(char const* text, std::streamsize size) override {
      held.append(text, static_cast<std::size_t>(size));
      return size;
    }
    int_type overflow(int_type c) override {
      held += traits_type::to_char_type(c);
      return c;
    }
    int sync() override {
      CHECK(::write(1, held.data(), held.size()) == static_cast<ssize_t>(held.size()));
      held.clear();
      return 0;
    }
  };
  CHECK(output_of([] {
          static Collector collector;
          std::cout.rdbuf(&collector);
          run({}, [] { std::cout << "[child]"; });
        }) == "[child]");
}

TEST_CASE("what the host collects in memory through cout can be read in the child") {
  CHECK(output_of([] {
          static std::stringbuf memory;
          std::cout.rdbuf(&memory);
          std::cout << "collected";
          std::string const seen = run({}, [] { return memory.str(); });
          ::dprintf(1, "%s", seen.c_str());
        }) == "collected");
}

// --- What a callable may do

TEST_CASE("a callable may start threads, and allocate in them") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(run(kind.isolation(), [] {
            std::vector<std::size_t> sums(8);
            std::vector<std::thread> threads;
            for (std::size_t& sum : sums)
              threads.emplace_back([&sum] {
                for (std::size_t i = 0; i < 1000; ++i) sum += std::string(i, 'x').size();
              });
            for (std::thread& thread : threads) thread.join();
            return sums;
          }) == std::vector<std::size_t>(8, 499'500));
  }
}

TEST_CASE("threads that a callable leaves running end with it") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables())
    CHECK(run(kind.isolation(), [] {
            std::thread([] { std::this_thread::sleep_for(1h); }).detach();
            return 3;
          }) == 3);
}

TEST_CASE("a process that a callable forks, and that returns from it too, gives no result") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(run(kind.isolation(), [] {
            pid_t const copy = ::fork();
            if (copy == 0) return 2;
            ::waitpid(copy, nullptr, 0);
            return 1;
          }) == 1);
    CHECK(caught<ChildThrew>([&] {
            run(kind.isolation(), [] {
              pid_t const copy = ::fork();
              if (copy == 0) throw 2;
              ::waitpid(copy, nullptr, 0);
              throw "1";
            });
          }).type_name() == "char const*");
  }
}

TEST_CASE("such a process gives no result in a pid namespace of its own either, where its pid is the same") {
  SKIP_UNLESS(test::user_namespaces(), "no user namespace to be had");
  CHECK(run({.unshare = ns::user | ns::pid}, [] {
          if (::unshare(CLONE_NEWPID) != 0) return 3;
          pid_t const copy = ::fork();
          if (copy == 0) return 2;  // PID 1, as we are
          ::waitpid(copy, nullptr, 0);
          return 1;
        }) == 1);
}

TEST_CASE("a process that a callable leaves behind does not keep its result") {
  int hold[2];
  REQUIRE(::pipe2(hold, O_CLOEXEC) == 0);
  ChildProcess child{Isolation{}, [&] {
                       if (::fork() == 0) {
                         char byte;
                         ::close(hold[1]);
                         (void)!::read(hold[0], &byte, 1);
                         ::_exit(0);
                       }
                       return 5;
                     }};
  CHECK(child.get() == 5);
  ::close(hold[0]);
  ::close(hold[1]);
}

TEST_CASE("children may have children, three deep") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    Isolation const isolation = kind.isolation();
    Isolation inner = isolation;
    inner.ids.reset();  // of ids that mean nothing there
    CHECK(run(isolation, [&] {
            // One that has changed its ids has to ask for its files under /proc first: its memory is a copy of its
            // parent's.
            if (kind.ids) ::prctl(PR_SET_DUMPABLE, 1);
            return 1 + run(inner, [&] { return 10 + run(inner, [] { return 100; }); });
          }) == 111);
  }
}

TEST_CASE("a child may start programs") {
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    CHECK(run(kind.isolation(), [] { return run({}, Command{"echo", "hello"}).out; }) == "hello\n");
  }
}

// --- The handle

TEST_CASE("a result is fetched once") {
  ChildProcess child{Isolation{}, [] { return 1; }};
  CHECK(child.get() == 1);
  CHECK_THROWS_WITH_AS((void)child.get(), "cloister: get: the result has been fetched", std::logic_error);
  CHECK(child.wait().success());
  CHECK(child.pid() > 0);
}

TEST_CASE("a moved-from handle is empty: every member says so, and destroying it does nothing") {
  test::Unchanged unchanged;
  ChildProcess child{Isolation{}, [] { return 1; }};
  ChildProcess const taken = std::move(child);
  // NOLINTBEGIN(bugprone-use-after-move): that is what is tested
  char const* const empty = "cloister: this handle holds no child";
  CHECK_THROWS_WITH_AS((void)child.get(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.pid(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.pidfd(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.in(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.out(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.err(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS(child.wait(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS(child.try_wait(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS(child.wait_for(1ms), empty, std::logic_error);
  CHECK_THROWS_WITH_AS(child.kill(SIGTERM), empty, std::logic_error);
  CHECK_THROWS_WITH_AS(child.stop(1ms), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.release(), empty, std::logic_error);
  CHECK_THROWS_WITH_AS((void)child.namespace_of(ns::uts), empty, std::logic_error);
  // NOLINTEND(bugprone-use-after-move)
  CHECK(taken.pid() > 0);
}

TEST_CASE("a moved-from handle can be given another child") {
  test::Unchanged unchanged;
  ChildProcess child{Isolation{}, [] { return 1; }};
  ChildProcess other = std::move(child);
  child = ChildProcess{Isolation{}, [] { return 2; }};
  CHECK(child.get() == 2);
  CHECK(other.get() == 1);
}

TEST_CASE("a handle moved to itself keeps its child") {
  ChildProcess child{Isolation{}, [] { return 4; }};
  auto& same = child;
  child = std::move(same);
  CHECK(child.get() == 4);
}

TEST_CASE("a handle that is given another child kills and reaps its own") {
  test::Unchanged unchanged;
  ChildProcess<int()> child{Isolation{}, [] { return ::pause(); }};
  pid_t const first = child.pid();
  child = ChildProcess{Isolation{}, [] { return 2; }};
  CHECK(::kill(first, 0) == -1);
  CHECK(child.get() == 2);
}

TEST_CASE("a handle fits into a Child, which can do all but get the result") {
  test::Unchanged unchanged;
  std::vector<Child> children;
  children.push_back(ChildProcess{Isolation{}, [] { return std::string("not asked for"); }});
  children.push_back(ChildProcess{Isolation{}, [] { throw 1; }});
  children.push_back(ChildProcess{Isolation{}, Command{"sh", "-c", "exit 3"}});
  CHECK(children[0].wait() == ExitStatus::exited(0));
  CHECK(children[1].wait() == ExitStatus::exited(1));
  CHECK(children[2].wait() == ExitStatus::exited(3));
}

TEST_CASE("a handle can be a member, and in a map") {
  struct Job {
    ChildProcess<int()> process;
  };
  std::map<std::string, Job> jobs;
  jobs.emplace("a", Job{{Isolation{}, [] { return 1; }}});
  jobs.emplace("b", Job{{Isolation{}, [] { return 2; }}});
  CHECK(jobs.at("a").process.get() + jobs.at("b").process.get() == 3);
}

TEST_CASE("a callable that never returns is killed with its handle") {
  test::Unchanged unchanged;
  for (Kind const& kind : callables()) {
    pid_t gone = 0;
    {
      ChildProcess child{kind.isolation(), [] {
                           for (;;) ::pause();
                         }};
      gone = child.pid();
    }
    CHECK(::kill(gone, 0) == -1);
    CHECK(errno == ESRCH);
  }
}

// --- run()

TEST_CASE("a callable that takes too long is killed, and ChildTimedOut is a ChildDied") {
  test::Unchanged unchanged;
  static_assert(std::is_base_of_v<ChildDied, cloister::ChildTimedOut>);
  for (Kind const& kind : callables()) {
    CAPTURE(kind.name);
    auto const start = std::chrono::steady_clock::now();
    auto const error = caught<cloister::ChildTimedOut>([&] {
      run(kind.isolation(),
          [] {
            for (;;) ::pause();
          },
          {.timeout = 50ms});
    });
    auto const taken = std::chrono::steady_clock::now() - start;
    CHECK(taken >= 50ms);
    CHECK(taken < 30s);
    CHECK(error.status().signal() == SIGKILL);
    CHECK(error.what() == "cloister: the child timed out and was killed: it ended by signal 9 (SIGKILL)"s);
  }
}

TEST_CASE("a callable that is in time is not disturbed by its limit") {
  CHECK(run({}, [] { return 1; }, {.timeout = 1min}) == 1);
  CHECK(run({}, [] { return 1; }, {.timeout = std::chrono::nanoseconds::max()}) == 1);
  CHECK_THROWS_AS(run({},
                      [] {
                        for (;;) ::pause();
                      },
                      {.timeout = 0ns}),
                  cloister::ChildTimedOut);
  CHECK_THROWS_AS(run({},
                      [] {
                        for (;;) ::pause();
                      },
                      {.timeout = -5s}),
                  cloister::ChildTimedOut);
}

TEST_CASE("an exception comes out of run() in time too") {
  CHECK_THROWS_AS(run({}, [] { throw 1; }, {.timeout = 1min}), ChildThrew);
  CHECK_THROWS_AS(run({}, [] { ::_exit(3); }, {.timeout = 1min}), ChildDied);
}
