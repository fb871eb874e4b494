// Every namespace in sight, as lsns(8) shows them, and the trees that they form.
#pragma once

#include <dirent.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clone_flags.hpp"
#include "detail/hint.hpp"
#include "detail/proc.hpp"
#include "detail/text.hpp"
#include "detail/thread.hpp"
#include "file_descriptor.hpp"
#include "namespace_id.hpp"

namespace cloister {

// A namespace, and what was seen to keep it alive. Where all the counts are 0 and nothing is mounted, it is the owner
// or the parent of another one.
struct NamespaceInfo {
  NamespaceId id;                   // with the 64-bit `id` where the kernel has it (6.18)
  std::size_t processes = 0;        // whose main thread is in it; a zombie still is in its user and pid namespaces
  std::size_t threads = 0;          // that are in it while the main thread of their process is not
  std::size_t children_links = 0;   // threads that are elsewhere and whose children will be born into it: pid and time
  std::size_t descriptors = 0;      // by which processes hold it open
  std::vector<std::string> mounts;  // where it is bound to, the caller's own paths first, then those of other mnt
                                    // namespaces as their first process sees them; each text once
  pid_t first_pid = 0;              // the lowest of its processes; 0 if it has none
  std::optional<uid_t> uid;         // that process's effective user, as an id of the caller's
  std::string command;              // its command line or, if it has none, its name; '?' for a control character
  // Empty if it lies outside the caller's own user or pid namespace, or there is none.
  std::optional<NamespaceId> owner;   // the user namespace whose capabilities count for it
  std::optional<NamespaceId> parent;  // in which it was made: user and pid
};

// What list_namespaces() saw, and how much it could not see.
struct NamespaceListing {
  std::vector<NamespaceInfo> namespaces;         // in the order of their ids, type by type
  std::size_t unreadable_processes = 0;          // whose namespaces the caller may not see
  std::size_t unreadable_descriptor_tables = 0;  // other processes whose descriptors it may not see
  std::size_t unreadable_mount_tables = 0;       // mnt namespaces whose mounts it could not see
  bool hidden_processes = false;                 // this /proc does not even list all processes (hidepid of proc(5))
};

namespace detail {

// Calls `visit(name)` for each entry of the directory whose name is a number. The result is 0 or a negative errno.
template <class Visit>
int for_each_number(int directory, Visit&& visit) {
  alignas(::dirent64) char buffer[8192];
  for (;;) {
    long const size = sys::getdents64(directory, buffer, sizeof buffer);
    if (size <= 0) return static_cast<int>(size);
    for (long at = 0; at < size;) {
      auto const* entry = reinterpret_cast<::dirent64 const*>(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') visit(static_cast<char const*>(entry->d_name));
    }
  }
}

// Where in a list each inode number stands, in the order of the numbers.
class NumberIndex {
 public:
  struct Place {
    long number;
    std::size_t at;
  };
  // The place of the number: `at` if it had none.
  std::size_t find_or_add(long number, std::size_t at) {
    std::size_t const i = lower_bound(number);
    if (!is_at(number, i)) places_.insert(places_.begin() + static_cast<std::ptrdiff_t>(i), {number, at});
    return places_[i].at;
  }
  std::size_t find(long number, std::size_t otherwise) const {
    std::size_t const i = lower_bound(number);
    return is_at(number, i) ? places_[i].at : otherwise;
  }
  bool contains(long number) const { return is_at(number, lower_bound(number)); }
  auto begin() const { return places_.begin(); }
  auto end() const { return places_.end(); }

 private:
  bool is_at(long number, std::size_t i) const { return i < places_.size() && places_[i].number == number; }
  std::size_t lower_bound(long number) const {
    std::size_t low = 0;
    for (std::size_t high = places_.size(); low < high;) {
      std::size_t const middle = low + (high - low) / 2;
      if (places_[middle].number < number)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  std::vector<Place> places_;
};

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
    for (Found const& theirs : other.found_) {
      NamespaceInfo const& info = theirs.info;
      Found& ours = found_[place_of(info.id.type, static_cast<long>(info.id.inode))];
      if (theirs.examined) {
        ours.examined = true;
        ours.info.id = info.id;
        ours.info.owner = info.owner;
        ours.info.parent = info.parent;
      }
      ours.info.processes += info.processes;
      ours.info.threads += info.threads;
      ours.info.children_links += info.children_links;
      ours.info.descriptors += info.descriptors;
      for (std::string const& path : info.mounts) add_mount(ours.info, path);
      if (ours.info.first_pid == 0 || (info.first_pid != 0 && info.first_pid < ours.info.first_pid)) {
        ours.info.first_pid = info.first_pid;
        ours.info.uid = info.uid;
        ours.info.command = info.command;
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
      for (NumberIndex::Place const& place : index_[index_of(type)])
        listing_.namespaces.push_back(std::move(found_[place.at].info));
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

  struct Found {
    NamespaceInfo info;
    bool examined = false;
  };
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
    if (exhausted(fd)) throw Error(-fd, "open", name);
    return fd;
  }
  static FileDescriptor try_open(int parent, char const* name, int flags) {
    return FileDescriptor::adopt(open(parent, name, flags));
  }

  // The number in a link's text, "uts:[4026531838]", or a negative errno.
  static long number_of(int links, char const* link) {
    char text[64];
    long const size = sys::readlinkat(links, link, text, sizeof text - 1);
    if (exhausted(size)) throw Error(static_cast<int>(-size), "readlink", link);
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
      found_.emplace_back();
      found_.back().info.id = {type, device_, static_cast<std::uint64_t>(number), 0};
    }
    return at;
  }

  // What an open namespace says of itself and of those that it hangs on.
  void examine(FileDescriptor const& fd, std::size_t at) {
    if (!fd || found_[at].examined) return;
    NamespaceType const type = found_[at].info.id.type;
    NamespaceId const id = identify(fd.get(), type);
    if (id != found_[at].info.id) return;  // the process has gone elsewhere meanwhile
    found_[at].examined = true;
    found_[at].info.id = id;
    auto const owner = relative(fd.get(), kernel::ns_get_userns, NamespaceType::user);
    found_[at].info.owner = owner;
    if (type == NamespaceType::user)
      found_[at].info.parent = owner;
    else if (type == NamespaceType::pid)
      found_[at].info.parent = relative(fd.get(), kernel::ns_get_parent, type);
  }
  std::optional<NamespaceId> relative(int fd, unsigned long request, NamespaceType type) {
    int const opened = sys::ioctl(fd, request);
    if (exhausted(opened)) throw Error(-opened, "open", "the owner or parent of a namespace");
    if (opened < 0) return std::nullopt;
    FileDescriptor const held = FileDescriptor::adopt(opened);
    if (types_.contains(type)) {
      std::size_t const at = place_of(type, static_cast<long>(identify(opened, type).inode));
      examine(held, at);
      return found_[at].info.id;
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
      NamespaceInfo& info = found_[at].info;
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
    if (!found_[at].examined) examine(try_open(links, link_names[link], O_RDONLY), at);
  }

  void look_at_children_links(int links, Numbers const& numbers, Numbers const& own) {
    for (std::size_t const link : {pid_for_children, time_for_children}) {
      NamespaceType const type = type_of(link);
      if (numbers[link] == 0 || numbers[link] == own[index_of(type)]) continue;
      std::size_t const at = place_of(type, numbers[link]);
      ++found_[at].info.children_links;
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
      if ((c >= 0 && c < ' ') || c == '\x7f') c = '?';
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
      if (size <= 0) return;
      text[size] = '\0';
      auto const [type, number] = parse(text);
      if (number == 0 || !wanted(type)) return;
      std::size_t const at = place_of(type, number);
      ++found_[at].info.descriptors;
      if (!found_[at].examined) examine(try_open(opened, name, O_RDONLY), at);
    });
    if (unreadable) ++listing_.unreadable_descriptor_tables;
  }

  // Of "net:[4026531840]"; 0 if it is no namespace. The path of a file begins with a slash or a bracket.
  static std::pair<NamespaceType, long> parse(char const* text) {
    for (NamespaceType type : all_namespace_types) {
      char const* const name = to_string(type);
      std::size_t const size = std::strlen(name);
      if (std::strncmp(text, name, size) == 0 && text[size] == ':' && text[size + 1] == '[')
        return {type, std::strtol(text + size + 2, nullptr, 10)};
    }
    return {NamespaceType{}, 0};
  }

  void look_at_threads(int links, pid_t pid, Numbers const& of_main) {
    struct ::stat facts {};
    // Like any directory it has a link for itself, one for its entry, and one for each directory in it.
    if (sys::fstatat(links, "../task", &facts, 0) < 0 || facts.st_nlink <= 3) return;
    FileDescriptor const threads = try_open(links, "../task", O_RDONLY | O_DIRECTORY);
    if (!threads) return;
    for_each_number(threads.get(), [&](char const* name) {
      if (std::strtol(name, nullptr, 10) == pid) return;
      FileDescriptor const of_thread = FileDescriptor::adopt(open_links(threads.get(), name));
      if (of_thread) look_at_thread(of_thread.get(), of_main);
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
      ++found_[at].info.threads;
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
    for (std::size_t at = 0; at < text_.size();) {
      std::size_t const end = text_.find('\n', at);
      std::size_t const stop = end == text_.npos ? text_.size() : end;
      read_mount(links, std::string_view(text_).substr(at, stop - at));
      at = stop + 1;
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
  void read_mount(int links, std::string_view line) {
    if (line.find(" - nsfs ") == line.npos) return;
    std::string_view words[5];
    for (std::string_view& word : words) {
      std::size_t const end = line.find(' ');
      if (end == line.npos) return;
      word = line.substr(0, end);
      line.remove_prefix(end + 1);
    }
    auto const [type, number] = parse(std::string(words[3]).c_str());
    if (number == 0 || !wanted(type)) return;
    std::string const path = unescaped(words[4]);
    std::size_t const at = place_of(type, number);
    if (!found_[at].examined) examine(open_mount(links, path), at);
    add_mount(found_[at].info, path);
  }
  static void add_mount(NamespaceInfo& info, std::string const& path) {
    for (std::string const& known : info.mounts)
      if (known == path) return;
    info.mounts.push_back(path);
  }
  // Blanks, tabs, newlines and backslashes stand there as \040 and so on.
  static std::string unescaped(std::string_view text) {
    std::string path;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\' && i + 3 < text.size()) {
        path += static_cast<char>(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) | (text[i + 3] - '0'));
        i += 3;
      } else {
        path += text[i];
      }
    }
    return path;
  }
  // What lies at that path may meanwhile be any file: it is looked at before it is opened.
  FileDescriptor open_mount(int links, std::string const& path) const {
    FileDescriptor const root = try_open(links, "../root", O_PATH | O_DIRECTORY);
    if (!root) return {};
    kernel::open_how const how{O_PATH | O_CLOEXEC, 0, kernel::resolve_in_root | kernel::resolve_no_magiclinks};
    FileDescriptor const found = FileDescriptor::adopt(sys::openat2(root.get(), path.c_str(), &how));
    struct ::stat file {};
    if (!found || sys::fstat(found.get(), &file) < 0 || file.st_dev != device_) return {};
    return try_open(AT_FDCWD, join({"/proc/thread-self/fd/", std::to_string(found.get())}).c_str(), O_RDONLY);
  }

  CloneFlags types_;
  int proc_;
  std::uint64_t device_;
  std::vector<Found> found_;
  std::array<NumberIndex, 8> index_;  // into found_, by type
  NumberIndex mount_tables_;          // mnt namespaces whose mounts have been read
  std::string text_;
  NamespaceListing listing_;
};

// Of a machine with many processes two threads take turns at them: nearly all the time passes in the kernel.
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
                        }),
        "read", "/proc");

