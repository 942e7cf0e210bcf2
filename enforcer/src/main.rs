//! `sentinel-enforcer`: ends processes on the analyzer's request, after asking the loader who they
//! are. It holds CAP_KILL and nothing else.
//!
//! As a service it gets its sockets from the service manager. Under `sentinel run` standard input is the
//! socket to the analyzer, standard output the one to the loader.

use std::process::ExitCode;

use sentinel_enforcer::{arguments::Arguments, setup};
use sentinel_ipc::diagnostics::{pause_if_service, tell};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            tell(&format!("sentinel-enforcer: {message}"));
            pause_if_service();
            return ExitCode::from(2);
        }
    };
    if arguments.is_check {
        return ExitCode::SUCCESS;
    }
    match setup::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("sentinel-enforcer: {error}"));
            pause_if_service();
            ExitCode::FAILURE
        }
    }
}
