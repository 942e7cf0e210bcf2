//! Executable identity, as far as rules may trust it: which program a process runs, by the kernel's
//! word, and whether anything else was put into it. Never `comm`, never argv[0].

use sentinel_ipc::kernel_abi::ENVIRONMENT;

use crate::{event::Exec, process_table::Process};

/// Variables through which the dynamic loader runs other code than the program's (ld.so(8)).
const PRELOADING: [&[u8]; 3] = [b"LD_PRELOAD", b"LD_AUDIT", b"LD_LIBRARY_PATH"];

const _: () = assert!(ENVIRONMENT.len() >= PRELOADING.len(), "exec records carry them");

/// What a process runs, raw; kept from its exec.
#[derive(Debug, Default)]
pub struct Identity {
    path: Box<[u8]>,
    script: Option<Box<[u8]>>,
    /// Whether only root can have put a program there; see [`Exec::identity`].
    is_of_root: bool,
    is_preloaded: bool,
}

impl Identity {
    /// Of the program that `exec` started.
    pub fn of(exec: &Exec) -> Self {
        let is_preloading = |name: &[u8]| PRELOADING.contains(&name);
        Self {
            path: exec.path_bytes().into(),
            script: exec
                .given
                .as_ref()
                .filter(|_| exec.script)
                .map(|given| given.bytes.as_slice().into()),
            is_of_root: exec.identity().is_some() && !exec.is_unlinked(),
            is_preloaded: exec.environment.iter().any(|(name, _)| is_preloading(name)),
        }
    }

    /// Kernel-resolved path of the executable; empty if it is not known.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Path of the script, as it was given to exec.
    pub fn script(&self) -> Option<&[u8]> {
        self.script.as_deref()
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

/// Path of the program that `process` runs, if nothing else can have run in its place: the one thing
/// that allow-lists go by.
pub fn trusted_path(process: &Process) -> Option<&[u8]> {
    let image = process.image.as_ref().filter(|_| !process.was_traced)?;
    image.identity.sound_path()
}

/// Whether `process` runs the program at `path`, and nothing else ran in its place.
pub fn is_trusted_as(process: &Process, path: &[u8]) -> bool {
    trusted_path(process) == Some(path)
}
