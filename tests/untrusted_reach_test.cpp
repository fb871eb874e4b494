// How code can try to reach others out of Isolation::untrusted(): by shared memory and queues, sockets, keys and networks.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "attempts.hpp"

using namespace std::string_literals;
using namespace test;
using cloister::Descriptors, cloister::Isolation, cloister::run;
using test::detail::names_in;

#if defined(__x86_64__)
namespace {

// The numbers that every program can use as well, where the kernel has them.
constexpr long x32 = 0x4000'0000;
Act call_of_32_bits(int number, int first, int second = 0, int third = 0) {
  return [=] {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third), "S"(0), "D"(0) : "memory");
    return result < 0 ? -result : 0;
  };
}
bool has_calls_of_32_bits() {
  try {
    return in_a_child(plain(), call_of_32_bits(20, 0)) == 0;  // getpid
  } catch (cloister::ChildDied const&) {  // a kernel without them ends who tries
    return false;
  }
}

}  // namespace
#endif

// --- What processes say to each other by

TEST_CASE("message queues, semaphores and shared memory of the host are not found, neither by key nor by number") {
  NEEDS_USER_NAMESPACES;
  key_t key = ::getpid();
  // With the next key that nobody has.
  auto const made = [&](auto get) {
    int id;
    do id = get(++key, IPC_CREAT | IPC_EXCL | 0666);
    while (id < 0 && errno == EEXIST);
    return std::pair{id, key};
  };
  auto const [queue, queue_key] = made([](key_t wanted, int flags) { return ::msgget(wanted, flags); });
  auto const [memory, memory_key] = made([](key_t wanted, int flags) { return ::shmget(wanted, 4096, flags); });
  auto const [semaphores, semaphores_key] = made([](key_t wanted, int flags) { return ::semget(wanted, 1, flags); });
  SKIP_UNLESS(queue >= 0 && memory >= 0 && semaphores >= 0, "no System V IPC here");

  std::vector<Attempt> const attempts{
      {"a queue by key", {ENOENT}, [key = queue_key] { return why(::msgget(key, 0)); }},
      {"memory by key", {ENOENT}, [key = memory_key] { return why(::shmget(key, 1, 0)); }},
      {"semaphores by key", {ENOENT}, [key = semaphores_key] { return why(::semget(key, 1, 0)); }},
      {"a queue by number", {EINVAL}, [id = queue] {
         struct {
           long type = 1;
           char text[1] = {};
         } message;
         return why(::msgsnd(id, &message, 1, IPC_NOWAIT));
       }},
      {"memory by number", {EINVAL}, [id = memory] { return ::shmat(id, nullptr, 0) == reinterpret_cast<void*>(-1) ? errno : 0; }},
      {"semaphores by number", {EINVAL}, [id = semaphores] {
         sembuf up{0, 1, IPC_NOWAIT};
         return why(::semop(id, &up, 1));
       }}};
  refused_inside(attempts);
  work_outside(attempts);
  refused_inside({{"remove a queue", {EINVAL}, [id = queue] { return why(::msgctl(id, IPC_RMID, nullptr)); }},
                  {"remove memory", {EINVAL}, [id = memory] { return why(::shmctl(id, IPC_RMID, nullptr)); }},
                  {"remove semaphores", {EINVAL}, [id = semaphores] { return why(::semctl(id, 0, IPC_RMID)); }}});
  std::string const count = "cat /proc/sysvipc/msg /proc/sysvipc/shm /proc/sysvipc/sem | wc -l";
  CHECK(words_of(shell(untrusted(), count).out) == std::vector<std::string>{"3"});  // the heads of the tables
  CHECK(words_of(shell(plain(), count).out) != std::vector<std::string>{"3"});
  ::msgctl(queue, IPC_RMID, nullptr);
  ::shmctl(memory, IPC_RMID, nullptr);
  ::semctl(semaphores, 0, IPC_RMID);
}

