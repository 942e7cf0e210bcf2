use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;
use crate::{configuration::Configuration, redaction::Redaction};

fn run(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
    let words = ["sentinel", "run"].iter().chain(arguments);
    CommandLine::try_parse_from(words).map(|line| match line.command {
        Command::Run(run) => *run,
        other => panic!("{other:?}"),
    })
}

#[test]
fn the_definition_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn values_stand_behind_a_space_or_an_equals_sign() {
    assert_eq!(run(&["--duration=60"]).unwrap().watch.duration, Some(60));
    assert_eq!(run(&["--duration", "60"]).unwrap().watch.duration, Some(60));
}

#[test]
fn a_switch_is_on_or_what_is_said() {
    let engines = |arguments: &[&str]| run(arguments).unwrap().engines;
    assert_eq!(engines(&[]).grimoire_enforce, None);
    assert_eq!(engines(&["--grimoire-enforce"]).grimoire_enforce, Some(true));
    assert_eq!(engines(&["--grimoire-enforce=false"]).grimoire_enforce, Some(false));
}

#[test]
fn enforce_takes_one_of_three_words() {
    let enforce = |word| CommandLine::try_parse_from(["sentinel", "enforce", word]);
    for (word, ask) in [("on", Ask::On), ("off", Ask::Off), ("status", Ask::Status)] {
        let Command::Enforce(arguments) = enforce(word).unwrap().command else { panic!() };
        assert_eq!(arguments.ask(), ask);
    }
    assert_eq!(enforce("of").unwrap_err().exit_code(), 2);
    assert_eq!(CommandLine::try_parse_from(["sentinel", "enforce"]).unwrap_err().exit_code(), 2);
}

#[test]
fn what_is_wrong_is_refused_with_its_name() {
    for (bad, named) in [
        (&["--duration=0"][..], "--duration"),
        (&["--duration=soon"], "soon"),
        (&["--attach-pid=-1"], "-1"),
        (&["--attach-pid=99999999"], "--attach-pid"),
        (&["--attach-pid=1", "--scope-cgroup=/x"], "--scope-cgroup"),
        (&["--durations=1"], "--duration"),
        (&["--json-log-path=/x"], "--enable-json-log"),
        (&["--syslog=unix:/x"], "--enable-syslog"),
        (&["--enable-syslog", "--syslog=udp:host"], "a port is missing"),
        (&["--enable-syslog", "--syslog=tcp:host:0"], "no port from 1 to 65535"),
        (&["--enable-syslog", "--syslog=unix:log"], "begin with /"),
        (&["--enable-syslog", "--syslog=/dev/log"], "unix:PATH"),
        (&["--enable-syslog=maybe"], "maybe"),
    ] {
        let error = run(bad).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(named), "{bad:?}: {error}");
    }
}

/// What each option of `sentinel run` comes to, beside those that it needs: words, and what is true with
/// them and not without. That what they come to is done is shown on the live kernel, by tests/flags.rs and
/// the tests of each engine.
type Effect = fn(&RunArguments, &Configuration) -> bool;
const EFFECTS: &[(&str, &[&str], Effect)] = &[
    ("--duration=5", &[], |run, _| run.limit() == Some(Duration::from_secs(5))),
    ("--attach-pid=7", &[], |run, _| run.watch.attach_pid == Some(7)),
    ("--scope-cgroup=/c", &[], |run, _| run.watch.scope_cgroup == Some("/c".into())),
    ("--sensitive-paths=/f", &[], |run, _| run.watch.sensitive_paths == Some("/f".into())),
    ("--enable-grimoire", &[], |_, it| it.engines.patterns && it.engines.correlation.is_none()),
    ("--grimoire-enforce", &[], |_, it| it.enforced.patterns && !it.enforced.correlation),
    ("--grimoire-log=/l", &[], |_, it| it.patterns_log == Some("/l".into())),
    ("--grimoire-debug", &[], |_, it| it.debug),
    ("--rules=/r", &[], |_, it| it.rules.directory == Some("/r".into())),
    ("--enable-rules=a,b", &[], |_, it| it.rules.enabled == ["a", "b"]),
    ("--disable-rules=a", &[], |_, it| it.rules.disabled == ["a"]),
    ("--enable-correlation", &[], |_, it| !it.engines.patterns),
    ("--correlation-threshold=9", &[], |_, it| policy(it).threshold == 9),
    ("--correlation-timeout=9", &[], |_, it| policy(it).timeout_ms == 9),
    ("--min-exfil-bytes=9", &[], |_, it| policy(it).min_bytes == 9),
    ("--local-networks=10.0.0.0/8", &[], |_, it| it.engines.own_networks.is_some()),
    ("--auto-terminate", &[], |_, it| it.enforced.correlation && !it.enforced.patterns),
    ("--correlation-log=/l", &[], |_, it| it.correlation_log == Some("/l".into())),
    ("--enable-baseline", &[], |_, it| it.engines.baseline.is_some()),
    ("--learning-period=10", BASELINE, |_, it| judgement(it).learning_period == 10),
    ("--no-learning", BASELINE, |_, it| !judgement(it).learns),
    ("--no-detection", BASELINE, |_, it| !judgement(it).detects),
    ("--detection-threshold=4.5", BASELINE, |_, it| judgement(it).threshold > 4.4),
    ("--baseline-path=/b", BASELINE, |_, it| it.baselines == Some("/b".into())),
    ("--no-load-baselines", BASELINE, |_, it| it.begins_anew),
    ("--enable-syslog", &[], |_, it| it.syslog.is_some()),
    ("--syslog=unix:/s", &["--enable-syslog"], |_, it| {
        it.syslog.as_ref().is_some_and(|target| target.to_string() == "unix:/s")
    }),
    ("--enable-json-log", &[], |_, it| it.json_log.is_some()),
    ("--json-log-path=/j", &["--enable-json-log"], |_, it| it.json_log == Some("/j".into())),
    ("--redact=badge={}", &[], |_, it| it.redaction != Redaction::default()),
    ("--metrics-file=/m", &[], |_, it| it.metrics_file == Some("/m".into())),
];
const BASELINE: &[&str] = &["--enable-baseline"];

