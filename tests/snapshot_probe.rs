//! Follows the cgroup that is its argument, gives up privileges as the loader does, and then takes a
//! snapshot of all, and one of the first process alone. Prints how many records each has of processes
//! and of what they hold.
//!
//! A program of its own, because privileges are given up in a process with one thread.

use sentinel_ipc::{
    file_class::BUILT_IN,
    frame::Selection,
    kernel_abi::{RecordHeader, kind, record_bytes},
};
use sentinel_loader::{
    arguments::Scope, call_counts::Counting, privileges, sensor::Sensor, snapshot::Progress,
};
use zerocopy::FromBytes;

fn main() {
    let cgroup = std::env::args_os().nth(1).expect("a cgroup");
    let (mut sensor, _ring) =
        Sensor::load(&Scope::Cgroup(cgroup.into()), BUILT_IN, Counting::Never).expect("a sensor");
    sensor.follow_scope().expect("attached");
    privileges::drop_privileges(0).expect("dropped");
    let all = snapshot(&mut sensor);
    let first = all.iter().find(|header| header.kind == kind::PROCESS).expect("a process");
    sensor.select(Selection::Tree(first.tgid)).expect("selected");
    for snapshot in [all, snapshot(&mut sensor)] {
        let number = |of| snapshot.iter().filter(|header| header.kind == of).count();
        eprintln!("processes {} held {}", number(kind::PROCESS), number(kind::HELD));
    }
}

fn snapshot(sensor: &mut Sensor) -> Vec<RecordHeader> {
    let mut reading = sensor.snapshot().expect("iterators");
    let mut records = Vec::new();
    while reading.read(&mut records, 100_000).expect("records") == Progress::More {}
    let mut headers = Vec::new();
    let mut rest = records.as_slice();
    while let Ok((header, _)) = RecordHeader::read_from_prefix(rest) {
        rest = &rest[record_bytes(header.kind).expect("a kind")..];
        headers.push(header);
    }
    headers
}
