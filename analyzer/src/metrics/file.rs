//! The metrics' file, replaced as a whole. It is opened before the sandbox: its directory stays.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::renameat,
    sys::stat::{Mode, fchmod},
    unistd::{fchown, geteuid},
};
use sentinel_ipc::confinement::{self, Directory, Rights};

use crate::{json_log::walk, replaced_file::make_anew};

/// Where metrics are written.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    directory: File,
    name: OsString,
    new_name: OsString,
    /// This process's status (proc(5)).
    memory: File,
}

impl MetricsFile {
    /// The file `path`. Directories that are missing are made (0755), and the last one is given to Sentinel's
    /// user; no part of the path may be a symbolic link.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        let refused = |why: &dyn std::fmt::Display| {
            format!(
                "cannot keep metrics in {}: {why}; give a path in a directory in which Sentinel's user \
                 may make files",
                path.display()
            )
        };
        let is_new = path.parent().is_some_and(|parent| !parent.exists());
        // Whoever collects numbers is another user.
        let open_to_all = |new: &OwnedFd| fchmod(new, Mode::from_bits_truncate(0o755));
        let (directory, name) = walk(path, open_to_all).map_err(|errno| refused(&errno.desc()))?;
        if is_new && geteuid().is_root() {
            let account = confinement::account("sentinel").map_err(|error| refused(&error))?;
            fchown(&directory, Some(account.uid), Some(account.gid))
                .map_err(|errno| refused(&errno.desc()))?;
        }
        let memory = File::open("/proc/self/status").map_err(|error| refused(&error))?;
        // As node_exporter wants it: what ends otherwise is not read.
        let mut new_name = name.clone();
        new_name.push(".new");
        Ok(Self { path: path.to_owned(), directory, name, new_name, memory })
    }

    /// What must stay open to replace it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn directory(&self) -> io::Result<Directory> {
        let descriptor = self.directory.try_clone()?.into();
        Ok(Directory { descriptor, rights: Rights::Replace })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts `text` in its place: readers find the old text or the new one.
    ///
    /// # Errors
    /// When it stays as it was.
    pub fn replace(&self, text: &str) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(0o644);
        make_anew(&self.directory, &self.new_name, mode)?.write_all(text.as_bytes())?;
        Ok(renameat(&self.directory, &*self.new_name, &self.directory, &*self.name)?)
    }

    /// This process's resident memory, bytes; `None` if the kernel does not say.
    pub fn memory(&self) -> Option<u64> {
        let mut text = [0; 4096];
        let length = self.memory.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_file_is_replaced_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node/sentinel.prom");
        let file = MetricsFile::open(&path).unwrap();
        file.replace("one\n").unwrap();
        let mut reader = File::open(&path).unwrap();
        fs::write(path.with_extension("prom.new"), "left behind by a power failure").unwrap();
        file.replace("two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        let mut old = String::new();
        io::Read::read_to_string(&mut reader, &mut old).unwrap();
        assert_eq!(old, "one\n", "who reads the old file reads all of it");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(file.memory().unwrap() > 1 << 20);
    }

    #[test]
    fn others_reach_it_through_all_directories_that_were_made() {
        let directory = tempfile::tempdir().unwrap();
        MetricsFile::open(&directory.path().join("a/b/c/x.prom"))
            .unwrap()
            .replace("one\n")
            .unwrap();
        for (path, mode) in
            [("a", 0o755), ("a/b", 0o755), ("a/b/c", 0o755), ("a/b/c/x.prom", 0o644)]
        {
            let found = fs::metadata(directory.path().join(path)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("x.prom"), directory.path().join("other"));
        fs::write(&other, "untouched").unwrap();
        let file = MetricsFile::open(&path).unwrap();
        for name in ["x.prom", "x.prom.new"] {
            std::os::unix::fs::symlink(&other, directory.path().join(name)).unwrap();
        }
        file.replace("text\n").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(&path).unwrap(), "text\n");
    }
}
