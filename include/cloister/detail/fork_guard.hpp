// What a handle must know about forks of the host that cloister did not make: which process it belongs to, and which descriptors
// a copy of the host must not hold.
#pragma once

#include <pthread.h>

#include <atomic>
#include <utility>
#include <vector>

#include "../file_descriptor.hpp"

namespace cloister::detail {

// Memory of this process alone, zeroed at first and again in every forked copy, whoever made it (MADV_WIPEONFORK, Linux 4.14). Never
// being shared with the copy, it may be written after a fork without being copied first. It is made once and never given back; throws
// Error where there is none.
template <class Contents>
Contents& memory_of_this_process(std::atomic<void*>& published) {
  void* page = published.load(std::memory_order_acquire);
  if (page != nullptr) return *static_cast<Contents*>(page);
  constexpr std::size_t page_size = 4096;
  constexpr int madv_wipeonfork = 18;
  void* const fresh = sys::mmap(page_size, PROT_READ | PROT_WRITE, 0);
  if (fresh == nullptr) throw Error(ENOMEM, "mmap", "a page that forks do not copy");
  if (int const result = sys::madvise(fresh, page_size, madv_wipeonfork); result < 0) {
    sys::munmap(fresh, page_size);
    throw Error(-result, "madvise", "MADV_WIPEONFORK");
  }
  if (published.compare_exchange_strong(page, fresh, std::memory_order_acq_rel)) return *static_cast<Contents*>(fresh);
  sys::munmap(fresh, page_size);
  return *static_cast<Contents*>(page);
}

struct OwnPage {
  std::atomic<std::uint64_t> mark;
  pthread_mutex_t mutex;
  std::atomic<bool> is_this_process;

  static OwnPage& instance() {
    static std::atomic<void*> published{nullptr};
    return memory_of_this_process<OwnPage>(published);
  }
};

// A number that differs in every forked copy of a process: pids will not do, they repeat across pid namespaces.
inline std::uint64_t process_mark() {
  static std::atomic<std::uint64_t> last_mark{0};
  OwnPage& page = OwnPage::instance();
  std::uint64_t mark = page.mark.load(std::memory_order_acquire);
  if (mark == 0) {
    std::uint64_t const fresh = last_mark.fetch_add(1, std::memory_order_relaxed) + 1;
    mark = page.mark.compare_exchange_strong(mark, fresh, std::memory_order_acq_rel) ? fresh : mark;
  }
  return mark;
}

// The process that something belongs to. It keeps the page that it was marked in: each shared library that hides its symbols has one of
// its own, and what one of them made may end in another.
class ProcessMark {
 public:
  ProcessMark() noexcept = default;
  static ProcessMark own() {
    ProcessMark mark;
    mark.page_ = &OwnPage::instance();
    mark.mark_ = process_mark();
    return mark;
  }
  bool is_of_this_process() const noexcept {
    return page_ != nullptr && page_->mark.load(std::memory_order_acquire) == mark_;
  }

 private:
  OwnPage* page_ = nullptr;
  std::uint64_t mark_ = 0;
};

// Tells the process that made it from whatever it forks. A new mark for the process would serve as well, but that takes three pages that
// have not been touched yet, and in a child that has just been forked each costs more than a system call.
class ThisProcess {
 public:
  ThisProcess() : page_(OwnPage::instance()) { page_.is_this_process.store(true, std::memory_order_relaxed); }
  bool is_it() const noexcept { return page_.is_this_process.load(std::memory_order_relaxed); }

 private:
  OwnPage& page_;
};

// Of Dumpable, once for all libraries of the process, which share the memory: hence visible, though they hide the rest. What is in it
// is in its name, because they may have been compiled with different versions. Where the loader does not unite them (plug-ins by clang
// that are opened with RTLD_LOCAL, a version script that makes all local) each has its own, and is not safe from the other's.
struct DumpableGate {
  pthread_mutex_t mutex;
  pthread_rwlock_t users;
};
[[gnu::visibility("default")]] inline std::atomic<void*>& place_of_gate_with_mutex_and_users() noexcept {
  static std::atomic<void*> place{nullptr};
  return place;
}

// The caller's dumpable attribute belongs to its memory, and decides whose the files in /proc are of all who share that memory. A
// child that changes its ids, or hides, takes it away for a moment, in which no other child may rely on it. Those that do start at the
// same time; one that takes it away waits for them, and those that come later for it. But not for ever: a child that has come to where
// others are may be held up there, and whoever waits for longer than it takes to copy a large host goes on as a copy instead.
class Dumpable {
 public:
  static constexpr long patience_ms = 100;

