// Going into namespaces: for one call on a thread of its own, for a scope of the calling thread, or to stay.
#pragma once

#include <exception>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "namespace.hpp"

namespace cloister {

namespace detail {

// Throws std::invalid_argument if a thread of a running program cannot go into one of these types, or a scope cannot
// come back.
inline void refuse_for_thread(std::string const& who, CloneFlags types, bool comes_back) {
  auto const refuse = [&](NamespaceType type, char const* why) {
    if (types.contains(type)) throw std::invalid_argument("cloister: " + who + ": " + to_string(type) + why);
  };
  refuse(NamespaceType::user, " belongs to all threads of a process: start a child in it instead");
  refuse(NamespaceType::pid, " can be entered by new processes only: start a child in it instead");
  refuse(NamespaceType::time, " can be entered by processes without threads only: start a child in it instead");
  if (comes_back)
    refuse(NamespaceType::mnt, " would cost the thread its working directory, without a way back: use within instead");
}

// Where to go: namespaces that are held open, or some of those of a process.
class Places {
 public:
  Places(std::string const& who, Namespace const* begin, Namespace const* end) : begin_(begin), end_(end) {
    for (; begin != end; ++begin) {
      if (types_.contains(begin->type()))
        throw std::invalid_argument("cloister: " + who + ": two namespaces of type " + to_string(begin->type()));
      types_ |= begin->type();
    }
  }
  Places(int pidfd, CloneFlags types) noexcept : pidfd_(pidfd), types_(types) {}

  CloneFlags types() const noexcept { return types_; }

  // Calls `entered(types)` after each step. Throws Error.
  template <class Entered>
  void enter(Entered&& entered) const {
    // The kernel lets a thread change its mounts only with a root and a working directory of its own.
    if (types_.contains(NamespaceType::mnt)) check(sys::unshare(kernel::clone_fs), "unshare", "CLONE_FS");
    for (Namespace const* each = begin_; each != end_; ++each) {
      set(each->fd(), each->type(), to_string(each->id()));
      entered(each->type());
    }
    if (begin_ != nullptr || types_.empty()) return;
    int const result = sys::setns(pidfd_, types_.bits());
    if (result >= 0) return entered(types_);
    if (result != -EINVAL)
      throw_refusal(result, types_, join({to_string(types_), " of pidfd ", std::to_string(pidfd_)}));
    for (NamespaceType type : types_) {  // before Linux 5.8
      Namespace const place = Namespace::of_pidfd(pidfd_, type);
      set(place.fd(), type, to_string(place.id()));
      entered(type);
    }
  }

 private:
  static void set(int fd, NamespaceType type, std::string const& item) {
    if (int const result = sys::setns(fd, CloneFlags{type}.bits()); result < 0) throw_refusal(result, type, item);
  }
  [[noreturn]] static void throw_refusal(int result, CloneFlags types, std::string const& item) {
    throw Error(-result, "setns", item, Error::Side::parent, refusal_hint("setns", -result, types));
  }

  Namespace const* begin_ = nullptr;
  Namespace const* end_ = nullptr;
  int pidfd_ = -1;
  CloneFlags types_;
};

inline void enter(Places const& places) {
  refuse_for_thread("enter", places.types(), false);
  places.enter([](CloneFlags) {});
}

template <class Function>
std::invoke_result_t<Function> within(Places const& places, Function&& function) {
  using Result = std::invoke_result_t<Function>;
  refuse_for_thread("within", places.types(), false);

  std::exception_ptr thrown;
  auto const run_into = [&](auto&& take_result) {
    auto body = [&] {
      try {
        places.enter([](CloneFlags) {});
        take_result();
      } catch (...) {
        thrown = std::current_exception();
      }
    };
    on_own_thread(body);
    if (thrown) std::rethrow_exception(std::move(thrown));
  };

  if constexpr (std::is_void_v<Result>) {
    run_into([&] { std::forward<Function>(function)(); });
  } else if constexpr (std::is_reference_v<Result>) {
    std::remove_reference_t<Result>* result = nullptr;
    run_into([&] {
      Result&& reference = std::forward<Function>(function)();
      result = std::addressof(reference);
    });
    return static_cast<Result>(*result);
  } else {
    std::optional<std::remove_cv_t<Result>> result;
    run_into([&] { result.emplace(std::forward<Function>(function)()); });
    return *std::move(result);
  }
}

// What ScopedEnter and ScopedUnshare share: the way back. They belong to their thread and nest.
class ThreadScope {
 public:
  ThreadScope(char const* name, CloneFlags types) : name_(name) {
    refuse_for_thread(name, types, true);
    for (NamespaceType type : types) {
      Namespace here = Namespace::current(type);
      // Rehearsed while nothing has changed: a refusal in the destructor would end the program.
      if (int const result = sys::setns(here.fd(), CloneFlags{type}.bits()); result < 0)
        throw Error(-result, "setns", to_string(type), Error::Side::parent,
                    {Obstacle::capability,
                     "there would be no way back: CAP_SYS_ADMIN is needed, here and in the user namespace that owns " +
                         to_string(here.id())});
      before_[static_cast<std::size_t>(type)] = std::move(here);
    }
    innermost = this;
  }
  ThreadScope(ThreadScope const&) = delete;
  ThreadScope& operator=(ThreadScope const&) = delete;
  ~ThreadScope() {
    if (innermost != this) die("ends on another thread than it began on, or before a scope that began later");
    innermost = outer_;
    for (NamespaceType type : entered_) {
      int const result = sys::setns(before_[static_cast<std::size_t>(type)].fd(), CloneFlags{type}.bits());
      if (result < 0)
        die(std::string("cannot go back into its ") + to_string(type) +
            " namespace: " + std::system_category().message(-result));
    }
  }
  void has_entered(CloneFlags types) noexcept { entered_ |= types; }

