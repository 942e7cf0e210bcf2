//! The patterns that are written in code, and the other engines' rules, as operators are told of them.

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
        name: "data_exfiltration",
        severity: Severity::Critical,
        mitre: "T1048",
        description: "of the correlation engine: a sensitive read beside a connection to an external \
                      address, or data that left after it, within seconds of each other, whoever did \
                      each",
        false_positives: "as of credential_exfil; and, as warnings, services that read a key of their own \
                          and connect to others",
    },
    BuiltIn {
        name: "privilege_escalation",
        severity: Severity::Critical,
        mitre: "T1548.001",
        description: "a process has rights in the initial user namespace that it had no way to, by none of \
                      the programs that are there for it; or read a credential file and made itself root",
        false_positives: "setuid and file-capability programs that are installed outside of the system's \
                          directories",
    },
    BuiltIn {
        name: "fork_bomb",
        severity: Severity::Critical,
        mitre: "T1499.001",
        description: "a tree of processes that branches again and again, or grows in width or depth, as \
                      nothing honest does",
        false_positives: "load generators that fork thousands of processes which stay, or fork on",
    },
    BuiltIn {
        name: "baseline_new",
        severity: Severity::High,
        mitre: "T1106",
        description: "of the baseline engine: a program does what it never did in all the time in which it \
                      was learned",
        false_positives: "rare jobs, and starts of a server, if there was none while it was learned",
    },
    BuiltIn {
        name: "baseline_rate",
        severity: Severity::Warning,
        mitre: "T1499",
        description: "of the baseline engine: a program does much more of something than usual, for seconds \
                      on end",
        false_positives: "work that differs from all that was seen while the program was learned",
    },
];

/// Names of those that are about secrets that were read, from which what is a program's own is left out.
pub const ABOUT_SECRETS: [&str; 2] = ["credential_exfil", "data_exfiltration"];

/// Whether a pattern written in code has this name.
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|one| one.name == name)
}
