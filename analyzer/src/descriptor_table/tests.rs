//! The table against a plain model of what the kernel does, on random sequences of calls.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::{Object, ObjectId, SocketEnds};

const NUMBERS: u32 = 8;

#[derive(Debug, Clone)]
enum Call {
    Make { number: u32, inode: u64, close_on_exec: bool },
    Dup { from: u32, to: u32, close_on_exec: bool },
    Close { first: u32, last: u32 },
    Mark { first: u32, last: u32 },
    Flag { number: u32, close_on_exec: bool },
    Exec,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let number = || 0..NUMBERS;
    let call = prop_oneof![
        (number(), 0_u64..6, any::<bool>()).prop_map(|(number, inode, close_on_exec)| {
            Call::Make { number, inode, close_on_exec }
        }),
        (number(), number(), any::<bool>()).prop_map(|(from, to, close_on_exec)| Call::Dup {
            from,
            to,
            close_on_exec
        }),
        number().prop_map(|number| Call::Close { first: number, last: number }),
        (number(), number()).prop_map(|(first, last)| Call::Close { first, last }),
        (number(), number()).prop_map(|(first, last)| Call::Mark { first, last }),
        (number(), any::<bool>())
            .prop_map(|(number, close_on_exec)| Call::Flag { number, close_on_exec }),
        Just(Call::Exec),
    ];
    proptest::collection::vec(call, 0..60)
}

/// Number → inode and close-on-exec flag.
type Model = BTreeMap<u32, (u64, bool)>;

fn empty() -> DescriptorTable {
    DescriptorTable::new(Rc::default())
}

fn descriptor(inode: u64) -> Descriptor {
    let id = ObjectId { device: 1, inode, generation: 0 };
    Descriptor { object: Object { id, ..Object::default() }, socket: None }
}

fn event(action: Action) -> Event {
    let process = ProcessId { tgid: 1, start_time: 1 };
    Event::of(1, process, action)
}

fn made(call: DescriptorCall, number: u32, from: Option<u32>, to: (u64, bool)) -> Event {
    let (inode, close_on_exec) = to;
    let (number, descriptor) = (Some(number), Some(descriptor(inode)));
    event(Action::Descriptor { call, number, from, descriptor, close_on_exec })
}

/// Does `call` to the model and tells the table what the kernel would tell.
fn step(model: &mut Model, table: &mut DescriptorTable, call: &Call) {
    match *call {
        Call::Make { number, inode, close_on_exec } => {
            model.insert(number, (inode, close_on_exec));
            table.apply(&made(DescriptorCall::Socket, number, None, (inode, close_on_exec)));
        }
        Call::Dup { from, to, close_on_exec } => {
            let Some(&(inode, old)) = model.get(&from) else { return };
            // dup2 onto itself changes nothing.
            let flag = if from == to { old } else { close_on_exec };
            model.insert(to, (inode, flag));
            table.apply(&made(DescriptorCall::Dup, to, Some(from), (inode, flag)));
        }
        Call::Close { first, last } => {
            model.retain(|number, _| !(first..=last).contains(number));
            table.apply(&event(Action::Close { first, last, unshare: false }));
        }
        Call::Mark { first, last } => {
            for (number, (_, flag)) in model.iter_mut() {
                *flag |= (first..=last).contains(number);
            }
            table.apply(&event(Action::MarkCloseOnExec { first, last, unshare: false }));
        }
        Call::Flag { number, close_on_exec } => {
            if let Some((_, flag)) = model.get_mut(&number) {
                *flag = close_on_exec;
                table.apply(&event(Action::SetCloseOnExec { number, close_on_exec }));
            }
        }
        Call::Exec => {
            model.retain(|_, (_, flag)| !*flag);
            let found = |number| model.get(&number).map(|&(inode, _)| descriptor(inode));
            let exec = Exec { stdio: [found(0), found(1), found(2)], ..Exec::default() };
            table.apply_exec(2, ProcessId { tgid: 1, start_time: 1 }, &exec);
        }
    }
}

