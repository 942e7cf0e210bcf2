//! What a session is for.

use std::time::Duration;

use sentinel_ipc::{
    frame::{About, KindSet, Subscription},
    kernel_abi::kind,
};

use super::{Keeping, Measuring, Service, Told};
use crate::{
    analysis::{Analysis, Engines},
    command_line::RunArguments,
    configuration::{Configuration, Enforced},
    control::ControlSocket,
    program::KnownPrograms,
    recording::Recording,
    rules::Active,
};

/// What is watched, and what for.
pub struct Watched {
    /// How long, if that is limited.
    pub limit: Option<Duration>,
    /// Whose critical alerts are to be enforced.
    pub enforce: Enforced,
    /// Which engines look.
    pub engines: Engines,
    /// Whether to tell how rules get on.
    pub debug: bool,
}

impl Watched {
    /// As the command line says; `configuration` is what its settings come to.
    pub fn of(arguments: &RunArguments, configuration: &Configuration) -> Self {
        Self {
            limit: arguments.limit(),
            enforce: configuration.enforced,
            engines: configuration.engines.clone(),
            debug: configuration.debug,
        }
    }
}

/// What a session is for, beside what the command line says.
pub struct Setup {
    /// What is looked for.
    pub rules: Active,
    /// What it was told, and by what.
    pub told: Told,
    /// Where administrators ask.
    pub control: Option<ControlSocket>,
    /// Where its frames are kept.
    pub recording: Option<Recording>,
    /// Where what is learned is kept.
    pub keeping: Option<Keeping>,
    /// Where numbers are written.
    pub measuring: Option<Measuring>,
    /// Shells and interpreters of this host.
    pub programs: KnownPrograms,
    /// What this process has become.
    pub about: About,
    /// What a service has beside that.
    pub service: Option<Service>,
    /// What the operator should know, for the banner.
    pub notes: Vec<String>,
}

/// What the engines of `analysis` are to be told.
pub(super) fn subscription(analysis: &Analysis) -> Subscription {
    let kinds = analysis.needs().with(KindSet::of(&[kind::CANARY]));
    Subscription { counts: analysis.baseline().is_some(), ..Subscription::to(kinds) }
}

/// All there is to tell, but for files that are of no class; system calls are counted if `counts`.
pub fn whole_subscription(counts: bool) -> Subscription {
    let kinds = KindSet::all().without(KindSet::of(&[kind::OPEN_ANY]));
    Subscription { counts, ..Subscription::to(kinds) }
}
