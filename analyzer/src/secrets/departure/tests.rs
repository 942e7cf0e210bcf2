//! Amounts that are a secret on its way, and amounts that are not.

use super::{Departure, Left, Use, Way};
use crate::event::{Traffic, TrafficReport};

/// An ed25519 key.
const KEY: u64 = 411;

struct Socket {
    departure: Departure,
    sent: u64,
    received: u64,
}

impl Socket {
    fn to(port: u16) -> Self {
        Self::made(Way::Out, 1, port)
    }

    fn made(way: Way, kind: u16, port: u16) -> Self {
        Self { departure: Departure::new(way, kind, port), sent: 0, received: 0 }
    }

    fn record(&mut self, report: TrafficReport) {
        let (sent, received) = (self.sent, self.received);
        let traffic = Traffic { received, sent, ..Traffic::of(report) };
        self.departure.follow(&traffic, true);
    }

    fn sends(&mut self, bytes: u64) -> Option<Left> {
        self.sent += bytes;
        self.record(TrafficReport::Sent { bytes, calls: 1 });
        self.departure.left(KEY, Use::MayServe, false)
    }

    /// A send that nobody wanted told.
    fn sends_untold(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    fn hears(&mut self, bytes: u64) -> &mut Self {
        self.received += bytes;
        self
    }

    fn ends(&mut self, size: u64) -> Option<Left> {
        self.record(TrafficReport::Totals);
        self.departure.left(size, Use::MayServe, true)
    }
}

#[test]
fn the_secret_as_it_is_has_left_at_once() {
    for bytes in [KEY, KEY + 1, KEY - 1, 2 * KEY, 2 * KEY - 2, 548, 556] {
        assert_eq!(Socket::to(4444).sends(bytes), Some(Left::Exactly(bytes)), "{bytes}");
    }
    let mut socket = Socket::to(443);
    socket.sends(40);
    assert_eq!(socket.departure.left(40, Use::MayServe, false), Some(Left::Exactly(40)));
}

#[test]
fn what_was_sent_between_two_records_counts() {
    // Until the loader hears that somebody has data, it tells the first send after a reading only.
    let mut socket = Socket::to(22);
    socket.hears(2000).sends(84);
    socket.sends_untold(476);
    assert_eq!(socket.sends(68), Some(Left::Enough(628)));
    let mut socket = Socket::to(22);
    socket.hears(2000).sends(84);
    socket.sends_untold(476);
    assert_eq!(socket.ends(KEY), Some(Left::Enough(560)));
}

#[test]
fn small_chunks_add_up() {
    let mut socket = Socket::to(4444);
    let chunks = [100, 100, 100, 100, 11];
    assert_eq!(
        chunks.map(|bytes| socket.sends(bytes).is_some()),
        [false, false, false, false, true]
    );
}

#[test]
fn a_handshake_and_a_small_request_are_no_data() {
    let mut socket = Socket::to(443);
    assert_eq!(socket.sends(517), None);
    assert_eq!(socket.hears(3000).sends(80), None);
    assert_eq!(socket.sends(210), None);
    assert_eq!(socket.hears(500).ends(KEY), None);
}

#[test]
fn a_secret_behind_a_handshake_is_data() {
    let mut socket = Socket::to(443);
    socket.sends(517);
    socket.hears(3000).sends(80);
    assert_eq!(socket.sends(200 + 22 + KEY), Some(Left::Enough(517 + 80 + 222 + KEY)));
}

#[test]
fn a_record_with_nothing_but_the_secret_is_the_secret() {
    let mut socket = Socket::to(443);
    assert_eq!(socket.sends(22 + KEY), None, "a hello may have this size");
    assert_eq!(socket.hears(3000).sends(80), None);
    assert_eq!(socket.sends(22 + KEY), Some(Left::Exactly(2 * (22 + KEY) + 80)));
}

#[test]
fn a_request_in_the_clear_is_none_and_an_upload_is() {
    let mut socket = Socket::to(80);
    assert_eq!(socket.sends(140), None);
    assert_eq!(socket.hears(300).ends(KEY), None);
    let mut socket = Socket::to(80);
    assert_eq!(socket.sends(150 + KEY), None, "it may be a hello yet");
    assert_eq!(socket.hears(300).ends(KEY), Some(Left::Enough(561)));
}

#[test]
fn what_is_never_answered_was_no_request() {
    // gzip -c key | nc: no size that says anything.
    let mut socket = Socket::to(4444);
    assert_eq!(socket.sends(322), None);
    assert_eq!(socket.ends(KEY), Some(Left::Enough(322)));
    let mut socket = Socket::to(4444);
    assert_eq!(socket.sends(90), None);
    assert_eq!(socket.ends(KEY), None, "less than half of it");
}

#[test]
fn an_archive_is_too_large_for_a_handshake() {
    assert_eq!(Socket::to(4444).sends(10_240), Some(Left::Enough(10_240)));
}

#[test]
fn questions_to_a_name_server_count_when_they_are_many_or_large() {
    let mut socket = Socket::made(Way::Out, 2, 53);
    for _ in 0..60 {
        assert_eq!(socket.sends(45), None);
    }
    assert_eq!(socket.sends(512), None);
    assert_eq!(socket.ends(KEY), Some(Left::Enough(512)));
    let mut socket = Socket::made(Way::Out, 2, 53);
    let told = (0..100).find_map(|_| socket.sends(60));
    assert!(told.is_some(), "6,000 bytes of questions");
    assert_eq!(Socket::made(Way::Out, 2, 5353).sends(KEY), Some(Left::Exactly(KEY)));
}

#[test]
fn a_server_that_hears_first_sends_what_it_wants() {
    let mut socket = Socket::made(Way::AcceptedLater, 1, 50_000);
    assert_eq!(socket.hears(517).sends(4000), None);
    assert_eq!(socket.sends(KEY), None);
    assert_eq!(socket.ends(KEY), None);
}

#[test]
fn one_that_speaks_first_greets_or_gives_the_key_away() {
    let mut socket = Socket::made(Way::AcceptedLater, 1, 50_000);
    assert_eq!(socket.sends(60), None);
    assert_eq!(socket.hears(20).sends(900), None);
    let mut socket = Socket::made(Way::AcceptedLater, 1, 50_000);
    assert_eq!(socket.sends(KEY), Some(Left::Exactly(KEY)));
}

#[test]
fn a_server_with_a_key_of_its_own_connects_out_for_other_reasons() {
    let mut socket = Socket::to(5432);
    socket.sends(90_000);
    assert_eq!(socket.departure.left(KEY, Use::Serves, true), None);
    assert_eq!(socket.departure.left(90_000, Use::Serves, true), Some(Left::Exactly(90_000)));
}

#[test]
fn what_may_have_left_before_is_said_to() {
    let mut socket = Socket::to(4444);
    socket.sent = 90_000;
    socket.received = 5;
    socket.record(TrafficReport::Sent { bytes: 60_000, calls: 30 });
    assert_eq!(socket.departure.left(KEY, Use::MayServe, false), Some(Left::Perhaps(60_000)));
    // From now on each send is told.
    assert_eq!(socket.sends(1000), Some(Left::Enough(1000)));
}
