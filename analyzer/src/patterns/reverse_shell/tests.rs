//! Sequences that real kernels rarely give on demand: timing, graded severity, missing events.

use crate::{
    alert::{Alert, Severity},
    analysis::Analysis,
    event::{
        Action, Descriptor, DescriptorCall, Event, Exec, Object, ObjectId, Origin, Path, ProcessId,
        SocketEnds, Trust,
    },
};

const MS: u64 = 1_000_000;
const PIPE: u32 = 0o010_600;
const DEVICE: u32 = 0o020_620;
const SOCKET: u32 = 0o140_777;

/// A socket with a peer on 192.0.2.1.
fn connection(inode: u64) -> Descriptor {
    let remote = "192.0.2.1:4444".parse().unwrap();
    let ends =
        SocketEnds { family: 2, remote: Some(remote), has_peer: true, ..SocketEnds::default() };
    Descriptor { object: object(inode, SOCKET), socket: Some(ends) }
}

fn object(inode: u64, mode: u32) -> Object {
    Object { id: ObjectId { device: 8, inode, generation: 0 }, mode, ..Object::default() }
}

fn unix_socket(inode: u64) -> Descriptor {
    let ends = SocketEnds { family: 1, has_peer: true, ..SocketEnds::default() };
    Descriptor { socket: Some(ends), ..connection(inode) }
}

fn file(inode: u64) -> Descriptor {
    Descriptor { object: object(inode, 0o100_644), socket: None }
}

fn terminal() -> Descriptor {
    let object = Object { rdev: 136 << 20, ..object(99, DEVICE) };
    Descriptor { object, socket: None }
}

fn pipe(inode: u64) -> Descriptor {
    Descriptor { object: object(inode, PIPE), socket: None }
}

/// Feeds events, 1 ms apart.
#[derive(Default)]
struct Story {
    analysis: Analysis,
    now: u64,
    alerts: Vec<Alert>,
}

impl Story {
    fn happens(&mut self, pid: u32, action: Action) -> &mut Self {
        self.now += MS;
        let event = Event::of(self.now, id(pid), action);
        self.analysis.event(&event, &mut self.alerts);
        self
    }

    /// What a thread with a descriptor table of its own does.
    fn happens_in_private(&mut self, pid: u32, action: Action) -> &mut Self {
        self.now += MS;
        let event = Event { private_descriptors: true, ..Event::of(self.now, id(pid), action) };
        self.analysis.event(&event, &mut self.alerts);
        self
    }

    fn exec(&mut self, pid: u32, line: &str, stdio: [Descriptor; 3]) -> &mut Self {
        self.exec_with(pid, ("/usr/bin/", line), stdio, Exec::default())
    }

    /// What root installed at `/usr/sbin/`.
    fn exec_trusted(&mut self, pid: u32, line: &str, stdio: [Descriptor; 3]) -> &mut Self {
        let rest = Exec {
            trust: Trust::of(u16::MAX),
            object: Some(Object { links: 1, ..Object::default() }),
            ..Exec::default()
        };
        self.exec_with(pid, ("/usr/sbin/", line), stdio, rest)
    }

    fn exec_with(
        &mut self,
        pid: u32,
        (directory, line): (&str, &str),
        stdio: [Descriptor; 3],
        rest: Exec,
    ) -> &mut Self {
        let (name, _) = line.split_once(' ').unwrap_or((line, ""));
        let bytes = [directory, name].concat().into_bytes();
        let path = Some(Path { bytes, origin: Origin::Kernel, truncated: false });
        let arguments = line.split(' ').collect();
        let exec = Exec { path, arguments, stdio: stdio.map(Some), ..rest };
        self.happens(pid, Action::Exec(Box::new(exec)))
    }

    fn fork(&mut self, parent: u32, child: u32) -> &mut Self {
        let child = id(child);
        let (child_cgroup_id, shares_descriptors) = (1, false);
        let parent_id = id(parent);
        self.happens(
            parent,
            Action::Fork { child, child_cgroup_id, parent: parent_id, shares_descriptors },
        )
    }

    fn call(
        &mut self,
        pid: u32,
        call: DescriptorCall,
        from: Option<u32>,
        number: u32,
        descriptor: Descriptor,
    ) -> &mut Self {
        let (number, descriptor) = (Some(number), Some(descriptor));
        let close_on_exec = false;
        self.happens(pid, Action::Descriptor { call, number, from, descriptor, close_on_exec })
    }

