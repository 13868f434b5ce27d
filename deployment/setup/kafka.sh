# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `kafka`: the jars of an Apache Kafka, for tests and `make demo-kafka`. deployment/kafka.sh starts it.

kafka_system() { kafka_ready || java_system; }

# One that was fetched before the tools were wanted lacks them.
kafka_ready() { [ -e "$kafka_jars/complete" ] && [ -e "$kafka_jars/kafka-tools-$kafka_version.jar" ]; }

kafka_fetch() {
  local jars
  jars=$(mktemp -d "$flow_cache/kafka.XXXXXX")
  if mvn -q -B -C -f "$flow_root/deployment/kafka/pom.xml" \
    "org.apache.maven.plugins:maven-dependency-plugin:$maven_dependency_plugin:copy-dependencies" \
    -DoutputDirectory="$jars" -DincludeScope=runtime; then
    touch "$jars/complete"
    chmod 755 "$jars"
    rm -rf "$kafka_jars"
    mv "$jars" "$kafka_jars"
  else
    rm -rf "$jars"
    return 1
  fi
}

kafka_install() {
  timed "kafka: jars of Apache Kafka $kafka_version (44 MB)" kafka_fetch || die "Maven could not fetch Kafka $kafka_version"
}
