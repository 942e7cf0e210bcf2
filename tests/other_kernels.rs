//! Sentinel on kernels that this machine does not run: Debian's, in virtual machines.
//!
//! Each is booted once. Sentinel records there while a reverse shell and then the program
//! `kernel_story` run; what it made of the program's calls is compared with what it makes of them
//! here. Then it finds another reverse shell from inside a container.
//!
//! The kernel that runs here is told about with other words, so that it seems to have less than it has.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use nix::sys::signal::Signal;
use sentinel_analyzer::alert::{Alert, Severity};
use sentinel_ipc::frame::Limit;
use sentinel_tests::{
    bed::{Bed, skip},
    programs::compiled_static,
    sentinel::{PATIENCE, program, send, within},
};

#[path = "other_kernels/telling.rs"]
mod telling;
#[path = "other_kernels/words.rs"]
mod words;

use telling::Telling;

/// How the lines of the story begin.
const KINDS: [&str; 45] = [
    "Accept ",
    "Bind ",
    "Bpf ",
    "Chmod ",
    "Chroot ",
    "Close ",
    "Connect ",
    "Dup ",
    "Exit",
    "Fchmod ",
    "Ftruncate ",
    "Link ",
    "Listen ",
    "LoadModule ",
    "Map ",
    "MarkCloseOnExec ",
    "Memfd ",
    "Mkdir ",
    "Mknod ",
    "Mount ",
    "MoveMount ",
    "Open ",
    "Pipe ",
    "Received ",
    "Rename ",
    "Sent ",
    "SetCloseOnExec ",
    "SetName",
    "Socket ",
    "Socketpair ",
    "Symlink ",
    "Totals ",
    "Truncate ",
    "Unlink ",
    "Unmount ",
    "Unshare ",
    "Userfaultfd ",
    "connecting ",
    "exec ",
    "fork ",
    "kill ",
    "process memory",
    "ptrace ",
    "rights ",
    "setns ",
];

/// One machine at a time: emulated, each is slow enough.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

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

/// A kernel, and what a guest that runs it told.
struct Machine {
    kernel: &'static str,
    /// What it cannot tell.
    limits: &'static [Limit],
    report: OnceLock<Option<Report>>,
}

static LINUX_6_1: Machine = Machine {
    kernel: "6.1",
    limits: &[Limit::FilesOfPathCalls, Limit::SilentIoUring],
    report: OnceLock::new(),
};
static LINUX_6_12: Machine =
    Machine { kernel: "6.12", limits: &[Limit::FilesOfPathCalls], report: OnceLock::new() };

impl Machine {
    /// Boots it, the first time; `None` where that cannot be.
    fn report(&self) -> Option<&Report> {
        let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.report.get_or_init(|| ready().then(|| Report::of(self.kernel))).as_ref()
    }
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
        fs::copy(compiled_static("kernel_story"), payload.path().join("kernel_story")).unwrap();
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

    /// Whether Sentinel printed a line with `text` in it.
    fn shows(&self, text: &str) -> bool {
        self.lines("output").iter().any(|line| line.contains(text))
    }

    /// What the guest recorded.
    fn telling(&self) -> Telling {
        let mut unpack = Command::new("sh")
            .args(["-c", "base64 --decode | gzip --decompress"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let packed = self.lines("record").concat();
        let mut stdin = unpack.stdin.take().unwrap();
        let write = std::thread::spawn(move || stdin.write_all(packed.as_bytes()).unwrap());
        let output = unpack.wait_with_output().unwrap();
        write.join().unwrap();
        assert!(output.status.success(), "{}", self.0);
        Telling::of(&output.stdout)
    }
}

fn a_reverse_shell_is_found_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let told = report.telling();
    // On a slow machine a shell may first be noted as one that may be honest (severity high).
    let is_critical = |alert: &&Alert| alert.severity == Severity::Critical;
    let critical: Vec<&Alert> = told.alerts.iter().filter(is_critical).collect();
    let [alert] = critical[..] else { panic!("{critical:#?}\n{}", report.0) };
    let shell: Vec<u32> = report.lines("shell").iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!((alert.pattern_name.as_ref(), shell), ("reverse_shell", vec![alert.pid]));
    assert_eq!(alert.remote_ip, Some("127.0.0.1".to_owned()));
    let identities = told.identities();
    assert!(identities.contains(&&b"/usr/bin/bash"[..]), "{identities:?}");
    assert!(identities.iter().all(|path| path.starts_with(b"/usr/")), "{identities:?}");
    assert_eq!(told.dropped, [0; 2]);
    assert!(report.shows("CRITICAL") && report.shows("dropped 0"), "{}", report.0);
}

fn a_reverse_shell_is_found_in_a_container_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let [pid] = report.lines("inner")[..] else { panic!("{}", report.0) };
    let finding = format!("(pid {pid}) started with its input and output on the connection");
    assert!(report.lines("inside").iter().any(|line| line.contains(&finding)), "{}", report.0);
}

