//! Real exfiltrations, over a link between two network namespaces: each is seen to arrive, and the
//! correlation engine tells it as critical. One Sentinel watches them all.

#[path = "exfiltration/attacks.rs"]
mod attacks;
#[path = "exfiltration/far.rs"]
mod far;

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use far::{Far, Peers};
use sentinel_tests::{
    bed::{Bed, skip},
    outside::Outside,
    programs::compiled,
    sentinel::{PATIENCE, Sentinel, alerts, within},
};
use serde_json::Value;

/// Bytes of the key: an ed25519 key's.
const KEY_BYTES: usize = 411;
/// A secret access key.
const TOKEN: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// Programs that the table needs.
const NEEDS: [&str; 14] = [
    "nc.openbsd",
    "ncat",
    "socat",
    "curl",
    "wget",
    "openssl",
    "xxd",
    "perl",
    "python3",
    "node",
    "ssh",
    "scp",
    "rsync",
    "unshare",
];
/// What must be found of 100.
const WANTED: usize = 95;

/// What must have come to the peer.
#[derive(Clone, Copy)]
enum Arrives {
    /// The key as it is.
    Key,
    /// The token as it is.
    Token,
    /// So many bytes.
    Bytes(usize),
}

/// An exfiltration.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    far: Far,
    arrives: Arrives,
    /// For bash. `@KEY` and `@TOKEN` are secrets of its own, `@DIR` the directory with them, `@HOST` and
    /// `@PORT` the peer, `@SSH` options of ssh to get in there, `@WAYS` and `@HOPS` the programs in C.
    script: &'static str,
    /// Whether it is under way before the sensor, and goes on when there is a file `@DIR/go`.
    is_before: bool,
    /// Why it is not found.
    missed: Option<&'static str>,
}

const fn attack(name: &'static str, far: Far, script: &'static str) -> Attack {
    Attack { name, far, arrives: Arrives::Key, script, is_before: false, missed: None }
}

impl Attack {
    /// Not the key as it is, but this many bytes.
    const fn coded(self, bytes: usize) -> Self {
        Self { arrives: Arrives::Bytes(bytes), ..self }
    }

    /// Not the key, but the token.
    const fn token(self) -> Self {
        Self { arrives: Arrives::Token, ..self }
    }

    const fn before(self) -> Self {
        Self { is_before: true, ..self }
    }

    const fn missed(self, why: &'static str) -> Self {
        Self { missed: Some(why), ..self }
    }
}

/// An attack that is prepared: its peer waits.
struct Plan {
    attack: Attack,
    directory: PathBuf,
    port: u16,
    script: String,
    loot: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
}

/// A key, as hard to compress as one is.
fn key() -> String {
    let mut state = 1_u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 24) as u8 % 64)
    };
    (1..KEY_BYTES).map(|_| letter()).chain(['\n']).collect()
}

