//! Which class a file is of: by its names, its path, or its identity.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use sentinel_ipc::{
    file_class::{SECRET, WRITES, class, number},
    kernel_abi::{
        CLASS_RULES, ClassRule, FILE_CLASSES_ENTRIES, MIN_SUFFIX_BYTES, NAME_BYTES, Names, Object,
        ObjectKey, PATH_BYTES, PREFIX_BYTES, Prefix, SUFFIX_BYTES, Span, Suffix, filter, origin,
        rule,
    },
    kernel_fields::Field,
};

use crate::{
    descriptor::{S_IFBLK, S_IFCHR, S_IFMT, S_IFREG},
    filter::{mark, may_have},
    kernel::{Address, Task, copy_kernel, forget, has, is_equal, offset},
    path::Location,
    scope::is_wanted_class,
};

/// Rules by a path's front.
#[map]
static PREFIXES: LpmTrie<Prefix, ClassRule> =
    LpmTrie::with_max_entries(CLASS_RULES, BPF_F_NO_PREALLOC);
/// Rules by components.
#[map]
static NAMES: HashMap<Names, ClassRule> = HashMap::with_max_entries(CLASS_RULES, 0);
/// Rules by the end of the last component.
#[map]
static SUFFIXES: HashMap<Suffix, ClassRule> = HashMap::with_max_entries(CLASS_RULES, 0);
/// Files that were told once; a file that has gone has made room for others in the end.
#[map]
static FILE_CLASSES: LruHashMap<ObjectKey, u32> =
    LruHashMap::with_max_entries(FILE_CLASSES_ENTRIES, 0);
/// Files that were there at the start, which nobody can drive out.
#[map]
static FIRST_FILES: HashMap<ObjectKey, u32> = HashMap::with_max_entries(FILE_CLASSES_ENTRIES, 0);

/// Room for the keys of a look-up, which are too large for the stack.
#[map]
static CLASS_KEYS: PerCpuArray<Keys> = PerCpuArray::with_max_entries(1, 0);

/// The keys of one classification.
#[repr(C)]
pub struct Keys {
    /// A component, and zeros.
    single: [u64; NAME_WORDS * 2],
    /// A component, and the one below it.
    pair: [u64; NAME_WORDS * 2],
    prefix: Key<Prefix>,
}

const NAME_WORDS: usize = NAME_BYTES / 8;

/// `O_ACCMODE`, `O_TRUNC` and `O_PATH` (include/uapi/asm-generic/fcntl.h).
const ACCESS_MODE: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
pub const TRUNCATES: u32 = 0o1000;
pub const PATH_ONLY: u32 = 0o10_000_000;
/// `PROC_SUPER_MAGIC` (include/uapi/linux/magic.h).
const PROC: u64 = 0x9fa0;
/// Device numbers of mem, kmem and port: major 1, minor 1, 2 and 4 (Documentation/admin-guide/devices.txt).
const MEMORY_DEVICES: [u32; 3] = [1 << 20 | 1, 1 << 20 | 2, 1 << 20 | 4];

const READABLE_FOR_ALL: u32 = 0o004;
/// Components that are looked at.
const MAX_COMPONENTS: usize = 32;

/// The key of the maps that know files.
#[inline(always)]
pub fn key_of(object: &Object) -> ObjectKey {
    ObjectKey { inode: object.inode, device: object.device, generation: object.generation }
}

/// The two classes of a file: what it is whatever is done with it, and what it is when it is written.
///
/// One word, as it stands in the maps: the first class, and the number of the second << [`WRITTEN_AT`].
#[derive(Clone, Copy)]
pub struct Classes(u32);

const WRITTEN_AT: u32 = 24;

impl Classes {
    const NONE: Self = Self(0);

    /// What the file is whatever is done with it; 0 if nothing.
    #[inline(always)]
    pub fn always(self) -> u32 {
        self.0 & !(u32::MAX << WRITTEN_AT)
    }

    /// What it is when it is written; 0 if nothing.
    #[inline(always)]
    pub fn written(self) -> u32 {
        let number = self.0 >> WRITTEN_AT;
        if number == 0 { 0 } else { number | WRITES }
    }

    /// The class that a record tells: that of a file that is written if `writes`, if there is one and somebody
    /// wants to hear of it; with the mark of a secret if it is that as well.
    #[inline(always)]
    pub fn told(self, writes: bool) -> u32 {
        let written = self.written();
        if writes && written != 0 && is_wanted_class(written) {
            written | self.always() & SECRET
        } else {
            self.always()
        }
    }
}

