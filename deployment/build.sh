#!/usr/bin/env bash
# Builds the daemon flowd and the command flowctl, and says where they are.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
"$flow_root/deployment/setup.sh" build rocksdb
cd "$flow_root"
cargo build --release --workspace --bin flowd --bin flowctl
echo "flowd and flowctl are built; to call them by name: export PATH=$flow_target/release:\$PATH"
