//! Each process has exactly its privileges: as /proc tells, and as trying tells.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    process::{Command, Stdio},
};

use sentinel_tests::{
    bed::Bed,
    rig::ends_by_signal,
    sentinel::{Sentinel, nice, program},
};

fn status(pid: u32) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, values)| {
            (name.to_owned(), values.split_whitespace().map(str::to_owned).collect())
        })
        .collect()
}

fn limit(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().next().unwrap().to_owned()
}

#[test]
fn the_running_processes_have_what_the_table_says() {
    const CAP_KILL: u64 = 1 << 5;
    let Some(bed) = Bed::new() else { return };
    let sentinel = Sentinel::start(&bed, &["--grimoire-enforce"]);
    let mut users = Vec::new();
    for (pid, capabilities) in
        [(sentinel.pid(), 0), (sentinel.loader(), 0), (sentinel.enforcer(), CAP_KILL)]
    {
        let status = status(pid);
        let set = |name: &str| u64::from_str_radix(&status[name][0], 16).unwrap();
        assert_eq!(set("CapEff"), capabilities);
        assert_eq!(set("CapPrm"), capabilities);
        for empty in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(set(empty), 0, "{empty} of {pid}");
        }
        assert_eq!(status["NoNewPrivs"], ["1"]);
        assert_eq!(status["Seccomp"], ["2"], "a filter");
        assert_eq!(status["Groups"], [""; 0]);
        for ids in ["Uid", "Gid"] {
            assert!(status[ids].iter().all(|id| *id == status[ids][0]), "{:?}", status[ids]);
            assert!(!["0", "65534"].contains(&status[ids][0].as_str()), "{:?}", status[ids]);
        }
        for (name, wanted) in [("Max core file size", "0"), ("Max processes", "0")] {
            assert_eq!(limit(pid, name), wanted);
        }
        assert_ne!(limit(pid, "Max address space"), "unlimited");
        let niceness = |pid: &str| nice(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap());
        let own = niceness("self");
        assert_eq!(niceness(&pid.to_string()), if own == 0 { -5 } else { own });
        users.push(status["Uid"][0].clone());
    }
    users.sort();
    users.dedup();
    assert_eq!(users.len(), 3, "three users");
}

/// What the probe found: the name of each try, and "ok" or its errno.
fn probe(mode: &str) -> BTreeMap<String, String> {
    probe_with(&[mode])
}

fn probe_with(arguments: &[&str]) -> BTreeMap<String, String> {
    let output = Command::new(program().with_file_name("sandbox_probe"))
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("done\n"), "{arguments:?} did not get to its end: {text}");
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, result)| (name.to_owned(), result.to_owned()))
        .collect()
}

fn check_confined(mode: &str, allowed: &[&str]) {
    if Bed::new().is_none() {
        return;
    }
    let free = probe("free");
    let confined = probe(mode);
    assert!(free.len() >= 140, "{}", free.len());
    for (name, result) in &confined {
        // A try that the kernel refuses to root as well would prove nothing.
        assert_ne!(free[name], "EPERM", "{name} unconfined");
        if allowed.contains(&name.as_str()) {
            assert_ne!(result, "EPERM", "{name} in {mode}");
        } else {
            assert_eq!(result, "EPERM", "{name} in {mode}");
        }
    }
}

#[test]
fn the_analyzer_can_do_nothing_but_its_work() {
    check_confined("analyzer", &[]);
}

#[test]
fn the_analyzer_with_a_connector_can_take_what_is_passed_and_nothing_else() {
    check_confined("sender", &["recvmsg"]);
}

/// What the probe found in the connector's place; its analyzer is this test.
fn probe_connector(mode: &str, target: &str, other: SocketAddr) -> BTreeMap<String, String> {
    let (ours, its) = UnixStream::pair().unwrap();
    let mut child = Command::new(program().with_file_name("sandbox_probe"))
        .args([mode, target, &other.to_string()])
        .stdin(OwnedFd::from(its))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Who is done before it comes has told what he found all the same.
    let _ended = (&ours).write_all(b"?");
    let mut bytes = Vec::new();
    // What it did not read of what was sent ends the connection so.
    let _reset = (&ours).read_to_end(&mut bytes);
    child.wait().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with("done\n"), "{mode} did not get to its end: {text}");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, result)| (name.to_owned(), result.to_owned())).collect()
}

