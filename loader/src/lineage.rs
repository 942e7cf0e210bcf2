//! What the enforcer may ask of living processes: what one runs and where, and who descends from one. The
//! kernel's iterator has written the records; no byte of a path is looked at here.

use std::collections::BTreeSet;

use sentinel_ipc::{
    frame::{Description, MAX_TREE, Member, Target},
    kernel_abi::{
        CgroupRecord, LineRecord, PROCESS_FACTS_ENTRIES, ProcessRecord, Span, flag, origin, trust,
    },
};
use zerocopy::FromBytes;

/// Bytes of the lines of as many processes as the kernel remembers.
pub(crate) const MAX_BYTES: usize = PROCESS_FACTS_ENTRIES as usize * size_of::<LineRecord>();
/// What makes a path an identity.
const SOUND: u16 = trust::PATH_OF_ROOT | trust::HOST_ROOT | trust::HOST_MOUNTS | trust::HOST_USERS;

/// The process of which the kernel wrote a record of its cgroup and one of itself; `None` if it wrote none.
pub fn description(told: &[u8]) -> Option<Description> {
    let (cgroup, rest) = CgroupRecord::read_from_prefix(told).ok()?;
    let (process, _) = ProcessRecord::read_from_prefix(rest).ok()?;
    let whole = |flags: u16| flags & flag::TRUNCATED == 0;
    let is_path = process.span.origin == origin::KERNEL && whole(process.header.flags);
    Some(Description {
        start_time: process.header.start_time,
        uid: process.header.uid,
        path: within(&process.path, process.span),
        is_sound: is_path && process.trust & SOUND == SOUND,
        has_own_pids: process.header.flags & flag::FOREIGN_PIDS != 0,
        cgroup: if whole(cgroup.header.flags) {
            within(&cgroup.path, cgroup.span)
        } else {
            Vec::new()
        },
    })
}

fn within(path: &[u8], span: Span) -> Vec<u8> {
    let start = usize::from(span.start);
    path.get(start..start.saturating_add(span.length.into())).unwrap_or_default().to_vec()
}

