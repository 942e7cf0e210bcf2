//! An hour of the same load on a redis and an nginx, by hand: `cargo test -p sentinel-tests --test baseline_hour --
//! --ignored --nocapture`. What comes of it is said in docs/baseline.md.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    peer::free_port,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

/// As by default.
const LEARNING: Duration = Duration::from_mins(5);
const SAME_LOAD: Duration = Duration::from_hours(1);
/// Of each server, a second; a little less, as answers take their time.
const REQUESTS: u32 = 200;
/// After so many a client comes anew.
const OF_ONE_CONNECTION: u32 = 50;

/// Asks a server again and again until `is_over`; how often it answered.
fn ask(port: u16, request: &'static str, is_over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let is_over = Arc::clone(is_over);
    thread::spawn(move || {
        let (mut answers, mut bytes) = (0, [0; 4096]);
        while !is_over.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nodelay(true).unwrap();
            for _ in 0..OF_ONE_CONNECTION {
                stream.write_all(request.as_bytes()).unwrap();
                assert!(stream.read(&mut bytes).unwrap() > 0);
                answers += 1;
                thread::sleep(Duration::from_secs(1) / REQUESTS);
            }
        }
        answers
    })
}

fn redis(bed: &Bed, port: u16) -> Child {
    bed.command("/usr/bin/redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(bed.path(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn nginx(bed: &Bed, port: u16) -> Child {
    let at = |name: &str| bed.path(name).display().to_string();
    fs::write(bed.path("index.html"), "hello").unwrap();
    let configuration = format!(
        "daemon off; user root; worker_processes 2; pid {}; error_log {};\n\
         events {{}}\n\
         http {{ access_log {}; client_body_temp_path {}; keepalive_requests 100000;\n\
         server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
        at("pid"),
        at("error.log"),
        at("access.log"),
        at("tmp"),
        at(""),
    );
    fs::write(bed.path("nginx.conf"), configuration).unwrap();
    bed.command("/usr/sbin/nginx")
        .args(["-c", &at("nginx.conf")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn of_baseline(log: &Path) -> Vec<Value> {
    alerts(log).into_iter().filter(|alert| alert["engine"] == "baseline").collect()
}

#[test]
#[ignore = "takes 65 minutes: by hand"]
fn an_hour_of_the_same_load_is_quiet() {
    let bed = Bed::new().expect("root, and BPF");
    let log = bed.path("all.json");
    let path = format!("--json-log-path={}", log.display());
    let sentinel =
        Sentinel::start(&bed, &["--enable-baseline", "--enable-json-log", path.as_str()]);
    let ports = [(); 2].map(|()| free_port());
    let [for_redis, for_nginx] = ports;
    let mut servers = [redis(&bed, for_redis), nginx(&bed, for_nginx)];
    for port in ports {
        assert!(within(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()));
    }
    let is_over = Arc::default();
    let clients = [
        ask(for_redis, "INCR key\r\n", &is_over),
        ask(for_nginx, "GET / HTTP/1.1\r\nHost: here\r\n\r\n", &is_over),
    ];
    thread::sleep(LEARNING + SAME_LOAD);
    is_over.store(true, Ordering::Relaxed);
    let answers = clients.map(|client| client.join().unwrap());
    let told = of_baseline(&log);
    for server in &mut servers {
        // The test's own child; a master's workers end with it.
        let pid = nix::unistd::Pid::from_raw(server.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        server.wait().unwrap();
    }
    println!("{}", sentinel.stop().output);
    println!("answers: {answers:?}; alerts: {told:#?}");
    assert!(answers.iter().all(|&answers| answers > 100_000), "they were under load");
    assert!(told.iter().all(|alert| alert["severity"] == "info"), "the same load");
}
