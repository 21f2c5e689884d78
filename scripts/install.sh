#!/usr/bin/env bash
# Install the Debian packages of the groups named (scripts/packages.txt). Does nothing when all are there.
#
#   scripts/install.sh build test ...
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)

missing=()
for group in "$@"; do
    while read -r package; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done < <(awk -v group="$group" '$1 == group { print $2 }' "$root/scripts/packages.txt")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
