//! Sentinel on kernels that this machine does not run: Debian's, in virtual machines.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use sentinel_tests::{bed::skip, sentinel::program};
use serde_json::Value;

/// One machine at a time: emulated, each is slow enough.
static MACHINE: Mutex<()> = Mutex::new(());

/// A script in `tests/vm`.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vm").join(name)
}

/// Whether virtual machines can run here; says why if they cannot.
fn ready() -> bool {
    let made = Command::new(script("prepare")).output().unwrap();
    let errors = String::from_utf8_lossy(&made.stderr);
    if !made.status.success() {
        skip(errors.lines().last().unwrap_or("tests/vm/prepare fails"));
    }
    made.status.success()
}

/// What the guest's script printed.
struct Report(String);

impl Report {
    /// Boots `kernel` and has the guest run `tests/vm/watch`.
    fn of(kernel: &str) -> Self {
        let payload = tempfile::tempdir().unwrap();
        for name in ["sentinel", "sentinel-loader", "sentinel-enforcer"] {
            fs::copy(program().with_file_name(name), payload.path().join(name)).unwrap();
        }
        fs::copy(script("watch"), payload.path().join("watch")).unwrap();
        let run =
            Command::new(script("boot")).arg(kernel).arg(payload.path()).arg("./watch").output();
        let run = run.unwrap();
        let text = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(run.status.success(), "{text}\n{}", String::from_utf8_lossy(&run.stderr));
        Self(text)
    }

    /// The rest of each line that begins with `word` and a colon.
    fn lines(&self, word: &str) -> Vec<&str> {
        let rest = |line| str::strip_prefix(line, word)?.strip_prefix(": ");
        self.0.lines().filter_map(rest).collect()
    }

    fn alerts(&self) -> Vec<Value> {
        self.lines("alert").iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn a_reverse_shell_is_found_on(kernel: &str) {
    let _one_at_a_time = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    if !ready() {
        return;
    }
    let report = Report::of(kernel);
    let alerts = report.alerts();
    // On a slow machine a shell may first be noted as one that may be honest (severity high).
    let critical: Vec<&Value> =
        alerts.iter().filter(|alert| alert["severity"] == "critical").collect();
    assert_eq!(critical.len(), 1, "{}", report.0);
    let alert = critical[0];
    let shell: Vec<u32> = report.lines("shell").iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!((&alert["pattern_name"], shell), (&"reverse_shell".into(), vec![pid_of(alert)]));
    assert_eq!(alert["remote_ip"], "127.0.0.1");
    let output = report.lines("output");
    assert!(output.iter().any(|line| line.contains("dropped 0")), "{}", report.0);
}

fn pid_of(alert: &Value) -> u32 {
    u32::try_from(alert["pid"].as_u64().unwrap()).unwrap()
}

#[test]
fn a_reverse_shell_is_found_on_linux_6_1() {
    a_reverse_shell_is_found_on("6.1");
}

#[test]
fn a_reverse_shell_is_found_on_linux_6_12() {
    a_reverse_shell_is_found_on("6.12");
}
