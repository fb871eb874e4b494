// Two network namespaces on two threads of one program. A socket belongs for ever to the one that it was made in: also
// when its thread has left, and whichever thread uses it.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <thread>

#include "demo.hpp"

namespace ns = cloister::flags;
using cloister::FileDescriptor, cloister::Namespace;

FileDescriptor tcp_socket() { return FileDescriptor::adopt(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

// 127.0.0.1:8080, in whatever network the socket lies.
struct Address {
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  sockaddr* any = reinterpret_cast<sockaddr*>(&address);
};

std::string result_of(int call) { return call == 0 ? "ok" : std::system_category().message(errno); }

// One of the two networks, and what was seen of it.
struct Network {
  std::string name;
  Namespace place = Namespace::create(ns::net);  // without a process; it lives while something holds it
  FileDescriptor server{}, client{};             // made inside
  std::string bound{}, inside{}, afterwards{};
};

// On a thread of its own: goes in, makes two sockets, and comes out again.
void visit(Network& network) {
  {
    cloister::ScopedEnter const inside{network.place};
    cloister::bring_up_loopback();
    network.server = tcp_socket();
    network.client = tcp_socket();
    network.bound = result_of(::bind(network.server.get(), Address{}.any, sizeof(sockaddr_in)));
    demo::check(::listen(network.server.get(), 1), "listen");
    network.inside = to_string(Namespace::current(ns::net).id());
  }
  network.afterwards = to_string(Namespace::current(ns::net).id());
}

// Whom a socket reaches at 127.0.0.1:8080: the server there says its name.
std::string reached_by(FileDescriptor const& socket, Network const& network) {
  if (::connect(socket.get(), Address{}.any, sizeof(sockaddr_in)) < 0) return std::system_category().message(errno);
  FileDescriptor const peer = FileDescriptor::adopt(::accept(network.server.get(), nullptr, nullptr));
  demo::check(::send(peer.get(), network.name.data(), network.name.size(), 0), "send");
  char name[16];
  ssize_t const size = ::recv(socket.get(), name, sizeof name, 0);
  demo::check(size, "recv");
  return std::string(name, static_cast<std::size_t>(size));
}

struct Seen {
  std::string inside, bound, afterwards, old_socket, new_socket;
};
struct Pair {
  std::string home;
  Seen left, right;
};

Pair look_at_a_pair() {
  Network left{.name = "left"}, right{.name = "right"};
  std::thread on_the_left(visit, std::ref(left)), on_the_right(visit, std::ref(right));
  on_the_left.join();
  on_the_right.join();

  // This thread has been in neither.
  auto const seen = [](Network const& network) {
    return Seen{network.inside, network.bound, network.afterwards, reached_by(network.client, network),
                reached_by(tcp_socket(), network)};
  };
  return {to_string(Namespace::current(ns::net).id()), seen(left), seen(right)};
}

int main(int argc, char**) try {
  if (argc > 1) throw std::invalid_argument("netns_pair takes no arguments");
  // A thread needs a privilege to change its network. In a child in a user namespace anybody has it; a root host could
  // do without the child.
  auto const [home, left, right] =
      cloister::run({.unshare = ns::user | ns::net, .ids = cloister::IdMap::root()}, look_at_a_pair);

  demo::row("", "the left thread", "the right thread");
  demo::row("network, inside", left.inside, right.inside);
  demo::row("bind port 8080", left.bound, right.bound);
  demo::row("network, afterwards", left.afterwards, right.afterwards);
  demo::row("its socket reaches", left.old_socket, right.old_socket);
  demo::row("a new one reaches", left.new_socket, right.new_socket);
  return demo::verdict({{left.inside != right.inside && left.bound == "ok" && right.bound == "ok",
                         "two threads were in two networks and took the same port"},
                        {left.afterwards == home && right.afterwards == home, "both came back"},
                        {left.old_socket == "left" && right.old_socket == "right",
                         "a socket made inside is still there, also for a thread that never was"},
                        {left.new_socket != "left" && right.new_socket != "right", "a socket made outside is not"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
