//! What speaks for a program being the one that root installed at its path, as execs tell it: each is a real
//! one, most of them of somebody who would like to pass for another.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;
use sentinel_analyzer::{
    capture::Reader,
    event::{self, Action},
};
use sentinel_ipc::{
    frame::{LoaderMessage, decode},
    kernel_abi::{
        kind,
        trust::{HOST_MOUNTS, HOST_ROOT, HOST_USERS, PATH_OF_ROOT},
    },
};
use sentinel_tests::{
    bed::Bed,
    sentinel::{children, program, send},
    tap::{Tap, spanned},
};
use tempfile::TempDir;

const ALL: u16 = PATH_OF_ROOT | HOST_ROOT | HOST_MOUNTS | HOST_USERS;
const TRUE: &str = "/usr/bin/true";
/// The user and group of others.
const OTHER: u32 = 1000;
/// Runs what follows as that user.
const AS_OTHER: [&str; 4] = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];

/// A bed, a loader that tells of it, and a directory to which nobody but root may write.
struct Stage {
    tap: Tap,
    directory: TempDir,
    bed: Bed,
}

impl Stage {
    fn new() -> Option<Self> {
        let bed = Bed::new()?;
        let tap = Tap::start(&bed);
        let directory = tempfile::tempdir_in("/opt").unwrap();
        set_mode(directory.path(), 0o755);
        Some(Self { tap, directory, bed })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A copy of `true` at `name`, below directories that are made for it. Made by another process: one that is forked from this meanwhile would keep it open for writing.
    fn copy(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg(TRUE).arg(&path).status().unwrap().success());
        set_mode(&path, 0o755);
        path
    }

    /// Path and trust of the last program that the command became.
    fn last<S: AsRef<std::ffi::OsStr>>(&mut self, words: &[S]) -> (String, u16) {
        let mut child = self.bed.command(&words[0]).args(&words[1..]).spawn().unwrap();
        assert!(child.wait().unwrap().success());
        self.tap.catch_up();
        let exec = self.tap.of(child.id(), kind::EXEC).last().expect("an exec").exec();
        let path = String::from_utf8(spanned(&exec.path, &exec.span).to_vec()).unwrap();
        (path, exec.trust)
    }

    /// The same of a shell's code; `$0` is the stage's directory, `before` what runs the shell.
    fn last_of(&mut self, before: &[&str], code: &str) -> (String, u16) {
        let directory = self.directory.path().to_str().unwrap().to_owned();
        self.last(&[before, &["sh", "-ec", code, &directory]].concat())
    }

    /// What the path at `name` tells when it is run as it is.
    fn run(&mut self, name: &str) -> u16 {
        let path = self.path(name);
        self.last(&[path]).1
    }

