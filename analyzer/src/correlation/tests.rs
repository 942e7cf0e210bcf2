//! Orders, hops and near misses.

use sentinel_ipc::file_class::class;

use crate::{
    alert::{Alert, Severity},
    analysis::{Analysis, Engines},
    destinations::Distance,
    event::{DescriptorCall, TrafficReport},
    patterns::story::{Started, Story, connection, file, pipe},
};

use super::Policy;

const RULE: &str = "data_exfiltration";
const KEY: u64 = 411;
const AWAY: &str = "203.0.113.5:4444";
const NEAR: &str = "10.0.0.7:4444";

const WARNING: (u32, Severity) = (10, Severity::Warning);
const CRITICAL: (u32, Severity) = (10, Severity::Critical);

fn looking(engines: &Engines) -> Story {
    let mut story = Story::default();
    story.analysis = std::mem::take(&mut story.analysis).with_engines(engines);
    story.exec(10, Started::at("/usr/bin/python3"));
    story
}

fn started() -> Story {
    looking(&Engines::default())
}

impl Story {
    fn reads(&mut self, pid: u32) -> &mut Self {
        self.opens(pid, "/home/u/.ssh/id_ed25519", class::SSH_KEY, KEY)
    }

    fn connects_to(&mut self, pid: u32, remote: &str) -> &mut Self {
        self.call(pid, DescriptorCall::Connect, 3, connection(77, remote))
    }

    /// One send of these bytes, the total so far, and what was answered.
    fn gives(
        &mut self,
        pid: u32,
        remote: &str,
        bytes: u64,
        (total, received): (u64, u64),
    ) -> &mut Self {
        let report = TrafficReport::Sent { bytes, calls: 1 };
        self.traffic(pid, (3, connection(77, remote)), report, (total, received))
    }

    fn sends_key(&mut self, pid: u32, remote: &str) -> &mut Self {
        self.gives(pid, remote, KEY, (KEY, 0))
    }

    fn told(&self) -> Vec<&Alert> {
        self.alerts.iter().filter(|alert| alert.pattern_name == RULE && !alert.repeat).collect()
    }
}

#[test]
fn both_orders_warn_and_turn_critical_when_data_leaves() {
    for (is_read_first, stage) in [(true, "network_opened"), (false, "file_read")] {
        let mut story = started();
        if is_read_first {
            story.reads(10).connects_to(10, AWAY);
        } else {
            story.connects_to(10, AWAY).reads(10);
        }
        assert_eq!(story.found(RULE), [WARNING]);
        story.sends_key(10, AWAY).sends_key(10, AWAY);
        assert_eq!(story.found(RULE), [WARNING, CRITICAL]);
        let line = |place: usize| serde_json::to_value(story.told()[place]).unwrap();
        let (first, last) = (line(0), line(1));
        assert_eq!(first["engine"], "correlation");
        assert_eq!((&first["stage"], &first["score"]), (&stage.into(), &90.into()));
        assert_eq!((&last["stage"], &last["score"]), (&"data_sent".into(), &170.into()));
        assert_eq!(last["file"], "/home/u/.ssh/id_ed25519");
        assert_eq!(
            (&last["remote_ip"], &last["remote_port"]),
            (&"203.0.113.5".into(), &4444.into())
        );
        assert_eq!((&last["bytes_read"], &last["bytes_sent"]), (&KEY.into(), &KEY.into()));
        let points = last["contributions"].as_array().unwrap().iter();
        assert_eq!(points.map(|one| one["points"].as_u64().unwrap()).sum::<u64>(), 170);
        let stages = story.analysis.stages().unwrap();
        assert_eq!((stages.network_opened, stages.file_read, stages.data_sent), (1, 1, 1));
    }
}

#[test]
fn the_pattern_and_the_engine_are_apart() {
    let mut without = looking(&Engines { correlation: None, ..Engines::default() });
    without.reads(10).connects_to(10, AWAY).sends_key(10, AWAY);
    assert_eq!((without.found(RULE).len(), without.found("credential_exfil").len()), (0, 1));
    let mut alone = looking(&Engines { patterns: false, ..Engines::default() });
    alone.reads(10).connects_to(10, AWAY).sends_key(10, AWAY);
    assert_eq!((alone.found(RULE).len(), alone.found("credential_exfil").len()), (2, 0));
}