TEST_CASE("POSIX queues, semaphores and shared memory of the host are not found") {
  NEEDS_USER_NAMESPACES;
  std::string const name = "/cloister-test." + std::to_string(::getpid());
  int const memory = ::shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0666);
  SKIP_UNLESS(memory >= 0, "no POSIX shared memory here");
  Attempt const shared{"shm_open", {ENOENT}, [=] { return why(::shm_open(name.c_str(), O_RDWR, 0)); }};
  refused_inside({shared});
  work_outside({shared});
  CHECK(run(untrusted(), [] { return names_in("/dev/shm"); }).empty());
  CHECK(shell(untrusted(), "cd /dev/shm && echo *").out == "*\n");
  ::shm_unlink(name.c_str());
  ::close(memory);

  mq_attr small{};
  small.mq_maxmsg = 1;
  small.mq_msgsize = 16;
  mqd_t const queue = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666, &small);
  SKIP_UNLESS(queue >= 0, "no POSIX message queues here");
  Attempt const open_queue{"mq_open", {ENOENT}, [=] { return why(::mq_open(name.c_str(), O_RDWR | O_CLOEXEC)); }};
  refused_inside({open_queue, {"mq_unlink", {ENOENT}, [=] { return why(::mq_unlink(name.c_str())); }}});
  work_outside({open_queue});
  ::mq_unlink(name.c_str());
  ::mq_close(queue);
}

TEST_CASE("abstract sockets of the host are not found") {
  NEEDS_USER_NAMESPACES;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string const name = '\0' + "cloister-test."s + std::to_string(::getpid());
  std::memcpy(address.sun_path, name.data(), name.size());
  auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  for (int const type : {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM}) {
    CAPTURE(type);
    int const host = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(host, reinterpret_cast<sockaddr const*>(&address), size) == 0);
    if (type != SOCK_DGRAM) REQUIRE(::listen(host, 8) == 0);
    Attempt const call{"connect", {ECONNREFUSED}, [=] {
                         int const fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
                         return why(::connect(fd, reinterpret_cast<sockaddr const*>(&address), size));
                       }};
    refused_inside({call});
    work_outside({call});
    ::close(host);
  }
  CHECK_FALSE(contains(run(untrusted(), [] { return read_file("/proc/net/unix"); }), "@"));
}

TEST_CASE("key rings are closed, under whatever number they are called") {
  NEEDS_USER_NAMESPACES;
  // A key that ends with its process.
  auto const add = [] {
    return why(::syscall(SYS_add_key, "user", "cloister-test", "x", 1, KEY_SPEC_PROCESS_KEYRING));
  };
  auto const keyctl = [](int operation, int ring) -> Act { return [=] { return why(::syscall(SYS_keyctl, operation, ring, 0, 0, 0)); }; };
  std::vector<Attempt> const attempts{
      {"add_key", {ENOSYS}, add},
      {"the user's ring", {ENOSYS}, keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING)},
      {"describe", {ENOSYS}, [] {
         char text[256];
         return why(::syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_USER_KEYRING, text, sizeof text, 0));
       }}};
  refused_inside(attempts);
  refused_inside({{"request_key", {ENOSYS}, [] { return why(::syscall(SYS_request_key, "user", "cloister-test", nullptr, 0)); }},
                  {"link the user's ring", {ENOSYS}, [] {
                     return why(::syscall(SYS_keyctl, KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_PROCESS_KEYRING, 0, 0));
                   }},
                  {"a persistent ring", {ENOSYS}, keyctl(KEYCTL_GET_PERSISTENT, -1)}});
#if defined(__x86_64__)
  refused_inside({{"keyctl by x32", {ENOSYS}, [] { return why(::syscall(SYS_keyctl | x32, 0, -3, 0, 0, 0)); }}});
  if (has_calls_of_32_bits()) refused_inside({{"keyctl of i386", {ENOSYS}, call_of_32_bits(288, 0)}});
#endif
  SKIP_UNLESS(in_a_child(plain(), add) == 0, "no keys here");
  work_outside(attempts);
  // Nor are they listed.
  Attempt const list = open_attempt("/proc/keys", O_RDONLY, {EACCES});
  refused_inside({list});
  work_outside({list});
  CHECK_FALSE(shell(untrusted(), "cat /proc/keys").status.success());
}

