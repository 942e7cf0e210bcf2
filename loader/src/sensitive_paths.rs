//! Files that the operator holds to be sensitive, or not: one pattern a line.
//!
//! | line | what it means |
//! |---|---|
//! | `/srv/app/token` | the file at this path |
//! | `/srv/app/keys/` | the files beneath this directory |
//! | `token.json` | files of this name, wherever they are |
//! | `app/token.json` | files of this name in a directory of that name |
//! | `app/` | the files beneath directories of this name |
//! | `*.secret` | files whose names end like this |
//! | `!PATTERN` | what is not sensitive, even if it is by another pattern |
//!
//! Blank lines, and lines that begin with `#`, say nothing.

use std::path::Path;

use sentinel_ipc::{
    file_class::{Pattern, Rule, class, fits},
    small_file,
};

/// More than any sensible file holds.
const MAX_BYTES: u64 = 64 << 10;
/// Patterns that the kernel's tables have room for beside those that are built in.
const MAX_PATTERNS: usize = 256;

/// Reads the patterns in `file`. They are never freed: rules live as long as the loader.
///
/// # Errors
/// A sentence that names file and line.
pub fn read(file: &Path) -> Result<Vec<Rule>, String> {
    let bytes = small_file::read(file, MAX_BYTES).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    let text: &'static str = Box::leak(text.into_boxed_str());
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let rules: Result<Vec<Rule>, String> = lines
        .map(|(number, line)| {
            rule(line).map_err(|why| format!("{}:{number}: {line}: {why}", file.display()))
        })
        .collect();
    let rules = rules?;
    if rules.len() > MAX_PATTERNS {
        let (file, count) = (file.display(), rules.len());
        return Err(format!("{file}: {count} patterns; give at most {MAX_PATTERNS}"));
    }
    Ok(rules)
}

fn rule(line: &'static str) -> Result<Rule, &'static str> {
    let (line, class) = match line.strip_prefix('!') {
        Some(line) => (line, class::ORDINARY),
        None => (line, class::SENSITIVE),
    };
    let pattern = pattern(line)?;
    if !fits(pattern) {
        return Err("too long, or a suffix of less than four bytes");
    }
    Ok(Rule { pattern, class, private: false, proc: false })
}

fn pattern(line: &'static str) -> Result<Pattern, &'static str> {
    const UNKNOWN: &str = "not understood; give a /path, a /directory/, a NAME, DIRECTORY/NAME, DIRECTORY/ or *.SUFFIX";
    if let Some(suffix) = line.strip_prefix('*') {
        let is_plain = suffix.starts_with('.') && !suffix.contains(['*', '/']);
        return if is_plain { Ok(Pattern::Suffix(suffix.as_bytes())) } else { Err(UNKNOWN) };
    }
    if line.contains(['*', '?', '[']) || line.split('/').any(|name| name == "." || name == "..") {
        return Err(UNKNOWN);
    }
    let bytes = line.as_bytes();
    if line.starts_with('/') {
        if line.contains("//") || line == "/" {
            return Err(UNKNOWN);
        }
        return Ok(if line.ends_with('/') { Pattern::Prefix(bytes) } else { Pattern::Path(bytes) });
    }
    match *line.split('/').map(str::as_bytes).collect::<Vec<_>>().as_slice() {
        [name] if !name.is_empty() => Ok(Pattern::Name(name)),
        [directory, b""] if !directory.is_empty() => Ok(Pattern::Component(directory)),
        [directory, name] if !directory.is_empty() => Ok(Pattern::NameWithin(directory, name)),
        _ => Err(UNKNOWN),
    }
}

/// `built_in`, and before it `own`, which say it instead where they are about the same.
pub fn before(own: &[Rule], built_in: &[Rule]) -> Vec<Rule> {
    let is_said = |rule: &&Rule| {
        let is_about_writing = rule.class & sentinel_ipc::file_class::WRITES != 0;
        is_about_writing || own.iter().all(|one| one.pattern != rule.pattern)
    };
    own.iter().chain(built_in.iter().filter(is_said)).copied().collect()
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::file_class::BUILT_IN;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Rule>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensitive-paths");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn each_kind_of_line_is_understood() {
        let text =
            "# ours\n\n/srv/token\n /srv/keys/ \ntoken.json\napp/token.json\napp/\n*.secret\n";
        let patterns: Vec<Pattern> = parse(text).unwrap().iter().map(|it| it.pattern).collect();
        let expected = [
            Pattern::Path(b"/srv/token"),
            Pattern::Prefix(b"/srv/keys/"),
            Pattern::Name(b"token.json"),
            Pattern::NameWithin(b"app", b"token.json"),
            Pattern::Component(b"app"),
            Pattern::Suffix(b".secret"),
        ];
        assert_eq!(patterns, expected);
        let classes = |text| parse(text).unwrap().iter().map(|it| it.class).collect::<Vec<_>>();
        assert_eq!(classes("a\n!b"), [class::SENSITIVE, class::ORDINARY]);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for line in ["/srv/*", "*secret", "*.a/b", "a/b/c", "/", "//a", "../a", "!", "/a//b", "*.k"]
        {
            let error = parse(&format!("# x\n{line}\n")).unwrap_err();
            assert!(error.contains(&format!("sensitive-paths:2: {line}: ")), "{error}");
        }
        let long = format!("/{}", "x".repeat(300));
        assert!(parse(&long).unwrap_err().contains("too long"));
        assert!(parse(&"a\n".repeat(257)).unwrap_err().contains("257 patterns"));
        assert!(read(Path::new("/nonexistent/x")).unwrap_err().contains("/nonexistent/x"));
    }

    #[test]
    fn an_own_pattern_goes_before_the_same_that_is_built_in() {
        let own = parse("!/etc/shadow\n").unwrap();
        let all = before(&own, BUILT_IN);
        let shadow = |rule: &&Rule| rule.pattern == Pattern::Path(b"/etc/shadow");
        let classes: Vec<u32> = all.iter().filter(shadow).map(|rule| rule.class).collect();
        assert_eq!((all.len(), classes), (BUILT_IN.len(), vec![class::ORDINARY]));
        let written = before(&parse("/etc/passwd").unwrap(), BUILT_IN);
        assert_eq!(written.len(), BUILT_IN.len() + 1, "what it is when it is written stays");
    }
}
