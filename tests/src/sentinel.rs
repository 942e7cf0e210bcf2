//! A running `sentinel run`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{bed::Bed, schema};

/// Longest that anything here may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same until programs are loaded: the kernel verifies each of them, one process after the other.
const PATIENCE_WITH_LOADING: Duration = Duration::from_secs(150);

/// The built `sentinel`.
///
/// # Panics
/// When it is not built.
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    let target = own.parent().and_then(Path::parent).expect("target directory");
    let program = target.join("sentinel");
    assert!(program.is_file(), "{} is missing: `cargo build` first", program.display());
    program
}

/// A sentinel that is ready.
pub struct Sentinel {
    child: Child,
    pid: u32,
    lines: Receiver<String>,
    errors: Receiver<String>,
    /// What it printed so far.
    pub output: String,
    log: PathBuf,
    loader: u32,
    enforcer: u32,
}

/// What a sentinel left behind.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// All it printed.
    pub output: String,
    /// All it wrote to standard error.
    pub errors: String,
    /// Alerts in its log.
    pub alerts: Vec<Value>,
    /// How long it took from the signal to its end.
    pub took: Duration,
}

impl Sentinel {
    /// Starts one that watches the bed's cgroup.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(bed: &Bed, arguments: &[&str]) -> Self {
        let scope = format!("--scope-cgroup={}", bed.cgroup().display());
        let arguments = [&[scope.as_str()], arguments].concat();
        Self::start_as(bed, Command::new(program()), &arguments)
    }

    /// Starts `command run --grimoire-log=… arguments` and waits until it is ready. The command may be
    /// one that starts it as a child.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start_as(bed: &Bed, mut command: Command, arguments: &[&str]) -> Self {
        let log = bed.path("alerts.json");
        let mut child = command
            .arg("run")
            .arg(format!("--grimoire-log={}", log.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sentinel starts");
        let lines = read_lines(child.stdout.take().expect("piped"));
        let errors = read_lines(child.stderr.take().expect("piped"));
        let output = String::new();
        let pid = child.id();
        let mut sentinel = Self { child, pid, lines, errors, output, log, loader: 0, enforcer: 0 };
        sentinel.wait_so_long_for("hooks attached", PATIENCE_WITH_LOADING);
        let running = |name| descendant_running(pid, name).unwrap_or_else(|| panic!("{name} runs"));
        sentinel.pid = running("sentinel");
        sentinel.loader = running("sentinel-loader");
        sentinel.enforcer = running("sentinel-enforcer");
        sentinel
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its loader's process id.
    pub fn loader(&self) -> u32 {
        self.loader
    }

    /// Its enforcer's process id.
    pub fn enforcer(&self) -> u32 {
        self.enforcer
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_so_long_for(text, PATIENCE);
    }

    fn wait_so_long_for(&mut self, text: &str, patience: Duration) {
        let limit = Instant::now() + patience;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                let errors = collect(&self.errors);
                panic!("no line with {text:?}; output:\n{}\nerrors:\n{errors}", self.output);
            };
            self.output.push_str(&line);
            self.output.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    /// Waits until it has told `text`, if it has not yet.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_told(&mut self, text: &str) {
        if !self.output.contains(text) {
            self.wait_for(text);
        }
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) -> Outcome {
        self.signal(Signal::SIGINT)
    }

    /// Sends `signal` and waits for its end.
    pub fn signal(self, signal: Signal) -> Outcome {
        send(self.pid(), signal);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(mut self) -> Outcome {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "sentinel does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = begun.elapsed();
        let output = std::mem::take(&mut self.output) + &collect(&self.lines);
        let errors = collect(&self.errors);
        Outcome { status, output, errors, alerts: alerts(&self.log), took }
    }
}

impl Outcome {
    /// A number of the summary's line about events, which stands behind `what`.
    ///
    /// # Panics
    /// When there is none.
    pub fn total(&self, what: &str) -> u64 {
        let line = self.output.lines().find(|line| line.contains("after filter"));
        let rest = line.and_then(|line| line.split(what).nth(1)).expect("a summary");
        let number = rest.split_whitespace().next().expect("a number");
        number.trim_end_matches(')').parse().expect("a number")
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // A test that failed must not leave one running; one that ended is waited for already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn read_lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

/// The lines until the stream ends, or until nothing comes for a while: a process that outlives its
/// parent may hold it open.
fn collect(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(2)) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Sends `signal` to a process that this test started; a stop is waited for.
///
/// # Panics
/// When there is none.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("pid")), signal).expect("a running process");
    let stopped = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") T ")
    };
    assert!(signal != Signal::SIGSTOP || within(PATIENCE, stopped), "{pid} does not stop");
}

/// The alerts in a log of whole lines.
///
/// # Panics
/// When a line is cut, or none as the schema says.
pub fn alerts(log: &Path) -> Vec<Value> {
    let is_alert = |line: &Value| line["pattern_name"] != "sensor_counters";
    lines(log).into_iter().filter(is_alert).collect()
}

/// All lines of a log, with those that only count.
///
/// # Panics
/// When a line is cut, or none as the schema says.
pub fn lines(log: &Path) -> Vec<Value> {
    let mut text = String::new();
    // A line that is being written may be seen in part, for a moment.
    let is_whole = || {
        text = fs::read_to_string(log).unwrap_or_default();
        text.is_empty() || text.ends_with('\n')
    };
    assert!(within(PATIENCE, is_whole), "a cut line: {text:?}");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.inspect(schema::check_alert).collect()
}

/// Whether an alert is about the process `pid` or one that descends from it.
///
/// # Panics
/// When it has no list of ancestors.
pub fn is_about(alert: &Value, pid: u32) -> bool {
    let ancestors = alert["ancestors"].as_array().expect("a list");
    alert["pid"] == pid || ancestors.iter().any(|above| above["pid"] == pid)
}

/// `pid`, or the one below it, that runs the program `name`.
pub fn descendant_running(pid: u32, name: &str) -> Option<u32> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    if program.file_name().is_some_and(|found| found == name) {
        return Some(pid);
    }
    children(pid).into_iter().find_map(|child| descendant_running(child, name))
}

/// The children of a process's first thread.
///
/// # Panics
/// Never on Linux.
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().expect("a pid")).collect()
}

/// Whether a process runs; a zombie does not.
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether `condition` comes true in time.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    condition()
}

/// Start of a process in clock ticks since boot (proc(5), stat, field 22).
///
/// # Panics
/// How nice a process is, by its `/proc/PID/stat` (proc(5), field 19).
///
/// # Panics
/// When that is no such line.
pub fn nice(stat: &str) -> i32 {
    // The second field is a name, which may have anything in it.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(19 - 3).and_then(|field| field.parse().ok()).expect("a number")
}

/// When it does not run.
pub fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let after_name = stat.rsplit(')').next().expect("a name");
    after_name.split_whitespace().nth(19).expect("22 fields").parse().expect("a number")
}

/// Ids of the BPF programs that a process holds.
///
/// # Panics
/// When it does not run.
pub fn bpf_programs_of(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("a running process");
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        .collect()
}

/// Ids of the BPF programs that the kernel holds.
pub fn loaded_bpf_programs() -> Vec<u32> {
    aya::programs::loaded_programs().flatten().map(|program| program.id()).collect()
}
