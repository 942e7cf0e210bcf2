//! What is told of a file that a call, or a ring's request, is about. First is asked whether any rule could be about
//! one of its names, or its inode is known, which is enough for most; then what they say, and last the path.
//!
//! What one step knows is handed on to the next in memory, so that each is verified once, not once for each way
//! to it.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use sentinel_ipc::{
    file_class::class,
    kernel_abi::{FileRecord, Object, Span, control, flag, kind, origin},
    kernel_fields::Field,
};

use crate::{
    descriptor::{NO_OBJECT, Table, completed, identity_of},
    emit::{Facts, header, header_at, is_urgent, scratch, send},
    exchange,
    file_class::{self, Classes},
    kernel::{Address, Piece, forget, is_equal, now},
    path::{Location, walk},
    pid::current_ids,
    plain_files,
    scope::{control_value, count, is_wanted, is_wanted_class, taint},
};

const MAP_SHARED: u64 = 1;
const PROT_WRITE: u64 = 2;
/// The open made the file (`FMODE_CREATED`, include/linux/fs.h).
const CREATED: u32 = 1 << 20;

/// An event about a file.
#[repr(C)]
pub struct Noted {
    pub facts: Facts,
    pub file: Address,
    /// The file's descriptor, whose flags are not among the facts yet; or [`NO_NUMBER`].
    number: u32,
    seen: Seen,
    /// Of `file`, and of its inode.
    copied: ([u64; 10], [u64; 16]),
}

/// No descriptor.
pub const NO_NUMBER: u32 = u32::MAX;

impl Noted {
    /// The facts' flags, and those of the descriptor. Not read before the event is told, which few are.
    #[inline(always)]
    pub fn flags(&self) -> u16 {
        let own = if self.number == NO_NUMBER { 0 } else { Table::current().flags(self.number) };
        self.facts.flags | own
    }
}

/// What [`look`] has found.
#[derive(Clone, Copy)]
#[repr(C)]
struct Seen {
    object: Object,
    /// The inode that it describes.
    inode: Address,
    location: Location,
    /// What is known of the inode.
    known: Classes,
    open_flags: u32,
    writes: bool,
    exchanges: bool,
    /// It is reported whatever the file is.
    is_told_anyway: bool,
}

#[map]
static NOTED: PerCpuArray<Noted> = PerCpuArray::with_max_entries(1, 0);

/// What was noted last on this CPU.
#[inline(always)]
pub fn noted() -> Option<*const Noted> {
    NOTED.get_ptr(0)
}

/// Notes an event about `file`, which may be null, and which is descriptor `number`, or [`NO_NUMBER`].
#[inline(always)]
pub fn note(facts: Facts, file: Address, number: u32) {
    if let Some(noted) = NOTED.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe {
            (&raw mut (*noted).facts).write(facts);
            (&raw mut (*noted).file).write(file);
            (&raw mut (*noted).number).write(number);
        }
    }
}

/// Looks at the file that was noted; whether [`report`] has to follow. If not, nobody wants to hear of it.
#[inline(always)]
pub fn look() -> bool {
    let Some(noted) = NOTED.get_ptr_mut(0) else { return false };
    // SAFETY: a live map value of this CPU.
    let noted = unsafe { &mut *noted };
    let (facts, file) = (noted.facts, noted.file);
    let opened = Piece::copied(file, 0, &mut noted.copied.0);
    let inode = opened.follow(Field::FileInode);
    let copied = Piece::copied(inode, 0, &mut noted.copied.1);
    let object = identity_of(&copied);
    let location = Location::of(opened.follow(Field::FileDentry), opened.follow(Field::FileMount));
    let open_flags: u32 = opened.read(Field::FileFlags);
    // By arithmetic, so that what comes next is not verified for each kind.
    let is_open = is_equal(facts.kind as u64, kind::OPEN as u64) != 0;
    // First, so that its loop is not verified once for each outcome of what follows.
    let Some(marks) = file_class::read_names(&object, location) else { return false };
    if is_open && opened.read::<u32>(Field::FileMode) & CREATED != 0 {
        file_class::unlearn(&object);
    }
    let writes = writes(&facts, open_flags);
    let matters = file_class::may_matter(&object, &marks, writes);
    let (tgid, _) = current_ids();
    let exchanges = exchange::is_told(&facts, &object, open_flags, tgid);
    let is_told_anyway = !(is_open || facts.kind == kind::MAP)
        || is_open && is_wanted(kind::OPEN_ANY)
        || file.is_null()
        || exchanges
        || control_value(control::LEARN) != 0;
    if !(is_told_anyway || matters) {
        pass_over(&facts, file, inode, &object, tgid);
        return false;
    }
    let object = completed(object, &copied);
    let known = file_class::known(&object);
    noted.seen =
        Seen { object, inode, location, known, open_flags, writes, exchanges, is_told_anyway };
    true
}

/// Nobody wants to hear of the file.
#[inline(always)]
fn pass_over(facts: &Facts, file: Address, inode: Address, object: &Object, tgid: u32) {
    if facts.kind == kind::OPEN && !file.is_null() {
        plain_files::begin(tgid, facts.result as u32, file, inode, object);
    }
}

