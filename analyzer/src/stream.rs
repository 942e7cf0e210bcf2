//! From the loader's messages to alerts. What comes out depends on what comes in alone, so that a
//! recorded stream gives the same alerts again.

use sentinel_ipc::frame::{Clock, Counters, LoaderMessage, Target};

use crate::{
    alert::Alert,
    analysis::Analysis,
    event::{self, Action, Event, RecordError},
    merge::Merge,
    rules::Active,
    sensor_state::Gap,
    status::Events,
};

/// From one snapshot to the next, ns.
const SNAPSHOT_INTERVAL: u64 = 5_000_000_000;

/// A snapshot whose last part has come.
#[derive(Debug, Clone, Copy)]
struct Whole {
    begun: u64,
    /// Time of its last record.
    last: u64,
}

/// The analysis of one loader's messages.
#[derive(Debug, Default)]
pub struct Stream {
    analysis: Analysis,
    merge: Merge,
    counters: Counters,
    processed: u64,
    /// Of those, programs that were started.
    execs: u64,
    /// Time of the last record of a snapshot.
    snapshot_reached: u64,
    /// A snapshot that is complete, until all of it has been followed.
    whole: Option<Whole>,
    refresh: Refresh,
    /// Until when the loader has been followed; CLOCK_BOOTTIME, ns.
    reached: u64,
    /// Until when a loader that has ended was followed, likewise.
    interrupted_at: Option<u64>,
    /// The loader's counters, and what had been followed, when it was met.
    before: (Counters, u64),
}

/// When another snapshot is due.
#[derive(Debug, Default)]
struct Refresh {
    /// When the last one was asked for; CLOCK_BOOTTIME, ns.
    asked_at: u64,
    /// Losses in total at that time, and at the last heartbeat.
    lost_then: u64,
    lost_lately: u64,
    /// Processes met without their fork since then.
    strangers: usize,
    is_due: bool,
}

impl Refresh {
    /// After losses, when they are over, and after meeting strangers; not too often.
    fn consider(&mut self, now: u64, lost: u64, strangers: usize) {
        self.strangers += strangers;
        let is_quiet = std::mem::replace(&mut self.lost_lately, lost) == lost;
        let is_needed = (lost > self.lost_then && is_quiet) || self.strangers > 0;
        if is_needed && now.saturating_sub(self.asked_at) >= SNAPSHOT_INTERVAL {
            (self.asked_at, self.lost_then, self.strangers) = (now, lost, 0);
            self.is_due = true;
        }
    }
}

impl Stream {
    /// A stream whose analysis keeps notes, if `debug`.
    pub fn new(debug: bool) -> Self {
        Self { analysis: Analysis::new(debug), ..Self::default() }
    }

    /// A stream with this analysis.
    pub fn of(analysis: Analysis) -> Self {
        Self { analysis, ..Self::default() }
    }

    /// What it was all about.
    pub fn into_analysis(self) -> Analysis {
        self.analysis
    }

    /// A stream whose analysis looks for `rules`, likewise.
    pub fn with_rules(rules: Active, debug: bool) -> Self {
        Self { analysis: Analysis::with_rules(rules, debug), ..Self::default() }
    }

