//! What the loader is told: by its command line, which `sentinel run` or a unit file writes, and by its
//! file of settings.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use sentinel_ipc::{
    file_class::Rule,
    settings::{self, Value},
};

use crate::sensitive_paths;

use crate::call_counts::Counting;

/// What to report on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every process but Sentinel's own.
    Everything,
    /// A process and what descends from it.
    Tree(u32),
    /// The processes in the subtree of a cgroup v2 directory.
    Cgroup(PathBuf),
}

impl fmt::Display for Scope {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => write!(to, "all processes but Sentinel's own"),
            Self::Tree(pid) => write!(to, "process {pid} and its descendants"),
            Self::Cgroup(path) => write!(to, "cgroup {}", path.display()),
        }
    }
}

/// Command line and settings together.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What to report on.
    pub scope: Scope,
    /// What the operator says of files.
    pub files: Vec<Rule>,
    /// Whether system calls can be counted.
    pub counting: Counting,
    /// Whether to do no more than look at command line and settings.
    pub check_only: bool,
}

impl Arguments {
    /// Parses what follows the program's name, and the file that it names; what both say, the command line
    /// decides.
    ///
    /// # Errors
    /// A sentence that names the offending argument, or file and line.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut scope, mut files, mut check_only) = (None, None, false);
        let (mut configured, mut counts) = (Configured::default(), false);
        for argument in arguments {
            let text = argument.to_str().ok_or("an argument is not UTF-8")?;
            let given = match text.split_once('=') {
                Some(("--attach-pid", pid)) => match pid.parse() {
                    Ok(pid) if pid > 0 => Scope::Tree(pid),
                    _ => return Err(format!("--attach-pid={pid}: not a process id")),
                },
                Some(("--scope-cgroup", path)) => Scope::Cgroup(PathBuf::from(path)),
                Some(("--config", path)) => {
                    configured = Configured::read(Path::new(path))?;
                    continue;
                }
                Some(("--sensitive-paths", path)) => {
                    files = Some(PathBuf::from(path));
                    continue;
                }
                None if text == "--check" => {
                    check_only = true;
                    continue;
                }
                None if text == "--count-calls" => {
                    counts = true;
                    continue;
                }
                _ => return Err(format!("unknown argument {text:?}")),
            };
            if scope.replace(given).is_some() {
                return Err("--attach-pid and --scope-cgroup exclude each other".into());
            }
        }
        let scope = scope.or(configured.scope).unwrap_or(Scope::Everything);
        let files = files.or(configured.sensitive_paths);
        let files = files.as_deref().map(sensitive_paths::read).transpose()?.unwrap_or_default();
        let counting =
            if counts || configured.count_calls { Counting::Possible } else { Counting::Never };
        Ok(Self { scope, files, counting, check_only })
    }
}

/// What the file of settings says.
#[derive(Default)]
struct Configured {
    scope: Option<Scope>,
    sensitive_paths: Option<PathBuf>,
    count_calls: bool,
}

impl Configured {
    fn read(file: &Path) -> Result<Self, String> {
        let mut found = Self::default();
        settings::read(file, |key, value| match (key, value) {
            ("scope-cgroup", Value::Text(path)) if Path::new(&path).is_absolute() => {
                found.scope = Some(Scope::Cgroup(path.into()));
                Ok(())
            }
            ("scope-cgroup", value) => Err(format!(
                "scope-cgroup = {value}: give the absolute path of a cgroup v2 directory in double quotes"
            )),
            ("sensitive-paths", Value::Text(path)) if Path::new(&path).is_absolute() => {
                found.sensitive_paths = Some(path.into());
                Ok(())
            }
            ("sensitive-paths", value) => Err(format!(
                "sensitive-paths = {value}: give the absolute path of a file in double quotes"
            )),
            ("count-calls", Value::Switch(counts)) => {
                found.count_calls = counts;
                Ok(())
            }
            ("count-calls", value) => Err(format!("count-calls = {value}: give true or false")),
            _ => Err(format!(
                "unknown key {key}; there are scope-cgroup, sensitive-paths and count-calls"
            )),
        })
        .map_err(|error| error.to_string())?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    fn with_file(text: &str, arguments: &[&str]) -> Result<Arguments, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("loader.toml");
        std::fs::write(&path, text).unwrap();
        let file = format!("--config={}", path.display());
        parse(&[&[file.as_str()], arguments].concat())
    }

