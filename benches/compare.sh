#!/usr/bin/env bash
# Times the hot paths beside PyTorch: benches/compare.sh [--filter TEXT] [--rounds N] [--compile] [--json OUT]
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/bench-venv
python=$venv/bin/python

if [ ! -e "$venv/ready" ]; then
    python3 -m venv "$venv"
    # PyTorch without the gigabytes of CUDA that its wheel asks for.
    "$venv/bin/pip" install --quiet --no-deps torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 \
        typing_extensions==4.15.0 sympy==1.14.0 mpmath==1.3.0 networkx==3.5 jinja2==3.1.6 markupsafe==3.0.3 \
        fsspec==2025.10.0 filelock==3.20.0 numpy==2.3.5 safetensors==0.7.0
    # The other libraries that it is linked against are never called on the CPU: empty ones satisfy the linker.
    lib=$("$python" -c 'import importlib.util as u; print(*u.find_spec("torch").submodule_search_locations)')/lib
    needed=$(for so in "$lib"/*.so; do readelf -d "$so"; done | sed -nE 's/.*NEEDED.*\[(lib(cu|nccl|nv)[^]]*)\]/\1/p' | sort -u)
    for so in $needed; do
        [ -n "$(find "$venv" -name "$so")" ] || cc -shared -nostdlib -x c /dev/null -o "$lib/$so" -Wl,-soname,"$so"
    done
    touch "$venv/ready"
fi

cargo build --quiet --release --bench hot_paths
executable=$(cargo build --quiet --release --bench hot_paths --message-format json |
    sed -n 's/.*"name":"hot_paths".*"executable":"\([^"]*\)".*/\1/p')
"$python" benches/reference.py "$executable" "$target/bench-data" "$@"
cargo build --quiet --release
"$python" benches/cold_start.py "$target/release/musiva" recipes/weights
