#!/usr/bin/env bash
# Runs the script of a page in its stage, in namespaces that broker/tests/live/clients/blocks.rs made:
#
#   stage.sh STAGE user|root     STAGE has script, bin/, clone/ and home/
#
# Root gets a system of its own: an overlay over this one in memory, which ends with this process. In it `user` is nobody,
# without capabilities, and `root` has the programs of bin/ for what a container lacks: sudo, systemctl, journalctl.
set -euo pipefail
readonly stage="$1" pass="$2" pages="$PAGES"
readonly passed_on='^(https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|ALL_PROXY|all_proxy|PIP_[A-Z_]*|npm_config_.*|NPM_CONFIG_.*|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$'
readonly system="$stage/system/root"

main() {
  [ "${HELIOGRAPH_BLOCKS:-}" = all ] || ip link set lo up
  cp "$pages/bin/cargo" "$pages/bin/xdg-open" "$stage/bin"
  if [ "$pass" = user ]; then
    ln -s ../clone/target/release/heliograph "$stage/bin/heliograph"
  else
    cp "$pages/bin/sudo" "$pages/bin/systemctl" "$pages/bin/journalctl" "$pages/bin/timedatectl" "$stage/bin"
  fi
  if [ "$(id -u)" -ne 0 ]; then
    page setpriv --inh-caps=-all --ambient-caps=-all
  else
    throwaway
    if [ "$pass" = root ]; then
      page chroot "$system"
    else
      chown -R 65534:65534 "$system$stage"
      page chroot "$system" setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all
    fi
  fi
}

# Mounts an overlay of the root file system, and what a program wants beside it.
throwaway() {
  local file
  mkdir "$stage/system"
  mount -t tmpfs tmpfs "$stage/system"
  mkdir "$stage/system/upper" "$stage/system/work" "$system"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$stage/system/upper,workdir=$stage/system/work" "$system"
  mount -t proc proc "$system/proc"
  mount --rbind /dev "$system/dev"
  mount --rbind /sys "$system/sys"
  mount -t tmpfs -o mode=1777 tmpfs "$system/tmp"
  mount -t tmpfs -o mode=755 tmpfs "$system/run"
  # The control group of the service, as systemd makes it.
  mount -t tmpfs tmpfs "$system/sys/fs/cgroup"
  mkdir -p "$system/sys/fs/cgroup/system.slice/heliograph.service"
  printf 'usage_usec 0\nnr_throttled 0\n' >"$system/sys/fs/cgroup/system.slice/heliograph.service/cpu.stat"
  # Files that are mounts of their own are not in the overlay.
  for file in /etc/resolv.conf /etc/hosts /etc/npmrc /usr/etc/npmrc /etc/pip.conf; do
    [ ! -e "$file" ] || cp "$file" "$system$(readlink -f "$file")" || true
  done
  [ ! -e "$HOME/.npmrc" ] || cp "$HOME/.npmrc" "$system$stage/home/"
  echo "127.0.0.1 signaling.example.com" >>"$system/etc/hosts"
  # The repository and Python may be below a folder that only root can enter.
  for file in "$stage" "$pages" "$(readlink -f "$stage/bin/aws")" "$(readlink -f "$(dirname "$(readlink -f "$stage/bin/aws")")/python")"; do
    while [ "$file" != / ]; do
      file="$(dirname "$file")"
      chmod o+rx "$system$file"
    done
  done
}

# Runs the script behind these words, with an environment of its own.
page() {
  local name settings=()
  while read -r name; do
    [[ ! "$name" =~ $passed_on ]] || settings+=("$name=${!name}")
  done < <(compgen -e)
  exec "$@" env -i "${settings[@]}" PAGES="$pages" HOME="$stage/home" USER="$pass" LANG=C.UTF-8 TERM=dumb \
    PATH="$stage/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
    bash -c 'cd "$0" && exec bash ../script' "$stage/clone"
}

main
