//! Rules and configuration read again while Sentinel runs: on SIGHUP to a service, which opens its logs
//! anew as well, or when an administrator asks (`sentinel rules reload`).

use std::{io, path::PathBuf};

use sentinel_ipc::frame::{AnalyzerMessage, Subscription};

use super::{Session, SessionError, State, setup};
use crate::{
    configuration::{Changes, Configuration, ConfigurationError, Settings},
    rules::{LoadError, RuleSet},
};

/// What stands beside the options.
pub enum Source {
    /// Nothing (`sentinel run`).
    Options,
    /// This file; `None`: the default one, if it is there.
    File(Option<PathBuf>),
}

/// What this process was told, and by what.
pub struct Told {
    /// What stands beside the options.
    pub source: Source,
    /// Its options, which go before the file.
    pub options: Settings,
    /// What both come to, and what of it holds now.
    pub configuration: Configuration,
}

impl Told {
    /// Reads the file again; what holds from then on, and what changed.
    fn read_again(&self) -> Result<(Configuration, Option<Changes>), ConfigurationError> {
        let mut configuration = self.configuration.clone();
        let Source::File(named) = &self.source else { return Ok((configuration, None)) };
        let new = Configuration::load(named.as_deref(), &self.options)?;
        let changes = configuration.take_over(&new);
        Ok((configuration, Some(changes)))
    }
}

impl Session {
    /// Opens logs anew, and reads configuration and rules again.
    pub(super) fn reload(&mut self) -> Result<(), SessionError> {
        let failed = self.delivery.reopen().len();
        if failed == 0 {
            self.delivery.tell(&"logs opened anew");
        }
        self.renew().map(drop)
    }

    /// Reads configuration and rules again, and says what came of it; in `Err`, what is wrong. Then
    /// everything stays as it was.
    pub(super) fn renew(&mut self) -> Result<Result<String, String>, SessionError> {
        let came = self.read_again();
        let (Ok(told) | Err(told)) = &came;
        self.delivery.tell(told);
        if came.is_ok() {
            self.subscribe_anew()?;
        }
        Ok(came)
    }

    fn read_again(&mut self) -> Result<String, String> {
        let (configuration, changes) = self
            .told
            .read_again()
            .map_err(|error| format!("{error}; what was configured before holds on"))?;
        let rules = RuleSet::load(&configuration.rules).map_err(|error| {
            let hint = if is_closed(&error) {
                "; a directory that was not there at the start is closed to the sandbox: restart \
                 Sentinel"
            } else {
                ""
            };
            format!("{error}{hint}; rules and configuration from before hold on")
        })?;
        let analysis = self.stream.analysis();
        let swap = analysis.swap_rules(rules.activate());
        analysis.keep_notes(configuration.debug);
        analysis.redact(configuration.redaction.clone());
        self.enforce = configuration.enforced;
        self.told.configuration = configuration;
        let changes = changes.map(|changes| format!("{changes}; ")).unwrap_or_default();
        Ok(format!("{changes}rules read again: {swap}"))
    }

    /// Asks the loader for what the rules need from now on, if that is not what they needed before.
    fn subscribe_anew(&mut self) -> Result<(), SessionError> {
        // What is recorded is everything already.
        if self.recording.is_some() {
            return Ok(());
        }
        let wanted = setup::subscription(self.stream.analysis());
        if wanted.kinds == self.subscription.kinds {
            return Ok(());
        }
        let number = self.subscription.number.wrapping_add(1);
        self.subscription = Subscription { number, ..wanted };
        match self.state {
            State::Subscribing | State::Streaming => {
                self.send(&AnalyzerMessage::Subscribe(self.subscription))
            }
            // It is asked when it is ready, or for nothing more.
            State::Alone | State::AwaitingReady | State::Stopping | State::Finished => Ok(()),
        }
    }
}

fn is_closed(error: &LoadError) -> bool {
    matches!(error, LoadError::Unreadable(_, error) if error.kind() == io::ErrorKind::PermissionDenied)
}
