//! Shells behind other programs.

use super::*;

const SECOND: u64 = 1_000;

impl Story {
    /// `pid` runs a command with its own input and output after `ms`.
    fn runs(&mut self, pid: u32, ms: u64, child: u32, stdio: [Descriptor; 3]) -> &mut Self {
        self.now += ms * MS;
        self.fork(pid, child).exec(child, "id", stdio).happens(child, Action::Exit)
    }

    /// Both ends of a socketpair, on 3 and 4.
    fn pair(&mut self, pid: u32, first: u64, second: u64) -> &mut Self {
        self.call(pid, DescriptorCall::Socketpair, Some(4), 3, unix_socket(first));
        self.call(pid, DescriptorCall::Socketpair, Some(3), 4, unix_socket(second))
    }

    /// `mkfifo f; nc … <f | sh >f`: nc is 6, the shell 7.
    fn fifo_relay(&mut self, nc: &str, shell: &str) -> &mut Self {
        self.exec(5, "bash -c x", FILES()).fork(5, 6).fork(5, 7);
        self.exec(6, nc, [pipe(40), pipe(41), file(11)]).connect(6, 1);
        self.exec(7, shell, [pipe(41), pipe(40), pipe(40)])
    }
}

#[test]
fn a_shell_between_a_fifo_and_nc_is_meant_once_it_is_talked_to() {
    let stdio = [pipe(41), pipe(40), pipe(40)];
    let mut story = Story::default();
    story.fifo_relay("nc 192.0.2.1 4444", "sh -i").runs(7, 300, 8, stdio);
    assert_eq!(story.found(), []);
    story.runs(7, 300, 9, stdio);
    assert_eq!(story.found(), [(7, Severity::Critical)]);
    assert_eq!(story.alerts[0].remote_port, Some(4444));
}

#[test]
fn turns_may_be_minutes_apart() {
    let stdio = [pipe(41), pipe(40), pipe(40)];
    let mut story = Story::default();
    story.fifo_relay("nc x", "sh").passes(400 * SECOND).runs(7, 0, 8, stdio);
    story.passes(300 * SECOND).runs(7, 0, 9, stdio);
    assert_eq!(story.found(), [(7, Severity::High), (7, Severity::Critical)]);
}

#[test]
fn a_shell_whose_script_comes_through_a_pipe_that_closes_is_not_meant() {
    // An agent that connected out, and gives bash a script by a pipe.
    let stdio = [pipe(40), pipe(41), pipe(41)];
    let mut story = Story::default();
    story.exec(5, "agent", FILES()).connect(5, 1);
    story.call(5, DescriptorCall::Pipe, Some(5), 4, pipe(40));
    story.call(5, DescriptorCall::Pipe, Some(4), 5, pipe(40));
    story.call(5, DescriptorCall::Pipe, Some(7), 6, pipe(41));
    story.fork(5, 6).exec(6, "bash", stdio);
    for closed in [4, 5] {
        story.happens(5, Action::Close { first: closed, last: closed, unshare: false });
    }
    for child in 10..30 {
        story.runs(6, 500, child, stdio).passes(SECOND);
    }
    assert_eq!(story.found(), []);
    // One that keeps it open and goes on writing is.
    story.call(5, DescriptorCall::Pipe, Some(9), 8, pipe(50)).fork(5, 7);
    let stdio = [pipe(50), pipe(41), pipe(41)];
    story.exec(7, "bash", stdio).runs(7, 5, 40, stdio).passes(SECOND + 1);
    assert_eq!(story.found(), [(7, Severity::High)]);
    story.runs(7, 300, 41, stdio).runs(7, 300, 42, stdio);
    assert_eq!(story.found(), [(7, Severity::High), (7, Severity::Critical)]);
}

