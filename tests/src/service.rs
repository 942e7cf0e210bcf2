//! The enforcer as a service, with the test in everybody else's place: service manager, analyzer, loader
//! and administrator.
//!
//! It runs in a mount namespace of its own, in which /run/sentinel is a directory of the test's.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use sentinel_ipc::{
    administration::{AdminAnswer, AdminQuestion, Ask, VERSION},
    channel::{Channel, Received, Sent},
    confinement::account,
    endpoint::Endpoint,
    frame::{
        Description, Identity, IdentityAnswer, IdentityQuestion, KillMessage, Member, Mode,
        OutcomeMessage, PROTOCOL_VERSION, Target, Verdict, decode, encode,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;

use crate::sentinel::{PATIENCE, program, within};

/// Start of every process, as the test's loader has it.
const START_TIME: u64 = 700;
/// From one sign of life to the one that is waited for, µs.
const WATCHDOG: &str = "200000";
/// Gives the listening sockets on standard input and output the numbers that a service finds them under, and
/// what is started the privileges that its unit gives it.
const AS_A_SERVICE: &str = r#"mount --bind "$0" /run/sentinel && exec 3<&0 4>&1 </dev/null >/dev/null &&
    id=$1 && shift &&
    exec env LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=siblings:admins \
        setpriv --reuid="$id" --regid="$id" --clear-groups --inh-caps=-all,+kill \
        --ambient-caps=-all,+kill --bounding-set=-all,+kill "$@""#;

/// The directory that an enforcer has as /run/sentinel, and its sockets there.
pub struct Place {
    directory: TempDir,
    siblings: OwnedFd,
    admins: OwnedFd,
    manager: UnixDatagram,
}

/// A running enforcer.
pub struct Service {
    /// Its process.
    pub child: Child,
    audit: Receiver<String>,
}

fn own_user() -> u32 {
    account("sentinel-enforcer").expect("a user database").uid.as_raw()
}

fn listener(path: &Path) -> OwnedFd {
    let made = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None);
    let made = made.expect("a socket");
    bind(made.as_raw_fd(), &UnixAddr::new(path).expect("a short path")).expect("a free path");
    listen(&made, Backlog::new(8).expect("a backlog")).expect("a bound socket");
    // In place of the group that the units give it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("our own");
    made
}

impl Place {
    /// A place with the sockets that units would make.
    ///
    /// # Panics
    /// When they cannot be made.
    pub fn new() -> Self {
        fs::create_dir_all("/run/sentinel").expect("root");
        let directory = tempfile::tempdir().expect("a directory of our own");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("our own");
        let path = |name| directory.path().join(name);
        let manager = UnixDatagram::bind(path("notify")).expect("a free path");
        manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let anybody = fs::Permissions::from_mode(0o666);
        fs::set_permissions(path("notify"), anybody).expect("our own");
        // To where its user may execute it; not by this process, of which a child of another test might
        // still hold it open for writing.
        let built = program().with_file_name("sentinel-enforcer");
        let copied = Command::new("cp").arg(&built).arg(directory.path()).status().expect("cp");
        assert!(copied.success(), "the enforcer is built");
        let (siblings, admins) =
            (listener(&path("enforcer.sock")), listener(&path("enforce.sock")));
        Self { directory, siblings, admins, manager }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the kill switch say `content`, in a file of the enforcer's user.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_marker(&self, content: &str) {
        fs::write(self.path("marker"), content).expect("our own directory");
        chown(self.path("marker"), Some(own_user()), None).expect("root");
    }

