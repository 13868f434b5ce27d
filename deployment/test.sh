#!/usr/bin/env bash
# Runs every test: `deployment/test.sh [all]`. Builds the binaries and the components that the end-to-end tests start,
# then the tests of both Cargo workspaces with nextest (plain cargo where nextest can't be had), those of the operator
# in Python, and the doctests.
# `all` adds the long tests, which are marked #[ignore].
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
cd "$flow_root"

step() {
  local begun=$SECONDS
  echo "== $1"
  shift
  "$@" || { echo "== FAILED after $((SECONDS - begun)) s" && return 1; }
  echo "== $((SECONDS - begun)) s"
}

# Tests that fail do not keep the others from being run.
failed=()
tests() { step "$@" || failed+=("$1"); }

# run_tests MANIFEST PROFILE: all tests of that workspace but the doctests, which nextest does not run.
run_tests() {
  if command -v cargo-nextest >/dev/null; then
    cargo nextest run --workspace --manifest-path "$1" --cargo-profile "$2" \
      --no-tests pass "${nextest_all[@]}"
  else
    cargo test --workspace --manifest-path "$1" --profile "$2" --lib --bins --tests --no-fail-fast -- "${cargo_all[@]}"
  fi
}

nextest_all=() cargo_all=()
case "${1:-}" in
  "") ;;
  all) nextest_all=(--run-ignored all) cargo_all=(--include-ignored) ;;
  *) die "usage: deployment/test.sh [all]" ;;
esac

step "binaries" cargo build --release --workspace --bins
step "components" deployment/plugins.sh
# Where the end-to-end tests find what the step above built.
export FLOW_PLUGINS=$flow_plugins
tests "tests" run_tests Cargo.toml release
if [ -e plugins/Cargo.toml ]; then
  # Their release profile is for small Wasm: with link-time optimization each test program would take half a minute.
  tests "tests of the operators, natively" run_tests plugins/Cargo.toml dev
fi
tests "tests of the operator in Python, natively" \
  env -C plugins/python-enrich "$flow_python/bin/python" -B -m unittest
tests "doctests" cargo test --release --workspace --doc
[ "${#failed[@]}" -eq 0 ] || die "failed:" "${failed[@]}"
