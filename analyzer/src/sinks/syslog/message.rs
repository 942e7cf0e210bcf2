//! An alert as a syslog message, in the form that its way asks for.
//!
//! To a socket of this host RFC 3164, which journald and rsyslog both understand there. Its time is in UTC, which
//! is what the crate writes on every Unix; it is not what ends up in the log: journald always, and rsyslog by
//! default, notes when the datagram arrived. To a server RFC 5424 with structured data; over TCP each message
//! follows its length (RFC 6587, octet counting).

use std::collections::BTreeMap;

use syslog::{Facility, Formatter3164, Formatter5424, LogFormat, Severity as Level};

use super::line::{cut, line};
use crate::{
    alert::{Alert, Severity},
    configuration::SyslogTarget,
};

/// The structured data of alerts. 32473 is the number that RFC 5612 keeps for documentation: Sentinel has no
/// enterprise's number of its own.
pub const STRUCTURED_DATA_ID: &str = "sentinel@32473";

/// Longest message to a socket of this host: what RFC 3164, section 4.1, allows.
const MAX_LOCAL_BYTES: usize = 1024;
/// Longest header of RFC 3164: `<86>Nov 22 04:37:16 sentinel[4294967295]: `.
const LOCAL_HEADER_BYTES: usize = 42;
/// Longest message in a datagram to a server: so that it is not cut up on its way (RFC 5426, section 3.2).
const MAX_UDP_BYTES: usize = 1180;
/// Longest message on a connection: what every receiver should take (RFC 5424, section 6.1).
const MAX_TCP_BYTES: usize = 2048;
/// Longest value in the structured data, before it is escaped.
const VALUE_BYTES: usize = 256;
/// Longest name of a host (`HOST_NAME_MAX`).
const HOST_BYTES: usize = 64;

/// How alerts become messages.
#[derive(Debug)]
pub(super) struct Form {
    way: Way,
    host: String,
    /// Sentinel's own.
    pid: u32,
}

/// The way that they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Unix,
    Udp,
    Tcp,
}

impl Form {
    /// That of messages to `target`, from the process `pid` of this `host`.
    pub(super) fn of(target: &SyslogTarget, host: &str, pid: u32) -> Self {
        let way = match target {
            SyslogTarget::Unix(_) => Way::Unix,
            SyslogTarget::Udp(_) => Way::Udp,
            SyslogTarget::Tcp(_) => Way::Tcp,
        };
        let printable: String =
            host.chars().filter(char::is_ascii_graphic).take(HOST_BYTES).collect();
        // RFC 5424, section 6.2.4, for one that does not know.
        let host = if printable.is_empty() { "-".to_owned() } else { printable };
        Self { way, host, pid }
    }

    /// All bytes of the message.
    pub(super) fn message(&self, alert: &Alert) -> Vec<u8> {
        let line = line(alert);
        match self.way {
            Way::Unix => self.local(alert, &cut(&line, MAX_LOCAL_BYTES - LOCAL_HEADER_BYTES)),
            Way::Udp => self.remote(alert, &line, MAX_UDP_BYTES),
            Way::Tcp => {
                let message = self.remote(alert, &line, MAX_TCP_BYTES);
                [format!("{} ", message.len()).as_bytes(), &message].concat()
            }
        }
    }

    fn local(&self, alert: &Alert, line: &str) -> Vec<u8> {
        let facility = Facility::LOG_AUTHPRIV;
        let formatter =
            Formatter3164 { facility, hostname: None, process: "sentinel".into(), pid: self.pid };
        let mut message = Vec::with_capacity(MAX_LOCAL_BYTES);
        // Writing to memory cannot fail.
        let _infallible = formatter.format(&mut message, level(alert.severity), line);
        message
    }

