//! Honest clients and servers with secrets of their own, against real peers over a link between two network
//! namespaces: no engine calls any of it critical. One Sentinel watches it all.

#[path = "honest_clients/workloads.rs"]
mod workloads;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use sentinel_tests::{
    bed::{Bed, skip},
    outside::{ADDRESS, HOME, Outside, PRIVATE_ADDRESS},
    sentinel::{PATIENCE, Sentinel, alerts, is_about, within},
};
use serde_json::Value;

/// Some honest work.
#[derive(Clone, Copy)]
struct Work {
    name: &'static str,
    /// Programs that it needs, by their paths.
    needs: &'static [&'static str],
    /// Whether it is left out where they are missing, in CI too.
    is_extra: bool,
    /// Whether it goes to a package registry: its network is the host's.
    is_in_registry: bool,
    /// For bash; it must succeed. See [`Street::fill_in`] for the words with an @. `listens` waits until
    /// somebody does at @PORT, `visited` until the visit is over.
    script: &'static str,
    /// Done from outside, unseen, once `visited` is called.
    visit: Option<&'static str>,
}

const fn work(name: &'static str, needs: &'static [&'static str], script: &'static str) -> Work {
    Work { name, needs, is_extra: false, is_in_registry: false, script, visit: None }
}

const fn extra(name: &'static str, needs: &'static [&'static str], script: &'static str) -> Work {
    Work { is_extra: true, ..work(name, needs, script) }
}

impl Work {
    const fn visited(self, visit: &'static str) -> Self {
        Self { visit: Some(visit), ..self }
    }

    const fn in_registry(self) -> Self {
        Self { is_in_registry: true, ..self }
    }
}

const PRELUDE: &str = "set -eu -o pipefail
export RUSTUP_HOME=\"${RUSTUP_HOME:-$HOME/.rustup}\" HOME=@DIR GIT_SSH_COMMAND='@SSH'
listens() { until [ -n \"$(ss -Hltn sport = :@PORT)\" ]; do sleep 0.05; done; }
visited() { touch @DIR/up; until [ -e @DIR/done ]; do sleep 0.1; done; }
";
/// Options of ssh, with a key in the directory of the work.
const OPTIONS: &str = "-F none -i @DIR/.ssh/id_ed25519 -o StrictHostKeyChecking=no \
                       -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
const REPOSITORY: &str = "git init -q --bare @DIR/bare; git -c init.defaultBranch=main init -q \
                          @DIR/work; cp @DIR/big @DIR/work; git -C @DIR/work add big; git -C \
                          @DIR/work -c user.name=x -c user.email=x@x commit -q -m x";
const CERTIFICATE: &str = "(umask 077; cp @PEERS/tls.key @DIR/x.key; cp @PEERS/tls.crt @DIR/x.crt)";

/// The peers outside, and what all have in common.
struct Street<'a> {
    bed: &'a Bed,
    outside: &'a Outside,
    peers: PathBuf,
    services: Vec<Child>,
}

impl<'a> Street<'a> {
    fn new(bed: &'a Bed, outside: &'a Outside) -> Self {
        let peers = bed.path("peers");
        let www = peers.join("www");
        fs::create_dir_all(www.join("repository")).unwrap();
        fs::write(www.join("page"), "hello\n").unwrap();
        fs::write(www.join("repository/Packages"), "").unwrap();
        for name in ["host", "client"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
            run(Command::new("ssh-keygen").args(words).arg(peers.join(name)));
        }
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=peer"]);
        make.args(["-addext", &format!("subjectAltName=IP:{ADDRESS}"), "-keyout"]);
        run(make.arg(peers.join("tls.key")).arg("-out").arg(peers.join("tls.crt")));
        fs::create_dir_all("/run/sshd").unwrap();
        let at = peers.display();
        let configuration = format!(
            "ListenAddress {ADDRESS}:2222\nListenAddress {PRIVATE_ADDRESS}:2222\nHostKey \
             {at}/host\nAuthorizedKeysFile {at}/client.pub\nStrictModes no\nUsePAM no\nPidFile \
             none\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        );
        fs::write(peers.join("sshd.conf"), configuration).unwrap();
        let mut sshd = outside.unseen_command("/usr/sbin/sshd");
        sshd.arg("-D").arg("-f").arg(peers.join("sshd.conf"));
        let mut services = outside.unseen_command("/usr/bin/python3");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/honest_clients/services.py");
        services.arg(program).arg(&peers).arg(ADDRESS);
        let start = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let services = vec![start(&mut sshd), start(&mut services)];
        assert!(within(PATIENCE, || peers.join("up").exists()), "the services do not start");
        Self { bed, outside, peers, services }
    }

    fn fill_in(&self, text: &str, directory: &Path, number: usize) -> String {
        let ssh = format!("ssh -p 2222 {OPTIONS}");
        let port = 3000 + number;
        text.replace("@SSH", &ssh)
            .replace("@TO_HOME", &format!("ssh -p {port} {OPTIONS}"))
            .replace("@OPTIONS", OPTIONS)
            .replace("@REPOSITORY", REPOSITORY)
            .replace("@CERTIFICATE", CERTIFICATE)
            .replace("@DIR", directory.to_str().unwrap())
            .replace("@PEERS", self.peers.to_str().unwrap())
            .replace("@PORT", &port.to_string())
            .replace("@THERE", ADDRESS)
            .replace("@PRIVATE", PRIVATE_ADDRESS)
            .replace("@HOME", HOME)
    }

    /// The work's directory, which is its home: a key, a password, and something to send.
    fn furnish(&self, directory: &Path) {
        fs::create_dir_all(directory.join(".ssh")).unwrap();
        let secret = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        secret(".ssh/id_ed25519", &fs::read(self.peers.join("client")).unwrap());
        secret(".netrc", format!("machine {ADDRESS} login u password of-netrc\n").as_bytes());
        secret(".npmrc", b"//registry.invalid/:_authToken=0123456789abcdef0123456789abcdef\n");
        secret(".pypirc", b"[pypi]\nusername = u\npassword = of-pypirc\n");
        secret("cargo/credentials.toml", b"[registry]\ntoken = \"0123456789abcdef0123\"\n");
        let cluster = "apiVersion: v1\nkind: Config\nusers: [{name: u, user: {token: \
                       0123456789abcdef}}]\ncontexts: [{name: c, context: {user: u}}]\n\
                       current-context: c\n";
        secret(".kube/config", cluster.as_bytes());
        let noise = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
        fs::write(directory.join("big"), noise.collect::<Vec<u8>>()).unwrap();
        fs::write(directory.join("page"), "hello\n").unwrap();
        // Others than root send it as well.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Does some work; the process with which it began, or what went wrong.
    fn walk(&self, number: usize, work: &Work) -> Result<u32, String> {
        let directory = self.bed.path(&number.to_string());
        self.furnish(&directory);
        let script = format!("{PRELUDE}{}", work.script);
        let script = self.fill_in(&script, &directory, number);
        let mut command = if work.is_in_registry {
            self.bed.command("timeout")
        } else {
            self.outside.command(self.bed, "timeout")
        };
        command.args(["120", "bash", "-c", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id();
        let visit = work.visit.map(|visit| self.visit(visit, &directory, number));
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let visited = visit.map_or(Ok(()), |visit| visit);
        match (output.status.success(), visited) {
            (true, Ok(())) => Ok(pid),
            (_, visited) => Err(format!("{}: {}: {errors} {visited:?}", work.name, output.status)),
        }
    }

    fn visit(&self, visit: &str, directory: &Path, number: usize) -> Result<(), String> {
        let is_up = within(PATIENCE * 2, || directory.join("up").exists());
        let script = self.fill_in(visit, directory, number);
        let mut command = self.outside.unseen_command("timeout");
        command.args(["60", "bash", "-c", &format!("set -e; {script}")]).stdin(Stdio::null());
        let output = command.output().unwrap();
        fs::write(directory.join("done"), "").unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_done = is_up && output.status.success();
        if is_done { Ok(()) } else { Err(format!("the visit: {} {errors}", output.status)) }
    }
}

impl Drop for Street<'_> {
    fn drop(&mut self) {
        for service in &mut self.services {
            let _gone = service.kill();
            let _waited = service.wait();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Which work an alert is about.
fn work_of(alert: &Value, done: &[(&'static str, u32)]) -> &'static str {
    let found = done.iter().find(|(_, pid)| is_about(alert, *pid));
    found.map_or("?", |(name, _)| name)
}

#[test]
fn none_of_it_is_critical() {
    let Some(bed) = Bed::new() else { return };
    let mut shown = std::io::stderr();
    let all = [workloads::CLIENTS, workloads::REGISTRIES, workloads::SERVERS].concat();
    let lacks = |work: &Work| work.needs.iter().any(|program| !Path::new(program).exists());
    let (missing, possible): (Vec<Work>, Vec<Work>) = all.into_iter().partition(lacks);
    for one in missing {
        if one.is_extra {
            writeln!(shown, "left out: {}: {} is not here", one.name, one.needs[0]).unwrap();
        } else {
            skip(&format!("{}: {} is not here", one.name, one.needs.join(" or ")));
        }
    }
    let outside = Outside::with_home();
    let street = Street::new(&bed, &outside);
    let log = bed.path("correlation.json");
    let log_option = format!("--correlation-log={}", log.display());
    // What must not depend on how busy the machine is: no step is too late to count.
    let arguments =
        ["--enable-grimoire", "--enable-correlation", "--correlation-timeout=20000", &log_option];
    let sentinel = Sentinel::start(&bed, &arguments);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(work) = possible.get(number) else { break };
                    let walked = |time: usize| {
                        let walked = street.walk(number + 1000 * time, work);
                        walked.map(|pid| done.lock().unwrap().push((work.name, pid)))
                    };
                    let again = |time| walked(time).is_ok();
                    match walked(0) {
                        Ok(()) => {}
                        // The network's fault, as a rule: without one there is nothing to see.
                        Err(_) if work.is_in_registry && (1..3).any(again) => {}
                        Err(why) if work.is_in_registry => skip(&why),
                        Err(why) => failures.lock().unwrap().push(why),
                    }
                }
            });
        }
    });
    let outcome = sentinel.stop();
    let done = done.into_inner().unwrap();
    let mut wrong = failures.into_inner().unwrap();
    for alert in outcome.alerts.iter().chain(&alerts(&log)) {
        let name = work_of(alert, &done);
        let said = format!(
            "{name}: {} {}: {}",
            alert["severity"].as_str().unwrap(),
            alert["pattern_name"].as_str().unwrap(),
            alert["message"].as_str().unwrap()
        );
        if alert["severity"] == "critical" {
            wrong.push(said);
        } else {
            writeln!(shown, "{said}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{} done\n{}", done.len(), wrong.join("\n"));
    assert!(outcome.output.contains("network opened"), "{}", outcome.output);
}

#[test]
fn the_documentation_lists_each() {
    let text = include_str!("../docs/detection.md");
    for one in [workloads::CLIENTS, workloads::REGISTRIES, workloads::SERVERS].concat() {
        assert!(text.contains(one.name), "{}", one.name);
    }
}
