//! What `sentinel run` shows: banner, status line, alerts, summary.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use sentinel_ipc::frame::{Counters, Limit};

use crate::{
    alert::{Alert, Severity},
    output::Output,
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Standard output, with colour and a status line only where they can be seen.
pub struct Console {
    out: Output<io::Stdout>,
    /// What is written by the next flush.
    text: String,
    colour: bool,
    terminal: bool,
    /// Whether alerts are shown.
    alerts: bool,
    status_shown: bool,
}

/// What the banner says.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Whether it kills.
    pub mode: &'a str,
    /// Names of the rules that are loaded.
    pub patterns: &'a [String],
    /// What is watched.
    pub scope: &'a str,
    /// Tracepoints that are attached.
    pub hooks: &'a [String],
    /// What this kernel cannot tell.
    pub limits: &'a [Limit],
    /// Where alerts go beside the console.
    pub sinks: &'a [String],
    /// What the operator should know of this run.
    pub notes: &'a [String],
}

/// Numbers on the status line.
#[derive(Debug, Clone, Copy)]
pub struct Status {
    /// Since the sensor was attached.
    pub elapsed: Duration,
    /// Whole duration, if it is limited.
    pub limit: Option<Duration>,
    /// Events a second.
    pub rate: u64,
    /// Events lost.
    pub dropped: u64,
    /// Alerts of the pattern engine.
    pub patterns: u64,
}

/// What the summary says.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    /// Since the sensor was attached.
    pub elapsed: Duration,
    /// The sensor's last totals; `None` if it ended without giving them.
    pub counters: Option<Counters>,
    /// Records that the engines got.
    pub processed: u64,
    /// Alerts of the pattern engine by severity, debug first.
    pub patterns: [u64; 5],
    /// Processes known at the end.
    pub processes: usize,
    /// Sequences of rules under way at the end, and how many had to make room for others.
    pub sequences: (usize, u64),
}

/// Rules that are told by their names where they are counted; `sentinel rules list` has the rest.
const NAMED: usize = 4;

/// How many rules there are, and what the first ones are called.
pub fn loaded(rules: &[String]) -> String {
    let (first, others) = rules.split_at(rules.len().min(NAMED));
    let count = rules.len();
    let named = first.join(", ");
    match others.len() {
        0 => format!("{count} loaded: {named}"),
        others => format!("{count} loaded: {named} and {others} more (sentinel rules list)"),
    }
}

