//! What the user is asked, one thing at a time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use olmcast::primitives::DeviceId;

/// A question is on the screen for so long before an answer is taken: until then nobody has read it,
/// and what was typed was meant for something else.
const LOOK: Duration = Duration::from_secs(1);

/// What can be answered by yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a device may watch.
    Admit(DeviceId),
    /// Whether both screens show the same.
    Match(DeviceId),
    /// Whether the room is opened again.
    Reopen,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes(Question),
    No(Question),
    /// Nothing was asked.
    Unasked,
    /// It was typed before the question could be read, which stays.
    TooSoon,
}

/// What is said to [`Answer::TooSoon`].
pub(crate) const TOO_SOON: &str =
    "that was typed before the question could be read, and is not taken; answer again";

/// Whether a line is an answer, and which.
pub(crate) fn yes_or_no(line: &str) -> Option<bool> {
    match line.to_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// The questions that are open. An answer is for the one that is shown; the next is shown then.
#[derive(Default)]
pub(crate) struct Questions {
    open: VecDeque<(Question, String)>,
    /// Since when the first of them is on the screen.
    shown: Option<Instant>,
}

impl Questions {
    /// Asks a question. If it is open with another text, it is another question now.
    pub(crate) fn ask(&mut self, question: Question, text: String) {
        if !self.open.iter().any(|(open, asked)| *open == question && *asked == text) {
            self.withdraw(question);
            self.open.push_back((question, text));
        }
    }

    /// The answer is not needed any more.
    pub(crate) fn withdraw(&mut self, question: Question) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == question) else { return };
        self.open.remove(at);
        if at == 0 {
            self.shown = None;
        }
    }

    /// The question that is to be put on the screen now, if it is not there yet.
    pub(crate) fn unshown(&mut self, now: Instant) -> Option<&str> {
        let (_, text) = self.open.front().filter(|_| self.shown.is_none())?;
        self.shown = Some(now);
        Some(text)
    }

    /// The answer to the question that is shown, and when it was typed.
    pub(crate) fn answer(&mut self, yes: bool, typed: Instant) -> Answer {
        let Some(shown) = self.shown else { return Answer::Unasked };
        if typed < shown + LOOK {
            return Answer::TooSoon;
        }
        self.shown = None;
        match self.open.pop_front() {
            Some((question, _)) if yes => Answer::Yes(question),
            Some((question, _)) => Answer::No(question),
            None => Answer::Unasked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(byte: u8) -> Question {
        Question::Admit(DeviceId::from_bytes([byte; 32]))
    }

    fn asking(questions: impl IntoIterator<Item = (Question, &'static str)>) -> Questions {
        let mut asked = Questions::default();
        for (question, text) in questions {
            asked.ask(question, text.to_owned());
        }
        asked
    }

    #[test]
    fn an_answer_is_for_the_question_that_is_shown_and_the_next_is_shown_then() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        // What is not on the screen, nobody answers.
        assert_eq!(questions.answer(true, now), Answer::Unasked);
        assert_eq!(questions.unshown(now), Some("Ada?"));
        assert_eq!(questions.unshown(now), None);
        let now = now + LOOK;
        assert_eq!(questions.answer(true, now), Answer::Yes(admit(1)));
        assert_eq!(questions.answer(true, now), Answer::Unasked);
        assert_eq!(questions.unshown(now), Some("Bob?"));
        let now = now + LOOK;
        assert_eq!(questions.answer(false, now), Answer::No(admit(2)));
        assert_eq!(questions.unshown(now), None);
        assert_eq!(questions.answer(false, now), Answer::Unasked);
    }

    #[test]
    fn a_second_yes_does_not_answer_a_question_that_nobody_has_read() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Mallory?")]);
        assert_eq!(questions.unshown(now), Some("Ada?"));
        let typed = now + LOOK;
        assert_eq!(questions.answer(true, typed), Answer::Yes(admit(1)));
        // However long it took to carry that out.
        let shown = typed + 5 * LOOK;
        assert_eq!(questions.unshown(shown), Some("Mallory?"));
        for typed in [typed, shown, shown + LOOK / 2] {
            assert_eq!(questions.answer(true, typed), Answer::TooSoon);
        }
        assert_eq!(questions.answer(false, shown + LOOK), Answer::No(admit(2)));
    }

    #[test]
    fn an_answer_meant_for_a_question_that_was_withdrawn_is_not_taken_for_another() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        assert_eq!(questions.unshown(now), Some("Ada?"));
        let now = now + LOOK;
        questions.withdraw(admit(1));
        assert_eq!(questions.unshown(now), Some("Bob?"));
        assert_eq!(questions.answer(true, now + LOOK / 2), Answer::TooSoon);
        assert_eq!(questions.answer(true, now + LOOK), Answer::Yes(admit(2)));
    }

    #[test]
    fn the_time_to_look_counts_from_the_showing_and_not_from_the_withdrawal() {
        let now = Instant::now();
        let both = Question::Match(DeviceId::from_bytes([1; 32]));
        let mut questions = asking([(both, "the same?")]);
        assert_eq!(questions.unshown(now), Some("the same?"));
        questions.withdraw(both);
        assert_eq!(questions.unshown(now), None);
        // Long after that somebody asks, and the yes was meant for the emojis.
        let now = now + 2 * LOOK;
        questions.ask(admit(2), "Mallory?".to_owned());
        assert_eq!(questions.unshown(now), Some("Mallory?"));
        assert_eq!(questions.answer(true, now), Answer::TooSoon);
    }

    #[test]
    fn what_waits_behind_can_be_withdrawn_without_a_trace() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        assert_eq!(questions.unshown(now), Some("Ada?"));
        questions.withdraw(admit(2));
        questions.withdraw(admit(3));
        assert_eq!(questions.answer(true, now + LOOK), Answer::Yes(admit(1)));
        assert_eq!(questions.unshown(now), None);
    }

    #[test]
    fn the_same_question_is_asked_once_and_with_other_words_it_is_another() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(1), "Ada?")]);
        assert_eq!(questions.unshown(now), Some("Ada?"));
        questions.ask(admit(1), "Ada?".to_owned());
        assert_eq!(questions.unshown(now), None);
        let now = now + LOOK;
        questions.ask(admit(1), "Ada, with another key?".to_owned());
        assert_eq!(questions.unshown(now), Some("Ada, with another key?"));
        assert_eq!(questions.answer(true, now + LOOK / 2), Answer::TooSoon);
        assert_eq!(questions.answer(true, now + LOOK), Answer::Yes(admit(1)));
        assert_eq!(questions.unshown(now), None);
    }

    #[test]
    fn only_whole_words_are_answers() {
        for (line, answer) in [
            ("y", Some(true)),
            ("YES", Some(true)),
            ("n", Some(false)),
            ("No", Some(false)),
            ("", None),
            ("yn", None),
            ("yes please", None),
        ] {
            assert_eq!(yes_or_no(line), answer, "{line}");
        }
    }
}
