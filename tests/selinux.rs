//! The SELinux module: what the policy allows by what it says, and what happens under it in a virtual machine
//! where it is enforced.
//!
//! The machine is booted once for each kernel; packaging/test/guest says what happens there.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use sentinel_tests::{
    bed::skip,
    nspawn::{self, packaging, text},
    packages::{self, Layer, Packages, script},
    programs::compiled_static,
};
use serde_json::Value;

#[path = "selinux/policy.rs"]
mod policy;

use policy::{Policy, of_class};

const DOMAINS: [&str; 3] = ["sentinel_loader_t", "sentinel_analyzer_t", "sentinel_enforcer_t"];

/// What the enforcer may do to processes of others.
const ENDING: [&str; 3] = ["sigkill", "signal", "sigstop"];

/// Who may change every file there is, by the base policy: the administrator's domains, package management,
/// and those that restore labels.
const ADMINISTRATION: [&str; 7] = [
    "dpkg_script_t",
    "dpkg_t",
    "files_unconfined_type",
    "restorecond_t",
    "secadm_t",
    "setfiles_t",
    "sysadm_t",
];

/// What changes a file or what is in it.
const CHANGES: [&str; 9] = [
    "write",
    "append",
    "create",
    "unlink",
    "rename",
    "link",
    "setattr",
    "relabelfrom",
    "relabelto",
];

