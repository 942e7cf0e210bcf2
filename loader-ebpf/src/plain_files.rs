//! Descriptors that are files nobody asked about: neither their opening is told, nor what goes through them, nor
//! their end. Most of what is opened and closed is of this kind.
//!
//! A process's are bits in words that it shares with others: who comes by takes a word over, and what it said is
//! forgotten, which does no harm. A child begins with none, and so does a new program. A bit ends with its descriptor,
//! and where another one takes its number. What goes through one is added up while a secret could; it has no bit from
//! then on, so that its end tells how much it was.
//!
//! Where one number may mean two files, because a descriptor table is shared with another process or one of the
//! threads has its own, there are no bits; nor where a ring makes and closes descriptors, of which not all is told.

use sentinel_ipc::{
    kernel_abi::{Object, PLAIN_FILES_ENTRIES, class},
    kernel_fields::Field,
};

use crate::{
    atomic,
    descriptor::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFREG, Table},
    kernel::{Address, Task, opaque},
    quiet_traffic,
    scope::{add_class, class_of, take_class},
};

/// Process and group of numbers << 32, and a bit for each number of the group.
#[unsafe(link_section = ".bss.plain_files")]
#[unsafe(no_mangle)]
static mut PLAIN_FILES: [u64; PLAIN_FILES_ENTRIES as usize] = [0; PLAIN_FILES_ENTRIES as usize];

/// Numbers of a word, and words of a process; files with higher numbers are told of.
const GROUP: u32 = 32;
const GROUPS: u32 = 8;
const BITS: u64 = u32::MAX as u64;

/// A descriptor's bit, and where it would be.
struct Place {
    word: *mut u64,
    owner: u64,
    bit: u64,
}

impl Place {
    #[inline(always)]
    fn of(tgid: u32, number: u32) -> Option<Self> {
        let group = number / GROUP;
        if group >= GROUPS {
            return None;
        }
        let index = tgid ^ group * (PLAIN_FILES_ENTRIES / GROUPS);
        let index = opaque(index) as usize & (PLAIN_FILES_ENTRIES as usize - 1);
        Some(Self {
            // SAFETY: below its length.
            word: unsafe { (&raw mut PLAIN_FILES).cast::<u64>().add(index) },
            owner: (tgid * GROUPS + group) as u64 * (BITS + 1),
            bit: 1 << (number % GROUP),
        })
    }

    #[inline(always)]
    fn read(&self) -> u64 {
        // SAFETY: a live, aligned u64 of a map value.
        unsafe { self.word.read_volatile() }
    }

    #[inline(always)]
    fn is_owner(&self, word: u64) -> bool {
        word & !BITS == self.owner
    }

    /// Whether the bit is there.
    #[inline(always)]
    fn is_set(&self) -> bool {
        let word = self.read();
        self.is_owner(word) && word & self.bit != 0
    }

    /// Takes the bit away if it is there, at worst another's, who has come by meanwhile; whether it was.
    #[inline(always)]
    fn clear(&self) -> bool {
        let was = self.is_set();
        if was {
            // SAFETY: as above.
            unsafe { atomic::keep(self.word, !self.bit) };
        }
        was
    }

    /// Sets the word to `new` if it is `old` still.
    #[inline(always)]
    fn change(&self, old: u64, new: u64) {
        // SAFETY: as above.
        unsafe { atomic::compare_exchange(self.word, old, new) };
    }
}

/// Whether descriptor `number` is one.
#[inline(always)]
pub fn has(tgid: u32, number: u32) -> bool {
    Place::of(tgid, number).is_some_and(|place| place.is_set())
}

/// The current process, `tgid`, has opened such a file as descriptor `number`: this one, which is `object`.
#[inline(always)]
pub fn begin(tgid: u32, number: u32, file: Address, inode: Address, object: &Object) {
    let Some(place) = Place::of(tgid, number) else { return };
    let is_file = matches!(object.mode & S_IFMT, S_IFREG | S_IFDIR | S_IFCHR | S_IFBLK);
    if !is_file || !has_own_table() {
        place.clear();
        return;
    }
    let old = place.read();
    let others = if place.is_owner(old) { old } else { place.owner };
    place.change(old, others | place.bit);
    // Looked at last: who begins to share marks that first, and clears all bits then; and a thread that puts
    // something else in this place, of a table that may have grown meanwhile, has done so before it clears the bit.
    let is_shared = class_of(tgid) & class::SHARES_FILES != 0;
    // A thread that has the table for itself is here.
    let is_there = Table::current().users() == 1
        || Table::current().file(number) == file && file.follow(Field::FileInode) == inode;
    if is_shared || !is_there {
        place.clear();
    }
}

/// Descriptor `number` is something else, or closed; whether it was such a file.
#[inline(always)]
pub fn end(tgid: u32, number: u32) -> bool {
    Place::of(tgid, number).is_some_and(|place| place.clear())
}

/// Whether as many threads use the current process's table as it has: it is that of all of them, or else began to be
/// another's before the sensor did.
#[inline(always)]
pub fn has_own_table() -> bool {
    let threads: i32 = Task::current().follow(Field::TaskSignal).read(Field::SignalThreads);
    Table::current().users() == threads
}

/// What a number means to the process cannot be told from now on, until it runs another program.
#[inline(always)]
pub fn give_up(tgid: u32) {
    add_class(tgid, class::SHARES_FILES);
    forget(tgid);
}

/// The process begins, or runs another program, and so has its table for itself.
#[inline(always)]
pub fn begin_process(tgid: u32) {
    take_class(tgid, class::SHARES_FILES);
    forget(tgid);
}

/// The process has none any more.
#[inline(always)]
pub fn forget(tgid: u32) {
    quiet_traffic::end_epoch(tgid);
    for group in 0..GROUPS {
        let Some(place) = Place::of(tgid, group * GROUP) else { return };
        if place.is_owner(place.read()) {
            // SAFETY: a live, aligned u64 of a map value. At worst another's bits go, who has come by meanwhile.
            unsafe { atomic::keep(place.word, !BITS) };
        }
    }
}
