//! What a session is for.

use std::time::Duration;

use sentinel_ipc::{
    frame::{About, KindSet, Subscription},
    kernel_abi::kind,
};

use super::{Service, Told};
use crate::{
    command_line::RunArguments, configuration::Configuration, control::ControlSocket,
    program::KnownPrograms, recording::Recording, rules::Active,
};

/// What is watched, and what for.
pub struct Watched {
    /// How long, if that is limited.
    pub limit: Option<Duration>,
    /// Whether critical alerts are to be enforced.
    pub enforce: bool,
    /// Whether to tell how rules get on.
    pub debug: bool,
}

impl Watched {
    /// As the command line says; `configuration` is what its settings come to.
    pub fn of(arguments: &RunArguments, configuration: &Configuration) -> Self {
        Self {
            limit: arguments.limit(),
            enforce: configuration.enforce,
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
    /// Shells and interpreters of this host.
    pub programs: KnownPrograms,
    /// What this process has become.
    pub about: About,
    /// What a service has beside that.
    pub service: Option<Service>,
    /// What the operator should know, for the banner.
    pub notes: Vec<String>,
}

/// What engines that need `kinds` are to be told.
pub(super) fn subscription(kinds: KindSet) -> Subscription {
    Subscription::to(kinds.with(KindSet::of(&[kind::CANARY])))
}

/// All there is to tell, but for files that are of no class.
pub fn whole_subscription() -> Subscription {
    Subscription::to(KindSet::all().without(KindSet::of(&[kind::OPEN_ANY])))
}
