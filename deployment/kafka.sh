#!/usr/bin/env bash
# A real Apache Kafka of one node (KRaft) on 127.0.0.1, for tests, the demo and benches; never for production.
#
#   deployment/kafka.sh run   DIR PORT   formats DIR if needed, then becomes the broker (exec), in the foreground
#   deployment/kafka.sh start DIR PORT   the same in the background; returns when the broker answers
#   deployment/kafka.sh stop  DIR        stops what `start` started and waits for it
#   deployment/kafka.sh tool NAME ...    Kafka's own command: kafka-topics, kafka-console-producer, kafka-console-consumer,
#                                        kafka-configs, kafka-get-offsets
#   deployment/kafka.sh port             prints a free port that no outgoing connection can take meanwhile
#
# DIR holds the settings, the log and the data; the caller removes it. Topics are not created by themselves. A file
# DIR/extra.properties goes over the settings below; with another node.id in it, this is a further node of a cluster.
# `run` keeps a parent-death signal set by its parent, since it ends in exec. KAFKA_HEAP (512m) bounds the heap,
# KAFKA_JAVA_OPTS replaces the options below, which start fast and stay small.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"

usage() {
  sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

# programs: how to start Kafka's programs.
programs() {
  # shellcheck disable=SC2206 # a list of options
  local options=(${KAFKA_JAVA_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto})
  java=$(find_java17) || die "Kafka needs Java 17 or newer: deployment/setup.sh java"
  [ -e "$kafka_jars/complete" ] || die "the jars of Kafka $kafka_version are missing: deployment/setup.sh kafka"
  command=("$java" "-Xmx${KAFKA_HEAP:-512m}" -XX:-UsePerfData "${options[@]}" -cp "$kafka_jars/*")
}

# broker DIR: the same for one with its data in DIR. What it unpacks goes below DIR: one that is killed leaves it there.
broker() {
  programs
  mkdir -p "$1/tmp"
  command+=("-Djava.io.tmpdir=$1/tmp")
}

tool() {
  local class
  case "$1" in
    kafka-topics) class=org.apache.kafka.tools.TopicCommand ;;
    kafka-configs) class=kafka.admin.ConfigCommand ;;
    kafka-get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
    kafka-console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
    kafka-console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    *) usage ;;
  esac
  shift
  programs
  exec "${command[@]}" "$class" "$@"
}

# The caller finds one free port; the controller, which only the broker itself talks to, listens 10000 below it.
settings() {
  local dir=$1 port=$2 controller=$(($2 > 11024 ? $2 - 10000 : $2 + 10000))
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=33554432
replica.fetch.max.bytes=33554432
num.partitions=1
END
}

# Formatting starts a JVM of its own, a third of the whole start. What it writes has no port and no path in it, so
# one formatted directory is kept as a template.
format() {
  local dir=$1 template=$kafka_jars/formatted new node directory
  if [ ! -e "$template" ]; then
    new=$(mktemp -d "$kafka_jars/format.XXXXXX")
    settings "$new" 9092 >"$new/server.properties"
    "${command[@]}" kafka.tools.StorageTool format -t "MkU3OEVBNTcwNTJENDM2Qg" -c "$new/server.properties" >"$new/format.log" 2>&1 || {
      cat "$new/format.log" >&2
      die "Kafka could not format $new"
    }
    # Another start may have made it meanwhile: either is as good.
    mv -T "$new/data" "$template" 2>/dev/null || true
    rm -rf "$new"
  fi
  cp -r "$template" "$dir/data"
  node=$(sed -n 's/^node.id=//p' "$dir/server.properties" | tail -n 1)
  if [ "$node" != 1 ]; then
    directory=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d =)
    sed -i "s/^node.id=.*/node.id=$node/; s/^directory.id=.*/directory.id=$directory/" "$dir/data/meta.properties"
  fi
}

run() {
  local dir=$1 port=$2
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  broker "$dir"
  settings "$dir" "$port" >"$dir/server.properties"
  [ ! -e "$dir/extra.properties" ] || cat "$dir/extra.properties" >>"$dir/server.properties"
  [ -e "$dir/data" ] || format "$dir"
  exec "${command[@]}" kafka.Kafka "$dir/server.properties"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start() {
  local dir=$1 port=$2 begun=$SECONDS
  answers "$port" && die "port $port is in use: choose another (deployment/kafka.sh port)"
  mkdir -p "$dir"
  setsid "$0" run "$dir" "$port" >"$dir/kafka.log" 2>&1 </dev/null &
  echo $! >"$dir/kafka.pid"
  until answers "$port"; do
    kill -0 "$(cat "$dir/kafka.pid")" 2>/dev/null || {
      tail -n 20 "$dir/kafka.log" >&2
      die "Kafka ended at its start; all of its log: $dir/kafka.log"
    }
    [ $((SECONDS - begun)) -lt 90 ] || { stop "$dir"; die "Kafka does not answer after 90 s; its log: $dir/kafka.log"; }
    sleep 0.2
  done
}

stop() {
  local dir=$1 pid tries
  pid=$(cat "$dir/kafka.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for tries in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    # Ten seconds are plenty for one node; after that nothing is lost by force.
    [ "$tries" -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
    sleep 0.1
  done
  rm -f "$dir/kafka.pid"
}

# Ports below the range that the kernel hands out, so that none is taken between now and the broker's start.
port() {
  local candidate
  for _ in $(seq 200); do
    candidate=$((20000 + RANDOM % 10000))
    answers "$candidate" || answers $((candidate - 10000)) || { echo "$candidate"; return; }
  done
  die "no free port between 20000 and 30000"
}

if [ "${1:-}" = tool ] && [ "$#" -ge 2 ]; then tool "${@:2}"; fi
case "${1:-}:$#" in
  run:3) run "$2" "$3" ;;
  start:3) start "$2" "$3" ;;
  stop:2) stop "$2" ;;
  port:1) port ;;
  *) usage ;;
esac
