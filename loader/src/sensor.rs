//! The eBPF object: loaded, attached, read.

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, ProgramArray},
    programs::{BtfTracePoint, ProgramError, tp_btf::BtfTracePointLinkId},
};
use sentinel_ipc::{
    channel::Channel,
    file_class::{self, Rule},
    frame::{
        Counters, Description, Identity, KindSet, Limit, Member, ProfileCalls, Selection,
        Subscription, Target,
    },
    kernel_abi::{self, class, control, kind, pass, profile},
};

use crate::{
    arguments::Scope,
    call_counts::{CallCounts, Counting},
    file_classes, hooks, lineage, offsets, pid_namespace,
    process_class::ProcessClasses,
    programs,
    ring::Ring,
    scope::{self, ScopeError},
    snapshot::{self, Snapshot},
    syscall_table,
};

mod error;

pub use error::SensorError;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sentinel-sensor"));

/// The tgid of who is outside of the loader's pid namespace.
const OUTSIDE: u32 = 0;

/// Runs of the iterator that mark processes, at the most: each that changes something is followed by
/// another one, for the children of those that it marked.
const MAX_MARKING_RUNS: u32 = 1000;

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
    /// Loads maps and programs and attaches none; `rules` say which files matter.
    ///
    /// # Errors
    /// When the kernel lacks something or refuses.
    pub fn load(
        scope: &Scope,
        rules: &[Rule],
        counting: Counting,
    ) -> Result<(Self, [Ring; 2]), SensorError> {
        scope::check_cgroups().map_err(SensorError::Scope)?;
        let pid_namespace = pid_namespace::own().map_err(SensorError::PidNamespace)?;
        let kernel = offsets::btf_of_this_kernel().map_err(SensorError::Offsets)?;
        let offsets = offsets::of(&kernel).map_err(SensorError::Offsets)?;
        let ring_completion = hooks::ring_completion(&kernel);
        let exit_tells_last = hooks::exit_tells_last(&kernel);
        let mut loader = EbpfLoader::new();
        let cpus = counting.cpus()?;
        loader.map_max_entries("CALL_COUNTS", (cpus * profile::COUNT).max(1));
        if cpus == 0 {
            loader.map_max_entries("PROFILES", 1);
        }
        loader.override_global("OFFSETS", &offsets, true);
        loader.override_global("PID_NAMESPACE", &pid_namespace, true);
        loader.override_global("RING_COMPLETION", &ring_completion, true);
        loader.override_global("EXIT_TELLS_LAST", &exit_tells_last, true);
        let mut ebpf = loader.load(OBJECT).map_err(SensorError::Object)?;
        let btf = Btf::from_sys_fs().map_err(|error| SensorError::Object(error.into()))?;
        let reporting = hooks::reporting(&kernel);
        let mut wanted = snapshot::ITERATORS.to_vec();
        // Some stages are the attached programs themselves.
        let stages = hooks::STAGES.iter().filter(|stage| {
            !hooks::SCOPE.contains(&stage.name)
                && kernel.tracepoint_arguments(stage.tracepoint).is_some()
        });
        wanted.extend(stages.map(|stage| (stage.name, stage.tracepoint)));
        wanted.extend(hooks::SCOPE.iter().chain(&reporting).map(|&name| (name, name)));
        programs::load(&mut ebpf, &btf, &wanted)?;
        let stages = fill_stages(&mut ebpf)?;
        file_classes::write(&mut ebpf, rules)?;
        let classes = ProcessClasses::of(&mut ebpf)?;
        let counters = typed(take(&mut ebpf, "COUNTERS")?, "COUNTERS")?;
        let counts = (cpus > 0).then(|| CallCounts::new(&mut ebpf, cpus)).transpose()?;
        let facts = typed(take(&mut ebpf, "PROCESS_FACTS")?, "PROCESS_FACTS")?;
        let rings = [
            Ring::new(take(&mut ebpf, "ALERT")?, "ALERT")?,
            Ring::new(take(&mut ebpf, "TELEMETRY")?, "TELEMETRY")?,
        ];
        let (everything, cgroup) = match scope {
            Scope::Everything => (1, 0),
            Scope::Tree(_) => (0, 0),
            Scope::Cgroup(path) => (0, scope::cgroup_id(path).map_err(SensorError::Scope)?),
        };
        let scope = scope.clone();
        let mut sensor = Self {
            ebpf,
            rules: rules.to_vec(),
            classes,
            counters,
            facts,
            counts,
            _stages: stages,
            reporting,
            attached: Vec::new(),
            counting: false,
            scope,
            everything: everything == 1,
            selection: Selection::All,
            control: kernel_abi::Control::default(),
        };
        sensor.set_control(&[
            (control::SCOPE_IS_EVERYTHING, everything),
            (control::SCOPE_CGROUP, cgroup),
        ])?;
        if pid_namespace != 0 {
            sensor.find_pid_level()?;
        }
        sensor.find_host_root()?;
        sensor.exclude(OUTSIDE)?;
        // aya learns the number of CPUs from /sys at the first read, and keeps it.
        sensor.counters()?;
        sensor.set_kinds(KindSet::default(), false)?;
        Ok((sensor, rings))
    }

    /// Tells the kernel how deep the own pid namespace lies, which only the kernel can tell.
    fn find_pid_level(&mut self) -> Result<(), SensorError> {
        self.set_control(&[(control::PASS, pass::TELL_LEVEL)])?;
        let [level] = snapshot::answer(&mut self.ebpf)?;
        self.set_control(&[(control::PASS, pass::DESCRIBE), (control::PID_LEVEL, level)])
    }

    /// Tells the kernel which directory is the host's root: that of the first process, whose
    /// /proc/1/root is closed to who may not trace it.
    fn find_host_root(&mut self) -> Result<(), SensorError> {
        self.set_control(&[(control::PASS, pass::TELL_ROOT)])?;
        let [inode, device] = snapshot::answer(&mut self.ebpf)?;
        self.set_control(&[
            (control::PASS, pass::DESCRIBE),
            (control::HOST_ROOT_INODE, inode),
            (control::HOST_ROOT_DEVICE, device),
        ])
    }

    /// Never report `tgid`.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn exclude(&self, tgid: u32) -> Result<(), SensorError> {
        self.classes.add(tgid, class::OWN)
    }

    /// Never report `tgid`, which is at the other end of `channel`. If it is there no more, its number may
    /// have passed on already.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn exclude_peer(&self, tgid: u32, channel: &Channel) -> Result<(), SensorError> {
        self.exclude(tgid)?;
        if channel.is_hung_up() { self.classes.take(tgid, class::OWN) } else { Ok(()) }
    }

    /// Attaches what keeps the scope true, and marks the processes that are in it already.
    ///
    /// # Errors
    /// When the kernel refuses, or the process to attach to has ended.
    pub fn follow_scope(&mut self) -> Result<(), SensorError> {
        for name in hooks::SCOPE {
            program(&mut self.ebpf, name)?.attach().map_err(refused(name))?;
        }
        match self.scope {
            Scope::Everything => Ok(()),
            Scope::Cgroup(_) => self.mark(pass::MARK_SCOPE, 0),
            Scope::Tree(root) => {
                self.mark(pass::MARK_SCOPE, root)?;
                if self.classes.get(root)? & class::IN_SCOPE == 0 {
                    return Err(SensorError::Scope(ScopeError::NoProcess(root)));
                }
                Ok(())
            }
        }
    }

    /// Reports from now on only processes that are in `selection` as well as in the scope. A selection
    /// that names nothing that exists is no error, for it may have ended just now: it is empty, and nothing
    /// is reported. While it changes, the whole scope is selected, so that no event of it gets lost.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn select(&mut self, selection: Selection) -> Result<(), SensorError> {
        self.selection = selection;
        self.set_control(&[(control::SELECTION, 0), (control::SELECTION_CGROUP, 0)])?;
        self.classes.take_from_all(class::SELECTED)?;
        let (cgroup, root) = match selection {
            Selection::All => return Ok(()),
            Selection::Cgroup(id) => (id, 0),
            Selection::Tree(root) => (0, root),
        };
        self.set_control(&[(control::SELECTION_CGROUP, cgroup)])?;
        self.mark(pass::MARK_SELECTION, root)?;
        self.set_control(&[(control::SELECTION, 1)])
    }

    /// Begins to tell what is running, of what is reported. Hooks have to be attached before, so that
    /// nothing falls between the two.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn snapshot(&mut self) -> Result<Snapshot, SensorError> {
        Snapshot::new(&mut self.ebpf)
    }

    /// Has an iterator mark processes until nothing changes any more: those in the subtree of the cgroup
    /// that is set or, without one, `root` and what descends from it.
    fn mark(&mut self, pass: u64, root: u32) -> Result<(), SensorError> {
        self.set_control(&[(control::PASS, pass), (control::MARK_ROOT, u64::from(root))])?;
        let mut runs = (0..MAX_MARKING_RUNS).map(|_| snapshot::run(&mut self.ebpf, usize::MAX));
        let end = runs.find(|changes| changes.as_ref().map_or(true, Vec::is_empty));
        self.set_control(&[(control::PASS, pass::DESCRIBE), (control::MARK_ROOT, 0)])?;
        end.unwrap_or(Ok(Vec::new())).map(|_| ())
    }

    /// What `tgid` runs at this moment, and where; `None` if it is not in the scope.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn describe(&mut self, tgid: u32) -> Result<Option<Description>, SensorError> {
        let told = self.tell(pass::DESCRIBE_ONE, tgid, |ebpf| snapshot::run_over(ebpf, tgid))?;
        Ok(lineage::description(&told))
    }

    /// Who of `user`'s descends from `root`, and itself; without a user, of whose the oldest is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tree(
        &mut self,
        root: Target,
        user: Option<u32>,
    ) -> Result<(Option<u32>, Vec<Member>), SensorError> {
        let told =
            self.tell(pass::TELL_LINES, 0, |ebpf| snapshot::run(ebpf, lineage::MAX_BYTES))?;
        Ok(lineage::tree(&told, root, user))
    }

    /// What the iterator over tasks writes when it looks for this.
    fn tell(
        &mut self,
        pass: u64,
        tgid: u32,
        run: impl FnOnce(&mut Ebpf) -> Result<Vec<u8>, SensorError>,
    ) -> Result<Vec<u8>, SensorError> {
        self.set_control(&[(control::PASS, pass), (control::MARK_ROOT, u64::from(tgid))])?;
        let told = run(&mut self.ebpf);
        self.set_control(&[(control::PASS, pass::DESCRIBE), (control::MARK_ROOT, 0)])?;
        told
    }

    /// Has the kernel learn the files that the rules name, by having it see them opened. Needs to
    /// read their directories.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn learn_files(&mut self) -> Result<(), SensorError> {
        self.set_kinds(KindSet::of(&[kind::OPEN]), false)?;
        self.attach(hooks::SYS_EXIT)?;
        self.set_control(&[(control::LOADER, u64::from(std::process::id()))])?;
        self.set_control(&[(control::LEARN, 1)])?;
        for rule in self.rules.iter().filter(|rule| file_class::is_learned(rule.class)) {
            drop(file_classes::open_existing(rule));
        }
        self.set_control(&[(control::LEARN, 0)])?;
        self.fall_silent()
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
        set(&mut self.ebpf, "SYSCALLS", &[(0, syscall_table::of(kinds, counting))])?;
        self.counting = counting;
        let [low, high] = kinds.halves();
        self.set_control(&[(control::KINDS_LOW, low), (control::KINDS_HIGH, high)])
    }

    fn set_control(&mut self, values: &[(u32, u64)]) -> Result<(), SensorError> {
        for (slot, value) in values {
            let place = usize::try_from(*slot).ok().and_then(|slot| self.control.get_mut(slot));
            *place.ok_or(SensorError::Mismatch("CONTROL"))? = *value;
        }
        set(&mut self.ebpf, ".bss", &[(0, self.control)])
    }

    /// Who `tgid` is; `None` if the kernel noted nothing of it.
    ///
    /// # Errors
    /// When its class cannot be looked at.
    pub fn identity(&self, tgid: u32) -> Result<Option<Identity>, SensorError> {
        let Ok(Facts(facts)) = self.facts.get(&tgid, 0) else { return Ok(None) };
        let class = self.classes.get(tgid)?;
        let object = facts.executable;
        Ok(Some(Identity {
            start_time: facts.start_time,
            cgroup_id: facts.cgroup_id,
            executable: (object.device, object.inode, object.generation),
            uid: facts.uid,
            kernel_thread: facts.kernel_thread != 0,
            in_scope: class & class::OWN == 0 && (self.everything || class & class::IN_SCOPE != 0),
        }))
    }

    /// Has each send of `process` told from now on, if it is still that one and in scope.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn follow(&self, process: Target) -> Result<(), SensorError> {
        let known = self.identity(process.tgid)?;
        if known.is_some_and(|known| known.in_scope && known.start_time == process.start_time) {
            self.classes.add(process.tgid, class::TAINTED)?;
        }
        Ok(())
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

/// Puts the programs that others hand on to into their places. The maps have to live as long as
/// they are to run.
fn fill_stages(ebpf: &mut Ebpf) -> Result<Vec<ProgramArray<MapData>>, SensorError> {
    let mut filled = Vec::with_capacity(hooks::STAGE_MAPS.len());
    for map in hooks::STAGE_MAPS {
        let mut places: ProgramArray<_> = typed(take(ebpf, map)?, map)?;
        for stage in hooks::STAGES.iter().filter(|stage| stage.map == map) {
            // Not loaded where the kernel lacks its tracepoint.
            let Ok(fd) = program(ebpf, stage.name)?.fd() else { continue };
            for &place in stage.places {
                places.set(place, fd, 0).map_err(|error| SensorError::Map(map, error))?;
            }
        }
        filled.push(places);
    }
    Ok(filled)
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
