//! What running processes have open.

use std::fs;

use sentinel_ipc::{
    file_class,
    kernel_abi::{flag, kind},
};
use sentinel_tests::{
    bed::Bed,
    sentinel::{PATIENCE, within},
    tap::spanned,
};

use crate::stage::{Actor, Snapshot, channels, sensor_of};

#[test]
fn every_socket_and_pipe_is_told_and_nothing_else() {
    let Some(bed) = Bed::new() else { return };
    let actor = Actor::start(&bed, &["hold"]);
    let pid = actor.id();
    let mut sensor = sensor_of(&bed);
    let snapshot = Snapshot::take(&mut sensor);
    let held = snapshot.held_by(pid);
    let mut told: Vec<_> = held
        .iter()
        .map(|held| {
            let closes = held.header.flags & flag::CLOSE_ON_EXEC != 0;
            (held.header.argument[0], held.descriptor.object.inode, closes)
        })
        .collect();
    told.sort_unstable();
    // What is opened as a name is not a socket, though its inode is of that type.
    assert_eq!(told, channels(pid));
    assert!(told.len() > 150);
    let of = |number: u64| *held.iter().find(|held| held.header.argument[0] == number).unwrap();
    let process = snapshot.process(pid);
    for truth in actor.truth("peer") {
        assert_eq!(of(truth[0]).peer, truth[1], "descriptor {}", truth[0]);
    }
    let tcp = actor.truth("tcp");
    assert_eq!(tcp.len(), 6);
    for truth in &tcp {
        let told = of(truth[0]);
        let socket = &told.descriptor.socket;
        assert_eq!(u64::from(socket.local_port), truth[1]);
        assert_eq!(u64::from(socket.remote_port), truth[2]);
        assert_eq!(socket.state, if truth[2] == 0 { 10 } else { 1 });
        assert_eq!((socket.kind, socket.protocol, told.peer), (1, 6, 0));
        let loopback = if socket.family == 2 { socket.local_address[0] } else { 127 };
        assert_eq!(loopback, 127);
    }
    let client = of(tcp[1][0]).descriptor.object.inode;
    assert_eq!(process.stdio[0].object.inode, client);
    assert_eq!(process.stdio[1].object.inode, client);
    assert_eq!(u64::from(process.stdio[0].socket.remote_port), tcp[1][2]);
    for held in &held {
        let header = &held.header;
        assert_eq!(header.start_time, process.header.start_time);
        assert_eq!(header.cgroup_id, process.header.cgroup_id);
        assert!(header.timestamp >= process.header.timestamp);
    }
}

#[test]
fn an_open_secret_is_told_and_taints_who_can_read_it() {
    let Some(bed) = Bed::new() else { return };
    let (reader, writer) =
        (Actor::start(&bed, &["secrets"]), Actor::start(&bed, &["write-secrets"]));
    let mut sensor = sensor_of(&bed);
    let first = Snapshot::take(&mut sensor);
    assert_eq!(first.process(reader.id()).header.flags & flag::TAINTED, 0, "not known before");
    for actor in [&reader, &writer] {
        let told: Vec<_> =
            first.files.iter().filter(|told| told.header.tgid == actor.id()).collect();
        assert_eq!(told.len(), 1, "the ordinary file is not told");
        assert_eq!(told[0].header.kind, kind::HELD_FILE);
        assert_eq!(told[0].class, file_class::class::CLOUD_CREDENTIALS);
        let path = spanned(&told[0].path, &told[0].span).to_vec();
        let wanted = fs::canonicalize(actor.path(".aws/credentials")).unwrap();
        assert_eq!(path, wanted.into_os_string().into_encoded_bytes());
        assert_eq!(told[0].object.size, 6);
    }
    let number = reader.truth("read")[0][0];
    let told = first.files.iter().find(|told| told.header.tgid == reader.id()).unwrap();
    assert_eq!((told.header.argument[0], told.open_flags & 3), (number, 0));
    // What it is called does not matter once it is known.
    fs::rename(reader.path(".aws/credentials"), reader.path("renamed")).unwrap();
    let second = Snapshot::take(&mut sensor);
    let tainted = |pid| second.process(pid).header.flags & flag::TAINTED != 0;
    assert_eq!((tainted(reader.id()), tainted(writer.id())), (true, false));
    let told = second.files.iter().find(|told| told.header.tgid == reader.id()).unwrap();
    assert_eq!(told.class, file_class::class::CLOUD_CREDENTIALS);
    assert!(spanned(&told.path, &told.span).ends_with(b"/renamed"));
}

#[test]
fn a_snapshot_is_bounded_and_says_so() {
    let Some(bed) = Bed::new() else { return };
    // Each as many as it may without a privilege.
    let mut actors: Vec<_> = (0..14).map(|_| Actor::start(&bed, &["hold-many", "15000"])).collect();
    actors.push(Actor::start(&bed, &["hold"]));
    let mut sensor = sensor_of(&bed);
    let snapshot = Snapshot::take(&mut sensor);
    assert!(snapshot.is_cut);
    let mut pids: Vec<_> = actors.iter().map(Actor::id).collect();
    pids.sort_unstable();
    assert_eq!(snapshot.tgids(), pids, "all processes all the same");
    let held = snapshot.held.len() * size_of::<sentinel_ipc::kernel_abi::HeldRecord>();
    assert!((31 << 20..32 << 20).contains(&held), "{held}");
    println!("{} descriptors in {:?}", snapshot.held.len(), snapshot.took);
}

#[test]
fn descriptors_of_which_nothing_is_told_do_not_hold_the_loader_up() {
    let Some(bed) = Bed::new() else { return };
    let ready = bed.path("ready");
    let code = "import os, socket, sys, time\nplain = os.open('/etc/hostname', os.O_RDONLY)\n\
                for i in range(15000): os.dup(plain)\nkept = socket.socketpair()\n\
                open(sys.argv[1], 'w').close()\ntime.sleep(100)";
    let mut command = bed.command("python3");
    let mut child = command.args(["-c", code]).arg(&ready).spawn().unwrap();
    assert!(within(PATIENCE, || ready.exists()));
    let mut sensor = sensor_of(&bed);
    let snapshot = Snapshot::take(&mut sensor);
    let _gone = child.kill();
    child.wait().unwrap();
    // The kernel itself would go through a million before it lets the reader on.
    assert!(snapshot.reads >= 4, "{}", snapshot.reads);
    assert!(!snapshot.is_cut);
    let sockets = snapshot.held_by(child.id()).into_iter();
    let sockets = sockets.filter(|told| told.descriptor.socket.family == 1);
    assert_eq!(sockets.count(), 2, "what comes behind them is told, once");
}
