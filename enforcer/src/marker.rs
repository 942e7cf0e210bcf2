//! The position of the kill switch on disk, so that it survives restarts. The file is opened before the
//! sandbox closes, never created, and rewritten in place.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// All positions are written with as many bytes, so that nothing of the last one is left.
pub const WRITTEN_BYTES: u32 = 4;

/// How the kill switch is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It may kill what its configuration lets it.
    On,
    /// It kills nobody.
    Off,
}

impl Position {
    fn written(self) -> &'static [u8; WRITTEN_BYTES as usize] {
        match self {
            Self::On => b"on \n",
            Self::Off => b"off\n",
        }
    }

    /// What the first line of the file says.
    fn read(content: &[u8]) -> Option<Self> {
        match content.split(|&byte| byte == b'\n').next()?.trim_ascii() {
            b"on" => Some(Self::On),
            b"off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// The file, or why there is none.
#[derive(Debug)]
pub struct Marker(Result<File, String>);

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The position to start with.
    pub position: Position,
    /// What is to be told of it.
    pub note: Option<String>,
}

impl Marker {
    /// Opens the file at `path`. One that is missing means that nothing was switched off; one that cannot
    /// be read or understood means that somebody may have.
    pub fn open(path: &Path) -> (Self, Found) {
        let place = path.display();
        let off = |note: String| Found { position: Position::Off, note: Some(note) };
        match read(path) {
            Ok((file, content)) => {
                let found = match Position::read(&content) {
                    Some(Position::On) => Found { position: Position::On, note: None },
                    Some(Position::Off) => off(format!(
                        "{place} says off: until `sentinel enforce on` it kills nobody"
                    )),
                    None => off(format!("{place} says neither on nor off: taken for off")),
                };
                (Self(Ok(file)), found)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let missing = Self(Err(format!("{place} does not exist")));
                (missing, Found { position: Position::On, note: None })
            }
            Err(error) => {
                let sentence = format!("{place}: {error}");
                let found = off(format!("{sentence}: taken for off"));
                (Self(Err(sentence)), found)
            }
        }
    }

    /// Keeps `position`.
    ///
    /// # Errors
    /// Why it will not survive a restart.
    pub fn keep(&self, position: Position) -> Result<(), String> {
        let file = self.0.as_ref().map_err(Clone::clone)?;
        let kept = file.write_all_at(position.written(), 0).and_then(|()| file.sync_data());
        kept.map_err(|error| format!("the switch's file cannot be written: {error}"))
    }

    /// Why no position survives a restart, as far as that can be told without writing.
    pub fn problem(&self) -> Option<String> {
        self.0.as_ref().err().cloned()
    }
}

/// The file, no link and no device, and the start of its content.
fn read(path: &Path) -> std::io::Result<(File, Vec<u8>)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("no regular file"));
    }
    let mut content = Vec::new();
    (&file).take(16).read_to_end(&mut content)?;
    Ok((file, content))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_its_first_line_counts_and_only_two_words() {
        for (content, position) in [
            (&b"on"[..], Some(Position::On)),
            (b"on \n", Some(Position::On)),
            (b"off\n", Some(Position::Off)),
            (b"off\nrest of something longer", Some(Position::Off)),
            (b"", None),
            (b"\non\n", None),
            (b"onoff", None),
            (b"ON", None),
        ] {
            assert_eq!(Position::read(content), position, "{content:?}");
        }
    }

    #[test]
    fn what_is_kept_is_found_whatever_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcement");
        for content in ["on", "off\n", "nonsense that is longer"] {
            for position in [Position::Off, Position::On] {
                fs::write(&path, content).unwrap();
                let (marker, _) = Marker::open(&path);
                assert_eq!(marker.keep(position), Ok(()));
                assert_eq!(Marker::open(&path).1.position, position);
            }
        }
        fs::write(&path, "nonsense").unwrap();
        let (_, found) = Marker::open(&path);
        assert_eq!(found.position, Position::Off);
        assert!(found.note.unwrap().contains("neither on nor off"));
    }

    #[test]
    fn one_that_is_missing_is_on_and_says_so_when_it_is_to_be_kept() {
        let (marker, found) = Marker::open(Path::new("/nonexistent/marker"));
        assert_eq!(found, Found { position: Position::On, note: None });
        assert!(marker.keep(Position::Off).unwrap_err().contains("/nonexistent/marker"));
        assert!(marker.problem().is_some());
    }

    #[test]
    fn what_is_no_file_is_off() {
        for path in ["/dev/null", "/"] {
            let (marker, found) = Marker::open(Path::new(path));
            assert_eq!(found.position, Position::Off, "{path}");
            assert!(marker.keep(Position::On).is_err());
        }
    }
}
