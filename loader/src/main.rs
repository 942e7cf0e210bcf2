//! `sentinel-loader`: the part that starts as root. It loads the eBPF object, attaches it when its
//! analyzer asks, and forwards records unread.
//!
//! Standard input is the socket to the analyzer (`SOCK_SEQPACKET`).

use std::process::ExitCode;

use sentinel_ipc::diagnostics::tell;
use sentinel_loader::{arguments::Arguments, session};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            tell(&format!("sentinel-loader: {message}"));
            return ExitCode::from(2);
        }
    };
    match session::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("sentinel-loader: {error}"));
            ExitCode::FAILURE
        }
    }
}
