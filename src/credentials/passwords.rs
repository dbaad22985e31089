//! Passwords: slow hashes on threads of their own, as many at once as there are cores, behind a bounded queue.
//! These threads give way to all others, so that whoever renews or checks a token does not wait for those who log in.
//!
//! Past the queue the answer is an immediate 503 with `Retry-After`: a flood of logins then costs its senders a retry
//! and nobody else their memory. A place is held until the computation has ended, whatever became of its caller: a
//! client that hangs up must not make room for a further computation beside its own.

use std::sync::Arc;
use std::thread::available_parallelism;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ceilings::Ceilings;
pub use super::ceilings::UnusableHash;
use super::decoys::{Decoys, Kind};
use super::memory::MemoryPool;
use super::phc::{Cost, Hash, OUTPUT, SALT};
use super::precis::{LONGEST, NotAPassword, prepare_password};
use super::stored::{Match, Stored};
use super::{CredentialSettings, Credentials};
use crate::domain::error::OAuthError;
use crate::domain::secret::SecretText;
use crate::domain::sources::{Clock, Entropy, random};
use crate::storage::{Store, StoreError};

/// What checking a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    Wrong,
    Right {
        /// The stored hash is another system's, or was made with other parameters than today's: hash again while the
        /// password is at hand.
        needs_upgrade: bool,
    },
}

/// A password as somebody typed it.
#[derive(Clone, Debug)]
pub struct Typed {
    /// What a hash of ours is made of: the text as it is prepared, where it can be. Another system may have taken what
    /// no password can be here, and its users are to get in: their hashes are made of the text as it is.
    hashable: SecretText,
    /// The text as it was typed, where preparation changed it.
    raw: Option<SecretText>,
    fault: Option<NotAPassword>,
}

impl Typed {
    /// # Errors
    /// It is empty, or longer than any password.
    pub fn new(text: &SecretText) -> Result<Self, NotAPassword> {
        match prepare_password(text.expose()) {
            Ok(prepared) => {
                let raw = (prepared != *text).then(|| text.clone());
                Ok(Self { hashable: prepared, raw, fault: None })
            }
            Err(NotAPassword::Empty) => Err(NotAPassword::Empty),
            Err(_) if text.expose().len() > LONGEST => Err(NotAPassword::TooLong),
            Err(fault) => Ok(Self { hashable: text.clone(), raw: None, fault: Some(fault) }),
        }
    }

    /// Why nobody can choose this text as a password.
    pub fn fault(&self) -> Option<NotAPassword> {
        self.fault
    }

    pub fn hashable(&self) -> &SecretText {
        &self.hashable
    }

    pub(super) fn raw(&self) -> Option<&SecretText> {
        self.raw.as_ref()
    }
}

impl Credentials {
    /// The PHC string of a password (or of a client secret that a person chose), with today's parameters.
    ///
    /// # Errors
    /// The queue is full (`temporarily_unavailable`), or argon2 refuses the configured parameters.
    pub async fn hash(&self, password: SecretText) -> Result<String, OAuthError> {
        let hash = Hash::new(self.queue.cost, random::<SALT>(&*self.entropy), [0; OUTPUT]);
        let work = move |memory: &MemoryPool| {
            let mut buffer = memory.take(hash.cost.blocks());
            let output = hash.compute(password.expose().as_bytes(), &mut buffer);
            memory.give_back(buffer);
            output.map(|output| hash.encode(&output))
        };
        self.queue.run(work).await?.map_err(refused_parameters)
    }

    /// Checks the password of the user of this name against the stored hash, of whatever make. `None` (no such user, or
    /// one without a password) costs what a user of that name would cost, and says no.
    ///
    /// # Errors
    /// The queue is full (`temporarily_unavailable`), or argon2 refuses the parameters.
    pub async fn verify(&self, typed: &Typed, stored: Option<&str>, name: &str) -> Result<PasswordCheck, OAuthError> {
        let read = stored.map(|text| Stored::read(text, &self.queue.ceilings));
        if let Some(Err(fault)) = &read {
            tracing::error!(%fault, "a stored password hash cannot be checked, so its owner cannot log in");
        }
        let (stored, is_real) = match read {
            Some(Ok(stored)) => (stored, true),
            Some(Err(_)) | None => (self.queue.decoys.of(&self.address_key, name), false),
        };
        let (matched, is_of_today) = self.check(typed.clone(), stored).await?;
        Ok(match matched {
            Match::None => PasswordCheck::Wrong,
            _ if !is_real => PasswordCheck::Wrong,
            Match::Hashable | Match::Raw => PasswordCheck::Right { needs_upgrade: !is_of_today },
        })
    }

