// The walk through /proc that finds every namespace in sight.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../clone_flags.hpp"
#include "../file_descriptor.hpp"
#include "../namespace_info.hpp"
#include "hint.hpp"
#include "proc.hpp"
#include "proc_files.hpp"
#include "syscall.hpp"
#include "text.hpp"
#include "thread.hpp"

namespace cloister::detail {

// Gathers what the processes show that it is given, in the order of their pids. A process is looked at through one open
// directory, that of its links, which stays its own should its pid be reused; each namespace is opened once, where it
// is first seen, and closed again.
class NamespaceSearch {
 public:
  // `proc` is an open directory, `device` the one of all namespaces.
  NamespaceSearch(CloneFlags types, int proc, std::uint64_t device) : types_(types), proc_(proc), device_(device) {}

  // To be first, for the caller's own paths to stand first.
  void look_at_own_mounts() {
    FileDescriptor const links = FileDescriptor::adopt(open_links(proc_, "thread-self"));
    if (long const mnt = links ? number_of(links.get(), "mnt") : 0; mnt > 0) read_mounts(links.get(), mnt);
  }

  void look_at_process(pid_t pid) {
    int const opened = open_links(proc_, std::to_string(pid));
    if (denied(opened)) ++listing_.unreadable_processes;
    if (opened < 0) return;
    FileDescriptor const links = FileDescriptor::adopt(opened);
    Numbers numbers{};
    for (std::size_t link = 0; link < link_names.size(); ++link) {
      if (!wanted(type_of(link))) continue;
      long const number = number_of(links.get(), link_names[link]);
      if (denied(number)) {
        ++listing_.unreadable_processes;
        return;
      }
      if (number > 0) numbers[link] = number;
    }
    count(links.get(), numbers, pid);
    look_at_descriptors(links.get());
    look_at_threads(links.get(), pid, numbers);
  }

  // What another search has found in other processes.
  void add(NamespaceSearch const& other) {
    for (NamespaceInfo const& theirs : other.found_) {
      NamespaceInfo& ours = found_[place_of(theirs.id.type, static_cast<long>(theirs.id.inode))];
      if (is_examined(theirs)) {
        ours.id = theirs.id;
        ours.owner = theirs.owner;
        ours.parent = theirs.parent;
      }
      ours.processes += theirs.processes;
      ours.threads += theirs.threads;
      ours.children_links += theirs.children_links;
      ours.descriptors += theirs.descriptors;
      for (std::string const& path : theirs.mounts) add_mount(ours, path);
      if (ours.first_pid == 0 || (theirs.first_pid != 0 && theirs.first_pid < ours.first_pid)) {
        ours.first_pid = theirs.first_pid;
        ours.uid = theirs.uid;
        ours.command = theirs.command;
      }
    }
    for (NumberIndex::Place const& place : other.mount_tables_) mount_tables_.find_or_add(place.number, 0);
    listing_.unreadable_processes += other.listing_.unreadable_processes;
    listing_.unreadable_descriptor_tables += other.listing_.unreadable_descriptor_tables;
  }

  NamespaceListing finish() {
    for (NumberIndex::Place const& place : index_[index_of(NamespaceType::mnt)])
      if (!mount_tables_.contains(place.number)) ++listing_.unreadable_mount_tables;
    for (NamespaceType type : types_)
      for (NumberIndex::Place const& place : index_[index_of(type)]) {
        found_[place.at].id.device = device_;
        listing_.namespaces.push_back(std::move(found_[place.at]));
      }
    return std::move(listing_);
  }

 private:
  // The links of a process or a thread, as the kernel names them; the last two are those of its children.
  static constexpr std::array<char const*, 10> link_names{
      "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts", "pid_for_children", "time_for_children"};
  static constexpr std::size_t pid_for_children = 8;
  static constexpr std::size_t time_for_children = 9;
  // In which the threads of a process can differ, and their children.
  static constexpr CloneFlags of_threads =
      NamespaceType::cgroup | NamespaceType::ipc | NamespaceType::mnt | NamespaceType::net | NamespaceType::uts;

  using Numbers = std::array<long, 10>;  // of a process's links; 0 where there is none

  static constexpr std::size_t index_of(NamespaceType type) { return static_cast<std::size_t>(type); }
  static NamespaceType type_of(std::size_t link) {
    return link == pid_for_children    ? NamespaceType::pid
           : link == time_for_children ? NamespaceType::time
                                       : static_cast<NamespaceType>(link);
  }

  // Of each mnt namespace the mounts are looked at, whatever is asked for.
  bool wanted(NamespaceType type) const { return types_.contains(type) || type == NamespaceType::mnt; }

