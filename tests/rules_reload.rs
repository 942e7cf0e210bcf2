//! Rules of a directory are looked for beside the built-in ones, and swapped while Sentinel runs.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use sentinel_analyzer::control;
use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, Sentinel, alerts, program, within},
};

/// Has a directory of the test's own as /run/sentinel, so that it is this one that is asked.
const APART: &str = r#"mkdir -p /run/sentinel && mount --bind "$0" /run/sentinel && exec "$@""#;

/// A bed with a directory of rules and one for sockets.
struct Stage {
    bed: Bed,
    rules: PathBuf,
}

impl Stage {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let rules = bed.path("rules.d");
        fs::create_dir(&rules).unwrap();
        fs::create_dir(bed.path("run")).unwrap();
        // Files that root makes for everybody, as /etc/sentinel is.
        for path in [bed.path(""), rules.clone()] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path, mode).unwrap();
        }
        Some(Self { bed, rules })
    }

    fn start(&self, arguments: &[&str]) -> Sentinel {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", APART]).arg(self.bed.path("run")).arg(program());
        let scope = format!("--scope-cgroup={}", self.bed.cgroup().display());
        let rules = format!("--rules={}", self.rules.display());
        let arguments = [&[scope.as_str(), rules.as_str()], arguments].concat();
        Sentinel::start_as(&self.bed, command, &arguments)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.rules.join(name), text).unwrap();
    }

    fn reload(&self) -> Result<String, String> {
        control::reload_rules(&self.bed.path("run/control.sock")).expect("an answer")
    }

    /// Makes a directory of this name and removes it, in the bed.
    fn make(&self, name: &str) {
        let path = self.bed.path(name);
        let made = self.bed.command("mkdir").arg(&path).status().unwrap();
        assert!(made.success() && fs::remove_dir(path).is_ok());
    }
}

/// A rule whose steps are that directories of these names are made by one process.
fn rule(name: &str, made: &[&str]) -> String {
    let mut text = format!(
        "[[rule]]\nname = \"{name}\"\nseverity = \"info\"\nmitre = \"T1059\"\n\
         description = \"d\"\nfalse_positives = \"f\"\nwindow = \"10m\"\n"
    );
    for made in made {
        text += "[[rule.step]]\nevent = \"mkdir\"\n";
        text += &format!("where = {{ path = {{ suffix = \"/{made}\" }} }}\n");
    }
    text
}

fn count(sentinel: &Sentinel, rule: &str) -> usize {
    alerts(sentinel.log()).iter().filter(|alert| alert["pattern_name"] == rule).count()
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

#[test]
fn rules_are_swapped_and_what_is_under_way_goes_on() {
    let Some(stage) = Stage::new() else { return };
    stage.write("slow.toml", &rule("slow", &["first", "second"]));
    let sentinel = stage.start(&[]);
    let names = ["first", "second"].map(|name| stage.bed.path(name).display().to_string());
    let story = "import os, sys; os.mkdir(sys.argv[1]); print(1, flush=True); input(); \
                 os.mkdir(sys.argv[2]); sys.stdin.read()";
    let mut process = stage.bed.command("python3");
    process.args(["-c", story]).args(names).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = process.spawn().unwrap();
    let mut first = [0; 2];
    std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut first).unwrap();
    let mut tell = process.stdin.take().unwrap();

    // The number of `slow` changes; no rule asked for directories that are made through `mkdir` only.
    stage.write("fast.toml", &rule("fast", &["marked"]));
    let told = stage.reload().unwrap();
    assert!(told.contains("1 new, 0 changed, 0 gone"), "{told}");
    let found = within(PATIENCE, || {
        stage.make("marked");
        count(&sentinel, "fast") > 0
    });
    assert!(found, "the new rule is looked for");

    stage.write(
        "broken.toml",
        "[[rule]]\nname = \"broken\"\nseverity = \"loud\"\n\
                                [[rule.step]]\nevent = \"exec\"\n",
    );
    fs::remove_file(stage.rules.join("fast.toml")).unwrap();
    let refused = stage.reload().unwrap_err();
    assert!(refused.contains("broken.toml:"), "{refused}");
    let before = count(&sentinel, "fast");
    // In another place: the same again would be folded into the first one.
    fs::create_dir(stage.bed.path("again")).unwrap();
    let still = within(PATIENCE, || {
        stage.make("again/marked");
        count(&sentinel, "fast") > before
    });
    assert!(still, "a set with a mistake is refused whole");

    fs::remove_file(stage.rules.join("broken.toml")).unwrap();
    assert!(stage.reload().unwrap().contains("0 new, 0 changed, 1 gone"));
    let status = control::status(&stage.bed.path("run/control.sock")).unwrap();
    assert!(!status.rules.contains(&"fast".to_owned()), "{:?}", status.rules);
    tell.write_all(b"\n").unwrap();
    assert!(within(PATIENCE, || count(&sentinel, "slow") == 1), "what it began goes on");
    drop(tell);
    process.wait().unwrap();
    let outcome = sentinel.stop();
    assert!(outcome.errors.contains("broken.toml:"), "{}", outcome.errors);
    assert!(outcome.errors.contains("hold on"), "{}", outcome.errors);
}

