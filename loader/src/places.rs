//! Numbers of this kernel that the object's instructions hold, for which it has places: the offsets of fields, and the
//! call by which its loads of kernel memory become instructions. `bpf_rdonly_cast`, since Linux 6.2, has the verifier
//! take an address for that of a structure, and leaves nothing of itself but a copy of a register. Functions of the
//! kernel are called by their number in its BTF.

use sentinel_ipc::{kernel_abi::place, kernel_fields::Offsets};

use crate::btf::Btf;

// Instructions (Documentation/bpf/standardization/instruction-set.rst): `call`, and with a function of the kernel;
// `r = number` and `r += number`, of whatever register.
const CALL: [u8; 4] = [0x85, 0, 0, 0];
const CALL_KERNEL: [u8; 4] = [0x85, 2 << 4, 0, 0];
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const INSTRUCTION: usize = 8;
/// A structure that begins with a word.
const WORD: &str = "pt_regs";

/// The cast, by numbers of BTF.
#[derive(Clone, Copy)]
pub struct Cast {
    function: u32,
    word: u32,
}

impl Cast {
    /// As this kernel numbers it; `None` if it has no cast. One that has it may refuse it, as those do that interpret
    /// programs.
    pub fn of(kernel: &Btf) -> Option<Self> {
        let function = kernel.function("bpf_rdonly_cast")?;
        Some(Self { function, word: kernel.structure(WORD)? })
    }
}

/// The object with its places filled in. Without a cast, what it casts to is 0, and the calls are never reached.
pub fn filled(object: &[u8], offsets: &Offsets, cast: Option<Cast>) -> Vec<u8> {
    let mut object = object.to_vec();
    let Cast { function, word } = cast.unwrap_or(Cast { function: 0, word: 0 });
    let offset_in =
        |number: u32| offsets.get(usize::try_from(number.checked_sub(place::OFFSET)?).ok()?);
    // The object's sections of instructions begin at multiples of their length.
    let (instructions, _) = object.as_chunks_mut::<INSTRUCTION>();
    for instruction in instructions {
        let [a, b, c, d, number @ ..] = instruction;
        let operation = [*a, *b, *c, *d];
        let found = u32::from_ne_bytes(*number);
        match (operation, found) {
            (CALL, place::CAST) if word != 0 => {
                [*a, *b, *c, *d] = CALL_KERNEL;
                *number = function.to_ne_bytes();
            }
            ([SET, ..], place::WORD) => *number = word.to_ne_bytes(),
            ([SET | ADD, ..], _) => {
                if let Some(offset) = offset_in(found) {
                    *number = offset.to_ne_bytes();
                }
            }
            _ => {}
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use sentinel_ipc::kernel_fields::{FIELD_COUNT, Field, NO_SUCH_FIELD};

    use super::*;

    static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sentinel-sensor"));

    fn instruction(operation: [u8; 4], number: u32) -> Vec<u8> {
        [operation, number.to_ne_bytes()].concat()
    }

    /// The place of a field's offset.
    fn place_of(field: Field) -> u32 {
        place::OFFSET + u32::try_from(field as usize).unwrap()
    }

    /// Each kind of place, with some register, and what only looks like one; with what is in the places.
    fn object(cast: &[u8], word: u32, offset: u32, other_offset: u32) -> Vec<u8> {
        [
            cast.to_vec(),
            instruction([SET, 2, 0, 0], word),
            instruction([ADD, 1, 0, 0], offset),
            instruction([SET, 7, 0, 0], other_offset),
            instruction(CALL, 158),
            instruction([ADD, 1, 0, 0], place::WORD),
            instruction([SET, 1, 0, 0], place::OFFSET + u32::try_from(FIELD_COUNT).unwrap()),
            instruction([0x18, 2, 0, 0], place::WORD),
            instruction([0x18, 2, 0, 0], place::OFFSET),
            vec![0; 3],
        ]
        .concat()
    }

    fn unfilled() -> Vec<u8> {
        let call = instruction(CALL, place::CAST);
        object(&call, place::WORD, place_of(Field::TaskTgid), place_of(Field::CgroupAncestors))
    }

    fn offsets() -> Offsets {
        let mut offsets = [NO_SUCH_FIELD; FIELD_COUNT];
        offsets[Field::TaskTgid as usize] = 1468;
        offsets
    }

    /// Words of the object that are at the place of an instruction's number, and look like a place.
    fn places_in(object: &[u8]) -> usize {
        let is_place = |number: u32| {
            let offsets = place::OFFSET..place::OFFSET + u32::try_from(FIELD_COUNT).unwrap();
            [place::CAST, place::WORD].contains(&number) || offsets.contains(&number)
        };
        let (slots, _) = object.as_chunks::<INSTRUCTION>();
        let number = |&[.., a, b, c, d]: &[u8; INSTRUCTION]| u32::from_ne_bytes([a, b, c, d]);
        slots.iter().filter(|slot| is_place(number(slot))).count()
    }

    #[test]
    fn the_sensor_has_places_in_no_other_form() {
        assert!(places_in(OBJECT) > 1000);
        let cast = Some(Cast { function: 1, word: 1 });
        assert_eq!(places_in(&filled(OBJECT, &offsets(), cast)), 0);
    }

    #[test]
    fn all_places_are_filled_and_nothing_else() {
        let cast = Some(Cast { function: 70_000, word: 162 });
        let wanted = object(&instruction(CALL_KERNEL, 70_000), 162, 1468, NO_SUCH_FIELD);
        assert_eq!(filled(&unfilled(), &offsets(), cast), wanted);
    }

    #[test]
    fn without_a_cast_calls_stay_and_the_structure_is_none() {
        let wanted = object(&instruction(CALL, place::CAST), 0, 1468, NO_SUCH_FIELD);
        assert_eq!(filled(&unfilled(), &offsets(), None), wanted);
    }
}
