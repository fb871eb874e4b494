#!/bin/bash
# Whether code that runs in the child of an isolated body alone is in the reports of gcov and of clang, once, and what runs in both is
# counted together. With the compilers that are there; 77 if none is.
set -euo pipefail

if ! unshare --user true 2>/dev/null; then
  echo "no user namespaces"
  exit 77
fi
include=$(cd "$(dirname "$0")/../include" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >program.cpp <<'END'
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <cloister/cloister.hpp>
#include <cloister/doctest.hpp>
using namespace cloister::flags;
int in_child() { return 1; }      // counted 1
int in_other_root() { return 1; } // counted 1 by clang
int in_both() { return 1; }       // counted 3
int in_none() { return 1; }       // counted 0
ISOLATED_TEST_CASE("child", .unshare = user | pid | mnt) {
  CHECK(in_child() == 1);
  CHECK(in_both() == 1);
}
TEST_CASE("parent") {
  CHECK(in_both() == 1);
  CHECK(in_both() == 1);
  cloister::isolated(cloister::Isolation::untrusted(), [] { CHECK(in_other_root() == 1); });
}
END

# expect COUNT FUNCTION REPORT: a line of it is "count: line: text" or "line| count| text".
expect() {
  local count
  count=$(grep "int $2()" "$3" | head -n 1 | tr -d ' *' | sed -E 's/^#+:.*/0/; s/^[0-9]+\|([0-9]+)\|.*/\1/; s/^([0-9]+):.*/\1/')
  if [ "$count" != "$1" ]; then
    echo "$4: $2 is counted $count times, not $1"
    exit 1
  fi
}

tried=
if command -v g++ >/dev/null && command -v gcov >/dev/null; then
  g++ -std=c++20 -O0 --coverage -I "$include" program.cpp -o counted -pthread
  CLOISTER_REQUIRE_ISOLATION=1 ./counted -m
  gcov -o . counted-program.gcda >/dev/null
  for pair in "1 in_child" "3 in_both" "0 in_none"; do expect $pair program.cpp.gcov gcov; done
  tried="$tried gcov"
fi
profdata=$(compgen -c | grep -xE 'llvm-profdata(-[0-9]+)?' | sort | head -n 1 || true)
if [ -n "$profdata" ] && command -v clang++ >/dev/null; then
  clang++ -std=c++20 -O0 -fprofile-instr-generate -fcoverage-mapping -I "$include" program.cpp -o profiled -pthread
  CLOISTER_REQUIRE_ISOLATION=1 LLVM_PROFILE_FILE=raw ./profiled -m
  "$profdata" merge raw -o merged
  "${profdata/profdata/cov}" show ./profiled -instr-profile=merged program.cpp >report
  for pair in "1 in_child" "1 in_other_root" "3 in_both" "0 in_none"; do expect $pair report clang; done
  tried="$tried clang"
fi
[ -n "$tried" ] || exit 77
echo "counted as it should be:$tried"
