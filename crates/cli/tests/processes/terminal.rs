//! A real terminal, with what a user sees and types.

use std::process::Command;

use rexpect::session::{PtySession, spawn_command};

use crate::fixture::{Device, PASSPHRASE, Place, TO_READ, olmcast};

/// No bound of olmcast's: only an end to waiting for what never comes.
const PATIENCE_MS: u64 = 40_000;

/// A terminal in which `olmcast` runs.
pub(crate) struct Terminal {
    name: String,
    session: PtySession,
    /// What was on the screen so far.
    screen: String,
}

impl Terminal {
    pub(crate) fn open(name: &str, command: &Command) -> Self {
        // The library turns the echo off, which terminals have on.
        let mut shell = Command::new("sh");
        shell.args(["-c", "stty echo && exec \"$@\"", "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        let session = spawn_command(shell, Some(PATIENCE_MS)).unwrap();
        Self { name: name.to_owned(), session, screen: String::new() }
    }

    /// Waits until this is on the screen, which must be in ASCII; what came before it.
    pub(crate) fn shows(&mut self, text: &str) -> String {
        match self.session.exp_string(text) {
            Ok(before) => {
                let before = decoded(&before);
                self.screen.push_str(&before);
                self.screen.push_str(text);
                before
            }
            Err(error) => {
                panic!("{} never showed {text:?}: {error}\nbefore:\n{}", self.name, self.screen)
            }
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        self.session.send_line(line).unwrap();
    }

    /// Types an answer to a question that has been there for long enough to be read.
    pub(crate) fn answers(&mut self, line: &str) {
        std::thread::sleep(TO_READ);
        self.types(line);
    }

    pub(crate) fn interrupts(&mut self) {
        self.session.send_control('c').unwrap();
    }

    /// Waits until the command has ended: its exit code, and all that was on the screen.
    pub(crate) fn ends(&mut self) -> (i32, String) {
        match self.session.exp_eof() {
            Ok(rest) => self.screen.push_str(&decoded(&rest)),
            Err(error) => panic!("{} did not end: {error}\n{}", self.name, self.screen),
        }
        // The type of this is not to be named from here.
        let status = format!("{:?}", self.session.process().wait().unwrap());
        let code = status
            .strip_prefix("Exited(")
            .and_then(|status| status.strip_suffix(')')?.rsplit_once(", ")?.1.parse().ok());
        let code =
            code.unwrap_or_else(|| panic!("{} ended with {status}:\n{}", self.name, self.screen));
        (code, self.screen.clone())
    }
}

/// The library takes each byte for a character.
fn decoded(bytes: &str) -> String {
    let bytes: Vec<_> = bytes.chars().map(|byte| u8::try_from(byte).unwrap()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The terminal is told to show nothing a moment after it shows the question.
fn type_in_secret(terminal: &mut Terminal, passphrase: &str) {
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.types(passphrase);
}

#[test]
fn a_passphrase_is_typed_twice_for_a_new_vault_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    let id = || {
        let mut command = olmcast();
        command.args(["id", "--vault"]).arg(&vault);
        Terminal::open("id", &command)
    };

    let mut differing = id();
    differing.shows("choose a passphrase for the new vault");
    type_in_secret(&mut differing, PASSPHRASE);
    differing.shows("the same again");
    type_in_secret(&mut differing, "another");
    let (code, screen) = differing.ends();
    assert!(code == 1 && screen.contains("the two passphrases differ"), "{screen}");
    assert!(!vault.exists());

    let mut empty = id();
    empty.shows("choose a passphrase for the new vault");
    type_in_secret(&mut empty, "");
    let (code, screen) = empty.ends();
    assert!(code == 1 && screen.contains("the passphrase is empty"), "{screen}");
    assert!(!vault.exists());

    let mut made = id();
    made.shows("choose a passphrase for the new vault");
    type_in_secret(&mut made, PASSPHRASE);
    made.shows("the same again");
    type_in_secret(&mut made, PASSPHRASE);
    let device = {
        made.shows("device         ");
        made.shows("\r\n")
    };
    let (code, screen) = made.ends();
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains(PASSPHRASE) && !screen.contains("seven"), "{screen}");
    // The picture for cameras: black on white.
    assert!(screen.contains("\x1b[38;5;16;48;5;231m") && screen.contains('▀'), "{screen}");

    let mut again = id();
    again.shows("passphrase of");
    type_in_secret(&mut again, PASSPHRASE);
    again.shows(device.trim());
    assert_eq!(again.ends().0, 0);

    let mut wrong = id();
    wrong.shows("passphrase of");
    type_in_secret(&mut wrong, "seven words");
    let (code, screen) = wrong.ends();
    assert!(code == 1 && screen.contains("the passphrase is wrong"), "{screen}");
    assert!(!screen.contains("seven"), "{screen}");
}

#[test]
fn who_changes_their_mind_at_the_passphrase_gets_the_terminal_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    let mut command = Command::new("sh");
    let script = "before=$(stty -g); \"$1\" id --vault \"$2\"; echo \"code $?\"; \
                  test \"$before\" = \"$(stty -g)\" && echo as before";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_olmcast")]).arg(&vault);
    command.env_remove("OLMCAST_PASSPHRASE").env_remove("OLMCAST_KEY_FILE");
    let mut terminal = Terminal::open("id", &command);
    terminal.shows("choose a passphrase");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.interrupts();
    let (_, screen) = terminal.ends();
    assert!(screen.contains("code 1") && screen.contains("as before"), "{screen}");
    assert!(!vault.exists());
}

#[test]
fn a_publisher_is_asked_in_its_terminal() {
    let place = Place::new();
    let ada = place.device("Ada");
    let mut command = ada.olmcast();
    command.args(place.publishing(&["--admit", "ask"]));
    let mut publisher = Terminal::open("the publisher", &command);
    publisher.shows("media flows to the relay");
    let bob = place.device("Bob");
    let bobs = place.start_subscriber_as(&bob, &[]);
    publisher.shows(&format!(" ({}) wants to watch", bob.short()));
    publisher.shows("admit? [y/n]");
    publisher.types("what?");
    publisher.shows("there is no command what?");
    assert!(!bobs.has_said("media flows"));
    publisher.answers("y");
    publisher.shows(&format!(" ({}) joined", bob.short()));
    bobs.says("media flows");
    publisher.types("end");
    assert_eq!(publisher.ends().0, 0);
}

/// A device that verifies another in a terminal.
pub(crate) fn verify(place: &Place, device: &Device, other: &Device) -> Terminal {
    let mut command = device.olmcast();
    command.args(["verify", &other.id, "--room", &place.link]);
    Terminal::open(&device.name, &command)
}