// --- Networks

TEST_CASE("what listens on the host's loopback interface is not reached, and nothing beyond") {
  NEEDS_USER_NAMESPACES;
  for (bool const six : {false, true}) {
    CAPTURE(six);
    sockaddr_in6 address6{};
    address6.sin6_family = AF_INET6;
    address6.sin6_addr = in6addr_loopback;
    sockaddr_in address4{};
    address4.sin_family = AF_INET;
    address4.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    sockaddr_storage address{};
    socklen_t size = six ? sizeof address6 : sizeof address4;
    std::memcpy(&address, six ? static_cast<void*>(&address6) : &address4, size);
    for (int const type : {SOCK_STREAM, SOCK_DGRAM}) {
      CAPTURE(type);
      int const host = ::socket(address.ss_family, type | SOCK_CLOEXEC, 0);
      if (host < 0 || ::bind(host, reinterpret_cast<sockaddr const*>(&address), size) != 0) {
        ::close(host);
        continue;  // a machine without it
      }
      if (type == SOCK_STREAM) REQUIRE(::listen(host, 8) == 0);
      sockaddr_storage bound{};
      size = sizeof bound;
      REQUIRE(::getsockname(host, reinterpret_cast<sockaddr*>(&bound), &size) == 0);
      // What refuses a datagram is heard of by who sends it.
      Attempt const call{"connect", {ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL}, [=] {
                           int const fd = ::socket(bound.ss_family, type | SOCK_CLOEXEC, 0);
                           if (::connect(fd, reinterpret_cast<sockaddr const*>(&bound), size) != 0) return errno;
                           if (type == SOCK_STREAM) return 0;
                           char letter = 'x';
                           if (::send(fd, &letter, 1, 0) != 1) return errno;
                           return ::recv(fd, &letter, 1, MSG_DONTWAIT) < 0 && errno != EAGAIN ? errno : 0;
                         }};
      refused_inside({call});
      work_outside({call});
      ::close(host);
    }
  }
  // The addresses of examples: RFC 5737 and RFC 3849. No datagram is sent for this.
  auto const route_to = [](char const* text) -> Act {
    return [=] {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = ::htons(9);
      ::inet_pton(AF_INET, text, &address.sin_addr);
      int const fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      return why(::connect(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address));
    };
  };
  refused_inside({{"an address elsewhere", {ENETUNREACH}, route_to("198.51.100.1")}});
  // No address of the host's is there to be known.
  CHECK(run(untrusted(), [] {
          std::set<std::string> found;
          ifaddrs* addresses = nullptr;
          ::getifaddrs(&addresses);
          for (ifaddrs const* one = addresses; one != nullptr; one = one->ifa_next) {
            char text[INET6_ADDRSTRLEN] = "";
            if (one->ifa_addr == nullptr || one->ifa_addr->sa_family == AF_PACKET) continue;
            bool const six = one->ifa_addr->sa_family == AF_INET6;
            void const* const bytes = six ? static_cast<void const*>(&reinterpret_cast<sockaddr_in6 const*>(one->ifa_addr)->sin6_addr)
                                          : &reinterpret_cast<sockaddr_in const*>(one->ifa_addr)->sin_addr;
            if (::inet_ntop(six ? AF_INET6 : AF_INET, bytes, text, sizeof text) != "::1"s) found.insert(text);
          }
          ::freeifaddrs(addresses);
          return found;
        }) == std::set<std::string>{"127.0.0.1"});
}

