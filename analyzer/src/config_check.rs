//! `sentinel config check`: the three services' configuration files, and the rules beside them. Each program knows its own file;
//! the loader and the enforcer are asked.

use std::{
    fmt::Write as _,
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    configuration::{Configuration, Settings},
    escape::escape,
    launch,
    rules::{Choice, RuleSet},
};

/// The other programs, and their files.
const OTHERS: [(&str, &str); 2] =
    [("sentinel-loader", "loader.toml"), ("sentinel-enforcer", "enforcer.toml")];

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// A line for each file.
    pub text: String,
    /// Whether a service would start with its file.
    pub is_sound: bool,
}

/// Checks the files in `directory`. One that is missing stands for the defaults.
///
/// # Errors
/// When there is no such directory.
pub fn check(directory: &Path) -> io::Result<Report> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{}: {error}", directory.display()))
    };
    fs::read_dir(directory).map_err(named)?;
    let mut report = Report { text: String::new(), is_sound: true };
    let own = directory.join("analyzer.toml");
    report.note(&own, own.exists().then(|| check_own(&own)));
    let rules = directory.join("rules.d");
    let choice = Settings::read(&own).and_then(Configuration::of).unwrap_or_default().rules;
    let named = choice.directory.clone().or_else(|| rules.exists().then_some(rules));
    if let Some(rules) = named {
        let choice = Choice { directory: Some(rules.clone()), ..choice };
        let checked = RuleSet::load(&choice).map(drop).map_err(|error| error.to_string());
        report.note(&rules, Some(checked));
    }
    for (program, file) in OTHERS {
        let file = directory.join(file);
        report.note(&file, file.exists().then(|| ask(program, &file)));
    }
    Ok(report)
}

impl Report {
    /// `found` is `None` for a file that is missing, else whether it is sound or what is wrong.
    fn note(&mut self, file: &Path, found: Option<Result<(), String>>) {
        self.is_sound &= !matches!(found, Some(Err(_)));
        let file = file.display().to_string();
        let told = match found {
            None => "missing: the defaults hold".to_owned(),
            Some(Ok(())) => "ok".to_owned(),
            // Most begin with the file, and the line in it.
            Some(Err(why)) => match why.strip_prefix(&file) {
                Some(rest) => rest.trim_start_matches(": ").to_owned(),
                None => why,
            },
        };
        let separator = if told.starts_with(':') { "" } else { ": " };
        let _infallible = writeln!(self.text, "{file}{separator}{told}");
    }
}

fn check_own(file: &Path) -> Result<(), String> {
    let checked = Settings::read(file).and_then(Configuration::of);
    checked.map(drop).map_err(|error| error.to_string())
}

/// Has `program` check `file`, as `PROGRAM --check --config=FILE`, which ends with 0 if it is sound.
fn ask(program: &'static str, file: &Path) -> Result<(), String> {
    let found = launch::find(program).map_err(|error| error.to_string())?;
    let mut option = std::ffi::OsString::from("--config=");
    option.push(file);
    let mut command = Command::new(found);
    command.arg("--check").arg(option).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("cannot ask {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let told = escape(told.trim().as_bytes());
    let told = told.strip_prefix(&format!("{program}: ")).unwrap_or(&told);
    match told {
        "" => Err(format!("{program} does not say what is wrong ({})", output.status)),
        told => Err(told.to_owned()),
    }
}
