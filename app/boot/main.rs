//! The page's wasm module. It is a package of its own because the optimiser of the whole program (fat
//! LTO) runs at the level of the package that is linked: with `app` as that package, which is built
//! for size, the engine's loops would lose their SIMD. Here the level is 3, and each package's
//! functions keep the marks of their own level.

fn main() {
    app::start();
}
