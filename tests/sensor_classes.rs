//! Which files the kernel takes for secrets, under whatever name, and whom it taints for them.

#[path = "sensor_files/truth.rs"]
mod truth;

use std::{
    collections::HashSet,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use sentinel_ipc::{
    file_class::{BUILT_IN, Pattern, SECRET, WRITES, class},
    frame::KindSet,
    kernel_abi::{FileRecord, flag, kind},
};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    tap::{Record, Tap},
};

use crate::truth::{Truth, compare, hold, told_by};

/// What the rules say of a path, in the words of `Rule`'s documentation.
fn reference(path: &[u8], mode: u32) -> u32 {
    let names: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    let last = names.len().saturating_sub(1);
    let is_private = mode & 0o004 == 0;
    let single = |wanted: &[u8], from: usize| {
        (from..names.len()).rev().find(|&at| names[at] == wanted).map(|at| (2, at, 0))
    };
    let pair = |outer: &[u8], inner: &[u8], from: usize| {
        let fits = |&at: &usize| at > 0 && names[at - 1] == outer && names[at] == inner;
        (from..names.len()).rev().find(fits).map(|at| (2, at, 1))
    };
    // What is compared: components before suffixes before prefixes; how far to the end, or how
    // long; pairs before single names.
    let rank = |pattern: Pattern| match pattern {
        Pattern::Path(whole) => (path == whole).then_some((0, whole.len() + 1, 0)),
        Pattern::Prefix(front) => path.starts_with(front).then_some((0, front.len(), 0)),
        Pattern::Suffix(end) => names[last].ends_with(end).then_some((1, end.len(), 0)),
        Pattern::Component(name) => single(name, 0),
        Pattern::Name(name) => single(name, last),
        Pattern::Within(outer, inner) => pair(outer, inner, 0),
        Pattern::NameWithin(outer, inner) => pair(outer, inner, last),
    };
    // What is only read has no class of those that are about writing; none of this is in a proc file system.
    let of_reading = BUILT_IN.iter().filter(|rule| rule.class & WRITES == 0 && !rule.proc);
    let applying = of_reading.filter(|rule| is_private || !rule.private);
    let ranked = applying.filter_map(|rule| Some((rank(rule.pattern)?, rule.class)));
    ranked.max_by_key(|(rank, _)| *rank).map_or(0, |(_, class)| class)
}

