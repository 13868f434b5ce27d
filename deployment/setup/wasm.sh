# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `wasm`: a Rust compiler for wasm32-unknown-unknown. The usual way is rustup's target; where rustup can't fetch
# it, Debian's rustc-web with the standard library's source does the same. deployment/plugins.sh asks wasm_way.

wasm_target=wasm32-unknown-unknown

wasm_target_installed() {
  local libraries
  libraries=$(cd "$flow_root" && rustc --print target-libdir --target "$wasm_target" 2>/dev/null) || return 1
  compgen -G "$libraries/libcore-*.rlib" >/dev/null
}

wasm_debian_compiler() { [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && [ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; }

# Debian's compiler brings no linker for Wasm. `flowctl build` takes the compiler's own rust-lld, else the newest
# wasm-ld-N, else the rust-lld of rustup's compiler; one older than the compiler's LLVM may not read what that writes.
wasm_debian_linker() {
  local newest
  { has rust-lld || compgen -G "$(/usr/bin/rustc --print target-libdir)/../bin/rust-lld"; } >/dev/null && return 0
  newest=$(compgen -c wasm-ld- | sed -n 's/^wasm-ld-\([0-9]*\)$/\1/p' | sort -n | tail -n 1)
  if [ -n "$newest" ]; then
    [ "$newest" -ge "$(wasm_debian_llvm)" ]
  else
    compgen -G "$(cd "$flow_root" && rustc --print target-libdir)/../bin/rust-lld" >/dev/null
  fi
}

# The major version of the LLVM that Debian's compiler is made with.
wasm_debian_llvm() { /usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'; }

# Prints `target` or `debian`: how this machine compiles to Wasm; fails when it can't yet.
wasm_way() {
  if [ "${FLOW_WASM:-}" != debian ] && wasm_target_installed; then
    echo target
  elif wasm_debian_compiler && wasm_debian_linker; then
    echo debian
  else
    return 1
  fi
}

wasm_system() {
  wasm_way >/dev/null || has rustup >/dev/null || has apt-get >/dev/null || ! has cargo >/dev/null ||
    by_hand+=("the Rust target $wasm_target (rust-std-static-wasm32-unknown-unknown, or use rustup)")
}
wasm_ready() { wasm_way >/dev/null; }

wasm_install() {
  if [ "${FLOW_WASM:-}" != debian ] && has rustup >/dev/null; then
    # Two minutes bound a network that drops packets instead of refusing.
    (cd "$flow_root" && timed "wasm: rustup target add $wasm_target" timeout 120 rustup target add "$wasm_target") && return 0
    echo "  wasm: rustup could not fetch the target; Debian's compiler does it as well"
  fi
  has apt-get >/dev/null || die "rustup could not fetch the Rust target $wasm_target, and without apt-get there is no other way here"
  wasm_debian_compiler || apt_install rustc-web cargo-web rust-web-src
  wasm_debian_linker || apt_install "lld-$(wasm_debian_llvm)"
  wasm_way >/dev/null || die "Debian's compiler is installed, and still can't compile to $wasm_target: see deployment/setup/wasm.sh"
}
