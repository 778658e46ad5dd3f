# For bench/peers/setup, which sources it: the peers that use AVX2, FMA and F16C and nothing newer.
# shellcheck shell=bash disable=SC2154  # setup sets them

# What the program says of itself is not trusted: 512-bit registers in any of its libraries count.
is_avx2() {  # LIBRARY... -- PYTHON MODULE
  local library wide
  while [[ "$1" != -- ]]; do
    library="$1"
    wide="$(objdump --disassemble "$library" | grep --count zmm || true)"
    [[ "$wide" == 0 ]] || { say "$library has $wide instructions of AVX-512"; return 1; }
    shift
  done
  is_native "${@:2}" --isa avx2
}

# Only ggml-cpu is compiled for an instruction set; the other libraries are the installed ones.
llama_avx2_compile() {  # PYTHON
  local scratch package log="$environment/llama.cpp-avx2.log" status=0
  say "$llama: compiling its kernels for AVX2; see ${log#"$root/"}"
  package="$("$1" -c 'import llama_cpp; print(llama_cpp.__path__[0])')" || return
  scratch="$(mktemp -d)"
  mkdir -p "$llama_avx2"
  {
    source_of "$llama" "$scratch" &&
      cmake -S "$scratch/vendor/llama.cpp" -B "$scratch/build" -G Ninja \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_AVX2=ON \
        -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF \
        -DGGML_AVX512_VBMI=OFF -DGGML_AVX512_VNNI=OFF -DGGML_AVX512_BF16=OFF \
        -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON "-DCMAKE_INSTALL_RPATH=\$ORIGIN" &&
      nice -n 19 cmake --build "$scratch/build" --target ggml-cpu -j "$jobs" &&
      cp "$package"/lib/*.so* "$llama_avx2/" &&
      rm "$llama_avx2"/libggml-cpu.so* &&
      cp -P "$scratch"/build/bin/libggml-cpu.so* "$llama_avx2/"
  } >"$log" 2>&1 || status=1
  rm -rf "$scratch"
  return $status
}

llama_is_avx2() {  # PYTHON
  [[ -e "$llama_avx2/libllama.so" ]] || return
  LLAMA_CPP_LIB_PATH="$llama_avx2" is_avx2 "$llama_avx2"/lib*.so -- "$1" llama_cpp
}

llama_avx2_install() {
  local python
  for python in "$environment/bin/python" "$root/.venv-oracle/bin/python"; do
    [[ -x "$python" ]] && is_installed "$python" "$llama" || continue
    llama_is_avx2 "$python" && return
    rm -rf "$llama_avx2"
    llama_avx2_compile "$python" && llama_is_avx2 "$python" && return
    rm -rf "$llama_avx2"
    return 1
  done
  return 1
}

# Its wheel is the build for AVX2.
ik_avx2_install() {
  is_installed "$environment/bin/python" "$ik" || install --no-cache-dir "$ik" || return
  is_avx2 "$environment"/lib/python3*/site-packages/ik_llama_cpp_python.libs/lib*.so -- \
    "$environment/bin/python" ik_llama_cpp
}