    #[test]
    fn no_argument_means_everything() {
        let (scope, files, counting) = (Scope::Everything, Vec::new(), Counting::Never);
        let everything = Arguments { scope, files, counting, check_only: false };
        assert_eq!(parse(&[]), Ok(everything));
    }

    #[test]
    fn each_scope_is_understood() {
        assert_eq!(parse(&["--attach-pid=17"]).unwrap().scope, Scope::Tree(17));
        assert_eq!(
            parse(&["--scope-cgroup=/sys/fs/cgroup/a=b"]).unwrap().scope,
            Scope::Cgroup("/sys/fs/cgroup/a=b".into())
        );
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for bad in ["--attach-pid=0", "--attach-pid=-1", "--attach-pid=x", "--frob", "17"] {
            assert!(parse(&[bad]).unwrap_err().contains(bad.rsplit('=').next().unwrap()), "{bad}");
        }
        assert!(parse(&["--attach-pid=1", "--scope-cgroup=/x"]).is_err());
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let text = "scope-cgroup = \"/a\"";
        let scope = |arguments: &[&str]| with_file(text, arguments).unwrap().scope;
        assert_eq!(scope(&[]), Scope::Cgroup("/a".into()));
        assert_eq!(scope(&["--scope-cgroup=/b"]), Scope::Cgroup("/b".into()));
        assert!(with_file(text, &["--check"]).unwrap().check_only);
    }

    #[test]
    fn sensitive_paths_are_read_from_the_file_that_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        std::fs::write(&one, "/srv/a").unwrap();
        std::fs::write(&two, "/srv/a\n!b").unwrap();
        let argument = format!("--sensitive-paths={}", two.display());
        let text = format!("sensitive-paths = \"{}\"", one.display());
        assert_eq!(with_file(&text, &[]).unwrap().files.len(), 1);
        assert_eq!(with_file(&text, &[&argument]).unwrap().files.len(), 2);
        assert!(
            parse(&["--sensitive-paths=/nonexistent/x"]).unwrap_err().contains("/nonexistent/x")
        );
    }

    #[test]
    fn calls_can_be_counted_if_either_says_so() {
        let counting =
            |text: &str, arguments: &[&str]| with_file(text, arguments).unwrap().counting;
        assert_eq!(counting("count-calls = false", &[]), Counting::Never);
        assert_eq!(counting("count-calls = true", &[]), Counting::Possible);
        assert_eq!(counting("", &["--count-calls"]), Counting::Possible);
    }

    #[test]
    fn a_bad_file_is_refused_with_its_line() {
        for (text, words) in [
            ("\nscope = 1", "loader.toml:2: unknown key scope"),
            ("scope-cgroup = \"a\"", "loader.toml:1: scope-cgroup = \"a\": give the absolute"),
            ("scope-cgroup = true", "loader.toml:1: scope-cgroup = true"),
            (
                "sensitive-paths = \"a\"",
                "loader.toml:1: sensitive-paths = \"a\": give the absolute",
            ),
            ("sensitive-paths = \"/nonexistent/x\"", "/nonexistent/x"),
            ("count-calls = \"yes\"", "loader.toml:1: count-calls = \"yes\": give true or false"),
        ] {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(parse(&["--config=/nonexistent/x"]).unwrap_err().contains("/nonexistent/x"));
    }

    #[test]
    fn the_shipped_file_says_what_holds_without_it() {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/config/loader.toml");
        assert_eq!(parse(&[&format!("--config={shipped}")]), parse(&[]));
        let text = std::fs::read_to_string(shipped).unwrap();
        assert!(text.contains("\n#scope-cgroup = ") && text.contains("\n#count-calls = false"));
    }
}
