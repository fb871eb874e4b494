// What else starts programs, and is installed: started by posix_spawn, which does not copy the caller's memory either.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "measure.hpp"

namespace bench {

using Words = std::vector<std::string>;

inline void spawn_and_reap(Words words, posix_spawn_file_actions_t const* actions = nullptr) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = 0;
  errno = ::posix_spawnp(&pid, pointers[0], actions, nullptr, pointers.data(), environ);
  require(errno == 0, "posix_spawn");
  int status = 0;
  require(::waitpid(pid, &status, 0) == pid && status == 0, "a program's status");
}

// A tool that is missing, or that may not do this here, is not measured.
inline bool works(Words const& words) {
  std::string command;
  for (std::string const& word : words) command += word + ' ';
  return std::system((command + ">/dev/null 2>&1").c_str()) == 0;
}

// Seven namespaces, all but time; root does without user.
inline Words unshare(std::string const& program) {
  Words words{"unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"};
  if (::geteuid() != 0) words.insert(words.end(), {"--user", "--map-current-user"});
  words.push_back(program);
  return words;
}

// The same and user, for root too, and the loopback interface up, which it always does.
inline Words bwrap(std::string const& program) {
  return {"bwrap", "--unshare-all", "--bind", "/", "/", "--die-with-parent", program};
}

}  // namespace bench