fn make(path: &Path, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "content\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Has a program open the files, and compares the classes in the records with the reference: when each open is told,
/// and when those alone are that have a class.
fn opens_as_the_reference_says(bed: &Bed, paths: &[PathBuf]) {
    compare_with_reference(bed, &mut Tap::start(bed), paths, |_| true);
    compare_with_reference(bed, &mut Tap::start_as_analyzer(bed), paths, |class| class != 0);
}

fn compare_with_reference(
    bed: &Bed,
    tap: &mut Tap,
    paths: &[PathBuf],
    is_told: impl Fn(u32) -> bool,
) {
    let mut list = Vec::new();
    for path in paths {
        list.extend(path.as_os_str().as_bytes());
        list.push(0);
    }
    let file = bed.path("list");
    fs::write(&file, list).unwrap();
    let mut command = bed.command(compiled("sensor_files_classes"));
    let truths = told_by(command.arg("list").arg(bed.path("home")).arg(&file));
    tap.catch_up();
    assert_eq!(truths.len(), paths.len());
    let mut told = Vec::new();
    for (mut truth, path) in truths.into_iter().zip(paths) {
        let mode = u32::try_from(truth.told("mode")).unwrap();
        let class = reference(path.as_os_str().as_bytes(), mode);
        // Ordinary is what has no class, and is told as such.
        let class = if class == class::ORDINARY { 0 } else { class };
        truth.0.insert("class".into(), class.to_string());
        if is_told(class) {
            told.push(truth);
        } else {
            assert_untold(tap, &truth);
        }
    }
    compare(bed, tap, &told);
}

/// That the file of `truth` was opened is not told.
fn assert_untold(tap: &Tap, truth: &Truth) {
    let opened = tap.of(truth.tgid(), kind::OPEN);
    let is_it = |file: &FileRecord| file.object.inode == truth.told("inode");
    let told: Vec<FileRecord> = opened.iter().map(Record::file).filter(is_it).collect();
    assert!(told.is_empty(), "{:?}: {told:?}", truth.0);
}

/// Name, mode, and what it is without any cleverness.
const FILES: &[(&str, u32, u32)] = &[
    ("home/u/.ssh/id_ed25519", 0o600, class::SSH_KEY),
    ("home/u/.ssh/work_key", 0o600, class::SSH_KEY),
    ("home/u/.ssh/work_key_of_group", 0o640, class::SSH_KEY),
    ("home/u/.ssh/id_ed25519.pub", 0o644, 0),
    ("home/u/.ssh/known_hosts", 0o600, class::ORDINARY),
    ("home/u/.ssh/known_hosts.old", 0o600, class::ORDINARY),
    ("home/u/.ssh/known_hosts.older", 0o600, class::SSH_KEY),
    ("home/u/.ssh/config", 0o600, class::ORDINARY),
    ("home/u/.ssh/config.d/config", 0o600, class::SSH_KEY),
    ("home/u/.ssh/keys/server.pem", 0o600, class::SSH_KEY),
    ("home/u/.ssh/.env", 0o600, class::ENVIRONMENT_FILE),
    ("home/u/.sshx/id_ed25519", 0o600, 0),
    ("home/u/x.ssh/id_ed25519", 0o600, 0),
    ("home/u/.SSH/id_ed25519", 0o600, 0),
    ("home/u/.ssh/.aws/credentials", 0o600, class::CLOUD_CREDENTIALS),
    ("home/u/.aws/credentials", 0o644, class::CLOUD_CREDENTIALS),
    ("home/u/.aws/credentials.bak", 0o600, 0),
    ("home/u/.aws/old/credentials", 0o600, 0),
    ("home/u/.aws/config", 0o600, 0),
    ("home/u/.aws/sso/cache/token.json", 0o644, class::CLOUD_CREDENTIALS),
    ("home/u/.config/gcloud/x.json", 0o644, class::CLOUD_CREDENTIALS),
    ("home/u/.config/gcloud", 0o644, class::CLOUD_CREDENTIALS),
    ("home/v/.config/x/gcloud/x.json", 0o644, 0),
    ("home/u/.azure/token", 0o600, class::CLOUD_CREDENTIALS),
    ("home/u/.azure/version", 0o644, 0),
    ("home/u/.kube/config", 0o644, class::CLOUD_CREDENTIALS),
    ("run/secrets/kubernetes.io/serviceaccount/token", 0o644, class::CLOUD_CREDENTIALS),
    ("run/kubernetes.io/serviceaccount/.netrc", 0o644, class::CLIENT_CREDENTIALS),
    ("home/u/.netrc", 0o644, class::CLIENT_CREDENTIALS),
    ("home/u/.netrc.d/x", 0o600, 0),
    ("home/u/.netrc/x", 0o600, 0),
    ("home/v/gh/hosts.yml", 0o644, class::CLIENT_CREDENTIALS),
    ("home/v/hosts.yml", 0o644, 0),
    ("home/u/.gnupg/private-keys-v1.d/0.key", 0o644, class::PRIVATE_KEY),
    ("home/u/.gnupg/secring.gpg", 0o600, class::PRIVATE_KEY),
    ("server.pem", 0o644, 0),
    ("private/server.pem", 0o600, class::PRIVATE_KEY),
    ("private/server.pem.bak", 0o600, 0),
    ("private/server.PEM", 0o600, 0),
    ("private/xpem", 0o600, 0),
    ("private/.pem", 0o600, class::PRIVATE_KEY),
    ("private/a.kdbx", 0o600, class::PASSWORD_STORE),
    ("private.pem/file", 0o600, 0),
    ("keyrings/login.keyring", 0o600, class::PASSWORD_STORE),
    ("keyrings/a/b/c.key", 0o600, class::PASSWORD_STORE),
    ("profile/Login Data", 0o644, class::BROWSER_STORE),
    ("profile/Login  Data", 0o644, 0),
    ("profile/cookies.sqlite", 0o644, 0),
    ("profile.x/cookies.sqlite", 0o600, class::BROWSER_STORE),
    ("app/.env", 0o600, class::ENVIRONMENT_FILE),
    ("app.public/.env", 0o644, 0),
    ("app/.env.example", 0o600, 0),
    ("write-only/.env", 0o602, class::ENVIRONMENT_FILE),
    ("readable/.env", 0o604, 0),
];

#[test]
fn files_have_the_classes_that_their_paths_say() {
    let Some(bed) = Bed::new() else { return };
    let top = fs::canonicalize(bed.path("")).unwrap().join("top");
    let mut paths = Vec::new();
    for (index, (name, mode, expected)) in FILES.iter().enumerate() {
        // A name may be a directory elsewhere in the table.
        let path = top.join(index.to_string()).join(name);
        assert_eq!(reference(path.as_os_str().as_bytes(), *mode), *expected, "{name}");
        paths.push((path, *mode));
    }
    let letters = |count: usize| "n".repeat(count);
    let deep = |depth: usize| "a/".repeat(depth);
    paths.extend(
        [
            format!("{}/.ssh/{}", letters(200), letters(100)),
            format!(".ssh/{}", letters(255)),
            format!("{}.pem", letters(251)),
            format!("{}.pemx", letters(250)),
            format!("{}/.aws/{}/.aws/credentials", letters(31), letters(32)),
            format!("{}/.env", letters(255)),
            format!(".ssh/{}key", deep(20)),
            format!("{}.aws/credentials", deep(150)),
            format!("{}server.pem", deep(200)),
        ]
        .map(|name| (top.with_file_name("long").join(name), 0o600)),
    );
    for (path, mode) in &paths {
        make(path, *mode);
    }
    let paths: Vec<PathBuf> = paths.into_iter().map(|(path, _)| path).collect();
    opens_as_the_reference_says(&bed, &paths);
}

#[test]
fn a_component_is_told_among_the_last_thirty() {
    let Some(bed) = Bed::new() else { return };
    let top = fs::canonicalize(bed.path("")).unwrap();
    let paths = [(".ssh", 10), (".ssh", 28), (".config/gcloud", 27)]
        .map(|(name, depth)| top.join(depth.to_string()).join(name).join("a/".repeat(depth) + "f"));
    for path in &paths {
        make(path, 0o600);
    }
    opens_as_the_reference_says(&bed, &paths);
}

#[test]
fn files_of_the_system_have_the_classes_that_their_paths_say() {
    let Some(bed) = Bed::new() else { return };
    let mut paths: Vec<PathBuf> = ["passwd", "passwd-", "shadow", "shadow-", "gshadow", "sudoers"]
        .iter()
        .map(|name| Path::new("/etc").join(name))
        .collect();
    for directory in ["/etc/ssh", "/etc/sudoers.d"] {
        paths.extend(
            fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()),
        );
    }
    paths.retain(|path| path.is_file() && !path.is_symlink());
    opens_as_the_reference_says(&bed, &paths);
}

