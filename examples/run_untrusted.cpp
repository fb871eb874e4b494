// run_untrusted [FILE]: a program that has to parse files from strangers, with a parser that has bugs. It calls the
// parser in a world with nothing to steal and nothing to break, and gets a picture back, or learns as a typed exception
// why there is none. Without a file it tries some of its own, most of them hostile.
#include <map>
#include <sstream>

#include "demo.hpp"

using namespace std::chrono_literals;
using cloister::Resource;

// --- the parser: nothing in it knows of isolation

struct Picture {
  std::string title;
  std::size_t width = 0, height = 0;
  std::vector<unsigned> pixels{};
};

// Lines of "key=value". Four bugs, as they are found in real parsers.
Picture parse(std::string const& text) {
  Picture picture;
  std::map<std::string, std::string> names;
  std::istringstream file{text};
  for (std::string line; std::getline(file, line);) {
    std::size_t const equals = line.find('=');
    if (equals == line.npos) throw std::runtime_error("this is no picture: " + line);
    std::string const key = line.substr(0, equals);
    std::istringstream value{line.substr(equals + 1)};
    if (key == "size") {
      value >> picture.width >> picture.height;
      picture.pixels.resize(picture.width * picture.height);  // bug: as much memory as the file asks for
    } else if (key == "pixel") {
      std::size_t x = 0, y = 0;
      value >> x >> y;
      value >> picture.pixels[y * picture.width + x];  // bug: wherever that is
    } else if (key == "comment-file") {
      std::string const path = value.str();
      if (demo::lines(path).empty()) throw std::runtime_error("cannot read " + path);  // bug: whosever file that is
    } else {
      names[key] = value.str();
    }
  }
  picture.title = "title";
  while (names.contains(picture.title)) picture.title = names[picture.title];  // bug: perhaps for ever
  return picture;
}

// --- the program around it

// What the world costs is paid for each file, and nothing of one is there for the next.
cloister::Isolation world_of_the_parser() {
  cloister::Isolation box = cloister::Isolation::untrusted();
  // A limit on address_space counts what is mapped, used or not, and the child begins with all that this process has
  // mapped. What counts only memory that is used is a cgroup: box.cgroup.
  std::uint64_t const mapped = std::stoull(demo::status_of("VmSize")) * 1024;
  box.privileges.limits = {{Resource::address_space, mapped + 64 * demo::mebibyte}, {Resource::core, 0}};
  return box;
}

struct Outcome {
  std::string type, text;
};

// The file's bytes go along as a copy in the callable. So does all else that this process has in memory: one that holds
// secrets would start a program for this, cloister::Command, which gets none of it.
Outcome outcome_of(cloister::Isolation const& box, std::string const& bytes) {
  try {
    // A Picture it is, whatever happened in there; what it says is as little to be trusted as the file.
    Picture const picture = cloister::run(box, [&bytes] { return parse(bytes); }, {.timeout = 1s});
    return {"Picture", fmt::format("{}, {} x {}", picture.title, picture.width, picture.height)};
  } catch (cloister::ChildThrew const& e) {  // what the parser threw, told by its type and text
    return {"ChildThrew", e.what()};
  } catch (cloister::ChildTimedOut const& e) {
    return {"ChildTimedOut", e.what()};
  } catch (cloister::ChildDied const& e) {  // with the signal that it died of
    return {"ChildDied", e.what()};
  } catch (cloister::MalformedResult const& e) {  // who takes the parser over may send what he likes
    return {"MalformedResult", e.what()};
  } catch (cloister::Error const& e) {  // there is no such world to be had here, and the parser has not run
    return {"Error", e.what()};
  }
}

// Text of strangers could drive a terminal.
void print(std::string_view what, Outcome outcome) {
  for (char& c : outcome.text)
    if (c < ' ' || c > '~') c = '?';
  demo::row(what, outcome.type, outcome.text);
}

struct Trial {
  std::string what, bytes, expected;
};
std::vector<Trial> const trials = {
    {"a picture", "size=4 3\npixel=1 2 200\ntitle=sunset\nsunset=Sunset over the sea\n", "Picture"},
    {"no picture", "\x1b[2J\n", "ChildThrew"},
    {"a pixel far outside", "size=4 3\npixel=0 100000000000 255\n", "ChildDied"},
    {"names in a circle", "title=sunset\nsunset=title\n", "ChildTimedOut"},
    {"40 gigabytes", "size=100000 100000\n", "ChildThrew"},
    {"asks for our users", "comment-file=/etc/passwd\n", "ChildThrew"},
};

int main(int argc, char** argv) try {
  cloister::Isolation const box = world_of_the_parser();
  if (argc == 2) {
    std::ifstream file{argv[1]};
    if (!file) throw std::runtime_error(fmt::format("cannot read {}", argv[1]));
    Outcome const outcome = outcome_of(box, {std::istreambuf_iterator<char>{file}, {}});
    print(argv[1], outcome);
    return outcome.type == "Picture" ? EXIT_SUCCESS : EXIT_FAILURE;
  }
  if (argc != 1) throw std::invalid_argument("usage: run_untrusted [FILE]");

  demo::row("the file has", "what comes back");
  bool as_expected = true;
  for (auto const& [what, bytes, expected] : trials) {
    Outcome const outcome = outcome_of(box, bytes);
    print(what, outcome);
    as_expected = as_expected && outcome.type == expected;
  }
  return demo::verdict({
      {as_expected, "the picture came through, and each of the others as the exception that tells what it did"},
      {!demo::lines("/etc/passwd").empty(), "this process may read /etc/passwd; its parser could not"},
  });
} catch (std::exception const& e) {
  return demo::failed(e);
}