fn calls_are_counted_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let counted = report.lines("counted").join("\n");
    for words in ["hooks attached: ", "usual     /usr/bin/bash", "rt_sigprocmask"] {
        assert!(counted.contains(words), "{words} in\n{}", report.0);
    }
}

fn a_clock_that_is_stepped_moves_the_wall_time_alone_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let alerts: Vec<serde_json::Value> =
        report.lines("alert").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times = |word: &str| {
        let [pid] = report.lines(word)[..] else { panic!("{}", report.0) };
        let is_meant = |alert: &&serde_json::Value| {
            alert["pattern_name"] == "reverse_shell"
                && alert["pid"].as_u64().map(|pid| pid.to_string()).as_deref() == Some(pid)
        };
        let alert = alerts.iter().find(is_meant).unwrap_or_else(|| panic!("{word}: {}", report.0));
        ["timestamp", "timestamp_boot"].map(|key| alert[key].as_u64().unwrap() / 1_000_000_000)
    };
    let ([before, before_boot], [after, after_boot]) = (times("inner"), times("later"));
    let (passed, stepped) = (after_boot - before_boot, after - before);
    assert!(passed < 3600 && (86_390..86_410).contains(&(stepped - passed)), "{stepped} {passed}");
    let of_the_sensor = |alert: &&serde_json::Value| alert["engine"] == "sensor";
    assert_eq!(alerts.iter().filter(of_the_sensor).count(), 0, "{alerts:#?}");
}

/// What this machine's kernel tells of the program; `None` where live tests cannot run.
fn native() -> Option<&'static Telling> {
    static NATIVE: OnceLock<Option<Telling>> = OnceLock::new();
    NATIVE.get_or_init(|| Bed::new().map(|bed| Telling::of(&record(&bed, None)))).as_ref()
}

/// Does what `tests/vm/watch` does in the guest; with `types` as what the kernel says of its types.
fn record(bed: &Bed, types: Option<&Path>) -> Vec<u8> {
    let capture = bed.path("story.cap");
    let mut sentinel = match types {
        None => Command::new(program()),
        Some(types) => {
            let mut command = Command::new("unshare");
            let script = format!("mount --bind \"$0\" {TYPES} && exec \"$@\"");
            command.args(["--mount", "sh", "-c", &script]).arg(types).arg(program());
            command
        }
    };
    let mut sentinel = sentinel
        .args(["record", "-o"])
        .arg(&capture)
        .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
        .stdin(Stdio::null())
        .stdout(File::create(bed.path("output")).unwrap())
        .spawn()
        .unwrap();
    let is_ready = || fs::read_to_string(bed.path("output")).unwrap().contains("hooks attached");
    assert!(within(PATIENCE, is_ready));
    // A tmpfs, as it is in the guest.
    let stage = tempfile::tempdir_in("/dev/shm").unwrap();
    let story = stage.path().join("kernel_story");
    fs::copy(compiled_static("kernel_story"), &story).unwrap();
    let status = bed
        .command("env")
        .arg("-i")
        .arg(&story)
        .arg(stage.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(stage.path().join("errors")).unwrap())
        .status()
        .unwrap();
    let errors = fs::read_to_string(stage.path().join("errors")).unwrap();
    assert!(status.success(), "{errors}");
    send(sentinel.id(), Signal::SIGINT);
    assert!(sentinel.wait().unwrap().success());
    fs::read(capture).unwrap()
}

