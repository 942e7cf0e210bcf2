//! An alert as a datagram for the local syslog daemon (RFC 3164), which journald and rsyslog both
//! understand.
//!
//! Its time is in UTC, which is what the crate writes on every Unix. It is not what ends up in the log:
//! journald always, and rsyslog by default, notes when the datagram arrived.

use std::fmt::Write as _;

use syslog::{Facility, Formatter3164, LogFormat, Severity as Level};

use crate::alert::{Alert, Severity};

/// Longest datagram: what RFC 3164, section 4.1, allows.
const MAX_BYTES: usize = 1024;
/// Longest header: `<86>Nov 22 04:37:16 sentinel[4294967295]: `.
const HEADER_BYTES: usize = 42;
/// Longest value of a field, so that a long path leaves room for the rest.
const VALUE_BYTES: usize = 200;
/// Stands where something was cut off.
const MARK: &str = "…";

/// The whole datagram; `pid` is Sentinel's own.
pub(super) fn datagram(alert: &Alert, pid: u32) -> Vec<u8> {
    let facility = Facility::LOG_AUTHPRIV;
    let formatter = Formatter3164 { facility, hostname: None, process: "sentinel".into(), pid };
    let line = cut(&line(alert), MAX_BYTES - HEADER_BYTES);
    let mut datagram = Vec::with_capacity(MAX_BYTES);
    // Writing to memory cannot fail.
    let _infallible = formatter.format(&mut datagram, level(alert.severity), line);
    datagram
}

fn level(severity: Severity) -> Level {
    match severity {
        Severity::Critical => Level::LOG_CRIT,
        Severity::High => Level::LOG_ERR,
        Severity::Warning => Level::LOG_WARNING,
        Severity::Info => Level::LOG_INFO,
        Severity::Debug => Level::LOG_DEBUG,
    }
}

/// What follows the header. Fields come first and the message last, so nothing in it passes for a
/// field. The alert's strings are escaped; should a control character have come through, it is not
/// passed on.
fn line(alert: &Alert) -> String {
    let severity = alert.severity.name().to_uppercase();
    let mut line = format!("{severity} {} {}", alert.pattern_name, alert.mitre);
    // An alert about no process has the pid 0.
    if alert.pid != 0 {
        let _infallible = write!(line, " pid={} uid={}", alert.pid, alert.uid);
    }
    for (name, value) in [("exe", &alert.exe), ("unit", &alert.unit)] {
        if let Some(value) = value {
            let _infallible = write!(line, " {name}={}", quoted(value));
        }
    }
    let _infallible = write!(line, " action={}: {}", alert.action, alert.message);
    line.replace(char::is_control, "?")
}

/// `value`, cut, and in quotes if it could pass for more than one field.
fn quoted(value: &str) -> String {
    let value = cut(value, VALUE_BYTES);
    if value.contains(|character: char| character == '"' || character.is_whitespace()) {
        format!("\"{}\"", value.replace('"', "\\\""))
    } else {
        value
    }
}

/// The start of `text`, with a mark if that is not all of it; at most so many bytes.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let (start, _) = text.split_at(text.floor_char_boundary(bytes.saturating_sub(MARK.len())));
    format!("{start}{MARK}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{analysis::Analysis, escape::escape};

    fn alert() -> Alert {
        Alert {
            pid: 19140,
            uid: 0,
            exe: Some("/usr/bin/bash".into()),
            unit: Some("nginx.service".into()),
            message: "it has its input and output on the connection to 127.0.0.1:4444".into(),
            pattern_name: "reverse_shell".into(),
            mitre: "T1059".into(),
            ..Analysis::new(false).breaker_tripped(1)
        }
    }

    #[test]
    fn an_alert_is_one_line_with_its_facts() {
        let text = String::from_utf8(datagram(&alert(), 77)).unwrap();
        let (header, line) = text.split_once(": ").unwrap();
        assert!(header.starts_with("<82>"), "authpriv.crit: {header}");
        // Such as `Nov 22 04:37:16`, and no name of a host.
        assert!(header.ends_with(" sentinel[77]") && header.len() == 4 + 15 + 13, "{header}");
        assert_eq!(
            line,
            "CRITICAL reverse_shell T1059 pid=19140 uid=0 exe=/usr/bin/bash unit=nginx.service \
             action=logged: it has its input and output on the connection to 127.0.0.1:4444"
        );
    }

    #[test]
    fn an_alert_about_no_process_names_none() {
        let line = line(&Analysis::new(false).breaker_tripped(1));
        assert!(line.starts_with("CRITICAL ") && !line.contains("pid="), "{line}");
    }

    #[test]
    fn each_severity_has_its_level() {
        for (severity, priority) in [
            (Severity::Critical, "<82>"),
            (Severity::High, "<83>"),
            (Severity::Warning, "<84>"),
            (Severity::Info, "<86>"),
            (Severity::Debug, "<87>"),
        ] {
            let datagram = datagram(&Alert { severity, ..alert() }, 1);
            assert!(datagram.starts_with(priority.as_bytes()), "{severity:?}");
        }
    }

    #[test]
    fn a_path_cannot_pass_for_other_fields() {
        let exe = Some("/tmp/x unit=sshd.service action=terminated: \"fine\"".to_owned());
        let line = line(&Alert { exe, ..alert() });
        let wanted = r#" exe="/tmp/x unit=sshd.service action=terminated: \"fine\"" unit=nginx"#;
        assert!(line.contains(wanted), "{line}");
    }

    #[test]
    fn a_long_path_leaves_room_for_the_rest() {
        let exe = Some("ß".repeat(4096));
        let line = line(&Alert { exe, ..alert() });
        assert!(line.contains("ß… unit=nginx.service action=logged: it has"), "{line}");
    }

    #[test]
    fn the_header_is_no_longer_than_is_thought() {
        let text = String::from_utf8(datagram(&alert(), u32::MAX)).unwrap();
        assert_eq!(text.find("CRITICAL"), Some(HEADER_BYTES));
    }

    proptest! {
        #[test]
        fn a_datagram_is_short_printable_and_keeps_its_fields(
            exe in proptest::collection::vec(any::<u8>(), 0..4096),
            message in "(?s).{0,2000}",
            unit in "(?s).{0,300}",
        ) {
            let unescaped = Alert { unit: Some(unit), message, ..alert() };
            let datagram = datagram(&Alert { exe: Some(escape(&exe)), ..unescaped }, 1);
            prop_assert!(datagram.len() <= MAX_BYTES);
            let text = String::from_utf8(datagram).unwrap();
            prop_assert!(!text.contains(char::is_control), "{}", text);
            prop_assert!(text.contains(" sentinel[1]: CRITICAL reverse_shell T1059 pid=19140 "));
            prop_assert!(text.contains(" action=logged: "));
        }
    }
}
