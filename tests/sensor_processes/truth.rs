//! What a test program says of itself: lines of `key=value`.

use std::{collections::HashMap, process::Output};

/// A thread and its process.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    pub tgid: u32,
    pub tid: u32,
    /// Start of the group's leader, clock ticks since boot.
    pub ticks: u64,
    pub uid: u32,
    pub euid: u32,
}

/// A file as fstat(2) tells it.
#[derive(Debug, Clone, Copy)]
pub struct File {
    pub device: u32,
    pub inode: u64,
    pub mode: u32,
    pub rdev: u32,
    pub links: u32,
    pub owner: u32,
    pub size: u64,
    /// If the file system tells it.
    pub generation: Option<u32>,
}

/// Everything that one run said.
pub struct Truth {
    case: String,
    values: HashMap<String, String>,
}

impl Truth {
    /// What `output` says.
    pub fn of(case: &str, output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {}: {errors}\n{text}", output.status);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let values = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { case: case.to_owned(), values }
    }

    /// The name of the case.
    pub fn case(&self) -> &str {
        &self.case
    }

    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("{}: nothing said of {key}", self.case))
    }

    pub fn number<T: std::str::FromStr>(&self, key: &str) -> T {
        let text = self.text(key);
        text.parse().unwrap_or_else(|_| panic!("{}: {key} is {text:?}", self.case))
    }

    pub fn numbers(&self, key: &str) -> Vec<u64> {
        let words = self.text(key).split_whitespace();
        words.map(|word| word.parse().unwrap_or_else(|_| panic!("{key}: {word:?}"))).collect()
    }

    /// A set of capabilities.
    pub fn bits(&self, key: &str) -> u64 {
        u64::from_str_radix(self.text(key), 16).expect("a number")
    }

    /// Strings, each ended by a NUL.
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        let text = self.text(key);
        let pairs = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("a byte")).collect()
    }

    /// One string without its NUL.
    pub fn string(&self, key: &str) -> Vec<u8> {
        let mut bytes = self.bytes(key);
        assert_eq!(bytes.pop(), Some(0));
        bytes
    }

    pub fn who(&self, key: &str) -> Who {
        let numbers = self.numbers(&format!("{key}.who"));
        let small = |at: usize| u32::try_from(numbers[at]).expect("an id");
        Who { tgid: small(0), tid: small(1), ticks: numbers[2], uid: small(3), euid: small(4) }
    }

    /// Thread group id and start, in clock ticks, of a process, if `key` has one.
    pub fn process(&self, key: &str) -> Option<(u32, u64)> {
        let key = format!("{key}.process");
        self.values.contains_key(&key).then(|| {
            let numbers = self.numbers(&key);
            (u32::try_from(numbers[0]).expect("a pid"), numbers[1])
        })
    }

    pub fn object(&self, key: &str) -> File {
        let text = self.text(&format!("{key}.object"));
        let numbers: Vec<i64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        let small = |at: usize| u32::try_from(numbers[at]).expect("32 bits");
        File {
            device: small(0),
            inode: numbers[1].try_into().unwrap(),
            mode: small(2),
            rdev: small(3),
            links: small(4),
            owner: small(5),
            size: numbers[6].try_into().unwrap(),
            generation: u32::try_from(numbers[7]).ok(),
        }
    }
}
