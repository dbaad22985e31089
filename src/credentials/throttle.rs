//! Failed logins slow further ones down: per account, per address, per client (design: five, twenty and a thousand free
//! failures in 15 minutes).
//!
//! An attempt is reserved before its password is hashed, so that a throttled one costs nothing and many at once do not
//! each count as the first; its outcome is recorded afterwards. Unknown accounts are throttled like known ones, by a
//! keyed hash of the name, so that a refusal tells nothing. What is remembered is bounded; what is forgotten first is
//! whatever slows nobody down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::CredentialSettings;
use super::failures::{Admission, Failures, Rule};
use crate::domain::ids::ClientId;
use crate::domain::secret::{Secret32, keyed_hash};
use crate::domain::sources::{Clock, Entropy, random};

/// How many accounts, addresses and clients are remembered: at most some 30 MiB.
const CAPACITY: usize = 100_000;

/// The longest wait of an account, whoever guesses at it.
const ACCOUNT_DELAY: Duration = Duration::from_secs(30);

/// The longest wait of an address, which may be a whole office's.
const ADDRESS_DELAY: Duration = Duration::from_secs(30);

/// The wait of a client: all its users share it, so it does not double.
const CLIENT_DELAY: Duration = Duration::from_secs(1);

/// How often a refusal of a legacy token is written to the audit trail. Nothing waits for it.
const NEWS_OF_A_TOKEN: Rule = Rule { free: 1, longest_delay: Duration::ZERO };
const NEWS_OF_AN_ISSUER: Rule = Rule { free: 100, longest_delay: Duration::ZERO };

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Account,
    /// One account from one address that it has logged in from: what spares its owner from other people's guesses.
    KnownAddress,
    Address,
    Client,
    /// Client secrets that are as weak as passwords, guessed from one address.
    ClientSecret,
    /// Failed client authentications of all kinds from one address: counted to bound the audit trail.
    ClientFailures,
    /// Refusals of one kind of one legacy token, counted for the same end.
    LegacyToken,
    /// Refusals of all tokens of one legacy issuer.
    LegacyIssuer,
}

/// Whose failures are counted. Holds no name: names are hashed under a key of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    kind: Kind,
    digest: [u8; 16],
}

/// Why an attempt was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Throttled {
        /// Whole seconds, at least one.
        retry_after: Duration,
        /// The first refusal of its window: write it to the audit trail.
        announce: bool,
    },
    /// Too many attempts wait for the outcome of others.
    Overloaded,
}

/// What is remembered of failures.
pub(super) struct Throttle {
    subjects: Mutex<HashMap<Subject, Failures>>,
    account: Rule,
    address: Rule,
    client: Rule,
    /// Wakes attempts that wait for the outcome of others.
    ended: Notify,
    /// One permit per attempt that may wait.
    waiting: Semaphore,
    key: Secret32,
    clock: Arc<dyn Clock>,
    capacity: usize,
}

impl Throttle {
    pub fn new(settings: &CredentialSettings, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let rule = |free, longest_delay| Rule { free, longest_delay };
        Self {
            subjects: Mutex::default(),
            account: rule(settings.account_failures, ACCOUNT_DELAY),
            address: rule(settings.address_failures, ADDRESS_DELAY),
            client: rule(settings.client_failures, CLIENT_DELAY),
            ended: Notify::new(),
            waiting: Semaphore::new(settings.queue.min(Semaphore::MAX_PERMITS)),
            key: Secret32::new(random(entropy)),
            clock,
            capacity: CAPACITY,
        }
    }

    pub fn account(&self, username_key: &str) -> Subject {
        self.subject(Kind::Account, &[username_key.as_bytes()])
    }

    pub fn known_address(&self, username_key: &str, address: IpAddr) -> Subject {
        self.subject(Kind::KnownAddress, &[username_key.as_bytes(), &network(address)])
    }

    pub fn address(&self, address: IpAddr) -> Subject {
        self.subject(Kind::Address, &[&network(address)])
    }

