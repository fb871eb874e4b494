// What a program in a world with files of its own costs, beside bubblewrap making the same one: the same mounts,
// namespaces, losses of privilege and filter, told to bwrap in options that are made from our description. The two take
// turns, a pair at a time; the table shows the medians, how many times faster the library is, and how its cost grows with
// the memory of who calls it.
//
//   worlds [--pairs N] [--only TEXT] [--resident MIB] [PROGRAM]
//
// TEXT picks the rows that contain it. PROGRAM is executed beside /bin/true, by default `nothing` beside this program.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cloister/cloister.hpp>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "measure.hpp"

namespace {

using namespace bench;
namespace ns = cloister::flags;
using cloister::Isolation;
using cloister::Mount;

struct Options {
  int pairs = 200;
  std::string only;
  std::size_t resident = 1024;  // MiB
  std::string program;
};

// --- the neighbour

using Words = std::vector<std::string>;

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

Words bwrap(Isolation const& box, std::string const& program) {
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
  if (!box.privileges.seccomp.instructions().empty()) words.insert(words.end(), {"--seccomp", std::to_string(filter_fd)});
  words.push_back(program);
  return words;
}

// By posix_spawn, which does not copy the caller's memory either.
void run_words(Words& words, FilterFile const& filter) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  errno = ::posix_spawnp(&pid, argv[0], filter.actions(), nullptr, argv.data(), environ);
  require(errno == 0, "posix_spawn of bwrap");
  int status = 0;
  require(::waitpid(pid, &status, 0) == pid && status == 0, "bwrap's status");
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
  return {{"untrusted()", Isolation::untrusted()}, {"ten mounts", ten}};
}

// --- the table

struct Row {
  std::string name;
  Isolation box;
  std::string program;
};

struct Figures {
  double bwrap, cloister;
};

std::vector<Row> rows(Options const& options) {
  std::vector<Row> all;
  for (auto const& [name, box] : worlds()) {
    Isolation with_program = box;
    with_program.mounts.push_back(Mount::bind(options.program, "/program").read_only());
    all.push_back({name + ", nothing", with_program, "/program"});
    all.push_back({name + ", /bin/true", box, "/bin/true"});
  }
  std::erase_if(all, [&](Row const& row) { return row.name.find(options.only) == row.name.npos; });
  return all;
}

Figures measure(Row const& row, int pairs) {
  Words words = bwrap(row.box, row.program);
  FilterFile const filter{row.box.privileges.seccomp};
  auto const [theirs, ours] = medians(
      pairs, [&] { run_words(words, filter); },
      [&] {
        cloister::ChildProcess child{row.box, cloister::Command{row.program}};
        require(child.wait().success(), "a program's status");
      });
  return {theirs, ours};
}

// In a process of its own, for the memory to be gone afterwards.
std::vector<Figures> measure_from(std::size_t mebibytes, std::vector<Row> const& all, int pairs) {
  return cloister::run({}, [&] {
    become_large(mebibytes);
    std::vector<Figures> figures;
    for (Row const& row : all) figures.push_back(measure(row, pairs));
    return figures;
  });
}

Options parse(int argc, char** argv) {
  Options options;
  std::string const self = argv[0];
  options.program = self.substr(0, self.rfind('/') + 1) + "nothing";
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    if (word.starts_with("--")) require(i + 1 < argc, "an option without its value");
    if (word == "--pairs")
      options.pairs = std::max(1, std::atoi(argv[++i]));
    else if (word == "--only")
      options.only = argv[++i];
    else if (word == "--resident")
      options.resident = static_cast<std::size_t>(std::atol(argv[++i]));
    else
      options.program = word;
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  Options const options = parse(argc, argv);
  std::vector<Row> const all = rows(options);
  std::vector<Figures> const small = measure_from(0, all, options.pairs);
  std::vector<Figures> const large = measure_from(options.resident, all, options.pairs);

  constexpr double target = 3;
  fmt::print("{:<40} {:>9} {:>9} {:>8} {:>7}\n", fmt::format("median of {}, in µs", options.pairs), "bwrap", "cloister",
             "faster", "target");
  auto const print = [&](std::string const& name, Figures const& figures) {
    double const faster = figures.bwrap / figures.cloister;
    fmt::print("{:<39} {:>9.1f} {:>9.1f} {:>8.2f} {:>7.2f}  {}", name, figures.bwrap, figures.cloister, faster, target,
               faster >= target ? "ok" : "under");
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    print(all[i].name, small[i]);
    print(fmt::format("\n{}, {} MiB", all[i].name, options.resident), large[i]);
    fmt::print(", {:.2f} times what it is with 0\n", large[i].cloister / small[i].cloister);
  }
}
