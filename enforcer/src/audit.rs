//! One line for each decision, on standard error.

use std::io::{self, IsTerminal, Write};

use sentinel_ipc::frame::{Target, Verdict};

/// Writes the audit.
pub struct Audit {
    /// What clears the launcher's status line, if both share a terminal.
    start: &'static str,
}

impl Audit {
    /// An audit on standard error.
    pub fn new() -> Self {
        Self { start: if io::stderr().is_terminal() { "\r\x1b[2K" } else { "" } }
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
        // Nobody is left to tell when standard error is closed; the decision stands.
        let _written = writeln!(io::stderr(), "{}sentinel-enforcer: {text}", self.start);
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self::new()
    }
}
