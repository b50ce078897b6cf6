#!/usr/bin/env bash
# arm64.sh [ENGINE...]: boots Debian's kernels for arm64 with pages of 4 and of 16 KiB in an emulated machine, and runs there
# the tests of broker/ring, then with each engine `heliograph doctor`, ten sessions, and the end by SIGTERM. Wants what
# deploy/ci/check.sh installs, and root. `auto` leaves the engine to the broker.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

readonly engines="${*:-auto}" target=aarch64-unknown-linux-gnu built="${CARGO_TARGET_DIR:-$PWD/target}/arm64"
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can unpack packages of Debian with their owners"; exit; }
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
PATH="$PWD/target/release-tools/bin:$PWD/target/release-tools/python/bin:$PATH"
[ -n "$(command -v cargo-zigbuild)" ] || quietly deploy/release.sh tools
GLOMMIO_LIBURING_DIR="$(deploy/ci/liburing.sh)"
export GLOMMIO_LIBURING_DIR

# The programs, as cargo names them: a line for each. Symbols would be most of what is loaded into memory.
quietly rustup target add "$target"
programs() { cargo zigbuild --locked --target "$target.2.28" --target-dir "$built" --message-format json "$@" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }
mkdir -p "$place/root"/{bin,dev,lib/aarch64-linux-gnu,proc,ring,sys,tmp}
programs --package broker --package loadgen --bins >"$place/programs"
programs --package heliograph-ring --tests >"$place/tests"
strip() { aarch64-linux-gnu-strip --strip-all -o "$2" "$1"; }
while read -r program; do strip "$program" "$place/root/bin/${program##*/}"; done <"$place/programs"
while read -r program; do strip "$program" "$place/root/ring/${program##*/}"; done <"$place/tests"

unpack() { quietly mmdebstrap --architectures=arm64 --variant=extract --include="$1" "$2" "$place/$2"; }
unpack linux-image-cloud-arm64,busybox,libc6,libgcc-s1 bookworm
unpack linux-image-arm64-16k trixie
cp "$place/bookworm/bin/busybox" "$place/root/bin/"
cp -L "$place/bookworm/lib/ld-linux-aarch64.so.1" "$place/root/lib/"
cp -L "$place"/bookworm/lib/aarch64-linux-gnu/lib{c,dl,gcc_s,m,pthread,resolv,rt}.so.* "$place/root/lib/aarch64-linux-gnu/"

# The image of deploy/release.sh, if it is there.
image=(dist/heliograph-*-image-arm64.tar.gz)
if [ -e "${image[0]}" ]; then
  mkdir "$place/image" "$place/root/image"
  tar --extract --gzip --file "${image[0]}" --directory "$place/image"
  for layer in $(python3 -c 'import json, sys; print(*json.load(sys.stdin)[0]["Layers"])' <"$place/image/manifest.json"); do
    tar --extract --file "$place/image/$layer" --directory "$place/root/image"
  done
fi

cat >"$place/root/init" <<END
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /tmp
mkdir /dev/shm; mount -t tmpfs tmpfs /dev/shm
ip link set lo up
fails() { echo "FAILED: \$*"; poweroff -f; }
echo "seen: Linux \$(uname -r), pages of \$(awk '/^KernelPageSize/ { print \$2; exit }' /proc/self/smaps) KiB"
[ ! -d /image ] || chroot /image /usr/bin/heliograph version || fails "the image"
for tests in /ring/*; do \$tests --test-threads 2 >/tmp/out 2>&1 || { cat /tmp/out; fails \$tests; }; grep '^test result' /tmp/out; done
for engine in $engines; do
  flags="--dev"; [ \$engine = auto ] || flags="--dev --engine \$engine"
  heliograph serve \$flags --data-dir /tmp/data >/tmp/ready 2>/tmp/log &
  until grep -q '^ready ' /tmp/ready; do kill -0 \$! || { cat /tmp/log; fails serve; }; sleep 0.2; done
  heliograph doctor >/tmp/out 2>&1; [ \$? -ne 2 ] || { cat /tmp/out; fails doctor; }
  loadgen run --target http://127.0.0.1:8080 --rate 5 --duration 2 --json /tmp/run >/tmp/out 2>&1 || { cat /tmp/out /tmp/log; fails loadgen; }
  grep -q '"ok": *true' /tmp/run || { cat /tmp/run; fails messages; }
  kill -TERM \$!; wait \$! || { cat /tmp/log; fails "the end"; }
  echo "seen: engine \$engine: doctor, ten sessions, exit code 0"
done
echo "done on \$(uname -m)"
poweroff -f
END
chmod +x "$place/root/init"
(cd "$place/root" && find . | cpio --quiet --create --format=newc | gzip -1) >"$place/initramfs"

for kernel in "$place"/{bookworm,trixie}/boot/vmlinuz-*; do
  timeout --kill-after=10 600 qemu-system-aarch64 -M virt -cpu max -smp 2 -m 2048 -nic none -nographic -no-reboot \
    -kernel "$kernel" -initrd "$place/initramfs" -append "console=ttyAMA0 quiet panic=-1" </dev/null | tr -d '\r' >"$place/console" || true
  cat "$place/console"
  grep -q '^done on aarch64$' "$place/console" || fail "${kernel##*/}"
done
[ "$(grep -c . "$place/tests")" -ge 2 ] || fail "no tests of ring"
