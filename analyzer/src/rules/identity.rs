//! Executable identity, as far as rules may trust it: which program a process runs, by the kernel's
//! word, and whether anything else was put into it. Never `comm`, never argv[0].

use std::cell::OnceCell;

use sentinel_ipc::kernel_abi::ENVIRONMENT;

use crate::{
    event::{Exec, File, FileCall},
    process_table::Process,
};

/// Variables through which the dynamic loader runs other code than the program's (ld.so(8)).
const PRELOADING: [&[u8]; 3] = [b"LD_PRELOAD", b"LD_AUDIT", b"LD_LIBRARY_PATH"];

const _: () = assert!(ENVIRONMENT.len() >= PRELOADING.len(), "exec records carry them");

/// Directories that are links into /usr on most systems.
const MERGED: [&[u8]; 4] = [b"/bin/", b"/sbin/", b"/lib/", b"/lib64/"];

/// Directories in which root alone puts programs, and links to them.
const INSTALLED: [&[u8]; 4] = [b"/usr/bin/", b"/usr/sbin/", b"/bin/", b"/sbin/"];

/// What a process runs, raw; kept from its exec.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Identity {
    path: Box<[u8]>,
    /// Whether only root can have put a program there; see [`Exec::identity`].
    is_of_root: bool,
    is_preloaded: bool,
    /// Whether any variable is set that makes a program run other code.
    is_directed: bool,
    has_all_arguments: bool,
    /// The path of the script that was asked for.
    asked: Option<Box<[u8]>>,
    script: OnceCell<Script>,
}

/// A script that was opened.
#[derive(Debug, PartialEq, Eq)]
struct Script {
    path: Box<[u8]>,
    is_of_root: bool,
}

impl Identity {
    /// Of the program that `exec` started; `runs_scripts`: what its first argument names, it runs.
    pub fn of(exec: &Exec, runs_scripts: bool) -> Self {
        let given = exec.given.as_ref().filter(|given| exec.script && !given.truncated);
        let argument =
            if runs_scripts && !exec.script { exec.arguments.iter().nth(1) } else { None };
        let argument = argument.filter(|argument| argument.starts_with(b"/"));
        let asked = given.map(|given| given.bytes.as_slice()).or(argument);
        Self {
            path: exec.path_bytes().into(),
            is_of_root: is_of_root(exec),
            is_preloaded: is_preloaded(exec),
            has_all_arguments: has_all_arguments(exec),
            is_directed: !exec.environment.is_empty() || exec.environment_truncated,
            asked: asked.map(Into::into),
            script: OnceCell::new(),
        }
    }

    /// The interpreter has opened `file` as its script; only the first time counts.
    pub fn opened(&self, file: &File) {
        let FileCall::Script { trust } = file.call else { return };
        let Some(path) = &file.path else { return };
        let is_there = file.object.is_some_and(|object| object.links > 0);
        let is_of_root = trust.is_whole() && is_there && self.is_asked(&path.bytes);
        let _known = self.script.set(Script { path: path.bytes.as_slice().into(), is_of_root });
    }

    /// Whether `path` is the one that was asked for. Another file of the same name may have been opened
    /// before it.
    fn is_asked(&self, path: &[u8]) -> bool {
        let Some(asked) = &self.asked else { return false };
        let is_merged = MERGED.iter().any(|front| asked.starts_with(front));
        **asked == *path || (is_merged && path.strip_prefix(b"/usr") == Some(asked))
    }

    /// Kernel-resolved path of the executable; empty if it is not known.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Kernel-resolved path of the script, once the interpreter has opened it.
    pub fn script(&self) -> Option<&[u8]> {
        self.script.get().map(|script| &*script.path)
    }

    /// The path of the script that was asked for, before it is opened.
    pub fn asked(&self) -> Option<&[u8]> {
        self.asked.as_deref()
    }

    /// What [`Self::script`] tells, if nobody but root can have chosen what the script is, and no variable has the
    /// interpreter run something else.
    ///
    /// A link in a directory of the system's programs is what root made it: so is what an interpreter opens by
    /// it, under whatever name (`npm` is `npm-cli.js`).
    pub fn sound_script(&self) -> Option<&[u8]> {
        if self.is_directed {
            return None;
        }
        match self.script.get() {
            Some(script) => script.is_of_root.then_some(&*script.path),
            None => self.asked.as_deref().filter(|asked| self.is_of_root && is_installed(asked)),
        }
    }

    /// Whether all of the program's arguments are known.
    pub fn has_all_arguments(&self) -> bool {
        self.has_all_arguments
    }

    /// Whether the dynamic loader was told to load other code.
    pub fn is_preloaded(&self) -> bool {
        self.is_preloaded
    }

    /// The path, if nobody but root can have chosen what runs.
    pub fn sound_path(&self) -> Option<&[u8]> {
        (self.is_of_root && !self.is_preloaded).then_some(&*self.path)
    }
}

/// Whether it is a name in a directory of the system's programs.
fn is_installed(path: &[u8]) -> bool {
    let name = INSTALLED.iter().find_map(|directory| path.strip_prefix(*directory));
    name.is_some_and(|name| !name.contains(&b'/') && name != b"..")
}

/// Whether nobody but root can have chosen what `exec` runs.
pub fn is_sound(exec: &Exec) -> bool {
    is_of_root(exec) && !is_preloaded(exec)
}

fn is_of_root(exec: &Exec) -> bool {
    exec.identity().is_some() && !exec.is_unlinked()
}

fn is_preloaded(exec: &Exec) -> bool {
    exec.environment.iter().any(|(name, _)| PRELOADING.contains(&name.as_slice()))
}