    /// Follows a message.
    ///
    /// # Errors
    /// When it holds something that is no record; what came before has been followed.
    pub fn follow(
        &mut self,
        message: &LoaderMessage<'_>,
        alerts: &mut Vec<Alert>,
    ) -> Result<(), RecordError> {
        match message {
            LoaderMessage::Ready { clock, unattended_since, counters, .. } => {
                self.analysis.sensor(clock.boot_ns, alerts, |sensor, _| {
                    sensor.begin(counters.dropped);
                });
                self.before = (*counters, self.processed);
                self.ready(*clock, *unattended_since, alerts);
            }
            LoaderMessage::Subscribed { .. } => {}
            LoaderMessage::Calls { until, since, profiles, is_last } => {
                self.analysis.count(profiles);
                if *is_last {
                    self.analysis.end_second(*since, *until, alerts);
                }
            }
            LoaderMessage::Events { records } => {
                self.hold_all(records, alerts)?;
            }
            LoaderMessage::Drained { records, until, now, dropped } => {
                self.hold_all(records, alerts)?;
                // A round may have waited long for the socket: what was lost meanwhile is later than it.
                self.analysis.sensor(*now, alerts, |sensor, findings| {
                    sensor.lost(*now, *dropped, findings);
                });
                self.reached = *now;
                let events = self.merge.release(*until);
                self.follow_all(events, alerts);
                self.settle(*until);
            }
            LoaderMessage::Snapshot { begun, records, is_last, is_cut } => {
                self.snapshot_reached = self.snapshot_reached.max(self.hold_all(records, alerts)?);
                if *is_last && !is_cut {
                    self.whole = Some(Whole { begun: *begun, last: self.snapshot_reached });
                }
            }
            LoaderMessage::Heartbeat { clock, counters, canaries } => {
                self.heartbeat(*clock, counters, *canaries, alerts);
            }
            LoaderMessage::Finished { counters } => {
                self.counters = *counters;
                let events = self.merge.release(u64::MAX);
                self.follow_all(events, alerts);
            }
        }
        Ok(())
    }

    fn ready(&mut self, clock: Clock, unattended_since: Option<u64>, alerts: &mut Vec<Alert>) {
        self.analysis.set_wall_offset(clock.wall_offset_ns);
        // The first snapshot is asked for anyway.
        self.refresh = Refresh { asked_at: clock.boot_ns, ..Refresh::default() };
        let interrupted = self.interrupted_at.take().map(|since| (since, Gap::NoLoader));
        let unattended = unattended_since.map(|since| (since, Gap::NoAnalyzer));
        if let Some((since, reason)) = interrupted.or(unattended) {
            self.analysis.sensor(clock.boot_ns, alerts, |sensor, findings| {
                sensor.gap(since, clock.boot_ns, reason, findings);
            });
        }
    }

    /// The loader has ended: follows what it still told. Another one may follow.
    pub fn interrupt(&mut self, alerts: &mut Vec<Alert>) {
        let events = self.merge.release(u64::MAX);
        self.follow_all(events, alerts);
        (self.snapshot_reached, self.whole) = (0, None);
        self.interrupted_at = Some(self.reached);
    }

    fn heartbeat(
        &mut self,
        Clock { boot_ns, wall_offset_ns }: Clock,
        counters: &Counters,
        canaries: u64,
        alerts: &mut Vec<Alert>,
    ) {
        self.counters = *counters;
        self.analysis.set_wall_offset(wall_offset_ns);
        self.analysis.sensor(boot_ns, alerts, |sensor, findings| {
            sensor.canaries_made(canaries, findings);
        });
        self.analysis.time(boot_ns, alerts);
        let strangers = self.analysis.take_strangers();
        self.refresh.consider(boot_ns, self.analysis.lost(), strangers);
    }

    /// Takes all records, and follows some early where too many are held; returns the latest time among
    /// them.
    fn hold_all(&mut self, records: &[u8], alerts: &mut Vec<Alert>) -> Result<u64, RecordError> {
        let (mut rest, mut latest) = (records, 0);
        while !rest.is_empty() {
            let (event, next) = event::take(rest)?;
            latest = latest.max(event.timestamp);
            self.merge.hold(event);
            rest = next;
        }
        while self.merge.is_full() {
            let early = self.merge.relieve();
            self.follow_all(early, alerts);
        }
        Ok(latest)
    }

    fn follow_all(&mut self, events: Vec<Event>, alerts: &mut Vec<Alert>) {
        for event in events {
            self.analysis.event(&event, alerts);
            let is_news = !event.is_of_snapshot();
            self.processed += u64::from(is_news);
            self.execs += u64::from(is_news && matches!(event.action, Action::Exec(_)));
        }
    }

