#!/bin/sh
# Other eyes on the library: sh tests/analysers/run.sh [clang-tidy] [cppcheck] [valgrind] [threads]
#
# Each says nothing of a finding: what is excused stands, with its reason, in .clang-tidy, cppcheck.txt, valgrind.txt, and below. A tool
# that is not installed is skipped. One line each; the exit status is 0 if all is well.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- clang-tidy cppcheck valgrind threads
work=$(mktemp -d -p /tmp)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
bad=0

compile() {
  c++ -std=c++20 -g -O1 -I include -I tests "$@" -pthread
}
# has TOOL...: whether they are there; says so if not.
has() {
  for tool; do
    command -v "$tool" >/dev/null 2>&1 || { echo "skipped: no $tool"; return 1; }
  done
}
# judge NAME COMMAND...: runs it quietly, and shows what it said if it fails.
judge() {
  name=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    echo "ok: $name"
  else
    cat "$work/log"
    echo "FAILED: $name"
    bad=1
  fi
}

analyse_clang_tidy() {
  has clang-tidy || return 0
  (cd include && find cloister -name '*.hpp' | LC_ALL=C sort | sed 's/.*/#include <&>/') >"$work/all.cpp"
  judge 'clang-tidy, every header' clang-tidy --quiet --config-file=.clang-tidy --warnings-as-errors='*' "$work/all.cpp" -- \
    -std=c++20 -I include
}

# Without these macros it takes the #error of what cannot be compiled here for the end.
analyse_cppcheck() {
  has cppcheck || return 0
  judge 'cppcheck, every header' cppcheck -q -j 2 --std=c++20 --language=c++ --enable=warning,performance,portability,style \
    --suppressions-list=tests/analysers/cppcheck.txt --error-exitcode=1 -D__linux__ \
    -D_GNU_SOURCE -DDOCTEST_VERSION=20411 -D__cpp_exceptions=199711 -D__GXX_RTTI=1 -D__cpp_rtti=199711 -D__x86_64__ -I include include/cloister/*.hpp include/cloister/detail/*.hpp
}

# The parent's side: values, descriptions, what crosses the channel, and what a child may lie about. Not programs: valgrind takes
# CLONE_VM for a fork, so that what a child says in its parent's memory does not arrive. Not how a child ended that runs under valgrind
# as well.
analyse_valgrind() {
  has valgrind || return 0
  compile -c tests/main.cpp -o "$work/main.o"
  for test in channel codec command error id_map isolation mount; do
    compile "tests/${test}_test.cpp" "$work/main.o" -o "$work/test"
    judge "valgrind, ${test}_test" valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
      --child-silent-after-fork=yes --suppressions=tests/analysers/valgrind.txt "$work/test" --no-colors \
      '--test-case-exclude=how a child ended is what the kernel says*,they come back from a real child as they were there'
  done
}

# What the thread sanitizer can see: that starts from many threads race for nothing. Of the tests themselves it mistakes what forked
# copies inherit for leaked threads, and its own thread, which it starts in each copy, keeps that from user namespaces.
analyse_threads() {
  compile -fsanitize=thread tests/stress/stress.cpp -o "$work/stress" -lfmt
  judge 'thread sanitizer, stress' setarch -R "$work/stress" 500
}

for tool; do
  case $tool in
    clang-tidy) analyse_clang_tidy ;;
    cppcheck | valgrind | threads) "analyse_$tool" ;;
    *) sed -n '2s/.*: /usage: /p' "$0" >&2; exit 2 ;;
  esac
done
exit $bad
