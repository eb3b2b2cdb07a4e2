#!/bin/sh
# Builds librunner.so against the ExecuTorch libraries of the pip package. Usage: sh build_runner.sh [OUT]
here=$(cd "$(dirname "$0")" && pwd)
home=$(${PYTHON:-python} -c "import importlib.util as u; print(list(u.find_spec('executorch').submodule_search_locations)[0])")
exec ${CXX:-g++} -std=c++17 -O2 -shared -fPIC -I "$home/include" -I "$home/include/executorch/runtime/core/portable_type/c10" \
  -DC10_USING_CUSTOM_GENERATED_MACROS "$here/runner.cpp" -o "${1:-$here/librunner.so}" \
  -L "$home/lib" -Wl,-rpath,"$home/lib" -Wl,--no-as-needed -lexecutorch -lexecutorch_backend_xnnpack \
  -lexecutorch_kernels_optimized -lexecutorch_threadpool
