//! What an operator gets to know: one alert, stable in its JSON form (additions only).

use std::{borrow::Cow, fmt};

use sentinel_ipc::frame::{Target, Verdict};
use serde::{Serialize, Serializer};

use crate::{
    baseline::observer::Figures,
    cgroups::Place,
    correlation::Correlated,
    escape::escape,
    patterns::Finding,
    process_table::{Ancestor, Process, ProcessTable},
    rules::identity,
    status::{Alerts, Period},
};

/// How bad it is. Only critical may be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For developers of rules.
    Debug,
    /// For the record.
    Info,
    /// Worth a look.
    Warning,
    /// Probably an attack.
    High,
    /// An attack.
    Critical,
}

impl Severity {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Who raised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Sequences.
    Patterns,
    /// What was read and what left.
    Correlation,
    /// Rates of what programs do.
    Baseline,
    /// Sentinel itself.
    Sensor,
}

/// What was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionTaken {
    /// Nothing but this alert.
    Logged,
    /// What the enforcer said.
    Decided(Verdict),
    /// The enforcer is gone.
    NoEnforcer,
    /// The enforcer did not answer in time, and will refuse when it comes to it.
    NoAnswer,
}

impl fmt::Display for ActionTaken {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logged => write!(to, "logged"),
            Self::Decided(verdict) => verdict.fmt(to),
            Self::NoEnforcer => write!(to, "kill_refused:no_enforcer"),
            Self::NoAnswer => write!(to, "kill_refused:no_answer"),
        }
    }
}

/// One step that led to the alert.
#[derive(Debug, Clone, Serialize)]
pub struct AlertStep {
    /// CLOCK_BOOTTIME, ns.
    pub timestamp_boot: u64,
    /// Thread group id of who did it.
    pub pid: u32,
    /// Stable name of what was done.
    pub event: &'static str,
    /// The same in words.
    pub detail: String,
}

/// A process further up.
#[derive(Debug, Clone, Serialize)]
pub struct AlertAncestor {
    /// Thread group id.
    pub pid: u32,
    /// Path of its executable, `None` if that was not seen.
    pub exe: Option<String>,
    /// Whether an exception may know it by that path, as [`Alert::exe_trusted`].
    pub exe_trusted: bool,
}

/// What is known of alerts that were folded into one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// How many there were after the first one.
    pub count: u64,
    /// Thread group ids of the processes that they were about, as many as are kept.
    pub pids: Vec<u32>,
}

/// How many alerts of a rule were not told one by one.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Withheld {
    /// The rule.
    pub pattern_name: Cow<'static, str>,
    /// Of each severity.
    #[serde(flatten)]
    pub alerts: Alerts,
}

