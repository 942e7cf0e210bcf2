//! Tells the kernel which files matter: the rules, and the files that are there already.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::{ffi::OsStrExt, fs::MetadataExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    maps::{
        Array, HashMap, Map, MapError,
        lpm_trie::{Key, LpmTrie},
    },
};
use sentinel_ipc::{
    file_class::{Pattern, Rule, WRITES, number},
    kernel_abi::{ClassRule, NAME_BYTES, Names, Prefix, Suffix, filter, rule},
};

use crate::sensor::SensorError;

/// The section of the object that its variable of that name fills.
const FILTERS: &str = ".bss.filters";

/// A rule as a map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Value(ClassRule);

#[expect(unsafe_code, reason = "aya's marker trait for map values")]
// SAFETY: repr(C) integers without padding (asserted in kernel_abi), so every bit pattern is valid.
unsafe impl aya::Pod for Value {}

/// Lengths of the suffixes that rules tell, as bits: the object's constant `SUFFIX_LENGTHS`.
pub fn suffix_lengths(rules: &[Rule]) -> u32 {
    let bit = |rule: &Rule| match rule.pattern {
        Pattern::Suffix(suffix) => 1 << suffix.len(),
        _ => 0,
    };
    rules.iter().map(bit).fold(0, |lengths, bit| lengths | bit)
}

/// Writes `rules` into the kernel's tables.
///
/// # Errors
/// When the kernel refuses.
pub fn write(ebpf: &mut Ebpf, rules: &[Rule]) -> Result<(), SensorError> {
    let mut prefixes: LpmTrie<_, Prefix, Value> = table(ebpf, "PREFIXES")?;
    for (key, bits, value) in prefixes_of(rules) {
        let key = Key::new(bits, key);
        prefixes.insert(&key, value, 0).map_err(|error| SensorError::Map("PREFIXES", error))?;
    }
    let mut names: HashMap<_, Names, Value> = table(ebpf, "NAMES")?;
    let all = names_of(rules);
    for (key, value) in &all {
        names.insert(key, value, 0).map_err(|error| SensorError::Map("NAMES", error))?;
    }
    let mut suffixes: HashMap<_, Suffix, Value> = table(ebpf, "SUFFIXES")?;
    let mut ends: Vec<(Suffix, Value)> = Vec::new();
    for rule in rules {
        if let Pattern::Suffix(suffix) = rule.pattern {
            let key: Suffix = padded(suffix);
            let value = value(rule, rule::LAST);
            suffixes.insert(key, value, 0).map_err(|error| SensorError::Map("SUFFIXES", error))?;
            ends.push((key, value));
        }
    }
    let mut filters: filter::Filters = [[0; _]; _];
    let [in_names, in_suffixes, _files] = &mut filters;
    all.iter().for_each(|(key, value)| mark_names(in_names, key, *value));
    ends.iter().for_each(|(key, value)| put(in_suffixes, key, *value));
    let mut section: Array<_, filter::Filters> = table(ebpf, FILTERS)?;
    section.set(0, filters, 0).map_err(|error| SensorError::Map(FILTERS, error))
}

/// Sets the bits for a component, or for a pair: the outer one's have both looked up.
fn mark_names(filter: &mut filter::Filter, names: &Names, Value(rule): Value) {
    // Of two components at the top the inner one tells to whom they matter, as the last of a front: most of what is in
    // such a directory matters to nobody who reads it.
    let is_top = rule.flags & rule::TOP != 0;
    let flags = if is_top { rule::WRITTEN } else { rule.flags };
    put(filter, names.split_at(NAME_BYTES).0, Value(ClassRule { flags, ..rule }));
}

/// Sets the bits for a key that begins with `bytes`, which zeros follow.
fn put(filter: &mut filter::Filter, bytes: &[u8], Value(rule): Value) {
    let mut marked = filter::Marked::default();
    for (word, bytes) in marked.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(padded(bytes));
    }
    let has = |flags| rule.flags & flags == flags;
    let bits = if has(rule::FRONT) || has(rule::APPLIES) && !has(rule::PRIVATE) {
        filter::READ
    } else if has(rule::FRONT_PRIVATE) || has(rule::APPLIES) {
        filter::PRIVATE
    } else {
        filter::WRITTEN
    };
    let place = filter::place(marked);
    let up = place % filter::PLACES_OF_WORD * 2;
    if let Some(word) = filter.get_mut(place / filter::PLACES_OF_WORD) {
        // The more the bits say as a number, the more it matters.
        let more = bits.max(*word >> up & filter::READ);
        *word |= filter::READ << up;
        *word ^= (filter::READ ^ more) << up;
    }
}

