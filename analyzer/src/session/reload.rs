//! SIGHUP to a service: logs are opened anew, and the configuration is read again.

use std::path::PathBuf;

use super::Session;
use crate::configuration::{Changes, Configuration, ConfigurationError, Settings};

/// What a service was told, and by what.
pub struct Told {
    /// The file that was named, if one was.
    pub file: Option<PathBuf>,
    /// Its options, which go before the file.
    pub options: Settings,
    /// What both come to, and what of it holds now.
    pub configuration: Configuration,
}

impl Told {
    /// Reads the file again, and takes over what can change.
    fn renew(&mut self) -> Result<Changes, ConfigurationError> {
        let new = Configuration::load(self.file.as_deref(), &self.options)?;
        Ok(self.configuration.take_over(&new))
    }
}

impl Session {
    /// Opens logs anew and reads the configuration again. Where that fails, what was stays.
    pub(super) fn reload(&mut self) {
        let failed = self.delivery.reopen().len();
        if failed == 0 {
            self.delivery.tell(&"logs opened anew");
        }
        let Some(service) = &mut self.service else { return };
        match service.told.renew() {
            Ok(changes) => {
                self.enforce = service.told.configuration.enforce;
                self.stream.analysis().keep_notes(service.told.configuration.debug);
                self.delivery.tell(&changes);
            }
            Err(error) => {
                self.delivery.tell(&format_args!("{error}; what was configured before holds on"));
            }
        }
    }
}
