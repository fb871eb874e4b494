#!/bin/sh
# Builds and runs every test: sh tests/run.sh [--compiler g++|clang++] [--sanitize] [--quick]
#
# What is missing is installed first. Everything runs as the present user and, if that is root, once more as an unprivileged one,
# unless --quick. --sanitize builds with the address and undefined-behaviour sanitizers. Each combination has a build directory.
#
# The last line is the sum over both users: N passed, N failed, N skipped (test cases; a program that crashes, hangs or does not
# build is a failed one). The exit status is 0 only if something ran and nothing failed.
set -eu

compiler=g++
sanitize=
quick=
usage() {
  sed -n '2s/.*: /usage: /p' "$0" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --compiler) [ $# -gt 1 ] || usage; compiler=$2; shift ;;
    --sanitize) sanitize=yes ;;
    --quick) quick=yes ;;
    *) usage ;;
  esac
  shift
done
case $compiler in g++ | clang++) ;; *) usage ;; esac

cd "$(dirname "$0")/.."
build=$PWD/build
[ "$compiler" = g++ ] || build=$build-clang
[ -z "$sanitize" ] || build=$build-asan

passed=0
failed=0
skipped=0
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}

# Short and reachable for every user; TMPDIR may be neither.
work=$(mktemp -d -p /tmp)
chmod 755 "$work"
# shellcheck disable=SC2317  # called by trap
clean_up() {
  # What a leaked bind mount shows there may be the machine's own files.
  if grep -q " $work" /proc/self/mountinfo; then
    echo "left in place, something is mounted in it: $work"
  else
    rm -rf "$work"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- Build

CXX=$compiler sh .ci/need "$compiler" meson ninja pkg-config fmt doctest setpriv ps || { failed=1; finish; }

set -- -Dwerror=true -Dtests=true -Dexamples=true
# Optimised once, with the default compiler; elsewhere what counts is what the compiler and the sanitizers say. Nothing here reads debug
# information, which is up to a third of the time to compile.
case $compiler$sanitize in g++) set -- "$@" -Doptimization=2 -Ddebug=false ;; *) set -- "$@" -Doptimization=0 -Ddebug=false ;; esac
if [ -n "$sanitize" ]; then
  # With lines for the stacks that they print. The examples are not run, so that the sanitizers could say nothing of them.
  # clang's run-time library is not a shared one, so its symbols are unresolved until a program is linked (b_lundef). The check of
  # vptr needs a pipe for each look, which the tests without free descriptors have not got.
  set -- "$@" -Dexamples=false -Db_sanitize=address,undefined -Db_lundef=false
  set -- "$@" "-Dcpp_args=['-g1','-fno-sanitize-recover=all','-fno-sanitize=vptr']"
  export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
fi
[ ! -f "$build/build.ninja" ] || set -- --reconfigure "$@"

echo "Building with $compiler in $build"
if ! CXX=$compiler meson setup "$@" "$build" >"$work/log" 2>&1 </dev/null ||
  ! ninja -C "$build" -j "$(nproc)" >"$work/log" 2>&1 </dev/null; then
  head -n 200 "$work/log"  # the first error says the most
  failed=1
  finish
fi

