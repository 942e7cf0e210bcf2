//! The part of the scope that the analyzer selects, and what is left of the loader's rights.

use std::{fs, process::Command};

use sentinel_ipc::frame::Selection;
use sentinel_loader::arguments::Scope;
use sentinel_tests::{bed::Bed, programs::compiled, sentinel::program};

use crate::stage::{Actor, Snapshot, cgroup_id, channels, sensor, sensor_of};

const NOBODY: [u32; 0] = [];

#[test]
fn a_selection_narrows_the_scope_and_never_widens_it() {
    let Some(bed) = Bed::new() else { return };
    let (one, other) = (Actor::start(&bed, &["children", "3"]), Actor::start(&bed, &["wait"]));
    let outside = Actor::start_as(&bed, Command::new(compiled("snapshot")), &["wait"]);
    let nested = bed.cgroup().join("nested");
    fs::create_dir(&nested).unwrap();
    fs::write(nested.join("cgroup.procs"), other.id().to_string()).unwrap();
    let mut sensor = sensor_of(&bed);
    let mut tree: Vec<_> =
        one.truth("child").iter().map(|child| u32::try_from(child[0]).unwrap()).collect();
    tree.push(one.id());
    tree.sort_unstable();
    let mut all = tree.clone();
    all.push(other.id());
    all.sort_unstable();
    let mut told = |selection| {
        sensor.select(selection).unwrap();
        Snapshot::take(&mut sensor).tgids()
    };
    assert_eq!(told(Selection::Tree(one.id())), tree);
    assert_eq!(told(Selection::Cgroup(cgroup_id(&nested))), [other.id()], "in place of the tree");
    assert_eq!(told(Selection::Cgroup(cgroup_id(bed.cgroup()))), all);
    assert_eq!(told(Selection::Cgroup(cgroup_id(bed.all_beds()))), all, "wider than the scope");
    assert_eq!(told(Selection::Tree(outside.id())), NOBODY, "outside the scope");
    assert_eq!(told(Selection::Tree(u32::MAX)), NOBODY, "nobody");
    assert_eq!(told(Selection::Tree(0)), NOBODY, "nobody");
    assert_eq!(told(Selection::Cgroup(u64::MAX)), NOBODY, "no such cgroup");
    assert_eq!(told(Selection::Cgroup(0)), NOBODY, "no such cgroup");
    assert_eq!(told(Selection::All), all);
    assert!(sensor.identity(one.id()).unwrap().unwrap().in_scope);
    sensor.select(Selection::Tree(other.id())).unwrap();
    assert!(sensor.identity(one.id()).unwrap().unwrap().in_scope, "the scope is the operator's");
    drop(other);
    while fs::remove_dir(&nested).is_err() {}
}

#[test]
fn a_selection_is_followed() {
    let Some(bed) = Bed::new() else { return };
    let nested = bed.cgroup().join("nested");
    fs::create_dir(&nested).unwrap();
    let id = cgroup_id(&nested);
    let mut sensor = sensor(&Scope::Cgroup(bed.cgroup().to_owned()));
    sensor.select(Selection::Cgroup(id)).unwrap();
    let moved = Actor::start(&bed, &["wait"]);
    let mut told = || Snapshot::take(&mut sensor).tgids();
    assert_eq!(told(), NOBODY);
    fs::write(nested.join("cgroup.procs"), moved.id().to_string()).unwrap();
    assert_eq!(told(), [moved.id()]);
    // clone3 puts the child where its parent is not.
    let mut clone = bed.command(compiled("clone_into"));
    clone.arg(&nested).arg(compiled("snapshot"));
    let cloned = Actor::start_as(&bed, clone, &["wait"]);
    let told_now = told();
    assert_eq!(told_now.len(), 2, "the child, not the parent");
    assert!(!told_now.contains(&cloned.id()));
    fs::write(bed.cgroup().join("cgroup.procs"), moved.id().to_string()).unwrap();
    assert_eq!(told().len(), 1);
    let inherits = Actor::start(&bed, &["wait"]);
    sensor.select(Selection::Tree(std::process::id())).unwrap();
    let later = Actor::start(&bed, &["wait"]);
    let told = Snapshot::take(&mut sensor).tgids();
    assert!(told.contains(&inherits.id()) && told.contains(&later.id()));
    for pid in fs::read_to_string(nested.join("cgroup.procs")).unwrap().lines() {
        fs::write(bed.cgroup().join("cgroup.procs"), pid).unwrap();
    }
    while fs::remove_dir(&nested).is_err() {}
}

#[test]
fn snapshots_and_selections_need_no_privilege() {
    let Some(bed) = Bed::new() else { return };
    let actors = [Actor::start(&bed, &["hold"]), Actor::start(&bed, &["hold"])];
    let probe = program().with_file_name("snapshot_probe");
    let output = Command::new(probe).arg(bed.cgroup()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let [one, other] = actors.each_ref().map(|actor| channels(actor.id()).len());
    let wanted = format!("processes 2 held {}\nprocesses 1 held {one}\n", one + other);
    assert_eq!(text, wanted);
}
