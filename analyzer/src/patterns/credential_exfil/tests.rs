//! Ways that secrets leave by, and what is no such way.

use sentinel_ipc::file_class::class;

use crate::{
    alert::Severity,
    event::{Descriptor, DescriptorCall, TrafficReport},
    patterns::story::{Started, Story, connection, file, listener, pipe, unix_socket},
};

const RULE: &str = "credential_exfil";
const KEY: u64 = 411;
const AWAY: &str = "203.0.113.5:4444";

impl Story {
    fn reads_key(&mut self, pid: u32) -> &mut Self {
        self.opens(pid, "/home/u/.ssh/id_ed25519", class::SSH_KEY, KEY)
    }

    fn connects(&mut self, pid: u32, remote: &str) -> &mut Self {
        self.call(pid, DescriptorCall::Connect, 3, connection(77, remote))
    }

    fn sends_to(&mut self, pid: u32, remote: &str, bytes: u64) -> &mut Self {
        let report = TrafficReport::Sent { bytes, calls: 1 };
        self.traffic(pid, (3, connection(77, remote)), report, (bytes, 0))
    }

    fn connects_by(&mut self, pid: u32, number: u32, remote: &str) -> &mut Self {
        self.call(pid, DescriptorCall::Connect, number, connection(77, remote))
    }

    fn sends_by(&mut self, pid: u32, number: u32, remote: &str, bytes: u64) -> &mut Self {
        let report = TrafficReport::Sent { bytes, calls: 1 };
        self.traffic(pid, (number, connection(77, remote)), report, (bytes, 0))
    }

    fn sends(&mut self, pid: u32) -> &mut Self {
        self.sends_to(pid, AWAY, KEY)
    }
}

fn started(program: &'static str) -> Story {
    let mut story = Story::default();
    story.exec(10, Started::at(program));
    story
}

fn outside() -> [Descriptor; 3] {
    [file(10), file(11), file(11)]
}

const CRITICAL: [(u32, Severity); 1] = [(10, Severity::Critical)];

#[test]
fn read_then_connect_and_connect_then_read() {
    let mut story = started("/usr/bin/python3");
    story.reads_key(10).connects(10, AWAY).sends(10);
    assert_eq!(story.found(RULE), CRITICAL);
    let alert = &story.alerts[0];
    let steps: Vec<&str> = alert.steps.iter().map(|step| step.event).collect();
    assert_eq!(steps, ["file_read", "connect", "send"]);
    assert!(alert.steps[0].detail.contains("ssh_key, 411 bytes"), "{:?}", alert.steps);
    assert_eq!(alert.remote_ip.as_deref(), Some("203.0.113.5"));
    let mut story = started("/usr/bin/python3");
    story.connects(10, AWAY).reads_key(10).sends(10).sends(10);
    assert_eq!(story.found(RULE), CRITICAL);
}

#[test]
fn what_left_before_the_reading_is_not_it() {
    let mut story = started("/usr/bin/python3");
    story.connects(10, AWAY).sends(10).reads_key(10);
    assert_eq!(story.found(RULE), []);
    story.passes(61_000).sends(10);
    assert_eq!(story.found(RULE), [], "long after");
}

#[test]
fn how_far_it_goes_decides_how_bad_it_is() {
    for (remote, severity) in [
        ("127.0.0.1:80", None),
        ("[::1]:80", None),
        ("10.0.0.7:80", Some(Severity::Warning)),
        ("[fd00::7]:80", Some(Severity::Warning)),
        ("203.0.113.5:80", Some(Severity::Critical)),
        ("[2001:db8::7]:80", Some(Severity::Critical)),
    ] {
        let mut story = started("/usr/bin/python3");
        story.reads_key(10).connects(10, remote).sends_to(10, remote, KEY);
        let severities: Vec<Severity> = story.found(RULE).iter().map(|found| found.1).collect();
        assert_eq!(severities, Vec::from_iter(severity), "{remote}");
    }
}

