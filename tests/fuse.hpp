// A file system in user space that does not answer, or not any more.
#pragma once

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace test {

// Mounts it on the directory, in the mnt namespace of the caller, who is root in it. A descriptor of its requests, or -1.
inline int mount_fuse(std::string const& directory) {
  int const fuse = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  std::string const options = "fd=" + std::to_string(fuse) + ",rootmode=40000,user_id=0,group_id=0";
  if (::mount("nothing", directory.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) == 0) return fuse;
  ::close(fuse);
  return -1;
}

// While `answers`, every name in it is an empty file, of which nothing may be remembered. After that what is asked is
// counted, and not answered. Returns when it is unmounted.
inline void serve_fuse(int fuse, std::atomic<bool> const& answers, std::atomic<int>& asked) {
  alignas(8) char request[FUSE_MIN_READ_BUFFER * 4];
  auto const* const head = reinterpret_cast<fuse_in_header const*>(request);
  auto const answer = [&]<class Body>(Body const& body) {
    struct {
      fuse_out_header head;
      Body said;
    } const whole{{sizeof whole, 0, head->unique}, body};
    return ::write(fuse, &whole, sizeof whole) == sizeof whole;
  };
  auto const attributes = [](std::uint64_t node) {
    fuse_attr facts{};
    facts.ino = node;
    facts.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
    facts.nlink = 1;
    return facts;
  };
  while (::read(fuse, request, sizeof request) > 0) {
    if (head->opcode == FUSE_INIT) {
      fuse_init_out begin{};
      begin.major = FUSE_KERNEL_VERSION;
      begin.minor = FUSE_KERNEL_MINOR_VERSION;
      begin.max_write = 4096;
      if (!answer(begin)) return;
    } else if (!answers) {
      ++asked;
    } else if (head->opcode == FUSE_LOOKUP) {
      fuse_entry_out entry{};
      entry.nodeid = 2;
      entry.attr = attributes(2);
      answer(entry);
    } else if (head->opcode == FUSE_GETATTR) {
      fuse_attr_out facts{};
      facts.attr = attributes(head->nodeid);
      answer(facts);
    } else if (head->opcode != FUSE_FORGET && head->opcode != FUSE_BATCH_FORGET) {
      fuse_out_header const refused{sizeof refused, -ENOSYS, head->unique};
      (void)!::write(fuse, &refused, sizeof refused);
    }
  }
}

}  // namespace test
