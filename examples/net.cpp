// CLONE_NEWNET: interfaces, addresses, routes and ports of one's own.
#include <arpa/inet.h>
#include <sys/socket.h>

#include "demo.hpp"

namespace ns = cloister::flags;

// A TCP server on 127.0.0.1; port 0 leaves the choice to the kernel. An error is remembered, not thrown.
struct Server {
  explicit Server(std::uint16_t port) {
    sockaddr_in address{
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (bind(socket.get(), any, size) < 0 || listen(socket.get(), 1) < 0) error = errno;
    getsockname(socket.get(), any, &size);
    bound_to = ntohs(address.sin_port);
  }
  std::string result() const { return error == 0 ? "ok" : std::system_category().message(error); }

  cloister::FileDescriptor socket = cloister::FileDescriptor::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int error = 0;
  std::uint16_t bound_to = 0;
};

// Whether one can connect to a server of one's own: not while lo is down.
bool loopback_works() {
  Server const server{0};
  int const client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{
      .sin_family = AF_INET, .sin_port = htons(server.bound_to), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  return connect(client, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 && close(client) == 0;
}

int main(int argc, char** argv) try {
  // The kernel leaves lo down in a new namespace; the library brings it up, unless .loopback says Loopback::down.
  cloister::Isolation const box{.unshare = ns::user | ns::net, .ids = cloister::IdMap::root()};
  if (demo::wants_shell(argc, argv)) return demo::shell(box, "ip addr; ss -ltn");

  std::string const interfaces = cloister::run(box, demo::interfaces);
  bool const works = cloister::run(box, loopback_works);
  Server const server{0};  // holds its port on the host from here on
  std::string const again = Server{server.bound_to}.result();
  std::string const inside = cloister::run(box, [&] { return Server{server.bound_to}.result(); });

  demo::head();
  demo::row("interfaces up", demo::interfaces(), interfaces);
  demo::row("connect over lo", demo::yes_no(loopback_works()), demo::yes_no(works));
  demo::row(fmt::format("bind port {}", server.bound_to), server.result(), inside);
  demo::row("  a second time", again, "-");
  demo::row("bind port 80", "(not tried)", cloister::run(box, [] { return Server{80}.result(); }));
  return demo::verdict(
      {{interfaces == "lo" && works, "the container has no interface up but lo, and lo works"},
       {server.error == 0 && inside == "ok" && again != "ok", "one port, taken on both sides at the same time"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
