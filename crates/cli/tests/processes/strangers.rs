//! Devices without the room's invite.

use crate::fixture::{Place, Process, new_room};

#[test]
fn a_device_of_another_room_never_sees_the_stream() {
    let place = Place::new();
    let elsewhere = new_room(place.service_at());
    let out = place.path("stranger");
    let arguments = ["subscribe", "--room", &elsewhere, "--duration", "6s", "--out"];
    let arguments = arguments.into_iter().chain([out.to_str().unwrap()]).collect::<Vec<_>>();
    let mut stranger = Process::start("the stranger", &arguments);
    stranger.says("waiting for «camera»");
    let device = stranger.says_behind("this device is ");
    let mut publisher = place.publisher(&[]);
    // Who has the link sees it at the same time.
    let _ada = place.subscriber("Ada");
    place.grows("Ada", "camera.ivf");
    stranger.fails_saying("nothing of «camera» was opened in all that time");
    assert!(!stranger.has_said("asking"), "{stranger}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    publisher.hears("holders");
    publisher.says("  seen before  reads from");
    assert!(!publisher.has_said(&device[..8]), "{publisher}");
}

#[test]
fn a_link_with_another_rooms_secret_is_no_link() {
    let place = Place::new();
    let elsewhere = new_room(place.service_at());
    let (room, _) = place.link.split_once('#').unwrap();
    let (_, secret) = elsewhere.split_once('#').unwrap();
    let forged = format!("{room}#{secret}");
    for command in ["subscribe", "publish"] {
        let video = crate::fixture::media("video.ivf");
        let mut arguments = vec![command, "--room", &forged];
        if command == "publish" {
            arguments.extend(["--video", video.to_str().unwrap()]);
        }
        Process::start(command, &arguments).fails_saying(
            "the invite's secret belongs to another room; paste the link again, whole",
        );
    }
}
