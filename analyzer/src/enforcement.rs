//! The analyzer's side of enforcement: alerts wait here for the enforcer's word.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    clock::boot_ns,
    frame::{
        About, KillMessage, MAX_REASON_BYTES, Mode, OutcomeMessage, PROTOCOL_VERSION, Refusal,
        Target, Verdict, decode, encode,
    },
};

use crate::alert::{ActionTaken, Alert};

/// Until when the enforcer may act on a request: so long that it can wait for the loader's answer.
const TIME_TO_ACT: Duration = Duration::from_millis(1000);
/// How long a request waits for its outcome: longer, so that what was done in time is told.
const PATIENCE: Duration = Duration::from_millis(1200);
/// The same where a tree is ended, sweep by sweep, which takes five seconds at the most.
const PATIENCE_FOR_TREES: Duration = Duration::from_secs(7);
/// How long an alert waits while what keeps the enforcer from acting may pass, and it is asked again: as long as there
/// is time to hear of it, so that nobody is killed of whom it was told that he is not.
const LIFETIME: Duration = Duration::from_secs(3);
/// The same where a tree is ended: one at a time, and a second try may be needed.
const LIFETIME_OF_TREES: Duration = Duration::from_secs(15);
/// The first pause before it is asked again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest one.
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Alerts that may wait at one time; those beyond are not enforced.
const MAX_WAITING: usize = 256;

/// The enforcer is of no more use, for this reason.
#[derive(Debug)]
pub struct EnforcerLost(pub String);

impl fmt::Display for EnforcerLost {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: nothing is killed any more", self.0)
    }
}

fn lost(error: impl ToString) -> EnforcerLost {
    EnforcerLost(error.to_string())
}

/// An end that is asked for until it is known what became of it.
struct Wish {
    /// Alerts of one rule on one process, or on one tree: at least one.
    alerts: Vec<Alert>,
    /// When it is asked for no more.
    until: Instant,
    /// Before it is asked for again.
    pause: Duration,
    /// What was heard last.
    heard: ActionTaken,
}

impl Wish {
    fn new(alert: Alert) -> Self {
        let lifetime = if alert.tree.is_some() { LIFETIME_OF_TREES } else { LIFETIME };
        let (until, heard) = (Instant::now() + lifetime, ActionTaken::NoAnswer);
        Self { alerts: vec![alert], until, pause: FIRST_PAUSE, heard }
    }

    /// How long a request for it waits.
    fn patience(&self) -> Duration {
        let is_tree = self.alerts.iter().any(|alert| alert.tree.is_some());
        if is_tree { PATIENCE_FOR_TREES } else { PATIENCE }
    }

    /// Whether it may be asked for at `time`.
    fn has_time(&self, time: Instant) -> bool {
        time + self.patience() <= self.until
    }

    fn is_for(&self, alert: &Alert) -> bool {
        self.alerts.first().is_some_and(|first| key(first) == key(alert))
    }

    /// Its alerts, with what was heard last.
    fn done(self) -> impl Iterator<Item = Alert> {
        let action = self.heard;
        self.alerts.into_iter().map(move |alert| Alert { action, ..alert })
    }
}

/// Whom an alert wants to be ended, with the whole tree or alone, and by which rule.
fn key(alert: &Alert) -> (Target, bool, u64) {
    let process = Target { tgid: alert.pid, start_time: alert.start_time };
    (alert.tree.unwrap_or(process), alert.tree.is_some(), alert.pattern_id)
}

/// Whether the verdict may be another one a moment later.
fn is_passing(verdict: Verdict, is_tree: bool) -> bool {
    match verdict {
        Verdict::Refused(Refusal::NoLoader | Refusal::Expired) => true,
        Verdict::Refused(Refusal::Rate) => is_tree,
        Verdict::Failed(errno) => match Errno::from_raw(errno) {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EAGAIN => true,
            Errno::ETIMEDOUT | Errno::ESRCH => is_tree,
            _ => false,
        },
        Verdict::Refused(_) | Verdict::Terminated | Verdict::AlreadyExited => false,
    }
}

