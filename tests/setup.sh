#!/bin/sh
# What the tests need from outside of the repository: Python's onnx, onnxruntime, Optuna and jsonschema in .venv, ONNX Runtime with
# OpenVINO in .tegu, laid out as `tegu runtime install` does, Chromium, nats-server, and Fashion-MNIST.
# Usage: tests/setup.sh [python|openvino|chromium|nats|fashion_mnist]...   (all where nothing is said; quick where they are there already)
set -eu
cd "$(dirname "$0")/.."

ONNX=1.23.2
ONNXRUNTIME=1.31.1
NUMPY=2.4.6
OPTUNA=5.0.0
JSONSCHEMA=4.26.0
OPENVINO=1.24.1

setup_python() {
    wanted="onnx==$ONNX onnxruntime==$ONNXRUNTIME numpy==$NUMPY optuna==$OPTUNA jsonschema==$JSONSCHEMA"
    if [ -x .venv/bin/python ] && [ "$(cat .venv/tegu-packages 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if ! python3 -m venv .venv; then
        echo "tests/setup.sh: python3 with its venv module is needed (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
    # shellcheck disable=SC2086 # a list of packages
    .venv/bin/python -m pip install --quiet --disable-pip-version-check $wanted
    echo "$wanted" >.venv/tegu-packages
}

# A second execution provider, for the tests of what happens when one does not run every node.
setup_openvino() {
    home=.tegu/runtimes
    if [ -d "$home/onnxruntime-openvino-$OPENVINO" ]; then
        return
    fi
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
        echo "tests/setup.sh: there is no onnxruntime-openvino for this platform, its tests will say so" >&2
        return
    fi
    setup_python
    rm -rf "$home/.partial"
    mkdir -p "$home/.partial"
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$home/.partial" "onnxruntime-openvino==$OPENVINO"
    .venv/bin/python -m zipfile -e "$home"/.partial/*.whl "$home/.partial/unpacked"
    mv "$home/.partial/unpacked" "$home/onnxruntime-openvino-$OPENVINO"
    rm -rf "$home/.partial"
}

setup_chromium() {
    for name in chromium chromium-browser google-chrome; do
        if command -v "$name" >/dev/null; then
            return
        fi
    done
    if ! command -v apt-get >/dev/null; then
        echo "tests/setup.sh: install Chromium, the tests of the report need it" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" != 0 ]; then
        # Never ask for a password: say what to do instead.
        as_root="sudo -n"
        if ! $as_root true 2>/dev/null; then
            echo "tests/setup.sh: Chromium is missing, run as root: apt-get install chromium" >&2
            exit 1
        fi
    fi
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq -y --no-install-recommends chromium >/dev/null
}

# The server that agents are reached through, and what makes its certificates.
setup_nats() {
    if { command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ]; } && command -v openssl >/dev/null; then
        return
    fi
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! $as_root true 2>/dev/null; }; then
        echo "tests/setup.sh: nats-server or openssl is missing, the tests of agents need them: as root, apt-get install nats-server openssl" >&2
        exit 1
    fi
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq -y --no-install-recommends nats-server openssl >/dev/null
}

# 30 MB of images in /usr/share/datasets/fashion-mnist. Only Debian has it as a package.
setup_fashion_mnist() {
    if [ -d "${TEGU_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}" ]; then
        return
    fi
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! $as_root true 2>/dev/null; }; then
        echo "tests/setup.sh: Fashion-MNIST is missing, its tests will say so: as root, apt-get install" \
            "dataset-fashion-mnist, or set TEGU_FASHION_MNIST" >&2
        return
    fi
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq -y --no-install-recommends dataset-fashion-mnist >/dev/null
}

if [ $# = 0 ]; then
    set -- python openvino chromium nats fashion_mnist
fi
for part in "$@"; do
    case $part in
    python | openvino | chromium | nats | fashion_mnist) "setup_$part" ;;
    *)
        echo "tests/setup.sh: no part '$part': python, openvino, chromium, nats or fashion_mnist" >&2
        exit 2
        ;;
    esac
done