#[test]
fn the_connector_can_connect_to_its_peer_and_do_nothing_else() {
    if Bed::new().is_none() {
        return;
    }
    let (peer, other) = (Listener::bind(), Listener::bind());
    for (way, kind) in [("tcp", "socket_of_kind"), ("udp", "socket_of_kind")] {
        let target = format!("{way}:{}", peer.tcp);
        let free = probe_connector("connector-free", &target, other.tcp);
        let confined = probe_connector("connector", &target, other.tcp);
        assert_eq!(confined["connect_to_peer"], "ok", "{way}");
        assert_eq!(free["connect_to_other"], "ok", "{way}");
        // Into pages that are read-only even to the kernel.
        assert_eq!(confined["receive_into_page"], "EFAULT", "{way}");
        // The table's own, which are of the peer's kind or not.
        let allowed = ["connect_to_peer", kind, "receive_into_page"];
        let of_table = if way == "tcp" { "socket_inet" } else { "socket_udp" };
        assert!(confined.len() >= 85, "{}", confined.len());
        for (name, result) in &confined {
            if let Some(free) = free.get(name) {
                assert_ne!(free, "EPERM", "{name} unconfined over {way}");
            }
            if !allowed.contains(&name.as_str()) && name != of_table {
                assert_eq!(result, "EPERM", "{name} over {way}");
            }
        }
    }
    // What landlock holds alone, where the kernel's knows TCP (6.7).
    let target = format!("tcp:{}", peer.tcp);
    let layers = probe_connector("connector-layers", &target, other.tcp);
    assert_eq!([&layers["connect_to_peer"], &layers["connect_to_copy"]], ["ok", "ok"]);
    assert_eq!(layers["connect_to_other"], "EACCES");
}

/// A port on which somebody listens.
struct Listener {
    tcp: SocketAddr,
    _listener: TcpListener,
}

impl Listener {
    fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { tcp: listener.local_addr().unwrap(), _listener: listener }
    }
}

#[test]
fn the_analyzers_service_can_begin_its_logs_anew_and_read_its_configuration_and_nothing_else() {
    let Some(bed) = Bed::new() else { return };
    let stage = bed.path("stage");
    // Open to everybody: nothing but the sandbox refuses.
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    for path in ["", "logs", "configuration"] {
        fs::create_dir_all(stage.join(path)).unwrap();
        fs::set_permissions(stage.join(path), Permissions::from_mode(0o777)).unwrap();
    }
    for file in ["logs/old", "outside", "configuration/analyzer.toml"] {
        fs::write(stage.join(file), "").unwrap();
        fs::set_permissions(stage.join(file), Permissions::from_mode(0o666)).unwrap();
    }
    std::os::unix::fs::symlink("../outside", stage.join("logs/out")).unwrap();
    let mut found = probe_with(&["service", stage.to_str().unwrap()]);
    let homeless = found.remove("reopen_homeless").unwrap();
    assert!(homeless.contains("was removed") && homeless.contains("restart"), "{homeless}");
    for (name, wanted) in [
        ("make_log", "ok"),
        ("append_to_log", "ok"),
        ("read_log", "EACCES"),
        ("overwrite_log", "EPERM"),
        ("empty_log", "EPERM"),
        ("remove_log", "EPERM"),
        ("rename_log", "EPERM"),
        ("make_directory", "EPERM"),
        ("make_link", "EPERM"),
        ("follow_link_out", "EACCES"),
        ("walk_out", "EACCES"),
        ("make_outside", "EACCES"),
        ("write_to_new_directory", "EACCES"),
        ("read_configuration", "ok"),
        ("list_rules", "ok"),
        ("list_logs", "EACCES"),
        ("write_configuration", "EACCES"),
        ("make_configuration", "EACCES"),
        ("load_configuration", "ok"),
        ("reopen_renamed", "ok"),
        ("open_shadow", "EACCES"),
        ("open_passwd", "EACCES"),
        ("open_mem", "EACCES"),
        ("open_environ", "EACCES"),
        ("list_root", "EACCES"),
    ] {
        assert_eq!(found.remove(name).as_deref(), Some(wanted), "{name}");
    }
    assert!(found.len() >= 140, "{found:?}");
    for (name, result) in found {
        // It may open files and list directories, but there is none but those above that it could.
        let wanted = match name.as_str() {
            "list_descriptor" => "EBADF",
            "read_own_program" => "EACCES",
            _ if name.starts_with("open_") && result == "EACCES" => "EACCES",
            _ => "EPERM",
        };
        assert_eq!(result, wanted, "{name}");
    }
    assert!(stage.join("logs/alerts.json").exists());
}

