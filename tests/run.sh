#!/usr/bin/env bash
# Install what the tests need, then run them. Its last line is pytest's.
#   tests/run.sh            everything: house, unit, contract, golden, sim, e2e with the real runtime
#   tests/run.sh unit       what needs neither root nor a container runtime (under two minutes)
#   tests/run.sh golden     replay the recorded API cases, when ../shared/golden is beside the clone
#   tests/run.sh sim        whole clusters in one process, from a seed, with faults (SIM_SEEDS=100-200 looks further)
#   tests/run.sh e2e        real kubectl, real containerd
#   tests/run.sh bench      print the figures
# The virtual environment is .venv in the clone (EDGEKUBE_VENV names another).
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
[ $# -gt 0 ] && shift

venv=${EDGEKUBE_VENV:-$PWD/.venv}
packaging/install-dependencies.sh --venv "$venv" --dev $([ "$what" = unit ] && echo --no-runtime) >&2
export PATH="$venv/bin:$PATH" PYTHONPATH="$PWD"
unset PYTHONDONTWRITEBYTECODE  # servers are started often: compiled modules are kept

case $what in
unit) exec pytest tests/house tests/unit tests/contract -m "not runtime and not kubectl and not slow" "$@" ;;
golden) exec pytest tests/golden "$@" ;;
sim) exec pytest tests/sim "$@" ;;
e2e) exec pytest tests/e2e "$@" ;;
bench) exec python -m tests.benchmarks "$@" ;;
all) exec pytest tests "$@" ;;
*)
  echo "tests/run.sh: unknown part '$what' (unit, golden, sim, e2e, bench or nothing)" >&2
  exit 2
  ;;
esac
