//! The `sentinel` command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sentinel_ipc::administration::Ask;

use self::help::{
    CHECK_HELP, CHECK_RULES_HELP, ENFORCE_HELP, EXAMPLES, EXPLAIN_HELP, LIST_HELP, OVERVIEW,
    RECORD_EXAMPLES, RELOAD_HELP, REPLAY_EXAMPLES, RULES_HELP, SHADOW_REPORT_HELP, STATUS_HELP,
    TEST_HELP,
};
use crate::{configuration::Settings, redaction::Pattern, rules::Choice};

mod help;

/// Detects attacks on this host from what the kernel sees.
#[derive(Debug, Parser)]
#[command(name = "sentinel", version, propagate_version = true)]
#[command(about = "Detects attacks on this host from what the kernel sees", after_help = OVERVIEW)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start sensor and engines in the foreground, for a trial.
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArguments>),
    /// Write what the sensor sees to a file, while detecting as `run` does.
    #[command(after_help = RECORD_EXAMPLES)]
    Record(RecordArguments),
    /// Feed recorded files to the same engines. Needs no privilege.
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArguments),
    /// Show what the running Sentinel sees and does.
    #[command(after_help = STATUS_HELP)]
    Status(StatusArguments),
    /// Tell what enforcement would have done, from the logs of a time in shadow mode.
    #[command(after_help = SHADOW_REPORT_HELP)]
    ShadowReport(ShadowReportArguments),
    /// Show, check and test the rules that are looked for.
    Rules(RulesArguments),
    /// Look after the services' configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Switch kills off or on again while Sentinel runs.
    #[command(after_help = ENFORCE_HELP)]
    Enforce(EnforceArguments),
}

/// The subcommands of `sentinel config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the files of all three services, without touching the services.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArguments),
}

/// `sentinel rules`.
#[derive(Debug, Args)]
#[command(after_help = RULES_HELP)]
pub struct RulesArguments {
    /// The configuration that says which rules are on [default: /etc/sentinel/analyzer.toml, if it is
    /// there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Which rules.
    #[command(flatten)]
    pub rules: RuleArguments,

    /// What to do.
    #[command(subcommand)]
    pub command: RulesCommand,
}

/// The subcommands of `sentinel rules`.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Name all rules, and say which are on.
    #[command(after_help = LIST_HELP)]
    List,
    /// Check files of rules; without a file, those of the rules' directory. What is wrong is told with
    /// file, line and column.
    #[command(after_help = CHECK_RULES_HELP)]
    Check(RuleFiles),
    /// Tell in words what a rule means, asks for and costs.
    #[command(after_help = EXPLAIN_HELP)]
    Explain(RuleName),
    /// Run the tests that stand beside rules; without a file, of all rules.
    #[command(after_help = TEST_HELP)]
    Test(RuleFiles),
    /// Have the running Sentinel read its rules and configuration again.
    #[command(after_help = RELOAD_HELP)]
    Reload,
}

/// Which rules are looked for.
#[derive(Debug, Default, Clone, Args)]
pub struct RuleArguments {
    /// Take more rules from the *.toml files of this directory [default: /etc/sentinel/rules.d, if it is
    /// there]
    #[arg(long, global = true, value_name = "DIR")]
    pub rules: Option<PathBuf>,

    /// Look for these rules too, which are off by default
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',')]
    pub enable_rules: Option<Vec<String>>,

    /// Do not look for these rules
    #[arg(long, global = true, value_name = "NAME,…", value_delimiter = ',')]
    pub disable_rules: Option<Vec<String>>,
}

impl RuleArguments {
    /// What is said here, as settings.
    pub fn settings(&self) -> Settings {
        Settings {
            rules: self.rules.clone(),
            enable_rules: self.enable_rules.clone(),
            disable_rules: self.disable_rules.clone(),
            ..Settings::default()
        }
    }

    /// What is said here, and nothing else.
    pub fn choice(&self) -> Choice {
        Choice {
            directory: self.rules.clone(),
            enabled: self.enable_rules.clone().unwrap_or_default(),
            disabled: self.disable_rules.clone().unwrap_or_default(),
        }
    }
}

/// Files of rules.
#[derive(Debug, Args)]
pub struct RuleFiles {
    /// TOML files with [[rule]] tables
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// A rule, and where it stands.
#[derive(Debug, Args)]
pub struct RuleName {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,

