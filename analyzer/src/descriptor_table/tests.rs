//! The table against a plain model of what the kernel does, on random sequences of calls.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
    let object = ObjectId { device: 1, inode, generation: 0 };
    Descriptor { object, socket: None, is_terminal: false, is_pipe: false }
}

fn event(action: Action) -> Event {
    let process = ProcessId { tgid: 1, start_time: 1 };
    Event { timestamp: 1, process, uid: 0, action }
}

fn made(call: DescriptorCall, number: u32, from: Option<u32>, to: (u64, bool)) -> Event {
    let (inode, close_on_exec) = to;
    let descriptor = Some(descriptor(inode));
    event(Action::Descriptor { call, number, from, descriptor, close_on_exec, errno: 0 })
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
            let exec = Exec {
                object: ObjectId { device: 1, inode: 1, generation: 0 },
                path: Vec::new(),
                arguments: Vec::new(),
                truncated: false,
                unlinked: false,
                comm: String::new(),
                stdio: [found(0), found(1), found(2)],
            };
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
    let total = Rc::new(Cell::new(0));
    let mut parent = DescriptorTable::new(Rc::clone(&total));
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
