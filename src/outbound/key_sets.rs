//! The key sets of clients, in memory: registered ones as they are, published ones (`jwks_uri`) as long as they are fresh.
//!
//! A fetched set is kept for as long as it says, between a minute and an hour; where it cannot be fetched again the old one
//! serves until that hour is over. A signature that no key has made is a reason to look again, at most every 30 seconds:
//! otherwise anybody could have Latchkey ask as often as they like. Equal misses share one request.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::{Outbound, OutboundError};
use crate::domain::client::Client;
use crate::domain::client_keys::ClientJwks;
use crate::domain::secret::sha256;
use crate::domain::sources::Clock;
use crate::tokens::client_keys::{KeySet, KeySource, NoKeys};

/// How long a set is kept that does not say.
const AGE_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// However short it says.
const AGE_MIN: Duration = Duration::from_secs(60);
/// However long it says.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// How often an unknown key makes Latchkey look again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How long after a failure nobody asks again: each waits for the time-out.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How many sets are kept, of each kind.
const CAPACITY: u64 = 10_000;

/// Sets that are ready to verify with.
pub struct KeySets {
    outbound: Arc<Outbound>,
    clock: Arc<dyn Clock>,
    /// By what they hold.
    registered: Cache<[u8; 32], Arc<KeySet>>,
    /// By their URI. Least recently used leaves first: a new one must not be the one to go.
    published: Cache<String, Arc<Place>>,
}

/// Where a set is published, and what is known of it.
#[derive(Default)]
struct Place {
    held: ArcSwapOption<Held>,
    /// One request at a time.
    asking: Mutex<Asked>,
}

struct Held {
    jwks: ClientJwks,
    keys: Arc<KeySet>,
    /// Uptimes.
    fetched_at: Duration,
    fresh_until: Duration,
}

#[derive(Default)]
struct Asked {
    /// When an unknown key last made somebody ask.
    looked_again_at: Option<Duration>,
    failure: Option<(Duration, NoKeys)>,
}

impl KeySets {
    pub fn new(outbound: Arc<Outbound>, clock: Arc<dyn Clock>) -> Self {
        Self {
            outbound,
            clock,
            registered: Cache::new(CAPACITY),
            published: Cache::builder().max_capacity(CAPACITY).eviction_policy(EvictionPolicy::lru()).build(),
        }
    }

    fn of_registered(&self, jwks: &ClientJwks) -> Arc<KeySet> {
        // Text and numbers always have a JSON form.
        let hash = sha256(&serde_json::to_vec(jwks).unwrap_or_default());
        self.registered.get_with(hash, || Arc::new(KeySet::of_usable(jwks)))
    }

    fn place(&self, uri: &str) -> Arc<Place> {
        match self.published.get(uri) {
            Some(place) => place,
            None => self.published.get_with(uri.to_owned(), Arc::default),
        }
    }

    async fn fresh(&self, uri: &str) -> Result<Arc<KeySet>, NoKeys> {
        let place = self.place(uri);
        if let Some(held) = self.fresh_at(&place) {
            return Ok(held);
        }
        let mut asked = place.asking.lock().await;
        // Whoever was waited for may have fetched it.
        if let Some(held) = self.fresh_at(&place) {
            return Ok(held);
        }
        let now = self.clock.uptime();
        let failure = match &asked.failure {
            Some((at, failure)) if now < *at + AFTER_FAILURE => failure.clone(),
            _ => match self.fetch(uri, &place, &mut asked).await {
                Ok(keys) => return Ok(keys),
                Err(failure) => failure,
            },
        };
        // Better keys of this hour than a client that cannot renew because its server is being restarted.
        match &*place.held.load() {
            Some(held) if now < held.fetched_at + AGE_MAX => Ok(Arc::clone(&held.keys)),
            _ => Err(failure),
        }
    }

    fn fresh_at(&self, place: &Place) -> Option<Arc<KeySet>> {
        let held = place.held.load();
        let held = held.as_ref().filter(|held| self.clock.uptime() < held.fresh_until)?;
        Some(Arc::clone(&held.keys))
    }

    async fn beyond(&self, uri: &str, known: &Arc<KeySet>) -> Result<Arc<KeySet>, NoKeys> {
        let place = self.place(uri);
        let mut asked = place.asking.lock().await;
        if let Some(held) = &*place.held.load()
            && !Arc::ptr_eq(&held.keys, known)
        {
            return Ok(Arc::clone(&held.keys));
        }
        let now = self.clock.uptime();
        if asked.looked_again_at.is_some_and(|at| now < at + LOOK_AGAIN) {
            return Ok(Arc::clone(known));
        }
        asked.looked_again_at = Some(now);
        self.fetch(uri, &place, &mut asked).await
    }