/// `cat key | nc`: the shell makes the pipe.
fn pipeline() -> Story {
    let mut story = started("/usr/bin/bash");
    story.call(10, DescriptorCall::Pipe, 3, pipe(5)).call(10, DescriptorCall::Pipe, 4, pipe(5));
    story.fork(10, 11);
    story.exec(11, Started::at("/usr/bin/cat").with([file(10), pipe(5), file(11)]));
    story
}

#[test]
fn a_pipe_carries_it_on_and_the_shell_between_has_nothing_of_it() {
    let mut story = pipeline();
    story.reads_key(11).close(10, 4).fork(10, 12).close(10, 3);
    story.exec(12, Started::at("/usr/bin/nc").with([pipe(5), file(11), file(11)]));
    story.exit(11).connects(12, AWAY).sends(12);
    assert_eq!(story.found(RULE), [(12, Severity::Critical)]);
    let details: Vec<&str> =
        story.alerts[0].steps.iter().map(|step| step.detail.as_str()).collect();
    assert!(details.contains(&"had data of pid 11 through a pipe"), "{details:?}");
    story.connects(10, AWAY).sends(10);
    assert_eq!(story.found(RULE).len(), 1);
}

#[test]
fn a_shell_that_reads_the_pipe_itself_has_it() {
    let mut story = pipeline();
    story.reads_key(11).close(10, 4).exit(11);
    story.traffic(10, (3, pipe(5)), TrafficReport::Totals, (0, KEY)).close(10, 3);
    story.connects(10, AWAY).sends(10);
    assert_eq!(story.found(RULE), CRITICAL);
}

/// One end of a connection on this host.
fn end_on_this_host(inode: u64, local: &str, remote: &str) -> Descriptor {
    let mut end = connection(inode, remote);
    end.socket.as_mut().unwrap().local = Some(local.parse().unwrap());
    end
}

#[test]
fn a_relay_on_this_host_has_what_it_was_sent_if_that_is_the_secret() {
    let critical = vec![(20, Severity::Critical)];
    for (bytes, is_late, found) in
        [(KEY, false, critical.clone()), (KEY, true, critical), (KEY + 50, false, vec![])]
    {
        let mut story = started("/usr/bin/nc");
        story.exec(20, Started::at("/usr/bin/socat"));
        let ours = end_on_this_host(60, "127.0.0.1:50000", "127.0.0.1:9901");
        let theirs = end_on_this_host(61, "[::ffff:127.0.0.1]:9901", "[::ffff:127.0.0.1]:50000");
        story.call(10, DescriptorCall::Connect, 4, ours);
        if !is_late {
            story.call(20, DescriptorCall::Accept, 4, theirs);
        }
        story.reads_key(10);
        let report = TrafficReport::Sent { bytes, calls: 1 };
        story.traffic(10, (4, ours), report, (bytes, 0));
        if is_late {
            story.call(20, DescriptorCall::Accept, 4, theirs);
        }
        story.connects(20, AWAY).sends(20);
        assert_eq!(story.found(RULE), found, "{bytes}, accepted late: {is_late}");
    }
}

#[test]
fn datagrams_to_nobody_do_not_hide_the_next_ones() {
    let datagrams = |inode, local, remote| {
        let mut end = end_on_this_host(inode, local, remote);
        end.socket.as_mut().unwrap().kind = 2;
        end
    };
    let mut story = started("/usr/bin/nc");
    story.exec(20, Started::at("/usr/bin/socat"));
    let relay = datagrams(61, "127.0.0.1:9903", "127.0.0.1:50000");
    story.call(20, DescriptorCall::Connect, 4, relay).reads_key(10);
    for (remote, sent) in [("127.0.0.1:9", KEY), ("127.0.0.1:9903", 2 * KEY)] {
        let ours = datagrams(60, "127.0.0.1:50000", remote);
        story.call(10, DescriptorCall::Connect, 4, ours);
        let report = TrafficReport::Sent { bytes: KEY, calls: 1 };
        story.traffic(10, (4, ours), report, (sent, 0));
    }
    story.connects(20, AWAY).sends(20);
    assert_eq!(story.found(RULE), [(20, Severity::Critical)]);
}