TEST_CASE("the channel to the host is no socket in the host's network") {
  NEEDS_USER_NAMESPACES;
  auto const channel = [] {
    for (int fd = 3; fd < 64; ++fd)
      if (struct stat facts {}; ::fstat(fd, &facts) == 0 && S_ISSOCK(facts.st_mode)) return fd;
    return -1;
  };
  auto const interfaces_of = [](int fd) {
    std::set<std::string> names;
    for (int number = 1; number < 64; ++number) {
      ifreq asked{};
      asked.ifr_ifindex = number;
      if (::ioctl(fd, SIOCGIFNAME, &asked) != 0) continue;
      // To tell apart what has the same name everywhere.
      std::string name = asked.ifr_name;
      if (::ioctl(fd, SIOCGIFHWADDR, &asked) == 0)
        for (char const byte : asked.ifr_hwaddr.sa_data) name += ' ' + std::to_string(byte);
      names.insert(name);
    }
    return names;
  };
  auto const of_both = [=] {
    int const to_host = channel();
    int const own = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return std::pair{interfaces_of(to_host), interfaces_of(own)};
  };
  auto const [by_channel, by_own] = run(untrusted(), of_both);
  CHECK(by_channel == by_own);
  // A name that is taken by way of it is not taken in the host's network.
  std::string const name = '\0' + "cloister-test.channel."s + std::to_string(::getpid());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  auto const take = [=](int fd) { return why(::bind(fd, reinterpret_cast<sockaddr const*>(&address), size)); };
  auto const taken_outside = [=](Isolation const& isolation) {
    int hold[2];
    REQUIRE(::pipe2(hold, O_CLOEXEC) == 0);
    Isolation holding = isolation;
    holding.descriptors = Descriptors::only({hold[1]});
    cloister::ChildProcess child{holding, [=] {
                                   int const result = take(channel());
                                   (void)!::write(hold[1], &result, sizeof result);
                                   for (;;) ::pause();
                                 }};
    int result = -1;
    ::close(hold[1]);
    CHECK(::read(hold[0], &result, sizeof result) == sizeof result);
    CHECK(result == 0);
    ::close(hold[0]);
    int const own = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);  // of its type: each has names of its own
    int const refused = take(own);
    ::close(own);
    return refused == EADDRINUSE;
  };
  CHECK(taken_outside(plain()));
  CHECK_FALSE(taken_outside(untrusted()));
  // It serves as any other.
  std::size_t const large = 1 << 20;
  CHECK(run(untrusted(), [=] { return std::string(large, 'x'); }).size() == large);
  CHECK(contains(text_of<cloister::ChildThrew>([] { run(untrusted(), [] { throw std::runtime_error("as ever"); }); }), "as ever"));
}

TEST_CASE("no socket is made that takes long to close, for a host that is sent it") {
  NEEDS_USER_NAMESPACES;
  // Whoever has the last descriptor of such a connection waits for its peer in close(2), which may be sent along, and never reads.
  auto const linger = [](long call) -> Act {
    return [=] {
      int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      ::linger wanted{1, 600}, found{};
      socklen_t size = sizeof found;
      if (::syscall(call, fd, SOL_SOCKET, SO_LINGER, &wanted, sizeof wanted) != 0) return errno;
      if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &found, &size) != 0) return errno;
      return found.l_onoff != 0 ? 0 : EPERM;
    };
  };
  refused_inside({{"SO_LINGER", {EPERM}, linger(SYS_setsockopt)}});
  work_outside({{"SO_LINGER", {}, linger(SYS_setsockopt)}});
#if defined(__x86_64__)
  refused_inside({{"SO_LINGER of x32", {EPERM, ENOSYS}, linger(541 | x32)},
                  {"SO_LINGER of x32, numbered as of old", {EPERM, ENOSYS}, linger(SYS_setsockopt | x32)}});
  // Of a socket that there is not: who looks at it says so.
  Act const of_32_bits = call_of_32_bits(366, -1, SOL_SOCKET, SO_LINGER);
  if (has_calls_of_32_bits()) {
    CHECK(in_a_child(plain(), of_32_bits) == EBADF);
    CHECK(in_a_child(untrusted(), of_32_bits) == 0);
  }
#endif
  // Other options are as ever.
  CHECK(in_a_child(untrusted(), [] {
          int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
          return why(::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
        }) == 0);
}

