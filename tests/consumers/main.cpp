// A program of somebody who uses the library.
#include <unistd.h>

#include <cloister/cloister.hpp>
#include <cstdio>

int main() {
  namespace ns = cloister::flags;
  cloister::Isolation const box{.unshare = ns::user | ns::pid | ns::uts, .hostname = "consumer"};
  int const pid = cloister::run(box, [] { return ::getpid(); });
  std::printf("%s", cloister::run(box, cloister::Command{"uname", "-n"}).out.c_str());
  return pid == 1 ? 0 : 1;
}
