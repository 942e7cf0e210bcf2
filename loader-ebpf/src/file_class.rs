//! Which class a file is of: by its names, its path, or its identity.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, LruHashMap, PerCpuArray},
};
use sentinel_ipc::{
    file_class::{SECRET, WRITES, class, number},
    kernel_abi::{
        FILE_CLASSES_ENTRIES, Object, ObjectKey, Span,
        filter::{self, READ, WRITTEN},
        origin,
    },
    kernel_fields::Field,
};

use crate::{
    descriptor::{S_IFBLK, S_IFCHR, S_IFMT, S_IFREG},
    fields::{has, offset},
    file_rules::{Keys, Said},
    filter::{mark, matters_to_readers, may_have, to_readers},
    kernel::{Address, Task, forget, is_equal, opaque},
    names::Marks,
    path::Location,
    scope::is_wanted_class,
};

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

/// The key of the maps that know files.
#[inline(always)]
pub fn key_of(object: &Object) -> ObjectKey {
    ObjectKey { inode: object.inode, device: object.device, generation: object.generation }
}

/// The two classes of a file: what it is whatever is done with it, and what it is when it is written.
///
/// One word, as it stands in the maps: the first class, and the number of the second << [`WRITTEN_AT`].
#[derive(Clone, Copy)]
#[repr(transparent)]
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

    /// To whom they matter: the bits of a filter's place.
    #[inline(always)]
    fn mattering(self) -> u64 {
        if self.always() != 0 { READ } else { WRITTEN }
    }

    /// Whether they matter to who writes the file or, if not `writes`, to who does not.
    #[inline(always)]
    fn matter(self, writes: bool) -> bool {
        // By arithmetic, as `is_equal`.
        let written = opaque((writes as u32).wrapping_neg()) << WRITTEN_AT;
        self.0 & (written | !(u32::MAX << WRITTEN_AT)) != 0
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
        mark(filter::FILES, marked(&key), classes.mattering());
        let _full = FIRST_FILES.insert(&key, &classes.0, 0);
    }
}

/// From now on the file is of these classes, whatever it is called.
#[inline(always)]
pub fn learn(object: &Object, classes: Classes) {
    let key = key_of(object);
    mark(filter::FILES, marked(&key), classes.mattering());
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

/// This CPU's room for the keys. For programs that run with preemption off.
#[inline(always)]
pub fn keys() -> Option<&'static mut Keys> {
    // SAFETY: a live map value of this CPU, used by one program at a time.
    Some(unsafe { &mut *CLASS_KEYS.get_ptr_mut(0)? })
}

/// Takes down the names of a file for [`find`] and [`complete`], if it is a regular one: rules are about no others. To
/// be called first: the verifier walks its loop once for each way to it.
#[inline(always)]
pub fn read_names(object: &Object, location: Location) -> Option<Marks> {
    if object.mode & S_IFMT != S_IFREG {
        return Some(Marks::NONE);
    }
    Some(keys()?.names.read(location))
}

/// Whether its names, its inode or its device may say something of a file.
#[inline(always)]
pub fn may_matter(object: &Object, marks: &Marks, writes: bool) -> bool {
    if object.mode & S_IFMT != S_IFREG {
        return device_class(object) != 0;
    }
    let is_private = is_private(object);
    let known = may_have(filter::FILES, marked(&key_of(object)));
    marks.matter(writes, is_private)
        || if writes { known != 0 } else { matters_to_readers(to_readers(known), is_private) }
}

/// 1 if not everybody may read the file, else 0. By arithmetic, as [`is_equal`].
#[inline(always)]
fn is_private(object: &Object) -> u64 {
    is_equal((object.mode & READABLE_FOR_ALL) as u64, 0)
}

