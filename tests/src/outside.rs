//! A network namespace with addresses that look public (TEST-NET-2, RFC 5737; RFC 3849), and peers
//! there.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc::{Sender, channel},
    },
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::bed::Bed;

/// The address in the namespace.
pub const ADDRESS: &str = "198.51.100.7";
/// Another one there.
pub const ADDRESS_V6: &str = "2001:db8::7";
/// One on a private network.
pub const PRIVATE_ADDRESS: &str = "10.11.12.13";
/// The address of a host of its own, where there is one ([`Outside::with_home`]; TEST-NET-3).
pub const HOME: &str = "203.0.113.5";

/// Where the way from a host of its own begins.
const NEXT_TO_HOME: [(&str, &str); 2] =
    [("203.0.113.5/24", "203.0.113.1"), ("2001:db8:1::5/64", "2001:db8:1::1")];

/// The namespace; it goes with the test.
pub struct Outside {
    name: String,
    /// The namespace of those who are watched, if it is another one.
    home: Option<String>,
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
        let name = format!("sentinel-{}-{number}", std::process::id());
        let outside = Self { name, home: None };
        let name = outside.name.as_str();
        add(name);
        for address in [ADDRESS, PRIVATE_ADDRESS] {
            ip(&["-n", name, "addr", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        ip(&["-n", name, "addr", "add", &format!("{ADDRESS_V6}/128"), "dev", "lo", "nodad"]);
        outside
    }

    /// Makes it, and a second namespace for those who are watched: what they send goes from one to the
    /// other over a link.
    ///
    /// # Panics
    /// Without `ip`, or the rights.
    pub fn with_home() -> Self {
        let mut outside = Self::new();
        let home = format!("{}-home", outside.name);
        add(&home);
        let name = outside.name.clone();
        ip(&[
            "-n", &home, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns",
            &name,
        ]);
        for one in [&name, &home] {
            ip(&["-n", one, "link", "set", "veth0", "up"]);
        }
        for (own, next) in NEXT_TO_HOME {
            let prefix = own.split_once('/').expect("a length").1;
            let next_own = format!("{next}/{prefix}");
            for (namespace, address) in [(&home, own), (&name, &next_own)] {
                let mut words = vec!["-n", namespace, "addr", "add", address, "dev", "veth0"];
                words.extend(address.contains(':').then_some("nodad"));
                ip(&words);
            }
            ip(&["-n", &home, "route", "add", "default", "via", next]);
        }
        outside.home = Some(home);
        outside
    }

    /// The network namespace of those who are watched.
    pub fn home(&self) -> String {
        path(self.home.as_deref().unwrap_or(&self.name))
    }

    /// A command in the bed whose network is this one, or that of the home.
    pub fn command(&self, bed: &Bed, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = bed.command("nsenter");
        command.arg(format!("--net={}", self.home())).arg(program);
        command
    }

    /// A command outside of any bed and home: the sensor sees nothing of it.
    pub fn unseen_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path(&self.name))).arg(program);
        command
    }

    /// Keeps the datagrams that come to `address`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn datagrams(&self, address: &str) -> (SocketAddr, Loot) {
        let wanted = SocketAddr::new(address.parse().expect("an address"), 0);
        self.listen(move |ready, kept| {
            let socket = UdpSocket::bind(wanted).expect("a free port");
            ready.send(socket.local_addr().expect("an address")).expect("the test waits");
            let mut bytes = [0; 65_536];
            while let Ok((count, _)) = socket.recv_from(&mut bytes) {
                kept.bytes().extend_from_slice(bytes.get(..count).unwrap_or_default());
            }
        })
    }

    /// Has `listener` run in a thread in the namespace; it sends the address once it listens.
    fn listen(
        &self,
        listener: impl FnOnce(&Sender<SocketAddr>, &Loot) + Send + 'static,
    ) -> (SocketAddr, Loot) {
        let namespace = File::open(path(&self.name)).expect("a namespace");
        let loot = Loot::default();
        let (ready, listening) = channel();
        let kept = loot.clone();
        std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).expect("the right to enter it");
            listener(&ready, &kept);
        });
        (listening.recv().expect("it listens"), loot)
    }

    /// Listens at `address`, keeps what comes, and answers what looks like HTTP.
    ///
    /// # Panics
    /// When it cannot.
    pub fn peer(&self, address: &str) -> (SocketAddr, Loot) {
        let wanted = SocketAddr::new(address.parse().expect("an address"), 0);
        self.listen(move |ready, kept| {
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
        })
    }
}

impl Default for Outside {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for name in self.home.iter().chain([&self.name]) {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
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

fn path(name: &str) -> String {
    format!("/run/netns/{name}")
}

/// A namespace with its loopback.
fn add(name: &str) {
    ip(&["netns", "add", name]);
    ip(&["-n", name, "link", "set", "lo", "up"]);
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip is installed");
    assert!(status.success(), "ip {arguments:?}");
}
