//! What kind of program an executable is: a shell, an interpreter, or something else.

/// What kind of program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Runs commands that it reads.
    Shell {
        /// Whether it was given a script file to run.
        has_script: bool,
    },
    /// Runs code of a language.
    Interpreter {
        /// Whether it reads its code from its input: no script, module or code was given.
        reads_input: bool,
    },
    /// Anything else.
    Other,
}

/// Names of shells, as installed by their packages.
const SHELLS: &[&str] = &[
    "ash",
    "bash",
    "csh",
    "dash",
    "elvish",
    "es",
    "fish",
    "ksh",
    "ksh93",
    "lksh",
    "loksh",
    "mksh",
    "nu",
    "oksh",
    "osh",
    "pdksh",
    "posh",
    "pwsh",
    "rbash",
    "rc",
    "rksh",
    "rzsh",
    "sash",
    "sh",
    "static-sh",
    "tcsh",
    "xonsh",
    "yash",
    "ysh",
    "zsh",
];

/// Programs that are many: the name they were called by decides.
const MULTI_CALL: &[&str] = &["busybox", "toybox"];

/// Interpreters, without version suffix, and the options after which code or a module's name
/// stands.
const INTERPRETERS: &[(&str, &[u8])] = &[
    ("expect", b"c"),
    ("guile", b"ce"),
    ("lua", b"e"),
    ("luajit", b"e"),
    ("node", b"ep"),
    ("nodejs", b"ep"),
    ("perl", b"eE"),
    ("php", b"rfBRFE"),
    ("pypy", b"cm"),
    ("python", b"cm"),
    ("ruby", b"e"),
    ("tclsh", b""),
    ("wish", b""),
];

impl Program {
    /// Judges by the executable's kernel-resolved path and its arguments; `arguments` includes
    /// argv[0], which counts for multi-call programs only.
    pub fn of(path: &[u8], arguments: &[Vec<u8>]) -> Self {
        let mut name = base_name(path);
        let mut arguments = arguments.iter().map(Vec::as_slice);
        let called = arguments.next().map(base_name).unwrap_or_default();
        if is_listed(MULTI_CALL, name) {
            let called = called.strip_prefix(b"-").unwrap_or(called);
            name = if is_listed(MULTI_CALL, called) {
                arguments.next().unwrap_or_default()
            } else {
                called
            };
        }
        if is_listed(SHELLS, without_version(name)) || is_listed(SHELLS, name) {
            return Self::Shell { has_script: shell_has_script(arguments) };
        }
        let family = without_version(name);
        match INTERPRETERS.iter().find(|(listed, _)| listed.as_bytes() == family) {
            Some((_, code_options)) => {
                Self::Interpreter { reads_input: reads_input(arguments, code_options) }
            }
            None => Self::Other,
        }
    }
}

fn is_listed(list: &[&str], name: &[u8]) -> bool {
    list.iter().any(|listed| listed.as_bytes() == name)
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// "python3.11" → "python", "perl5.36.0" → "perl", "zsh-5.9" → "zsh".
fn without_version(name: &[u8]) -> &[u8] {
    let end = name
        .iter()
        .rposition(|byte| !byte.is_ascii_digit() && !b".-".contains(byte))
        .map_or(0, |last| last + 1);
    name.get(..end).unwrap_or_default()
}

/// sh(1): options come first; `-c` takes the next argument as commands, `-s` reads the input, `-o`
/// and `-O` take a name.
fn shell_has_script<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> bool {
    while let Some(argument) = arguments.next() {
        match argument {
            b"--" => return arguments.next().is_some(),
            b"-" => return arguments.next().is_some(),
            b"--rcfile" | b"--init-file" => {
                arguments.next();
            }
            [b'-', b'-', ..] => {}
            [b'-' | b'+', options @ ..] => {
                if options.contains(&b'c') || options.contains(&b's') {
                    return false;
                }
                if options.contains(&b'o') || options.contains(&b'O') {
                    arguments.next();
                }
            }
            _ => return true,
        }
    }
    false
}

fn reads_input<'a>(arguments: impl Iterator<Item = &'a [u8]>, code_options: &[u8]) -> bool {
    for argument in arguments {
        match argument {
            b"-" => return true,
            b"--interactive" => return true,
            b"--eval" | b"--print" | b"--run" => return false,
            [b'-', b'-', ..] => {}
            [b'-', options @ ..] => {
                if options.iter().any(|option| code_options.contains(option)) {
                    return false;
                }
                if options == b"i" {
                    return true;
                }
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, arguments: &[&str]) -> Program {
        let arguments: Vec<Vec<u8>> =
            arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect();
        Program::of(path.as_bytes(), &arguments)
    }

    #[test]
    fn shells_are_told_by_their_file_not_by_their_argv() {
        let plain = Program::Shell { has_script: false };
        assert_eq!(of("/usr/bin/dash", &["make"]), plain);
        assert_eq!(of("/usr/bin/bash", &["-bash"]), plain);
        assert_eq!(of("/bin/zsh-5.9", &["zsh"]), plain);
        assert_eq!(of("/bin/ksh93", &["ksh"]), plain);
        assert_eq!(of("/usr/bin/make", &["bash"]), Program::Other);
        assert_eq!(of("/usr/bin/ssh", &["ssh"]), Program::Other);
    }

    #[test]
    fn a_multi_call_program_is_what_it_was_called() {
        let plain = Program::Shell { has_script: false };
        assert_eq!(of("/bin/busybox", &["sh"]), plain);
        assert_eq!(of("/bin/busybox", &["-ash", "-i"]), plain);
        assert_eq!(of("/bin/busybox", &["busybox", "sh", "-i"]), plain);
        assert_eq!(of("/bin/busybox", &["wget"]), Program::Other);
        assert_eq!(of("/bin/busybox", &["busybox"]), Program::Other);
    }

    #[test]
    fn a_script_is_told_from_commands() {
        let script =
            |arguments: &[&str]| of("/bin/bash", arguments) == Program::Shell { has_script: true };
        assert!(script(&["bash", "handler.sh"]));
        assert!(script(&["bash", "-eu", "-o", "pipefail", "handler.sh"]));
        assert!(script(&["bash", "--norc", "--", "x"]));
        assert!(!script(&["bash"]));
        assert!(!script(&["bash", "-i"]));
        assert!(!script(&["bash", "-c", "id", "name"]));
        assert!(!script(&["bash", "-ic", "id"]));
        assert!(!script(&["bash", "-o", "pipefail"]));
        assert!(!script(&["bash", "--rcfile", "x", "-i"]));
    }

    #[test]
    fn an_interpreter_reads_its_input_when_given_nothing_else() {
        let interactive = |path: &str, arguments: &[&str]| {
            of(path, arguments) == Program::Interpreter { reads_input: true }
        };
        assert!(interactive("/usr/bin/python3.11", &["python3"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-i"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-q", "-"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "-c", "pass"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "-mhttp.server"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "server.py"]));
        assert!(interactive("/usr/bin/perl", &["perl"]));
        assert!(!interactive("/usr/bin/perl", &["perl", "-we", "1"]));
        assert!(!interactive("/usr/bin/node", &["node", "-e", "1"]));
        assert_eq!(of("/usr/bin/perlbug", &["perlbug"]), Program::Other);
    }
}
