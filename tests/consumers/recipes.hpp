// What the README's recipes take for granted, for them to compile.
#include <cloister/cloister.hpp>
#include <chrono>
#include <cstdio>
#include <string>

struct Picture {
  int width = 0;
};
Picture parse(std::string const& bytes);
inline std::string const bytes;
void open_a_socket();
void ask_the_server();

std::string greeting_of(char const* address, int port);
void leave_orphans(int count);

namespace app {
struct Server {
  Server();
};
struct Settings {
  int port = 0;
};
int reap_until_all_have_ended();
Settings settings_from(std::string const& text);
Settings load_settings();
std::string state_directory();
bool trial_has_expired();
}  // namespace app
