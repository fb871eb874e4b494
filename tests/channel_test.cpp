// Children that lie: what a hostile callable sends, its parent takes for what it is, in bounded time and memory.
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <list>
#include <map>

#include "caught.hpp"
#include "kinds.hpp"

using namespace std::chrono_literals;
using namespace test;
using cloister::ChildDied, cloister::ChildProcess, cloister::ChildThrew, cloister::ChildTimedOut, cloister::Error,
    cloister::ExitStatus, cloister::FileDescriptor, cloister::Isolation, cloister::MalformedResult, cloister::run;
using cloister::detail::Message, cloister::detail::MessageKind, cloister::detail::Step;

namespace {

// --- What the child does. The channel is not hard to find.

int channel() {
  for (int fd = 3; fd < 1024; ++fd) {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET) return fd;
  }
  std::fputs("there is no channel\n", stderr);
  std::abort();
}
void send_bytes(std::string const& bytes, int flags = 0) {
  (void)::send(channel(), bytes.data(), bytes.size(), MSG_NOSIGNAL | flags);
}
std::string as_bytes(Message const& message) { return {reinterpret_cast<char const*>(&message), sizeof message}; }
void send_with(Message const& message, std::string const& bytes, std::vector<int> const& fds) {
  std::string all = as_bytes(message) + bytes;
  iovec part{all.data(), all.size()};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
  }
  if (::sendmsg(channel(), &header, MSG_NOSIGNAL) < 0) std::perror("sendmsg");
}
Message message(MessageKind kind, std::uint64_t size = 0, int value = 0) { return {kind, Step::none, value, 0, size}; }

constexpr unsigned all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
int memfd(off_t size, unsigned seals) {
  int const fd = static_cast<int>(::syscall(SYS_memfd_create, "lie", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (::ftruncate(fd, size) != 0) std::perror("ftruncate");
  if (seals != 0 && ::fcntl(fd, F_ADD_SEALS, seals) != 0) std::perror("F_ADD_SEALS");
  return fd;
}

// What an exception of get() is.
template <class R = int, class F>
std::string outcome(Kind const& kind, F&& lie) {
  try {
    (void)run(kind.isolation(), std::forward<F>(lie), {.timeout = 30s});
  } catch (MalformedResult const&) {
    return "MalformedResult";
  } catch (ChildTimedOut const&) {
    return "ChildTimedOut";
  } catch (ChildDied const& died) {
    return "ChildDied: " + to_string(died.status());
  } catch (ChildThrew const&) {
    return "ChildThrew";
  } catch (Error const& error) {
    return "Error: " + std::string(error.step());
  }
  return "a result";
}

std::vector<Kind> const& all() {
  static std::vector<Kind> const some = callables();
  return some;
}

}  // namespace

TEST_CASE("rubbish is dropped, and what is sent rightly after it counts") {
  Unchanged const unchanged;
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    auto const rubbish = [] {
      unsigned state = 1;
      for (std::size_t size : {1u, 2u, 3u, 7u, 23u, 24u, 25u, 100u, 1023u, 1024u, 1025u, 1048u, 1049u, 5000u}) {
        std::string bytes(size, '\0');
        for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
        if (bytes.size() >= 4) bytes[3] = 'x';  // no kind of message
        send_bytes(bytes);
      }
    };
    CHECK(outcome(kind, [&] {
            rubbish();
            ::_exit(0);
            return 1;
          }) == "ChildDied: exited with status 0");
    CHECK(run(kind.isolation(), [&] {
            rubbish();
            return 5;
          }) == 5);
    CHECK(run(kind.isolation(), [&] {
            rubbish();
            return std::string(100'000, 'x').size();
          }) == 100'000);
  }
}

TEST_CASE("an empty message does not hang anyone") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    CHECK(outcome(kind, [] {
            send_bytes("");
            ::_exit(3);
            return 1;
          }) == "ChildDied: exited with status 3");
  }
}

