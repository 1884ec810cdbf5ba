//! The house stands: each floor uses only the floors below it (ARCHITECTURE.md).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const FLOORS: &[(&str, u8)] = &[
    ("primitives", 0),
    ("sframe", 1),
    ("media", 2),
    ("protocol", 2),
    ("device", 3),
    ("stream", 4),
    ("endpoint", 5),
    ("clock", 6),
    ("rtc", 7),
    ("server", 7),
    ("client", 8),
];

/// What must not be named below the sans-IO wall.
const ABOVE_THE_WALL: &[&str] =
    &["tokio", "webrtc", "axum", "std::net", "std::fs", "SystemTime::now", "Instant::now"];

/// Files that are compiled for tests only.
const TEST_FILES: &[&str] = &["vectors.rs", "tests.rs", "snapshots.rs"];

pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !TEST_FILES.iter().any(|name| path.ends_with(name))
        {
            found.push(path);
        }
    }
    found
}

/// Production code only: comments and what stands behind the first `#[cfg(test)]` are left out.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let production = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    production.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules of this crate that a file names, whichever way the `use` is written.
fn used(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        rest = &rest[at + "crate::".len()..];
        let name = |text: &str| -> String {
            text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
        };
        if let Some(list) = rest.strip_prefix('{') {
            let (mut depth, mut start) = (1, true);
            for (index, c) in list.char_indices() {
                if start && depth == 1 && !c.is_whitespace() && c != '}' {
                    names.push(name(&list[index..]));
                    start = false;
                }
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.push(name(rest));
        }
    }
    names
}

#[test]
fn every_use_points_to_a_lower_floor() {
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if room == "lib" {
            continue;
        }
        let floor = *floors.get(room.as_str()).unwrap_or_else(|| panic!("{room} has no floor"));
        for file in sources(&path) {
            for name in used(&code(&file)) {
                let Some(&other) = floors.get(name.as_str()) else {
                    panic!("{} uses crate::{name}, which is no room", file.display());
                };
                assert!(
                    name == room || other < floor,
                    "{} (floor {floor}) uses crate::{name} (floor {other})",
                    file.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} uses were found");
}

#[test]
fn nothing_below_the_wall_knows_a_clock_a_socket_or_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, _) in FLOORS.iter().filter(|(_, floor)| *floor <= 5) {
        for file in sources(&root.join(room)) {
            let code = code(&file);
            for word in ABOVE_THE_WALL {
                assert!(!code.contains(word), "{} names {word}", file.display());
            }
        }
    }
}

#[test]
fn the_two_ways_of_writing_a_use_are_both_read() {
    let names = used("use crate::{a::{b, c}, d};\nuse crate::e::f; let x = crate::g();");
    assert_eq!(names, ["a", "d", "e", "g"]);
}
