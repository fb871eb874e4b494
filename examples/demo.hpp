// What the demonstrations share: the host and the container side by side, the verdict, and the shell of --shell.
#pragma once

#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cloister/cloister.hpp>
#include <cloister/fmt.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace demo {

constexpr std::uint64_t mebibyte = 1024 * 1024;

// --- what the program was asked for

inline bool wants_shell(int argc, char** argv) {
  if (argc == 1) return false;
  if (argc == 2 && std::string_view{argv[1]} == "--shell") return true;
  throw std::invalid_argument(fmt::format("usage: {} [--shell]", argv[0]));
}

inline pid_t parse_pid(std::string_view text) {
  pid_t pid = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc{} || end != text.data() + text.size() || pid <= 0)
    throw std::invalid_argument(fmt::format("\"{}\" is no pid", text));
  return pid;
}

// --- rows, and the verdict below them

// A label and its cells: what the host sees, what the container sees. All but the last are cut to a column's width.
template <class... Cells>
void row(std::string_view what, Cells const&... cells) {
  constexpr std::size_t width = 24;
  std::string line = fmt::format("{:<20}", what);
  std::size_t left = sizeof...(cells);
  for (std::string const& cell : {fmt::to_string(cells)...}) {
    if (--left == 0)
      line += "  " + cell;
    else if (cell.size() > width)
      line += "  " + cell.substr(0, width - 3) + "...";
    else
      line += fmt::format("  {:<{}}", cell, width);
  }
  fmt::print("{}\n", line);
}

inline void head() { row("", "the host", "the container"); }

// What a program printed, set off from the rows.
inline void block(std::string_view title, std::string_view text) {
  fmt::print("\n{}:\n", title);
  while (!text.empty()) {
    std::size_t const end = std::min(text.find('\n'), text.size());
    std::string_view const line = text.substr(0, text.substr(0, end).find_last_not_of(' ') + 1);
    if (!line.empty()) fmt::print("  {}\n", line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// What a program prints in a container, or why it cannot be started: one that is not installed spoils no demonstration.
inline std::string output(cloister::Isolation const& box, cloister::Command const& command) {
  try {
    return cloister::run(box, command).out;
  } catch (cloister::Error const& e) {
    return e.what();
  }
}

struct Point {
  bool holds;
  std::string text;
};

// The exit status: 0 if all the points hold, else 1.
inline int verdict(std::vector<Point> const& points) {
  int status = 0;
  fmt::print("\n");
  for (Point const& point : points) {
    fmt::print("{} {}\n", point.holds ? "[holds]" : "[FAILS]", point.text);
    if (!point.holds) status = 1;
  }
  return status;
}

// For the catch at the end of main.
inline int failed(std::exception const& e) {
  std::fflush(stdout);
  fmt::print(stderr, "{}\n", e.what());
  return 1;
}

// For system calls made without the library.
inline void check(long result, char const* what) {
  if (result < 0) throw std::system_error(errno, std::system_category(), what);
}

// --- what can be seen from where the caller is

inline std::vector<std::string> lines(std::string const& path) {
  std::vector<std::string> found;
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) found.push_back(line);
  return found;
}

// An empty directory of the host, for as long as this is there.
struct Directory {
  std::string path = (std::filesystem::canonical(std::filesystem::temp_directory_path()) / "demo-XXXXXX").string();
  Directory() { check(::mkdtemp(path.data()) == nullptr ? -1 : 0, "mkdtemp"); }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Directory(Directory const&) = delete;
};

inline std::size_t processes() {
  std::size_t count = 0;
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) throw std::system_error(errno, std::system_category(), "open /proc");
  while (dirent const* const entry = ::readdir(proc)) count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
  ::closedir(proc);
  return count;
}

// Those that are up: some kernels put a few tunnels, which are down, into every net namespace.
inline std::string interfaces() {
  std::string names;
  ifaddrs* all = nullptr;
  check(::getifaddrs(&all), "getifaddrs");
  for (auto const* one = all; one != nullptr; one = one->ifa_next)  // an entry an interface, and more for its addresses
    if ((one->ifa_flags & IFF_UP) != 0 && (one->ifa_addr == nullptr || one->ifa_addr->sa_family == AF_PACKET))
      names += (names.empty() ? "" : " ") + std::string(one->ifa_name);
  ::freeifaddrs(all);
  return names;
}

// The value of a line of /proc/self/status.
inline std::string status_of(std::string_view key) {
  for (std::string const& line : lines("/proc/self/status"))
    if (line.starts_with(key)) return line.substr(line.find_first_not_of(":\t ", key.size()));
  return "?";
}

inline std::string yes_no(bool yes) { return yes ? "yes" : "no"; }

// --- the shell of --shell

// Becomes the program, as execve(2) has it: it keeps the caller's pid, 1 in a new pid namespace.
[[noreturn]] inline void become(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::fflush(stdout);
  ::execvp(argv[0], argv.data());
  fmt::print(stderr, "{}: {}\n", words[0], std::system_category().message(errno));
  ::_exit(127);  // as a shell says it
}

// A shell makes itself the foreground of its terminal; when it has gone, we are to be that again.
inline void take_terminal_back() {
  if (!::isatty(STDIN_FILENO)) return;
  auto const before = ::signal(SIGTTOU, SIG_IGN);
  ::tcsetpgrp(STDIN_FILENO, ::getpgrp());
  ::signal(SIGTTOU, before);
}

// What a shell would say of how a process ended.
inline int exit_code(cloister::ExitStatus const& status) {
  return status.code().value_or(128 + status.signal().value_or(0));
}

// A program with our streams and our terminal. Gives its exit status.
inline int run_here(cloister::Isolation const& box, cloister::Command const& command) {
  cloister::ChildProcess child{box, command};
  cloister::ExitStatus const status = child.wait();
  take_terminal_back();
  return exit_code(status);
}

// A bash in the container, for you to look round in. Gives its exit status.
inline int shell(cloister::Isolation const& box, std::string_view commands) {
  fmt::print("A shell in the container; leave it with: exit\nSee what these say: {}\n", commands);
  std::fflush(stdout);
  return run_here(box, {"/bin/bash"});
}

}  // namespace demo
