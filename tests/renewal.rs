//! Renewal as a pure function under a simulated clock: nobody is logged out by a bad network, no thief stays.

use std::collections::HashMap;
use std::time::Duration;

use latchkey::domain::ids::{ClientId, SessionId, Sub};
use latchkey::domain::policy::TokenPolicy;
use latchkey::domain::scope::Scope;
use latchkey::domain::secret::{Secret32, sha256};
use latchkey::domain::session::{
    Chain, ChainKeys, Outcome, Presented, Refusal, RetrySeen, Session, Successor, Verdict, present, renew,
};
use latchkey::domain::time::Timestamp;
use proptest::prelude::*;

/// Two versions of chain keys, the first of which may have been lost.
struct Keys {
    current: u8,
    compromised: Option<u8>,
}

impl ChainKeys for Keys {
    fn current_version(&self) -> u8 {
        self.current
    }

    fn is_compromised(&self, version: u8) -> bool {
        self.compromised == Some(version)
    }

    fn successor(&self, version: u8, session: SessionId, generation: u32, secret: &Secret32) -> Option<Secret32> {
        let mut input = vec![version];
        input.extend(session.as_bytes());
        input.extend(generation.to_be_bytes());
        input.extend(secret.expose());
        Some(Secret32::new(sha256(&input)))
    }
}

const KEYS: Keys = Keys { current: 1, compromised: None };
const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn client() -> ClientId {
    ClientId::new("web")
}

/// A session just opened, and its first refresh token.
fn opened(policy: &TokenPolicy) -> (Session, Successor) {
    let id = SessionId::from_bytes([7; 16]);
    let secret = Secret32::new([9; 32]);
    let absolute = START.plus(policy.refresh_absolute);
    let session = Session {
        id,
        client_id: client(),
        sub: Sub::new("usr_a"),
        scope: Scope::default(),
        audience: vec![],
        auth_time: START,
        started_at: START,
        last_used_at: START,
        idle_expires_at: START.plus(policy.refresh_idle).min(absolute),
        absolute_expires_at: absolute,
        sign_in: None,
        offline: false,
        claims: None,
        chain: Some(Chain {
            generation: 0,
            secret_hash: secret.sha256(),
            key_version: 1,
            rotated_at: START,
            retry_seen: RetrySeen::None,
            late_streak: 0,
            narrowed: false,
        }),
        ended: None,
    };
    (session, Successor { session: id, generation: 0, secret, key_version: 1 })
}

fn presented(token: &Successor) -> Presented {
    Presented {
        session: token.session,
        generation: token.generation,
        secret: token.secret.clone(),
        key_version: token.key_version,
        client_id: client(),
    }
}

fn show(session: &mut Session, token: &Successor, policy: &TokenPolicy, now: Timestamp) -> Verdict {
    present(session, &presented(token), policy, &KEYS, now)
}

fn answer(verdict: &Verdict) -> Option<&Successor> {
    match &verdict.outcome {
        Outcome::Rotated(token) | Outcome::Kept(token) => Some(token),
        Outcome::Healed { successor, .. } | Outcome::RetryOfParent { successor, .. } => Some(successor),
        Outcome::Replayed { .. } | Outcome::Refused(_) => None,
    }
}

/// What the network does with one renewal: the client waits, sends, and perhaps never hears the answer.
#[derive(Clone, Debug)]
struct Renewal {
    pause: u64,
    /// How often the answer is lost before it arrives, and how long the client waits before each retry.
    lost: Vec<u64>,
}

fn renewals(longest_retry: u64) -> impl Strategy<Value = Vec<Renewal>> {
    let one = (0..6 * 86_400u64, prop::collection::vec(0..=longest_retry, 0..3))
        .prop_map(|(pause, lost)| Renewal { pause, lost });
    prop::collection::vec(one, 1..40)
}

fn policy() -> TokenPolicy {
    TokenPolicy { refresh_absolute: Duration::from_secs(365 * 86_400), ..TokenPolicy::default() }
}

