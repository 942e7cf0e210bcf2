//! A real loader and a real enforcer, with the test in the analyzer's place: it can say what a
//! compromised analyzer could.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, PipeReader, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, fcntl};
use sentinel_analyzer::event::{self, Action};
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{
        AnalyzerMessage, KillMessage, KindSet, LoaderMessage, Mode, OutcomeMessage,
        PROTOCOL_VERSION, Subscription, Target, Verdict, decode, encode,
    },
};

use crate::{
    bed::Bed,
    sentinel::{PATIENCE, is_running, program, within},
};

/// The three parts.
pub struct Rig {
    /// To the loader.
    pub loader: Channel,
    /// To the enforcer.
    pub enforcer: Channel,
    loader_process: Child,
    enforcer_process: Child,
    audit: Receiver<String>,
    next_request: u64,
    starts: HashMap<u32, u64>,
    /// The end of a pipe that is not read but kept open.
    unread: Option<PipeReader>,
}

impl Rig {
    /// Starts both, scoped to the bed's cgroup, the enforcer enforcing; greets them.
    ///
    /// # Panics
    /// When one does not get ready.
    pub fn start(bed: &Bed) -> Self {
        Self::start_as(bed, &[])
    }

    /// Starts both, the enforcer with these arguments as well, and greets them.
    ///
    /// # Panics
    /// When one does not get ready.
    pub fn start_as(bed: &Bed, arguments: &[&str]) -> Self {
        let mut rig = Self::start_with(bed, Stdio::piped(), arguments);
        rig.greet();
        rig
    }