/// One alert. Strings from the system are escaped.
#[derive(Debug, Clone, Serialize)]
pub struct Alert {
    /// CLOCK_REALTIME, ns.
    pub timestamp: u64,
    /// CLOCK_BOOTTIME, ns.
    pub timestamp_boot: u64,
    /// Who raised it.
    pub engine: Engine,
    /// 64-bit FNV-1a of the name, `0x…`.
    #[serde(serialize_with = "hexadecimal")]
    pub pattern_id: u64,
    /// The rule.
    pub pattern_name: Cow<'static, str>,
    /// How bad.
    pub severity: Severity,
    /// MITRE ATT&CK technique.
    pub mitre: Cow<'static, str>,
    /// Thread group id.
    pub pid: u32,
    /// Start of the process, ns since boot.
    pub start_time: u64,
    /// Thread group id of the parent at its fork; 0 if that was not seen.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// The kernel's short name; anyone can set it.
    pub comm: Option<String>,
    /// Kernel-resolved path of the executable.
    pub exe: Option<String>,
    /// Whether allow-lists may know the process by that path: nobody but root can have chosen what runs.
    pub exe_trusted: bool,
    /// Arguments on one line.
    pub cmdline: Option<String>,
    /// Kernel-resolved path of the script that it runs, if an exception may know it by that.
    pub script: Option<String>,
    /// Nearest first, as they were when the next one was forked.
    pub ancestors: Vec<AlertAncestor>,
    /// Container, if it runs in one.
    pub container_id: Option<String>,
    /// Path of its cgroup.
    pub cgroup: Option<String>,
    /// systemd unit.
    pub unit: Option<String>,
    /// What was done about it.
    #[serde(serialize_with = "in_words")]
    pub action: ActionTaken,
    /// One sentence.
    pub message: String,
    /// In order of time.
    pub steps: Vec<AlertStep>,
    /// Events lost between the first step and the alert.
    pub gap_in_window: u64,
    /// The network peer, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// Of the correlation engine.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub correlated: Option<Box<Correlated>>,
    /// Of the baseline engine.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Box<Figures>>,
    /// On a line that stands for many.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Box<Repeated>>,
    /// On a line about alerts that were not told one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub withheld: Option<Box<Withheld>>,
    /// On a line that counts what there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<Box<Period>>,
    /// What each step was done to ([`Deed::object`](crate::step::Deed::object)).
    #[serde(skip)]
    pub objects: Vec<String>,
    /// Whether only a process is new in it ([`Finding::repeat`]).
    #[serde(skip)]
    pub repeat: bool,
    /// Root of the tree that is to be ended in place of the process; it may have ended itself.
    #[serde(skip)]
    pub tree: Option<Target>,
}

impl Alert {
    /// An alert on `finding` at `now` (CLOCK_BOOTTIME, ns); `wall_offset_ns` leads to the wall
    /// clock; `gap` events were lost in its window; `place` is where the process runs.
    pub fn new(
        finding: Finding,
        now: u64,
        wall_offset_ns: i64,
        gap: u64,
        processes: &ProcessTable,
        place: Place,
    ) -> Self {
        let process = processes.get(finding.process);
        let image = process.and_then(|process| process.image.as_deref());
        let script = image.and_then(|image| image.identity.sound_script());
        let objects = finding.steps.iter().map(|step| step.deed.object()).collect();
        Self {
            timestamp: now.saturating_add_signed(wall_offset_ns),
            timestamp_boot: now,
            engine: finding.rule.engine,
            pattern_id: fnv1a(&finding.rule.name),
            pattern_name: finding.rule.name,
            severity: finding.severity,
            mitre: finding.rule.mitre,
            pid: finding.process.tgid,
            start_time: finding.process.start_time,
            ppid: process.and_then(Process::parent).map_or(0, |parent| parent.tgid),
            uid: process.map_or(u32::MAX, |process| process.uid),
            comm: image.map(|image| image.comm.to_string()),
            exe: image.map(|image| image.path.clone()),
            exe_trusted: process.is_some_and(|process| identity::trusted_path(process).is_some()),
            cmdline: image.map(|image| image.command_line.as_str().to_owned()),
            script: script.map(escape),
            ancestors: process
                .map(|it| it.ancestors.iter().map(|one| ancestor(one, processes)).collect())
                .unwrap_or_default(),
            container_id: place.container_id,
            cgroup: place.cgroup,
            unit: place.unit,
            action: ActionTaken::Logged,
            message: finding.message,
            steps: finding
                .steps
                .into_iter()
                .map(|step| AlertStep {
                    timestamp_boot: step.timestamp,
                    pid: step.process.tgid,
                    event: step.deed.event(),
                    detail: step.deed.to_string(),
                })
                .collect(),
            gap_in_window: gap,
            remote_ip: finding.remote.map(|remote| remote.ip().to_string()),
            remote_port: finding.remote.map(|remote| remote.port()),
            correlated: finding.correlated,
            figures: finding.figures,
            repeated: None,
            withheld: None,
            counters: None,
            objects,
            repeat: finding.repeat,
            tree: None,
        }
    }
}

