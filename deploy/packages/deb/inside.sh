#!/usr/bin/env bash
# The part of try.sh that runs in the fresh Debian 12, as its root.
set -euo pipefail

place=/tmp
. /packages/shared.sh

main() {
  [ -z "$(command -v cargo)" ] || fail "Rust is here"
  truncated
  started="$SECONDS"
  # As README.md has it: the first line by root, the second by anybody (offer).
  echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99-try
  (
    cd /packages
    sudo() { "$@"; }
    export -f sudo
    quietly bash -euc "$(head -n 1 lines)"
  )
  seen "installed: $(heliograph version)"
  files
  doctor
  offer lines
  within_a_minute "the package"
  upgrade
  remove
  purge
  repository
  wheel
}

within_a_minute() {
  [ $((SECONDS - started)) -lt 60 ] || fail "from $1 to a relayed offer: $((SECONDS - started)) s, 60 are allowed"
  seen "from $1 to relayed offers in $((SECONDS - started)) s"
}

truncated() {
  if dpkg --install /packages/truncated.deb >/tmp/output 2>&1; then fail "a package without its end was installed"; fi
  grep -q "unexpected end of file" /tmp/output || { cat /tmp/output; fail "dpkg does not say that the end is missing"; }
  [ ! -e /usr/bin/heliograph ] || fail "a package without its end wrote /usr/bin/heliograph"
  [ ! -e /etc/heliograph ] || fail "a package without its end wrote /etc/heliograph"
  dpkg --purge heliograph >/dev/null 2>&1 || true
  seen "a package without its end is refused, nothing written"
}

