//! A program's habits are learned, and what breaks them is told.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sentinel_ipc::clock;
use sentinel_tests::{
    bed::Bed,
    outside::Outside,
    peer::free_port,
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

/// What an alert of the engine may take, ns: counts are told once a second.
const LIMIT: u64 = 3_000_000_000;

/// Alerts of the engine, by what was counted.
fn of_baseline(alerts: &[Value]) -> BTreeMap<String, Value> {
    let alerts = alerts.iter().filter(|alert| alert["engine"] == "baseline");
    alerts.map(|alert| (alert["syscall"].as_str().unwrap().to_owned(), alert.clone())).collect()
}

#[test]
fn a_known_program_that_traces_connects_and_starts_another_is_told_at_once() {
    let Some(bed) = Bed::new() else { return };
    let log = bed.path("all.json");
    let path = format!("--json-log-path={}", log.display());
    let arguments =
        ["--enable-baseline", "--learning-period=10", "--enable-json-log", path.as_str()];
    let sentinel = Sentinel::start(&bed, &arguments);
    let program = compiled("habit");
    let mut habit = bed.command(&program).stdin(Stdio::piped()).spawn().unwrap();
    // It is known after ten seconds of its own.
    thread::sleep(Duration::from_secs(15));
    assert_eq!(of_baseline(&alerts(&log)), BTreeMap::new(), "it does what it always did");
    let broken = clock::boot_ns().unwrap();
    drop(habit.stdin.take());
    let expected = [
        ("ptrace", "high"),
        ("connect", "warning"),
        ("execve", "warning"),
        ("started programs", "warning"),
    ];
    let is_told = || {
        let told = of_baseline(&alerts(&log));
        expected.iter().all(|(what, _)| told.contains_key(*what))
    };
    assert!(within(PATIENCE, is_told), "{:?}", alerts(&log));
    let told = of_baseline(&alerts(&log));
    for (what, severity) in expected {
        let alert = &told[what];
        assert_eq!(alert["severity"], severity, "{alert}");
        assert_eq!(alert["exe"], program.to_str().unwrap(), "{alert}");
        assert_eq!(alert["pid"], habit.id(), "{alert}");
        assert_eq!(
            (alert["rate"].as_f64(), alert["mean"].as_f64()),
            (Some(1.0), Some(0.0)),
            "{alert}"
        );
        let at = alert["timestamp_boot"].as_u64().unwrap();
        assert!(at > broken && at - broken < LIMIT, "after {} ns: {alert}", at - broken);
    }
    // Its old habits are none.
    assert!(!told.contains_key("getppid") && !told.contains_key("poll"), "{told:?}");
    sentinel.stop();
    habit.kill().unwrap();
    habit.wait().unwrap();
}

/// A program of `tests/programs` whose standard input is a pipe.
fn piped(mut command: std::process::Command) -> Child {
    command.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn storms_of_processes_scans_and_floods_are_told() {
    let Some(bed) = Bed::new() else { return };
    let outside = Outside::new();
    let log = bed.path("all.json");
    let path = format!("--json-log-path={}", log.display());
    let arguments =
        ["--enable-baseline", "--learning-period=10", "--enable-json-log", path.as_str()];
    let sentinel = Sentinel::start(&bed, &arguments);
    // Three names, so that each is a program of its own.
    let program = compiled("routine");
    let words = ["forks", "scan", "send"];
    let mut running = words.map(|word| {
        let own = bed.path(word);
        fs::copy(&program, &own).unwrap();
        piped(outside.command(&bed, &own))
    });
    thread::sleep(Duration::from_secs(18));
    assert_eq!(of_baseline(&alerts(&log)), BTreeMap::new(), "they do what they always did");
    for (child, word) in running.iter_mut().zip(words) {
        child.stdin.as_mut().unwrap().write_all(word.as_bytes()).unwrap();
    }
    let expected = [("forks", "new processes"), ("scan", "destinations"), ("send", "bytes sent")];
    let told = |word: &str, what: &str| {
        let exe = bed.path(word);
        let is_it = |alert: &Value| {
            alert["engine"] == "baseline"
                && alert["exe"] == exe.to_str().unwrap()
                && alert["syscall"] == what
        };
        alerts(&log).into_iter().find(is_it)
    };
    let are_told = || expected.iter().all(|(word, what)| told(word, what).is_some());
    assert!(within(PATIENCE, are_told), "{:?}", of_baseline(&alerts(&log)));
    for (word, what) in expected {
        let alert = told(word, what).unwrap();
        assert_eq!(alert["severity"], "warning", "{alert}");
        assert_eq!(alert["pattern_name"], "baseline_rate", "{alert}");
        assert!(alert["z"].as_f64().unwrap() > 3.0, "{alert}");
        assert!(alert["rate"].as_f64() > alert["mean"].as_f64(), "{alert}");
        assert!(alert["seconds"].as_u64() >= Some(3), "{alert}");
    }
    for child in &mut running {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    let outcome = sentinel.stop();
    for words in
        ["learning: each program is known after 10 s", "learned: ", "programs known", "unusual"]
    {
        assert!(outcome.output.contains(words), "{words} in\n{}", outcome.output);
    }
}

#[test]
fn what_was_learned_outlives_sentinel_and_a_damaged_file_does_no_harm() {
    let Some(bed) = Bed::new() else { return };
    let log = bed.path("all.json");
    let (path, directory) = (format!("--json-log-path={}", log.display()), bed.path("kept"));
    let kept = format!("--baseline-path={}", directory.display());
    let arguments = [
        "--enable-baseline",
        "--learning-period=10",
        "--enable-json-log",
        path.as_str(),
        kept.as_str(),
    ];
    let sentinel = Sentinel::start(&bed, &arguments);
    let program = compiled("habit");
    let mut habit = piped(bed.command(&program));
    thread::sleep(Duration::from_secs(14));
    let outcome = sentinel.stop();
    assert_eq!(of_baseline(&outcome.alerts), BTreeMap::new());
    assert!(outcome.output.contains("0 programs learned before"), "{}", outcome.output);
    let file = directory.join("baseline");
    let learned = fs::read(&file).unwrap();
    assert!(learned.len() > 100);

    let mut sentinel = Sentinel::start(&bed, &arguments);
    sentinel.wait_until_told("programs learned before");
    assert!(!sentinel.output.contains("0 programs learned before"), "{}", sentinel.output);
    // It runs under the eyes of the new one for a moment, and breaks its habits.
    thread::sleep(Duration::from_secs(2));
    drop(habit.stdin.take());
    let is_told = || of_baseline(&alerts(&log)).contains_key("ptrace");
    assert!(within(PATIENCE, is_told), "{:?}", alerts(&log));
    sentinel.stop();
    habit.kill().unwrap();
    habit.wait().unwrap();

    let mut damaged = fs::read(&file).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let outcome = Sentinel::start(&bed, &arguments).stop();
    assert!(outcome.errors.contains("it is damaged"), "{}", outcome.errors);
    assert_eq!(fs::read(directory.join("baseline.unreadable")).unwrap(), damaged);
    assert_ne!(fs::read(&file).unwrap(), damaged);
}

/// Asks a redis so many times a second, until the number is 0.
fn ask(port: u16, a_second: Arc<AtomicU64>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut answers, mut bytes) = (0, [0; 512]);
        let mut due = Instant::now();
        loop {
            let rate = a_second.load(Ordering::Relaxed);
            if rate == 0 {
                return answers;
            }
            // However long an answer takes, as many are asked for; what is late is not made up for.
            due = (due + Duration::from_nanos(1_000_000_000 / rate)).max(Instant::now());
            thread::sleep(due - Instant::now());
            let words = ["SET key 0123456789\r\n", "GET key\r\n"];
            stream.write_all(words[usize::from(answers % 4 != 0)].as_bytes()).unwrap();
            assert!(stream.read(&mut bytes).unwrap() > 0);
            answers += 1;
        }
    })
}

