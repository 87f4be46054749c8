#!/bin/sh
# Starts the plugin's executable: from PATH, else from where `cargo build --workspace` puts it.
set -eu
cd "$(dirname "$0")"

if command -v energy-rapl >/dev/null; then
    exec energy-rapl
fi
target=${CARGO_TARGET_DIR:-target}
for folder in "$target" "../../$target" ../../target; do
    for profile in release debug; do
        if [ -x "$folder/$profile/energy-rapl" ]; then
            exec "$folder/$profile/energy-rapl"
        fi
    done
done
echo "energy-rapl is not built: run cargo build --workspace --release in Tegu's folder, or put it into PATH" >&2
exit 127