/// What the names that [`read_names`] has taken down say of a file of which so much is known, unless that is all that
/// counts: see [`Found::asks`]. `anyway` is 1 if rules are asked in any case, else 0. Of one that is not regular, what the
/// device does.
#[inline(always)]
pub fn find(object: &Object, location: Location, known: Classes, anyway: u64) -> Option<Found> {
    if object.mode & S_IFMT != S_IFREG {
        let said = Said::nothing(0, 0);
        return Some(Found { known: device_class(object), asks: 0, said });
    }
    let keys = keys()?;
    let asks = anyway | is_equal(known.always() as u64, 0);
    keys.names.marks.keep_if(asks);
    let said = Found::said(keys, object, location);
    Some(Found { known: known.0, asks: forget(asks as u32, location.dentry.0), said })
}

/// The classes of a file of which [`find`] has told so much, and whose path is `path`.
#[inline(always)]
pub fn complete(
    found: Found,
    object: &Object,
    location: Location,
    path: *const u8,
    span: Span,
) -> Classes {
    if object.mode & S_IFMT != S_IFREG {
        return Classes(found.known);
    }
    let Some(keys) = keys() else { return Classes::NONE };
    found.complete(keys, object, location, path, span)
}

/// What was found of a file before its path is known.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Found {
    /// What is known of the inode, as [`Classes`].
    known: u32,
    /// 1 if rules are asked: of a file that is not known, that is written, or that the loader has learned. Else 0: what is
    /// known of it counts more than what they say to who reads.
    asks: u32,
    said: Said,
}

impl Found {
    /// What the names in `keys` and the inode say.
    #[inline(always)]
    pub fn of(keys: &mut Keys, object: &Object, location: Location) -> Self {
        let said = Self::said(keys, object, location);
        Self { known: forget(known(object).0, location.dentry.0), asks: 1, said }
    }

    #[inline(always)]
    fn said(keys: &mut Keys, object: &Object, location: Location) -> Said {
        let unknown = location.dentry.0;
        let private = is_private(object);
        let proc = forget(is_in_proc(object, location) as u64, unknown) & 1;
        let mut said = Said::nothing(private, proc);
        said.ask_names(keys, unknown);
        said.ask_suffixes(&keys.names.marks, unknown);
        said
    }

    /// The same, of which the verifier knows nothing any more: what comes next is verified once, not once for each way to
    /// here.
    #[inline(always)]
    pub fn forgotten(mut self, unknown: u64) -> Self {
        self.said.forget(unknown);
        Self { known: forget(self.known, unknown), asks: forget(self.asks, unknown), ..self }
    }

    /// Whether the file was known to be of these classes.
    #[inline(always)]
    pub fn knows(&self, classes: Classes) -> bool {
        self.known == classes.0
    }

    /// Whether the path could say anything of a file that has no class so far, or is needed to tell of it.
    #[inline(always)]
    pub fn needs_path(&self, writes: bool) -> bool {
        Classes(self.known).matter(writes) || self.said.needs_path(writes)
    }

    /// Lets the path speak, and decides.
    #[inline(always)]
    pub fn complete(
        mut self,
        keys: &mut Keys,
        object: &Object,
        location: Location,
        path: *const u8,
        span: Span,
    ) -> Classes {
        if is_equal(span.origin as u64, origin::KERNEL as u64) & self.asks as u64 != 0 {
            self.said.ask_prefixes(path, span, keys, location.dentry.0);
        }
        self.said.ask_top();
        merged(self.said.classes, self.known, object)
    }
}

/// What is known of a file's inode, and else what the rules say. What matters is the content of regular
/// files only; to be written, or put in place, may be what has a class.
#[inline(always)]
fn merged(found: u64, known: u32, object: &Object) -> Classes {
    let is_regular = (object.mode & S_IFMT == S_IFREG) as u32;
    let here = (found as u32).wrapping_mul(opaque(is_regular));
    let known = Classes(known);
    let always = if known.always() != 0 { known.always() } else { here };
    let always = if always == class::ORDINARY { 0 } else { always };
    let written = (found >> 32) as u32;
    let written = if written != 0 { written } else { number(known.written()) };
    let written = if written == number(class::ORDINARY) { 0 } else { written };
    let forgotten = |value: u32| forget(value, found);
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
