//! End-to-end encryption for live media streams, one key per stream, led by its publisher.
//!
//! A publisher owns a Megolm session for its stream and hands it over, 1:1 under Olm, to the
//! subscribers that it admits. Both sides derive frame keys from it and encrypt encoded media
//! frames as SFrame (RFC 9605). An SFU forwards ciphertext. The key service carries messages
//! that it can neither read nor forge, and decides nothing.
//!
//! # Four ways to use it
//!
//! **Frames only**, with a key that both sides have: [`media::FrameEncryptor::from_secret`] and
//! [`media::FrameDecryptor::from_secret`]; see [`media`].
//!
//! **Your own signalling and SFU**: one [`endpoint::Endpoint`] per device, without I/O; see
//! [`endpoint`]. In short:
//!
//! ```
//! use olmcast::{
//!     device::Identity,
//!     endpoint::{Endpoint, Output, Publish},
//!     primitives::{Codec, Invite, Timestamp},
//! };
//!
//! let invite = Invite::generate("unused.example:1")?;
//! let mut now = Timestamp::from(std::time::SystemTime::now());
//! let mut alice = Endpoint::new(Identity::generate())?;
//! let mut bob = Endpoint::new(Identity::generate())?;
//! alice.enter(invite.room_keys());
//! bob.enter(invite.room_keys());
//!
//! let camera = Publish::new("camera").track(Codec::Opus).with_invite();
//! let stream = alice.publish(invite.room(), camera, now)?;
//! let track = alice.tracks(stream)[0].id;
//! let offer = alice.offer(stream).unwrap();
//! let watched = bob.subscribe(&offer, "bob", now)?;
//!
//! // Any channel will do: here, each hands the other its bytes.
//! for _ in 0..30 {
//!     for (from, to) in [(0, 1), (1, 0)] {
//!         let mut ends = [&mut alice, &mut bob];
//!         while let Some(output) = ends[from].poll_output() {
//!             if let Output::Send { bytes, .. } = output {
//!                 let _ = ends[to].handle_message(&bytes, now);
//!             }
//!         }
//!     }
//!     now = now + std::time::Duration::from_millis(10);
//!     alice.handle_timeout(now);
//!     bob.handle_timeout(now);
//! }
//!
//! let (mut wire, mut frame) = (Vec::new(), Vec::new());
//! alice.encryptor(stream, track).unwrap().encrypt_into(b"a packet", &mut wire)?;
//! bob.decryptor(watched, track).unwrap().decrypt_into(&wire, now, &mut frame)?;
//! assert_eq!(frame, b"a packet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Batteries**: a `client::Client` (feature `client`) over a key service (`olmcast serve`, or
//! `server::Server` with feature `server`), with `rtc::EncryptedSender` and
//! `rtc::EncryptedReceiver` (feature `rtc`) on webrtc-rs connections.
//!
//! **str0m** needs nothing of ours but the handles: call `encrypt_into` before `Writer::write`
//! (and drop the frame if `is_overdue` says so), and `decrypt_into` on the data of
//! `Event::MediaData`.
//!
//! # The map
//!
//! Each room uses only those above it in this list.
//!
//! | room | what it holds |
//! |---|---|
//! | [`primitives`] | ids, secrets, the signing form, invites |
//! | [`sframe`] | RFC 9605: headers, keys, sealing and opening, replay windows |
//! | [`media`] | encryptors and decryptors for frames, codec plans |
//! | [`protocol`] | envelopes, and every message |
//! | [`device`] | the identity, and 1:1 Olm |
//! | `stream` (private) | the life of a stream's key, on both sides |
//! | [`endpoint`] | the one owner: inputs, outputs, timers |
//! | `clock` (private) | the time, above the wall |
//! | `rtc`, `server` | webrtc-rs; the key service |
//! | `client` | an endpoint with a task, a clock and a connection |
//!
//! Up to [`endpoint`] there is no clock, no socket and no async runtime.
//!
//! # Features
//!
//! `aws-lc`, `client` and `rtc` are on by default, `server` is not. `rtc` follows webrtc-rs' 0.x
//! releases and is exempt from semver.

pub mod device;
pub mod endpoint;
pub mod media;
pub mod primitives;
pub mod protocol;
pub mod sframe;
mod stream;

#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "rtc"))]
mod clock;
#[cfg(feature = "rtc")]
pub mod rtc;
#[cfg(feature = "server")]
pub mod server;