#[test]
fn a_service_that_was_sent_as_much_as_a_secret_has_is_not_killed_for_what_else_it_sends() {
    let mut story = started("/usr/bin/curl");
    story.exec(20, Started::at("/opt/app/server"));
    let ours = end_on_this_host(60, "127.0.0.1:50000", "127.0.0.1:9901");
    let theirs = end_on_this_host(61, "127.0.0.1:9901", "127.0.0.1:50000");
    story.call(20, DescriptorCall::Accept, 4, theirs).reads_key(10);
    let report = TrafficReport::Sent { bytes: KEY + 1, calls: 1 };
    story.traffic(10, (4, ours), report, (KEY + 1, 0));
    story.connects(20, AWAY).sends_to(20, AWAY, 9000);
    assert_eq!(story.found(RULE), [(20, Severity::High)]);
}

#[test]
fn who_runs_a_command_and_sends_much_else_is_not_killed_for_it() {
    for (bytes, severity) in [(KEY, Severity::Critical), (9000, Severity::High)] {
        let mut story = started("/usr/bin/python3");
        story.pipe(10, 5).fork(10, 11).close(10, 4);
        story.exec(11, Started::at("/usr/bin/cat").with([file(10), pipe(5), file(11)]));
        story.reads_key(11).exit(11);
        story.connects_by(10, 5, AWAY).sends_by(10, 5, AWAY, bytes);
        assert_eq!(story.found(RULE), [(10, severity)], "{bytes}");
    }
}

#[test]
fn a_service_that_was_sent_a_secret_still_answers_its_clients() {
    let mut story = started("/usr/bin/curl");
    story.exec(20, Started::at("/opt/app/server"));
    let ours = end_on_this_host(60, "127.0.0.1:50000", "127.0.0.1:9901");
    let theirs = end_on_this_host(61, "127.0.0.1:9901", "127.0.0.1:50000");
    let client = connection(77, "198.51.100.9:50000");
    story.call(20, DescriptorCall::Accept, 4, theirs).call(20, DescriptorCall::Accept, 3, client);
    story.reads_key(10);
    let report = TrafficReport::Sent { bytes: KEY, calls: 1 };
    story.traffic(10, (4, ours), report, (KEY, 0));
    let report = TrafficReport::Sent { bytes: 9000, calls: 1 };
    story.traffic(20, (3, client), report, (9000, 500));
    assert_eq!(story.found(RULE), [(20, Severity::High)]);
}

#[test]
fn a_jobserver_carries_nothing() {
    let mut story = started("/usr/bin/make");
    story.call(10, DescriptorCall::Pipe, 3, pipe(5)).call(10, DescriptorCall::Pipe, 4, pipe(5));
    story.fork(10, 11).exec(11, Started::at("/usr/bin/openssl"));
    story.fork(10, 12).exec(12, Started::at("/usr/bin/curl"));
    story.opens(11, "/src/tests/key.pem", class::PRIVATE_KEY, 1704);
    story.traffic(12, (3, pipe(5)), TrafficReport::Totals, (1, 1));
    story.connects(12, AWAY).sends_to(12, AWAY, 90_000);
    assert_eq!(story.found(RULE), []);
}

#[test]
fn children_and_passed_sockets_carry_it_on() {
    let mut story = started("/usr/bin/python3");
    story.reads_key(10).fork(10, 11).connects(11, AWAY).sends(11);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
    let mut story = started("/usr/bin/python3");
    let (one, other) = (unix_socket(5), unix_socket(6));
    story.call(10, DescriptorCall::Socketpair, 3, one).call(
        10,
        DescriptorCall::Socketpair,
        4,
        other,
    );
    story.fork(10, 11).close(10, 4).close(11, 3);
    story.exec(11, Started::at("/usr/bin/nc").with([other, file(11), file(11)]));
    story.reads_key(10).connects(11, AWAY).sends(11);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
}

