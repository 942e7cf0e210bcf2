//! What `sentinel record` writes: the loader's frames as they came.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use sentinel_ipc::{clock, frame::Subscription};

use crate::capture::{Header, Writer};

/// A capture that is being written.
pub struct Recording {
    writer: Writer<File>,
    path: PathBuf,
}

impl Recording {
    /// Creates the file at `path`. `scope` is what is watched, in words.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn create(path: &Path, scope: String, subscription: Subscription) -> Result<Self, String> {
        if path == Path::new("-") {
            return Err(
                "cannot record to standard output, where alerts are shown: give -o the path \
                        of a new file"
                    .to_owned(),
            );
        }
        let clock = clock::now().map_err(|errno| format!("clock_gettime: {errno}"))?;
        let header = Header::of_this_machine(clock, scope, subscription)
            .map_err(|error| format!("/proc does not tell what is recorded: {error}"))?;
        Ok(Self { writer: Writer::create(path, &header)?, path: path.to_owned() })
    }

    /// Where it is written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn write(&mut self, frame: &[u8]) -> Result<(), String> {
        self.writer.frame(frame).map_err(|error| self.failed(&error))
    }

    /// Has what was added so far reach the file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn flush(&mut self) -> Result<(), String> {
        self.writer.flush().map_err(|error| self.failed(&error))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn finish(self) -> Result<(), String> {
        let path = self.path;
        self.writer.finish().map(drop).map_err(|error| told(&path, &error))
    }

    fn failed(&self, error: &io::Error) -> String {
        told(&self.path, error)
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("cannot go on recording into {}: {error}", path.display())
}