proptest! {
    #[test]
    fn the_table_is_what_the_kernel_would_have(calls in calls()) {
        let mut model = Model::new();
        let mut table = empty();
        for call in &calls {
            step(&mut model, &mut table, call);
            let told: Model = (0..NUMBERS)
                .filter_map(|number| {
                    let slot = table.get(number)?;
                    Some((number, (slot.object.id.inode, slot.close_on_exec)))
                })
                .collect();
            prop_assert_eq!(&told, &model, "after {:?}", call);
        }
    }

    #[test]
    fn stdio_tells_what_the_events_missed(calls in calls(), lost in any::<u64>()) {
        let mut model = Model::new();
        let mut table = empty();
        let mut nobody = empty();
        for (index, call) in calls.iter().enumerate() {
            let to = if lost >> (index % 64) & 1 == 0 { &mut table } else { &mut nobody };
            step(&mut model, to, call);
        }
        step(&mut model, &mut table, &Call::Exec);
        for number in 0..3 {
            let told = table.get(number).map(|slot| slot.object.id.inode);
            prop_assert_eq!(told, model.get(&number).map(|&(inode, _)| inode));
        }
    }
}

#[test]
fn the_number_of_descriptors_kept_is_bounded() {
    let mut table = empty();
    for number in 0..10_000 {
        table.apply(&made(DescriptorCall::Socket, number, None, (u64::from(number), false)));
    }
    assert_eq!(table.len(), MAX_DESCRIPTORS);
    table.apply(&made(DescriptorCall::Socket, 1, None, (77, false)));
    assert_eq!(table.get(1).unwrap().object.id.inode, 77);
}

#[test]
fn all_tables_together_are_bounded_and_count_what_they_hold() {
    let objects = Rc::new(Objects::default());
    let total = &objects.slots;
    let mut parent = DescriptorTable::new(Rc::clone(&objects));
    for number in 0..4_000 {
        parent.apply(&made(DescriptorCall::Socket, number, None, (u64::from(number), false)));
    }
    assert_eq!(total.get(), 4_000);
    let mut children: Vec<DescriptorTable> = (0..1_500).map(|_| parent.clone()).collect();
    assert_eq!(total.get(), 4_000, "copies share");
    for child in &mut children {
        child.apply(&made(DescriptorCall::Dup, 1, Some(0), (0, false)));
    }
    assert!(total.get() <= MAX_TOTAL + 3 * children.len(), "{}", total.get());
    let last = children.last().unwrap();
    assert_eq!((last.len(), last.get(1).unwrap().object.id.inode), (3, 0), "trimmed but right");
    drop(children);
    assert_eq!(total.get(), 4_000);
    drop(parent);
    assert_eq!(total.get(), 0);
}

#[test]
fn what_exec_and_close_leave_takes_no_more_room_than_it_needs() {
    let mut parent = empty();
    for number in 3..4_000 {
        parent.apply(&made(DescriptorCall::Socket, number, None, (u64::from(number), number > 9)));
    }
    let is_lean =
        |table: &DescriptorTable| table.slots.slots.capacity() <= 4 * table.slots.slots.len() + 16;
    let mut started = parent.clone();
    started.apply_exec(1, ProcessId { tgid: 1, start_time: 1 }, &Exec::default());
    assert!(started.len() == 7 && is_lean(&started), "{}", started.slots.slots.capacity());
    let mut closed = parent.clone();
    closed.apply(&event(Action::Close { first: 5, last: u32::MAX, unshare: false }));
    assert!(closed.len() == 2 && is_lean(&closed), "{}", closed.slots.slots.capacity());
    for number in 3..4_000 {
        parent.apply(&event(Action::Close { first: number, last: number, unshare: false }));
        assert!(is_lean(&parent), "{number}");
    }
}

