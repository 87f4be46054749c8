#!/bin/sh
# Type-checks the CUDA path on a machine without CUDA: candle's build scripts get a stand-in for nvcc that compiles
# nothing. No kernel is built or run.
set -eu
cd "$(dirname "$0")/.."
# One place, so that cargo does not build again what depends on it; and its own, so that nothing of the stand-in gets
# into a real build. Nothing real is built with CUDA where CI is set: there, what the lints have checked is not checked again
# (with the same dependencies' features, which a test and the workspace bring).
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/nvcc-stub/bin" "$target/nvcc-stub/include"
stub=$(cd "$target/nvcc-stub" && pwd)
: >"$stub/include/cuda.h"
cat >"$stub/bin/nvcc" <<'NVCC'
#!/bin/sh
case " $* " in *" --version "*)
    echo "nvcc: NVIDIA (R) Cuda compiler driver"
    echo "Cuda compilation tools, release 13.0, V13.0.88"
    exit 0
    ;;
esac
out= dir= ptx= previous= last=
for argument in "$@"; do
    case $previous in -o) out=$argument ;; --output-directory | -odir) dir=$argument ;; esac
    case $argument in -ptx | --ptx) ptx=yes ;; esac
    previous=$argument last=$argument
done
if [ -n "$out" ]; then
    case $out in
    *.a) ar crs "$out" ;;
    *) if [ -n "$ptx" ]; then : >"$out"; else : | cc -x c -c -o "$out" -; fi ;;
    esac
elif [ -n "$dir" ]; then
    : >"$dir/$(basename "$last" .cu).ptx"
fi
NVCC
chmod +x "$stub/bin/nvcc"
own=$target/cuda-check
[ -z "${CI:-}" ] || own=$target
PATH="$stub/bin:$PATH" CUDA_HOME=$stub CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=13000 \
    CARGO_TARGET_DIR="$own" cargo check --workspace --lib --test layering --features tegu/cuda --quiet
