//! Real fork bombs, bounded by a cgroup's `pids.max` and by time, each one critical alert; and work that
//! makes as many processes, and is none.

use std::{fs, process::Child};

use sentinel_tests::{
    bed::Bed,
    bounds::Bounds,
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

fn of_bombs(sentinel: &Sentinel) -> Vec<Value> {
    let all = alerts(sentinel.log()).into_iter();
    all.filter(|alert| alert["pattern_name"] == "fork_bomb").collect()
}

/// Sets off bombs one after the other; each has one alert that says `how`, about its own program.
fn explode(most: u32, bombs: &[(&[&str], &str)]) {
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &[]);
    for (number, (line, how)) in bombs.iter().enumerate() {
        let Some(bounds) = Bounds::new(most) else { return };
        let mut command = bounds.command(&bed, line[0]);
        let mut child: Child = command.args(&line[1..]).spawn().unwrap();
        let is_told = || of_bombs(&sentinel).len() > number;
        let told = within(PATIENCE, is_told);
        bounds.end();
        child.wait().unwrap();
        assert!(told, "{line:?}: {:#?}", of_bombs(&sentinel));
        let alert = of_bombs(&sentinel).pop().unwrap();
        assert_eq!(
            (&alert["severity"], &alert["mitre"]),
            (&"critical".into(), &"T1499.001".into())
        );
        assert!(alert["message"].as_str().unwrap().contains(how), "{line:?}: {alert:#}");
        if *how != "chain" {
            assert_eq!(alert["pid"], child.id(), "its root: {line:?}: {alert:#}");
        }
    }
    let outcome = sentinel.stop();
    let told = outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "fork_bomb").count();
    assert_eq!(told, bombs.len(), "each once: {:#?}", outcome.alerts);
}

#[test]
fn bombs_that_spread() {
    let bomb = compiled("fork_bomb");
    let bomb = bomb.to_str().unwrap();
    explode(
        300,
        &[
            (&["bash", "-c", ":(){ :|:& };: ; sleep 20; :"], "spreads"),
            (&[bomb, "spread"], "spreads"),
            (&[bomb, "slow"], "spreads"),
            (&[bomb, "anew"], "spreads"),
            (&[bomb, "renamed"], "spreads"),
            (&["perl", "-e", "alarm 20; fork while 1"], "spreads"),
        ],
    );
}

#[test]
fn bombs_that_are_wide_or_a_chain() {
    let bomb = compiled("fork_bomb");
    let bomb = bomb.to_str().unwrap();
    explode(700, &[(&[bomb, "wide"], "children that stay"), (&[bomb, "chain"], "chain")]);
}

const MAKEFILE: &str = "all: $(foreach n,$(shell seq 300),job$n)
job%:
\t@sh -c 'true | cat; sleep 0.05; $(MAKE) -s -f $(firstword $(MAKEFILE_LIST)) leaf$*'
leaf%:
\t@true
.PHONY: all
";

const CONFIGURE: &str = r#"as_check() { (echo "checking $1"; eval "$2") >/dev/null; }
for n in $(seq 400); do
  as_check "feature $n" 'x=$(echo $(echo $(echo yes))); case $x in yes) ( ( (true) ) );; esac'
done
"#;

/// A test runner's workers; each starts a server that has a pool.
const RUNNER: &str = r#"my $server = 'for (1..4) { fork or do { sleep 1; exit } } 1 while wait > 0';
for (1..24) { fork or do { system "perl", "-e", $server; exit } } 1 while wait > 0"#;

/// Jobs of scripts that run each other in subshells and pipelines.
const JOBS: &str = r#"log() { while read -r line; do echo "$line"; done; }
build() { x=$(echo $(echo $1)); sleep 0.8; (echo "$x" | { read -r y; echo "$y"; }); }
export -f log build
for n in $(seq 24); do ( bash -c '( build $0 2>&1 | log ); ( build $0 | log )' $n | cat >/dev/null ) & done; wait
"#;

/// A function that calls itself eighty times, in a subshell each time.
const RECURSION: &str =
    "sum() { [ $1 = 0 ] && echo 0 || echo $(($1 + $(sum $(($1 - 1))))); }; sum 80";

#[test]
fn honest_work_that_makes_many_processes() {
    let Some(bed) = Bed::new() else { return };
    let Some(bounds) = Bounds::new(1500) else { return };
    let makefile = bed.path("Makefile");
    fs::write(&makefile, MAKEFILE).unwrap();
    let configure = bed.path("configure");
    fs::write(&configure, CONFIGURE).unwrap();
    let workers = compiled("fork_bomb");
    let sentinel = Sentinel::start(&bed, &[]);
    let run = |line: &[&str]| {
        let status = bounds.command(&bed, line[0]).args(&line[1..]).status().unwrap();
        assert!(status.success() || line[1] == "workers", "{line:?}: {status}");
    };
    run(&["make", "-j64", "-f", makefile.to_str().unwrap()]);
    run(&["sh", "-c", "seq 2000 | xargs -n1 -P64 true"]);
    run(&["bash", "-c", "for n in $(seq 3000); do /bin/true; done"]);
    run(&["bash", "-c", "for n in $(seq 3000); do x=$(echo $n); done"]);
    run(&["sh", configure.to_str().unwrap()]);
    run(&[workers.to_str().unwrap(), "workers"]);
    run(&["perl", "-e", RUNNER]);
    run(&["bash", "-c", JOBS]);
    run(&["bash", "-c", RECURSION]);
    run(&["sh", "-c", "find /usr/share/doc -maxdepth 1 -exec sh -c 'true' {} ';'"]);
    run(&["perl", "-e", "for (1..200) { fork or exec 'sleep', '0.5' } 1 while wait > 0"]);
    let outcome = sentinel.stop();
    let told: Vec<&Value> =
        outcome.alerts.iter().filter(|alert| alert["pattern_name"] == "fork_bomb").collect();
    assert_eq!(told, Vec::<&Value>::new());
}
