//! The other ends: they wait outside, where the sensor sees nothing, and keep what comes.

use std::{
    collections::HashSet,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use sentinel_tests::{
    bed::Bed,
    outside::{ADDRESS, ADDRESS_V6, Loot, Outside},
    sentinel::{PATIENCE, within},
};

/// Who waits there.
#[derive(Clone, Copy)]
pub enum Far {
    /// A server that keeps what comes, and answers HTTP.
    Tcp,
    /// The same over IPv6.
    Tcp6,
    /// A receiver of datagrams.
    Udp,
    /// The same over IPv6.
    Udp6,
    /// `openssl s_server`.
    Tls,
    /// sshd; what arrives is the file `loot` in the attack's directory.
    Ssh,
}

impl Far {
    /// The peer's address.
    pub fn address(self) -> &'static str {
        match self {
            Self::Tcp | Self::Udp | Self::Tls | Self::Ssh => ADDRESS,
            Self::Tcp6 | Self::Udp6 => ADDRESS_V6,
        }
    }
}

/// What came.
type Told = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

/// All peers; they end with the test.
pub struct Peers<'a> {
    outside: &'a Outside,
    directory: PathBuf,
    next_port: u16,
    /// Addresses that somebody has: of TCP and UDP the kernel may choose the same port.
    taken: HashSet<SocketAddr>,
    servers: Vec<Child>,
}

impl<'a> Peers<'a> {
    /// None yet, but the keys that they need.
    pub fn new(bed: &Bed, outside: &'a Outside) -> Self {
        let directory = bed.path("peers");
        fs::create_dir(&directory).unwrap();
        for name in ["host", "client"] {
            let words = ["-q", "-t", "ed25519", "-N", "", "-f"];
            run(Command::new("ssh-keygen").args(words).arg(directory.join(name)));
        }
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=peer"]);
        make.arg("-keyout").arg(directory.join("tls.key"));
        run(make.arg("-out").arg(directory.join("tls.crt")));
        // Below the ports that the kernel chooses.
        Self { outside, directory, next_port: 20_000, taken: HashSet::new(), servers: Vec::new() }
    }

    /// Options by which ssh gets in.
    pub fn ssh_options(&self) -> String {
        let key = self.directory.join("client");
        format!(
            "-F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR",
            key.display()
        )
    }

    /// Has a peer wait; its address, and what has come there.
    pub fn wait_for(&mut self, far: Far, directory: &Path) -> (SocketAddr, Told) {
        let told = |(there, loot): (SocketAddr, Loot)| {
            let told: Told = Box::new(move || loot.bytes().clone());
            (there, told)
        };
        let file = directory.join("loot");
        match far {
            Far::Tcp | Far::Tcp6 => told(self.alone(|outside| outside.peer(far.address()))),
            Far::Udp | Far::Udp6 => told(self.alone(|outside| outside.datagrams(far.address()))),
            Far::Tls => (self.tls(&file), Box::new(move || fs::read(&file).unwrap_or_default())),
            Far::Ssh => (self.sshd(), Box::new(move || fs::read(&file).unwrap_or_default())),
        }
    }

    /// A peer at an address that no other one has, of whatever protocol.
    fn alone(&mut self, wait: impl Fn(&Outside) -> (SocketAddr, Loot)) -> (SocketAddr, Loot) {
        loop {
            let (there, loot) = wait(self.outside);
            if self.taken.insert(there) {
                return (there, loot);
            }
        }
    }

    fn tls(&mut self, to: &Path) -> SocketAddr {
        let mut command = self.outside.unseen_command("openssl");
        let (key, certificate) = (self.directory.join("tls.key"), self.directory.join("tls.crt"));
        let there = SocketAddr::new(ADDRESS.parse().unwrap(), self.port());
        command.args(["s_server", "-quiet", "-accept", &there.to_string()]);
        command.arg("-key").arg(key).arg("-cert").arg(certificate);
        // Its input stays open: at its end it would leave.
        command.stdin(Stdio::piped()).stdout(File::create(to).unwrap()).stderr(Stdio::null());
        self.serve(command, there)
    }

    fn sshd(&mut self) -> SocketAddr {
        let there = SocketAddr::new(ADDRESS.parse().unwrap(), self.port());
        fs::create_dir_all("/run/sshd").unwrap();
        let directory = self.directory.display();
        let configuration = format!(
            "ListenAddress {there}\nHostKey {directory}/host\nAuthorizedKeysFile \
             {directory}/client.pub\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin \
             prohibit-password\nSubsystem sftp internal-sftp\n"
        );
        let file = self.directory.join(format!("sshd-{}", there.port()));
        fs::write(&file, configuration).unwrap();
        let mut command = self.outside.unseen_command("/usr/sbin/sshd");
        command.arg("-D").arg("-f").arg(file).stdin(Stdio::null()).stderr(Stdio::null());
        self.serve(command, there)
    }

    fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    fn serve(&mut self, mut command: Command, there: SocketAddr) -> SocketAddr {
        self.servers.push(command.spawn().unwrap());
        let is_up = || {
            let mut look = self.outside.unseen_command("ss");
            let port = format!(":{}", there.port());
            let output = look.args(["-Hltn", "sport", "=", &port]).output().unwrap();
            !output.stdout.is_empty()
        };
        assert!(within(PATIENCE, is_up), "nobody waits at {there}");
        there
    }
}

impl Drop for Peers<'_> {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _gone = server.kill();
            let _waited = server.wait();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}