impl Console {
    /// The console of this process.
    pub fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let out = Output::new(io::stdout());
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = terminal && !no_colour;
        Self { out, text: String::new(), colour, terminal, alerts: true, status_shown: false }
    }

    /// One for a service whose alerts get to the same place by another way.
    pub fn without_alerts() -> Self {
        Self { alerts: false, ..Self::new() }
    }

    fn style(&self, style: Style) -> (String, String) {
        if self.colour {
            (style.render().to_string(), style.render_reset().to_string())
        } else {
            Default::default()
        }
    }

    fn line(&mut self, text: &str) {
        if std::mem::take(&mut self.status_shown) {
            self.text.push_str("\r\x1b[2K");
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        self.out.write(&text)?;
        match self.out.take_omitted() {
            0 => Ok(()),
            _ => self.out.write("(output was left out: its reader is too slow)\n"),
        }
    }

    /// Shows what runs.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn banner(&mut self, banner: &Banner<'_>) -> io::Result<()> {
        let (bold, reset) = self.style(BOLD);
        self.line(&format!("{bold}Sentinel {}{reset}  {}", env!("CARGO_PKG_VERSION"), banner.mode));
        self.line(&format!("  patterns  {}", loaded(banner.patterns)));
        self.line(&format!(
            "  sensor    {} hooks attached: {}",
            banner.hooks.len(),
            banner.hooks.join(", ")
        ));
        for limit in banner.limits {
            self.line(&format!("  blind to  {limit} (this kernel cannot tell)"));
        }
        self.line(&format!("  scope     {}", banner.scope));
        for sink in banner.sinks {
            self.line(&format!("  alerts    {sink}"));
        }
        for note in banner.notes {
            self.line(&format!("  note      {note}"));
        }
        self.line("");
        self.flush()
    }

    /// Redraws the status line; does nothing where there is no terminal.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn status(&mut self, status: &Status) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let elapsed = match status.limit {
            Some(limit) => format!("{}/{}s", status.elapsed.as_secs(), limit.as_secs()),
            None => format!("{}s", status.elapsed.as_secs()),
        };
        let line = format!(
            "elapsed {elapsed} · {} ev/s · dropped {} · patterns {}",
            short(status.rate),
            status.dropped,
            status.patterns
        );
        let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        let (dim, reset) = self.style(DIM);
        self.text = format!("\r\x1b[2K{dim}{line}{reset}");
        self.status_shown = true;
        self.flush()
    }

    /// Shows an alert with its steps.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn alert(&mut self, alert: &Alert) -> io::Result<()> {
        if !self.alerts {
            return Ok(());
        }
        let (loud, reset) = self.style(severity_style(alert.severity));
        let (bold, _) = self.style(BOLD);
        let (dim, _) = self.style(DIM);
        let time = clock_time(alert.timestamp);
        self.line(&format!(
            "{loud}{}{reset} {bold}{}{reset}  {}  {time}  {}",
            alert.severity.name().to_uppercase(),
            alert.pattern_name,
            alert.mitre,
            alert.action,
        ));
        self.line(&format!("  {}", alert.message));
        let unknown = "?".to_owned();
        self.line(&format!(
            "  process   pid {} uid {} {}",
            alert.pid,
            alert.uid,
            alert.cmdline.as_ref().unwrap_or(&unknown)
        ));
        if !alert.ancestors.is_empty() {
            let line: Vec<String> = alert
                .ancestors
                .iter()
                .map(|one| format!("{} {}", one.pid, one.exe.as_ref().unwrap_or(&unknown)))
                .collect();
            self.line(&format!("  {dim}under     {}{reset}", line.join(" ← ")));
        }
        for step in &alert.steps {
            self.line(&format!(
                "  {dim}{}{reset} {} {}",
                before(alert.timestamp_boot.saturating_sub(step.timestamp_boot)),
                step.pid,
                step.detail
            ));
        }
        self.line("");
        self.flush()
    }

    /// Shows what there was to see.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let (bold, reset) = self.style(BOLD);
        let elapsed = summary.elapsed.as_secs_f64();
        self.line(&format!("{bold}Summary{reset}   {elapsed:.1} s"));
        match summary.counters {
            Some(counters) => {
                self.line(&events_line(&counters, summary.processed));
                if let Some(missed) = missed_line(&counters) {
                    self.line(&missed);
                }
            }
            None => self.line(&format!(
                "  events    processed {}; the loader ended without its totals",
                summary.processed
            )),
        }
        let [debug, info, warning, high, critical] = summary.patterns;
        self.line(&format!(
            "  patterns  critical {critical} · high {high} · warning {warning} · info {info} · \
             debug {debug}"
        ));
        let (under_way, evicted) = summary.sequences;
        self.line(&format!(
            "  sequences {under_way} under way at the end · {evicted} made room for others"
        ));
        self.line(&format!("  processes {} alive at the end", summary.processes));
        self.flush()
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// Urgent are those that verdicts rest on.
fn events_line(counters: &Counters, processed: u64) -> String {
    let Counters { seen, passed, forwarded, .. } = counters;
    let [emitted, dropped] = [counters.emitted, counters.dropped].map(|[a, b]| a.saturating_add(b));
    let [urgent, _] = counters.dropped;
    format!(
        "  events    seen {seen} · after filter {passed} · emitted {emitted} · dropped {dropped} \
         (urgent {urgent}) · forwarded {forwarded} · processed {processed}"
    )
}

/// What no record tells of; `None` if there is no such thing.
fn missed_line(counters: &Counters) -> Option<String> {
    let Counters { unreadable, untracked, .. } = counters;
    (unreadable | untracked != 0).then(|| {
        format!(
            "  missed    {unreadable} events with unreadable memory · {untracked} descriptors \
             without their traffic"
        )
    })
}

fn severity_style(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Critical => return AnsiColor::Red.on_default().bold().invert(),
        Severity::High => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Cyan,
        Severity::Debug => return DIM,
    };
    colour.on_default().bold()
}

/// Time of day, UTC, to the millisecond.
pub fn clock_time(wall_ns: u64) -> String {
    let ms = wall_ns / 1_000_000;
    let seconds = ms / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        ms % 1000
    )
}

/// How long before the alert a step was, in ten columns.
fn before(ns: u64) -> String {
    let us = ns / 1000;
    match us {
        0..10_000 => format!("{:>7} µs", format!("-{us}")),
        10_000..10_000_000 => format!("{:>7} ms", format!("-{}", us / 1000)),
        _ => format!("{:>8} s", format!("-{}", us / 1_000_000)),
    }
}

/// "940", "1.2k", "3.4M".
fn short(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..1_000_000 => format!("{}.{}k", number / 1000, number / 100 % 10),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_said_only_if_something_was() {
        assert_eq!(missed_line(&Counters { dropped: [5, 0], ..Counters::default() }), None);
        let missed = missed_line(&Counters { untracked: 2, ..Counters::default() }).unwrap();
        assert!(missed.contains("0 events") && missed.contains("2 descriptors"), "{missed}");
    }

    #[test]
    fn numbers_are_short_and_right() {
        assert_eq!(short(999), "999");
        assert_eq!(short(1_250), "1.2k");
        assert_eq!(short(3_499_999), "3.4M");
    }

    #[test]
    fn distances_keep_their_column() {
        for ns in [0, 999_000, 9_999_000, 10_000_000, 9_999_000_000, 10_000_000_000] {
            assert_eq!(before(ns).chars().count(), 10, "{ns}");
        }
    }

    #[test]
    fn time_of_day_is_utc() {
        assert_eq!(clock_time(1_700_000_000_123_456_789), "22:13:20.123Z");
    }
}
