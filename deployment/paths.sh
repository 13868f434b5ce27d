# shellcheck shell=bash
# Sourced by every script here: where things lie that are fetched or built outside the checkout,
# and the few words that the scripts print alike. It must never install or start anything.

flow_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# A service that runs tests may set no home; bash knows it from the user's entry.
export HOME=${HOME:-~}
flow_cache=${XDG_CACHE_HOME:-$HOME/.cache}/flow
# Where cargo builds: this checkout's settings say so, but the environment has the last word.
flow_target=${CARGO_TARGET_DIR:-${CARGO_BUILD_TARGET_DIR:-$flow_cache/target}}
case "$flow_target" in /*) ;; *) flow_target=$PWD/$flow_target ;; esac
[ -z "${CARGO_TARGET_DIR:-${CARGO_BUILD_TARGET_DIR:-}}" ] || export CARGO_TARGET_DIR=$flow_target
# Used by the scripts that source this file.
# shellcheck disable=SC2034
{
  flow_lib=$flow_cache/lib
  flow_plugins=$flow_cache/plugins
  flow_log=$flow_cache/log
  flow_python=$flow_cache/python
  kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$flow_root/deployment/kafka/pom.xml")
  kafka_jars=$flow_cache/kafka-$kafka_version
  # Prebuilt cargo-deny, cargo-nextest and mdbook, where setup could get them, and a MinIO that it compiled.
  PATH=$PATH:$flow_cache/tools/bin:$flow_cache/minio/bin
}
# A shell that is no login shell may not know where rustup's cargo is; a cargo of the system's would not do as
# rust-toolchain.toml says.
rustup_bin=${CARGO_HOME:-$HOME/.cargo}/bin
case ":$PATH:" in
  *":$rustup_bin:"*) ;;
  *) [ ! -x "$rustup_bin/cargo" ] || PATH=$rustup_bin:$PATH ;;
esac
export PATH
# RUSTFLAGS take the place of the flags in .cargo/config.toml, which tell programs where RocksDB is.
if [ -n "${RUSTFLAGS:-}${CARGO_ENCODED_RUSTFLAGS:-}" ] && [ -e "$flow_lib/librocksdb.so" ]; then
  export LD_LIBRARY_PATH=$flow_lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# Kafka 4 needs Java 17; the machine's first `java` may be older, so all are asked.
find_java17() {
  local java version
  for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(command -v java)" /usr/lib/jvm/*/bin/java; do
    [ -x "$java" ] || continue
    # The release file of the installation saves starting a JVM, half a second each.
    version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$(dirname "$(dirname "$(readlink -f "$java")")")/release" 2>/dev/null)
    [ -n "$version" ] || version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
    if [ "${version:-0}" -ge 17 ]; then
      printf '%s\n' "$java"
      return 0
    fi
  done
  return 1
}

# die MESSAGE...: one line a message to stderr, then exit 1.
die() {
  printf 'flow: %s\n' "$@" >&2
  exit 1
}

# timed LABEL COMMAND...: runs it with its output in a log, prints one line with the seconds it took.
# A command that fails shows the end of its log and where all of it is.
timed() {
  local label=$1 start=$SECONDS log status=0
  shift
  mkdir -p "$flow_log"
  log=$flow_log/$(printf '%s' "${label%%:*}" | tr -c 'A-Za-z0-9' '-').log
  printf '  %-62s ' "$label"
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -eq 0 ]; then
    printf '%4d s\n' $((SECONDS - start))
  else
    printf 'failed after %d s; the end of %s:\n' $((SECONDS - start)) "$log"
    tail -n 15 "$log" | sed 's/^/    | /'
  fi
  return "$status"
}
