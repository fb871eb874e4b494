// CLONE_NEWIPC: System V queues, semaphores and shared memory, and POSIX message queues, of one's own.
#include <fcntl.h>
#include <mqueue.h>
#include <sys/msg.h>

#include "demo.hpp"

namespace ns = cloister::flags;

// A queue of each kind, found by key and by name. Both outlive the process that made them: the destructor removes them.
struct Queues {
  key_t key;
  std::string name;

  Queues(key_t its_key, std::string its_name) : key(its_key), name(std::move(its_name)) {
    if (system_v_found() || posix_found()) throw std::runtime_error("somebody else has queues called " + name);
  }
  ~Queues() {
    if (int const id = msgget(key, 0); id >= 0) msgctl(id, IPC_RMID, nullptr);
    mq_unlink(name.c_str());
  }
  void make() const {
    demo::check(msgget(key, IPC_CREAT | IPC_EXCL | 0600), "msgget");
    mqd_t const queue = mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, nullptr);
    demo::check(queue, "mq_open");
    mq_close(queue);
  }
  bool system_v_found() const { return msgget(key, 0) >= 0; }
  bool posix_found() const {
    mqd_t const queue = mq_open(name.c_str(), O_RDONLY);
    return queue >= 0 && mq_close(queue) == 0;
  }
};

struct Found {
  bool system_v, posix;
};
Found look_for(Queues const& queues) { return {queues.system_v_found(), queues.posix_found()}; }
void row(char const* what, bool host, bool container) {
  demo::row(what, host ? "found" : "not found", container ? "found" : "not found");
}

int main(int argc, char** argv) try {
  cloister::Isolation const box{.unshare = ns::user | ns::ipc, .ids = cloister::IdMap::root()};
  if (demo::wants_shell(argc, argv)) return demo::shell(box, "ipcs -q; ipcmk -Q; ipcs -q (and in a terminal outside)");

  Queues const hosts{0x10000000 + getpid(), fmt::format("/demo-{}-host", getpid())};
  Queues const containers{0x20000000 + getpid(), fmt::format("/demo-{}-container", getpid())};
  hosts.make();
  auto const [hosts_inside, containers_inside] = cloister::run(box, [&] {
    containers.make();
    return std::pair{look_for(hosts), look_for(containers)};
  });
  // Had the container's come to be on the host, they would still be there now that the container has ended.
  Found const hosts_outside = look_for(hosts), containers_outside = look_for(containers);

  demo::head();
  fmt::print("a queue made on the host\n");
  row("  msgget(2)", hosts_outside.system_v, hosts_inside.system_v);
  row("  mq_open(3)", hosts_outside.posix, hosts_inside.posix);
  fmt::print("a queue made in the container\n");
  row("  msgget(2)", containers_outside.system_v, containers_inside.system_v);
  row("  mq_open(3)", containers_outside.posix, containers_inside.posix);
  demo::block("ipcs -q on the host", demo::output({}, {"ipcs", "-q"}));
  demo::block("ipcs -q in a container", demo::output(box, {"ipcs", "-q"}));

  auto const both = [](Found found) { return found.system_v && found.posix; };
  auto const neither = [](Found found) { return !found.system_v && !found.posix; };
  return demo::verdict({
      {both(hosts_outside) && neither(hosts_inside), "the container does not find the host's queues"},
      {both(containers_inside) && neither(containers_outside), "the host does not find the container's"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
