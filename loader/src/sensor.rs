//! The eBPF object: loaded, attached, read.

use std::{fmt, io, os::fd::AsFd};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, ProgramError},
};
use sentinel_ipc::{
    frame::{Counters, Identity},
    kernel_abi::{self, class, control},
};

use crate::{
    arguments::Scope,
    offsets::{self, OffsetsError},
    process_class::ProcessClasses,
    scope::{self, ScopeError},
    syscall_table,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sentinel-sensor"));

/// Tracepoints that keep scope and facts true, attached as long as the loader runs: it says who a
/// process is until its end. Each program has the name of its tracepoint.
const SCOPE_PROGRAMS: [&str; 4] =
    ["sched_process_fork", "sched_process_exit", "cgroup_attach_task", "sched_process_exec"];
/// Tracepoints that only report.
const REPORT_PROGRAMS: [&str; 1] = ["sys_exit"];

fn programs() -> impl Iterator<Item = &'static str> {
    SCOPE_PROGRAMS.into_iter().chain(REPORT_PROGRAMS)
}

/// Why the sensor cannot run.
#[derive(Debug)]
pub enum SensorError {
    /// No usable BTF.
    Offsets(OffsetsError),
    /// The scope does not exist.
    Scope(ScopeError),
    /// The object cannot be loaded.
    Object(EbpfError),
    /// A map is not as expected.
    Map(&'static str, MapError),
    /// A map's memory cannot be shared.
    Mapping(io::Error),
    /// A program of this name is refused.
    Program(&'static str, ProgramError),
    /// The object and this program do not belong together.
    Mismatch(&'static str),
}

impl fmt::Display for SensorError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offsets(error) => error.fmt(to),
            Self::Scope(error) => error.fmt(to),
            Self::Object(error) => {
                write!(to, "the kernel refuses the eBPF object: {}{}", first_line(error), HINT)
            }
            Self::Map(name, error) => write!(to, "eBPF map {name}: {}", first_line(error)),
            Self::Mapping(error) => write!(to, "eBPF map PROCESS_CLASS cannot be mapped: {error}"),
            Self::Program(name, error) => {
                write!(
                    to,
                    "the kernel refuses the eBPF program {name}: {}{HINT}",
                    first_line(error)
                )
            }
            Self::Mismatch(name) => write!(to, "the eBPF object has no {name} of the right kind"),
        }
    }
}

impl std::error::Error for SensorError {}

const HINT: &str = "; Sentinel needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), a kernel with \
                    CONFIG_BPF_SYSCALL, and no lockdown in confidentiality mode";

/// An error with its causes, without the verifier's log behind the first line.
fn first_line(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default().trim_end_matches([':', ' ']);
        if !text.contains(line) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(line);
        }
        next = error.source();
    }
    text
}

/// The loaded object. Dropping it detaches and unloads everything.
pub struct Sensor {
    ebpf: Ebpf,
    classes: ProcessClasses,
    counters: PerCpuArray<MapData, PerCpuCounters>,
    facts: HashMap<MapData, u32, Facts>,
    scope: Scope,
    everything: bool,
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
    /// Loads maps and programs and attaches none.
    ///
    /// # Errors
    /// When the kernel lacks something or refuses.
    pub fn load(scope: &Scope) -> Result<(Self, RingBuf<MapData>), SensorError> {
        scope::check_pid_namespace().map_err(SensorError::Scope)?;
        let offsets = offsets::of_this_kernel().map_err(SensorError::Offsets)?;
        let mut loader = EbpfLoader::new();
        loader.override_global("OFFSETS", &offsets, true);
        let mut ebpf = loader.load(OBJECT).map_err(SensorError::Object)?;
        let btf = Btf::from_sys_fs().map_err(|error| SensorError::Object(error.into()))?;
        for name in programs() {
            program(&mut ebpf, name)?.load(name, &btf).map_err(refused(name))?;
        }
        let classes = map_classes(&ebpf)?;
        let counters = typed(take(&mut ebpf, "COUNTERS")?, "COUNTERS")?;
        let facts = typed(take(&mut ebpf, "PROCESS_FACTS")?, "PROCESS_FACTS")?;
        let ring = typed(take(&mut ebpf, "EVENTS")?, "EVENTS")?;
        set(&mut ebpf, "SYSCALLS", &[(0, syscall_table::all())])?;
        let (everything, cgroup) = match scope {
            Scope::Everything => (1, 0),
            Scope::Tree(_) => (0, 0),
            Scope::Cgroup(path) => (0, scope::cgroup_id(path).map_err(SensorError::Scope)?),
        };
        let values: [(u32, u64); 3] = [
            (control::SCOPE_IS_EVERYTHING, everything),
            (control::SCOPE_CGROUP, cgroup),
            (control::REPORTING, 0),
        ];
        set(&mut ebpf, "CONTROL", &values)?;
        let scope = scope.clone();
        let sensor = Self { ebpf, classes, counters, facts, scope, everything: everything == 1 };
        // aya learns the number of CPUs from /sys at the first read, and keeps it.
        sensor.counters()?;
        Ok((sensor, ring))
    }

