//! Test programs in C, compiled once a test binary.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Mutex, PoisonError},
};

static COMPILING: Mutex<()> = Mutex::new(());

/// Compiles `tests/programs/NAME.c` and returns the program.
///
/// # Panics
/// When gcc is missing or refuses.
pub fn compiled(name: &str) -> PathBuf {
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
    let directory = std::env::temp_dir().join(format!("sentinel-programs-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let program = directory.join(name);
    if !program.exists() {
        let status = Command::new("gcc")
            .args(["-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .args([&program, &source])
            .status()
            .expect("gcc is installed");
        assert!(status.success(), "{} does not compile", source.display());
    }
    program
}
