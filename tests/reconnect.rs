//! An analyzer that is killed and started again under a loader that goes on.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixDatagram},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
};
use sentinel_ipc::{
    channel::{Channel, Received, Sent},
    frame::{
        AnalyzerMessage, KindSet, LoaderMessage, PROTOCOL_VERSION, Subscription, decode, encode,
    },
};
use sentinel_tests::{
    bed::Bed,
    peer::{self, Peer},
    rig,
    sentinel::{PATIENCE, alerts, is_running, program, send, within},
};
use serde_json::Value;

/// A loader that waits for analyzers.
struct Service {
    loader: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Service {
    fn start(bed: &Bed) -> Self {
        let path = bed.path("loader.sock");
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener: OwnedFd =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        let (loaders_enforcer, _) = Channel::raw_pair().unwrap();
        let loader = rig::command("sentinel-loader", listener, loaders_enforcer)
            .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
            .stderr(fs::File::create(bed.path("errors")).unwrap())
            .spawn()
            .unwrap();
        Self { loader, socket: path, log: bed.path("alerts.json") }
    }

    /// Starts an analyzer and waits until it is attached.
    fn analyzer(&self) -> Child {
        self.analyzer_with(&format!("--grimoire-log={}", self.log.display()))
    }

    fn analyzer_with(&self, option: &str) -> Child {
        let mut child = Command::new(program().with_file_name("sentinel-analyzer"))
            .arg(format!("--loader={}", self.socket.display()))
            .arg(option)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("hooks attached")));
        // Kept open and read, so that it can write.
        std::thread::spawn(move || lines.for_each(drop));
        child
    }

    fn alerts(&self, name: &str) -> Vec<Value> {
        let all = alerts(&self.log).into_iter();
        all.filter(|alert| alert["pattern_name"] == name).collect()
    }

    fn finds(&self, name: &str, count: usize) {
        let found = within(PATIENCE, || self.alerts(name).len() >= count);
        assert!(found, "{name}: {}", fs::read_to_string(&self.log).unwrap_or_default());
        assert_eq!(self.alerts(name).len(), count);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _gone = self.loader.kill();
        let _reaped = self.loader.wait();
    }
}

fn kill(mut analyzer: Child) {
    send(analyzer.id(), Signal::SIGKILL);
    analyzer.wait().unwrap();
}

/// A shell that connects out and stays until its end is called.
fn reverse_shell(bed: &Bed) -> impl FnOnce() {
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(bed, &peer);
    let mut shell = peer.shell();
    shell.pid();
    move || {
        shell.exit();
        child.wait().unwrap();
    }
}

#[test]
fn a_new_analyzer_goes_on_and_says_how_long_nobody_looked() {
    let Some(bed) = Bed::new() else { return };
    let mut service = Service::start(&bed);
    let first = service.analyzer();
    reverse_shell(&bed)();
    service.finds("reverse_shell", 1);
    assert!(service.alerts("sensor_gap").is_empty());
    kill(first);
    std::thread::sleep(Duration::from_millis(700));
    let second = service.analyzer();
    service.finds("sensor_gap", 1);
    let message = service.alerts("sensor_gap")[0]["message"].as_str().unwrap().to_owned();
    let seconds: f64 = message.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((0.5..30.0).contains(&seconds), "{message}");
    reverse_shell(&bed)();
    service.finds("reverse_shell", 2);
    kill(second);
    assert!(service.loader.try_wait().unwrap().is_none(), "the loader goes on");
}

#[test]
fn a_shell_that_came_while_nobody_looked_is_found() {
    let Some(bed) = Bed::new() else { return };
    let service = Service::start(&bed);
    kill(service.analyzer());
    let end = reverse_shell(&bed);
    let analyzer = service.analyzer();
    service.finds("reverse_shell", 1);
    let alert = &service.alerts("reverse_shell")[0];
    assert!(alert["message"].as_str().unwrap().contains("was running already"), "{alert}");
    end();
    kill(analyzer);
}

