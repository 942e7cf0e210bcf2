//! Which class a file is of: by its names, its path, or its identity.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use sentinel_ipc::{
    file_class::{SECRET, class},
    kernel_abi::{
        CLASS_RULES, ClassRule, FILE_CLASSES_ENTRIES, MIN_SUFFIX_BYTES, NAME_BYTES, Names, Object,
        ObjectKey, PATH_BYTES, PREFIX_BYTES, Prefix, SUFFIX_BYTES, Span, Suffix, origin, rule,
    },
};

use crate::{
    descriptor::{S_IFMT, S_IFREG},
    kernel::{Address, copy_kernel, forget},
    path::Location,
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

/// `O_ACCMODE` and `O_PATH` (include/uapi/asm-generic/fcntl.h).
const ACCESS_MODE: u32 = 0o3;
const WRITE_ONLY: u32 = 0o1;
const PATH_ONLY: u32 = 0o10_000_000;

const READABLE_FOR_ALL: u32 = 0o004;
/// Components that are looked at.
const MAX_COMPONENTS: usize = 32;

#[inline(always)]
fn key_of(object: &Object) -> ObjectKey {
    ObjectKey { inode: object.inode, device: object.device, generation: object.generation }
}

/// The class of a file that was told before; 0 if it was not.
#[inline(always)]
pub fn known(object: &Object) -> u32 {
    let key = key_of(object);
    // SAFETY: copies of four bytes are taken at once.
    let first = unsafe { FIRST_FILES.get(&key) }.copied();
    // SAFETY: as above.
    first.or_else(|| unsafe { FILE_CLASSES.get(&key) }.copied()).unwrap_or(0)
}

/// The file is of this class for as long as the sensor runs.
#[inline(always)]
pub fn learn_first(object: &Object, class: u32) {
    if object.mode & S_IFMT == S_IFREG {
        let _full = FIRST_FILES.insert(&key_of(object), &class, 0);
    }
}

/// From now on the file is of this class, whatever it is called.
#[inline(always)]
pub fn learn(object: &Object, class: u32) {
    let _full = FILE_CLASSES.insert(&key_of(object), &class, 0);
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

/// Whether a file of this class taints who reads it.
#[inline(always)]
pub fn is_secret(class: u32) -> bool {
    class & SECRET != 0
}

/// Class of the file at `location` whose path is `path`; 0 if it has none. For programs that run with
/// preemption off.
#[inline(always)]
pub fn classify(object: &Object, location: Location, path: *const u8, span: Span) -> u32 {
    let Some(keys) = CLASS_KEYS.get_ptr_mut(0) else { return 0 };
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
) -> u32 {
    if object.mode & S_IFMT != S_IFREG {
        return 0;
    }
    let known = forget(known(object) as usize, location.dentry.0) as u32;
    if known != 0 {
        return known;
    }
    let private = ((object.mode & READABLE_FOR_ALL) >> 2 ^ 1) as u64;
    let mut found = Found { class: 0, any: 0, private };
    by_names(location, keys, &mut found);
    by_suffix(location.name, location.length as u64, &mut found);
    if span.origin == origin::KERNEL {
        let rule = by_prefix(path, span, &mut keys.prefix, location.dentry.0);
        found.ask(rule, 1);
    }
    if found.class == class::ORDINARY as u64 { 0 } else { found.class as u32 }
}

/// What the rules say so far; the first one that applies counts.
///
/// All of it is arithmetic: branches would multiply what the verifier has to walk.
struct Found {
    class: u64,
    /// 1 once a rule has applied.
    any: u64,
    /// 1 if not everybody may read the file.
    private: u64,
}

/// A rule as one word: class, and flags << 32; 0 for none. The verifier knows nothing of it.
#[inline(always)]
fn word(rule: Option<&ClassRule>, unknown: u64) -> u64 {
    let word = match rule {
        Some(rule) => rule.class as u64 | (rule.flags as u64) << 32,
        None => 0,
    };
    forget(word as usize, unknown) as u64
}

impl Found {
    /// Lets a rule speak about a component; `is_last` is 1 for the last one, else 0.
    #[inline(always)]
    fn ask(&mut self, word: u64, is_last: u64) {
        let bit = |flag: u32| (word >> (32 + flag.trailing_zeros())) & 1;
        let applies = bit(rule::APPLIES)
            & (is_last | bit(rule::LAST) ^ 1)
            & (self.private | bit(rule::PRIVATE) ^ 1)
            & (self.any ^ 1);
        let applies = core::hint::black_box(applies);
        self.class |= (word & 0xffff_ffff) & 0_u64.wrapping_sub(applies);
        self.any |= applies;
    }
}

/// The dentries' names within the file system, and then those above its mount point: so a mount of a
/// part of it elsewhere hides none.
#[inline(always)]
fn by_names(location: Location, keys: &mut Keys, found: &mut Found) {
    let mut at = location;
    let (mut last, mut last_but_one) = (1, 0);
    for _ in 0..MAX_COMPONENTS {
        found.class = forget(found.class as usize, at.dentry.0) as u64;
        found.any = forget(found.any as usize, at.dentry.0) as u64 & 1;
        let parent = at.parent;
        if at.is_root() {
            let Some(outside) = at.mount_point() else { break };
            at = outside;
            continue;
        }
        keys.read_name(at.name, at.length);
        // SAFETY: copies are taken at once.
        let single = word(unsafe { NAMES.get(as_names(&keys.single)) }, parent.0);
        let mut pair = 0;
        if single >> 32 & rule::PARENT as u64 != 0 {
            keys.put_outer();
            // SAFETY: as above.
            pair = word(unsafe { NAMES.get(as_names(&keys.pair)) }, parent.0);
        }
        found.ask(forget(pair as usize, parent.0) as u64, last_but_one);
        found.ask(single, last);
        keys.put_inner();
        (last, last_but_one) = (0, last);
        at = at.directory();
    }
}

#[inline(always)]
fn as_names(words: &[u64; NAME_WORDS * 2]) -> &Names {
    // SAFETY: as many bytes, which need no alignment.
    unsafe { &*words.as_ptr().cast::<Names>() }
}

impl Keys {
    /// Sets `single` to a name, or to zeros if it is too long to be in a rule.
    #[inline(always)]
    fn read_name(&mut self, name: Address, length: u32) {
        self.single = [0; NAME_WORDS * 2];
        let length = length as usize;
        let length = if length < NAME_BYTES { length } else { 0 };
        let length = core::hint::black_box(length) & (NAME_BYTES - 1);
        let to = self.single.as_mut_ptr().cast();
        copy_kernel(to, length as u32, name);
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

#[inline(always)]
fn by_suffix(name: Address, length: u64, found: &mut Found) {
    let mut bytes = SUFFIX_BYTES;
    while bytes >= MIN_SUFFIX_BYTES {
        let mut key: Suffix = [0; SUFFIX_BYTES];
        let from = Address(name.0.wrapping_add(length).wrapping_sub(bytes as u64));
        copy_kernel(key.as_mut_ptr(), bytes as u32, from);
        // SAFETY: a copy is taken at once.
        let rule = word(unsafe { SUFFIXES.get(&key) }, name.0);
        // 0 where the name is shorter.
        let long_enough = length.wrapping_sub(bytes as u64) >> 63 ^ 1;
        found.ask(rule & 0_u64.wrapping_sub(core::hint::black_box(long_enough)), 1);
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