/// What a filter knows a file by.
#[inline(always)]
fn marked(key: &ObjectKey) -> filter::Marked {
    [key.inode, key.device as u64 | (key.generation as u64) << 32, 0, 0]
}

/// The classes of a file that was told before.
#[inline(always)]
pub fn known(object: &Object) -> Classes {
    let key = key_of(object);
    if may_have(filter::FILES, marked(&key)) == 0 {
        return Classes::NONE;
    }
    // SAFETY: copies of four bytes are taken at once.
    let first = unsafe { FIRST_FILES.get(&key) }.copied();
    // SAFETY: as above.
    let classes = first.or_else(|| unsafe { FILE_CLASSES.get(&key) }.copied());
    Classes(classes.unwrap_or(0))
}

/// The file is of these classes for as long as the sensor runs.
#[inline(always)]
pub fn learn_first(object: &Object, classes: Classes) {
    if object.mode & S_IFMT == S_IFREG && classes.0 != 0 {
        let key = key_of(object);
        mark(filter::FILES, marked(&key));
        let _full = FIRST_FILES.insert(&key, &classes.0, 0);
    }
}

/// From now on the file is of these classes, whatever it is called.
#[inline(always)]
pub fn learn(object: &Object, classes: Classes) {
    let key = key_of(object);
    mark(filter::FILES, marked(&key));
    let _full = FILE_CLASSES.insert(&key, &classes.0, 0);
}

/// The file has just been made: what was told of another one, whose inode number it got, is over.
#[inline(always)]
pub fn unlearn(object: &Object) {
    let key = key_of(object);
    let _none = FIRST_FILES.remove(&key);
    let _none = FILE_CLASSES.remove(&key);
}

/// Whether reading the file tells something: it is a regular file, and not empty.
#[inline(always)]
pub fn has_content(object: &Object) -> bool {
    object.mode & S_IFMT == S_IFREG && object.size > 0
}

/// Whether a file that is open like this can be read.
#[inline(always)]
pub fn may_read(open_flags: u32) -> bool {
    open_flags & ACCESS_MODE != WRITE_ONLY && open_flags & PATH_ONLY == 0
}

/// Whether a file that is open like this can be written, or was cut by being opened.
#[inline(always)]
pub fn may_write(open_flags: u32) -> bool {
    let has_access = (open_flags & ACCESS_MODE != 0) & (open_flags & PATH_ONLY == 0);
    has_access | (open_flags & TRUNCATES != 0)
}

/// Whether a file of this class taints who reads it.
#[inline(always)]
pub fn is_secret(class: u32) -> bool {
    class & SECRET != 0
}

/// Classes of the file at `location` whose path is `path`. For programs that run with preemption off.
#[inline(always)]
pub fn classify(object: &Object, location: Location, path: *const u8, span: Span) -> Classes {
    let Some(keys) = CLASS_KEYS.get_ptr_mut(0) else { return Classes::NONE };
    // SAFETY: a live map value of this CPU, used by one program at a time.
    classify_with(unsafe { &mut *keys }, object, location, path, span)
}

/// [`classify`], with the caller's own room for the keys.
#[inline(always)]
pub fn classify_with(
    keys: &mut Keys,
    object: &Object,
    location: Location,
    path: *const u8,
    span: Span,
) -> Classes {
    let found = by_name(keys, object, location);
    found.complete(keys, object, location, path, span)
}

/// What a file's names and its inode say of it; of one that is not regular, what the device does.
#[inline(always)]
pub fn by_name_of_opened(object: &Object, location: Location) -> Option<Found> {
    if object.mode & S_IFMT != S_IFREG {
        let known = device_class(object);
        return Some(Found { known, flags: 0, ..Found::new(object, location) });
    }
    let keys = CLASS_KEYS.get_ptr_mut(0)?;
    // SAFETY: as in `classify`.
    Some(by_name(unsafe { &mut *keys }, object, location))
}

/// The classes of a file of which [`by_name_of_opened`] has told so much, and whose path is `path`.
#[inline(always)]
pub fn of_opened(
    found: Found,
    object: &Object,
    location: Location,
    path: *const u8,
    span: Span,
) -> Classes {
    if object.mode & S_IFMT != S_IFREG {
        return Classes(found.known);
    }
    let Some(keys) = CLASS_KEYS.get_ptr_mut(0) else { return Classes::NONE };
    // SAFETY: as in `classify`.
    found.complete(unsafe { &mut *keys }, object, location, path, span)
}

