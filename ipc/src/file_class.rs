//! Which files matter, and by which rules the kernel tells them.
//!
//! A rule is about the path that the kernel resolved, whatever the caller wrote. A file that was
//! told once is known by its inode from then on, under whatever name.

use crate::kernel_abi::{NAME_BYTES, PREFIX_BYTES, SUFFIX_BYTES};

/// Bit of a class that makes its files secrets: who opens one is tainted.
pub const SECRET: u32 = 1 << 16;
/// Bit of a class whose files matter when they are written: opened or mapped so that they can be, cut, or
/// put in place. To read one is not told. A file may be of such a class besides another one, which it is
/// then to who only reads it.
pub const WRITES: u32 = 1 << 17;

/// Classes; 0 is none.
pub mod class {
    use super::{SECRET, WRITES};

    /// Told apart from its surroundings, and of no interest: never told by name.
    pub const ORDINARY: u32 = 1;
    /// As [`ORDINARY`], to who writes.
    pub const ORDINARY_WRITES: u32 = 1 | WRITES;
    /// Accounts and groups, readable for everybody: /etc/passwd.
    pub const ACCOUNTS: u32 = 2 | WRITES;
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
    /// Says which libraries every program loads: ld.so.preload, ld.so.conf.
    pub const LOADER_CONFIG: u32 = 13 | WRITES;
    /// Jobs of cron, anacron and at.
    pub const SCHEDULED_TASK: u32 = 14 | WRITES;
    /// What is started at boot, at login or by a device: units, init scripts, udev rules, autostart,
    /// kernel modules.
    pub const SERVICE_UNIT: u32 = 15 | WRITES;
    /// What shells run when they start.
    pub const SHELL_STARTUP: u32 = 16 | WRITES;
    /// Who is let in and who may do what: PAM and its modules, sshd, sudoers, polkit, nsswitch.
    pub const AUTHENTICATION: u32 = 17 | WRITES;
    /// Keys that may log in by ssh, and what is run then.
    pub const AUTHORIZED_KEYS: u32 = 18 | WRITES;
    /// Logs of logins, of the system and of audit.
    pub const LOG: u32 = 19 | WRITES;
    /// What shells remember of the commands that were typed.
    pub const SHELL_HISTORY: u32 = 20 | WRITES;
    /// Settings of the kernel that protect it, or make it run programs.
    pub const KERNEL_TUNABLE: u32 = 21 | WRITES;
    /// The program that a cgroup v1 runs when it has become empty, and whether it does.
    pub const RELEASE_AGENT: u32 = 22 | WRITES;
    /// Another process's memory: /proc/PID/mem.
    pub const PROCESS_MEMORY: u32 = 23;
    /// Another process's environment: /proc/PID/environ.
    pub const PROCESS_ENVIRONMENT: u32 = 24;
    /// The memory and the ports of the machine: /dev/mem, /dev/port, /proc/kcore.
    pub const KERNEL_MEMORY: u32 = 25;
    /// A block device, whatever its node is called: a disk as such, past its file system.
    pub const BLOCK_DEVICE: u32 = 26;
    /// The system's programs and libraries.
    pub const SYSTEM_PROGRAM: u32 = 27 | WRITES;
    /// What the package manager knows of installed packages.
    pub const PACKAGE_DATABASE: u32 = 28 | WRITES;
    /// Boot loader, kernels, initial file systems.
    pub const BOOT: u32 = 29 | WRITES;
    /// Sentinel's own files.
    pub const SENTINEL: u32 = 30 | WRITES;
    /// What data may go through from one process to another, whatever it is called: fifos, shared memory, files
    /// that are written after, or read while, a secret was read (`loader-ebpf/src/exchange.rs`). They are
    /// ordinary otherwise.
    pub const EXCHANGE: u32 = ORDINARY;
    /// What the operator has named.
    pub const SENSITIVE: u32 = 31 | SECRET;
}

/// The number of `class`, below 32, without the bits beside it.
pub const fn number(class: u32) -> u32 {
    class & 31
}

/// The bit of `class` in a set of classes.
pub const fn bit(class: u32) -> u32 {
    1 << number(class)
}

/// Whether the kernel learns the files of a class when it starts, where rules name them by their path; of
/// others there are too many.
pub const fn is_learned(class: u32) -> bool {
    !matches!(class, class::SYSTEM_PROGRAM | class::PACKAGE_DATABASE | class::BOOT)
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

/// A rule about files. Of several that apply, the one nearest to the last component wins, a pair before a
/// single name; then suffixes, the longest first; then prefixes, the longest first. Classes with
/// [`WRITES`] and those without are found apart from each other; those without are about regular files.
///
/// A path or prefix whose first two components are whole (`/etc/crontab`, `/etc/cron.d/`) also holds within
/// a file system, wherever that or a part of it is mounted, if no other rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which paths.
    pub pattern: Pattern,
    /// What they are.
    pub class: u32,
    /// Only files that not everybody may read (`mode & 0o004 == 0`).
    pub private: bool,
    /// Only in proc file systems.
    pub proc: bool,
}