    /// The stage's own path of `name`, as text.
    fn named(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A process that lasts until this is dropped.
struct Lasting(Child);

impl Lasting {
    /// Runs a shell's code, which says a line when it is ready.
    fn start(before: &[&str], code: &str) -> Self {
        let words = [before, &["sh", "-ec", code]].concat();
        let mut command = Command::new(words[0]);
        let mut child = command.args(&words[1..]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

#[test]
fn what_root_installed_is_trusted_by_whatever_name_it_is_called() {
    let Some(mut stage) = Stage::new() else { return };
    let link = stage.bed.path("link");
    symlink(TRUE, &link).unwrap();
    assert_eq!(stage.last(&[TRUE]), (TRUE.to_owned(), ALL));
    assert_eq!(stage.last(&[&link]), (TRUE.to_owned(), ALL));
    assert_eq!(stage.last(&[&AS_OTHER[..], &[TRUE]].concat()), (TRUE.to_owned(), ALL));
    stage.copy("a/b/c/program");
    assert_eq!(stage.run("a/b/c/program"), ALL);
}

#[test]
fn a_file_or_directory_that_others_may_change_is_not() {
    let Some(mut stage) = Stage::new() else { return };
    let others = ALL & !PATH_OF_ROOT;
    for (name, mode) in [("group", 0o775), ("world", 0o757), ("sticky", 0o1777)] {
        stage.copy(&format!("{name}/program"));
        set_mode(&stage.path(name), mode);
        assert_eq!(stage.run(&format!("{name}/program")), others, "directory, {name}");
        let file = stage.copy(&format!("file-{name}"));
        set_mode(&file, mode & 0o777);
        assert_eq!(stage.run(&format!("file-{name}")), others, "file, {name}");
    }
    let owned = stage.copy("owned");
    chown(&owned, Some(OTHER), None).unwrap();
    assert_eq!(stage.run("owned"), others);
    for (program, directory) in [("near/program", "near"), ("far/a/b/program", "far")] {
        stage.copy(program);
        chown(stage.path(directory), Some(OTHER), None).unwrap();
        assert_eq!(stage.run(program), others, "{program}");
    }
    // Of another's group, which may not write.
    let group = stage.copy("of-group");
    chown(&group, Some(0), Some(OTHER)).unwrap();
    assert_eq!(stage.run("of-group"), ALL);
    let temporary = stage.bed.path("program");
    assert!(Command::new("cp").arg(TRUE).arg(&temporary).status().unwrap().success());
    assert_eq!(stage.last(&[&temporary]).1, others, "in /tmp");
}

#[test]
fn an_access_list_shows() {
    let Some(mut stage) = Stage::new() else { return };
    let path = stage.copy("listed");
    // Owner rwx, user 1000 rw-, group r-x, mask rwx, others r-x (include/uapi/linux/posix_acl_xattr.h).
    let code = "import os, struct, sys\n\
                none = 2 ** 32 - 1\n\
                entries = [(1, 7, none), (2, 6, 1000), (4, 5, none), (16, 7, none), (32, 5, none)]\n\
                value = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in entries)\n\
                os.setxattr(sys.argv[1], 'system.posix_acl_access', value)";
    let set = Command::new("python3").args(["-c", code]).arg(&path).status().unwrap();
    assert!(set.success());
    assert_eq!(stage.run("listed"), ALL & !PATH_OF_ROOT);
}

#[test]
fn a_mount_that_anybody_made_fakes_no_path() {
    let Some(mut stage) = Stage::new() else { return };
    let mounting = [&AS_OTHER[..], &["unshare", "--user", "--map-root-user", "--mount"]].concat();
    let cover = "mount --bind /usr/bin/true /usr/bin/false";
    let inside = stage.last_of(&mounting, &format!("{cover}; exec /usr/bin/false"));
    assert_eq!(inside, ("/usr/bin/false".to_owned(), PATH_OF_ROOT | HOST_ROOT));
    // From outside, by a way in.
    let maker = Lasting::start(&mounting, &format!("{cover}; echo ready; exec sleep 300"));
    let root = format!("/proc/{}/root", maker.0.id());
    let outside = stage.last(&[format!("{root}/usr/bin/false")]);
    assert_eq!(outside, ("/usr/bin/false".to_owned(), ALL & !HOST_MOUNTS));
    // The program is the host's, its libraries come from inside.
    let code = format!("exec 9</usr/bin/true; exec chroot {root} /proc/self/fd/9");
    assert_eq!(stage.last_of(&[], &code), (TRUE.to_owned(), ALL & !HOST_MOUNTS));
}

#[test]
fn a_user_namespace_shows() {
    let Some(mut stage) = Stage::new() else { return };
    let unshared = [&AS_OTHER[..], &["unshare", "--user", "--map-root-user"]].concat();
    let plain = stage.last(&[&unshared[..], &[TRUE]].concat());
    assert_eq!(plain, (TRUE.to_owned(), ALL & !HOST_USERS));
    still(&stage);
    let changed = stage.last_of(&unshared, "exec unshare --root=$0/root /still");
    assert_eq!(changed, (stage.named("root/still"), PATH_OF_ROOT | HOST_MOUNTS));
}

#[test]
fn another_root_directory_shows() {
    let Some(mut stage) = Stage::new() else { return };
    still(&stage);
    let name = stage.named("root/still");
    // A directory of the same file system, and a file system of its own.
    assert_eq!(stage.last_of(&[], "exec chroot $0/root /still"), (name.clone(), ALL & !HOST_ROOT));
    let mount = "mount -t tmpfs -o mode=755 none $0/mnt; cp $0/root/still $0/mnt";
    fs::create_dir(stage.path("mnt")).unwrap();
    let code = format!("{mount}; exec chroot $0/mnt /still");
    let own = stage.last_of(&["unshare", "--mount"], &code);
    assert_eq!(own, (stage.named("mnt/still"), ALL & !HOST_ROOT));
    // A container.
    let code = format!("{mount}; cd $0/mnt; mkdir old; pivot_root . old; exec /still");
    let container = stage.last_of(&["unshare", "--mount"], &code);
    assert_eq!(container, ("/still".to_owned(), ALL & !HOST_ROOT));
    // The host's program, under the name that it has there.
    let code = format!("{mount}; cd $0/mnt; mkdir old; pivot_root . old; exec /old$0/root/still");
    let container = stage.last_of(&["unshare", "--mount"], &code);
    assert_eq!(container, (format!("/old{name}"), ALL & !HOST_ROOT));
    // A program of the host's with another's libraries.
    let code = "exec 9<$0/root/still; exec chroot $0/root /proc/self/fd/9";
    fs::create_dir(stage.path("root/proc")).unwrap();
    let code = format!("mount --bind /proc $0/root/proc; {code}");
    let borrowed = stage.last_of(&["unshare", "--mount"], &code);
    assert_eq!(borrowed, (name, ALL & !HOST_ROOT));
}

/// A static program that ends well, at `root/still`.
fn still(stage: &Stage) {
    let source = stage.path("still.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    fs::create_dir(stage.path("root")).unwrap();
    let program = stage.path("root/still");
    let made = Command::new("gcc").arg("-static").arg("-o").arg(&program).arg(&source).status();
    assert!(made.unwrap().success());
    set_mode(&program, 0o755);
    set_mode(program.parent().unwrap(), 0o755);
}

#[test]
fn mounts_that_root_makes_for_a_service_take_nothing_away() {
    let Some(mut stage) = Stage::new() else { return };
    let private = ["unshare", "--mount"];
    let whole = (TRUE.to_owned(), ALL);
    assert_eq!(stage.last(&[&private[..], &[TRUE]].concat()), whole);
    let code = "mount -t tmpfs none /tmp; mount --bind -o ro /usr /usr; exec /usr/bin/true";
    assert_eq!(stage.last_of(&private, code), whole);
    // As systemd does it: all mounts anew, elsewhere, and that becomes the root.
    fs::create_dir(stage.path("root")).unwrap();
    let code = "mount --rbind / $0/root; cd $0/root; mount --move . /; exec chroot . /usr/bin/true";
    assert_eq!(stage.last_of(&private, code), whole);
    // The mount point is looked at too: below the mount it is somebody else's.
    fs::create_dir(stage.path("mnt")).unwrap();
    chown(stage.path("mnt"), Some(OTHER), None).unwrap();
    let code = "mount --bind /usr/bin $0/mnt; exec $0/mnt/true";
    let mounted = stage.last_of(&private, code);
    assert_eq!(mounted, (stage.named("mnt/true"), ALL & !PATH_OF_ROOT));
}

#[test]
fn memory_is_no_path() {
    let Some(mut stage) = Stage::new() else { return };
    let code = "import os\n\
                memory = os.memfd_create('true', 0)\n\
                os.write(memory, open('/usr/bin/true', 'rb').read())\n\
                os.fchmod(memory, 0o755)\n\
                os.execv(f'/proc/self/fd/{memory}', ['true'])";
    let (path, trust) = stage.last(&["python3", "-c", code]);
    assert_eq!((path.as_str(), trust), ("memfd:true", HOST_USERS));
}

#[test]
fn an_upgrade_and_a_deletion_change_nothing() {
    let Some(mut stage) = Stage::new() else { return };
    stage.copy("program");
    assert_eq!(stage.run("program"), ALL);
    let new = stage.copy("program.new");
    fs::rename(new, stage.path("program")).unwrap();
    assert_eq!(stage.run("program"), ALL);
    let whole = (stage.named("program"), ALL);
    assert_eq!(stage.last_of(&[], "exec 9<$0/program; rm $0/program; exec /proc/self/fd/9"), whole);
    stage.copy("program");
    chown(stage.path("program"), Some(OTHER), None).unwrap();
    assert_eq!(stage.run("program"), ALL & !PATH_OF_ROOT);
}

#[test]
fn a_path_that_is_not_whole_is_none() {
    let Some(mut stage) = Stage::new() else { return };
    let deep = format!("{}/", "d".repeat(200)).repeat(3);
    stage.copy(&format!("{deep}program"));
    assert_eq!(stage.run(&format!("{deep}program")), HOST_MOUNTS | HOST_USERS);
}

/// Becomes a container, with a root and a pid namespace of its own and the programs of the host, and runs
/// `"$@"` in it.
const CONTAINER: &str = r#"
    mkdir "$0/root" "$0/empty"
    mount -t tmpfs none "$0/empty"
    mount -t overlay -o "ro,lowerdir=/:$0/empty" none "$0/root"
    cd "$0/root"
    mount -t proc none proc
    for directory in dev sys tmp; do mount --rbind "/$directory" "$directory"; done
    pivot_root . mnt
    umount --lazy /mnt
    exec "$@"
"#;

#[test]
fn in_a_container_the_host_is_the_container() {
    let Some(bed) = Bed::new() else { return };
    let directory = tempfile::tempdir_in("/opt").unwrap();
    set_mode(directory.path(), 0o755);
    let capture = bed.path("capture");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", CONTAINER]);
    let mut container = command
        .arg(directory.path())
        .arg(program())
        .args(["record", "-o"])
        .arg(&capture)
        .arg(format!("--scope-cgroup={}", bed.cgroup().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(container.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("hooks attached")));
    let first = children(container.id())[0];
    let target = format!("--target={first}");
    let mut inside = bed.command("nsenter");
    inside.args([&target, "--pid", "--mount", TRUE]);
    assert!(inside.status().unwrap().success());
    // Of the same pid namespace, but with the host's files.
    let mut outside = bed.command("nsenter");
    outside.args([&target, "--pid", TRUE]);
    assert!(outside.status().unwrap().success());
    send(first, Signal::SIGINT);
    assert!(lines.all(|line| line.is_ok()));
    assert!(container.wait().unwrap().success());
    let whole = |trust| (TRUE.to_owned(), trust);
    assert_eq!(execs(&fs::read(capture).unwrap()), [whole(ALL), whole(ALL & !HOST_ROOT)]);
}

/// Path and trust of each exec in a capture.
fn execs(capture: &[u8]) -> Vec<(String, u16)> {
    let mut reader = Reader::new(capture).unwrap();
    let mut told = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        let (LoaderMessage::Events { mut records } | LoaderMessage::Drained { mut records, .. }) =
            decode(frame).unwrap()
        else {
            continue;
        };
        while !records.is_empty() {
            let (event, rest) = event::take(records).unwrap();
            if let Action::Exec(exec) = event.action {
                let path = String::from_utf8(exec.path_bytes().to_vec()).unwrap();
                let bits = [PATH_OF_ROOT, HOST_ROOT, HOST_MOUNTS, HOST_USERS];
                told.push((path, bits.into_iter().filter(|bit| exec.trust.has(*bit)).sum()));
            }
            records = rest;
        }
    }
    told
}
