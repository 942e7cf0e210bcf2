//! Sentinel's packages, made of the programs that were built for the tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tempfile::TempDir;

use crate::{bed::skip, sentinel::program};

/// A script in `packaging/test`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/test").join(name)
}

/// Whether packages can be made here; says why if they cannot.
///
/// # Panics
/// In CI, where that must be; and when there is no such script.
pub fn ready() -> bool {
    let made = Command::new(script("prepare")).output().expect("prepare starts");
    if !made.status.success() {
        let errors = String::from_utf8_lossy(&made.stderr);
        skip(errors.lines().last().unwrap_or("packaging/test/prepare fails"));
    }
    made.status.success()
}

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// Of RHEL and Fedora.
    Rpm,
    /// Of Debian and Ubuntu.
    Deb,
}

impl Package {
    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Rpm => "sentinel.rpm",
            Self::Deb => "sentinel.deb",
        }
    }
}

/// The packages of one release, in a directory of their own.
pub struct Packages(TempDir);

impl Packages {
    /// Makes them; the higher `release` is, the newer they are.
    ///
    /// # Panics
    /// When that fails.
    pub fn of_release(release: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory of our own");
        let built = program();
        let mut command = Command::new(script("build"));
        command.arg(directory.path()).arg(built.parent().expect("target directory"));
        done(command.arg(release.to_string()));
        Self(directory)
    }

    /// One of them, by the name of its file.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }
}

/// What packages change in the Debian of the machines when they are installed: files to lay over it.
pub struct Layer(TempDir);

impl Layer {
    /// Installs `packages`, paths of files, with their scriptlets.
    ///
    /// # Panics
    /// When that fails.
    pub fn with(packages: &[PathBuf]) -> Self {
        let directory = tempfile::tempdir().expect("a directory of our own");
        done(Command::new(script("layer")).arg(directory.path()).args(packages));
        Self(directory)
    }

    /// That of the first release of Sentinel itself: the one that other tests of this process use at the
    /// moment, or a new one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn shared(package: Package) -> Arc<Self> {
        static SHARED: [Mutex<Weak<Layer>>; 2] = [Mutex::new(Weak::new()), Mutex::new(Weak::new())];
        let mut shared = SHARED[package as usize].lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let packages = Packages::of_release(1);
            let made = Arc::new(Self::with(&[packages.path(package.file())]));
            *shared = Arc::downgrade(&made);
            made
        })
    }

    /// Where the files are.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("upper")
    }
}

/// Runs a command that must succeed.
fn done(command: &mut Command) {
    let done = command.output().expect("a script starts");
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{said}", done.status);
}
