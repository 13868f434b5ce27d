#!/usr/bin/env bash
# Checks everything that is no test of behaviour: format, lints, doctests, tidiness, shell scripts, licences. Runs all
# of them even when one fails, then names what failed.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
cd "$flow_root"
failed=()

check() {
  local label=$1 begun=$SECONDS
  shift
  echo "== $label"
  if "$@"; then
    echo "== $label: fine, $((SECONDS - begun)) s"
  else
    failed+=("$label")
    echo "== $label: FAILED, $((SECONDS - begun)) s"
  fi
}

left_out() { echo "== $1: left out, $2"; }

for manifest in Cargo.toml plugins/Cargo.toml; do
  [ -e "$manifest" ] || continue
  check "format, $manifest" cargo fmt --all --check --manifest-path "$manifest"
  check "clippy, $manifest" cargo clippy --release --workspace --all-targets --manifest-path "$manifest" -- -D warnings
done
check "doctests" cargo test --release --workspace --doc
check "tidy" cargo test --release --workspace --test tidy

if command -v shellcheck >/dev/null; then
  check "shell scripts" shellcheck -x deployment/*.sh deployment/setup/*.sh deployment/kafka/bin/*.sh .ci/run
else
  left_out "shell scripts" "shellcheck is not installed"
fi

if command -v mdbook >/dev/null; then
  check "book, rendered" deployment/book.sh
else
  left_out "book, rendered" "mdbook is not installed"
fi

if command -v cargo-deny >/dev/null; then
  for manifest in Cargo.toml plugins/Cargo.toml; do
    [ -e "$manifest" ] || continue
    # Known vulnerabilities are a check of its own, `make advisories`: their database is a git repository elsewhere,
    # and a check that needs the network would make this one fail offline.
    check "licences, bans, sources, $manifest" cargo deny --manifest-path "$manifest" --config deny.toml --log-level error check licenses bans sources
  done
  left_out "advisories" "they need the network: make advisories"
else
  left_out "licences, bans, sources" "cargo-deny is not installed"
fi

[ "${#failed[@]}" -eq 0 ] || die "failed:" "${failed[@]}"
