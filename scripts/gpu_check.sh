#!/bin/sh
# Build and check errata on a machine with an NVIDIA GPU: tests, parity with the CPU, compute-sanitizer, benchmarks.
# docs/gpu.md describes it; --help lists the options.
exec python3 "$(dirname "$0")/gpu_check.py" "$@"
