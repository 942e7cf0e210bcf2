//! What the baseline engine has kept.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentinel_fuzz::bounded(data, sentinel_fuzz::baselines));
