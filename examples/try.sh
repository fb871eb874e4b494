#!/bin/sh
# Builds the main example and runs it with the arguments given here: sh examples/try.sh [ARGUMENT...]
# What is missing is installed first; the build has a directory of its own, build-try.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/build-try
(cd "$top" && sh .ci/need c++ meson ninja pkg-config fmt)

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -f "$build/build.ninja" ]; then
  meson setup -Dtests=false "$build" "$top" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi
ninja -C "$build" examples/container >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
rm -f "$log"

exec "$build/examples/container" "$@"
