// What the README's recipes take for granted, for them to compile.
#include <cloister/cloister.hpp>
#include <cstdio>
#include <string>

#include "../../examples/testing/app.hpp"

struct Picture {
  int width = 0;
};
Picture parse(std::string const& bytes);
inline std::string const bytes;
void open_a_socket();
void ask_the_server();

std::string greeting_of(char const* address, int port);
pid_t leave_orphans(int count);