#[test]
fn each_step_must_follow_the_other_within_the_window() {
    let mut story = started();
    story.reads(10).passes(5100).connects_to(10, AWAY).sends_key(10, AWAY);
    assert_eq!(story.found(RULE), []);
    assert_eq!(story.found("credential_exfil"), [CRITICAL], "left to the pattern");
    let mut story = started();
    story.reads(10).passes(4900).connects_to(10, AWAY).passes(4900).sends_key(10, AWAY);
    assert_eq!(story.found(RULE), [WARNING, CRITICAL], "it slides");
    let mut story = started();
    story.connects_to(10, AWAY).passes(60_000).reads(10).sends_key(10, AWAY);
    assert_eq!(story.found(RULE), [WARNING, CRITICAL], "what is open stays so");
    let patient = Policy { timeout_ms: 9000, ..Policy::default() };
    let mut story = looking(&Engines { correlation: Some(patient), ..Engines::default() });
    story.reads(10).passes(8000).connects_to(10, AWAY).sends_key(10, AWAY);
    assert_eq!(story.found(RULE), [WARNING, CRITICAL]);
}

#[test]
fn what_is_within_the_host_scores_nothing() {
    let mut story = started();
    story.connects_to(10, "127.0.0.1:80").reads(10).sends_key(10, "127.0.0.1:80");
    assert_eq!(story.found(RULE), []);
}

#[test]
fn private_networks_are_critical_only_with_a_match() {
    let mut story = started();
    story.connects_to(10, NEAR).reads(10);
    assert_eq!(story.found(RULE), []);
    story.gives(10, NEAR, 900_000, (900_000, 0)).gives(10, NEAR, 900_000, (1_800_000, 0));
    assert_eq!(story.found(RULE), [WARNING], "a backup");
    let mut story = started();
    story.connects_to(10, NEAR).reads(10).gives(10, NEAR, 1500, (1500, 900));
    assert_eq!(story.found(RULE), [WARNING], "what a backup begins with has no size to go by");
    let end = (3, connection(77, NEAR));
    story.traffic(10, end, TrafficReport::Totals, (1500, 900));
    assert_eq!(story.found(RULE), [WARNING, CRITICAL], "and if that was all, it has");
    let mut story = started();
    story.connects_to(10, NEAR).reads(10).sends_key(10, NEAR);
    assert_eq!(story.found(RULE), [CRITICAL]);
}

#[test]
fn which_networks_are_private_is_the_operators_word() {
    let own = vec!["203.0.113.0/24".parse().unwrap()];
    let mut story = looking(&Engines { own_networks: Some(own), ..Engines::default() });
    story.connects_to(10, AWAY).reads(10);
    assert_eq!(story.found(RULE), []);
    story.connects_to(10, NEAR);
    assert_eq!(story.found(RULE), [WARNING], "{:?}", Distance::External);
}

#[test]
fn the_threshold_decides_when_it_is_critical() {
    let strict = Policy { threshold: 171, ..Policy::default() };
    let mut story = looking(&Engines { correlation: Some(strict), ..Engines::default() });
    story.connects_to(10, AWAY).reads(10).sends_key(10, AWAY);
    assert_eq!(story.found(RULE), [WARNING]);
}

#[test]
fn handshakes_questions_and_requests_are_no_data() {
    let mut story = started();
    story.connects_to(10, AWAY).reads(10);
    story.gives(10, AWAY, 517, (517, 0)).gives(10, AWAY, 80, (597, 3000));
    assert_eq!(story.found(RULE), [WARNING], "a handshake");
    story.gives(10, AWAY, 700, (1297, 3000));
    assert_eq!(story.found(RULE), [WARNING, CRITICAL], "what follows it");
    let resolver = "198.51.100.53:53";
    let mut story = started();
    story.reads(10).connects_to(10, resolver).gives(10, resolver, 60, (60, 0));
    assert_eq!(story.found(RULE), [], "a question");
    let mut story = started();
    story.connects_to(10, AWAY).reads(10).gives(10, AWAY, 90, (90, 0)).gives(
        10,
        AWAY,
        60,
        (150, 90),
    );
    assert_eq!(story.found(RULE), [WARNING], "a small request");
}