fn the_story_is_the_same_on(machine: &Machine) {
    let Some(report) = machine.report() else { return };
    let Some(here) = native() else { return };
    let there = report.telling();
    assert_eq!((here.dropped, there.dropped), ([0; 2], [0; 2]));
    assert_eq!(there.limits, machine.limits);
    // What one of the two cannot tell is compared on neither.
    let limits: HashSet<Limit> = here.limits.iter().chain(&there.limits).copied().collect();
    same(machine.kernel, &here.story(&limits), &there.story(&limits));
}

/// What the kernel says of its types (Documentation/bpf/btf.rst).
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// The kernel's function by which the sensor reads its memory without calls, and another one with as long a name.
const CAST: &[u8; 17] = b"\0bpf_rdonly_cast\0";
const OTHER: &[u8; 17] = b"\0bpf_dynptr_copy\0";

/// Whether the story is the same where the names of the kernel's functions are put like that.
fn the_story_is_the_same_with(renamed: &[(&[u8; 17], &[u8; 17])]) {
    let Some(here) = native() else { return };
    let Some(bed) = Bed::new() else { return };
    let mut types = fs::read(TYPES).unwrap();
    for (old, new) in renamed {
        let at = types.windows(old.len()).position(|bytes| bytes == *old).expect("the name");
        types[at..at + new.len()].copy_from_slice(*new);
    }
    fs::write(bed.path("types"), types).unwrap();
    let there = Telling::of(&record(&bed, Some(&bed.path("types"))));
    same("with other names", &here.story(&HashSet::new()), &there.story(&HashSet::new()));
}

#[test]
fn the_story_is_the_same_without_the_cast() {
    the_story_is_the_same_with(&[(CAST, b"\0nobody_has_this\0")]);
}

/// As one refuses it that interprets programs.
#[test]
fn the_story_is_the_same_where_the_kernel_refuses_the_cast() {
    the_story_is_the_same_with(&[(CAST, b"\0nobody_has_this\0"), (OTHER, CAST)]);
}

fn same(kernel: &str, here: &[String], there: &[String]) {
    if here == there {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [here, there] = [("here", here), ("there", there)].map(|(name, lines)| {
        let path = directory.path().join(name);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    });
    let difference = Command::new("diff").arg("--unified=1").args([here, there]).output().unwrap();
    panic!(
        "the story is another on Linux {kernel} (+) than here (-):\n{}",
        String::from_utf8_lossy(&difference.stdout),
    );
}

#[test]
fn a_reverse_shell_is_found_on_linux_6_1() {
    a_reverse_shell_is_found_on(&LINUX_6_1);
}

#[test]
fn a_reverse_shell_is_found_on_linux_6_12() {
    a_reverse_shell_is_found_on(&LINUX_6_12);
}

#[test]
fn a_reverse_shell_is_found_in_a_container_on_linux_6_1() {
    a_reverse_shell_is_found_in_a_container_on(&LINUX_6_1);
}

#[test]
fn a_reverse_shell_is_found_in_a_container_on_linux_6_12() {
    a_reverse_shell_is_found_in_a_container_on(&LINUX_6_12);
}

#[test]
fn calls_are_counted_on_linux_6_1() {
    calls_are_counted_on(&LINUX_6_1);
}

#[test]
fn calls_are_counted_on_linux_6_12() {
    calls_are_counted_on(&LINUX_6_12);
}

#[test]
fn a_clock_that_is_stepped_moves_the_wall_time_alone_on_linux_6_12() {
    a_clock_that_is_stepped_moves_the_wall_time_alone_on(&LINUX_6_12);
}

#[test]
fn the_story_is_the_same_on_linux_6_1() {
    the_story_is_the_same_on(&LINUX_6_1);
}

#[test]
fn the_story_is_the_same_on_linux_6_12() {
    the_story_is_the_same_on(&LINUX_6_12);
}

/// So that the comparison compares something.
#[test]
fn the_story_is_about_all_kinds_of_events() {
    let Some(here) = native() else { return };
    let story = here.story(&HashSet::new());
    let missing: Vec<&str> =
        KINDS.into_iter().filter(|kind| !story.iter().any(|line| line.starts_with(kind))).collect();
    assert_eq!(missing, [""; 0], "{}", story.join("\n"));
}
