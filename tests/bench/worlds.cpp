// A program in a world with files of its own, beside bubblewrap making the same one: the same mounts, namespaces,
// losses of privilege and filter, told to bwrap in options that are made from our description.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "figures.hpp"
#include "neighbours.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
using cloister::Isolation;
using cloister::Mount;

// --- the neighbour

// bwrap reads a filter from a descriptor, to its end: from a new one each time.
constexpr int filter_fd = 10;
class FilterFile {
 public:
  explicit FilterFile(cloister::SeccompFilter const& filter) {
    auto const& instructions = filter.instructions();
    std::size_t const size = instructions.size() * sizeof instructions[0];
    int const fd = ::mkstemp(path_.data());
    require(fd >= 0 && ::write(fd, instructions.data(), size) == static_cast<ssize_t>(size), "a file for the filter");
    ::close(fd);
    require(::posix_spawn_file_actions_init(&actions_) == 0 &&
                ::posix_spawn_file_actions_addopen(&actions_, filter_fd, path_.c_str(), O_RDONLY, 0) == 0,
            "posix_spawn_file_actions");
  }
  ~FilterFile() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::unlink(path_.c_str());
  }
  FilterFile(FilterFile const&) = delete;
  posix_spawn_file_actions_t const* actions() const { return &actions_; }

 private:
  std::string path_ = "/tmp/cloister-filter-XXXXXX";
  posix_spawn_file_actions_t actions_;
};

void add_mount(Words& words, Mount const& mount) {
  auto const add = [&words](Words const& more) { words.insert(words.end(), more.begin(), more.end()); };
  using Kind = Mount::Kind;
  switch (mount.kind()) {
    case Kind::bind:
      return add({mount.is_optional() ? "--ro-bind-try" : "--ro-bind", mount.source(), mount.target()});
    case Kind::symlink:
      return add({"--symlink", mount.source(), mount.target()});
    case Kind::proc:
      return add({"--proc", mount.target()});
    case Kind::dev:
      return add({"--dev", mount.target()});
    case Kind::tmpfs:
      return add({"--size", std::to_string(mount.size()), "--tmpfs", mount.target()});
    default:
      require(false, "bwrap has no such mount");
  }
}

Words bwrap_like(Isolation const& box, std::string const& program) {
  Words words{"bwrap"};
  if (box.on_parent_death == cloister::ParentDeath::kill_child) words.push_back("--die-with-parent");
  if (box.session == cloister::Session::fresh) words.push_back("--new-session");
  for (cloister::NamespaceType type : box.unshare)
    if (type != ns::mnt) words.push_back("--unshare-" + std::string(to_string(type)));  // which it does in any case
  if (box.init == cloister::Init::none) words.push_back("--as-pid-1");
  if (box.hostname) words.insert(words.end(), {"--hostname", *box.hostname});
  if (!box.privileges.capabilities.inherited()) words.insert(words.end(), {"--cap-drop", "ALL"});
  if (box.privileges.forbid_nesting) words.push_back("--disable-userns");
  if (box.environment.kind() == cloister::Environment::Kind::only) words.push_back("--clearenv");
  for (std::string const& name : box.environment.names())
    if (char const* const value = std::getenv(name.c_str())) words.insert(words.end(), {"--setenv", name, value});
  for (Mount const& mount : box.mounts) add_mount(words, mount);
  if (!box.root.is_writable()) words.insert(words.end(), {"--remount-ro", "/"});
  if (!box.privileges.seccomp.instructions().empty())
    words.insert(words.end(), {"--seccomp", std::to_string(filter_fd)});
  words.push_back(program);
  return words;
}

// --- the worlds

struct World {
  std::string name;
  Isolation box;
};

std::vector<World> worlds() {
  Isolation ten;
  ten.unshare = ns::user | ns::pid | ns::mnt | ns::uts | ns::ipc | ns::net | ns::cgroup;
  ten.hostname = "ten";
  ten.root = cloister::Root::empty();
  for (char const* path : {"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"})
    ten.mounts.push_back(Mount::bind(path, path).read_only());
  constexpr std::uint64_t mebibyte = 1024 * 1024;
  ten.mounts.insert(ten.mounts.end(),
                    {Mount::proc(), Mount::dev(), Mount::tmpfs("/tmp", 64 * mebibyte), Mount::tmpfs("/run", mebibyte)});
  ten.session = cloister::Session::fresh;
  return {{"ten mounts", ten}, {"`untrusted()`", Isolation::untrusted()}};
}

// --- the rows

void measure(Figures& figures, World const& world, char const* host) {
  Isolation box = world.box;
  box.mounts.push_back(Mount::bind(figures.options().program, "/program").read_only());
  Words const words = bwrap_like(box, "/program");
  FilterFile const filter{box.privileges.seccomp};
  figures.at_least(
      3, fmt::format("a program, {}, against bwrap and the same, {}", world.name, host),
      [&] { spawn_and_reap(words, filter.actions()); },
      [&] {
        cloister::ChildProcess child{box, cloister::Command{"/program"}};
        require(child.wait().success(), "a program's status");
      });
}

}  // namespace

void bench::measure_worlds(Figures& figures) {
  if (!works({"bwrap", "--version"})) return;
  for (auto const& [resident, host] : {std::pair{std::size_t{0}, "0 MiB"}, std::pair{large, "1 GiB"}})
    figures.in_fresh_process(resident, [host = host](Figures& rows) {
      for (World const& world : worlds()) measure(rows, world, host);
    });
}
