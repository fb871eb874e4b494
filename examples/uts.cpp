// CLONE_NEWUTS: a host name of one's own.
#include "demo.hpp"

namespace ns = cloister::flags;

int main(int argc, char** argv) try {
  cloister::Isolation const box{
      .unshare = ns::user | ns::uts,   // CLONE_NEWUTS; CLONE_NEWUSER beside it, so that an ordinary user may do this
      .ids = cloister::IdMap::root(),  // and is root inside
      .hostname = "container",         // the sethostname("container", 9) of the tutorial's child_main()
  };
  if (demo::wants_shell(argc, argv)) return demo::shell(box, "hostname; hostname another; hostname");

  std::string const before = cloister::hostname();
  cloister::Output const uname = cloister::run(box, cloister::Command{"uname", "-n"});
  std::string const renamed = cloister::run(box, [] {
    cloister::set_hostname("another");  // root of this namespace may change its mind
    return cloister::hostname();
  });
  std::string const after = cloister::hostname();

  demo::head();
  demo::row("uname -n", before, uname.out.substr(0, uname.out.find('\n')));
  demo::row("renamed once more", after, renamed);
  return demo::verdict(
      {{uname.out == "container\n" && renamed == "another", "the container has the name that it was given"},
       {after == before, "the host still has its own"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
