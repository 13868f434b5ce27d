#!/usr/bin/env bash
# Kafka's own command of this file's name, for who has no Kafka at hand: put this directory into the PATH.
exec "$(dirname "$(readlink -f "$0")")/../../kafka.sh" tool "$(basename "$0" .sh)" "$@"
