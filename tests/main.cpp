// The runner of every test program: doctest, and a count of cases that tells the skipped ones from the passed ones.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

namespace {

int passed = 0;
int failed = 0;
std::vector<std::string> skipped;  // "name: reason"

// doctest has no skip at run time, so a message that starts like this makes its case a skipped one, whoever writes it:
// SKIP of support.hpp, or the library's own macros. A failed case stays failed.
constexpr char skip_mark[] = "skipped: ";

class Counter : public doctest::IReporter {
 public:
  explicit Counter(doctest::ContextOptions const&) {}

  void test_case_start(doctest::TestCaseData const& test) override {
    name_ = test.m_name;
    reason_.clear();
  }

  void log_message(doctest::MessageData const& message) override {
    std::string const text = message.m_string.c_str();
    if (text.rfind(skip_mark, 0) != 0) return;
    reason_ = text.substr(sizeof skip_mark - 1);
    for (char& c : reason_)
      if (c == '\n') c = ' ';  // one line a case
  }

  void test_case_end(doctest::CurrentTestCaseStats const& stats) override {
    if (::getpid() != home_) {
      std::fputs("cloister-tests: a forked child came back into the runner\n", stdout);
      std::fflush(stdout);
      ::_exit(125);  // else it would run the remaining cases as well
    }
    if (!stats.testCaseSuccess) {
      ++failed;
    } else if (reason_.empty()) {
      ++passed;
    } else {
      skipped.push_back(name_ + ": " + reason_);
    }
  }

  void report_query(doctest::QueryData const&) override {}
  void test_run_start() override {}
  void test_run_end(doctest::TestRunStats const&) override {}
  void test_case_reenter(doctest::TestCaseData const&) override {}
  void test_case_exception(doctest::TestCaseException const&) override {}
  void subcase_start(doctest::SubcaseSignature const&) override {}
  void subcase_end() override {}
  void log_assert(doctest::AssertData const&) override {}
  void test_case_skipped(doctest::TestCaseData const&) override {}

 private:
  pid_t home_ = ::getpid();
  std::string name_;
  std::string reason_;
};

REGISTER_LISTENER("counter", 1, Counter);

}  // namespace

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  int const result = context.run();
  if (context.shouldExit()) return result;  // it was only asked for a list or the like

  for (std::string const& line : skipped) std::printf("skipped: %s\n", line.c_str());
  std::printf("cloister-tests: %d passed, %d failed, %zu skipped\n", passed, failed, skipped.size());
  if (result == 0 && passed == 0 && !skipped.empty()) return 77;  // how meson and automake know a skipped test
  return result;
}
