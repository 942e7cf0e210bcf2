//! How the object comes into the kernel, and what it has to learn before anybody is watched.
#![expect(unsafe_code, reason = "tells what the object's bytes are")]

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
};
use sentinel_ipc::{
    clock,
    diagnostics::tell,
    file_class::{self, Rule},
    frame::{KindSet, Selection},
    kernel_abi::{self, SECRET_WINDOW_NS, control, kind, pass, profile},
    kernel_fields::Offsets,
};

use super::{Sensor, SensorError, program, take, typed};
use crate::{
    arguments::Scope,
    btf::Btf as KernelBtf,
    call_counts::{CallCounts, Counting},
    file_classes, hooks,
    mapping::page_bytes,
    memory, offsets, pid_namespace,
    places::{self, Cast},
    process_class::ProcessClasses,
    programs,
    ring::Ring,
    scope, snapshot,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sentinel-sensor"));

/// The tgid of who is outside of the loader's pid namespace.
const OUTSIDE: u32 = 0;

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
        let cpus = counting.cpus()?;
        let cast = Cast::of(&kernel);
        let constants = Constants {
            offsets: offsets::of(&kernel).map_err(SensorError::Offsets)?,
            suffix_lengths: file_classes::suffix_lengths(rules),
            secret_window: clock::ticks_of(SECRET_WINDOW_NS).map_err(SensorError::Clock)?,
            pid_namespace,
        };
        let mut ebpf = match into_kernel(&kernel, cast, cpus, &constants) {
            Err(_) if cast.is_some() => {
                let ebpf = into_kernel(&kernel, None, cpus, &constants)?;
                tell(
                    "sentinel-loader: this kernel refuses to cast addresses: looking at files costs more",
                );
                ebpf
            }
            loaded => loaded?,
        };
        let reporting = hooks::reporting(&kernel);
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
}

/// Constants of the object, by which the verifier leaves out what is not for this kernel or this start.
struct Constants {
    offsets: Offsets,
    suffix_lengths: u32,
    /// [`SECRET_WINDOW_NS`], ticks.
    secret_window: u64,
    pid_namespace: u32,
}

/// Has the kernel take the object's maps and programs, for counting on so many CPUs.
fn into_kernel(
    kernel: &KernelBtf,
    cast: Option<Cast>,
    cpus: u32,
    constants: &Constants,
) -> Result<Ebpf, SensorError> {
    let ring_completion = hooks::ring_completion(kernel);
    let exit_tells_last = hooks::exit_tells_last(kernel);
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("CALL_COUNTS", (cpus * profile::COUNT).max(1));
    if cpus == 0 {
        loader.map_max_entries("PROFILES", 1);
    }
    loader.override_global("SUFFIX_LENGTHS", &constants.suffix_lengths, true);
    loader.override_global("SECRET_WINDOW_TICKS", &constants.secret_window, true);
    loader.override_global("PID_NAMESPACE", &constants.pid_namespace, true);
    loader.override_global("RING_COMPLETION", &ring_completion, true);
    loader.override_global("EXIT_TELLS_LAST", &exit_tells_last, true);
    let object = places::filled(OBJECT, &constants.offsets, cast);
    // SAFETY: a static's bytes, which nobody can write.
    unsafe { memory::drop_constant(OBJECT, page_bytes()?) };
    let mut ebpf = loader.load(&object).map_err(SensorError::Object)?;
    let btf = Btf::from_sys_fs().map_err(|error| SensorError::Object(error.into()))?;
    let mut wanted = snapshot::ITERATORS.to_vec();
    // Some stages are the attached programs themselves.
    let stages = hooks::STAGES.iter().filter(|stage| {
        !hooks::SCOPE.contains(&stage.name)
            && kernel.tracepoint_arguments(stage.tracepoint).is_some()
    });
    wanted.extend(stages.map(|stage| (stage.name, stage.tracepoint)));
    let reporting = hooks::reporting(kernel);
    wanted.extend(hooks::SCOPE.iter().chain(&reporting).map(|&name| (name, name)));
    programs::load(&mut ebpf, &btf, &wanted)?;
    Ok(ebpf)
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
