//! Points, what they are for, and how an alert tells of them.

use std::{fmt, net::SocketAddr};

use sentinel_ipc::file_class::class;
use serde::{Deserialize, Serialize};

use crate::{
    destinations::Distance,
    secrets::{
        Outflow, Secret, SecretFile,
        departure::{Left, Way},
    },
};

/// What makes points, and how many.
const SOCKET: Contribution = Contribution { name: "socket", points: 30 };
const CONNECT: Contribution = Contribution { name: "connect_external", points: 20 };
const READ: Contribution = Contribution { name: "sensitive_read", points: 40 };
const SEND: Contribution = Contribution { name: "send_nonlocal", points: 30 };
const MATCH: Contribution = Contribution { name: "byte_match", points: 50 };

/// How many times what was read may come to be, in some code, to be alike still.
const MOST_TIMES: u64 = 3;
/// What a protocol may put around it, bytes.
const WRAPPING: u64 = 1024;

/// By what the engine judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Points from which data that left is critical.
    pub threshold: u32,
    /// How long one step may follow the other, ms.
    pub timeout_ms: u64,
    /// Bytes that are a match whatever was read.
    pub min_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { threshold: 100, timeout_ms: 5000, min_bytes: 512 }
    }
}

impl Policy {
    pub(super) fn window_ns(&self) -> u64 {
        self.timeout_ms.saturating_mul(1_000_000)
    }
}

/// How far a sequence has come; the last step that was taken, as reading and connecting go in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A connection to another host was opened.
    NetworkOpened,
    /// A secret was read.
    FileRead,
    /// Data left.
    DataSent,
}

/// How often each stage was reached.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    /// Connections to external addresses.
    pub network_opened: u64,
    /// Secrets that were read by who they are not meant for.
    pub file_read: u64,
    /// Alerts on data that left.
    pub data_sent: u64,
}

impl fmt::Display for Stages {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network_opened, file_read, data_sent } = self;
        write!(
            to,
            "network opened {network_opened} · secret read {file_read} · data sent {data_sent}"
        )
    }
}

/// A part of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Contribution {
    /// What for.
    pub name: &'static str,
    /// How many.
    pub points: u32,
}

/// What an alert of this engine has beside those of all.
#[derive(Debug, Clone, Serialize)]
pub struct Correlated {
    /// The last step.
    pub stage: Stage,
    /// The sum of the contributions.
    pub score: u32,
    /// What it is made of.
    pub contributions: Vec<Contribution>,
    /// The secret's path, escaped.
    pub file: String,
    /// The secret's size.
    pub bytes_read: u64,
    /// Bytes that were sent after the reading.
    pub bytes_sent: u64,
    /// The network peer.
    #[serde(skip)]
    pub remote: Option<SocketAddr>,
}

/// A score, as a list of what it is made of.
#[derive(Debug)]
pub(super) struct Score(Vec<Contribution>);

impl Score {
    /// Of a secret beside a connection to an external address.
    pub(super) fn beside_a_connection() -> Self {
        Self(vec![SOCKET, CONNECT, READ])
    }

    /// Of data that has left.
    pub(super) fn of(outflow: &Outflow, left: Left, secret: &Secret, policy: &Policy) -> Self {
        let connected = outflow.distance == Distance::External
            && matches!(outflow.way, Way::Out | Way::Unknown);
        let is_match = match outflow.distance {
            Distance::Host => false,
            Distance::Private => is_alike(left, outflow.is_end, &secret.file, policy),
            Distance::External => is_enough(left, secret.file.size, policy),
        };
        let parts = [
            (SOCKET, true),
            (CONNECT, connected),
            (READ, true),
            (SEND, outflow.distance != Distance::Host),
            (MATCH, is_match),
        ];
        Self(parts.into_iter().filter(|(_, counts)| *counts).map(|(part, _)| part).collect())
    }

    pub(super) fn total(&self) -> u32 {
        self.0.iter().map(|part| part.points).sum()
    }

    pub(super) fn has_match(&self) -> bool {
        self.0.contains(&MATCH)
    }

    /// As an alert tells it.
    pub(super) fn told(
        self,
        stage: Stage,
        secret: &Secret,
        remote: Option<SocketAddr>,
        bytes_sent: u64,
    ) -> Correlated {
        let (file, bytes_read) = (secret.file.path.clone(), secret.file.size);
        let score = self.total();
        Correlated { stage, score, contributions: self.0, file, bytes_read, bytes_sent, remote }
    }
}

/// Whether so much left that all that matters of the secret can be in it.
fn is_enough(left: Left, size: u64, policy: &Policy) -> bool {
    match left {
        Left::Exactly(_) => true,
        Left::Enough(bytes) => bytes >= policy.min_bytes || bytes >= size / 2,
        Left::Perhaps(_) => false,
    }
}

/// Whether about as much left as was read: a backup sends much more, and is none. How much that is, is
/// known at the end.
fn is_alike(left: Left, is_end: bool, file: &SecretFile, policy: &Policy) -> bool {
    // A token goes with each request to the service that it is for.
    let is_token = [class::CLOUD_CREDENTIALS, class::CLIENT_CREDENTIALS].contains(&file.class);
    let most = file.size.saturating_mul(MOST_TIMES).saturating_add(WRAPPING);
    let is_about = is_end && is_enough(left, file.size, policy) && left.bytes() <= most;
    matches!(left, Left::Exactly(_)) || is_about && !is_token
}
