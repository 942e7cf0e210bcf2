//! The names of a file and of the directories up to the root, copied together before a rule is asked about any of
//! them, with marks of those that a rule may be about: most files have none, and that is all that is looked at.
//! Every open pays for this.

use sentinel_ipc::{
    kernel_abi::{
        MIN_SUFFIX_BYTES, NAME_BYTES, SUFFIX_BYTES,
        filter::{self, Marked, READ},
    },
    kernel_fields::Field,
};

use crate::{
    fields::offset,
    filter::{is_there, matters_to_readers, may_have, to_readers},
    kernel::{Address, Choice, is_equal, opaque},
    path::{Location, outer_mount},
};

/// Lengths of suffixes that rules are about, as bits; the loader overwrites them before the load, and the verifier
/// leaves the others out.
#[unsafe(no_mangle)]
static SUFFIX_LENGTHS: u32 = 0;

/// Whether a rule is about suffixes of so many bytes.
#[inline(always)]
pub fn is_suffix_length(bytes: usize) -> bool {
    // SAFETY: a constant. Volatile, because the compiler would otherwise fold in the initial value.
    let lengths = unsafe { (&raw const SUFFIX_LENGTHS).read_volatile() };
    lengths >> bytes & 1 != 0
}

/// Names and mounts that are looked at.
pub const MOST: usize = 32;

/// Names from the last one on, and what may be said of them.
#[repr(C)]
pub struct Names {
    /// Each with zeros behind it; zeros alone for one that is too long to be in a rule.
    pub all: [Marked; MOST],
    pub marks: Marks,
}

/// Sets of [`Names::all`], as bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Marks {
    /// No names, but the roots of file systems that are seen through a mount.
    pub roots: u64,
    /// A rule may be about them.
    pub ruled: u64,
    /// To whom what a rule says may matter that only reads the file: see [`to_readers`].
    pub read: u64,
    /// 1 if there are more.
    pub unseen: u64,
    /// The last bytes of the last name.
    pub end: u64,
    /// Bit i: a rule may be about the last i of these bytes.
    pub suffixes: u64,
}

impl Marks {
    /// Of no names.
    pub const NONE: Self = Self { roots: 0, ruled: 0, read: 0, unseen: 0, end: 0, suffixes: 0 };

    /// Leaves nothing to ask rules about if `kept` is 0; else it is 1. By arithmetic: a branch would have the verifier walk
    /// both ways.
    #[inline(always)]
    pub fn keep_if(&mut self, kept: u64) {
        self.roots *= opaque(kept);
        self.ruled *= opaque(kept);
        self.unseen *= opaque(kept);
        self.suffixes *= opaque(kept);
    }

    /// Whether a rule may have something to say of the file, to who writes it or to who does not; `private` is 1 if not
    /// everybody may read it, else 0.
    #[inline(always)]
    pub fn matter(&self, writes: bool, private: u64) -> bool {
        let written = if writes { self.ruled | self.suffixes } else { 0 };
        matters_to_readers(self.read, private) || self.unseen | written != 0
    }
}

