//! The call by which the object's loads of kernel memory become instructions: `bpf_rdonly_cast`, since Linux 6.2, has
//! the verifier take an address for that of a structure, and leaves nothing of itself but a copy of a register.
//!
//! Functions of the kernel are called by their number in its BTF, for which the object has places.

use sentinel_ipc::kernel_abi::cast;

use crate::btf::Btf;

// Instructions (Documentation/bpf/standardization/instruction-set.rst): `call`, and with a function of the kernel;
// `r = number`, of whatever register.
const CALL: [u8; 4] = [0x85, 0, 0, 0];
const CALL_KERNEL: [u8; 4] = [0x85, 2 << 4, 0, 0];
const SET: u8 = 0xb7;
const INSTRUCTION: usize = 8;
/// A structure that begins with a word.
const WORD: &str = "pt_regs";

/// The numbers that go into the object's places.
#[derive(Clone, Copy)]
pub struct Cast {
    function: u32,
    word: u32,
}

impl Cast {
    /// As this kernel numbers them; `None` if it has no cast. One that has it may refuse it, as those do that interpret
    /// programs.
    pub fn of(kernel: &Btf) -> Option<Self> {
        let function = kernel.function("bpf_rdonly_cast")?;
        Some(Self { function, word: kernel.structure(WORD)? })
    }

    /// The object with its places filled in. Without a cast, what it casts to is 0, and the calls are never reached.
    pub fn put_into(cast: Option<Self>, object: &[u8]) -> Vec<u8> {
        let mut object = object.to_vec();
        let Self { function, word } = cast.unwrap_or(Self { function: 0, word: 0 });
        // The object's sections of instructions begin at multiples of their length.
        for instruction in object.chunks_exact_mut(INSTRUCTION) {
            let (operation, number) = instruction.split_at_mut(INSTRUCTION / 2);
            if number == cast::WORD.to_ne_bytes() && operation.first() == Some(&SET) {
                number.copy_from_slice(&word.to_ne_bytes());
            } else if number == cast::FUNCTION.to_ne_bytes() && operation == CALL && word != 0 {
                operation.copy_from_slice(&CALL_KERNEL);
                number.copy_from_slice(&function.to_ne_bytes());
            }
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(operation: [u8; 4], number: u32) -> Vec<u8> {
        [operation, number.to_ne_bytes()].concat()
    }

    /// Both places, the second with a register, and what only looks like one.
    fn object() -> Vec<u8> {
        [
            instruction(CALL, cast::FUNCTION),
            instruction([SET, 2, 0, 0], cast::WORD),
            instruction(CALL, 158),
            instruction([0x18, 2, 0, 0], cast::WORD),
        ]
        .concat()
    }

    #[test]
    fn both_places_are_filled_and_nothing_else() {
        let filled = Cast::put_into(Some(Cast { function: 70_000, word: 162 }), &object());
        let wanted = [
            instruction(CALL_KERNEL, 70_000),
            instruction([SET, 2, 0, 0], 162),
            instruction(CALL, 158),
            instruction([0x18, 2, 0, 0], cast::WORD),
        ];
        assert_eq!(filled, wanted.concat());
    }

    #[test]
    fn without_a_cast_calls_stay_and_the_structure_is_none() {
        let mut wanted = object();
        wanted[INSTRUCTION + 4..INSTRUCTION * 2].fill(0);
        assert_eq!(Cast::put_into(None, &object()), wanted);
    }
}
