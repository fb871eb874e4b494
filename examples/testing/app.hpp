// A small daemon as somebody may have written it, without a thought of tests: it wants port 80, /etc, to be root or PID
// 1, the uptime of the machine, and a network.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace app {

inline void check(long result, char const* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
}

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) { check(fd, "socket"); }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

inline sockaddr_in on_this_machine(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Greets each client by the address that it comes from.
class Server {
 public:
  Server() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = on_this_machine(80);
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    check(::bind(listener_.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address), "bind port 80");
    check(::listen(listener_.fd(), 8), "listen");
  }
  // Waits for a client; its address.
  std::string serve_one() {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    Socket const client{::accept4(listener_.fd(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC)};
    char text[INET_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
    std::string const greeting = std::string("hello, ") + text + "\n";
    check(::write(client.fd(), greeting.data(), greeting.size()), "write");
    return text;
  }

 private:
  Socket listener_;
};

// Connects, and tries again while nothing answers, with pauses that double.
inline Socket connect_patiently(std::uint16_t port, int attempts, std::chrono::milliseconds pause) {
  sockaddr_in const address = on_this_machine(port);
  for (int left = attempts;; --left, pause *= 2) {
    Socket socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (::connect(socket.fd(), reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0) return socket;
    if (left <= 1)
      throw std::system_error(errno, std::system_category(),
                              "no answer after " + std::to_string(attempts) + " attempts");
    std::this_thread::sleep_for(pause);
  }
}

// The first process of a container: waits for the main one and, as PID 1 must, for every orphan that ends meanwhile or
// after it. How many others there were.
inline int reap_until_all_have_ended(pid_t main_process) {
  int others = 0;
  for (;;) {
    pid_t const ended = ::waitpid(-1, nullptr, 0);
    if (ended < 0 && errno == ECHILD) return others;
    if (ended > 0 && ended != main_process) ++others;
  }
}

// "key = value" a line, from the one place where it may be.
inline std::map<std::string, std::string> load_settings() {
  std::ifstream file{"/etc/app.conf"};
  if (!file) throw std::runtime_error("/etc/app.conf is missing");
  std::map<std::string, std::string> settings;
  for (std::string line; std::getline(file, line);)
    if (std::size_t const at = line.find(" = "); at != line.npos) settings[line.substr(0, at)] = line.substr(at + 3);
  return settings;
}

// Who starts it as root has it work for the whole machine.
inline std::string state_directory() {
  if (::geteuid() == 0) return "/var/lib/app";
  char const* const home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "/nonexistent") + "/.local/state/app";
}

// The trial licence is good for a machine that has been up for less than thirty days.
inline bool trial_has_expired() {
  timespec up{};
  check(::clock_gettime(CLOCK_BOOTTIME, &up), "clock_gettime");
  return std::chrono::seconds{up.tv_sec} >= std::chrono::hours{24 * 30};
}

}  // namespace app