impl Names {
    /// Copies the names within the file system and then those above its mount point, so that a mount of a part of
    /// it elsewhere hides none; and tells what may be said of them.
    ///
    /// There is no branch but the way out: one for the roots of mounts made the verifier walk this ten times over,
    /// and another number of times for each kernel and compiler.
    #[inline(always)]
    pub fn read(&mut self, location: Location) -> Marks {
        let mut at = location;
        let (end, suffixes, mut read) = suffixes_of(location);
        let (mut roots, mut ruled, mut unseen) = (0_u64, 0_u64, 1);
        for index in 0..MOST {
            let outer = outer_mount(at.mount);
            let is_root = Choice::of(is_equal(at.dentry.0, at.parent.0));
            let from = is_root.choose(outer.behind(offset(Field::MountParent)).0, at.name.0);
            let copied = &mut self.all[index];
            *copied = Address(from).read_at(0);
            let (above, mount_point) = parent_and_mount_point(copied, outer);
            cut(copied, is_root.choose(0, at.length as u64));
            let rules = may_have(filter::NAMES, *copied) & is_root.choose(0, READ);
            ruled |= is_there(rules) << index;
            read |= to_readers(rules);
            let is_mounted = is_equal(at.mount.0, 0) ^ 1;
            let is_first = is_equal(above, outer.0) | is_mounted ^ 1;
            // Where the file system is the root itself, its paths are those that prefixes are about.
            roots |= is_root.choose(1 ^ is_first & is_mounted, 0) << index;
            if is_root.choose(is_first, 0) != 0 {
                unseen = 0;
                break;
            }
            let dentry = is_root.choose(mount_point, at.parent.0);
            let mount = Address(above).behind(offset(Field::MountVfsmount));
            at = Location::of(Address(dentry), Address(is_root.choose(mount.0, at.mount.0)));
        }
        self.marks = Marks { roots, ruled, read, unseen, end, suffixes };
        self.marks
    }
}

/// The fields of the `struct mount` at `outer`, of which those from `mnt_parent` on were copied.
#[inline(always)]
fn parent_and_mount_point(copied: &Marked, outer: Address) -> (u64, u64) {
    let between = offset(Field::MountMountpoint).wrapping_sub(offset(Field::MountParent));
    let [parent, mount_point, ..] = *copied;
    // The one behind the other, but where a kernel's structures are shuffled. The verifier walks one way only.
    (parent, if between == 8 { mount_point } else { outer.read(Field::MountMountpoint) })
}

/// Leaves of a name what is its own; of one that is too long to be in a rule, zeros.
#[inline(always)]
fn cut(copied: &mut Marked, length: u64) {
    // The highest bit of what is short enough.
    let fits = opaque(length.wrapping_sub(NAME_BYTES as u64) >> 63);
    let length = opaque(length * fits) as usize & (NAME_BYTES - 1);
    let [a, b, c, d] = *copied;
    let [in_a, in_b, in_c, in_d] = IN_NAME[length];
    *copied = [a & in_a, b & in_b, c & in_c, d & in_d];
}

/// By length of a name, which of the bytes that begin with it are its own.
static IN_NAME: [Marked; NAME_BYTES] = {
    let mut all = [[0; NAME_BYTES / 8]; NAME_BYTES];
    let mut byte = 0;
    while byte < NAME_BYTES * NAME_BYTES {
        let (length, at) = (byte / NAME_BYTES, byte % NAME_BYTES);
        if at < length {
            all[length][at / 8] |= 0xff << (at % 8 * 8);
        }
        byte += 1;
    }
    all
};

/// [`Marks::end`], [`Marks::suffixes`] and what they add to [`Marks::read`].
#[inline(always)]
fn suffixes_of(location: Location) -> (u64, u64, u64) {
    const { assert!(SUFFIX_BYTES == size_of::<u64>()) };
    // Of what it knows, the compiler would make branches.
    let length = opaque(location.length as u64);
    // What stands before a shorter name does not count.
    let at = location.name.0.wrapping_add(length).wrapping_sub(SUFFIX_BYTES as u64);
    let end = Address(at).read_at(0);
    let (mut suffixes, mut read) = (0, 0);
    let mut bytes = SUFFIX_BYTES;
    while bytes >= MIN_SUFFIX_BYTES {
        if is_suffix_length(bytes) {
            // 0 where the name is shorter.
            let long_enough = length.wrapping_sub(bytes as u64) >> 63 ^ 1;
            let rules = may_have(filter::SUFFIXES, [suffix(end, bytes), 0, 0, 0]) * long_enough;
            suffixes |= is_there(rules) << bytes;
            read |= to_readers(rules);
        }
        bytes -= 1;
    }
    (end, suffixes, read)
}

/// The last `bytes` of these, and zeros.
#[inline(always)]
pub fn suffix(end: u64, bytes: usize) -> u64 {
    end >> (8 * (SUFFIX_BYTES - bytes))
}
