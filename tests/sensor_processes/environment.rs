//! The environment that an exec record tells.

use std::ffi::OsString;

use sentinel_ipc::kernel_abi::{ENVIRONMENT, ENVIRONMENT_BYTES, ExecRecord, flag};

use crate::{
    exec::{PROGRAM, check_exec, check_exec_but_flags, notable},
    stage::Stage,
    truth::Truth,
};

const CUT: u16 = flag::TRUNCATED | flag::ENVIRONMENT_TRUNCATED;

/// An exec with `count` variables of no interest, followed by `last`.
fn play(stage: &mut Stage, count: u32, last: &[&str]) -> Truth {
    let program = stage.path("program");
    if !program.exists() {
        stage.copy(PROGRAM, "program", "755");
    }
    let mut words: Vec<OsString> = vec!["environment".into(), program.into()];
    words.push(count.to_string().into());
    words.extend(last.iter().map(OsString::from));
    stage.play(PROGRAM, &words)
}

fn told(exec: &ExecRecord) -> &[u8] {
    &exec.environment[..usize::from(exec.environment_length)]
}

/// Exactly the notable ones are told, whole.
fn check_whole(stage: &mut Stage, truth: &Truth) {
    let Some(exec) = check_exec(stage, truth, 0) else { return };
    let expected = notable(&truth.bytes("environment"));
    let all = told(&exec);
    stage.check(all.is_empty() || all.ends_with(b"\0"), || {
        format!("{}: b\"{}\" has no end", truth.case(), all.escape_ascii())
    });
    let mut variables: Vec<&[u8]> = all.split(|byte| *byte == 0).collect();
    variables.pop();
    variables.sort_unstable();
    let shown = |list: Vec<&[u8]>| {
        list.iter().map(|bytes| bytes.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    stage.same(
        &format!("{}: environment", truth.case()),
        shown(variables),
        shown(expected.iter().map(Vec::as_slice).collect()),
    );
}

#[test]
fn variables_that_bring_code_are_told_and_no_others() {
    Stage::with(|stage| {
        let all: Vec<String> = ENVIRONMENT
            .iter()
            .map(|name| format!("{}=/nowhere", String::from_utf8_lossy(name)))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let truths = [
            play(stage, 0, &[]),
            play(stage, 1, &[]),
            play(stage, 0, &["LD_PRELOAD=/nowhere/a.so /nowhere/b.so"]),
            play(stage, 2, &["BASH_ENV=/nowhere/rc", "PYTHONSTARTUP=/nowhere/x.py"]),
            play(stage, 0, &["LD_LIBRARY_PATH=/nowhere", "ENV=", "ENVX=1", "PERL5OPT=-Mx"]),
            play(stage, 3, &["LD_PRELOADX=1", "XLD_PRELOAD=1", "LD_PRELOA=1", "ld_preload=1"]),
            // Neither of these sets anything.
            play(stage, 0, &["LD_PRELOAD", "x=LD_PRELOAD=1", ""]),
            play(stage, 0, &["BASH_ENV=a=b\nc\u{fe}"]),
            play(stage, 0, &all),
            play(stage, 100, &["LD_AUDIT=/nowhere/audit.so"]),
        ];
        stage.catch_up();
        for (at, truth) in truths.iter().enumerate() {
            if at == 6 {
                check_nothing_set(stage, truth);
            } else {
                check_whole(stage, truth);
            }
        }
    });
}

/// Whoever reads a long variable in pieces must not take one for a variable, nor lose the next.
#[test]
fn a_long_variable_does_not_look_like_others() {
    Stage::with(|stage| {
        let mut truths = Vec::new();
        for length in [127, 128, 254, 255, 256, 257, 510, 511, 512] {
            let filler = format!("F={}", "x".repeat(length - 2));
            let fake = format!("{filler}LD_PRELOAD=/fake");
            truths.push(play(stage, 0, &[&fake, "BASH_ENV=/nowhere/rc"]));
            truths.push(play(stage, 0, &[&filler, "LD_PRELOAD=/nowhere/a.so"]));
        }
        stage.catch_up();
        for truth in &truths {
            check_whole(stage, truth);
        }
    });
}

/// A name without a value is not set; what comes behind it is none of its business.
fn check_nothing_set(stage: &mut Stage, truth: &Truth) {
    let Some(exec) = check_exec(stage, truth, 0) else { return };
    let all = told(&exec).to_vec();
    stage.same_bytes(&format!("{}: environment", truth.case()), &all, b"");
}

#[test]
fn a_long_value_is_cut_and_said_to_be() {
    Stage::with(|stage| {
        let long = format!("LD_PRELOAD=/nowhere/{}", "x".repeat(700));
        let later = ["PYTHONPATH=/nowhere", &long, "BASH_ENV=/nowhere/rc"];
        let truths = [play(stage, 0, &[&long]), play(stage, 0, &later)];
        stage.catch_up();
        for truth in &truths {
            let what = truth.case();
            let Some(exec) = check_exec_but_flags(stage, truth) else { continue };
            let flags = exec.header.flags;
            stage.check(flags & CUT != 0, || format!("{what}: flags {flags:#x}, cut unsaid"));
            let all = told(&exec).to_vec();
            stage.check(all.len() <= ENVIRONMENT_BYTES, || format!("{what}: {}", all.len()));
            let expected = notable(&truth.bytes("environment"));
            let variables = all.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
            for variable in variables {
                let right = expected.iter().any(|whole| whole.starts_with(variable));
                let shown = variable.escape_ascii().to_string();
                stage.check(right, || format!("{what}: {shown} is not what was set"));
            }
            let named = all.windows(11).any(|window| window == b"LD_PRELOAD=");
            stage.check(named, || format!("{what}: LD_PRELOAD is not told at all"));
        }
    });
}

#[test]
fn a_huge_environment_hides_nothing_unsaid() {
    Stage::with(|stage| {
        let preload = "LD_PRELOAD=/nowhere/a.so";
        let filler = format!("FILLER={}", "x".repeat(100_000));
        let truths = [
            play(stage, 1000, &[preload]),
            play(stage, 5000, &[preload]),
            play(stage, 0, &[&filler, preload]),
            // What is set before all that is found.
            play(stage, 0, &[preload, &filler]),
        ];
        stage.catch_up();
        for (at, truth) in truths.iter().enumerate() {
            let what = format!("{}: {at}", truth.case());
            let Some(exec) = check_exec_but_flags(stage, truth) else { continue };
            let flags = exec.header.flags;
            let found = told(&exec) == [preload.as_bytes(), b"\0"].concat();
            let said = flags & flag::ENVIRONMENT_TRUNCATED != 0;
            stage.check(found || said, || {
                format!("{what}: neither found nor said; b\"{}\"", told(&exec).escape_ascii())
            });
            stage.check(found || at != 3, || format!("{what}: not found at the front"));
        }
    });
}