    /// Starts both; the enforcer, with these arguments as well, is to refuse to run.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start_refused(bed: &Bed, arguments: &[&str]) -> Self {
        Self::start_with(bed, Stdio::piped(), arguments)
    }

    /// Greets both.
    ///
    /// # Panics
    /// When one does not get ready.
    pub fn greet(&mut self) {
        self.tell_enforcer(&KillMessage::Hello { version: PROTOCOL_VERSION });
        let said = self.enforcer_says();
        let Some(OutcomeMessage::Ready { version, mode, .. }) = said else { panic!("{said:?}") };
        assert_eq!((version, mode), (PROTOCOL_VERSION, Mode::Enforce));
        self.tell_loader(&AnalyzerMessage::Hello { version: PROTOCOL_VERSION });
        self.tell_loader(&AnalyzerMessage::Subscribe(Subscription::to(KindSet::all())));
        let limit = Instant::now() + PATIENCE;
        while !self.hear_loader() {
            assert!(Instant::now() < limit, "the loader does not get ready");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts both and says nothing; the enforcer's audit goes into a pipe that is full.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start_with_full_audit(bed: &Bed) -> Self {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
        writer.write_all(&[b'x'; 4096]).expect("room for a page");
        let mut rig = Self::start_with(bed, Stdio::from(writer), &[]);
        rig.unread = Some(reader);
        rig
    }

    /// Starts both and says nothing.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn start_silent(bed: &Bed) -> Self {
        Self::start_with(bed, Stdio::piped(), &[])
    }

    fn start_with(bed: &Bed, audit: Stdio, arguments: &[&str]) -> Self {
        let (loader, loaders_analyzer) = Channel::pair().expect("sockets");
        let (enforcer, enforcers_analyzer) = Channel::pair().expect("sockets");
        let (loaders_enforcer, enforcers_loader) = Channel::raw_pair().expect("sockets");
        let scope = format!("--scope-cgroup={}", bed.cgroup().display());
        let loader_process = command("sentinel-loader", loaders_analyzer, loaders_enforcer)
            .arg(&scope)
            .spawn()
            .expect("the loader");
        let mut enforcer_process =
            command("sentinel-enforcer", enforcers_analyzer, enforcers_loader)
                .arg("--enforce")
                .args(arguments)
                .stderr(audit)
                .spawn()
                .expect("the enforcer");
        let (sender, audit) = channel();
        if let Some(stderr) = enforcer_process.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Self {
            loader,
            enforcer,
            loader_process,
            enforcer_process,
            audit,
            next_request: 1,
            starts: HashMap::new(),
            unread: None,
        }
    }

    /// The loader's process id.
    pub fn loader_pid(&self) -> u32 {
        self.loader_process.id()
    }

    /// The enforcer's process id.
    pub fn enforcer_pid(&self) -> u32 {
        self.enforcer_process.id()
    }

    /// A process in the scope that sleeps, and its identity as the kernel gives it.
    ///
    /// # Panics
    /// When the sensor does not see it.
    pub fn victim(&mut self, bed: &Bed) -> (Child, Target) {
        let child = bed.command("sleep").arg("300").spawn().expect("sleep");
        let target = self.target(child.id());
        (child, target)
    }

    /// The identity of a process that started a program in the scope.
    ///
    /// # Panics
    /// When the sensor does not see it.
    pub fn target(&mut self, tgid: u32) -> Target {
        let limit = Instant::now() + PATIENCE;
        loop {
            self.hear_loader();
            if let Some(&start_time) = self.starts.get(&tgid) {
                return Target { tgid, start_time };
            }
            assert!(Instant::now() < limit, "the sensor does not see {tgid}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Forgets what it saw of `tgid`.
    pub fn forget(&mut self, tgid: u32) {
        self.hear_loader();
        self.starts.remove(&tgid);
    }

    /// Asks for the end of `target` as the analyzer does, and waits for the outcome.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill(&mut self, target: Target) -> Verdict {
        let request = self.next_request;
        self.next_request += 1;
        self.kill_as(request, target, u64::MAX)
    }

    /// Asks for the end of `target` with a request number and deadline of choice.
    ///
    /// # Panics
    /// When there is no outcome.
    pub fn kill_as(&mut self, request: u64, target: Target, deadline: u64) -> Verdict {
        self.ask(request, target, false, 1, deadline);
        self.outcome(request)
    }

    /// Asks for the end of `target` for the rule `rule`, and waits for the outcome.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_for(&mut self, rule: u64, target: Target) -> Verdict {
        let request = self.next_request;
        self.next_request += 1;
        self.ask(request, target, false, rule, u64::MAX);
        self.outcome(request)
    }

    /// Asks for the end of the tree below `root` and waits for the outcome.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_tree(&mut self, root: Target) -> Verdict {
        let request = self.next_request;
        self.next_request += 1;
        self.ask(request, root, true, 1, u64::MAX);
        self.outcome(request)
    }

    /// Asks for the end of `target`, and does not wait.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ask(&mut self, request: u64, target: Target, tree: bool, rule: u64, deadline: u64) {
        let reason = "a test";
        self.tell_enforcer(&KillMessage::Kill { request, target, tree, rule, deadline, reason });
    }

    /// What became of `request`.
    ///
    /// # Panics
    /// When that is not the next that is told.
    pub fn outcome(&mut self, request: u64) -> Verdict {
        loop {
            match self.enforcer_says() {
                Some(OutcomeMessage::Outcome { request: answered, verdict }) => {
                    assert_eq!(answered, request);
                    return verdict;
                }
                // Its budget is spent, or whole again, which outcomes say as well.
                Some(OutcomeMessage::Switched { .. }) => {}
                other => panic!("no outcome but {other:?}"),
            }
        }
    }

    /// Sends `message` to the enforcer.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn tell_enforcer(&mut self, message: &KillMessage<'_>) {
        let mut frame = Vec::new();
        encode(message, &mut frame).expect("a frame");
        assert_eq!(self.enforcer.send(&frame).expect("a socket"), Sent::Done);
    }

    /// Sends `message` to the loader.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn tell_loader(&mut self, message: &AnalyzerMessage) {
        let mut frame = Vec::new();
        encode(message, &mut frame).expect("a frame");
        assert_eq!(self.loader.send(&frame).expect("a socket"), Sent::Done);
    }

    /// The enforcer's next message; `None` when it hangs up.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn enforcer_says(&mut self) -> Option<OutcomeMessage> {
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.enforcer.receive().expect("a socket") {
                Received::Frame(frame) => return Some(decode(frame).expect("a message")),
                Received::Closed => return None,
                Received::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(Instant::now() < limit, "the enforcer says nothing");
        }
    }

    /// Has the loader stop reporting, without taking what it has still to send, and waits until it
    /// has heard.
    pub fn stop_reporting(&mut self) {
        self.tell_loader(&AnalyzerMessage::Stop);
        std::thread::sleep(Duration::from_millis(700));
    }

    /// Fills the socket from the loader, so that it cannot end.
    ///
    /// # Panics
    /// When the sensor emits nothing.
    pub fn hold_up_loader(&mut self, bed: &Bed) {
        // Nobody reads: some thousand descriptors made and closed are more than the socket holds.
        let code = "import os\nfor i in range(20000): os.close(os.dup(1))";
        let status = bed.command("python3").args(["-c", code]).status().expect("python3");
        assert!(status.success());
    }

    /// Whether the loader hangs up.
    pub fn loader_hangs_up(&mut self) -> bool {
        within(PATIENCE, || matches!(self.loader.receive(), Ok(Received::Closed)))
    }

    /// Takes what the loader sent and notes processes; true if it said that it is ready.
    fn hear_loader(&mut self) -> bool {
        let mut ready = false;
        while let Ok(Received::Frame(frame)) = self.loader.receive() {
            match decode(frame).expect("a message") {
                LoaderMessage::Ready { .. } => {}
                LoaderMessage::Subscribed { .. } => ready = true,
                LoaderMessage::Events { records } | LoaderMessage::Drained { records, .. } => {
                    let mut rest = records;
                    while !rest.is_empty() {
                        let (event, next) = event::take(rest).expect("a record");
                        // The bed's shell runs before the program that the test wants.
                        if let Action::Exec(_) = event.action {
                            self.starts.insert(event.process.tgid, event.process.start_time);
                        }
                        rest = next;
                    }
                }
                LoaderMessage::Snapshot { .. }
                | LoaderMessage::Calls { .. }
                | LoaderMessage::Heartbeat { .. }
                | LoaderMessage::Finished { .. } => {}
            }
        }
        ready
    }

    /// The audit's lines so far.
    pub fn audit(&self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.audit.recv_timeout(Duration::from_secs(1)) {
            lines.push(line);
        }
        lines
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for process in [&mut self.loader_process, &mut self.enforcer_process] {
            let _gone = process.kill();
            let _waited = process.wait();
        }
    }
}

/// A part of Sentinel with its sockets.
pub fn command(name: &str, stdin: OwnedFd, stdout: OwnedFd) -> Command {
    let mut command = Command::new(program().with_file_name(name));
    command.env_clear().stdin(stdin).stdout(stdout).stderr(Stdio::inherit());
    command
}

/// Waits for the end of a child that is to be killed, and tells by which signal it ended.
///
/// # Panics
/// When it lives on.
pub fn ends_by_signal(child: &mut Child) -> Option<i32> {
    let mut status = None;
    let ended = within(PATIENCE, || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    if !ended {
        let _gone = child.kill();
        panic!("{} lives on", child.id());
    }
    status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status))
}

/// Whether a process lives on for a while.
pub fn lives_on(pid: u32) -> bool {
    !within(Duration::from_millis(150), || !is_running(pid))
}

/// CLOCK_BOOTTIME, ns.
///
/// # Panics
/// Never on Linux.
pub fn boot_now() -> u64 {
    sentinel_ipc::clock::boot_ns().expect("a clock")
}