#[test]
fn who_gets_the_open_file_has_it() {
    let mut story = started("/usr/bin/ssh-agent");
    story.reads_key(10);
    story.exec(20, Started::at("/usr/bin/python3"));
    story.call(20, DescriptorCall::Received, 5, file(1_000_000 + KEY));
    story.connects(20, AWAY).sends(20);
    assert_eq!(story.found(RULE), [(20, Severity::Critical)]);
}

#[test]
fn clients_that_read_their_own_are_quiet_and_their_names_elsewhere_are_not() {
    let mut story = started("/usr/bin/ssh");
    story.reads_key(10).connects(10, "203.0.113.5:22").sends_to(10, "203.0.113.5:22", 3000);
    assert_eq!(story.found(RULE), []);
    for fake in [
        Started { trust: 0, ..Started::at("/usr/bin/ssh") },
        Started::at("/home/u/ssh"),
        Started { environment: "LD_PRELOAD=/tmp/x.so", ..Started::at("/usr/bin/ssh") },
    ] {
        let mut story = Story::default();
        story.exec(10, fake).reads_key(10).connects(10, AWAY).sends(10);
        assert_eq!(story.found(RULE), CRITICAL);
    }
    let mut story = started("/usr/bin/ssh");
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, KEY).connects(10, AWAY).sends(10);
    assert_eq!(story.found(RULE), CRITICAL, "not its own");
}

#[test]
fn a_script_is_known_with_its_interpreter() {
    for (script, found) in [("/usr/bin/aws", 0), ("/home/u/aws", 1)] {
        let mut story = Story::default();
        let python = Started { script: Some(script), ..Started::at("/usr/bin/python3") };
        story.exec(10, python).opens_script(10, script);
        story.opens(10, "/home/u/.aws/credentials", class::CLOUD_CREDENTIALS, KEY);
        let service = "203.0.113.5:443";
        story.connects(10, service).sends_to(10, service, KEY);
        assert_eq!(story.found(RULE).len(), found, "{script}");
    }
}

#[test]
fn a_login_leaves_nothing_to_the_session_but_what_it_leaves_open() {
    let mut story = started("/usr/bin/sudo");
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, KEY).close(10, 9).fork(10, 11);
    story.exec(11, Started::at("/usr/bin/curl")).connects(11, AWAY).sends_to(11, AWAY, 90_000);
    assert_eq!(story.found(RULE), []);
    let mut story = started("/usr/bin/sudo");
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, KEY).fork(10, 11);
    story.exec(11, Started::at("/usr/bin/curl")).connects(11, AWAY).sends(11);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
}

#[test]
fn a_server_of_any_kind_serves_after_it_has_read_its_key() {
    let mut story = started("/opt/app/server");
    story.opens(10, "/opt/app/tls.key", class::PRIVATE_KEY, 1704);
    story.call(10, DescriptorCall::Listen, 4, listener(8));
    let client = connection(77, "198.51.100.9:50000");
    story.call(10, DescriptorCall::Accept, 3, client);
    let report = TrafficReport::Sent { bytes: 4000, calls: 1 };
    story.traffic(10, (3, client), report, (4000, 517));
    // To its database, outside.
    story.call(10, DescriptorCall::Connect, 5, connection(78, "203.0.113.9:5432"));
    let report = TrafficReport::Sent { bytes: 9000, calls: 1 };
    story.traffic(10, (5, connection(78, "203.0.113.9:5432")), report, (9000, 100));
    assert_eq!(story.found(RULE), []);
}

#[test]
fn a_server_that_takes_up_its_renewed_key_serves_on() {
    for (path, found) in [("/opt/app/tls.key", 0), ("/opt/other/tls.key", 1)] {
        let mut story = started("/opt/app/server");
        story.opens(10, "/opt/app/tls.key", class::PRIVATE_KEY, 1704);
        story.call(10, DescriptorCall::Listen, 4, listener(8)).passes(90_000).fork(10, 11);
        story.opens(11, path, class::PRIVATE_KEY, 1704);
        let there = connection(78, "203.0.113.9:443");
        story.call(11, DescriptorCall::Connect, 5, there);
        let report = TrafficReport::Sent { bytes: 9000, calls: 1 };
        story.traffic(11, (5, there), report, (9000, 100));
        assert_eq!(story.found(RULE).len(), found, "{path}");
    }
}

