#!/usr/bin/env bash
# Tries the Debian package of dist/ in a fresh Debian 12 without Rust, of deploy/ci/root.sh, in namespaces of its own: install,
# doctor, a relayed offer, upgrade, remove, purge; and a package of which the end is missing. Then the wheel there, by the
# lines of README.md. A line for each thing that was
# seen; the first that is not ends it with exit code 1. Wants root, lintian and mmdebstrap (deploy/packages/debian.sh).
set -euo pipefail
cd "$(dirname "$0")/../../.."
exec </dev/null
. deploy/packages/shared.sh

version="$(packaged_version)"
deb="$PWD/dist/heliograph_${version}_amd64.deb"
root=target/packages/root.tar

wheel="$PWD/dist/heliograph-$version-py3-none-manylinux_2_28_x86_64.whl"
for file in "$deb" "$wheel"; do [ -e "$file" ] || fail "$file is not there: deploy/release.sh makes it"; done
[ "$(id -u)" -eq 0 ] || { echo "skipped: only root can make and mount a root file system"; exit; }

lintian --fail-on error --allow-root --tag-display-limit 0 "$deb" >/tmp/lintian.$$ 2>&1 || { cat /tmp/lintian.$$; fail "lintian"; }
rm -f /tmp/lintian.$$
seen "lintian without errors"

if [ ! -e "$root" ]; then
  mkdir -p target/packages
  bash deploy/ci/root.sh "$PWD/$root.new.tar" systemd-standalone-sysusers python3-venv >/dev/null 2>&1 || fail "mmdebstrap"
  mv "$root.new.tar" "$root"
fi
place="$(mktemp -d)"
trap 'rm -rf --one-file-system "$place"' EXIT
tar --extract --file "$root" --directory "$place"
mkdir -p "$place/packages"
cp "$deb" "$wheel" "$place/packages/"
grep -A 1 -x 'sudo apt-get install \./heliograph_.*\.deb' README.md >"$place/packages/lines"
grep -A 1 -x 'pip install \./heliograph-.*\.whl' README.md >"$place/packages/lines-of-wheel"
cp deploy/packages/shared.sh deploy/packages/deb/inside.sh "$place/packages/"
head -c 1000000 "$deb" >"$place/packages/truncated.deb"
# The next version, with another configuration than this one's.
dpkg-deb --raw-extract "$deb" "$place/packages/next"
sed -i 's/^Version: .*/Version: 99.0.0/' "$place/packages/next/DEBIAN/control"
echo "# of the next version" >>"$place/packages/next/etc/heliograph/broker.toml"
dpkg-deb --root-owner-group --build "$place/packages/next" "$place/packages/next.deb" >/dev/null
rm -r "$place/packages/next"

# A repository, signed by a key that is thrown away.
export GNUPGHOME="$place/root/.gnupg" APT_KEY=releaser@example.com
mkdir -m 0700 "$GNUPGHOME"
quietly gpg --batch --passphrase '' --quick-generate-key "$APT_KEY" default default never
mkdir "$place/packages/dist"
cp "$deb" "${deb/heliograph_/heliograph-dbgsym_}" "$place/packages/dist/"
quietly env DIST="$place/packages/dist" STAGE="$place/packages" ROOT="$PWD" VERSION="$version" \
  SOURCE_DATE_EPOCH="$(git log --max-count=1 --format=%ct)" bash deploy/packages/apt.sh
gpgconf --kill all
rm -rf "$GNUPGHOME" "$place/packages/dist"

# A network of its own: any port is free, and nothing is reached.
unshare --mount --net --pid --fork --kill-child --propagation private bash -euc '
  mount --bind "$0" "$0"
  mount -t proc proc "$0/proc"
  mount -t sysfs sysfs "$0/sys"
  mount -t tmpfs -o mode=755 tmpfs "$0/dev"
  for file in null zero full random urandom; do : >"$0/dev/$file"; mount --bind "/dev/$file" "$0/dev/$file"; done
  mkdir "$0/dev/shm"
  mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm"
  ip link set lo up
  exec chroot "$0" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 240 bash /packages/inside.sh' "$place" ||
  fail "in the root"
