//! Builds ../loader-ebpf for the kernel and leaves the object in OUT_DIR/sentinel-sensor.
//!
//! Looks, in this order, for a finished object in `$SENTINEL_EBPF_OBJECT` (packagers), then for a
//! toolchain with the source of `core`: `$SENTINEL_EBPF_TOOLCHAIN`, `nightly`, `system`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const OBJECT: &str = "sentinel-sensor";
/// `SHT_NOBITS`: a section that is not in the file.
const NO_BITS: usize = 8;

fn main() -> ExitCode {
    for variable in ["SENTINEL_EBPF_OBJECT", "SENTINEL_EBPF_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    for source in ["../loader-ebpf", "../ipc/src", "../Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={source}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    if let Some(object) = env::var_os("SENTINEL_EBPF_OBJECT") {
        println!("cargo::rerun-if-changed={}", object.display());
        return copy(Path::new(&object), &out.join(OBJECT));
    }
    let toolchain = toolchain()?;
    let target_dir = out.join("ebpf");
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    // The last one has LLVM zero memory with stores. By default bpf-linker has it call a function that
    // does so byte by byte, which the verifier walks each time.
    let flags = format!(
        "--cfg=bpf_target_arch=\"{architecture}\"\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf\
         \x1f-Clink-arg=--disable-expand-memcpy-in-order"
    );
    let output = Command::new("rustup")
        .args(["run", &toolchain, "cargo", "build", "--release", "--locked"])
        .args(["--package", "sentinel-loader-ebpf", "--bin", OBJECT])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        // -Z on a stable compiler; the object is all that it is used for.
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .map_err(|error| format!("cannot run rustup: {error}"))?;
    if !output.status.success() {
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("cargo::warning={line}");
        }
        return Err(format!(
            "the eBPF object does not build with toolchain {toolchain}; is bpf-linker installed \
             (`tests/install-toolchain`)?"
        ));
    }
    let built = target_dir.join("bpfel-unknown-none/release").join(OBJECT);
    let object = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let object = without_debug_information(&object)
        .ok_or_else(|| format!("{}: no ELF object of 64 bits", built.display()))?;
    let path = out.join(OBJECT);
    fs::write(&path, object).map_err(|error| format!("{}: {error}", path.display()))
}

/// The object without what its BTF was made of, which is three quarters of it and would be read at each start; `None`
/// if it is cut. Sections keep their numbers (elf(5)).
fn without_debug_information(object: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize, bytes: usize| {
        let mut read = object.get(at..at + bytes)?.iter().rev();
        read.try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))
    };
    let (table, entry, count, names) =
        (number(40, 8)?, number(58, 2)?, number(60, 2)?, number(62, 2)?);
    let names = number(table + names * entry + 24, 8)?;
    let mut kept = object.get(..64)?.to_vec();
    let mut sections = Vec::new();
    for at in (0..count).map(|index| table + index * entry) {
        let (name, kind) = (number(at, 4)?, number(at + 4, 4)?);
        let (from, bytes) = (number(at + 24, 8)?, number(at + 32, 8)?);
        let name = object.get(names + name..)?;
        if name.starts_with(b".debug") || name.starts_with(b".rel.debug") {
            sections.resize(sections.len() + entry, 0);
            continue;
        }
        let begin = kept.len().next_multiple_of(16);
        sections.extend_from_slice(object.get(at..at + 24)?);
        sections.extend_from_slice(&begin.to_le_bytes());
        sections.extend_from_slice(object.get(at + 32..at + entry)?);
        if kind != NO_BITS {
            kept.resize(begin, 0);
            kept.extend_from_slice(object.get(from..from + bytes)?);
        }
    }
    let begin = kept.len().next_multiple_of(16);
    kept.resize(begin, 0);
    kept.get_mut(40..48)?.copy_from_slice(&begin.to_le_bytes());
    kept.extend_from_slice(&sections);
    Some(kept)
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))
}

/// The first toolchain that has the source of `core`.
fn toolchain() -> Result<String, String> {
    let asked = env::var("SENTINEL_EBPF_TOOLCHAIN").ok();
    let candidates: Vec<String> = match asked {
        Some(name) => vec![name],
        None => vec!["nightly".into(), "system".into()],
    };
    candidates.iter().find(|name| has_core_source(name)).cloned().ok_or_else(|| {
        format!(
            "no Rust toolchain with the source of core among {candidates:?}: run \
             `tests/install-toolchain`, or `rustup toolchain install nightly -c rust-src`, or set \
             SENTINEL_EBPF_TOOLCHAIN, or SENTINEL_EBPF_OBJECT to a finished object"
        )
    })
}

fn has_core_source(toolchain: &str) -> bool {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .env_remove("RUSTC")
        .output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout);
        output.status.success()
            && Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
    })
}