  // --- what the kernel says

  static bool denied(long result) { return result == -EACCES || result == -EPERM; }
  static bool exhausted(long result) { return result == -EMFILE || result == -ENFILE || result == -ENOMEM; }

  // A descriptor or a negative errno. Throws Error if nothing can be opened any more.
  static int open(int parent, char const* name, int flags) {
    int const fd = sys::openat(parent, name, flags | O_CLOEXEC);
    if (exhausted(fd)) throw Error(-fd, "open", "a file under /proc");
    return fd;
  }
  static FileDescriptor try_open(int parent, char const* name, int flags) {
    return FileDescriptor::adopt(open(parent, name, flags));
  }

  // The number in a link's text, "uts:[4026531838]", or a negative errno.
  static long number_of(int links, char const* link) {
    char text[64];
    long const size = sys::readlinkat(links, link, text, sizeof text - 1);
    if (exhausted(size)) throw Error(static_cast<int>(-size), "readlink", "a link under /proc");
    if (size < 0) return size;
    text[size] = '\0';
    char const* const bracket = std::strchr(text, '[');
    return bracket == nullptr ? -ENOENT : std::strtol(bracket + 1, nullptr, 10);
  }

  NamespaceId identify(int fd, NamespaceType type) const {
    struct ::stat file {};
    check(sys::fstat(fd, &file), "fstat", to_string(type));
    NamespaceId id{type, file.st_dev, file.st_ino, 0};
    if (sys::ioctl(fd, kernel::ns_get_id, sys::arg(&id.id)) < 0) id.id = 0;
    return id;
  }

  // --- what has been found

  // Makes room for it if it is new.
  std::size_t place_of(NamespaceType type, long number) {
    std::size_t const at = index_[index_of(type)].find_or_add(number, found_.size());
    if (at == found_.size()) {
      NamespaceInfo info;
      info.id = {type, 0, static_cast<std::uint64_t>(number), 0};
      found_.push_back(std::move(info));
    }
    return at;
  }
  static bool is_examined(NamespaceInfo const& info) { return info.id.device != 0; }

  // What an open namespace says of itself and of those that it hangs on.
  void examine(FileDescriptor const& fd, std::size_t at) {
    if (!fd || is_examined(found_[at])) return;
    NamespaceType const type = found_[at].id.type;
    NamespaceId const id = identify(fd.get(), type);
    if (id.inode != found_[at].id.inode) return;  // the process has gone elsewhere meanwhile
    found_[at].id = id;
    auto const owner = relative(fd.get(), kernel::ns_get_userns, NamespaceType::user);
    found_[at].owner = owner;
    if (type == NamespaceType::user)
      found_[at].parent = owner;
    else if (type == NamespaceType::pid)
      found_[at].parent = relative(fd.get(), kernel::ns_get_parent, type);
  }
  std::optional<NamespaceId> relative(int fd, unsigned long request, NamespaceType type) {
    int const opened = sys::ioctl(fd, request);
    if (exhausted(opened)) throw Error(-opened, "open", "the owner or parent of a namespace");
    if (opened < 0) return std::nullopt;
    FileDescriptor const held = FileDescriptor::adopt(opened);
    if (types_.contains(type)) {
      std::size_t const at = place_of(type, static_cast<long>(identify(opened, type).inode));
      examine(held, at);
      return found_[at].id;
    }
    return identify(opened, type);
  }

  // --- a process

  static int open_links(int directory, std::string_view process) {
    return open(directory, join({process, "/ns"}).c_str(), O_PATH | O_DIRECTORY);
  }

  // Counts a process in its namespaces, and for children's links in those.
  void count(int links, Numbers const& numbers, pid_t pid) {
    NamespaceInfo about;
    for (std::size_t link = 0; link < pid_for_children; ++link) {
      if (numbers[link] == 0) continue;
      std::size_t const at = place_of(type_of(link), numbers[link]);
      NamespaceInfo& info = found_[at];
      ++info.processes;
      if (info.first_pid == 0) {
        if (about.first_pid == 0) describe(links, link_names[link], about);
        info.first_pid = about.first_pid = pid;
        info.uid = about.uid;
        info.command = about.command;
      }
      examine_link(links, link, at);
    }
    look_at_children_links(links, numbers, numbers);
    read_mounts(links, numbers[index_of(NamespaceType::mnt)]);
  }

  static void describe(int links, char const* link, NamespaceInfo& info) {
    info.command = command_of(links);
    struct ::stat facts {};
    // The directory of a process that has ended is root's; while it has the link it has not.
    if (sys::fstatat(links, "..", &facts, 0) == 0 && number_of(links, link) > 0) info.uid = facts.st_uid;
  }