proptest! {
    /// A client that retries at once (all tries within `late_retry`) is never refused, whatever is lost.
    #[test]
    fn an_honest_client_on_a_bad_network_stays_logged_in(course in renewals(7)) {
        let policy = policy();
        let (mut session, mut held) = opened(&policy);
        let mut now = START;
        let mut seen: HashMap<u32, [u8; 32]> = HashMap::new();
        for step in course {
            now = now.plus(Duration::from_secs(step.pause));
            let mut heard = None;
            for wait in step.lost.iter().map(Some).chain([None]) {
                let verdict = show(&mut session, &held, &policy, now);
                let token = answer(&verdict).cloned();
                prop_assert!(token.is_some(), "refused: {verdict:?}");
                let token = token.unwrap();
                let first = *seen.entry(token.generation).or_insert(token.secret.sha256());
                prop_assert_eq!(first, token.secret.sha256(), "two tokens of one generation");
                match wait {
                    Some(wait) => now = now.plus(Duration::from_secs(*wait)),
                    None => heard = Some(token),
                }
            }
            held = heard.unwrap();
        }
        prop_assert!(session.ended.is_none());
    }

    /// Whoever uses a stolen token beside its owner ends the session for both, at the latest when the second of them
    /// presents what the other has already stepped beyond.
    #[test]
    fn no_thief_stays(
        before in 0..20u32,
        owner_first in any::<bool>(),
        turns in prop::collection::vec((any::<bool>(), 61..86_400u64), 2..30),
    ) {
        let policy = policy();
        let (mut session, mut owner) = opened(&policy);
        let mut now = START;
        for _ in 0..before {
            now = now.plus(Duration::from_secs(3_600));
            owner = answer(&show(&mut session, &owner, &policy, now)).cloned().unwrap();
        }
        let mut thief = owner.clone();
        let mut moved = [false; 2];
        for (is_owner, pause) in turns {
            let is_owner = is_owner == owner_first;
            now = now.plus(Duration::from_secs(pause));
            let token = if is_owner { &mut owner } else { &mut thief };
            let verdict = show(&mut session, token, &policy, now);
            moved[usize::from(is_owner)] = true;
            match answer(&verdict) {
                Some(next) => *token = next.clone(),
                None => {
                    prop_assert!(moved[0] && moved[1], "refused while only one of them had used it");
                    break;
                }
            }
        }
        prop_assert_eq!(session.ended.is_some(), moved[0] && moved[1]);
        if session.ended.is_some() {
            for token in [&owner, &thief] {
                prop_assert!(answer(&show(&mut session, token, &policy, now)).is_none());
            }
        }
    }

    /// Refusals and retries change no limit, and a refusal that is not a replay changes nothing at all.
    #[test]
    fn what_is_refused_leaves_no_trace(
        shots in prop::collection::vec((0..6u32, any::<bool>(), 0..2_000_000u64, any::<bool>()), 1..40),
    ) {
        let policy = TokenPolicy::default();
        let (mut session, first) = opened(&policy);
        let mut tokens = vec![first];
        let mut now = START;
        for (back, forged, pause, stranger) in shots {
            now = now.plus(Duration::from_secs(pause / 20));
            let index = tokens.len().saturating_sub(1 + back as usize);
            let mut shot = presented(&tokens[index]);
            if forged {
                shot.secret = Secret32::new([1; 32]);
            }
            if stranger {
                shot.client_id = ClientId::new("other");
            }
            let before = session.clone();
            let verdict = present(&mut session, &shot, &policy, &KEYS, now);
            prop_assert_eq!(verdict.changed, session != before, "the row is written exactly if it differs");
            match verdict.outcome {
                Outcome::Rotated(token) => tokens.push(token),
                Outcome::Refused(_) => prop_assert_eq!(&session, &before),
                Outcome::RetryOfParent { .. } | Outcome::Replayed { .. } => {
                    prop_assert_eq!(session.idle_expires_at, before.idle_expires_at);
                    prop_assert_eq!(session.last_used_at, before.last_used_at);
                }
                Outcome::Healed { .. } | Outcome::Kept(_) => prop_assert!(false, "{:?}", verdict.outcome),
            }
            prop_assert!(session.idle_expires_at <= session.absolute_expires_at);
        }
    }

    /// A database that lost its tail takes the client's newer token and goes on from there.
    #[test]
    fn a_lost_tail_heals(kept in 0..10u32, lost in 1..10u32) {
        let policy = policy();
        let (mut session, mut held) = opened(&policy);
        let mut backup = None;
        for step in 0..kept + lost {
            if step == kept {
                backup = Some(session.clone());
            }
            held = answer(&show(&mut session, &held, &policy, START)).cloned().unwrap();
        }
        let mut restored = backup.unwrap();
        let mut strict = restored.clone();
        let verdict = show(&mut restored, &held, &policy, START);
        prop_assert!(matches!(verdict.outcome, Outcome::Healed { .. }), "{verdict:?}");
        let healed = answer(&verdict).cloned().unwrap();
        prop_assert!(matches!(show(&mut restored, &healed, &policy, START).outcome, Outcome::Rotated(_)));

        let no_heal = TokenPolicy { refresh_heal: false, ..policy };
        let refused = show(&mut strict, &held, &no_heal, START);
        prop_assert_eq!(refused.outcome, Outcome::Refused(Refusal::AheadOfDatabase));
    }
}

