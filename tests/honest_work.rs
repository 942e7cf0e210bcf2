//! What servers do all day, for real: none of it is a critical alert. One Sentinel watches it all.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use sentinel_tests::{
    bed::{Bed, skip},
    peer::free_port,
    sentinel::{Sentinel, is_about},
};
use serde_json::Value;

/// Some honest work.
struct Work {
    name: &'static str,
    /// Programs that it needs, by their paths.
    needs: &'static [&'static str],
    /// Whether it is left out where they are missing, in CI too: `tests/install-neighbours` does not
    /// install them.
    is_extra: bool,
    /// A script for bash, which must succeed. `@PORT` is a free port, `@DIR` an empty directory.
    script: &'static str,
}

const fn work(name: &'static str, needs: &'static [&'static str], script: &'static str) -> Work {
    Work { name, needs, is_extra: false, script }
}

const fn extra(name: &'static str, needs: &'static [&'static str], script: &'static str) -> Work {
    Work { name, needs, is_extra: true, script }
}

const SSHD: &[&str] = &["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/sftp", "/usr/bin/git"];

#[rustfmt::skip]
const WORK: &[Work] = &[
    work("logins by ssh, commands, files, git", SSHD, r#"
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f @DIR/host; ssh-keygen -q -t ed25519 -N '' -f @DIR/me; cp @DIR/me.pub @DIR/keys
cat >@DIR/sshd.conf <<END
ListenAddress 127.0.0.1:@PORT
HostKey @DIR/host
AuthorizedKeysFile @DIR/keys
StrictModes no
UsePAM no
PidFile none
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
END
/usr/sbin/sshd -D -f @DIR/sshd.conf &
until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
cat >@DIR/ssh <<END
#!/bin/sh
exec ssh -F none -i @DIR/me -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -p @PORT "\$@"
END
chmod +x @DIR/ssh
[ "$(@DIR/ssh root@127.0.0.1 'echo a; id -u')" = $'a\n0' ]
# An interactive login on a terminal, by somebody who types slowly.
(for line in id 'ls /' 'sh -c "echo done"' exit; do sleep 0.4; echo "$line"; done) | @DIR/ssh -tt root@127.0.0.1 >@DIR/session
grep -q done @DIR/session
# The same without a terminal, and a script by way of standard input.
(for line in id 'ls /' 'uname -a' exit; do sleep 0.4; echo "$line"; done) | @DIR/ssh -T root@127.0.0.1 >@DIR/session
(for line in id 'ls /' 'uname -a'; do sleep 0.4; echo "$line"; done) | @DIR/ssh root@127.0.0.1 bash -s >@DIR/session
echo hello >@DIR/file
printf 'put @DIR/file @DIR/copy\nls @DIR\n' | sftp -q -b - -S @DIR/ssh -P @PORT root@127.0.0.1 >@DIR/listing
cmp @DIR/file @DIR/copy
git -c init.defaultBranch=main init -q @DIR/repository
git -C @DIR/repository -c user.name=x -c user.email=x@x commit -q --allow-empty -m x
GIT_SSH=@DIR/ssh GIT_SSH_VARIANT=simple git clone -q root@127.0.0.1:@DIR/repository @DIR/clone
tar c -C @DIR file | @DIR/ssh root@127.0.0.1 'cat >/dev/null; df / | tail -1'
kill %1"#),
    work("mail, figures and a log by bash alone", &["/usr/bin/python3"], r#"
python3 -c '
import socket, threading
def serve(c):
    c.sendall(b"220 hello\r\n")
    while c.recv(4096): c.sendall(b"250 ok\r\n")
l = socket.create_server(("127.0.0.1", @PORT))
while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()' &
until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
# What bash redirects in passing, and what its commands say to a server that answers.
exec 3<>/dev/tcp/127.0.0.1/@PORT
read -r line <&3; printf 'EHLO %s\r\n' "$HOSTNAME" >&3; read -r line <&3
for word in user password; do base64 <<<$word >&3; read -r line <&3; sleep 0.3; done
for i in 1 2 3 4; do printf 'Date: %s\r\n' "$(date -R)" >&3; read -r line <&3; sleep 0.3; done
exec 3>&-
# Figures, errors and all, with pauses in between; and a log that goes there for good.
exec 3<>/dev/tcp/127.0.0.1/@PORT
for i in 1 2 3 4 5; do df / >&3 2>&3; { uname -a; echo "load $(cut -d' ' -f1 /proc/loadavg)"; } >&3 2>&1; sleep 0.3; done
(exec >&3 2>&3; for i in 1 2 3 4; do date; sleep 0.3; done)
kill %1"#),
    work("a service by socket activation", &["/usr/bin/systemd-socket-activate"], r#"
systemd-socket-activate -l 127.0.0.1:@PORT --inetd -a /bin/cat 2>@DIR/log &
until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/@PORT; echo hello $i >&3; read -r line <&3; [ "$line" = "hello $i" ]; exec 3>&-; done
kill %1"#),
    work("an agent that connects out and runs scripts", &["/usr/bin/python3"], r#"
cat >@DIR/agent.py <<'END'
import http.server, subprocess, threading, http.client
class Jobs(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body):
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self): self.answer(b'for i in 1 2 3; do date; sleep 0.3; uname -a; done; ls /')
    def do_POST(self): self.rfile.read(int(self.headers['Content-Length'])); self.answer(b'')
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Jobs)
threading.Thread(target=server.serve_forever, daemon=True).start()
link = http.client.HTTPConnection(*server.server_address)
for job in range(2):
    link.request('GET', '/'); script = link.getresponse().read()
    open('@DIR/job.sh', 'wb').write(script)
    for command in (['bash', '-e', '@DIR/job.sh'], ['bash'], ['sh', '-c', script.decode()]):
        by_input = command == ['bash']
        done = subprocess.run(command, input=script if by_input else b'', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
        link.request('POST', '/log', done.stdout); link.getresponse().read()
    for command in 'df /', 'uptime', 'cat /proc/loadavg':
        link.request('POST', '/metric', subprocess.check_output(command, shell=True)); link.getresponse().read()
END
exec /usr/bin/python3 @DIR/agent.py"#),
    work("redis, and checks of its health", &["/usr/bin/redis-server", "/usr/bin/redis-cli"], r#"
redis-server --port @PORT --bind 127.0.0.1 --dir @DIR --save '' >@DIR/log &
until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
for i in 1 2 3; do exec 3<>/dev/tcp/127.0.0.1/@PORT; printf 'PING\r\n' >&3; read -r -u3 line; [[ $line == +PONG* ]]; exec 3>&-; sleep 0.3; done
timeout 3 bash -c '</dev/tcp/127.0.0.1/@PORT'
redis-cli -p @PORT set a b >@DIR/out; redis-cli -p @PORT --eval <(echo 'return 1') >>@DIR/out
redis-cli -p @PORT shutdown nosave; wait"#),
    work("nginx", &["/usr/sbin/nginx", "/usr/bin/curl"], r#"
mkdir @DIR/tmp; chmod 755 @DIR
echo "daemon off; pid @DIR/pid; error_log @DIR/log; events {} http { access_log off; client_body_temp_path @DIR/tmp; server { listen 127.0.0.1:@PORT; root @DIR; } }" >@DIR/nginx.conf
echo hello >@DIR/page
nginx -c @DIR/nginx.conf & until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
curl -s http://127.0.0.1:@PORT/page >/dev/null; kill -HUP $!; sleep 0.3; curl -s http://127.0.0.1:@PORT/page >/dev/null; kill %1"#),
    work("an installer from the web", &["/usr/bin/curl", "/usr/bin/python3"], r#"
printf 'id >/dev/null\nsleep 0.3\nuname -a >/dev/null\nsleep 0.3\ntouch @DIR/installed\n' >@DIR/install.sh
cd @DIR; /usr/bin/python3 -m http.server --bind 127.0.0.1 @PORT >log 2>&1 & until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
curl -s http://127.0.0.1:@PORT/install.sh | sh; [ -e @DIR/installed ]; kill %1"#),
    work("an archive over nc", &["/usr/bin/nc.openbsd"], r#"
mkdir @DIR/to; echo x >@DIR/a
nc.openbsd -l 127.0.0.1 @PORT | tar x -C @DIR/to & until [ -n "$(ss -Hltn sport = :@PORT)" ]; do sleep 0.05; done
tar c -C @DIR a | nc.openbsd -N 127.0.0.1 @PORT; wait; cmp @DIR/a @DIR/to/a"#),
    work("cron", &["/usr/sbin/cron"], r#"
mkdir @DIR/run; echo "@reboot root cd / && { date; id; sh -c 'df / | tail -1'; } >@DIR/ran" >@DIR/crontab
unshare -m sh -c 'mount -t tmpfs x /run; mount -t tmpfs x /etc/cron.d; mount -t tmpfs x /var/spool/cron; mkdir /var/spool/cron/crontabs; mount --bind @DIR/crontab /etc/crontab; exec /usr/sbin/cron -f' &
until [ -s @DIR/ran ]; do sleep 0.1; done; sleep 0.3; kill %1"#),
    work("make -j8", &["/usr/bin/make", "/usr/bin/gcc"], r#"
cd @DIR; for i in $(seq 24); do echo "int f$i(void){return $i;}" >f$i.c; done; echo 'int main(void){return 0;}' >main.c
printf 'OBJECTS=$(patsubst %%.c,%%.o,$(wildcard *.c))\nall: $(OBJECTS)\n\tgcc -o all $^ && echo `date` | sed s/a/b/ >stamp\n%%.o: %%.c\n\tsh -c "gcc -c -o $@ $<"\n' >Makefile
make -s -j8 && ./all"#),
    work("cargo build", &["/usr/bin/gcc"], r#"
cd @DIR; export CARGO_TARGET_DIR=@DIR/target; cargo init -q --vcs none --name tiny .; cargo build -q --offline; target/debug/tiny >/dev/null"#),
    work("a configure script", &["/usr/bin/gcc"], r#"
cd @DIR; cat >configure <<'END'
#! /bin/sh
exec 5>config.log 6>&1 7<&0 </dev/null
ac_try() { (eval "$1") 2>conftest.er1; ac_status=$?; grep -v '^ *+' conftest.er1 >conftest.err; cat conftest.err >&5; return $ac_status; }
for ac_header in stdio.h stdlib.h string.h unistd.h sys/socket.h nothing.h; do
  ac_name=`echo "$ac_header" | sed 'y%./%__%;s%[^_a-zA-Z0-9]%_%g'`
  printf '#include <%s>\nint main(void){return 0;}\n' "$ac_header" >conftest.c
  if ac_try 'gcc -o conftest conftest.c && ./conftest'; then eval "ac_cv_$ac_name=yes"; else eval "ac_cv_$ac_name=no"; fi
  echo "checking for $ac_header... `eval echo \\$ac_cv_$ac_name`" >&6
done
as_shell=`for sh in /bin/bash /bin/sh; do $sh -c 'exit 0' </dev/null && echo $sh; done | tail -1`
exec 0<&7 7<&-
cat >config.status <<EOF
echo configured with $as_shell
EOF
sh config.status
END
sh configure >/dev/null"#),
    work("sudo, su, passwd, pkexec", &["/usr/bin/sudo", "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/pkexec"], r#"
sudo -n true; sudo -n -u nobody id >/dev/null; sudo -n -i true; su nobody -s /bin/sh -c 'id; date' >/dev/null; su - root -c id >/dev/null
passwd -S root >/dev/null; pkexec --version >/dev/null; setpriv --reuid nobody --clear-groups id >/dev/null
script -qc 'sudo -n sh -c "id; tty"' /dev/null >/dev/null </dev/null"#),
    work("namespaces", &["/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/bwrap"], r#"
unshare -Ur id >/dev/null; unshare -Urm sh -c 'mount -t tmpfs x /mnt; id' >/dev/null
unshare -m sleep 60 & until [ "$(readlink /proc/$!/ns/mnt)" != "$(readlink /proc/$$/ns/mnt)" ]; do sleep 0.05; done; nsenter -t $! -m sh -c 'id; ls /' >/dev/null; kill $!
bwrap --ro-bind / / --dev-bind /dev /dev --unshare-user --die-with-parent sh -c id >/dev/null 2>&1 || bwrap --version >/dev/null"#),
    work("modprobe -n, and lists of modules", &["/usr/sbin/modprobe"], "modprobe -n loop >/dev/null 2>&1 || true; lsmod >/dev/null || true"),
    work("dpkg", &["/usr/bin/dpkg", "/usr/bin/dpkg-deb"], r#"
mkdir -p @DIR/p/DEBIAN @DIR/p/opt/tiny @DIR/root/var/lib/dpkg/{updates,info} @DIR/root/var/log; touch @DIR/root/var/lib/dpkg/status
printf 'Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' >@DIR/p/DEBIAN/control
printf '#!/bin/sh\nset -e\ncase $1 in configure) id; ls / | wc -l;; esac\n' >@DIR/p/DEBIAN/postinst; chmod 755 @DIR/p/DEBIAN/postinst; echo x >@DIR/p/opt/tiny/file
dpkg-deb --root-owner-group -b @DIR/p @DIR/tiny.deb >/dev/null
dpkg --root=@DIR/root --force-script-chrootless -i @DIR/tiny.deb >/dev/null 2>&1; [ -e @DIR/root/opt/tiny/file ]"#),
    work("debuggers on own programs", &["/usr/bin/gdb", "/usr/bin/strace"], r#"
strace -f -o @DIR/trace sh -c 'id; date' >/dev/null; strace -p $$ -o @DIR/trace2 & sleep 0.3; kill $!
gdb -q -batch -ex starti -ex 'info registers rip' -ex 'set var $rax = 1' -ex continue --args /bin/true >/dev/null 2>&1"#),
    work("shells inside of tmux, screen and script", &["/usr/bin/tmux", "/usr/bin/screen", "/usr/bin/script"], r#"
export TMUX_TMPDIR=@DIR SCREENDIR=@DIR/screen TERM=xterm SHELL=/bin/bash; mkdir -m 700 @DIR/screen
tmux -f /dev/null new-session -d -s x; for line in id 'ls /' "touch @DIR/by-tmux"; do sleep 0.4; tmux send-keys -t x "$line" Enter; done
screen -dmS y bash; until screen -S y -Q select . >/dev/null; do sleep 0.05; done; for line in id "touch @DIR/by-screen"; do sleep 0.4; screen -S y -X stuff "$line"$'\n'; done
until [ -e @DIR/by-tmux ] && [ -e @DIR/by-screen ]; do sleep 0.1; done
tmux kill-server; screen -S y -X quit
(sleep 0.3; echo id; sleep 0.4; echo exit) | script -qc 'bash -i' @DIR/typescript >/dev/null"#),
    work("expect", &["/usr/bin/expect"], r#"
expect -c 'spawn bash --norc; send "id\r"; sleep 0.4; expect "uid=0"; send "uname -a\r"; sleep 0.4; expect "Linux"; send "exit\r"; expect eof' >/dev/null"#),
    extra("postgres", &["/usr/lib/postgresql/15/bin/initdb", "/usr/sbin/runuser"], r#"
chmod 755 @DIR; install -d -o postgres @DIR/data @DIR/run; cd /; bin=/usr/lib/postgresql/15/bin
runuser -u postgres -- $bin/initdb -D @DIR/data -A trust --no-sync >/dev/null
runuser -u postgres -- $bin/pg_ctl -s -w -D @DIR/data -l @DIR/run/log -o "-p @PORT -h 127.0.0.1 -k @DIR/run" start
runuser -u postgres -- psql -h 127.0.0.1 -p @PORT -qAtc 'select 1' >/dev/null
runuser -u postgres -- psql -h 127.0.0.1 -p @PORT -qAt -c '\! id' -c "copy (select 1) to program 'cat >@DIR/run/out'" >/dev/null
</dev/tcp/127.0.0.1/@PORT
runuser -u postgres -- $bin/pg_ctl -s -m fast -D @DIR/data stop"#),
    extra("a JVM", &["/usr/bin/java", "/usr/bin/javac"], r#"
cd @DIR; cat >Main.java <<'END'
import java.net.*;
public class Main {
    public static void main(String[] a) throws Exception {
        ServerSocket s = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
        Socket c = new Socket(s.getInetAddress(), s.getLocalPort()); s.accept();
        for (String[] command : new String[][] {{"sh", "-c", "date; sleep 0.4; id"}, {"bash", "-ec", "ls /; sleep 0.4; df /"}})
            for (int i = 0; i < 2; i++) { Process p = new ProcessBuilder(command).redirectErrorStream(true).start(); c.getOutputStream().write(p.getInputStream().readAllBytes()); p.waitFor(); }
    }
}
END
javac Main.java && java -Xshare:auto -XX:TieredStopAtLevel=1 Main"#),
];

/// Does some work; what went wrong, if something did.
fn run(bed: &Bed, number: usize, work: &Work) -> Result<u32, String> {
    let port = free_port();
    let directory = bed.path(&number.to_string());
    fs::create_dir(&directory).unwrap();
    let script = work
        .script
        .replace("@PORT", &port.to_string())
        .replace("@DIR", directory.to_str().unwrap());
    let child = bed
        .command("bash")
        .args(["-c", &format!("set -eu -o pipefail; {script}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(pid);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}: {errors}", work.name, output.status))
}

/// Which work an alert is about.
fn work_of(alert: &Value, done: &[(&'static str, u32)]) -> &'static str {
    let found = done.iter().find(|(_, pid)| is_about(alert, *pid));
    found.map_or("?", |(name, _)| name)
}

#[test]
fn none_of_it_is_critical() {
    let Some(bed) = Bed::new() else { return };
    let lacks = |work: &&Work| work.needs.iter().any(|program| !Path::new(program).exists());
    let (missing, possible): (Vec<&Work>, Vec<&Work>) = WORK.iter().partition(lacks);
    let mut shown = std::io::stderr();
    for one in missing {
        if one.is_extra {
            writeln!(shown, "left out: {}: {} is not here", one.name, one.needs[0]).unwrap();
        } else {
            skip(&format!("{}: {} is not here", one.name, one.needs.join(" or ")));
        }
    }
    let sentinel = Sentinel::start(&bed, &[]);
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(work) = possible.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let number = possible.iter().position(|one| one.name == work.name).unwrap();
                    match run(&bed, number, work) {
                        Ok(pid) => done.lock().unwrap().push((work.name, pid)),
                        Err(why) => failures.lock().unwrap().push(why),
                    }
                }
            });
        }
    });
    let alerts = sentinel.stop().alerts;
    let done = done.into_inner().unwrap();
    let mut critical = failures.into_inner().unwrap();
    for alert in &alerts {
        let said = format!(
            "{}: {} {}: {}",
            work_of(alert, &done),
            alert["severity"].as_str().unwrap(),
            alert["pattern_name"].as_str().unwrap(),
            alert["message"].as_str().unwrap()
        );
        if alert["severity"] == "critical" {
            critical.push(said);
        } else {
            writeln!(shown, "{said}").unwrap();
        }
    }
    assert!(critical.is_empty(), "{}", critical.join("\n"));
}
