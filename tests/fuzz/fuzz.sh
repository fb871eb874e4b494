#!/bin/sh
# Fuzzes the decoder of results with clang's libFuzzer, under the address and undefined-behaviour sanitizers:
#   sh tests/fuzz/fuzz.sh [SECONDS]
# What it finds stays in the present directory. The exit status is 0 if it found nothing.
set -eu
seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../../.ci/need" clang++
sh "$here/../../.ci/need" libfuzzer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all \
  -I "$here/../../include" "$here/decoder.cpp" -o "$work/decoder" -pthread
mkdir "$work/corpus"
"$work/decoder" -max_total_time="$seconds" -max_len=2048 -malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=5 \
  -print_final_stats=1 "$work/corpus" 2>&1 | grep -E 'SUMMARY|ERROR|Test unit|number_of_executed|cov:' | tail -n 3 >"$work/log" || true
cat "$work/log"
! grep -qE 'SUMMARY|ERROR|Test unit' "$work/log" && grep -q number_of_executed "$work/log"