    /// A file it may stand in, beside the built-in rules [default: the rules' directory]
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Options of `sentinel config check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Where analyzer.toml, loader.toml and enforcer.toml are; those that are missing stand for the
    /// defaults
    #[arg(long, value_name = "DIR", default_value = "/etc/sentinel")]
    pub directory: PathBuf,
}

/// What to watch, and how long.
#[derive(Debug, Clone, Args)]
pub struct WatchArguments {
    /// Stop after S seconds [default: on Ctrl-C]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub duration: Option<u64>,

    /// Watch only this process and what descends from it
    #[arg(
        long,
        value_name = "PID",
        value_parser = clap::value_parser!(u32).range(1..=4_194_304),
        conflicts_with = "scope_cgroup"
    )]
    pub attach_pid: Option<u32>,

    /// Watch only processes in the subtree of this cgroup v2 directory
    #[arg(long, value_name = "PATH")]
    pub scope_cgroup: Option<PathBuf>,

    /// More names of sensitive files, or exceptions, one a line: `/path`, `/directory/`, `name`,
    /// `directory/name`, `*.suffix`; `!` before it for what is not sensitive
    #[arg(long, value_name = "FILE")]
    pub sensitive_paths: Option<PathBuf>,
}

/// Options of `sentinel shadow-report`.
#[derive(Debug, Args)]
pub struct ShadowReportArguments {
    /// Logs of alerts, in order of time; - is standard input
    #[arg(required = true, value_name = "ALERTS")]
    pub files: Vec<PathBuf>,

    /// Only the proposed exceptions, to be put into a file of rules
    #[arg(long)]
    pub toml: bool,

    /// The configuration that says which rules are on [default: /etc/sentinel/analyzer.toml, if it is
    /// there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Which rules hold now.
    #[command(flatten)]
    pub rules: RuleArguments,
}

/// Options of `sentinel record`.
#[derive(Debug, Args)]
pub struct RecordArguments {
    /// The file to write; one that exists is not replaced
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    #[command(flatten)]
    watch: WatchArguments,
}

impl RecordArguments {
    /// The run that is recorded: it detects and never kills.
    pub fn as_run(&self) -> RunArguments {
        RunArguments { watch: self.watch.clone(), engines: Settings::default() }
    }
}

/// Options of `sentinel status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// As a JSON object
    #[arg(long)]
    pub json: bool,
}

/// What `sentinel enforce` is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Position {
    /// Kill again whom critical alerts name, if the configuration allows it
    On,
    /// Kill nobody
    Off,
    /// Show whether kills are on, and how many there were
    Status,
}

/// Arguments of `sentinel enforce`.
#[derive(Debug, Args)]
pub struct EnforceArguments {
    #[arg(value_name = "on|off|status")]
    position: Position,
}

impl EnforceArguments {
    /// What to ask the enforcer.
    pub fn ask(&self) -> Ask {
        match self.position {
            Position::On => Ask::On,
            Position::Off => Ask::Off,
            Position::Status => Ask::Status,
        }
    }
}

/// Options of `sentinel replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// Captures, each a stream of its own; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Append alerts to this file, as JSON lines
    #[arg(long, value_name = "PATH")]
    pub alerts: Option<PathBuf>,

    /// Take out of alerts what stands for {} in this too, as `sentinel run` does
    #[arg(long, value_name = "PATTERN")]
    pub redact: Vec<Pattern>,

    /// Tell on standard error how rules get on
    #[arg(long)]
    pub grimoire_debug: bool,

    /// Which rules.
    #[command(flatten)]
    pub rules: RuleArguments,
}

/// Options of `sentinel run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// What to watch, and how long.
    #[command(flatten)]
    pub watch: WatchArguments,

    /// Which engines look.
    #[command(flatten)]
    pub engines: Settings,
}

/// Options of `sentinel-analyzer`.
#[derive(Debug, Parser)]
#[command(name = "sentinel-analyzer", version)]
#[command(about = "Analyzes what a running sentinel-loader sees; started by its service")]
pub struct ServiceArguments {
    /// The socket at which the loader waits
    #[arg(long, value_name = "PATH", default_value = "/run/sentinel/loader.sock")]
    pub loader: PathBuf,

    /// The configuration file; options go before what it says. Its directory stays readable in the
    /// sandbox, and so must be one of its own [default: /etc/sentinel/analyzer.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Which engines look.
    #[command(flatten)]
    pub engines: Settings,
}

impl RunArguments {
    /// How long to run, if that is limited.
    pub fn limit(&self) -> Option<Duration> {
        self.watch.duration.map(Duration::from_secs)
    }

    /// The scope in words.
    pub fn scope(&self) -> String {
        match (self.watch.attach_pid, &self.watch.scope_cgroup) {
            (Some(pid), _) => format!("process {pid} and its descendants"),
            (None, Some(path)) => format!("cgroup {}", path.display()),
            (None, None) => "all processes but Sentinel's own".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