names=
for source in tests/*_test.cpp; do
  name=$(basename "$source" .cpp)
  if [ ! -x "$build/tests/$name" ]; then
    echo "FAILED: $source has no place in tests/meson.build"
    failed=$((failed + 1))
  fi
done
for program in "$build"/tests/*_test; do
  [ -x "$program" ] && names="$names $(basename "$program")"
done

# --- Run

# run_all WHO DIRECTORY [COMMAND...]: each program of the directory, started by the command, two at a time. Its output and exit
# status go to files, so that nothing mixes. The variable marks whatever it starts.
run_all() {
  who=$1 directory=$2
  shift 2
  out=$work/$(echo "$who" | tr ' ' -)
  mkdir "$out"
  # shellcheck disable=SC2016,SC2086  # the variables are the inner shell's; the names are words
  printf '%s\n' $names | CLOISTER_TEST_RUN="$work" xargs -P 2 -I "{}" sh -c '
    name=$1 directory=$2 out=$3
    shift 3
    cd /
    status=0
    timeout -k 5 120 "$@" "$directory/$name" --no-colors >"$out/$name" 2>&1 </dev/null || status=$?
    echo "$status" >"$out/$name.status"
  ' sh '{}' "$directory" "$out" "$@" || true

  for name in $names; do
    status=$(cat "$out/$name.status" 2>/dev/null || echo "none")
    counts=$(sed -n 's/.*cloister-tests: \([0-9]* passed, [0-9]* failed, [0-9]* skipped\)$/\1/p' "$out/$name" | tail -n 1)
    # shellcheck disable=SC2086  # N passed, N failed, N skipped
    set -- ${counts:-0 passed, 0 failed, 0 skipped}
    case $status in
      0 | 77) ok=yes ;;  # 77: every case of it was skipped
      *) ok= ;;
    esac
    bad=$3
    if [ -z "$counts" ] || grep -q 'cloister-tests: a forked child came back' "$out/$name"; then ok=; fi
    if [ -z "$ok" ] && [ "$bad" = 0 ]; then bad=1; fi
    passed=$((passed + $1)) failed=$((failed + bad)) skipped=$((skipped + $5))
    if [ "$bad" != 0 ]; then
      case $status in
        0) end="ended with status 0" ;;
        124 | 137) end="timed out or was killed ($status)" ;;
        *) end="ended with status $status" ;;
      esac
      [ -n "$counts" ] || end="$end and without a count of its cases"
      echo "FAILED: $name as $who $end"
      sed 's/^/    /' "$out/$name"
    fi
    sed -n "s/^skipped: /$name: /p" "$out/$name" | sed "s/^/$who	/" >>"$work/skipped"
  done

  # A killed child may need a moment to go.
  tries=0
  while left=$(grep -laFs "CLOISTER_TEST_RUN=$work" /proc/[0-9]*/environ || true) && [ -n "$left" ]; do
    tries=$((tries + 1))
    if [ $tries -lt 20 ]; then
      sleep 0.1
      continue
    fi
    echo "FAILED: the tests as $who left processes running"
    for entry in $left; do
      pid=${entry#/proc/} pid=${pid%/environ}
      ps -o pid=,ppid=,etime=,args= -p "$pid" | sed 's/^/    /' || true
      kill -s KILL "$pid" || true
    done
    failed=$((failed + 1))
    break
  done
}

: >"$work/skipped"
if [ "$(id -u)" != 0 ]; then
  run_all "the present user" "$build/tests"
else
  run_all root "$build/tests"
  if [ -z "$quick" ]; then
    user="setpriv --reuid=65534 --regid=65534 --clear-groups"
    directory=$build/tests
    # shellcheck disable=SC2086  # a command and its options
    for name in $names; do
      if ! (cd / && $user test -r "$directory/$name" -a -x "$directory/$name" 2>/dev/null); then
        directory=$work/programs
        mkdir "$directory"
        for copied in $names; do install -m 755 "$build/tests/$copied" "$directory/"; done
        install -m 755 "$build"/tests/*.so "$directory/"
        break
      fi
    done
    mkdir "$work/home"
    chown 65534:65534 "$work/home"
    # shellcheck disable=SC2086
    run_all "an unprivileged user" "$directory" $user env HOME="$work/home" TMPDIR="$work/home"
  fi
fi

# One line a case, whoever skipped it.
sort -u "$work/skipped" | awk -F '\t' '
  { if ($2 in who) who[$2] = who[$2] " and " $1; else who[$2] = $1 }
  END { for (test in who) print "skipped as " who[test] ": " test }
' | sort
finish
