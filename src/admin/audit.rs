//! Reading the audit trail.

use super::page;
use crate::context::Context;
use crate::domain::audit::{AuditRecord, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::storage::{AuditFilter, Listed};

/// What a caller asks of the trail, as it came in.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// A name of [`AuditType`].
    pub kind: Option<String>,
    pub sub: Option<String>,
    pub client_id: Option<String>,
    pub sid: Option<String>,
    pub newest_first: bool,
    pub after: Option<String>,
    pub limit: Option<u32>,
}

/// One page of the trail, newest last unless asked otherwise.
///
/// # Errors
/// [`Code::InvalidRequest`]: the limit, the type or the session id is none. The database does not answer.
pub async fn list(ctx: &Context, query: AuditQuery) -> Result<Listed<AuditRecord>, OAuthError> {
    let page = page(query.after, query.limit)?;
    let kind = query.kind.map(|name| kind(&name)).transpose()?;
    let sid: Option<SessionId> = match query.sid {
        None => None,
        Some(text) => {
            Some(text.parse().map_err(|error| OAuthError::new(Code::InvalidRequest, format!("sid: {error}")))?)
        }
    };
    let filter = AuditFilter {
        kind,
        sub: query.sub.map(Sub::new),
        client_id: query.client_id.map(ClientId::new),
        sid,
        newest_first: query.newest_first,
    };
    Ok(ctx.store.audit(filter, page).await?)
}

fn kind(name: &str) -> Result<AuditType, OAuthError> {
    AuditType::parse(name).ok_or_else(|| {
        let known = AuditType::ALL.map(AuditType::as_str).join(", ");
        let shown: String = name.chars().take(80).collect();
        OAuthError::new(Code::InvalidRequest, format!("type: {shown:?} is none; these are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_answered_with_those_there_are() {
        assert_eq!(kind("key_activated").unwrap(), AuditType::KeyActivated);
        assert!(kind("key_lost").unwrap_err().description.contains("key_compromised"));
    }
}
