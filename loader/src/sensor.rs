//! The eBPF object: loaded, attached, read.

use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, ProgramArray},
    programs::{BtfTracePoint, ProgramError, tp_btf::BtfTracePointLinkId},
};
use sentinel_ipc::{
    file_class::{self, Rule},
    frame::{Counters, KindSet, Limit, ProfileCalls, Selection, Subscription},
    kernel_abi::{self, control},
};

use crate::{
    arguments::Scope, call_counts::CallCounts, hooks, process_class::ProcessClasses,
    snapshot::Snapshot, syscall_table,
};

mod error;
mod load;
mod processes;

pub use error::SensorError;

/// The loaded object. Dropping it detaches and unloads everything.
pub struct Sensor {
    ebpf: Ebpf,
    /// Which files matter.
    rules: Vec<Rule>,
    classes: ProcessClasses,
    counters: PerCpuArray<MapData, PerCpuCounters>,
    facts: HashMap<MapData, u32, Facts>,
    /// `None` if calls are never counted.
    counts: Option<CallCounts>,
    /// Programs that others hand on to.
    _stages: Vec<ProgramArray<MapData>>,
    /// Reporting tracepoints that this kernel has.
    reporting: Vec<&'static str>,
    /// Those of them that are attached.
    attached: Vec<(&'static str, BtfTracePointLinkId)>,
    /// Whether calls are counted at present.
    counting: bool,
    scope: Scope,
    everything: bool,
    /// The part of the scope that is reported.
    selection: Selection,
    /// What the object's variable of that name holds.
    control: kernel_abi::Control,
}

/// The kernel's counters of one CPU.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct PerCpuCounters(kernel_abi::SensorCounters);

#[expect(unsafe_code, reason = "aya's marker trait for map values")]
// SAFETY: repr(C) u64s only, so every bit pattern is valid and there is no padding.
unsafe impl aya::Pod for PerCpuCounters {}

/// What the kernel noted of a process.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Facts(kernel_abi::ProcessFacts);

#[expect(unsafe_code, reason = "aya's marker trait for map values")]
// SAFETY: repr(C) integers without padding (asserted in kernel_abi), so every bit pattern is valid.
unsafe impl aya::Pod for Facts {}

impl Sensor {
    /// Begins to tell what is running, of what is reported. Hooks have to be attached before, so that
    /// nothing falls between the two.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn snapshot(&mut self) -> Result<Snapshot, SensorError> {
        Snapshot::new(&mut self.ebpf)
    }