TEST_CASE("there are no sockets to what no network namespace holds: other virtual machines, the one that runs this one, a modem") {
  NEEDS_USER_NAMESPACES;
  auto const open_socket = [](int family, int type) -> Act { return [=] { return why(::socket(family, type | SOCK_CLOEXEC, 0)); }; };
  constexpr int af_qipcrtr = 42;
  std::vector<Attempt> const attempts{{"a stream to a machine", {EAFNOSUPPORT}, open_socket(AF_VSOCK, SOCK_STREAM)},
                                      {"messages to a machine", {EAFNOSUPPORT}, open_socket(AF_VSOCK, SOCK_SEQPACKET)},
                                      {"a modem", {EAFNOSUPPORT}, open_socket(af_qipcrtr, SOCK_DGRAM)}};
  refused_inside(attempts);
  // Nor does a filter of their own that allows it change that.
  refused_inside({{"a stream to a machine, allowed", {EAFNOSUPPORT}, [] {
                     sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
                     sock_fprog filter{1, &allow};
                     if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) return errno;
                     return why(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
                   }},
                  {"filters taken off", {EINVAL}, [] { return why(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_DISABLED, nullptr)); }}});
  // The same by another number or a ring, which no filter looks into.
  constexpr long io_uring_setup = 425;
  auto const make_ring = [] {
    unsigned char parameters[120] = {};
    return why(::syscall(io_uring_setup, 1, parameters));
  };
  refused_inside({{"io_uring", {ENOSYS}, make_ring}});
#if defined(__x86_64__)
  refused_inside({{"socket by x32", {EAFNOSUPPORT, ENOSYS}, [] { return why(::syscall(SYS_socket | x32, AF_VSOCK, SOCK_STREAM, 0)); }}});
  if (has_calls_of_32_bits())
    refused_inside({{"socket of i386", {EAFNOSUPPORT}, call_of_32_bits(359, AF_VSOCK, SOCK_STREAM)},
                    {"socketcall of i386", {ENOSYS}, call_of_32_bits(102, 1)}});
#endif
  // All others are there as ever.
  for (int const family : {AF_UNIX, AF_INET, AF_NETLINK}) {
    CAPTURE(family);
    CHECK(in_a_child(untrusted(), open_socket(family, SOCK_DGRAM)) == 0);
  }
  // Where the machine has them at all.
  bool any = in_a_child(plain(), make_ring) == 0;
  for (Attempt const& attempt : attempts) any = any || in_a_child(plain(), attempt.act) == 0;
  SKIP_UNLESS(any, "none of this is to be had here");
}

TEST_CASE("no packet is made by hand or overheard, and no interface changed") {
  NEEDS_USER_NAMESPACES;
  auto const open_socket = [](int family, int type, int protocol) -> Act {
    return [=] { return why(::socket(family, type | SOCK_CLOEXEC, protocol)); };
  };
  auto const of_loopback = [](unsigned long request, short flags) -> Act {
    return [=] {
      int const fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
      ifreq asked{};
      std::strcpy(asked.ifr_name, "lo");
      asked.ifr_flags = flags;
      return why(::ioctl(fd, request, &asked));
    };
  };
  std::vector<Attempt> const attempts{
      {"raw", {EPERM}, open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)},
      {"raw, for any protocol", {EPERM}, open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW)},
      {"packets", {EPERM}, open_socket(AF_PACKET, SOCK_RAW, ::htons(3))},
      {"interface down", {EPERM}, of_loopback(SIOCSIFFLAGS, 0)},
      {"interface watched", {EPERM}, of_loopback(SIOCSIFFLAGS, IFF_UP | IFF_PROMISC)},
      {"interface removed or made", {EPERM}, [] {
         struct {
           nlmsghdr head{};
           ifinfomsg link{};
         } message{};
         message.head.nlmsg_len = sizeof message;
         message.head.nlmsg_type = RTM_NEWLINK;
         message.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
         message.link.ifi_index = 1;
         message.link.ifi_flags = message.link.ifi_change = IFF_UP;
         int const fd = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
         struct {
           nlmsghdr head{};
           nlmsgerr error{};
           char more[512] = {};
         } answer{};
         if (::send(fd, &message, sizeof message, 0) < 0 || ::recv(fd, &answer, sizeof answer, 0) < 0) return errno;
         return -answer.error.error;
       }}};
  refused_inside(attempts);
  work_outside(attempts, with_capabilities());
}
