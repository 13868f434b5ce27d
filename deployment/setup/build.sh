# shellcheck shell=bash disable=SC2154 # names come from paths.sh and setup.sh
# Part `build`: what the native crates are compiled with. librdkafka and zstd need a C compiler and make, the
# bindings of RocksDB need libclang (bindgen), librdkafka links zlib and OpenSSL.

libclang_found() {
  local found
  for found in /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/lib64/libclang*.so* /usr/local/lib/libclang*.so* \
    ${LIBCLANG_PATH:+"$LIBCLANG_PATH"/libclang*.so*}; do
    [ -e "$found" ] && return 0
  done
  return 1
}

build_system() {
  want build-essential "a C and C++ compiler with the C library's headers (gcc-c++, g++)" has c++
  want build-essential "make (make)" has make
  want clang "clang, for bindgen (clang)" has clang
  want libclang-dev "the library libclang (clang-devel, libclang-dev)" libclang_found
  want pkg-config "pkg-config (pkgconf, pkg-config)" has pkg-config
  want libssl-dev "the headers of OpenSSL (openssl-devel, libssl-dev)" pkg_config_openssl
  want zlib1g-dev "the headers of zlib (zlib-devel, zlib1g-dev)" pkg_config_zlib
}

pkg_config_openssl() { pkg-config --exists openssl || [ -e /usr/include/openssl/ssl.h ]; }
pkg_config_zlib() { pkg-config --exists zlib || [ -e /usr/include/zlib.h ]; }

build_ready() { true; }
build_install() { true; }

# Cargo's settings for this machine, git-ignored. Written only when they change, since cargo compiles anew when they do.
write_cargo_config() {
  local config=$flow_root/.cargo/config.toml host text
  host=$(cd "$flow_root" && rustc -vV | sed -n 's/^host: //p')
  text="# Written by deployment/setup.sh for this machine. Delete it and run that again to have it anew.
[build]
target-dir = \"$flow_cache/target\"
"
  if has clang >/dev/null && has clang++ >/dev/null; then
    text+="
[env]
CC = \"clang\"
CXX = \"clang++\"
"
  else
    text+="
[env]
"
  fi
  if [ -e "$flow_lib/librocksdb.so" ] && [ "${ROCKSDB:-}" != source ]; then
    text+="ROCKSDB_LIB_DIR = \"$flow_lib\"

[target.$host]
rustflags = [\"-C\", \"link-arg=-Wl,-rpath,$flow_lib\"]
"
  fi
  [ "$(cat "$config" 2>/dev/null)" = "${text%$'\n'}" ] && return 0
  mkdir -p "$flow_root/.cargo"
  printf '%s' "$text" >"$config"
  echo "  wrote .cargo/config.toml (target directory: $flow_cache/target)"
}
