use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::{fields, form};
use crate::primitives::{DeviceId, Signature, SignatureMismatch, SigningForm, Timestamp};

/// What an `Authorization` header to the directory begins with.
pub const SCHEME: &str = "Olmcast";

/// Longest header that is read; the longest name makes one of some 500 bytes.
const LONGEST: usize = 1024;
/// Longest server name; no host name is longer.
const LONGEST_NAME: usize = 300;

/// What a device signs to have a request carried out: method, path, server, milliseconds, nonce
/// and SHA-256 of the body as a [`SigningForm`] of the kind `DirectoryRequest`.
///
/// The server's name keeps a hostile service from passing the request on to another; time and
/// nonce keep it from being carried out twice.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryRequest<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path, with its query if it has one.
    pub path: &'a str,
    /// The service's `name:port`, as the device dialled it.
    pub server: &'a str,
    /// When it was signed.
    pub time: Timestamp,
    /// Drawn at random for this request.
    pub nonce: &'a [u8; 16],
    /// The body, byte by byte as it travels.
    pub body: &'a [u8],
}

impl DirectoryRequest<'_> {
    /// Has the request signed with the device key.
    pub fn sign_with(self, sign: impl FnOnce(SigningForm<'_>) -> Signature) -> Signature {
        sign(form(KIND, &self.payload()))
    }

    /// Checks that `device` signed exactly this.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid key.
    pub fn verify(self, device: &DeviceId, signature: &Signature) -> Result<(), SignatureMismatch> {
        form(KIND, &self.payload()).verify(device, signature)
    }

    fn payload(self) -> Vec<u8> {
        fields(&[
            self.method.as_bytes(),
            self.path.as_bytes(),
            self.server.as_bytes(),
            &self.time.unix_millis().to_be_bytes(),
            self.nonce,
            &Sha256::digest(self.body),
        ])
    }
}

const KIND: &str = "DirectoryRequest";

/// Who signed a request and when: its `Authorization` header, which is written
/// `Olmcast device=…, server=…, time=…, nonce=…, signature=…` in just this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who signed.
    pub device: DeviceId,
    /// See [`DirectoryRequest::server`].
    pub server: String,
    /// See [`DirectoryRequest::time`].
    pub time: Timestamp,
    /// See [`DirectoryRequest::nonce`].
    pub nonce: [u8; 16],
    /// Over the whole request.
    pub signature: Signature,
}

/// It is no `Authorization` header of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Authorization header reads: Olmcast device=ID, server=HOST:PORT, time=MILLISECONDS, nonce=BASE64, signature=BASE64"
)]
pub struct AuthorizationError;

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, server, time, nonce, signature } = self;
        let (time, nonce) = (time.unix_millis(), URL_SAFE_NO_PAD.encode(nonce));
        write!(
            f,
            "{SCHEME} device={device}, server={server}, time={time}, nonce={nonce}, signature={signature}"
        )
    }
}

impl FromStr for Authorization {
    type Err = AuthorizationError;

    fn from_str(text: &str) -> Result<Self, AuthorizationError> {
        if text.len() > LONGEST {
            return Err(AuthorizationError);
        }
        let read = read(text).ok_or(AuthorizationError)?;
        // There is one way to write it, and so no second text for the same request.
        if read.to_string() == text { Ok(read) } else { Err(AuthorizationError) }
    }
}

fn read(text: &str) -> Option<Authorization> {
    let mut fields = text.strip_prefix(SCHEME)?.strip_prefix(' ')?.split(", ");
    let mut field = |name| fields.next()?.strip_prefix(name)?.strip_prefix('=');
    let device = field("device")?.parse().ok()?;
    let server = field("server")?;
    if server.is_empty()
        || server.len() > LONGEST_NAME
        || !server.chars().all(|c| c.is_ascii_graphic() && c != ',')
    {
        return None;
    }
    let time = Timestamp::from_unix_millis(field("time")?.parse().ok()?);
    let nonce = URL_SAFE_NO_PAD.decode(field("nonce")?).ok()?.try_into().ok()?;
    let signature = field("signature")?.parse().ok()?;
    Some(Authorization { device, server: server.to_owned(), time, nonce, signature })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Authorization {
        Authorization {
            device: DeviceId::from_bytes([0xD0; 32]),
            server: "[::1]:7600".to_owned(),
            time: Timestamp::from_unix_millis(1_700_000_000_000),
            nonce: [7; 16],
            signature: Signature::from_bytes([0x51; 64]),
        }
    }

    #[test]
    fn a_header_reads_back_and_in_no_other_form() {
        let text = header().to_string();
        assert_eq!(text.parse(), Ok(header()));
        let long = text.replace("[::1]", &"a".repeat(LONGEST));
        let name = text.replace("[::1]", &"a".repeat(LONGEST_NAME));
        for bad in [
            String::new(),
            "Olmcast".to_owned(),
            text.replace("Olmcast", "olmcast"),
            text.replace("Olmcast ", "Bearer "),
            text.replace(", ", ","),
            text.replace(", ", ",  "),
            text.replace("time=", "time=+"),
            text.replace("time=", "time=0"),
            text.replace("time=", "time=-"),
            text.replace("time=1700000000000", "time=18446744073709551616"),
            text.replace("nonce=", "nonce=AA"),
            text.replace("device=", "device=A"),
            text.replace("server=[::1]:7600", "server="),
            text.replace("server=[::1]:7600", "server=a b"),
            text.replace("server=[::1]:7600", "server=a,b"),
            text.replace("server=[::1]:7600", "server=ä:1"),
            text.replace("device=", "nonce="),
            format!("{text} "),
            format!(" {text}"),
            format!("{text}, more=1"),
            text[..text.len() - 1].to_owned(),
            long,
            name,
        ] {
            assert_eq!(bad.parse::<Authorization>(), Err(AuthorizationError), "{bad}");
        }
    }
}
