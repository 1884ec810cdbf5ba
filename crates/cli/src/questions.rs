//! What the user is asked, one thing at a time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use olmcast::primitives::DeviceId;

/// A question that took the place of another is on the screen for so long before an answer is taken:
/// until then it may have been meant for the other.
const LOOK: Duration = Duration::from_secs(1);

/// What can be answered by yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether a device may watch.
    Admit(DeviceId),
    /// Whether both screens show the same.
    Match(DeviceId),
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes(Question),
    No(Question),
    /// Nothing was asked.
    Unasked,
    /// The question had only just taken the place of another; it stays.
    TooSoon,
}

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
    is_shown: bool,
    /// When the question that is shown took the place of one that was withdrawn.
    replaced: Option<Instant>,
}

impl Questions {
    /// Asks a question. If it is open with another text, it is another question now.
    pub(crate) fn ask(&mut self, question: Question, text: String, now: Instant) {
        if !self.open.iter().any(|(open, asked)| *open == question && *asked == text) {
            self.withdraw(question, now);
            self.open.push_back((question, text));
        }
    }

    /// The answer is not needed any more.
    pub(crate) fn withdraw(&mut self, question: Question, now: Instant) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == question) else { return };
        self.open.remove(at);
        if at == 0 && std::mem::take(&mut self.is_shown) {
            self.replaced = Some(now);
        }
    }

    /// The question that is to be put on the screen now, if it is not there yet.
    pub(crate) fn unshown(&mut self) -> Option<&str> {
        if std::mem::replace(&mut self.is_shown, !self.open.is_empty()) {
            return None;
        }
        self.open.front().map(|(_, text)| text.as_str())
    }

    /// The answer to the question that is shown.
    pub(crate) fn answer(&mut self, yes: bool, now: Instant) -> Answer {
        if !self.is_shown {
            return Answer::Unasked;
        }
        if self.replaced.is_some_and(|at| now.duration_since(at) < LOOK) {
            return Answer::TooSoon;
        }
        (self.is_shown, self.replaced) = (false, None);
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
            asked.ask(question, text.to_owned(), Instant::now());
        }
        asked
    }

    #[test]
    fn an_answer_is_for_the_question_that_is_shown_and_the_next_is_shown_then() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        // What is not on the screen, nobody answers.
        assert_eq!(questions.answer(true, now), Answer::Unasked);
        assert_eq!(questions.unshown(), Some("Ada?"));
        assert_eq!(questions.unshown(), None);
        assert_eq!(questions.answer(true, now), Answer::Yes(admit(1)));
        assert_eq!(questions.answer(true, now), Answer::Unasked);
        assert_eq!(questions.unshown(), Some("Bob?"));
        assert_eq!(questions.answer(false, now), Answer::No(admit(2)));
        assert_eq!(questions.unshown(), None);
        assert_eq!(questions.answer(false, now), Answer::Unasked);
    }

    #[test]
    fn an_answer_meant_for_a_question_that_was_withdrawn_is_not_taken_for_another() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        assert_eq!(questions.unshown(), Some("Ada?"));
        questions.withdraw(admit(1), now);
        assert_eq!(questions.unshown(), Some("Bob?"));
        assert_eq!(questions.answer(true, now + LOOK / 2), Answer::TooSoon);
        assert_eq!(questions.answer(true, now + LOOK), Answer::Yes(admit(2)));
    }

    #[test]
    fn what_waits_behind_can_be_withdrawn_without_a_trace() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(2), "Bob?")]);
        assert_eq!(questions.unshown(), Some("Ada?"));
        questions.withdraw(admit(2), now);
        questions.withdraw(admit(3), now);
        assert_eq!(questions.answer(true, now), Answer::Yes(admit(1)));
        assert_eq!(questions.unshown(), None);
    }

    #[test]
    fn the_same_question_is_asked_once_and_with_other_words_it_is_another() {
        let now = Instant::now();
        let mut questions = asking([(admit(1), "Ada?"), (admit(1), "Ada?")]);
        assert_eq!(questions.unshown(), Some("Ada?"));
        questions.ask(admit(1), "Ada?".to_owned(), now);
        assert_eq!(questions.unshown(), None);
        questions.ask(admit(1), "Ada, with another key?".to_owned(), now);
        assert_eq!(questions.unshown(), Some("Ada, with another key?"));
        assert_eq!(questions.answer(true, now + LOOK / 2), Answer::TooSoon);
        assert_eq!(questions.answer(true, now + LOOK), Answer::Yes(admit(1)));
        assert_eq!(questions.unshown(), None);
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
