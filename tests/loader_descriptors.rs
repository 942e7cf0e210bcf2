//! A loader that has no descriptor left: it says so, watches on, lets in and answers once it has some again.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    confinement::account,
    frame::{
        AnalyzerMessage, IdentityAnswer, IdentityQuestion, KindSet, LoaderMessage,
        PROTOCOL_VERSION, Subscription, decode, encode,
    },
};
use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    rig::{command, ends_by_signal, lives_on},
    sentinel::{PATIENCE, Sentinel, alerts, within},
};

/// Of a loader's own making (loader/src/privileges.rs).
const USUAL: usize = 128;
/// What it has stays open, and there are the standard streams: nothing can be added.
const NONE: usize = 3;

/// Lets `loader` have descriptors with numbers below `number` only. By its own user: others would need
/// CAP_SYS_RESOURCE.
fn limit(loader: u32, number: usize) {
    let account = account("sentinel-loader").unwrap();
    let status = Command::new("setpriv")
        .args([format!("--reuid={}", account.uid), format!("--regid={}", account.gid)])
        .args(["--clear-groups", "prlimit", &format!("--pid={loader}")])
        .arg(format!("--nofile={number}:"))
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_loader_without_descriptors_has_nobody_killed_says_so_and_recovers() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let attack = || {
        let peer = Peer::listen("127.0.0.1");
        let shell = peer::reverse_shell(&bed, &peer);
        (shell, peer.accept())
    };
    limit(sentinel.loader(), NONE);
    let (mut first, _connection) = attack();
    let told = |about: u32, words: &str| {
        let found = alerts(sentinel.log());
        found.iter().any(|alert| alert["pid"] == about && alert.to_string().contains(words))
    };
    let is_refused = within(PATIENCE, || told(first.id(), "kill_refused:no_loader"));
    assert!(is_refused, "{:#?}", alerts(sentinel.log()));
    assert!(lives_on(first.id()) && lives_on(sentinel.loader()));
    limit(sentinel.loader(), USUAL);
    let (mut second, _connection) = attack();
    assert_eq!(ends_by_signal(&mut second), Some(9), "it does not recover");
    first.kill().unwrap();
    first.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(outcome.status.success(), "{}", outcome.errors);
    assert!(outcome.errors.contains("the enforcer gets no answer"), "{}", outcome.errors);
    assert!(outcome.errors.contains("Too many open files"), "{}", outcome.errors);
}

/// A loader that waits for analyzers and enforcers.
struct Service {
    loader: Child,
    analyzers: PathBuf,
    enforcers: PathBuf,
    errors: PathBuf,
}

fn listener(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    listener
}

impl Service {
    fn start(bed: &Bed) -> Self {
        let (analyzers, enforcers) = (bed.path("analyzers"), bed.path("enforcers"));
        let errors = bed.path("errors");
        let loader = command("sentinel-loader", listener(&analyzers), listener(&enforcers))
            .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
            .stderr(fs::File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { loader, analyzers, enforcers, errors }
    }

    /// What it said so far.
    fn said(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    /// Calls as an analyzer, and says what the first message is for.
    fn analyzer(&self) -> Channel {
        let channel = Channel::connect(&self.analyzers).unwrap();
        say(&channel, &AnalyzerMessage::Hello { version: PROTOCOL_VERSION });
        say(&channel, &AnalyzerMessage::Subscribe(Subscription::to(KindSet::all())));
        channel
    }

    /// Calls as an enforcer.
    fn enforcer(&self) -> Channel {
        let channel = Channel::connect(&self.enforcers).unwrap();
        let tgid = std::process::id();
        say(&channel, &IdentityQuestion::Hello { version: PROTOCOL_VERSION, tgid });
        channel
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.loader.kill();
        let _reaped = self.loader.wait();
    }
}

fn say(channel: &Channel, message: &impl serde::Serialize) {
    let mut frame = Vec::new();
    encode(message, &mut frame).unwrap();
    assert_eq!(channel.send(&frame).unwrap(), Sent::Done);
}

/// Whether the loader beats for this analyzer, after what it had sent before.
fn beats(analyzer: &mut Channel) -> bool {
    while let Ok(Received::Frame(_)) = analyzer.receive() {}
    within(PATIENCE, || match analyzer.receive() {
        Ok(Received::Frame(frame)) => matches!(decode(frame), Ok(LoaderMessage::Heartbeat { .. })),
        Ok(Received::Closed) | Err(_) => panic!("the loader hangs up"),
        Ok(Received::WouldBlock) => false,
    })
}

/// Whether the loader has answered this enforcer's hello by now.
fn is_greeted(enforcer: &mut Channel) -> bool {
    match enforcer.receive() {
        Ok(Received::Frame(frame)) => matches!(decode(frame), Ok(IdentityAnswer::Ready { .. })),
        Ok(Received::Closed) | Err(_) => panic!("the loader hangs up"),
        Ok(Received::WouldBlock) => false,
    }
}

#[test]
fn a_loader_without_descriptors_watches_on_says_so_and_lets_in_who_waits_once_it_has_some() {
    let Some(bed) = Bed::new() else { return };
    let service = Service::start(&bed);
    let loader = service.loader.id();
    let mut analyzer = service.analyzer();
    assert!(beats(&mut analyzer));
    limit(loader, NONE);
    let mut enforcer = service.enforcer();
    let is_told = || service.said().contains("Too many open files");
    assert!(within(PATIENCE, is_told), "{}", service.said());
    // It goes on meanwhile, and does not fill the journal with that.
    for _ in 0..6 {
        assert!(beats(&mut analyzer));
    }
    assert!(!is_greeted(&mut enforcer));
    let lines = service.said().lines().count();
    assert!(lines < 10, "{lines} lines: {}", service.said());
    limit(loader, USUAL);
    assert!(within(PATIENCE, || is_greeted(&mut enforcer)), "{}", service.said());

    // The next analyzer waits likewise.
    limit(loader, NONE);
    drop(analyzer);
    let mut analyzer = service.analyzer();
    assert!(lives_on(loader));
    std::thread::sleep(Duration::from_millis(500));
    assert!(matches!(analyzer.receive(), Ok(Received::WouldBlock)), "{}", service.said());
    limit(loader, USUAL);
    assert!(beats(&mut analyzer), "{}", service.said());
}

#[test]
fn a_loader_without_descriptors_for_a_snapshot_says_so_and_ends() {
    let Some(bed) = Bed::new() else { return };
    let mut service = Service::start(&bed);
    let mut analyzer = service.analyzer();
    assert!(beats(&mut analyzer));
    limit(service.loader.id(), NONE);
    say(&analyzer, &AnalyzerMessage::TakeSnapshot);
    let mut status = None;
    let ends = within(PATIENCE, || {
        status = service.loader.try_wait().unwrap();
        status.is_some()
    });
    assert!(ends, "{}", service.said());
    assert_eq!(status.unwrap().code(), Some(1), "no panic, no signal: {}", service.said());
    let said = service.said();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("running") && last.contains("Too many open files"), "{said}");
}
