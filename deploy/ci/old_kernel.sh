#!/usr/bin/env bash
# old_kernel.sh: boots Debian 11's kernel (Linux 5.10, which is too old for the broker's io_uring) in an emulated machine,
# and runs there the tests of broker/ring on epoll, sessions, take-overs and drains of the live suite with an engine of the
# broker's choice, and `heliograph doctor`. Wants what deploy/ci/check.sh installs, and root.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

[ "$(uname -m)" = x86_64 ] || { echo "skipped: the emulated machine is an x86_64"; exit; }
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can unpack packages of Debian with their owners"; exit; }
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
GLOMMIO_LIBURING_DIR="$(deploy/ci/liburing.sh)"
export GLOMMIO_LIBURING_DIR

# The programs as `cargo test` builds them. Symbols would be most of what is loaded into memory.
programs() { cargo "$@" --locked --message-format json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }
mkdir -p "$place/root"/{bin,dev,lib64,proc,ring,sys,tmp,root}
programs test --no-run --package heliograph-ring >"$place/tests"
while read -r program; do strip --strip-all -o "$place/root/ring/${program##*/}" "$program"; done <"$place/tests"
programs test --no-run --package broker --test live >"$place/programs"
while read -r program; do name="${program##*/}"; strip --strip-all -o "$place/root/bin/${name%%-*}" "$program"; done <"$place/programs"
cp "$(command -v busybox)" "$place/root/bin/busybox"
xargs -n 1 ldd <"$place/programs" | grep -o '/lib[^ :]*' | sort -u >"$place/libraries"
while read -r library; do cp -L --parents "$library" "$place/root/"; done <"$place/libraries"
# The suite alone: updates of what Debian no longer supports come and go.
mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)"
quietly mmdebstrap --variant=extract --include=linux-image-cloud-amd64 bullseye "$place/bullseye" "$mirror"

cat >"$place/root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /tmp
mkdir /dev/shm; mount -t tmpfs tmpfs /dev/shm
ip link set lo up
ulimit -l unlimited   # so that it is the kernel's age that io_uring is refused for
fails() { echo "FAILED: $*"; poweroff -f; }
echo "seen: Linux $(uname -r)"
for tests in /ring/*; do $tests epoll --test-threads 2 >/tmp/out 2>&1 || { cat /tmp/out; fails $tests; }; grep '^test result' /tmp/out; done
export BROKER_UNDER_TEST=/bin/heliograph HELIOGRAPH_TESTS_SLOW=8
live --test-threads 2 service::session lifecycle::drain >/tmp/out 2>&1 || { tail -n 60 /tmp/out; fails live; }
grep '^test result' /tmp/out
heliograph doctor >/tmp/out 2>&1; [ $? -ne 2 ] || { cat /tmp/out; fails doctor; }
grep 'io_uring.*shards use epoll in its place: .*is too old' /tmp/out || { cat /tmp/out; fails "the engine"; }
echo "done: sessions, drain, doctor"
poweroff -f
END
chmod +x "$place/root/init"
(cd "$place/root" && find . | cpio --quiet --create --format=newc | gzip -1) >"$place/initramfs"
timeout --kill-after=10 600 qemu-system-x86_64 -M q35 -cpu max -smp 2 -m 2048 -nic none -nographic -no-reboot \
  -kernel "$place"/bullseye/boot/vmlinuz-* -initrd "$place/initramfs" -append "console=ttyS0 quiet panic=-1" \
  </dev/null | tr -d '\r' >"$place/console" || true
cat "$place/console"
grep -q '^done: ' "$place/console" || fail "it did not come to its end"
[ "$(grep -c . "$place/tests")" -ge 2 ] || fail "no tests of ring"
