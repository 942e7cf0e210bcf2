//! `sentinel-loader`: the part that starts as root. It loads the eBPF object, attaches it when its
//! analyzer asks, and forwards records unread.
//!
//! Where the analyzer and the enforcer come from: `doors`.

use std::process::ExitCode;

use sentinel_ipc::diagnostics::{pause_if_service, tell};
use sentinel_loader::{arguments::Arguments, session};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            tell(&format!("sentinel-loader: {message}"));
            pause_if_service();
            return ExitCode::from(2);
        }
    };
    if arguments.check_only {
        return ExitCode::SUCCESS;
    }
    match session::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("sentinel-loader: {error}"));
            pause_if_service();
            ExitCode::FAILURE
        }
    }
}
