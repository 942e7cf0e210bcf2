//! `sentinel-pages DIRECTORY`: writes manual pages and shell completions, from the definition that the
//! programs themselves parse with, to where they belong below `DIRECTORY` (a package's `/usr/share`).
//! The pages on files come from the documents, the shipped configuration and the schema themselves. Used by
//! `packaging/install`; not itself installed.

mod after;
mod fields;
mod keys;
mod markdown;
mod roff;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory, builder::Resettable};
use clap_complete::Shell;
use clap_mangen::{Man, roff::Roff};
use sentinel_analyzer::command_line::{CommandLine, ServiceArguments};

/// What the pages of the services and of the command refer to, as lines of roff.
const SEE_ALSO: &str = "\\fBsentinel\\fR(1), \\fBsentinel.rules\\fR(5), \\fBsentinel\\-analyzer.toml\\fR(5), \
                        \\fBsentinel.alerts\\fR(5), \\fBsentinel\\-loader\\fR(8), \\fBsentinel\\-analyzer\\fR(8), \
                        \\fBsentinel\\-enforcer\\fR(8), /usr/share/doc/sentinel";

/// Where a shell looks for what completes `sentinel`.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/sentinel"),
    (Shell::Fish, "fish/vendor_completions.d/sentinel.fish"),
    (Shell::Zsh, "zsh/site-functions/_sentinel"),
];

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let directory = arguments.next().filter(|name| !name.as_encoded_bytes().starts_with(b"-"));
    let (Some(directory), None) = (directory, arguments.next()) else {
        eprintln!("usage: sentinel-pages DIRECTORY");
        return ExitCode::from(2);
    };
    match write_all(&PathBuf::from(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentinel-pages: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(share: &Path) -> io::Result<()> {
    let mut command = CommandLine::command();
    for (shell, place) in COMPLETIONS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command, "sentinel", &mut text);
        write(&share.join(place), &text)?;
    }
    // A page of its own for each subcommand; "help" says nothing that they do not.
    let mut command = without_help(CommandLine::command());
    command.build();
    for (name, page) in pages_on_files()? {
        write(&share.join(format!("man/man5/{name}.5")), page.as_bytes())?;
    }
    write_pages(&share.join("man/man1"), &command, "1")?;
    write_pages(&share.join("man/man8"), &ServiceArguments::command(), "8")
}

/// Names and texts of the pages of section 5.
fn pages_on_files() -> io::Result<Vec<(&'static str, String)>> {
    let files = [
        (
            "sentinel.rules",
            "rules of Sentinel",
            markdown::to_roff(include_str!("../../../docs/rules.md")),
        ),
        (
            "sentinel-analyzer.toml",
            "what sentinel-analyzer does",
            keys::to_roff(include_str!("../../config/analyzer.toml")),
        ),
        (
            "sentinel-loader.toml",
            "what sentinel-loader watches",
            keys::to_roff(include_str!("../../config/loader.toml")),
        ),
        (
            "sentinel-enforcer.toml",
            "what sentinel-enforcer may do",
            keys::to_roff(include_str!("../../config/enforcer.toml")),
        ),
        (
            "sentinel.alerts",
            "alerts of Sentinel as JSON lines",
            fields::to_roff(include_str!("../../schema/alert.schema.json"))?,
        ),
    ];
    let end = format!(".SH SEE ALSO\n{SEE_ALSO}\n");
    Ok(files
        .into_iter()
        .map(|(name, what, text)| (name, roff::begin(name, what) + &text + &end))
        .collect())
}

fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// Writes the page of `command` and those of its subcommands, which are named as git's are.
fn write_pages(directory: &Path, command: &Command, section: &str) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let bare = command.clone().after_help(Resettable::Reset);
    let source = concat!("sentinel ", env!("CARGO_PKG_VERSION"));
    let page = Man::new(bare).section(section).title(name.to_uppercase()).source(source);
    let mut text = Vec::new();
    page.render(&mut text)?;
    if !after.is_empty() {
        text.extend_from_slice(after::to_roff(&after).as_bytes());
    }
    let mut rest = Roff::new();
    rest.control("SH", ["SEE ALSO"]);
    rest.to_writer(&mut text)?;
    text.extend_from_slice(SEE_ALSO.as_bytes());
    text.push(b'\n');
    write(&directory.join(format!("{name}.{section}")), &text)?;
    command.get_subcommands().try_for_each(|each| write_pages(directory, each, section))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
