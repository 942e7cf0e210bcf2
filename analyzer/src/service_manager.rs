//! What only systemd knows of Sentinel's services.

use std::process::{Command, Stdio};

use crate::status::{Part, Status};

/// Adds how often each service was started again by itself, where the processes are services.
pub fn add_restarts(status: &mut Status) {
    for part in &mut status.parts {
        part.restarts = restarts(part);
    }
}

fn restarts(part: &Part) -> Option<u64> {
    let shown = Command::new("systemctl")
        .args(["show", "--property=MainPID,NRestarts"])
        .arg(format!("sentinel-{}.service", part.name))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&shown.stdout), part.pid)
}

/// The number of restarts, if the service's process is `pid`: under `sentinel run` it is not.
fn parse(shown: &str, pid: u32) -> Option<u64> {
    let value = |name: &str| {
        let mut lines = shown.lines().filter_map(|line| line.split_once('='));
        lines.find(|(found, _)| *found == name)?.1.parse::<u64>().ok()
    };
    (value("MainPID")? == u64::from(pid)).then(|| value("NRestarts"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_own_process_counts() {
        let shown = "MainPID=7\nNRestarts=3\n";
        assert_eq!(parse(shown, 7), Some(3));
        assert_eq!(parse(shown, 8), None);
        assert_eq!(parse("", 7), None);
        assert_eq!(parse("MainPID=7\nNRestarts=[not set]\n", 7), None);
    }
}
