#!/bin/sh
# Builds and runs a consumer by each way that the README names, and what the README shows: sh tests/consumers/run.sh
#
# In a directory of its own that goes when it ends. One line for each; the exit status is 0 if all of them work.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cxx=${CXX:-g++}
sh "$top/.ci/need" "$cxx" meson ninja pkg-config cmake doctest

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export CXX="$cxx"

bad=0
# way NAME COMMAND...: the command builds, in a copy of the consumer's sources, the program that it prints the path of.
way() {
  name=$1
  shift
  mkdir "$work/$name"
  cp "$here/main.cpp" "$here/meson.build" "$here/CMakeLists.txt" "$work/$name/"
  cd "$work/$name"
  if "$@" >log 2>&1 && said=$(./build/consumer) && [ "$said" = consumer ]; then
    echo "ok: $name"
  else
    echo "FAILED: $name"
    sed 's/^/    /' log
    bad=1
  fi
}

subproject() {
  mkdir -p subprojects/cloister
  cp -r "$top/include" "$top/.cmake" "$top/meson.build" "$top/meson_options.txt" subprojects/cloister/
  PKG_CONFIG_LIBDIR=/nonexistent meson setup --wrap-mode=forcefallback build && ninja -C build
}
copied() {
  mkdir build
  cp -r "$top/include" build/
  $cxx -std=c++20 -I build/include main.cpp -o build/consumer -pthread
}
with_pkg_config() {
  mkdir build
  # shellcheck disable=SC2046  # options
  $cxx -std=c++20 main.cpp -o build/consumer $(PKG_CONFIG_PATH=$work/usr/share/pkgconfig pkg-config --cflags --libs cloister)
}
meson_dependency() { PKG_CONFIG_PATH=$work/usr/share/pkgconfig meson setup build && ninja -C build; }
with_cmake() { cmake -S . -B build -DCMAKE_PREFIX_PATH="$work/usr" && cmake --build build; }
# An installed tree may be moved: both kinds of package find their headers from where they are.
moved() {
  cp -r "$work/usr" elsewhere
  cmake -S . -B build -DCMAKE_PREFIX_PATH="$PWD/elsewhere" && cmake --build build
}

meson setup -Dtests=false -Dexamples=false --prefix="$work/usr" "$work/cloister" "$top" >"$work/log" 2>&1 &&
  meson install -C "$work/cloister" >>"$work/log" 2>&1 || {
  cat "$work/log"
  exit 1
}

way meson-subproject subproject
way copied-folder copied
way pkg-config with_pkg_config
way meson-dependency meson_dependency
way cmake-find_package with_cmake
way cmake-moved moved

# --- The README: its program prints what it says, and its recipes compile.

# Each block of C++ goes to a file of its own, and what the first one prints to another.
mkdir "$work/readme"
cd "$work/readme"
awk '
  /^```cpp$/ { out = "block-" ++n ".cpp"; next }
  /^```$/ && !out && n == 1 && !said { out = "said"; said = 1; next }
  /^```/ { if (out) close(out); out = ""; next }
  out { print > out }
' "$top/README.md"
echo '#include "recipes.hpp"' >recipes.cpp
echo '#include "recipes.hpp"' >tests.cpp
echo 'void recipes() {' >>recipes.cpp
for block in block-*.cpp; do
  if grep -q 'int main()' "$block"; then
    cp "$block" program.cpp
  elif grep -q TEST_CASE "$block"; then
    cat "$block" >>tests.cpp
  else
    cat "$block" >>recipes.cpp
  fi
done
echo '}' >>recipes.cpp

compiles() { $cxx -std=c++20 -Wall -Wextra -Wno-unused -Werror -I "$top/include" -I "$here" -fsyntax-only "$1"; }
readme() {
  cmp program.cpp "$top/examples/first.cpp" && $cxx -std=c++20 -I "$top/include" program.cpp -o program -pthread &&
    ./program >printed && diff said printed && compiles recipes.cpp && compiles tests.cpp
}
if readme >log 2>&1; then
  echo "ok: README"
else
  echo "FAILED: README"
  sed 's/^/    /' log
  bad=1
fi
exit $bad
