//! What a subscriber POSTs to choose a layer: the extension
//! `urn:ietf:params:whep:ext:core:layer` of the WHEP draft.

use serde::Deserialize;

use crate::refusal::Refusal;

/// Fields of the draft that choose layers within an encoding, which the relay cannot tell apart.
/// Refused, since to ignore them would look like obeying.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LayerChoice {
    /// The `mid` of the video.
    pub(crate) media_id: Option<String>,
    /// The layer's rid; none leaves the choice to the relay.
    pub(crate) encoding_id: Option<String>,
}

impl LayerChoice {
    /// # Errors
    ///
    /// [`Refusal::BadLayer`] for anything but a JSON object of these fields, or nothing.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| Refusal::BadLayer(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_has_an_encoding_and_perhaps_a_media_id() -> Result<(), Refusal> {
        let choice = LayerChoice::parse(br#"{"mediaId":"0","encodingId":"m"}"#)?;
        assert_eq!(choice.media_id.as_deref(), Some("0"));
        assert_eq!(choice.encoding_id.as_deref(), Some("m"));
        for none in ["", "{}", r#"{"encodingId":null}"#] {
            assert_eq!(LayerChoice::parse(none.as_bytes())?, LayerChoice::default(), "{none}");
        }
        for bad in ["x", "[]", "3", r#"{"encodingId":3}"#, r#"{"spatialLayerId":1}"#, "{", "\u{1}"]
        {
            assert!(LayerChoice::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        Ok(())
    }
}