    fn connect(&mut self, pid: u32, inode: u64) -> &mut Self {
        self.call(pid, DescriptorCall::Connect, None, 3, connection(inode))
    }

    fn dup(&mut self, pid: u32, to: u32, descriptor: Descriptor) -> &mut Self {
        self.call(pid, DescriptorCall::Dup, Some(3), to, descriptor)
    }

    fn passes(&mut self, ms: u64) -> &mut Self {
        self.now += ms * MS;
        self.analysis.time(self.now, &mut self.alerts);
        self
    }

    fn found(&self) -> Vec<(u32, Severity)> {
        self.alerts
            .iter()
            .filter(|alert| !alert.repeat)
            .map(|alert| (alert.pid, alert.severity))
            .collect()
    }
}

fn id(pid: u32) -> ProcessId {
    ProcessId { tgid: pid, start_time: u64::from(pid) * MS }
}

mod relays;

const FILES: fn() -> [Descriptor; 3] = || [file(10), file(11), file(11)];

#[test]
fn a_shell_on_a_connection_from_before_the_sensor_is_found_at_its_exec() {
    let mut story = Story::default();
    story.exec(5, "sh", [connection(1), connection(1), file(2)]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn input_and_errors_are_enough_and_two_connections_are_one_if_both_were_sought_at_one_peer() {
    let mut story = Story::default();
    story.exec(5, "sh", [connection(1), file(2), connection(1)]);
    story.exec(6, "sh", [connection(3), connection(4), connection(4)]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    let two = |peers: [&str; 2]| {
        let mut story = Story::default();
        let [input, output] = [(3, peers[0]), (4, peers[1])].map(|(number, peer)| {
            let mut socket = connection(u64::from(number));
            socket.socket.as_mut().unwrap().remote = Some(peer.parse().unwrap());
            story.call(6, DescriptorCall::Connect, None, number, socket);
            socket
        });
        story.exec(6, "sh", [input, output, output]);
        for child in 10..15 {
            story.fork(6, child).exec(child, "id", [input, output, output]);
        }
        story.found()
    };
    assert_eq!(two(["192.0.2.1:1", "192.0.2.1:2"]), [(6, Severity::Critical)]);
    assert_eq!(two(["192.0.2.1:1", "192.0.2.2:1"]), [], "other hosts");
}

#[test]
fn one_connection_is_reported_once_however_many_shells_follow() {
    let mut story = Story::default();
    let stdio = [connection(1); 3];
    story.exec(5, "sh", stdio).fork(5, 6).exec(6, "bash", stdio).exec(7, "sh", stdio);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn what_is_not_the_network_is_not_meant() {
    let mut story = Story::default();
    story.exec(5, "bash -i", [unix_socket(1); 3]).exec(6, "bash", [terminal(); 3]);
    let mut unconnected = connection(1);
    unconnected.socket = Some(SocketEnds {
        family: 2,
        local: Some("0.0.0.0:80".parse().unwrap()),
        ..SocketEnds::default()
    });
    story.exec(7, "sh", [unconnected; 3]).passes(5_000);
    assert_eq!(story.found(), []);
}

#[test]
fn a_script_is_high_until_it_runs_commands_on_a_connection_that_nobody_handed_it() {
    let stdio = [connection(1); 3];
    let mut story = Story::default();
    story.exec(4, "inetd", FILES());
    story.call(4, DescriptorCall::Accept, Some(9), 3, connection(1));
    story.dup(4, 0, connection(1)).dup(4, 1, connection(1));
    story.exec(4, "bash /srv/handler.sh", stdio).fork(4, 5).exec(5, "date", stdio).passes(5_000);
    assert_eq!(story.found(), [(4, Severity::High)]);
    let mut story = Story::default();
    story.exec(4, "agent", FILES()).connect(4, 1).dup(4, 0, connection(1));
    story.dup(4, 1, connection(1)).exec(4, "sh -c gzip", stdio).exec(4, "gzip", stdio);
    assert_eq!(story.found(), [(4, Severity::High)]);
    story.exec(4, "sh -c id;id", stdio).fork(4, 5).exec(5, "id", stdio);
    assert_eq!(story.found(), [(4, Severity::High), (4, Severity::Critical)]);
}

#[test]
fn a_script_that_becomes_an_interactive_shell_is_reported_again() {
    let mut story = Story::default();
    let stdio = [connection(1); 3];
    story.exec(4, "sh /srv/handler.sh", stdio).exec(4, "sh -i", stdio).exec(4, "sh", stdio);
    assert_eq!(story.found(), [(4, Severity::High), (4, Severity::Critical)]);
}

#[test]
fn an_interpreter_is_meant_when_it_reads_its_code_from_there() {
    let mut story = Story::default();
    story.exec(5, "python3 handler.py", [connection(1); 3]).passes(5_000);
    assert_eq!(story.found(), []);
    story.exec(6, "python3 -i", [connection(2); 3]);
    assert_eq!(story.found(), [(6, Severity::Critical)]);
}

#[test]
fn a_redirection_in_passing_is_not_meant_and_one_that_stays_is() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1)).passes(400);
    story.dup(5, 0, file(10)).passes(5_000);
    assert_eq!(story.found(), []);
    story.dup(5, 0, connection(1)).passes(900);
    assert_eq!(story.found(), []);
    story.passes(200);
    assert_eq!(story.found(), [(5, Severity::High)]);
    story.passes(5_000).fork(5, 6).exec(6, "id", [connection(1), connection(1), file(11)]);
    assert_eq!(story.found(), [(5, Severity::High), (5, Severity::Critical)]);
}

#[test]
fn a_shell_may_put_its_output_on_its_input_later() {
    let begun = || {
        let mut story = Story::default();
        story.exec(5, "bash -c x", FILES()).connect(5, 1);
        story.exec(5, "sh", [connection(1), file(11), file(11)]).passes(5_000);
        assert_eq!(story.found(), []);
        story
    };
    let mut story = begun();
    story.dup(5, 1, connection(1)).dup(5, 2, connection(1)).fork(5, 6);
    story.exec(6, "id", [connection(1); 3]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    // Its own commands are enough if it goes on.
    let mut story = begun();
    story.dup(5, 1, connection(1)).passes(2_000);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    // dash puts its own output there for a moment, and its command inherits it.
    let mut story = begun();
    story.dup(5, 1, connection(1)).fork(5, 6).exec(
        6,
        "id",
        [connection(1), connection(1), file(11)],
    );
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn a_script_that_serves_is_told_once_and_not_of_each_visit() {
    let bash = || {
        let object = Some(Object { links: 1, ..object(70, 0o100_755) });
        Exec { object, ..Exec::default() }
    };
    let mut story = Story::default();
    story.exec(4, "inetd", FILES());
    let mut visit = |listener: u32, pid: u32, line: &str| {
        let socket = connection(100 + u64::from(pid));
        // Of a port, as its own number tells.
        story.call(4, DescriptorCall::Listen, None, listener, file(u64::from(listener)));
        story.call(4, DescriptorCall::Accept, Some(listener), 3, socket).fork(4, pid);
        story.exec_with(pid, ("/usr/bin/", line), [socket; 3], bash()).happens(pid, Action::Exit);
        story.found()
    };
    visit(9, 10, "bash /srv/check.sh");
    visit(9, 11, "bash /srv/check.sh");
    assert_eq!(visit(9, 12, "bash /srv/check.sh"), [(10, Severity::High)]);
    let others = [(10, Severity::High), (13, Severity::High), (14, Severity::High)];
    visit(9, 13, "bash /srv/other.sh");
    assert_eq!(visit(8, 14, "bash /srv/check.sh"), others, "another port");
    assert_eq!(visit(9, 15, "bash").last(), Some(&(15, Severity::Critical)));
    assert_eq!(visit(9, 16, "bash").last(), Some(&(16, Severity::Critical)));
}

#[test]
fn a_handler_may_take_its_connection_off_and_put_it_back() {
    let stdio = [connection(1); 3];
    let mut story = Story::default();
    story.exec(4, "inetd", FILES());
    story.call(4, DescriptorCall::Accept, Some(9), 3, connection(1)).fork(4, 5);
    story.exec(5, "bash /srv/handler.sh", stdio);
    for number in [0, 1] {
        story.dup(5, number, file(12)).dup(5, number, connection(1)).passes(2_000);
        for child in 10..15 {
            story.fork(5, child).exec(child, "date", stdio);
        }
    }
    assert_eq!(story.found(), [(5, Severity::High)]);
    // One that was given its input only, and answers there.
    let mut story = Story::default();
    story.exec(4, "inetd", FILES());
    story.call(4, DescriptorCall::Accept, Some(9), 3, connection(1)).fork(4, 5);
    story.exec(5, "sh /srv/handler.sh", [connection(1), file(11), file(11)]);
    for child in 10..15 {
        story.dup(5, 1, connection(1)).fork(5, child).exec(child, "date", stdio);
        story.dup(5, 1, file(11));
    }
    assert_eq!(story.found(), [(5, Severity::High)]);
}

#[test]
fn commands_that_answer_to_what_is_read_are_a_dialogue() {
    let with_errors = [file(10), connection(1), connection(1)];
    let without = [file(10), connection(1), file(11)];
    let (own, installed) = ("bash -c x", "bash /usr/sbin/report");
    // What root installed may speak a protocol, whose words commands may say, too.
    for (script, answer, rounds, severity) in [
        (own, with_errors, 2, Severity::Critical),
        (own, without, 3, Severity::Critical),
        (installed, with_errors, 2, Severity::Critical),
        (installed, without, 3, Severity::High),
    ] {
        let mut story = Story::default();
        story.exec_trusted(5, script, FILES()).connect(5, 1);
        for round in 1..=rounds {
            assert_eq!(story.found(), [], "round {round}");
            story.dup(5, 0, connection(1)).dup(5, 0, file(10));
            story.fork(5, 6).exec(6, "id", answer).exec(6, "id", answer);
        }
        for _ in 0..10 {
            story.dup(5, 0, connection(1)).dup(5, 0, file(10)).fork(5, 6).exec(6, "id", answer);
        }
        assert_eq!(story.found(), [(5, severity)], "{script}");
    }
}

#[test]
fn input_may_come_through_a_pipe() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    story.fork(5, 6).exec(6, "cat", [connection(1), pipe(40), file(11)]);
    story.fork(5, 7).dup(7, 0, pipe(40));
    story.fork(7, 8).exec(8, "id", [pipe(40), connection(1), connection(1)]);
    assert_eq!(story.found(), []);
    story.fork(7, 9).exec(9, "ls", [pipe(40), connection(1), connection(1)]);
    assert_eq!(story.found(), [(7, Severity::Critical)]);
    // Another pipe has nothing to do with it.
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    story.fork(5, 6).exec(6, "cat", [connection(1), pipe(41), file(11)]);
    story.fork(5, 7).dup(7, 0, pipe(40));
    for child in 10..20 {
        story.fork(7, child).exec(child, "id", [pipe(40), connection(1), connection(1)]);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn input_may_stay() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1).dup(5, 0, connection(1));
    for child in 10..13 {
        assert_eq!(story.found(), []);
        story.fork(5, child).exec(child, "id", [connection(1), connection(1), file(11)]);
    }
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn answers_without_input_are_no_dialogue() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    for _ in 0..20 {
        story.fork(5, 6).exec(6, "date", [file(10), connection(1), connection(1)]);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_shell_that_is_talked_to_on_a_number_of_its_own_answers_turn_by_turn() {
    let answer = [file(10), connection(1), connection(1)];
    let own = |story: &mut Story| {
        story.dup(5, 1, connection(1)).dup(5, 2, connection(1));
        story.dup(5, 1, file(11)).dup(5, 2, file(11));
    };
    let command = |story: &mut Story| {
        story.fork(5, 6).dup(6, 1, connection(1)).dup(6, 2, connection(1));
        story.exec(6, "id", answer).happens(6, Action::Exit);
    };
    let found = |begun: [Descriptor; 3], wait: u64, turn: &dyn Fn(&mut Story)| {
        let mut story = Story::default();
        story.exec(5, "bash -c x", begun).connect(5, 1);
        for _ in 0..4 {
            assert_eq!(story.found(), []);
            turn(story.passes(wait));
        }
        story.found()
    };
    let channel = [pipe(40), file(11), file(11)];
    assert_eq!(found(FILES(), 300, &own), [(5, Severity::Critical)]);
    assert_eq!(found(FILES(), 300, &command), [(5, Severity::Critical)]);
    assert_eq!(found(channel, 300, &command), [(5, Severity::High)], "it may wait for another");
    assert_eq!(found(FILES(), 10, &own), []);
    assert_eq!(found(FILES(), 10, &command), []);
    let pushes = |story: &mut Story| {
        story.fork(5, 7).exec(7, "sleep 10", FILES()).passes(10_000).happens(7, Action::Exit);
        command(story);
        own(story);
    };
    assert_eq!(found(FILES(), 10, &pushes), []);
    let words = |story: &mut Story| {
        story.dup(5, 1, connection(1)).dup(5, 1, file(11)).fork(5, 6);
        story.exec(6, "date", [file(10), connection(1), file(11)]).happens(6, Action::Exit);
    };
    assert_eq!(found(FILES(), 300, &words), []);
}

#[test]
fn a_log_that_stays_on_a_connection_is_not_meant() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    story.dup(5, 1, connection(1)).dup(5, 2, connection(1));
    for child in 10..20 {
        story.passes(500).fork(5, child);
        story.exec(child, "make", [file(10), connection(1), connection(1)]);
        story.happens(child, Action::Exit);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_thread_with_a_table_of_its_own_changes_nothing_for_its_process() {
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).connect(5, 1);
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1));
    story.happens_in_private(5, Action::Close { first: 0, last: 2, unshare: false }).passes(2_000);
    assert_eq!(story.found(), [(5, Severity::High)]);
}

#[test]
fn an_interpreter_that_stays_is_meant_only_if_it_connected_out() {
    let mut story = Story::default();
    story.exec(5, "python3 serve.py", FILES());
    story.call(5, DescriptorCall::Accept, Some(9), 3, connection(1));
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1)).passes(5_000);
    assert_eq!(story.found(), []);
    story.exec(6, "python3 -c x", FILES()).connect(6, 2);
    story.dup(6, 0, connection(2)).dup(6, 1, connection(2)).passes(2_000);
    assert_eq!(story.found(), [(6, Severity::High)]);
    let mut story = Story::default();
    story.exec(6, "python3 -c code.interact()", FILES()).connect(6, 2);
    story.dup(6, 0, connection(2)).dup(6, 1, connection(2)).dup(6, 2, connection(2)).passes(2_000);
    assert_eq!(story.found(), [(6, Severity::Critical)], "errors, too");
}