#[test]
fn small_secrets_and_small_chunks_are_found() {
    let mut story = started();
    story.connects_to(10, AWAY).opens(10, "/root/.netrc", class::CLIENT_CREDENTIALS, 40);
    story.gives(10, AWAY, 40, (40, 0));
    assert_eq!(story.found(RULE), [WARNING, CRITICAL]);
    let mut story = started();
    story.connects_to(10, AWAY).opens(10, "/srv/tls.key", class::PRIVATE_KEY, 3243);
    for chunk in 1..=32 {
        story.gives(10, AWAY, 100, (chunk * 100, 0));
    }
    story.traffic(10, (3, connection(77, AWAY)), TrafficReport::Totals, (3243, 0));
    assert_eq!(story.found(RULE), [WARNING, CRITICAL]);
}

#[test]
fn what_was_sent_before_the_reading_does_not_count() {
    let mut story = started();
    story.connects_to(10, AWAY).sends_key(10, AWAY).reads(10);
    assert_eq!(story.found(RULE), [WARNING]);
}

#[test]
fn who_reads_and_who_sends_may_be_two() {
    let mut story = started();
    story.reads(10).fork(10, 11).connects_to(11, AWAY).sends_key(11, AWAY);
    assert_eq!(story.found(RULE), [(11, Severity::Warning), (11, Severity::Critical)]);
    // cat key | nc: the shell makes the pipe, and has nothing of it.
    let mut story = Story {
        analysis: Analysis::default().with_engines(&Engines::default()),
        ..Story::default()
    };
    story.exec(10, Started::at("/usr/bin/bash"));
    story.call(10, DescriptorCall::Pipe, 4, pipe(5)).call(10, DescriptorCall::Pipe, 5, pipe(5));
    story.fork(10, 11).exec(11, Started::at("/usr/bin/cat").with([file(10), pipe(5), file(11)]));
    story.fork(10, 12).close(10, 4).close(10, 5);
    story.exec(12, Started::at("/usr/bin/nc").with([pipe(5), file(11), file(11)]));
    story.connects_to(12, AWAY).reads(11).sends_key(12, AWAY);
    assert_eq!(story.found(RULE), [(12, Severity::Critical)]);
    let details: Vec<&str> =
        story.told()[0].steps.iter().map(|step| step.detail.as_str()).collect();
    assert!(details.contains(&"had data of pid 11 through a pipe"), "{details:?}");
}

#[test]
fn an_inherited_connection_is_one() {
    let mut story = started();
    story.connects_to(10, AWAY).fork(10, 11).reads(11).sends_key(11, AWAY);
    assert_eq!(story.found(RULE), [(11, Severity::Warning), (11, Severity::Critical)]);
}

#[test]
fn honest_clients_and_logins_are_quiet() {
    let mut story = started();
    story.exec(10, Started::at("/usr/bin/ssh")).reads(10).connects_to(10, AWAY);
    story.gives(10, AWAY, 3000, (3000, 0)).gives(10, AWAY, 3000, (6000, 2000));
    assert_eq!(story.found(RULE), []);
    let mut story = started();
    story.exec(10, Started::at("/usr/bin/sudo"));
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, KEY).close(10, 9).fork(10, 11);
    story.exec(11, Started::at("/usr/bin/curl")).connects_to(11, AWAY);
    story.gives(11, AWAY, 90_000, (90_000, 0));
    assert_eq!(story.found(RULE), []);
}

#[test]
fn an_environment_file_that_does_not_leave_as_it_is_is_not_critical() {
    let mut story = started();
    story.opens(10, "/srv/app/.env", class::ENVIRONMENT_FILE, 300).connects_to(10, AWAY);
    story.gives(10, AWAY, 9000, (9000, 0));
    assert_eq!(story.found(RULE), [WARNING, (10, Severity::High)]);
}
