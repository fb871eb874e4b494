// CLONE_NEWUSER: ids and capabilities of one's own. The tutorial needs root for all else; with this nobody does.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>

#include "demo.hpp"

namespace ns = cloister::flags;

// The first line of /proc/self/uid_map, "0 1000 1": id 0 inside is 1000 outside, and so on for one id.
std::string uid_map() {
  unsigned inside = 0, outside = 0, count = 0;
  std::ifstream{"/proc/self/uid_map"} >> inside >> outside >> count;
  return fmt::format("{} {} {}", inside, outside, count);
}

bool read_shadow() { return std::ifstream{"/etc/shadow"}.good(); }

// Makes a device node, as only the root of the machine may, and removes it.
bool make_device() {
  std::string const path = (std::filesystem::temp_directory_path() / fmt::format("demo-{}", getpid())).string();
  return mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0 && unlink(path.c_str()) == 0;
}

int main(int argc, char** argv) try {
  cloister::Isolation const box{
      .unshare = ns::user | ns::uts,   // uts as well, for its root to have something to rule
      .ids = cloister::IdMap::root(),  // writes /proc/[pid]/uid_map and gid_map, and denies setgroups(2) where it must
  };
  if (demo::wants_shell(argc, argv))
    return demo::shell(box, "id; cat /proc/self/uid_map; hostname mine; cat /etc/shadow");

  struct Sight {
    uid_t uid;
    std::string capabilities, uid_map;
    bool renames, reads_shadow, makes_device;
  };
  uid_t const caller = getuid();
  Sight const host{caller, demo::status_of("CapEff"), uid_map(), false, read_shadow(), make_device()};
  Sight const root = cloister::run(box, [] {
    cloister::set_hostname("mine");
    return Sight{getuid(),     demo::status_of("CapEff"), uid_map(), cloister::hostname() == "mine", read_shadow(),
                 make_device()};
  });

  demo::head();
  demo::row("getuid()", host.uid, root.uid);
  demo::row("capabilities", host.capabilities, root.capabilities);
  demo::row("uid_map", host.uid_map, root.uid_map + "  (inside, outside, count)");
  demo::row("set the host name", "(not tried)", demo::yes_no(root.renames) + ", its own");
  demo::row("read /etc/shadow", demo::yes_no(host.reads_shadow), demo::yes_no(root.reads_shadow));
  demo::row("make a device", demo::yes_no(host.makes_device), demo::yes_no(root.makes_device));
  return demo::verdict({
      {root.uid == 0 && getuid() == caller, fmt::format("uid 0 inside, and still uid {} outside", caller)},
      {root.renames, "root inside rules what belongs to its user namespace: the host name here"},
      {root.reads_shadow == host.reads_shadow, "to the host's files it is the caller, and may read what that may"},
      {!root.makes_device, "what belongs to the machine is not for it, whoever the caller is"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
