//! Client secrets: drawn or given, shown once, rotated with an overlap.

use std::time::Duration;

use serde::Deserialize;

use super::spec::{Secret, chosen_secret};
use super::{Registered, change};
use crate::admin::AdminCaller;
use crate::admin::field::Field;
use crate::context::Context;
use crate::credentials::{Credentials, secrets};
use crate::domain::audit::AuditType;
use crate::domain::client::{AuthMethod, Client, ClientSecret, SecretHash};
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::domain::units::{parse_seconds, show_duration};
use crate::keys::seal::client_secret_name;

/// How long the old secret stays valid where the request does not say: long enough to roll a new one out.
const OVERLAP_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Secrets that count at the same time, at most: each one is tried at every authentication.
const LIVE_MAX: usize = 3;

/// The body of a secret's rotation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretRotation {
    /// A secret that a person chose; otherwise one is drawn.
    pub client_secret: Field<Secret>,
    /// How long the secrets there are stay valid, as a span; `0s` ends them at once.
    pub overlap: Field<String>,
}

/// Gives a client a new secret. Those before it stay valid for the overlap, and no longer than they were to anyway.
///
/// # Errors
/// [`Code::InvalidClientMetadata`]: the client is public, or the secret or the overlap is none.
/// [`Code::InsufficientScope`]: the client holds an `admin*` scope that the caller lacks. [`Code::Conflict`]: too many
/// secrets still count. [`Code::NotFound`]. The database does not answer.
pub async fn rotate_secret(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    client_id: &str,
    rotation: &SecretRotation,
) -> Result<Registered, OAuthError> {
    let overlap = overlap(rotation)?;
    let given = match &rotation.client_secret {
        Field::Absent | Field::Null => None,
        Field::Is(Secret(secret)) => Some(chosen_secret(secret)?),
    };
    let (secret, drawn) = given_or_drawn(ctx, credentials, given).await?;
    let client = change(ctx, caller, client_id, AuditType::ClientSecretRotated, |base| {
        rotated(base, secret.kept_for(ctx, base), overlap, ctx.now())
    })
    .await?;
    Ok(Registered { client, secret: drawn })
}

fn overlap(rotation: &SecretRotation) -> Result<Duration, OAuthError> {
    let Field::Is(text) = &rotation.overlap else { return Ok(OVERLAP_DEFAULT) };
    parse_seconds(text).filter(|overlap| *overlap <= OVERLAP_MAX).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let most = show_duration(OVERLAP_MAX);
        OAuthError::new(
            Code::InvalidClientMetadata,
            format!("overlap: {shown:?} is not a span up to {most}; write one like \"0s\", \"1h\" or \"7d\""),
        )
    })
}

/// The client with the new secret in front; what has ended is forgotten.
fn rotated(base: &Client, secret: ClientSecret, overlap: Duration, now: Timestamp) -> Result<Client, OAuthError> {
    if !base.auth_method.has_secret() {
        return Err(OAuthError::new(
            Code::InvalidClientMetadata,
            format!(
                "this client has no secret (token_endpoint_auth_method {}); change the method first",
                base.auth_method.as_str()
            ),
        ));
    }
    let end = now.plus(overlap);
    let older = base.secrets.iter().map(|old| ClientSecret {
        expires_at: Some(old.expires_at.map_or(end, |sooner| sooner.min(end))),
        ..old.clone()
    });
    let mut next = base.clone();
    next.secrets = std::iter::once(secret).chain(older).collect();
    next.secrets.retain(|secret| secret.expires_at.is_none_or(|end| now < end));
    if next.secrets.len() > LIVE_MAX {
        return Err(OAuthError::new(
            Code::Conflict,
            format!("this client would have more than {LIVE_MAX} secrets that count; pass a shorter overlap, or wait"),
        ));
    }
    Ok(next)
}

/// A secret on its way to a client.
pub(super) struct NewSecret {
    text: SecretText,
    /// How every client keeps it that only presents it.
    hash: SecretHash,
    chosen: bool,
}

