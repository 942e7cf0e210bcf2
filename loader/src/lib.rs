//! The loader's parts. Way of an event: `sensor` (ring) → `forward` (frame) → the analyzer's socket;
//! way back: `session` (messages) → `sensor` (attach, detach).

pub mod arguments;
pub mod btf;
pub mod call_counts;
pub mod doors;
pub mod file_classes;
pub mod forward;
pub mod hooks;
pub mod identity;
pub mod lineage;
pub mod mapping;
pub mod memory;
pub mod offsets;
pub mod pace;
pub mod pid_namespace;
pub mod places;
pub mod privileges;
pub mod process_class;
pub mod programs;
pub mod ring;
pub mod scope;
pub mod sensitive_paths;
pub mod sensor;
pub mod session;
pub mod snapshot;
pub mod syscall_table;
pub mod task_iterator;
