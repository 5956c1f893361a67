#!/bin/sh
# Install edgekube on Debian 12/13 or Raspberry Pi OS, and start it or join a cluster in the same line:
#   curl -sfL https://get.edgekube.io | sudo sh -s -                                   the first machine: a server
#   curl -sfL https://get.edgekube.io | sudo sh -s - join https://gw1:6443 EK1.…       a further machine
#   sudo packaging/install.sh --package dist/edgekube_0.1.0_arm64.deb --no-start       from a file, only install
# --package FILE   install this file instead of downloading one     EDGEKUBE_URL      where releases lie
# --no-start       leave the service alone                          EDGEKUBE_VERSION  which release (default: the newest)
set -eu

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

url=${EDGEKUBE_URL:-https://github.com/edgekube/edgekube/releases}
version=${EDGEKUBE_VERSION:-}
package= start=1
while [ $# -gt 0 ]; do
  case $1 in
  --package) [ $# -ge 2 ] || fail "--package needs a file"; package=$2; shift ;;
  --no-start) start= ;;
  server | join) break ;;
  *) echo "install.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
  shift
done
role=${1:-server}
[ "$role" != join ] || [ $# -ge 3 ] || fail "join needs the server's address and a token: the line 'edgekube token create' printed"
[ "$(id -u)" = 0 ] || fail "run me as root (sudo sh)"
command -v apt-get >/dev/null || fail "this is for Debian and its kin (no apt-get here); take the single-file edgekube instead"
architecture=$(dpkg --print-architecture)
case $architecture in
amd64 | arm64 | armhf) ;;
*) fail "there is no package for $architecture (amd64, arm64, armhf)" ;;
esac

fetch() { # fetch URL TARGET
  if command -v curl >/dev/null; then
    curl -sfL --retry 3 -o "$2" "$1"
  elif command -v wget >/dev/null; then
    wget -q -O "$2" "$1"
  else
    fail "neither curl nor wget is here"
  fi
}

if [ -z "$package" ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  base=$url/latest/download
  [ -z "$version" ] || base=$url/download/v$version
  fetch "$base/SHA256SUMS" "$scratch/SHA256SUMS" || fail "cannot fetch $base/SHA256SUMS"
  name=$(sed -n "s/^[0-9a-f]\{64\}  \(edgekube_.*_$architecture\.deb\)\$/\1/p" "$scratch/SHA256SUMS" | head -n 1)
  [ -n "$name" ] || fail "the release at $base has no package for $architecture"
  echo "fetching $name"
  fetch "$base/$name" "$scratch/$name" || fail "cannot fetch $base/$name"
  (cd "$scratch" && grep -F "  $name" SHA256SUMS | sha256sum -c --quiet -) || fail "$name is not what SHA256SUMS says; nothing was installed"
  chmod 755 "$scratch"
  package=$scratch/$name
fi
[ -r "$package" ] || fail "cannot read $package"
case $package in /*) ;; *) package=./$package ;; esac

export DEBIAN_FRONTEND=noninteractive
echo "installing $(basename "$package")"
log=$(mktemp)
install() { apt-get install -y --no-install-recommends "$package" >"$log" 2>&1; }
install || { apt-get update -qq >/dev/null 2>&1 && install; } || {
  tail -n 5 "$log" >&2
  fail "apt-get could not install it; the whole log is $log"
}
rm -f "$log"
[ -n "$start" ] || exit 0

if [ "$role" = join ]; then
  exec edgekube "$@"
fi
shift || true
if [ -d /run/systemd/system ]; then
  if [ $# -gt 0 ]; then # flags for the server: EDGEKUBE_ variables are read by the unit, flags are not
    mkdir -p /etc/systemd/system/edgekube.service.d
    printf '[Service]\nExecStart=\nExecStart=/usr/bin/edgekube server %s\n' "$*" >/etc/systemd/system/edgekube.service.d/flags.conf
    systemctl daemon-reload
  fi
  systemctl enable -q edgekube
  systemctl restart edgekube
  echo "edgekube runs:  export KUBECONFIG=/etc/edgekube/kubeconfig.yaml; edgekube get nodes"
else
  echo "systemd does not run here; start it yourself:  edgekube server $*"
fi