    async fn fetch(&self, uri: &str, place: &Place, asked: &mut Asked) -> Result<Arc<KeySet>, NoKeys> {
        match self.ask(uri, place).await {
            Ok(held) => {
                let keys = Arc::clone(&held.keys);
                place.held.store(Some(Arc::new(held)));
                asked.failure = None;
                Ok(keys)
            }
            Err(failure) => {
                tracing::warn!(uri, error = %failure, "a client's keys cannot be fetched");
                asked.failure = Some((self.clock.uptime(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn ask(&self, uri: &str, place: &Place) -> Result<Held, NoKeys> {
        let found = self.outbound.get_json(uri).await.map_err(|error| no_keys(&error))?;
        let refused = |cause: String| NoKeys { cause, passing: false };
        let jwks = ClientJwks::fetched(&found.json).map_err(|fault| refused(fault.to_string()))?;
        let keys = match &*place.held.load() {
            Some(held) if held.jwks == jwks => Arc::clone(&held.keys),
            _ => Arc::new(KeySet::of_usable(&jwks)),
        };
        if keys.is_empty() {
            return Err(refused("it holds no key".into()));
        }
        let fetched_at = self.clock.uptime();
        let fresh_until = fetched_at + found.max_age.unwrap_or(AGE_DEFAULT).clamp(AGE_MIN, AGE_MAX);
        Ok(Held { jwks, keys, fetched_at, fresh_until })
    }
}

fn no_keys(error: &OutboundError) -> NoKeys {
    NoKeys { cause: error.to_string(), passing: error.is_passing() }
}

#[async_trait]
impl KeySource for KeySets {
    async fn keys_of(&self, client: &Client) -> Result<Arc<KeySet>, NoKeys> {
        match (&client.keys.jwks, &client.keys.jwks_uri) {
            (Some(jwks), _) => Ok(self.of_registered(jwks)),
            (None, Some(uri)) => self.fresh(uri).await,
            (None, None) => Err(NoKeys { cause: "the client is registered without keys".into(), passing: false }),
        }
    }

    async fn keys_beyond(&self, client: &Client, known: &Arc<KeySet>) -> Result<Arc<KeySet>, NoKeys> {
        match (&client.keys.jwks, &client.keys.jwks_uri) {
            (None, Some(uri)) => self.beyond(uri, known).await,
            _ => Ok(Arc::clone(known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;

    use super::super::OutboundSettings;
    use super::super::testing::{Reply, Site, answer};
    use super::*;
    use crate::domain::client::AuthMethod;
    use crate::domain::client_keys::ClientKeys;
    use crate::domain::ids::ClientId;
    use crate::domain::sources::ManualClock;
    use crate::domain::time::Timestamp;

    const MINUTE: Duration = Duration::from_secs(60);

    fn client(keys: ClientKeys) -> Client {
        let blank = Client::blank(ClientId::new("c"), Timestamp::from_seconds(0));
        Client { auth_method: AuthMethod::PrivateKeyJwt, keys, ..blank }
    }

    /// The key of RFC 7515 appendix A.3 by another name.
    fn set(kid: &str) -> Value {
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": kid, "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                           "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] })
    }

    fn says(kid: &str, headers: &str) -> Reply {
        Reply::json(headers, &set(kid).to_string())
    }

    struct Bed {
        site: Site,
        sets: Arc<KeySets>,
        clock: Arc<ManualClock>,
        client: Client,
    }

    impl Bed {
        async fn new(reply: Reply) -> Self {
            let site = Site::open(reply).await;
            let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(1_800_000_000)));
            clock.advance(Duration::from_secs(1));
            let settings = OutboundSettings { allow: Vec::new(), loopback: true, timeout: Duration::from_secs(5) };
            let outbound = Arc::new(Outbound::new(settings));
            let sets = Arc::new(KeySets::new(outbound, Arc::clone(&clock) as _));
            let client = client(ClientKeys { jwks_uri: Some(site.url()), ..ClientKeys::default() });
            Self { site, sets, clock, client }
        }

        async fn keys(&self) -> Result<String, NoKeys> {
            self.sets.keys_of(&self.client).await.map(|keys| format!("{keys:?}"))
        }
    }

    #[tokio::test]
    async fn a_set_is_kept_as_long_as_it_says_within_a_minute_and_an_hour() {
        for (header, kept) in [
            ("", AGE_DEFAULT),
            ("cache-control: max-age=300\r\n", Duration::from_secs(300)),
            ("cache-control: no-store\r\n", AGE_MIN),
            ("cache-control: max-age=1\r\n", AGE_MIN),
            ("cache-control: max-age=86400\r\n", AGE_MAX),
        ] {
            let bed = Bed::new(says("a", header)).await;
            bed.keys().await.unwrap();
            bed.site.says(says("b", header));
            bed.clock.advance(kept - Duration::from_millis(1));
            assert_eq!((bed.keys().await.unwrap(), bed.site.hits()), (r#"[Some("a")]"#.into(), 1), "{header}");
            bed.clock.advance(Duration::from_millis(1));
            assert_eq!((bed.keys().await.unwrap(), bed.site.hits()), (r#"[Some("b")]"#.into(), 2), "{header}");
        }
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_for_at_most_every_30_seconds() {
        let bed = Bed::new(says("a", "")).await;
        let known = bed.sets.keys_of(&bed.client).await.unwrap();
        let beyond = async || bed.sets.keys_beyond(&bed.client, &known).await.unwrap();
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&beyond().await, &known), "the same set is the same verifiers");
        }
        assert_eq!(bed.site.hits(), 2);
        bed.site.says(says("b", ""));
        bed.clock.advance(LOOK_AGAIN);
        assert_eq!(format!("{:?}", beyond().await), r#"[Some("b")]"#);
        assert_eq!(format!("{:?}", beyond().await), r#"[Some("b")]"#, "somebody else has found it");
        assert_eq!(bed.site.hits(), 3);
        assert_eq!(bed.keys().await.unwrap(), r#"[Some("b")]"#);
        assert_eq!(bed.site.hits(), 3);
    }

    #[tokio::test]
    async fn equal_misses_share_one_request() {
        let gate = Arc::new(Semaphore::new(0));
        let bed = Bed::new(Reply::Held(Arc::clone(&gate), answer("200 OK", "", &set("a").to_string()))).await;
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let (sets, client) = (Arc::clone(&bed.sets), bed.client.clone());
                tokio::spawn(async move { sets.keys_of(&client).await.unwrap() })
            })
            .collect();
        while bed.site.hits() == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(20);
        for one in asking {
            one.await.unwrap();
        }
        assert_eq!(bed.site.hits(), 1);
    }

    #[tokio::test]
    async fn the_old_set_serves_while_there_is_no_new_one_and_an_hour_at_most() {
        let bed = Bed::new(says("a", "cache-control: max-age=60\r\n")).await;
        bed.keys().await.unwrap();
        bed.site.says(Reply::with("503 Service Unavailable", "", ""));
        bed.clock.advance(MINUTE);
        for _ in 0..3 {
            assert!(bed.keys().await.is_ok());
        }
        assert_eq!(bed.site.hits(), 2, "after a failure nobody asks for some seconds");
        bed.clock.advance(AFTER_FAILURE);
        assert!(bed.keys().await.is_ok());
        assert_eq!(bed.site.hits(), 3);
        bed.clock.advance(AGE_MAX - MINUTE - AFTER_FAILURE);
        let failure = bed.keys().await.unwrap_err();
        assert!(failure.passing && failure.cause.contains("503"), "{failure:?}");
        bed.site.says(says("b", ""));
        bed.clock.advance(AFTER_FAILURE);
        assert_eq!(bed.keys().await.unwrap(), r#"[Some("b")]"#);
    }

    #[tokio::test]
    async fn what_is_no_key_set_is_no_passing_failure() {
        for body in ["{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#, "[]"] {
            let bed = Bed::new(Reply::json("", body)).await;
            assert!(!bed.keys().await.unwrap_err().passing, "{body}");
        }
    }

    #[tokio::test]
    async fn verifiers_of_registered_keys_are_built_once() {
        let bed = Bed::new(Reply::Silence).await;
        let jwks = ClientJwks::registered(&set("a")).unwrap();
        let client = client(ClientKeys { jwks: Some(jwks), ..ClientKeys::default() });
        let first = bed.sets.keys_of(&client).await.unwrap();
        let second = bed.sets.keys_of(&client).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&first, &bed.sets.keys_beyond(&client, &first).await.unwrap()), "there are no others");
    }
}
