//! What becomes of an administrator's word: the switch turns, what waits is refused, and how things are then
//! goes back.

use sentinel_ipc::{
    administration::{AdminAnswer, Ask, VERSION},
    channel::Channel,
    clock::boot_ns,
    frame::{Mode, encode},
};

use crate::{
    marker::Position,
    session::{Served, Session},
    setup::{EnforcerError, system},
};

/// Messages of the analyzer that the switch looks through; its socket holds fewer.
const MAX_QUEUED: u32 = 4096;

impl Session {
    /// Does what administrators ask for, each as it came.
    pub(crate) fn answer_admins(&mut self) -> Result<(), EnforcerError> {
        let Some(admins) = &mut self.admins else { return Ok(()) };
        for (admin, ask) in admins.questions(&self.audit) {
            self.answer(&admin, ask)?;
        }
        Ok(())
    }

    /// Does what an administrator asks for, and says how things are then.
    fn answer(&mut self, admin: &Channel, ask: Ask) -> Result<(), EnforcerError> {
        let mut refused = 0;
        match ask {
            Ask::Status => {}
            Ask::Off => {
                self.turn(Position::Off);
                refused = self.refuse_queued()?;
            }
            // Nobody is there any more who could be told that it is on.
            Ask::On if admin.is_hung_up() => return Ok(()),
            Ask::On if !self.switch.can_be_on() => {}
            Ask::On => {
                // What was asked for while it was off stays refused.
                if self.guard.mode() != Mode::Enforce {
                    refused = self.refuse_queued()?;
                }
                self.turn(Position::On);
                // Who says so has looked.
                self.guard.budget.restore();
                self.switch.keep_kills(0, 0);
            }
        }
        if ask != Ask::Status {
            self.audit_switch(admin, ask, refused);
        }
        let spent = self.guard.budget.spent(boot_ns().map_err(system("clock_gettime"))?);
        let answer = AdminAnswer {
            version: VERSION,
            mode: self.guard.mode(),
            is_configured: self.switch.is_configured(),
            file: self.file.clone(),
            is_off_by_environment: self.switch.is_off_by_environment(),
            not_kept: self.switch.not_kept().map(str::to_owned),
            refused,
            kills: spent.total,
            kills_of_last_minute: u32::try_from(spent.last_minute).unwrap_or(u32::MAX),
            kills_per_minute: self.guard.budget.per_minute().into(),
            is_tripped: spent.is_tripped,
            about: self.about.clone(),
        };
        let mut frame = Vec::new();
        // One that does not read gets no answer.
        let _sent = encode(&answer, &mut frame).is_ok() && admin.send(&frame).is_ok();
        Ok(())
    }

    fn audit_switch(&self, admin: &Channel, ask: Ask, refused: u32) {
        let who = match admin.peer() {
            Ok(Some(peer)) => format!("uid={} pid={}", peer.uid(), peer.pid()),
            Ok(None) | Err(_) => "uid=unknown".to_owned(),
        };
        let (mode, kept) = (self.guard.mode(), self.switch.not_kept().unwrap_or("yes"));
        let line =
            format!("audit switch={ask:?} {who} mode={mode:?} refused={refused} kept={kept:?}");
        self.audit.line(&line);
    }

    fn turn(&mut self, position: Position) {
        self.switch.turn(position);
        self.guard.switch(self.switch.mode());
    }

    /// Refuses what the analyzer has asked for already, which no later word may let pass; and tells how much.
    fn refuse_queued(&mut self) -> Result<u32, EnforcerError> {
        self.sweep();
        let mut refused = 0;
        for _ in 0..MAX_QUEUED {
            match self.serve_analyzer()? {
                Served::Nothing | Served::End => break,
                Served::Hello => {}
                Served::Request => refused += 1,
            }
        }
        Ok(refused)
    }
}
