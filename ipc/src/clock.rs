//! The clock that all processes share: CLOCK_BOOTTIME, as kernel records carry it.

use nix::{
    errno::Errno,
    time::{ClockId, clock_getres, clock_gettime},
};

use crate::frame::Clock;

fn read(clock: ClockId) -> Result<i64, Errno> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// CLOCK_BOOTTIME, ns.
///
/// # Errors
/// What clock_gettime(2) says, which on Linux is nothing.
pub fn boot_ns() -> Result<u64, Errno> {
    Ok(read(ClockId::CLOCK_BOOTTIME)?.unsigned_abs())
}

/// The kernel's ticks in so many ns, rounded up.
///
/// # Errors
/// What clock_getres(2) says, which on Linux is nothing.
pub fn ticks_of(ns: u64) -> Result<u64, Errno> {
    // This clock's resolution is the tick (time(7)).
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok(ns.div_ceil(tick.tv_nsec().unsigned_abs().max(1)))
}

/// Both clocks.
///
/// # Errors
/// As for [`boot_ns`].
pub fn now() -> Result<Clock, Errno> {
    let boot = read(ClockId::CLOCK_BOOTTIME)?;
    let wall = read(ClockId::CLOCK_REALTIME)?;
    Ok(Clock { boot_ns: boot.unsigned_abs(), wall_offset_ns: wall - boot })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_ticks_as_kernels_are_built_with() {
        // CONFIG_HZ (kernel/Kconfig.hz), of which some distributions have others.
        assert!((100..=1000).contains(&ticks_of(1_000_000_000).unwrap()));
        assert_eq!(ticks_of(1), Ok(1));
    }
}
