#!/usr/bin/env bash
# From a fresh Debian 12 / Raspberry Pi OS machine to running, reachable containers. Run as root, in a clone.
# Installs what is missing, starts a server with its own containerd, applies a demo, waits until it answers, says how to go on.
# No container registry is reached: the demo's image is packed here from Debian's busybox-static. Safe to run again.
#   --data-dir DIR   where the server keeps everything (default /var/lib/edgekube)
set -euo pipefail
cd "$(dirname "$0")/.."
data_dir=/var/lib/edgekube
while [ $# -gt 0 ]; do
  case $1 in
  --data-dir) data_dir=$2; shift ;;
  *) echo "quickstart.sh: unknown argument '$1'" >&2; exit 2 ;;
  esac
  shift
done
[ "$(id -u)" = 0 ] || { echo "quickstart.sh: run me as root (sudo packaging/quickstart.sh)" >&2; exit 1; }

home=/usr/local/lib/edgekube
kubeconfig=/etc/edgekube/kubeconfig.yaml
say() { printf '\n== %s\n' "$*"; }

say "Installing what is missing"
packaging/install-dependencies.sh --venv "$home/venv"
rm -rf "$home/app.new" && mkdir -p "$home/app.new" && cp -r edgekube "$home/app.new/"
rm -rf "$home/app" && mv "$home/app.new" "$home/app"
"$home/venv/bin/python" -m compileall -q "$home/app"
cat >"$home/edgekube" <<LAUNCHER
#!/bin/sh
PYTHONPATH=$home/app exec $home/venv/bin/python -m edgekube "\$@"
LAUNCHER
chmod 755 "$home/edgekube"
ln -sf "$home/edgekube" /usr/local/bin/edgekube
PYTHONPATH=$home/app "$home/venv/bin/python" packaging/pack-busybox.py edgekube.local/demo:1 "$data_dir/images/edgekube-demo.tar"
# A distribution that starts its own containerd service may keep it; edgekube runs one of its own, apart from it.

say "Starting the server"
log=/var/log/edgekube.log
if [ -d /run/systemd/system ]; then
  sed "s|^ExecStart=.*|ExecStart=$home/edgekube server --data-dir $data_dir|" systemd/edgekube.service >/etc/systemd/system/edgekube.service
  systemctl daemon-reload
  systemctl enable -q edgekube
  systemctl restart edgekube
  stop_words="systemctl stop edgekube      # containers keep running"
  log_words="journalctl -u edgekube"
else
  pid_file=/run/edgekube.pid
  if [ -e "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; then
    kill "$(cat "$pid_file")"
    while kill -0 "$(cat "$pid_file")" 2>/dev/null; do sleep 0.2; done
  fi
  setsid "$home/edgekube" server --data-dir "$data_dir" >>"$log" 2>&1 </dev/null &
  echo $! >"$pid_file"
  stop_words="kill \$(cat $pid_file)      # containers keep running"
  log_words="less $log"
fi

wait_for() { # wait_for SECONDS WHAT COMMAND...: until the command succeeds
  local left=$(($1 * 5)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ $left -le 0 ]; then
      echo "quickstart.sh: $what did not come true. Last words of the server ($log_words):" >&2
      { [ -e "$log" ] && tail -n 20 "$log" || journalctl -u edgekube -n 20 --no-pager; } >&2 2>/dev/null
      exit 1
    fi
    sleep 0.2
  done
}
export KUBECONFIG=$kubeconfig
node_ready() { [ "$(edgekube get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}')" = True ]; }
demo_ready() { [ "$(edgekube get deployment demo -o jsonpath='{.status.readyReplicas}')" = 2 ]; }
wait_for 120 "a running API" edgekube get namespace default
wait_for 120 "a Ready node" node_ready

say "Running the demo"
edgekube apply -f packaging/demo.yaml
wait_for 120 "a running demo" demo_ready
address=$(edgekube get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
answers() { busybox wget -q -O - "http://$address:30080/"; }
wait_for 30 "an answer from the demo" answers
echo "http://$address:30080 says: $(answers)"

say "What runs"
edgekube get nodes,pods,services -A -o wide

cat <<NEXT

== How to go on
  export KUBECONFIG=$kubeconfig
  kubectl get pods -A               # or: edgekube get pods -A
  kubectl apply -f anything.yaml
  kubectl delete -f packaging/demo.yaml
  $log_words
  $stop_words
NEXT
