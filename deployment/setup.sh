#!/usr/bin/env bash
# Installs what Flow needs and this machine lacks: `deployment/setup.sh [PART...]`, all parts without arguments.
# Asks nothing, does nothing twice, says each step and its seconds. It must never remove or replace what the
# machine already has, and never names a registry: each package manager uses its own settings.
#
#   build    C and C++ compiler, libclang for bindgen, make, pkg-config, zlib, OpenSSL
#   rocksdb  RocksDB prebuilt (ROCKSDB=source: compiled with the first build instead)
#   wasm     the Wasm target of Rust, or Debian's compiler for it (FLOW_WASM=debian: that one at once)
#   java     Java 17 or newer and Maven
#   kafka    the jars of an Apache Kafka
#   minio    a MinIO, the S3 store of the tests
#   python   componentize-py, which turns a Python operator into a component
#   chromium the browser that the page is tested in
#   tools    cargo-nextest, cargo-deny, mdbook, shellcheck, curl
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
all_parts="build rocksdb wasm java kafka minio python chromium tools"
begun=$SECONDS

# What the system's package manager has to bring. Each part names it with `want`; all parts together are one
# call of apt, or one list for a system without apt.
missing_packages=()
missing_lines=()
# What no package manager of the system brings: each a line that says how to get it.
by_hand=()

# want PACKAGE WHAT COMMAND...: PACKAGE is missing if COMMAND fails; WHAT tells a person without apt what to get.
# PACKAGE may be several, `a|b`: the first that apt knows.
want() {
  local package=$1 what=$2
  shift 2
  "$@" >/dev/null 2>&1 && return 0
  missing_packages+=("$package")
  missing_lines+=("$what")
}
has() { command -v "$1"; }

# Every part brings three functions: PART_system (calls want), PART_ready (fast, silent), PART_install.
for file in "$flow_root"/deployment/setup/*.sh; do
  # shellcheck source=/dev/null
  . "$file"
done

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    # sudo wants a password: on a terminal it may ask its owner, elsewhere it fails at once.
    sudo "$@"
  fi
}

# The first of `a|b|c` that apt can install; the last one when it knows none, so that apt's error names it.
first_known() {
  local package
  for package in ${1//|/ }; do
    LC_ALL=C apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]' && break
  done
  echo "$package"
}

apt_install() {
  # What would take away a package that the machine has (rustc-web does so with rustup's) fails instead.
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q --no-remove -o DPkg::Lock::Timeout=300) wanted packages=()
  if [ "$(id -u)" -ne 0 ] && ! sudo -n true 2>/dev/null; then
    has sudo >/dev/null || die "no right to install; as root run: apt-get install $*"
    echo "  sudo asks for your password to install: $*"
    sudo -v || die "no right to install; as root run: apt-get install $*"
  fi
  # The lists of a fresh machine are empty, old ones name versions that are gone. Once a run is enough.
  if [ -z "${apt_updated:-}" ]; then
    timed "apt: package lists" as_root "${apt[@]}" update || die "apt-get update failed"
    apt_updated=yes
  fi
  for wanted in "$@"; do packages+=("$(first_known "$wanted")"); done
  timed "apt: ${packages[*]}" as_root "${apt[@]}" install --no-install-recommends "${packages[@]}" ||
    die "apt-get could not install ${packages[*]}"
}

system_packages() {
  local part line packages
  for part in "$@"; do "${part}_system"; done
  if [ "${#missing_packages[@]}" -gt 0 ] && ! has apt-get >/dev/null; then
    by_hand+=("${missing_lines[@]}")
  fi
  if [ "${#by_hand[@]}" -gt 0 ]; then
    echo "Flow needs these, which this script can't install here:" >&2
    printf '%s\n' "${by_hand[@]}" | sort -u | while read -r line; do echo "  - $line" >&2; done
    echo "Get them (names of packages in brackets), then run the same command again." >&2
    exit 1
  fi
  [ "${#missing_packages[@]}" -gt 0 ] || return 0
  mapfile -t packages < <(printf '%s\n' "${missing_packages[@]}" | sort -u)
  apt_install "${packages[@]}"
}

rust_system() {
  has cargo >/dev/null && return 0
  by_hand+=("Rust, by rustup: its own installer, or (rustup); it fetches the version of rust-toolchain.toml by itself")
}

# rustup fetches the pinned toolchain at the first call inside the checkout, unless it was told not to.
rust_install() {
  (cd "$flow_root" && rustc --version) >/dev/null 2>&1 && return 0
  if has rustup >/dev/null; then
    (cd "$flow_root" && timed "rustup: the toolchain of rust-toolchain.toml" rustup toolchain install) && return 0
  fi
  die "no working Rust: rust-toolchain.toml asks for $(sed -n 's/^channel *= *//p' "$flow_root/rust-toolchain.toml"), and rustc does not start"
}

# All checkouts of a user share what is built. Cargo, and `newer` in plugins.sh, compare times: what another checkout
# built after this one's files were written would pass for built from them. So at a change of hands all files become new.
claim_cache() {
  local owner=$flow_cache/checkout
  [ "$(cat "$owner" 2>/dev/null)" != "$flow_root" ] || return 0
  [ ! -e "$owner" ] || echo "  another checkout built last: Flow's own crates and components are built again"
  find "$flow_root" \( -name .git -o -name target \) -prune -o -type f -exec touch {} +
  echo "$flow_root" >"$owner"
}

main() {
  local parts=("$@") part done_parts=""
  # The split is wanted: all_parts is a list of words.
  # shellcheck disable=SC2206
  [ "${#parts[@]}" -gt 0 ] || parts=($all_parts)
  for part in "${parts[@]}"; do
    case " $all_parts " in
      *" $part "*) ;;
      *) die "no such part: $part" "parts: $all_parts" ;;
    esac
  done
  echo "setup: ${parts[*]}"
  mkdir -p "$flow_cache"
  rust_system
  system_packages "${parts[@]}"
  rust_install
  for part in "${parts[@]}"; do
    "${part}_ready" || "${part}_install"
    done_parts+=" $part"
  done
  write_cargo_config
  claim_cache
  echo "setup: ready in $((SECONDS - begun)) s"
}

main "$@"
