//! Alerts as JSON lines, one write each.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::alert::Alert;

/// An open log.
#[derive(Debug)]
pub struct JsonLog {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

impl JsonLog {
    /// Opens `path` to append to it, and creates it (0640) and its directory (0750) if they are
    /// missing. The last component may be no symbolic link, and must be a regular file.
    ///
    /// # Errors
    /// A sentence with the path and what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| {
            let hint = match error.raw_os_error().map(nix::errno::Errno::from_raw) {
                Some(nix::errno::Errno::ELOOP) => "it is a symbolic link, which is not followed",
                _ => "give the path of a file that can be written",
            };
            format!("cannot write to {}: {error}; {hint}", path.display())
        };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o750).create(directory).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(format!("cannot write to {}: it is not a regular file", path.display()));
        }
        Ok(Self { path: path.to_owned(), file, line: Vec::new() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line, whole or not at all as far as the system lets it.
    ///
    /// # Errors
    /// When the alert is not in the file.
    pub fn write(&mut self, alert: &Alert) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, alert)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn file_and_directory_are_made_and_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/alerts.json");
        JsonLog::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o027, 0);
    }

    #[test]
    fn links_and_fifos_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::write(&target, "").unwrap();
        let link = directory.path().join("link");
        symlink(&target, &link).unwrap();
        assert!(JsonLog::open(&link).unwrap_err().contains("symbolic link"));
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(JsonLog::open(&fifo).is_err());
        assert!(JsonLog::open(directory.path()).is_err());
    }
}
