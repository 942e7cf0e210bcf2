//! Rights that come from nowhere, and rights that come from where they should.

use sentinel_ipc::{file_class::class, kernel_abi::trust};

use crate::{
    alert::Severity,
    event::Credentials,
    patterns::story::{Started, Story, user},
};

const RULE: &str = "privilege_escalation";
const SETUID: u16 = super::allowed::SET_UID[0].1;
const NET_RAW: u64 = 1 << 13;
const CAP_SETUID: u64 = 1 << 7;
const NET_BIND: u64 = 1 << 10;

fn nobody() -> Credentials {
    user(1000, 1000, 1000, 0)
}

fn raised() -> Credentials {
    user(1000, 0, 0, u64::MAX)
}

fn start(started: Started, before: Credentials, after: Credentials) -> Story {
    let mut story = Story { user: (1000, after.user.effective), ..Story::default() };
    story.exec(10, Started { rights: Some((before, after)), ..started });
    story
}

#[test]
fn a_setuid_copy_anywhere_is_critical() {
    for (path, trust) in [("/tmp/x", 0), ("/usr/bin/bash", u16::MAX), ("/usr/bin/sudo", 0)] {
        let story = start(Started { trust, ..Started::at(path) }, nobody(), raised());
        assert_eq!(story.found(RULE), [(10, Severity::Critical)], "{path}");
    }
}

#[test]
fn programs_that_are_installed_for_it_are_not() {
    for path in ["/usr/bin/sudo", "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/pkexec"] {
        let started = Started { environment: "LD_LIBRARY_PATH=/opt/lib", ..Started::at(path) };
        assert_eq!(start(started, nobody(), raised()).found(RULE), [], "{path}");
    }
    let raw = user(1000, 1000, 1000, NET_RAW);
    assert_eq!(start(Started::at("/usr/bin/ping"), nobody(), raw).found(RULE), []);
}

