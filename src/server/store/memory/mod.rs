//! The store that forgets with its process.

mod directory;
mod mailboxes;
mod rooms;

pub(in crate::server) use directory::Directory;
pub(in crate::server) use mailboxes::{Mailboxes, Sender, StoredMail};
pub(in crate::server) use rooms::{Entry, Rooms};
