//! A machine that systemd has booted, on this kernel, for what units and packages do.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bed::skip,
    packages::{self, Layer, Package, Packages},
    sentinel::{PATIENCE, program, within},
};

/// A script in `tests/nspawn`.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nspawn").join(name)
}

/// A file or directory in `packaging`.
pub fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

/// Puts what was built into `to`, for a package.
///
/// # Panics
/// When something is missing.
pub fn install(to: &Path) {
    let built = program();
    let done = Command::new(packaging("install"))
        .arg(to)
        .arg(built.parent().expect("target directory"))
        .output()
        .expect("packaging/install starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// One booted machine; it ends with this value, and nothing of it is kept.
///
/// Root in it is the host's, with fewer capabilities. It has a network of its own with nothing but
/// the loopback device.
pub struct Machine {
    /// `tests/nspawn/boot`, which ends the machine when its standard input ends.
    boot: Child,
    leader: u32,
    cgroup: PathBuf,
    /// The lowest layer of its file system but one.
    _installed: Option<Arc<Layer>>,
}

impl Machine {
    /// A bare Debian, or `None` with a word on standard error where there can be none.
    ///
    /// # Panics
    /// In CI, where there must be one; and when it does not come up.
    pub fn bare() -> Option<Self> {
        Self::is_possible().then(|| Self::boot(None))
    }

    /// One on which Sentinel's rpm was installed before it booted, but not enabled. `None` as with
    /// [`Self::bare`].
    ///
    /// # Panics
    /// As with [`Self::bare`].
    pub fn installed() -> Option<Self> {
        Self::installed_from(Package::Rpm)
    }

    /// The same from another package.
    ///
    /// # Panics
    /// As with [`Self::bare`].
    pub fn installed_from(package: Package) -> Option<Self> {
        (Self::is_possible() && packages::ready()).then(|| Self::boot(Some(Layer::shared(package))))
    }

    /// One with packages of your choice on it. `None` as with [`Self::bare`].
    ///
    /// # Panics
    /// As with [`Self::bare`].
    pub fn with(installed: Arc<Layer>) -> Option<Self> {
        Self::is_possible().then(|| Self::boot(Some(installed)))
    }

    /// Whether there is what machines need; says why if there is not.
    fn is_possible() -> bool {
        let made = Command::new(script("prepare")).output().expect("prepare starts");
        if !made.status.success() {
            let errors = String::from_utf8_lossy(&made.stderr);
            skip(errors.lines().last().unwrap_or("tests/nspawn/prepare fails"));
        }
        made.status.success()
    }

    /// One with the files of `installed`.
    fn boot(installed: Option<Arc<Layer>>) -> Self {
        let layer = installed.as_ref().map(|layer| layer.path()).unwrap_or_default();
        let mut boot = Command::new(script("boot"))
            .arg(layer)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("boot starts");
        let mut line = String::new();
        let output = boot.stdout.as_mut().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("UTF-8");
        let Some((leader, cgroup)) = line.trim_end().split_once(' ') else {
            let end = boot.wait_with_output().expect("wait");
            panic!("{}", String::from_utf8_lossy(&end.stderr));
        };
        let leader = leader.parse().expect("a process id");
        Self { leader, cgroup: cgroup.into(), boot, _installed: installed }
    }

    /// Its systemd's process id on the host.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Its root cgroup's directory on the host.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A command in the machine's namespaces and in a cgroup of it that is no unit's; as the host's
    /// root, with all its capabilities. Its parent is outside: what is to look like any process of
    /// the machine is better started with [`Self::start`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
            .arg("-c")
            .arg(
                r#"echo $$ > "$0" && leader=$1 && shift &&
                exec nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup -- "$@""#,
            )
            .arg(self.cgroup.join("tests/cgroup.procs"))
            .arg(self.leader.to_string())
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command as root and waits for its end.
    ///
    /// # Panics
    /// When there is no `nsenter`.
    pub fn run(&self, command: &[&str]) -> Output {
        self.command(command[0]).args(&command[1..]).output().expect("sh starts")
    }

    /// Runs a command as `user` with these groups, without any capability.
    ///
    /// # Panics
    /// When there is no `nsenter`.
    pub fn run_as(&self, user: &str, groups: &[&str], command: &[&str]) -> Output {
        self.command("setpriv")
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={user}"))
            .arg(format!("--groups={}", groups.join(",")))
            .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
            .args(command)
            .output()
            .expect("sh starts")
    }

    /// What a command that must succeed says, run as root.
    ///
    /// # Panics
    /// When it fails.
    pub fn told(&self, command: &[&str]) -> String {
        let done = self.run(command);
        let (output, errors) = (text(&done.stdout), text(&done.stderr));
        assert!(done.status.success(), "{command:?}: {}\n{output}{errors}", done.status);
        output
    }

    /// Starts a command in the background as a service `unit`; its output is in the journal.
    ///
    /// # Panics
    /// When systemd refuses.
    pub fn start(&self, unit: &str, command: &[&str]) {
        let unit = format!("--unit={unit}");
        let run = ["systemd-run", "--quiet", "--collect", "--service-type=exec", &unit, "--"];
        self.told(&[&run, command].concat());
    }

    /// What a unit's processes have written, and what systemd says of them.
    ///
    /// # Panics
    /// When there is no journal.
    pub fn journal(&self, unit: &str) -> String {
        self.told(&["journalctl", "--sync"]);
        self.told(&["journalctl", "--no-pager", "--output=cat", "--unit", unit])
    }

    /// A property of a unit, as `systemctl show` names it.
    ///
    /// # Panics
    /// When systemd does not answer.
    pub fn property(&self, unit: &str, name: &str) -> String {
        let value = self.told(&["systemctl", "show", "--value", "--property", name, unit]);
        value.trim_end().to_owned()
    }

    /// Process ids on the host of a service's processes.
    pub fn processes(&self, service: &str) -> Vec<u32> {
        let members = self.cgroup.join("system.slice").join(service).join("cgroup.procs");
        let members = fs::read_to_string(members).unwrap_or_default();
        members.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until the journal of `unit` has a line with `words`.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait_for(&self, unit: &str, words: &str) {
        let told = || self.journal(unit).lines().any(|line| line.contains(words));
        let came = within(PATIENCE, told);
        assert!(came, "no line with {words:?} of {unit}:\n{}", self.journal(unit));
    }

    // Files are reached by programs in the machine and never through /proc/PID/root: a link in it, such
    // as /var/run, would lead to the host's.

    /// Copies a file of the host, with its mode.
    ///
    /// # Panics
    /// When that fails.
    pub fn copy_in(&self, from: &Path, to: &str) {
        let file = File::open(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mode = file.metadata().expect("stat").permissions().mode();
        let mode = format!("--mode={:o}", mode & 0o7777);
        self.feed(file, &["install", "-D", &mode, "/dev/stdin", to]);
    }

    /// Writes a file that everyone may read.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, to: &str, content: &str) {
        let mut file = tempfile::tempfile().expect("a file of our own");
        file.write_all(content.as_bytes()).and_then(|()| file.rewind()).expect("write");
        self.feed(file, &["install", "-D", "--mode=644", "/dev/stdin", to]);
    }

    /// What a file holds.
    ///
    /// # Panics
    /// When there is none.
    pub fn read(&self, path: &str) -> String {
        self.told(&["cat", path])
    }

    /// Whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.run(&["test", "-e", path]).status.success()
    }

    /// Installs one of `packages` into the running machine, or upgrades to it.
    ///
    /// # Panics
    /// When that fails.
    pub fn install(&self, packages: &Packages, package: Package) {
        let file = format!("/root/{}", package.file());
        self.copy_in(&packages.path(package.file()), &file);
        let command: &[&str] = match package {
            Package::Rpm => &["rpm", "--dbpath=/var/lib/rpm", "--nodeps", "--upgrade"],
            Package::Deb => &["dpkg", "--force-confold", "--install"],
        };
        self.told(&[command, &[&file]].concat());
    }

    /// Removes Sentinel's package.
    ///
    /// # Panics
    /// When that fails.
    pub fn remove(&self, package: Package) {
        self.told(match package {
            Package::Rpm => &["rpm", "--dbpath=/var/lib/rpm", "--erase", "sentinel"],
            Package::Deb => &["dpkg", "--remove", "sentinel"],
        });
    }

    /// Runs a command that must succeed, with `input`.
    fn feed(&self, input: impl Into<Stdio>, command: &[&str]) {
        let fed = self.command(command[0]).args(&command[1..]).stdin(input).output();
        let fed = fed.expect("sh starts");
        assert!(fed.status.success(), "{command:?}: {}", text(&fed.stderr));
    }

    /// Adds `lines` to a unit until the machine ends.
    ///
    /// # Panics
    /// When that fails.
    pub fn drop_in(&self, unit: &str, lines: &str) {
        self.write(&format!("/run/systemd/system/{unit}.d/test.conf"), lines);
        self.told(&["systemctl", "daemon-reload"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.boot.stdin.take());
        let begun = Instant::now();
        while matches!(self.boot.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nothing of the machine outlives it.
        let _gone = self.boot.kill();
        let _waited = self.boot.wait();
    }
}

/// What a command wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