/// The machine with both packages on it, as long as a test uses it; `None` where there can be none.
fn installed() -> Option<Arc<Layer>> {
    static SHARED: Mutex<Weak<Layer>> = Mutex::new(Weak::new());
    if !packages::ready() {
        return None;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let layer = shared.upgrade().unwrap_or_else(|| {
        let built = Packages::of_release(1);
        let layer = Layer::with(&[built.path("sentinel.rpm"), built.path("sentinel-selinux.rpm")]);
        let payload = layer.path().join("payload");
        fs::create_dir(&payload).unwrap();
        fs::copy(script("guest"), payload.join("guest")).unwrap();
        fs::copy(compiled_static("selinux_probe"), payload.join("selinux_probe")).unwrap();
        Arc::new(layer)
    });
    *shared = Arc::downgrade(&layer);
    Some(layer)
}

/// Debian's policy with the module in it; `None` as with [`installed`].
fn policy() -> Option<&'static Policy> {
    static READ: OnceLock<Option<Policy>> = OnceLock::new();
    let read = || {
        let layer = installed()?;
        let directory = layer.path().join("etc/selinux/default/policy");
        let file = fs::read_dir(directory).unwrap().next().unwrap().unwrap();
        Some(Policy::read(&file.path()))
    };
    READ.get_or_init(read).as_ref()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn each_domain_has_its_capabilities_and_no_other() {
    let Some(policy) = policy() else { return };
    let loading: &[&str] = &["dac_read_search", "setgid", "setpcap", "setuid"];
    let expected: [(&[&str], &[&str]); 3] =
        [(loading, &["bpf", "perfmon"]), (&[], &[]), (&["kill"], &[])];
    for (domain, (low, high)) in DOMAINS.into_iter().zip(expected) {
        let found = policy.permissions(domain);
        assert_eq!(of_class(&found, "capability"), set(low), "{domain}");
        assert_eq!(of_class(&found, "capability2"), set(high), "{domain}");
        assert_eq!(of_class(&found, "cap_userns"), set(&[]), "{domain}");
        assert_eq!(of_class(&found, "cap2_userns"), set(&[]), "{domain}");
    }
}

#[test]
fn only_the_loader_may_use_bpf_and_only_the_enforcer_may_end_others() {
    let Some(policy) = policy() else { return };
    for domain in DOMAINS {
        let found = policy.permissions(domain);
        assert_eq!(of_class(&found, "bpf").is_empty(), domain != "sentinel_loader_t", "{domain}");
        assert_eq!(of_class(&found, "perf_event"), set(&[]), "{domain}");
        let others =
            found.iter().filter(|((class, target), _)| class == "process" && target != domain);
        let mut on_others: BTreeSet<_> = others.flat_map(|(_, allowed)| allowed.clone()).collect();
        // Each child tells its parent of its end; and the last one sends nothing.
        on_others.retain(|permission| !["sigchld", "signull"].contains(&permission.as_str()));
        let killing: &[&str] = if domain == "sentinel_enforcer_t" { &ENDING } else { &[] };
        assert_eq!(on_others, set(killing), "{domain}");
    }
    let victim =
        |target| policy.sources(target, "process", &ENDING).contains("sentinel_enforcer_t");
    assert!(victim("sshd_t") && victim("unconfined_t") && victim("initrc_t"));
    for spared in ["init_t", "kernel_t", "sentinel_loader_t", "sentinel_analyzer_t"] {
        assert!(!victim(spared), "{spared}");
    }
}

#[test]
fn the_network_needs_a_boolean_that_is_off() {
    let Some(policy) = policy() else { return };
    for domain in DOMAINS {
        let found = policy.permissions(domain);
        for class in ["tcp_socket", "udp_socket", "rawip_socket", "packet_socket"] {
            assert_eq!(found.get(&(class.to_owned(), domain.to_owned())), None, "{domain} {class}");
        }
    }
    let behind = |rule: &&String| rule.contains("[ sentinel_network_syslog ]:True");
    let off: Vec<_> = policy.off.iter().filter(behind).collect();
    let connects: BTreeSet<_> = off
        .iter()
        .filter_map(|rule| rule.split_once(":tcp_socket name_connect"))
        .filter_map(|(before, _)| before.split(' ').next_back())
        .collect();
    let ports = ["dns_port_t", "rsh_port_t", "syslog_tls_port_t", "syslogd_port_t"];
    assert_eq!(connects, BTreeSet::from(ports), "{off:?}");
    assert!(off.iter().all(|rule| rule.starts_with("allow sentinel_analyzer_t ")), "{off:?}");
}

#[test]
fn no_domain_is_permissive_or_unconfined_or_starts_programs() {
    let Some(policy) = policy() else { return };
    assert!(!policy.permissive.contains("sentinel"), "{}", policy.permissive);
    for domain in DOMAINS {
        let attributes = policy.attributes(domain);
        assert!(!attributes.iter().any(|name| name.contains("unconfined")), "{attributes:?}");
        let found = policy.permissions(domain);
        assert!(!of_class(&found, "file").contains("execute_no_trans"), "{domain}");
        assert!(!of_class(&found, "process").contains("execmem"), "{domain}");
        // The connector to syslog is a fork.
        let own = &found[&("process".to_owned(), domain.to_owned())];
        assert!(domain != "sentinel_analyzer_t" || own.contains("fork"), "{own:?}");
    }
}

#[test]
fn nobody_else_may_change_our_files() {
    let Some(policy) = policy() else { return };
    for (target, writers) in [
        ("sentinel_etc_t", &[][..]),
        ("sentinel_rules_t", &[]),
        ("sentinel_var_lib_t", &["sentinel_analyzer_t"]),
        ("sentinel_enforcer_var_lib_t", &["sentinel_enforcer_t", "systemd_tmpfiles_t"]),
        ("sentinel_log_t", &["initrc_t", "logadm_t", "logrotate_t", "sentinel_analyzer_t"]),
        (
            "sentinel_enforcer_log_t",
            &["initrc_t", "logadm_t", "logrotate_t", "sentinel_enforcer_t"],
        ),
        ("sentinel_loader_exec_t", &["prelink_t"]),
        ("sentinel_analyzer_exec_t", &["prelink_t"]),
        ("sentinel_enforcer_exec_t", &["prelink_t"]),
    ] {
        let expected = set(&[&ADMINISTRATION[..], writers].concat());
        assert_eq!(policy.sources(target, "file", &CHANGES), expected, "{target}");
    }
    for (domain, log) in [
        ("sentinel_analyzer_t", "sentinel_log_t"),
        ("sentinel_enforcer_t", "sentinel_enforcer_log_t"),
    ] {
        let found = policy.permissions(domain);
        let logs = &found[&("file".to_owned(), log.to_owned())];
        assert!(
            logs.contains("append") && !logs.contains("write") && !logs.contains("unlink"),
            "{logs:?}"
        );
    }
    let found = policy.permissions("sentinel_analyzer_t");
    for (class, needed) in [
        ("dir", &["open", "read", "add_name", "remove_name"][..]),
        ("file", &["create", "write", "rename", "unlink"]),
    ] {
        let allowed = &found[&(class.to_owned(), "sentinel_metrics_t".to_owned())];
        assert!(needed.iter().all(|one| allowed.contains(*one)), "metrics: {class} {allowed:?}");
    }
}

#[test]
fn nobody_else_may_talk_to_our_sockets() {
    let Some(policy) = policy() else { return };
    for (socket, callers) in [
        ("loader", &["sentinel_analyzer_t"][..]),
        ("identity", &["sentinel_enforcer_t"]),
        ("analyzer", &["sentinel_enforcer_t", "sentinel_loader_t"]),
        ("enforcer", &["sentinel_analyzer_t", "sentinel_loader_t"]),
        ("admin", &[]),
    ] {
        let target = format!("sentinel_{socket}_socket_t");
        let expected = set(&[&ADMINISTRATION[..], &["init_t"], callers].concat());
        assert_eq!(policy.sources(&target, "sock_file", &CHANGES), expected, "{target}");
    }
    for domain in DOMAINS {
        let mut expected = set(&DOMAINS);
        expected.remove(domain);
        expected.insert("unconfined_domain_type".to_owned());
        assert_eq!(
            policy.sources(domain, "unix_stream_socket", &["connectto"]),
            expected,
            "{domain}"
        );
    }
}

#[test]
fn the_module_stays_in_an_upgrade_and_goes_with_its_package() {
    let Some(machine) = installed().and_then(nspawn::Machine::with) else { return };
    let is_installed = || {
        let modules = machine.told(&["semodule", "--list-modules=full"]);
        let contexts = machine.read("/etc/selinux/default/contexts/files/file_contexts");
        let is_listed = modules.lines().any(|line| line.starts_with("200 sentinel "));
        assert_eq!(contexts.contains("sentinel_"), is_listed);
        is_listed
    };
    assert!(is_installed());
    let next = Packages::of_release(2);
    let files = ["sentinel.rpm", "sentinel-selinux.rpm"];
    for file in files {
        machine.copy_in(&next.path(file), &format!("/root/{file}"));
    }
    let rpm = "cd /root && rpm --dbpath=/var/lib/rpm --nodeps";
    machine.told(&["sh", "-c", &format!("{rpm} --upgrade {}", files.join(" "))]);
    assert!(is_installed());
    machine.told(&["sh", "-c", &format!("{rpm} --erase sentinel-selinux")]);
    assert!(!is_installed());
    assert_eq!(machine.told(&["find", "/usr/share/selinux", "-name", "sentinel*"]), "");
}

#[test]
fn others_modules_can_use_the_interfaces() {
    if !packages::ready() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["sentinel.te", "sentinel.fc", "sentinel.if"] {
        fs::copy(packaging("../selinux").join(name), directory.path().join(name)).unwrap();
    }
    let mut module = "policy_module(operators, 1.0.0)\n".to_owned();
    for interface in ["control", "read_log", "read_config", "admin"] {
        let domain = format!("operator_{interface}_t");
        module +=
            &format!("type {domain};\ndomain_type({domain})\nsentinel_{interface}({domain})\n");
    }
    fs::write(directory.path().join("operators.te"), module).unwrap();
    let made = Command::new("make")
        .args(["-f", "/usr/share/selinux/devel/Makefile", "NAME=default", "operators.pp"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}{}", text(&made.stdout), text(&made.stderr));
}

/// A kernel, and what the machine on it told.
struct Machine {
    kernel: &'static str,
    report: OnceLock<Option<Report>>,
}

static LINUX_6_1: Machine = Machine { kernel: "6.1", report: OnceLock::new() };
static LINUX_6_12: Machine = Machine { kernel: "6.12", report: OnceLock::new() };

/// One machine at a time: emulated, each is slow enough.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Machine {
    /// Boots it, the first time; `None` where that cannot be.
    fn report(&self) -> Option<&Report> {
        let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.report.get_or_init(|| Report::of(self.kernel)).as_ref()
    }
}

/// What packaging/test/guest printed.
struct Report(String);

impl Report {
    fn of(kernel: &str) -> Option<Self> {
        let layer = installed()?;
        let kernels = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vm/prepare");
        let made = Command::new(kernels).output().unwrap();
        if !made.status.success() {
            skip(text(&made.stderr).lines().last().unwrap_or("tests/vm/prepare fails"));
            return None;
        }
        let mut boot = Command::new(script("boot"));
        boot.arg(kernel).arg(layer.path()).arg("/payload/guest").env("VM_SECONDS", "900");
        let run = boot.output().unwrap();
        let told = text(&run.stdout);
        assert!(run.status.success(), "{told}\n{}", text(&run.stderr));
        Some(Self(told))
    }

    /// The rest of each line that begins with `word` and a colon.
    fn lines(&self, word: &str) -> Vec<&str> {
        let rest = |line| str::strip_prefix(line, word)?.strip_prefix(": ");
        self.0.lines().map(str::trim_end).filter_map(rest).collect()
    }

    fn assert_fact(&self, fact: &str) {
        assert!(self.lines("fact").contains(&fact), "not so: {fact}\n{}", self.0);
    }

    /// What the probe could do in a domain.
    fn done_in(&self, domain: &str) -> Vec<&str> {
        let tries = self.lines(domain);
        assert!(tries.len() > 20, "{}", self.0);
        tries.iter().filter_map(|line| line.strip_suffix(": done")).collect()
    }

    /// Whether the kernel recorded that `domain` was refused a permission on something else; `target` is how
    /// its label ends and its class.
    fn is_recorded(&self, domain: &str, permission: &str, target: &str) -> bool {
        self.lines("denied").iter().any(|line| {
            line.contains(&format!("{{ {permission} }}"))
                && line.contains(&format!("scontext=system_u:system_r:{domain}:"))
                && line.contains(&format!("{target} permissive=0"))
        })
    }
}

fn all_goes_its_way_and_is_refused_nothing_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    assert!(report.lines("fact")[0].starts_with(&format!("kernel {}.", machine.kernel)));
    report.assert_fact("SELinux Enforcing");
    for (part, memory) in [("loader", 512 << 20), ("analyzer", 1 << 30), ("enforcer", 128 << 20)] {
        report.assert_fact(&format!("{part} runs as system_u:system_r:sentinel_{part}_t:s0"));
        report.assert_fact(&format!("{part} has 8 tasks and {memory} bytes"));
        // The analyzer waits some seconds for the loader's last word, which may not do in a machine as slow.
        if part != "analyzer" || !report.0.contains("the loader did not end in time") {
            report.assert_fact(&format!("{part} ended with success"));
        }
    }
    let alerts = report.lines("alert");
    let alerts = alerts.iter().map(|alert| serde_json::from_str::<Value>(alert).unwrap());
    let mut actions: Vec<_> = alerts.map(|alert| alert["action"].clone()).collect();
    assert_eq!(actions.pop(), Some("terminated".into()), "{}", report.0);
    // What a machine as slow does not get done in time is tried again.
    let is_late =
        |action: &Value| action == "kill_refused:expired" || action == "kill_refused:no_loader";
    assert!(actions.iter().all(is_late), "{actions:?}");
    report.assert_fact("lockdown none [integrity] confidentiality");
    report.assert_fact("logs are rotated");
    report.assert_fact("a rule is read without a restart");
    report.assert_fact("and is in force");
    report.assert_fact("the switch says off");
    // The probe's tries are refused on purpose.
    let ours: Vec<_> = report
        .lines("denied")
        .into_iter()
        .filter(|line| line.contains(":sentinel_") && !line.contains("comm=\"probe-"))
        .collect();
    assert_eq!(ours, [""; 0]);
    report.assert_fact("analyzer has 8 tasks at most: Resource temporarily unavailable");
    report.assert_fact("the loader says that lockdown is in its way");
    report.assert_fact("a large program of the enforcer ended with 137");
}

