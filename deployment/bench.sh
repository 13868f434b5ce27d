#!/usr/bin/env bash
# Takes the figures of benches/README.md anew: `deployment/bench.sh parts | kafka [ARGUMENT...]`. Arguments go to the
# benchmarks: `parts -- JSON` runs those whose names have that, `kafka --help` tells of rounds, jobs and profiles.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
kind=${1:-}
shift || true
case "$kind" in
  parts) parts="build rocksdb wasm" ;;
  kafka) parts="build rocksdb wasm java kafka minio" ;;
  *) die "usage: deployment/bench.sh parts | kafka [ARGUMENT...]" ;;
esac

# shellcheck disable=SC2086 # a list of words
"$flow_root/deployment/setup.sh" $parts
cd "$flow_root"
deployment/plugins.sh counter hoard identity order-filter order-map order-map-filter tokenizer
# All of the workspace is named so that what the other builds compiled is used again.
if [ "$kind" = parts ]; then
  exec cargo bench --profile release --workspace --bench boundary --bench state --bench network "$@"
fi
cargo build --release --workspace --bins
exec "$flow_target/release/end-to-end" "$@"
