//! Every MUST of RFC 9605 is quoted above the code that obeys it, and each has a test.

use std::{collections::BTreeSet, fs, path::Path};

use crate::houses::sources;

const COMPLIANCE: &str = include_str!("../../src/sframe/compliance.md");

/// Section, demand and test of each row of the list.
fn rows() -> Vec<[String; 3]> {
    let rows = COMPLIANCE.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.filter(|row| row.contains("MUST"))
        .map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>().try_into().unwrap())
        .collect()
}

fn all_sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [sources(&root.join("src")), sources(&root.join("tests"))].concat();
    // `sources` leaves out what is compiled for tests only, and that is where many tests are.
    let mut texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for tests in files.iter().map(|file| file.with_extension("").join("tests.rs")) {
        texts.extend(fs::read_to_string(tests).ok());
    }
    for folder in files.iter().filter_map(|file| file.parent()).collect::<BTreeSet<_>>() {
        for name in ["tests.rs", "vectors.rs"] {
            texts.extend(fs::read_to_string(folder.join(name)).ok());
        }
    }
    texts
}

/// The quotes in a source: section and sentence.
fn quotes(text: &str) -> Vec<(String, String)> {
    let mut quotes: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix("//= RFC 9605 §") {
            quotes.push((section.to_owned(), String::new()));
        } else if let Some(words) = line.strip_prefix("//# ") {
            let sentence = &mut quotes.last_mut().expect("a quote begins with its section").1;
            if !sentence.is_empty() {
                sentence.push(' ');
            }
            sentence.push_str(words);
        }
    }
    quotes
}

#[test]
fn every_must_is_quoted_above_the_code_that_obeys_it() {
    let sources = all_sources();
    let quoted: BTreeSet<_> = sources.iter().flat_map(|text| quotes(text)).collect();
    let rows = rows();
    assert_eq!(rows.len(), 14, "the RFC has 14 MUSTs");
    for [section, demand, test] in &rows {
        let is_quoted = quoted.contains(&(section.clone(), demand.clone()));
        let applies = !test.starts_with("does not apply");
        assert_eq!(is_quoted, applies, "§{section}: {demand}");
    }
    for (section, sentence) in quoted {
        assert!(
            rows.iter().any(|row| row[0] == section && row[1] == sentence),
            "no row for the quote of §{section}: {sentence}"
        );
    }
}

#[test]
fn every_test_that_the_list_names_exists() {
    let sources = all_sources();
    let mut named = 0;
    for [section, _, test] in rows() {
        for name in test.split('`').skip(1).step_by(2).filter(|name| name.contains('_')) {
            let is_test = |text: &String| {
                let before = text.split_once(&format!("fn {name}()")).map(|(before, _)| before);
                before.is_some_and(|before| before.trim_end().ends_with("#[test]"))
            };
            assert!(sources.iter().any(is_test), "§{section}: {name} is no test");
            named += 1;
        }
    }
    assert!(named >= 10, "only {named} tests are named");
}