TEST_CASE("a result that is not as long as announced is malformed") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    for (std::uint64_t const size :
         {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{5}, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
      CAPTURE(size);
      CHECK(outcome(kind, [size] {
              send_bytes(as_bytes(message(MessageKind::result, size)) + "four");
              return 1;
            }) == "MalformedResult");
    }
  }
}

TEST_CASE("a result that is of another type is malformed") {
  std::uint64_t const many = std::uint64_t{1} << 60;
  std::string const count(reinterpret_cast<char const*>(&many), sizeof many);
  auto const lie = [&]<class R>(R, std::string const& bytes) {
    return outcome(all().front(), [&] {
      send_bytes(as_bytes(message(MessageKind::result, bytes.size())) + bytes);
      return R{};
    });
  };
  CHECK(lie(0, "12345") == "MalformedResult");
  CHECK(lie(0, "123") == "MalformedResult");
  CHECK(lie(false, "\2") == "MalformedResult");
  CHECK(lie(std::string{}, count) == "MalformedResult");
  CHECK(lie(std::vector<std::string>{}, count + "x") == "MalformedResult");
  CHECK(lie(std::list<int>{}, count) == "MalformedResult");
  CHECK(lie(std::map<int, int>{}, count + std::string(64, 'x')) == "MalformedResult");
}

TEST_CASE("only a sealed memfd of the announced size is read") {
  TemporaryDirectory const directory;
  std::string const path = directory / "file";
  auto const sending = [](auto make) {
    return [make] {
      send_with(message(MessageKind::result, 4), "", {make()});
      return 1;
    };
  };
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    CHECK(outcome(kind, sending([] {  // this one is right
                    int const fd = memfd(4, 0);
                    if (::write(fd, "four", 4) != 4) std::perror("write");
                    ::fcntl(fd, F_ADD_SEALS, all_seals);
                    return fd;
                  })) == "a result");
    std::string const refused = "Error: read result";
    CHECK(outcome(kind, sending([] { return memfd(4, 0); })) == refused);
    CHECK(outcome(kind, sending([] { return memfd(4, F_SEAL_SHRINK); })) == refused);
    CHECK(outcome(kind, sending([] { return memfd(4, F_SEAL_WRITE); })) == refused);
    CHECK(outcome(kind, sending([] { return memfd(3, all_seals); })) == refused);
    CHECK(outcome(kind, sending([] { return memfd(5, all_seals); })) == refused);
    CHECK(outcome(kind, sending([] { return memfd(off_t{1} << 40, all_seals); })) == refused);
    CHECK(outcome(kind, sending([] {
                    int ends[2];
                    return ::pipe(ends) == 0 ? ends[0] : -1;
                  })) == refused);
    CHECK(outcome(kind, sending([] { return ::open("/dev/null", O_RDONLY); })) == refused);
    CHECK(outcome(kind, sending([] { return ::open("/dev/zero", O_RDONLY); })) == refused);
    CHECK(outcome(kind, sending([] { return ::open("/proc/self/exe", O_RDONLY); })) == refused);
    CHECK(outcome(kind, sending([] { return ::open("/", O_RDONLY | O_DIRECTORY); })) == refused);
    CHECK(outcome(kind, sending([] { return ::open("/", O_PATH); })) == refused);
    CHECK(outcome(kind, sending([] { return ::eventfd(0, 0); })) == refused);
    CHECK(outcome(kind, sending([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); })) == refused);
    CHECK(outcome(kind, sending([] { return channel(); })) == refused);
    int const terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal >= 0) CHECK(outcome(kind, sending([terminal] { return terminal; })) == refused);
    ::close(terminal);
    // Only root's plain file can be opened for sure, whoever the child is.
    FileDescriptor const file = FileDescriptor::adopt(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    CHECK(outcome(kind, sending([fd = file.get()] { return fd; })) == refused);
  }
}

