//! A rule in words.

use std::fmt::{self, Write as _};

use super::{
    kinds::{EventKind as E, Kinds},
    language::duration::show,
    rule::{
        Allowed, Common, Comparison, Condition, Description, Outcome, Relation, Rule, Step, Test,
        TextTest,
    },
};
use crate::{escape::escape, secrets::own::Client};

/// Events of which a busy host has thousands a second.
const FREQUENT: Kinds = Kinds::of(&[
    E::Fork,
    E::Exec,
    E::Exit,
    E::Socket,
    E::Connect,
    E::Accept,
    E::Dup,
    E::Pipe,
    E::Sent,
    E::Traffic,
    E::Unlink,
    E::Rename,
]);

/// What the rule means, what it asks the sensor for, and how much work it is.
pub fn explain(rule: &Rule) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = write(&mut text, rule);
    text
}

fn write(to: &mut String, rule: &Rule) -> fmt::Result {
    writeln!(to, "{}  {}  {}", rule.name, rule.severity.name(), rule.mitre)?;
    writeln!(to, "  {}", rule.description)?;
    writeln!(to, "  wrong when: {}", rule.false_positives)?;
    for (number, step) in rule.steps.iter().enumerate() {
        writeln!(to, "  step {}: {}", number + 1, step_in_words(rule, number, step))?;
    }
    match rule.steps.len() {
        1 => writeln!(to, "  says so once in {} about one process", show(rule.window))?,
        _ => writeln!(to, "  all of it within {}", show(rule.window))?,
    }
    for allowed in &rule.allow {
        writeln!(to, "  not counted: what {} does", allowed_in_words(allowed))?;
    }
    let kinds: Vec<&str> = rule.kinds().iter().map(|entry| entry.name).collect();
    writeln!(to, "  asks the sensor for: {}", kinds.join(", "))?;
    writeln!(to, "  cost: {}", cost(rule))?;
    rule.references.iter().try_for_each(|reference| writeln!(to, "  see {reference}"))
}

/// Who reads what of its own, and why that is no reading; on one line.
pub fn explain_client(client: &Client) -> String {
    let programs = match (client.exe.join(", "), client.script.join(", ")) {
        (exe, script) if script.is_empty() => exe,
        (exe, script) if exe.is_empty() => format!("the script {script}"),
        (exe, script) => format!("{exe} with the script {script}"),
    };
    let mut text = format!("{}: {} of {programs}", client.why, client.class_names().join(", "));
    if !client.file.is_empty() {
        text = format!("{text}, named {}", client.file.join(" or "));
    }
    if !client.port.is_empty() {
        let ports: Vec<String> = client.port.iter().map(u16::to_string).collect();
        text = format!("{text}, until it goes to another port than {}", ports.join(", "));
    }
    if client.sends_files {
        text.push_str(", unless its arguments name the file");
    }
    text
}

fn cost(rule: &Rule) -> &'static str {
    let Some(first) = rule.steps.first() else { return "none" };
    let is_frequent = first.event.kinds.meets(FREQUENT);
    match (is_frequent, first.event.conditions.is_empty()) {
        (false, _) => "low: begins with rare events",
        (true, false) => "medium: looks at frequent events, and most of them fail a condition",
        (true, true) => "high: every event of a frequent kind begins a sequence",
    }
}

fn step_in_words(rule: &Rule, number: usize, step: &Step) -> String {
    let mut parts = vec![event_in_words(&step.event)];
    if number > 0 {
        parts.push(relation_in_words(step.relation).to_owned());
    }
    for binding in &step.bindings {
        let earlier = rule.steps.get(binding.step).and_then(|step| step.name.clone());
        let earlier = earlier.unwrap_or_else(|| (binding.step + 1).to_string());
        let name = Common::ALL.iter().find(|(_, common)| *common == binding.common);
        parts.push(format!("same {} as in step {earlier}", name.map_or("", |(name, _)| name)));
    }
    parts.extend(step.within.map(|within| format!("within {} of the step before", show(within))));
    parts.extend(step.distance.map(|distance| format!("at most {distance} events later")));
    parts.extend(
        step.repeat.map(|repeat| format!("{} times within {}", repeat.count, show(repeat.per))),
    );
    parts.extend(step.without.as_ref().map(|absence| {
        let (event, who) = (event_in_words(&absence.event), relation_in_words(absence.relation));
        format!("with no {event} {who} between")
    }));
    parts.join(", ")
}

