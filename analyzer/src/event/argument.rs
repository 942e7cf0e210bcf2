//! A system call's arguments as the types that the kernel takes them for.

/// The kernel takes an `int` or `unsigned int` from the lower half, whatever the upper one holds.
pub(super) fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The upper half.
pub(super) fn high(value: u64) -> u32 {
    low(value >> 32)
}

/// A signed `int`: a signal, or a pid with the meanings that kill(2) gives to negative ones.
pub(super) fn signed(value: u64) -> i32 {
    low(value).cast_signed()
}

/// A descriptor's number; `None` for what is none, as -1 where it is not known.
pub(super) fn number(value: u64) -> Option<u32> {
    Some(low(value)).filter(|number| i32::try_from(*number).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_what_the_kernel_takes() {
        assert_eq!(low(0xdead_beef_0000_0007), 7);
        assert_eq!(high(0x4_ffff_ffff), 4);
        assert_eq!(signed(0xffff_ffff), -1);
    }

    #[test]
    fn what_is_no_descriptor_has_no_number() {
        assert_eq!(number(3), Some(3));
        assert_eq!(number(u64::from(u32::MAX)), None);
        assert_eq!(number(u64::MAX), None);
        assert_eq!(number(0x7fff_ffff), Some(0x7fff_ffff));
        assert_eq!(number(0x8000_0000), None);
    }
}