const fn always(pattern: Pattern, class: u32) -> Rule {
    assert!(fits(pattern), "a pattern is too long for the kernel's tables");
    Rule { pattern, class, private: false, proc: false }
}

const fn private(pattern: Pattern, class: u32) -> Rule {
    Rule { private: true, ..always(pattern, class) }
}

const fn proc(pattern: Pattern, class: u32) -> Rule {
    Rule { proc: true, ..always(pattern, class) }
}

/// Whether the kernel's tables have room for it.
pub const fn fits(pattern: Pattern) -> bool {
    match pattern {
        // One byte for the NUL that ends it.
        Pattern::Path(path) => path.len() < PREFIX_BYTES,
        Pattern::Prefix(prefix) => prefix.len() <= PREFIX_BYTES && has_whole_first(prefix),
        Pattern::Component(name) | Pattern::Name(name) => name.len() < NAME_BYTES,
        Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) => {
            outer.len() < NAME_BYTES && inner.len() < NAME_BYTES
        }
        Pattern::Suffix(suffix) => {
            suffix.len() >= crate::kernel_abi::MIN_SUFFIX_BYTES && suffix.len() <= SUFFIX_BYTES
        }
    }
}

/// Whether a path's first component ends in it: without a whole component, no name would lead to the rule.
const fn has_whole_first(prefix: &[u8]) -> bool {
    matches!(prefix, [b'/', rest @ ..] if has_slash(rest))
}

const fn has_slash(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [b'/', ..] => true,
        [_, rest @ ..] => has_slash(rest),
    }
}