fn secret(path: &Path, content: &str) -> String {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plan(bed: &Bed, peers: &mut Peers<'_>, number: usize, attack: Attack) -> Plan {
    let directory = bed.path(&number.to_string());
    let key = secret(&directory.join(".ssh/id_ed25519"), &key());
    let token = secret(&directory.join(".aws/credentials"), TOKEN);
    let (there, loot) = peers.wait_for(attack.far, &directory);
    let script = attack
        .script
        .to_owned()
        .replace("@KEY", &key)
        .replace("@TOKEN", &token)
        .replace("@DIR", directory.to_str().unwrap())
        .replace("@HOST", &there.ip().to_string())
        .replace("@PORT", &there.port().to_string())
        .replace("@SSH", &peers.ssh_options())
        .replace("@WAYS", compiled("exfiltration").to_str().unwrap())
        .replace("@HOPS", compiled("exfiltration_hops").to_str().unwrap());
    Plan { attack, directory, port: there.port(), script, loot }
}

impl Plan {
    fn start(&self, bed: &Bed, outside: &Outside) -> Child {
        let mut command = outside.command(bed, "timeout");
        command.args(["60", "bash", "-c", &self.script]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn has_arrived(&self) -> bool {
        let loot = (self.loot)();
        let has = |wanted: &[u8]| loot.windows(wanted.len()).any(|part| part == wanted);
        match self.attack.arrives {
            Arrives::Key => has(key().as_bytes()),
            Arrives::Token => has(TOKEN.as_bytes()),
            Arrives::Bytes(count) => loot.len() >= count,
        }
    }

    /// Waits for its end; what is wrong with it.
    fn finish(&self, child: Child) -> Result<(), String> {
        let output = child.wait_with_output().unwrap();
        if within(PATIENCE, || self.has_arrived()) {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let count = (self.loot)().len();
        let Attack { name, .. } = self.attack;
        Err(format!(
            "{name}: {}, {count} bytes arrived: {}\n  {errors}",
            output.status, self.script
        ))
    }

    /// Whether one of `alerts` is critical and about it.
    fn is_in(&self, alerts: &[Value]) -> bool {
        alerts.iter().any(|alert| {
            alert["severity"] == "critical"
                && alert["remote_port"] == self.port
                && alert["remote_ip"] == self.attack.far.address()
        })
    }
}

/// Does all of them, some at a time; what was wrong with those that did not happen.
fn carry_out(bed: &Bed, outside: &Outside, plans: &[&Plan]) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = plan.finish(plan.start(bed, outside)) {
                        failures.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

#[test]
fn they_are_found_whatever_the_order_path_or_number_of_hops() {
    let Some(bed) = Bed::new() else { return };
    let is_here = |tool: &&str| Path::new("/usr/bin").join(tool).exists();
    if let Some(tool) = NEEDS.iter().find(|tool| !is_here(tool)) {
        return skip(&format!("not installed: {tool}"));
    }
    let outside = Outside::with_home();
    let mut peers = Peers::new(&bed, &outside);
    let all = [attacks::WAYS, attacks::TOOLS, attacks::HOPS].concat();
    let plans: Vec<Plan> = all
        .into_iter()
        .enumerate()
        .map(|(number, attack)| plan(&bed, &mut peers, number, attack))
        .collect();
    let ends: HashSet<_> =
        plans.iter().map(|plan| (plan.port, plan.attack.far.address())).collect();
    assert_eq!(ends.len(), plans.len(), "each has a peer of its own");

    let (before, after): (Vec<&Plan>, Vec<&Plan>) =
        plans.iter().partition(|plan| plan.attack.is_before);
    let before: Vec<_> = before.into_iter().map(|one| (one, one.start(&bed, &outside))).collect();
    sleep(Duration::from_secs(1));
    let log = bed.path("correlation.json");
    let log_option = format!("--correlation-log={}", log.display());
    // What must not depend on how busy the machine is: the steps of an attack are seconds apart then.
    let arguments =
        ["--enable-grimoire", "--enable-correlation", "--correlation-timeout=20000", &log_option];
    let sentinel = Sentinel::start(&bed, &arguments);
    for (plan, _) in &before {
        fs::write(plan.directory.join("go"), "").unwrap();
    }
    let mut failures = carry_out(&bed, &outside, &after);
    failures.extend(before.into_iter().filter_map(|(plan, child)| plan.finish(child).err()));
    let outcome = sentinel.stop();
    assert!(failures.is_empty(), "did not happen:\n{}", failures.join("\n"));

    let told = alerts(&log);
    let mut wrong = Vec::new();
    let mut found = 0;
    for plan in &plans {
        let is_found = plan.is_in(&told);
        found += usize::from(is_found);
        let by_pattern = if plan.is_in(&outcome.alerts) { "" } else { " not" };
        let Attack { name, missed, .. } = plan.attack;
        match (is_found, missed) {
            (false, None) => wrong
                .push(format!("{name}: missed;{by_pattern} by credential_exfil: {}", plan.script)),
            (true, Some(why)) => wrong.push(format!("{name}: found, though {why}")),
            _ => {}
        }
    }
    let summary = format!("{found} of {} found", plans.len());
    writeln!(std::io::stderr(), "{summary}").unwrap();
    assert!(wrong.is_empty(), "{summary}, {}\n{}", outcome.output, wrong.join("\n"));
    assert!(found * 100 >= plans.len() * WANTED, "{summary}");
}

#[test]
fn the_documentation_lists_each_with_its_result() {
    let text = include_str!("../docs/detection.md");
    let (found, missed) = text.split_once("## What is missed").unwrap();
    for one in [attacks::WAYS, attacks::TOOLS, attacks::HOPS].concat() {
        let where_to_look = if one.missed.is_some() { missed } else { found };
        let cells: Vec<&str> = where_to_look.split(['|', '·']).map(str::trim).collect();
        assert!(cells.contains(&one.name), "{}", one.name);
    }
}