fn what_is_forbidden_is_refused_and_recorded_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let can =
        |domain, expected: &[&str]| assert_eq!(report.done_in(domain), expected, "{}", report.0);
    can("loader", &["bpf", "read-config", "call-analyzer", "call-enforcer"]);
    can("analyzer", &["read-config", "call-loader", "call-enforcer"]);
    can(
        "keeper",
        &["read-config", "read-log", "append-log", "keep-baseline", "call-loader", "call-enforcer"],
    );
    can("enforcer", &["read-config", "call-identity", "call-analyzer", "signal", "stop", "kill"]);
    report.assert_fact("somebody lives");
    report.assert_fact("the enforcer can kill");
    // One of the base policy's, which has the network.
    can("stranger", &["inet", "exec"]);
    for target in ["sentinel_runtime_t", "sentinel_etc_t", "sentinel_log_t"] {
        assert!(
            report.is_recorded("ntpd_t", "search", &format!("{target}:s0 tclass=dir")),
            "{target}"
        );
    }
    for domain in DOMAINS {
        for (permission, target) in [
            ("read", "shadow_t:s0 tclass=file"),
            ("write", "sentinel_etc_t:s0 tclass=file"),
            ("write", "sentinel_admin_socket_t:s0 tclass=sock_file"),
            ("create", "tclass=tcp_socket"),
            ("create", "tclass=packet_socket"),
            ("dac_override", "tclass=capability"),
            ("ptrace", "tclass=process"),
        ] {
            assert!(
                report.is_recorded(domain, permission, target),
                "{domain} {permission} {target}"
            );
        }
        let may_kill = domain == "sentinel_enforcer_t";
        for signal in ENDING {
            assert_eq!(report.is_recorded(domain, signal, "tclass=process"), !may_kill, "{domain}");
        }
        // Which of the two is looked at first is another thing on each kernel.
        let is_loading_recorded = report.is_recorded(domain, "map_create", "tclass=bpf")
            || report.is_recorded(domain, "bpf", "tclass=capability2");
        assert_eq!(is_loading_recorded, domain != "sentinel_loader_t", "{domain}");
    }
}

#[test]
fn all_goes_its_way_and_is_refused_nothing_on_linux_6_1() {
    all_goes_its_way_and_is_refused_nothing_on(&LINUX_6_1);
}

#[test]
fn all_goes_its_way_and_is_refused_nothing_on_linux_6_12() {
    all_goes_its_way_and_is_refused_nothing_on(&LINUX_6_12);
}

#[test]
fn what_is_forbidden_is_refused_and_recorded_on_linux_6_1() {
    what_is_forbidden_is_refused_and_recorded_on(&LINUX_6_1);
}

#[test]
fn what_is_forbidden_is_refused_and_recorded_on_linux_6_12() {
    what_is_forbidden_is_refused_and_recorded_on(&LINUX_6_12);
}
