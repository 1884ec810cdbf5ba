//! What the subscriber's user is told of a stream: whether it can be watched, by whom it is, and its
//! code.

use std::{cell::RefCell, rc::Rc, time::Duration};

use olmcast::{
    client::{Client, Subscription},
    device::TrustState,
    endpoint::{StreamCode, SubscriptionState, SubscriptionStatus},
    primitives::{Generation, Timestamp},
};
use tokio::time::sleep;

use crate::naming::{self, called};

/// How often it is looked how the stream does.
const LOOK: Duration = Duration::from_millis(250);
/// How often the code is worked out at most: that costs some ms.
const CODE: Duration = Duration::from_secs(5);
/// How often it is said that a key is still waited for.
const REMIND: Duration = Duration::from_secs(15);

/// Shows how the stream does that is subscribed to now.
#[derive(Default)]
pub(super) struct Screen {
    now: RefCell<Option<Now>>,
}

/// A stream, and what was shown of it.
struct Now {
    subscription: Rc<Subscription>,
    shown: Shown,
}

#[derive(Default)]
struct Shown {
    status: Option<SubscriptionStatus>,
    trust: Option<TrustState>,
    reminded: u32,
    /// The code that is on the screen.
    code: Option<StreamCode>,
    /// When it was worked out last, and from what.
    coded: Option<(Timestamp, Stands)>,
}

/// As long as this is the same, the code is, too. That as many hold the key does not say that they are
/// the same.
type Stands = (Option<Generation>, Option<u64>, Option<u32>);

impl Screen {
    /// From now on this stream is shown.
    pub(super) fn change_to(&self, subscription: Option<Rc<Subscription>>) {
        *self.now.borrow_mut() =
            subscription.map(|subscription| Now { subscription, shown: Shown::default() });
    }

    /// The stream that is subscribed to now.
    pub(super) fn subscription(&self) -> Option<Rc<Subscription>> {
        self.now.borrow().as_ref().map(|now| Rc::clone(&now.subscription))
    }

    /// Goes on telling what changes.
    pub(super) async fn watch(&self) {
        loop {
            self.look().await;
            sleep(LOOK).await;
        }
    }

    async fn look(&self) {
        let Some(subscription) = self.subscription() else { return };
        // Of one that is over, whoever receives it says why.
        let Ok(state) = subscription.state().await else { return };
        let wants_code = self.with_shown(&subscription, |shown| {
            let now = Client::now();
            for line in shown.news(&state, now) {
                eprintln!("{line}");
            }
            shown.wants_code(&state, now)
        });
        if wants_code == Some(true)
            && let Ok(Some(code)) = subscription.code().await
        {
            self.with_shown(&subscription, |shown| {
                if let Some(line) = shown.news_of_code(code) {
                    eprintln!("{line}");
                }
            });
        }
    }

    /// Nothing, if another stream is shown by now.
    fn with_shown<T>(
        &self,
        of: &Rc<Subscription>,
        with: impl FnOnce(&mut Shown) -> T,
    ) -> Option<T> {
        let mut now = self.now.borrow_mut();
        let now = now.as_mut().filter(|now| Rc::ptr_eq(&now.subscription, of))?;
        Some(with(&mut now.shown))
    }

    /// All about the stream, because the user wants to know.
    pub(super) async fn show_state(&self, label: &str) -> anyhow::Result<()> {
        let Some(subscription) = self.subscription() else {
            eprintln!("nobody offers «{label}» now; waiting for it");
            return Ok(());
        };
        let state = subscription.state().await?;
        let publisher = subscription.stream().publisher;
        eprintln!("«{label}» by {}, who is {}", called(&state.name, &publisher), trust(&state));
        let seconds = Client::now().since(state.since).as_secs();
        eprintln!("  {}, for {seconds} s", state.status);
        if let (Some(position), Some(holders)) = (state.position, state.holders) {
            eprintln!("  at {position} (generation.step); {holders} hold the key");
        }
        eprintln!("  {} frames opened", state.opened);
        Ok(())
    }

    /// The code, to compare it with others.
    pub(super) async fn show_code(&self) -> anyhow::Result<()> {
        let code = match self.subscription() {
            Some(subscription) => subscription.code().await?,
            None => None,
        };
        match code {
            Some(code) => eprintln!(
                "stream code {code}: the publisher and all who watch see the same, if all have the \
                 same key and were told of the same holders"
            ),
            None => eprintln!("there is no stream code yet: the key is not here"),
        }
        Ok(())
    }
}

/// What is known of the publisher, beside what it calls itself.
pub(super) fn trust(state: &SubscriptionState) -> String {
    naming::trust(state.known.as_ref(), &state.name)
}

impl Shown {
    /// Whether the code is to be worked out now.
    fn wants_code(&mut self, state: &SubscriptionState, now: Timestamp) -> bool {
        let generation = state.position.map(|position| position.generation);
        let stands = (generation, state.roster_version, state.holders);
        let is_due = self.coded.is_none_or(|(coded, of)| of != stands && now.since(coded) >= CODE);
        let wants = is_due && state.status == SubscriptionStatus::Live;
        if wants {
            self.coded = Some((now, stands));
        }
        wants
    }

    /// What is to be said of this code.
    fn news_of_code(&mut self, code: StreamCode) -> Option<String> {
        (self.code.replace(code) != Some(code)).then(|| format!("stream code {code}"))
    }

