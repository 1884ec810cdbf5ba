//! The fuzzing targets' corpora, replayed through the code of the targets.

use std::{fs, path::Path};

#[allow(unreachable_pub, reason = "the fuzzing crate's own library")]
#[path = "../../fuzz/src/lib.rs"]
pub(crate) mod targets;

#[allow(clippy::print_stdout, reason = "shown if it fails")]
fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "no input in {}", corpus.display());
}

#[cfg(feature = "rtc")]
#[test]
fn the_corpus_of_assembler_is_replayed() {
    replay("assembler", targets::assembler::run);
}

#[test]
fn the_corpus_of_header_is_replayed() {
    replay("header", targets::header::run);
}

#[test]
fn the_corpus_of_decrypt_is_replayed() {
    replay("decrypt", targets::decrypt::run);
}

#[test]
fn the_corpus_of_envelope_is_replayed() {
    replay("envelope", targets::envelope::run);
}

#[test]
fn the_corpus_of_messages_is_replayed() {
    replay("messages", targets::messages::run);
}

#[test]
fn the_corpus_of_plans_is_replayed() {
    replay("plans", targets::plans::run);
}

#[test]
fn the_corpus_of_plane_is_replayed() {
    replay("plane", targets::plane::run);
}
