//! Keyed fingerprints: what may be remembered of a name, an address or a secret.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::secret::Secret32;

/// HMAC-SHA256 of the parts, each behind its length, so that no two lists of parts look alike.
#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
pub(super) fn keyed_hash(key: &Secret32, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = Secret32::new([1; 32]);
        assert_ne!(keyed_hash(&key, &[b"ab", b"c"]), keyed_hash(&key, &[b"a", b"bc"]));
        assert_ne!(keyed_hash(&key, &[b"abc"]), keyed_hash(&Secret32::new([2; 32]), &[b"abc"]));
    }
}
