//! What kind of program an executable is: a shell, an interpreter, or something else.

mod known;

pub use known::KnownPrograms;

use crate::event::Arguments;

/// What kind of program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Runs commands that it reads.
    Shell {
        /// The descriptor from which it reads its commands: 0 if no script and no `-c` was given, or
        /// what was named as its script. `None` if that is a file, or they were given.
        reads: Option<u32>,
    },
    /// Runs code of a language.
    Interpreter {
        /// The same of its code: 0 if no script, module or code was given.
        reads: Option<u32>,
    },
    /// Anything else.
    Other,
}

/// Whether it is the name of a shell, as installed by its package.
#[rustfmt::skip]
fn is_shell(name: &[u8]) -> bool {
    matches!(
        name,
        b"ash" | b"bash" | b"bash-static" | b"csh" | b"dash" | b"elvish" | b"es" | b"fish" | b"ksh" | b"ksh93"
            | b"lksh" | b"loksh" | b"mksh" | b"nu" | b"oksh" | b"osh" | b"pdksh" | b"posh" | b"pwsh" | b"rbash"
            | b"rc" | b"rksh" | b"rzsh" | b"sash" | b"sh" | b"static-sh" | b"tcsh" | b"xonsh" | b"yash" | b"ysh"
            | b"zsh"
    )
}

/// Programs that are many: the name they were called by decides.
const MULTI_CALL: [&[u8]; 2] = [b"busybox", b"toybox"];

/// An interpreter's options, as its manual page has them.
struct Options {
    /// Letters of options that give code or name a module to run.
    code: &'static [u8],
    /// Letters of options that take a value.
    value: &'static [u8],
}

/// Those of the interpreter of this name, without version suffix.
fn options(name: &[u8]) -> Option<Options> {
    let (code, value): (&[u8], &[u8]) = match name {
        b"expect" => (b"c", b""),
        b"guile" => (b"ce", b"Llx"),
        b"lua" | b"luajit" => (b"e", b"l"),
        b"node" | b"nodejs" => (b"ep", b"r"),
        b"perl" => (b"eE", b"I"),
        b"php" => (b"rfBRFE", b"cdz"),
        b"pypy" | b"python" => (b"cm", b"WX"),
        b"ruby" => (b"e", b"IrCE"),
        b"tclsh" | b"wish" => (b"", b""),
        _ => return None,
    };
    Some(Options { code, value })
}

impl Program {
    /// Judges by the executable's kernel-resolved path and its arguments; `arguments` includes
    /// argv[0], which counts for multi-call programs only.
    pub fn of(path: &[u8], arguments: &Arguments) -> Self {
        let mut name = base_name(path);
        let mut arguments = arguments.iter();
        let mut called = arguments.next().unwrap_or_default();
        if name.starts_with(b"ld-linux") || name.starts_with(b"ld-musl") {
            // The dynamic linker, run as a program, runs the program that is its first argument.
            let program = arguments.find(|argument| !argument.starts_with(b"-"));
            name = program.map(base_name).unwrap_or_default();
            called = name;
        }
        if MULTI_CALL.contains(&name) {
            let called = base_name(called);
            let called = called.strip_prefix(b"-").unwrap_or(called);
            name = if MULTI_CALL.contains(&called) {
                arguments.next().unwrap_or_default()
            } else {
                called
            };
        }
        if is_shell(without_version(name)) || is_shell(name) {
            return Self::Shell { reads: shell_reads(arguments) };
        }
        let family = without_version(name);
        match options(family) {
            Some(options) => Self::Interpreter { reads: interpreter_reads(arguments, &options) },
            None => Self::Other,
        }
    }
}

impl Program {
    /// The same where the arguments are not known: then nothing says that it takes its commands from its
    /// input.
    pub fn with_unknown_arguments(self) -> Self {
        match self {
            Self::Shell { .. } => Self::Shell { reads: None },
            Self::Interpreter { .. } => Self::Interpreter { reads: None },
            Self::Other => Self::Other,
        }
    }

    /// The descriptor from which it takes its commands or its code, if from one.
    pub fn reads(self) -> Option<u32> {
        match self {
            Self::Shell { reads } | Self::Interpreter { reads } => reads,
            Self::Other => None,
        }
    }

    /// Whether it takes its commands or its code from its input.
    pub fn reads_input(self) -> bool {
        self.reads() == Some(0)
    }

    /// Whether it is a shell.
    pub fn is_shell(self) -> bool {
        matches!(self, Self::Shell { .. })
    }
}

/// Whether a program of this name is a shell, an interpreter, or many programs and these among them.
pub(crate) fn is_name_of_one(name: &[u8]) -> bool {
    let family = without_version(name);
    is_shell(name) || is_shell(family) || MULTI_CALL.contains(&name) || options(family).is_some()
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
fn shell_reads<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Option<u32> {
    while let Some(argument) = arguments.next() {
        match argument {
            b"--" | b"-" => return arguments.next().map_or(Some(0), own_descriptor),
            b"--rcfile" | b"--init-file" => {
                arguments.next();
            }
            [b'-', b'-', ..] => {}
            [b'-' | b'+', options @ ..] => {
                if options.contains(&b'c') {
                    return None;
                }
                if options.contains(&b's') {
                    return Some(0);
                }
                if options.contains(&b'o') || options.contains(&b'O') {
                    arguments.next();
                }
            }
            script => return own_descriptor(script),
        }
    }
    Some(0)
}

fn interpreter_reads<'a>(
    mut arguments: impl Iterator<Item = &'a [u8]>,
    known: &Options,
) -> Option<u32> {
    while let Some(argument) = arguments.next() {
        match argument {
            b"-" => return Some(0),
            b"--interactive" => return Some(0),
            b"--eval" | b"--print" | b"--run" => return None,
            [b'-', b'-', ..] => {}
            [b'-', options @ ..] => {
                // A value may stand right behind its letter, and is no letter then.
                let letters = options.iter().position(|letter| known.value.contains(letter));
                let letters = options.get(..letters.map_or(options.len(), |at| at + 1));
                let letters = letters.unwrap_or_default();
                if letters.contains(&b'i') {
                    return Some(0);
                }
                if letters.iter().any(|letter| known.code.contains(letter)) {
                    return None;
                }
                let ends_with_value = letters.last().is_some_and(|last| known.value.contains(last));
                if ends_with_value && letters.len() == options.len() {
                    arguments.next();
                }
            }
            script => return own_descriptor(script),
        }
    }
    Some(0)
}

