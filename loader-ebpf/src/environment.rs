//! The environment variables of a new program that make it run code that somebody else chose.

use aya_ebpf::{
    macros::{btf_tracepoint, map},
    maps::{PerCpuArray, ProgramArray},
    programs::BtfTracePointContext,
};
use sentinel_ipc::{
    kernel_abi::{ENVIRONMENT, ENVIRONMENT_BYTES, ExecRecord, flag},
    kernel_fields::Field,
};

use crate::{
    descriptor::is_connection,
    emit::{scratch, send_urgent},
    kernel::{Address, copy_kernel, copy_user_string, is_equal, opaque},
};

/// Pieces of the environment that one run looks at; a long variable takes several. The kernel lets
/// a program begin anew 33 times.
const PIECES: usize = 48;
/// Bytes of a piece, its NUL included.
const PIECE_BYTES: usize = 256;
/// Bytes that the longest of the names has with its `=`, rounded up.
const NAME_BYTES: usize = 24;
const WORDS: usize = NAME_BYTES / 8;

/// Where the search is.
#[repr(C)]
struct Search {
    piece: [u64; PIECE_BYTES / 8],
    /// Address of the next piece, and of the environment's end.
    at: u64,
    end: u64,
    /// 1 if the next piece goes on with a variable.
    continued: u64,
}

#[map]
static SEARCH: PerCpuArray<Search> = PerCpuArray::with_max_entries(1, 0);

/// [`exec_environment`], to go on with; the loader fills it.
#[map]
pub static ENVIRONMENT_SEARCH: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// A name with its `=`, and which bits of the words it fills.
struct Wanted {
    name: [u64; WORDS],
    mask: [u64; WORDS],
}

const WANTED: [Wanted; ENVIRONMENT.len()] = {
    let mut wanted = [const { Wanted { name: [0; WORDS], mask: [0; WORDS] } }; ENVIRONMENT.len()];
    let mut index = 0;
    while index < ENVIRONMENT.len() {
        let name = ENVIRONMENT[index];
        let mut at = 0;
        while at <= name.len() {
            let byte = if at < name.len() { name[at] } else { b'=' };
            wanted[index].name[at / 8] |= (byte as u64) << (8 * (at % 8));
            wanted[index].mask[at / 8] |= 0xff << (8 * (at % 8));
            at += 1;
        }
        index += 1;
    }
    wanted
};

/// 1 if a piece begins with a name that is wanted, else 0. Without branches, of which a loop could
/// not have so many.
#[inline(always)]
fn is_wanted(piece: [u64; WORDS]) -> u64 {
    let mut found = 0;
    let mut index = 0;
    while index < WANTED.len() {
        let Wanted { name, mask } = &WANTED[index];
        let difference = ((piece[0] ^ name[0]) & mask[0])
            | ((piece[1] ^ name[1]) & mask[1])
            | ((piece[2] ^ name[2]) & mask[2]);
        found |= is_equal(difference, 0);
        index += 1;
    }
    found
}

/// Where the new program's environment is.
#[inline(always)]
pub fn begin(memory: Address) {
    if let Some(search) = SEARCH.get_ptr_mut(0) {
        // SAFETY: a live map value of this CPU.
        unsafe {
            (*search).at = memory.read(Field::MmEnvironmentStart);
            (*search).end = memory.read(Field::MmEnvironmentEnd);
            (*search).continued = 0;
        }
    }
}

/// Runs in the place of `sched_process_exec`, whose record it completes and sends.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec_environment(context: BtfTracePointContext) -> i32 {
    let Some(record) = scratch::<ExecRecord>() else { return 0 };
    let Some(search) = SEARCH.get_ptr_mut(0) else { return 0 };
    // SAFETY: a live map value of this CPU.
    if !search_some(record, unsafe { &mut *search }) {
        // SAFETY: the map holds this program only. Comes back when it has begun anew too often.
        unsafe { ENVIRONMENT_SEARCH.tail_call(&context, 0) };
        // SAFETY: the record's own field.
        unsafe { (*record).header.flags |= flag::ENVIRONMENT_TRUNCATED };
    }
    // SAFETY: the record's own field, of three elements.
    let stdio = unsafe { &(*record).stdio };
    send_urgent(record, stdio.iter().any(|one| is_connection(&one.socket)));
    0
}

/// Copies wanted variables of the next pieces into the record, each ended by a NUL; true when all
/// were looked at.
#[inline(always)]
fn search_some(record: *mut ExecRecord, search: &mut Search) -> bool {
    // SAFETY: only addresses are taken.
    let (to, length_at, flags_at) = unsafe {
        (
            (&raw mut (*record).environment).cast::<u8>(),
            &raw mut (*record).environment_length,
            &raw mut (*record).header.flags,
        )
    };
    let text = search.piece.as_mut_ptr().cast::<u8>();
    for _ in 0..PIECES {
        if search.at >= search.end {
            return true;
        }
        let Some(length) = copy_user_string(text, PIECE_BYTES as u32, search.at) else {
            return false;
        };
        let [first, second, third, ..] = search.piece;
        // 1 if the piece is full, by arithmetic as well.
        let cut = (length as u64 + 1) / PIECE_BYTES as u64;
        if is_wanted([first, second, third]) > search.continued {
            // SAFETY: the record's own fields.
            let used = unsafe { length_at.read() } as usize;
            let bytes = opaque(length as usize + 1) & (2 * PIECE_BYTES - 1);
            if used + bytes > ENVIRONMENT_BYTES || bytes > PIECE_BYTES {
                // SAFETY: as above.
                unsafe { *flags_at |= flag::ENVIRONMENT_TRUNCATED };
            } else {
                let place = opaque(used) & (ENVIRONMENT_BYTES - 1);
                // SAFETY: place < ENVIRONMENT_BYTES, and the scratch memory has 256 bytes behind the
                // record.
                copy_kernel(unsafe { to.add(place) }, bytes as u32, Address(text as u64));
                // SAFETY: as above.
                unsafe {
                    length_at.write((place + bytes) as u16);
                    *flags_at |= cut as u16 * flag::TRUNCATED;
                }
            }
        }
        // Of a piece that was cut, its NUL is not in the environment.
        search.at += length as u64 + 1 - cut;
        search.continued = cut;
    }
    search.at >= search.end
}