    /// Checks a secret that is no user's password against a hash of our own make.
    ///
    /// # Errors
    /// The queue is full (`temporarily_unavailable`), or argon2 refuses the parameters.
    pub(super) async fn verify_secret(&self, secret: &SecretText, stored: &str) -> Result<bool, OAuthError> {
        let Ok(hash) = Hash::parse(stored) else { return Ok(false) };
        let typed = Typed { hashable: secret.clone(), raw: None, fault: None };
        Ok(self.check(typed, Stored::Own(hash)).await?.0 != Match::None)
    }

    /// What matched, and whether the hash is as it would be made today.
    async fn check(&self, typed: Typed, stored: Stored) -> Result<(Match, bool), OAuthError> {
        let (cost, padding) = (self.queue.cost, self.queue.decoys.own().clone());
        let work = move |memory: &MemoryPool| {
            let matched = stored.check(&typed, memory)?;
            let is_of_today = match &stored {
                Stored::Own(hash) => matched == Match::Hashable && hash.is_of_today(cost),
                Stored::Legacy(_) => false,
            };
            // What others made may cost next to nothing to check. A success pays for its upgrade, which follows; a
            // failure pays the same here. So guessing is never cheaper than at our own hashes, the time says nothing of
            // the family, and right takes as long as wrong.
            if matched == Match::None && matches!(stored, Stored::Legacy(_)) {
                Stored::Own(padding).check(&typed, memory)?;
            }
            Ok((matched, is_of_today))
        };
        self.queue.run(work).await?.map_err(refused_parameters)
    }

    /// Whether a hash that was made elsewhere can be taken in.
    ///
    /// # Errors
    /// It cannot be checked here, or only at too high a price.
    pub fn check_importable(&self, text: &str) -> Result<(), UnusableHash> {
        Stored::read(text, &self.queue.ceilings).map(drop)
    }

    /// Looks at what hashes users have, so that a name that nobody has costs the same. A job calls it now and then.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn learn_users(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut kinds = Vec::new();
        for (scheme, users) in store.password_schemes().await? {
            let Some(scheme) = scheme else { continue };
            let example = store.password_hash_of_scheme(&scheme).await?;
            kinds.extend(example.map(|example| (users, example)));
        }
        self.learn_kinds(kinds);
        Ok(())
    }

    /// How many users there are of a kind, and the hash of one of them.
    fn learn_kinds(&self, kinds: impl IntoIterator<Item = (u64, String)>) {
        let mut users = 0;
        let mut legacy = Vec::new();
        for (count, example) in kinds {
            users += count;
            if let Ok(example @ Stored::Legacy(_)) = Stored::read(&example, &self.queue.ceilings) {
                legacy.push(Kind { users: count, example });
            }
        }
        self.queue.decoys.learn(legacy, users);
    }

    /// Gives memory that no hash has needed for ten seconds back to the system. A job calls it every few seconds.
    pub fn release_idle(&self) {
        self.queue.memory.release_idle();
    }
}

fn refused_parameters(fault: argon2::Error) -> OAuthError {
    OAuthError::internal(format!("argon2 refuses the password parameters: {fault}"))
}

/// Where computations wait for their turn.
pub(super) struct HashQueue {
    cost: Cost,
    ceilings: Ceilings,
    threads: Threads,
    /// One permit per computation under way or waiting.
    places: Arc<Semaphore>,
    memory: Arc<MemoryPool>,
    /// Random, so that nothing has to be hashed at start.
    decoys: Decoys,
}

impl HashQueue {
    pub fn new(settings: &CredentialSettings, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let cost = Cost {
            memory_kib: settings.memory_kib,
            iterations: settings.iterations,
            parallelism: settings.parallelism,
        };
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let places = cores.saturating_add(settings.queue).min(Semaphore::MAX_PERMITS);
        Self {
            cost,
            ceilings: settings.ceilings.at_least(cost),
            threads: Threads::new(cores),
            places: Arc::new(Semaphore::new(places)),
            memory: Arc::new(MemoryPool::new(cost.blocks(), clock)),
            decoys: Decoys::new(Hash::new(cost, random(entropy), random(entropy))),
        }
    }

    /// Does slow work when its turn comes.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MemoryPool) -> T + Send + 'static,
    ) -> Result<T, OAuthError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(queue_full());
        };
        let (memory, expected) = (Arc::clone(&self.memory), self.memory.expect());
        let work = move || {
            drop(expected);
            let done = work(&memory);
            drop(place);
            done
        };
        self.threads.run(work).await
    }
}

/// How much the threads give way (nice): a tenth of the share of others, where these want all there is.
const NICE: i32 = 10;

/// The threads that hash. They come with the first work and leave some time after the last.
struct Threads(Option<Runtime>);

