//! An alert as one line of text: what a syslog message says behind its header.

use std::fmt::Write as _;

use crate::alert::Alert;

/// Longest value of a field, so that a long path leaves room for the rest.
const VALUE_BYTES: usize = 200;
/// Stands where something was cut off.
const MARK: &str = "…";

/// Fields come first and the message last, so nothing in it passes for a
/// field. The alert's strings are escaped; should a control character have come through, it is not
/// passed on.
pub(super) fn line(alert: &Alert) -> String {
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
pub(super) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let (start, _) = text.split_at(text.floor_char_boundary(bytes.saturating_sub(MARK.len())));
    format!("{start}{MARK}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::Analysis, sinks::syslog::message::tests::alert};

    #[test]
    fn an_alert_about_no_process_names_none() {
        let line = line(&Analysis::new(false).breaker_tripped(1));
        assert!(line.starts_with("CRITICAL ") && !line.contains("pid="), "{line}");
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
}