  std::size_t next = 0;
  std::exception_ptr failure, failure_of_helper;
  auto const look = [&](NamespaceSearch& search, std::exception_ptr& thrown) noexcept {
    try {
      for (std::size_t at; (at = __atomic_fetch_add(&next, turn, __ATOMIC_RELAXED)) < pids.size();)
        for (std::size_t const end = std::min(at + turn, pids.size()); at < end; ++at) search.look_at_process(pids[at]);
    } catch (...) {
      thrown = std::current_exception();
    }
  };
  NamespaceSearch search{types, proc.get(), own.st_dev}, of_helper{types, proc.get(), own.st_dev};
  search.look_at_own_mounts();
  if (pids.size() >= many) {
    auto helper = [&]() noexcept { look(of_helper, failure_of_helper); };
    try {
      on_own_thread(helper, [&]() noexcept { look(search, failure); });
    } catch (Error const&) {  // there can be no thread
    }
  }
  if (!failure) look(search, failure);  // those that are left
  for (std::exception_ptr const& thrown : {failure, failure_of_helper})
    if (thrown) std::rethrow_exception(thrown);
  search.add(of_helper);
  NamespaceListing listing = search.finish();
  listing.hidden_processes = !init_is_listed;  // there is one, whoever's it is
  return listing;
}

// The namespaces of one type, each below its parent.
class NamespaceTree {
 public:
  explicit NamespaceTree(NamespaceListing const& listing, NamespaceType type) {
    for (NamespaceInfo const& info : listing.namespaces)
      if (info.id.type == type) {
        places_.find_or_add(static_cast<long>(info.id.inode), nodes_.size());
        nodes_.push_back({&info, none, none});
      }
    roots_ = none;
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      auto const& parent = nodes_[i].info->parent;
      std::size_t const above = parent ? places_.find(static_cast<long>(parent->inode), none) : none;
      std::size_t& first = above == none ? roots_ : nodes_[above].first_child;
      nodes_[i].next = std::exchange(first, i);
    }
  }
  std::string text() const {
    std::string text;
    for (std::size_t root = roots_; root != none; root = nodes_[root].next) add(text, root, "", "");
    return text;
  }

