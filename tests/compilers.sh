#!/bin/sh
# The library under other compilers and settings: sh tests/compilers.sh [COMPILER...]
#
# By default the oldest that are supported and the newest of Debian 12. With each, as C++20 and as C++23, without and with optimisation:
# every header compiles without a warning, and the tests below pass. One line a setting; the exit status is 0 if all is well.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- g++-12 clang++-14 clang++-22
tests='child_process codec enter launch run visibility'

sh .ci/need fmt doctest "$@"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
headers=$(cd include && find cloister -name '*.hpp' | LC_ALL=C sort)
# shellcheck disable=SC2086  # names
printf '#include <%s>\n' $headers >"$work/all.cpp"
libraries=$(pkg-config --libs fmt)

bad=0
for compiler; do
  for standard in c++20 c++2b; do
    for level in -O0 -O3; do
      compile() {
        "$compiler" -std=$standard $level -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror -I include "$@"
      }
      failed=
      cases=0
      compile -fsyntax-only "$work/all.cpp" || failed="$failed headers"
      compile -c tests/main.cpp -o "$work/main.o"
      compile -fPIC -shared -fvisibility=hidden -fvisibility-inlines-hidden tests/visibility_library.cpp -o "$work/library.so" ||
        failed="$failed library"
      for test in $tests; do
        # shellcheck disable=SC2086  # a list
        if compile -fstack-protector-strong "tests/${test}_test.cpp" "$work/main.o" "$work/library.so" -o "$work/test" \
          -Wl,-rpath,"$work" $libraries -pthread && "$work/test" --no-colors >"$work/log" 2>&1; then
          count=$(sed -n 's/^cloister-tests: \([0-9]*\) passed.*/\1/p' "$work/log")
          cases=$((cases + count))
        else
          cat "$work/log"
          failed="$failed ${test}_test"
        fi
      done
      if [ -n "$failed" ]; then
        echo "FAILED with $compiler -std=$standard $level:$failed"
        bad=1
      else
        echo "ok: $compiler -std=$standard $level, $(echo "$headers" | wc -l) headers, $cases test cases"
      fi
    done
  done
done
exit $bad
