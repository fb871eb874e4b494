// What the child and the parent say to each other: messages over a socket pair of type SOCK_SEQPACKET, which keeps their borders, so
// that half a message cannot be taken for a whole one.
#pragma once

#include <cstring>
#include <string>

#include "../file_descriptor.hpp"
#include "plan.hpp"
#include "syscall.hpp"

namespace cloister::detail {

enum class MessageKind : std::uint32_t {
  started = 1,  // child: `value` is its pid, or 0 where a pidfd says it; a pidfd may come with it
  ready,        // child: the world stands, the callable or program begins
  failed,       // child: `step`, `value` (errno) and `item`; the child ends
  result,       // child: the encoded result, `size` bytes, follows or comes in a memfd
  threw,        // child: likewise the type's name, a NUL, and the text
  ended,        // reaper: `value` is the wait status of PID 2
  go,           // parent: what the child waited for is done
  moved         // child: it speaks through another socket from now on, which comes with this
};

struct Message {
  MessageKind kind;
  Step step;
  std::int32_t value;
  std::int32_t item;
  std::uint64_t size;
};
static_assert(std::is_trivially_copyable_v<Message> && sizeof(Message) == 24);

// What is small travels in the message itself, the rest in a memfd, so that a child never waits for its parent to read. Small is
// little enough for a buffer on the stack: pages touched after a fork are what a start costs most.
inline constexpr std::size_t largest_inline = 1024;
// What a parent believes of a child at the most: 1 GiB.
inline constexpr std::uint64_t largest_result = std::uint64_t{1} << 30;

// Sends a message from the child, which may share its parent's memory. 0 or a negative errno.
CLOISTER_DETAIL_CHILD_SIDE inline long send_message(int channel, MessageKind kind, Step step = Step::none, int value = 0,
                                                    int item = 0) noexcept {
  Message const message{kind, step, value, item, 0};
  long const sent = sys::send(channel, &message, sizeof message, MSG_NOSIGNAL);
  return sent < 0 ? sent : 0;
}

// Sends a message with `size` bytes behind it and, unless it is negative, a descriptor. 0 or a negative errno.
inline long send_message(int channel, Message const& message, void const* bytes, std::size_t size, int fd,
                         int flags = 0) noexcept {
  ::iovec parts[2] = {{const_cast<Message*>(&message), sizeof message}, {const_cast<void*>(bytes), size}};
  alignas(::cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  ::msghdr header{};
  header.msg_iov = parts;
  header.msg_iovlen = size > 0 ? 2 : 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ::cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  long const sent = sys::sendmsg(channel, &header, MSG_NOSIGNAL | flags);
  return sent < 0 ? sent : 0;
}

// What the parent received. `status` is the size, 0 when nothing will come any more, or a negative errno (EAGAIN: nothing yet).
// `sender` is who sent it, as the kernel says it.
struct Received {
  long status = 0;
  int sender = 0;
  Message message{};
  std::string bytes;
  FileDescriptor fd;
};

// What a child said while its parent listened for something else: an honest one says no more than this.
struct Early {
  Received outcome;  // the first result, exception or failure
  Received end;      // the last word of an init
};

// Receives one message without waiting. Descriptors beyond the first are closed, and a message too short to be one of ours, or cut
// off because it is larger than any of ours, is -EBADMSG: a child may send what it likes.
inline Received receive_message(int channel) {
  Received received;
  char buffer[largest_inline];
  ::iovec parts[2] = {{&received.message, sizeof received.message}, {buffer, sizeof buffer}};
  alignas(::cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8) + CMSG_SPACE(sizeof(::ucred))] = {};
  ::msghdr header{};
  header.msg_iov = parts;
  header.msg_iovlen = 2;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  do received.status = sys::recvmsg(channel, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (received.status == -ECONNRESET);  // said once, of a child that ended without reading all; its own messages follow
  if (received.status < 0) return received;
  for (::cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS)
      std::memcpy(&received.sender, CMSG_DATA(part) + offsetof(::ucred, pid), sizeof received.sender);
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    std::size_t const count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      FileDescriptor owner = above_stdio(fd);
      if (!received.fd) received.fd = std::move(owner);
    }
  }
  // An empty message comes with its sender, the end of all messages with nothing.
  if (received.status == 0 && header.msg_controllen == 0) return received;
  auto const size = static_cast<std::size_t>(received.status);
  if (size < sizeof received.message || (header.msg_flags & MSG_TRUNC) != 0)
    received.status = -EBADMSG;
  else
    received.bytes.assign(buffer, size - sizeof received.message);
  return received;
}

struct Pipe {
  FileDescriptor read, write;
};
inline Pipe make_pipe() {
  int ends[2];
  check(sys::pipe2(ends, O_CLOEXEC), "pipe2");
  FileDescriptor second = FileDescriptor::adopt(ends[1]);
  Pipe pipe;
  pipe.read = above_stdio(ends[0]);
  pipe.write = above_stdio(second.release());
  return pipe;
}

}  // namespace cloister::detail