#[test]
fn the_analyzer_that_keeps_baselines_can_replace_files_there_and_nowhere_else() {
    let Some(bed) = Bed::new() else { return };
    let stage = bed.path("stage");
    // Open to everybody: nothing but the sandbox refuses.
    fs::set_permissions(bed.path(""), Permissions::from_mode(0o755)).unwrap();
    for path in ["", "baselines"] {
        fs::create_dir_all(stage.join(path)).unwrap();
        fs::set_permissions(stage.join(path), Permissions::from_mode(0o777)).unwrap();
    }
    for file in ["baselines/old", "outside"] {
        fs::write(stage.join(file), "").unwrap();
        fs::set_permissions(stage.join(file), Permissions::from_mode(0o666)).unwrap();
    }
    let found = probe_with(&["keeper", stage.to_str().unwrap()]);
    for (name, wanted) in [
        ("make", "ok"),
        ("replace", "ok"),
        ("read", "ok"),
        ("overwrite", "EPERM"),
        ("append", "EPERM"),
        ("make_outside", "EACCES"),
        ("remove_outside", "EACCES"),
        ("read_outside", "EACCES"),
        ("rename_outside", "EACCES"),
        ("move_out", "EACCES"),
        ("move_in", "EACCES"),
        ("walk_out", "EACCES"),
        ("remove", "ok"),
        ("open_shadow", "EACCES"),
        ("list_root", "EACCES"),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(wanted), "{name}");
    }
    assert!(stage.join("outside").exists() && !stage.join("baselines/old").exists());
}

#[test]
fn the_loader_can_use_its_maps_and_links_and_nothing_else() {
    let allowed = [
        "bpf_map_lookup",
        "bpf_map_update",
        "bpf_raw_tracepoint_open",
        "bpf_link_create",
        "bpf_iter_create",
        "recvmsg",
    ];
    check_confined("loader", &allowed);
}

#[test]
fn the_enforcer_can_kill_by_pidfd_and_nothing_else() {
    check_confined("enforcer", &["pidfd_open", "pidfd_send_sigkill", "recvmsg"]);
}

#[test]
fn each_layer_holds_without_the_filter() {
    if Bed::new().is_none() {
        return;
    }
    let layers = probe("layers");
    for (name, wanted) in [
        ("open_shadow", "EACCES"),
        ("open_passwd", "EACCES"),
        ("create_in_tmp", "EACCES"),
        ("list_root", "EACCES"),
        ("connect_tcp", "EACCES"),
        ("kill_init", "EPERM"),
        ("kill_parent", "EPERM"),
        ("ptrace_seize", "EPERM"),
        ("setresuid_root", "EPERM"),
        ("capset", "EPERM"),
        ("mount", "EPERM"),
        ("bpf_prog_load", "EPERM"),
        ("fork", "EAGAIN"),
    ] {
        assert_eq!(layers[name], wanted, "{name}");
    }
}

#[test]
fn a_confined_process_that_aborts_ends() {
    if Bed::new().is_none() {
        return;
    }
    for mode in [
        &["analyzer"][..],
        &["loader"],
        &["enforcer"],
        &["connector", "udp:127.0.0.1:514", "127.0.0.1:1"],
    ] {
        let mut child = Command::new(program().with_file_name("sandbox_probe"))
            .args(mode)
            .arg("abort")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(ends_by_signal(&mut child).is_some(), "{mode:?}");
    }
}

#[test]
fn no_process_holds_more_than_it_needs() {
    let Some(bed) = Bed::new() else { return };
    let secret = bed.path("secret");
    fs::write(&secret, "x").unwrap();
    // A careless parent: descriptor 7 is open, and not marked to close.
    let mut command = Command::new("bash");
    command.args(["-c", r#"exec 7<"$0" && exec "$@""#]).arg(&secret).arg(program());
    let scope = format!("--scope-cgroup={}", bed.cgroup().display());
    let sentinel = Sentinel::start_as(&bed, command, &[&scope]);
    for (pid, kinds) in [
        (sentinel.pid(), &["socket:", "pipe:", "anon_inode:", "/dev/null", "alerts.json"][..]),
        (sentinel.loader(), &["socket:", "pipe:", "anon_inode:", "/dev/null"]),
        (sentinel.enforcer(), &["socket:", "pipe:", "/dev/null"]),
    ] {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            // One that was closed since is held no more.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy();
            assert!(kinds.iter().any(|kind| target.contains(kind)), "{pid} holds {target}");
        }
    }
}
