//! What cannot run says so in a sentence, with the right exit status, and leaves nothing behind.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sentinel_tests::{
    bed::{Bed, skip},
    sentinel::{program, within},
};

fn check(output: &Output, status: i32, sentence: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert!(errors.contains(sentence), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).arg("run").args(arguments).output().unwrap()
}

#[test]
fn bad_options_are_named() {
    check(&run(&["--duration=soon"]), 2, "--duration");
    check(&run(&["--duration=0"]), 2, "--duration");
    check(&run(&["--attach-pid=me"]), 2, "--attach-pid");
    check(&run(&["--no-such-flag"]), 2, "--no-such-flag");
    check(&run(&["--attach-pid=1", "--scope-cgroup=/"]), 2, "cannot be used with");
    check(&Command::new(program()).output().unwrap(), 2, "Usage");
}

#[test]
fn who_is_not_root_is_told() {
    if !nix::unistd::geteuid().is_root() {
        check(&run(&["--duration=1"]), 1, "root");
        return;
    }
    // Another user may not get through to the build directory: give it a copy.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let directory = tempfile::tempdir().unwrap();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let copy = directory.path().join(format!("sentinel-{number}"));
    std::fs::copy(program(), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let output = Command::new(copy).args(["run", "--duration=1"]).uid(4242).gid(4242).output();
    check(&output.unwrap(), 1, "must be started as root");
}

#[test]
fn a_dead_process_cannot_be_attached_to() {
    let Some(_bed) = Bed::new() else { return };
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let argument = format!("--attach-pid={}", child.id());
    check(&run(&[&argument, "--duration=1"]), 1, "no process with this id is running");
}

#[test]
fn a_scope_that_is_no_cgroup_is_refused() {
    let Some(bed) = Bed::new() else { return };
    check(&run(&["--scope-cgroup=/tmp", "--duration=1"]), 1, "not a cgroup v2 directory");
    let missing = format!("--scope-cgroup={}/missing", bed.cgroup().display());
    check(&run(&[&missing, "--duration=1"]), 1, "No such file or directory");
}

#[test]
fn a_log_that_cannot_be_written_is_refused() {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    for (log, sentence) in
        [("/proc/nothing/x", "/proc/nothing"), ("/dev/null", "regular file"), ("/", "/")]
    {
        let log = format!("--grimoire-log={log}");
        check(&run(&[&scope, &log, "--duration=1"]), 1, sentence);
    }
    let link = bed.path("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    let log = format!("--grimoire-log={}", link.display());
    check(&run(&[&scope, &log, "--duration=1"]), 1, "symbolic link");
}

#[test]
fn a_kernel_without_btf_is_told() {
    let Some(bed) = Bed::new() else { return };
    let script = r#"mount -t tmpfs none /sys/kernel/btf && exec "$0" run "$@""#;
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(program())
        .args([&scope, "--duration=1"])
        .output()
        .unwrap();
    check(&output, 1, "CONFIG_DEBUG_INFO_BTF");
}

#[test]
fn a_host_without_cgroup_v2_is_told() {
    let Some(_bed) = Bed::new() else { return };
    // It has to end before it watches anything: there is no scope to give it.
    let script = r#"umount --all --types cgroup2 --lazy && exec "$0" run "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(program())
        .arg("--duration=1")
        .output()
        .unwrap();
    check(&output, 1, "systemd.unified_cgroup_hierarchy=1");
}

#[test]
fn a_root_without_the_right_to_bpf_is_told() {
    let Some(bed) = Bed::new() else { return };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return skip("setpriv (util-linux) is missing");
    }
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-bpf,-sys_admin,-perfmon"])
        .arg(program())
        .args(["run", &scope, "--duration=1"])
        .output()
        .unwrap();
    check(&output, 1, "CAP_BPF");
}

#[test]
fn a_thread_or_a_process_that_ended_cannot_be_attached_to() {
    let Some(_bed) = Bed::new() else { return };
    let mut child = Command::new("true").spawn().unwrap();
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
        stat.unwrap_or_default().contains(") Z ")
    };
    assert!(within(Duration::from_secs(5), ended));
    let zombie = format!("--attach-pid={}", child.id());
    check(&run(&[&zombie, "--duration=1"]), 1, "no process with this id is running");
    child.wait().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        sender.send(nix::unistd::gettid()).unwrap();
        std::thread::park();
    });
    let thread_id = format!("--attach-pid={}", receiver.recv().unwrap());
    check(&run(&[&thread_id, "--duration=1"]), 1, "no process with this id is running");
    thread.thread().unpark();
    thread.join().unwrap();
}

#[test]
fn a_proc_that_numbers_processes_otherwise_is_told() {
    let Some(bed) = Bed::new() else { return };
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let output = Command::new("unshare")
        .args(["--pid", "--fork"])
        .arg(program())
        .args(["run", &scope, "--duration=1"])
        .output()
        .unwrap();
    check(&output, 1, "/proc is that of another pid namespace; mount the one of this");
}

#[test]
fn a_loader_without_an_analyzer_is_told() {
    let loader = program().with_file_name("sentinel-loader");
    let output = Command::new(&loader).stdin(std::process::Stdio::null()).output().unwrap();
    check(&output, 1, "start it by `sentinel run` or by its systemd units");
    let enforcer = program().with_file_name("sentinel-enforcer");
    let output = Command::new(&enforcer).stdin(std::process::Stdio::null()).output().unwrap();
    check(&output, 1, "start it by `sentinel run` or by its systemd units");
    check(&Command::new(&enforcer).arg("--frob").output().unwrap(), 2, "--frob");
    check(&Command::new(&loader).arg("--frob").output().unwrap(), 2, "--frob");
}