files() {
  local line
  for line in "640 root:heliograph /etc/heliograph/broker.toml" "750 root:heliograph /etc/heliograph" \
    "700 heliograph:heliograph /var/lib/heliograph" "755 root:root /usr/bin/heliograph" "755 root:root /usr/bin/heliograph-loadgen" \
    "644 root:root /lib/systemd/system/heliograph.service" "644 root:root /usr/share/man/man1/heliograph-serve.1.gz" \
    "644 root:root /usr/share/zsh/vendor-completions/_heliograph" "644 root:root /usr/share/heliograph/prometheus/alerts.yml"; do
    [ "$(stat --format='%a %U:%G %n' "${line##* }")" = "$line" ] || fail "$(stat --format='%a %U:%G %n' "${line##* }"), must be $line"
  done
  grep -q '^ExecStart=/usr/bin/heliograph serve' /lib/systemd/system/heliograph.service || fail "the unit starts another program"
  for line in /usr/share/bash-completion/completions/heliograph*; do bash -n "$line"; done
  # The pages that broker.toml names, and the notices that dependencies ask for.
  for line in CHANGELOG.md broker.toml copyright licences.txt book/index.html book/CHANGELOG.html book/deploy/INSTALL.html; do
    [ -e "/usr/share/doc/heliograph/$line" ] || [ -e "/usr/share/doc/heliograph/$line.gz" ] || fail "no $line in /usr/share/doc/heliograph"
  done
  grep -q "glommio" /usr/share/doc/heliograph/licences.txt || fail "the licences of dependencies are not in licences.txt"
  seen "files, owners and modes"
}

# As the service's user: what it needs is there; what an operator has to bring is named.
doctor() {
  local code=0
  (cd /var/lib/heliograph && exec setpriv --reuid heliograph --regid heliograph --clear-groups heliograph doctor) >/tmp/output 2>&1 ||
    code=$?
  [ "$code" -le 1 ] || { cat /tmp/output; fail "doctor exits with $code"; }
  grep -q "^ok *io_uring" /tmp/output || { cat /tmp/output; fail "doctor does not find io_uring"; }
  code=0
  setpriv --reuid heliograph --regid heliograph --clear-groups heliograph check-config /etc/heliograph/broker.toml >/tmp/output 2>&1 || code=$?
  [ "$code" -eq 2 ] || { cat /tmp/output; fail "check-config without a certificate exits with $code, must be 2"; }
  grep -q "/etc/heliograph/tls/tls.crt" /tmp/output || { cat /tmp/output; fail "check-config does not name the certificate"; }
  seen "doctor, and check-config names what is missing"
}

# The last line of a file, `heliograph serve --dev`, as an ordinary user, and sessions of the load tester through it.
offer() {
  local broker ready code=0
  rm -f /tmp/ready # of an earlier one
  touch /tmp/ready
  mkdir -p /tmp/data
  chown 65534:65534 /tmp/data
  (cd /tmp/data && exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "exec $(tail -n 1 "/packages/$1")") \
    >/tmp/ready 2>/tmp/log &
  broker=$!
  until grep -q '^ready ' /tmp/ready; do
    kill -0 "$broker" || { cat /tmp/log; fail "the broker ended before it was ready"; }
    sleep 0.1
  done
  ready="$(sed 's/^ready \([^ ]*\) .*/\1/' /tmp/ready)"
  quietly heliograph-loadgen run --target "$ready" --rate 5 --duration 2 --json /tmp/run.json
  grep -q '"ok": *true' /tmp/run.json || { cat /tmp/run.json; fail "messages went wrong"; }
  kill -TERM "$broker"
  wait "$broker" || code=$?
  [ "$code" -eq 0 ] || { cat /tmp/log; fail "serve exits with $code after SIGTERM"; }
  rm -rf /tmp/data
  seen "offers and answers relayed"
}

upgrade() {
  echo "# an operator's line" >>/etc/heliograph/broker.toml
  echo kept >/var/lib/heliograph/registry
  chmod 0750 /var/lib/heliograph
  chmod 0600 /etc/heliograph/broker.toml
  # What the maintainer scripts ask of systemd: a stop and a start in place of a restart would close the sockets that it keeps.
  mkdir -p /run/systemd/system
  printf '#!/bin/sh\necho "$*" >>/tmp/invoked\n' >/usr/local/sbin/deb-systemd-invoke
  chmod +x /usr/local/sbin/deb-systemd-invoke
  ln -s /bin/true /usr/local/sbin/systemctl
  quietly apt-get install --yes -o Dpkg::Options::=--force-confold -o DPkg::Path="$PATH" /packages/next.deb
  rm -r /run/systemd/system /usr/local/sbin/deb-systemd-invoke /usr/local/sbin/systemctl
  [ "$(cat /tmp/invoked)" = "try-restart heliograph.service" ] || fail "the upgrade asks systemd to: $(tr '\n' ';' </tmp/invoked)"
  grep -q "an operator's line" /etc/heliograph/broker.toml || fail "the upgrade replaced an operator's configuration"
  [ "$(stat --format='%a %U:%G' /etc/heliograph/broker.toml)" = "600 root:heliograph" ] || fail "the upgrade changed the mode of the configuration"
  [ "$(stat --format='%a %U:%G' /var/lib/heliograph)" = "750 heliograph:heliograph" ] || fail "the upgrade changed the mode of the data directory"
  [ -e /etc/heliograph/broker.toml.dpkg-dist ] || fail "the next version's configuration is not beside it"
  [ "$(cat /var/lib/heliograph/registry)" = kept ] || fail "the upgrade took data"
  seen "an upgrade restarts the service once, and keeps the changed configuration, data, and modes"
}

remove() {
  quietly apt-get remove --yes heliograph
  [ ! -e /usr/bin/heliograph ] || fail "removed, /usr/bin/heliograph is there"
  [ -e /etc/heliograph/broker.toml ] || fail "removing took the configuration"
  [ -e /var/lib/heliograph/registry ] || fail "removing took data"
  seen "removing keeps configuration and data"
}

purge() {
  local left
  echo secret >/etc/heliograph/tls/tls.key
  quietly apt-get purge --yes heliograph
  [ "$(cat /etc/heliograph/tls/tls.key)" = secret ] || fail "purging took the operator's key"
  [ "$(find /etc/heliograph /var/lib -path '*heliograph*' ! -type d)" = /etc/heliograph/tls/tls.key ] || fail "purged, and left: $(find /etc/heliograph)"
  getent group heliograph >/dev/null || fail "purging took the group of the operator's key"
  seen "purging leaves the operator's key and its group, and nothing else"
  rm -r /etc/heliograph
  quietly apt-get install --yes "/packages/$(ls /packages | grep -m 1 '^heliograph_')"
  files
  quietly apt-get purge --yes heliograph
  left="$(find / -xdev \( -path /packages -o -path /proc -o -path /tmp \) -prune -o -iname '*heliograph*' -print)"
  [ -z "$left" ] || fail "purged, and left: $left"
  if getent passwd heliograph || getent group heliograph; then fail "purged, and the user is there"; fi
  seen "purging leaves nothing"
}

# As a host that follows releases: by the name of the package, with the signature checked.
repository() {
  mkdir -p /etc/apt/keyrings
  cp /packages/apt/heliograph.gpg /etc/apt/keyrings/
  echo 'deb [signed-by=/etc/apt/keyrings/heliograph.gpg] file:/packages/apt stable main' >/etc/apt/sources.list.d/heliograph.list
  # Other sources cannot be reached from here.
  local only=(-o Dir::Etc::SourceList=/etc/apt/sources.list.d/heliograph.list -o Dir::Etc::SourceParts=/dev/null)
  quietly apt-get "${only[@]}" -o APT::Update::Error-Mode=any update
  quietly apt-get "${only[@]}" install --yes heliograph heliograph-dbgsym
  [ -e /usr/lib/debug/usr/bin/heliograph.debug ] || fail "no debug information"
  quietly apt-get purge --yes heliograph heliograph-dbgsym
  sed -i 's/^Date: .*/Date: Thu, 01 Jan 2026 00:00:00 UTC/' /packages/apt/dists/stable/InRelease
  rm -rf /var/lib/apt/lists/*heliograph* /var/lib/apt/lists/*packages*
  if apt-get "${only[@]}" -o APT::Update::Error-Mode=any update >/tmp/output 2>&1; then cat /tmp/output; fail "a changed Release is accepted"; fi
  seen "a signed repository: both packages by their names, and a changed Release refused"
}

# In a virtual environment: Debian's pip installs nowhere else.
wheel() {
  started="$SECONDS"
  quietly python3 -m venv /opt/session
  # shellcheck disable=SC1091
  . /opt/session/bin/activate
  cd /packages
  PIP_NO_INDEX=1 quietly bash -euc "$(head -n 1 lines-of-wheel)"
  offer lines-of-wheel
  within_a_minute "the wheel"
}

main
