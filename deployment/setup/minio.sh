# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `minio`: the S3 store that tests run against, compiled from its source since it is not published otherwise.
# deployment/minio.sh starts it. A MinIO that the machine has is taken as it is.

minio_version=v0.0.0-20260212201848-7aac2a2c5b7c
# What its go.mod asks for. From 1.21 on an older Go fetches that by itself, unless it was told not to.
minio_go=1.24

minio_system() {
  minio_ready && return 0
  want "golang-1.26-go|golang-1.25-go|golang-1.24-go|golang-go" "Go $minio_go or newer (golang, golang-go)" find_go
}

minio_ready() { has minio >/dev/null; }

# The newest Go that is there: Debian keeps those that are not its usual one outside the path.
find_go() {
  local go version newest=0 found=""
  for go in "$(command -v go)" /usr/lib/go-*/bin/go /usr/local/go/bin/go; do
    [ -x "$go" ] || continue
    version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${version:-0}" -gt "$newest" ]; then newest=$version found=$go; fi
  done
  [ "$newest" -ge 21 ] && echo "$found"
}

# What Go fetches and compiles on the way, 1.5 GB, goes again.
minio_fetch() {
  local go=$1 work status=0
  work=$(mktemp -d "$flow_cache/minio.XXXXXX")
  env GOPATH="$work" GOCACHE="$work/cache" GOBIN="$work/bin" GOFLAGS=-modcacherw CGO_ENABLED=0 \
    "$go" install -trimpath -ldflags '-s -w' "github.com/minio/minio@$minio_version" || status=$?
  if [ "$status" -eq 0 ]; then
    # In a directory of its own: what pip installs may be removed and made anew as a whole.
    mkdir -p "$flow_cache/minio/bin"
    mv "$work/bin/minio" "$flow_cache/minio/bin/minio"
  fi
  rm -rf "$work"
  return "$status"
}

minio_install() {
  local go
  go=$(find_go) || die "MinIO, which tests need, takes Go $minio_go or newer to compile, and this machine's is older" \
    "install it from Go's own site, or put a program minio into the path; then run the same command again"
  timed "minio: MinIO from source (3 minutes on two cores)" minio_fetch "$go" || die "Go could not compile MinIO $minio_version"
}
