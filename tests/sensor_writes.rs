//! Files that matter when they are written: which class each of them has by which call, that to read
//! one is not told, and that no mount hides them.

use std::{
    collections::BTreeMap,
    fs,
    process::{Output, Stdio},
};

use sentinel_ipc::{
    file_class::{SECRET, class},
    kernel_abi::kind,
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Tap, spanned},
};

/// What a call told: its kind, the end of the path, and the class.
type Told = (u16, String, u32);

/// A bed with directories that stand for the system's, and the loader that tells of it.
struct Stage {
    tap: Tap,
    bed: Bed,
}

impl Stage {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let tap = Tap::start_as_analyzer(&bed);
        Some(Self { tap, bed })
    }

    /// Has `tests/programs/file_ways.c` do `ways`, separated by blanks; `~` is the bed's directory. Returns
    /// what is told of it that has a class, and of calls about names all.
    fn told(&mut self, ways: &str) -> Vec<Told> {
        let home = self.bed.path("").into_os_string().into_string().unwrap();
        let words = ways.split_whitespace().map(|word| word.replace("~/", &home));
        let mut command = self.bed.command(compiled("file_ways"));
        let output: Output =
            command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{ways}: {errors}");
        let pid: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        self.tap.catch_up();
        let own = self.tap.records().iter().filter(|record| record.header.tgid == pid);
        let mut told = Vec::new();
        for record in own {
            match record.header.kind {
                kind::OPEN | kind::MAP => {
                    let file = record.file();
                    // That data may go through it depends on what others do.
                    if file.class != 0 && file.class != class::EXCHANGE {
                        let path = spanned(&file.path, &file.span);
                        told.push((record.header.kind, end_of(path), file.class));
                    }
                }
                kind::RENAME..=kind::TRUNCATE | kind::MKDIR | kind::MKNOD => {
                    let paths = record.paths();
                    let place = usize::from(matches!(
                        record.header.kind,
                        kind::RENAME | kind::LINK | kind::SYMLINK
                    ));
                    let path = spanned(&paths.path[place], &paths.span[place]);
                    told.push((record.header.kind, end_of(path), paths.class));
                }
                _ => {}
            }
        }
        told
    }
}

fn end_of(path: &[u8]) -> String {
    let end = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    String::from_utf8(end.to_vec()).unwrap()
}

fn opened(name: &str, class: u32) -> Told {
    (kind::OPEN, name.to_owned(), class)
}

/// Files by their class; they are made on file systems that are mounted over the system's directories.
const FILES: &[(u32, &[&str])] = &[
    (class::LOADER_CONFIG, &["/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d/x.conf"]),
    (
        class::SCHEDULED_TASK,
        &[
            "/etc/crontab",
            "/etc/cron.d/x",
            "/etc/cron.daily/x",
            "/etc/cron.allow",
            "/var/spool/cron/x",
        ],
    ),
    (
        class::SERVICE_UNIT,
        &[
            "/etc/systemd/system/x.service",
            "/etc/init.d/x",
            "/etc/rc.local",
            "/etc/rc3.d/x",
            "/etc/udev/rules.d/x.rules",
            "/etc/xdg/autostart/x.desktop",
            "/etc/modules",
            "/etc/modules-load.d/x.conf",
            "/etc/dbus-1/system.d/x.conf",
            "/root/.config/systemd/user/x.service",
            "/root/.config/autostart/x.desktop",
        ],
    ),
    (
        class::SHELL_STARTUP,
        &[
            "/etc/profile",
            "/etc/profile.d/x.sh",
            "/etc/bash.bashrc",
            "/etc/environment",
            "/etc/zsh/zshenv",
            "/root/.bashrc",
            "/root/.profile",
            "/root/.config/fish/config.fish",
        ],
    ),
    (
        class::AUTHENTICATION,
        &[
            "/etc/pam.d/sshd",
            "/etc/pam.conf",
            "/etc/security/access.conf",
            "/etc/nsswitch.conf",
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/x.conf",
            "/etc/polkit-1/rules.d/x.rules",
            "/etc/sudoers",
            "/etc/sudoers.d/x",
        ],
    ),
    (
        class::AUTHORIZED_KEYS,
        &["/root/.ssh/authorized_keys", "/root/.ssh/authorized_keys2", "/root/.ssh/rc"],
    ),
    (class::ACCOUNTS, &["/etc/passwd", "/etc/group"]),
    (
        class::LOG,
        &["/var/log/wtmp", "/var/log/auth.log", "/var/log/audit/audit.log", "/var/log/journal/a/x"],
    ),
    (class::SHELL_HISTORY, &["/root/.bash_history", "/root/.python_history"]),
    (class::RELEASE_AGENT, &["/root/release_agent", "/root/a/notify_on_release"]),
    (class::PACKAGE_DATABASE, &["/var/lib/dpkg/status", "/var/lib/rpm/rpmdb.sqlite"]),
    (class::BOOT, &["/boot/vmlinuz"]),
    (
        class::SENTINEL,
        &[
            "/etc/sentinel/analyzer.toml",
            "/var/lib/sentinel-enforcer/marker",
            "/var/log/sentinel/x",
        ],
    ),
];

