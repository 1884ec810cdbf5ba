//! What is typed and what is shown.

use std::{
    future::pending,
    io::{BufRead, stdin},
    thread,
};

use tokio::sync::mpsc;

/// Lines that may wait to be read.
const LINES: usize = 16;
/// Other people's names are cut to so many characters.
const MAX_SHOWN: usize = 64;

/// The lines that are typed.
///
/// A thread of its own reads them. tokio's standard input would keep the command from ending
/// until one more line is typed: its blocked read is waited for.
pub(crate) struct Console(mpsc::Receiver<String>);

impl Console {
    pub(crate) fn open() -> Self {
        let (lines, typed) = mpsc::channel(LINES);
        thread::spawn(move || {
            let mut input = stdin().lock();
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim().to_owned();
                line.clear();
                if lines.blocking_send(text).is_err() {
                    return;
                }
            }
        });
        Self(typed)
    }

    /// The next line. Without a terminal there is none, and this waits for ever.
    pub(crate) async fn line(&mut self) -> String {
        match self.0.recv().await {
            Some(line) => line,
            None => pending().await,
        }
    }
}

/// Resolves when the command is told to end: by Ctrl-C, or as service managers do it.
pub(crate) async fn interrupted() -> std::io::Result<()> {
    interruption()?.await
}

/// The same, from this call on: what comes before it is awaited is not lost.
#[cfg(unix)]
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })
}

/// The same, as far as this system has it.
#[cfg(not(unix))]
pub(crate) fn interruption() -> std::io::Result<impl Future<Output = std::io::Result<()>>> {
    Ok(tokio::signal::ctrl_c())
}

/// Does this unless the command is told to end meanwhile. A terminal that does not show what is typed
/// is left as it was.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    // From here on a signal does not kill: whoever asks for a passphrase can tidy up.
    let interrupted = interruption()?;
    tokio::select! {
        biased;
        interrupted = interrupted => {
            interrupted?;
            anyhow::bail!("interrupted");
        }
        done = work => done,
    }
}

/// Somebody else's text, made safe for a terminal: without the characters that steer it or turn
/// the direction of writing.
pub(crate) fn safe(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let safe = |c: char| if c.is_control() || turns(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(safe).collect()
}

/// The same for a name, which is cut to a line's share.
pub(crate) fn shown(name: &str) -> String {
    safe(&name.chars().take(MAX_SHOWN).collect::<String>())
}

/// An error and what led to it, a line each; what a line says already is not said again.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| safe(&cause.to_string())) {
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str("\n  ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_others_cannot_steer_a_terminal() {
        assert_eq!(shown("Ada\x1b[2J\n\u{202E}x ё"), "Ada\u{FFFD}[2J\u{FFFD}\u{FFFD}x ё");
        assert_eq!(shown(&"x".repeat(1000)).len(), MAX_SHOWN);
    }

    #[test]
    fn an_error_says_each_thing_once() {
        let port = std::io::Error::other("in use");
        let error = anyhow::Error::new(port).context("port 1: in use; choose another");
        assert_eq!(explain(&error), "port 1: in use; choose another");
        assert_eq!(
            explain(&error.context("no service")),
            "no service\n  port 1: in use; choose another"
        );
    }
}
