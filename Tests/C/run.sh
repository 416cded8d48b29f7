#!/bin/sh
# The C ABI as a C developer meets it: installs the library under a temporary prefix, looks at the header and the
# library, then builds and runs the test program and the examples, by way of pkg-config. See sanitized.sh too.
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CC=${CC:-gcc}
CXX=${CXX:-g++}

fail() {
    echo "C ABI: $*" >&2
    exit 1
}

# Under a name with characters that make, sed, pkg-config and the shell might take for something else.
prefix="$work/a prefix & more"
make --no-print-directory install PREFIX="$prefix" >"$work/install.log" 2>&1 || fail "$(cat "$work/install.log")"
library=$prefix/lib/libplp.so.0
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"
flags="$(pkg-config --cflags --libs plp)"

# Runs a compiler on sources, with what pkg-config says, which is quoted for a shell.
with_flags() { eval "\"\$@\" $flags -lm"; }

version=$(pkg-config --modversion plp)
grep -q "PLP_VERSION \"$version\"" "$prefix/include/plp.h" || fail "plp.pc and plp.h are of different versions"

# What compiled programs rely on has changed only where that is meant: see abi.sh.
sh Tests/C/abi.sh "$prefix/include/plp.h" "$library" >"$work/abi.txt"
diff Tests/C/abi.txt "$work/abi.txt" >&2 || fail "the ABI is no longer that of Tests/C/abi.txt; abi.sh says how to change it"

# CMake finds it too, in a project of its own, and refuses a version that is not there.
mkdir "$work/a project"
cp examples/c/train.c "$work/a project"
cat >"$work/a project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.13)
project(train C)
find_package(plp ${asked} REQUIRED)
add_executable(train train.c)
target_link_libraries(train plp::plp m)
END
configure() { cmake -S "$work/a project" -B "$work/a build" -DCMAKE_PREFIX_PATH="$prefix" -D asked="$1" >"$work/cmake.log" 2>&1; }
configure "$version" && cmake --build "$work/a build" >>"$work/cmake.log" 2>&1 || fail "$(cat "$work/cmake.log")"
(cd "$work" && env -u LD_LIBRARY_PATH "a build/train" 100 && rm best.safetensors)
! configure 99.0 && grep -q 'requested version "99.0"' "$work/cmake.log" || fail "version 99.0 was found"

# The header is C99 and C++.
echo '#include <plp.h>' >"$work/header.c"
with_flags $CC -std=c99 -Wall -Wextra -Werror -pedantic -fsyntax-only "$work/header.c"
with_flags $CXX -std=c++11 -Wall -Wextra -Werror -pedantic -fsyntax-only -x c++ "$work/header.c"

# The library shows what the header declares and nothing else, has its soname, and needs no Swift runtime.
nm -D --defined-only "$library" | awk '$2 ~ /[A-Z]/ { print $3 }' | sort >"$work/exported"
grep -o '\bplp_[a-z_0-9]*(' "$prefix/include/plp.h" | tr -d '(' | sort -u >"$work/declared"
diff "$work/declared" "$work/exported" >&2 || fail "declared (<) and exported (>) functions differ"
readelf -d "$library" | grep -q 'SONAME.*\[libplp.so.0\]' || fail "soname is not libplp.so.0"
readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' >"$work/needed"
allowed='^(libc|libm|libgcc_s|libstdc\+\+|libopenblas|ld-linux-x86-64)\.so'
! grep -vE "$allowed" "$work/needed" >&2 || fail "needs other libraries than it should"

mkdir "$work/files"
with_flags $CC -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror Tests/C/test.c -o "$work/test"
"$work/test" "$work/files"

eval "$CC -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror Tests/C/unload.c $(pkg-config --cflags plp) -o '$work/unload'"
"$work/unload" || fail "a thread that had unloaded the library could not end"

with_flags $CC -std=c99 -Wall -Wextra -Werror -pedantic examples/c/train.c -o "$work/train"
(cd "$work" && ./train 300 && test -s best.safetensors)
with_flags $CC -std=c99 -Wall -Wextra -Werror -pedantic examples/c/own_loop.c -o "$work/own_loop"
"$work/own_loop"

cp -r "$prefix" "$work/another prefix"
make --no-print-directory uninstall PREFIX="$work/another prefix" >"$work/uninstall.log" 2>&1 ||
    fail "$(cat "$work/uninstall.log")"
[ -z "$(find "$work/another prefix" ! -type d)" ] || fail "left behind: $(find "$work/another prefix" ! -type d)"

# A processor that lacks what the kernels were compiled for gets a message. The C library can be told that this one does.
! (cd "$work" && GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2 ./train 300) 2>"$work/message" ||
    fail "a processor without AVX2 was accepted"
grep -q '^processor: found one without avx2, expected' "$work/message" || fail "$(cat "$work/message")"
