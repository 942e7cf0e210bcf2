//! What the tables and filters hold of the rules.

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
        names[&pair(name, b"")].0.flags & (rule::FRONT | rule::FRONT_PRIVATE | rule::FRONT_WRITTEN)
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
        if let Pattern::Within(outer, inner) | Pattern::NameWithin(outer, inner) = rule.pattern {
            let Value(found) = names[&pair(outer, inner)];
            assert_eq!(found.flags & rule::TOP, 0, "{:?}", rule.pattern);
        }
    }
}

/// What the tables say of a key, when the operator has named these files besides.
fn said(own: &[(Pattern, u32)], outer: &[u8], inner: &[u8]) -> ClassRule {
    let own =
        own.iter().map(|&(pattern, class)| Rule { pattern, class, private: false, proc: false });
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
