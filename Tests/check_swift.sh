#!/bin/sh
# A Swift package elsewhere that depends on a tag of this one, cloned: examples/swift builds and runs, although targets of
# ours are compiled with flags that Swift's package manager calls unsafe. Of what is committed.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/.*PLP_VERSION "\(.*\)"/\1/p' include/plp.h)

git clone --quiet . "$work/plp"
git -C "$work/plp" -c user.name=plp -c user.email=plp tag --force "$version" >"$work/tag"
cp -r examples/swift "$work/example"
cd "$work/example"
PLP_REPOSITORY="file://$work/plp" swift run -c release Example
test -s resnet18.safetensors
grep -q "\"version\" : \"$version\"" Package.resolved
