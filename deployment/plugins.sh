#!/usr/bin/env bash
# Builds the operators under plugins/ into components: `deployment/plugins.sh [NAME...]`, all without arguments. Each
# becomes NAME.wasm in the user's cache directory, where tests, demo and benches look for it. A Rust operator is built
# by `flowctl build`, as its users do it; one in another language brings a build.sh that takes the file to write.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
cd "$flow_root"

# newer OUT DIR: something that goes into OUT was changed after it was made.
newer() {
  [ -e "$1" ] || return 0
  [ -n "$(find "$2" wit sdk -type f -newer "$1" -not -path '*/target/*' -print -quit)" ]
}

build() {
  local dir=$1 out=$2
  if [ -e "$dir/build.sh" ]; then
    newer "$out" "$dir" || return 0
    PATH=$flow_python/bin:$PATH bash "$dir/build.sh" "$out"
  else
    # FLOW_WASM=debian takes the way of machines without rustup's target, as in deployment/setup.sh.
    flowctl build "$dir" -o "$out" ${std:+--std "$std"}
  fi
}

# All of the workspace is named so that its crates keep the features that the other builds give them.
cargo build --release -q --workspace --bin flowctl
PATH=$flow_target/release:$PATH
std=""
[ "${FLOW_WASM:-}" != debian ] || std=source
mkdir -p "$flow_plugins"
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
  for dir in plugins/*/; do
    dir=${dir%/}
    if [ -e "$dir/Cargo.toml" ] || [ -e "$dir/build.sh" ]; then names+=("${dir#plugins/}"); fi
  done
fi
failed=()
for name in "${names[@]}"; do
  [ -d "plugins/$name" ] || die "no operator plugins/$name"
  # One that fails does not keep the others from being built.
  timed "component $name" build "plugins/$name" "$flow_plugins/$name.wasm" || failed+=("$name")
done
[ "${#failed[@]}" -eq 0 ] || die "not built: ${failed[*]}"
[ "$#" -gt 0 ] || echo "  the components are in $flow_plugins"
