#!/usr/bin/env bash
# Both commands of the README on a fresh Debian 12: makes a minimal root file system, clones the commit that is checked out
# into it, and runs there, each with its time:
#
#   root     mmdebstrap: Debian's essential packages, apt and certificates, nothing else
#   clone    git and a C compiler, as the README says; the clone
#   user     cargo run -p broker -- serve --dev, until its ready line; a request; SIGTERM, exit code 0: as an
#            ordinary user, without capabilities, under Debian's default limits (8 MiB of locked memory)
#   serve    the same as root, with what the user built
#   clients  the steps of check.sh that install, as far as Debian, Python and node packages go
#   blocks   deploy/ci/blocks.sh --all: every block of the pages, as an ordinary user and as root, registries included
#   check    deploy/ci/check.sh
#
#   deploy/ci/fresh.sh                                  all of them: some 50 minutes on two cores, 15 GB under FRESH_DIR
#   FRESH_STEPS="root clone clients" deploy/ci/fresh.sh  only these, in this order
#   FRESH_DIR=/mnt/big deploy/ci/fresh.sh               where the root is made (default /var/tmp)
#
# Wants root on a Debian with mmdebstrap (installed if it is missing) and rustup with the toolchain of rust-toolchain.toml, which is
# mounted read-only. Package sources and registry settings are this machine's own: apt's and the installers' files are
# mounted read-only, and the variables named below are passed on. None is printed or kept. Everything runs in namespaces of
# its own for mounts and processes, so that nothing stays mounted or running; the root is removed at the end.
# The network is this machine's: ports 8080, 8443 and 8090 of loopback must be free.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null

readonly all="root clone user serve clients blocks check"
readonly checkout=/srv/heliograph crates=/srv/cargo   # of the clone, and of cargo: the same for every user, so that it builds once
readonly passed_on='^(https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|ALL_PROXY|all_proxy|CARGO_(REGISTR|SOURCE|HTTP|NET)[A-Z_]*|PIP_[A-Z_]*|npm_config_.*|NPM_CONFIG_.*|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$'
# Not chroot: tests make mount namespaces of their own, which ask for a root that is a mount, and would skip without it.
readonly pivot='cd "$0" && pivot_root . .outside && cd / && umount -l .outside && exec env -i "$@"'
readonly rustup="${RUSTUP_HOME:-$HOME/.rustup}" cargo="${CARGO_HOME:-$HOME/.cargo}"

main() {
  local step
  [ "$(id -u)" -eq 0 ] || { echo "fresh.sh makes and mounts a root file system: run it as root"; exit 1; }
  for step in ${FRESH_STEPS:-$all}; do
    [[ " $all " == *" $step "* ]] || { echo "no step \"$step\": FRESH_STEPS takes $all"; exit 1; }
  done
  if [ -z "$(command -v mmdebstrap)" ]; then
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --quiet --yes --no-install-recommends mmdebstrap >/dev/null
  fi
  git diff --quiet HEAD || echo "note: changes that are not committed are not in the clone"
  FRESH_ROOT="$(mktemp -d "${FRESH_DIR:-/var/tmp}/heliograph-fresh.XXXXXX")"
  export FRESH_ROOT
  trap remove EXIT
  trap 'exit 130' INT TERM
  unshare --mount --propagation private --pid --fork --kill-child --mount-proc env FRESH_INSIDE=1 bash deploy/ci/fresh.sh &
  namespaces=$!
  wait "$namespaces"
}

# All processes and mounts of the steps end with the process that holds their namespaces; then there is only the directory.
remove() {
  [ -z "${namespaces:-}" ] || kill -KILL "$namespaces" 2>/dev/null || true
  wait
  rm -rf --one-file-system "$FRESH_ROOT"
}

# In the namespaces: one step after the other; the first that fails ends the run.
steps() {
  local step started code
  for step in ${FRESH_STEPS:-$all}; do
    started="$SECONDS" code=0
    # A command of its own: under `||` bash would go on behind a command that failed.
    FRESH_INSIDE="$step" bash deploy/ci/fresh.sh || code=$?
    if [ "$code" -ne 0 ]; then
      echo "FAILED: $step (exit $code) after $((SECONDS - started)) s"
      exit 1
    fi
    echo "done: $step, $((SECONDS - started)) s"
    [ "$step" != root ] || mounts
  done
  echo "all steps: $SECONDS s"
}

