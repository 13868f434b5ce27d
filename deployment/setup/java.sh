# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `java`: a Java 17 or newer and Maven. Only tests and the demo with Kafka run Java; Maven also fetches RocksDB.

# The Maven plugin that copies and unpacks artifacts, pinned: without a version Maven takes whatever it knows.
# shellcheck disable=SC2034
maven_dependency_plugin=3.8.1

# Debian 12 has 17, Debian 13 has 21 and 25, Ubuntu several.
java_packages="openjdk-21-jre-headless|openjdk-17-jre-headless|openjdk-25-jre-headless|default-jre-headless"

java_system() {
  want "$java_packages" "Java 17 or newer (java-21-openjdk-headless, openjdk-17-jre-headless)" find_java17
  want maven "Maven (maven)" has mvn
}

java_ready() { true; }
java_install() { true; }