/// The connection to the enforcer and the alerts that wait for it.
pub struct Enforcement {
    channel: Option<Channel>,
    mode: Option<Mode>,
    about: Option<About>,
    next_request: u64,
    /// What was asked for by request, each with the moment when that has waited long enough.
    waiting: BTreeMap<u64, (Wish, Instant)>,
    /// What is asked for again, each with the moment when.
    postponed: Vec<(Instant, Wish)>,
    frame: Vec<u8>,
}

impl Enforcement {
    /// Greets the enforcer behind `channel`.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn greet(channel: Channel) -> Result<Self, EnforcerLost> {
        let mut enforcement = Self {
            channel: Some(channel),
            mode: None,
            about: None,
            next_request: 0,
            waiting: BTreeMap::new(),
            postponed: Vec::new(),
            frame: Vec::new(),
        };
        match enforcement.send(&KillMessage::Hello { version: PROTOCOL_VERSION })? {
            Sent::Done => Ok(enforcement),
            Sent::WouldBlock | Sent::Closed => Err(lost("the enforcer is gone")),
        }
    }

    /// The socket, to be polled; `None` once the enforcer is gone.
    pub fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }

    /// What the enforcer said it does; `None` until it did.
    pub fn mode(&self) -> Option<Mode> {
        self.mode
    }

    /// What the enforcer said of itself, while it is there.
    pub fn about(&self) -> Option<&About> {
        self.channel.as_ref().and(self.about.as_ref())
    }

    /// When there is something to do for the first alert: it has waited long enough, or is asked for again.
    pub fn next_deadline(&self) -> Option<Instant> {
        let again = self.postponed.iter().map(|(again, _)| *again);
        self.waiting.values().map(|(_, deadline)| *deadline).chain(again).min()
    }

    /// Asks for the end of the alert's process, unless that was asked for already and is not known yet. The alert
    /// comes back from [`Self::outcomes`], or at once if nobody can be asked.
    ///
    /// # Errors
    /// The alert, with the reason in its action.
    pub fn request(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        let postponed = self.postponed.iter_mut().map(|(_, wish)| wish);
        let mut wishes: Vec<&mut Wish> =
            self.waiting.values_mut().map(|(wish, _)| wish).chain(postponed).collect();
        let number: usize = wishes.iter().map(|wish| wish.alerts.len()).sum();
        if number >= MAX_WAITING {
            return Err(Box::new(Alert { action: ActionTaken::NoAnswer, ..alert }));
        }
        if let Some(wish) = wishes.iter_mut().find(|wish| wish.is_for(&alert)) {
            wish.alerts.push(alert);
            return Ok(());
        }
        let mut done = Vec::new();
        self.ask(Wish::new(alert), &mut done);
        done.pop().map_or(Ok(()), |alert| Err(Box::new(alert)))
    }

    /// Asks for it, or later if the enforcer takes nothing now; its alerts are done if there is none.
    fn ask(&mut self, mut wish: Wish, done: &mut Vec<Alert>) {
        let Some(alert) = wish.alerts.first() else { return };
        self.next_request += 1;
        let request = self.next_request;
        let (target, tree, rule) = key(alert);
        let time_to_act = u64::try_from(TIME_TO_ACT.as_nanos()).unwrap_or(u64::MAX);
        // Without a clock the deadline has passed, and the enforcer refuses.
        let deadline = boot_ns().unwrap_or(0).saturating_add(time_to_act);
        let reason = cut(&alert.message, MAX_REASON_BYTES).to_owned();
        let message = KillMessage::Kill { request, target, tree, rule, deadline, reason: &reason };
        match self.send(&message) {
            Ok(Sent::Done) => {
                let deadline = Instant::now() + wish.patience();
                self.waiting.insert(request, (wish, deadline));
            }
            Ok(Sent::WouldBlock) => self.postpone(wish, done),
            Ok(Sent::Closed) | Err(_) => {
                wish.heard = ActionTaken::NoEnforcer;
                done.extend(wish.done());
            }
        }
    }

    /// Asks for it again after a pause, if there is time for that.
    fn postpone(&mut self, mut wish: Wish, done: &mut Vec<Alert>) {
        let again = Instant::now() + wish.pause;
        if !wish.has_time(again) {
            done.extend(wish.done());
            return;
        }
        wish.pause = (wish.pause * 2).min(LAST_PAUSE);
        self.postponed.push((again, wish));
    }

    /// Takes the alerts whose outcome is known, or that have waited long enough; and tells, once,
    /// that the enforcer is lost.
    pub fn outcomes(&mut self) -> (Vec<Alert>, Option<EnforcerLost>) {
        let mut done = Vec::new();
        let lost = self.hear(&mut done).err();
        if lost.is_some() {
            self.channel = None;
        }
        let now = Instant::now();
        let gone = self.channel.is_none();
        let due = self.postponed.extract_if(.., |(again, _)| gone || *again <= now);
        let late = self.waiting.extract_if(.., |_, (_, deadline)| gone || *deadline <= now);
        let late = late.map(|(_, (wish, _))| wish);
        let due: Vec<Wish> = late.chain(due.map(|(_, wish)| wish)).collect();
        for mut wish in due {
            if gone {
                wish.heard = ActionTaken::NoEnforcer;
            }
            match !gone && wish.has_time(now) {
                true => self.ask(wish, &mut done),
                false => done.extend(wish.done()),
            }
        }
        (done, lost)
    }

    /// Takes all messages that are there.
    fn hear(&mut self, done: &mut Vec<Alert>) -> Result<(), EnforcerLost> {
        while let Some(message) = self.receive()? {
            match (self.mode, message) {
                (None, OutcomeMessage::Ready { version: PROTOCOL_VERSION, mode, about }) => {
                    self.mode = Some(mode);
                    self.about = Some(about);
                }
                (Some(_), OutcomeMessage::Switched { mode }) => {
                    self.mode = Some(mode);
                }
                (Some(_), OutcomeMessage::Outcome { request, verdict }) => {
                    // One that came too late finds nothing.
                    let Some((mut wish, _)) = self.waiting.remove(&request) else { continue };
                    wish.heard = ActionTaken::Decided(verdict);
                    let is_tree = wish.alerts.iter().any(|alert| alert.tree.is_some());
                    match is_passing(verdict, is_tree) {
                        true => self.postpone(wish, done),
                        false => done.extend(wish.done()),
                    }
                }
                (None | Some(_), OutcomeMessage::Ready { .. })
                | (None, OutcomeMessage::Outcome { .. } | OutcomeMessage::Switched { .. }) => {
                    return Err(lost("the enforcer broke the protocol"));
                }
            }
        }
        Ok(())
    }

    /// Gives up on all alerts that still wait.
    pub fn give_up(&mut self) -> Vec<Alert> {
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|(wish, _)| wish);
        let postponed = self.postponed.drain(..).map(|(_, wish)| wish);
        waiting.chain(postponed).flat_map(Wish::done).collect()
    }

    fn send(&mut self, message: &KillMessage<'_>) -> Result<Sent, EnforcerLost> {
        encode(message, &mut self.frame).map_err(lost)?;
        match &self.channel {
            Some(channel) => channel.send(&self.frame).map_err(lost),
            None => Ok(Sent::Closed),
        }
    }

    fn receive(&mut self) -> Result<Option<OutcomeMessage>, EnforcerLost> {
        let Some(channel) = &mut self.channel else { return Ok(None) };
        match channel.receive().map_err(lost)? {
            Received::Frame(frame) => decode(frame).map(Some).map_err(lost),
            Received::WouldBlock => Ok(None),
            Received::Closed => Err(lost("the enforcer is gone")),
        }
    }
}