#[test]
fn an_interpreter_that_runs_commands_on_its_own_connection_is_meant() {
    let stdio = [connection(1), connection(1), file(11)];
    let mut story = Story::default();
    story.exec(5, "perl -e x", FILES()).connect(5, 1);
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1)).fork(5, 6).exec(6, "cat", stdio);
    assert_eq!(story.found(), []);
    story.fork(5, 7).exec(7, "id", stdio);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn a_handler_that_opens_a_shell_on_a_terminal_is_meant() {
    let mut story = Story::default();
    story.exec(5, "python3 handler.py", [connection(1); 3]).fork(5, 6);
    story.exec(6, "bash", [terminal(); 3]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
}

#[test]
fn a_pty_relay_is_meant_whoever_connects_out_and_a_login_service_is_not() {
    // Not known what it runs: it ran before the sensor, or was forked from such a process.
    let mut story = Story::default();
    story.connect(5, 1).dup(5, 0, connection(1)).dup(5, 1, connection(1));
    story.fork(5, 6).exec(6, "sh", [terminal(); 3]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    let mut story = Story::default();
    story.exec(5, "backdoor", FILES()).connect(5, 1);
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1));
    story.fork(5, 6).exec(6, "bash", [terminal(); 3]);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    let mut story = Story::default();
    story.exec_trusted(5, "in.telnetd", [connection(1); 3]).fork(5, 6);
    story.exec(6, "bash", [terminal(); 3]).passes(5_000);
    assert_eq!(story.found(), []);
    // Its name alone says nothing.
    let mut story = Story::default();
    story.exec(5, "in.telnetd", [connection(1); 3]).fork(5, 6).exec(6, "bash", [terminal(); 3]);
    assert_eq!(story.found(), [(5, Severity::High)]);
}

#[test]
fn a_connect_that_failed_leaves_no_peer() {
    let mut story = Story::default();
    let nowhere = Descriptor {
        socket: Some(SocketEnds { family: 2, ..SocketEnds::default() }),
        ..connection(1)
    };
    story.exec(5, "agent", FILES());
    story.call(5, DescriptorCall::Connect, None, 3, nowhere);
    story.dup(5, 0, nowhere).dup(5, 1, nowhere).exec(5, "sh", [nowhere; 3]).passes(3_000);
    assert_eq!(story.found(), []);
}

#[test]
fn a_pid_that_came_back_is_another_process() {
    let mut story = Story::default();
    story.exec(5, "bash", FILES()).connect(5, 1);
    story.dup(5, 0, connection(1)).dup(5, 1, connection(1));
    let newcomer = ProcessId { tgid: 5, start_time: 77 };
    let exit = Event::of(story.now, newcomer, Action::Exit);
    story.analysis.event(&exit, &mut story.alerts);
    story.passes(5_000);
    assert_eq!(story.found(), []);
}
