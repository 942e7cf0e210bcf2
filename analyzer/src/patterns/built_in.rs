//! The patterns that are written in code, as operators are told of them.

use crate::alert::Severity;

/// A pattern that is written in code.
#[derive(Debug)]
pub struct BuiltIn {
    /// Stable name.
    pub name: &'static str,
    /// How bad at the worst.
    pub severity: Severity,
    /// MITRE ATT&CK technique.
    pub mitre: &'static str,
    /// What it means, in a sentence.
    pub description: &'static str,
    /// When it is wrong.
    pub false_positives: &'static str,
}

/// All of them; rules in files have other names.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "reverse_shell",
        severity: Severity::Critical,
        mitre: "T1059",
        description: "a shell or interpreter has a network connection as its input and its output, \
                      itself or by way of a relay",
        false_positives: "services that hand a connection to a shell script as its standard input and \
                          output (inetd, socket activation with Accept=yes)",
    },
    BuiltIn {
        name: "credential_exfil",
        severity: Severity::Critical,
        mitre: "T1552.004",
        description: "a private key or credential file was read, and data left to an external address \
                      after that, from the reader or from whoever the data can have come to",
        false_positives: "clients that are not listed and send what they have read to their own \
                          service, and backups to another site",
    },
    BuiltIn {
        name: "privilege_escalation",
        severity: Severity::Critical,
        mitre: "T1548.001",
        description: "a process without any rights has some in the initial user namespace, by none of the \
                      programs that are there for it; or read a credential file and made itself root",
        false_positives: "setuid and file-capability programs that are installed outside of the system's \
                          directories",
    },
    BuiltIn {
        name: "fork_bomb",
        severity: Severity::Critical,
        mitre: "T1499.001",
        description: "a tree of processes grows faster than anything honest, in width or in depth",
        false_positives: "load generators that fork thousands of processes which stay",
    },
];

/// Whether a pattern written in code has this name.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|one| one.name == name)
}