  void examine_link(int links, std::size_t link, std::size_t at) {
    if (!is_examined(found_[at])) examine(try_open(links, link_names[link], O_RDONLY), at);
  }

  void look_at_children_links(int links, Numbers const& numbers, Numbers const& own) {
    for (std::size_t const link : {pid_for_children, time_for_children}) {
      NamespaceType const type = type_of(link);
      if (numbers[link] == 0 || numbers[link] == own[index_of(type)]) continue;
      std::size_t const at = place_of(type, numbers[link]);
      ++found_[at].children_links;
      examine_link(links, link, at);
    }
  }

  // Its arguments, separated by blanks. What a process calls itself may be made to confuse a terminal.
  static std::string command_of(int links) {
    char text[4096];
    long size = 0;
    for (char const* file : {"../cmdline", "../comm"}) {
      FileDescriptor const fd = try_open(links, file, O_RDONLY);
      size = fd ? sys::read(fd.get(), text, sizeof text) : 0;
      if (size > 0) break;
    }
    std::string command(text, static_cast<std::size_t>(size > 0 ? size : 0));
    while (!command.empty() && (command.back() == '\0' || command.back() == '\n')) command.pop_back();
    for (char& c : command) {
      if (c == '\0') c = ' ';
      if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
    }
    return command;
  }

  void look_at_descriptors(int links) {
    int const opened = open(links, "../fd", O_RDONLY | O_DIRECTORY);
    if (denied(opened)) ++listing_.unreadable_descriptor_tables;
    if (opened < 0) return;
    FileDescriptor const directory = FileDescriptor::adopt(opened);
    bool unreadable = false;
    for_each_number(opened, [&](char const* name) {
      char text[64];
      long const size = sys::readlinkat(opened, name, text, sizeof text - 1);
      if (denied(size)) unreadable = true;
      if (size <= 0) return true;
      text[size] = '\0';
      auto const [type, number] = parse_link(text);
      if (number == 0 || !wanted(type)) return true;
      std::size_t const at = place_of(type, number);
      ++found_[at].descriptors;
      if (is_examined(found_[at])) return true;
      int const fd = open_namespace_at(opened, name, device_);
      if (exhausted(fd)) throw Error(-fd, "open", name);
      examine(FileDescriptor::adopt(fd), at);
      return true;
    });
    if (unreadable) ++listing_.unreadable_descriptor_tables;
  }

  void look_at_threads(int links, pid_t pid, Numbers const& of_main) {
    struct ::stat facts {};
    // Like any directory it has a link for itself, one for its entry, and one for each directory in it.
    if (sys::fstatat(links, "../task", &facts, 0) < 0 || facts.st_nlink <= 3) return;
    FileDescriptor const threads = try_open(links, "../task", O_RDONLY | O_DIRECTORY);
    if (!threads) return;
    for_each_number(threads.get(), [&](char const* name) {
      if (std::strtol(name, nullptr, 10) == pid) return true;
      FileDescriptor const of_thread = FileDescriptor::adopt(open_links(threads.get(), name));
      if (of_thread) look_at_thread(of_thread.get(), of_main);
      return true;
    });
  }
  void look_at_thread(int links, Numbers const& of_main) {
    Numbers numbers{};
    for (std::size_t link = 0; link < link_names.size(); ++link) {
      NamespaceType const type = type_of(link);
      // A main thread that has ended before the others has no other links than pid and user.
      bool const can_differ = link >= pid_for_children || of_threads.contains(type) || of_main[link] == 0;
      if (can_differ && wanted(type))
        if (long const number = number_of(links, link_names[link]); number > 0) numbers[link] = number;
    }
    for (std::size_t link = 0; link < pid_for_children; ++link) {
      if (numbers[link] == 0 || numbers[link] == of_main[link]) continue;
      std::size_t const at = place_of(type_of(link), numbers[link]);
      ++found_[at].threads;
      examine_link(links, link, at);
    }
    Numbers own = of_main;
    if (long const time = numbers[index_of(NamespaceType::time)]; time > 0) own[index_of(NamespaceType::time)] = time;
    look_at_children_links(links, numbers, own);
    read_mounts(links, numbers[index_of(NamespaceType::mnt)]);
  }

  // --- mounts

