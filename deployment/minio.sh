#!/usr/bin/env bash
# A real MinIO of one process and one directory on 127.0.0.1, for tests and benches; never for production.
#
#   deployment/minio.sh run DIR PORT   becomes the server (exec), in the foreground, with its data in DIR/data
#
# Each directory in DIR/data is a bucket. The keys are MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, `flow` and `flow-secret`
# without them. MINIO_HOST takes the place of 127.0.0.1. `run` keeps a parent-death signal set by its parent, since it ends in exec.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"

usage() {
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

run() {
  local dir=$1 port=$2
  command -v minio >/dev/null || die "MinIO is missing: deployment/setup.sh minio"
  mkdir -p "$dir/data"
  # No page and no look for updates; a small directory for tests is no disk of its own.
  MINIO_ROOT_USER=${MINIO_ROOT_USER:-flow} MINIO_ROOT_PASSWORD=${MINIO_ROOT_PASSWORD:-flow-secret} \
    MINIO_BROWSER=off MINIO_UPDATE=off MINIO_CI_CD=1 \
    exec minio server --quiet --certs-dir "$dir/certs" --address "${MINIO_HOST:-127.0.0.1}:$port" "$dir/data"
}

case "${1:-}:$#" in
  run:3) run "$2" "$3" ;;
  *) usage ;;
esac
