//! What was said already, so that nobody is told twice.

use crate::{alert::Severity, event::ProcessId, keyed_hash::HashMap, lineage::SourceId};

/// The worst that was said of each secret, and of whom.
#[derive(Debug, Default)]
pub struct Reported(HashMap<SourceId, (Severity, ProcessId)>);

impl Reported {
    /// Whether nothing as bad as `severity` was said of `source`.
    pub fn is_fresh(&self, source: SourceId, severity: Severity) -> bool {
        self.0.get(&source).is_none_or(|(before, _)| *before < severity)
    }

    /// Notes that `process`, which has data of `source` and of all `carried`, did with `source` what is as
    /// bad as `severity`. `None` if that was said, of this secret or of this process with another one;
    /// else whether only the process is new in it.
    ///
    /// The other secrets stay news for other processes: what can have come to somebody need not have.
    pub fn news(
        &mut self,
        source: SourceId,
        mut carried: impl Iterator<Item = SourceId>,
        severity: Severity,
        process: ProcessId,
    ) -> Option<bool> {
        let is_told = |one: SourceId| {
            let known = self.0.get(&one);
            known.is_some_and(|(before, who)| *before >= severity && *who == process)
        };
        let before = self.0.get(&source).map(|(before, _)| *before);
        if before > Some(severity) || carried.any(is_told) {
            return None;
        }
        self.0.insert(source, (severity, process));
        Some(before == Some(severity))
    }

    /// Forgets secrets but those that are still looked for.
    pub fn keep(&mut self, is_looked_for: impl Fn(SourceId) -> bool) {
        self.0.retain(|&source, _| is_looked_for(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lineage::Lineage, process_table::ProcessTable};

    const ONE: ProcessId = ProcessId { tgid: 1, start_time: 1 };
    const OTHER: ProcessId = ProcessId { tgid: 2, start_time: 2 };

    #[test]
    fn each_secret_is_news_once_and_once_more_if_worse() {
        let (mut lineage, processes) = (Lineage::default(), ProcessTable::default());
        let [first, second] = [0, 1].map(|at| lineage.mark(ONE, at, 1000, &processes));
        let both = || [first, second].into_iter();
        let mut reported = Reported::default();
        let mut news = |source, severity, who| reported.news(source, both(), severity, who);
        assert_eq!(news(first, Severity::Warning, ONE), Some(false));
        assert_eq!(news(first, Severity::Critical, ONE), Some(false));
        assert_eq!(news(first, Severity::Warning, ONE), None);
        assert_eq!(news(first, Severity::Warning, OTHER), None);
        // Another secret of the same process, and the same one of another process.
        assert_eq!(news(second, Severity::Critical, ONE), None);
        assert_eq!(news(first, Severity::Critical, OTHER), Some(true));
        assert_eq!(news(first, Severity::Critical, OTHER), None);
    }

    #[test]
    fn what_was_said_of_one_secret_hides_no_other() {
        let (mut lineage, processes) = (Lineage::default(), ProcessTable::default());
        let [first, second] = [0, 1].map(|at| lineage.mark(ONE, at, 1000, &processes));
        let both = || [first, second].into_iter();
        let mut reported = Reported::default();
        assert_eq!(reported.news(first, both(), Severity::Critical, ONE), Some(false));
        assert!(reported.is_fresh(second, Severity::Warning));
        assert!(!reported.is_fresh(first, Severity::Critical));
        assert_eq!(reported.news(second, both(), Severity::Critical, OTHER), Some(false));
    }
}