/// The descriptor of whoever opens it that a script's path names: what is read there is no script.
fn own_descriptor(path: &[u8]) -> Option<u32> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.take(5).collect();
    let number = match parts[..] {
        _ if !path.starts_with(b"/") => return None,
        [b"dev", b"stdin"] => return Some(0),
        [b"dev", b"fd", number] => number,
        [b"proc", b"self" | b"thread-self", b"fd", number] => number,
        _ => return None,
    };
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, arguments: &[&str]) -> Program {
        Program::of(path.as_bytes(), &arguments.iter().collect())
    }

    #[test]
    fn shells_are_told_by_their_file_not_by_their_argv() {
        let plain = Program::Shell { reads: Some(0) };
        assert_eq!(of("/usr/bin/dash", &["make"]), plain);
        assert_eq!(of("/usr/bin/bash", &["-bash"]), plain);
        assert_eq!(of("/bin/zsh-5.9", &["zsh"]), plain);
        assert_eq!(of("/bin/ksh93", &["ksh"]), plain);
        assert_eq!(of("/usr/bin/make", &["bash"]), Program::Other);
        assert_eq!(of("/usr/bin/ssh", &["ssh"]), Program::Other);
    }

    #[test]
    fn a_multi_call_program_is_what_it_was_called() {
        let plain = Program::Shell { reads: Some(0) };
        assert_eq!(of("/bin/busybox", &["sh"]), plain);
        assert_eq!(of("/bin/busybox", &["-ash", "-i"]), plain);
        assert_eq!(of("/bin/busybox", &["busybox", "sh", "-i"]), plain);
        assert_eq!(of("/bin/busybox", &["wget"]), Program::Other);
        assert_eq!(of("/bin/busybox", &["busybox"]), Program::Other);
    }

    #[test]
    fn a_shell_reads_its_input_when_given_nothing_else() {
        let reads =
            |arguments: &[&str]| of("/bin/bash", arguments) == Program::Shell { reads: Some(0) };
        assert!(reads(&["bash"]));
        assert!(reads(&["bash", "-i"]));
        assert!(reads(&["bash", "-o", "pipefail"]));
        assert!(reads(&["bash", "--rcfile", "x", "-i"]));
        assert!(reads(&["bash", "-s", "argument"]));
        for input in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "//dev/./fd//0"] {
            assert!(reads(&["bash", input]));
            assert!(reads(&["bash", "--", input]));
        }
        assert_eq!(of("/bin/bash", &["bash", "/dev/fd/63"]), Program::Shell { reads: Some(63) });
        for file in ["/dev/fd/x", "dev/stdin", "/srv/dev/stdin", "/proc/self/fd/0/x", "/dev/fd"] {
            assert_eq!(of("/bin/bash", &["bash", file]), Program::Shell { reads: None }, "{file}");
        }
        assert!(!reads(&["bash", "-c", "/dev/stdin"]));
        assert!(!reads(&["bash", "handler.sh"]));
        assert!(!reads(&["bash", "-eu", "-o", "pipefail", "handler.sh"]));
        assert!(!reads(&["bash", "--norc", "--", "x"]));
        assert!(!reads(&["bash", "-c", "id", "name"]));
        assert!(!reads(&["bash", "-ic", "id"]));
    }

    #[test]
    fn the_dynamic_linker_is_what_it_runs() {
        let plain = Program::Shell { reads: Some(0) };
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2", &["x", "/bin/sh"]), plain);
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2", &["x", "/bin/cat", "sh"]), Program::Other);
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2", &["x"]), Program::Other);
    }

    #[test]
    fn an_interpreter_reads_its_input_when_given_nothing_else() {
        let interactive = |path: &str, arguments: &[&str]| {
            of(path, arguments) == Program::Interpreter { reads: Some(0) }
        };
        assert!(interactive("/usr/bin/python3.11", &["python3"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-i"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-W", "ignore", "/dev/stdin"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-q", "-"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "-c", "pass"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "-mhttp.server"]));
        assert!(!interactive("/usr/bin/python3.11", &["python3", "server.py"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-W", "ignore", "-i"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-Wignore"]));
        assert!(interactive("/usr/bin/python3.11", &["python3", "-ic", "pass"]));
        assert!(interactive("/usr/bin/perl", &["perl", "-I", "/lib/x"]));
        assert!(!interactive("/usr/bin/perl", &["perl", "-I", "/lib/x", "-e", "1"]));
        assert!(interactive("/usr/bin/perl", &["perl"]));
        assert!(!interactive("/usr/bin/perl", &["perl", "-we", "1"]));
        assert!(!interactive("/usr/bin/node", &["node", "-e", "1"]));
        assert_eq!(of("/usr/bin/perlbug", &["perlbug"]), Program::Other);
    }
}
