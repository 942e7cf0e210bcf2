//! `sentinel-analyzer`: the service that analyzes what a loader sends.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sentinel_analyzer::{
    command_line::ServiceArguments, configuration::ConfigurationError, rules::LoadError, service,
};
use sentinel_ipc::diagnostics::pause_if_service;

/// What wrong options end with, and so wrong configuration or rules.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    match service::run(&ServiceArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln!, which panics when standard error is closed.
            let _told = writeln!(io::stderr(), "sentinel-analyzer: {error}");
            pause_if_service();
            let is_wrong_use = error.is::<ConfigurationError>() || error.is::<LoadError>();
            if is_wrong_use { WRONG_USE.into() } else { ExitCode::FAILURE }
        }
    }
}
