//! Client secrets (RFC 6749 section 2.3.1).
//!
//! Those that Latchkey draws have 256 random bits: SHA-256 at rest is enough and costs nothing per request. Those that
//! a person chose get argon2id, through the same queue as passwords and throttled by address; a check that succeeded is
//! remembered, so that a busy client pays for it once per process and not per request.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Credentials;
use super::throttle::{Attempt, Denied};
use crate::domain::client::{Client, SecretHash};
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::{Secret32, SecretText, keyed_hash, same, sha256};
use crate::domain::sources::{Entropy, random};

/// What every drawn secret begins with, so that scanners find one that leaked.
pub const PREFIX: &str = "lks_";

/// The shortest secret that a person may choose, in bytes.
pub const SHORTEST_CHOSEN: usize = 32;

/// The longest, in bytes.
pub const LONGEST_CHOSEN: usize = 1024;

/// How many successful checks are remembered: more than there are secrets that people chose.
const REMEMBERED: usize = 4096;

/// A new client secret of 256 random bits.
pub fn draw(entropy: &dyn Entropy) -> SecretText {
    let bits = Zeroizing::new(random::<32>(entropy));
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bits.as_slice()));
    SecretText::new(format!("{PREFIX}{}", text.as_str()))
}

/// How a secret of [`draw`] is stored.
pub fn hash_drawn(secret: &SecretText) -> SecretHash {
    SecretHash::Sha256(sha256(secret.expose().as_bytes()))
}

/// How a secret that a person chose is stored.
///
/// # Errors
/// It is shorter than [`SHORTEST_CHOSEN`] or longer than [`LONGEST_CHOSEN`] bytes (`invalid_client_metadata`), or the
/// queue is full.
pub async fn hash_chosen(credentials: &Credentials, secret: &SecretText) -> Result<SecretHash, OAuthError> {
    if !may_be_chosen(secret) {
        return Err(OAuthError::new(
            Code::InvalidClientMetadata,
            format!(
                "a client_secret of your own has {SHORTEST_CHOSEN} to {LONGEST_CHOSEN} bytes; leave it out and one is \
                 made"
            ),
        ));
    }
    credentials.hash(secret.clone()).await.map(SecretHash::Argon2id)
}

fn may_be_chosen(secret: &SecretText) -> bool {
    (SHORTEST_CHOSEN..=LONGEST_CHOSEN).contains(&secret.expose().len())
}

impl Credentials {
    /// Whether the secret is a live one of the client. An unknown client costs what a client with a drawn secret does.
    /// `from` is the connection's address, by which guesses at chosen secrets are throttled.
    ///
    /// # Errors
    /// Too many failures from the address (429), or the queue is full (503).
    pub async fn verify_client_secret(
        &self,
        client: Option<&Client>,
        secret: &SecretText,
        from: IpAddr,
    ) -> Result<bool, OAuthError> {
        let now = self.clock.now();
        let presented = sha256(secret.expose().as_bytes());
        let mut right = false;
        let mut chosen = Vec::new();
        // Every live secret is compared, so that the time does not tell which of them it was.
        for known in client.into_iter().flat_map(|client| client.live_secrets(now)) {
            match &known.hash {
                SecretHash::Sha256(hash) => right |= same(hash, &presented),
                SecretHash::Argon2id(hash) => chosen.push(hash.as_str()),
                // It signs, and is never presented.
                SecretHash::Sealed { .. } => {}
            }
        }
        if right || chosen.is_empty() || !may_be_chosen(secret) {
            return Ok(right);
        }
        self.verify_chosen(&chosen, secret, from).await
    }

    async fn verify_chosen(&self, hashes: &[&str], secret: &SecretText, from: IpAddr) -> Result<bool, OAuthError> {
        let remembered = || hashes.iter().any(|hash| self.checked.holds(hash, secret));
        if remembered() {
            return Ok(true);
        }
        let attempt = self.reserve_guess(from).await?;
        // Others with the same secret may have been checked while this one waited.
        if remembered() {
            attempt.succeeded().await;
            return Ok(true);
        }
        for hash in hashes {
            if self.verify_secret(secret, hash).await? {
                self.checked.remember(hash, secret);
                attempt.succeeded().await;
                return Ok(true);
            }
        }
        attempt.failed().await;
        Ok(false)
    }

    /// Judges a guess at a chosen secret that is not presented itself: `judge` says whether it is right.
    ///
    /// # Errors
    /// Too many failures from the address (429), or the queue is full (503); nothing is judged then.
    pub async fn throttled_guess(&self, from: IpAddr, judge: impl FnOnce() -> bool) -> Result<bool, OAuthError> {
        let attempt = self.reserve_guess(from).await?;
        let right = judge();
        if right {
            attempt.succeeded().await;
        } else {
            attempt.failed().await;
        }
        Ok(right)
    }

    async fn reserve_guess(&self, from: IpAddr) -> Result<Attempt, OAuthError> {
        let guessed = self.throttle.subjects.client_secret(from);
        self.throttle.reserve(&[guessed]).await.map_err(|denied| match denied {
            Denied::Throttled { retry_after, .. } => OAuthError::new(
                Code::TooManyRequests,
                format!("too many wrong client secrets from this address; try again in {} s", retry_after.as_secs()),
            )
            .retry_after(retry_after),
            Denied::Overloaded => super::passwords::queue_full(),
            Denied::Unanswered(error) => error.into(),
        })
    }

    /// Counts a failed client authentication, and answers whether to write it to the audit trail: past the free
    /// failures of an address it is no news, and must not fill the database.
    pub fn client_failure_is_news(&self, from: IpAddr) -> bool {
        self.throttle.count(self.throttle.subjects.client_failures(from))
    }
}