fn policy(configuration: &Configuration) -> crate::correlation::Policy {
    configuration.engines.correlation.clone().unwrap()
}

fn judgement(configuration: &Configuration) -> crate::baseline::program::Judgement {
    configuration.engines.baseline.unwrap()
}

#[test]
fn every_option_is_taken_in_both_forms_and_comes_to_what_it_says() {
    let comes_to = |words: &[&str], effect: Effect| {
        let run = run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let configuration = Configuration::of(run.engines.clone()).unwrap();
        effect(&run, &configuration)
    };
    let mut told = BTreeSet::new();
    for (option, needed, effect) in EFFECTS {
        assert!(!comes_to(needed, *effect), "{option} is true without it");
        assert!(comes_to(&[needed, &[*option][..]].concat(), *effect), "{option}");
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if value.is_empty() {
            // A switch that is given false is not on.
            let off = format!("{name}=false");
            let is_engine = ["--enable-grimoire", "--enable-correlation"].contains(&name);
            assert!(
                is_engine || !comes_to(&[needed, &[off.as_str()][..]].concat(), *effect),
                "{off}"
            );
        } else {
            assert!(comes_to(&[needed, &[name, value][..]].concat(), *effect), "{name} {value}");
        }
        told.insert(name.trim_start_matches('-').to_owned());
    }
    let command = CommandLine::command();
    let of_run = command.find_subcommand("run").unwrap().get_arguments();
    let known: BTreeSet<_> = of_run.filter_map(|one| one.get_long().map(str::to_owned)).collect();
    assert_eq!(told, known, "an option without a line in the table");
}

#[test]
fn a_mistyped_option_or_command_is_told_what_was_meant() {
    for (typed, meant) in [
        (&["run", "--grimoire-lgo=/x"][..], "--grimoire-log"),
        (&["run", "--enable-corelation"], "--enable-correlation"),
        (&["replay", "--alert=x", "y"], "--alerts"),
        (&["statsu"], "status"),
        (&["rules", "chek"], "check"),
        (&["shadow-reprt"], "shadow-report"),
    ] {
        let words = ["sentinel"].iter().chain(typed);
        let error = CommandLine::try_parse_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let told = error.to_string();
        assert!(told.contains("similar") && told.contains(meant), "{typed:?}: {told}");
    }
}

#[test]
fn help_is_in_sections_by_engine_and_has_examples() {
    let mut command = CommandLine::command();
    let help = |name: &str, command: &mut clap::Command| {
        let command = command.find_subcommand_mut(name).unwrap();
        command.render_help().to_string()
    };
    let run = help("run", &mut command);
    let sections = ["Options:", "Patterns:", "Correlation:", "Baselines:", "Alerts:", "Examples:"];
    let places: Vec<_> = sections.iter().map(|section| run.find(section).unwrap()).collect();
    assert!(places.is_sorted(), "{run}");
    all_have_examples(&mut command);
}

fn all_have_examples(command: &mut clap::Command) {
    let only_leads_on = command.get_name() == "config";
    let help = command.render_help().to_string();
    assert!(only_leads_on || help.contains("Examples:"), "{help}");
    let own = command.get_subcommands_mut().filter(|one| one.get_name() != "help");
    own.for_each(all_have_examples);
}
