#!/bin/sh
# The C ABI's test program under a sanitizer, the library's code within itself: see PLP_CHECKED in Package.swift.
#
#     sh Tests/C/sanitized.sh address|thread [threads]
set -eu
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/files"
SWIFT_BACKTRACE=enable=no ".build/$1/release/test" "$work/files" ${2:-}