/// What a file's names and its inode say of it.
#[inline(always)]
fn by_name(keys: &mut Keys, object: &Object, location: Location) -> Found {
    let known = forget(known(object).0 as usize, location.dentry.0) as u32;
    let mut found = Found { known, ..Found::new(object, location) };
    by_names(location, keys, &mut found);
    by_suffix(location.name, location.length as u64, &mut found);
    found
}

/// What is known of a file's inode, and else what the rules say. What matters is the content of regular
/// files only; to be written, or put in place, may be what has a class.
#[inline(always)]
fn merged(found: u64, known: u32, object: &Object) -> Classes {
    let is_regular = (object.mode & S_IFMT == S_IFREG) as u32;
    let here = (found as u32).wrapping_mul(core::hint::black_box(is_regular));
    let known = Classes(known);
    let always = if known.always() != 0 { known.always() } else { here };
    let always = if always == class::ORDINARY { 0 } else { always };
    let written = (found >> 32) as u32;
    let written = if written != 0 { written } else { number(known.written()) };
    let written = if written == number(class::ORDINARY) { 0 } else { written };
    let forgotten = |value: u32| forget(value as usize, found) as u32;
    Classes(forgotten(always) | forgotten(written) << WRITTEN_AT)
}

/// What a device's own number says of it: its node may have any name.
#[inline(always)]
fn device_class(object: &Object) -> u32 {
    let [memory, kernel_memory, ports] = MEMORY_DEVICES;
    let number = object.rdev;
    let is_memory = number == memory || number == kernel_memory || number == ports;
    match object.mode & S_IFMT {
        S_IFCHR if is_memory => class::KERNEL_MEMORY,
        S_IFBLK => class::BLOCK_DEVICE,
        _ => 0,
    }
}

/// Whether the file is in a proc file system. Those have no device, and to read it spares the others.
#[inline(always)]
fn is_in_proc(object: &Object, location: Location) -> bool {
    if object.device >> 20 != 0 {
        return false;
    }
    let inode = location.dentry.follow(Field::DentryInode);
    inode.follow(Field::InodeSuperBlock).read::<u64>(Field::SuperBlockMagic) == PROC
}

/// Whether a class tells of a process through its files in /proc, and `inode` is one of the current
/// process's own: that is no way into another one.
#[inline(always)]
pub fn is_of_oneself(class: u32, inode: Address) -> bool {
    if class != class::PROCESS_MEMORY && class != class::PROCESS_ENVIRONMENT {
        return false;
    }
    if !has(Field::ProcInodePid) || !has(Field::ProcInodeInode) {
        return false;
    }
    let outer = Address(inode.0.wrapping_sub(offset(Field::ProcInodeInode) as u64));
    let pid = outer.follow(Field::ProcInodePid);
    let task = Task::current();
    let leader = task.follow(Field::TaskGroupLeader);
    pid == task.follow(Field::TaskThreadPid) || pid == leader.follow(Field::TaskThreadPid)
}

/// What the rules say so far; the first one that applies counts, for each of the two classes.
///
/// All of it is arithmetic: branches would multiply what the verifier has to walk.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Found {
    /// What is known of the inode, as [`Classes`].
    known: u32,
    /// The class, and the number of that of a file that is written << 32.
    classes: u64,
    /// 1 once a rule has applied, and 2 once one about writing has.
    any: u64,
    /// 1 if not everybody may read the file.
    private: u64,
    /// 1 if the file is in a proc file system.
    proc: u64,
    /// The rule about the first two components within its file system, for the end.
    top: u64,
    /// The flags, as in a rule's word, of all components; and [`UNSEEN`] if there are more of them.
    flags: u64,
}

/// Bit of [`Found::flags`].
const UNSEEN: u64 = 1;

/// Bit of [`Found::top`] that says that the second of the two is the file itself; beside the rule's own.
const TOP_IS_LAST: u32 = 63;

/// Where a rule's flags stand in its word.
const FLAGS_AT: u32 = 48;

/// A rule as one word: class, that of files that are written << 32, and flags; 0 for none. The verifier knows
/// nothing of it.
#[inline(always)]
fn word(rule: Option<&ClassRule>, unknown: u64) -> u64 {
    let word = match rule {
        Some(rule) => {
            rule.class as u64 | (rule.written as u64) << 32 | (rule.flags as u64) << FLAGS_AT
        }
        None => 0,
    };
    forget(word as usize, unknown) as u64
}

/// 1 if a rule's word has the flag, else 0.
#[inline(always)]
fn bit(word: u64, flag: u16) -> u64 {
    word >> (FLAGS_AT + flag.trailing_zeros()) & 1
}

