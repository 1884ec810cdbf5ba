//! What is typed and what is shown.

use std::{
    future::pending,
    io::{BufRead, stdin},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// Lines that may wait to be read.
const LINES: usize = 16;
/// Other people's names are cut to so many characters.
const MAX_SHOWN: usize = 64;
/// The same where something stands behind them.
const COLUMN: usize = 32;

/// A line that is read faster than this was there before anybody asked for it.
const AHEAD: Duration = Duration::from_millis(5);

/// A line that was typed.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// When, or before that.
    pub(crate) typed: Instant,
}

/// The lines that are typed.
///
/// A thread of its own reads them. tokio's standard input would keep the command from ending
/// until one more line is typed: its blocked read is waited for.
pub(crate) struct Console(mpsc::Receiver<Line>);

impl Console {
    pub(crate) fn open() -> Self {
        let (lines, typed) = mpsc::channel(LINES);
        thread::spawn(move || read_lines(&mut stdin().lock(), &lines));
        Self(typed)
    }

    /// The next line. Without a terminal there is none, and this waits for ever.
    pub(crate) async fn line(&mut self) -> Line {
        match self.0.recv().await {
            Some(line) => line,
            None => pending().await,
        }
    }
}

fn read_lines(input: &mut impl BufRead, lines: &mpsc::Sender<Line>) {
    let mut line = Vec::new();
    let mut last = Instant::now();
    loop {
        let asked = Instant::now();
        if !input.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            return;
        }
        let now = Instant::now();
        // One that had to wait until we came for it, may be as old as the one before.
        let typed = if now.duration_since(asked) < AHEAD { last } else { now };
        last = typed;
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if lines.blocking_send(Line { text, typed }).is_err() {
            return;
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

/// Somebody else's text, made safe for a terminal: without the characters that steer it, turn the
/// direction of writing, or are there without being seen.
pub(crate) fn safe(text: &str) -> String {
    let safe = |c: char| match c.is_control() || is_unseen(c) {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().map(safe).collect()
}

/// Characters that show nothing themselves: Default_Ignorable_Code_Point (Unicode Character Database,
/// DerivedCoreProperties.txt, version 16), the separators of lines and paragraphs, the marks around
/// interlinear annotations, and the blank Braille pattern.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// The same for a name, in quotation marks, so that it cannot be taken for what stands around it.
/// Nothing if it has none.
pub(crate) fn quoted(name: &str) -> String {
    match plain(name, MAX_SHOWN) {
        name if name.is_empty() => name,
        name => format!("«{name}»"),
    }
}

/// The same for a table.
pub(crate) fn in_column(name: &str) -> String {
    match plain(name, COLUMN) {
        name if name.is_empty() => name,
        name => format!("«{name}»"),
    }
}

/// Whether this is what a name looks like here, with or without its quotation marks.
pub(crate) fn is_shown_as(name: &str, typed: &str) -> bool {
    let typed = typed.trim();
    let bare = typed.strip_prefix('«').and_then(|typed| typed.strip_suffix('»'));
    let [name, typed] = [name, bare.unwrap_or(typed)].map(|text| plain(text, MAX_SHOWN));
    !name.is_empty() && name == typed
}

/// A name on one line, with single spaces, without the marks that are put around it, and cut to so
/// many characters.
fn plain(name: &str, most: usize) -> String {
    let words: Vec<_> = name.split_whitespace().collect();
    let unquoted = safe(&words.join(" ")).replace(['«', '»'], "'");
    match unquoted.char_indices().nth(most) {
        Some(_) => unquoted.chars().take(most - 1).chain(['…']).collect(),
        None => unquoted,
    }
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
    fn the_text_of_others_cannot_steer_a_terminal_or_hide_in_it() {
        assert_eq!(safe("Ada\x1b[2J\n\u{202E}x ё"), "Ada\u{FFFD}[2J\u{FFFD}\u{FFFD}x ё");
        let unseen = "\u{61C}\u{200B}\u{200C}\u{200D}\u{200E}\u{2060}\u{2066}\u{FEFF}\u{AD}\u{34F}\u{3164}\u{FE0F}\u{E0041}";
        for unseen in unseen.chars() {
            assert_eq!(safe(&format!("A{unseen}da")), "A\u{FFFD}da", "{unseen:?}");
        }
    }

    #[test]
    fn a_name_cannot_imitate_the_text_around_it() {
        assert_eq!(quoted("Ada (k3JdX9aa), who is verified"), "«Ada (k3JdX9aa), who is verified»");
        assert_eq!(quoted("Ada» (k3JdX9aa) «"), "«Ada' (k3JdX9aa) '»");
        assert_eq!(quoted(" Ada \u{a0}\u{3000}\t L. "), "«Ada L.»");
        assert_eq!(quoted(" \u{2003}"), "");
        assert_eq!(quoted(&"x".repeat(1000)).chars().count(), MAX_SHOWN + 2);
        assert_eq!(in_column(&"é".repeat(32)), format!("«{}»", "é".repeat(32)));
        assert_eq!(in_column(&"é".repeat(33)), format!("«{}…»", "é".repeat(31)));
    }

    #[test]
    fn a_name_is_typed_as_it_is_shown() {
        for (name, typed) in [
            ("Ada", "Ada"),
            ("Ada", "«Ada»"),
            ("Ada  L.", "Ada L."),
            ("A«da", "A'da"),
            ("A\u{200B}da", "A\u{FFFD}da"),
        ] {
            assert!(is_shown_as(name, typed), "{name:?} {typed:?}");
        }
        for (name, typed) in [("Ada", "ada"), ("Ada", "Ad"), ("", ""), (" ", "«»")] {
            assert!(!is_shown_as(name, typed), "{name:?} {typed:?}");
        }
    }

    #[test]
    fn lines_that_were_typed_ahead_are_as_old_as_they_may_be() {
        // The reader is held up by as many lines as may wait; then it finds the others typed.
        let mut text = "one\n".to_owned();
        text.push_str(&"y\n".repeat(3 * LINES));
        let (lines, mut typed) = mpsc::channel(LINES);
        let began = Instant::now();
        let reader = thread::spawn(move || read_lines(&mut text.as_bytes(), &lines));
        thread::sleep(Duration::from_millis(100));
        let mut read = 0;
        while let Some(line) = typed.blocking_recv() {
            let after = line.typed.saturating_duration_since(began);
            assert!(after < Duration::from_millis(50), "{after:?}");
            read += 1;
        }
        assert_eq!(read, 1 + 3 * LINES);
        reader.join().unwrap();
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
