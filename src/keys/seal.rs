//! Sealing at rest: private halves are stored under AES-256-GCM (NIST SP 800-38D) and a master key that is not in the
//! database, so that a copy of the database alone signs nothing.
//!
//! A sealed value is `version 1 | master key id 8 | nonce 12 | ciphertext and tag`. What it is a seal *of* is in the
//! associated data, so that no row's sealed half opens as another's.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use zeroize::Zeroizing;

use crate::domain::client::Client;
use crate::domain::ids::{ClientId, Kid};
use crate::domain::key::KeyTable;
use crate::domain::secret::{Secret32, sha256};
use crate::domain::sources::{Entropy, random};

const VERSION: u8 = 1;
const ID: std::ops::Range<usize> = 1..9;
const NONCE: std::ops::Range<usize> = 9..21;
const HEAD: usize = NONCE.end;

/// A key that seals other keys. It is named by its id everywhere; its bytes are shown nowhere.
#[derive(Clone)]
pub struct MasterKey {
    secret: Secret32,
    id: [u8; 8],
}

impl MasterKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut named = Zeroizing::new(b"latchkey master key id".to_vec());
        named.extend_from_slice(&bytes);
        let mut id = [0; 8];
        id.copy_from_slice(&sha256(&named)[..8]);
        Self { secret: Secret32::new(bytes), id }
    }

    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self::new(random(entropy))
    }

    /// Names the key without telling anything of it: 16 hexadecimal characters.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// The bytes, for the one who writes them to the operator's file.
    pub(super) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.secret.expose().into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is sealed under a master key that is not at hand.
    #[error(
        "it is sealed under master key {id}, which is not at hand: put that key back as keys/master.key or name it \
         in keys.previous_master_keys"
    )]
    MissingMaster { id: String },
    /// It was altered, cut short, or belongs to another row.
    #[error("its sealed half is damaged or belongs to another row: restore it from a backup")]
    Damaged,
}

/// The master key that seals, and the earlier ones that still open while rows are sealed anew.
#[derive(Clone, Debug)]
pub struct MasterKeys {
    pub current: MasterKey,
    pub previous: Vec<MasterKey>,
}

impl MasterKeys {
    pub fn new(current: MasterKey) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// Seals `plaintext` as the value called `name` ([`signing_name`], [`refresh_name`], [`client_secret_name`]).
    #[expect(clippy::expect_used, reason = "AES-GCM refuses nothing below 64 GiB")]
    pub fn seal(&self, entropy: &dyn Entropy, name: &str, plaintext: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = random(entropy);
        let ciphertext = self
            .current
            .cipher()
            .encrypt(&nonce.into(), Payload { msg: plaintext, aad: &associated(name) })
            .expect("a key is shorter than 64 GiB");
        let mut sealed = Vec::with_capacity(HEAD + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.current.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens a value that was sealed as `name`, under whichever of these keys sealed it.
    ///
    /// # Errors
    /// None of these keys sealed it, or it was altered, or it was sealed as another name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let id = sealed_under(sealed).ok_or(SealError::Damaged)?;
        let master = self.find(&id).ok_or(SealError::MissingMaster { id })?;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&sealed[NONCE]);
        master
            .cipher()
            .decrypt(&nonce.into(), Payload { msg: &sealed[HEAD..], aad: &associated(name) })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Damaged)
    }

    /// The same value under the current master key; `None` where it is already.
    ///
    /// # Errors
    /// As [`MasterKeys::open`].
    pub fn reseal(&self, entropy: &dyn Entropy, name: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if sealed_under(sealed) == Some(self.current.id()) {
            return Ok(None);
        }
        let plaintext = self.open(name, sealed)?;
        Ok(Some(self.seal(entropy, name, &plaintext)))
    }

    /// Whether what is sealed under the master key of this id can be opened.
    pub fn holds(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: &str) -> Option<&MasterKey> {
        std::iter::once(&self.current).chain(&self.previous).find(|master| master.id() == id)
    }
}