  Dumpable() noexcept = default;
  ~Dumpable() { give_back(); }
  Dumpable(Dumpable const&) = delete;
  // It stays. The program that writes the maps of the child may be started meanwhile. False if it is away for too long.
  [[nodiscard]] bool rely() {
    ::timespec const until = in(patience_ms);
    if (::pthread_mutex_timedlock(&gate().mutex, &until) != 0) return false;
    is_relied_on_ = ::pthread_rwlock_timedrdlock(&gate().users, &until) == 0;
    ::pthread_mutex_unlock(&gate().mutex);
    return is_relied_on_;
  }
  // The child may take it away; it comes back in the end. A copy of the host that is made by fork(3) meanwhile takes it back. False if
  // others rely on it, or have it, for too long.
  [[nodiscard]] bool lend(long patience = patience_ms) {
    give_back();
    ::timespec const until = in(patience);
    if (::pthread_mutex_timedlock(&gate().mutex, &until) != 0) return false;
    if (::pthread_rwlock_timedwrlock(&gate().users, &until) != 0) {
      ::pthread_mutex_unlock(&gate().mutex);
      return false;
    }
    ::pthread_rwlock_unlock(&gate().users);
    is_taken_ = true;
    add_fork_handler();
    is_lent_.store(sys::prctl(PR_GET_DUMPABLE) == 1, std::memory_order_relaxed);
    return true;
  }
  void give_back() noexcept {
    if (is_taken_ && is_lent_.load(std::memory_order_relaxed)) {
      sys::prctl(PR_SET_DUMPABLE, 1);
      is_lent_.store(false, std::memory_order_relaxed);
    }
    if (std::exchange(is_taken_, false)) ::pthread_mutex_unlock(&gate().mutex);
    if (std::exchange(is_relied_on_, false)) ::pthread_rwlock_unlock(&gate().users);
  }

 private:
  static DumpableGate& gate() { return memory_of_this_process<DumpableGate>(place_of_gate_with_mutex_and_users()); }
  static ::timespec in(long milliseconds) noexcept {
    ::timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    long const nanoseconds = time.tv_nsec + milliseconds % 1000 * 1'000'000;
    return {time.tv_sec + milliseconds / 1000 + nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  }
  static void add_fork_handler() {
    static int const result = ::pthread_atfork(nullptr, nullptr, [] {
      if (is_lent_.exchange(false, std::memory_order_relaxed)) sys::prctl(PR_SET_DUMPABLE, 1);
    });
    if (result != 0) throw Error(result, "pthread_atfork");
  }

  static inline std::atomic<bool> is_lent_{false};
  bool is_relied_on_ = false, is_taken_ = false;
};

// The descriptors by whose closing children notice that this process has ended. A forked copy of the process closes them at once
// (pthread_atfork), or its children would think their parent alive for as long as the copy lives. The copy writes nothing meanwhile:
// its mutex is unlocked by being wiped, and a list that is not its own is told by its mark.
class HostOnlyDescriptors {
 public:
  static HostOnlyDescriptors& instance() {
    static auto* const only = new HostOnlyDescriptors;  // never destroyed: handles may outlive static objects
    return *only;
  }
  // While it lives no fork of this process begins: what is created and registered under it is in no copy.
  class [[nodiscard]] Lock {
   public:
    Lock() : Lock(instance()) {}
    explicit Lock(HostOnlyDescriptors& descriptors) noexcept : descriptors_(descriptors) { descriptors_.lock(); }
    ~Lock() { descriptors_.unlock(); }
    Lock(Lock const&) = delete;

   private:
    HostOnlyDescriptors& descriptors_;
  };
  void add(int fd, Lock const&) {
    if (std::uint64_t const mark = process_mark(); owner_ != mark) {
      fds_.clear();
      owner_ = mark;
    }
    fds_.push_back(fd);
  }
  // Closes it under the lock, so that no fork in between sees the number reused.
  void close(int fd) noexcept {
    Lock const held{*this};
    for (int& each : fds_)
      if (each == fd) each = fds_.back();
    fds_.pop_back();
    sys::close(fd);
  }

 private:
  HostOnlyDescriptors() {
    (void)process_mark();
    int const result = ::pthread_atfork([] { instance().before_fork(); }, [] { instance().unlock(); },
                                        [] { instance().close_copies(); });
    if (result != 0) throw Error(result, "pthread_atfork");
  }
  void lock() noexcept { ::pthread_mutex_lock(&page_.mutex); }
  void unlock() noexcept { ::pthread_mutex_unlock(&page_.mutex); }
  void before_fork() noexcept {
    lock();
    forking_ = process_mark();
  }
  void close_copies() noexcept {
    // The thread sanitizer does not see that the kernel has wiped the mutex.
#if defined(__SANITIZE_THREAD__)
    unlock();
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    unlock();
#endif
#endif
    if (owner_ == forking_)
      for (int fd : fds_) sys::close(fd);
  }

  OwnPage& page_ = OwnPage::instance();
  std::uint64_t owner_ = 0;    // the process whose descriptors these are
  std::uint64_t forking_ = 0;  // the process that is being copied
  std::vector<int> fds_;
};

// Owns a descriptor that exists in this process only.
class HostOnlyDescriptor {
 public:
  HostOnlyDescriptor() noexcept = default;
  HostOnlyDescriptor(FileDescriptor fd, HostOnlyDescriptors::Lock const& lock)
      : mark_(ProcessMark::own()), registry_(&HostOnlyDescriptors::instance()) {
    registry_->add(fd.get(), lock);
    fd_ = fd.release();
  }
  HostOnlyDescriptor(HostOnlyDescriptor&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), mark_(other.mark_), registry_(other.registry_) {}
  HostOnlyDescriptor& operator=(HostOnlyDescriptor&& other) noexcept {
    HostOnlyDescriptor old = std::move(*this);
    fd_ = std::exchange(other.fd_, -1);
    mark_ = other.mark_;
    registry_ = other.registry_;
    return *this;
  }
  ~HostOnlyDescriptor() {
    if (fd_ >= 0 && mark_.is_of_this_process()) registry_->close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_ = -1;
  ProcessMark mark_;
  HostOnlyDescriptors* registry_ = nullptr;  // of the library that made it
};

}  // namespace cloister::detail
