//! One line for each decision, on standard error.

use std::{
    cell::Cell,
    io::{self, IsTerminal},
};

use sentinel_ipc::{
    diagnostics::tell,
    frame::{Target, Verdict},
};

/// Writes the audit.
pub struct Audit {
    /// What clears the launcher's status line, if both share a terminal.
    start: &'static str,
    /// Lines that nobody read, since the last one that somebody did.
    omitted: Cell<u64>,
}

impl Audit {
    /// An audit on standard error.
    pub fn new() -> Self {
        let start = if io::stderr().is_terminal() { "\r\x1b[2K" } else { "" };
        Self { start, omitted: Cell::new(0) }
    }

    /// Notes a decision. The reason comes from the analyzer: it is shown escaped and proves nothing.
    pub fn decision(
        &self,
        request: u64,
        target: Target,
        rule: u64,
        reason: &str,
        verdict: Verdict,
    ) {
        let Target { tgid, start_time } = target;
        self.line(&format!(
            "audit verdict={verdict} pid={tgid} start_time={start_time} request={request} \
             rule={rule:#018x} reason=\"{}\"",
            reason.escape_debug()
        ));
    }

    /// Notes anything else.
    pub fn line(&self, text: &str) {
        let omitted = self.omitted.get();
        let note = match omitted {
            0 => String::new(),
            _ => format!(" ({omitted} lines before this one were left out)"),
        };
        let told = tell(&format!("{}sentinel-enforcer: {text}{note}", self.start));
        self.omitted.set(if told { 0 } else { omitted + 1 });
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self::new()
    }
}