fn ancestor(ancestor: &Ancestor, processes: &ProcessTable) -> AlertAncestor {
    let image = ancestor.image.as_deref();
    // It may run another program by now, which is the one that an exception asks for.
    let trusted = processes.get(ancestor.id).and_then(identity::trusted_path);
    AlertAncestor {
        pid: ancestor.id.tgid,
        exe: image.map(|image| image.path.clone()),
        exe_trusted: trusted.is_some() && trusted == image.map(|image| image.identity.path()),
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
pub fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn hexadecimal<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:#018x}"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn in_words<S: Serializer>(action: &ActionTaken, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(action)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sentinel_ipc::frame::Refusal;
    use serde_json::Value;

    use super::*;
    use crate::{
        analysis::Analysis,
        correlation::{Contribution, Stage},
    };

    #[test]
    fn actions_are_written_as_the_contract_says() {
        for (action, written) in [
            (ActionTaken::Logged, "logged"),
            (ActionTaken::Decided(Verdict::Terminated), "terminated"),
            (ActionTaken::Decided(Verdict::AlreadyExited), "already_exited"),
            (
                ActionTaken::Decided(Verdict::Refused(Refusal::KillSwitch)),
                "kill_refused:kill_switch",
            ),
            (ActionTaken::Decided(Verdict::Failed(1)), "kill_failed:EPERM"),
            (ActionTaken::NoEnforcer, "kill_refused:no_enforcer"),
        ] {
            assert_eq!(action.to_string(), written);
        }
    }

    /// An alert that has every field there is.
    fn whole() -> Alert {
        let step =
            AlertStep { timestamp_boot: 1, pid: 2, event: "exec", detail: "started".to_owned() };
        let contribution = Contribution { name: "read", points: 40 };
        let correlated = Correlated {
            stage: Stage::DataSent,
            score: 100,
            contributions: vec![contribution],
            file: "/etc/shadow".to_owned(),
            bytes_read: 1,
            bytes_sent: 2,
            remote: None,
        };
        let figures = Figures {
            syscall: "x".to_owned(),
            rate: 1.5,
            mean: 0.0,
            stddev: 0.0,
            z: Some(3.0),
            seconds: Some(3),
        };
        Alert {
            ancestors: vec![AlertAncestor { pid: 1, exe: None, exe_trusted: false }],
            steps: vec![step],
            remote_ip: Some("192.0.2.1".to_owned()),
            remote_port: Some(443),
            correlated: Some(Box::new(correlated)),
            figures: Some(Box::new(figures)),
            repeated: Some(Box::new(Repeated { count: 1, pids: vec![1] })),
            withheld: Some(Box::default()),
            counters: Some(Box::default()),
            ..Analysis::new(false).breaker_tripped(1)
        }
    }

    /// All names in `value` or in the schema's `properties`, with those they are in before them.
    fn names(value: &Value, of_schema: bool, before: &str, all: &mut BTreeSet<String>) {
        let value = match value {
            Value::Array(items) => items.first().unwrap_or(&Value::Null),
            _ if of_schema && value["items"].is_object() => &value["items"],
            _ => value,
        };
        let fields = if of_schema { &value["properties"] } else { value };
        for (name, field) in fields.as_object().into_iter().flatten() {
            let name = format!("{before}{name}");
            names(field, of_schema, &format!("{name}."), all);
            all.insert(name);
        }
    }

    #[test]
    fn the_schema_has_the_fields_of_an_alert_and_no_others() {
        let schema = include_str!("../../packaging/schema/alert.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let (mut described, mut written) = (BTreeSet::new(), BTreeSet::new());
        names(&schema, true, "", &mut described);
        names(&serde_json::to_value(whole()).unwrap(), false, "", &mut written);
        assert!(written.len() > 60, "{written:?}");
        assert_eq!(described, written);
        let bare = Analysis::new(false).breaker_tripped(1);
        let bare = serde_json::to_value(bare).unwrap();
        let always: BTreeSet<_> = bare.as_object().unwrap().keys().map(String::as_str).collect();
        let required = schema["required"].as_array().unwrap().iter();
        assert_eq!(required.map(|name| name.as_str().unwrap()).collect::<BTreeSet<_>>(), always);
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // Test vectors of draft-eastlake-fnv.
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
