//! A user of the host without any right: what he tries against the services, their files and their sockets, and
//! what he puts in the way of logs that root opens.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use sentinel_tests::{
    bed::Bed,
    nspawn::{Machine, text},
    sentinel::{PATIENCE, program, within},
};

/// His number: nobody else's.
const MALLORY: u32 = 1000;

#[test]
fn what_somebody_else_has_put_in_a_logs_place_is_not_written_to() {
    let Some(bed) = Bed::new() else { return };
    // Not sticky, so that no setting of the kernel helps.
    let everybodys = bed.path("everybodys");
    fs::create_dir(&everybodys).unwrap();
    fs::set_permissions(&everybodys, Permissions::from_mode(0o777)).unwrap();
    let roots = bed.path("roots");
    fs::write(&roots, "kept").unwrap();
    let at = |name: &str| everybodys.join(name);
    symlink(&roots, at("link")).unwrap();
    symlink(bed.path("none"), at("dangling")).unwrap();
    fs::hard_link(&roots, at("hard")).unwrap();
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(bed.path(""), at("path")).unwrap();
    fs::write(at("his"), "").unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for name in ["fifo", "directory", "his", "socket"] {
        chown(at(name), Some(MALLORY), Some(MALLORY)).unwrap();
        let _links_have_none = fs::set_permissions(at(name), Permissions::from_mode(0o777));
    }
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    for (name, why) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("path/log", "symbolic link"),
        ("hard", "another name"),
        ("fifo", ""),
        ("directory", "is a directory"),
        ("his", "belongs to uid 1000"),
        ("socket", ""),
    ] {
        let path = at(name);
        for option in ["--json-log-path", "--grimoire-log", "--correlation-log"] {
            let log = format!("{option}={}", path.display());
            let mut command = Command::new(program());
            command.args(["run", &scope, "--duration=1", &log]);
            if option == "--json-log-path" {
                command.arg("--enable-json-log");
            } else if option == "--correlation-log" {
                command.arg("--enable-correlation");
            }
            let output = command.output().unwrap();
            let errors = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{log}: {errors}");
            let told = errors.to_lowercase();
            assert!(errors.contains(path.to_str().unwrap()) && told.contains(why), "{errors}");
        }
    }
    assert_eq!(fs::read_to_string(&roots).unwrap(), "kept");
    assert_eq!(fs::read_to_string(at("his")).unwrap(), "");
    assert!(!bed.path("none").exists() && !bed.path("log").exists());
}

/// Tries it all and says what came of each: a name and "ok" or its errno.
const TRIES: &str = r#"
import errno, os, signal, socket, subprocess, sys
pids = [int(text) for text in sys.argv[1:4]]

def call(*arguments):
    perl = "my @n = map { $_ + 0 } @ARGV; exit(syscall($n[0], @n[1..$#n]) == -1 ? $! + 0 : 0)"
    code = subprocess.run(["perl", "-e", perl, *map(str, arguments)]).returncode
    if code:
        raise OSError(code, "")

def connect(path, kind=socket.SOCK_SEQPACKET):
    socket.socket(socket.AF_UNIX, kind).connect(path)

def squat(path):
    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).bind(path)

