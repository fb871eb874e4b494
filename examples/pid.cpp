// CLONE_NEWPID: pids of one's own, from 1 on; and why ps shows the host all the same, until /proc is mounted anew.
#include "demo.hpp"

namespace ns = cloister::flags;

int main(int argc, char** argv) try {
  cloister::Isolation const box{.unshare = ns::user | ns::pid, .ids = cloister::IdMap::root()};
  cloister::Isolation box_with_proc = box;
  box_with_proc.unshare |= ns::mnt;  // CLONE_NEWNS: what is mounted inside stays inside
  box_with_proc.mounts = {cloister::Mount::proc()};
  if (demo::wants_shell(argc, argv)) return demo::shell(box_with_proc, "echo $$; ps -ef");

  cloister::Command const echo{"bash", "-c", "echo $$"};
  pid_t const self = getpid();
  auto const sees_host = [self] { return access(fmt::format("/proc/{}/comm", self).c_str(), F_OK) == 0; };

  // The question that the tutorial leaves open: the first process is PID 1, and yet ps and top list the host's. They
  // read /proc, and that is still the host's: a mounted proc shows the pid namespace of whoever mounted it.
  std::string const bash_outside = cloister::run({}, echo).out, bash_inside = cloister::run(box, echo).out;
  std::size_t const outside = demo::processes(), inside = cloister::run(box, demo::processes);
  bool const host_visible = cloister::run(box, sees_host);

  // The answer: mount it again, from inside.
  std::size_t const anew = cloister::run(box_with_proc, demo::processes);
  bool const still_visible = cloister::run(box_with_proc, sees_host);

  demo::head();
  demo::row("echo $$", bash_outside.substr(0, bash_outside.find('\n')), bash_inside.substr(0, bash_inside.find('\n')));
  demo::row("processes in /proc", outside, inside);
  demo::row("  mounted anew", demo::processes(), anew);
  demo::block("ps -ef in the container, once /proc is its own", demo::output(box_with_proc, {"ps", "-ef"}));

  return demo::verdict({{bash_inside == "1\n", "the first process of the container is PID 1"},
                        {host_visible, "with the host's /proc the container still lists the host's processes"},
                        {anew == 1 && !still_visible, "with a /proc of its own it lists only its own"}});
} catch (std::exception const& e) {
  return demo::failed(e);
}