/// A word to a redis, and its answer.
fn tell(port: u16, word: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("{word}\r\n").as_bytes()).unwrap();
    let mut bytes = [0; 256];
    let count = stream.read(&mut bytes).unwrap();
    assert!(bytes[..count].starts_with(b"+"), "{:?}", String::from_utf8_lossy(&bytes[..count]));
}

#[test]
fn a_redis_under_load_is_known_and_what_it_never_did_is_told() {
    const REDIS: &str = "/usr/bin/redis-server";
    let Some(bed) = Bed::new() else { return };
    if !Path::new(REDIS).exists() {
        return sentinel_tests::bed::skip("redis-server is not installed");
    }
    let log = bed.path("all.json");
    let path = format!("--json-log-path={}", log.display());
    let arguments =
        ["--enable-baseline", "--learning-period=20", "--enable-json-log", path.as_str()];
    let sentinel = Sentinel::start(&bed, &arguments);
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut redis = bed
        .command(REDIS)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(bed.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(within(PATIENCE, || TcpStream::connect(address).is_ok()));
    let rate = Arc::new(AtomicU64::new(200));
    let client = ask(port, Arc::clone(&rate));
    // As administrators do, which is learned too.
    tell(port, "PING");
    // Twenty seconds to learn, and half a minute of the same.
    thread::sleep(Duration::from_secs(55));
    assert_eq!(of_baseline(&alerts(&log)), BTreeMap::new(), "the same load");

    // Ten times as much is more work, and that is all that is told.
    rate.store(2000, Ordering::Relaxed);
    let is_told = || of_baseline(&alerts(&log)).contains_key("all system calls");
    assert!(within(PATIENCE, is_told), "{:?}", of_baseline(&alerts(&log)));
    rate.store(200, Ordering::Relaxed);
    let told = of_baseline(&alerts(&log));
    assert!(
        told.values().all(|alert| alert["severity"] == "info"),
        "more work is no attack: {told:?}"
    );
    thread::sleep(Duration::from_secs(2));

    let broken = clock::boot_ns().unwrap();
    tell(port, "BGSAVE");
    tell(port, "REPLICAOF 127.0.0.1 9");
    let expected = ["clone", "connect"];
    let is_told = || {
        let told = of_baseline(&alerts(&log));
        expected.iter().all(|what| told.contains_key(*what))
    };
    assert!(within(PATIENCE, is_told), "{:?}", of_baseline(&alerts(&log)));
    let told = of_baseline(&alerts(&log));
    for what in expected {
        let alert = &told[what];
        assert_eq!(
            (&alert["severity"], &alert["pattern_name"], &alert["exe"]),
            (&"warning".into(), &"baseline_new".into(), &redis_path().into()),
            "{alert}"
        );
        let at = alert["timestamp_boot"].as_u64().unwrap();
        assert!(at > broken && at - broken < LIMIT, "after {} ns: {alert}", at - broken);
    }
    rate.store(0, Ordering::Relaxed);
    assert!(client.join().unwrap() > 1000, "it was under load");
    let outcome = sentinel.stop();
    assert!(outcome.output.contains("epoll_wait"), "{}", outcome.output);
    redis.kill().unwrap();
    redis.wait().unwrap();
}

/// Where the server's file is, behind links.
fn redis_path() -> String {
    fs::canonicalize("/usr/bin/redis-server").unwrap().to_str().unwrap().to_owned()
}
