//! The class of a file by its path alone: for calls of which the kernel does not know the object (before
//! 6.13, or where the object is gone), so that only the caller's word is left.
//!
//! `.`, `..` and repeated slashes are resolved in the text; links are not. Rules about private files
//! do not apply, as nothing is known of the file's permissions.

use std::{collections::HashMap, sync::LazyLock};

use sentinel_ipc::file_class::{BUILT_IN, Pattern, Rule, WRITES, class, number};

type Name = &'static [u8];

/// The built-in rules by what they look at.
#[derive(Default)]
struct Index {
    pairs: HashMap<(Name, Name), Vec<&'static Rule>>,
    names: HashMap<Name, Vec<&'static Rule>>,
    /// The longest first.
    suffixes: Vec<(Name, &'static Rule)>,
    /// By the first component; a whole path before a front, the longest first.
    fronts: HashMap<Vec<u8>, Vec<&'static Rule>>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index::default();
    for rule in BUILT_IN.iter().filter(|rule| !rule.private) {
        match rule.pattern {
            Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) => {
                index.pairs.entry((outer, inner)).or_default().push(rule);
            }
            Pattern::Component(name) | Pattern::Name(name) => {
                index.names.entry(name).or_default().push(rule);
            }
            Pattern::Suffix(suffix) => index.suffixes.push((suffix, rule)),
            Pattern::Path(path) | Pattern::Prefix(path) => {
                let first = path.split(|&byte| byte == b'/').nth(1).unwrap_or_default();
                index.fronts.entry(first.to_vec()).or_default().push(rule);
            }
        }
    }
    index.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    let length = |rule: &&Rule| match rule.pattern {
        Pattern::Path(path) => (path.len(), true),
        Pattern::Prefix(path) => (path.len(), false),
        _ => (0, false),
    };
    for rules in index.fronts.values_mut() {
        rules.sort_by_key(|rule| std::cmp::Reverse(length(rule)));
    }
    index
});

/// The first rule that applies, for each of the two kinds of classes.
#[derive(Default)]
struct Found {
    always: Option<u32>,
    written: Option<u32>,
}

impl Found {
    fn ask<'a>(&mut self, rules: impl IntoIterator<Item = &'a &'static Rule>, in_proc: bool) {
        for rule in rules.into_iter().filter(|rule| in_proc || !rule.proc) {
            let of_kind =
                if rule.class & WRITES != 0 { &mut self.written } else { &mut self.always };
            of_kind.get_or_insert(rule.class);
        }
    }
}

/// The class of the file at `path`, were it written to; 0 if it has none, or the path is not whole.
pub(super) fn of(path: &[u8]) -> u32 {
    let Some(path) = resolved(path) else { return 0 };
    let in_proc = path.first() == Some(&&b"proc"[..]);
    let mut found = Found::default();
    for (place, name) in path.iter().enumerate().rev() {
        let is_last = place + 1 == path.len();
        let of_pair = |rule: &&&Rule| is_last || matches!(rule.pattern, Pattern::Within(..));
        let of_name = |rule: &&&Rule| is_last || matches!(rule.pattern, Pattern::Component(_));
        let outer = place.checked_sub(1).and_then(|above| path.get(above));
        let pair = outer.and_then(|outer| INDEX.pairs.get(&(*outer, *name)));
        found.ask(pair.into_iter().flatten().filter(of_pair), in_proc);
        found.ask(INDEX.names.get(name).into_iter().flatten().filter(of_name), in_proc);
    }
    let Some((last, first)) = path.last().zip(path.first()) else { return 0 };
    let suffixes = INDEX.suffixes.iter().filter(|(suffix, _)| last.ends_with(suffix));
    found.ask(suffixes.map(|(_, rule)| rule), in_proc);
    let whole: Vec<u8> = path.iter().flat_map(|name| [b"/", *name].concat()).collect();
    let fits = |rule: &&&Rule| match rule.pattern {
        Pattern::Path(path) => path == whole,
        Pattern::Prefix(path) => whole.starts_with(path),
        _ => false,
    };
    found.ask(INDEX.fronts.get(*first).into_iter().flatten().filter(fits), in_proc);
    let is_meant = |class: &u32| number(*class) != number(class::ORDINARY);
    found.written.filter(is_meant).or(found.always.filter(is_meant)).unwrap_or(0)
}

/// The components of a whole path, as far as its text tells.
fn resolved(path: &[u8]) -> Option<Vec<&[u8]>> {
    let mut components = Vec::new();
    for name in path.strip_prefix(b"/")?.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            _ => components.push(name),
        }
    }
    Some(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_of_the_classes_that_their_rules_say() {
        for (path, class) in [
            ("/etc/cron.d/x", class::SCHEDULED_TASK),
            ("/etc//cron.d/./x", class::SCHEDULED_TASK),
            ("/tmp/../etc/crontab", class::SCHEDULED_TASK),
            ("/etc/shadow", class::PASSWORD_HASHES),
            ("/etc/shadow2", 0),
            ("/root/.bash_history", class::SHELL_HISTORY),
            ("/home/u/.ssh/authorized_keys", class::AUTHORIZED_KEYS),
            ("/home/u/.ssh/authorized_keys/x", 0),
            ("/home/u/.ssh/id_rsa", 0),
            ("/var/log/audit/audit.log", class::LOG),
            ("/var/log/wtmp", class::LOG),
            ("/srv/wtmp", 0),
            ("/etc/security/opasswd", class::PASSWORD_HASHES),
            ("/etc/security/limits.conf", class::AUTHENTICATION),
            ("/usr/lib/systemd/system/x.service", class::SERVICE_UNIT),
            ("/usr/lib/x.so", class::SYSTEM_PROGRAM),
            ("/proc/sys/kernel/core_pattern", class::KERNEL_TUNABLE),
            ("/srv/sys/kernel/core_pattern", 0),
            ("etc/cron.d/x", 0),
            ("/", 0),
            ("", 0),
        ] {
            assert_eq!(of(path.as_bytes()), class, "{path}");
        }
    }
}
