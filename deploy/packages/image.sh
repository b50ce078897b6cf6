#!/usr/bin/env bash
# Packs $STAGE/heliograph as an image into $DIST, without a daemon and from nothing: the program, the C library of this Debian,
# the licences, and the user 65532. As a docker-archive: the format of OCI has no health check.
set -euo pipefail

root="$STAGE/image"
rm -rf "$root"
mkdir -p "$root"/{etc/heliograph,run,tmp,usr/bin,usr/share/doc/heliograph,usr/share/heliograph}
chmod 1777 "$root/tmp"
cp "$STAGE/heliograph" "$root/usr/bin/"
# "name => path (address)" for libraries, "path (address)" for the loader; what the kernel brings along has no path.
ldd "$STAGE/heliograph" | grep -o '/[^ ]*' | while read -r library; do
  install -D -m 0755 "$library" "$root$library"
done
cp LICENSE "$STAGE/licences.txt" "$root/usr/share/doc/heliograph/"
cp /usr/share/doc/libc6/copyright "$root/usr/share/doc/heliograph/libc6.txt"
cp deploy/seccomp.json deploy/broker.toml "$root/usr/share/heliograph/"
echo 'heliograph:x:65532:65532::/var/lib/heliograph:/nonexistent' >"$root/etc/passwd"
echo 'heliograph:x:65532:' >"$root/etc/group"

store="$(mktemp -d)"
buildah() { command buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }
trap 'buildah rm --all >/dev/null 2>&1 || true; rm -rf "$store"' EXIT
container="$(buildah from scratch)"
mounted="$(buildah mount "$container")"
cp -a "$root/." "$mounted/"
install -d "$mounted/var/lib"
install -d -o 65532 -g 65532 -m 0700 "$mounted/var/lib/heliograph"
chown -h -R 0:0 "$mounted"/{etc,lib,lib64,run,tmp,usr}
buildah umount "$container" >/dev/null
# It warns of the format of OCI, which is not asked for.
buildah config --user 65532:65532 --workingdir /var/lib/heliograph --volume /var/lib/heliograph \
  --port 8080 --port 8443 --port 8090 --stop-signal SIGTERM --env PATH=/usr/bin \
  --entrypoint '["/usr/bin/heliograph"]' \
  --cmd 'serve --config /etc/heliograph/broker.toml --data-dir /var/lib/heliograph --log-format json' \
  --healthcheck 'CMD /usr/bin/heliograph doctor --ready' --healthcheck-interval 10s --healthcheck-timeout 3s \
  --healthcheck-start-period 60s --healthcheck-retries 3 \
  --label org.opencontainers.image.title=heliograph --label "org.opencontainers.image.version=$VERSION" \
  --label org.opencontainers.image.licenses=Apache-2.0 "$container" 2>/dev/null
buildah commit --quiet --format docker --timestamp "$SOURCE_DATE_EPOCH" "$container" \
  "docker-archive:$store/image.tar:heliograph:$VERSION" >/dev/null
python3 deploy/packages/image/settle.py "$store/image.tar" "$DIST/heliograph-$VERSION-image.tar.gz"
