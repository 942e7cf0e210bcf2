//! Which files matter, and by which rules the kernel tells them.
//!
//! A rule is about the path that the kernel resolved, whatever the caller wrote. A file that was
//! told once is known by its inode from then on, under whatever name.

use crate::kernel_abi::{NAME_BYTES, PREFIX_BYTES, SUFFIX_BYTES};

/// Bit of a class that makes its files secrets: who opens one is tainted.
pub const SECRET: u32 = 1 << 16;

/// Classes; 0 is none.
pub mod class {
    use super::SECRET;

    /// Told apart from its surroundings, and of no interest.
    pub const ORDINARY: u32 = 1;
    /// Accounts, readable for everybody: /etc/passwd.
    pub const ACCOUNTS: u32 = 2;
    /// Hashed passwords: /etc/shadow and its kin.
    pub const PASSWORD_HASHES: u32 = 3 | SECRET;
    /// Who may act as whom: sudoers.
    pub const SUDOERS: u32 = 4 | SECRET;
    /// Private keys of this host's ssh server.
    pub const SSH_HOST_KEY: u32 = 5 | SECRET;
    /// A user's private ssh keys.
    pub const SSH_KEY: u32 = 6 | SECRET;
    /// Credentials and tokens for clouds and clusters.
    pub const CLOUD_CREDENTIALS: u32 = 7 | SECRET;
    /// Passwords and tokens that network clients keep: .netrc, .npmrc, .git-credentials.
    pub const CLIENT_CREDENTIALS: u32 = 8 | SECRET;
    /// Private keys of other kinds.
    pub const PRIVATE_KEY: u32 = 9 | SECRET;
    /// Password managers' stores.
    pub const PASSWORD_STORE: u32 = 10 | SECRET;
    /// Browsers' stored logins and cookies.
    pub const BROWSER_STORE: u32 = 11 | SECRET;
    /// A service's environment file.
    pub const ENVIRONMENT_FILE: u32 = 12 | SECRET;
}

/// The bit of `class` in a set of classes: its number, which is below 32.
pub const fn bit(class: u32) -> u32 {
    1 << (class & 31)
}

