//! The processes that are watched.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    sentinel::{PATIENCE, within},
};

/// Processes that are left to the rest of the machine.
const LEFT_OVER: u32 = 1000;

/// A program and its processes, all of which end with it.
pub struct Server(Child);

impl Server {
    /// Starts `tests/programs/idle_server.c` and waits until all its processes are there.
    pub fn start(bed: &Bed, processes: u32, calls: u32, events: u32) -> Self {
        let mut command = bed.command(compiled("idle_server"));
        command.args([processes, calls, events].map(|number| number.to_string()));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server");
        let mut word = String::new();
        let output = child.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut word).expect("its output");
        assert_eq!(word, "ready\n", "the server has no room");
        Self(child)
    }

    /// Ends it; nobody else may be in the bed.
    pub fn end(mut self, bed: &Bed) {
        drop(self.0.stdin.take());
        self.0.wait().expect("its end");
        assert!(within(PATIENCE, || bed.members().is_empty()), "processes are left");
    }
}

/// So many more processes there can be.
pub fn possible_processes() -> u32 {
    let limit = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("/proc");
        text.trim().parse::<u32>().expect("a number")
    };
    // proc(5), loadavg: running/all threads.
    let loadavg = fs::read_to_string("/proc/loadavg").expect("/proc");
    let threads = loadavg.split(['/', ' ']).nth(4).and_then(|all| all.parse().ok());
    let taken: u32 = threads.expect("threads");
    limit("pid_max").min(limit("threads-max")).saturating_sub(taken + LEFT_OVER)
}
