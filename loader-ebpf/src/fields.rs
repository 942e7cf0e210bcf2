//! Fields of this kernel's structures. Their offsets stand in the instructions, where the loader puts them; so does
//! what makes an instruction of a load from an address.

use core::arch::asm;

use sentinel_ipc::{
    kernel_abi::place,
    kernel_fields::{Field, NO_SUCH_FIELD},
};

use crate::kernel::Address;

/// What stands in the object for the offset of `field`.
const fn place_of(field: Field) -> u32 {
    place::OFFSET + field as u32
}

/// A number that the loader puts in this place.
#[inline(always)]
fn number<const PLACE: u32>() -> usize {
    let number: u64;
    // SAFETY: sets a register.
    unsafe {
        asm!("{number} = {place}", number = out(reg) number, place = const PLACE, options(pure, nomem, nostack));
    }
    number as usize
}

/// Whether this kernel has a cast by which addresses are read: the verifier walks the way for this kernel only.
#[inline(always)]
pub fn has_cast() -> bool {
    number::<{ place::WORD }>() != 0
}

/// Whether this kernel has `field`. Where it does not, the verifier prunes the guarded branch.
#[inline(always)]
pub fn has(field: Field) -> bool {
    offset(field) != NO_SUCH_FIELD as usize
}

macro_rules! by_field {
    ($($name:ident)*) => {
        /// Offset of `field`, a constant, in bytes.
        #[inline(always)]
        pub fn offset(field: Field) -> usize {
            match field {
                $(Field::$name => number::<{ place_of(Field::$name) }>(),)*
            }
        }

        /// The value of `field`, a constant, in the structure at an address, where there is a cast.
        #[inline(always)]
        pub fn load<T: Value>(from: Address, field: Field) -> T {
            match field {
                $(Field::$name => T::load::<{ place_of(Field::$name) }>(from),)*
            }
        }
    };
}

sentinel_ipc::with_fields!(by_field);

/// What can be read of kernel memory.
pub trait Value: Copy + Default {
    /// Loads it from an address and the number that the loader puts in this place, or no number if it is 0; where
    /// there is a cast.
    fn load<const PLACE: u32>(from: Address) -> Self;
}

macro_rules! values {
    ($($value:ty, $register:literal;)*) => {
        $(impl Value for $value {
            #[inline(always)]
            fn load<const PLACE: u32>(from: Address) -> Self {
                let loaded: u64;
                // SAFETY: the loader makes of this call `bpf_rdonly_cast`, of which the kernel makes nothing but a copy
                // of the register. The load gives zeros where there is no kernel memory. By hand, because LLVM would
                // share it with loads by other types of pointers, which the verifier refuses.
                unsafe {
                    asm!(
                        "r1 += {offset}",
                        "r2 = {word}",
                        "call {cast}",
                        concat!("r0 = *(", $register, " *)(r0 + 0)"),
                        offset = const PLACE,
                        word = const place::WORD,
                        cast = const place::CAST,
                        inout("r1") from.0 => _,
                        out("r0") loaded,
                        out("r2") _,
                        out("r3") _,
                        out("r4") _,
                        out("r5") _,
                        options(pure, nostack, readonly),
                    );
                }
                loaded as Self
            }
        })*
    };
}

values! {
    u8, "u8";
    u16, "u16";
    u32, "u32";
    i32, "u32";
    u64, "u64";
}

impl Value for [u64; 4] {
    #[inline(always)]
    fn load<const PLACE: u32>(from: Address) -> Self {
        let at = |index: usize| u64::load::<PLACE>(from.behind(8 * index));
        [at(0), at(1), at(2), at(3)]
    }
}

impl Value for [u8; 4] {
    #[inline(always)]
    fn load<const PLACE: u32>(from: Address) -> Self {
        u32::load::<PLACE>(from).to_ne_bytes()
    }
}

impl Value for [u8; 16] {
    #[inline(always)]
    fn load<const PLACE: u32>(from: Address) -> Self {
        const { assert!(cfg!(target_endian = "little"), "which half comes first") };
        let (front, back) = (u64::load::<PLACE>(from), u64::load::<PLACE>(from.behind(8)));
        (front as u128 | (back as u128) << 64).to_ne_bytes()
    }
}
