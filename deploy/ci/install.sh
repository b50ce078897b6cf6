# Installers of what the tests need, for check.sh; each installs only what is missing.

readonly apt=(apt-get --quiet -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)   # for the lock of another apt

debian_packages() {
  local missing=() package
  bash deploy/packages/debian.sh
  for package in git build-essential; do   # glommio builds its liburing with make and a C compiler, aws-lc with the compiler
    dpkg-query --show --showformat='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
  done
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
  node_is_recent || missing+=(nodejs)
  [ -n "$(command -v npm)" ] || missing+=(npm)
  [ -n "$(command -v turnserver)" ] || missing+=(coturn)
  [ -n "$(command -v chromium)" ] || missing+=(chromium)
  [ -n "$(command -v promtool)" ] || missing+=(prometheus)   # it checks metrics, rules and alerts
  [ -n "$(command -v strace)" ] || missing+=(strace)   # a slow disk in the live tests
  [ -n "$(type -P kill)" ] || missing+=(procps)        # a shell has a kill of its own, a test has not
  [ -n "$(command -v curl)" ] || missing+=(curl)         # blocks of the pages
  [ -n "$(command -v openssl)" ] || missing+=(openssl)   # and a certificate in them
  [ -n "$(command -v etcd)" ] || missing+=(etcd-server)
  [ -n "$(command -v etcdctl)" ] || missing+=(etcd-client)
  [ -n "$(command -v faketime)" ] || missing+=(faketime)   # a node's wall clock
  [ -n "$(command -v haproxy)" ] || missing+=(haproxy)   # a balancer before the nodes
  [ -x /usr/sbin/nginx ] || missing+=(nginx-light)   # proxies before a broker
  [ -n "$(command -v caddy)" ] || missing+=(caddy)
  { [ -x /usr/sbin/mosquitto ] && [ -n "$(command -v mosquitto_sub)" ]; } || missing+=(mosquitto mosquitto-clients)   # calls of cameras by MQTT
  [ -n "$(command -v ip)" ] || missing+=(iproute2)   # networks of tests
  [ -n "$(command -v certutil)" ] || missing+=(libnss3-tools)   # a certificate in a browser
  [ -n "$(command -v gnutls-cli)" ] || missing+=(gnutls-bin)   # a device with a certificate
  [ -e /usr/include/mbedtls/ssl.h ] || missing+=(libmbedtls-dev)   # another one, which is compiled
  [ -n "$(command -v protoc)" ] || missing+=(protobuf-compiler)   # a test compares generated code
  install_missing "${missing[@]}"
  node_is_recent || { echo "node 18 or newer is needed, $(node --version) is here"; return 1; }
}

# What long checks alone need: emulated machines with the first file systems of both, another browser, and a camera with
# GStreamer, which is some 300 packages with 800 MB.
emulator_packages() {
  local missing=()
  [ -n "$(command -v qemu-system-aarch64)" ] || missing+=(qemu-system-arm)
  [ -n "$(command -v qemu-system-x86_64)" ] || missing+=(qemu-system-x86)
  [ -n "$(command -v busybox)" ] || missing+=(busybox-static)
  [ -n "$(command -v cpio)" ] || missing+=(cpio)
  install_missing "${missing[@]}"
}

browser_packages() {
  [ -n "$(command -v firefox-esr)" ] || install_missing firefox-esr
}

gstreamer_packages() {
  pkg-config --exists gstreamer-webrtc-1.0 2>/dev/null || install_missing pkg-config libgstreamer1.0-dev \
    libgstreamer-plugins-bad1.0-dev gstreamer1.0-plugins-{base,good,bad} gstreamer1.0-nice
}

install_missing() {
  [ $# -gt 0 ] || return 0
  echo "missing: $*"
  if [ "$(id -u)" -ne 0 ]; then
    echo "install them as root: apt-get install $*"
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update
  without_services "${apt[@]}" install --yes --no-install-recommends "$@"
}

# Runs an installation whose packages start no service, neither at once nor at the next boot: coturn would be an open door on
# a developer's machine, tests start etcd and mosquitto themselves, and of prometheus only promtool is wanted. /usr/share/doc/init-system-helpers/README.policy-rc.d.gz says what the file means.
without_services() {
  local policy=/usr/sbin/policy-rc.d code=0 service
  if [ ! -e "$policy" ]; then
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  "$@" || code=$?
  for service in coturn prometheus etcd haproxy mosquitto nginx caddy; do
    case " $* " in *" $service "* | *" $service-server "* | *" $service-light "*) systemctl disable "$service" 2>/dev/null || true ;; esac
  done
  return "$code"
}

# Debian 12 has node 18: the pinned clients are the newest that run on it.
node_is_recent() {
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 18 ? 0 : 1)' 2>/dev/null
}

python_clients() {
  local wanted
  wanted="$(python3 --version; cat deploy/conformance/python/requirements.txt)"
  [ "$(cat "$clients/python/installed" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "$clients/python"
  python3 -m venv "$clients/python"
  # The file has everything, so nothing is looked for: awsiot-credentialhelper asks for an urllib3 that is older than botocore's.
  "$clients/python/bin/pip" install --disable-pip-version-check --no-deps -r deploy/conformance/python/requirements.txt
  printf '%s\n' "$wanted" >"$clients/python/installed"
}

node_clients() {
  node_packages js --omit=optional
  node_packages browser   # esbuild's program is an optional package, one for each processor
}

# Installs the pinned packages of one folder of deploy/conformance.
node_packages() {
  local folder="$1" wanted
  shift
  local -a files
  files=("deploy/conformance/$folder/package.json" "deploy/conformance/$folder/package-lock.json")
  [ ! -e "deploy/conformance/$folder/.npmrc" ] || files+=("deploy/conformance/$folder/.npmrc")
  wanted="$(node --version; cat "${files[@]}")"
  [ "$(cat "$clients/$folder/installed" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "${clients:?}/$folder"
  mkdir -p "$clients/$folder"
  cp "${files[@]}" "$clients/$folder/"
  (cd "$clients/$folder" && npm ci "$@" --ignore-scripts --no-audit --no-fund)
  printf '%s\n' "$wanted" >"$clients/$folder/installed"
}
