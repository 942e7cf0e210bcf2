//! Reads member offsets from the kernel's BTF (Documentation/bpf/btf.rst).
//!
//! Nothing in the data is trusted: every index is checked, and following types is bounded.

use std::{collections::HashMap, fmt};

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_POINTER: u32 = 2;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNCTION: u32 = 12;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;
/// What the kernel calls the type of a tracepoint's handlers (include/trace/bpf_probe.h).
const TRACEPOINT: &[u8] = b"btf_trace_";
/// typedef, volatile, const, restrict, type tag: names and qualifiers around another type.
const WRAPPERS: [u32; 5] = [8, 9, 10, 11, 18];
/// Bytes of a type's name, kind and size.
const HEADER: usize = 12;
/// How deep qualifiers or anonymous members may nest.
const MAX_DEPTH: u32 = 16;
/// Members that are looked at to find one, at most: some that are nested in themselves would never end.
const MAX_MEMBERS: u32 = 16_384;

/// Why BTF could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum BtfError {
    /// The data does not begin with BTF's magic in this machine's byte order.
    Magic,
    /// A section or type reaches beyond the end of the data, at this byte.
    Truncated(usize),
    /// A type has a kind this reader does not know, at this byte.
    Kind(u32, usize),
}

impl fmt::Display for BtfError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => write!(to, "no BTF data (wrong magic)"),
            Self::Truncated(at) => write!(to, "BTF data ends early, at byte {at}"),
            Self::Kind(kind, at) => write!(to, "unknown BTF kind {kind} at byte {at}"),
        }
    }
}

impl std::error::Error for BtfError {}

struct Type {
    kind: u32,
    members: u32,
    /// Size of the type, or the type it refers to.
    size_or_type: u32,
    /// Whether member offsets carry a bit-field size in their upper byte.
    bit_fields: bool,
    /// Where what follows the type's header begins.
    body: usize,
}

/// Parsed BTF.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    types: Vec<Type>,
    structures: HashMap<Vec<u8>, Vec<u32>>,
    tracepoints: HashMap<Vec<u8>, u32>,
}

