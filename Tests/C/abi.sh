#!/bin/sh
# Prints what programs that are compiled already rely on: abi.sh HEADER LIBRARY. Kept in abi.txt, which run.sh compares, so
# that nothing of it changes unnoticed. What is meant to change is written down by:
#     sh Tests/C/abi.sh include/plp.h .build/release/libplp.so >Tests/C/abi.txt
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "# Functions that the library exports"
nm -D --defined-only "$2" | awk '$2 ~ /[A-Z]/ { print $3 }' | LC_ALL=C sort
{
    cat <<'END'
#include <plp.h>
#include <stdio.h>
#define SIZE(type) printf("%s %zu\n", #type, sizeof(type));
#define VALUE(name) printf("%s %d\n", #name, (int)name);
int main(void)
{
    puts("# Structs and their sizes");
END
    sed -n 's/^typedef struct \(plp_[a-z_0-9]*\) {$/SIZE(\1)/p' "$1"
    echo 'puts("# Enumerators and their values");'
    grep -o '\bPLP_[A-Z_0-9]* = [0-9]' "$1" | sed 's/\(.*\) = .*/VALUE(\1)/'
    echo '}'
} >"$work/sizes.c"
${CC:-gcc} -I "$(dirname "$1")" "$work/sizes.c" -o "$work/sizes"
"$work/sizes"