/// Directories over which a file system of the test's own is mounted.
const COVERED: [&str; 4] = ["/etc", "/var", "/root", "/boot"];

/// The ways that make the directories of `path`.
fn directories(path: &str, made: &mut Vec<String>) -> String {
    let mut ways = String::new();
    for (place, _) in path.match_indices('/').skip(1) {
        let directory = path[..place].to_owned();
        if !COVERED.contains(&directory.as_str()) && !made.contains(&directory) {
            ways += &format!("d {directory} ");
            made.push(directory);
        }
    }
    ways
}

fn all_covered() -> String {
    COVERED.iter().map(|directory| format!("M {directory} ")).collect()
}

#[test]
fn files_that_matter_are_told_when_they_are_written_and_only_then() {
    let Some(mut stage) = Stage::new() else { return };
    let (mut ways, mut made) = (all_covered(), Vec::new());
    let mut expected: Vec<Told> = Vec::new();
    for (class, paths) in FILES {
        for path in *paths {
            ways += &directories(path, &mut made);
            // Written, read, and read and cut.
            ways += &format!("w {path} r {path} t {path} ");
            let name = end_of(path.as_bytes());
            expected.extend([opened(&name, *class), opened(&name, *class)]);
        }
    }
    let told = stage.told(&ways);
    let opens: Vec<Told> = told.into_iter().filter(|(of, _, _)| *of == kind::OPEN).collect();
    assert_eq!(opens, expected);
}

#[test]
fn every_way_to_put_a_file_in_place_tells_the_class_of_its_place() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told(
        "M /etc D /etc d /etc/cron.d d /etc/x w /etc/a n /etc/a /etc/cron.d/renamed \
         w /etc/b l /etc/b /etc/cron.d/linked s /etc/b /etc/cron.d/symlink \
         d /etc/cron.d/directory f /etc/cron.d/fifo x /etc/cron.d/renamed \
         c /etc/cron.d/renamed m /etc/cron.d/linked u /etc/cron.d/renamed \
         n /etc/cron.d/linked /etc/away",
    );
    let task = class::SCHEDULED_TASK;
    let of = |kind, name: &str, class| (kind, name.to_owned(), class);
    assert_eq!(
        told,
        [
            of(kind::MKDIR, "cron.d", task),
            of(kind::MKDIR, "x", 0),
            of(kind::RENAME, "renamed", task),
            of(kind::LINK, "linked", task),
            of(kind::SYMLINK, "symlink", task),
            of(kind::MKDIR, "directory", task),
            of(kind::MKNOD, "fifo", task),
            of(kind::CHMOD, "renamed", task),
            of(kind::TRUNCATE, "renamed", task),
            of(kind::OPEN, "linked", task),
            of(kind::MAP, "linked", task),
            of(kind::UNLINK, "renamed", task),
            of(kind::RENAME, "away", 0),
        ]
    );
}

