//! Programs that are started.

use std::sync::Arc;

use sentinel_ipc::kernel_abi::{ExecRecord, flag};

use super::{
    Action, Arguments, Credentials, Descriptor, Object, Origin, Path, RecordError, Trust,
    argument::low,
    arguments::terminated,
    credentials::credentials,
    object::{descriptor, object},
    path::{spanned, until_nul},
};
use crate::escape::escape;

/// Name and value of an environment variable, raw.
pub type Variable = (Vec<u8>, Vec<u8>);

/// A program that was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// The executable; of a script, its interpreter.
    pub object: Option<Object>,
    /// Its path.
    pub path: Option<Path>,
    /// The path that was given to exec; of a script, its own.
    pub given: Option<Path>,
    /// Whether it is a script.
    pub script: bool,
    /// Its arguments.
    pub arguments: Arguments,
    /// How many arguments there are.
    pub argument_count: u32,
    /// Those variables of [`sentinel_ipc::kernel_abi::ENVIRONMENT`] that are set.
    pub environment: Vec<Variable>,
    /// How many variables there are, of whatever name.
    pub variable_count: u32,
    /// Whether the environment is longer than what was searched.
    pub environment_truncated: bool,
    /// Whether path, arguments or variables are incomplete.
    pub truncated: bool,
    /// Escaped, for display only.
    pub comm: Arc<str>,
    /// Descriptors 0, 1 and 2 as the program finds them.
    pub stdio: [Option<Descriptor>; 3],
    /// The thread that called exec, which has its process's id from now on; 0 if that is not known.
    pub calling_thread: u32,
    /// What the process could act as before.
    pub before: Option<Credentials>,
    /// What it can act as now.
    pub after: Option<Credentials>,
    /// What speaks for its being what root installed at its path.
    pub trust: Trust,
}

impl Exec {
    /// The bytes of the executable's path; none if it is not known.
    pub fn path_bytes(&self) -> &[u8] {
        self.path.as_ref().map_or(&[], |path| &path.bytes)
    }

    /// The path by which lists may know the program, since nobody but root could have another one run
    /// under it; of a script it is the interpreter's. It may have been deleted since.
    pub fn identity(&self) -> Option<&[u8]> {
        self.trust.is_whole().then(|| self.path_bytes()).filter(|path| !path.is_empty())
    }

    /// Whether no directory entry leads to the executable: deleted, or a memfd.
    pub fn is_unlinked(&self) -> bool {
        self.object.is_some_and(|object| object.links == 0)
    }
}

pub(super) fn action(record: &ExecRecord) -> Result<Action, RecordError> {
    let header = &record.header;
    let truncated = header.flags & flag::TRUNCATED != 0;
    let argv = front(&record.argv, record.argv_length, "argv_length")?;
    let given = front(&record.given, record.given_length, "given_length")?;
    let environment = front(&record.environment, record.environment_length, "environment_length")?;
    let [calling_thread, ..] = header.argument;
    Ok(Action::Exec(Box::new(Exec {
        object: object(&record.executable),
        path: spanned(&record.span, &record.path, truncated)?,
        given: (!given.is_empty()).then(|| Path {
            bytes: given.to_vec(),
            origin: Origin::Given,
            truncated,
        }),
        script: header.flags & flag::SCRIPT != 0,
        arguments: Arguments::of(argv),
        argument_count: record.argument_count,
        environment: terminated(environment).map(variable).collect(),
        variable_count: record.variable_count,
        environment_truncated: header.flags & flag::ENVIRONMENT_TRUNCATED != 0,
        truncated,
        comm: escape(until_nul(&record.comm)).into(),
        stdio: record.stdio.map(|found| descriptor(&found, false)),
        calling_thread: low(calling_thread),
        before: credentials(&record.before),
        after: credentials(&record.after),
        trust: Trust::of(record.trust),
    })))
}

fn front<'a>(bytes: &'a [u8], length: u16, name: &'static str) -> Result<&'a [u8], RecordError> {
    bytes.get(..usize::from(length)).ok_or(RecordError::Field(name))
}

