//! `sentinel replay`: a recorded stream through the same engines, with no privilege.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use sentinel_ipc::frame::{Counters, LoaderMessage, decode};

use crate::{
    alert::Alert,
    analysis::{Analysis, Engines},
    capture::{CaptureError, Header, Reader},
    command_line::ReplayArguments,
    console::{Banner, Console},
    delivery::Delivery,
    escape::escape,
    json_log::JsonLog,
    redaction::Redaction,
    rules::{LoadError, RuleSet},
    sinks::Sinks,
    stream::Stream,
};

/// Why a replay ended before the recording did.
#[derive(Debug)]
pub enum ReplayError {
    /// The file is not whole, or none.
    Capture(PathBuf, CaptureError),
    /// An entry of the file, counted from 1, is not what a loader says.
    Entry(PathBuf, u64, String),
    /// Alerts cannot be written.
    Log(String),
    /// Rules are not sound.
    Rules(LoadError),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(path, error) => write!(to, "{} {error}", path.display()),
            Self::Entry(path, number, why) => write!(
                to,
                "{} is not what a loader said: frame {number}: {why}; what stands before it was \
                 used",
                path.display()
            ),
            Self::Log(sentence) => write!(to, "{sentence}"),
            Self::Rules(error) => error.fmt(to),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays all files, one after the other, each as a stream of its own.
///
/// # Errors
/// At the first file that is not whole; what was in it until there has been used.
pub fn run(arguments: &ReplayArguments, console: Console) -> Result<(), ReplayError> {
    let choice = arguments.rules.choice();
    let rules = || RuleSet::load(&choice).map_err(ReplayError::Rules);
    let log = arguments.alerts.as_deref().map(JsonLog::open).transpose();
    let sinks = log.map_err(ReplayError::Log)?.map(Sinks::of_log).unwrap_or_default();
    let mut delivery = Delivery::new(console, sinks);
    arguments.files.iter().try_for_each(|path| {
        let mut analysis = Analysis::with_rules(rules()?.activate(), arguments.grimoire_debug);
        analysis.redact(Redaction::with(arguments.redact.clone()));
        let stream = Stream::of(analysis.with_engines(&Engines::default()));
        replay(path, stream, &mut delivery)
    })
}

fn replay(path: &Path, mut stream: Stream, delivery: &mut Delivery) -> Result<(), ReplayError> {
    let captured = |error| ReplayError::Capture(path.to_owned(), error);
    let mut capture = Reader::open(path).map_err(captured)?;
    let about = About::of(capture.header(), capture.sentinel());
    let mut progress = Progress::default();
    let mut shown = false;
    loop {
        let frame = match capture.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                about.sum_up(&mut stream, &progress, delivery);
                return Err(captured(error));
            }
        };
        progress.frames += 1;
        if progress.frames == 1 {
            delivery.begin_to_count();
        }
        let mut alerts = Vec::new();
        let followed = decode::<LoaderMessage<'_>>(frame)
            .map_err(|error| error.to_string())
            .and_then(|message| {
                if let (LoaderMessage::Subscribed { hooks, limits, .. }, false) = (&message, shown)
                {
                    shown = true;
                    let hooks: Vec<String> =
                        hooks.iter().map(|hook| escape(hook.as_bytes())).collect();
                    let patterns = stream.rule_names();
                    delivery.banner(&Banner {
                        patterns: &patterns,
                        hooks: &hooks,
                        limits,
                        ..about.banner()
                    });
                }
                progress.follow(&message);
                stream.follow(&message, &mut alerts).map_err(|error| error.to_string())
            });
        deliver(&mut stream, alerts, delivery);
        delivery.time(progress.until);
        if progress.from.is_some() {
            delivery.count_events(progress.until, &stream.events(), stream.analysis(), false);
        }
        if let Err(why) = followed {
            about.sum_up(&mut stream, &progress, delivery);
            return Err(ReplayError::Entry(path.to_owned(), progress.frames, why));
        }
    }
    about.sum_up(&mut stream, &progress, delivery);
    Ok(())
}

fn deliver(stream: &mut Stream, alerts: Vec<Alert>, delivery: &mut Delivery) {
    for note in stream.analysis().take_notes() {
        delivery.tell(&format_args!("grimoire: {note}"));
    }
    alerts.into_iter().for_each(|alert| delivery.alert(alert));
}

/// How far a replay has come.
#[derive(Debug, Default)]
struct Progress {
    frames: u64,
    /// Time of the first and of the last word, CLOCK_BOOTTIME in ns.
    from: Option<u64>,
    until: u64,
    totals: Option<Counters>,
}

impl Progress {
    fn follow(&mut self, message: &LoaderMessage<'_>) {
        let now = match message {
            LoaderMessage::Ready { clock, .. } | LoaderMessage::Heartbeat { clock, .. } => {
                clock.boot_ns
            }
            LoaderMessage::Drained { until, .. } => *until,
            LoaderMessage::Finished { counters } => {
                self.totals = Some(*counters);
                return;
            }
            LoaderMessage::Subscribed { .. }
            | LoaderMessage::Events { .. }
            | LoaderMessage::Snapshot { .. }
            | LoaderMessage::Calls { .. } => return,
        };
        self.from.get_or_insert(now);
        self.until = self.until.max(now);
    }
}

/// What a capture says of itself, escaped.
struct About {
    scope: String,
    notes: [String; 1],
}

impl About {
    fn of(header: &Header, sentinel: &str) -> Self {
        let text = |text: &str| escape(text.as_bytes());
        let note = format!(
            "recorded by Sentinel {sentinel} on Linux {} {}",
            text(&header.kernel),
            text(&header.machine)
        );
        Self { scope: text(&header.scope), notes: [note] }
    }

    fn banner(&self) -> Banner<'_> {
        Banner {
            mode: "replay: detects in what was recorded",
            scope: &self.scope,
            patterns: &[],
            hooks: &[],
            limits: &[],
            sinks: &[],
            notes: &self.notes,
        }
    }

    fn sum_up(&self, stream: &mut Stream, progress: &Progress, delivery: &mut Delivery) {
        let from = progress.from.unwrap_or(progress.until);
        let elapsed = std::time::Duration::from_nanos(progress.until.saturating_sub(from));
        let (processed, events) = (stream.processed(), stream.events());
        delivery.count_events(progress.until, &events, stream.analysis(), true);
        delivery.summary(elapsed, progress.totals, processed, stream.analysis());
    }
}