fn table<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<T, SensorError>
where
    T: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = ebpf.map_mut(name).ok_or(SensorError::Mismatch(name))?;
    T::try_from(map).map_err(|error| SensorError::Map(name, error))
}

fn value(rule: &Rule, flags: u16) -> Value {
    let proc = if rule.proc { rule::PROC } else { 0 };
    let flags = flags | proc;
    if rule.class & WRITES != 0 {
        let written = u16::try_from(number(rule.class)).unwrap_or_default();
        return Value(ClassRule { class: 0, written, flags: flags | rule::WRITTEN });
    }
    let private = if rule.private { rule::PRIVATE } else { 0 };
    Value(ClassRule { class: rule.class, written: 0, flags: flags | private | rule::APPLIES })
}

impl Value {
    /// Nothing is said.
    const NONE: Self = Self(ClassRule { class: 0, written: 0, flags: 0 });

    /// What keeps a rule from applying everywhere. Both of an entry's classes have it in common.
    const LIMITS: u16 = rule::LAST | rule::PROC | rule::TOP;

    /// Takes from `other` what this does not say itself: of the two classes, each stands for itself. Where one of
    /// the two holds in more places it counts: no rule takes anything away from another one.
    fn complete(&mut self, other: Self) {
        let (Self(rule), Self(other)) = (self, other);
        let says = |rule: &ClassRule| rule.flags & (rule::APPLIES | rule::WRITTEN) != 0;
        if !says(&other) {
            return;
        }
        let is_wider = !says(rule) || rule.flags & Self::LIMITS & !other.flags != 0;
        let limits = if says(rule) { rule.flags & other.flags } else { other.flags } & Self::LIMITS;
        if rule.flags & rule::APPLIES == 0 || is_wider && other.flags & rule::APPLIES != 0 {
            rule.class = other.class;
            rule.flags =
                rule.flags & !rule::PRIVATE | other.flags & (rule::APPLIES | rule::PRIVATE);
        }
        if rule.flags & rule::WRITTEN == 0 || is_wider && other.flags & rule::WRITTEN != 0 {
            rule.written = other.written;
            rule.flags |= other.flags & rule::WRITTEN;
        }
        rule.flags = rule.flags & !Self::LIMITS | limits;
    }
}

/// The keys of the rules about a path's front, how many of their bits count, and what they say: all of what
/// rules say that are about the same path or a shorter front of it, because the kernel finds the longest only.
fn prefixes_of(rules: &[Rule]) -> Vec<(Prefix, u32, Value)> {
    let begins = |rule: &Rule| Some((prefix_of(rule.pattern)?, value(rule, 0)));
    let mut all: Vec<((Prefix, u32), Value)> = rules.iter().filter_map(begins).collect();
    all.sort_by_key(|((_, bits), _)| *bits);
    let is_front = |(key, bits): (Prefix, u32), of: (Prefix, u32)| {
        let bytes = usize::try_from(bits / 8).unwrap_or(usize::MAX);
        bits <= of.1 && key.iter().zip(of.0).take(bytes).all(|(one, other)| *one == other)
    };
    let whole = |&(key, _): &((Prefix, u32), Value)| {
        let mut said = Value::NONE;
        let fronts = all.iter().filter(|(front, _)| is_front(*front, key)).rev();
        fronts.for_each(|(_, value)| said.complete(*value));
        (key.0, key.1, said)
    };
    all.iter().map(whole).collect()
}

/// The first two components of a path that ends behind them, and whether it does so as the name of a file.
fn top_of(pattern: Pattern) -> Option<(&'static [u8], &'static [u8], bool)> {
    let (path, is_file) = match pattern {
        Pattern::Path(path) => (path, true),
        Pattern::Prefix(prefix) => (prefix.strip_suffix(b"/")?, false),
        _ => return None,
    };
    let mut names = path.strip_prefix(b"/")?.split(|&byte| byte == b'/');
    let (outer, inner) = (names.next()?, names.next()?);
    (names.next().is_none() && outer.len() < NAME_BYTES && inner.len() < NAME_BYTES)
        .then_some((outer, inner, is_file))
}