/// Whether a call writes a file that is open like this, makes it writable, or lets it be written.
#[inline(always)]
fn writes(facts: &Facts, open_flags: u32) -> bool {
    let [first, second, third] = facts.argument;
    match facts.kind {
        kind::OPEN => file_class::may_write(open_flags | first as u32 & file_class::TRUNCATES),
        kind::MAP => second & PROT_WRITE != 0 && third & MAP_SHARED != 0,
        kind::FCHMOD | kind::FTRUNCATE => true,
        _ => false,
    }
}

/// Classifies the file that was looked at, and reports the event if it is wanted.
#[inline(always)]
pub fn report() {
    let Some(noted) = NOTED.get_ptr(0) else { return };
    // SAFETY: a live map value of this CPU.
    let noted = unsafe { &*noted };
    let (facts, file, seen) = (noted.facts, noted.file, &noted.seen);
    let (location, open_flags) = (seen.location, seen.open_flags);
    let (tgid, _) = current_ids();
    let lesson = control_value(control::LEARN);
    let anyway = seen.writes as u64 | is_equal(lesson, 0) ^ 1;
    let found = file_class::find(&seen.object, location, seen.known, anyway);
    let Some(found) = found else { return };
    if !(seen.is_told_anyway || found.needs_path(seen.writes)) {
        pass_over(&facts, file, seen.inode, &seen.object, tgid);
        return;
    }
    let Some(record) = scratch::<FileRecord>() else { return };
    // SAFETY: `record` has room for this type and 256 bytes more; only addresses are taken.
    let (record_at, object_at, span_at, class_at, open_flags_at, path_at) = unsafe {
        (
            &raw mut (*record).header,
            &raw mut (*record).object,
            &raw mut (*record).span,
            &raw mut (*record).class,
            &raw mut (*record).open_flags,
            (&raw mut (*record).path).cast::<u8>(),
        )
    };
    let found = found.forgotten(location.dentry.0);
    let written = walk(location, path_at);
    let classes = file_class::complete(found, &seen.object, location, path_at, written.span);
    if lesson != 0 && control_value(control::LOADER) == tgid as u64 {
        file_class::learn_first(&seen.object, classes);
        return;
    }
    let time = now();
    let is_secret = file_class::is_secret(classes.always());
    let reads = file_class::may_read(open_flags);
    if is_secret && reads && file_class::has_content(&seen.object) {
        if !found.knows(classes) {
            file_class::learn(&seen.object, classes);
        }
        taint(tgid, time);
    }
    let class = classes.told(seen.writes);
    // Who only names the file, or is the process that it tells of, does nothing with it.
    let inode = seen.inode;
    let is_idle = open_flags & file_class::PATH_ONLY != 0 && !is_secret;
    let class = if is_idle || file_class::is_of_oneself(class, inode) { 0 } else { class };
    let class = if class == 0 && seen.exchanges { class::EXCHANGE } else { class };
    let class = forget(class, location.dentry.0);
    let wanted = match facts.kind {
        kind::OPEN => is_wanted_class(class) || is_wanted(kind::OPEN_ANY) || file.is_null(),
        kind::MAP => is_wanted_class(class),
        _ => true,
    };
    let is_told = wanted && is_wanted(facts.kind);
    if matches!(facts.kind, kind::OPEN | kind::MEMFD) && !file.is_null() {
        if facts.kind == kind::OPEN && !is_told && !is_secret {
            plain_files::begin(tgid, facts.result as u32, file, inode, &seen.object);
        } else {
            plain_files::end(tgid, facts.result as u32);
        }
    }
    if !is_told {
        return;
    }
    count(|counters| counters.passed += 1);
    let flags = noted.flags() | (written.flags & flag::TRUNCATED);
    // SAFETY: the addresses of the record's own fields, taken above.
    unsafe {
        record_at.write(header_at(time, Facts { flags, ..facts }));
        object_at.write(seen.object);
        span_at.write(written.span);
        class_at.write(class);
        open_flags_at.write(open_flags);
    }
    send(record, is_urgent(facts.kind) || file_class::is_secret(class));
}

/// Reports an event about a file of which nothing is known.
#[inline(always)]
pub fn report_unknown(facts: Facts) {
    if !is_wanted(facts.kind) {
        return;
    }
    let Some(record) = scratch::<FileRecord>() else { return };
    count(|counters| counters.passed += 1);
    // SAFETY: the scratch memory has room for it; all of it is written but the path.
    unsafe {
        (&raw mut (*record).header).write(header(facts));
        (&raw mut (*record).object).write(NO_OBJECT);
        (&raw mut (*record).span).write(Span {
            start: 0,
            length: 0,
            origin: origin::NONE,
            reserved: 0,
        });
        (&raw mut (*record).class).write(0);
        (&raw mut (*record).open_flags).write(0);
    }
    send(record, is_urgent(facts.kind));
}