#[test]
fn a_lost_key_opens_nothing_but_what_the_row_proves() {
    let policy = policy();
    let lost = Keys { current: 2, compromised: Some(1) };
    let (mut session, first) = opened(&policy);
    let second = answer(&show(&mut session, &first, &policy, START)).cloned().unwrap();
    let third = answer(&show(&mut session, &second, &policy, START)).cloned().unwrap();
    // Whoever holds the lost tag key can make any generation look authentic.
    for generation in [0, 1, 7, u32::MAX] {
        let forged = Presented { generation, secret: Secret32::new([3; 32]), ..presented(&third) };
        let before = session.clone();
        let verdict = present(&mut session, &forged, &policy, &lost, START);
        assert_eq!(verdict.outcome, Outcome::Refused(Refusal::Unproven), "generation {generation}");
        assert_eq!(session, before);
        assert!(!session.believes(&forged, &lost), "nor does it end the session, or tell how that stands");
        assert!(session.believes(&forged, &KEYS), "the tag of a key that nobody lost is enough");
    }
    assert!(session.believes(&presented(&third), &lost), "the row proves it");
    let parent = present(&mut session, &presented(&second), &policy, &lost, START);
    assert_eq!(answer(&parent).map(|token| token.secret.sha256()), Some(third.secret.sha256()));
    let next = present(&mut session, &presented(&third), &policy, &lost, START);
    assert_eq!(answer(&next).map(|token| token.key_version), Some(2), "and it leaves the lost version behind");
}

#[test]
fn the_clock_going_back_ends_nothing() {
    let policy = policy();
    let (mut session, first) = opened(&policy);
    let second = answer(&show(&mut session, &first, &policy, START.plus(Duration::from_secs(100)))).cloned().unwrap();
    assert!(answer(&show(&mut session, &first, &policy, START)).is_some(), "a retry seen before the rotation");
    let idle = session.idle_expires_at;
    assert!(answer(&show(&mut session, &second, &policy, START)).is_some());
    assert!(session.idle_expires_at >= idle, "a rotation never shortens the idle limit by a clock's step");
}

#[test]
fn a_narrowed_window_is_never_wider_than_the_clients_own() {
    let policy = TokenPolicy { refresh_retry_window: Duration::from_secs(5), ..policy() };
    assert!(policy.late_retry > policy.refresh_retry_window);
    let (mut session, first) = opened(&policy);
    show(&mut session, &first, &policy, START);
    session.chain.as_mut().unwrap().narrowed = true;
    let late = show(&mut session, &first, &policy, START.plus(Duration::from_secs(6)));
    assert!(matches!(late.outcome, Outcome::Replayed { .. }), "{late:?}");
}

proptest! {
    /// However often and whenever an access token is exchanged: the session never outlives its absolute limit, nor the
    /// last exchange that could still have come, and a token of the limit's last moment is still taken.
    #[test]
    fn a_session_without_refresh_token_lives_as_its_access_tokens_do(
        pauses in prop::collection::vec(0..900u64, 1..60),
        leeway in 0..=60u64,
        absolute in 1000..20_000u64,
    ) {
        const TTL: Duration = Duration::from_secs(600);
        let policy = TokenPolicy {
            refresh_absolute: Duration::from_secs(absolute),
            refresh_idle: Duration::from_secs(absolute),
            exchange_leeway: Duration::from_secs(leeway),
            ..policy()
        };
        let (mut session, _) = opened(&policy);
        session.chain = None;
        let limit = START.plus(policy.refresh_absolute);
        let mut now = START;
        let mut expiry = START.plus(TTL).min(limit);
        session.idle_expires_at = expiry.plus(policy.exchange_leeway).min(limit);
        for pause in pauses {
            now = now.plus(Duration::from_secs(pause));
            let before = session.clone();
            let in_time = now < expiry.plus(policy.exchange_leeway) && now < limit;
            let outcome = renew(&mut session, &client(), &policy, now.plus(TTL).min(limit), now);
            prop_assert_eq!(outcome.is_ok(), in_time, "{:?} at {:?}", outcome, now);
            if outcome.is_err() {
                prop_assert_eq!(&session, &before, "a refusal changes nothing");
                break;
            }
            expiry = now.plus(TTL).min(limit);
            prop_assert!(session.idle_expires_at <= limit && session.absolute_expires_at == limit);
        }
    }
}
