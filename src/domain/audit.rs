//! The audit trail: who did what to whom, from where. Never a secret.

use super::ids::{ClientId, SessionId, Sub};
use super::time::Timestamp;

/// What happened. The names are what `GET /admin/v1/audit?type=` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditType {
    LoginSucceeded,
    LoginFailed,
    LoginThrottled,
    ClientAuthFailed,
    RefreshRetried,
    RetryPattern,
    RefreshReused,
    RefreshHealed,
    /// The first heal since the database started: it has lost what it had acknowledged last.
    TailLost,
    RefreshRefused,
    SessionRevoked,
    TokenRevoked,
    TokenRenewed,
    TokenDelegated,
    LegacyExchanged,
    LegacyReplayed,
    LegacyRefused,
    SignInBegan,
    /// The same user signed in again in the same browser.
    SignInRenewed,
    SignInEnded,
    CodeRedeemed,
    CodeReplayed,
    ConsentGranted,
    ConsentRevoked,
    /// A client has heard of the end of a session.
    LogoutDelivered,
    /// It has not, and nobody tries any longer.
    LogoutUndeliverable,
    KeyCreated,
    KeyActivated,
    KeyRetiring,
    KeyRetired,
    KeyCompromised,
    KeyImported,
    KeyRotationRequested,
    RefreshKeyRotated,
    RefreshKeyCompromised,
    MasterKeyRotated,
    ClientCreated,
    ClientUpdated,
    ClientDeleted,
    ClientSecretRotated,
    UserCreated,
    UserUpdated,
    UserDeleted,
    UserPasswordChanged,
    UserLoggedOut,
    UsersImported,
    AdminRecovered,
    AdminDenied,
    /// What a newer Latchkey on the same database has written, and this one does not know.
    Unknown,
}

impl AuditType {
    /// Those that are written.
    pub const ALL: [Self; 48] = [
        Self::LoginSucceeded,
        Self::LoginFailed,
        Self::LoginThrottled,
        Self::ClientAuthFailed,
        Self::RefreshRetried,
        Self::RetryPattern,
        Self::RefreshReused,
        Self::RefreshHealed,
        Self::TailLost,
        Self::RefreshRefused,
        Self::SessionRevoked,
        Self::TokenRevoked,
        Self::TokenRenewed,
        Self::TokenDelegated,
        Self::LegacyExchanged,
        Self::LegacyReplayed,
        Self::LegacyRefused,
        Self::SignInBegan,
        Self::SignInRenewed,
        Self::SignInEnded,
        Self::CodeRedeemed,
        Self::CodeReplayed,
        Self::ConsentGranted,
        Self::ConsentRevoked,
        Self::LogoutDelivered,
        Self::LogoutUndeliverable,
        Self::KeyCreated,
        Self::KeyActivated,
        Self::KeyRetiring,
        Self::KeyRetired,
        Self::KeyCompromised,
        Self::KeyImported,
        Self::KeyRotationRequested,
        Self::RefreshKeyRotated,
        Self::RefreshKeyCompromised,
        Self::MasterKeyRotated,
        Self::ClientCreated,
        Self::ClientUpdated,
        Self::ClientDeleted,
        Self::ClientSecretRotated,
        Self::UserCreated,
        Self::UserUpdated,
        Self::UserDeleted,
        Self::UserPasswordChanged,
        Self::UserLoggedOut,
        Self::UsersImported,
        Self::AdminRecovered,
        Self::AdminDenied,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginSucceeded => "login_succeeded",
            Self::LoginFailed => "login_failed",
            Self::LoginThrottled => "login_throttled",
            Self::ClientAuthFailed => "client_auth_failed",
            Self::RefreshRetried => "refresh_retried",
            Self::RetryPattern => "retry_pattern",
            Self::RefreshReused => "refresh_reused",
            Self::RefreshHealed => "refresh_healed",
            Self::TailLost => "tail_lost",
            Self::RefreshRefused => "refresh_refused",
            Self::SessionRevoked => "session_revoked",
            Self::TokenRevoked => "token_revoked",
            Self::TokenRenewed => "token_renewed",
            Self::TokenDelegated => "token_delegated",
            Self::LegacyExchanged => "legacy_exchanged",
            Self::LegacyReplayed => "legacy_replayed",
            Self::LegacyRefused => "legacy_refused",
            Self::SignInBegan => "sign_in_began",
            Self::SignInRenewed => "sign_in_renewed",
            Self::SignInEnded => "sign_in_ended",
            Self::CodeRedeemed => "code_redeemed",
            Self::CodeReplayed => "code_replayed",
            Self::ConsentGranted => "consent_granted",
            Self::ConsentRevoked => "consent_revoked",
            Self::LogoutDelivered => "logout_delivered",
            Self::LogoutUndeliverable => "logout_undeliverable",
            Self::KeyCreated => "key_created",
            Self::KeyActivated => "key_activated",
            Self::KeyRetiring => "key_retiring",
            Self::KeyRetired => "key_retired",
            Self::KeyCompromised => "key_compromised",
            Self::KeyImported => "key_imported",
            Self::KeyRotationRequested => "key_rotation_requested",
            Self::RefreshKeyRotated => "refresh_key_rotated",
            Self::RefreshKeyCompromised => "refresh_key_compromised",
            Self::MasterKeyRotated => "master_key_rotated",
            Self::ClientCreated => "client_created",
            Self::ClientUpdated => "client_updated",
            Self::ClientDeleted => "client_deleted",
            Self::ClientSecretRotated => "client_secret_rotated",
            Self::UserCreated => "user_created",
            Self::UserUpdated => "user_updated",
            Self::UserDeleted => "user_deleted",
            Self::UserPasswordChanged => "user_password_changed",
            Self::UserLoggedOut => "user_logged_out",
            Self::UsersImported => "users_imported",
            Self::AdminRecovered => "admin_recovered",
            Self::AdminDenied => "admin_denied",
            Self::Unknown => "unknown",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// Who acted, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// A `client_id`, a `sub`, or one of `system`, `bootstrap`, `shell`.
    pub who: String,
    /// The client that acted for a user, where there is one.
    pub via: Option<ClientId>,
    /// The caller's address, as the trusted-proxy rules see it.
    pub address: Option<String>,
}

impl Actor {
    /// A job of the service itself.
    pub fn system() -> Self {
        Self { who: "system".into(), ..Self::default() }
    }
}

/// One entry of the trail, before the database has numbered it.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    pub at: Timestamp,
    pub kind: AuditType,
    pub actor: Actor,
    pub sub: Option<Sub>,
    pub client_id: Option<ClientId>,
    pub sid: Option<SessionId>,
    /// What else there is to know, as a JSON object: changed field names, reasons, generations.
    pub detail: serde_json::Value,
}

impl AuditEvent {
    pub fn new(at: Timestamp, kind: AuditType, actor: Actor) -> Self {
        let detail = serde_json::Value::Object(serde_json::Map::new());
        Self { at, kind, actor, sub: None, client_id: None, sid: None, detail }
    }

    pub fn about_user(self, sub: &Sub) -> Self {
        Self { sub: Some(sub.clone()), ..self }
    }

    pub fn about_client(self, client_id: &ClientId) -> Self {
        Self { client_id: Some(client_id.clone()), ..self }
    }

    pub fn about_session(self, sid: SessionId) -> Self {
        Self { sid: Some(sid), ..self }
    }

    pub fn detail(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }
}

/// An entry as it is read back.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRecord {
    pub id: i64,
    pub event: AuditEvent,
}