#[test]
fn what_a_snapshot_does_not_find_is_closed_unless_it_was_told_meanwhile() {
    let at = |timestamp: u64, event: Event| Event { timestamp, ..event };
    let socket = |call, number, from, inode| {
        let descriptor = Some(connection(inode));
        let number = Some(number);
        event(Action::Descriptor { call, number, from, descriptor, close_on_exec: false })
    };
    let mut table = empty();
    for number in 0..4 {
        table.apply(&at(1, socket(DescriptorCall::Socket, number, None, u64::from(number))));
    }
    let stdio = [0, 1, 2].map(|inode| Some(connection(inode)));
    let told = Exec { stdio, ..Exec::default() };
    let mut started = table.clone();
    started.apply_exec(5, ProcessId { tgid: 1, start_time: 1 }, &told);
    let settled = |table: &DescriptorTable, begun| {
        let mut table = table.clone();
        table.settle(begun);
        table.iter().map(|(number, _)| number).collect::<Vec<u32>>()
    };
    assert_eq!(
        settled(&started, 3),
        [0, 1, 2],
        "3 was told at 1, and what exec tells is no word on it"
    );
    assert_eq!(settled(&table, 3), [0; 0], "the copy was not told of");
    assert_eq!(settled(&started, 10), [0; 0]);
    started.apply(&at(12, socket(DescriptorCall::Dup, 0, Some(1), 1)));
    assert_eq!(settled(&started, 10), [0]);
}

fn connection(inode: u64) -> Descriptor {
    let remote = Some("192.0.2.1:4444".parse().unwrap());
    let ends = SocketEnds { family: 2, remote, has_peer: true, ..SocketEnds::default() };
    Descriptor { socket: Some(ends), ..descriptor(inode) }
}

/// An event of an io_uring.
fn by_ring(call: DescriptorCall, number: Option<u32>, descriptor: Option<Descriptor>) -> Event {
    let action = Action::Descriptor { call, number, from: None, descriptor, close_on_exec: false };
    Event { io_uring: true, ..event(action) }
}

#[test]
fn a_connect_without_a_number_is_followed_by_its_object() {
    let mut table = empty();
    for (number, inode) in [(3, 7), (4, 7), (5, 8)] {
        table.apply(&made(DescriptorCall::Socket, number, None, (inode, false)));
    }
    table.apply(&by_ring(DescriptorCall::Connect, None, Some(connection(7))));
    let object = |number| &table.get(number).unwrap().object;
    assert!(object(3).is_connection() && object(3).connected_out());
    assert!(object(4).is_connection() && object(4).connected_out());
    assert!(!object(5).is_connection());
    assert_eq!(table.len(), 3);
}

#[test]
fn what_an_io_uring_does_not_know_changes_nothing() {
    let mut table = empty();
    table.apply(&made(DescriptorCall::Socket, 0, None, (7, false)));
    table.apply(&by_ring(DescriptorCall::Socket, None, None));
    table.apply(&by_ring(DescriptorCall::Connect, Some(0), None));
    table.apply(&by_ring(DescriptorCall::Connect, None, Some(connection(9))));
    assert_eq!((table.len(), table.get(0).unwrap().object.id.inode), (1, 7));
    table.apply(&by_ring(DescriptorCall::Accept, Some(3), Some(connection(9))));
    assert!(table.get(3).unwrap().object.is_connection());
}

#[test]
fn a_descriptor_that_was_received_says_so() {
    let mut table = empty();
    let received = |number, inode| {
        let (call, from) = (DescriptorCall::Received, Some(9));
        let descriptor = Some(connection(inode));
        let number = Some(number);
        event(Action::Descriptor { call, number, from, descriptor, close_on_exec: true })
    };
    table.apply(&received(4, 7));
    let slot = table.get(4).unwrap();
    assert!(slot.object.is_connection() && slot.close_on_exec);
    let deed = &slot.arrived.as_ref().unwrap().deed;
    assert_eq!(deed, &Deed::Received { from: Some(9), to: 4 });
    let words = "got it from another process on descriptor 4 through 9";
    assert_eq!((deed.event(), deed.to_string().as_str()), ("receive", words));
}