TEST_CASE("a result of 2^60 bytes is refused before any memory is taken for it") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    int const status = expectations([&] {
      auto const promising = [](std::uint64_t size) {
        return [size] {
          send_with(message(MessageKind::result, size), "", {memfd(static_cast<off_t>(size), all_seals)});
          return std::string{};
        };
      };
      if (!address_sanitizer) {
        rlimit const little{std::uint64_t{1} << 30, RLIM_INFINITY};
        ::setrlimit(RLIMIT_AS, &little);
      }
      EXPECT(outcome(kind, promising(std::uint64_t{1} << 60)) == "Error: read result");
      EXPECT(outcome(kind, promising((std::uint64_t{1} << 30) + 1)) == "Error: read result");
    });
    CHECK(status == 0);
  }
}

TEST_CASE("more descriptors than one are not kept") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    for (std::size_t const count : {std::size_t{2}, std::size_t{8}, std::size_t{9}, std::size_t{253}}) {
      CAPTURE(count);
      CHECK(outcome(kind, [count] {
              std::vector<int> const fds(count, 2);
              for (int i = 0; i < 3; ++i) send_with(message(MessageKind::started), "", fds);
              send_with(message(MessageKind::result, 4), "", fds);
              return 1;
            }) == "Error: read result");
    }
  }
}

TEST_CASE("an exception is what the child says it is, and no more") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    auto const throwing = [](std::string const& text) {
      return [text] {
        send_bytes(as_bytes(message(MessageKind::threw, text.size())) + text);
        return 1;
      };
    };
    CHECK(outcome(kind, throwing("")) == "ChildThrew");
    CHECK(outcome(kind, throwing("a type and no text")) == "ChildThrew");
    CHECK(outcome(kind, throwing(std::string(3, '\0'))) == "ChildThrew");
    CHECK(caught<ChildThrew>([&] { (void)run(kind.isolation(), throwing(std::string("a\0b\0c", 5))); }).type_name() ==
          "a");
  }
}

TEST_CASE("a failure is an Error, whatever step and number the child claims") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    for (int const number : {0, -1, 1, 4096, 0x7fffffff, static_cast<int>(0x80000000)})
      for (int const step : {0, 1, 200, 255}) {
        CAPTURE(number);
        CAPTURE(step);
        CHECK_THROWS_AS((void)run(kind.isolation(),
                                  [&] {
                                    Message lie = message(MessageKind::failed, 0, number);
                                    lie.step = static_cast<Step>(step);
                                    lie.item = number;
                                    send_bytes(as_bytes(lie));
                                    return 1;
                                  }),
                        Error);
      }
  }
}

TEST_CASE("the first outcome counts, and what a child says about its start comes too late") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    CHECK(run(kind.isolation(), [] {
            for (MessageKind const late :
                 {MessageKind::started, MessageKind::ready, MessageKind::go, MessageKind{}, MessageKind{99}})
              send_with(message(late, 0, 1), "", {0});
            return 5;
          }) == 5);
    CHECK(run(kind.isolation(), [] {
            int const five = 5;
            send_bytes(as_bytes(message(MessageKind::result, sizeof five)) +
                       std::string(reinterpret_cast<char const*>(&five), 4));
            return 6;
          }) == 5);
  }
}

TEST_CASE("how a child ended is what the kernel says, not the child") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    auto const forged = [] {
      for (int i = 0; i < 3; ++i) send_bytes(as_bytes(message(MessageKind::ended, 0, 7 << 8)));
    };
    ChildProcess killed{kind.isolation(), [&] {
                          forged();
                          ::raise(SIGKILL);
                          ::_exit(3);  // PID 1 gets here
                        }};
    ExitStatus const expected =
        kind.new_pid() && !kind.reaper() ? ExitStatus::exited(3) : ExitStatus::signaled(SIGKILL);
    CHECK(killed.wait() == expected);
    ChildProcess slow{kind.isolation(), [&] {
                        forged();
                        for (;;) ::pause();
                      }};
    CHECK_FALSE(slow.wait_for(20ms));
    slow.kill(SIGKILL);
    CHECK(slow.wait() == ExitStatus::signaled(SIGKILL));
    CHECK(caught<ChildTimedOut>([&] {
            run(kind.isolation(),
                [&] {
                  forged();
                  for (;;) ::pause();
                },
                {.timeout = 50ms});
          }).status() == ExitStatus::signaled(SIGKILL));
  }
}

