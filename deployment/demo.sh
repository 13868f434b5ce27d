#!/usr/bin/env bash
# `make demo` and `make demo-kafka`: counts the words of real texts with Flow, shows the counts as they grow, and compares
# them with what sort | uniq -c makes of the same files. `deployment/demo.sh files | kafka`.
#
# TEXT=dir takes the texts from there, else they are the licences and copyright files that every Debian has, and the
# checkout's own text. KAFKA=host:port takes a running Kafka, else one is started. Nothing that the demo starts
# outlives it, however it ends; if it is killed outright its folder stays until the next demo. What was built stays.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
kind=${1:-}
case "$kind" in
  files) parts="build rocksdb wasm" ;;
  kafka) parts="build rocksdb wasm"; [ -n "${KAFKA:-}" ] || parts+=" java kafka" ;;
  *) die "usage: deployment/demo.sh files | kafka" ;;
esac
begun=$SECONDS
work=""
flowd=""
kafka=""

cleanup() {
  # No second run when a signal comes during the first.
  trap '' EXIT INT TERM HUP
  if [ -n "${KAFKA:-}" ] && [ -n "${topics:-}" ]; then
    # shellcheck disable=SC2086 # a list of names
    flow-demo delete --brokers "$KAFKA" $topics || true
  fi
  for child in $flowd $kafka; do
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  done
  [ -z "$work" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A folder for one run. Its lock is held by this script and what it starts, so that a later run can tell that all are
# gone: they left no time to remove it.
temporary() {
  local stale parent=${TMPDIR:-/tmp}
  find "$parent" -mindepth 1 -maxdepth 1 -type d -name 'flow-demo.*' -user "$(id -u)" -mmin +1 2>/dev/null |
    while read -r stale; do
      [ ! -e "$stale/lock" ] || ! flock -n "$stale/lock" true || rm -rf "$stale"
    done
  work=$(mktemp -d "$parent/flow-demo.XXXXXX")
  exec 9>"$work/lock"
  flock -n 9
}

say() { printf '\n%s\n' "$*"; }

# Real texts into $1, each under a name of its own.
gather() {
  local file name
  mkdir -p "$1"
  find /usr/share/common-licenses /usr/share/doc/*/copyright -type f 2>/dev/null |
    while read -r file; do
      name=${file#/usr/share/}
      cp "$file" "$1/${name//\//-}.txt"
    done
  # An unpacked archive has no list of files, and does without them.
  { git -C "$flow_root" ls-files '*.md' '*.rs' '*.sh' 2>/dev/null || true; } | while read -r file; do
    [ ! -f "$flow_root/$file" ] || cp "$flow_root/$file" "$1/flow-${file//\//-}"
  done
}

# Runs a command on the files that Flow reads of a folder: no hidden ones, no links.
texts() {
  local dir=$1
  shift
  find "$dir" -mindepth 1 -name '.*' -prune -o -type f "$@"
}

# A path as YAML takes any.
quoted() {
  local path=${1//\\/\\\\}
  printf '"%s"' "${path//\"/\\\"}"
}

# The same words counted by nothing of Flow's. The empty line between two files keeps their words apart.
# ASCII letters alone are words here, for both sides.
# shellcheck disable=SC2016,SC2018,SC2019
independent() {
  texts "$1" -exec sh -c 'for file do cat "$file"; echo; done' - {} + |
    LC_ALL=C tr -cs 'A-Za-z' '\n' | LC_ALL=C tr 'A-Z' 'a-z' | LC_ALL=C sed '/^$/d' | LC_ALL=C sort |
    LC_ALL=C uniq -c | awk '{ print $1, $2 }' >"$2"
}

pipeline() {
  local from=$1 to=$2
  cat <<END
apiVersion: flow/v1
kind: Pipeline
metadata: {name: words}
sources:
  text: {$from}
operators:
  tokenize: {component: $(quoted "$flow_plugins/tokenizer.wasm"), from: text, config: {letters: ascii, lowercase: true}}
  count: {component: $(quoted "$flow_plugins/counter.wasm"), from: tokenize, key: \$value}
sinks:
  counts: {$to, from: count}
END
}

# reachable HOST:PORT,...: whether one of them takes connections, long before a client would give up.
reachable() {
  local one
  for one in ${1//,/ }; do
    case "$one" in *?:[0-9]*) ;; *) die "KAFKA=$1: each broker is host:port" ;; esac
    # shellcheck disable=SC2016 # the inner shell expands them
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "${one%:*}" "${one##*:}" 2>/dev/null && return 0
  done
  die "KAFKA=$1: nothing takes connections there; without KAFKA the demo starts one itself"
}

free_port() { "$flow_root/deployment/kafka.sh" port; }

start_flowd() {
  local port tries
  port=$(free_port)
  api=http://127.0.0.1:$port
  export FLOW_SERVER=$api
  flowd standalone --die-with-parent --data "$work/data" --listen "127.0.0.1:$port" >"$work/flowd.log" 2>&1 </dev/null &
  flowd=$!
  for tries in $(seq 100); do
    flowctl list >/dev/null 2>&1 && return 0
    if ! kill -0 "$flowd" 2>/dev/null || [ "$tries" -eq 100 ]; then
      cat "$work/flowd.log" >&2
      die "flowd did not start"
    fi
    sleep 0.1
  done
}

# Kafka as a child that the kernel ends with this script, even if that is killed.
start_kafka() {
  local port=$1 tries
  setpriv --pdeathsig KILL "$flow_root/deployment/kafka.sh" run "$work/kafka" "$port" >"$work/kafka.log" 2>&1 </dev/null &
  kafka=$!
  for tries in $(seq 300); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 0
    if ! kill -0 "$kafka" 2>/dev/null || [ "$tries" -eq 300 ]; then
      cat "$work/kafka.log" >&2
      die "Kafka did not start"
    fi
    sleep 0.2
  done
}

if [ -n "${TEXT:-}" ]; then
  # Said before anything is built.
  [ -d "$TEXT" ] || die "TEXT=$TEXT is no directory"
  text=$(cd "$TEXT" && pwd -P) || die "TEXT=$TEXT can't be entered"
  [ "$(texts "$text" -print | wc -l)" -gt 0 ] || die "TEXT=$TEXT holds no files (hidden ones and links do not count): name a folder with texts"
  [ -n "$(texts "$text" -exec grep -la -m 1 '[A-Za-z]' {} + | head -n 1)" ] ||
    die "TEXT=$TEXT holds no words: its files have none of the letters A to Z, which the demo counts"
fi
if [ "$kind" = kafka ] && [ -n "${KAFKA:-}" ]; then reachable "$KAFKA"; fi
# shellcheck disable=SC2086 # a list of words
"$flow_root/deployment/setup.sh" $parts
cd "$flow_root"
say "Building Flow (the first time takes several minutes, after that seconds)"
cargo build --release --workspace --bin flowd --bin flowctl --bin flow-demo
deployment/plugins.sh tokenizer counter
PATH=$flow_target/release:$PATH

temporary
if [ -z "${TEXT:-}" ]; then
  text=$work/text
  gather "$text"
fi
say "Texts: $(texts "$text" -print | wc -l) files, $(texts "$text" -exec cat {} + | wc -c) bytes (${TEXT:-licences, copyright files, this checkout})"

start_flowd
if [ "$kind" = files ]; then
  pipeline "files: {path: $(quoted "$text")}" "files: {path: $(quoted "$work/counts")}" >"$work/words.yaml"
else
  if [ -n "${KAFKA:-}" ]; then
    brokers=$KAFKA
  else
    port=$(free_port)
    brokers=127.0.0.1:$port
    say "Starting Apache Kafka $kafka_version on $brokers"
    start_kafka "$port"
  fi
  lines=flow-demo-lines-$$ counts=flow-demo-counts-$$
  topics="$lines $counts"
  flow-demo produce --brokers "$brokers" --lines "$lines" --counts "$counts" --text "$text"
  pipeline "kafka: {brokers: \"$brokers\", topic: $lines, stop: latest}" "kafka: {brokers: \"$brokers\", topic: $counts}" >"$work/words.yaml"
fi

say "The pipeline, deployed with: flowctl deploy words.yaml"
sed 's/^/    /' "$work/words.yaml"
# It prints the job's id and state; what it says beside is of use only where it fails.
if ! job=$(flowctl deploy "$work/words.yaml" 2>"$work/deploy.log"); then
  cat "$work/deploy.log" >&2
  die "the job could not be deployed, for the reason above"
fi
job=${job%% *}
say "Job $job"
if [ "$kind" = files ]; then
  flow-demo watch-files --api "$api" --job "$job" --dir "$work/counts" --out "$work/flow.txt"
else
  flow-demo watch-topic --api "$api" --job "$job" --brokers "$brokers" --topic "$counts" --out "$work/flow.txt"
fi

say "The same files counted by: tr -cs A-Za-z '\\n' | tr A-Z a-z | sort | uniq -c"
independent "$text" "$work/uniq.txt"
sum() { awk '{ words += $1 } END { printf "%d words, %d distinct\n", words, NR }' "$1"; }
echo "  Flow:          $(sum "$work/flow.txt")"
echo "  sort | uniq:   $(sum "$work/uniq.txt")"
if cmp -s "$work/flow.txt" "$work/uniq.txt"; then
  echo "  All counts are equal. ($((SECONDS - begun)) s in all)"
  echo "  Next: docs/src/start.md; for its commands: export PATH=$flow_target/release:\$PATH"
else
  echo "  They differ, the first lines of the difference (< Flow, > sort | uniq):"
  diff "$work/flow.txt" "$work/uniq.txt" | sed -n '1,20s/^/    /p' || true
  die "Flow's counts are not those of sort | uniq"
fi