/// A file of the system's, which goes when the test does. Nobody reads it there: sudo leaves out names with a dot.
fn of_the_system(path: &str, mode: u32) -> Link {
    let link = Link(format!("{path}.sentinel-test-{}-{mode:o}", std::process::id()).into());
    fs::write(&link.0, "# nothing\n").unwrap();
    fs::set_permissions(&link.0, fs::Permissions::from_mode(mode)).unwrap();
    link
}

#[test]
fn files_that_come_after_the_sensor_have_the_classes_of_their_fronts() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_as_analyzer(&bed);
    let fronts = ["/etc/sudoers.d/", "/etc/sudoers", "/etc/ssh/ssh_host_", "/etc/", "/etc/pam.d/"];
    let links: Vec<Link> = fronts
        .iter()
        .filter(|front| Path::new(front).parent().is_some_and(Path::is_dir))
        .flat_map(|front| [0o440, 0o444].map(|mode| of_the_system(front, mode)))
        .collect();
    let paths: Vec<PathBuf> = links.iter().map(|link| link.0.clone()).collect();
    let secrets = paths.iter().filter(|path| reference(path.as_os_str().as_bytes(), 0o440) != 0);
    assert!(secrets.count() >= 4, "{paths:?}");
    compare_with_reference(&bed, &mut tap, &paths, |class| class != 0);
}

