# `just check` is what CI runs.

check:
    sh tests/run.sh

# The main job, with the example study.
quickstart:
    cargo run --release -- search examples/quickstart.yaml

# Formats the code.
fmt:
    cargo fmt --all

# Benchmarks: kernels and indicators, ratios measured side by side on one thread.
bench:
    RAYON_NUM_THREADS=1 cargo bench