#[test]
fn what_an_agent_runs_by_script_and_reads_by_pipe_is_not_meant() {
    let mut story = Story::default();
    story.exec(5, "agent", FILES()).connect(5, 1);
    story.call(5, DescriptorCall::Pipe, Some(7), 6, pipe(41));
    for (shell, line) in [(10, "sh -c df"), (11, "bash build.sh"), (12, "sh -xe /tmp/job.sh")] {
        let stdio = [file(10), pipe(41), pipe(41)];
        story.fork(5, shell).exec(shell, line, stdio);
        for child in 20..25 {
            story.runs(shell, 400, child, stdio);
        }
        story.passes(5 * SECOND).happens(shell, Action::Exit);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_downloaded_script_is_not_a_relay() {
    // curl … | sh, and its output goes elsewhere.
    let mut story = Story::default();
    let stdio = [pipe(40), file(11), file(11)];
    story.exec(5, "bash", FILES()).fork(5, 6).fork(5, 7);
    story.exec(6, "curl x", [file(10), pipe(40), file(11)]).connect(6, 1).exec(7, "sh", stdio);
    for child in 10..15 {
        story.runs(7, 500, child, stdio).passes(SECOND);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_fifo_that_was_opened_by_name_hides_nothing() {
    // cat f | sh -i 2>&1 | nc … >f: what cat has open is not told.
    let mut story = Story::default();
    let stdio = [pipe(40), pipe(41), pipe(41)];
    story.exec(5, "bash -c x", FILES()).fork(5, 6).fork(5, 7).fork(5, 8);
    story.exec(6, "cat f", [file(10), pipe(40), file(11)]);
    story.exec(8, "nc x", [pipe(41), pipe(77), file(11)]).connect(8, 1).exec(7, "sh -i", stdio);
    story.runs(7, 300, 10, stdio).runs(7, 300, 11, stdio);
    assert_eq!(story.found().last(), Some(&(7, Severity::Critical)));
    // The same without the way back.
    let mut story = Story::default();
    story.exec(5, "bash -c x", FILES()).fork(5, 6).fork(5, 7).fork(5, 8);
    story.exec(6, "cat script", [file(10), pipe(40), file(11)]);
    story.exec(8, "nc log", [pipe(41), file(11), file(11)]).connect(8, 1).exec(7, "sh", stdio);
    story.runs(7, 300, 10, stdio).runs(7, 300, 11, stdio).passes(SECOND);
    assert_eq!(story.found(), []);
}

#[test]
fn a_socketpair_leads_to_who_holds_its_other_end() {
    let mut story = Story::default();
    let stdio = [unix_socket(31), unix_socket(31), unix_socket(31)];
    story.exec(5, "socat TCP:x EXEC:sh", FILES()).call(
        5,
        DescriptorCall::Connect,
        None,
        6,
        connection(1),
    );
    story.pair(5, 30, 31).fork(5, 6).exec(6, "sh", stdio);
    story.runs(6, 300, 10, stdio).runs(6, 300, 11, stdio);
    assert_eq!(story.found().last(), Some(&(6, Severity::Critical)));
    // Another pair of a program without a connection.
    let mut story = Story::default();
    story.exec(5, "editor", FILES()).pair(5, 30, 31).fork(5, 6).exec(6, "sh", stdio);
    story.runs(6, 300, 10, stdio).runs(6, 300, 11, stdio).passes(5 * SECOND);
    assert_eq!(story.found(), []);
}

#[test]
fn input_may_be_a_connection_and_output_go_by_another_program() {
    // sh <&3 | nc …, or | cat >&3.
    let found = |line: &str, peer: &str| {
        let stdio = [connection(1), pipe(40), pipe(40)];
        let mut back = connection(2);
        back.socket.as_mut().unwrap().remote = Some(peer.parse().unwrap());
        let mut story = Story::default();
        story.exec(5, "bash -c x", FILES()).connect(5, 1).fork(5, 6).fork(5, 7);
        story.exec(6, "nc x", [pipe(40), file(11), file(11)]);
        story.call(6, DescriptorCall::Connect, None, 3, back).exec(7, line, stdio);
        story.runs(7, 300, 10, stdio).runs(7, 300, 11, stdio).passes(5 * SECOND);
        story.found().last().map(|(_, severity)| *severity)
    };
    assert_eq!(found("sh -i", "192.0.2.1:5555"), Some(Severity::Critical));
    assert_eq!(found("sh job.sh", "192.0.2.1:5555"), None);
    assert_eq!(found("sh -i", "192.0.2.9:5555"), Some(Severity::High), "with another host");
}

#[test]
fn a_pipe_may_be_given_as_a_script() {
    // bash <(nc …) 2>&1 | nc …, where bash starts the first nc before it becomes the shell.
    let found = |peer: &str| {
        let mut back = connection(2);
        back.socket.as_mut().unwrap().remote = Some(peer.parse().unwrap());
        let stdio = [file(10), pipe(41), pipe(41)];
        let mut story = Story::default();
        story.exec(5, "bash -c x", FILES()).fork(5, 6).fork(5, 7);
        story.exec(6, "nc x", [pipe(41), file(11), file(11)]);
        story.call(6, DescriptorCall::Connect, None, 3, back).passes(SECOND);
        story.call(7, DescriptorCall::Pipe, None, 63, pipe(40)).fork(7, 8);
        story.exec(8, "nc x", [file(10), pipe(40), file(11)]).connect(8, 1);
        story.exec(7, "bash /dev/fd/63", stdio).passes(2 * SECOND);
        story.runs(7, 300, 3000, stdio).runs(7, 300, 3001, stdio).passes(SECOND);
        story.found().last().map(|(_, severity)| *severity)
    };
    assert_eq!(found("192.0.2.1:5555"), Some(Severity::Critical));
    assert_eq!(found("192.0.2.9:5555"), Some(Severity::High), "with another host");
    // Its output stays here.
    let stdio = [file(10), terminal(), terminal()];
    let mut story = Story::default();
    story.exec(5, "bash", [terminal(); 3]).fork(5, 7);
    story.call(7, DescriptorCall::Pipe, None, 63, pipe(40)).fork(7, 8);
    story.exec(8, "curl x", [file(10), pipe(40), file(11)]).connect(8, 1);
    story.exec(7, "bash /dev/fd/63", stdio);
    for child in 3000..3005 {
        story.runs(7, 1_500, child, stdio);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_chain_of_relays_is_followed() {
    // nc | relay | sh, and back the same way.
    let mut story = Story::default();
    let stdio = [pipe(42), pipe(43), pipe(43)];
    story.exec(5, "bash -c x", FILES()).fork(5, 6).fork(5, 7).fork(5, 8);
    story.exec(6, "nc x", [pipe(40), pipe(41), file(11)]).connect(6, 1);
    story.exec(7, "tee log", [pipe(41), pipe(42), file(11)]);
    story.fork(5, 9).exec(9, "cat", [pipe(43), pipe(40), file(11)]);
    story.exec(8, "sh", stdio).runs(8, 300, 10, stdio).runs(8, 300, 11, stdio);
    assert_eq!(story.found().last(), Some(&(8, Severity::Critical)));
}

#[test]
fn a_pipe_that_many_have_leads_nowhere() {
    // make's jobs: one of them holds a connection, another one started a shell.
    let mut story = Story::default();
    let stdio = [pipe(40), pipe(41), pipe(41)];
    story.call(5, DescriptorCall::Pipe, Some(251), 250, pipe(90)).fork(5, 6).fork(5, 7);
    story.exec(6, "ssh x", FILES()).connect(6, 1);
    story.call(7, DescriptorCall::Pipe, Some(9), 8, pipe(40));
    story.call(7, DescriptorCall::Pipe, Some(11), 10, pipe(41)).fork(7, 8).exec(8, "sh", stdio);
    story.runs(8, 300, 10, stdio).runs(8, 300, 11, stdio).passes(2 * SECOND);
    assert_eq!(story.found(), []);
}

#[test]
fn a_terminal_leads_to_who_made_it() {
    let relayed = |relay: fn(&mut Story)| {
        let mut story = Story::default();
        relay(&mut story);
        story.fork(5, 6).exec(6, "bash", [terminal(); 3]).runs(6, 300, 10, [terminal(); 3]);
        story.found()
    };
    let sought = relayed(|story| {
        story.exec(5, "python3 x.py", FILES()).connect(5, 1);
    });
    assert_eq!(sought, [(6, Severity::Critical)]);
    let listening = Descriptor {
        socket: Some(SocketEnds { family: 2, kind: 1, ..SocketEnds::default() }),
        ..connection(2)
    };
    let taken = relayed(|story| {
        let listening = Descriptor {
            socket: Some(SocketEnds { family: 2, kind: 1, ..SocketEnds::default() }),
            ..connection(2)
        };
        story.exec(5, "relay", FILES()).call(5, DescriptorCall::Bind, None, 9, listening);
        story.call(5, DescriptorCall::Accept, Some(9), 3, connection(1));
    });
    assert_eq!(taken, [(6, Severity::Critical)], "a port that it took just now");
    let mut story = Story::default();
    story.exec(5, "web-terminal", FILES()).call(5, DescriptorCall::Bind, None, 9, listening);
    story.passes(3_600 * SECOND).call(5, DescriptorCall::Accept, Some(9), 3, connection(1));
    story.fork(5, 6).exec(6, "bash", [terminal(); 3]).runs(6, 300, 10, [terminal(); 3]);
    story.passes(2 * SECOND);
    assert_eq!(story.found(), [(6, Severity::High)], "a service of long standing");
    let mut story = Story::default();
    story.exec_trusted(5, "sshd -D", FILES());
    story.call(5, DescriptorCall::Accept, Some(9), 3, connection(1));
    story.fork(5, 6).exec(6, "bash", [terminal(); 3]).runs(6, 300, 10, [terminal(); 3]);
    story.passes(5 * SECOND);
    assert_eq!(story.found(), [], "a login");
}

#[test]
fn a_terminal_of_a_display_is_not_certain() {
    let remote = "127.0.0.1:6010".parse().unwrap();
    let ends =
        SocketEnds { family: 2, remote: Some(remote), has_peer: true, ..SocketEnds::default() };
    let display = Descriptor { socket: Some(ends), ..connection(1) };
    let mut story = Story::default();
    story.exec(5, "xterm", FILES()).call(5, DescriptorCall::Connect, None, 3, display).fork(5, 6);
    story.exec(6, "bash", [terminal(); 3]).runs(6, 300, 10, [terminal(); 3]).passes(2 * SECOND);
    assert_eq!(story.found(), [(6, Severity::High)]);
}

#[test]
fn datagrams_need_no_connection() {
    let ends = SocketEnds { family: 2, kind: 2, ..SocketEnds::default() };
    let datagrams = Descriptor { socket: Some(ends), ..connection(1) };
    let stdio = [pipe(40), pipe(41), pipe(41)];
    let mut story = Story::default();
    story.exec(5, "relay", FILES()).call(5, DescriptorCall::Socket, None, 3, datagrams);
    story.call(5, DescriptorCall::Pipe, Some(9), 8, pipe(40));
    story.call(5, DescriptorCall::Pipe, Some(11), 10, pipe(41));
    story.fork(5, 6).exec(6, "sh", stdio).runs(6, 300, 10, stdio).runs(6, 300, 11, stdio);
    assert_eq!(story.found().last(), Some(&(6, Severity::Critical)));
}

#[test]
fn a_script_that_waits_for_a_relay_is_high_only() {
    let stdio = [pipe(41), pipe(40), pipe(40)];
    let mut story = Story::default();
    story.fifo_relay("nc x", "sh -c loop");
    for child in 10..20 {
        story.runs(7, 1_500, child, stdio);
    }
    assert_eq!(story.found(), [(7, Severity::High)]);
}

#[test]
fn a_program_that_lets_commands_have_its_connection_is_a_shell() {
    let whole = [connection(1); 3];
    let mut story = Story::default();
    story.exec(5, "implant", FILES()).connect(5, 1).runs(5, 1, 10, whole);
    assert_eq!(story.found(), [], "one may be a helper");
    story.runs(5, 1, 11, whole);
    assert_eq!(story.found(), [(5, Severity::Critical)]);
    let mut story = Story::default();
    let answers = [file(10), connection(1), connection(1)];
    story.exec(5, "implant", FILES()).connect(5, 1).runs(5, 1, 10, answers).runs(5, 1, 11, answers);
    assert_eq!(story.found(), [(5, Severity::High)]);
    story.runs(5, 1, 12, answers);
    assert_eq!(story.found(), [(5, Severity::High), (5, Severity::Critical)]);
    // A service, and a program that sends what several commands say.
    let mut story = Story::default();
    story.exec(5, "inetd", FILES());
    story.call(5, DescriptorCall::Accept, Some(9), 3, connection(1));
    story.runs(5, 1, 10, whole).runs(5, 1, 11, whole).runs(5, 1, 12, whole);
    story.exec(6, "report", FILES()).connect(6, 2);
    for child in 20..30 {
        story.runs(6, 1, child, [file(10), connection(2), file(11)]);
    }
    assert_eq!(story.found(), []);
}

#[test]
fn a_shell_of_its_own_behind_a_relay_is_high() {
    let stdio = [pipe(41), pipe(40), pipe(40)];
    let mut story = Story::default();
    story.fifo_relay("nc x", "own-shell");
    for child in 10..16 {
        story.runs(7, 1_500, child, stdio);
    }
    assert_eq!(story.found(), [(7, Severity::High)]);
}

#[test]
fn commands_that_come_at_once_are_high_only() {
    let stdio = [pipe(41), pipe(40), pipe(40)];
    let mut story = Story::default();
    story.fifo_relay("nc x", "sh");
    for child in 10..20 {
        story.runs(7, 5, child, stdio);
    }
    assert_eq!(story.found(), [(7, Severity::High)]);
}