step_root() {
  quietly 900 bash deploy/ci/root.sh "$FRESH_ROOT"
  rm -f "$FRESH_ROOT/etc/apt/sources.list"
  hosts >"$FRESH_ROOT/etc/hosts"
  echo "a root of $(du -sm "$FRESH_ROOT" | cut -f1) MB"
}

# What Debian's installer writes to /etc/hosts: `localhost` is ::1 first for who asks for both.
hosts() {
  printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s\n\n' "$(uname -n)"
  echo '# The following lines are desirable for IPv6 capable hosts'
  printf '%s\n' '::1     localhost ip6-localhost ip6-loopback' 'ff02::1 ip6-allnodes' 'ff02::2 ip6-allrouters'
}

step_clone() {
  git bundle create --quiet "$FRESH_ROOT/var/tmp/heliograph.bundle" HEAD
  quietly 900 inside /root apt-get update
  quietly 900 inside /root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends build-essential git
  quietly 120 inside /srv git clone /var/tmp/heliograph.bundle "$checkout"
  echo "commit $(inside "$checkout" git log --max-count=1 --format='%h %s')"
}

step_serve() {
  inside / chown -R root:root "$checkout"
  serve
}

step_user() {
  [ -e "$FRESH_ROOT/home/visitor" ] || inside / useradd --create-home --shell /bin/bash visitor
  inside / chown -R visitor:visitor "$checkout" "$crates"
  serve prlimit --memlock=8388608 setpriv --reuid visitor --regid visitor --init-groups \
    --inh-caps=-all --bounding-set=-all env HOME=/home/visitor
  rm -rf "$FRESH_ROOT$checkout/heliograph-data"
}

step_clients() {
  local function
  for function in debian_packages python_clients node_clients; do
    quietly 900 inside "$checkout" env HELIOGRAPH_STEP=1 bash deploy/ci/check.sh "$function"
  done
  echo "node $(inside / node --version), npm $(inside / npm --version), $(inside / python3 --version)"
}

step_blocks() {
  FRESH_INSIDE=call timeout --kill-after=10 3600 bash deploy/ci/fresh.sh inside "$checkout" deploy/ci/blocks.sh --all
}

step_check() {
  FRESH_INSIDE=call timeout --kill-after=10 7200 bash deploy/ci/fresh.sh inside "$checkout" deploy/ci/check.sh
}

# The first command of the README, behind words that say as whom.
serve() {
  local log="$FRESH_ROOT/var/tmp/serve.log" started="$SECONDS" code=0 broker
  inside "$checkout" "$@" cargo run -p broker -- serve --dev >"$log" 2>&1 &
  broker=$!
  until grep -q '^ready ' "$log"; do
    kill -0 "$broker" 2>/dev/null || { cat "$log"; echo "it ended before it was ready"; return 1; }
    [ $((SECONDS - started)) -lt 1800 ] || { cat "$log"; echo "not ready within 1800 s"; return 1; }
    sleep 0.2
  done
  echo "ready after $((SECONDS - started)) s"
  grep -v '^ *\(Compiling\|Downloaded\|Downloading\|Updating\|Finished\|Running\|Locking\|Fresh\|Adding\|Blocking\) ' "$log" || true
  request || { cat "$log"; return 1; }
  started="$SECONDS"
  kill -TERM "$broker"   # cargo has become the broker: `cargo run` replaces itself
  wait "$broker" || code=$?
  echo "exit code $code, $((SECONDS - started)) s after SIGTERM"
  [ "$code" -eq 0 ]
}

# A channel is created with bash alone: the root has no HTTP client.
request() {
  local body='{"ChannelName":"fresh"}' status
  exec 3<>/dev/tcp/127.0.0.1/8080
  printf 'POST /createSignalingChannel HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
    "${#body}" "$body" >&3
  IFS= read -r -t 10 status <&3
  exec 3>&-
  echo "CreateSignalingChannel: ${status%$'\r'}"
  [[ "$status" == *" 200 "* ]]
}

