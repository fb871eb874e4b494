#!/bin/bash
# What including our headers costs a compiler, beside the standard and system headers that they need, included alone: processor
# time, medians of runs in turn. Prints rows for the table of figures, in bold what is more than asked.
#
#   include_cost.sh [--times N] [COMPILER...]
set -euo pipefail

times=9
if [ "${1-}" = --times ]; then
  times=$2
  shift 2
fi
[ $# -gt 0 ] || set -- g++
include=$(cd "$(dirname "$0")/../../include" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { "${compiler[@]}" -std=c++20 -I "$include" "$@"; }
compiler=("$@")

# Everything in <> in the headers of ours that a file reaches.
outer_headers() {
  compile -MM "$1" | tr ' \\' '\n\n' | grep "^$include/" | xargs grep -hoE '^#include <[^>]+>' | LC_ALL=C sort -u
}

# Milliseconds of user and system time.
milliseconds() {
  local TIMEFORMAT='%U %S'
  { time compile -fsyntax-only "$1"; } 2>&1 | awk '{ printf "%d\n", ($1 + $2) * 1000 }'
}
median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# WHAT ASKED: compares $work/floor.cpp and $work/ours.cpp.
compare() {
  local i
  rm -f "$work"/*.times
  compile -fsyntax-only "$work/floor.cpp"
  compile -fsyntax-only "$work/ours.cpp"
  for ((i = 0; i < times; ++i)); do
    milliseconds "$work/floor.cpp" >>"$work/floor.times"
    milliseconds "$work/ours.cpp" >>"$work/ours.times"
  done
  awk -v what="$1, ${compiler[0]##*/} $("${compiler[@]}" -dumpversion)" -v asked="$2" \
    -v floor="$(median "$work/floor.times")" -v ours="$(median "$work/ours.times")" 'BEGIN {
    ratio = ours / floor
    mark = ratio > asked ? "**" : ""
    printf "| %s | ≤ %s | %d ms | %d ms | %s%.2f%s | | | |\n", what, asked, floor, ours, mark, ratio, mark
  }'
}

echo '#include <cloister/cloister.hpp>' >"$work/ours.cpp"
outer_headers "$work/ours.cpp" >"$work/floor.cpp"
compare 'including `cloister.hpp`, against the outer headers that it needs' 1.5

echo '#include <cloister/namespace.hpp>' >"$work/ours.cpp"
echo '#include <system_error>' >"$work/floor.cpp"
compare 'including `namespace.hpp`, against `<system_error>`' 1.25
