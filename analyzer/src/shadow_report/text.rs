//! The report for people.

use std::fmt::{self, Write as _};

use super::{
    budget::Kills,
    frequent::Frequent,
    totals::{OfRule, Totals},
};
use crate::{console::counted, escape::harmless, redaction::REDACTED, status::Alerts};

/// Executables and parents that are named of each rule.
const MAX_NAMED: usize = 5;
/// Programs started for each of which one unexplained critical alert is too many: zig-sentinel's bar of
/// 0.01 %.
const BAR_EXECS: u64 = 10_000;
const DAY_S: u64 = 86_400;

/// All but the proposals.
pub(super) fn report(totals: &Totals) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn fmt::Display| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "  {name:<10} {value}");
    };
    let (alerts, explained) = (totals.alerts(), totals.explained());
    let bad =
        if totals.bad > 0 { format!(", and {} that are none", totals.bad) } else { String::new() };
    line("lines", &format_args!("{}{bad}", totals.lines));
    if let Some(first) = totals.first {
        line("from", &format_args!("{} to {} (UTC)", date(first), date(totals.last)));
    }
    match &totals.counted {
        Some(counted) => {
            let events = &counted.events;
            line(
                "watched",
                &format_args!(
                    "{}: {} events, {} programs started",
                    period(counted.period),
                    events.processed,
                    events.execs
                ),
            );
            if events.dropped > 0 {
                line(
                    "lost",
                    &format_args!(
                        "{} events ({} of those that verdicts rest on): the numbers below may be too \
                         small",
                        events.dropped, events.dropped_urgent
                    ),
                );
            }
        }
        None => line(
            "watched",
            &"not known: there are no counters in these logs; the log of --enable-json-log has them",
        ),
    }
    line("alerts", &alerts);
    line("enforced", &enforced(&totals.kills));
    line("the bar", &bar(totals, &alerts, &explained));
    for (name, rule) in &totals.rules {
        of_rule(&mut text, name, rule, totals);
    }
    text
}

/// How many kills there would have been, and whether the enforcer would have gone on.
fn enforced(kills: &Kills) -> String {
    let Kills { budget, all, minutes_over, minutes_over_of_a_rule, .. } = kills;
    let asked = counted(*all, "kill");
    let over = match (minutes_over, minutes_over_of_a_rule) {
        (0, 0) => format!("never more than the budget of {} a minute", budget.kills),
        (0, minutes) => format!(
            "in {} more than the budget of {} for one rule, which would have ended enforcement for it",
            counted(*minutes, "minute"),
            budget.of_a_rule
        ),
        (minutes, _) => format!(
            "in {} more than the budget of {}, which would have ended enforcement",
            counted(*minutes, "minute"),
            budget.kills
        ),
    };
    format!("{asked} would have been asked for; {over}")
}

/// How many unexplained criticals there are for each 10,000 programs started, and whether that is little
/// enough to enforce.
fn bar(totals: &Totals, alerts: &Alerts, explained: &Alerts) -> String {
    let unexplained = alerts.critical.saturating_sub(explained.critical);
    let counts = format!("{unexplained} of {} critical alerts are unexplained", alerts.critical);
    let Some(counted) = &totals.counted else {
        return format!("{counts}; without counters nobody knows how many that is");
    };
    let execs = counted.events.execs;
    // Of few programs nothing follows, unless it is bad already.
    let is_met = unexplained.saturating_mul(BAR_EXECS) < execs;
    let verdict = match (is_met, execs < BAR_EXECS) {
        (true, false) => "met",
        (_, true) if unexplained == 0 => "not known yet, so few programs were started",
        _ => "NOT MET: explain them, or make exceptions, before you enforce",
    };
    format!(
        "{counts}: {} per 10,000 programs started, to be below 1: {verdict}",
        per(unexplained, BAR_EXECS, execs)
    )
}

fn of_rule(text: &mut String, name: &str, rule: &OfRule, totals: &Totals) {
    let OfRule { alerts, explained, nameless, redacted, undecided, .. } = rule;
    let _infallible = writeln!(text, "\n{name}  {alerts}");
    let mut line = |name: &str, value: &dyn fmt::Display| {
        let _infallible = writeln!(text, "  {name:<10} {value}");
    };
    if let Some(counted) = &totals.counted {
        let (sum, events) = (alerts.sum(), &counted.events);
        line(
            "rate",
            &format_args!(
                "{} an hour · {} per million events · {} per 10,000 programs started",
                ratio(as_float(sum), hours(counted.period)),
                per(sum, 1_000_000, events.processed),
                per(sum, BAR_EXECS, events.execs)
            ),
        );
    }
    line("programs", &named(&rule.executables));
    line("parents", &named(&rule.parents));
    line("actions", &named(&rule.actions));
    if explained.sum() > 0 {
        line("explained", &format_args!("{} by the rules as they are now", explained.sum()));
    }
    if *undecided > 0 {
        line(
            "perhaps",
            &format_args!(
                "{} of which no log tells whether an exception holds: it asks for more, by `where` or \
                 [[client]], or the line is of other processes too",
                counted(*undecided, "alert")
            ),
        );
    }
    if *nameless > 0 {
        let alerts = counted(*nameless, "alert");
        line("nobody", &format_args!("{alerts} of programs that no exception can name"));
    }
    if *redacted > 0 {
        line(
            "redacted",
            &format_args!(
                "{} of these ran what only arguments tell, and those have {REDACTED}: rules see what \
                 was there, so that no argv of this log would match",
                counted(*redacted, "alert")
            ),
        );
    }
}

fn named(frequent: &Frequent<String, ()>) -> String {
    let about = if frequent.is_estimate { "about " } else { "" };
    let top = frequent.top(MAX_NAMED);
    let all = top.iter().map(|(name, count, ())| format!("{about}{count} {}", harmless(name)));
    match all.collect::<Vec<_>>() {
        all if all.is_empty() => "not told".to_owned(),
        all => all.join(" · "),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn as_float(number: u64) -> f64 {
    number as f64
}

fn period(ns: u64) -> String {
    match hours(ns) {
        hours if hours < 1.0 => format!("{:.1} minutes", hours * 60.0),
        hours => format!("{hours:.1} hours"),
    }
}

fn hours(ns: u64) -> f64 {
    as_float(ns) / 3_600e9
}

/// `count` for each `of` among `all`.
fn per(count: u64, of: u64, all: u64) -> String {
    ratio(as_float(count) * as_float(of), as_float(all))
}

fn ratio(one: f64, other: f64) -> String {
    if other > 0.0 { format!("{:.3}", one / other) } else { "unknown".to_owned() }
}

/// Day and minute, of ns since 1970 (UTC; Howard Hinnant's civil_from_days).
fn date(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, second) = (seconds / DAY_S + 719_468, seconds % DAY_S);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_827_696_000_000_000), "2000-02-29 12:34");
        assert_eq!(date(1_795_348_800_123_456_789), "2026-11-22 12:00");
    }
}
