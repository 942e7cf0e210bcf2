//! What `sentinel run` shows: banner, status line, alerts, summary.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use sentinel_ipc::frame::{Counters, Limit};

use crate::{
    alert::{Alert, AlertAncestor, Severity},
    baseline::overview::Overview,
    correlation::Stages,
    escape::harmless,
    output::Output,
    status::Alerts,
};

mod layout;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
/// Columns of a terminal that does not say.
const USUAL_WIDTH: usize = 80;
/// Fewer columns are taken to be so many.
const NARROWEST: usize = 20;
/// In fewer columns what goes on is not put below its beginning.
const NARROW: usize = 60;
/// Where values begin.
const VALUES: usize = 12;
/// Characters of a command line or the like that a terminal is given.
const MAX_SHOWN: usize = 600;

/// Standard output, with colour and a status line only where they can be seen.
pub struct Console {
    out: Output<io::Stdout>,
    /// Standard error, for what is wrong.
    errors: Output<io::Stderr>,
    /// Whether both are terminals.
    is_one_terminal: bool,
    /// What is written by the next flush.
    text: String,
    colour: bool,
    terminal: bool,
    /// Columns of the terminal, as it was last looked at; `None` where lines are not broken.
    width: Option<usize>,
    /// Whether alerts are shown.
    alerts: bool,
    /// Columns of the status line that is there; 0 if there is none.
    status_columns: usize,
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
    /// How often the correlation engine saw secrets leave; `None` if it is off.
    pub exfiltrations: Option<u64>,
    /// How the baseline engine gets on; `None` if it is off.
    pub baseline: Option<Overview>,
}

