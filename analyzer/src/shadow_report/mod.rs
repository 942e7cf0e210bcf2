//! `sentinel shadow-report`: what enforcement would have done, from the logs of a time in shadow mode.

mod budget;
mod exceptions;
mod frequent;
mod lines;
mod proposals;
mod text;
mod totals;

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use crate::{
    command_line::ShadowReportArguments,
    configuration::{self, Configuration},
    escape::escape,
    rules::{Choice, RuleSet},
};
use budget::Budget;
use totals::Totals;

/// Lines that are wrong and told one by one, of each file.
const MAX_TOLD: u64 = 20;
/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// The enforcer's file, beside the analyzer's.
const ENFORCERS: &str = "enforcer.toml";

/// What there is to show.
#[derive(Debug)]
pub struct Report {
    /// For standard output.
    pub text: String,
    /// What could not be read or understood, a sentence each, for standard error.
    pub wrong: Vec<String>,
}

/// Reads all logs, whatever is wrong with some of their lines.
///
/// # Errors
/// When the rules that hold now are not sound, or the enforcer's budget is not: then nobody can say what they
/// would have come to.
pub fn run(arguments: &ShadowReportArguments) -> Result<Report, String> {
    let rules = RuleSet::load(&choice(arguments)?).map_err(|error| error.to_string())?;
    let enforcers = arguments.config.as_deref().unwrap_or(Path::new(configuration::FILE));
    let budget = Budget::read(&enforcers.with_file_name(ENFORCERS))?;
    let (mut totals, mut wrong) = (Totals::new(budget), Vec::new());
    for path in &arguments.files {
        let name = escape(path.as_os_str().as_encoded_bytes());
        let read = open(path).and_then(|log| read(log, &name, &rules, &mut totals, &mut wrong));
        if let Err(error) = read {
            wrong.push(format!("{name}: {error}"));
        }
    }
    let proposals = proposals::proposals(&totals, &rules);
    let text = match (arguments.toml, proposals.is_empty()) {
        (true, _) => proposals,
        (false, true) => text::report(&totals),
        (false, false) => format!(
            "{}\nExceptions that would have kept these alerts from being raised. Take those of which you \
             know why they are right\ninto a file of /etc/sentinel/rules.d (sentinel rules check FILE), \
             and make this report again.\n{proposals}",
            text::report(&totals)
        ),
    };
    Ok(Report { text, wrong })
}

/// The rules that hold now, as configuration and options say.
fn choice(arguments: &ShadowReportArguments) -> Result<Choice, String> {
    let settings = arguments.rules.settings();
    Configuration::load(arguments.config.as_deref(), &settings)
        .map(|configuration| configuration.rules)
        .map_err(|error| error.to_string())
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

fn read(
    log: impl BufRead,
    name: &str,
    rules: &RuleSet,
    totals: &mut Totals,
    wrong: &mut Vec<String>,
) -> io::Result<()> {
    let mut bad = 0;
    let read = lines::each(log, |number, line| match line {
        Ok(line) => totals.add(&line, rules),
        Err(why) => {
            bad += 1;
            if bad <= MAX_TOLD {
                wrong.push(format!("{name}:{number}: {why}"));
            }
        }
    });
    totals.bad += bad;
    if bad > MAX_TOLD {
        wrong.push(format!("{name}: {} more lines are wrong", bad - MAX_TOLD));
    }
    read
}

#[cfg(test)]
mod tests;