#[test]
fn a_mounted_file_system_has_the_hashes_of_passwords_where_the_host_has_them() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_as_analyzer(&bed);
    let disk = fs::canonicalize(bed.path("")).unwrap().join("disk");
    let shadow = disk.join("etc/shadow");
    fs::write(bed.path("list"), [shadow.as_os_str().as_bytes(), b"\0"].concat()).unwrap();
    let mut command = bed.command("unshare");
    command.args(["--mount", "sh", "-ec"]);
    command.arg(
        "mkdir $1 && mount -t tmpfs none $1 && mkdir $1/etc && echo x >$1/etc/shadow && \
         exec $2 list $3 $4",
    );
    command.arg("sh").arg(&disk).arg(compiled("sensor_files_classes"));
    let mut truths = told_by(command.arg(bed.path("home")).arg(bed.path("list")));
    tap.catch_up();
    truths[0].0.insert("class".into(), class::PASSWORD_HASHES.to_string());
    compare(&bed, &tap, &truths);
}

/// Numbers that look like chance (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 32).unwrap() % limit
    }

    fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Names that rules are about, alone or as pairs.
fn names_of_rules() -> Vec<Vec<&'static [u8]>> {
    let names = |pattern| match pattern {
        Pattern::Path(_) | Pattern::Prefix(_) => vec![b"etc".as_slice(), b"shadow"],
        Pattern::Component(name) | Pattern::Name(name) | Pattern::Suffix(name) => vec![name],
        Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) => vec![outer, inner],
    };
    let of_reading = BUILT_IN.iter().filter(|rule| rule.class & WRITES == 0 && !rule.proc);
    of_reading.map(|rule| names(rule.pattern)).collect()
}

fn random_name(chance: &mut Chance, rules: &[Vec<&'static [u8]>]) -> Vec<Vec<u8>> {
    let plain: &[&[u8]] = &[b"a", b"home", b"x y", b"\xff\xfe", b"...", b"id_rsa", b"node_modules"];
    let mut names: Vec<Vec<u8>> = chance.one_of(rules).iter().map(|name| name.to_vec()).collect();
    let at = chance.below(names.len());
    match chance.below(10) {
        0 => names[at].push(b'x'),
        1 => names[at].insert(0, b'x'),
        2 => names[at].make_ascii_uppercase(),
        3 if names[at].len() > 3 => drop(names[at].pop()),
        4 => names[at].resize(31 + chance.below(3), b'l'),
        5 => names.swap(0, at),
        6 => return vec![chance.one_of(plain).to_vec()],
        7 => names.insert(at, chance.one_of(plain).to_vec()),
        _ => {}
    }
    names
}

#[test]
fn random_files_have_the_classes_that_their_paths_say() {
    let Some(bed) = Bed::new() else { return };
    // Others by hand.
    let seed = std::env::var("SENTINEL_TEST_SEED").map_or(1_u64, |seed| seed.parse().unwrap());
    // Shown if the test fails.
    println!("SENTINEL_TEST_SEED={seed}");
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let rules = names_of_rules();
    let modes = [0o600, 0o640, 0o644, 0o604, 0o400, 0o666, 0o755, 0o000, 0o003, 0o4750];
    let top = fs::canonicalize(bed.path("")).unwrap();
    let mut paths = Vec::new();
    while paths.len() < 200 {
        let mut path = top.join(paths.len().to_string());
        for _ in 0..=chance.below(4) {
            for name in random_name(&mut chance, &rules) {
                path.push(std::ffi::OsStr::from_bytes(&name));
            }
        }
        if path.as_os_str().len() <= 512 {
            make(&path, *chance.one_of(&modes));
            paths.push(path);
        }
    }
    let secrets = paths.iter().filter(|path| {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        reference(path.as_os_str().as_bytes(), mode) & SECRET != 0
    });
    assert!(secrets.count() > 20, "there is something to tell");
    opens_as_the_reference_says(&bed, &paths);
}

/// A file that goes when the test does.
struct Link(PathBuf);

impl Drop for Link {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[test]
fn the_hashes_of_passwords_are_known_under_every_name() {
    let Some(bed) = Bed::new() else { return };
    let link = Link(format!("/etc/.sentinel-test-{}", std::process::id()).into());
    fs::hard_link("/etc/shadow", &link.0).unwrap();
    let mut tap = Tap::start(&bed);
    let mut command = bed.command(compiled("sensor_files_classes"));
    let truths = told_by(command.arg("shadow_elsewhere").arg(bed.path("home")).arg(&link.0));
    tap.catch_up();
    compare(&bed, &tap, &truths);
}

#[test]
fn a_secret_stays_one_under_another_name() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    hold(&bed, &mut tap, "sensor_files_classes", &["names_of_secrets"], &bed.path(""));
}

#[test]
fn a_mount_of_a_part_hides_no_secrets() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    hold(&bed, &mut tap, "sensor_files_classes", &["parts_elsewhere"], &bed.path(""));
}