    /// Ends a snapshot once all of it has been followed.
    fn settle(&mut self, until: u64) {
        if let Some(whole) = self.whole.take_if(|whole| whole.last <= until) {
            self.analysis.settle(whole.begun);
            self.analysis.take_strangers();
            self.refresh.strangers = 0;
        }
    }

    /// Processes that data of a secret can have come to since this was asked last.
    pub fn take_carriers(&mut self) -> Vec<Target> {
        self.analysis.take_carriers()
    }

    /// Whether another snapshot should be asked for; says so once.
    pub fn take_snapshot_wish(&mut self) -> bool {
        std::mem::take(&mut self.refresh.is_due)
    }

    /// What the loader has counted since it was met, as it told last, and how many events were followed
    /// since then.
    pub fn since_ready(&self) -> (Counters, u64) {
        let (counters, processed) = &self.before;
        (self.counters.since(counters), self.processed - processed)
    }

    /// Events that were followed, without what snapshots found.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// What became of all events, as far as was told; a sensor that is started anew counts anew.
    pub fn events(&self) -> Events {
        Events::of(&self.counters, self.processed, self.late(), self.execs)
    }

    /// What became of events since the loader was met.
    pub fn events_since_ready(&self) -> Events {
        let (counters, processed) = self.since_ready();
        Events::of(&counters, processed, self.late(), self.execs)
    }

    /// Events that came too late to be in order.
    pub fn late(&self) -> u64 {
        self.merge.late()
    }

    /// Names of what is looked for.
    pub fn rule_names(&self) -> Vec<String> {
        self.analysis.rule_names()
    }

    /// What it is all about.
    pub fn analysis(&mut self) -> &mut Analysis {
        &mut self.analysis
    }
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::frame::About;
    use sentinel_ipc::kernel_abi::{
        DescriptorRecord, ProcessRecord, RecordHeader, TrafficRecord, kind,
    };
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    /// A frame's worth of processes that a snapshot found, from `first` on.
    fn processes(first: u32) -> Vec<u8> {
        let record = |tgid: u32| {
            let mut record = ProcessRecord::new_zeroed();
            let start_time = u64::from(tgid);
            let header = RecordHeader { tgid, start_time, ..record.header };
            record.header = RecordHeader { kind: kind::PROCESS, timestamp: 5, ..header };
            record.as_bytes().to_vec()
        };
        (first..first + 100).flat_map(record).collect()
    }

    fn found(stream: &mut Stream, records: &[u8]) {
        let (is_last, is_cut) = (false, false);
        let message = LoaderMessage::Snapshot { begun: 1, records, is_last, is_cut };
        stream.follow(&message, &mut Vec::new()).unwrap();
    }

    #[test]
    fn parts_of_snapshots_are_not_held_without_bound() {
        let mut stream = Stream::default();
        for part in 0..4000 {
            found(&mut stream, &processes(1 + part % 10 * 100));
        }
        assert_eq!(stream.analysis().processes(), 1000, "followed before any round ended");
    }

    #[test]
    fn totals_that_tell_a_close_are_one_event_and_end_the_descriptor() {
        let mut stream = Stream::default();
        let mut then = |timestamp, kind, (argument, result), record: &mut [u8]| {
            let header = RecordHeader {
                tgid: 7,
                tid: 7,
                start_time: 1,
                timestamp,
                kind,
                argument,
                result,
                ..RecordHeader::new_zeroed()
            };
            record[..size_of::<RecordHeader>()].copy_from_slice(header.as_bytes());
            let round =
                LoaderMessage::Drained { records: record, until: 9, now: 9, dropped: [0; 2] };
            stream.follow(&round, &mut Vec::new()).unwrap();
            let process = stream.analysis().process_table().of_tgid(7).expect("it is known");
            let is_open = process.descriptors.borrow().get(3).is_some();
            (is_open, stream.processed())
        };
        let mut socket = DescriptorRecord::new_zeroed();
        socket.descriptor.object.mode = 0o140_777;
        assert_eq!(then(1, kind::SOCKET, ([2, 1, 0], 3), socket.as_mut_bytes()), (true, 1));
        let mut totals = TrafficRecord::new_zeroed();
        assert_eq!(then(2, kind::TRAFFIC, ([3, 0, 0], 0), totals.as_mut_bytes()), (true, 2));
        assert_eq!(then(3, kind::TRAFFIC, ([3, 1, 0], 0), totals.as_mut_bytes()), (false, 3));
    }

