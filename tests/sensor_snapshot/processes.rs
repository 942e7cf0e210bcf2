//! Who is running.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    time::Duration,
};

use sentinel_ipc::{
    file_class::BUILT_IN,
    kernel_abi::{NO_CALL, flag, origin},
};
use sentinel_loader::arguments::Scope;
use sentinel_tests::{bed::Bed, programs::compiled, rig::boot_now, sentinel::within, tap::spanned};

use crate::stage::{Actor, Snapshot, cgroup_id, cgroup_of, sensor, sensor_of, stat, status};

/// Compares all that /proc tells of `pid` with what the snapshot does.
fn compare(snapshot: &Snapshot, pid: u32) {
    let told = snapshot.process(pid);
    let header = &told.header;
    let stat = stat(pid);
    assert_eq!((header.tgid, header.tid, header.call), (pid, pid, NO_CALL));
    assert_eq!(header.start_time / 10_000_000, stat[19].parse::<u64>().unwrap());
    assert_eq!(u64::from(told.parent_tgid), stat[1].parse::<u64>().unwrap());
    let parent = self::stat(told.parent_tgid);
    assert_eq!(told.parent_start_time / 10_000_000, parent[19].parse::<u64>().unwrap());
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap();
    assert_eq!(told.comm.split(|&byte| byte == 0).next(), comm.strip_suffix(b"\n"));
    assert_eq!(header.flags & flag::TRUNCATED, 0);
    let rights = &told.credentials;
    let ids = |name| status(pid, name, 10);
    assert_eq!(rights.uid.map(u64::from).as_slice(), ids("Uid:"));
    assert_eq!(rights.gid.map(u64::from).as_slice(), ids("Gid:"));
    assert_eq!((header.uid, header.euid), (rights.uid[0], rights.uid[1]));
    let sets = [rights.inheritable, rights.permitted, rights.effective, rights.bounding];
    for (set, name) in sets.into_iter().zip(["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"]) {
        assert_eq!(status(pid, name, 16), [set], "{name}");
    }
    let namespace = fs::metadata(format!("/proc/{pid}/ns/user")).unwrap().ino();
    assert_eq!(u64::from(rights.user_namespace), namespace);
    let link = fs::read_link(format!("/proc/{pid}/exe")).unwrap().into_os_string();
    let link = link.into_string().unwrap();
    let path = spanned(&told.path, &told.span);
    assert_eq!(told.span.origin, origin::KERNEL);
    assert_eq!(std::str::from_utf8(path).unwrap(), link.trim_end_matches(" (deleted)"));
    let file = fs::metadata(format!("/proc/{pid}/exe")).unwrap();
    let object = &told.executable;
    assert_eq!((object.inode, object.size), (file.ino(), file.len()));
    assert_eq!((object.mode, u64::from(object.links)), (file.mode(), file.nlink()));
    let cgroups = &snapshot.cgroups;
    let cgroup = cgroups.iter().find(|cgroup| cgroup.header.tgid == pid).expect("its cgroup");
    assert_eq!((cgroup.header.start_time, cgroup.id), (header.start_time, header.cgroup_id));
    let path = std::str::from_utf8(spanned(&cgroup.path, &cgroup.span)).unwrap();
    assert_eq!(path, cgroup_of(pid));
}