#[test]
fn ping_may_open_raw_sockets_and_nothing_else() {
    let story = start(Started::at("/usr/bin/ping"), nobody(), user(1000, 1000, 1000, CAP_SETUID));
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn an_unlisted_helper_of_a_package_is_high_and_so_is_a_containers_sudo() {
    let story = start(Started::at("/usr/libexec/somebody/helper"), nobody(), raised());
    assert_eq!(story.found(RULE), [(10, Severity::High)]);
    let trust = trust::PATH_OF_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS;
    let story = start(Started { trust, ..Started::at("/usr/bin/sudo") }, nobody(), raised());
    assert_eq!(story.found(RULE), [(10, Severity::High)]);
}

#[test]
fn file_capabilities_count_even_before_they_are_made_effective() {
    let after = Credentials { effective: 0, ..user(1000, 1000, 1000, CAP_SETUID) };
    let story = start(Started::at("/home/u/capable"), nobody(), after);
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn what_a_user_namespace_gives_is_nothing() {
    let after = Credentials { user_namespace_level: 1, ..user(1000, 1000, 1000, u64::MAX) };
    let before = Credentials { user_namespace_level: 1, ..nobody() };
    for before in [before, nobody()] {
        assert_eq!(start(Started::at("/usr/bin/bwrap"), before, after).found(RULE), []);
    }
}

#[test]
fn who_was_root_before_has_gained_nothing() {
    for before in [user(1000, 1000, 0, 0), user(0, 1000, 1000, 0)] {
        assert_eq!(start(Started::at("/tmp/x"), before, raised()).found(RULE), []);
    }
    // On its way to a user (setpriv): none of that outlives the exec.
    let kept = user(1000, 1000, 1000, u64::MAX);
    assert_eq!(start(Started::at("/tmp/x"), kept, raised()).found(RULE).len(), 1);
}

#[test]
fn a_capability_before_hides_nothing_that_is_gained_beside_it() {
    let service = Credentials { ambient: NET_BIND, ..user(1000, 1000, 1000, NET_BIND) };
    let capable = user(1000, 1000, 1000, CAP_SETUID);
    for after in [raised(), capable] {
        let story = start(Started::at("/tmp/x"), service, after);
        assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
    }
    assert_eq!(start(Started::at("/tmp/x"), service, service).found(RULE), []);
    let mut story = start(Started::at("/home/u/exploit"), service, service);
    story.credentials(10, SETUID, (service, user(0, 0, 0, u64::MAX)));
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
    let mut story = start(Started::at("/home/u/exploit"), service, service);
    story.user = (0, 0);
    story.opens(10, "/etc/passwd", class::ACCOUNTS, 100);
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
    // What CAP_SETUID is for.
    let capable = Credentials { ambient: CAP_SETUID, ..capable };
    let mut story = start(Started::at("/usr/bin/login-service"), capable, capable);
    story.credentials(10, SETUID, (capable, user(0, 0, 0, CAP_SETUID)));
    assert_eq!(story.found(RULE), []);
}

#[test]
fn capabilities_that_lead_nowhere_are_not_critical_where_root_put_the_program() {
    let ipc_lock = 1 << 14;
    for (trust, severity) in [(u16::MAX, Severity::Warning), (0, Severity::Critical)] {
        let given = user(1000, 1000, 1000, NET_BIND | ipc_lock);
        let started = Started { trust, ..Started::at("/srv/node/bin/node") };
        assert_eq!(start(started, nobody(), given).found(RULE), [(10, severity)]);
        let started = Started { trust, ..Started::at("/srv/node/bin/node") };
        let given = user(1000, 1000, 1000, NET_BIND | CAP_SETUID);
        assert_eq!(start(started, nobody(), given).found(RULE), [(10, Severity::Critical)]);
    }
}

#[test]
fn root_out_of_nowhere_is_an_exploited_kernel() {
    // Cannot be done for real here: what the kernel does at an exploit is written by hand.
    let mut story = start(Started::at("/home/u/exploit"), nobody(), nobody());
    story.fork(10, 11);
    assert_eq!(story.found(RULE), []);
    story.user = (0, 0);
    story.opens(11, "/etc/passwd", class::ACCOUNTS, 100);
    story.opens(11, "/etc/passwd", class::ACCOUNTS, 100);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
}

#[test]
fn a_call_that_gives_what_none_can_give_is_one_too() {
    let mut story = start(Started::at("/home/u/exploit"), nobody(), nobody());
    story.credentials(10, SETUID, (nobody(), user(0, 0, 0, u64::MAX)));
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn a_shell_after_the_exploit_is_noticed_by_its_exec_if_nothing_else_is() {
    let mut story = start(Started::at("/home/u/exploit"), nobody(), nobody());
    story.user = (0, 0);
    let rights = Some((nobody(), user(0, 0, 0, u64::MAX)));
    story.exec(10, Started { rights, ..Started::at("/bin/sh") });
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

fn classic(program: &'static str, before: Credentials, after: Credentials) -> Story {
    let mut story = Story::default();
    story.exec(10, Started::at(program));
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, 900).fork(10, 11);
    story.credentials(11, SETUID, (before, after));
    story.exec(11, Started { rights: Some((after, after)), ..Started::at("/bin/sh") });
    story
}

#[test]
fn the_classic_is_read_become_root_start() {
    let root = user(0, 0, 0, u64::MAX);
    let story = classic("/home/u/tool", raised(), root);
    assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
    let steps: Vec<&str> = story.alerts[0].steps.iter().map(|step| step.event).collect();
    assert_eq!(steps, ["file_read", "credentials", "exec"]);
    assert_eq!(classic("/usr/bin/su", raised(), root).found(RULE), []);
}

#[test]
fn the_classic_takes_an_effective_root_only() {
    let dropped = user(1000, 1000, 0, 0);
    for before in [dropped, raised()] {
        let story = classic("/home/u/tool", before, raised());
        assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
    }
}

#[test]
fn the_classic_is_one_of_who_is_root_already() {
    let root = user(0, 0, 0, u64::MAX);
    for before in [root, user(0, 1000, 0, u64::MAX)] {
        let story = classic("/srv/backup", before, root);
        assert_eq!(story.found(RULE), [(11, Severity::Critical)]);
    }
}

#[test]
fn who_gives_up_root_before_it_takes_it_again_does_not_hide_the_classic() {
    let (root, real_dropped) = (user(0, 0, 0, u64::MAX), raised());
    let dropped = user(1000, 1000, 0, 0);
    let mut story = Story::default();
    story.exec(10, Started::at("/home/u/tool"));
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, 900);
    story.credentials(10, SETUID, (root, real_dropped));
    story
        .exec(10, Started { rights: Some((real_dropped, real_dropped)), ..Started::at("/bin/id") });
    assert_eq!(story.found(RULE), []);
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, 900);
    story.credentials(10, SETUID, (root, root));
    story.credentials(10, SETUID, (dropped, real_dropped));
    story
        .exec(10, Started { rights: Some((real_dropped, real_dropped)), ..Started::at("/bin/sh") });
    assert_eq!(story.found(RULE), [(10, Severity::Critical)]);
}

#[test]
fn the_classic_takes_all_three_in_order() {
    let root = user(0, 0, 0, u64::MAX);
    let rights = Some((root, root));
    let mut story = Story::default();
    story.exec(10, Started::at("/home/u/tool"));
    story.credentials(10, SETUID, (root, root));
    story.opens(10, "/etc/shadow", class::PASSWORD_HASHES, 900);
    story.exec(10, Started { rights, ..Started::at("/bin/sh") });
    story.exec(20, Started::at("/home/u/tool"));
    story.opens(20, "/etc/passwd", class::ACCOUNTS, 900);
    story.credentials(20, SETUID, (root, root));
    story.exec(20, Started { rights, ..Started::at("/bin/sh") });
    assert_eq!(story.found(RULE), []);
}