/// The id of the master key that a value is sealed under; `None` where it is not a sealed value.
pub fn sealed_under(sealed: &[u8]) -> Option<String> {
    (sealed.len() > HEAD && sealed[0] == VERSION).then(|| hex(&sealed[ID]))
}

/// The ids of all master keys that keys and clients' secrets are sealed under.
pub fn masters_of(table: &KeyTable, clients: &[Client]) -> BTreeSet<String> {
    let signing = table.signing.iter().filter_map(|key| key.sealed_private.as_deref());
    let refresh = table.refresh.iter().map(|key| key.sealed.as_slice());
    let secrets = clients.iter().flat_map(Client::sealed_secrets);
    signing.chain(refresh).chain(secrets).filter_map(sealed_under).collect()
}

/// What a signing key's private half is sealed as.
pub fn signing_name(kid: &Kid) -> String {
    format!("signing:{kid}")
}

/// What a version of the refresh keys is sealed as.
pub fn refresh_name(version: u8) -> String {
    format!("refresh:{version}")
}

/// What the secret of a client is sealed as that signs with it.
pub fn client_secret_name(client_id: &ClientId) -> String {
    format!("client_secret:{client_id}")
}

fn associated(name: &str) -> Vec<u8> {
    format!("latchkey sealed v1|{name}").into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::SystemEntropy;

    fn masters() -> MasterKeys {
        MasterKeys::new(MasterKey::new([7; 32]))
    }

    #[test]
    fn what_was_sealed_opens() {
        let sealed = masters().seal(&SystemEntropy, "signing:a", b"private");
        assert_eq!(masters().open("signing:a", &sealed).unwrap().as_slice(), b"private");
        assert!(!sealed.windows(7).any(|window| window == b"private"));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let sealed = masters().seal(&SystemEntropy, "signing:a", b"private");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            let error = masters().open("signing:a", &altered).unwrap_err();
            assert_eq!(matches!(error, SealError::MissingMaster { .. }), ID.contains(&at), "byte {at}: {error}");
        }
        for length in 0..sealed.len() {
            assert_eq!(masters().open("signing:a", &sealed[..length]).unwrap_err(), SealError::Damaged);
        }
    }

    #[test]
    fn a_seal_opens_only_as_what_it_is_of() {
        let sealed = masters().seal(&SystemEntropy, "signing:a", b"private");
        assert_eq!(masters().open("signing:b", &sealed).unwrap_err(), SealError::Damaged);
    }

    #[test]
    fn a_missing_master_key_is_named() {
        let sealed = masters().seal(&SystemEntropy, "signing:a", b"private");
        let other = MasterKeys::new(MasterKey::new([8; 32]));
        let error = other.open("signing:a", &sealed).unwrap_err();
        assert_eq!(error, SealError::MissingMaster { id: masters().current.id() });
        assert!(error.to_string().contains(&masters().current.id()));
    }

    #[test]
    fn previous_master_keys_open_and_the_current_one_seals_anew() {
        let sealed = masters().seal(&SystemEntropy, "refresh:1", b"private");
        let both = MasterKeys { current: MasterKey::new([8; 32]), previous: vec![MasterKey::new([7; 32])] };
        let resealed = both.reseal(&SystemEntropy, "refresh:1", &sealed).unwrap().unwrap();
        assert_eq!(sealed_under(&resealed), Some(both.current.id()));
        assert_eq!(
            MasterKeys::new(MasterKey::new([8; 32])).open("refresh:1", &resealed).unwrap().as_slice(),
            b"private"
        );
        assert_eq!(both.reseal(&SystemEntropy, "refresh:1", &resealed).unwrap(), None);
    }

    #[test]
    fn a_master_key_shows_its_id_and_nothing_else() {
        let master = MasterKey::new([7; 32]);
        assert_eq!(master.id().len(), 16);
        assert_eq!(format!("{master:?}"), format!("MasterKey({})", master.id()));
        assert_ne!(master.id(), MasterKey::new([8; 32]).id());
    }
}