#[test]
fn each_process_is_told_as_proc_tells_it() {
    let Some(bed) = Bed::new() else { return };
    let deleted = bed.path("deleted");
    fs::copy(compiled("snapshot"), &deleted).unwrap();
    let long: Vec<_> = (0..90).map(|number| format!("argument-{number}")).collect();
    let long: Vec<_> = ["wait", "0"].into_iter().chain(long.iter().map(String::as_str)).collect();
    let mut actors = vec![
        Actor::start(&bed, &["wait"]),
        Actor::start(&bed, &long),
        Actor::start(&bed, &["drop"]),
        Actor::start(&bed, &["threads", "5"]),
        Actor::start_as(&bed, bed.command(&deleted), &["wait"]),
    ];
    let nested = bed.cgroup().join("a name with spaces").join("b");
    fs::create_dir_all(&nested).unwrap();
    let moved = Actor::start(&bed, &["wait"]);
    fs::write(nested.join("cgroup.procs"), moved.id().to_string()).unwrap();
    actors.push(moved);
    fs::remove_file(&deleted).unwrap();
    let mut sensor = sensor_of(&bed);
    let begun = boot_now();
    let snapshot = Snapshot::take(&mut sensor);
    let mut pids: Vec<_> = actors.iter().map(Actor::id).collect();
    pids.sort_unstable();
    assert_eq!(snapshot.tgids(), pids, "each once, threads not at all, and nobody from outside");
    for &pid in &pids {
        compare(&snapshot, pid);
        let header = &snapshot.process(pid).header;
        assert!((begun..=boot_now()).contains(&header.timestamp));
        let known = sensor.identity(pid).unwrap().expect("the enforcer may ask");
        assert_eq!((known.start_time, known.cgroup_id), (header.start_time, header.cgroup_id));
        assert_eq!((known.uid, known.in_scope), (header.uid, true));
        let object = &snapshot.process(pid).executable;
        assert_eq!(known.executable, (object.device, object.inode, object.generation));
    }
    assert_eq!(snapshot.process(actors[4].id()).executable.links, 0);
    assert!(!snapshot.is_cut);
    drop(actors);
    for directory in [nested.as_path(), nested.parent().unwrap()] {
        assert!(within(Duration::from_secs(5), || fs::remove_dir(directory).is_ok()));
    }
}

#[test]
fn a_process_whose_first_thread_has_ended_is_told() {
    let Some(bed) = Bed::new() else { return };
    let actor = Actor::start(&bed, &["leave"]);
    let pid = actor.id();
    assert!(within(Duration::from_secs(5), || stat(pid)[0] == "Z"));
    let ended = bed.command("true").spawn().unwrap();
    assert!(within(Duration::from_secs(5), || stat(ended.id())[0] == "Z"), "not waited for");
    let mut sensor = sensor_of(&bed);
    let snapshot = Snapshot::take(&mut sensor);
    assert_eq!(snapshot.tgids(), [pid]);
    let told = snapshot.process(pid);
    let path = spanned(&told.path, &told.span);
    assert_eq!(path, compiled("snapshot").into_os_string().into_encoded_bytes());
    assert_eq!(told.header.start_time / 10_000_000, stat(pid)[19].parse::<u64>().unwrap());
    let mut ended = ended;
    ended.wait().unwrap();
}

#[test]
fn our_own_processes_are_not_told() {
    let Some(bed) = Bed::new() else { return };
    let (ours, other) = (Actor::start(&bed, &["hold"]), Actor::start(&bed, &["wait"]));
    let mut sensor = sensor_of(&bed);
    sensor.exclude(ours.id()).unwrap();
    let snapshot = Snapshot::take(&mut sensor);
    assert_eq!(snapshot.tgids(), [other.id()]);
    assert!(snapshot.held_by(ours.id()).is_empty());
    assert_eq!(sensor.identity(ours.id()).unwrap(), None);
}

#[test]
fn two_thousand_processes_are_told_once_each() {
    let Some(bed) = Bed::new() else { return };
    let actor = Actor::start(&bed, &["children", "2000"]);
    let mut sensor = sensor_of(&bed);
    let snapshot = Snapshot::take(&mut sensor);
    let mut wanted: Vec<_> =
        actor.truth("child").iter().map(|child| u32::try_from(child[0]).unwrap()).collect();
    wanted.push(actor.id());
    wanted.sort_unstable();
    assert_eq!(snapshot.tgids(), wanted);
    assert!(!snapshot.is_cut);
    println!("2001 processes in {:?}", snapshot.took);
    let again = Snapshot::take(&mut sensor);
    assert_eq!(again.tgids(), wanted, "as often as one likes");
}

