//! A network namespace with an address that looks public (TEST-NET-2, RFC 5737), and a peer there.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::channel,
    },
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::bed::Bed;

/// The address in the namespace.
pub const ADDRESS: &str = "198.51.100.7";
/// One on a private network.
pub const PRIVATE_ADDRESS: &str = "10.11.12.13";

/// The namespace; it goes with the test.
pub struct Outside {
    name: String,
}

/// What a peer got so far, of all who connected.
#[derive(Clone, Default)]
pub struct Loot(Arc<Mutex<Vec<u8>>>);

impl Loot {
    /// The bytes.
    pub fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outside {
    /// Makes it.
    ///
    /// # Panics
    /// Without `ip`, or the rights.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let outside = Self { name: format!("sentinel-{}-{number}", std::process::id()) };
        let name = outside.name.as_str();
        ip(&["netns", "add", name]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        for address in [ADDRESS, PRIVATE_ADDRESS] {
            ip(&["-n", name, "addr", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        outside
    }

    /// A command in the bed whose network is this one.
    pub fn command(&self, bed: &Bed, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = bed.command("nsenter");
        // Cargo's: programs would not count as themselves.
        command.env_remove("LD_LIBRARY_PATH");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// The same outside of any bed: the sensor sees nothing of it.
    pub fn unseen_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Listens at `address`, keeps what comes, and answers what looks like HTTP.
    ///
    /// # Panics
    /// When it cannot.
    pub fn peer(&self, address: &str) -> (SocketAddr, Loot) {
        let namespace = File::open(self.path()).expect("a namespace");
        let wanted = SocketAddr::new(address.parse().expect("an address"), 0);
        let loot = Loot::default();
        let (ready, listening) = channel();
        let kept = loot.clone();
        std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("the right to enter it");
            let listener = TcpListener::bind(wanted).expect("a free port");
            ready.send(listener.local_addr().expect("an address")).expect("the test waits");
            for mut stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || {
                    let (mut bytes, mut request) = ([0; 4096], Vec::new());
                    while let Ok(count @ 1..) = stream.read(&mut bytes) {
                        let part = bytes.get(..count).unwrap_or_default();
                        kept.bytes().extend_from_slice(part);
                        request.extend_from_slice(part);
                        if is_whole_request(&request) {
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                            let _gone = stream.write_all(answer);
                            request.clear();
                        }
                    }
                });
            }
        });
        (listening.recv().expect("it listens"), loot)
    }
}

impl Default for Outside {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Whether it is HTTP, with all of its body.
fn is_whole_request(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
    head.contains("HTTP/1") && body.len() >= length
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments:?}");
}
