# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `rocksdb`: RocksDB as a shared library. Compiling it takes longer than everything else together, so it is
# taken from the jar that RocksDB's own authors publish for Java: its native library exports the whole C API.

# The version that the crate binds, from Cargo.lock, so that library and bindings never drift apart.
rocksdb_version() {
  sed -n '/^name = "librocksdb-sys"/{n;s/^version = ".*+\(.*\)"$/\1/p}' "$flow_root/Cargo.lock"
}

# The name of the library inside the jar; fails where no prebuilt one fits.
rocksdb_member() {
  [ "$(uname -s)" = Linux ] || return 1
  # A library for glibc does not load under musl.
  ldd --version 2>&1 | grep -qi musl && return 1
  case "$(uname -m)" in
    x86_64) echo librocksdbjni-linux64.so ;;
    aarch64) echo librocksdbjni-linux-aarch64.so ;;
    *) return 1 ;;
  esac
}

rocksdb_wants_prebuilt() { [ "${ROCKSDB:-}" != source ] && rocksdb_member >/dev/null; }

rocksdb_system() {
  rocksdb_ready && return 0
  rocksdb_wants_prebuilt || return 0
  java_system
}

rocksdb_ready() {
  [ "${ROCKSDB:-}" != source ] && [ -e "$flow_lib/librocksdb.so" ] &&
    [ "$(cat "$flow_lib/librocksdb.version" 2>/dev/null)" = "$(rocksdb_version)" ]
}

rocksdb_fetch() {
  local version=$1 member=$2 unpacked
  unpacked=$(mktemp -d "$flow_cache/rocksdb.XXXXXX")
  # Maven checks the jar's checksum; -C makes a wrong one an error.
  if mvn -q -B -C "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin:unpack" \
    -Dartifact="org.rocksdb:rocksdbjni:$version" -Dincludes="$member" -DoutputDirectory="$unpacked" -Dproject.basedir="$unpacked" &&
    [ -s "$unpacked/$member" ]; then
    mkdir -p "$flow_lib"
    chmod 755 "$unpacked/$member"
    # A rename, so that a build that runs meanwhile sees the old or the new library, never half of one.
    mv "$unpacked/$member" "$flow_lib/librocksdb.so"
    echo "$version" >"$flow_lib/librocksdb.version"
    rm -rf "$unpacked"
  else
    rm -rf "$unpacked"
    return 1
  fi
}

rocksdb_install() {
  local version member
  version=$(rocksdb_version)
  [ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
  if rocksdb_wants_prebuilt; then
    member=$(rocksdb_member)
    timed "rocksdb: $version, prebuilt (a 92 MB jar)" rocksdb_fetch "$version" "$member" && return 0
  fi
  # A library of another version would be linked silently.
  [ "${ROCKSDB:-}" = source ] || rm -f "$flow_lib/librocksdb.so" "$flow_lib/librocksdb.version"
  echo "  rocksdb: $version is compiled from source with the first build: about 15 minutes more on two cores"
}
