#!/bin/sh
# The library under other compilers, standards and processors: sh tests/compilers.sh [COMPILER...]
#
# By default the oldest compilers that are supported, the newest of Debian 12, and its cross compilers for aarch64 and riscv64. With each,
# as C++20 without and as C++23 with optimisation, every header compiles without a warning and the tests below pass. What is made for
# another processor runs under qemu-user, which emulates neither pidfds of clone, nor user namespaces, and keeps signal 64 to itself: what
# runs there are the values, and functions in plain children. One line a setting; the exit status is 0 if all is well.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- g++-12 clang++-14 clang++-22 aarch64-linux-gnu-g++ riscv64-linux-gnu-g++
here='child_process codec enter launch run visibility'
elsewhere='child_error clock_offsets clone_flags codec command error exit_status file_descriptor id_map isolation mount namespace_id
           namespace_type stdio'
not_elsewhere='they come back from a real child as they were there,*real-time ones as well'

for compiler; do
  case $compiler in *-linux-gnu-*) emulator=qemu-user ;; esac
done
# shellcheck disable=SC2086  # one word or none
sh .ci/need fmt doctest "$@" ${emulator:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
headers=$(cd include && find cloister -name '*.hpp' | LC_ALL=C sort)
# shellcheck disable=SC2086  # names
printf '#include <%s>\n' $headers >"$work/all.cpp"
# A cross compiler shall not see all of /usr/include: that is this machine's.
mkdir "$work/include"
for header in doctest/doctest.h fmt/core.h; do
  found=$(echo "#include <$header>" | c++ -E -x c++ - | sed -n "s|^# 1 \"\(.*\)/$header\".*|\1|p" | head -n 1)
  ln -s "$found/${header%/*}" "$work/include/${header%/*}"
done

# The macros of doctest count with what newer compilers call an extension; and g++ 12 warns at -O3 of its own strings (its bug 105651).
compile() {
  "$compiler" $setting -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror -Wno-unknown-warning-option \
    -Wno-c2y-extensions -Wno-restrict -DFMT_HEADER_ONLY -fstack-protector-strong -I include -isystem "$work/include" "$@"
}
bad=0
for compiler; do
  case $compiler in
    *-linux-gnu-*) run=qemu-${compiler%%-*} tests=$elsewhere excluded=$not_elsewhere link=-static ;;
    *) run='' tests=$here excluded='' link="$work/library.so -Wl,-rpath,$work" ;;
  esac
  for setting in '-std=c++20 -O0' '-std=c++2b -O3'; do
    failed=
    cases=0
    compile -fsyntax-only "$work/all.cpp" || failed="$failed headers"
    compile -c tests/main.cpp -o "$work/main.o" || failed="$failed main"
    [ -n "$run" ] || compile -fPIC -shared -fvisibility=hidden tests/visibility_library.cpp -o "$work/library.so" || failed="$failed library"
    for test in $tests; do
      # shellcheck disable=SC2086  # lists
      if compile "tests/${test}_test.cpp" "$work/main.o" -o "$work/test" $link -pthread &&
        $run "$work/test" --no-colors "--test-case-exclude=$excluded" >"$work/log" 2>&1; then
        count=$(sed -n 's/^cloister-tests: \([0-9]*\) passed.*/\1/p' "$work/log")
        cases=$((cases + count))
      else
        [ ! -f "$work/log" ] || cat "$work/log"
        failed="$failed ${test}_test"
      fi
    done
    if [ -n "$failed" ]; then
      echo "FAILED: $compiler $setting:$failed"
      bad=1
    else
      echo "ok: $compiler $setting, $(echo "$headers" | wc -l) headers, $cases test cases"
    fi
  done
done
exit $bad