/// What a rule looks at. Bytes are compared as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// The whole path.
    Path(&'static [u8]),
    /// The path's front.
    Prefix(&'static [u8]),
    /// Any component, of the last 30.
    Component(&'static [u8]),
    /// The last component.
    Name(&'static [u8]),
    /// Two adjacent components, of the last 30.
    Within(&'static [u8], &'static [u8]),
    /// The last two components.
    NameWithin(&'static [u8], &'static [u8]),
    /// The end of the last component, [`crate::kernel_abi::MIN_SUFFIX_BYTES`] or more.
    Suffix(&'static [u8]),
}

/// A rule about regular files. Of several that apply, the one nearest to the last component wins, a
/// pair before a single name; then suffixes, the longest first; then prefixes, the longest first.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Which paths.
    pub pattern: Pattern,
    /// What they are.
    pub class: u32,
    /// Only files that not everybody may read (`mode & 0o004 == 0`).
    pub private: bool,
}

const fn always(pattern: Pattern, class: u32) -> Rule {
    assert!(fits(pattern), "a pattern is too long for the kernel's tables");
    Rule { pattern, class, private: false }
}

const fn private(pattern: Pattern, class: u32) -> Rule {
    assert!(fits(pattern), "a pattern is too long for the kernel's tables");
    Rule { pattern, class, private: true }
}

const fn fits(pattern: Pattern) -> bool {
    match pattern {
        // One byte for the NUL that ends it.
        Pattern::Path(path) => path.len() < PREFIX_BYTES,
        Pattern::Prefix(prefix) => prefix.len() <= PREFIX_BYTES,
        Pattern::Component(name) | Pattern::Name(name) => name.len() < NAME_BYTES,
        Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) => {
            outer.len() < NAME_BYTES && inner.len() < NAME_BYTES
        }
        Pattern::Suffix(suffix) => {
            suffix.len() >= crate::kernel_abi::MIN_SUFFIX_BYTES && suffix.len() <= SUFFIX_BYTES
        }
    }
}

/// Files that are watched without any configuration.
pub const BUILT_IN: &[Rule] = &{
    use Pattern::{Component, Name, NameWithin, Path, Prefix, Suffix, Within};
    [
        always(Path(b"/etc/passwd"), class::ACCOUNTS),
        always(Path(b"/etc/shadow"), class::PASSWORD_HASHES),
        always(Path(b"/etc/shadow-"), class::PASSWORD_HASHES),
        always(Path(b"/etc/gshadow"), class::PASSWORD_HASHES),
        always(Path(b"/etc/gshadow-"), class::PASSWORD_HASHES),
        always(Path(b"/etc/security/opasswd"), class::PASSWORD_HASHES),
        private(Prefix(b"/etc/sudoers"), class::SUDOERS),
        private(Prefix(b"/etc/ssh/ssh_host_"), class::SSH_HOST_KEY),
        // ssh refuses private keys that others may read, whatever their names.
        private(Component(b".ssh"), class::SSH_KEY),
        always(NameWithin(b".ssh", b"known_hosts"), class::ORDINARY),
        always(NameWithin(b".ssh", b"known_hosts.old"), class::ORDINARY),
        always(NameWithin(b".ssh", b"authorized_keys"), class::ORDINARY),
        always(NameWithin(b".ssh", b"config"), class::ORDINARY),
        always(NameWithin(b".ssh", b"environment"), class::ORDINARY),
        always(NameWithin(b".ssh", b"rc"), class::ORDINARY),
        always(NameWithin(b".aws", b"credentials"), class::CLOUD_CREDENTIALS),
        always(Within(b".aws", b"sso"), class::CLOUD_CREDENTIALS),
        always(Within(b".config", b"gcloud"), class::CLOUD_CREDENTIALS),
        private(Component(b".azure"), class::CLOUD_CREDENTIALS),
        always(NameWithin(b".kube", b"config"), class::CLOUD_CREDENTIALS),
        always(NameWithin(b".docker", b"config.json"), class::CLOUD_CREDENTIALS),
        always(Within(b"kubernetes.io", b"serviceaccount"), class::CLOUD_CREDENTIALS),
        always(Name(b".netrc"), class::CLIENT_CREDENTIALS),
        always(Name(b".npmrc"), class::CLIENT_CREDENTIALS),
        always(Name(b".pypirc"), class::CLIENT_CREDENTIALS),
        always(Name(b".git-credentials"), class::CLIENT_CREDENTIALS),
        always(Name(b".pgpass"), class::CLIENT_CREDENTIALS),
        always(Name(b".my.cnf"), class::CLIENT_CREDENTIALS),
        always(NameWithin(b".cargo", b"credentials.toml"), class::CLIENT_CREDENTIALS),
        always(NameWithin(b"gh", b"hosts.yml"), class::CLIENT_CREDENTIALS),
        always(Within(b".gnupg", b"private-keys-v1.d"), class::PRIVATE_KEY),
        always(NameWithin(b".gnupg", b"secring.gpg"), class::PRIVATE_KEY),
        private(Suffix(b".pem"), class::PRIVATE_KEY),
        private(Suffix(b".key"), class::PRIVATE_KEY),
        private(Suffix(b".p12"), class::PRIVATE_KEY),
        private(Suffix(b".pfx"), class::PRIVATE_KEY),
        private(Suffix(b".jks"), class::PRIVATE_KEY),
        private(Suffix(b".kdbx"), class::PASSWORD_STORE),
        private(Component(b".password-store"), class::PASSWORD_STORE),
        private(Component(b"keyrings"), class::PASSWORD_STORE),
        always(Name(b"logins.json"), class::BROWSER_STORE),
        always(Name(b"key4.db"), class::BROWSER_STORE),
        always(Name(b"Login Data"), class::BROWSER_STORE),
        private(Name(b"cookies.sqlite"), class::BROWSER_STORE),
        private(Name(b".env"), class::ENVIRONMENT_FILE),
    ]
};
