//! The loader's command line, written by `sentinel run` or a unit file, not by people.

use std::{ffi::OsString, path::PathBuf};

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

/// The parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What to report on.
    pub scope: Scope,
}

impl Arguments {
    /// Parses what follows the program's name.
    ///
    /// # Errors
    /// A sentence that names the offending argument.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut scope = Scope::Everything;
        for argument in arguments {
            let text = argument.to_str().ok_or("an argument is not UTF-8")?;
            let given = match text.split_once('=') {
                Some(("--attach-pid", pid)) => match pid.parse() {
                    Ok(pid) if pid > 0 => Scope::Tree(pid),
                    _ => return Err(format!("--attach-pid={pid}: not a process id")),
                },
                Some(("--scope-cgroup", path)) => Scope::Cgroup(PathBuf::from(path)),
                _ => return Err(format!("unknown argument {text:?}")),
            };
            if scope != Scope::Everything {
                return Err("--attach-pid and --scope-cgroup exclude each other".into());
            }
            scope = given;
        }
        Ok(Self { scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn no_argument_means_everything() {
        assert_eq!(parse(&[]), Ok(Arguments { scope: Scope::Everything }));
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
}
