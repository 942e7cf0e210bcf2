//! What has to survive the enforcer's end: the position of the kill switch, kills of the last minute, and the tree
//! that was being ended. The file is opened before the sandbox closes, never created, and rewritten in place.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use sentinel_ipc::frame::Target;

/// As many bytes are written each time, so that nothing of the last time is left.
pub const WRITTEN_BYTES: u32 = 96;

/// How the kill switch is set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It may kill what its configuration lets it.
    #[default]
    On,
    /// It kills nobody.
    Off,
    /// It has spent its budget, and kills nobody.
    Tripped,
}

/// The positions, and the words for them.
const POSITIONS: [(Position, &str); 3] =
    [(Position::On, "on"), (Position::Off, "off"), (Position::Tripped, "tripped")];

/// A tree that is being ended: its root, and whose it is.
pub type Begun = (Target, u32);

/// What is kept.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The position.
    pub position: Position,
    /// Kills within a minute.
    pub kills: u16,
    /// The last of them, CLOCK_BOOTTIME, ns.
    pub last: u64,
    /// Those of its processes that were stopped stay so until somebody ends them, or has them go on.
    pub tree: Option<Begun>,
}

impl Kept {
    /// The words that [`Self::read`] reads: the position, kills, the last one, and of a tree number and start of the
    /// root, and its user.
    fn written(&self) -> Vec<u8> {
        let of_it = POSITIONS.iter().find(|(one, _)| *one == self.position);
        let word = of_it.map_or("off", |(_, word)| word);
        let mut text = format!("{word} {} {}", self.kills, self.last);
        if let Some((Target { tgid, start_time }, user)) = self.tree {
            text.push_str(&format!(" {tgid} {start_time} {user}"));
        }
        format!("{text:<width$}\n", width = WRITTEN_BYTES as usize - 1).into_bytes()
    }

    /// What the file says; `None` if it is something else than a position, and the numbers behind it if they are
    /// there.
    fn read(content: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(content).ok()?.split_whitespace();
        let word = words.next()?;
        let (position, _) = *POSITIONS.iter().find(|(_, one)| *one == word)?;
        let numbers = words.map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let tree = match numbers[..] {
            [_, _, tgid, start_time, user] => {
                Some((Target { tgid: small(tgid), start_time }, small(user)))
            }
            _ => None,
        };
        let number = |at| numbers.get(at).copied().unwrap_or_default();
        let kills = u16::try_from(number(0)).unwrap_or(u16::MAX);
        Some(Self { position, kills, last: number(1), tree })
    }
}

/// The file, or why there is none.
#[derive(Debug)]
pub struct Marker(Result<File, String>);

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// What to start with.
    pub kept: Kept,
    /// What is to be told of it.
    pub note: Option<String>,
}

impl Marker {
    /// Opens the file at `path`. One that is missing means that nothing was switched off; one that cannot
    /// be read or understood means that somebody may have.
    pub fn open(path: &Path) -> (Self, Found) {
        let place = path.display();
        let off = |note: String| {
            let kept = Kept { position: Position::Off, ..Kept::default() };
            Found { kept, note: Some(note) }
        };
        match read(path) {
            Ok((file, content)) => {
                let found = match Kept::read(&content) {
                    Some(kept) => {
                        let is_on = kept.position == Position::On;
                        let note = format!(
                            "{place} says {:?}: until `sentinel enforce on` it kills nobody",
                            kept.position
                        );
                        Found { kept, note: (!is_on).then_some(note) }
                    }
                    None => off(format!("{place} says neither on nor off: taken for off")),
                };
                (Self(Ok(file)), found)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let missing = Self(Err(format!("{place} does not exist")));
                (missing, Found { kept: Kept::default(), note: None })
            }
            Err(error) => {
                let sentence = format!("{place}: {error}");
                let found = off(format!("{sentence}: taken for off"));
                (Self(Err(sentence)), found)
            }
        }
    }

    /// Keeps `kept`, so that it survives the enforcer, and if it `is_lasting` also the host's end.
    ///
    /// # Errors
    /// Why it will not.
    pub fn keep(&self, kept: &Kept, is_lasting: bool) -> Result<(), String> {
        let file = self.0.as_ref().map_err(Clone::clone)?;
        let written = file.write_all_at(&kept.written(), 0);
        let done = written.and_then(|()| if is_lasting { file.sync_data() } else { Ok(()) });
        done.map_err(|error| format!("the switch's file cannot be written: {error}"))
    }

    /// Why nothing survives a restart, as far as that can be told without writing.
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
    (&file).take(WRITTEN_BYTES.into()).read_to_end(&mut content)?;
    Ok((file, content))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(position: Position) -> Kept {
        Kept { position, ..Kept::default() }
    }

    #[test]
    fn only_three_words_are_a_position_and_only_numbers_follow() {
        for (content, position) in [
            (&b"on"[..], Some(Position::On)),
            (b"on \n", Some(Position::On)),
            (b"off\n", Some(Position::Off)),
            (b"off 0 0 1 2\n", Some(Position::Off)),
            (b"on or off", None),
            (b"on 0 0 x", None),
            (b"tripped\n", Some(Position::Tripped)),
            (b"", None),
            (b"onoff", None),
            (b"ON", None),
        ] {
            assert_eq!(Kept::read(content), position.map(at), "{content:?}");
        }
    }

    #[test]
    fn what_is_kept_is_found_whatever_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("enforcement");
        let root = Target { tgid: u32::MAX, start_time: u64::MAX };
        let tree = Some((root, u32::MAX));
        let all = |position| Kept { position, kills: u16::MAX, last: u64::MAX, tree };
        for content in ["on", "off\n", "nonsense that is longer"] {
            for kept in [at(Position::Off), all(Position::Tripped), at(Position::On)] {
                fs::write(&path, content).unwrap();
                let (marker, _) = Marker::open(&path);
                for kept in [&all(Position::Tripped), &kept] {
                    assert_eq!(marker.keep(kept, true), Ok(()));
                }
                assert_eq!(Marker::open(&path).1.kept, kept);
                assert_eq!(fs::metadata(&path).unwrap().len(), WRITTEN_BYTES.into());
            }
        }
        fs::write(&path, "nonsense").unwrap();
        let (_, found) = Marker::open(&path);
        assert_eq!(found.kept.position, Position::Off);
        assert!(found.note.unwrap().contains("neither on nor off"));
    }

    #[test]
    fn one_that_is_missing_is_on_and_says_so_when_it_is_to_be_kept() {
        let (marker, found) = Marker::open(Path::new("/nonexistent/marker"));
        assert_eq!(found, Found { kept: Kept::default(), note: None });
        assert!(marker.keep(&at(Position::Off), true).unwrap_err().contains("/nonexistent/marker"));
        assert!(marker.problem().is_some());
    }

    #[test]
    fn what_is_no_file_is_off() {
        for path in ["/dev/null", "/"] {
            let (marker, found) = Marker::open(Path::new(path));
            assert_eq!(found.kept.position, Position::Off, "{path}");
            assert!(marker.keep(&at(Position::On), false).is_err());
        }
    }
}