impl Credentials {
    /// Counts a refused legacy token, and answers whether to write it to the audit trail: one kind of refusal of one token
    /// is told once in a while, and of one issuer's tokens no more than an operator would read.
    pub fn legacy_refusal_is_news(&self, issuer: &str, hash: &[u8; 32], cause: &str) -> bool {
        self.throttle.count(self.throttle.subjects.legacy_token(hash, cause))
            && self.throttle.count(self.throttle.subjects.legacy_issuer(issuer))
    }
}

/// Checks of chosen secrets that succeeded: keyed hashes of stored hash and secret. A secret that was replaced or has
/// ended is not looked up any more, so nothing needs to be taken out; the oldest leaves where there are too many.
pub(super) struct CheckedSecrets {
    key: Secret32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    hashes: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl CheckedSecrets {
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self { key: Secret32::new(random(entropy)), known: Mutex::default() }
    }

    fn fingerprint(&self, hash: &str, secret: &SecretText) -> [u8; 32] {
        keyed_hash(&self.key, &[hash.as_bytes(), secret.expose().as_bytes()])
    }

    fn holds(&self, hash: &str, secret: &SecretText) -> bool {
        let fingerprint = self.fingerprint(hash, secret);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).hashes.contains(&fingerprint)
    }

    fn remember(&self, hash: &str, secret: &SecretText) {
        let fingerprint = self.fingerprint(hash, secret);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.hashes.insert(fingerprint) {
            known.order.push_back(fingerprint);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.hashes.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::CredentialSettings;
    use super::super::tests::credentials;
    use super::*;
    use crate::domain::client::ClientSecret;
    use crate::domain::ids::ClientId;
    use crate::domain::sources::SystemEntropy;
    use crate::domain::time::Timestamp;

    const CHOSEN: &str = "a secret that somebody has chosen for a client";

    fn settings() -> CredentialSettings {
        CredentialSettings { memory_kib: 64, iterations: 1, address_failures: 3, ..CredentialSettings::default() }
    }

    fn client(secrets: Vec<ClientSecret>) -> Client {
        Client { secrets, ..Client::blank(ClientId::new("c"), Timestamp::from_seconds(0)) }
    }

    fn secret(hash: SecretHash, expires_at: Option<Timestamp>) -> ClientSecret {
        ClientSecret { hash, created_at: Timestamp::from_seconds(0), expires_at }
    }

    fn here() -> IpAddr {
        "192.0.2.7".parse().unwrap()
    }

    #[tokio::test]
    async fn secrets_overlap_until_the_former_one_ends() {
        let credentials = credentials(settings());
        let now = credentials.clock.now();
        let (new, old, ended) = (draw(&SystemEntropy), draw(&SystemEntropy), draw(&SystemEntropy));
        let client = client(vec![
            secret(hash_drawn(&new), None),
            secret(hash_drawn(&old), Some(now.plus(Duration::from_secs(1)))),
            secret(hash_drawn(&ended), Some(now)),
        ]);
        for (presented, right) in [(&new, true), (&old, true), (&ended, false), (&SecretText::new(""), false)] {
            assert_eq!(credentials.verify_client_secret(Some(&client), presented, here()).await.unwrap(), right);
        }
        assert!(!credentials.verify_client_secret(None, &new, here()).await.unwrap());
    }

    #[tokio::test]
    async fn a_chosen_secret_is_checked_once_and_its_guesses_are_throttled() {
        let credentials = credentials(settings());
        let right = SecretText::new(CHOSEN);
        let client = client(vec![secret(hash_chosen(&credentials, &right).await.unwrap(), None)]);
        assert!(credentials.verify_client_secret(Some(&client), &right, here()).await.unwrap());
        for _ in 0..3 {
            let guess = SecretText::new(format!("{CHOSEN}!"));
            assert!(!credentials.verify_client_secret(Some(&client), &guess, here()).await.unwrap());
        }
        let guess = SecretText::new(format!("{CHOSEN}?"));
        let error = credentials.verify_client_secret(Some(&client), &guess, here()).await.unwrap_err();
        assert_eq!((error.code, error.retry_after), (Code::TooManyRequests, Some(Duration::from_secs(1))));
        assert!(credentials.verify_client_secret(Some(&client), &right, here()).await.unwrap(), "remembered");
    }

    #[tokio::test]
    async fn short_secrets_are_neither_taken_nor_hashed() {
        let credentials = credentials(settings());
        let error = hash_chosen(&credentials, &SecretText::new("too short")).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidClientMetadata);
        assert!(!error.description.contains("too short"), "{}", error.description);
    }

    #[test]
    fn drawn_secrets_are_long_and_different() {
        let (one, other) = (draw(&SystemEntropy), draw(&SystemEntropy));
        assert_ne!(one, other);
        assert!(one.expose().starts_with(PREFIX) && one.expose().len() == PREFIX.len() + 43);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let checked = CheckedSecrets::new(&SystemEntropy);
        for n in 0..REMEMBERED + 10 {
            checked.remember("hash", &SecretText::new(n.to_string()));
        }
        assert_eq!(checked.known.lock().unwrap().hashes.len(), REMEMBERED);
        assert!(!checked.holds("hash", &SecretText::new("0")));
        assert!(checked.holds("hash", &SecretText::new((REMEMBERED + 9).to_string())));
        assert!(!checked.holds("other", &SecretText::new((REMEMBERED + 9).to_string())));
    }

    #[test]
    fn a_flood_of_failures_is_news_at_its_beginning_only() {
        let credentials = credentials(settings());
        let news = (0..10).filter(|_| credentials.client_failure_is_news(here())).count();
        assert_eq!(news, 3);
    }
}
