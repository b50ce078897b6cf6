#!/usr/bin/env bash
# Renders both directories as `kubectl apply -k` does, and validates what it sends by the schemas of the oldest and the newest
# Kubernetes that kubernetes-validate has (deploy/packages/tools.sh). No cluster is asked. A line for each thing that was seen;
# the first that is not ends it with exit code 1.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
. deploy/packages/shared.sh

PATH="$PWD/target/release-tools/python/bin:$PATH"

place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
for folder in base cluster; do
  kubectl kustomize "deploy/kubernetes/$folder" >"$place/$folder.yaml"
  for version in 1.25 1.37; do
    kubernetes-validate --strict --quiet -k "$version" "$place/$folder.yaml" || fail "$folder, Kubernetes $version"
  done
  seen "$folder: $(grep -c '^kind: ' "$place/$folder.yaml") objects of Kubernetes 1.25 to 1.37"
done
sed 's/podManagementPolicy/podManagmentPolicy/' "$place/base.yaml" >"$place/misspelt.yaml"
! kubernetes-validate --strict --quiet "$place/misspelt.yaml" >/dev/null 2>&1 || fail "a misspelt key is valid"
seen "a misspelt key is refused"
