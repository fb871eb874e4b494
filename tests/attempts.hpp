// For tests of Isolation::untrusted(): what code can try that it is to hold. Each attempt is seen to fail inside, and, wherever that
// does no harm, to get through in a child that is isolated less: else a test would also pass for an attempt that never works.
#pragma once

#include <cloister/run.hpp>
#include <cstring>
#include <set>

#include "caught.hpp"
#include "kinds.hpp"
#include "privileged.hpp"
#include "support.hpp"

#define NEEDS_USER_NAMESPACES SKIP_UNLESS(::test::user_namespaces(), "user namespaces are not to be had")

namespace test {

// 0 if a call got through, else the errno with which it was refused.
inline int why(long result) { return result < 0 ? errno : 0; }
// 0 as well if it got as far as `error`, which comes after the question whether it may: for calls that are made with arguments
// without a meaning, so that nothing happens where they are allowed.
inline int why(long result, int error) { return result < 0 && errno != error ? errno : 0; }

using Act = std::function<int()>;
struct Attempt {
  std::string what;
  std::set<int> refusals;
  Act act;
};

inline cloister::Isolation untrusted() { return cloister::Isolation::untrusted(); }
// As the test itself.
inline cloister::Isolation plain() { return {}; }
// The same world with all capabilities in it, for a callable: what gets through there is held back by them alone.
inline cloister::Isolation with_capabilities() {
  cloister::Isolation box = untrusted();
  box.privileges = {};
  return box;
}
inline int in_a_child(cloister::Isolation const& isolation, Act const& act) {
  return cloister::run(isolation, act, {.timeout = std::chrono::seconds(30)});
}

// All in one child: what is refused changes nothing for the next.
inline void refused_inside(std::vector<Attempt> const& attempts, cloister::Isolation const& isolation = untrusted()) {
  auto const errors = cloister::run(
      isolation,
      [&] {
        std::vector<int> found;
        for (Attempt const& attempt : attempts) found.push_back(attempt.act());
        return found;
      },
      {.timeout = std::chrono::seconds(30)});
  REQUIRE(errors.size() == attempts.size());
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    CAPTURE(attempts[i].what);
    CAPTURE(std::string(std::strerror(errors[i])));
    CHECK(errors[i] != 0);
    CHECK(attempts[i].refusals.count(errors[i]) == 1);
  }
}
// Each in a child of its own.
inline void work_outside(std::vector<Attempt> const& attempts, cloister::Isolation const& isolation = plain()) {
  for (Attempt const& attempt : attempts) {
    CAPTURE(attempt.what);
    CHECK(std::string(std::strerror(in_a_child(isolation, attempt.act))) == std::strerror(0));
  }
}

inline Attempt open_attempt(std::string const& path, int flags, std::set<int> refusals) {
  return {"open " + path, std::move(refusals), [path, flags] { return why(::open(path.c_str(), flags | O_CLOEXEC)); }};
}

// --- Programs

inline cloister::Output shell(cloister::Isolation const& isolation, std::string const& script) {
  return cloister::run(isolation, cloister::Command{"/bin/sh", "-c", script}, {.timeout = std::chrono::seconds(30)});
}
inline std::vector<std::string> words_of(std::string const& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}
inline bool exists(std::string const& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

// --- The machine

// Whether this process has that capability of the host's, and not just one of a user namespace that the tests run in.
inline bool has_capability(unsigned number) {
  cloister::detail::kernel::capability_header header{cloister::detail::kernel::capability_version_3, 0};
  cloister::detail::kernel::capability_data data[2] = {};
  return cloister::detail::sys::capget(&header, data) == 0 && (data[number / 32].effective >> (number % 32) & 1) != 0 &&
         contains(read_file("/proc/self/uid_map"), "4294967295");
}

// What is in a directory that untrusted() shows, and nothing else.
inline bool only_these(std::string const& directory, std::set<std::string> const& allowed) {
  for (std::string const& name : detail::names_in(directory))
    if (allowed.count(name) == 0) {
      ::dprintf(complaints, "%s/%s is there\n", directory.c_str(), name.c_str());
      return false;
    }
  return true;
}
inline std::set<std::string> const in_the_root{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "proc", "dev", "tmp"};

}  // namespace test
