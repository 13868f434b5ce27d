#!/usr/bin/env bash
# `make chaos`: a job is harmed in every way that there is, with a real Kafka and a real S3 store, and must lose nothing:
# `deployment/chaos.sh ROUNDS SEED [standalone | cluster | naive]`. With `cluster` it runs on coordinators and workers of its own
# each, with `naive` its sink is one that must lose, and be found out.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
[ "$#" -ge 2 ] || die "usage: deployment/chaos.sh ROUNDS SEED [standalone | cluster | naive]"
"$flow_root/deployment/setup.sh"
cd "$flow_root"
deployment/plugins.sh counter identity
cargo build --release --workspace --bins
export FLOW_PLUGINS=$flow_plugins
exec "$flow_target/release/chaos" "$@"
