//! What rules cost: 500 against 5 on one recorded stream; memory over many events and many processes.
//!
//! `cargo bench -p sentinel-analyzer --bench rules_cost [-- EVENTS]`. The stream is `honest_compilation.cap`,
//! again and again as later processes do the same. Ends with 1 if a bound is exceeded: 1.5 times the time
//! for a hundred times the rules, no growth over EVENTS (ten million) beyond [`MAX_GROWTH`], and
//! [`MAX_PER_PROCESS`] for each of 100,000 processes that live. With 0 events it does everything once and judges
//! nothing.

#![expect(clippy::expect_used, reason = "a bench that cannot run says so and ends")]

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use sentinel_analyzer::{analysis::Analysis, event::Event, rules::RuleSet};

#[path = "rules_cost/memory.rs"]
mod memory;

use memory::{MAX_GROWTH, MAX_PER_PROCESS, growth, lives, moved, recorded, span};

const MAX_RATIO: f64 = 1.5;
/// How often the stream is followed in a round.
const REPEATS: u64 = 40;
/// Rounds of each set of rules, in turns; the fastest counts.
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let events = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(10_000_000);
    let recorded = recorded();
    let lives = lives();
    let grew = growth(&recorded, events.max(1));
    let is_brief = events == 0;
    let ratio = ratio(&recorded, if is_brief { 1 } else { ROUNDS });
    let is_right = is_brief || ratio <= MAX_RATIO && grew <= MAX_GROWTH && lives <= MAX_PER_PROCESS;
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `number` rules of the forms that operators write, each about paths, ports or programs of its own.
fn rules(number: usize) -> RuleSet {
    let forms = [
        "event = \"exec\"\nwhere = { path = { prefix = \"/srv/N/\" } }",
        "event = \"exec\"\nwhere = { path = \"/usr/bin/tool-N\", uid = { ge = 1000 } }",
        "event = \"file_read\"\nwhere = { path = \"/etc/N.conf\" }\nnot = { uid = 0 }",
        "event = \"open\"\nwhere = { path = { glob = \"/home/*/.N/**\" } }",
        "event = \"connect\"\nwhere = { address = { cidr = \"10.N.0.0/16\" }, port = 443 }",
        "event = \"file_delete\"\nwhere = { path = { prefix = \"/var/log/N\" } }",
        "event = \"file_mode\"\nwhere = { path = { prefix = \"/srv/N/\" } }\n\
         [[rule.step]]\nevent = \"exec\"\nprocess = \"tree\"\nsame = { object = 1 }",
        "event = \"rename\"\nwhere = { path = { suffix = \".N\" } }",
        "event = \"mkdir\"\nwhere = { path = \"/tmp/.N\" }",
        "event = \"kill\"\nwhere = { signal = \"kill\", target_exe = \"/usr/sbin/daemon-N\" }",
    ];
    let mut set = RuleSet::default();
    for (place, form) in forms.iter().cycle().take(number).enumerate() {
        let text = format!(
            "[[rule]]\nname = \"own_{place}\"\nseverity = \"info\"\nmitre = \"T1059\"\ndescription = \"d\"\n\
             false_positives = \"f\"\nwindow = \"10s\"\n[[rule.step]]\n{}\n",
            form.replace('N', &(place % 256).to_string())
        );
        set.add_text("own.toml", &text).expect("sound rules");
    }
    set
}

fn follow(analysis: &mut Analysis, events: &[Event]) -> Duration {
    let mut alerts = Vec::new();
    let begun = Instant::now();
    for event in events {
        analysis.event(event, &mut alerts);
    }
    begun.elapsed()
}

fn ratio(once: &[Event], rounds: usize) -> f64 {
    let span = span(once);
    let recorded: Vec<Event> =
        (0..REPEATS).flat_map(|time| once.iter().map(move |one| moved(one, time * span))).collect();
    let mut best = [Duration::MAX; 2];
    for _ in 0..rounds {
        for (best, number) in best.iter_mut().zip([5, 500]) {
            let mut analysis = Analysis::with_rules(rules(number).activate(), false);
            *best = follow(&mut analysis, &recorded).min(*best);
        }
    }
    let per_event = best.map(|time| time.as_secs_f64() * 1e9 / recorded.len() as f64);
    let [few, many] = per_event;
    println!("{} events: 5 rules {few:.0} ns each, 500 rules {many:.0} ns each", recorded.len());
    println!("ratio {:.2} (at most {MAX_RATIO})", many / few);
    many / few
}
