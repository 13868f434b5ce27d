#!/usr/bin/env bash
# `make cluster-demo`: two coordinators and three workers with a Kafka and a MinIO; a worker and the coordinator that leads
# are killed, a link is cut, the job is scaled, and the result is compared with what was fed: it ends with 0 if that is exact.
#
# Each node has a network namespace of its own where users may have some, else all are on loopback with proxies between
# them (GROUND=loopback: that at once). Nothing that the demo starts outlives it, however it ends. What was built stays.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
[ "$#" -eq 0 ] || die "usage: deployment/cluster-demo.sh"
"$flow_root/deployment/setup.sh" build rocksdb wasm java kafka minio
cd "$flow_root"
printf '\nBuilding Flow (the first time takes several minutes, after that seconds)\n'
cargo build --release --workspace --bins
deployment/plugins.sh counter identity
export FLOW_PLUGINS=$flow_plugins

# Within a namespace of its own for users, networks and mounts: it needs no privileges, and is gone with the last process.
namespaces=(unshare --user --map-root-user --net --mount)
ground=${GROUND:-namespaces}
case "$ground" in namespaces | loopback) ;; *) die "GROUND=$ground: namespaces or loopback" ;; esac
if [ "$ground" = namespaces ] &&
  ! "${namespaces[@]}" sh -c 'mount -t tmpfs none /run && mkdir /run/netns && ip netns add a && ip link add b type bridge &&
      ip link add c type veth peer name d netns a && nsenter --net=/run/netns/a true' >/dev/null 2>&1; then
  ground=loopback
fi
if [ "$ground" = loopback ]; then
  exec "$flow_target/release/cluster-demo" loopback
fi
# There MinIO has to listen where the nodes reach it; nobody else does.
export MINIO_HOST=0.0.0.0
exec "${namespaces[@]}" "$flow_target/release/cluster-demo" namespaces
