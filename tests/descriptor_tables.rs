//! What the analyzer believes processes to have open is what they have, by the kernel's own word: many
//! processes do everything that can be done to descriptors, at random, and then /proc/PID/fd is compared.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Child, Stdio},
};

use sentinel_analyzer::{event::Action, process_table::ProcessTable};
use sentinel_ipc::{frame::KindSet, kernel_abi::kind};
use sentinel_tests::{
    bed::Bed,
    programs::compiled,
    sentinel::{PATIENCE, start_ticks, within},
    tap::Tap,
};

/// Steps that each process takes.
const STEPS: &str = "250";
/// Families of processes, each with a seed of its own.
const FAMILIES: u32 = 6;

/// Sockets, pipes and memory, and `file`, by number: the inodes that /proc tells.
fn true_table(pid: u32, file: u64) -> BTreeMap<u32, u64> {
    let directory = format!("/proc/{pid}/fd");
    let numbers = fs::read_dir(&directory).unwrap().flatten();
    let told = |path: &Path| {
        let target = fs::read_link(path).ok()?;
        let target = target.to_string_lossy().into_owned();
        let inode = fs::metadata(path).ok()?.ino();
        let is_told = ["socket:", "pipe:", "/memfd:"].iter().any(|kind| target.starts_with(kind));
        (is_told || inode == file).then_some(inode)
    };
    let number = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    numbers.filter_map(|entry| Some((number(&entry.path())?, told(&entry.path())?))).collect()
}

/// The same, as the analyzer believes.
fn believed(processes: &ProcessTable, pid: u32, file: u64) -> BTreeMap<u32, u64> {
    let process = processes.of_tgid(pid).unwrap_or_else(|| panic!("{pid} is not known"));
    let descriptors = process.descriptors.borrow();
    let slots = descriptors.iter().filter(|(_, slot)| {
        let object = &slot.object;
        object.is_pipe || object.socket().is_some() || object.is_memory || object.id.inode == file
    });
    slots.map(|(number, slot)| (number, slot.object.id.inode)).collect()
}

fn is_done(pid: &u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "done")
}

#[test]
fn tables_are_those_of_the_kernel_after_a_random_life() {
    let Some(bed) = Bed::new() else { return };
    let file = bed.path(".env");
    fs::write(&file, "SECRET=1\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    // As the analyzer asks: not for files of no class, whose ends are then not told either.
    let mut tap = Tap::start_with(&bed, KindSet::all().without(KindSet::of(&[kind::OPEN_ANY])));
    let start = |seed: u32| {
        let mut command = bed.command(compiled("descriptor_tables"));
        command.args([&seed.to_string(), STEPS, "2", file.to_str().unwrap()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    };
    let members = || bed.members().into_iter().map(i32::unsigned_abs).collect::<Vec<u32>>();
    let mut families: Vec<Child> = (1..=FAMILIES).map(start).collect();
    let all_are_done = || {
        // Their heads first, as not all may be in the bed yet; and nobody was made while the others were looked at.
        let done = families.iter().all(|family| is_done(&family.id()));
        let before = members();
        let done = done && before.iter().all(is_done) && members() == before;
        // All the while, as what they do does not fit into the rings.
        tap.catch_up();
        done
    };
    assert!(within(PATIENCE, all_are_done));
    let mut processes = ProcessTable::default();
    for record in tap.records() {
        let event = record.event();
        processes.apply(&event);
        if let Some(closing) = event.closing() {
            processes.apply(&closing);
        }
        if matches!(event.action, Action::Exit) {
            processes.forget(event.process);
        }
    }
    let pids = members();
    let mut compared = 0;
    for &pid in &pids {
        assert!(start_ticks(pid) > 0);
        let (is, believed) = (true_table(pid, inode), believed(&processes, pid, inode));
        compared += is.len();
        let others: Vec<_> =
            believed.iter().filter(|(number, id)| is.get(number) != Some(id)).collect();
        let missed: Vec<_> =
            is.iter().filter(|(number, id)| believed.get(number) != Some(id)).collect();
        assert!(
            others.is_empty() && missed.is_empty(),
            "{pid}: believed {others:?}, true {missed:?}"
        );
    }
    for family in &mut families {
        family.kill().unwrap();
        family.wait().unwrap();
    }
    assert!(pids.len() > 2 * families.len(), "{} processes", pids.len());
    assert!(compared > 20 * families.len(), "{compared} descriptors");
}
