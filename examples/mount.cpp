// CLONE_NEWNS, the oldest of them: a table of mounts of one's own.
#include <sys/mount.h>

#include "demo.hpp"

namespace ns = cloister::flags;

struct Sight {
  std::size_t mounts;
  bool mounted;  // is something mounted on the directory?
  bool file;     // is our file in it?
};
Sight look_at(std::string const& directory) {
  Sight sight{0, false, access((directory + "/file").c_str(), F_OK) == 0};
  for (std::string const& line : demo::lines("/proc/self/mounts")) {
    ++sight.mounts;
    sight.mounted = sight.mounted || line.find(' ' + directory + ' ') != line.npos;
  }
  return sight;
}

int main(int argc, char** argv) try {
  cloister::Isolation const box{.unshare = ns::user | ns::mnt, .ids = cloister::IdMap::root()};
  if (demo::wants_shell(argc, argv))
    return demo::shell(box, "mount -t tmpfs none /mnt; findmnt /mnt (and in a terminal outside)");

  demo::Directory const directory;
  Sight const before = look_at(directory.path);
  auto const [first, inside] = cloister::run(box, [&] {
    Sight const copied = look_at(directory.path);  // the new table starts as a copy of the host's
    // The library has made the copy private: where / is shared, as systemd has it, the host would get this mount as
    // well.
    demo::check(mount("tmpfs", directory.path.c_str(), "tmpfs", 0, "size=1m"), "mount tmpfs");
    std::ofstream{directory.path + "/file"} << "written in the container\n";
    return std::pair{copied, look_at(directory.path)};
  });
  // Had the mount come through, it would still be there: mounts outlive those who make them.
  Sight const after = look_at(directory.path);

  demo::head();
  demo::row("mounts at first", before.mounts, first.mounts);
  demo::row("mounts afterwards", after.mounts, inside.mounts);
  demo::row("tmpfs on the dir", demo::yes_no(after.mounted), demo::yes_no(inside.mounted));
  demo::row("file in the dir", demo::yes_no(after.file), demo::yes_no(inside.file));
  return demo::verdict({{inside.mounted && inside.file, "the container has mounted a tmpfs and written a file into it"},
                        {!after.mounted && !after.file, "the host sees neither"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