    /// Never report `tgid`.
    pub fn exclude(&self, tgid: u32) {
        self.classes.add(tgid, class::OWN);
    }

    /// Attaches what keeps the scope true, and marks the processes that are in it already. Needs
    /// /proc or the cgroup file system.
    ///
    /// # Errors
    /// When the kernel refuses, or the process to attach to has ended.
    pub fn follow_scope(&mut self) -> Result<(), SensorError> {
        for name in SCOPE_PROGRAMS {
            program(&mut self.ebpf, name)?.attach().map_err(refused(name))?;
        }
        // What happens while the list is read is caught by reading it again.
        self.mark_scope()?;
        self.mark_scope()
    }

    /// Attaches what reports, too; returns the names of all hooks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn report(&mut self) -> Result<Vec<&'static str>, SensorError> {
        self.set_reporting(true)?;
        for name in REPORT_PROGRAMS {
            program(&mut self.ebpf, name)?.attach().map_err(refused(name))?;
        }
        Ok(programs().collect())
    }

    /// Who `tgid` is; `None` if the kernel noted nothing of it.
    pub fn identity(&self, tgid: u32) -> Option<Identity> {
        let Facts(facts) = self.facts.get(&tgid, 0).ok()?;
        let class = self.classes.get(tgid);
        let object = facts.executable;
        Some(Identity {
            start_time: facts.start_time,
            cgroup_id: facts.cgroup_id,
            executable: (object.device, object.inode, object.generation),
            uid: facts.uid,
            kernel_thread: facts.kernel_thread != 0,
            in_scope: class & class::OWN == 0 && (self.everything || class & class::IN_SCOPE != 0),
        })
    }

    fn mark_scope(&self) -> Result<(), SensorError> {
        let members = match &self.scope {
            Scope::Everything => Vec::new(),
            Scope::Tree(root) => scope::tree(*root).map_err(SensorError::Scope)?,
            Scope::Cgroup(path) => scope::cgroup_members(path),
        };
        for tgid in members {
            self.classes.add(tgid, class::IN_SCOPE);
            if !scope::is_running(tgid) {
                self.classes.clear(tgid);
            }
        }
        Ok(())
    }

    /// Totals over all CPUs; `forwarded` is left at 0.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, SensorError> {
        let values =
            self.counters.get(&0, 0).map_err(|error| SensorError::Map("COUNTERS", error))?;
        Ok(values.iter().fold(Counters::default(), |sum, cpu| Counters {
            seen: sum.seen + cpu.0.seen,
            passed: sum.passed + cpu.0.passed,
            emitted: sum.emitted + cpu.0.emitted,
            dropped: sum.dropped + cpu.0.dropped,
            forwarded: 0,
        }))
    }

    /// Ends reporting. Scope and facts are kept up to date.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn fall_silent(&mut self) -> Result<(), SensorError> {
        for name in REPORT_PROGRAMS {
            program(&mut self.ebpf, name)?.unload().map_err(refused(name))?;
        }
        self.set_reporting(false)
    }

    fn set_reporting(&mut self, reporting: bool) -> Result<(), SensorError> {
        set(&mut self.ebpf, "CONTROL", &[(control::REPORTING, u64::from(reporting))])
    }
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

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, SensorError> {
    ebpf.take_map(name).ok_or(SensorError::Mismatch(name))
}

fn typed<T: TryFrom<Map, Error = MapError>>(
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

fn map_classes(ebpf: &Ebpf) -> Result<ProcessClasses, SensorError> {
    const NAME: &str = "PROCESS_CLASS";
    let Some(Map::Array(data)) = ebpf.map(NAME) else {
        return Err(SensorError::Mismatch(NAME));
    };
    ProcessClasses::map(data.fd().as_fd()).map_err(SensorError::Mapping)
}