#[test]
fn what_forks_and_ends_meanwhile_is_told_once_at_the_most() {
    let Some(bed) = Bed::new() else { return };
    let actors: Vec<_> = (0..3).map(|_| Actor::start(&bed, &["churn"])).collect();
    let mut sensor = sensor_of(&bed);
    for _ in 0..20 {
        let snapshot = Snapshot::take(&mut sensor);
        let processes = snapshot.processes.iter();
        let mut told: Vec<_> =
            processes.map(|told| (told.header.tgid, told.header.start_time)).collect();
        let number = told.len();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), number);
        for actor in &actors {
            snapshot.process(actor.id());
        }
    }
}

#[test]
fn a_scope_that_is_a_tree_is_marked_from_its_root_down() {
    let Some(bed) = Bed::new() else { return };
    let code = "(sleep 300 & (sleep 300 & sleep 300)) & sleep 300 & wait";
    let mut root = bed.command("bash").args(["-c", code]).spawn().unwrap();
    let outside = Actor::start(&bed, &["wait"]);
    assert!(within(Duration::from_secs(5), || bed.members().len() == 8));
    let mut members = bed.members();
    members.retain(|&member| member != i32::try_from(outside.id()).unwrap());
    members.sort_unstable();
    let mut sensor = sensor(&Scope::Tree(root.id()));
    let told = Snapshot::take(&mut sensor).tgids();
    let told: Vec<_> = told.into_iter().map(|tgid| i32::try_from(tgid).unwrap()).collect();
    assert_eq!(told, members);
    root.kill().unwrap();
    root.wait().unwrap();
}

#[test]
fn a_root_that_is_no_process_is_refused() {
    use sentinel_loader::{
        call_counts::Counting,
        scope::ScopeError,
        sensor::{Sensor, SensorError},
    };
    let Some(bed) = Bed::new() else { return };
    let actor = Actor::start(&bed, &["threads", "1"]);
    let tasks = fs::read_dir(format!("/proc/{}/task", actor.id())).unwrap().flatten();
    let mut threads = tasks.map(|task| task.file_name().into_string().unwrap().parse().unwrap());
    let thread: u32 = threads.find(|&thread| thread != actor.id()).unwrap();
    let mut ended = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    assert!(within(Duration::from_secs(5), || stat(ended.id())[0] == "Z"));
    for root in [thread, ended.id(), 4_000_000_000] {
        let (mut sensor, _ring) =
            Sensor::load(&Scope::Tree(root), BUILT_IN, Counting::Never).unwrap();
        let refused = sensor.follow_scope();
        assert!(
            matches!(refused, Err(SensorError::Scope(ScopeError::NoProcess(pid))) if pid == root)
        );
    }
    ended.wait().unwrap();
}

#[test]
fn nobody_is_told_of_whom_the_cgroup_does_not_hold() {
    let Some(bed) = Bed::new() else { return };
    let inside = Actor::start(&bed, &["wait"]);
    let outside = Actor::start_as(&bed, Command::new(compiled("snapshot")), &["hold"]);
    let mut sensor = sensor_of(&bed);
    assert_eq!(Snapshot::take(&mut sensor).tgids(), [inside.id()]);
    let procs = |cgroup: &std::path::Path| cgroup.join("cgroup.procs");
    fs::write(procs(bed.cgroup()), outside.id().to_string()).unwrap();
    fs::write(procs(bed.all_beds()), inside.id().to_string()).unwrap();
    let snapshot = Snapshot::take(&mut sensor);
    assert_eq!(snapshot.tgids(), [outside.id()]);
    assert_eq!(snapshot.process(outside.id()).header.cgroup_id, cgroup_id(bed.cgroup()));
}