 private:
  // To go on in the wrong namespace is worse.
  [[noreturn]] void die(std::string const& why) const noexcept {
    std::string const text = "cloister: a " + std::string(name_) + " " + why + "\n";
    sys::write(STDERR_FILENO, text.data(), text.size());
    std::terminate();
  }

  static inline constinit thread_local ThreadScope* innermost = nullptr;
  char const* name_;
  ThreadScope* outer_ = innermost;
  CloneFlags entered_;
  Namespace before_[8];  // by type
};

}  // namespace detail

// Calls `function` on a thread of its own in these namespaces, and returns what it returns; what it throws comes
// through as it is. The calling thread waits and stays where it is. mnt is allowed, the thread then has `/` of those
// mounts as its directory; user, pid and time throw std::invalid_argument, as does a type given twice. Needs
// CAP_SYS_ADMIN here and in the user namespaces that own them (mnt: and CAP_SYS_CHROOT). Throws Error (EPERM; EAGAIN:
// no thread). Linux 3.8, setns(2).
template <class Function>
std::invoke_result_t<Function> within(Namespace const& place, Function&& function) {
  return detail::within(detail::Places("within", &place, &place + 1), std::forward<Function>(function));
}
template <class Function>
std::invoke_result_t<Function> within(std::initializer_list<Namespace> places, Function&& function) {
  return detail::within(detail::Places("within", places.begin(), places.end()), std::forward<Function>(function));
}
template <class Function>
std::invoke_result_t<Function> within(std::vector<Namespace> const& places, Function&& function) {
  return detail::within(detail::Places("within", places.data(), places.data() + places.size()),
                        std::forward<Function>(function));
}
// In those of these types of the process behind a pidfd, which stays the caller's: all are entered in one step, or
// none. Needs the same user or CAP_SYS_PTRACE besides. Throws Error also with ESRCH: it has ended. Linux 5.8; before,
// one by one.
template <class Function>
std::invoke_result_t<Function> within(int pidfd, CloneFlags types, Function&& function) {
  return detail::within(detail::Places(pidfd, types), std::forward<Function>(function));
}

// Moves the calling thread, not the others of the process, into these namespaces, to stay; threads and children that it
// starts later are born there. mnt gives it `/` of those mounts as its directory. What it needs and throws is as with
// within; when it throws, the thread may be in some of them already. There is no way back: see ScopedEnter. Linux 3.8,
// setns(2).
inline void enter(Namespace const& place) { detail::enter(detail::Places("enter", &place, &place + 1)); }
inline void enter(std::initializer_list<Namespace> places) {
  detail::enter(detail::Places("enter", places.begin(), places.end()));
}
inline void enter(std::vector<Namespace> const& places) {
  detail::enter(detail::Places("enter", places.data(), places.data() + places.size()));
}
// Into those of these types of the process behind a pidfd: all or, since Linux 5.8, none.
inline void enter(int pidfd, CloneFlags types) { detail::enter(detail::Places(pidfd, types)); }

// The calling thread is in other namespaces until the end of the scope; threads and children that it starts meanwhile
// stay there. If it cannot go back, if it is destroyed on another thread, or before a scope that began later, the
// program ends (std::terminate). Throws std::invalid_argument for user, pid, mnt and time, which a thread cannot have
// or could not undo, and for a type given twice; Error (EPERM). Needs CAP_SYS_ADMIN here and in the user namespaces
// that own both places. Linux 3.8, setns(2).
class [[nodiscard]] ScopedEnter {
 public:
  [[nodiscard]] explicit ScopedEnter(Namespace const& place) : ScopedEnter({"ScopedEnter", &place, &place + 1}) {}
  [[nodiscard]] ScopedEnter(std::initializer_list<Namespace> places)
      : ScopedEnter({"ScopedEnter", places.begin(), places.end()}) {}
  [[nodiscard]] explicit ScopedEnter(std::vector<Namespace> const& places)
      : ScopedEnter({"ScopedEnter", places.data(), places.data() + places.size()}) {}
  // In those of these types of the process behind a pidfd, in one step: see within.
  [[nodiscard]] ScopedEnter(int pidfd, CloneFlags types) : ScopedEnter(detail::Places{pidfd, types}) {}

 private:
  explicit ScopedEnter(detail::Places const& places) : scope_("ScopedEnter", places.types()) {
    places.enter([this](CloneFlags types) { scope_.has_entered(types); });
  }
  detail::ThreadScope scope_;
};

// The calling thread is in new namespaces until the end of the scope. The rest is as with ScopedEnter; throws Error
// also with ENOSPC (a limit). Linux 3.8, unshare(2).
class [[nodiscard]] ScopedUnshare {
 public:
  [[nodiscard]] explicit ScopedUnshare(CloneFlags types) : scope_("ScopedUnshare", types) {
    if (int const result = detail::sys::unshare(types.bits()); result < 0)
      throw Error(-result, "unshare", to_string(types), Error::Side::parent,
                  detail::refusal_hint("unshare", -result, types));
    scope_.has_entered(types);
  }

 private:
  detail::ThreadScope scope_;
};

}  // namespace cloister
