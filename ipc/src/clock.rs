//! The clock that all processes share: CLOCK_BOOTTIME, as kernel records carry it.

use nix::{
    errno::Errno,
    time::{ClockId, clock_gettime},
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

/// Both clocks.
///
/// # Errors
/// As for [`boot_ns`].
pub fn now() -> Result<Clock, Errno> {
    let boot = read(ClockId::CLOCK_BOOTTIME)?;
    let wall = read(ClockId::CLOCK_REALTIME)?;
    Ok(Clock { boot_ns: boot.unsigned_abs(), wall_offset_ns: wall - boot })
}
