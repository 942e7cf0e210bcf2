//! The tools, and what each takes for itself.

use std::{
    fmt,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use sentinel_tests::{
    bed::Bed,
    sentinel::{Sentinel, send},
};

use crate::parts::{Parts, memory_of, time_of};

/// Who watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Nobody.
    Nobody,
    /// Sentinel as it is by default.
    Sentinel,
    /// bpftrace, which prints what is opened, connected and started, and all ends.
    Bpftrace,
    /// strace of all calls, which begins and ends with each command.
    Strace,
}

/// A tool at work.
pub struct Watching {
    who: Who,
    begun: Instant,
    /// Processor time that it had taken by then.
    before: Duration,
}

enum Who {
    Nobody,
    Sentinel(Box<Sentinel>),
    /// And who reads what it prints, and tells the losses.
    Bpftrace(Child, JoinHandle<u64>),
}

/// What a tool took for itself while all works were done once.
#[derive(Debug, Default)]
pub struct Toll {
    /// Of one core, %.
    share: f64,
    /// KiB.
    memory: u64,
    /// Events.
    lost: u64,
}

impl Tool {
    /// All of them, the limit first.
    pub const ALL: [Self; 4] = [Self::Nobody, Self::Sentinel, Self::Bpftrace, Self::Strace];

    /// As a column is headed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Sentinel => "sentinel",
            Self::Bpftrace => "bpftrace",
            Self::Strace => "strace",
        }
    }

    /// Whether it is there.
    pub fn is_installed(self) -> bool {
        match self {
            Self::Nobody | Self::Sentinel => true,
            Self::Bpftrace | Self::Strace => Path::new("/usr/bin").join(self.name()).exists(),
        }
    }

    /// How much of each work is enough.
    pub fn share(self) -> f64 {
        if self == Self::Strace { 0.02 } else { 0.5 }
    }

    /// A command in the bed that is watched.
    pub fn command(self, bed: &Bed, program: &Path) -> Command {
        if self != Self::Strace {
            return bed.command(program);
        }
        let mut command = bed.command(self.name());
        command.args(["--follow-forks", "--output=/dev/null"]).arg(program);
        command
    }

    /// Begins to watch who is in the bed's cgroup.
    pub fn begin(self, bed: &Bed) -> Watching {
        let who = match self {
            Self::Nobody | Self::Strace => Who::Nobody,
            Self::Sentinel => Who::Sentinel(Box::new(Sentinel::start(bed, &[]))),
            Self::Bpftrace => {
                let (child, reader) = bpftrace(bed);
                Who::Bpftrace(child, reader)
            }
        };
        let before = who.time();
        Watching { who, begun: Instant::now(), before }
    }
}

/// Starts one and waits until it is attached.
fn bpftrace(bed: &Bed) -> (Child, JoinHandle<u64>) {
    let here = format!("/cgroup == cgroupid(\"{}\")/", bed.cgroup().display());
    let names =
        ["openat", "openat2", "open", "socket", "connect", "bind", "listen", "accept4", "dup2"];
    let calls = names.map(|name| format!("tracepoint:syscalls:sys_exit_{name}")).join(", ");
    let code = format!(
        "BEGIN {{ printf(\"attached\\n\"); }}\n\
         tracepoint:syscalls:sys_enter_openat {here} {{ printf(\"%d open %s\\n\", pid, str(args->filename)); }}\n\
         {calls} {here} {{ printf(\"%d %s %d\\n\", pid, probe, args->ret); }}\n\
         tracepoint:sched:sched_process_exec {here} {{ printf(\"%d exec %s\\n\", pid, str(args->filename)); }}\n\
         tracepoint:sched:sched_process_fork {here} {{ printf(\"%d fork %d\\n\", pid, args->child_pid); }}\n\
         tracepoint:sched:sched_process_exit {here} {{ printf(\"%d exit\\n\", pid); }}\n"
    );
    let mut command = Command::new(Tool::Bpftrace.name());
    let piped = command.args(["-e", &code]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().expect("bpftrace");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while line.trim() != "attached" {
        line.clear();
        let bytes = lines.read_line(&mut line).expect("its output");
        assert!(bytes > 0, "bpftrace does not attach");
    }
    (child, thread::spawn(move || lost(lines)))
}

/// Reads all that bpftrace says; how many events it tells as lost: "Lost 7 events".
fn lost(mut lines: impl BufRead) -> u64 {
    let (mut line, mut all) = (Vec::new(), 0);
    while lines.read_until(b'\n', &mut line).expect("its output") > 0 {
        let number = line.strip_prefix(b"Lost ").map(String::from_utf8_lossy);
        let number = number.as_deref().and_then(|rest| rest.split(' ').next());
        all += number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        line.clear();
    }
    all
}

impl Who {
    /// Processor time so far.
    fn time(&self) -> Duration {
        match self {
            Self::Nobody => Duration::ZERO,
            Self::Sentinel(sentinel) => Parts::of(sentinel).times().iter().sum(),
            Self::Bpftrace(child, _) => time_of(child.id()),
        }
    }
}

impl Watching {
    /// Ends it.
    pub fn end(self) -> Option<Toll> {
        let took = self.begun.elapsed();
        let time = self.who.time() - self.before;
        let toll = |memory, lost| {
            Some(Toll { share: time.as_secs_f64() / took.as_secs_f64() * 100.0, memory, lost })
        };
        match self.who {
            Who::Nobody => None,
            Who::Sentinel(sentinel) => {
                let memory = Parts::of(&sentinel).memory().iter().sum();
                toll(memory, sentinel.stop().total("dropped "))
            }
            Who::Bpftrace(mut child, reader) => {
                let memory = memory_of(child.id());
                send(child.id(), Signal::SIGINT);
                let errors = child.stderr.take().expect("piped");
                let lost = lost(BufReader::new(errors)) + reader.join().expect("its output");
                child.wait().expect("its end");
                toll(memory, lost)
            }
        }
    }
}

impl fmt::Display for Toll {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share, memory, lost } = self;
        write!(to, "{share:.1} % of a core, {} MiB, {lost} events lost", memory / 1024)
    }
}
