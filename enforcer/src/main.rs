//! `sentinel-enforcer`: ends processes on the analyzer's request, after asking the loader who they
//! are. It holds CAP_KILL and nothing else.
//!
//! Standard input is the socket to the analyzer, standard output the one to the loader.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use sentinel_enforcer::{arguments::Arguments, session};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            let _told = writeln!(io::stderr(), "sentinel-enforcer: {message}");
            return ExitCode::from(2);
        }
    };
    match session::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _told = writeln!(io::stderr(), "sentinel-enforcer: {error}");
            ExitCode::FAILURE
        }
    }
}