    /// What is to be said now.
    fn news(&mut self, state: &SubscriptionState, now: Timestamp) -> Vec<String> {
        let mut news = Vec::new();
        let before = self.trust.replace(state.trust());
        // That the publisher is remembered once its key is here, is no news: who it is, was said.
        if before.is_some_and(|before| before != state.trust())
            && state.trust() == TrustState::Verified
        {
            news.push("the publisher is verified now".to_owned());
        }
        let before = self.status.replace(state.status);
        if before != Some(state.status) {
            self.reminded = 0;
            news.extend(said_of(before, state.status));
        } else if is_waiting(state.status) {
            let waited = now.since(state.since);
            let times = u32::try_from(waited.as_secs() / REMIND.as_secs()).unwrap_or(u32::MAX);
            if times > self.reminded {
                self.reminded = times;
                let why = state.status;
                news.push(format!("waiting for the key for {} s: {why}", waited.as_secs()));
            }
        }
        news
    }
}

/// Whether its first key has not come.
fn is_waiting(status: SubscriptionStatus) -> bool {
    use SubscriptionStatus::{Asking, Deferred, Unanswered};
    matches!(status, Asking | Unanswered | Deferred(_))
}

/// What is said when a stream begins to do so.
fn said_of(before: Option<SubscriptionStatus>, status: SubscriptionStatus) -> Option<String> {
    let text = match status {
        SubscriptionStatus::Asking => "waiting for its key",
        SubscriptionStatus::Unanswered => {
            "the publisher does not answer: it is gone, or its messages or ours are held back; \
             asking on"
        }
        SubscriptionStatus::Deferred(code) => {
            return Some(format!("no key yet: {code}; asking again"));
        }
        SubscriptionStatus::Live => match before {
            Some(SubscriptionStatus::Stalled) => "the publisher is heard of again",
            Some(SubscriptionStatus::KeyMissing) => "the missing key is here",
            _ => "its key is here",
        },
        SubscriptionStatus::KeyMissing => {
            "frames come, but not their key: the publisher cannot be reached, its messages are held \
             back, or the frames are forged; asking on"
        }
        SubscriptionStatus::Stalled => {
            "the publisher has not been heard of for a minute: nothing is opened"
        }
        // Whoever receives it says why.
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use olmcast::{
        device::{Identity, KnownDevice},
        protocol::WithheldCode,
    };

    use super::*;

    fn state(status: SubscriptionStatus) -> SubscriptionState {
        SubscriptionState {
            position: None,
            opened: 0,
            status,
            since: Timestamp::from_unix_millis(0),
            roster_version: None,
            holders: None,
            name: "Ada".to_owned(),
            known: None,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000)
    }

    #[test]
    fn a_change_is_said_once_and_waiting_is_said_again_and_again() {
        let mut shown = Shown::default();
        let asked = state(SubscriptionStatus::Deferred(WithheldCode::Asked));
        let said = shown.news(&asked, at(0));
        assert_eq!(said, ["no key yet: the publisher's user is asked; asking again"]);
        assert!(shown.news(&asked, at(14)).is_empty());
        let said = shown.news(&asked, at(15));
        assert!(
            said[0].starts_with("waiting for the key for 15 s: the publisher's user"),
            "{said:?}"
        );
        assert!(shown.news(&asked, at(29)).is_empty());
        assert_eq!(shown.news(&asked, at(46)).len(), 1);
        assert_eq!(shown.news(&state(SubscriptionStatus::Live), at(47)), ["its key is here"]);
        assert!(shown.news(&state(SubscriptionStatus::Live), at(1000)).is_empty());
        assert_eq!(shown.news(&state(SubscriptionStatus::Stalled), at(1001)).len(), 1);
        let said = shown.news(&state(SubscriptionStatus::Live), at(1002));
        assert_eq!(said, ["the publisher is heard of again"]);
        assert!(shown.news(&state(SubscriptionStatus::Closed(None)), at(1003)).is_empty());
    }

    #[test]
    fn the_code_is_worked_out_anew_when_others_hold_the_key_though_they_are_as_many() {
        let of_roster = |version| SubscriptionState {
            holders: Some(2),
            roster_version: Some(version),
            ..state(SubscriptionStatus::Live)
        };
        let mut shown = Shown::default();
        assert!(shown.wants_code(&of_roster(1), at(0)));
        assert!(!shown.wants_code(&of_roster(1), at(100)));
        assert!(shown.wants_code(&of_roster(2), at(101)));
        // Not for each of many changes, and always after the last.
        let looks = (102..164).filter(|second| shown.wants_code(&of_roster(*second), at(*second)));
        assert_eq!(looks.count(), 12);
        assert!(shown.wants_code(&of_roster(163), at(166)));
        assert!(!shown.wants_code(&of_roster(163), at(1000)));
        let stalled =
            SubscriptionState { roster_version: None, ..state(SubscriptionStatus::Stalled) };
        assert!(!shown.wants_code(&stalled, at(1001)));
    }

    #[test]
    fn that_the_publisher_is_verified_is_said_when_it_becomes_so() {
        let ada = Identity::generate().card();
        let known = |state| {
            let (device, curve25519) = (ada.device, Some(ada.curve25519));
            Some(KnownDevice {
                device,
                curve25519,
                name: "Ada L.".to_owned(),
                state,
                decided: true,
            })
        };
        let live = |known| SubscriptionState { known, ..state(SubscriptionStatus::Live) };
        let mut shown = Shown::default();
        shown.news(&live(None), at(0));
        assert!(shown.news(&live(known(TrustState::Pinned)), at(1)).is_empty());
        let verified = live(known(TrustState::Verified));
        assert_eq!(shown.news(&verified, at(2)), ["the publisher is verified now"]);
        assert!(shown.news(&verified, at(3)).is_empty());
        assert_eq!(trust(&verified), "verified as «Ada L.»");
        assert_eq!(trust(&live(None)), "unknown");
    }
}
