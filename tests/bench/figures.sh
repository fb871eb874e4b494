#!/bin/sh
# All figures of the README in one go, as root to have both its columns: writes its table, and by_memory.svg here. A few minutes, on
# a machine that does nothing else.
#
#   sh tests/bench/figures.sh [BUILD]      by default build, optimised
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ -f "$build/build.ninja" ] || meson setup "$build"
ninja -C "$build" tests/bench/figures tests/bench/by_memory tests/bench/nothing tests/stress tests/faults

{
  "$build/tests/bench/figures"
  for compiler in g++ clang++; do
    if command -v "$compiler" >/dev/null; then bash tests/bench/include_cost.sh "$compiler"; fi
  done
  # A part that does not hold has its row too. Of the faults a tenth.
  "$build/tests/stress" | sed -E 's/^(ok|FAILED): (.*), (.*)$/| \2 | all | | \3 | \1 | | | |/'
  "$build/tests/faults" 10 | sed -nE 's/^\| together \| .* \| (.*) \| (.*) \| (.*) \| (.*) \|$/\1 \2 \3 \4/p' |
    while read -r points worked refused failed; do
      echo "| starts with a system call that fails, comes late or with a signal | none wrong | |" \
        "$worked worked, $refused said what failed | $failed of $points wrong | | | |"
    done
} | tee "$work/table"
# shellcheck disable=SC2016  # awk's
awk -v table="$work/table" '
  /^<!-- end of figures -->$/ { skip = 0 }
  !skip
  /^<!-- figures -->$/ { while ((getline line < table) > 0) print line; skip = 1 }
' README.md >"$work/README.md"
cat "$work/README.md" >README.md

"$build/tests/bench/by_memory" --rounds 20 | tee "$work/by_memory"
gnuplot -e "data='$work/by_memory'" tests/bench/by_memory.gp >tests/bench/by_memory.svg