impl NewSecret {
    /// The secret as this client keeps it: sealed where it signs with it, else hashed.
    pub(super) fn kept_for(&self, ctx: &Context, client: &Client) -> ClientSecret {
        let hash = if client.auth_method == AuthMethod::ClientSecretJwt {
            let name = client_secret_name(&client.client_id);
            let sealed = ctx.masters.seal(ctx.entropy.as_ref(), &name, self.text.expose().as_bytes());
            SecretHash::Sealed { sealed, chosen: self.chosen }
        } else {
            self.hash.clone()
        };
        ClientSecret { hash, created_at: ctx.now(), expires_at: None }
    }
}

/// The given secret, hashed slowly, or a drawn one with its text.
pub(super) async fn given_or_drawn(
    ctx: &Context,
    credentials: &Credentials,
    given: Option<&SecretText>,
) -> Result<(NewSecret, Option<SecretText>), OAuthError> {
    let Some(given) = given else {
        let (secret, text) = draw(ctx);
        return Ok((secret, Some(text)));
    };
    let hash = secrets::hash_chosen(credentials, given).await?;
    Ok((NewSecret { text: given.clone(), hash, chosen: true }, None))
}

/// A secret of 256 random bits, and its text.
pub(super) fn draw(ctx: &Context) -> (NewSecret, SecretText) {
    let text = secrets::draw(ctx.entropy.as_ref());
    let hash = secrets::hash_drawn(&text);
    (NewSecret { text: text.clone(), hash, chosen: false }, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::{AuthMethod, SecretHash};
    use crate::domain::ids::ClientId;

    const DAY: Duration = Duration::from_secs(86_400);

    fn secret(number: u8) -> ClientSecret {
        let created_at = Timestamp::from_seconds(i64::from(number));
        ClientSecret { hash: SecretHash::Sha256([number; 32]), created_at, expires_at: None }
    }

    #[test]
    fn the_old_secret_overlaps_and_ends_no_later_than_before() {
        let start = Timestamp::from_seconds(0);
        let mut client = Client::blank(ClientId::new("web"), start);
        client.secrets = vec![secret(1)];
        let second = rotated(&client, secret(2), DAY, start).unwrap();
        assert_eq!(second.secrets[0].expires_at, None);
        assert_eq!(second.secrets[1].expires_at, Some(start.plus(DAY)));

        let later = start.plus(DAY / 2);
        let third = rotated(&second, secret(3), DAY, later).unwrap();
        let ends: Vec<_> = third.secrets.iter().map(|secret| secret.expires_at).collect();
        assert_eq!(ends, [None, Some(later.plus(DAY)), Some(start.plus(DAY))]);
        assert_eq!(rotated(&third, secret(4), DAY, later).unwrap_err().code, Code::Conflict);

        let alone = rotated(&third, secret(4), Duration::ZERO, later).unwrap();
        assert_eq!(alone.secrets.len(), 1, "an overlap of nothing ends every older one at once");
        let after = rotated(&third, secret(4), DAY, start.plus(DAY)).unwrap();
        assert_eq!(after.secrets.len(), 3, "what has ended is forgotten");
    }

    #[test]
    fn a_client_that_shows_none_has_no_secret() {
        let now = Timestamp::from_seconds(0);
        let mut client = Client::blank(ClientId::new("spa"), now);
        for method in [AuthMethod::None, AuthMethod::PrivateKeyJwt] {
            client.auth_method = method;
            assert_eq!(rotated(&client, secret(1), DAY, now).unwrap_err().code, Code::InvalidClientMetadata);
        }
    }

    #[test]
    fn an_overlap_is_a_span() {
        for (text, taken) in [("0s", true), ("24h", true), ("30d", true), ("31d", false), ("soon", false)] {
            let rotation = SecretRotation { overlap: Field::Is(text.into()), ..SecretRotation::default() };
            assert_eq!(overlap(&rotation).is_ok(), taken, "{text}");
        }
        assert_eq!(overlap(&SecretRotation::default()).unwrap(), OVERLAP_DEFAULT);
    }
}
