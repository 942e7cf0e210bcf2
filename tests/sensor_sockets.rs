//! Sockets, traffic, descriptors that arrive, and all that by io_uring or 32-bit calls: the kernel's
//! records, field by field, against what the programs say that they did.

#[path = "sensor_sockets/records.rs"]
mod records;
#[path = "sensor_sockets/story.rs"]
mod story;
#[path = "sensor_sockets/traffic.rs"]
mod traffic;

use sentinel_tests::{bed::Bed, tap::Tap};

use crate::story::Story;

/// Runs `cases` of `program` under one loader and compares.
fn check(program: &str, cases: &[&str]) {
    let Some(bed) = Bed::new() else { return };
    let mut tap = Tap::start(&bed);
    let stories: Vec<Story> = cases.iter().map(|case| Story::hear(&bed, program, case)).collect();
    tap.catch_up();
    let problems: Vec<String> = stories
        .iter()
        .flat_map(|story| {
            let mut problems = records::differences(story, &tap);
            problems.extend(traffic::differences(story, &tap));
            problems.into_iter().map(|problem| format!("{}: {problem}", story.name()))
        })
        .collect();
    assert!(problems.is_empty(), "{} differences:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn tcp_connections_are_told_from_both_ends() {
    check(
        "sensor_sockets",
        &["tcp4", "tcp6", "mapped6", "accept4_flags", "as_nobody", "fast_open"],
    );
}

#[test]
fn udp_sends_are_told_once_for_each_change_of_receiver() {
    let cases = ["udp4_connected", "udp6_connected", "udp4_sendto", "udp6_sendto", "udp4_sendmsg"];
    check("sensor_sockets", &cases);
    check("sensor_sockets", &["udp6_sendmsg", "udp_sendmmsg"]);
}

#[test]
fn unix_sockets_and_pipes_are_told() {
    check("sensor_sockets", &["unix_path", "unix_abstract", "unix_datagram", "pairs", "pipes"]);
}

#[test]
fn connects_that_fail_or_are_under_way_are_told() {
    let cases = ["nonblocking4", "nonblocking6", "refused4", "refused6", "wrong_descriptors"];
    check("sensor_sockets", &cases);
}

#[test]
fn sockets_of_every_family_and_duplicates_are_told() {
    check("sensor_sockets", &["families", "duplicates"]);
}

#[test]
fn every_call_that_moves_bytes_is_counted() {
    check("sensor_sockets_traffic", &["writes", "sends", "reads", "in_kernel"]);
}

#[test]
fn calls_that_move_nothing_are_not_counted() {
    check("sensor_sockets_traffic", &["nothing"]);
}

#[test]
fn totals_come_once_whatever_ends_the_descriptor() {
    let cases = ["replaced", "duplicate", "open_at_exit", "range_closed", "exec", "killed"];
    check("sensor_sockets_traffic", &cases);
}

#[test]
fn totals_are_exact_for_many_sends_threads_children_and_descriptors() {
    check("sensor_sockets_traffic", &["thousand", "threads", "inherited", "three_hundred"]);
}

#[test]
fn a_tainted_process_tells_every_send() {
    check("sensor_sockets_traffic", &["tainted_five", "tainted_child", "tainted_sendto"]);
}

#[test]
fn bursts_are_told_in_few_records_and_counted_in_full() {
    let cases = ["tainted_burst", "burst_to_two", "tainted_burst_to_two"];
    check("sensor_sockets_traffic", &cases);
}

#[test]
fn descriptors_that_arrive_are_told() {
    let cases = ["one", "few", "few_by_datagram", "with_credentials", "closing_on_exec"];
    check("sensor_sockets_passing", &cases);
    check("sensor_sockets_passing", &["too_many", "in_second_message", "by_child", "taken"]);
}

#[test]
fn the_most_descriptors_that_a_message_takes_are_told_or_marked_as_cut() {
    check("sensor_sockets_passing", &["most"]);
}

#[test]
fn calls_by_int_80_are_told() {
    check("sensor_sockets_compat", &["direct", "socketcall", "datagrams"]);
}

#[test]
fn descriptors_that_arrive_by_int_80_are_told() {
    check("sensor_sockets_compat", &["passing_direct", "passing_socketcall"]);
}

#[test]
fn connects_by_io_uring_are_told_once() {
    let cases = ["connect4", "connect6", "connect_async", "connect_thread", "connect_udp"];
    check("sensor_sockets_ring", &cases);
    check("sensor_sockets_ring", &["connect_refused"]);
}

#[test]
fn sockets_made_bound_and_accepted_by_io_uring_are_told() {
    check("sensor_sockets_ring", &["accepts", "sockets", "binds"]);
}

#[test]
fn bytes_moved_by_io_uring_are_counted() {
    let cases = ["moves", "moves_unix", "moves_async", "moves_thread", "no_sockets", "fails"];
    check("sensor_sockets_ring", &cases);
}

#[test]
fn bytes_moved_by_registered_files_are_counted() {
    check("sensor_sockets_ring", &["moves_fixed", "moves_thread_fixed"]);
}

#[test]
fn every_io_uring_call_that_sends_is_told_when_it_is_the_first() {
    check("sensor_sockets_ring", &["each_first", "tainted_moves"]);
}
