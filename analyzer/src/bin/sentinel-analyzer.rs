//! `sentinel-analyzer`: the service that analyzes what a loader sends.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sentinel_analyzer::{command_line::ServiceArguments, service};

fn main() -> ExitCode {
    match service::run(&ServiceArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics when standard error is closed.
            let _told = writeln!(io::stderr(), "sentinel-analyzer: {error}");
            ExitCode::FAILURE
        }
    }
}
