// Whether a description can be carried out here, and if not, what is in the way.
#pragma once

#include <string>
#include <utility>

#include "run.hpp"

namespace cloister {

// The answer of probe(): true if it works. Else what is in the way, and what would help.
class [[nodiscard]] Support {
 public:
  Support() noexcept = default;  // it works
  Support(std::string reason, std::string remedy) : reason_(std::move(reason)), remedy_(std::move(remedy)) {}

  explicit operator bool() const noexcept { return reason_.empty(); }
  std::string const& reason() const noexcept { return reason_; }
  std::string const& remedy() const noexcept { return remedy_; }

 private:
  std::string reason_, remedy_;
};

// Starts a child of that description that does nothing, and reaps it. Throws std::invalid_argument for a description
// that contradicts itself.
inline Support probe(Isolation const& isolation) {
  try {
    run(isolation, [] {});
    return {};
  } catch (Error const& error) {
    return {error.what(), {}};
  } catch (ChildDied const& died) {
    return {died.what(), {}};
  }
}

}  // namespace cloister