impl Threads {
    fn new(count: usize) -> Self {
        let give_way = || {
            // Where the system refuses, they are as eager as the others.
            let _ = setpriority_process(None, NICE);
        };
        Self(Builder::new_current_thread().max_blocking_threads(count).on_thread_start(give_way).build().ok())
    }

    /// Does the work when a thread is free. A caller that goes away before that takes its work along.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, OAuthError> {
        let threads = self.0.as_ref().ok_or_else(|| OAuthError::internal("there are no threads to hash on"))?;
        let mut only = JoinSet::new();
        only.spawn_blocking_on(work, threads.handle());
        let done = only.join_next().await.ok_or_else(|| OAuthError::internal("the work is gone"))?;
        done.map_err(OAuthError::internal)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever waits for a hash is gone: nobody waits for the threads.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

/// More passwords are waiting than `passwords.queue` allows.
pub(super) fn queue_full() -> OAuthError {
    OAuthError::unavailable("too many passwords are waiting to be checked; try again")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use rustix::process::getpriority_process;
    use tokio::time::timeout;

    use super::super::tests::credentials;
    use super::*;
    use crate::domain::error::Code;

    fn settings() -> CredentialSettings {
        CredentialSettings { memory_kib: 64, iterations: 1, queue: 2, ..CredentialSettings::default() }
    }

    fn typed(text: &str) -> Typed {
        Typed::new(&SecretText::new(text)).unwrap()
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let credentials = credentials(settings());
        let stored = credentials.hash(SecretText::new("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let right = credentials.verify(&typed("correct horse"), Some(&stored), "ada").await.unwrap();
        assert_eq!(right, PasswordCheck::Right { needs_upgrade: false });
        for (password, stored) in [("correct hors", Some(stored.as_str())), ("correct horse", None), ("x", Some("md5"))]
        {
            let wrong = credentials.verify(&typed(password), stored, "ada").await.unwrap();
            assert_eq!(wrong, PasswordCheck::Wrong, "{password}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_asks_to_be_upgraded() {
        let before = credentials(CredentialSettings { iterations: 2, memory_kib: 128, ..settings() });
        let stored = before.hash(SecretText::new("p")).await.unwrap();
        let check = credentials(settings()).verify(&typed("p"), Some(&stored), "ada").await.unwrap();
        assert_eq!(check, PasswordCheck::Right { needs_upgrade: true });
    }

    /// OpenLDAP's slappasswd made it of `secret`.
    const CHEAP: &str = "{SSHA}oXOZR0PcygH5cZCUoFrt9DRL9rSserJN";

    #[tokio::test]
    async fn a_wrong_guess_at_a_cheap_hash_costs_what_one_at_ours_does() {
        let credentials = credentials(settings());
        let right = credentials.verify(&typed("secret"), Some(CHEAP), "ada").await.unwrap();
        assert_eq!(right, PasswordCheck::Right { needs_upgrade: true });
        assert_eq!(credentials.queue.memory.count(), 0, "what follows a success is its upgrade");
        let wrong = credentials.verify(&typed("Secret"), Some(CHEAP), "ada").await.unwrap();
        assert_eq!(wrong, PasswordCheck::Wrong);
        assert_eq!(credentials.queue.memory.count(), 1, "argon2 has been at work");
    }

    #[tokio::test]
    async fn what_was_typed_counts_before_and_after_preparation() {
        let credentials = credentials(settings());
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        let ours = credentials.hash(SecretText::new(composed)).await.unwrap();
        let as_typed = credentials.hash(SecretText::new(decomposed)).await.unwrap();
        // By Django: pbkdf2 of the bytes as they came.
        let of_composed = "pbkdf2_sha256$1$salt$Yu4TpmhtpNaSoC/Jxp/U92IAQIHt27wUHqRv7H/X0fg=";
        let of_decomposed = "pbkdf2_sha256$1$salt$BrTbYuZxiGUak1FfCTge6AVOPVYgLOiDyghTT2zrKdg=";
        let of_tab = "pbkdf2_sha256$1$salt$QcHS2s9396aY1Rw2k7s0hSsMjJI5aGy6E+V3yna4R6U=";
        let (fresh, stale) =
            (PasswordCheck::Right { needs_upgrade: false }, PasswordCheck::Right { needs_upgrade: true });
        for (text, stored, outcome) in [
            (composed, ours.as_str(), fresh),
            (decomposed, &ours, fresh),
            (decomposed, &as_typed, stale),
            (composed, &as_typed, PasswordCheck::Wrong),
            (composed, of_composed, stale),
            (decomposed, of_composed, stale),
            (decomposed, of_decomposed, stale),
            (composed, of_decomposed, PasswordCheck::Wrong),
            ("tab\there", of_tab, stale),
            ("tab\tthere", of_tab, PasswordCheck::Wrong),
        ] {
            let outcome_now = credentials.verify(&typed(text), Some(stored), "ada").await.unwrap();
            assert_eq!(outcome_now, outcome, "{text:?} against {stored}");
        }
        let odd = typed("tab\there");
        assert!(odd.fault().is_some());
        let upgraded = credentials.hash(odd.hashable().clone()).await.unwrap();
        assert_eq!(credentials.verify(&odd, Some(&upgraded), "ada").await.unwrap(), fresh, "and once is enough");
        assert_eq!(Typed::new(&SecretText::new("")).err(), Some(NotAPassword::Empty));
        assert_eq!(Typed::new(&SecretText::new("a".repeat(1025))).err(), Some(NotAPassword::TooLong));
    }

    #[tokio::test]
    async fn unknown_users_cost_what_users_of_another_system_do() {
        let credentials = credentials(settings());
        let name_of_kind = async |is_legacy: bool| {
            for n in 0..200 {
                let name = format!("nobody{n}");
                let decoy = credentials.queue.decoys.of(&credentials.address_key, &name);
                if matches!(decoy, Stored::Legacy(_)) == is_legacy {
                    // Even where the decoy is somebody's own hash, nobody gets in by it.
                    let check = credentials.verify(&typed("secret"), None, &name).await.unwrap();
                    assert_eq!(check, PasswordCheck::Wrong);
                    return true;
                }
            }
            false
        };
        assert!(name_of_kind(false).await && !name_of_kind(true).await);
        let own = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        credentials.learn_kinds([(5, own.to_owned()), (3, CHEAP.to_owned()), (2, "{unknown}x".to_owned())]);
        assert!(name_of_kind(false).await && name_of_kind(true).await);
    }

    #[tokio::test]
    async fn a_ceiling_holds_at_the_check_as_well() {
        let stored = "pbkdf2_sha256$1$salt$Yu4TpmhtpNaSoC/Jxp/U92IAQIHt27wUHqRv7H/X0fg=";
        let dear = stored.replace("$1$", "$11$");
        let credentials =
            credentials(CredentialSettings { ceilings: Ceilings { pbkdf2: 10, ..Ceilings::default() }, ..settings() });
        assert_eq!(credentials.check_importable(stored), Ok(()));
        assert!(credentials.check_importable(&dear).is_err());
        let wrong = credentials.verify(&typed("x"), Some(&dear), "ada").await.unwrap();
        assert_eq!(wrong, PasswordCheck::Wrong);
        assert_eq!(credentials.queue.memory.count(), 1, "it cost what a hash of ours costs");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn past_the_queue_the_answer_is_immediate() {
        let credentials = Arc::new(credentials(CredentialSettings { iterations: 200, memory_kib: 4096, ..settings() }));
        let cores = available_parallelism().unwrap().get();
        let tries: Vec<_> = (0..cores + 2 + 5)
            .map(|_| {
                let credentials = Arc::clone(&credentials);
                tokio::spawn(async move { credentials.hash(SecretText::new("p")).await })
            })
            .collect();
        let mut refused = 0;
        for one in tries {
            if let Err(error) = one.await.unwrap() {
                assert_eq!(error.code, Code::TemporarilyUnavailable);
                assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
                refused += 1;
            }
        }
        assert_eq!(refused, 5);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_hangs_up_keeps_its_place_until_the_hash_has_ended() {
        let credentials = credentials(CredentialSettings { iterations: 400, memory_kib: 4096, ..settings() });
        let free = credentials.queue.places.available_permits();
        let hash = credentials.hash(SecretText::new("p"));
        assert!(timeout(Duration::from_millis(20), hash).await.is_err(), "it takes longer than that");
        assert_eq!(credentials.queue.places.available_permits(), free - 1);
        let all = u32::try_from(free).unwrap();
        drop(credentials.queue.places.acquire_many(all).await.unwrap());
    }

    #[tokio::test]
    async fn work_whose_caller_went_away_before_its_turn_is_not_done() {
        let threads = Threads::new(1);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let done = Arc::new(AtomicUsize::new(0));
        let one_more = || {
            let done = Arc::clone(&done);
            move || done.fetch_add(1, Ordering::SeqCst)
        };
        let mut first = std::pin::pin!(threads.run(move || released.recv()));
        // Each is asked once.
        assert!(timeout(Duration::ZERO, first.as_mut()).await.is_err());
        assert!(timeout(Duration::ZERO, threads.run(one_more())).await.is_err());
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(threads.run(one_more()).await.unwrap(), 0, "nothing was done in between");
    }

    #[tokio::test]
    async fn the_threads_give_way() {
        let nice = || getpriority_process(None).unwrap();
        let ours = nice();
        assert_eq!(Threads::new(1).run(nice).await.unwrap(), NICE.max(ours));
        assert_eq!(nice(), ours, "and nobody else does");
    }
}