fn socket(inode: u64, family: u16) -> Descriptor {
    let mut socket = connection(inode);
    socket.object.mode = 0o140_777;
    socket.socket = Some(SocketEnds { family, has_peer: true, ..SocketEnds::default() });
    socket
}

fn happens(
    table: &mut DescriptorTable,
    call: DescriptorCall,
    from: u32,
    to: u32,
    what: Descriptor,
) {
    let (number, descriptor) = (Some(to), Some(what));
    let (from, close_on_exec) = (Some(from), false);
    table.apply(&event(Action::Descriptor { call, number, from, descriptor, close_on_exec }));
}

#[test]
fn the_ends_of_a_pair_know_each_other() {
    let mut table = empty();
    happens(&mut table, DescriptorCall::Socketpair, 4, 3, socket(7, 1));
    happens(&mut table, DescriptorCall::Socketpair, 3, 4, socket(8, 1));
    let peer = |table: &DescriptorTable, number| table.get(number).unwrap().object.peer();
    assert_eq!((peer(&table, 3), peer(&table, 4)), (Some(8), Some(7)));
    // Half a pair is lost: the next one is not taken for its other half.
    happens(&mut table, DescriptorCall::Socketpair, 6, 5, socket(9, 1));
    happens(&mut table, DescriptorCall::Socketpair, 3, 7, socket(10, 1));
    assert_eq!((peer(&table, 5), peer(&table, 7)), (None, None));
}

#[test]
fn who_accepts_knows_who_connected_and_the_other_way_round() {
    let objects = Rc::new(Objects::default());
    let [mut client, mut server] = [(); 2].map(|()| DescriptorTable::new(Rc::clone(&objects)));
    happens(&mut client, DescriptorCall::Connect, 3, 3, socket(7, 1));
    let mut accepted = socket(8, 1);
    accepted.socket.as_mut().unwrap().peer = Some(7);
    happens(&mut server, DescriptorCall::Accept, 3, 4, accepted);
    assert_eq!(server.get(4).unwrap().object.peer(), Some(7));
    assert_eq!(client.get(3).unwrap().object.peer(), Some(8));
}

#[test]
fn an_object_keeps_its_history_when_it_is_passed_on() {
    let objects = Rc::new(Objects::default());
    let [mut giver, mut taker] = [(); 2].map(|()| DescriptorTable::new(Rc::clone(&objects)));
    happens(&mut giver, DescriptorCall::Connect, 3, 3, socket(7, 2));
    happens(&mut taker, DescriptorCall::Received, 9, 0, socket(7, 2));
    assert!(taker.get(0).unwrap().object.connected_out());
    drop(giver);
    assert!(taker.get(0).unwrap().object.connected_out(), "as long as anybody holds it");
    // The number came back.
    happens(&mut taker, DescriptorCall::Accept, 9, 4, socket(7, 2));
    assert!(!taker.get(4).unwrap().object.connected_out());
}

#[test]
fn an_accepted_connection_knows_when_its_port_was_taken() {
    let mut table = empty();
    let waiting = Descriptor {
        socket: Some(SocketEnds { family: 2, kind: 1, ..SocketEnds::default() }),
        ..socket(6, 2)
    };
    happens(&mut table, DescriptorCall::Socket, 3, 3, waiting);
    happens(&mut table, DescriptorCall::Bind, 3, 3, waiting);
    happens(&mut table, DescriptorCall::Accept, 3, 4, socket(7, 2));
    happens(&mut table, DescriptorCall::Accept, 5, 6, socket(8, 2));
    let sought = |number, earliest| table.get(number).unwrap().object.was_sought(earliest);
    assert!(sought(4, 1) && !sought(4, 2), "taken at 1");
    assert!(!sought(6, 0), "not known when");
    assert!(!table.get(3).unwrap().object.reaches_network(), "it only waits");
}