    /// Reports what `subscription` asks for, and nothing else: attaches what that needs and detaches
    /// what it does not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn subscribe(&mut self, subscription: &Subscription) -> Result<(), SensorError> {
        if subscription.selection != self.selection {
            self.select(subscription.selection)?;
        }
        let kinds = if subscription.reporting { subscription.kinds } else { KindSet::default() };
        let counting = subscription.reporting && subscription.counts && self.counts.is_some();
        if let (true, false, Some(counts)) = (counting, self.counting, &mut self.counts) {
            // What was counted for somebody else is nobody's.
            counts.read()?;
        }
        self.set_kinds(kinds, counting)?;
        self.set_control(&[
            (control::CLASSES, u64::from(subscription.classes & !file_class::bit(0))),
            (control::REPORTING, u64::from(subscription.reporting)),
        ])?;
        self.attach_for(kinds)
    }

    /// Calls that were counted since the last time; `None` while they are not counted.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn take_counts(&mut self) -> Result<Option<Vec<ProfileCalls>>, SensorError> {
        let Some(counts) = &mut self.counts else { return Ok(None) };
        self.counting.then(|| counts.read()).transpose()
    }

    /// Bytes of address space that counting system calls takes.
    pub fn counts_bytes(&self) -> u64 {
        self.counts.as_ref().map_or(0, CallCounts::bytes)
    }

    /// Attaches the reporting tracepoints that `kinds` need, and detaches the others.
    fn attach_for(&mut self, kinds: KindSet) -> Result<(), SensorError> {
        let (kept, idle) = std::mem::take(&mut self.attached)
            .into_iter()
            .partition(|(name, _)| hooks::is_needed(name, kinds, self.counting));
        self.attached = kept;
        for (name, link) in idle {
            program(&mut self.ebpf, name)?.detach(link).map_err(refused(name))?;
        }
        for name in self.reporting.clone() {
            let is_attached = self.attached.iter().any(|(attached, _)| *attached == name);
            if hooks::is_needed(name, kinds, self.counting) && !is_attached {
                self.attach(name)?;
            }
        }
        Ok(())
    }

    /// Names of all tracepoints that are attached.
    pub fn hooks(&self) -> Vec<&'static str> {
        let reporting = self.attached.iter().map(|(name, _)| *name);
        hooks::SCOPE.into_iter().chain(reporting).collect()
    }

    /// What cannot be told of what `subscription` asks for.
    pub fn limits(&self, subscription: &Subscription) -> Vec<Limit> {
        let mut limits = hooks::limits(&self.reporting, subscription.kinds);
        limits.extend((subscription.counts && self.counts.is_none()).then_some(Limit::CallCounts));
        limits
    }

    fn attach(&mut self, name: &'static str) -> Result<(), SensorError> {
        let link = program(&mut self.ebpf, name)?.attach().map_err(refused(name))?;
        self.attached.push((name, link));
        Ok(())
    }

    /// Says which kinds are wanted, and so which calls are monitored, and whether calls are counted.
    fn set_kinds(&mut self, kinds: KindSet, counting: bool) -> Result<(), SensorError> {
        set(&mut self.ebpf, ".bss.syscalls", &[(0, syscall_table::of(kinds, counting))])?;
        self.counting = counting;
        let [low, high] = kinds.halves();
        let changes = self.control.get(control::CHANGES as usize);
        let changes = changes.map_or(0, |changes| changes.wrapping_add(1));
        self.set_control(&[
            (control::KINDS_LOW, low),
            (control::KINDS_HIGH, high),
            (control::CHANGES, changes),
        ])
    }

    fn set_control(&mut self, values: &[(u32, u64)]) -> Result<(), SensorError> {
        for (slot, value) in values {
            let place = usize::try_from(*slot).ok().and_then(|slot| self.control.get_mut(slot));
            *place.ok_or(SensorError::Mismatch("CONTROL"))? = *value;
        }
        set(&mut self.ebpf, ".bss", &[(0, self.control)])
    }

    /// Has urgent records lie in their ring, from now on, until somebody looks or there are many; or wake the
    /// loader at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tell_together(&mut self, together: bool) -> Result<(), SensorError> {
        self.set_control(&[(control::TOGETHER, u64::from(together))])
    }

    /// Totals over all CPUs of what the kernel counts.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        let values =
            self.counters.get(&0, 0).map_err(|error| SensorError::Map("COUNTERS", error))?;
        Ok(values.iter().fold(Counters::default(), |sum, cpu| Counters {
            seen: sum.seen + cpu.0.seen,
            passed: sum.passed + cpu.0.passed,
            emitted: add(sum.emitted, cpu.0.emitted),
            dropped: add(sum.dropped, cpu.0.dropped),
            unreadable: sum.unreadable + cpu.0.unreadable,
            untracked: sum.untracked + cpu.0.untracked,
            ..Counters::default()
        }))
    }

    /// Ends reporting. Scope and facts are kept up to date.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fall_silent(&mut self) -> Result<(), SensorError> {
        self.set_control(&[(control::REPORTING, 0)])?;
        self.set_kinds(KindSet::default(), false)?;
        self.attach_for(KindSet::default())
    }
}

fn add(one: [u64; 2], other: [u64; 2]) -> [u64; 2] {
    [one[0] + other[0], one[1] + other[1]]
}

fn refused(name: &'static str) -> impl Fn(ProgramError) -> SensorError {
    move |error| SensorError::Program(name, error)
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut BtfTracePoint, SensorError> {
    let program = ebpf.program_mut(name).ok_or(SensorError::Mismatch(name))?;
    program.try_into().map_err(refused(name))
}

pub(crate) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, SensorError> {
    ebpf.take_map(name).ok_or(SensorError::Mismatch(name))
}

pub(crate) fn array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, SensorError> {
    let Map::Array(map) = take(ebpf, name)? else { return Err(SensorError::Mismatch(name)) };
    Ok(map)
}

pub(crate) fn typed<T: TryFrom<Map, Error = MapError>>(
    map: Map,
    name: &'static str,
) -> Result<T, SensorError> {
    T::try_from(map).map_err(|error| SensorError::Map(name, error))
}

fn set<V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: &[(u32, V)],
) -> Result<(), SensorError> {
    let failed = |error| SensorError::Map(name, error);
    let map = ebpf.map_mut(name).ok_or(SensorError::Mismatch(name))?;
    let mut array: Array<_, V> = Array::try_from(map).map_err(failed)?;
    for (index, value) in values {
        array.set(*index, value, 0).map_err(failed)?;
    }
    Ok(())
}
