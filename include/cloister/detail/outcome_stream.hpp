// A stream of frames from a child, and from whatever it forks, to its parent through memory that they share: it needs no descriptor
// that a body could close and, while there is room, no system call that its filter could forbid; and what was said before a crash
// is there after it.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "channel.hpp"
#include "codec.hpp"
#include "wait.hpp"

namespace cloister::detail {

class OutcomeStream {
 public:
  // Throws Error where there is no memory for it.
  OutcomeStream() {
    void* const memory = sys::mmap_shared(sizeof(Shared));
    if (memory == nullptr) throw Error(ENOMEM, "mmap", "what a test's child says");
    shared_ = new (memory) Shared;
    ::pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&shared_->writers, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
    // The dynamic linker binds a function at its first call, which in a fresh copy of the host costs most.
    lock();
    ::pthread_mutex_unlock(&shared_->writers);
  }
  ~OutcomeStream() { sys::munmap(shared_, sizeof(Shared)); }
  OutcomeStream(OutcomeStream const&) = delete;

  // --- for the child

  enum class Until : bool { written, taken };

  // Puts a frame behind those before it; waits for room where there is none, and with Until::taken until the parent has done with
  // it. Not for ever: a parent that takes nothing for a minute is not there any more, and then all further frames are lost.
  void put(std::string_view frame, Until until) noexcept {
    std::uint64_t const size = frame.size();
    lock();
    std::uint32_t const end = shared_->written.load(std::memory_order_relaxed) + static_cast<std::uint32_t>(sizeof size + size);
    shared_->frame_end = end;
    bool const written = write(reinterpret_cast<char const*>(&size), sizeof size) && write(frame.data(), frame.size());
    ::pthread_mutex_unlock(&shared_->writers);
    if (!written || until == Until::written) return;
    wait_for_parent([&] { return static_cast<std::int32_t>(shared_->taken.load(std::memory_order_acquire) - end) >= 0; });
  }

  // --- for the parent

  // Calls `with` with each frame that is complete. Whether there was anything. Throws MalformedResult if the child has written over
  // what is not its own, and what `with` throws.
  template <class With>
  bool take(With&& with) {
    std::uint32_t const from = shared_->taken.load(std::memory_order_relaxed), to = shared_->written.load(std::memory_order_acquire);
    if (from == to) return false;
    std::uint32_t const size = to - from;
    if (size > capacity) Decoder::malformed("it has overrun its memory");
    std::uint32_t const first = std::min(size, capacity - from % capacity);
    partial_.append(shared_->bytes + from % capacity, first).append(shared_->bytes, size - first);

    std::size_t done = 0;
    for (std::uint64_t length; partial_.size() - done >= sizeof length;) {
      std::memcpy(&length, partial_.data() + done, sizeof length);
      if (length > largest_result) Decoder::malformed("it is too large");
      if (partial_.size() - done - sizeof length < length) break;
      with(std::string_view{partial_}.substr(done + sizeof length, static_cast<std::size_t>(length)));
      done += sizeof length + static_cast<std::size_t>(length);
    }
    partial_.erase(0, done);
    shared_->taken.store(to, std::memory_order_release);
    shared_->takes.fetch_add(1, std::memory_order_release);
    sys::futex_wake(takes());
    return true;
  }
  // Whether frames are missing because this process took none for a minute.
  bool lost() const noexcept { return shared_->lost.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t capacity = 256 * 1024;  // pages are had as they are used
  struct Shared {
    ::pthread_mutex_t writers;
    // Bytes since the beginning, of which the lower 32 bits say enough.
    std::atomic<std::uint32_t> written{0}, taken{0};
    std::uint32_t frame_end = 0;  // where the last frame ends, or will end
    std::atomic<int> takes{0};  // a writer waits for it to change
    std::atomic<bool> lost{false};
    char bytes[capacity];
  };
  static_assert(sizeof(std::atomic<int>) == sizeof(int) && std::atomic<int>::is_always_lock_free);

  int const* takes() const noexcept { return reinterpret_cast<int const*>(&shared_->takes); }

  // A process that was killed while it wrote, as a PID 1 takes all others with it, leaves a frame half written: the rest is filled up.
  void lock() noexcept {
    if (::pthread_mutex_lock(&shared_->writers) != EOWNERDEAD) return;
    ::pthread_mutex_consistent(&shared_->writers);
    char const nothing[256] = {};
    for (std::uint32_t left; (left = shared_->frame_end - shared_->written.load(std::memory_order_relaxed)) > 0;)
      if (!write(nothing, std::min<std::size_t>(sizeof nothing, left))) return;
  }

  bool write(char const* from, std::size_t size) noexcept {
    while (size > 0) {
      if (lost()) return false;
      std::uint32_t const at = shared_->written.load(std::memory_order_relaxed);
      auto const room = [&] { return capacity - (at - shared_->taken.load(std::memory_order_acquire)); };
      if (room() == 0 && !wait_for_parent([&] { return room() > 0; })) return false;
      std::size_t const part = std::min<std::size_t>({size, room(), capacity - at % capacity});
      std::memcpy(shared_->bytes + at % capacity, from, part);
      shared_->written.store(at + static_cast<std::uint32_t>(part), std::memory_order_release);
      from += part;
      size -= part;
    }
    return true;
  }

  template <class Condition>
  bool wait_for_parent(Condition&& met) noexcept {
    constexpr std::chrono::minutes patience{1};
    ::timespec const second{1, 0};
    int seen = shared_->takes.load(std::memory_order_acquire);
    for (Deadline deadline{patience}; !deadline.passed();) {
      if (met()) return true;
      if (lost()) return false;
      (void)sys::futex_wait(takes(), seen, &second);
      if (int const now = shared_->takes.load(std::memory_order_acquire); now != seen) {
        seen = now;
        deadline = Deadline{patience};
      }
    }
    shared_->lost.store(true, std::memory_order_relaxed);
    return false;
  }

  Shared* shared_;
  std::string partial_;
};

}  // namespace cloister::detail
