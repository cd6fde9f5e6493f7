# What ./start and ./check install, all inside .tools/; sourced by both, from the project's root.
tools="$PWD/.tools"
mkdir -p "$tools"
export PATH="$tools/bin:$tools/node/node_modules/.bin:$PATH"

say() { printf '\n== %s\n' "$*"; }

# The version that app/Cargo.toml pins wasm-bindgen to.
bindgen=$(sed -nE 's/^wasm-bindgen = "=([0-9.]+)"$/\1/p' app/Cargo.toml)

# Light profiles: these programs run for seconds and would build for minutes more.
cargo_tool() {
  cargo install "$@" --quiet --root "$tools" --target-dir "$tools/build" \
    --config 'profile.release.lto=false' --config 'profile.release.opt-level=1' \
    --config 'profile.release.codegen-units=16' --config 'profile.release.debug=false'
}

# The wasm32 target, wasm-bindgen and trunk; wasm-opt where npm is there.
install_page_tools() {
  if ! rustup target list --installed | grep -q wasm32-unknown-unknown; then
    say "installing the wasm32 target"
    rustup target add wasm32-unknown-unknown
  fi
  if ! "$tools/bin/wasm-bindgen" --version 2>/dev/null | grep -q " $bindgen"; then
    say "building wasm-bindgen-cli $bindgen in .tools/bin (a few minutes)"
    # Without --locked: its lock file names versions that are no longer there.
    cargo_tool wasm-bindgen-cli --version "$bindgen"
  fi
  if ! "$tools/bin/trunk" --version 2>/dev/null | grep -q " 0.21.14"; then
    say "building trunk in .tools/bin (some minutes)"
    cargo_tool trunk --version 0.21.14 --locked
  fi
  rm -rf "$tools/build"
  if command -v npm >/dev/null && [ ! -x "$tools/node/node_modules/.bin/wasm-opt" ]; then
    say "installing wasm-opt in .tools/node"
    npm install --prefix "$tools/node" --no-audit --no-fund --silent binaryen@132
  fi
}

# Builds dist. Without npm there is no wasm-opt and the page is larger.
build_page() {
  if [ -x "$tools/node/node_modules/.bin/wasm-opt" ]; then
    trunk build --release
  else
    echo "npm is missing, so the page is built without wasm-opt: it works, and is larger." >&2
    sed 's/data-wasm-opt="z"/data-wasm-opt="0"/' index.html > index.plain.html
    trunk build --release index.plain.html
    rm -f index.plain.html
  fi
}
