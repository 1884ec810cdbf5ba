//! `olmcast demo --json`: its output is an interface.

use serde_json::{Map, Value, json};

use crate::fixture::Process;

/// The same object with null for every number.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let shapes = map.iter().map(|(key, value)| (key.clone(), shape(value)));
            Value::Object(shapes.collect::<Map<_, _>>())
        }
        Value::Number(_) => Value::Null,
        other => panic!("neither an object nor a number: {other}"),
    }
}

fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_u64().unwrap_or_else(|| panic!("{path} is {found}"))
}

#[test]
fn the_demo_prints_one_object_of_this_shape_and_keeps_its_promises() {
    // scripts/test runs this once for each store.
    let store = std::env::var("OLMCAST_TEST_STORE").unwrap_or_else(|_| "memory".to_owned());
    let mut demo = Process::start("the demo", &["demo", "--json", "--store", &store]);
    demo.ends_well();
    let printed = demo.stdout();
    let mut results = serde_json::Deserializer::from_str(&printed).into_iter::<Value>();
    let report = results.next().unwrap().unwrap();
    assert!(results.next().is_none(), "more than one object:\n{demo}");
    let expected = json!({
        "media": { "video_frames": null, "audio_frames": null },
        "subscribers": {
            "A": {
                "video_opened": null, "audio_opened": null, "mismatched": null,
                "undecryptable": null, "longest_gap_ms": null,
            },
            "B": {
                "video_opened": null, "audio_opened": null, "mismatched": null,
                "undecryptable": null, "longest_gap_ms": null,
                "frames_after_cutover": null, "opened_after_cutover": null,
            },
            "C": {
                "video_opened": null, "audio_opened": null, "mismatched": null,
                "undecryptable": null, "longest_gap_ms": null,
                "first_frame_ms": null, "frames_before_join": null, "opened_before_join": null,
                "frames_after_cutover": null, "opened_after_cutover": null,
            },
        },
        "cutover_ms": { "leave": null, "kick": null },
        "relay": { "packets": null, "plaintext_matches": null },
    });
    assert_eq!(shape(&report), expected);

    let of = |path: &str| number(&report, path);
    let sent = [of("/media/video_frames"), of("/media/audio_frames")];
    for who in ["A", "B", "C"] {
        let of = |what: &str| of(&format!("/subscribers/{who}/{what}"));
        assert_eq!(of("mismatched"), 0, "{who}");
        assert!((1..=sent[0]).contains(&of("video_opened")), "{who}: {report}");
        assert!((1..=sent[1]).contains(&of("audio_opened")), "{who}: {report}");
    }
    for path in ["B/frames_after_cutover", "C/frames_after_cutover", "C/frames_before_join"] {
        let path = format!("/subscribers/{path}");
        assert!(of(&path) > 0, "{path} shows nothing: {report}");
        assert_eq!(of(&path.replace("frames_", "opened_")), 0, "{path}: {report}");
    }
    assert!(of("/subscribers/A/longest_gap_ms") <= 1000, "{report}");
    assert!(of("/cutover_ms/leave") <= 2000 && of("/cutover_ms/kick") <= 1000, "{report}");
    assert!(of("/relay/packets") > 0 && of("/relay/plaintext_matches") == 0, "{report}");
    println!("{report}");
}
