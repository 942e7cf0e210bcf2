//! What exceptions have to do with an alert: whether one would have kept it from being raised, and how one
//! could.

use super::lines::{Above, Line};
use crate::{
    escape::harmless,
    patterns::ABOUT_SECRETS,
    program::is_name_of_one,
    redaction::REDACTED,
    rules::{RuleSet, rule::Allowed},
};

/// Longest glob, bytes.
const MAX_ARGV: usize = 127;
/// What may have stood where something was taken out: only a glob that takes anything there takes this.
const ANYTHING: &str = "a b/c";

/// A program as an exception can name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Program {
    pub(super) exe: String,
    pub(super) parent: Option<String>,
    /// What a shell or interpreter runs, which is nobody without that.
    pub(super) script: Option<String>,
    /// The same where it is no script.
    pub(super) argv: Option<String>,
}

/// Why no exception can name a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nameless {
    /// None has an effect, or only one that means too many.
    Unknown,
    /// Its arguments alone tell who it is, and something was taken out of them.
    Redacted,
}

/// Whether the rules as they are now would raise an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// They would not: nobody looks for it.
    Off,
    /// They would not: an exception is about the program.
    Explained,
    /// An exception is about the program, and asks for what no log tells.
    Undecided,
    /// They would.
    Unexplained,
}

/// How the rules as they are now stand to `line`.
pub(super) fn standing(line: &Line, rules: &RuleSet) -> Standing {
    if rules.is_off(&line.pattern_name) {
        return Standing::Off;
    }
    let (Some(exe), true) = (line.exe.as_deref(), line.exe_trusted) else {
        return Standing::Unexplained;
    };
    let is_about = |allowed: &&Allowed| is_about(allowed, exe, line);
    let all = || rules.allowed(&line.pattern_name).filter(is_about);
    let script = line.script.as_deref().map(str::as_bytes);
    let is_client = || {
        let own = rules.clients.iter().filter(|written| !written.is_embedded);
        ABOUT_SECRETS.contains(&line.pattern_name.as_str())
            && own.map(|written| &written.client).any(|it| it.is_run(exe.as_bytes(), script))
    };
    match () {
        () if all().any(|allowed| allowed.conditions.is_empty()) => Standing::Explained,
        () if all().next().is_some() || is_client() => Standing::Undecided,
        () => Standing::Unexplained,
    }
}

/// Whether `allowed` is about the program of `line`, which is `exe`.
fn is_about(allowed: &Allowed, exe: &str, line: &Line) -> bool {
    let is_one = |name: Option<&str>, names: &[String]| {
        names.is_empty() || name.is_some_and(|name| names.iter().any(|one| one == name))
    };
    let command_line = line.cmdline.as_deref().unwrap_or_default().replace(REDACTED, ANYTHING);
    allowed.exe.iter().any(|one| one == exe)
        && is_one(parent(line), &allowed.parent)
        && is_one(line.script.as_deref(), &allowed.script)
        && allowed.argv.as_ref().is_none_or(|argv| argv.matches(command_line.as_bytes()))
}

/// The parent's program, if an exception may know it by that.
fn parent(line: &Line) -> Option<&str> {
    let Above { exe, exe_trusted } = line.ancestors.first()?;
    exe.as_deref().filter(|_| *exe_trusted)
}

/// How an exception can name who did it, which then explains it.
///
/// # Errors
/// When none can.
pub(super) fn nameable(line: &Line) -> Result<Program, Nameless> {
    let plain = |path: &str| is_plain(path).then(|| path.to_owned());
    let exe = line.exe.as_deref().filter(|_| line.exe_trusted).and_then(plain);
    let exe = exe.ok_or(Nameless::Unknown)?;
    let (parent, script) = (parent(line).and_then(plain), line.script.as_deref().and_then(plain));
    let name = exe.rsplit('/').next().unwrap_or_default();
    if !is_name_of_one(name.as_bytes()) {
        return Ok(Program { exe, parent, script: None, argv: None });
    }
    if script.is_some() {
        return Ok(Program { exe, parent, script, argv: None });
    }
    let argv = line.cmdline.as_deref().filter(|_| parent.is_some()).ok_or(Nameless::Unknown)?;
    if argv.contains(REDACTED) {
        return Err(Nameless::Redacted);
    }
    if argv.len() > MAX_ARGV || !is_harmless(argv) {
        return Err(Nameless::Unknown);
    }
    // A glob knows no escape: `?` is any one byte.
    Ok(Program { exe, parent, script: None, argv: Some(argv.replace('*', "?")) })
}

/// Whether it is a path as it was, and not one with something escaped, taken out or deleted.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && is_harmless(path)
        && !path.contains('\\')
        && !path.contains(REDACTED)
        && !path.ends_with(" (deleted)")
}

/// Whether nothing in it should have been escaped: else it is not Sentinel who wrote it.
fn is_harmless(text: &str) -> bool {
    harmless(text) == text
}
