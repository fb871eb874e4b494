// Whether a description can be carried out here, and if not, what is in the way.
#pragma once

#include <string>
#include <utility>

#include "detail/launch.hpp"
#include "isolation.hpp"
#include "obstacle.hpp"

namespace cloister {

// The answer of probe(): true if it works. Else what is in the way, why, and what would help; the same as the Error of
// a start has.
class [[nodiscard]] Support {
 public:
  Support() noexcept = default;  // it works
  Support(Obstacle obstacle, std::string reason, std::string remedy)
      : obstacle_(obstacle), reason_(std::move(reason)), remedy_(std::move(remedy)) {}

  explicit operator bool() const noexcept { return obstacle_ == Obstacle::none; }
  Obstacle obstacle() const noexcept { return obstacle_; }
  // "unshare uts: user.max_uts_namespaces is 0"; empty if it works.
  std::string const& reason() const noexcept { return reason_; }
  // "raise it to allow uts namespaces"; empty where none is known.
  std::string const& remedy() const noexcept { return remedy_; }

 private:
  Obstacle obstacle_ = Obstacle::none;
  std::string reason_, remedy_;
};

// "supported", or the reason and, after a semicolon, the remedy.
inline std::string to_string(Support const& support) {
  if (support) return "supported";
  return detail::join({support.reason(), support.remedy().empty() ? "" : "; ", support.remedy()});
}

// Starts a child of that description that does nothing, and reaps it: all of it is really tried, as for a callable, at
// the cost of one start. A filter of the description's own is loaded, whether or not it lets a callable answer. Nothing
// stays behind but what a start leaves: a directory that is a root keeps the mount points that were made in it, and the
// work directory of an overlay. From any thread, in any state of the process. Throws std::invalid_argument for a
// description that contradicts itself.
inline Support probe(Isolation const& isolation) {
  ExitStatus status;
  bool ready = false;
  try {
    // Not by run(), whose templates every file that includes this would compile.
    detail::Plan const plan{isolation};
    auto const child = detail::launch_by_fork(plan, {[](void*, detail::ChildSide const&) noexcept {}, nullptr});
    ready = true;
    status = detail::reap(child.pidfd.get(), child.pid);
  } catch (Error const& error) {
    return {error.obstacle(), std::string(error.reason()), std::string(error.remedy())};
  } catch (ChildDied const& died) {
    status = died.status();
  }
  if (ready && (status.success() || status.is_unknown())) return {};
  if (!isolation.privileges.seccomp.instructions().empty()) {
    // Perhaps by the description's own filter, which may be made for a program: without it the rest is seen.
    Isolation without = isolation;
    without.privileges.seccomp = {};
    return probe(without);
  }
  std::string reason = detail::join({"the child ", to_string(status), " at its start"});
  if (status.signal() != SIGSYS) return {Obstacle::other, std::move(reason), {}};
  return {Obstacle::seccomp, std::move(reason), "let the seccomp filter that was loaded before allow the call"};
}

// The same for namespaces alone, with IdMap::self() for user and the loopback interface of net.
inline Support probe(CloneFlags types) {
  Isolation isolation;
  isolation.unshare = types;
  return probe(isolation);
}

}  // namespace cloister