    /// A sibling's socket, on which the enforcer calls when it starts.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn listen(&self, name: &str) -> Endpoint {
        Endpoint::new(listener(&self.path(name))).expect("a listening socket")
    }

    /// Starts the enforcer; its marker is `marker` in the directory. Waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(&self, arguments: &[&str]) -> Service {
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", AS_A_SERVICE])
            .arg(self.directory.path())
            .arg(own_user().to_string())
            .arg(self.path("sentinel-enforcer"))
            .arg(format!("--marker={}", self.path("marker").display()))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("WATCHDOG_USEC", WATCHDOG)
            .stdin(self.siblings.try_clone().expect("a descriptor"))
            .stdout(self.admins.try_clone().expect("a descriptor"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare is installed");
        let (sender, audit) = channel();
        let stderr = child.stderr.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let service = Service { child, audit };
        self.await_word("READY=1");
        service
    }

    /// Waits until the service manager is told `word`.
    ///
    /// # Panics
    /// When it is not.
    pub fn await_word(&self, word: &str) {
        let limit = Instant::now() + PATIENCE;
        let mut heard = [0; 64];
        while Instant::now() < limit {
            let length = self.manager.recv(&mut heard).expect("a word");
            if &heard[..length] == word.as_bytes() {
                return;
            }
        }
        panic!("the service manager is not told {word}");
    }

    /// Calls at the enforcer's door for its siblings as the user `uid`.
    ///
    /// # Panics
    /// When it is shut.
    pub fn call_as(&self, uid: u32) -> Channel {
        connect_as(uid, self.path("enforcer.sock"))
    }

    /// Calls as the analyzer does and says hello.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn analyzer(&self) -> Analyzer {
        let uid = account("sentinel").expect("a user database").uid.as_raw();
        Analyzer::greet(self.call_as(uid))
    }

    /// A service that kills, with those options beside, and who calls it.
    ///
    /// # Panics
    /// When it does not get so far.
    pub fn enforcing(&self, options: &[&str]) -> (Service, Loader, Analyzer) {
        self.set_marker("on\n");
        let service = self.start(&[&["--enforce"], options].concat());
        let loader = self.loader();
        assert!(loader.is_taken(), "the enforcer takes the loader");
        (service, loader, self.analyzer())
    }

    /// Calls as the loader does.
    pub fn loader(&self) -> Loader {
        Loader::on(self.call_as(0))
    }

    /// Asks as `sentinel enforce` does, without waiting for the answer.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn ask(&self, ask: Ask) -> Channel {
        let channel = Channel::connect(&self.path("enforce.sock")).expect("a listening socket");
        say(&channel, &AdminQuestion { version: VERSION, ask });
        channel
    }

    /// The answer to `ask`.
    ///
    /// # Panics
    /// When there is none.
    pub fn answer(&self, ask: Ask) -> AdminAnswer {
        hear(&mut self.ask(ask)).expect("an answer")
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    /// Waits for a line of the audit with `words`.
    ///
    /// # Panics
    /// When there is none.
    pub fn await_line(&self, words: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.audit.recv_timeout(PATIENCE) {
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {words:?} in {seen:#?}");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Connects as the user `uid`, which only the thread that connects has.
fn connect_as(uid: u32, path: PathBuf) -> Channel {
    let connected = std::thread::spawn(move || {
        let uid = rustix::thread::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(None, Some(uid), None).expect("root");
        Channel::connect(&path).expect("a listening socket")
    });
    connected.join().expect("a connection")
}

fn say(channel: &Channel, message: &impl Serialize) {
    let mut frame = Vec::new();
    encode(message, &mut frame).expect("a frame");
    assert_eq!(channel.send(&frame).expect("a socket"), Sent::Done);
}

/// The next message; `None` when the other end hangs up.
fn hear<M: DeserializeOwned>(channel: &mut Channel) -> Option<M> {
    let limit = Instant::now() + PATIENCE;
    while Instant::now() < limit {
        match channel.receive().expect("a socket") {
            Received::Frame(frame) => return Some(decode(frame).expect("a message")),
            Received::Closed => return None,
            Received::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("nothing is said");
}

/// The test as analyzer.
pub struct Analyzer {
    /// To the enforcer.
    pub channel: Channel,
    /// What the enforcer said it does.
    pub mode: Mode,
    next_request: u64,
}

impl Analyzer {
    /// Says hello to the enforcer behind `channel`.
    ///
    /// # Panics
    /// When that does not answer.
    pub fn greet(mut channel: Channel) -> Self {
        say(&channel, &KillMessage::Hello { version: PROTOCOL_VERSION });
        match hear(&mut channel) {
            Some(OutcomeMessage::Ready { mode, .. }) => Self { channel, mode, next_request: 1 },
            other => panic!("{other:?}"),
        }
    }

    /// Asks for the end of `tgid`, and does not wait.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn request(&mut self, tgid: u32) {
        let (request, deadline) = (self.next_request, u64::MAX);
        let target = Target { tgid, start_time: START_TIME };
        let (tree, rule, reason) = (false, 1, "a test");
        say(&self.channel, &KillMessage::Kill { request, target, tree, rule, deadline, reason });
        self.next_request += 1;
    }

    /// Asks for the end of the tree below `tgid`, and does not wait.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn request_tree(&mut self, tgid: u32) {
        let (request, deadline) = (self.next_request, u64::MAX);
        let target = Target { tgid, start_time: START_TIME };
        let (tree, rule, reason) = (true, 1, "a test");
        say(&self.channel, &KillMessage::Kill { request, target, tree, rule, deadline, reason });
        self.next_request += 1;
    }

    /// What becomes of a request for the end of `tgid`.
    ///
    /// # Panics
    /// When there is no outcome.
    pub fn kill(&mut self, tgid: u32) -> Verdict {
        self.request(tgid);
        match self.says() {
            Some(OutcomeMessage::Outcome { verdict, .. }) => verdict,
            other => panic!("{other:?}"),
        }
    }

    /// What the enforcer says next; `None` when it hangs up.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn says(&mut self) -> Option<OutcomeMessage> {
        hear(&mut self.channel)
    }
}

/// A process as the test's loader knows it.
struct Known {
    start_time: u64,
    program: &'static str,
    /// Whether it is in the lists of trees.
    is_listed: bool,
}

impl Known {
    fn new() -> Self {
        Self { start_time: START_TIME, program: "/usr/bin/sleep", is_listed: true }
    }

    fn description(&self) -> Description {
        Description {
            start_time: self.start_time,
            uid: 0,
            path: self.program.into(),
            is_sound: true,
            has_own_pids: false,
            cgroup: b"/test".to_vec(),
        }
    }
}

/// The test as loader: knows the processes that it is told of, and no other can be killed.
pub struct Loader {
    known: Arc<Mutex<HashMap<u32, Known>>>,
    /// Processes that it adds to a tree, one with each list.
    growth: Arc<Mutex<Option<Vec<Child>>>>,
    is_greeted: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Loader {
    /// Serves the enforcer behind `channel`.
    pub fn on(channel: Channel) -> Self {
        Self::knowing(Arc::default(), channel)
    }

    /// Serves the enforcer behind `channel` too, with what it knows by then and learns later.
    pub fn also_on(&self, channel: Channel) -> Self {
        Self::knowing(Arc::clone(&self.known), channel)
    }

    fn knowing(known: Arc<Mutex<HashMap<u32, Known>>>, mut channel: Channel) -> Self {
        let loader = Self {
            known,
            growth: Arc::default(),
            is_greeted: Arc::default(),
            is_over: Arc::default(),
        };
        let (known, is_greeted) = (Arc::clone(&loader.known), Arc::clone(&loader.is_greeted));
        let growth = Arc::clone(&loader.growth);
        let is_over = Arc::clone(&loader.is_over);
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let question = match channel.receive() {
                    Ok(Received::Frame(frame)) => decode(frame).expect("a question"),
                    Ok(Received::WouldBlock) => {
                        std::thread::sleep(Duration::from_micros(200));
                        continue;
                    }
                    Ok(Received::Closed) | Err(_) => break,
                };
                match question {
                    IdentityQuestion::Hello { version, .. } => {
                        // No process, so that the test's own stays free to be the analyzer's.
                        say(&channel, &IdentityAnswer::Ready { version, tgid: u32::MAX });
                        is_greeted.store(true, Ordering::Relaxed);
                    }
                    IdentityQuestion::WhoIs { question, tgid } => {
                        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                        let known = known.get(&tgid);
                        let identity = known.map(|&Known { start_time, .. }| Identity {
                            start_time,
                            cgroup_id: 1,
                            executable: (0, 0, 0),
                            uid: 0,
                            kernel_thread: false,
                            in_scope: true,
                        });
                        let description = known.map(Known::description);
                        say(&channel, &IdentityAnswer::Is { question, identity, description });
                    }
                    IdentityQuestion::Describe { question, tgid } => {
                        let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                        let description = known.get(&tgid).map(Known::description);
                        say(&channel, &IdentityAnswer::Described { question, description });
                    }
                    // All that it knows.
                    IdentityQuestion::Tree { question, user, .. } => {
                        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                        let mut growth = growth.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(growth) = growth.as_mut() {
                            let child = Command::new("sleep").arg("300").spawn().expect("sleep");
                            known.insert(child.id(), Known::new());
                            growth.push(child);
                        }
                        let member = |(&tgid, known): (&u32, &Known)| Member {
                            process: Target { tgid, start_time: known.start_time },
                            executable: (1, known.program.len() as u64, 3),
                            cgroup_id: 4,
                        };
                        let listed = known.iter().filter(|(_, known)| known.is_listed);
                        let members = listed.map(member).collect();
                        let user = Some(user.unwrap_or(0));
                        say(&channel, &IdentityAnswer::Members { question, user, members });
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        loader
    }

    /// Whether the enforcer takes it as its loader; else it hangs up without a word.
    ///
    /// # Panics
    /// When it does neither.
    pub fn is_taken(&self) -> bool {
        let [greeted, over] =
            [&self.is_greeted, &self.is_over].map(|one| || one.load(Ordering::Relaxed));
        assert!(within(PATIENCE, || greeted() || over()), "the enforcer does nothing");
        greeted()
    }

    /// Has each list of a tree have one process more.
    pub fn grow_trees(&self) {
        *self.growth.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// Ends what trees have grown by.
    ///
    /// # Panics
    /// When that cannot be waited for.
    pub fn end_trees(&self) {
        let grown = self.growth.lock().unwrap_or_else(PoisonError::into_inner).take();
        for mut child in grown.into_iter().flatten() {
            let _gone = child.kill();
            child.wait().expect("a child");
        }
    }

    /// A process that it knows, and that may so be killed.
    ///
    /// # Panics
    /// When there is none.
    pub fn victim(&self) -> Child {
        let child = Command::new("sleep").arg("300").spawn().expect("sleep");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(child.id(), Known::new());
        child
    }

    /// Says from now on that `tgid` runs `program`, or is in no tree.
    ///
    /// # Panics
    /// When it does not know it.
    pub fn tells_of(&self, tgid: u32, program: &'static str, is_listed: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let one = known.get_mut(&tgid).expect("somebody whom it knows");
        (one.program, one.is_listed) = (program, is_listed);
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// All that a program says on standard error, and its exit code.
///
/// # Panics
/// When it cannot be started.
pub fn enforcer(arguments: &[&str]) -> (String, Option<i32>) {
    let mut child = Command::new(program().with_file_name("sentinel-enforcer"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the enforcer");
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    (said, child.wait().expect("a child").code())
}