    pub fn client(&self, client_id: &ClientId) -> Subject {
        self.subject(Kind::Client, &[client_id.as_str().as_bytes()])
    }

    pub fn client_secret(&self, address: IpAddr) -> Subject {
        self.subject(Kind::ClientSecret, &[&network(address)])
    }

    pub fn client_failures(&self, address: IpAddr) -> Subject {
        self.subject(Kind::ClientFailures, &[&network(address)])
    }

    /// Refusals of one kind of one legacy token.
    pub fn legacy_token(&self, hash: &[u8; 32], cause: &str) -> Subject {
        self.subject(Kind::LegacyToken, &[hash, cause.as_bytes()])
    }

    /// Refusals of all tokens of one legacy issuer.
    pub fn legacy_issuer(&self, name: &str) -> Subject {
        self.subject(Kind::LegacyIssuer, &[name.as_bytes()])
    }

    fn subject(&self, kind: Kind, parts: &[&[u8]]) -> Subject {
        let mut digest = [0; 16];
        digest.copy_from_slice(&keyed_hash(&self.key, parts)[..16]);
        Subject { kind, digest }
    }

    fn rule(&self, kind: Kind) -> Rule {
        match kind {
            Kind::Account | Kind::KnownAddress => self.account,
            Kind::Address | Kind::ClientSecret | Kind::ClientFailures => self.address,
            Kind::Client => self.client,
            Kind::LegacyToken => NEWS_OF_A_TOKEN,
            Kind::LegacyIssuer => NEWS_OF_AN_ISSUER,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Failures>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one attempt in, once nothing under way can still close the door. The caller settles it.
    pub async fn reserve(self: &Arc<Self>, subjects: &[Subject]) -> Result<Attempt, Denied> {
        let mut place = None;
        loop {
            // Registered before the decision: an end between the two must wake us.
            let ended = self.ended.notified();
            match self.decide(subjects) {
                Admission::Admitted => {
                    return Ok(Attempt { throttle: Arc::clone(self), subjects: subjects.to_vec() });
                }
                Admission::Refused { retry_after } => {
                    let whole = retry_after.as_millis().div_ceil(1000).max(1);
                    return Err(Denied::Throttled {
                        retry_after: Duration::from_secs(u64::try_from(whole).unwrap_or(u64::MAX)),
                        announce: self.announce(subjects),
                    });
                }
                Admission::Undecided => {
                    if place.is_none() {
                        place = Some(self.waiting.try_acquire().map_err(|_| Denied::Overloaded)?);
                    }
                    ended.await;
                }
            }
        }
    }

    /// Reserves with every subject or with none. The longest wait counts.
    fn decide(&self, subjects: &[Subject]) -> Admission {
        let now = self.clock.uptime();
        let mut known = self.lock();
        let mut verdict = Admission::Admitted;
        for subject in subjects {
            let Some(failures) = known.get(subject) else {
                continue;
            };
            verdict = match (verdict, failures.admission(self.rule(subject.kind), now)) {
                (Admission::Refused { retry_after: a }, Admission::Refused { retry_after: b }) => {
                    Admission::Refused { retry_after: a.max(b) }
                }
                (refused @ Admission::Refused { .. }, _) | (_, refused @ Admission::Refused { .. }) => refused,
                (Admission::Undecided, _) | (_, Admission::Undecided) => Admission::Undecided,
                (Admission::Admitted, Admission::Admitted) => Admission::Admitted,
            };
        }
        if verdict == Admission::Admitted {
            for subject in subjects {
                self.make_room(&mut known, subject, now);
                known.entry(*subject).or_default().begin(now);
            }
        }
        verdict
    }

    /// Whether to tell the audit trail: the first refusal in a window of any subject that closed the door.
    fn announce(&self, subjects: &[Subject]) -> bool {
        let now = self.clock.uptime();
        let mut known = self.lock();
        let mut first = false;
        for subject in subjects {
            if let Some(failures) = known.get_mut(subject)
                && failures.is_throttling(self.rule(subject.kind), now)
            {
                first |= failures.announce(now);
            }
        }
        first
    }

    /// Counts a failure that needed no reservation, and answers whether it is still a free one.
    pub fn count(&self, subject: Subject) -> bool {
        let now = self.clock.uptime();
        let rule = self.rule(subject.kind);
        let mut known = self.lock();
        self.make_room(&mut known, &subject, now);
        let failures = known.entry(subject).or_default();
        let free = !failures.is_throttling(rule, now);
        failures.fail(rule, now);
        free
    }

    /// Forgets some subjects where `newcomer` would be one too many: what slows nobody down first, the longest
    /// untouched first. A sixteenth at once, so that the search is paid for rarely.
    fn make_room(&self, known: &mut HashMap<Subject, Failures>, newcomer: &Subject, now: Duration) {
        if known.len() < self.capacity || known.contains_key(newcomer) {
            return;
        }
        known.retain(|_, failures| !failures.is_empty(now));
        let wanted = (self.capacity / 16).max(1);
        let spare = self.capacity.saturating_sub(known.len());
        if spare >= wanted {
            return;
        }
        let mut order: Vec<(bool, Duration, Subject)> = known
            .iter()
            .filter(|(_, failures)| !failures.has_attempt_under_way())
            .map(|(subject, failures)| {
                (failures.is_throttling(self.rule(subject.kind), now), failures.touched, *subject)
            })
            .collect();
        order.sort_unstable_by_key(|(throttling, touched, _)| (*throttling, *touched));
        for (_, _, subject) in order.into_iter().take(wanted - spare) {
            known.remove(&subject);
        }
    }

    fn settle(&self, subjects: &[Subject], outcome: Settled) {
        let now = self.clock.uptime();
        let mut known = self.lock();
        for subject in subjects {
            let Some(failures) = known.get_mut(subject) else {
                continue;
            };
            failures.end();
            match outcome {
                Settled::Failed => failures.fail(self.rule(subject.kind), now),
                // Only the account: whoever guesses may own another account, and must not clear an address with it.
                Settled::Succeeded if matches!(subject.kind, Kind::Account | Kind::KnownAddress) => failures.clear(),
                Settled::Succeeded | Settled::Abandoned => {}
            }
            if failures.is_empty(now) {
                known.remove(subject);
            }
        }
        drop(known);
        self.ended.notify_waiters();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Succeeded,
    Failed,
    Abandoned,
}

/// An attempt that was let in. Dropped without an outcome (a full queue, a caller that hung up and so learned nothing)
/// it counts as none.
pub(super) struct Attempt {
    throttle: Arc<Throttle>,
    subjects: Vec<Subject>,
}

impl Attempt {
    pub fn succeeded(self) {
        self.settle(Settled::Succeeded);
    }

    pub fn failed(self) {
        self.settle(Settled::Failed);
    }

    fn settle(mut self, outcome: Settled) {
        self.throttle.settle(&std::mem::take(&mut self.subjects), outcome);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.subjects.is_empty() {
            self.throttle.settle(&self.subjects, Settled::Abandoned);
        }
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, within which every machine picks freely.
pub(super) fn network(address: IpAddr) -> [u8; 9] {
    let mut bytes = [0; 9];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            bytes[0] = 4;
            bytes[1..5].copy_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            bytes[0] = 6;
            bytes[1..].copy_from_slice(&address.octets()[..8]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::{ManualClock, SystemEntropy};
    use crate::domain::time::Timestamp;

    fn throttle(settings: CredentialSettings) -> (Arc<ManualClock>, Arc<Throttle>) {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0)));
        clock.advance(Duration::from_secs(5));
        (Arc::clone(&clock), Arc::new(Throttle::new(&settings, clock, &SystemEntropy)))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn the_sixth_guess_waits_and_a_success_clears_the_account_alone() {
        let (clock, throttle) = throttle(CredentialSettings { address_failures: 7, ..CredentialSettings::default() });
        let alice = [throttle.account("alice"), throttle.address(address("192.0.2.1"))];
        for _ in 0..5 {
            throttle.reserve(&alice).await.unwrap_or_else(|denied| panic!("{denied:?}")).failed();
        }
        let denied = throttle.reserve(&alice).await.err();
        let second = Duration::from_secs(1);
        assert_eq!(denied, Some(Denied::Throttled { retry_after: second, announce: true }));
        let again = throttle.reserve(&alice).await.err();
        assert_eq!(again, Some(Denied::Throttled { retry_after: second, announce: false }), "announced once");

        let elsewhere = [throttle.known_address("alice", address("192.0.2.9"))];
        assert!(throttle.reserve(&elsewhere).await.is_ok(), "a known address is spared");

        clock.advance(second);
        throttle.reserve(&alice).await.ok().unwrap().succeeded();
        for _ in 0..2 {
            throttle.reserve(&alice).await.ok().unwrap().failed();
        }
        let denied = throttle.reserve(&alice).await.err();
        assert!(matches!(denied, Some(Denied::Throttled { .. })), "the address remembers its five: {denied:?}");
    }

    #[tokio::test]
    async fn many_at_once_wait_for_the_first_outcomes() {
        let (_, throttle) = throttle(CredentialSettings::default());
        let alice = [throttle.account("alice")];
        let mut first = Vec::new();
        for _ in 0..5 {
            first.push(throttle.reserve(&alice).await.ok().unwrap());
        }
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let throttle = Arc::clone(&throttle);
                tokio::spawn(async move { throttle.reserve(&alice).await.map(Attempt::failed) })
            })
            .collect();
        tokio::task::yield_now().await;
        first.into_iter().for_each(Attempt::failed);
        for one in waiting {
            assert!(matches!(one.await.unwrap(), Err(Denied::Throttled { .. })));
        }
        assert!(!throttle.lock().values().any(Failures::has_attempt_under_way));
    }

    #[tokio::test]
    async fn waiting_is_bounded_and_giving_up_frees_the_place() {
        let (_, throttle) =
            throttle(CredentialSettings { queue: 1, account_failures: 1, ..CredentialSettings::default() });
        let alice = [throttle.account("alice")];
        let first = throttle.reserve(&alice).await.ok().unwrap();
        let waits = {
            let throttle = Arc::clone(&throttle);
            tokio::spawn(async move { throttle.reserve(&alice).await.map(Attempt::succeeded) })
        };
        tokio::task::yield_now().await;
        assert_eq!(throttle.reserve(&alice).await.err(), Some(Denied::Overloaded));
        drop(first);
        assert_eq!(waits.await.unwrap(), Ok(()));
        assert!(throttle.lock().is_empty(), "nothing to remember of successes");
    }

    #[tokio::test]
    async fn memory_is_bounded_and_throttled_accounts_are_kept_the_longest() {
        let (clock, throttle) = throttle(CredentialSettings::default());
        let mut throttle = Arc::into_inner(throttle).unwrap();
        throttle.capacity = 64;
        let throttle = Arc::new(throttle);
        let victim = [throttle.account("victim")];
        for _ in 0..5 {
            throttle.reserve(&victim).await.ok().unwrap().failed();
        }
        for n in 0..1000 {
            clock.advance(Duration::from_millis(1));
            let other = [throttle.account(&format!("other{n}"))];
            throttle.reserve(&other).await.ok().unwrap().failed();
            assert!(throttle.lock().len() <= 64);
        }
        let now = clock.uptime();
        assert!(throttle.lock()[&victim[0]].is_throttling(throttle.account, now), "kept through the flood");
    }

    #[test]
    fn one_address_is_a_v4_address_or_a_v6_network() {
        assert_eq!(network(address("::ffff:192.0.2.1")), network(address("192.0.2.1")));
        assert_eq!(network(address("2001:db8::1")), network(address("2001:db8::ffff:2")));
        assert_ne!(network(address("2001:db8::1")), network(address("2001:db8:0:1::1")));
        assert_ne!(network(address("192.0.2.1")), network(address("192.0.2.2")));
    }
}