/// The start of `text`, at most `bytes` long.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Analysis;

    fn say(enforcer: &Channel, message: &OutcomeMessage) {
        let mut frame = Vec::new();
        encode(message, &mut frame).unwrap();
        assert_eq!(enforcer.send(&frame).unwrap(), Sent::Done);
    }

    /// A conversation that has begun, and the enforcer's end of it.
    fn begun() -> (Enforcement, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        let enforcer = Channel::new(theirs).unwrap();
        let enforcement = Enforcement::greet(ours).unwrap();
        let about = About::default();
        let ready = OutcomeMessage::Ready { version: PROTOCOL_VERSION, mode: Mode::Enforce, about };
        say(&enforcer, &ready);
        (enforcement, enforcer)
    }

    /// An alert on the process `pid`.
    fn on(pid: u32) -> Alert {
        Alert { pid, ..Analysis::new(false).breaker_tripped(1) }
    }

    /// One on the tree below it.
    fn on_tree(tgid: u32) -> Alert {
        Alert { tree: Some(Target { tgid, start_time: 6 }), ..on(tgid) }
    }

    /// The number of the next request, if there is one.
    fn asked(enforcer: &mut Channel) -> Option<u64> {
        loop {
            match enforcer.receive().unwrap() {
                Received::Frame(frame) => match decode(frame).unwrap() {
                    KillMessage::Kill { request, .. } => return Some(request),
                    KillMessage::Hello { .. } => {}
                },
                Received::WouldBlock | Received::Closed => return None,
            }
        }
    }

    fn answer(enforcer: &mut Channel, verdict: Verdict) {
        let request = asked(enforcer).expect("a request");
        say(enforcer, &OutcomeMessage::Outcome { request, verdict });
    }

    /// What comes back by the next moment at which there is something to do.
    fn later(enforcement: &mut Enforcement) -> Vec<ActionTaken> {
        let next = enforcement.next_deadline().expect("something waits");
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        actions(enforcement)
    }

    fn actions(enforcement: &mut Enforcement) -> Vec<ActionTaken> {
        enforcement.outcomes().0.iter().map(|alert| alert.action).collect()
    }

    const NO_LOADER: Verdict = Verdict::Refused(Refusal::NoLoader);
    const BUSY: Verdict = Verdict::Refused(Refusal::Rate);

    #[test]
    fn what_the_enforcer_said_before_it_was_lost_is_told() {
        let (mut enforcement, mut enforcer) = begun();
        enforcement.request(on(1)).unwrap();
        enforcement.request(on(2)).unwrap();
        answer(&mut enforcer, Verdict::Terminated);
        drop(enforcer);
        let (alerts, lost) = enforcement.outcomes();
        let actions: Vec<ActionTaken> = alerts.iter().map(|alert| alert.action).collect();
        let ended = ActionTaken::Decided(Verdict::Terminated);
        assert_eq!(actions, [ended, ActionTaken::NoEnforcer]);
        assert!(lost.is_some());
        let (alerts, lost) = enforcement.outcomes();
        assert!(alerts.is_empty() && lost.is_none());
    }

    #[test]
    fn what_may_pass_is_asked_for_again_and_told_once() {
        for (alert, passing) in [
            (on(1), NO_LOADER),
            (on(1), Verdict::Refused(Refusal::Expired)),
            (on(1), Verdict::Failed(Errno::EMFILE as i32)),
            (on_tree(1), BUSY),
            (on_tree(1), Verdict::Failed(Errno::ETIMEDOUT as i32)),
        ] {
            let (mut enforcement, mut enforcer) = begun();
            enforcement.request(alert).unwrap();
            answer(&mut enforcer, passing);
            assert_eq!(actions(&mut enforcement), [], "{passing}");
            assert_eq!(later(&mut enforcement), []);
            answer(&mut enforcer, Verdict::Terminated);
            let ended = ActionTaken::Decided(Verdict::Terminated);
            assert_eq!(actions(&mut enforcement), [ended], "{passing}");
            assert_eq!(enforcement.next_deadline(), None, "once");
        }
    }

    #[test]
    fn what_does_not_pass_is_told_at_once() {
        for verdict in [
            BUSY,
            Verdict::Refused(Refusal::Protected),
            Verdict::Refused(Refusal::Budget),
            Verdict::Failed(Errno::EPERM as i32),
            Verdict::Failed(Errno::ETIMEDOUT as i32),
            Verdict::AlreadyExited,
        ] {
            let (mut enforcement, mut enforcer) = begun();
            enforcement.request(on(1)).unwrap();
            answer(&mut enforcer, verdict);
            assert_eq!(actions(&mut enforcement), [ActionTaken::Decided(verdict)]);
        }
    }

    #[test]
    fn it_is_asked_a_few_times_only_and_then_told_what_was_heard_last() {
        let (mut enforcement, mut enforcer) = begun();
        enforcement.request(on(1)).unwrap();
        let (mut requests, mut told) = (0, Vec::new());
        while told.is_empty() {
            answer(&mut enforcer, NO_LOADER);
            requests += 1;
            told = actions(&mut enforcement);
            if told.is_empty() {
                told = later(&mut enforcement);
            }
        }
        assert_eq!(told, [ActionTaken::Decided(NO_LOADER)]);
        assert!((2..8).contains(&requests), "{requests}");
    }

    #[test]
    fn one_that_does_not_answer_is_asked_again_until_nobody_waits() {
        let (mut enforcement, mut enforcer) = begun();
        let begun = Instant::now();
        enforcement.request(on(1)).unwrap();
        let mut told = Vec::new();
        let mut requests = 0;
        while told.is_empty() {
            requests += usize::from(asked(&mut enforcer).is_some());
            told = later(&mut enforcement);
        }
        assert_eq!(told, [ActionTaken::NoAnswer]);
        assert!(begun.elapsed() >= 2 * PATIENCE && requests == 2, "{requests}");
    }

    #[test]
    fn alerts_on_one_process_wait_for_one_request_and_others_for_theirs() {
        let (mut enforcement, mut enforcer) = begun();
        let other_rule = Alert { pattern_id: 1, ..on(1) };
        for alert in [on(1), on(1), on_tree(1), other_rule, on(2)] {
            enforcement.request(alert).unwrap();
        }
        for _ in 0..4 {
            answer(&mut enforcer, Verdict::Terminated);
        }
        assert_eq!(asked(&mut enforcer), None);
        assert_eq!(actions(&mut enforcement).len(), 5);
        enforcement.request(on(3)).unwrap();
        answer(&mut enforcer, NO_LOADER);
        assert_eq!(actions(&mut enforcement), []);
        enforcement.request(on(3)).unwrap();
        assert_eq!(asked(&mut enforcer), None, "it is postponed");
        for _ in 2..MAX_WAITING {
            enforcement.request(on(3)).unwrap();
        }
        let one_more = enforcement.request(on(3)).unwrap_err();
        assert_eq!(one_more.action, ActionTaken::NoAnswer);
    }

    #[test]
    fn what_is_postponed_is_not_forgotten_with_the_enforcer_or_at_the_end() {
        for is_lost in [true, false] {
            let (mut enforcement, mut enforcer) = begun();
            enforcement.request(on_tree(5)).unwrap();
            answer(&mut enforcer, BUSY);
            assert!(enforcement.outcomes().0.is_empty());
            let alerts = if is_lost {
                drop(enforcer);
                enforcement.outcomes().0
            } else {
                enforcement.give_up()
            };
            assert_eq!(alerts.len(), 1);
            let action = if is_lost { ActionTaken::NoEnforcer } else { ActionTaken::Decided(BUSY) };
            assert_eq!(alerts[0].action, action);
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut("größe", 3), "gr");
        assert_eq!(cut("größe", 4), "grö");
        assert_eq!(cut("short", 256), "short");
    }
}
