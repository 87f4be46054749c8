#!/bin/sh
# The README's test command: gets what the tests need (tests/setup.sh), then formatting, lints, tests, documentation and
# the CUDA path's types. One after the other; the first failure ends it.
set -eu
cd "$(dirname "$0")/.."

step() {
    echo "==> $*" >&2
    "$@"
}

step sh tests/setup.sh
step cargo fmt --all --check
step cargo test --workspace --quiet --no-fail-fast
step cargo clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --quiet
step sh tests/check_cuda.sh
echo "all checks passed" >&2
