#!/usr/bin/env bash
# Packs $STAGE/heliograph as an image for $DEB_ARCH into $DIST, without a daemon and from nothing: the program, the C library
# of Debian 12, the licences, and the user 65532. As a docker-archive: the format of OCI has no health check.
set -euo pipefail

root="$STAGE/image" system="$STAGE/system" tools="$ARCH-linux-gnu"
rm -rf "$root" "$system"
mmdebstrap --quiet --architectures="$DEB_ARCH" --variant=extract --include=libc6,libgcc-s1 bookworm "$system" \
  --extract-hook='for deb in "$1"/var/cache/apt/archives/*.deb; do dpkg-deb --field "$deb" >"$1/${deb##*/}.status"; done' 2>/dev/null
mkdir -p "$root"/{etc/heliograph,run,tmp,usr/bin,usr/share/doc/heliograph,usr/share/heliograph}
chmod 1777 "$root/tmp"
cp "$STAGE/heliograph" "$root/usr/bin/"
"$tools-objdump" -p "$STAGE/heliograph" | sed -n 's/^ *NEEDED *//p' | while read -r library; do
  install -D -m 0755 "$system/lib/$tools/$library" "$root/lib/$tools/$library"
done
loader="$("$tools-objcopy" --output-target=binary --only-section=.interp "$STAGE/heliograph" /dev/stdout | tr -d '\0')"
install -D -m 0755 "$system/lib/$tools/${loader##*/}" "$root$loader"
# Where scanners look for Debian packages in an image without their manager.
install -d "$root/var/lib/dpkg/status.d"
of_debian() { sed '1a Status: install ok installed' "$system/$1"_*.status >"$root/var/lib/dpkg/status.d/$1"; }
of_debian libc6
[ ! -e "$root/lib/$tools/libgcc_s.so.1" ] || of_debian libgcc-s1
cp LICENSE "$STAGE/licences.txt" "$root/usr/share/doc/heliograph/"
cp "$system/usr/share/doc/libc6/copyright" "$root/usr/share/doc/heliograph/libc6.txt"
cp deploy/seccomp.json deploy/broker.toml "$root/usr/share/heliograph/"
echo 'heliograph:x:65532:65532::/var/lib/heliograph:/nonexistent' >"$root/etc/passwd"
echo 'heliograph:x:65532:' >"$root/etc/group"

store="$(mktemp -d)"
buildah() { command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$store"' EXIT
container="$(buildah from scratch)"
mounted="$(buildah mount "$container")"
cp -a "$root/." "$mounted/"
install -d -o 65532 -g 65532 -m 0700 "$mounted/var/lib/heliograph"
chown -h -R 0:0 "$mounted"/{etc,lib*,run,tmp,usr,var/lib/dpkg}
buildah umount "$container" >/dev/null
# It warns of the format of OCI, which is not asked for.
buildah config --arch "$DEB_ARCH" --user 65532:65532 --workingdir /var/lib/heliograph --volume /var/lib/heliograph \
  --port 8080 --port 8443 --port 8090 --stop-signal SIGTERM --env PATH=/usr/bin \
  --entrypoint '["/usr/bin/heliograph"]' \
  --cmd 'serve --config /etc/heliograph/broker.toml --data-dir /var/lib/heliograph --log-format json' \
  --healthcheck 'CMD /usr/bin/heliograph doctor --ready' --healthcheck-interval 10s --healthcheck-timeout 3s \
  --healthcheck-start-period 60s --healthcheck-retries 3 \
  --label org.opencontainers.image.title=heliograph --label "org.opencontainers.image.version=$VERSION" \
  --label org.opencontainers.image.licenses=Apache-2.0 "$container" 2>/dev/null
buildah commit --quiet --format docker --timestamp "$SOURCE_DATE_EPOCH" "$container" \
  "docker-archive:$store/image.tar:heliograph:$VERSION" >/dev/null
name="heliograph-$VERSION-image-$DEB_ARCH"
python3 deploy/packages/image/settle.py "$store/image.tar" "$DIST/${name%-amd64}.tar.gz"
