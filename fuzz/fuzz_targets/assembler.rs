#![no_main]

// With it libraries leave checks out: vodozemac accepts every MAC.
#[cfg(fuzzing)]
compile_error!("run cargo fuzz with --no-cfg-fuzzing");

libfuzzer_sys::fuzz_target!(|data: &[u8]| olmcast_fuzz::assembler::run(data));
