#!/usr/bin/env bash
# Builds both programs for $ARCH into $STAGE, and what packages hold beside them. They ask for glibc 2.28 or newer: Debian 10,
# Ubuntu 18.10, RHEL 8. The list of crates that a program is built from is in the program (cargo auditable).
set -euo pipefail

readonly target="$ARCH-unknown-linux-gnu" glibc=2.28
# Binutils know one processor each.
tool() { command "$ARCH-linux-gnu-$@"; }
built="${CARGO_TARGET_DIR:-$ROOT/target}"
# The same bytes whatever the directories are called, and whether or not the sources of the standard library are installed:
# with them the compiler names their own path.
library="$(rustc --print sysroot)/lib/rustlib/src/rust"
export RUSTFLAGS="--remap-path-prefix=$ROOT=heliograph --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo \
  --remap-path-prefix=$library=/rustc/$(rustc --verbose --version | sed -n 's/^commit-hash: //p')"
# C libraries check buffers where the compiler knows their sizes. No time of the build either: the compiler keeps what it made with an earlier SOURCE_DATE_EPOCH.
export CFLAGS="-ffile-prefix-map=$ROOT=heliograph -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=cargo \
  -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wno-builtin-macro-redefined -D__DATE__=\"$VERSION\" -D__TIME__=\"$VERSION\""

[ "$ARCH" = "$(uname -m)" ] || rustup target add "$target" >/dev/null 2>&1 || { echo "rustup target add $target"; exit 1; }
rm -rf "$STAGE"
mkdir -p "$STAGE/debug"
# zig compiles its part of the C library when a program is first linked, and its debug information names the directory. So a
# tiny program is linked first, and that debug information is removed: then the bytes do not depend on the directory.
export ZIG_GLOBAL_CACHE_DIR="$built/zig-$ARCH"
tiny="$built/tiny"
rm -rf "$tiny" "$ZIG_GLOBAL_CACHE_DIR"
mkdir -p "$tiny"
echo 'fn main() {}' >"$tiny/main.rs"
# As cargo-zigbuild and the profile do: other options would make zig compile it again.
printf '#!/bin/sh\nexec cargo-zigbuild zig cc -- -g -fno-sanitize=all -target %s "$@"\n' "$ARCH-linux-gnu.$glibc" >"$tiny/cc"
chmod +x "$tiny/cc"
rustc --edition 2024 --target "$target" -C opt-level=3 -C debuginfo=line-tables-only -C panic=abort -C linker="$tiny/cc" \
  -o "$tiny/main" "$tiny/main.rs"
find "$ZIG_GLOBAL_CACHE_DIR/o" -name '*.o' -exec "$ARCH-linux-gnu-strip" --strip-debug {} +
# Archives name their members with directories, which only `ar` takes.
find "$ZIG_GLOBAL_CACHE_DIR/o" -name '*.a' | while IFS= read -r archive; do
  mapfile -t members < <(tool ar t "$archive")
  rm "$archive"
  tool ar rcsD "$archive" "${members[@]}"
done
# Each by itself, as from source: together they would share features that neither has alone. Side by side, since most of
# the time is one thread that optimises one program. Without protoc, which a build must not need.
# What lists the crates is named without its directory: cargo puts the wrapper's name into the names of our own symbols. So it is
# started here as `cargo auditable` starts it, which would name the directory.
build() {
  RUSTC_WORKSPACE_WRAPPER=cargo-auditable CARGO_AUDITABLE_ORIG_ARGS='{"offline":false,"locked":true,"frozen":false,"config":[]}' \
    CARGO_INCREMENTAL=0 PROTOC=/nonexistent cargo zigbuild --profile "$RELEASE_PROFILE" --locked --target "$target.$glibc" \
    --package "$1" --target-dir "$built/packaged-$1"
}
build broker &
broker=$!
build loadgen &
loadgen=$!
code=0
wait "$broker" || code=$?
wait "$loadgen" || code=$?
[ "$code" -eq 0 ] || exit "$code"
install -m 0755 "$built/packaged-broker/$target/$RELEASE_PROFILE/heliograph" "$STAGE/heliograph"
install -m 0755 "$built/packaged-loadgen/$target/$RELEASE_PROFILE/loadgen" "$STAGE/heliograph-loadgen"
for program in heliograph heliograph-loadgen; do
  needed="$(tool objdump -T "$STAGE/$program" | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\))\{0,1\} .*/\1/p' | sort -Vu | tail -n 1)"
  [ "$(printf '%s\n' "$needed" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] || {
    echo "$program asks for glibc $needed, it must be $glibc at most"
    exit 1
  }
  tool objcopy --only-keep-debug "$STAGE/$program" "$STAGE/debug/$program.debug"
  # `grep` reads to the end: readelf must not die of a closed pipe, which pipefail would count as "not found".
  directories="$(tool readelf --debug-dump=info --dwarf-depth=1 "$STAGE/debug/$program.debug" 2>/dev/null | grep -o 'DW_AT_comp_dir.*')"
  if grep -F ": $ROOT" <<<"$directories" >/dev/null; then
    echo "the debug information of $program names $ROOT: it would not be the same elsewhere"
    exit 1
  fi
  tool strip --strip-unneeded "$STAGE/$program"
  (cd "$STAGE/debug" && tool objcopy --add-gnu-debuglink="$program.debug" "$STAGE/$program")
done
unset RUSTFLAGS CFLAGS
# The compiler of C libraries asks for the time, and would build them again.
env -u SOURCE_DATE_EPOCH cargo build --quiet --locked -p documents
"$built/debug/documents" "$STAGE"
bash deploy/packages/archive.sh "$DIST/heliograph-$VERSION-linux-$ARCH-debug.tar.gz" "$STAGE/debug"
