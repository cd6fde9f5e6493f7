//! The binary `chainrule`: the only place with arguments, files, clocks, progress bars and
//! blocking. Everything it does is a call into the library.
//!
//! Exit codes: 0 ok, 1 anything else, 2 usage or recipe, 3 data, 4 no device, 5 diverged,
//! 130 interrupted with a checkpoint saved.

pub mod ahead;
mod args;
pub mod bench;
pub mod cache;
mod data;
pub mod device;
mod doctor;
mod error;
pub mod fetch;
mod infer;
pub mod load;
mod plan;
mod profile;
mod recipes;
mod report;
pub mod run_dir;
mod runs;
mod serve;
mod system;
mod train;
mod tune;
mod verify;

use clap::{CommandFactory, Parser};

pub use error::CliError;

use args::{Args, Command};

/// Parses the arguments, runs the command, prints an error if there is one, and returns the exit
/// code.
pub fn main() -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Help and version are not errors; clap prints each to the right stream.
            let _ = e.print();
            return if e.use_stderr() { 2 } else { 0 };
        }
    };
    // Steps run on this thread; from outside the pool each would wait for another thread to begin, some 15 us.
    lanes::threads::belong();
    match run(&args) {
        Ok(()) => 0,
        Err(e) => {
            system::error(&e.to_string());
            e.exit_code()
        }
    }
}

fn run(args: &Args) -> Result<(), CliError> {
    match &args.command {
        Command::Train(a) => train::train(a),
        Command::Eval(a) => infer::eval(a),
        Command::Predict(a) => infer::predict(a),
        Command::Plan(a) => plan::plan(a),
        Command::Profile(a) => profile::profile(a),
        Command::Summary(a) => plan::summary(a),
        Command::Recipes(a) => recipes::list(a),
        Command::Data(a) => data::data(a),
        Command::Doctor(a) => doctor::doctor(a),
        Command::Verify(a) => verify::verify(a),
        Command::Bench(a) => bench::bench(a),
        Command::Export(a) => runs::export(a),
        Command::Runs(a) => runs::runs(a),
        Command::Serve(a) => serve::serve(a),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Args::command(), "chainrule", &mut std::io::stdout());
            Ok(())
        }
    }
}
