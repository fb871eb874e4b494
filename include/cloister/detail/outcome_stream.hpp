// A stream of frames from a child, and from whatever it forks, to its parent through memory that they share: it needs
// no descriptor that a body could close and, while there is room, no system call that its filter could forbid; and what
// was said before a crash is there after it.
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
  explicit OutcomeStream(std::chrono::nanoseconds patience = std::chrono::minutes{1}) : patience_(patience) {
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
  OutcomeStream& operator=(OutcomeStream const&) = delete;

  // --- for the child

  enum class Until : bool { written, taken };

  // Puts a frame behind those before it, as a whole where there is room; waits for room where there is none, and with
  // Until::taken until the parent has done with it. Not for ever: a parent that takes nothing for a minute is not there
  // any more, and then all further frames are lost.
  void put(std::string_view frame, Until until) noexcept {
    std::uint64_t const size = frame.size() + 1;
    lock();
    std::uint32_t at = shared_->written.load(std::memory_order_relaxed);
    std::uint32_t const end = at + static_cast<std::uint32_t>(sizeof size + size);
    shared_->frame_begin = at;
    shared_->frame_end = end;
    bool const written = write(at, &size, sizeof size) && write(at, frame.data(), frame.size()) && write(at, &whole, 1);
    if (written) shared_->written.store(at, std::memory_order_release);
    ::pthread_mutex_unlock(&shared_->writers);
    if (!written || until == Until::written) return;
    wait_for_parent(
        [&] { return static_cast<std::int32_t>(shared_->taken.load(std::memory_order_acquire) - end) >= 0; });
  }

  // --- for the parent

  // Calls `with` with each frame that is complete. Whether there was anything. Throws MalformedResult if the child has
  // written over what is not its own, and what `with` throws.
  template <class With>
  bool take(With&& with) {
    std::uint32_t const from = shared_->taken.load(std::memory_order_relaxed),
                        to = shared_->written.load(std::memory_order_acquire);
    if (from == to) return false;
    std::uint32_t const size = to - from;
    if (size > capacity) Decoder::malformed("it has overrun its memory");
    std::uint32_t const first = std::min(size, capacity - from % capacity);
    partial_.append(shared_->bytes + from % capacity, first).append(shared_->bytes, size - first);

    std::size_t done = 0;
    for (std::uint64_t length; partial_.size() - done >= sizeof length;) {
      std::memcpy(&length, partial_.data() + done, sizeof length);
      if (length > largest_result) Decoder::malformed("it is too large");
      if (length == 0) Decoder::malformed("it is empty");
      if (partial_.size() - done - sizeof length < length) break;
      std::string_view const frame =
          std::string_view{partial_}.substr(done + sizeof length, static_cast<std::size_t>(length));
      done += sizeof length + frame.size();
      if (frame.back() == whole) with(frame.substr(0, frame.size() - 1));
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
    std::uint32_t frame_begin = 0, frame_end = 0;  // of the last, or the one that is being written
    std::atomic<int> takes{0};                     // a writer waits for it to change
    std::atomic<bool> lost{false};
    char bytes[capacity];
  };
  static_assert(sizeof(std::atomic<int>) == sizeof(int) && std::atomic<int>::is_always_lock_free);

  int const* takes() const noexcept { return reinterpret_cast<int const*>(&shared_->takes); }

  // A process that was killed while it wrote leaves a frame that is not whole: what has been seen of it is filled up.
  void lock() noexcept {
    if (::pthread_mutex_lock(&shared_->writers) != EOWNERDEAD) return;
    ::pthread_mutex_consistent(&shared_->writers);
    std::uint32_t at = shared_->written.load(std::memory_order_relaxed);
    if (at == shared_->frame_begin) return;
    char const nothing[256] = {};
    while (at != shared_->frame_end &&
           write(at, nothing, std::min<std::size_t>(sizeof nothing, shared_->frame_end - at))) {
    }
    shared_->written.store(at, std::memory_order_release);
  }

  // From `at` on, which moves. The parent sees it when it is told, or has to make room.
  bool write(std::uint32_t& at, void const* bytes, std::size_t size) noexcept {
    auto const* from = static_cast<char const*>(bytes);
    auto const room = [&] { return capacity - (at - shared_->taken.load(std::memory_order_acquire)); };
    while (size > 0) {
      if (lost()) return false;
      if (room() == 0) {
        shared_->written.store(at, std::memory_order_release);
        if (!wait_for_parent([&] { return room() > 0; })) return false;
      }
      std::size_t const part = std::min<std::size_t>({size, room(), capacity - at % capacity});
      std::memcpy(shared_->bytes + at % capacity, from, part);
      at += static_cast<std::uint32_t>(part);
      from += part;
      size -= part;
    }
    return true;
  }

  template <class Condition>
  bool wait_for_parent(Condition&& met) noexcept {
    ::timespec const second{1, 0};
    int seen = shared_->takes.load(std::memory_order_acquire);
    for (Deadline deadline{patience_};;) {
      if (met()) return true;
      if (lost()) return false;
      if (deadline.passed()) break;
      (void)sys::futex_wait(takes(), seen, &second);
      if (int const now = shared_->takes.load(std::memory_order_acquire); now != seen) {
        seen = now;
        deadline = Deadline{patience_};
      }
    }
    shared_->lost.store(true, std::memory_order_relaxed);
    return false;
  }

  static constexpr char whole = 1;  // the last byte of a frame
  std::chrono::nanoseconds patience_;
  Shared* shared_;
  std::string partial_;
};

}  // namespace cloister::detail
