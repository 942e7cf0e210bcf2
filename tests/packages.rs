//! The packages, rpm and deb: what is in them, upgrades under running services, removal.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use sentinel_tests::{
    nspawn::{Machine, packaging, text},
    packages::{self, Package, Packages},
    sentinel::{PATIENCE, within},
};
use serde_json::Value;

const SERVICES: [&str; 3] = ["sentinel-loader", "sentinel-analyzer", "sentinel-enforcer"];
const LOG: &str = "/var/log/sentinel/alerts.json";
const CONFIGURATION: &str = "/etc/sentinel/enforcer.toml";

/// What a command on this host says that must succeed.
fn told(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

#[test]
fn rpmlint_finds_no_error() {
    if !packages::ready() {
        return;
    }
    let built = Packages::of_release(1);
    let said = told(
        Command::new("rpmlint")
            .arg("--config")
            .arg(packaging("rpm/rpmlint.toml"))
            .args([built.path("sentinel.rpm"), built.path("sentinel-selinux.rpm")])
            .arg(packaging("rpm/sentinel.spec")),
    );
    assert!(said.contains("2 packages and 1 specfiles checked; 0 errors"), "{said}");
}

#[test]
fn the_sources_hold_all_that_cargo_asks_for() {
    if !packages::ready() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    told(Command::new(packaging("rpm/sources")).arg(directory.path()));
    // As %prep does; then without a network and what cargo has stored.
    let resolve = "tar -xf sentinel-*[0-9].tar.gz
        cd sentinel-*/ && tar -xf ../*-vendor.tar.gz
        cat vendor-config.toml >>.cargo/config.toml
        CARGO_HOME=../home unshare --net cargo metadata --frozen --format-version=1";
    let resolved = told(Command::new("sh").args(["-ec", resolve]).current_dir(directory.path()));
    let resolved: Value = serde_json::from_str(&resolved).unwrap();
    let crates = resolved["packages"].as_array().unwrap();
    let is_vendored = |one: &Value| one["manifest_path"].as_str().unwrap().contains("/vendor/");
    let vendored = crates.iter().filter(|one| one["source"].is_string());
    assert!(vendored.clone().count() > 50 && vendored.clone().all(is_vendored), "{crates:#?}");
}

#[test]
fn both_packages_hold_the_same_files() {
    if !packages::ready() {
        return;
    }
    let built = Packages::of_release(1);
    let rpm = told(Command::new("rpm").args(["--query", "--list"]).arg(built.path("sentinel.rpm")));
    let deb = told(Command::new("dpkg-deb").arg("--contents").arg(built.path("sentinel.deb")));
    let deb = deb.lines().filter(|line| !line.starts_with('d')).map(|line| {
        let path = line.split_whitespace().last().unwrap();
        path.strip_prefix('.').unwrap().replace("vendor-completions/", "site-functions/")
    });
    // Each has licences and log directory where its distribution wants them, and compresses differently.
    let is_compared = |path: &str| {
        ["/licenses", "/copyright", "/var/log/"].iter().all(|part| !path.contains(part))
    };
    let plain = |path: String| path.trim_end_matches(".gz").to_owned();
    let deb: BTreeSet<_> = deb.map(plain).filter(|path| is_compared(path)).collect();
    let rpm: BTreeSet<_> = rpm.lines().map(|line| plain(line.to_owned())).collect();
    let directories: BTreeSet<_> = rpm
        .iter()
        .filter(|path| rpm.iter().any(|other| other.starts_with(&format!("{path}/"))))
        .cloned()
        .chain(["/etc/sentinel/rules.d".to_owned()])
        .collect();
    let rpm: BTreeSet<_> =
        rpm.difference(&directories).filter(|path| is_compared(path)).cloned().collect();
    assert_eq!(rpm, deb);
    assert!(rpm.contains("/usr/share/man/man1/sentinel-run.1"), "{rpm:?}");
    assert!(rpm.contains("/usr/share/bash-completion/completions/sentinel"), "{rpm:?}");
}

#[test]
fn manual_pages_and_completions_are_sound() {
    if !packages::ready() {
        return;
    }
    let Some(machine) = Machine::installed_from(Package::Rpm) else { return };
    let pages = machine.told(&["find", "/usr/share/man", "-name", "sentinel*"]);
    assert!(pages.lines().count() > 10, "{pages}");
    let directory = tempfile::tempdir().unwrap();
    for page in pages.lines() {
        let copy = directory.path().join("page");
        std::fs::write(&copy, machine.read(page)).unwrap();
        let shown = Command::new("man")
            .args(["--warnings", "--local-file"])
            .arg(&copy)
            .env("MANWIDTH", "100")
            .output()
            .unwrap();
        assert!(
            shown.status.success() && shown.stderr.is_empty(),
            "{page}: {}",
            text(&shown.stderr)
        );
    }
    let complete = "source /usr/share/bash-completion/completions/sentinel
        COMP_WORDS=(sentinel en) COMP_CWORD=1
        _sentinel sentinel en sentinel && echo \"${COMPREPLY[@]}\"";
    assert_eq!(machine.told(&["bash", "-c", complete]), "enforce\n");
}

/// All three run and see each other.
fn are_well(machine: &Machine) {
    let mut status = Value::Null;
    let well = within(PATIENCE, || {
        let asked = machine.run(&["sentinel", "status", "--json"]);
        status = serde_json::from_slice(&asked.stdout).unwrap_or_default();
        let parts = status["parts"].as_array().cloned().unwrap_or_default();
        let running = parts.iter().filter(|part| part["is_running"] == true).count();
        running == SERVICES.len() && status["is_watching"] == true
    });
    assert!(well, "{status:#}\n{}", machine.told(&["journalctl", "--no-pager"]));
}

fn an_upgrade_keeps_everything(package: Package) {
    let Some(machine) = Machine::installed_from(package) else { return };
    let next = Packages::of_release(2);
    let ours = machine.read(CONFIGURATION).replace("\nenforce = false", "\nenforce = true");
    machine.write(CONFIGURATION, &ours);
    machine.told(&["systemctl", "enable", "--now", "sentinel.target"]);
    are_well(&machine);
    machine.told(&["sentinel", "enforce", "off"]);
    let keep =
        "install -D -o sentinel -m 640 /dev/stdin /var/lib/sentinel/baselines/baseline <<<kept
        echo '{}' >>/var/log/sentinel/alerts.json";
    machine.told(&["bash", "-c", keep]);
    let pids = || SERVICES.map(|service| machine.property(service, "MainPID"));
    let before = pids();

    machine.install(&next, package);
    let are_new = || pids().iter().all(|pid| pid != "0" && !before.contains(pid));
    assert!(within(PATIENCE, are_new), "{before:?} {:?}", pids());
    are_well(&machine);
    assert_eq!(machine.read(CONFIGURATION), ours, "the operator's");
    assert!(
        machine.read("/etc/sentinel/loader.toml").contains("# Of release 2."),
        "untouched ones are new"
    );
    let position = machine.told(&["sentinel", "enforce", "status"]);
    assert!(position.contains("switched off"), "{position}");
    assert_eq!(machine.read("/var/lib/sentinel/baselines/baseline"), "kept\n");
    assert!(machine.read(LOG).lines().any(|line| line == "{}"));
    assert_eq!(machine.property("sentinel.target", "UnitFileState"), "enabled");

    // One that is stopped and not enabled stays so.
    machine.told(&["systemctl", "disable", "--now", "sentinel.target"]);
    let all = ["sentinel-*.service", "sentinel-*.socket"];
    machine.told(&[&["systemctl", "stop"], &all[..]].concat());
    machine.install(&Packages::of_release(3), package);
    assert_eq!(pids(), ["0", "0", "0"]);
    assert_eq!(machine.property("sentinel.target", "UnitFileState"), "disabled");
}

#[test]
fn an_upgrade_of_the_rpm_keeps_everything() {
    an_upgrade_keeps_everything(Package::Rpm);
}

#[test]
fn an_upgrade_of_the_deb_keeps_everything() {
    an_upgrade_keeps_everything(Package::Deb);
}

/// What stays wherever Sentinel was: its directories, a file of the operator's, the log.
const KEPT: [&str; 7] = [
    "/etc/sentinel",
    "/etc/sentinel/rules.d",
    RULE,
    "/var/log/sentinel",
    LOG,
    "/var/log/sentinel-enforcer",
    "/var/log/sentinel-enforcer/audit.log",
];
const RULE: &str = "/etc/sentinel/rules.d/own.off";

/// Removes it while it runs; `left` is what stays beside [`KEPT`], first the changed configuration.
fn a_removal_leaves_configuration_and_logs(package: Package, left: &[&str]) -> Option<Machine> {
    let machine = Machine::installed_from(package)?;
    let ours = machine.read(CONFIGURATION) + "# ours\n";
    machine.write(CONFIGURATION, &ours);
    machine.write(RULE, "# ours\n");
    machine.told(&["systemctl", "enable", "--now", "sentinel.target"]);
    are_well(&machine);
    machine.told(&["sentinel", "enforce", "off"]);

    machine.remove(package);
    let kept = KEPT.iter().chain(left).map(|path| (*path).to_owned()).collect();
    assert_eq!(traces(&machine), kept);
    assert!(machine.read(left[0]).ends_with("# ours\n"));
    let running = text(&machine.run(&["pgrep", "--list-name", "sentinel"]).stdout);
    assert_eq!(running, "");
    let units = machine.told(&["systemctl", "list-units", "--all", "--no-legend", "sentinel*"]);
    assert_eq!(units, "");
    Some(machine)
}

/// Files and directories that are there because of Sentinel.
fn traces(machine: &Machine) -> BTreeSet<String> {
    let find = "find / -xdev -path '*/sentinel*' -not -path '/run/systemd/*'; \
                find /run -path '*/sentinel*' -not -path '/run/systemd/*'";
    machine.told(&["sh", "-c", find]).lines().map(str::to_owned).collect()
}

#[test]
fn a_removal_of_the_rpm_leaves_configuration_and_logs() {
    let left = ["/etc/sentinel/enforcer.toml.rpmsave"];
    a_removal_leaves_configuration_and_logs(Package::Rpm, &left);
}

#[test]
fn a_removal_of_the_deb_leaves_configuration_and_logs_and_a_purge_nothing() {
    let left = [
        CONFIGURATION,
        "/etc/logrotate.d/sentinel",
        "/etc/sentinel/analyzer.toml",
        "/etc/sentinel/loader.toml",
        "/var/lib/dpkg/info/sentinel.list",
        "/var/lib/dpkg/info/sentinel.postrm",
    ];
    let Some(machine) = a_removal_leaves_configuration_and_logs(Package::Deb, &left) else {
        return;
    };
    machine.told(&["dpkg", "--purge", "sentinel"]);
    assert_eq!(traces(&machine), BTreeSet::new());
}