fn variable(assignment: &[u8]) -> Variable {
    let mut parts = assignment.splitn(2, |&byte| byte == b'=').map(<[u8]>::to_vec);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::{kind, origin, trust};
    use zerocopy::FromZeros;

    use super::*;
    use crate::event::fixture;

    fn record() -> ExecRecord {
        let mut record = ExecRecord::new_zeroed();
        record.header = fixture::header(kind::EXEC);
        record
    }

    fn told(record: &ExecRecord) -> Exec {
        match fixture::action(record).unwrap() {
            Action::Exec(exec) => *exec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_exec_tells_path_and_arguments() {
        let mut record = record();
        record.header.argument[0] = 12;
        record.path[500..].copy_from_slice(b"/usr/bin/env");
        (record.span.start, record.span.length, record.span.origin) = (500, 12, origin::KERNEL);
        record.argv[..8].copy_from_slice(b"env\0\0a b");
        (record.argv_length, record.argument_count) = (8, 3);
        record.comm[..4].copy_from_slice(b"env\n");
        (record.executable.mode, record.executable.inode) = (0o100_755, 5);
        let exec = told(&record);
        assert_eq!(exec.path_bytes(), b"/usr/bin/env");
        assert_eq!(exec.arguments, ["env", "", "a b"].iter().collect());
        assert_eq!((exec.argument_count, exec.calling_thread), (3, 12));
        assert_eq!(&*exec.comm, "env\\n");
        assert!(exec.is_unlinked() && !exec.script && !exec.truncated);
        assert_eq!((exec.given, exec.stdio), (None, [None, None, None]));
        assert_eq!((exec.before, exec.after), (None, None));
    }

    #[test]
    fn a_script_tells_its_own_path_and_the_environment_its_variables() {
        let mut record = record();
        record.header.flags = flag::SCRIPT | flag::ENVIRONMENT_TRUNCATED;
        record.given[..6].copy_from_slice(b"/tmp/x");
        record.given_length = 6;
        let variables = b"LD_PRELOAD=/a=b\0ENV=\0BASH_E";
        record.environment[..variables.len()].copy_from_slice(variables);
        record.environment_length = 27;
        record.variable_count = 40;
        record.after.user_namespace = 1;
        record.after.uid = [1, 0, 2, 3];
        let exec = told(&record);
        let given = exec.given.unwrap();
        assert_eq!((given.bytes.as_slice(), given.origin), (&b"/tmp/x"[..], Origin::Given));
        assert!(exec.script && exec.environment_truncated && !exec.truncated);
        let variable = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        assert_eq!(
            exec.environment,
            [variable(b"LD_PRELOAD", b"/a=b"), variable(b"ENV", b""), variable(b"BASH_E", b"")]
        );
        assert_eq!((exec.variable_count, exec.before), (40, None));
        assert_eq!(exec.after.unwrap().user.effective, 0);
    }

    #[test]
    fn an_identity_is_a_path_for_which_all_speaks() {
        let mut record = record();
        record.path[500..].copy_from_slice(b"/usr/bin/env");
        (record.span.start, record.span.length, record.span.origin) = (500, 12, origin::KERNEL);
        let all = trust::PATH_OF_ROOT | trust::HOST_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS;
        record.trust = all;
        assert_eq!(told(&record).identity(), Some(&b"/usr/bin/env"[..]));
        for missing in [1, 2, 4, 8] {
            record.trust = all & !missing;
            assert_eq!(told(&record).identity(), None);
        }
        record.trust = all;
        record.span.length = 0;
        assert_eq!(told(&record).identity(), None);
    }

    #[test]
    fn no_argument_is_not_one_empty_argument() {
        let mut record = record();
        assert!(told(&record).arguments.is_empty());
        record.argv_length = 1;
        assert_eq!(told(&record).arguments, [""].iter().collect());
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let refused = |change: fn(&mut ExecRecord)| {
            let mut record = record();
            change(&mut record);
            fixture::action(&record).unwrap_err()
        };
        let span = refused(|it| (it.span.start, it.span.length, it.span.origin) = (510, 10, 1));
        assert_eq!(span, RecordError::Field("span"));
        assert_eq!(refused(|it| it.argv_length = 513), RecordError::Field("argv_length"));
        assert_eq!(refused(|it| it.given_length = 257), RecordError::Field("given_length"));
        let environment = refused(|it| it.environment_length = 513);
        assert_eq!(environment, RecordError::Field("environment_length"));
    }
}