def made(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

tries = []
def t(name, what):
    tries.append((name, what))

for name in ["loader", "identity", "analyzer", "enforcer", "control", "enforce"]:
    path = f"/run/sentinel/{name}.sock"
    t(f"connect_{name}", lambda path=path: connect(path))
    t(f"remove_{name}", lambda path=path: os.unlink(path))
    t(f"move_{name}", lambda path=path: os.rename(path, path + ".moved"))
    t(f"chmod_{name}", lambda path=path: os.chmod(path, 0o777))
t("squat_beside", lambda: squat("/run/sentinel/other.sock"))
t("squat_pid_file", lambda: made("/run/sentinel/loader.pid"))
t("replace_run", lambda: os.rename("/run/sentinel", "/run/moved"))
for directory in ["/etc/sentinel", "/etc/sentinel/rules.d", "/var/log/sentinel", "/var/log/sentinel-enforcer",
                  "/var/lib/sentinel", "/var/lib/sentinel-enforcer"]:
    t(f"make_in {directory}", lambda d=directory: made(d + "/mine.toml"))
    t(f"link_in {directory}", lambda d=directory: os.symlink("/etc/passwd", d + "/alerts.json.1"))
    t(f"fifo_in {directory}", lambda d=directory: os.mkfifo(d + "/fifo"))
    t(f"replace {directory}", lambda d=directory: os.rename(d, d + ".moved"))
for file in ["/var/log/sentinel/alerts.json", "/var/log/sentinel-enforcer/audit.log"]:
    t(f"read {file}", lambda f=file: open(f).read())
for file in ["/var/log/sentinel/alerts.json", "/var/log/sentinel-enforcer/audit.log",
             "/var/lib/sentinel-enforcer/enforcement", "/etc/sentinel/analyzer.toml",
             "/etc/sentinel/enforcer.toml", "/etc/sentinel/loader.toml"]:
    t(f"write {file}", lambda f=file: open(f, "a"))
    t(f"empty {file}", lambda f=file: os.truncate(f, 0))
    t(f"remove {file}", lambda f=file: os.unlink(f))
    t(f"hard_link {file}", lambda f=file: os.link(f, f + ".hard"))
for name, pid in zip(["loader", "analyzer", "enforcer"], pids):
    for what in [signal.SIGKILL, signal.SIGSTOP, signal.SIGHUP, 0]:
        t(f"signal {what:d} {name}", lambda pid=pid, what=what: os.kill(pid, what))
    t(f"ptrace {name}", lambda pid=pid: call(101, 0x4206, pid, 0, 0))
    for file in ["mem", "environ", "maps", "syscall"]:
        t(f"read {file} {name}", lambda pid=pid, file=file: open(f"/proc/{pid}/{file}", "rb").read(1))
    t(f"list fd {name}", lambda pid=pid: os.listdir(f"/proc/{pid}/fd"))
    t(f"steal fd {name}", lambda pid=pid: open(f"/proc/{pid}/fd/0"))
    t(f"renice {name}", lambda pid=pid: os.setpriority(os.PRIO_PROCESS, pid, 19))
    t(f"limit {name}", lambda pid=pid: call(302, pid, 7, 0, 0))
    t(f"signal by pidfd {name}", lambda pid=pid: signal.pidfd_send_signal(os.pidfd_open(pid), 9))
    t(f"compare {name}", lambda pid=pid: call(312, pid, pid, 0, 0, 0))
    t(f"oom {name}", lambda pid=pid: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"))
    t(f"move {name}", lambda pid=pid: open("/sys/fs/cgroup/cgroup.procs", "w").write(str(pid)))
t("become sentinel", lambda: os.setuid(os.stat("/var/log/sentinel").st_uid))

for name, what in tries:
    try:
        what()
        print(name, "ok", sep="\t")
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno), sep="\t")
print("done")
"#;

/// Runs a program of the machine as him.
fn as_him(machine: &Machine, command: &[&str]) -> String {
    let him = ["--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all"];
    let output = machine.command("setpriv").args(him).arg("--inh-caps=-all").args(command).output();
    let output = output.unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a_user_without_rights_gets_at_nothing_of_the_services() {
    let Some(machine) = Machine::installed() else { return };
    machine.told(&["systemctl", "start", "sentinel.target"]);
    let services = ["sentinel-loader", "sentinel-analyzer", "sentinel-enforcer"];
    let state = || services.map(|service| machine.property(service, "MainPID"));
    let watches = || text(&machine.run(&["sentinel", "status"]).stdout).contains("shadow mode");
    assert!(within(PATIENCE, watches));
    let pids = state();
    machine.write("/root/tries.py", TRIES);
    machine.told(&["install", "-m", "644", "/root/tries.py", "/tmp/tries.py"]);
    let arguments = ["python3", "/tmp/tries.py", &pids[0], &pids[1], &pids[2]];
    let told = as_him(&machine, &arguments);
    assert!(told.ends_with("done\n"), "{told}");
    let tries: Vec<(&str, &str)> = told.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(tries.len() >= 100, "{}", tries.len());
    let is_refused = |result: &str| ["EACCES", "EPERM"].contains(&result);
    let others: Vec<_> = tries.into_iter().filter(|(_, result)| !is_refused(result)).collect();
    assert!(others.is_empty(), "{others:#?}");
    for command in [&["sentinel", "status"][..], &["sentinel", "enforce", "off"]] {
        let told = as_him(&machine, command);
        assert!(told.contains("only root and the group"), "{command:?}: {told}");
    }
    // It was all for nothing: the same processes still watch.
    assert_eq!(state(), pids);
    assert!(watches());
    for service in services {
        assert_eq!(machine.property(service, "NRestarts"), "0", "{service}");
    }
}

#[test]
fn sentinel_has_no_name_that_anybody_could_take() {
    let Some(bed) = Bed::new() else { return };
    let sentinel = sentinel_tests::sentinel::Sentinel::start(&bed, &[]);
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let own: Vec<&str> = sockets.lines().filter(|line| line.contains("sentinel")).collect();
    for line in own {
        // Of the directory of root's, none in the abstract name space, where there is no owner.
        assert!(line.contains(" /run/sentinel/") || line.contains("/sentinel-test"), "{line}");
    }
    let run = fs::metadata("/run/sentinel").unwrap();
    let mode = run.permissions().mode() & 0o7777;
    assert!(std::os::unix::fs::MetadataExt::uid(&run) == 0 && mode & 0o022 == 0, "{mode:o}");
    assert!(Path::new("/run/sentinel").is_dir());
    sentinel.stop();
}
