//! Test programs in C, compiled when their source is newer than the program.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

static COMPILING: Mutex<()> = Mutex::new(());

/// Compiles `tests/programs/NAME.c` and returns the program, beside the test binaries.
///
/// # Panics
/// When gcc is missing or refuses.
pub fn compiled(name: &str) -> PathBuf {
    compiled_with(name, &[])
}

/// The same without a need for libraries, to run on another system.
///
/// # Panics
/// When gcc is missing or refuses.
pub fn compiled_static(name: &str) -> PathBuf {
    compiled_with(name, &["-static"])
}

fn compiled_with(name: &str, arguments: &[&str]) -> PathBuf {
    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
    let test_binary = std::env::current_exe().expect("a test binary");
    let directory = test_binary.with_file_name("programs");
    fs::create_dir_all(&directory).expect("a directory");
    let program = directory.join(name);
    if !is_newer(&program, &source) {
        // Made elsewhere and moved: a program that runs cannot be written to.
        let fresh = directory.join(format!("{name}.{}", std::process::id()));
        let status = Command::new("gcc")
            .args(["-O1", "-Wall", "-Werror", "-pthread"])
            .args(arguments)
            .arg("-o")
            .args([&fresh, &source])
            .status()
            .expect("gcc is installed");
        assert!(status.success(), "{} does not compile", source.display());
        fs::rename(&fresh, &program).expect("moved");
    }
    program
}

fn is_newer(program: &Path, source: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let source = changed(source).expect("a source");
    changed(program).is_ok_and(|program| program > source)
}
