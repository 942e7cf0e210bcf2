//! Who is never killed: programs and units that the operator lists, whatever packages do to their files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sentinel_ipc::frame::{Refusal, Target, Verdict};
use sentinel_tests::{
    bed::Bed,
    rig::{Rig, ends_by_signal, lives_on},
    sentinel::{PATIENCE, within},
};
use tempfile::TempDir;

const PROTECTED: Verdict = Verdict::Refused(Refusal::Protected);

/// A directory to which nobody but root may write, as those of programs are.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/opt").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    /// A program that sleeps, made by another process: one that is forked from this meanwhile would keep it open
    /// for writing.
    fn install(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let status = Command::new("install").args(["-m755", "/usr/bin/sleep"]).arg(&path).status();
        assert!(status.unwrap().success());
        path
    }
}

fn start(bed: &Bed, program: &Path) -> Child {
    bed.command(program).arg("300").spawn().unwrap()
}

fn end(children: impl IntoIterator<Item = Child>) {
    for mut child in children {
        assert!(lives_on(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_listed_program_is_protected_also_while_a_package_replaces_it() {
    let Some(bed) = Bed::new() else { return };
    let programs = Programs::new();
    let daemon = programs.install("daemon");
    let list = format!("--never-kill-executables=/usr/sbin/none {}", daemon.display());
    let mut rig = Rig::start_as(&bed, &[&list]);
    let mut running = vec![start(&bed, &daemon)];
    for upgrade in 0..3 {
        for child in &running {
            let target = rig.target(child.id());
            assert_eq!(rig.kill(target), PROTECTED, "upgrade {upgrade}: {:#?}", rig.audit());
        }
        // As dpkg and rpm do: a new file takes the place of the old one. And as `make install` does.
        if upgrade == 0 {
            fs::rename(programs.install("daemon.dpkg-new"), &daemon).unwrap();
        } else {
            fs::remove_file(&daemon).unwrap();
            programs.install("daemon");
        }
        running.push(start(&bed, &daemon));
    }
    let shown = fs::read_link(format!("/proc/{}/exe", running[0].id())).unwrap();
    assert!(shown.to_str().unwrap().ends_with(" (deleted)"), "the old one runs on: {shown:?}");
    let found = rig.audit().join("\n");
    let path = format!("verdict=kill_refused:protected pid={}", running[0].id());
    assert!(
        found.contains(&path) && found.contains(&format!("exe=\"{}\"", daemon.display())),
        "{found}"
    );
    end(running);
}

#[test]
fn who_only_looks_like_a_listed_program_is_not_protected() {
    let Some(bed) = Bed::new() else { return };
    let programs = Programs::new();
    let daemon = programs.install("daemon");
    let mut rig = Rig::start_as(&bed, &[&format!("--never-kill-executables={}", daemon.display())]);
    let copy = programs.install("copy");
    // Anybody may start it, and trace it then and have it do what he likes.
    let as_other = ["--reuid=1000", "--regid=1000", "--clear-groups"];
    let mut others = bed.command("setpriv").args(as_other).arg(&daemon).arg("300").spawn().unwrap();
    // A root of a user namespace may mount what he likes at that path; root of the host may too.
    let mount = r#"mount --bind /usr/bin/sleep "$0" && exec "$0" 300"#;
    let mut namespaced = bed
        .command("setpriv")
        .args(as_other)
        .args(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(&daemon)
        .spawn()
        .unwrap();
    let named = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    for (child, name) in [(&others, "daemon\n"), (&namespaced, "daemon\n")] {
        assert!(within(PATIENCE, || named(child.id()) == name), "{}", named(child.id()));
    }
    let mut copied = start(&bed, &copy);
    for child in [&mut copied, &mut others, &mut namespaced] {
        let target = rig.target(child.id());
        assert_eq!(rig.kill(target), Verdict::Terminated, "{:#?}", rig.audit());
        assert_eq!(ends_by_signal(child), Some(9));
    }
    let daemon = start(&bed, &daemon);
    let target = rig.target(daemon.id());
    assert_eq!(rig.kill(target), PROTECTED);
    end([daemon]);
}

#[test]
fn the_system_log_is_protected_without_being_asked() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let configuration = bed.path("rsyslog.conf");
    fs::write(&configuration, format!("*.* {}\n", bed.path("log").display())).unwrap();
    let mut command = bed.command("rsyslogd");
    command.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(bed.path("pid"));
    let daemon = command.stderr(Stdio::null()).spawn().unwrap();
    let target = rig.target(daemon.id());
    assert_eq!(rig.kill(target), PROTECTED, "{:#?}", rig.audit());
    end([daemon]);
}

#[test]
fn a_listener_of_sshd_is_protected_without_being_asked() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start(&bed);
    let key = bed.path("key");
    let mut keygen = Command::new("ssh-keygen");
    let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    fs::create_dir_all("/run/sshd").unwrap();
    let pid_file = bed.path("pid");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = bed.command("/usr/sbin/sshd");
    command.args(["-D", "-f", "/dev/null", "-h"]).arg(&key);
    command.arg("-o").arg(format!("ListenAddress={free}"));
    command.arg("-o").arg(format!("PidFile={}", pid_file.display()));
    let daemon = command.stderr(Stdio::null()).spawn().unwrap();
    assert!(within(PATIENCE, || pid_file.exists()), "it listens");
    let target = rig.target(daemon.id());
    assert_eq!(rig.kill(target), PROTECTED, "{:#?}", rig.audit());
    assert_eq!(rig.kill_tree(target), PROTECTED, "{:#?}", rig.audit());
    assert!(lives_on(daemon.id()));
    end([daemon]);
}

/// A cgroup below a bed's, with everybody in it.
struct Below(PathBuf);

impl Below {
    fn make(bed: &Bed, name: &str) -> Self {
        let path = bed.cgroup().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn move_in(&self, child: &Child) {
        fs::write(self.0.join("cgroup.procs"), child.id().to_string()).unwrap();
    }

    fn start(&self, bed: &Bed) -> Child {
        let child = start(bed, Path::new("/usr/bin/sleep"));
        // The bed's shell has moved it for the last time.
        let name = || fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        assert!(within(PATIENCE, || name() == "sleep\n"));
        self.move_in(&child);
        child
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        within(PATIENCE, || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn a_listed_unit_is_protected_whenever_it_is_made() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--never-kill-units=other.service db.service"]);
    for _restart in 0..2 {
        let unit = Below::make(&bed, "db.service");
        let mut inside = unit.start(&bed);
        let target = rig.target(inside.id());
        assert_eq!(rig.kill(target), PROTECTED, "{:#?}", rig.audit());
        assert!(lives_on(inside.id()));
        fs::write(bed.cgroup().join("cgroup.procs"), inside.id().to_string()).unwrap();
        assert_eq!(rig.kill(target), Verdict::Terminated, "it has left: {:#?}", rig.audit());
        assert_eq!(ends_by_signal(&mut inside), Some(9));
    }
    // The bed's cgroup is no slice: for a process with numbers of its own it is a container.
    let unit = Below::make(&bed, "db.service");
    let mut container = bed.command("unshare");
    container.args(["--pid", "--fork", "sleep", "300"]);
    let mut outer = container.stderr(Stdio::null()).spawn().unwrap();
    let inner = || {
        let all = bed.members().into_iter().map(i32::unsigned_abs);
        all.into_iter().find(|pid| *pid != outer.id())
    };
    assert!(within(PATIENCE, || inner().is_some_and(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    })));
    let inner = inner().unwrap();
    fs::write(unit.0.join("cgroup.procs"), inner.to_string()).unwrap();
    let target = rig.target(inner);
    assert_eq!(rig.kill(target), Verdict::Terminated, "a container's: {:#?}", rig.audit());
    outer.wait().unwrap();
    drop(unit);
    let web = Below::make(&bed, "web.service");
    let own = Below::make(&bed, "web.service/db.service");
    let mut inside = own.start(&bed);
    let target = rig.target(inside.id());
    assert_eq!(rig.kill(target), Verdict::Terminated, "a name that a unit gave itself");
    assert_eq!(ends_by_signal(&mut inside), Some(9));
    drop(own);
    drop(web);
}

#[test]
fn who_nests_cgroups_hides_his_unit_from_nobody() {
    let Some(bed) = Bed::new() else { return };
    let mut rig = Rig::start_as(&bed, &["--never-kill-units=db.service"]);
    // Longer than a path may be told, and deeper.
    let long = [&*"x".repeat(250), &*"y".repeat(250), &*"z".repeat(250)].map(str::to_owned);
    let deep = vec!["d".to_owned(); 70];
    let deeper = vec!["d".to_owned(); 300];
    for names in [&long[..], &deep, &deeper] {
        for (unit, verdict) in [("db.service", PROTECTED), ("web.service", Verdict::Terminated)] {
            let mut nested = vec![Below::make(&bed, unit)];
            let mut path = unit.to_owned();
            for name in names {
                path = format!("{path}/{name}");
                nested.push(Below::make(&bed, &path));
            }
            let mut inside = nested[nested.len() - 1].start(&bed);
            let target = rig.target(inside.id());
            assert_eq!(rig.kill(target), verdict, "{unit}: {:#?}", rig.audit());
            let _gone = inside.kill();
            inside.wait().unwrap();
            while nested.pop().is_some() {}
        }
    }
}

#[test]
fn nesting_cgroups_is_no_way_into_a_scope() {
    let (Some(bed), Some(beside)) = (Bed::new(), Bed::new()) else { return };
    let mut nested = vec![Below::make(&beside, "d")];
    let mut path = "d".to_owned();
    for _ in 0..300 {
        path.push_str("/d");
        nested.push(Below::make(&beside, &path));
    }
    let mut rig = Rig::start(&bed);
    let outside = nested[nested.len() - 1].start(&beside);
    // The loader knows nobody there, and so not either that this is not when he started.
    let target = Target { tgid: outside.id(), start_time: 1 };
    let verdict = rig.kill(target);
    assert_eq!(verdict, Verdict::Refused(Refusal::UnknownProcess), "{:#?}", rig.audit());
    end([outside]);
    while nested.pop().is_some() {}
}

#[test]
fn nobody_is_killed_outside_of_the_enforcers_own_scope() {
    let Some(bed) = Bed::new() else { return };
    let below = Below::make(&bed, "inside");
    let beside = Below::make(&bed, "insider");
    let mut inside = below.start(&bed);
    let mine = fs::read_to_string(format!("/proc/{}/cgroup", inside.id())).unwrap();
    let path = mine.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let mut rig = Rig::start_as(&bed, &[&format!("--scope-cgroups=/x.slice {path}")]);
    let outside = beside.start(&bed);
    let target = rig.target(outside.id());
    assert_eq!(rig.kill(target), Verdict::Refused(Refusal::OutsideScope), "{:#?}", rig.audit());
    inside.kill().unwrap();
    inside.wait().unwrap();
    let mut inside = below.start(&bed);
    let target = rig.target(inside.id());
    assert_eq!(rig.kill(target), Verdict::Terminated, "{:#?}", rig.audit());
    assert_eq!(ends_by_signal(&mut inside), Some(9));
    end([outside]);
}
