#!/usr/bin/env bash
# A sample of tests/torture/interrupts.py, which says what must hold. The seed is the day's, printed, and may be given:
#   ERRATA_TORTURE_SEED=7 test_interrupts.sh ERRATA_BINARY SOURCE_ROOT
set -euo pipefail
errata=${1:?usage: test_interrupts.sh ERRATA_BINARY SOURCE_ROOT}
root=${2:?usage: test_interrupts.sh ERRATA_BINARY SOURCE_ROOT}
seed=${ERRATA_TORTURE_SEED:-$(date +%Y%m%d)}
export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1
python3 "$root/tests/torture/interrupts.py" "$errata" "$root" --seed "$seed" --runs 16 --seconds 20
python3 "$root/tests/torture/interrupts.py" "$errata" "$root" --seed "$seed" --runs 8 --seconds 10 --kill --commands edit,cov
