//! Ways to rights that a process should not have, taken for real by an ordinary user, and the ways that are
//! installed for it. (A kernel cannot be exploited here: the unit tests write down what that looks like.)

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sentinel_tests::{bed::Bed, programs::compiled, sentinel::Sentinel};
use serde_json::Value;

/// An ordinary user.
const USER: [&str; 4] = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups"];

/// What was told of the rule, after `act` has run.
fn told(act: impl FnOnce(&Bed)) -> Vec<Value> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    // The user has to get at what lies there.
    fs::set_permissions(bed.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    act(&bed);
    let all = sentinel.stop().alerts.into_iter();
    all.filter(|alert| alert["pattern_name"] == "privilege_escalation").collect()
}

/// Whether live tests run at all.
fn is_live() -> bool {
    nix::unistd::geteuid().is_root()
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn as_user(bed: &Bed) -> Command {
    let mut command = bed.command(USER[0]);
    command.args(&USER[1..]).arg("--");
    command
}

fn copy(bed: &Bed, of: impl AsRef<Path>, mode: u32) -> PathBuf {
    let path = bed.path("program");
    fs::copy(of, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn give(path: &Path, capabilities: &str) {
    assert!(Command::new("setcap").arg(capabilities).arg(path).status().unwrap().success());
}

/// Checks the one alert: critical, about an exec of `program`, by the user.
fn check(alerts: &[Value], program: &str) {
    if !is_live() {
        return;
    }
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    let alert = &alerts[0];
    assert_eq!((&alert["severity"], &alert["mitre"]), (&"critical".into(), &"T1548.001".into()));
    assert!(alert["message"].as_str().unwrap().contains(program), "{alert:#}");
    assert!(alert["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{alert:#}");
}

#[test]
fn a_setuid_copy_of_a_shell() {
    let alerts = told(|bed| {
        let shell = copy(bed, "/bin/bash", 0o4755);
        assert_eq!(output(as_user(bed).arg(shell).args(["-p", "-c", "id -u"])).trim(), "0");
    });
    check(&alerts, "program");
}

#[test]
fn a_setuid_program_that_runs_a_script() {
    let alerts = told(|bed| {
        let program = copy(bed, compiled("become_root"), 0o4755);
        let mut command = as_user(bed);
        command.arg(program).args(["setuid", "/bin/sh", "-c", "id -u"]);
        assert_eq!(output(&mut command).trim(), "0");
    });
    check(&alerts, "program");
}

fn by_capability(capabilities: &str, how: &str, inherited: &[&str]) {
    let alerts = told(|bed| {
        let program = copy(bed, compiled("become_root"), 0o755);
        give(&program, capabilities);
        let mut command = bed.command(USER[0]);
        command.args(&USER[1..]).args(inherited).arg("--").arg(program);
        command.args([how, "/bin/sh", "-c", "id -u"]);
        assert_eq!(output(&mut command).trim(), "0");
    });
    check(&alerts, "program");
}

#[test]
fn a_file_capability() {
    by_capability("cap_setuid=ep", "setuid", &[]);
}

#[test]
fn a_capability_that_is_made_effective_later() {
    by_capability("cap_setuid=p", "capset", &[]);
}

#[test]
fn an_inherited_capability_that_the_file_agrees_to() {
    by_capability("cap_setuid=ei", "setuid", &["--inh-caps=+setuid"]);
}

#[test]
fn an_ambient_capability_hides_no_setuid_copy() {
    let alerts = told(|bed| {
        let shell = copy(bed, "/bin/bash", 0o4755);
        let mut command = bed.command(USER[0]);
        command.args(&USER[1..]).args(["--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--"]);
        assert_eq!(output(command.arg(shell).args(["-p", "-c", "id -u"])).trim(), "0");
    });
    check(&alerts, "program");
}

#[test]
fn a_capability_that_leads_nowhere_of_a_program_from_anywhere() {
    let alerts = told(|bed| {
        let program = copy(bed, "/bin/true", 0o755);
        give(&program, "cap_net_bind_service=ep");
        assert!(as_user(bed).arg(program).status().unwrap().success());
    });
    check(&alerts, "program");
}

#[test]
fn the_classic() {
    let alerts = told(|bed| {
        // As a setuid program does that a user has started.
        let code = "$< = 65532; open F, '</etc/shadow' or die; <F>; use POSIX; POSIX::setuid(0) or die; \
                    exec '/bin/sh', '-c', 'true'";
        assert!(bed.command("perl").args(["-e", code]).status().unwrap().success());
    });
    check(&alerts, "credential file");
}

#[test]
fn the_classic_by_the_effective_uid_alone() {
    let alerts = told(|bed| {
        let code = "open F, '</etc/shadow' or die; <F>; $< = 65532; $> = 65532; $> = 0; \
                    exec '/bin/sh', '-p', '-c', 'true'";
        assert!(bed.command("perl").args(["-e", code]).status().unwrap().success());
    });
    check(&alerts, "credential file");
}

#[test]
fn the_classic_by_who_is_root_already() {
    let alerts = told(|bed| {
        let code = "open F, '</etc/shadow' or die; <F>; use POSIX; POSIX::setuid(0) or die; \
                    exec '/bin/sh', '-c', 'true'";
        assert!(bed.command("perl").args(["-e", code]).status().unwrap().success());
    });
    check(&alerts, "credential file");
}

#[test]
fn the_classic_in_a_child() {
    let alerts = told(|bed| {
        let code = "$< = 65532; open F, '</etc/shadow' or die; <F>; if (!fork) { use POSIX; \
                    POSIX::setuid(0); exec '/bin/sh', '-c', 'true' } wait";
        assert!(bed.command("perl").args(["-e", code]).status().unwrap().success());
    });
    check(&alerts, "credential file");
}

#[test]
fn what_is_installed_for_it_gives_no_alert() {
    let alerts = told(|bed| {
        let run = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().unwrap()
        };
        let mut su = bed.command("su");
        assert!(run(su.args(["-s", "/bin/sh", "-c", "id", "nobody"])).success());
        // They ask for a password or refuse, as root.
        for line in [
            &["su", "-c", "id"][..],
            &["passwd", "--status"],
            &["mount", "/nowhere"],
            &["umount", "/nowhere"],
            &["newgrp", "root"],
            &["chsh", "-s", "/bin/sh"],
            &["chage", "-l", "root"],
            &["/usr/lib/openssh/ssh-keysign"],
            &["unshare", "--user", "--map-root-user", "id"],
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "mount",
                "-t",
                "tmpfs",
                "none",
                "/mnt",
            ],
        ] {
            run(as_user(bed).args(line));
        }
        // Root that gives up rights and takes them again, as daemons do.
        let code = "use POSIX; $) = 65532; $> = 65532; $> = 0; exec '/bin/sh', '-c', 'true'";
        assert!(run(bed.command("perl").args(["-e", code])).success());
        let kept = ["setpriv", "--reuid=65532", "--inh-caps=+net_raw", "--ambient-caps=+net_raw"];
        assert!(run(bed.command(kept[0]).args(&kept[1..]).arg("id")).success());
    });
    assert_eq!(alerts, Vec::<Value>::new());
}
