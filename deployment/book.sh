#!/usr/bin/env bash
# Renders the book under docs/ into the user's cache directory and says where. What mdBook only warns of fails here.
set -euo pipefail

# shellcheck source=deployment/paths.sh
. "$(dirname "$0")/paths.sh"
cd "$flow_root"

command -v mdbook >/dev/null || die "mdbook is missing: deployment/setup.sh tools" "the pages are readable as they are: docs/src/SUMMARY.md"
said=$(mdbook build docs --dest-dir "$flow_cache/book" 2>&1) || die "mdbook:" "$said"
case "$said" in *WARN* | *ERROR*) die "mdbook:" "$said" ;; esac
echo "the book is in $flow_cache/book/index.html"