    fn remote(&self, alert: &Alert, line: &str, most: usize) -> Vec<u8> {
        let formatter = Formatter5424 {
            facility: Facility::LOG_AUTHPRIV,
            hostname: Some(self.host.clone()),
            process: "sentinel".into(),
            pid: self.pid,
        };
        // One number for each rule, as the kind of a message (MSGID): the last 32 bits of its `pattern_id`.
        let [.., a, b, c, d] = alert.pattern_id.to_be_bytes();
        let kind = u32::from_be_bytes([a, b, c, d]);
        let mut message = Vec::with_capacity(most);
        let whole = (kind, structured_data(alert), "");
        let _infallible = formatter.format(&mut message, level(alert.severity), whole);
        message.extend(cut(line, most.saturating_sub(message.len())).as_bytes());
        message
    }
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

/// The alert's facts; the formatter escapes quotes, backslashes and brackets. The alert's own strings are
/// printable already; should a control character have come through, it is not passed on.
fn structured_data(alert: &Alert) -> BTreeMap<String, BTreeMap<String, String>> {
    let pid = (alert.pid != 0).then(|| alert.pid.to_string());
    let facts = [
        ("rule", Some(alert.pattern_name.to_string())),
        ("severity", Some(alert.severity.name().to_owned())),
        // An alert about no process has the pid 0.
        ("pid", pid),
        ("exe", alert.exe.clone()),
        ("action", Some(alert.action.to_string())),
    ];
    let said = facts.into_iter().filter_map(|(name, value)| {
        Some((name.to_owned(), cut(&value?, VALUE_BYTES).replace(char::is_control, "?")))
    });
    BTreeMap::from([(STRUCTURED_DATA_ID.to_owned(), said.collect())])
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{analysis::Analysis, escape::escape};

    pub(in crate::sinks::syslog) fn alert() -> Alert {
        Alert {
            pid: 19140,
            uid: 0,
            exe: Some("/usr/bin/bash".into()),
            unit: Some("nginx.service".into()),
            message: "it has its input and output on the connection to 127.0.0.1:4444".into(),
            pattern_name: "reverse_shell".into(),
            pattern_id: 0x0123_4567_0000_0007,
            mitre: "T1059".into(),
            ..Analysis::new(false).breaker_tripped(1)
        }
    }

    fn message(target: &str, alert: &Alert) -> Vec<u8> {
        Form::of(&target.parse().unwrap(), "web-1", 77).message(alert)
    }

    const UDP: &str = "udp:192.0.2.1:514";
    const TCP: &str = "tcp:192.0.2.1:514";

    #[test]
    fn to_a_local_socket_an_alert_is_one_line_with_its_facts() {
        let text = String::from_utf8(message("unix:/dev/log", &alert())).unwrap();
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
    fn to_a_server_it_has_its_facts_as_structured_data_too() {
        let text = String::from_utf8(message(UDP, &alert())).unwrap();
        let (time, rest) = text.strip_prefix("<82>1 ").unwrap().split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z') && time.len() <= 27, "{time}");
        assert_eq!(
            rest,
            "web-1 sentinel 77 7 [sentinel@32473 action=\"logged\" exe=\"/usr/bin/bash\" \
             pid=\"19140\" rule=\"reverse_shell\" severity=\"critical\"] \
             CRITICAL reverse_shell T1059 pid=19140 uid=0 exe=/usr/bin/bash unit=nginx.service \
             action=logged: it has its input and output on the connection to 127.0.0.1:4444"
        );
    }

    #[test]
    fn over_tcp_its_length_goes_before_it() {
        let text = String::from_utf8(message(TCP, &alert())).unwrap();
        let (length, rest) = text.split_once(' ').unwrap();
        assert_eq!(length.parse(), Ok(rest.len()));
        assert!(rest.starts_with("<82>1 "), "{rest}");
    }

    #[test]
    fn an_alert_about_no_process_has_neither_pid_nor_exe() {
        let text = message(UDP, &Analysis::new(false).breaker_tripped(1));
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains(" pid=") && !text.contains(" exe="), "{text}");
    }

    #[test]
    fn quotes_brackets_and_backslashes_cannot_end_a_value() {
        let exe = Some(r#"/tmp/"] [x@1 a="\"#.to_owned());
        let text = String::from_utf8(message(UDP, &Alert { exe, ..alert() })).unwrap();
        assert!(text.contains(r#" exe="/tmp/\"\] [x@1 a=\"\\" pid="19140""#), "{text}");
    }

    #[test]
    fn the_hosts_name_is_one_printable_word() {
        for (host, written) in [
            ("web-1", "web-1"),
            ("", "-"),
            ("a b\n", "ab"),
            ("ü", "-"),
            (&"x".repeat(99), &"x".repeat(64)),
        ] {
            assert_eq!(Form::of(&UDP.parse().unwrap(), host, 1).host, written);
        }
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
            for target in ["unix:/dev/log", UDP] {
                let message = message(target, &Alert { severity, ..alert() });
                assert!(message.starts_with(priority.as_bytes()), "{severity:?}");
            }
        }
    }

    #[test]
    fn the_local_header_is_no_longer_than_is_thought() {
        let form = Form::of(&SyslogTarget::default(), "", u32::MAX);
        let text = String::from_utf8(form.message(&alert())).unwrap();
        assert_eq!(text.find("CRITICAL"), Some(LOCAL_HEADER_BYTES));
    }

    proptest! {
        // Each is long.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_message_is_short_printable_and_keeps_its_facts(
            exe in proptest::collection::vec(any::<u8>(), 0..4096),
            message in "(?s).{0,2000}",
            unit in "(?s).{0,300}",
            host in "(?s).{0,300}",
        ) {
            let unescaped = Alert { unit: Some(unit), message, ..alert() };
            let alert = Alert { exe: Some(escape(&exe)), ..unescaped };
            for (target, most) in [
                ("unix:/dev/log", MAX_LOCAL_BYTES), (UDP, MAX_UDP_BYTES), (TCP, MAX_TCP_BYTES + 5),
            ] {
                let form = Form::of(&target.parse().unwrap(), &host, u32::MAX);
                let message = form.message(&alert);
                prop_assert!(message.len() <= most);
                let text = String::from_utf8(message).unwrap();
                prop_assert!(!text.contains(char::is_control), "{}", text);
                prop_assert!(text.contains("CRITICAL reverse_shell T1059 pid=19140 "), "{}", text);
                prop_assert_eq!(text.contains("[sentinel@32473 action=\"logged\" exe=\""), most != MAX_LOCAL_BYTES);
            }
        }
    }
}
