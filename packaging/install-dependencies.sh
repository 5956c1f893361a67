#!/usr/bin/env bash
# Install what edgekube needs on Debian 12 / Raspberry Pi OS: container runtime and network tools from the
# distribution, Python packages in a virtual environment. Installs only what is missing; safe to run again.
#   --venv DIR     where the virtual environment lives (default /usr/local/lib/edgekube/venv)
#   --dev          also the tools of the test suite
#   --no-runtime   leave out containerd, runc, CNI plugins, nftables, iproute2, conntrack, iptables, busybox
set -euo pipefail
cd "$(dirname "$0")/.."
venv=/usr/local/lib/edgekube/venv dev= runtime=1
while [ $# -gt 0 ]; do
  case $1 in
  --venv) venv=$2; shift ;;
  --dev) dev=1 ;;
  --no-runtime) runtime= ;;
  *) echo "install-dependencies.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
  shift
done

packages=()
need() { # need PACKAGE PATH...: the package, unless one of the paths is there
  local package=$1 path
  shift
  for path in "$@"; do [ -e "$path" ] && return; done
  packages+=("$package")
}
if [ -n "$runtime" ]; then
  need containerd /usr/bin/containerd /usr/local/bin/containerd
  need runc /usr/sbin/runc /usr/bin/runc /usr/local/sbin/runc
  need containernetworking-plugins /usr/lib/cni/bridge /opt/cni/bin/bridge
  need nftables /usr/sbin/nft
  need iproute2 /usr/sbin/ip /sbin/ip
  need iptables /usr/sbin/iptables
  need conntrack /usr/sbin/conntrack
  need busybox-static /bin/busybox /usr/bin/busybox
fi
if [ -n "$dev" ] && [ -n "$runtime" ] && ! command -v kubectl >/dev/null; then packages+=(kubernetes-client); fi
python=${EDGEKUBE_PYTHON:-python3}
"$python" -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] || { echo "install-dependencies.sh: run as root to install: ${packages[*]}" >&2; exit 1; }
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A distribution's containerd would start its own service; edgekube runs its own child instead.
  apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null; }
fi

stamp=$venv/.installed-for
wanted=$(cat pyproject.toml; echo "dev=$dev")
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  echo "preparing $venv"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  mapfile -t requirements < <("$venv/bin/python" - "$dev" <<'PY'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *(project["optional-dependencies"]["dev"] if sys.argv[1] else ()), sep="\n")
PY
  )
  "$venv/bin/pip" install -qq --disable-pip-version-check "${requirements[@]}"
  printf '%s' "$wanted" >"$stamp"
fi
