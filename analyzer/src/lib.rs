//! The analyzer's parts. Way of an event: `session` (frames) → `stream` → `event` (typed) → `merge`
//! (in order) → `process_table`, `descriptor_table` (who, what) → `patterns` (engines) → `alert` →
//! `delivery` (`hygiene`, `console`, `sinks`: `json_log`, syslog); with enforcement, `enforcement` before
//! `delivery`. What to do it is told by `command_line` and `configuration`.
//!
//! Everything from `event` to `alert` is pure: no I/O, and no clock but the events' own.

pub mod alert;
pub mod analysis;
pub mod baseline;
pub mod capture;
pub mod cgroups;
pub mod command_line;
pub mod config_check;
pub mod configuration;
pub mod connector;
pub mod console;
pub mod control;
pub mod correlation;
pub mod delivery;
pub mod descriptor_table;
pub mod destinations;
pub mod enforcement;
pub mod escape;
pub mod event;
pub mod hygiene;
pub mod json_log;
mod keyed_hash;
pub mod kill_switch;
pub mod launch;
pub mod lineage;
pub mod merge;
pub mod metrics;
pub mod output;
pub mod patterns;
pub mod periods;
pub mod privileges;
pub mod process_table;
pub mod program;
pub mod recording;
pub mod redaction;
pub mod relayed;
pub mod replaced_file;
pub mod replay;
pub mod rules;
pub mod rules_command;
pub mod secrets;
pub mod sensor_state;
pub mod service;
pub mod service_manager;
pub mod session;
pub mod shadow_report;
pub mod sinks;
pub mod status;
pub mod step;
pub mod stream;
