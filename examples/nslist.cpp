// nslist [--type TYPE[,TYPE]...] [--pid PID] [--dot]: every namespace in sight as a table, as lsns(8) has it, with what
// holds those that have no process, and below it the trees of the user and the pid namespaces. --type shows those of a
// few types, --pid those that a process is in; --dot draws all of it for Graphviz: nslist --dot | dot -Tsvg
// >namespaces.svg
#include <pwd.h>

#include <charconv>
#include <optional>

#include "demo.hpp"

namespace ns = cloister::flags;
using cloister::NamespaceInfo, cloister::NamespaceListing, cloister::NamespaceId;

struct Options {
  cloister::CloneFlags types = cloister::CloneFlags::all();
  std::optional<pid_t> pid;
  bool dot = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string_view const word = argv[i];
    std::string_view const value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--dot") {
      options.dot = true;
    } else if (word == "--type" && !value.empty()) {
      options.types = cloister::CloneFlags::parse(value);
      ++i;
    } else if (word == "--pid" && !value.empty()) {
      pid_t pid = 0;
      auto const [end, error] = std::from_chars(value.data(), value.data() + value.size(), pid);
      if (error != std::errc{} || end != value.data() + value.size() || pid <= 0)
        throw std::invalid_argument(fmt::format("nslist: \"{}\" is no pid", value));
      options.pid = pid;
      ++i;
    } else {
      throw std::invalid_argument("usage: nslist [--type TYPE[,TYPE]...] [--pid PID] [--dot]");
    }
  }
  return options;
}

NamespaceListing listing_for(Options const& options) {
  NamespaceListing listing = cloister::list_namespaces(options.types);
  if (options.pid) {
    cloister::ProcessNamespaces const there = cloister::namespaces_of(*options.pid);
    std::erase_if(listing.namespaces, [&](NamespaceInfo const& info) {
      return !there.contains(info.id.type) || there[info.id.type] != info.id;
    });
  }
  return listing;
}

// --- the table

std::string user_of(NamespaceInfo const& info) {
  if (!info.uid) return "";
  passwd const* const user = ::getpwuid(*info.uid);
  return user != nullptr ? user->pw_name : std::to_string(*info.uid);
}

// What keeps it alive apart from its processes.
std::string held_by(NamespaceInfo const& info) {
  std::string text;
  auto const add = [&text](std::string const& what) { text += (text.empty() ? "" : ", ") + what; };
  auto const count = [&add](std::size_t number, std::string_view what) {
    if (number > 0) add(fmt::format("{} {}{}", number, what, number == 1 ? "" : "s"));
  };
  count(info.threads, "thread");
  count(info.children_links, "link for children");
  count(info.descriptors, "descriptor");
  for (std::string path : info.mounts) {
    // Who may mount may call a mount as it likes.
    for (char& c : path)
      if ((c >= 0 && c < ' ') || c == '\x7f') c = '?';
    add(path);
  }
  if (text.empty() && info.processes == 0) text = "what lies in it";
  return text;
}

std::string inode_of(std::optional<NamespaceId> const& id) { return id ? std::to_string(id->inode) : ""; }

void print_table(NamespaceListing const& listing) {
  fmt::print("{:>10} {:<6} {:>6} {:>7} {:<8} {:>10} {:>10} {}\n", "NS", "TYPE", "NPROCS", "PID", "USER", "OWNER",
             "PARENT", "COMMAND");
  for (NamespaceInfo const& info : listing.namespaces) {
    std::string const held = held_by(info);
    fmt::print("{:>10} {:<6} {:>6} {:>7} {:<8} {:>10} {:>10} {}{}\n", info.id.inode, info.id.type, info.processes,
               info.first_pid == 0 ? "" : std::to_string(info.first_pid), user_of(info), inode_of(info.owner),
               inode_of(info.parent), info.command, held.empty() ? "" : fmt::format(" [{}]", held));
  }
}

void print_gaps(NamespaceListing const& listing) {
  auto const say = [](std::string_view what, std::size_t number) {
    if (number > 0) fmt::print("\n{}: {}", what, number);
  };
  say("processes that may not be looked at, which takes CAP_SYS_PTRACE", listing.unreadable_processes);
  say("processes that do not show their descriptors", listing.unreadable_descriptor_tables);
  say("mnt namespaces that do not show their mounts", listing.unreadable_mount_tables);
  if (listing.hidden_processes) fmt::print("\nthis /proc does not list all processes");
  fmt::print("\n");
}

// --- the drawing

std::string in_quotes(std::string_view text) {
  std::string result = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return result + '"';
}

// The start of a command, not cut within a character.
std::string_view shortened(std::string_view command) {
  std::size_t size = std::min<std::size_t>(command.size(), 40);
  while (size > 0 && size < command.size() && (command[size] & 0xc0) == 0x80) --size;
  return command.substr(0, size);
}

// A box a namespace; a line from a parent to its child, a dashed one from an owner to what it owns.
void print_dot(NamespaceListing const& listing) {
  fmt::print("digraph namespaces {{\n  rankdir=LR;\n  node [shape=box];\n");
  for (NamespaceInfo const& info : listing.namespaces) {
    std::string const id = to_string(info.id);
    std::string label = id;
    if (info.processes > 0)
      label += fmt::format("\n{} processes, first {} {}", info.processes, info.first_pid, shortened(info.command));
    else
      label += "\n" + held_by(info);
    fmt::print("  {} [label={}];\n", in_quotes(id), in_quotes(label));
    if (info.parent) fmt::print("  {} -> {};\n", in_quotes(to_string(*info.parent)), in_quotes(id));
    if (info.owner && info.owner != info.parent)
      fmt::print("  {} -> {} [style=dashed];\n", in_quotes(to_string(*info.owner)), in_quotes(id));
  }
  fmt::print("}}\n");
}

int main(int argc, char** argv) try {
  Options const options = parse(argc, argv);
  NamespaceListing const listing = listing_for(options);
  if (options.dot) {
    print_dot(listing);
    return 0;
  }
  print_table(listing);
  for (cloister::NamespaceType type : {ns::user, ns::pid})
    if (!options.pid && options.types.contains(type)) fmt::print("\n{}", format_tree(listing, type));
  print_gaps(listing);
} catch (std::exception const& e) {
  return demo::failed(e);
}
