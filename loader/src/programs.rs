//! Having the kernel take programs, several at a time: its check of them is most of what a start takes.

use std::{
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread::{self, ScopedJoinHandle},
};

use aya::{Btf, Ebpf, programs::Program};

use crate::sensor::SensorError;

/// Threads that load, at the most.
const MAX_THREADS: usize = 4;

/// Loads the programs that `wanted` names, each for the tracepoint or the iterator beside it, in this order: the time
/// is shortest if those that take long come first.
///
/// # Errors
/// When the kernel refuses one, or the object has none of that name and kind.
pub fn load(
    ebpf: &mut Ebpf,
    btf: &Btf,
    wanted: &[(&'static str, &'static str)],
) -> Result<(), SensorError> {
    if let Some((name, _)) = wanted.iter().find(|(name, _)| ebpf.program(name).is_none()) {
        return Err(SensorError::Mismatch(name));
    }
    let programs = ebpf.programs_mut().filter_map(|(name, program)| {
        let place = wanted.iter().position(|(wanted, _)| *wanted == name)?;
        Some((place, wanted.get(place)?, program))
    });
    let mut programs: Vec<_> = programs.collect();
    programs.sort_by_key(|(place, ..)| *place);
    let rest = Mutex::new(programs.into_iter());
    let next = || rest.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((_, (name, hook), program)) = next() {
            let loaded = match program {
                Program::BtfTracePoint(program) => program.load(hook, btf),
                Program::Iter(program) => program.load(hook, btf),
                _ => return Err(SensorError::Mismatch(name)),
            };
            loaded.map_err(|error| SensorError::Program(name, error))?;
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    thread::scope(|scope| {
        // With fewer threads it takes longer, and no more than that.
        let another = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(another).collect();
        let own = work();
        let join = |other: ScopedJoinHandle<'_, _>| {
            other.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        others.into_iter().map(join).fold(own, Result::and)
    })
}