impl Found {
    #[inline(always)]
    fn new(object: &Object, location: Location) -> Self {
        let private = ((object.mode & READABLE_FOR_ALL) >> 2 ^ 1) as u64;
        let proc = forget(is_in_proc(object, location) as usize, location.dentry.0) as u64 & 1;
        Self { known: 0, classes: 0, any: 0, private, proc, top: 0, flags: UNSEEN }
    }

    /// Whether the path could say anything of a file that has no class so far, or is needed to tell of it.
    #[inline(always)]
    pub fn needs_path(&self, writes: bool) -> bool {
        let fronts = if writes { rule::FRONT | rule::FRONT_WRITTEN } else { rule::FRONT };
        let fronts = (fronts as u64) << FLAGS_AT | UNSEEN;
        let top = self.top & !(1 << TOP_IS_LAST);
        self.classes | top | self.known as u64 | self.flags & fronts != 0
    }

    /// Lets the path speak, and decides.
    #[inline(always)]
    fn complete(
        mut self,
        keys: &mut Keys,
        object: &Object,
        location: Location,
        path: *const u8,
        span: Span,
    ) -> Classes {
        if span.origin == origin::KERNEL {
            let rule = by_prefix(path, span, &mut keys.prefix, location.dentry.0);
            self.ask(rule, 1, 0);
        }
        self.ask(self.top, self.top >> TOP_IS_LAST & 1, 1);
        merged(self.classes, self.known, object)
    }

    /// Lets a rule speak about a component; `is_last` is 1 for the last one, `at_top` for what
    /// [`rule::TOP`] is about, else 0.
    #[inline(always)]
    fn ask(&mut self, word: u64, is_last: u64, at_top: u64) {
        let fits = (is_last | bit(word, rule::LAST) ^ 1)
            & (self.proc | bit(word, rule::PROC) ^ 1)
            & (at_top ^ bit(word, rule::TOP) ^ 1);
        let applies = fits
            & bit(word, rule::APPLIES)
            & (self.private | bit(word, rule::PRIVATE) ^ 1)
            & (self.any ^ 1);
        let applies = core::hint::black_box(applies & 1);
        let writes = fits & bit(word, rule::WRITTEN) & (self.any >> 1 ^ 1);
        let writes = core::hint::black_box(writes & 1);
        // Products: of a mask of all ones or none the verifier walks both.
        self.classes |= word & (applies * 0xffff_ffff | writes * 0xffff_0000_0000);
        self.any |= applies | writes << 1;
    }
}

/// The dentries' names within the file system, and then those above its mount point: so a mount of a
/// part of it elsewhere hides none.
#[inline(always)]
fn by_names(location: Location, keys: &mut Keys, found: &mut Found) {
    let mut at = location;
    let (mut last, mut last_but_one, mut last_but_two) = (1, 0, 0);
    keys.single = [0; NAME_WORDS * 2];
    let (mut flags, mut may_be) = (0, 0);
    for _ in 0..MAX_COMPONENTS {
        flags = forget(flags as usize, at.dentry.0) as u64;
        found.classes = forget(found.classes as usize, at.dentry.0) as u64;
        found.any = forget(found.any as usize, at.dentry.0) as u64 & 3;
        found.top = forget(found.top as usize, at.dentry.0) as u64;
        let flag = |value: u64| forget(value as usize, at.dentry.0) as u64 & 1;
        (last, last_but_one, last_but_two) = (flag(last), flag(last_but_one), flag(last_but_two));
        may_be = flag(may_be);
        let parent = at.parent;
        if at.is_root() {
            // Where the file system is the root itself, its paths are those that prefixes are about.
            let outside = at.mount_point();
            if outside.is_none() && !at.mount.is_null() {
                found.flags = flags;
                break;
            }
            let mut pair = 0;
            if may_be != 0 {
                keys.put_outer();
                // SAFETY: copies are taken at once.
                pair = word(unsafe { NAMES.get(as_names(&keys.pair)) }, parent.0);
            }
            let pair = forget(pair as usize, parent.0) as u64;
            let is_first = is_equal(found.top, 0);
            let top = pair * core::hint::black_box(bit(pair, rule::TOP) & is_first);
            found.top |= top | (last_but_two & is_first) << TOP_IS_LAST;
            found.top = forget(found.top as usize, parent.0) as u64;
            let Some(outside) = outside else {
                found.flags = flags;
                break;
            };
            at = outside;
            continue;
        }
        keys.put_inner();
        keys.read_name(at.name, at.length);
        let (mut single, mut pair) = (0, 0);
        may_be = may_have(filter::NAMES, keys.name());
        if may_be != 0 {
            // SAFETY: copies are taken at once.
            single = word(unsafe { NAMES.get(as_names(&keys.single)) }, parent.0);
            if bit(single, rule::PARENT) != 0 {
                keys.put_outer();
                // SAFETY: as above.
                pair = word(unsafe { NAMES.get(as_names(&keys.pair)) }, parent.0);
            }
        }
        let single = forget(single as usize, parent.0) as u64;
        flags |= single;
        found.ask(forget(pair as usize, parent.0) as u64, last_but_one, 0);
        found.ask(single, last, 0);
        (last, last_but_one, last_but_two) = (0, last, last_but_one);
        at = at.directory();
    }
}

