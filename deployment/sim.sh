#!/usr/bin/env bash
# Simulates whole jobs under faults: `deployment/sim.sh`, with SEEDS=n (200) for so many runs or SEED=s for one of them.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
"$flow_root/deployment/setup.sh" build rocksdb wasm
cd "$flow_root"
deployment/plugins.sh counter
export FLOW_PLUGINS=$flow_plugins
# All of the workspace is named so that what the other builds compiled is used again.
cargo build --release --workspace --example sim
if [ -n "${SEED:-}" ]; then
  exec "$flow_target/release/examples/sim" seed "$SEED"
fi
exec "$flow_target/release/examples/sim" seeds "${SEEDS:-200}" ${FROM:+"$FROM"}