# What a container would mount: kernel file systems, devices, name servers; this machine's toolchain and what it needs to
# reach the registries, read-only. Nothing else of its /etc: the hosts file is the root's own.
mounts() {
  local file
  mount --bind "$FRESH_ROOT" "$FRESH_ROOT"   # a mount of its own, which pivot_root wants
  mkdir -p "$FRESH_ROOT/.outside"
  mount -t proc proc "$FRESH_ROOT/proc"
  mount --rbind /sys "$FRESH_ROOT/sys"
  mount -t tmpfs -o mode=755 tmpfs "$FRESH_ROOT/dev"
  for file in null zero full random urandom tty; do
    bind "/dev/$file" "/dev/$file" rw
  done
  mkdir "$FRESH_ROOT/dev/pts" "$FRESH_ROOT/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=666 devpts "$FRESH_ROOT/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$FRESH_ROOT/dev/shm"
  ln -s pts/ptmx "$FRESH_ROOT/dev/ptmx"
  ln -s /proc/self/fd "$FRESH_ROOT/dev/fd"
  for file in stdin:0 stdout:1 stderr:2; do
    ln -s "/proc/self/fd/${file#*:}" "$FRESH_ROOT/dev/${file%:*}"
  done
  mount -t tmpfs -o mode=755 tmpfs "$FRESH_ROOT/run"
  for file in /etc/resolv.conf /etc/apt /etc/npmrc /usr/etc/npmrc /etc/pip.conf; do
    bind "$file" "$file"
  done
  for file in .npmrc .pip/pip.conf .config/pip/pip.conf; do
    bind "$HOME/$file" "/root/$file"
  done
  # A copy: the ordinary user gets it.
  mkdir -p "$FRESH_ROOT$crates"
  for file in config config.toml credentials credentials.toml; do
    [ ! -e "$cargo/$file" ] || cp -L "$cargo/$file" "$FRESH_ROOT$crates/"
  done
  bind "$cargo/bin" /opt/cargo/bin
  # The toolchain that the repository names, and no other. It may be a link to one of another name.
  file="$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)"
  for file in "$rustup/toolchains/$file"-*; do
    bind "$file" "/opt/rustup/toolchains/${file##*/}"
  done
  bind "$rustup/settings.toml" /opt/rustup/settings.toml
  mkdir -p "$FRESH_ROOT/opt/rustup/update-hashes"   # it makes this at its first call, which is the ordinary user's
}

# Mounts one file or directory of this machine into the root if it is there.
bind() {
  local from="$1" to="$FRESH_ROOT$2"
  [ -e "$from" ] || return 0
  mkdir -p "$(dirname "$to")"
  if [ -d "$from" ]; then mkdir -p "$to"; else [ -e "$to" ] || : >"$to"; fi
  mount --bind "$(readlink -f "$from")" "$to"
  [ "${3:-ro}" = rw ] || mount -o remount,bind,ro "$to"
}

# Runs a command in a folder of the root, with the variables of the registries and nothing else of this environment.
inside() {
  local folder="$1" name settings=()
  shift
  while read -r name; do
    [[ ! "$name" =~ $passed_on ]] || settings+=("$name=${!name}")
  done < <(compgen -e)
  # Directories of this machine are not in the root.
  settings+=(PIP_FIND_LINKS=)
  exec_or_run unshare --mount --propagation private sh -c "$pivot" "$FRESH_ROOT" \
    "${settings[@]}" HOME=/root LANG=C.UTF-8 TERM=dumb RUSTUP_HOME=/opt/rustup CARGO_HOME="$crates" \
    PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
}

# In the background or a subshell the command takes the shell's place, so that a signal reaches it.
exec_or_run() {
  if [ "$BASH_SUBSHELL" -gt 0 ]; then exec "$@"; else "$@"; fi
}

# Runs a command within this many seconds; its output is shown if it fails.
quietly() {
  local seconds="$1" log code=0
  shift
  log="$(mktemp)"
  # `timeout` starts programs, not functions.
  if [ "$(type -t "$1")" = function ]; then
    FRESH_INSIDE=call timeout --kill-after=10 "$seconds" bash deploy/ci/fresh.sh "$@" >"$log" 2>&1 || code=$?
  else
    timeout --kill-after=10 "$seconds" "$@" >"$log" 2>&1 || code=$?
  fi
  [ "$code" -eq 0 ] || cat "$log"
  rm -f "$log"
  return "$code"
}

case "${FRESH_INSIDE:-}" in
  "") main ;;
  1) steps ;;
  call) "$@" ;;
  *) "step_$FRESH_INSIDE" ;;
esac