TEST_CASE("a child without its descriptors leaves no result, and hangs nobody") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    auto const close_all = [] {
      for (int fd = 0; fd < 1024; ++fd) ::close(fd);
    };
    CHECK(outcome(kind, [&] {
            close_all();
            return 5;
          }).starts_with("ChildDied: exited with status "));
    CHECK(outcome(kind, [&] {
            close_all();
            throw 1;
            return 5;
          }).starts_with("ChildDied: exited with status "));
    CHECK_THROWS_AS(run(kind.isolation(),
                        [&] {
                          close_all();
                          for (;;) ::pause();
                        },
                        {.timeout = 50ms}),
                    ChildTimedOut);
    // Others in their place.
    CHECK(outcome(kind, [&] {
            int const number = channel();
            close_all();
            for (int fd = 0; fd <= number; ++fd) (void)::open("/dev/null", O_RDWR);
            return 5;
          }).starts_with("ChildDied: exited with status "));
  }
}

TEST_CASE("a child that stops itself is over when its time is") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    auto const stopping = [] {
      ::raise(SIGSTOP);  // to PID 1 it means nothing
      for (;;) ::pause();
    };
    CHECK_THROWS_AS(run(kind.isolation(), stopping, {.timeout = 50ms}), ChildTimedOut);
    ChildProcess child{kind.isolation(), stopping};
    CHECK_FALSE(child.wait_for(10ms));
  }
}

TEST_CASE("a child that has filled the channel is over when its time is") {
  for (Kind const& kind : all()) {
    CAPTURE(kind.name);
    Unchanged const unchanged;
    CHECK_THROWS_AS(
        (void)run(kind.isolation(),
                  [] {
                    std::string const message(1024, 'x');
                    while (::send(channel(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
                    }
                    for (;;) ::pause();
                    return 5;
                  },
                  {.timeout = 100ms}),
        ChildTimedOut);
  }
}

TEST_CASE("processes that flood the channel after their parent's end do not keep the host from going on") {
  int const status = expectations(
      [] {
        for (Kind const& kind : all()) {
          about = kind.name;
          int ends[2];
          if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
          ChildProcess child{
              kind.isolation(), [ends] {
                ::close(ends[1]);
                std::string const bytes = as_bytes(message(MessageKind::ended, 0, 0));
                int const to = channel();
                for (std::size_t const size : {std::size_t{4}, bytes.size(), std::size_t{4}, std::size_t{1}})
                  if (::fork() == 0) {
                    ::alarm(10);
                    pollfd end{ends[0], POLLIN, 0};
                    while (::poll(&end, 1, 0) == 0)
                      for (int i = 0; i < 100'000; ++i) (void)::send(to, bytes.data(), size, MSG_NOSIGNAL);
                    ::_exit(0);
                  }
                ::usleep(20'000);
                ::_exit(7);
                return 5;
              }};
          auto const start = std::chrono::steady_clock::now();
          EXPECT(child.wait_for(10s) == ExitStatus::exited(7));
          try {
            (void)child.get();
            EXPECT(false);
          } catch (ChildDied const& died) {
            EXPECT(died.status() == ExitStatus::exited(7));
          }
          EXPECT(std::chrono::steady_clock::now() - start < 5s);
          ::close(ends[1]);
          ::close(ends[0]);
        }
      },
      15);
  CHECK(status == 0);
}