/// What the summary says.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Since the sensor was attached.
    pub elapsed: Duration,
    /// The sensor's last totals; `None` if it ended without giving them.
    pub counters: Option<Counters>,
    /// Records that the engines got.
    pub processed: u64,
    /// Alerts of all engines.
    pub alerts: Alerts,
    /// Alerts of the pattern engine.
    pub patterns: u64,
    /// Of those, how many were folded into others, and how many were told as a count.
    pub left_out: (u64, u64),
    /// Processes known at the end.
    pub processes: usize,
    /// Sequences of rules under way at the end, and how many had to make room for others.
    pub sequences: (usize, u64),
    /// How often each stage of the correlation engine was reached; `None` if it is off.
    pub stages: Option<Stages>,
    /// How the baseline engine got on, and what is usual, a line each; `None` if it is off.
    pub baseline: Option<(Overview, Vec<String>)>,
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
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let terminal = io::stdout().is_terminal() && !is_dumb;
        // Now: the sandbox lets nobody ask, and open a terminal anew.
        let (out, errors) = (Output::new(io::stdout()), Output::new(io::stderr()));
        let is_one_terminal = terminal && io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = terminal && !no_colour;
        let (text, width) = (String::new(), None);
        Self {
            out,
            errors,
            is_one_terminal,
            text,
            colour,
            terminal,
            width,
            alerts: true,
            status_columns: 0,
        }
    }

    /// One for a service whose alerts get to the same place by another way.
    pub fn without_alerts() -> Self {
        Self { alerts: false, ..Self::new() }
    }

    /// Whether standard error is a terminal as well as what has the status line.
    pub fn is_one_terminal(&self) -> bool {
        self.is_one_terminal
    }

    fn style(&self, style: Style) -> (String, String) {
        if self.colour {
            (style.render().to_string(), style.render_reset().to_string())
        } else {
            Default::default()
        }
    }

    /// Looks how wide the terminal is now; lines for no terminal are as long as they are.
    fn measure(&mut self) {
        let size = || terminal_size::terminal_size_of(io::stdout());
        let width = size().map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0));
        self.width = self.terminal.then_some(width.max(NARROWEST));
    }

    /// A line of its own, which holds no text of others but by [`layout`].
    fn line(&mut self, text: &str) {
        self.erase_status();
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// `text` behind a mark in the column of names; `style` is the mark's.
    fn entry(&mut self, style: Style, mark: &str, text: &str) {
        let (on, off) = self.style(style);
        let indent = if self.width.is_some_and(|width| width < NARROW) { 4 } else { VALUES };
        let used = layout::columns(mark) + 3;
        let begin = used.max(VALUES);
        let mut lines = layout::wrap(text, self.width, begin, indent).into_iter();
        let first = lines.next().unwrap_or_default();
        let gap = " ".repeat(begin.saturating_sub(used - 1));
        self.line(&format!("  {on}{}{off}{gap}{first}", harmless(mark)));
        lines.for_each(|rest| self.line(&format!("{:indent$}{rest}", "")));
    }

    /// Takes the status line away. A terminal that has become narrower has broken it into several rows.
    fn erase_status(&mut self) {
        let columns = std::mem::take(&mut self.status_columns);
        let rows = columns.div_ceil(self.width.unwrap_or(USUAL_WIDTH));
        match rows {
            0 => {}
            1 => self.text.push_str("\r\x1b[2K"),
            _ => self.text.push_str(&format!("\r\x1b[{}A\x1b[J", rows - 1)),
        }
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
        self.measure();
        let (bold, reset) = self.style(BOLD);
        let name = format!("Sentinel {}", env!("CARGO_PKG_VERSION"));
        let mut mode = layout::wrap(banner.mode, self.width, name.len() + 2, 2).into_iter();
        let first = mode.next().unwrap_or_default();
        self.line(&format!("{bold}{name}{reset}  {first}"));
        mode.for_each(|rest| self.line(&format!("  {rest}")));
        let plain = Style::new();
        self.entry(plain, "patterns", &loaded(banner.patterns));
        let (count, names) = (banner.hooks.len(), banner.hooks.join(", "));
        self.entry(plain, "sensor", &format!("{count} hooks attached: {names}"));
        for limit in banner.limits {
            self.entry(plain, "blind to", &format!("{limit} (this kernel cannot tell)"));
        }
        self.entry(plain, "scope", banner.scope);
        for sink in banner.sinks {
            self.entry(plain, "alerts", sink);
        }
        for note in banner.notes {
            self.entry(plain, "note", note);
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
        self.measure();
        let elapsed = match status.limit {
            Some(limit) => format!("{}/{}s", status.elapsed.as_secs(), limit.as_secs()),
            None => format!("{}s", status.elapsed.as_secs()),
        };
        let baseline = status.baseline.as_ref();
        let learning = baseline.filter(|it| it.learning_left > 0).map(Overview::progress);
        let parts = [
            learning.clone(),
            Some(format!("elapsed {elapsed}")),
            Some(format!("{} ev/s", short(status.rate))),
            Some(format!("dropped {}", status.dropped)),
            baseline.filter(|_| learning.is_none()).map(|it| format!("anomalies {}", it.anomalies)),
            status.exfiltrations.map(|count| format!("exfil {count}")),
            Some(format!("patterns {}", status.patterns)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        // The last column stays free: some terminals begin a new row when it is written to.
        let room = self.width.unwrap_or(USUAL_WIDTH).saturating_sub(1);
        let line = layout::fitting(&parts, " · ", room);
        let (dim, reset) = self.style(DIM);
        self.erase_status();
        self.text.push_str(&format!("{dim}{line}{reset}"));
        self.status_columns = layout::columns(&line).max(1);
        self.flush()
    }

    /// Says `line` on standard error, which may be the terminal with the status line; who closed it does not want
    /// to hear it.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        self.measure();
        self.erase_status();
        let flushed = self.flush();
        let text = if self.is_one_terminal { self.broken(line) } else { format!("{line}\n") };
        let _told = self.errors.write(&text);
        flushed
    }

    /// Says something about the run, on a line of its own.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn say(&mut self, what: &str) -> io::Result<()> {
        self.measure();
        let text = self.broken(what);
        self.line(text.trim_end());
        self.flush()
    }

    /// `text` in lines of the terminal's width as it was last looked at.
    fn broken(&self, text: &str) -> String {
        layout::wrap(text, self.width, 0, 2).join("\n  ") + "\n"
    }

    /// Shows an alert with its steps.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn alert(&mut self, alert: &Alert) -> io::Result<()> {
        if !self.alerts {
            return Ok(());
        }
        self.measure();
        self.alert_block(alert);
        self.flush()
    }

    fn alert_block(&mut self, alert: &Alert) {
        let (loud, reset) = self.style(severity_style(alert.severity));
        let (bold, _) = self.style(BOLD);
        let severity = alert.severity.name().to_uppercase();
        let name = harmless(&alert.pattern_name);
        let used = severity.len() + 1 + layout::columns(&name);
        let (time, mitre) = (clock_time(alert.timestamp), &alert.mitre);
        let rest = format!("  {mitre}  {time}  {}", alert.action);
        let mut rest = layout::wrap(rest.trim_end(), self.width, used, 2).into_iter();
        let first = rest.next().unwrap_or_default();
        self.line(&format!("{loud}{severity}{reset} {bold}{name}{reset}{first}"));
        rest.for_each(|more| self.line(&format!("  {}", more.trim_start())));
        layout::wrap(&alert.message, self.width, 2, 2)
            .iter()
            .for_each(|line| self.line(&format!("  {line}")));
        if let Some(repeated) = &alert.repeated {
            let pids: Vec<String> = repeated.pids.iter().map(u32::to_string).collect();
            self.entry(Style::new(), "pids", &pids.join(", "));
        }
        // What is about Sentinel is about no process.
        if alert.pid != 0 {
            let command_line = alert.cmdline.as_deref().unwrap_or("?");
            let process = format!("pid {} uid {} {command_line}", alert.pid, alert.uid);
            self.entry(Style::new(), "process", &self.cut(&process));
        }
        if !alert.ancestors.is_empty() {
            let name =
                |one: &AlertAncestor| format!("{} {}", one.pid, one.exe.as_deref().unwrap_or("?"));
            let line: Vec<String> = alert.ancestors.iter().map(name).collect();
            self.entry(DIM, "under", &self.cut(&line.join(" ← ")));
        }
        for step in &alert.steps {
            let distance = alert.timestamp_boot.saturating_sub(step.timestamp_boot);
            let deed = format!("{} {}", step.pid, step.detail);
            self.entry(DIM, &before(distance), &self.cut(&deed));
        }
        self.line("");
    }

    /// What a terminal has use for of a long text; logs have all of it.
    fn cut(&self, text: &str) -> String {
        match (self.terminal, text.char_indices().nth(MAX_SHOWN)) {
            (true, Some((end, _))) => format!("{}…", text.split_at(end).0),
            _ => text.to_owned(),
        }
    }

    /// Shows what there was to see.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.measure();
        let (bold, reset) = self.style(BOLD);
        let elapsed = summary.elapsed.as_secs_f64();
        self.line(&format!("{bold}Summary{reset}   {elapsed:.1} s"));
        let plain = Style::new();
        match &summary.counters {
            Some(counters) => {
                self.entry(plain, "events", &events_line(counters, summary.processed));
                if let Some(missed) = missed_line(counters) {
                    self.entry(plain, "missed", &missed);
                }
            }
            None => self.entry(
                plain,
                "events",
                &format!("processed {}; the loader ended without its totals", summary.processed),
            ),
        }
        self.entry(plain, "alerts", &summary.alerts.to_string());
        if let (folded, withheld @ 1..) | (folded @ 1.., withheld) = summary.left_out {
            let text =
                format!("{folded} told as one line with the same · {withheld} told as a count");
            self.entry(plain, "of these", &text);
        }
        let (under_way, evicted) = summary.sequences;
        let text = format!(
            "{} · {under_way} sequences under way at the end, {evicted} made room for others",
            counted(summary.patterns, "alert")
        );
        self.entry(plain, "patterns", &text);
        if let Some(stages) = summary.stages {
            self.entry(plain, "exfil", &stages.to_string());
        }
        if let Some((overview, lines)) = &summary.baseline {
            self.entry(plain, "baseline", &overview.to_string());
            for line in lines {
                let wrapped = layout::wrap(line, self.width, 2, 4);
                wrapped.iter().enumerate().for_each(|(number, line)| {
                    let indent = if number == 0 { 2 } else { 4 };
                    self.line(&format!("{:indent$}{line}", ""));
                });
            }
        }
        let text = format!("{} alive at the end", summary.processes);
        self.entry(plain, "processes", &text);
        self.flush()
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// "1 alert", "2 alerts".
pub fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Urgent are those that verdicts rest on.
fn events_line(counters: &Counters, processed: u64) -> String {
    let Counters { seen, passed, forwarded, .. } = counters;
    let [emitted, dropped] = [counters.emitted, counters.dropped].map(|[a, b]| a.saturating_add(b));
    let [urgent, _] = counters.dropped;
    format!(
        "seen {seen} · after filter {passed} · emitted {emitted} · dropped {dropped} \
         (urgent {urgent}) · forwarded {forwarded} · processed {processed}"
    )
}

/// What no record tells of; `None` if there is no such thing.
fn missed_line(counters: &Counters) -> Option<String> {
    let Counters { unreadable, untracked, .. } = counters;
    (unreadable | untracked != 0).then(|| {
        format!(
            "{unreadable} events with unreadable memory · {untracked} descriptors \
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
mod tests;
