#!/bin/sh
# The library on other processors: sh tests/cross.sh [aarch64] [riscv64]
#
# Compiles every header and the tests below with Debian's cross compilers, warnings being errors, and runs the tests under qemu-user.
# That emulates neither pidfds of clone, nor user namespaces, and keeps signal 64 to itself: what runs there are the values, and
# functions in plain children. One line a processor; the exit status is 0 if all is well.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- aarch64 riscv64
tests='child_error clock_offsets clone_flags codec command error exit_status file_descriptor id_map isolation mount namespace_id
       namespace_type stdio'
excluded='they come back from a real child as they were there,*real-time ones as well'

for processor; do compilers="${compilers:-} $processor-linux-gnu-g++"; done
# shellcheck disable=SC2086  # a list
sh .ci/need fmt doctest qemu-user $compilers

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# Not all of /usr/include: that is this machine's.
mkdir "$work/include"
for library in doctest fmt; do
  case $library in fmt) header=fmt/core.h ;; *) header=doctest/doctest.h ;; esac
  found=$(echo "#include <$header>" | c++ -E -x c++ - | sed -n "s|^# 1 \"\(.*\)/$header\".*|\1|p" | head -n 1)
  ln -s "$found/$library" "$work/include/$library"
done

bad=0
for processor; do
  compile() {
    "$processor-linux-gnu-g++" -std=c++20 -O1 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror \
      -DFMT_HEADER_ONLY -I include -isystem "$work/include" "$@"
  }
  failed=
  headers=$(cd include && find cloister -name '*.hpp' | LC_ALL=C sort)
  # shellcheck disable=SC2086  # names
  printf '#include <%s>\n' $headers >"$work/all.cpp"
  compile -c "$work/all.cpp" -o "$work/all.o" || failed="$failed headers"
  compile -c tests/main.cpp -o "$work/main.o"
  cases=0
  for test in $tests; do
    if compile -c "tests/${test}_test.cpp" -o "$work/test.o" &&
      "$processor-linux-gnu-g++" -static "$work/main.o" "$work/test.o" -o "$work/test" -pthread 2>"$work/log" &&
      "qemu-$processor" "$work/test" --no-colors "--test-case-exclude=$excluded" >"$work/log" 2>&1; then
      count=$(sed -n 's/^cloister-tests: \([0-9]*\) passed.*/\1/p' "$work/log")
      cases=$((cases + count))
    else
      cat "$work/log"
      failed="$failed ${test}_test"
    fi
  done
  if [ -n "$failed" ]; then
    echo "FAILED on $processor:$failed"
    bad=1
  else
    echo "ok: $processor, $(echo "$headers" | wc -l) headers, $cases test cases"
  fi
done
exit $bad