#[test]
fn an_analyzer_that_stops_lets_another_come() {
    let Some(bed) = Bed::new() else { return };
    let service = Service::start(&bed);
    let mut first = service.analyzer();
    send(first.id(), Signal::SIGTERM);
    assert!(first.wait().unwrap().success());
    let second = service.analyzer();
    reverse_shell(&bed)();
    service.finds("reverse_shell", 1);
    kill(second);
    assert!(is_running(service.loader.id()));
}

#[test]
fn what_is_asked_of_a_loader_that_is_stopping_does_no_harm() {
    let Some(bed) = Bed::new() else { return };
    let mut service = Service::start(&bed);
    let mut channel = None;
    assert!(within(PATIENCE, || {
        channel = Channel::connect(&service.socket).ok();
        channel.is_some()
    }));
    let mut channel = channel.unwrap();
    let everything = Subscription::to(KindSet::all());
    for message in [
        AnalyzerMessage::Hello { version: PROTOCOL_VERSION },
        AnalyzerMessage::Subscribe(everything),
        AnalyzerMessage::TakeSnapshot,
        AnalyzerMessage::Stop,
        AnalyzerMessage::TakeSnapshot,
        AnalyzerMessage::Subscribe(everything),
    ] {
        let mut frame = Vec::new();
        encode(&message, &mut frame).unwrap();
        assert_eq!(channel.send(&frame).unwrap(), Sent::Done);
    }
    let mut last = Vec::new();
    assert!(within(PATIENCE, || match channel.receive().unwrap() {
        Received::Frame(frame) => {
            last = frame.to_vec();
            false
        }
        Received::WouldBlock => false,
        Received::Closed => true,
    }));
    let last = decode::<LoaderMessage<'_>>(&last);
    assert!(matches!(last, Ok(LoaderMessage::Finished { .. })), "{last:?}");
    assert_eq!(fs::read_to_string(bed.path("errors")).unwrap_or_default(), "");
    assert!(service.loader.try_wait().unwrap().is_none(), "the loader goes on");
}

#[test]
fn one_that_breaks_the_protocol_does_not_take_the_loader_along() {
    let Some(bed) = Bed::new() else { return };
    let service = Service::start(&bed);
    let mut stranger = None;
    assert!(within(PATIENCE, || {
        stranger = Channel::connect(&service.socket).ok();
        stranger.is_some()
    }));
    stranger.unwrap().send(&[0xff; 40]).map(drop).unwrap();
    let told = || fs::read_to_string(bed.path("errors")).unwrap_or_default();
    assert!(within(PATIENCE, || told().contains("the analyzer broke the protocol")), "{}", told());
    let analyzer = service.analyzer();
    reverse_shell(&bed)();
    service.finds("reverse_shell", 1);
    kill(analyzer);
}

#[test]
fn an_analyzer_does_as_its_configuration_file_says() {
    let Some(bed) = Bed::new() else { return };
    let service = Service::start(&bed);
    let (file, syslog) = (bed.path("analyzer.toml"), bed.path("log"));
    let daemon = UnixDatagram::bind(&syslog).unwrap();
    // The connector, which is not root, must reach it.
    for path in [bed.path(""), syslog.clone()] {
        fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    }
    daemon.set_read_timeout(Some(PATIENCE)).unwrap();
    let settings = format!(
        "enable-json-log = true\njson-log-path = \"{}\"\nenable-syslog = true\nsyslog = \"unix:{}\"\n",
        service.log.display(),
        syslog.display()
    );
    fs::write(&file, settings).unwrap();
    let analyzer = service.analyzer_with(&format!("--config={}", file.display()));
    reverse_shell(&bed)();
    service.finds("reverse_shell", 1);
    let mut datagram = [0; 2048];
    let length = daemon.recv(&mut datagram).unwrap();
    let line = String::from_utf8_lossy(&datagram[..length]);
    assert!(line.contains(&format!(" sentinel[{}]: ", analyzer.id())), "{line}");
    kill(analyzer);
}
