//! A pid namespace of the test's own, whose first process is a shell that does as it is told.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::{bed::Bed, sentinel::children};

/// A running one, in the bed's cgroup.
pub struct Container {
    /// Outside; all inside ends with it.
    outer: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Container {
    /// Starts one.
    ///
    /// # Panics
    /// When that is not to be had.
    pub fn start(bed: &Bed) -> Self {
        let mut outer = bed
            .command("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare (util-linux)");
        let orders = outer.stdin.take().expect("piped");
        let answers = BufReader::new(outer.stdout.take().expect("piped"));
        let mut container = Self { outer, orders, answers };
        assert_eq!(container.ask("echo $$"), "1");
        container
    }

    /// Has the shell run a line.
    ///
    /// # Panics
    /// When it has ended.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("a shell that reads");
    }

    /// Has the shell run a line that prints one; returns that.
    ///
    /// # Panics
    /// When it does not.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("a shell that answers");
        answer.trim_end().to_owned()
    }

    /// A command that runs inside, as a child of one that is outside; not in the bed's cgroup.
    ///
    /// # Panics
    /// When the container has ended.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let first = children(self.outer.id()).first().expect("a container").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &first, "--pid", "--mount"]).arg(program);
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _gone = self.outer.kill();
        let _waited = self.outer.wait();
    }
}

/// The numbers of a process, here and in each nested pid namespace down to its own.
///
/// # Panics
/// When /proc is broken.
pub fn numbers(pid: u32) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}