fn relation_in_words(relation: Relation) -> &'static str {
    match relation {
        Relation::SameProcess => "by the same process",
        Relation::Child => "by a child of that process",
        Relation::Tree => "by that process or a descendant",
        Relation::Lineage => "by a process that data can have come to from that one",
        Relation::Any => "by any process",
    }
}

fn event_in_words(event: &Description) -> String {
    let mut text = event.event.join(" or ");
    match event.outcome {
        Outcome::Success => {}
        Outcome::Failure => text.push_str(" that failed"),
        Outcome::Any => text.push_str(", failed or not,"),
    }
    let joined = |conditions: &[Condition]| {
        conditions.iter().map(in_words).collect::<Vec<_>>().join(" and ")
    };
    if !event.conditions.is_empty() {
        text = format!("{text} where {}", joined(&event.conditions));
    }
    for exception in &event.exceptions {
        text = format!("{text}, unless {}", joined(exception));
    }
    text
}

fn allowed_in_words(allowed: &Allowed) -> String {
    let mut text = allowed.exe.join(", ");
    if !allowed.script.is_empty() {
        text = format!("{text} with the script {}", allowed.script.join(" or "));
    }
    if !allowed.parent.is_empty() {
        text = format!("{text} under {}", allowed.parent.join(" or "));
    }
    if allowed.argv.is_some() {
        text.push_str(" with certain arguments");
    }
    let conditions: Vec<String> = allowed.conditions.iter().map(in_words).collect();
    if conditions.is_empty() { text } else { format!("{text} where {}", conditions.join(" and ")) }
}

fn in_words(Condition { field, test }: &Condition) -> String {
    let name = field.name;
    let listed =
        |numbers: &mut dyn Iterator<Item = String>| numbers.collect::<Vec<_>>().join(" or ");
    match test {
        Test::Flag(flag) => format!("{name} is {flag}"),
        Test::Number(how, number) => match how {
            Comparison::Greater => format!("{name} > {number}"),
            Comparison::GreaterOrEqual => format!("{name} ≥ {number}"),
            Comparison::Less => format!("{name} < {number}"),
            Comparison::LessOrEqual => format!("{name} ≤ {number}"),
            Comparison::BitsSet => format!("{name} has all bits of {number:#x}"),
            Comparison::BitsClear => format!("{name} has no bit of {number:#x}"),
        },
        Test::Numbers(numbers, is_in) => {
            let not = if *is_in { "" } else { "not " };
            format!("{name} is {not}{}", listed(&mut numbers.iter().map(i128::to_string)))
        }
        Test::Texts(how, texts) => {
            let verb = match how {
                TextTest::Equal => "is",
                TextTest::NotEqual => "is not",
                TextTest::Prefix => "begins with",
                TextTest::Suffix => "ends with",
                TextTest::Contains => "contains",
            };
            format!("{name} {verb} {}", listed(&mut texts.iter().map(|text| escape(text))))
        }
        Test::Globs(globs) => {
            format!("{name} is like {}", listed(&mut globs.iter().map(ToString::to_string)))
        }
        Test::Networks(networks, is_in) => {
            let not = if *is_in { "" } else { "not " };
            format!("{name} is {not}in {}", listed(&mut networks.iter().map(ToString::to_string)))
        }
        Test::Classes(classes, is_in) => {
            let not = if *is_in { "" } else { "not " };
            let names = super::fields::FILE_CLASSES;
            let mut names = names.iter().filter(|(_, class)| classes.contains(class));
            format!(
                "{name} is {not}{}",
                listed(&mut names.by_ref().map(|(name, _)| (*name).to_owned()))
            )
        }
    }
}
