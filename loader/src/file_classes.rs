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
fn mark_names(filter: &mut filter::Filter, names: &Names, value: Value) {
    let (outer, inner) = names.split_at(NAME_BYTES);
    let Value(rule) = value;
    if rule.flags & rule::TOP == 0 {
        return put(filter, outer, value);
    }
    // To whom it matters the inner one tells: most of what is in such a directory matters to nobody who reads it.
    put(filter, outer, Value(ClassRule { flags: rule::WRITTEN, ..rule }));
    put(filter, inner, value);
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
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sentinel_ipc::file_class::{BUILT_IN, class};

    use super::*;

    #[test]
    fn suffixes_of_other_lengths_are_not_looked_for() {
        let own = Rule {
            pattern: Pattern::Suffix(b".secret"),
            class: class::SENSITIVE,
            private: false,
            proc: false,
        };
        assert_eq!(suffix_lengths(&[own]), 1 << 7);
        assert_eq!(suffix_lengths(BUILT_IN), 1 << 4 | 1 << 5);
        assert_eq!(suffix_lengths(&[]), 0);
    }

    #[test]
    fn a_pair_marks_its_outer_component() {
        let names = names_of(BUILT_IN);
        let Value(ssh) = names[&pair(b".ssh", b"")];
        assert_eq!(ssh.class, class::SSH_KEY);
        assert_eq!(ssh.flags, rule::APPLIES | rule::PRIVATE | rule::PARENT);
        let Value(hosts) = names[&pair(b".ssh", b"known_hosts")];
        assert_eq!((hosts.class, hosts.flags), (class::ORDINARY, rule::APPLIES | rule::LAST));
        let Value(aws) = names[&pair(b".aws", b"")];
        assert_eq!((aws.class, aws.flags), (0, rule::PARENT));
    }

    #[test]
    fn a_front_marks_its_last_whole_component() {
        for (pattern, last) in [
            (Pattern::Path(b"/etc/shadow"), &b"shadow"[..]),
            (Pattern::Path(b"/vault"), b"vault"),
            (Pattern::Prefix(b"/srv/keys/"), b"keys"),
            (Pattern::Prefix(b"/etc/sudoers"), b"etc"),
            (Pattern::Prefix(b"/srv/a_name_of_thirty_two_bytes_or_so/"), b"srv"),
            (Pattern::Path(b"/a_name_of_thirty_two_bytes_or_some"), b""),
        ] {
            assert_eq!(last_of(pattern), Some(last), "{pattern:?}");
        }
        assert_eq!(last_of(Pattern::Name(b".env")), None);
        let names = names_of(BUILT_IN);
        let fronts = |name: &[u8]| {
            names[&pair(name, b"")].0.flags
                & (rule::FRONT | rule::FRONT_PRIVATE | rule::FRONT_WRITTEN)
        };
        assert_eq!(fronts(b"shadow"), rule::FRONT);
        // Of what lies there everybody may read nearly all, which is opened all the time.
        assert_eq!(fronts(b"etc"), rule::FRONT_PRIVATE | rule::FRONT_WRITTEN);
        assert_eq!(fronts(b"lib"), rule::FRONT_WRITTEN);
    }

    #[test]
    fn a_filter_tells_to_whom_a_rule_may_matter() {
        let bits = |flags| {
            let mut filter: filter::Filter = [0; _];
            put(&mut filter, b"a name ", Value(ClassRule { class: 0, written: 0, flags }));
            filter.iter().find(|word| **word != 0).map(|word| word >> (word.trailing_zeros() & !1))
        };
        assert_eq!(bits(rule::APPLIES), Some(filter::READ));
        assert_eq!(bits(rule::APPLIES | rule::PRIVATE), Some(filter::PRIVATE));
        assert_eq!(bits(rule::APPLIES | rule::PRIVATE | rule::FRONT), Some(filter::READ));
        assert_eq!(bits(rule::WRITTEN | rule::FRONT_PRIVATE), Some(filter::PRIVATE));
        assert_eq!(bits(rule::WRITTEN | rule::PARENT), Some(filter::WRITTEN));
    }

    #[test]
    fn of_two_components_at_the_top_the_inner_one_tells_to_whom_they_matter() {
        let mut filter: filter::Filter = [0; _];
        for (key, value) in names_of(BUILT_IN) {
            mark_names(&mut filter, &key, value);
        }
        let bits = |name: &[u8]| {
            let mut marked = filter::Marked::default();
            let name: [u8; NAME_BYTES] = padded(name);
            for (word, bytes) in marked.iter_mut().zip(name.chunks_exact(8)) {
                *word = u64::from_ne_bytes(padded(bytes));
            }
            let place = filter::place(marked);
            filter[place / filter::PLACES_OF_WORD] >> (place % filter::PLACES_OF_WORD * 2) & 3
        };
        assert_eq!(bits(b"shadow"), filter::READ);
        assert_eq!(bits(b"etc"), filter::PRIVATE);
        assert_eq!(bits(b"cron.d"), filter::WRITTEN);
        assert_eq!((bits(b"usr"), bits(b"passwd")), (filter::WRITTEN, filter::WRITTEN));
    }

    #[test]
    fn a_file_may_be_of_one_class_and_when_it_is_written_of_another() {
        let names = names_of(BUILT_IN);
        let Value(keys) = names[&pair(b".ssh", b"authorized_keys")];
        assert_eq!(keys.class, class::ORDINARY);
        assert_eq!(u32::from(keys.written), number(class::AUTHORIZED_KEYS));
        assert_eq!(keys.flags, rule::APPLIES | rule::WRITTEN | rule::LAST);
        let prefixes = prefixes_of(BUILT_IN);
        let of = |path: Pattern| {
            let (key, bits) = prefix_of(path).unwrap();
            let found = prefixes.iter().find(|(other, more, _)| (*other, *more) == (key, bits));
            found.unwrap().2.0
        };
        let sudoers = of(Pattern::Prefix(b"/etc/sudoers.d/"));
        assert_eq!((sudoers.class, sudoers.flags & rule::PRIVATE), (class::SUDOERS, rule::PRIVATE));
        assert_eq!(u32::from(sudoers.written), number(class::AUTHENTICATION));
        let passwords = of(Pattern::Path(b"/etc/security/opasswd"));
        assert_eq!(passwords.class, class::PASSWORD_HASHES);
        assert_eq!(u32::from(passwords.written), number(class::ORDINARY));
        assert_eq!(u32::from(of(Pattern::Prefix(b"/usr/lib/systemd/")).written), 15);
    }

    #[test]
    fn a_path_of_two_components_holds_within_a_file_system() {
        let names = names_of(BUILT_IN);
        let Value(jobs) = names[&pair(b"etc", b"cron.d")];
        assert_eq!(jobs.flags, rule::WRITTEN | rule::TOP);
        let Value(table) = names[&pair(b"etc", b"crontab")];
        assert_eq!(table.flags, rule::WRITTEN | rule::TOP | rule::LAST);
        for part in [&b"/etc/cron"[..], b"/boot/", b"/usr/lib/systemd/"] {
            assert_eq!(top_of(Pattern::Prefix(part.to_vec().leak())), None);
        }
        // A pair means one of the two.
        for rule in BUILT_IN {
            if let Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) = rule.pattern
            {
                let Value(found) = names[&pair(outer, inner)];
                assert_eq!(found.flags & rule::TOP, 0, "{:?}", rule.pattern);
            }
        }
    }

    /// What the tables say of a key, when the operator has named these files besides.
    fn said(own: &[(Pattern, u32)], outer: &[u8], inner: &[u8]) -> ClassRule {
        let own = own.iter().map(|&(pattern, class)| Rule {
            pattern,
            class,
            private: false,
            proc: false,
        });
        let rules: Vec<Rule> = own.chain(BUILT_IN.iter().copied()).collect();
        let Value(rule) = names_of(&rules)[&pair(outer, inner)];
        rule
    }

    #[test]
    fn what_the_operator_names_takes_nothing_away_from_other_places() {
        // Files of a name, which directories have.
        for class in [class::SENSITIVE, class::ORDINARY] {
            let ssh = said(&[(Pattern::Name(b".ssh"), class)], b".ssh", b"");
            assert_eq!(ssh.class, class::SSH_KEY);
            assert_eq!(ssh.flags, rule::APPLIES | rule::PRIVATE | rule::PARENT);
        }
        // A pair that is the end of a path as well.
        let shadow =
            said(&[(Pattern::NameWithin(b"etc", b"shadow"), class::SENSITIVE)], b"etc", b"shadow");
        assert_eq!((shadow.class, shadow.flags), (class::SENSITIVE, rule::APPLIES | rule::LAST));
        // A name that means something in /proc only.
        let core = said(&[(Pattern::Name(b"kcore"), class::SENSITIVE)], b"kcore", b"");
        assert_eq!((core.class, core.flags & rule::PROC), (class::SENSITIVE, 0));
        // And a directory's content, of which one file is of another class.
        let netrc = said(&[(Pattern::Component(b".netrc"), class::SENSITIVE)], b".netrc", b"");
        assert_eq!((netrc.class, netrc.flags), (class::SENSITIVE, rule::APPLIES));
    }

    #[test]
    fn of_rules_about_the_same_the_first_counts() {
        let netrc = said(&[(Pattern::Name(b".netrc"), class::ORDINARY)], b".netrc", b"");
        assert_eq!((netrc.class, netrc.flags), (class::ORDINARY, rule::APPLIES | rule::LAST));
        // What is said of those that are written stays.
        let keys = (Pattern::NameWithin(b".ssh", b"authorized_keys"), class::SENSITIVE);
        let keys = said(&[keys], b".ssh", b"authorized_keys");
        assert_eq!((keys.class, keys.flags & rule::WRITTEN), (class::SENSITIVE, rule::WRITTEN));
    }

    #[test]
    fn built_in_rules_about_the_same_hold_in_the_same_places() {
        let before = |all: &[Rule]| {
            let limits = |(key, Value(rule)): (Names, Value)| (key, rule.flags & Value::LIMITS);
            names_of(all).into_iter().map(limits).collect::<std::collections::HashMap<_, _>>()
        };
        let all = before(BUILT_IN);
        for rule in BUILT_IN {
            for (key, limits) in before(&[*rule]) {
                let says = names_of(&[*rule])[&key].0.flags & (rule::APPLIES | rule::WRITTEN) != 0;
                assert!(!says || all[&key] == limits, "{:?}", rule.pattern);
            }
        }
    }

    #[test]
    fn a_whole_path_ends_in_its_key() {
        let (key, bits) = prefix_of(Pattern::Path(b"/etc/shadow")).unwrap();
        assert_eq!((&key[..12], bits), (&b"/etc/shadow\0"[..], 96));
        let (_, bits) = prefix_of(Pattern::Prefix(b"/etc/sudoers")).unwrap();
        assert_eq!(bits, 96);
    }

    #[test]
    fn a_rule_about_private_files_opens_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = directory.path().join("ssh_host_").into_os_string().into_encoded_bytes();
        for (name, mode) in [("ssh_host_key", 0o600), ("ssh_host_key.pub", 0o644)] {
            let path = directory.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let opened = |private| {
            let pattern = Pattern::Prefix(prefix.clone().leak());
            open_existing(&Rule { pattern, class: class::SSH_HOST_KEY, private, proc: false }).len()
        };
        assert_eq!((opened(true), opened(false)), (1, 2));
    }

    #[test]
    fn files_beginning_with_a_prefix_are_found_below_directories_too() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("sudoers.d")).unwrap();
        for name in ["sudoers", "sudoers.d/one", "other"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let mut found = beginning_with(root.join("sudoers").as_os_str().as_bytes());
        found.sort();
        assert_eq!(found, [root.join("sudoers"), root.join("sudoers.d/one")]);
    }
}