 private:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct Node {
    NamespaceInfo const* info;
    std::size_t first_child, next;
  };

  void add(std::string& text, std::size_t at, std::string_view indent, std::string_view child_indent) const {
    NamespaceInfo const& info = *nodes_[at].info;
    text += join({indent, to_string(info.id), "  "});
    if (info.processes == 0)
      text += "no process";
    else
      text += join({std::to_string(info.processes), info.processes == 1 ? " process, " : " processes, first ",
                    std::to_string(info.first_pid), ": ", info.command});
    text += '\n';
    for (std::size_t child = nodes_[at].first_child; child != none; child = nodes_[child].next) {
      bool const last = nodes_[child].next == none;
      add(text, child, join({child_indent, last ? "└─ " : "├─ "}), join({child_indent, last ? "   " : "│  "}));
    }
  }

  NumberIndex places_;
  std::vector<Node> nodes_;
  std::size_t roots_ = none;
};

}  // namespace detail

// Every namespace of these types that the caller can see: those that a process or thread is in, that a link for its
// children, an open descriptor or a bind mount leads to, and their owners and parents. What may not be read is counted;
// what vanishes meanwhile is not an error. Needs no privilege to see one's own processes, CAP_SYS_PTRACE for those of
// other users, and a /proc of the caller's pid namespace. Throws Error (ENOENT: no such /proc; EMFILE). Linux 4.9 for
// owners and parents. namespaces(7), ioctl_nsfs(2), lsns(8).
inline NamespaceListing list_namespaces(CloneFlags types = CloneFlags::all()) {
  return detail::search_namespaces(types);
}

// The tree of the user or pid namespaces of a listing, drawn with lines of UTF-8, a namespace a line: its id, how many
// processes it has, the first of them and its command. Where a parent is not in the listing, its children stand at the
// top. Throws std::invalid_argument for the other types, which have no parents.
inline std::string format_tree(NamespaceListing const& listing, NamespaceType type) {
  if (type != NamespaceType::user && type != NamespaceType::pid)
    throw std::invalid_argument(detail::join(
        {"cloister: format_tree: ", to_string(type), " namespaces have no parents: only user and pid are trees"}));
  return detail::NamespaceTree{listing, type}.text();
}

}  // namespace cloister