/// Those of the processes told that descend from `root` and are `user`'s, the oldest first, and the root itself
/// if it lives. Without a user the root tells it, or else the oldest that goes on with its program. Nobody, if
/// none of them does, or if another living process started when the root is said to have started.
pub fn tree(told: &[u8], root: Target, user: Option<u32>) -> (Option<u32>, Vec<Member>) {
    let mut lines: Vec<LineRecord> = told
        .chunks_exact(size_of::<LineRecord>())
        .filter_map(|bytes| LineRecord::read_from_bytes(bytes).ok())
        .filter(|line| line.start_time >= root.start_time)
        .collect();
    lines.sort_unstable_by_key(|line| (line.start_time, line.tgid));
    let is_root = |line: &LineRecord| (line.tgid, line.start_time) == (root.tgid, root.start_time);
    // 0 stands for no ancestor; and ancestors are known by their starts alone.
    if root.start_time == 0
        || lines.iter().any(|line| line.start_time == root.start_time && !is_root(line))
    {
        return (user, Vec::new());
    }
    let oldest = |which: &dyn Fn(&LineRecord) -> bool| lines.iter().find(|line| which(line));
    let told_by =
        || oldest(&is_root).or_else(|| oldest(&|line| line.line.founder == root.start_time));
    let Some(user) = user.or_else(|| told_by().map(|line| line.uid)) else {
        return (None, Vec::new());
    };
    // Whoever is older was there before: once through, since nobody descends from who is younger.
    let mut family = BTreeSet::from([root.start_time]);
    let mut members = Vec::new();
    for line in lines {
        let mut above = line.line.nearest.into_iter().chain([line.line.founder]);
        if !is_root(&line) && !above.any(|above| above != 0 && family.contains(&above)) {
            continue;
        }
        family.insert(line.start_time);
        if line.uid == user && members.len() < MAX_TREE {
            members.push(Member {
                process: Target { tgid: line.tgid, start_time: line.start_time },
                executable: (line.device, line.inode, line.generation),
                cgroup_id: line.cgroup_id,
            });
        }
    }
    (Some(user), members)
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_abi::Line;
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    const ROOT: Target = Target { tgid: 10, start_time: 1000 };

    fn line(tgid: u32, start_time: u64, founder: u64, nearest: &[u64]) -> LineRecord {
        let mut seven = [0; 7];
        seven[..nearest.len()].copy_from_slice(nearest);
        let line = Line { founder, nearest: seven };
        let (cgroup_id, inode, device, generation, uid) = (1, 2, 3, 4, 500);
        LineRecord { start_time, cgroup_id, inode, device, generation, tgid, uid, line }
    }

    fn members(lines: &[LineRecord]) -> Vec<u32> {
        members_of(ROOT, lines)
    }

    fn members_of(root: Target, lines: &[LineRecord]) -> Vec<u32> {
        let told: Vec<u8> = lines.iter().flat_map(|line| line.as_bytes().to_vec()).collect();
        tree(&told, root, None).1.iter().map(|member| member.process.tgid).collect()
    }

    #[test]
    fn descendants_are_found_over_the_dead_and_nobody_else() {
        let root = line(10, 1000, 900, &[800]);
        let child = line(11, 1100, 900, &[1000, 800]);
        let orphan_of_orphans = line(12, 1500, 1300, &[1400, 1300, 1000]);
        let of_the_orphan = line(13, 1600, 1600, &[1500]);
        let parent = line(9, 800, 800, &[1]);
        let sibling = line(14, 1200, 900, &[800]);
        let all = [of_the_orphan, sibling, root, parent, orphan_of_orphans, child];
        assert_eq!(members(&all), [10, 11, 12, 13]);
    }

    #[test]
    fn a_root_that_never_was_has_nobody() {
        let init = line(1, 5, 5, &[]);
        let daemon = line(7, 1000, 1000, &[5]);
        let worker = line(8, 1100, 1000, &[1000, 5]);
        let all = [init, daemon, worker];
        for (tgid, start_time) in [(4_194_303, 0), (7, 0), (1, 0), (10, 5), (10, 1000), (10, 999)] {
            let root = Target { tgid, start_time };
            assert_eq!(members_of(root, &all), [0; 0], "{root:?}");
        }
        assert_eq!(members_of(Target { tgid: 7, start_time: 1000 }, &all), [7, 8]);
        let twin = line(9, 1000, 900, &[5]);
        let both = [daemon, twin, worker];
        let root = Target { tgid: 7, start_time: 1000 };
        assert_eq!(members_of(root, &both), [0; 0], "whose the worker is cannot be told");
    }

    #[test]
    fn the_user_of_a_tree_is_the_roots_and_not_the_oldest_survivors() {
        let others = LineRecord { uid: 0, ..line(11, 1100, 1100, &[1000]) };
        let its = line(12, 1200, 1000, &[1000]);
        assert_eq!(members(&[others, its]), [12], "who goes on with its program tells");
        assert_eq!(members(&[others]), [0; 0], "nobody tells");
    }

    #[test]
    fn a_root_that_ended_is_known_by_who_goes_on_with_its_program() {
        let far = line(30, 9000, 1000, &[8900, 8800, 8700, 8600, 8500, 8400, 8300]);
        let other = line(31, 9100, 8000, &[8950]);
        assert_eq!(members(&[far, other]), [30]);
    }

    #[test]
    fn other_users_processes_are_left_out_and_their_children_are_not() {
        let root = line(10, 1000, 1000, &[]);
        let other = LineRecord { uid: 0, ..line(11, 1100, 1000, &[1000]) };
        let back = line(12, 1200, 1200, &[1100]);
        assert_eq!(members(&[root, other, back]), [10, 12]);
        let told = [other.as_bytes(), back.as_bytes()].concat();
        let left = tree(&told, ROOT, Some(500)).1;
        assert_eq!(left.len(), 1, "also when the root has ended: {left:?}");
    }

    #[test]
    fn a_tree_is_bounded_and_the_oldest_come_first() {
        let lines: Vec<LineRecord> =
            (0..5000).map(|n| line(6000 - n, 6000 - u64::from(n), 1000, &[])).collect();
        let found = members(&lines);
        assert_eq!(found.len(), MAX_TREE);
        assert!(found.is_sorted());
    }

    #[test]
    fn nobody_or_half_a_record_is_no_description() {
        assert_eq!(description(&[]), None);
        assert_eq!(description(&vec![0; size_of::<CgroupRecord>() + 10]), None);
        assert_eq!(tree(&[1; 50], ROOT, None), (None, Vec::new()));
    }

    #[test]
    fn a_path_is_an_identity_only_if_everything_speaks_for_it() {
        let cgroup = CgroupRecord::new_zeroed();
        let mut process = ProcessRecord::new_zeroed();
        process.path[500..504].copy_from_slice(b"/x/y");
        process.span = Span { start: 500, length: 4, origin: origin::KERNEL, reserved: 0 };
        let told = |process: &ProcessRecord| {
            description(&[cgroup.as_bytes(), process.as_bytes()].concat()).unwrap()
        };
        assert_eq!((told(&process).path, told(&process).is_sound), (b"/x/y".to_vec(), false));
        process.trust = SOUND;
        assert!(told(&process).is_sound);
        process.header.flags = flag::TRUNCATED;
        assert!(!told(&process).is_sound);
        process.span.length = 100;
        assert_eq!(told(&process).path, b"");
    }
}
