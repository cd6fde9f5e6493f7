//! The binary: see `compute::cli`.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(compute::cli::main())
}