#[test]
fn who_answers_datagrams_serves_and_who_sends_them_first_does_not() {
    for (class, received, found) in [
        (class::PRIVATE_KEY, 1200, 0),
        (class::PRIVATE_KEY, 0, 1),
        (class::PASSWORD_HASHES, 1200, 1),
    ] {
        let mut story = started("/opt/app/server");
        story.opens(10, "/opt/app/secret", class, 1704);
        let mut there = connection(78, "198.51.100.9:50000");
        there.socket.as_mut().unwrap().kind = 2;
        story.call(10, DescriptorCall::Bind, 5, there);
        for sent in [1200, 2400, 3600, 4800] {
            let report = TrafficReport::Sent { bytes: 1200, calls: 1 };
            story.traffic(10, (5, there), report, (sent, received));
        }
        assert_eq!(story.found(RULE).len(), found, "{class} {received}");
    }
}

#[test]
fn a_connection_that_was_passed_on_and_closed_is_still_an_accepted_one() {
    let mut story = started("/opt/app/worker");
    story.exec(11, Started::at("/opt/app/acceptor"));
    story.opens(10, "/opt/app/tls.key", class::PRIVATE_KEY, 1704);
    let client = connection(77, "198.51.100.9:50000");
    story.call(11, DescriptorCall::Accept, 3, client).close(11, 3);
    story.call(10, DescriptorCall::Received, 5, client);
    let report = TrafficReport::Sent { bytes: 4000, calls: 1 };
    story.traffic(10, (5, client), report, (4000, 517));
    assert_eq!(story.found(RULE), []);
}

#[test]
fn a_listener_that_gives_the_key_to_who_comes_is_found() {
    let mut story = started("/usr/bin/bash");
    story.reads_key(10);
    story.exec(10, Started::at("/usr/bin/nc").with([file(1_000_000 + KEY), file(11), file(11)]));
    story.call(10, DescriptorCall::Listen, 4, listener(8));
    let client = connection(77, "198.51.100.9:50000");
    story.call(10, DescriptorCall::Accept, 3, client);
    let report = TrafficReport::Sent { bytes: KEY, calls: 1 };
    story.traffic(10, (3, client), report, (KEY, 0));
    assert_eq!(story.found(RULE), CRITICAL);
}

#[test]
fn a_service_that_reads_its_environment_and_connects_is_not_critical() {
    let mut story = started("/usr/bin/node");
    story.opens(10, "/srv/app/.env", class::ENVIRONMENT_FILE, 300);
    story.connects(10, AWAY).sends_to(10, AWAY, 9000);
    assert_eq!(story.found(RULE), [(10, Severity::High)]);
    story.sends_to(10, AWAY, 300);
    assert_eq!(story.found(RULE), [(10, Severity::High), (10, Severity::Critical)]);
}

#[test]
fn writing_a_secret_or_naming_it_is_not_reading_it() {
    use crate::event::{File, FileCall, Object};
    for open_flags in [1, 0o10_000_000] {
        let mut story = started("/usr/bin/python3");
        let object = Some(Object { size: KEY, mode: 0o100_600, ..Object::default() });
        let (call, number, path, class) = (FileCall::Open, Some(5), None, class::SSH_KEY);
        let close_on_exec = false;
        story.file(10, File { call, number, object, path, class, open_flags, close_on_exec });
        story.connects(10, AWAY).sends(10);
        assert_eq!(story.found(RULE), []);
    }
}

#[test]
fn the_standard_streams_of_an_ordinary_program_are_no_secrets() {
    let mut story = started("/usr/bin/cat");
    story.exec(10, Started::at("/usr/bin/nc").with(outside())).connects(10, AWAY).sends(10);
    assert_eq!(story.found(RULE), []);
}