#[test]
fn without_interest_in_all_files_only_those_of_a_class_are_told() {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start_with(&bed, KindSet::of(&[kind::OPEN]));
    let (secret, ordinary) = (bed.path(".ssh/key"), bed.path("ordinary"));
    make(&secret, 0o600);
    make(&ordinary, 0o600);
    fs::write(bed.path("list"), format!("{}\0{}\0", secret.display(), ordinary.display())).unwrap();
    let mut command = bed.command(compiled("sensor_files_classes"));
    let truths = told_by(command.arg("list").arg(bed.path("home")).arg(bed.path("list")));
    tap.catch_up();
    compare(&bed, &tap, &truths[..1]);
    let opened = tap.of(truths[1].tgid(), kind::OPEN);
    let without: Vec<_> =
        opened.iter().map(|record| record.file()).filter(|file| file.class == 0).collect();
    assert!(without.is_empty(), "{without:?}");
}

/// Opens `file` between other files, and compares who is tainted when.
fn taints(file: &Path, expected: bool, bed: &Bed) {
    let mut tap = Tap::start(bed);
    let mut command = bed.command(compiled("sensor_files_classes"));
    let truths = told_by(command.arg("around").arg(bed.path("home")).arg(file));
    tap.catch_up();
    compare(bed, &tap, &truths);
    let opening: &Truth = truths.iter().find(|truth| truth.name() == "the file").unwrap();
    let (before, after) = (opening.told("before"), opening.told("after"));
    let tgids: HashSet<u32> = truths.iter().map(Truth::tgid).collect();
    assert_eq!(tgids.len(), 3, "it forks twice");
    let mut later = 0;
    for record in tap.records() {
        let header = record.header;
        if !tgids.contains(&header.tgid) || (before..=after).contains(&header.timestamp) {
            continue;
        }
        let is_later = header.timestamp > after;
        later += u32::from(is_later);
        let tainted = header.flags & flag::TAINTED != 0;
        assert_eq!(tainted, expected && is_later, "{is_later}: {header:?}");
    }
    assert!(later > 10, "{later} records after the file was opened");
}

#[test]
fn who_opened_a_secret_is_tainted_and_so_are_its_children_and_what_it_becomes() {
    let Some(bed) = Bed::new() else { return };
    let secret = bed.path(".ssh/key");
    make(&secret, 0o600);
    taints(&secret, true, &bed);
}

#[test]
fn who_opened_the_hashes_of_passwords_is_tainted() {
    let Some(bed) = Bed::new() else { return };
    taints(Path::new("/etc/shadow"), true, &bed);
}

#[test]
fn who_opened_no_secret_is_not_tainted() {
    let Some(bed) = Bed::new() else { return };
    taints(Path::new("/etc/passwd"), false, &bed);
}

#[test]
fn who_opened_an_ordinary_file_near_secrets_is_not_tainted() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.path(".ssh/known_hosts");
    make(&file, 0o600);
    taints(&file, false, &bed);
}