fn has_all_arguments(exec: &Exec) -> bool {
    let known = u32::try_from(exec.arguments.len()).unwrap_or(u32::MAX);
    known > 0 && known >= exec.argument_count && !exec.truncated
}

/// Path of the program that `process` runs, if nothing else can have run in its place: the one thing
/// that allow-lists go by.
pub fn trusted_path(process: &Process) -> Option<&[u8]> {
    let image = process.image.as_ref().filter(|_| !process.was_traced)?;
    image.identity.sound_path()
}

/// Whether `process` runs the program that is listed as `listed`, and nothing else ran in its place.
pub fn is_trusted_as(process: &Process, listed: &[u8]) -> bool {
    trusted_path(process).is_some_and(|path| is_listed_as(path, listed))
}

/// Whether the program at `path` is the one that is listed as `listed`: where /usr/sbin is a link to /usr/bin
/// (Fedora 42), the kernel tells the latter. Both are root's.
pub fn is_listed_as(path: &[u8], listed: &[u8]) -> bool {
    let merged = || listed.strip_prefix(b"/usr/sbin/").or(listed.strip_prefix(b"/sbin/"));
    path == listed || merged().is_some_and(|name| path.strip_prefix(b"/usr/bin/") == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_in_sbin_is_the_same_where_that_is_a_link_to_bin() {
        for (path, listed, is_same) in [
            ("/usr/bin/sshd", "/usr/sbin/sshd", true),
            ("/usr/bin/runuser", "/sbin/runuser", true),
            ("/usr/sbin/sshd", "/usr/sbin/sshd", true),
            ("/usr/sbin/ssh", "/usr/bin/ssh", false),
            ("/usr/local/bin/sshd", "/usr/sbin/sshd", false),
            ("/usr/bin/sshd2", "/usr/sbin/sshd", false),
            ("/usr/bin/x/sshd", "/usr/sbin/x/sshd", true),
            ("/tmp/sshd", "/usr/sbin/sshd", false),
        ] {
            assert_eq!(is_listed_as(path.as_bytes(), listed.as_bytes()), is_same, "{path}");
        }
    }
    use crate::event::{Object, Origin, Path, Trust};

    fn path(bytes: &[u8]) -> Option<Path> {
        Some(Path { bytes: bytes.to_vec(), origin: Origin::Kernel, truncated: false })
    }

    fn started(given: &[u8], environment: &[&[u8]]) -> Identity {
        let exec = Exec {
            path: path(b"/usr/bin/python3"),
            given: path(given),
            script: true,
            environment: environment.iter().map(|name| (name.to_vec(), Vec::new())).collect(),
            ..Exec::default()
        };
        Identity::of(&exec, true)
    }

    #[test]
    fn what_is_no_interpreter_runs_nothing_that_it_is_given() {
        let arguments = ["cat", "/usr/bin/ansible"].iter().collect();
        let exec = Exec { path: path(b"/usr/bin/cat"), arguments, ..Exec::default() };
        let asked = |runs_scripts| {
            let identity = Identity { is_of_root: true, ..Identity::of(&exec, runs_scripts) };
            identity.sound_script().is_some()
        };
        assert_eq!((asked(true), asked(false)), (true, false));
    }

    fn file(at: &[u8], trust: u16, links: u32) -> File {
        File {
            call: FileCall::Script { trust: Trust::of(trust) },
            number: Some(3),
            object: Some(Object { links, ..Object::default() }),
            path: path(at),
            class: 0,
            open_flags: 0,
            close_on_exec: false,
        }
    }

    #[test]
    fn a_script_is_the_file_that_was_opened_if_root_alone_can_have_put_it_there() {
        let of = |given: &[u8], environment: &[&[u8]], opened: File| {
            let identity = started(given, environment);
            identity.opened(&opened);
            identity.sound_script().map(<[u8]>::to_vec)
        };
        let tool = b"/usr/bin/tool";
        assert_eq!(of(tool, &[], file(tool, 15, 1)), Some(tool.to_vec()));
        assert_eq!(of(b"/bin/tool", &[], file(tool, 15, 1)), Some(tool.to_vec()));
        assert_eq!(of(tool, &[], file(tool, 14, 1)), None);
        assert_eq!(of(tool, &[], file(tool, 15, 0)), None);
        assert_eq!(of(tool, &[b"BASH_ENV"], file(tool, 15, 1)), None);
        assert_eq!(of(b"/tmp/tool", &[], file(tool, 15, 1)), None);
        assert_eq!(of(b"tool", &[], file(tool, 15, 1)), None);
    }

    #[test]
    fn a_link_among_the_systems_programs_is_a_script_by_its_name() {
        let of_root = |given: &[u8], environment: &[&[u8]]| {
            let identity = Identity { is_of_root: true, ..started(given, environment) };
            identity.sound_script().map(<[u8]>::to_vec)
        };
        assert_eq!(of_root(b"/usr/bin/npm", &[]), Some(b"/usr/bin/npm".to_vec()));
        for given in [&b"/usr/bin/../../tmp/npm"[..], b"/tmp/npm", b"npm", b"/usr/bin/.."] {
            assert_eq!(of_root(given, &[]), None);
        }
        assert_eq!(of_root(b"/usr/bin/npm", &[b"NODE_OPTIONS"]), None);
        assert_eq!(
            started(b"/usr/bin/npm", &[]).sound_script(),
            None,
            "somebody else's interpreter"
        );
    }

    #[test]
    fn an_interpreter_has_one_script() {
        let identity = started(b"/usr/bin/tool", &[]);
        assert_eq!(identity.script(), None);
        identity.opened(&file(b"/tmp/tool", 0, 1));
        identity.opened(&file(b"/usr/bin/tool", 15, 1));
        assert_eq!((identity.script(), identity.sound_script()), (Some(&b"/tmp/tool"[..]), None));
    }
}
