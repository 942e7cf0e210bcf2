//! Messages that wait for their way to syslog: so many, and so many bytes.

use std::collections::VecDeque;

use crate::alert::Severity;

/// Messages at most.
pub(super) const MAX_MESSAGES: usize = 1024;
/// Bytes of them at most.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) severity: Severity,
    pub(super) bytes: Vec<u8>,
    /// Whether it was sent before, and came back.
    pub(super) was_sent: bool,
}

/// Messages in order. One for which there is no room is left out, or makes room by leaving out the newest of the
/// least severe: what happened first stays, and no flood of lesser alerts drives out a worse one, nor a flood of
/// worse ones the first.
#[derive(Debug, Default)]
pub(super) struct Spool {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Spool {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<&Message> {
        self.messages.front()
    }

    /// Takes the oldest.
    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.bytes.len();
        Some(message)
    }

    /// Puts one back that was sent as the oldest, whether there is room or not.
    pub(super) fn put_back(&mut self, message: Message) {
        let message = Message { was_sent: true, ..message };
        self.bytes += message.bytes.len();
        self.messages.push_front(message);
    }

    /// Adds a message; how many were left out for it, or instead of it.
    pub(super) fn push(&mut self, message: Message) -> u64 {
        let mut left_out = 0;
        while !self.has_room_for(&message) {
            left_out += 1;
            match self.least() {
                Some(index) if self.severity(index) < Some(message.severity) => self.remove(index),
                _ => return left_out,
            }
        }
        self.bytes += message.bytes.len();
        self.messages.push_back(message);
        left_out
    }

    fn has_room_for(&self, message: &Message) -> bool {
        self.messages.len() < MAX_MESSAGES && self.bytes + message.bytes.len() <= MAX_BYTES
    }

    /// The newest of the least severe. Never the oldest of all, which may be on its way in part.
    fn least(&self) -> Option<usize> {
        let all = self.messages.iter().enumerate().skip(1).rev();
        all.min_by_key(|(_, message)| message.severity).map(|(index, _)| index)
    }

    fn severity(&self, index: usize) -> Option<Severity> {
        self.messages.get(index).map(|message| message.severity)
    }

    fn remove(&mut self, index: usize) {
        if let Some(message) = self.messages.remove(index) {
            self.bytes -= message.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(severity: Severity, text: &str) -> Message {
        Message { severity, bytes: text.as_bytes().to_vec(), was_sent: false }
    }

    fn texts(spool: &Spool) -> Vec<String> {
        let text = |message: &Message| String::from_utf8(message.bytes.clone()).unwrap();
        spool.messages.iter().map(text).collect()
    }

    fn full_of(severity: Severity) -> Spool {
        let mut spool = Spool::default();
        for number in 0..MAX_MESSAGES {
            assert_eq!(spool.push(message(severity, &number.to_string())), 0);
        }
        spool
    }

    #[test]
    fn of_equals_the_first_stay() {
        for severity in [Severity::Info, Severity::Critical] {
            let mut spool = full_of(severity);
            assert_eq!(spool.push(message(severity, "late")), 1);
            assert_eq!(spool.len(), MAX_MESSAGES);
            assert_eq!(spool.messages.back().unwrap().bytes, b"1023");
        }
    }

    #[test]
    fn a_worse_one_takes_the_place_of_the_newest_of_the_least() {
        let mut spool = full_of(Severity::High);
        spool.remove(10);
        assert_eq!(spool.push(message(Severity::Warning, "least")), 0);
        assert_eq!(spool.push(message(Severity::Info, "less still")), 1);
        assert_eq!(spool.push(message(Severity::Critical, "worst")), 1);
        assert!(!texts(&spool).contains(&"least".to_owned()));
        assert_eq!(spool.push(message(Severity::Critical, "worst too")), 1);
        let texts = texts(&spool);
        assert_eq!(texts[MAX_MESSAGES - 3..], ["1022", "worst", "worst too"]);
        assert_eq!((texts.len(), texts[0].as_str()), (MAX_MESSAGES, "0"));
    }

    #[test]
    fn the_oldest_stays_even_if_it_is_the_least() {
        let mut spool = Spool::default();
        spool.push(message(Severity::Debug, "first"));
        while spool.len() < MAX_MESSAGES {
            spool.push(message(Severity::Critical, "c"));
        }
        assert_eq!(spool.push(message(Severity::Critical, "late")), 1);
        assert_eq!(spool.first(), Some(&message(Severity::Debug, "first")));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut spool = Spool::default();
        let long = "x".repeat(MAX_BYTES / 4);
        for _ in 0..4 {
            assert_eq!(spool.push(message(Severity::Info, &long)), 0);
        }
        assert_eq!(spool.push(message(Severity::Info, "y")), 1);
        assert_eq!(spool.push(message(Severity::High, &long)), 1);
        assert_eq!((spool.len(), spool.bytes), (4, MAX_BYTES));
        assert!(spool.pop().is_some());
        assert_eq!(spool.push(message(Severity::Info, "y")), 0);
    }

    proptest! {
        // Each is long.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_comes_out_is_what_went_in_but_for_what_was_counted(
            given in proptest::collection::vec((0_u8..5, 0_usize..4000), 0..3000),
        ) {
            let mut spool = Spool::default();
            let all = [
                Severity::Debug, Severity::Info, Severity::Warning, Severity::High, Severity::Critical,
            ];
            let mut left_out = 0;
            for (severity, length) in &given {
                let severity = all[usize::from(*severity)];
                left_out += spool.push(Message { severity, bytes: vec![0; *length], was_sent: false });
                prop_assert!(spool.len() <= MAX_MESSAGES && spool.bytes <= MAX_BYTES);
            }
            let mut came = 0;
            while spool.pop().is_some() {
                came += 1;
            }
            prop_assert_eq!(came + left_out, given.len() as u64);
            prop_assert_eq!(spool.bytes, 0);
        }
    }
}
