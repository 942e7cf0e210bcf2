//! What a compiled policy allows, read with setools.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use sentinel_tests::nspawn::text;

/// What may be done, by class and type (or attribute) of the object.
pub type Permissions = BTreeMap<(String, String), BTreeSet<String>>;

/// Who may do what to what.
struct Rule {
    /// A type or attribute.
    source: String,
    /// A type or attribute.
    target: String,
    class: String,
    permissions: BTreeSet<String>,
}

/// A policy as it is unless an administrator changes a boolean.
pub struct Policy {
    /// Those in force.
    allows: Vec<Rule>,
    /// Those behind booleans that are off, as text.
    pub off: Vec<String>,
    /// The attributes of each type.
    attributes: BTreeMap<String, BTreeSet<String>>,
    /// What `seinfo` says of permissive domains.
    pub permissive: String,
}

impl Policy {
    /// Reads the policy in `file`.
    pub fn read(file: &Path) -> Self {
        let told = |tool: &str, arguments: &[&str]| {
            let run = Command::new(tool).arg(file).args(arguments).output().unwrap();
            assert!(run.status.success(), "{tool} {arguments:?}: {}", text(&run.stderr));
            text(&run.stdout)
        };
        let booleans = told("seinfo", &["-x", "--bool"]);
        let on = |line: &str| {
            line.trim().strip_prefix("bool ")?.strip_suffix(" true;").map(str::to_owned)
        };
        let on: BTreeSet<String> = booleans.lines().filter_map(on).collect();
        assert!(!on.is_empty(), "{booleans}");
        let is_in_force = |rule: &&str| {
            let Some((_, condition)) = rule.split_once("; [ ") else { return true };
            let (names, side) = condition.split_once(" ]:").unwrap();
            names.split(" && ").all(|name| on.contains(name)) == (side == "True")
        };

        let rules = told("sesearch", &["--allow"]);
        let rules = rules.lines().filter(|line| line.starts_with("allow "));
        let (allows, off): (Vec<_>, Vec<_>) = rules.partition(is_in_force);
        let types = told("seinfo", &["-x", "--type"]);
        let attributes = types.lines().filter_map(|line| {
            let (name, attributes) = line.trim().strip_prefix("type ")?.split_once([',', ';'])?;
            let words = attributes.split([',', ' ', ';']).filter(|word| !word.is_empty());
            Some((name.to_owned(), words.map(str::to_owned).collect()))
        });
        Self {
            allows: allows.into_iter().map(Rule::of).collect(),
            off: off.into_iter().map(str::to_owned).collect(),
            attributes: attributes.collect(),
            permissive: told("seinfo", &["-x", "--permissive"]),
        }
    }

    /// The attributes of a type.
    pub fn attributes(&self, name: &str) -> &BTreeSet<String> {
        self.attributes.get(name).unwrap_or_else(|| panic!("no type {name}"))
    }

    fn is(&self, name: &str, type_or_attribute: &str) -> bool {
        name == type_or_attribute || self.attributes(name).contains(type_or_attribute)
    }

    /// Who, types and attributes, may do any of `permissions` to objects of this type and class.
    pub fn sources(&self, target: &str, class: &str, permissions: &[&str]) -> BTreeSet<String> {
        let rules = self.allows.iter().filter(|rule| {
            rule.class == class
                && permissions.iter().any(|permission| rule.permissions.contains(*permission))
                && self.is(target, &rule.target)
        });
        rules.map(|rule| rule.source.clone()).collect()
    }

    /// What a domain may do.
    pub fn permissions(&self, source: &str) -> Permissions {
        let mut found = Permissions::new();
        for rule in self.allows.iter().filter(|rule| self.is(source, &rule.source)) {
            let key = (rule.class.clone(), rule.target.clone());
            found.entry(key).or_default().extend(rule.permissions.iter().cloned());
        }
        found
    }
}

impl Rule {
    /// `allow SOURCE TARGET:CLASS { PERMISSION… };` or with one permission; a condition may follow.
    fn of(line: &str) -> Self {
        let rule = line.split(';').next().unwrap();
        let words: Vec<_> =
            rule.split([' ', ':', '{', '}']).filter(|word| !word.is_empty()).collect();
        let [_, source, target, class, permissions @ ..] = &words[..] else { panic!("{line}") };
        let [source, target, class] = [source, target, class].map(|word| (*word).to_owned());
        let permissions = permissions.iter().map(|word| (*word).to_owned()).collect();
        Self { source, target, class, permissions }
    }
}

/// What may be done to objects of a class, whatever their type.
pub fn of_class(permissions: &Permissions, class: &str) -> BTreeSet<String> {
    let of_class = permissions.iter().filter(|((found, _), _)| found == class);
    of_class.flat_map(|(_, allowed)| allowed.clone()).collect()
}