    #[test]
    fn a_gap_lasts_from_what_was_followed_last_to_the_next_loader() {
        let mut stream = Stream::default();
        let mut alerts = Vec::new();
        let ready = |boot_ns| LoaderMessage::Ready {
            version: 0,
            clock: Clock { boot_ns, wall_offset_ns: 0 },
            unattended_since: None,
            counters: Counters { seen: 7, ..Counters::default() },
            about: About::default(),
        };
        stream.follow(&ready(1), &mut alerts).unwrap();
        let second = 1_000_000_000;
        let now = 5 * second;
        let round = LoaderMessage::Drained { records: &[], until: 4, now, dropped: [0; 2] };
        stream.follow(&round, &mut alerts).unwrap();
        stream.interrupt(&mut alerts);
        assert!(alerts.is_empty());
        stream.follow(&ready(9 * second), &mut alerts).unwrap();
        let messages: Vec<&str> = alerts.iter().map(|alert| alert.message.as_str()).collect();
        assert!(messages.len() == 1 && messages[0].contains("no sensor ran for 4.000 s"));
        let clock = Clock { boot_ns: 10 * second, wall_offset_ns: 0 };
        let counters = Counters { seen: 10, ..Counters::default() };
        let beat = LoaderMessage::Heartbeat { clock, counters, canaries: 0 };
        stream.follow(&beat, &mut alerts).unwrap();
        assert_eq!(stream.since_ready().0.seen, 3);
    }

    #[test]
    fn a_wall_clock_that_is_stepped_is_followed_and_nothing_else_changes() {
        let (mut stream, mut alerts) = (Stream::default(), Vec::new());
        let day = 86_400_000_000_000;
        for (beat, wall_offset_ns) in [(1, 9 * day), (2, 10 * day), (3, 2 * day)] {
            let boot_ns = beat * 1_000_000_000;
            let clock = Clock { boot_ns, wall_offset_ns };
            let counters = Counters::default();
            let message = LoaderMessage::Heartbeat { clock, counters, canaries: 0 };
            stream.follow(&message, &mut alerts).unwrap();
            let alert = stream.analysis().breaker_tripped(boot_ns);
            assert_eq!(alert.timestamp_boot, boot_ns);
            assert_eq!(alert.timestamp, boot_ns + wall_offset_ns.unsigned_abs());
        }
        assert!(alerts.is_empty(), "{alerts:#?}");
    }

    #[test]
    fn who_was_found_by_a_snapshot_is_no_reason_for_another_one() {
        let mut stream = Stream::default();
        found(&mut stream, &processes(1));
        let round = LoaderMessage::Drained { records: &[], until: 9, now: 9, dropped: [0; 2] };
        stream.follow(&round, &mut Vec::new()).unwrap();
        assert_eq!(stream.analysis().processes(), 100);
        let clock = Clock { boot_ns: 60_000_000_000, wall_offset_ns: 0 };
        let counters = Counters::default();
        let beat = LoaderMessage::Heartbeat { clock, counters, canaries: 0 };
        stream.follow(&beat, &mut Vec::new()).unwrap();
        assert!(!stream.take_snapshot_wish());
    }
}