/// The last whole component of a rule about a path's front that fits into the tables: few paths have it that do not begin
/// so. Nothing if none does, as the kernel looks up those that are too long.
fn last_of(pattern: Pattern) -> Option<&'static [u8]> {
    let whole = match pattern {
        Pattern::Path(path) => path,
        // What stands behind the last slash is the front of a name.
        Pattern::Prefix(prefix) => prefix.rsplitn(2, |&byte| byte == b'/').nth(1)?,
        _ => return None,
    };
    let mut names = whole.rsplit(|&byte| byte == b'/').filter(|name| !name.is_empty());
    Some(names.find(|name| name.len() < NAME_BYTES).unwrap_or_default())
}

/// The key of a rule about a path's front, and how many of its bits count.
fn prefix_of(pattern: Pattern) -> Option<(Prefix, u32)> {
    let (bytes, more) = match pattern {
        // The NUL behind it counts, so that nothing may follow.
        Pattern::Path(path) => (path, 1),
        Pattern::Prefix(prefix) => (prefix, 0),
        _ => return None,
    };
    let bits = u32::try_from(8 * (bytes.len() + more)).ok()?;
    Some((padded(bytes), bits))
}

/// The rules about components, for each pair a mark on its outer one; and those about paths that hold within
/// file systems.
fn names_of(rules: &[Rule]) -> std::collections::HashMap<Names, Value> {
    let mut names: std::collections::HashMap<Names, Value> = std::collections::HashMap::new();
    for rule in rules {
        if let Some(last) = last_of(rule.pattern) {
            let entry = names.entry(pair(last, b"")).or_insert(Value::NONE);
            entry.0.flags |= match *rule {
                Rule { class, .. } if class & WRITES != 0 => rule::FRONT_WRITTEN,
                Rule { private: true, .. } => rule::FRONT_PRIVATE,
                _ => rule::FRONT,
            };
        }
        let (outer, inner, flags) = match rule.pattern {
            Pattern::Component(name) => (name, &b""[..], 0),
            Pattern::Name(name) => (name, &b""[..], rule::LAST),
            Pattern::Within(outer, inner) => (outer, inner, 0),
            Pattern::NameWithin(outer, inner) => (outer, inner, rule::LAST),
            Pattern::Path(_) | Pattern::Prefix(_) => {
                let Some((outer, inner, is_file)) = top_of(rule.pattern) else { continue };
                let last = if is_file { rule::LAST } else { 0 };
                let entry = names.entry(pair(outer, inner)).or_insert(Value::NONE);
                entry.complete(value(rule, rule::TOP | last));
                continue;
            }
            Pattern::Suffix(_) => continue,
        };
        names.entry(pair(outer, inner)).or_insert(Value::NONE).complete(value(rule, flags));
        if !inner.is_empty() {
            let entry = names.entry(pair(outer, b"")).or_insert(Value::NONE);
            entry.0.flags |= rule::PARENT;
        }
    }
    names
}

fn pair(outer: &[u8], inner: &[u8]) -> Names {
    let mut key = [0; 2 * NAME_BYTES];
    let (front, back) = key.split_at_mut(NAME_BYTES);
    front.iter_mut().zip(outer).for_each(|(to, from)| *to = *from);
    back.iter_mut().zip(inner).for_each(|(to, from)| *to = *from);
    key
}

fn padded<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut padded = [0; LENGTH];
    padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    padded
}

/// Opens the files that `rule` names and that are there, without touching their contents. What
/// cannot be opened is told by its path later.
pub fn open_existing(rule: &Rule) -> Vec<File> {
    let paths = match rule.pattern {
        Pattern::Path(path) => vec![PathBuf::from(OsStr::from_bytes(path))],
        Pattern::Prefix(prefix) => beginning_with(prefix),
        _ => Vec::new(),
    };
    // Asked before, because to open a file is to have it learned.
    let may_apply = |path: &&PathBuf| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|found| found.is_file() && (!rule.private || found.mode() & 0o004 == 0))
    };
    let open =
        |path: &PathBuf| OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path).ok();
    paths.iter().filter(may_apply).filter_map(open).collect()
}

/// The regular files whose path begins with `prefix`.
fn beginning_with(prefix: &[u8]) -> Vec<PathBuf> {
    let Some(slash) = prefix.iter().rposition(|&byte| byte == b'/') else { return Vec::new() };
    let Some((directory, _)) = prefix.split_at_checked(slash + 1) else { return Vec::new() };
    let mut found = Vec::new();
    collect(Path::new(OsStr::from_bytes(directory)), prefix, &mut found);
    found
}

fn collect(directory: &Path, prefix: &[u8], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let begins = path.as_os_str().as_bytes().starts_with(prefix);
        match entry.file_type() {
            Ok(kind) if begins && kind.is_dir() => collect(&path, prefix, found),
            Ok(kind) if begins && kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
