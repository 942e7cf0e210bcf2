//! Honest programs that look a little like a reverse shell: no alert.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread::JoinHandle,
};

use sentinel_tests::{
    bed::Bed,
    peer::Peer,
    sentinel::{Outcome, Sentinel},
};

/// Checks that there was something to see, and no alert.
fn check_quiet(outcome: &Outcome) {
    assert_eq!(outcome.alerts, Vec::<serde_json::Value>::new());
    let counted = outcome.output.split("processed ").nth(1).unwrap();
    let processed: u64 = counted.split_whitespace().next().unwrap().parse().unwrap();
    assert!(processed > 5, "the sensor saw it: {}", outcome.output);
}

/// A server that greets, reads until its client is done, and says goodbye.
fn serve(peer: Peer, connections: usize) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        (0..connections)
            .map(|_| {
                let mut stream = peer.accept();
                stream.write_all(b"+PONG\r\n").unwrap();
                let mut heard = Vec::new();
                let mut bytes = [0; 512];
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    heard.extend(&bytes[..count]);
                    if heard.ends_with(b"\n") {
                        let _gone = stream.write_all(b"BYE\r\n");
                        break;
                    }
                }
                String::from_utf8_lossy(&heard).into_owned()
            })
            .collect()
    })
}

fn honest_shell(code: &str, connections: usize) -> Vec<String> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let code = code
        .replace("HOST", &peer.address().ip().to_string())
        .replace("PORT", &peer.address().port().to_string());
    let server = serve(peer, connections);
    let status = bed.command("bash").args(["-c", &code]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    check_quiet(&sentinel.stop());
    server.join().unwrap()
}

#[test]
fn a_redis_ping_through_dev_tcp() {
    let code = "exec 3<>/dev/tcp/HOST/PORT; echo PING >&3; read -r -u3 answer; \
                [[ $answer == +PONG* ]]";
    assert!(honest_shell(code, 1).iter().all(|heard| heard == "PING\n"));
}

#[test]
fn port_checks_by_redirection() {
    honest_shell("</dev/tcp/HOST/PORT; echo hello >/dev/tcp/HOST/PORT; : <>/dev/tcp/HOST/PORT", 3);
}

#[test]
fn a_dialogue_of_builtins() {
    let code = "{ read -r greeting; echo QUIT; read -r bye; [[ $bye == BYE* ]]; } \
                <>/dev/tcp/HOST/PORT >&0";
    honest_shell(code, 1);
}

#[test]
fn a_file_sent_by_cat() {
    let code = "exec 3<>/dev/tcp/HOST/PORT; date >&3; cat <&3 >/dev/null";
    honest_shell(code, 1);
}

#[test]
fn a_shell_without_a_socket() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    // More than it keeps, so that it shortens its history as it ends.
    std::fs::write(bed.path(".bash_history"), "ls\n".repeat(600)).unwrap();
    let mut command = bed.command("bash");
    command.env("HOME", bed.path("")).env_remove("HISTFILE").env_remove("HISTFILESIZE");
    command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"id; ls / | wc -l; exit\n").unwrap();
    child.wait().unwrap();
    check_quiet(&sentinel.stop());
    let history = std::fs::read_to_string(bed.path(".bash_history")).unwrap();
    assert_eq!(history.lines().count(), 500, "it was shortened");
}

#[test]
fn a_web_client() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let url = format!("http://{}/", peer.address());
    let server = std::thread::spawn(move || {
        let mut stream = peer.accept();
        let mut request = [0; 4096];
        let _some = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    });
    let code = "import sys,urllib.request as u\nassert u.urlopen(sys.argv[1]).read() == b'ok'";
    let status = bed.command("python3").args(["-c", code, &url]).status().unwrap();
    assert!(status.success());
    server.join().unwrap();
    check_quiet(&sentinel.stop());
}

/// Runs a service of one connection, says something to it and hears it back.
fn honest_service(bed: &Bed, command: &mut Command) {
    let sentinel = Sentinel::start(bed, &[]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let there = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
    let mut stream = TcpStream::connect(there).unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");
    child.wait().unwrap();
    check_quiet(&sentinel.stop());
}

const INETD: &str = "import os,socket,sys
server=socket.create_server(('127.0.0.1',0))
print(server.getsockname()[1],flush=True)
connection,_=server.accept()
if os.fork()==0:
    for i in range(3): os.dup2(connection.fileno(),i)
    os.execv(sys.argv[1],sys.argv[1:])
connection.close()
os.wait()";

#[test]
fn an_inetd_that_execs_a_program() {
    let Some(bed) = Bed::new() else { return };
    honest_service(&bed, bed.command("python3").args(["-c", INETD, "/bin/cat"]));
}

#[test]
fn an_inetd_that_execs_a_python_handler() {
    let Some(bed) = Bed::new() else { return };
    let handler = bed.path("handler.py");
    std::fs::write(&handler, "import sys\nfor line in sys.stdin: print(line, end='')\n").unwrap();
    let python = python();
    let mut command = bed.command("python3");
    command.args(["-c", INETD, &python, handler.to_str().unwrap()]);
    honest_service(&bed, &mut command);
}

fn python() -> String {
    let code = "import sys; print(sys.executable)";
    let output = Command::new("python3").args(["-c", code]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_filter_with_a_connection_as_input_and_output() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let peer = Peer::listen("127.0.0.1");
    let code = format!(
        "import socket,subprocess\ns=socket.create_connection(('127.0.0.1',{}))\n\
         subprocess.run(['cat'],stdin=s,stdout=s,check=True)",
        peer.address().port()
    );
    let server = std::thread::spawn(move || {
        let mut stream = peer.accept();
        stream.write_all(b"filtered").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    });
    assert!(bed.command("python3").args(["-c", &code]).status().unwrap().success());
    assert_eq!(server.join().unwrap(), "filtered");
    check_quiet(&sentinel.stop());
}

#[test]
fn an_inetd_that_runs_a_command_by_shell_is_not_critical() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    let mut command = bed.command("python3");
    command.args(["-c", INETD, "/bin/sh", "-c", "read line; date >/dev/null; echo $line"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let there = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap()));
    let mut stream = TcpStream::connect(there).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");
    child.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    assert!(alerts.iter().all(|alert| alert["severity"] == "high"), "{alerts:#?}");
}