#[test]
fn sudoers_are_secrets_if_they_are_private_and_told_when_they_are_written_either_way() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told(
        "M /etc d /etc/sudoers.d w /etc/sudoers.d/a r /etc/sudoers.d/a p /etc/sudoers.d/a \
         r /etc/sudoers.d/a w /etc/sudoers.d/a",
    );
    assert_eq!(
        told[1..],
        [
            opened("a", class::AUTHENTICATION),
            opened("a", class::SUDOERS),
            opened("a", class::AUTHENTICATION | SECRET),
        ]
    );
}

#[test]
fn no_mount_hides_a_file() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told(
        "d ~/fs d ~/part d ~/p M ~/fs d ~/fs/etc d ~/fs/etc/cron.d d ~/fs/etc/other w ~/fs/etc/cron.d/a \
         w ~/fs/etc/other/b w ~/fs/etc/crontab w ~/fs/etc/crontab.old B ~/fs/etc/cron.d ~/part \
         w ~/part/c r ~/part/c P ~/p r ~/p/sys/kernel/core_pattern w ~/p/sys/kernel/core_pattern \
         r ~/p/sys/kernel/ostype w /proc/sys/kernel/randomize_va_space",
    );
    let told: Vec<Told> = told.into_iter().filter(|(of, _, _)| *of == kind::OPEN).collect();
    let (task, tunable) = (class::SCHEDULED_TASK, class::KERNEL_TUNABLE);
    let expected = [
        opened("a", task),
        opened("crontab", task),
        opened("c", task),
        opened("core_pattern", tunable),
        opened("randomize_va_space", tunable),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_second_name_keeps_the_class_and_one_that_is_moved_away_loses_it() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told(
        "M /etc D /etc d /etc/cron.d w /etc/cron.d/job l /etc/cron.d/job /etc/second w /etc/second \
         w /etc/cron.d/other n /etc/cron.d/other /etc/moved w /etc/moved r /etc/second",
    );
    let opens: Vec<Told> = told.into_iter().filter(|(of, _, _)| *of == kind::OPEN).collect();
    assert_eq!(opens, ["job", "second", "other"].map(|name| opened(name, class::SCHEDULED_TASK)));
}

#[test]
fn others_memory_and_environment_are_told_and_ones_own_are_not() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told("k mem K mem k environ K environ r /etc/hostname");
    assert_eq!(
        told,
        [opened("mem", class::PROCESS_MEMORY), opened("environ", class::PROCESS_ENVIRONMENT)]
    );
    fs::write(stage.bed.path("mem"), "a file of this name").unwrap();
    assert_eq!(stage.told("r ~/mem w ~/mem"), []);
}

#[test]
fn devices_are_told_by_what_they_are() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told("C ~/innocent r ~/innocent r /dev/loop7 r /dev/null");
    let by_name: BTreeMap<&str, u32> =
        told.iter().map(|(_, name, class)| (name.as_str(), *class)).collect();
    // A container may not open a node, nor does every kernel have the device behind it.
    if let Some(class) = by_name.get("loop7") {
        assert_eq!(*class, class::BLOCK_DEVICE);
    }
    if told.iter().any(|(of, name, _)| *of == kind::OPEN && name == "innocent") {
        assert!(told.contains(&opened("innocent", class::KERNEL_MEMORY)), "{told:?}");
    }
    assert!(!by_name.contains_key("null"));
}

#[test]
fn a_secret_that_is_moved_to_a_place_that_matters_is_both() {
    let Some(mut stage) = Stage::new() else { return };
    let told = stage.told(
        "M /etc D /etc d /etc/systemd w /etc/a.key p /etc/a.key r /etc/a.key n /etc/a.key /etc/systemd/b",
    );
    assert_eq!(
        told[1..],
        [
            opened("a.key", class::PRIVATE_KEY),
            (kind::RENAME, "b".to_owned(), class::SERVICE_UNIT | SECRET),
        ]
    );
}