/// Files that are watched without any configuration.
pub const BUILT_IN: &[Rule] = &{
    use Pattern::{Component, Name, NameWithin, Path, Prefix, Suffix, Within};
    [
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
        // Where ssh-agent listens.
        always(NameWithin(b".ssh", b"agent.env"), class::ORDINARY),
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
        always(NameWithin(b".cargo", b"credentials"), class::CLIENT_CREDENTIALS),
        always(NameWithin(b"gh", b"hosts.yml"), class::CLIENT_CREDENTIALS),
        always(NameWithin(b"git", b"credentials"), class::CLIENT_CREDENTIALS),
        always(NameWithin(b"rclone", b"rclone.conf"), class::CLOUD_CREDENTIALS),
        always(NameWithin(b"containers", b"auth.json"), class::CLOUD_CREDENTIALS),
        always(Name(b".s3cfg"), class::CLOUD_CREDENTIALS),
        always(Name(b".vault-token"), class::CLOUD_CREDENTIALS),
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
        always(Path(b"/etc/passwd"), class::ACCOUNTS),
        always(Path(b"/etc/group"), class::ACCOUNTS),
        always(Path(b"/etc/ld.so.preload"), class::LOADER_CONFIG),
        always(Path(b"/etc/ld.so.conf"), class::LOADER_CONFIG),
        always(Path(b"/etc/ld.so.cache"), class::LOADER_CONFIG),
        always(Prefix(b"/etc/ld.so.conf.d/"), class::LOADER_CONFIG),
        always(Path(b"/etc/crontab"), class::SCHEDULED_TASK),
        always(Path(b"/etc/anacrontab"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron.d/"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron.hourly/"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron.daily/"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron.weekly/"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron.monthly/"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/cron"), class::SCHEDULED_TASK),
        always(Within(b"spool", b"cron"), class::SCHEDULED_TASK),
        always(Within(b"spool", b"at"), class::SCHEDULED_TASK),
        always(Prefix(b"/etc/systemd/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/lib/systemd/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/local/lib/systemd/"), class::SERVICE_UNIT),
        always(Prefix(b"/lib/systemd/"), class::SERVICE_UNIT),
        always(Prefix(b"/run/systemd/system/"), class::SERVICE_UNIT),
        always(Prefix(b"/run/systemd/transient/"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/init.d/"), class::SERVICE_UNIT),
        always(Path(b"/etc/rc.local"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/rc.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/rc"), class::SERVICE_UNIT),
        always(Path(b"/etc/inittab"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/udev/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/lib/udev/"), class::SERVICE_UNIT),
        always(Prefix(b"/lib/udev/"), class::SERVICE_UNIT),
        always(Prefix(b"/run/udev/rules.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/xdg/autostart/"), class::SERVICE_UNIT),
        always(Path(b"/etc/modules"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/modules-load.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/modprobe.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/lib/modules-load.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/lib/modprobe.d/"), class::SERVICE_UNIT),
        always(Prefix(b"/etc/dbus-1/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/share/dbus-1/system-services/"), class::SERVICE_UNIT),
        always(Prefix(b"/usr/share/dbus-1/system.d/"), class::SERVICE_UNIT),
        always(Within(b"systemd", b"user"), class::SERVICE_UNIT),
        always(Within(b".config", b"autostart"), class::SERVICE_UNIT),
        always(Path(b"/etc/profile"), class::SHELL_STARTUP),
        always(Prefix(b"/etc/profile.d/"), class::SHELL_STARTUP),
        always(Path(b"/etc/bash.bashrc"), class::SHELL_STARTUP),
        always(Path(b"/etc/bashrc"), class::SHELL_STARTUP),
        always(Path(b"/etc/environment"), class::SHELL_STARTUP),
        always(Prefix(b"/etc/zsh/"), class::SHELL_STARTUP),
        always(Path(b"/etc/zshenv"), class::SHELL_STARTUP),
        always(Path(b"/etc/zshrc"), class::SHELL_STARTUP),
        always(Path(b"/etc/zprofile"), class::SHELL_STARTUP),
        always(Path(b"/etc/zlogin"), class::SHELL_STARTUP),
        always(Prefix(b"/etc/fish/"), class::SHELL_STARTUP),
        always(Name(b".bashrc"), class::SHELL_STARTUP),
        always(Name(b".bash_profile"), class::SHELL_STARTUP),
        always(Name(b".bash_login"), class::SHELL_STARTUP),
        always(Name(b".bash_logout"), class::SHELL_STARTUP),
        always(Name(b".profile"), class::SHELL_STARTUP),
        always(Name(b".zshrc"), class::SHELL_STARTUP),
        always(Name(b".zshenv"), class::SHELL_STARTUP),
        always(Name(b".zprofile"), class::SHELL_STARTUP),
        always(Name(b".zlogin"), class::SHELL_STARTUP),
        always(Name(b".zlogout"), class::SHELL_STARTUP),
        always(NameWithin(b"fish", b"config.fish"), class::SHELL_STARTUP),
        always(Path(b"/etc/sudoers"), class::AUTHENTICATION),
        always(Prefix(b"/etc/sudoers.d/"), class::AUTHENTICATION),
        always(Prefix(b"/etc/sudoers"), class::AUTHENTICATION),
        always(Prefix(b"/etc/pam.d/"), class::AUTHENTICATION),
        always(Path(b"/etc/pam.conf"), class::AUTHENTICATION),
        always(Prefix(b"/etc/security/"), class::AUTHENTICATION),
        always(Path(b"/etc/nsswitch.conf"), class::AUTHENTICATION),
        always(Prefix(b"/etc/polkit-1/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/share/polkit-1/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/local/share/polkit-1/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/lib/x86_64-linux-gnu/security/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/lib/aarch64-linux-gnu/security/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/lib64/security/"), class::AUTHENTICATION),
        always(Prefix(b"/usr/lib/security/"), class::AUTHENTICATION),
        always(Prefix(b"/lib/x86_64-linux-gnu/security/"), class::AUTHENTICATION),
        always(Prefix(b"/lib/aarch64-linux-gnu/security/"), class::AUTHENTICATION),
        always(Prefix(b"/lib64/security/"), class::AUTHENTICATION),
        always(Prefix(b"/lib/security/"), class::AUTHENTICATION),
        always(NameWithin(b"ssh", b"sshd_config"), class::AUTHENTICATION),
        always(Within(b"ssh", b"sshd_config.d"), class::AUTHENTICATION),
        // pam_unix(8) writes it whenever somebody sets a password.
        always(Path(b"/etc/security/opasswd"), class::ORDINARY_WRITES),
        always(Path(b"/etc/security/nopasswd"), class::ORDINARY_WRITES),
        always(NameWithin(b".ssh", b"authorized_keys"), class::AUTHORIZED_KEYS),
        always(NameWithin(b".ssh", b"authorized_keys2"), class::AUTHORIZED_KEYS),
        always(NameWithin(b".ssh", b"rc"), class::AUTHORIZED_KEYS),
        always(NameWithin(b".ssh", b"environment"), class::AUTHORIZED_KEYS),
        always(NameWithin(b"log", b"wtmp"), class::LOG),
        always(NameWithin(b"log", b"btmp"), class::LOG),
        always(NameWithin(b"log", b"lastlog"), class::LOG),
        always(NameWithin(b"log", b"faillog"), class::LOG),
        always(NameWithin(b"log", b"auth.log"), class::LOG),
        always(NameWithin(b"log", b"secure"), class::LOG),
        always(NameWithin(b"log", b"messages"), class::LOG),
        always(NameWithin(b"log", b"syslog"), class::LOG),
        always(NameWithin(b"log", b"kern.log"), class::LOG),
        always(NameWithin(b"log", b"cron"), class::LOG),
        always(NameWithin(b"log", b"maillog"), class::LOG),
        always(Within(b"log", b"audit"), class::LOG),
        always(Within(b"log", b"journal"), class::LOG),
        always(NameWithin(b"run", b"utmp"), class::LOG),
        always(Name(b".bash_history"), class::SHELL_HISTORY),
        always(Name(b".zsh_history"), class::SHELL_HISTORY),
        always(Name(b".ash_history"), class::SHELL_HISTORY),
        always(Name(b".sh_history"), class::SHELL_HISTORY),
        always(Name(b".python_history"), class::SHELL_HISTORY),
        always(Name(b".mysql_history"), class::SHELL_HISTORY),
        always(Name(b".psql_history"), class::SHELL_HISTORY),
        proc(NameWithin(b"kernel", b"core_pattern"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"core_pipe_limit"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"modprobe"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"hotplug"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"randomize_va_space"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"sysrq"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"kptr_restrict"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"dmesg_restrict"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"unprivileged_bpf_disabled"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"kexec_load_disabled"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"modules_disabled"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"kernel", b"perf_event_paranoid"), class::KERNEL_TUNABLE),
        proc(Within(b"kernel", b"yama"), class::KERNEL_TUNABLE),
        proc(Within(b"kernel", b"usermodehelper"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"fs", b"suid_dumpable"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"fs", b"protected_symlinks"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"fs", b"protected_hardlinks"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"fs", b"protected_fifos"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"fs", b"protected_regular"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"vm", b"mmap_min_addr"), class::KERNEL_TUNABLE),
        proc(NameWithin(b"vm", b"unprivileged_userfaultfd"), class::KERNEL_TUNABLE),
        proc(Name(b"sysrq-trigger"), class::KERNEL_TUNABLE),
        // File systems of their own, which are told by where they are mounted.
        always(Within(b"fs", b"binfmt_misc"), class::KERNEL_TUNABLE),
        always(Within(b"kernel", b"security"), class::KERNEL_TUNABLE),
        always(NameWithin(b"kernel", b"uevent_helper"), class::KERNEL_TUNABLE),
        always(NameWithin(b"selinux", b"enforce"), class::KERNEL_TUNABLE),
        always(NameWithin(b"selinux", b"load"), class::KERNEL_TUNABLE),
        always(NameWithin(b"selinux", b"disable"), class::KERNEL_TUNABLE),
        always(NameWithin(b"tracing", b"kprobe_events"), class::KERNEL_TUNABLE),
        always(NameWithin(b"tracing", b"uprobe_events"), class::KERNEL_TUNABLE),
        always(Name(b"release_agent"), class::RELEASE_AGENT),
        always(Name(b"notify_on_release"), class::RELEASE_AGENT),
        proc(Name(b"mem"), class::PROCESS_MEMORY),
        proc(Name(b"environ"), class::PROCESS_ENVIRONMENT),
        proc(Name(b"kcore"), class::KERNEL_MEMORY),
        // By the device, not by the name: see `loader-ebpf/src/file_class.rs` for /dev/mem and disks.
        always(Prefix(b"/usr/bin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/sbin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/lib/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/lib32/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/lib64/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/libexec/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/local/bin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/local/sbin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/usr/local/lib/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/bin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/sbin/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/lib/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/lib64/"), class::SYSTEM_PROGRAM),
        always(Prefix(b"/var/lib/dpkg/"), class::PACKAGE_DATABASE),
        always(Prefix(b"/var/lib/rpm/"), class::PACKAGE_DATABASE),
        always(Prefix(b"/usr/lib/sysimage/rpm/"), class::PACKAGE_DATABASE),
        always(Prefix(b"/boot/"), class::BOOT),
        always(Prefix(b"/efi/"), class::BOOT),
        always(Path(b"/usr/bin/sentinel"), class::SENTINEL),
        always(Prefix(b"/etc/sentinel/"), class::SENTINEL),
        always(Prefix(b"/usr/libexec/sentinel/"), class::SENTINEL),
        always(Prefix(b"/usr/share/sentinel/"), class::SENTINEL),
        always(Prefix(b"/usr/lib/systemd/system/sentinel"), class::SENTINEL),
        always(Prefix(b"/etc/systemd/system/sentinel"), class::SENTINEL),
        always(Prefix(b"/var/lib/sentinel"), class::SENTINEL),
        always(Prefix(b"/var/log/sentinel/"), class::SENTINEL),
        always(Prefix(b"/run/sentinel/"), class::SENTINEL),
    ]
};
