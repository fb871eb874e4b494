// For tests of what needs privileges: a process that has them whoever runs the tests, and in which nothing belongs to
// the machine.
#pragma once

#include <sched.h>
#include <sys/mount.h>

#include "caught.hpp"
#include "kinds.hpp"

namespace test {

inline bool write_file(std::string const& path, std::string const& text) {
  std::FILE* const file = std::fopen(path.c_str(), "we");
  if (file == nullptr) return false;
  bool const written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  return std::fclose(file) == 0 && written;
}

// Puts this single-threaded process into a user namespace of its own, as root in it.
inline bool become_root_of_a_user_namespace() {
  std::string const uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
  return ::unshare(CLONE_NEWUSER) == 0 && write_file("/proc/self/setgroups", "deny") &&
         write_file("/proc/self/gid_map", "0 " + gid + " 1") && write_file("/proc/self/uid_map", "0 " + uid + " 1");
}

// Puts it into new namespaces of its own, a user namespace first where it is not root. Not pid and time.
inline bool become_privileged() {
  return (is_root() || become_root_of_a_user_namespace()) &&
         ::unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

inline bool drop_capabilities() {
  cloister::detail::kernel::capability_header header{cloister::detail::kernel::capability_version_3, 0};
  cloister::detail::kernel::capability_data const none[2] = {};
  return cloister::detail::sys::capset(&header, none) == 0;
}

// As expectations(), in such a process.
template <class Body>
int privileged_expectations(Body&& body) {
  return expectations([&] {
    if (EXPECT(become_privileged())) body();
  });
}
// The world of a body that is privileged in new namespaces of these types, whoever runs the tests; with ISOLATED_TEST_CASE and isolated().
inline cloister::Isolation as_root_in(cloister::CloneFlags types) {
  cloister::Isolation world;
  world.unshare = types;
  if (!is_root()) {
    world.unshare |= cloister::NamespaceType::user;
    world.ids = cloister::IdMap::root();
  }
  return world;
}
inline bool can_be_privileged() { return is_root() || user_namespaces(); }

// As expectations(), in a process of another user if this one is root, and without capabilities.
template <class Body>
int unprivileged_expectations(Body&& body) {
  return expectations([&] {
    if (is_root()) EXPECT(::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    body();
  });
}

// Whether the call throws such an Error, with these words in its text: for processes in which doctest's assertions
// reach nobody.
template <class Exception, class Call>
bool throws(Call&& call, std::vector<std::string> const& words) {
  try {
    std::forward<Call>(call)();
  } catch (Exception const& exception) {
    std::string const text = exception.what();
    for (std::string const& word : words)
      if (!contains(text, word)) {
        ::dprintf(complaints, "\"%s\" lacks \"%s\"\n", text.c_str(), word.c_str());
        return false;
      }
    return true;
  } catch (std::exception const& other) {
    ::dprintf(complaints, "another exception: %s\n", other.what());
  }
  return false;
}
template <class Call>
bool fails_with(int error_number, std::string const& step, Call&& call, std::vector<std::string> const& words = {}) {
  try {
    std::forward<Call>(call)();
  } catch (cloister::Error const& error) {
    bool const as_said = error.code().value() == error_number && error.step() == step;
    if (!as_said) ::dprintf(complaints, "another error: %s\n", error.what());
    return as_said && throws<cloister::Error>([&] { throw error; }, words);
  } catch (std::exception const& other) {
    ::dprintf(complaints, "another exception: %s\n", other.what());
  }
  return false;
}

}  // namespace test
