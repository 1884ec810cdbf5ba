//! The simulcast layers of an offer (RFC 8851, RFC 8853): `a=rid:h send`, `a=simulcast:send h;m;l`.

use rtc::sdp::description::media::MediaDescription;

use crate::refusal::Refusal;

/// Most layers of a stream.
pub(crate) const MAX: usize = 3;
/// A one-byte RTP header extension holds no more.
const MAX_LEN: usize = 16;
/// Without these header extensions nobody can tell one layer's packets from another's.
pub(crate) const EXTENSIONS: [&str; 2] =
    ["urn:ietf:params:rtp-hdrext:sdes:mid", "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"];

/// The rids of a media section in the order of `a=simulcast`, which is from high to low; those
/// that it does not list stand behind in their own order. Empty if there are none.
///
/// # Errors
///
/// [`Refusal::TooManyLayers`]; [`Refusal::Sdp`] for rids that cannot be told apart.
pub(crate) fn of(section: &MediaDescription) -> Result<Vec<String>, Refusal> {
    let values = |key: &'static str| {
        let attributes = section.attributes.iter().filter(move |attribute| attribute.key == key);
        attributes.filter_map(|attribute| attribute.value.as_deref())
    };
    if values("ssrc-group").any(|group| group.starts_with("SIM")) {
        return Err(Refusal::sdp("simulcast by SSRCs is not forwarded; use rids"));
    }
    let mut rids: Vec<&str> = Vec::new();
    for value in values("rid") {
        let (rid, direction) = value.split_once(' ').unwrap_or((value, ""));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=MAX_LEN).contains(&rid.len()) || !rid.bytes().all(allowed) {
            let rule = format!("a rid has 1 to {MAX_LEN} characters out of A-Z a-z 0-9 - _");
            return Err(Refusal::sdp(rule));
        }
        if direction.split(' ').next() != Some("send") {
            return Err(Refusal::sdp(format!("rid {rid} is not to send")));
        }
        if rids.contains(&rid) {
            return Err(Refusal::sdp(format!("rid {rid} occurs twice")));
        }
        rids.push(rid);
        if rids.len() > MAX {
            return Err(Refusal::TooManyLayers);
        }
    }
    if rids.is_empty() {
        return Ok(Vec::new());
    }
    for extension in EXTENSIONS {
        if !values("extmap").any(|map| map.split_whitespace().nth(1) == Some(extension)) {
            return Err(Refusal::sdp(format!(
                "there are rids, but no header extension {extension}"
            )));
        }
    }
    // webrtc-rs makes no track of a section that has rids and no name.
    if section.attribute("msid").is_none() {
        return Err(Refusal::sdp("there are rids, but no a=msid"));
    }
    let listed = values("simulcast").next().unwrap_or_default();
    if listed.contains(',') {
        return Err(Refusal::sdp("alternatives within a simulcast layer are not forwarded"));
    }
    let listed: Vec<&str> = listed
        .split(|c: char| c == ';' || c.is_whitespace())
        .map(|rid| rid.trim_start_matches('~'))
        .collect();
    let rank = |rid: &&str| listed.iter().position(|other| other == rid).unwrap_or(usize::MAX);
    rids.sort_by_key(rank);
    Ok(rids.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "msid:a b\nextmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\n\
                        extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n";

    fn section(attributes: &str) -> MediaDescription {
        let mut section = MediaDescription::default();
        for line in attributes.lines() {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            section = section.with_value_attribute(key.to_owned(), value.to_owned());
        }
        section
    }

    fn ordered(attributes: &str) -> Result<Vec<String>, Refusal> {
        of(&section(&format!("{HEAD}{attributes}")))
    }

    #[test]
    fn layers_are_ordered_as_the_simulcast_line_lists_them() -> Result<(), Refusal> {
        let rids = "rid:l send\nrid:h send\nrid:m send\n";
        assert_eq!(ordered(&format!("{rids}simulcast:send h;~m;l"))?, ["h", "m", "l"]);
        assert_eq!(ordered(&format!("{rids}simulcast:send m"))?, ["m", "l", "h"]);
        assert_eq!(ordered(rids)?, ["l", "h", "m"]);
        assert_eq!(ordered("")?, [""; 0]);
        Ok(())
    }

    #[test]
    fn layers_that_cannot_be_told_apart_are_refused() {
        let four = "rid:a send\nrid:b send\nrid:c send\nrid:d send";
        assert!(matches!(ordered(four), Err(Refusal::TooManyLayers)));
        for bad in [
            "rid:a send\nrid:a send",
            "rid:a.b send",
            "rid: send",
            "rid:a recv",
            "rid:a",
            "rid:0123456789abcdef0 send",
            "rid:a send\nrid:b send\nsimulcast:send a,b",
            "ssrc-group:SIM 1 2 3",
        ] {
            assert!(matches!(ordered(bad), Err(Refusal::Sdp(_))), "{bad}");
        }
        for missing in HEAD.lines() {
            let rest = HEAD.replace(missing, "x:y");
            assert!(of(&section(&format!("{rest}rid:a send"))).is_err(), "{missing}");
        }
    }
}