#[inline(always)]
fn as_names(words: &[u64; NAME_WORDS * 2]) -> &Names {
    // SAFETY: as many bytes, which need no alignment.
    unsafe { &*words.as_ptr().cast::<Names>() }
}

impl Keys {
    /// Sets `single` to a name, or to zeros if it is too long to be in a rule. It is copied with what stands
    /// behind it, the rest of a dentry, where names of so few bytes are.
    #[inline(always)]
    fn read_name(&mut self, name: Address, length: u32) {
        let length = length as usize;
        // The highest bit of what is short enough; a branch would double what the verifier has to walk.
        let fits = core::hint::black_box(length.wrapping_sub(NAME_BYTES) >> 63);
        let length = core::hint::black_box(length * fits) & (NAME_BYTES - 1);
        copy_kernel(self.single.as_mut_ptr().cast(), NAME_BYTES as u32, name);
        let [a, b, c, d, ..] = self.single;
        let [in_a, in_b, in_c, in_d] = IN_NAME[length];
        self.single = [a & in_a, b & in_b, c & in_c, d & in_d, 0, 0, 0, 0];
    }

    /// The name in `single`.
    #[inline(always)]
    fn name(&self) -> filter::Marked {
        let [a, b, c, d, ..] = self.single;
        [a, b, c, d]
    }

    #[inline(always)]
    fn put_outer(&mut self) {
        let [a, b, c, d, ..] = self.single;
        let [_, _, _, _, e, f, g, h] = self.pair;
        self.pair = [a, b, c, d, e, f, g, h];
    }

    #[inline(always)]
    fn put_inner(&mut self) {
        let [a, b, c, d, ..] = self.single;
        self.pair = [0, 0, 0, 0, a, b, c, d];
    }
}

/// By length of a name, which of the bytes that begin with it are its own.
static IN_NAME: [[u64; NAME_WORDS]; NAME_BYTES] = {
    let mut all = [[0; NAME_WORDS]; NAME_BYTES];
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

#[inline(always)]
fn by_suffix(name: Address, length: u64, found: &mut Found) {
    const { assert!(SUFFIX_BYTES == size_of::<u64>()) };
    // What stands before a shorter name does not count.
    let end: u64 =
        Address(name.0.wrapping_add(length).wrapping_sub(SUFFIX_BYTES as u64)).read_at(0);
    let mut bytes = SUFFIX_BYTES;
    while bytes >= MIN_SUFFIX_BYTES {
        let suffix = end >> (8 * (SUFFIX_BYTES - bytes));
        let mut rule = 0;
        if may_have(filter::SUFFIXES, [suffix, 0, 0, 0]) != 0 {
            let key: Suffix = suffix.to_ne_bytes();
            // SAFETY: a copy is taken at once.
            rule = word(unsafe { SUFFIXES.get(&key) }, name.0);
        }
        let rule = forget(rule as usize, name.0) as u64;
        // 0 where the name is shorter.
        let long_enough = length.wrapping_sub(bytes as u64) >> 63 ^ 1;
        found.ask(rule * core::hint::black_box(long_enough), 1, 0);
        bytes -= 1;
    }
}

#[inline(always)]
fn by_prefix(path: *const u8, span: Span, key: &mut Key<Prefix>, unknown: u64) -> u64 {
    *key = Key::new(8 * PREFIX_BYTES as u32, [0; PREFIX_BYTES]);
    let from = Address((path as u64).wrapping_add(span.start as u64));
    let length = core::hint::black_box(span.length as usize) & (2 * PATH_BYTES - 1);
    let length = if length < PREFIX_BYTES { length } else { PREFIX_BYTES };
    copy_kernel((&raw mut key.data).cast(), length as u32, from);
    word(PREFIXES.get(key), unknown)
}
