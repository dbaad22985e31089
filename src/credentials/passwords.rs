//! Passwords: argon2id on blocking threads, as many at once as there are cores, behind a bounded queue.
//!
//! Past the queue the answer is an immediate 503 with `Retry-After`: a flood of logins then costs its senders a retry
//! and nobody else their memory. A place is held until the computation has ended, whatever became of its caller: a
//! client that hangs up must not make room for a further computation beside its own.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::memory::MemoryPool;
use super::phc::{self, Cost, Hash, OUTPUT, SALT};
pub use super::phc::{UnusableHash, check_importable};
use super::{CredentialSettings, Credentials};
use crate::domain::error::OAuthError;
use crate::domain::secret::{SecretText, same};
use crate::domain::sources::{Clock, Entropy, random};

/// What checking a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    Wrong,
    Right {
        /// The stored hash was made with other parameters than today's: hash again while the password is at hand.
        needs_upgrade: bool,
    },
}

impl Credentials {
    /// The PHC string of a password (or of a client secret that a person chose), with today's parameters.
    ///
    /// # Errors
    /// The queue is full (`temporarily_unavailable`), or argon2 refuses the configured parameters.
    pub async fn hash(&self, password: SecretText) -> Result<String, OAuthError> {
        let salt: [u8; SALT] = random(&*self.entropy);
        let cost = self.queue.cost;
        let output = self.queue.compute(cost, password, salt.to_vec(), OUTPUT).await?;
        Ok(Hash { cost, salt: salt.to_vec(), output: output.to_vec() }.encode())
    }

    /// Checks a password against a stored PHC string. `None` (no such user, or one without a password) costs the same
    /// and says no.
    ///
    /// # Errors
    /// The queue is full (`temporarily_unavailable`), or argon2 refuses the parameters.
    pub async fn verify(&self, password: SecretText, stored: Option<&str>) -> Result<PasswordCheck, OAuthError> {
        let parsed = stored.map(Hash::parse);
        if let Some(Err(fault)) = &parsed {
            tracing::error!(%fault, "a stored password hash cannot be read, so its owner cannot log in");
        }
        let (hash, real) = match parsed {
            Some(Ok(hash)) => (hash, true),
            Some(Err(_)) | None => (self.queue.decoy.clone(), false),
        };
        let Hash { cost, salt, output: expected } = hash;
        let output = self.queue.compute(cost, password, salt, expected.len()).await?;
        if !same(&output, &expected) || !real {
            return Ok(PasswordCheck::Wrong);
        }
        Ok(PasswordCheck::Right { needs_upgrade: cost != self.queue.cost || expected.len() != OUTPUT })
    }

    /// Gives memory that no hash has needed for ten seconds back to the system. A job calls it every few seconds.
    pub fn release_idle(&self) {
        self.queue.memory.release_idle();
    }
}

/// Where computations wait for their turn.
pub(super) struct HashQueue {
    cost: Cost,
    /// One permit per computation under way.
    running: Arc<Semaphore>,
    /// One permit per computation under way or waiting.
    places: Arc<Semaphore>,
    memory: Arc<MemoryPool>,
    /// What passwords of unknown users are compared with: random, so that nothing has to be hashed at start.
    decoy: Hash,
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
        let decoy = Hash { cost, salt: random::<SALT>(entropy).to_vec(), output: random::<OUTPUT>(entropy).to_vec() };
        Self {
            cost,
            running: Arc::new(Semaphore::new(cores)),
            places: Arc::new(Semaphore::new(places)),
            memory: Arc::new(MemoryPool::new(cost.blocks(), clock)),
            decoy,
        }
    }

    async fn compute(
        &self,
        cost: Cost,
        password: SecretText,
        salt: Vec<u8>,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, OAuthError> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(queue_full());
        };
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(OAuthError::internal)?;
        let memory = Arc::clone(&self.memory);
        let work = spawn_blocking(move || {
            let mut buffer = memory.take(cost.blocks());
            let output = phc::compute(cost, &password, &salt, length, &mut buffer);
            memory.give_back(buffer);
            drop((turn, place));
            output
        });
        match work.await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(refused)) => Err(OAuthError::internal(format!("argon2 refuses the password parameters: {refused}"))),
            Err(ended) => Err(OAuthError::internal(ended)),
        }
    }
}

/// More passwords are waiting than `passwords.queue` allows.
pub(super) fn queue_full() -> OAuthError {
    OAuthError::unavailable("too many passwords are waiting to be checked; try again")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::credentials;
    use super::*;
    use crate::domain::error::Code;

    fn settings() -> CredentialSettings {
        CredentialSettings { memory_kib: 64, iterations: 1, queue: 2, ..CredentialSettings::default() }
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let credentials = credentials(settings());
        let stored = credentials.hash(SecretText::new("correct horse")).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let right = credentials.verify(SecretText::new("correct horse"), Some(&stored)).await.unwrap();
        assert_eq!(right, PasswordCheck::Right { needs_upgrade: false });
        for (password, stored) in [("correct hors", Some(stored.as_str())), ("correct horse", None), ("x", Some("md5"))]
        {
            let wrong = credentials.verify(SecretText::new(password), stored).await.unwrap();
            assert_eq!(wrong, PasswordCheck::Wrong, "{password}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_other_parameters_asks_to_be_upgraded() {
        let before = credentials(CredentialSettings { iterations: 2, memory_kib: 128, ..settings() });
        let stored = before.hash(SecretText::new("p")).await.unwrap();
        let check = credentials(settings()).verify(SecretText::new("p"), Some(&stored)).await.unwrap();
        assert_eq!(check, PasswordCheck::Right { needs_upgrade: true });
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
        assert!(tokio::time::timeout(Duration::from_millis(20), hash).await.is_err(), "it takes longer than that");
        assert_eq!(credentials.queue.places.available_permits(), free - 1);
        while credentials.queue.places.available_permits() < free {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
