// container [--shell | COMMAND...]: all eight namespaces at once. Shows what the host and the container see; then the
// container becomes the command, or a shell: without either word, a shell if there is a terminal to talk to.
#include <fcntl.h>
#include <sys/msg.h>

#include <ctime>

#include "demo.hpp"

namespace ns = cloister::flags;
using namespace std::chrono_literals;

// A System V message queue of the host, for as long as this is there.
struct Queue {
  int id = msgget(IPC_PRIVATE, 0600);
  ~Queue() { remove(); }
  void remove() {
    if (id >= 0) msgctl(std::exchange(id, -1), IPC_RMID, nullptr);
  }
};

struct Sight {
  std::string hostname;
  pid_t pid;
  std::size_t processes;
  uid_t uid;
  std::size_t queues;
  std::string interfaces;
  std::size_t mounts;
  std::chrono::seconds uptime;
  cloister::ProcessNamespaces namespaces;
};

Sight look() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  std::size_t const queues = demo::lines("/proc/sysvipc/msg").size();  // as ipcs -q reads: a heading, a line a queue
  return {.hostname = cloister::hostname(),
          .pid = getpid(),
          .processes = demo::processes(),
          .uid = geteuid(),
          .queues = queues > 0 ? queues - 1 : 0,
          .interfaces = demo::interfaces(),
          .mounts = demo::lines("/proc/self/mounts").size(),
          .uptime = std::chrono::seconds{now.tv_sec},
          .namespaces = cloister::namespaces_of(getpid())};
}

int compare(Sight const& host, Sight const& container) {
  auto const days = [](std::chrono::seconds time) {
    return fmt::format("{} days {:02}:{:02}", time / 24h, time / 1h % 24, time / 1min % 60);
  };
  demo::head();
  demo::row("host name", host.hostname, container.hostname);
  demo::row("pid", host.pid, container.pid);
  demo::row("processes in /proc", host.processes, container.processes);
  demo::row("user id", host.uid, container.uid);
  demo::row("message queues", host.queues, container.queues);
  demo::row("interfaces up", host.interfaces, container.interfaces);
  demo::row("mounts", host.mounts, container.mounts);
  demo::row("up for", days(host.uptime), days(container.uptime));
  for (cloister::NamespaceType type : host.namespaces.types() & container.namespaces.types())
    demo::row(fmt::format("namespace {}", type), host.namespaces[type].inode, container.namespaces[type].inode);
  return demo::verdict({
      {differing(host.namespaces, container.namespaces) == cloister::CloneFlags::all(),
       "all eight namespaces are the container's own"},
      {container.hostname == "container" && container.pid == 1 && container.processes == 1 && container.uid == 0,
       "it has its own name, is PID 1, alone, and root"},
      {container.queues == 0 && container.interfaces == "lo", "nothing of the host's queues and network shows"},
      {container.uptime >= host.uptime + 24h * 1000, "it believes to have been up a thousand days longer"},
  });
}

int main(int argc, char** argv) try {
  std::vector<std::string> command(argv + 1, argv + argc);
  bool const shell = command.empty() ? isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) : command[0] == "--shell";
  if (!shell && !command.empty() && command[0].starts_with("-"))
    throw std::invalid_argument("usage: container [--shell | COMMAND...]");
  if (shell) command = {"/bin/bash"};

  cloister::Isolation const box{
      .unshare = cloister::CloneFlags::all(),  // CLONE_NEWUSER among them, so that an ordinary user may have the rest
      .ids = cloister::IdMap::root(),
      .hostname = "container",
      .clock = {.boottime = 24h * 1000},
  };

  Queue queue;  // so that there is one to be seen on the host, until the table is complete
  Sight const host = look();
  int done[2];
  demo::check(pipe2(done, O_CLOEXEC), "pipe2");
  auto const child_main = [&] {
    demo::mount_proc();
    int const status = compare(host, look());
    if (status != 0 || command.empty()) return status;
    fmt::print("\n");
    if (shell)
      fmt::print("A shell in the container; leave it with: exit\nTry: {}\n", "ps -ef; ip addr; ipcs -q; id; uptime");
    demo::become(command);
  };
  cloister::ChildProcess container{box, child_main};

  // The pipe has ended for us when the container has become the command, which closes it there, or has ended itself.
  close(done[1]);
  for (char none; read(done[0], &none, 1) > 0;) continue;
  queue.remove();
  return demo::exit_status(container);
} catch (std::exception const& e) {
  return demo::failed(e);
}
