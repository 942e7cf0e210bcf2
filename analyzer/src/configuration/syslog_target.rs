//! Where syslog is: `unix:PATH`, `udp:HOST:PORT` or `tcp:HOST:PORT`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZero,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// Longest path of a socket, so that a null byte follows it (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// Where syslog is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SyslogTarget {
    /// A datagram socket of this path, on this host.
    Unix(PathBuf),
    /// A server that takes datagrams (RFC 5426).
    Udp(Server),
    /// A server that takes connections (RFC 6587).
    Tcp(Server),
}

/// A port of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// An address, or a name to be resolved.
    pub host: String,
    /// Its port.
    pub port: NonZero<u16>,
}

impl Default for SyslogTarget {
    fn default() -> Self {
        Self::Unix("/dev/log".into())
    }
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(to, "unix:{}", path.display()),
            Self::Udp(server) => write!(to, "udp:{server}"),
            Self::Tcp(server) => write!(to, "tcp:{server}"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(to, "[{host}]:{port}") } else { write!(to, "{host}:{port}") }
    }
}

impl FromStr for SyslogTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("unix", path)) => unix(path).map(Self::Unix),
            Some(("udp", server)) => server.parse().map(Self::Udp),
            Some(("tcp", server)) => server.parse().map(Self::Tcp),
            _ => Err("it must be unix:PATH, udp:HOST:PORT or tcp:HOST:PORT, as in unix:/dev/log"
                .to_owned()),
        }
    }
}

fn unix(path: &str) -> Result<PathBuf, String> {
    if !Path::new(path).is_absolute() {
        return Err("the path behind unix: must begin with /".to_owned());
    }
    if path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(format!(
            "the path of a socket has at most {MAX_PATH_BYTES} bytes, none of them null"
        ));
    }
    Ok(path.into())
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed
                    .split_once(']')
                    .ok_or("the bracket before the address is not closed")?;
                address.parse::<Ipv6Addr>().map_err(|_| {
                    format!(
                        "{address:?} between brackets is no IPv6 address, as in [2001:db8::1]:514"
                    )
                })?;
                (address, rest.strip_prefix(':'))
            }
            None => match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err("an IPv6 address must stand in brackets, as in [2001:db8::1]:514"
                        .to_owned());
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.ok_or("a port is missing behind the host, as in loghost:514")?;
        let port = port.parse().map_err(|_| format!("{port:?} is no port from 1 to 65535"))?;
        if host.parse::<IpAddr>().is_err() && !is_name(host) {
            return Err(format!("{host:?} is neither an address nor a name of a host"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

fn is_name(host: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&host.len())
        && !host.starts_with(['-', '.'])
        && host.bytes().all(is_of_names)
        // Else it is an address that is wrong.
        && host.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl TryFrom<String> for SyslogTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|why| format!("{text:?}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_named_reads_back_as_it_was_written() {
        for text in [
            "unix:/dev/log",
            "udp:192.0.2.1:514",
            "tcp:loghost.example.com:6514",
            "tcp:[2001:db8::1]:514",
            "udp:log-1:65535",
        ] {
            assert_eq!(text.parse::<SyslogTarget>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let long = format!("unix:/{}", "x".repeat(107));
        let name = format!("tcp:{}:514", "x".repeat(254));
        for (text, words) in [
            ("loghost", "unix:PATH, udp:HOST:PORT or tcp:HOST:PORT"),
            ("tls:loghost:6514", "unix:PATH, udp:HOST:PORT or tcp:HOST:PORT"),
            ("unix:dev/log", "must begin with /"),
            (long.as_str(), "at most 107 bytes"),
            ("tcp:loghost", "a port is missing"),
            ("tcp:[::1]", "a port is missing"),
            ("tcp:loghost:0", "no port from 1 to 65535"),
            ("udp:loghost:65536", "no port from 1 to 65535"),
            ("udp:loghost:syslog", "no port from 1 to 65535"),
            ("udp:::1:514", "must stand in brackets"),
            ("udp:[::1:514", "is not closed"),
            ("udp:[127.0.0.1]:514", "no IPv6 address"),
            ("tcp::514", "neither an address nor a name"),
            ("tcp:log host:514", "neither an address nor a name"),
            ("tcp:256.0.0.1:514", "neither an address nor a name"),
            ("tcp:-x:514", "neither an address nor a name"),
            (name.as_str(), "neither an address nor a name"),
        ] {
            let why = text.parse::<SyslogTarget>().unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
