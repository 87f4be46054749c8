#!/bin/sh
# From a data set to the file that is deployed, on this machine's CPU: search (≤ 3 minutes), train the knee of the front
# (≤ 20 minutes on two cores), round it to INT8, measure all of it again. Ends with runs/fashion-mnist/report.html.
# Needs the data (Debian: apt install dataset-fashion-mnist) and python3 with pip, which ONNX Runtime's library is got with.
set -eu
cd "$(dirname "$0")/.."
data=/usr/share/datasets/fashion-mnist
study=runs/fashion-mnist
tegu() { cargo run --quiet --release -- "$@"; }

[ -e "$data" ] || { echo "$data is missing: apt install dataset-fashion-mnist" >&2; exit 2; }
cargo build --release
# The profile that the study measures on can be used, or gets its library.
tegu runtime list --json | grep -q '"name":"host-cpu-ort-1thread"[^}]*"reason":null' || tegu runtime install

tegu search examples/fashion-mnist.yaml
tegu train "$study" --trial knee --data "$data" --config examples/fashion-mnist-training.yaml --pixels
for model in "$study"/training/*/model.onnx; do
    tegu quantize "$model" --data "$data" --range percentile
done
tegu remeasure "$study" --int8