impl Btf {
    /// Parses the contents of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// When the data is not BTF, ends early, or holds a kind this reader does not know.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let word = |at: usize| read_u32(&data, at).ok_or(BtfError::Truncated(at));
        let magic = word(0)?.to_ne_bytes();
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(BtfError::Magic);
        }
        let header = word(4)? as usize;
        let mut at = header + word(8)? as usize;
        let end = at + word(12)? as usize;
        let strings = header + word(16)? as usize;
        let mut types =
            vec![Type { kind: 0, members: 0, size_or_type: 0, bit_fields: false, body: 0 }];
        let mut named = Vec::new();
        while at < end {
            let (name, info, size_or_type) = (word(at)?, word(at + 4)?, word(at + 8)?);
            let (kind, members) = ((info >> 24) & 0x1f, info & 0xffff);
            if matches!(kind, KIND_STRUCT | KIND_UNION | KIND_TYPEDEF) && name != 0 {
                named.push((name, types.len()));
            }
            let body = at + HEADER;
            types.push(Type { kind, members, size_or_type, bit_fields: info >> 31 != 0, body });
            at = body + body_bytes(kind, members).ok_or(BtfError::Kind(kind, at))?;
        }
        let (structures, tracepoints) = (HashMap::new(), HashMap::new());
        let mut btf = Self { data, strings, types, structures, tracepoints };
        for (name, id) in named {
            let name = btf.string(name).ok_or(BtfError::Truncated(strings))?;
            let Ok(number) = u32::try_from(id) else { continue };
            if btf.types.get(id).is_some_and(|found| found.kind != KIND_TYPEDEF) {
                let name = name.to_vec();
                btf.structures.entry(name).or_default().push(number);
            } else if let Some(name) = name.strip_prefix(TRACEPOINT) {
                let name = name.to_vec();
                btf.tracepoints.insert(name, number);
            }
        }
        Ok(btf)
    }

    /// Number of a function; `None` when this kernel has none of that name.
    pub fn function(&self, name: &str) -> Option<u32> {
        let is_it = |found: &Type| {
            let written = read_u32(&self.data, found.body.saturating_sub(HEADER));
            found.kind == KIND_FUNCTION
                && written.and_then(|at| self.string(at)) == Some(name.as_bytes())
        };
        u32::try_from(self.types.iter().position(is_it)?).ok()
    }

    /// Number of a structure; `None` when this kernel has none of that name.
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.structures.get(name.as_bytes())?.first().copied()
    }

    /// How many arguments the tracepoint `name` hands over; `None` when this kernel has no such
    /// tracepoint.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let id = self.unwrap_type(*self.tracepoints.get(name.as_bytes())?)?;
        let pointer = self.types.get(id as usize).filter(|found| found.kind == KIND_POINTER)?;
        let prototype = self.types.get(self.unwrap_type(pointer.size_or_type)? as usize)?;
        // The first parameter is the handler's own.
        (prototype.kind == KIND_FUNCTION_PROTOTYPE).then(|| prototype.members.saturating_sub(1))
    }

    /// Offset in bytes of the member at `path` ("sk_common.family") in a structure; `None` when
    /// this kernel has none. Members of anonymous structures and unions count as the outer's own.
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut left = MAX_MEMBERS;
        self.structures.get(structure.as_bytes())?.iter().find_map(|&id| {
            let mut id = id;
            let mut bits = 0_u32;
            for name in path.split('.') {
                let (offset, member_type) = self.member(id, name.as_bytes(), 0, &mut left)?;
                bits = bits.checked_add(offset)?;
                id = self.unwrap_type(member_type)?;
            }
            bits.is_multiple_of(8).then_some(bits / 8)
        })
    }

    /// Offset in bits and type of a member; `left` is how many more may be looked at.
    fn member(&self, id: u32, wanted: &[u8], depth: u32, left: &mut u32) -> Option<(u32, u32)> {
        let outer = self.types.get(id as usize)?;
        if !matches!(outer.kind, KIND_STRUCT | KIND_UNION) || depth > MAX_DEPTH {
            return None;
        }
        for index in 0..outer.members as usize {
            *left = left.checked_sub(1)?;
            let at = outer.body + 12 * index;
            let name = read_u32(&self.data, at)?;
            let member_type = read_u32(&self.data, at + 4)?;
            let offset = read_u32(&self.data, at + 8)?;
            let offset = if outer.bit_fields { offset & 0x00ff_ffff } else { offset };
            if name != 0 {
                if self.string(name)? == wanted {
                    return Some((offset, member_type));
                }
                continue;
            }
            let inner = self.unwrap_type(member_type);
            let found = inner.and_then(|id| self.member(id, wanted, depth + 1, left));
            if let Some((inner, found)) = found {
                return Some((offset.checked_add(inner)?, found));
            }
        }
        None
    }

    /// The type behind typedefs and qualifiers.
    fn unwrap_type(&self, mut id: u32) -> Option<u32> {
        for _ in 0..MAX_DEPTH {
            let found = self.types.get(id as usize)?;
            if !WRAPPERS.contains(&found.kind) {
                return Some(id);
            }
            id = found.size_or_type;
        }
        None
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.data.get(self.strings.checked_add(offset as usize)?..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

/// Bytes that follow the header of a type.
fn body_bytes(kind: u32, members: u32) -> Option<usize> {
    let members = members as usize;
    Some(match kind {
        2 | 7..=12 | 16 | 18 => 0,
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * members,
        6 | 13 => 8 * members,
        _ => return None,
    })
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// BTF of `struct outer { u32 a; struct { u32 b; union { u32 c; struct inner d; }; }; }` and
    /// `struct inner { u32 x; const typedef_of_u32 y; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0inner\0a\0b\0c\0d\0x\0y\0u32\0";
        let name = |wanted: &str| -> u32 {
            let pattern = [b"\0", wanted.as_bytes(), b"\0"].concat();
            let found = strings.windows(pattern.len()).position(|window| window == pattern);
            u32::try_from(found.unwrap() + 1).unwrap()
        };
        let mut types: Vec<u32> = Vec::new();
        let structure = |kind: u32, members: u32| (kind << 24) | members;
        types.extend([name("u32"), 1 << 24, 4, 32]); // 1: int
        types.extend([0, 10 << 24, 1]); // 2: const u32
        types.extend([name("inner"), structure(4, 2), 8]); // 3
        types.extend([name("x"), 1, 0, name("y"), 2, 32]);
        types.extend([0, structure(5, 2), 8]); // 4: anonymous union
        types.extend([name("c"), 1, 0, name("d"), 3, 0]);
        types.extend([0, structure(4, 2), 12]); // 5: anonymous struct
        types.extend([name("b"), 1, 0, 0, 4, 32]);
        types.extend([name("outer"), structure(4, 2), 16]); // 6
        types.extend([name("a"), 1, 0, 0, 5, 32]);
        let type_bytes = u32::try_from(types.len() * 4).unwrap();
        let string_bytes = u32::try_from(strings.len()).unwrap();
        let mut data = Vec::new();
        data.extend(MAGIC.to_ne_bytes());
        data.extend([1, 0]);
        for word in [24, 0, type_bytes, type_bytes, string_bytes].into_iter().chain(types) {
            data.extend(u32::to_ne_bytes(word));
        }
        data.extend(strings);
        data
    }

    #[test]
    fn nested_and_anonymous_members_are_found() {
        let btf = Btf::parse(sample()).unwrap();
        let found = |path| btf.offset("outer", path);
        assert_eq!(found("a"), Some(0));
        assert_eq!(found("b"), Some(4));
        assert_eq!(found("c"), Some(8));
        assert_eq!(found("d.x"), Some(8));
        assert_eq!(found("d.y"), Some(12));
        assert_eq!(found("e"), None);
        assert_eq!(found("a.b"), None);
        assert_eq!(btf.offset("nobody", "a"), None);
    }

    #[test]
    fn a_structure_that_is_nested_in_itself_has_an_end() {
        // struct outer { struct outer; … sixty times }
        let strings = b"\0outer\0";
        let mut words = vec![1, (4 << 24) | 60, 8];
        words.extend([0, 1, 0].repeat(60));
        let (types, length) = (u32::try_from(words.len() * 4).unwrap(), 7);
        let head = [24, 0, types, types, length];
        let mut data = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        data.extend(head.into_iter().chain(words).flat_map(u32::to_ne_bytes));
        data.extend(strings);
        assert_eq!(Btf::parse(data).unwrap().offset("outer", "a"), None);
    }

    #[test]
    fn this_kernels_own_btf_has_the_basics() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("skipped: this kernel has no /sys/kernel/btf/vmlinux");
            return;
        };
        let btf = Btf::parse(data).unwrap();
        assert_eq!(btf.offset("list_head", "next"), Some(0));
        assert_eq!(btf.offset("list_head", "prev"), Some(8));
        assert!(btf.offset("task_struct", "tgid").is_some());
        assert!(btf.offset("mm_struct", "arg_start").is_some(), "a member of an anonymous struct");
        assert_eq!(btf.tracepoint_arguments("sys_exit"), Some(2));
        assert_eq!(btf.tracepoint_arguments("sched_process_fork"), Some(2));
        assert_eq!(btf.tracepoint_arguments("nobody"), None);
        assert!(btf.structure("pt_regs").is_some() && btf.function("schedule").is_some());
        assert_eq!((btf.structure("nobody"), btf.function("nobody")), (None, None));
    }

    proptest! {
        #[test]
        fn broken_data_never_panics(data in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(btf) = Btf::parse(data) {
                btf.offset("outer", "d.y");
                btf.function("outer");
            }
        }

        #[test]
        fn one_flipped_byte_never_panics(at in 0_usize..260, value in any::<u8>()) {
            let mut data = sample();
            let at = at % data.len();
            data[at] = value;
            if let Ok(btf) = Btf::parse(data) {
                for path in ["a", "b", "d.x", "d.y"] {
                    btf.offset("outer", path);
                }
            }
        }

        #[test]
        fn a_cut_is_an_error_or_finds_less(length in 0_usize..260) {
            let mut data = sample();
            data.truncate(length);
            if let Ok(btf) = Btf::parse(data) {
                btf.offset("outer", "d.y");
            }
        }
    }
}
