#!/usr/bin/env bash
# Installs what builds packages into $TOOLS, at the versions below; a second call installs nothing.
# The compiler for C and the linker come with ziglang, whose headers know each version of glibc.
set -euo pipefail

readonly wheels=(ziglang==0.15.2 cargo-zigbuild==0.24.0 kubernetes-validate==1.37.0)
readonly crates=(cargo-deb@3.8.0 cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9) book=mdbook@0.5.4

mkdir -p "$TOOLS"
wanted="$(python3 --version) ${wheels[*]}"
if [ "$(cat "$TOOLS/python/installed" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$TOOLS/python"
  python3 -m venv "$TOOLS/python"
  "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "${wheels[@]}"
  printf '%s\n' "$wanted" >"$TOOLS/python/installed"
fi
if [ "$(cat "$TOOLS/installed" 2>/dev/null)" != "${crates[*]} $book --debug" ]; then
  # They run for seconds: the time to build them matters, not how fast they are, except the packer, which is in C.
  CFLAGS=-O2 CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install --debug --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/build" "${crates[@]}"
  # Without the server and the watcher, which are most of it.
  CARGO_PROFILE_DEV_DEBUG=0 cargo install --debug --quiet --locked --root "$TOOLS" --target-dir "$TOOLS/build" \
    --no-default-features --features search "$book"
  rm -rf "$TOOLS/build"
  printf '%s\n' "${crates[*]} $book --debug" >"$TOOLS/installed"
fi