  // Once for each mnt namespace, through a process or thread in it.
  void read_mounts(int links, long mnt) {
    if (mnt == 0 || mount_tables_.contains(mnt)) return;
    FileDescriptor const file = try_open(links, "../mountinfo", O_RDONLY);
    if (!file || !read_all(file.get())) return;  // another process may do
    mount_tables_.find_or_add(mnt, 0);
    for (char* line = text_.data(); *line != '\0';) {
      char* const end = std::strchr(line, '\n');
      if (end == nullptr) break;
      *end = '\0';
      if (std::strstr(line, " - nsfs ") != nullptr) read_mount(links, line);
      line = end + 1;
    }
  }
  bool read_all(int file) {
    text_.clear();
    for (;;) {
      std::size_t const before = text_.size();
      text_.resize(before + 16384);
      long const size = sys::read(file, text_.data() + before, 16384);
      text_.resize(before + static_cast<std::size_t>(size > 0 ? size : 0));
      if (size <= 0) return size == 0 && before > 0;
    }
  }
  // "36 35 0:4 net:[4026532230] /run/netns/blue rw shared:5 - nsfs nsfs rw", proc(5).
  void read_mount(int links, char* line) {
    char* words[5];
    for (char*& word : words) {
      word = line;
      char* const end = std::strchr(line, ' ');
      if (end == nullptr) return;
      *end = '\0';
      line = end + 1;
    }
    auto const [type, number] = parse_link(words[3]);
    if (number == 0 || !wanted(type)) return;
    std::string const path = unescaped(words[4]);
    std::size_t const at = place_of(type, number);
    if (!is_examined(found_[at])) examine(open_mount(links, path), at);
    add_mount(found_[at], path);
  }
  static void add_mount(NamespaceInfo& info, std::string const& path) {
    for (std::string const& known : info.mounts)
      if (known == path) return;
    info.mounts.push_back(path);
  }
  FileDescriptor open_mount(int links, std::string const& path) const {
    FileDescriptor const root = try_open(links, "../root", O_PATH | O_DIRECTORY);
    if (!root) return {};
    int const opened = open_mounted_namespace(root.get(), path.c_str(), device_);
    if (exhausted(opened)) throw Error(-opened, "open", path);
    return FileDescriptor::adopt(opened);
  }

  CloneFlags types_;
  int proc_;
  std::uint64_t device_;
  std::vector<NamespaceInfo> found_;  // those that could not be examined yet have no device
  std::array<NumberIndex, 8> index_;  // into found_, by type
  NumberIndex mount_tables_;          // mnt namespaces whose mounts have been read
  std::string text_;
  NamespaceListing listing_;
};

// Where there are many processes two threads take turns at them: nearly all the time passes in the kernel.
inline NamespaceListing search_namespaces(CloneFlags types) {
  constexpr std::size_t many = 128;
  constexpr std::size_t turn = 16;
  if (!proc_is_own()) throw foreign_proc_error("/proc");
  FileDescriptor const proc =
      FileDescriptor::adopt(check(sys::openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open", "/proc"));
  struct ::stat own {};
  check(sys::fstatat(proc.get(), "self/ns/mnt", &own, 0), "stat", "/proc/self/ns/mnt");

  bool init_is_listed = false;
  std::vector<pid_t> pids;
  check(for_each_number(proc.get(),
                        [&](char const* name) {
                          pids.push_back(static_cast<pid_t>(std::strtol(name, nullptr, 10)));
                          if (pids.back() == 1) init_is_listed = true;
                          return true;
                        }),
        "read", "/proc");

  // This process is looked at alone: what one thread of it holds open for the search is nothing for the other to find.
  pid_t const self = sys::getpid();
  std::size_t next = 0;
  std::exception_ptr failure, failure_of_helper;
  auto const look = [&](NamespaceSearch& search, std::exception_ptr& thrown) noexcept {
    try {
      for (std::size_t at; (at = __atomic_fetch_add(&next, turn, __ATOMIC_RELAXED)) < pids.size();)
        for (std::size_t const end = std::min(at + turn, pids.size()); at < end; ++at)
          if (pids[at] != self) search.look_at_process(pids[at]);
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  NamespaceSearch search{types, proc.get(), own.st_dev}, of_helper{types, proc.get(), own.st_dev},
      of_self{types, proc.get(), own.st_dev};
  search.look_at_own_mounts();
  of_self.look_at_process(self);
  if (pids.size() >= many) {
    auto helper = [&]() noexcept { look(of_helper, failure_of_helper); };
    try {
      on_own_thread(helper, [&]() noexcept { look(search, failure); });
    } catch (Error const&) {  // there can be no thread
    }
  }
  if (!failure) look(search, failure);  // those that are left
  if (failure) std::rethrow_exception(failure);
  if (failure_of_helper) std::rethrow_exception(failure_of_helper);
  search.add(of_helper);
  search.add(of_self);
  NamespaceListing listing = search.finish();
  listing.hidden_processes = !init_is_listed;  // there is one, whoever's it is
  return listing;
}

}  // namespace cloister::detail
