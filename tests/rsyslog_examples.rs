//! The examples of packaging/rsyslog do what they say, between real rsyslogds; those for services that are not here are
//! checked by rsyslogd itself.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use sentinel_tests::{
    bed::Bed,
    nspawn::packaging,
    peer::{self, Peer, free_port},
    rsyslogd::Rsyslogd,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};

/// An example, with what `changes` say an administrator changes.
fn example(name: &str, changes: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(packaging(&format!("rsyslog/{name}.conf"))).unwrap();
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name}: no {from}");
        text.replace(from, to)
    })
}

fn open_bed() -> Option<Bed> {
    let bed = Bed::new().filter(|_| Rsyslogd::is_there())?;
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    Some(bed)
}

fn attack(bed: &Bed, sentinel: &Sentinel) {
    let before = alerts(sentinel.log()).len();
    let peer = Peer::listen("127.0.0.1");
    let mut child = peer::reverse_shell(bed, &peer);
    let mut shell = peer.shell();
    shell.pid();
    shell.exit();
    child.wait().unwrap();
    assert!(within(PATIENCE, || alerts(sentinel.log()).len() > before), "no alert");
}

#[test]
fn alerts_are_in_a_file_of_their_own() {
    let Some(bed) = open_bed() else { return };
    let (socket, file, others) = (bed.path("log"), bed.path("alerts.log"), bed.path("auth.log"));
    let wanted = ("/var/log/sentinel-alerts.log", file.to_str().unwrap());
    let configuration = format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=\"{}\")\n{}\n\
         authpriv.* action(type=\"omfile\" file=\"{}\")",
        socket.display(),
        example("file", &[wanted]),
        others.display()
    );
    let _daemon = Rsyslogd::start(&bed, "rsyslogd", &configuration);
    let target = format!("--syslog=unix:{}", socket.display());
    let sentinel = Sentinel::start(&bed, &["--enable-syslog", &target]);
    attack(&bed, &sentinel);
    let filed = || fs::read_to_string(&file).unwrap_or_default();
    assert!(within(PATIENCE, || filed().contains(": CRITICAL reverse_shell ")), "{}", filed());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!fs::read_to_string(&others).unwrap_or_default().contains("reverse_shell"));
}

/// Certificates of an authority of the test's own, for the server and the host.
fn make_certificates(to: &Path) {
    let script = r#"
        set -eu
        cd "$1"
        key() { printf '%s' "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"; }
        openssl req -x509 $(key) -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=authority
        for pair in server:loghost.example.com host:web-1.example.com; do
            file=${pair%%:*} name=${pair##*:}
            openssl req $(key) -keyout "$file-key.pem" -out "$file.csr" -subj "/CN=$name" \
                -addext "subjectAltName=DNS:$name"
            openssl x509 -req -in "$file.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 \
                -copy_extensions copy -out "$file.pem"
        done
    "#;
    fs::create_dir(to).unwrap();
    let made = Command::new("sh").args(["-c", script, "sh"]).arg(to).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn alerts_reach_a_central_server_over_tls_also_if_it_was_away() {
    let Some(bed) = open_bed() else { return };
    let (certificates, hosts) = (bed.path("tls"), bed.path("hosts"));
    make_certificates(&certificates);
    let directory = format!("{}/", certificates.display());
    let (input, server_port) = (free_port().to_string(), free_port().to_string());
    let port = format!("port=\"{server_port}\"");
    let server = example(
        "server-tls",
        &[
            ("/etc/rsyslog-tls/", &directory),
            ("port=\"6514\"", &port),
            ("/var/log/sentinel-hosts", hosts.to_str().unwrap()),
        ],
    );
    let listens = format!("port=\"{input}\"");
    let host = example(
        "forward-tls",
        &[
            ("/etc/rsyslog-tls/", &directory),
            ("port=\"10514\"", &listens),
            ("port=\"6514\"", &port),
            // Its name stands in the certificate, and is asked for there.
            ("target=\"loghost.example.com\"", "target=\"127.0.0.1\""),
        ],
    );
    let mut server = Rsyslogd::start(&bed, "server", &server);
    let _host = Rsyslogd::start(&bed, "host", &host);
    let target = format!("--syslog=tcp:127.0.0.1:{input}");
    let sentinel = Sentinel::start(&bed, &["--enable-syslog", &target]);
    let filed = || {
        let files = fs::read_dir(&hosts).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect::<String>()
    };
    let arrived = || {
        let criticals = alerts(sentinel.log());
        let criticals = criticals.iter().filter(|alert| alert["severity"] == "critical").count();
        let wanted = || filed().matches("rule=\"reverse_shell\" severity=\"critical\"").count();
        assert!(within(PATIENCE, || wanted() >= criticals), "{}", filed());
    };
    // Somebody else finds the port.
    let mut other = TcpStream::connect(format!("127.0.0.1:{input}")).unwrap();
    for (priority, name) in [(82, "intruder"), (14, "sentinel")] {
        let line = format!("<{priority}>1 - web-1 {name} - - - not an alert\n");
        other.write_all(line.as_bytes()).unwrap();
    }
    drop(other);
    attack(&bed, &sentinel);
    arrived();
    server.end();
    attack(&bed, &sentinel);
    server.begin();
    arrived();
    assert!(!filed().contains("not an alert"), "{}", filed());
}

#[test]
fn the_ways_to_kafka_and_opensearch_are_right_as_rsyslogd_sees_it() {
    let Some(bed) = open_bed() else { return };
    let certificates = bed.path("tls");
    make_certificates(&certificates);
    let directory = format!("{}/", certificates.display());
    for (name, ruleset) in [("kafka", "sentinel-kafka"), ("opensearch", "sentinel-opensearch")] {
        let server = example(
            "server-tls",
            &[
                ("/etc/rsyslog-tls/", &directory),
                // As the example's comment says.
                (
                    "ruleset(name=\"sentinel-hosts\") {",
                    &format!("ruleset(name=\"sentinel-hosts\") {{\n\tcall {ruleset}"),
                ),
            ],
        );
        let onward = fs::read_to_string(packaging(&format!("rsyslog/{name}.conf"))).unwrap();
        let onward = onward.replace("/etc/rsyslog-tls/", &directory);
        let file = bed.path(name);
        let queues = format!("global(workDirectory=\"{}\")\n", certificates.display());
        let log =
            format!("syslog.* action(type=\"omfile\" file=\"{}\")\n", bed.path("x").display());
        fs::write(&file, queues.clone() + &onward + &server + &log).unwrap();
        assert_eq!(Rsyslogd::check(&file), Ok(()), "{name}");
        // One that is wrong is seen.
        fs::write(
            &file,
            queues
                + &onward.replace("dynSearchIndex", "dinSearchIndex").replace("dynaKey", "dinaKey")
                + &server
                + &log,
        )
        .unwrap();
        assert!(Rsyslogd::check(&file).is_err(), "{name}");
    }
}
