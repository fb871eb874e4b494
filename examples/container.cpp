// container [--shell | COMMAND...]: all eight namespaces at once, and a root directory with only what is put there.
// Shows what the host and the container see; then the container becomes the command, or a shell: without either word, a
// shell if there is a terminal to talk to. The command is a program of the host's /usr.
#include <fcntl.h>
#include <sys/msg.h>
#include <sys/statvfs.h>

#include <ctime>
#include <filesystem>
#include <set>

#include "demo.hpp"

namespace ns = cloister::flags;
using namespace std::chrono_literals;
using cloister::Mount;

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
  std::set<std::string> root;
  bool usr_read_only;
  std::size_t mounts;
  std::string open_files, no_new_privs;
  std::chrono::seconds uptime;
  cloister::ProcessNamespaces namespaces;
};

Sight look() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  std::size_t const queues = demo::lines("/proc/sysvipc/msg").size();  // as ipcs -q reads: a heading, a line a queue
  std::set<std::string> root;
  struct statvfs usr {};
  statvfs("/usr", &usr);
  for (auto const& entry : std::filesystem::directory_iterator{"/"}) root.insert(entry.path().filename());
  return {.hostname = cloister::hostname(),
          .pid = getpid(),
          .processes = demo::processes(),
          .uid = geteuid(),
          .queues = queues > 0 ? queues - 1 : 0,
          .interfaces = demo::interfaces(),
          .root = root,
          .usr_read_only = (usr.f_flag & ST_RDONLY) != 0,
          .mounts = demo::lines("/proc/self/mounts").size(),
          .open_files = fmt::to_string(sysconf(_SC_OPEN_MAX)),
          .no_new_privs = demo::status_of("NoNewPrivs"),
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
  demo::row("files in /", fmt::to_string(fmt::join(host.root, " ")), fmt::to_string(fmt::join(container.root, " ")));
  demo::row("/usr is read-only", demo::yes_no(host.usr_read_only), demo::yes_no(container.usr_read_only));
  demo::row("mounts", host.mounts, container.mounts);
  demo::row("open files, at most", host.open_files, container.open_files);
  demo::row("no new privileges", host.no_new_privs, container.no_new_privs);
  demo::row("up for", days(host.uptime), days(container.uptime));
  for (cloister::NamespaceType type : host.namespaces.types() & container.namespaces.types())
    demo::row(fmt::format("namespace {}", type), host.namespaces[type].inode, container.namespaces[type].inode);
  return demo::verdict({
      {differing(host.namespaces, container.namespaces) == cloister::CloneFlags::all(),
       "all eight namespaces are the container's own"},
      {container.hostname == "container" && container.pid == 1 && container.processes == 1 && container.uid == 0,
       "it has its own name, is PID 1, alone, and root"},
      {container.queues == 0 && container.interfaces == "lo", "nothing of the host's queues and network shows"},
      {!container.root.contains("home") && container.usr_read_only, "of the host's files it sees programs, read-only"},
      {container.open_files == "64" && container.no_new_privs == "1",
       "it is limited, and no set-user-id program helps it"},
      {container.uptime >= host.uptime + 24h * 1000, "it believes to have been up a thousand days longer"},
  });
}

int main(int argc, char** argv) try {
  std::vector<std::string> command(argv + 1, argv + argc);
  bool const shell = command.empty() ? isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) : command[0] == "--shell";
  if (!shell && !command.empty() && command[0].starts_with("-"))
    throw std::invalid_argument("usage: container [--shell | COMMAND...]");
  if (shell) command = {"/bin/bash"};

  cloister::Isolation box{
      .unshare = cloister::CloneFlags::all(),  // CLONE_NEWUSER among them, so that an ordinary user may have the rest
      .ids = cloister::IdMap::root(),
      .hostname = "container",
      .root = cloister::Root::empty(),
      .mounts = {Mount::proc(), Mount::dev(), Mount::tmpfs("/tmp", 64 * demo::mebibyte),
                 Mount::file("/etc/passwd", "root:x:0:0:root of the container:/root:/bin/bash\n"),
                 Mount::file("/etc/group", "root:x:0:\n"), Mount::directory("/root")},
      .loopback = cloister::Loopback::up,
      .clock = {.boottime = 24h * 1000},
      .privileges = {.no_new_privs = true, .limits = {{cloister::Resource::open_files, 64}}},
  };
  // /bin and its like lead into /usr, or, on an older system, are directories.
  for (char const* path : {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"})
    box.mounts.push_back(Mount::bind(path, path).read_only().optional());

  Queue queue;  // so that there is one to be seen on the host, until the table is complete
  Sight const host = look();
  int done[2];
  demo::check(pipe2(done, O_CLOEXEC), "pipe2");
  auto const child_main = [&] {
    int const status = compare(host, look());
    if (status != 0 || command.empty()) return status;
    fmt::print("\n");
    if (shell)
      fmt::print("A shell in the container; leave it with: exit\nTry: {}\n",
                 "ps -ef; ls /; ip addr; ipcs -q; id; uptime");
    demo::become(command);
  };
  cloister::ChildProcess container{box, child_main};

  // The pipe has ended for us when the container has become the command, which closes it there, or has ended itself.
  close(done[1]);
  for (char none; read(done[0], &none, 1) > 0;) continue;
  queue.remove();
  cloister::ExitStatus const status = container.wait();
  demo::take_terminal_back();
  try {
    return container.get();
  } catch (cloister::ChildDied const&) {  // without a result, because it became the command
    return demo::exit_code(status);
  }
} catch (std::exception const& e) {
  return demo::failed(e);
}