#[test]
fn only_administrators_have_rules_reloaded() {
    let Some(stage) = Stage::new() else { return };
    let sentinel = stage.start(&["--disable-rules=reverse_shell,packet_socket"]);
    let reload = |as_other: &[&str]| -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", sentinel.pid()));
        command.args(as_other).arg(program()).args(["rules", "reload"]).output().unwrap()
    };
    let stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let refused = reload(&stranger);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("only root and the group"), "{}", text(&refused.stderr));
    let done = reload(&[]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stdout).contains("the same as before"), "{}", text(&done.stdout));
    stage.write("wrong.toml", "[[allow]]\nrule = \"packet_sokket\"\nexe = \"/x\"\n");
    let refused = reload(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let told = text(&refused.stderr);
    assert!(told.contains("wrong.toml:2:8: ") && told.contains("`packet_socket`"), "{told}");
    let banner = sentinel.stop().output;
    let patterns = banner.lines().find(|line| line.contains("patterns")).unwrap_or_default();
    assert!(!patterns.contains("reverse_shell") && !patterns.contains("packet_socket"), "{banner}");
}

#[test]
fn wrong_rules_start_nothing() {
    let Some(stage) = Stage::new() else { return };
    stage.write("wrong.toml", "[[rule]]\nfrob = 1\n");
    let run = |arguments: &[&str]| {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let rules = format!("--rules={}", stage.rules.display());
    assert!(run(&["run", &rules, "--duration=1"]).contains("wrong.toml:2:1: `frob`"));
    assert!(run(&["replay", "/dev/null", &rules]).contains("wrong.toml:2:1: `frob`"));
    assert!(run(&["run", "--rules=/nonexistent"]).contains("/nonexistent: No such file"));
    let unknown = run(&["replay", "/dev/null", "--disable-rules=reverse_shel"]);
    assert!(unknown.contains("did you mean `reverse_shell`?"), "{unknown}");
}

#[test]
fn a_pattern_in_code_can_be_off_and_have_exceptions() {
    let directory = tempfile::tempdir().unwrap();
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/reverse_shell_of_bash.cap");
    let alerts = |argument: &str| {
        let rules = format!("--rules={}", directory.path().display());
        let mut command = Command::new(program());
        let output = command.args(["replay", capture, &rules, argument]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).matches("CRITICAL reverse_shell").count()
    };
    assert_eq!(alerts("--grimoire-debug"), 1);
    assert_eq!(alerts("--disable-rules=reverse_shell"), 0);
    let except = |exe: &str| {
        let allow = format!("[[allow]]\nrule = \"reverse_shell\"\nexe = \"{exe}\"\n");
        fs::write(directory.path().join("own.toml"), allow).unwrap();
        alerts("--grimoire-debug")
    };
    assert_eq!((except("/usr/bin/bash"), except("/usr/bin/zsh")), (0, 1));
}
