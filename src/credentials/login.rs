//! The check of a username and a password: throttle, verify, record. Whoever lets users log in goes through here.
//!
//! Unknown users, disabled ones and wrong passwords get the same answer at the same price.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::Credentials;
use super::passwords::{PasswordCheck, Typed, queue_full};
use super::precis::username_key;
use super::throttle::{Attempt, Denied};
use crate::context::Context;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, Sub};
use crate::domain::meter::Count;
use crate::domain::origin::Origin;
use crate::domain::secret::SecretText;
use crate::domain::user::User;

/// What every kind of wrong login is told.
pub const WRONG: &str = "wrong username or password";

/// How long an address stays known after a login from it.
pub const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A username and a password, and who brings them.
pub struct Login<'a> {
    pub username: &'a str,
    pub password: &'a SecretText,
    /// The client that asks for the login, where it is for one.
    pub client_id: Option<&'a ClientId>,
    /// The user's own address, as far as it is known.
    pub user_address: Option<IpAddr>,
    pub origin: &'a Origin,
}

impl Login<'_> {
    fn actor(&self, who: &str) -> Actor {
        Actor { who: who.to_owned(), via: self.client_id.cloned(), address: Some(self.origin.address().to_string()) }
    }
}

/// A user whose password was right.
pub struct LoggedIn {
    /// As read before the password was checked: a session opens only if `credential_epoch` still holds.
    pub user: User,
    /// The address to remember as known, hashed; `None` where only a backend's address is known.
    pub known_address: Option<[u8; 32]>,
}

/// Checks a login and records a failure. The caller records the success, with the session that it opens.
///
/// # Errors
/// `invalid_grant` for every kind of wrong; 429 past the free failures; 503 where the queue is full or the database does
/// not answer.
pub async fn check(ctx: &Context, credentials: &Credentials, login: Login<'_>) -> Result<LoggedIn, OAuthError> {
    // What no user can have says nothing of any user: it is refused in clear words, at no price.
    let malformed = |fault: String| OAuthError::new(Code::InvalidGrant, fault);
    let key = username_key(login.username).map_err(|fault| malformed(fault.to_string()))?;
    let typed = Typed::new(login.password).map_err(|fault| malformed(fault.to_string()))?;

    let attempt = reserve(ctx, credentials, &login, &key).await?;
    let user = ctx.store.user_by_username(&key).await?;
    let stored = user.as_ref().and_then(|user| user.password_hash.as_deref());
    let check = credentials.verify(&typed, stored, &key).await.inspect_err(|error| {
        if error.code == Code::TemporarilyUnavailable {
            ctx.meter.count(Count::PasswordQueueFull);
        }
    })?;
    match (user, check) {
        (Some(user), PasswordCheck::Right { needs_upgrade }) if !user.disabled => {
            attempt.succeeded().await;
            if needs_upgrade {
                upgrade(ctx, credentials, &user, typed.hashable().clone()).await;
            }
            let known_address = login.user_address.map(|address| credentials.address_hash(&user.sub, address));
            Ok(LoggedIn { user, known_address })
        }
        (user, check) => {
            attempt.failed().await;
            record_failure(ctx, &login, user.as_ref(), check).await?;
            // What nobody can choose as a password may still be one that came from elsewhere: told after the same check.
            Err(malformed(typed.fault().map_or_else(|| WRONG.to_owned(), |fault| fault.to_string())))
        }
    }
}

/// Lets the attempt in, or refuses it before it costs a hash.
async fn reserve(
    ctx: &Context,
    credentials: &Credentials,
    login: &Login<'_>,
    key: &str,
) -> Result<Attempt, OAuthError> {
    let throttle = &credentials.throttle;
    let address = login.user_address;
    let mut subjects = vec![throttle.subjects.account(key)];
    subjects.extend(login.client_id.map(|client_id| throttle.subjects.client(client_id)));
    subjects.extend(address.map(|address| throttle.subjects.address(address)));
    let (mut retry_after, announce) = match throttle.reserve(&subjects).await {
        Ok(attempt) => return Ok(attempt),
        Err(Denied::Overloaded) => return Err(overloaded(ctx)),
        Err(Denied::Unanswered(error)) => return Err(error.into()),
        Err(Denied::Throttled { retry_after, announce }) => (retry_after, announce),
    };

    // Somebody's guesses closed the door. Who has logged in from here lately gets through, on an own count.
    let user = if address.is_some() || announce { ctx.store.user_by_username(key).await? } else { None };
    let user = user.map(|user| user.sub);
    if let Some(address) = address
        && is_known(ctx, credentials, user.as_ref(), address).await?
    {
        match throttle.reserve(&[throttle.subjects.known_address(key, address)]).await {
            Ok(attempt) => return Ok(attempt),
            Err(Denied::Overloaded) => return Err(overloaded(ctx)),
            Err(Denied::Unanswered(error)) => return Err(error.into()),
            Err(Denied::Throttled { retry_after: own, .. }) => retry_after = own,
        }
    }

    ctx.meter.count(Count::LoginThrottled);
    if announce {
        let mut event = ctx.audit(AuditType::LoginThrottled, login.actor(user.as_ref().map_or("unknown", Sub::as_str)));
        event.sub = user;
        event.client_id = login.client_id.cloned();
        ctx.store.record(vec![event]).await?;
    }
    let seconds = retry_after.as_secs();
    let text = format!("too many failed logins; try again in {seconds} s");
    Err(OAuthError::new(Code::TooManyRequests, text).retry_after(retry_after))
}

/// Too many attempts wait for the outcome of others.
fn overloaded(ctx: &Context) -> OAuthError {
    ctx.meter.count(Count::PasswordQueueFull);
    queue_full()
}

/// Whether the user has logged in from the address lately. Asked of the database for unknown users too, so that the
/// time does not tell them apart.
async fn is_known(
    ctx: &Context,
    credentials: &Credentials,
    sub: Option<&Sub>,
    address: IpAddr,
) -> Result<bool, OAuthError> {
    let nobody = Sub::new("");
    let sub = sub.unwrap_or(&nobody);
    let hash = credentials.address_hash(sub, address);
    Ok(ctx.store.is_known_address(sub, &hash, ctx.now().minus(KNOWN_FOR)).await?)
}

async fn record_failure(
    ctx: &Context,
    login: &Login<'_>,
    user: Option<&User>,
    check: PasswordCheck,
) -> Result<(), OAuthError> {
    let reason = match (user, check) {
        (None, _) => "unknown_user",
        (Some(user), _) if user.password_hash.is_none() => "no_password",
        (Some(_), PasswordCheck::Wrong) => "wrong_password",
        (Some(_), PasswordCheck::Right { .. }) => "user_disabled",
    };
    ctx.meter.count(Count::LoginFailed);
    // Never the name of an unknown user: people type their password there.
    let who = user.map_or("unknown", |user| user.sub.as_str());
    let mut event = ctx.audit(AuditType::LoginFailed, login.actor(who)).detail(json!({ "reason": reason }));
    event.sub = user.map(|user| user.sub.clone());
    event.client_id = login.client_id.cloned();
    ctx.store.record(vec![event]).await?;
    Ok(())
}

/// Hashes the password with today's parameters while it is at hand. A login does not fail because this did.
async fn upgrade(ctx: &Context, credentials: &Credentials, user: &User, password: SecretText) {
    let outcome = match credentials.hash(password).await {
        Ok(hash) => ctx.store.upgrade_password_hash(&user.sub, user.credential_epoch, &hash).await.map_err(Into::into),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::warn!(sub = %user.sub, %error, "the password hash was not upgraded; the next login tries again");
    }
}
