#!/usr/bin/env bash
# Builds this operator into a component: `build.sh FILE`. Wants componentize-py in the PATH; deployment/plugins.sh
# brings it there.
set -euo pipefail

out=$(realpath -m "${1:?usage: build.sh FILE}")
cd "$(dirname "$0")"
command -v componentize-py >/dev/null || {
  echo "python-enrich: componentize-py is missing; next: deployment/setup.sh python, then deployment/plugins.sh python-enrich" >&2
  exit 1
}
part=$(mktemp -d)
trap 'rm -rf "$part"' EXIT
# Copies, since Python leaves its bytecode beside the sources that it compiles.
cp app.py enrich.py frame.py "$part"
# --stub-wasi: the component asks its host for nothing but `log`.
componentize-py -q -d ../../wit/operator-0.1.0 -w map-operator componentize --stub-wasi -p "$part" app -o "$part/component.wasm"
# A half-written file must never look like a component.
mkdir -p "$(dirname "$out")"
mv "$part/component.wasm" "$out.part"
mv "$out.part" "$out"
