//! A client's own `lifetimes`: what a body may say, and what contradicts what.

use std::time::Duration;

use serde::Deserialize;

use super::field::Field;
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};
use crate::domain::policy::{Lifetimes, TokenPolicy};
use crate::domain::units::{parse_seconds, show_duration};

/// The longest `access_ttl`: an offline verifier cannot be told of a revocation, so it must not matter for long.
const ACCESS_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest session: ten years.
const ABSOLUTE_MAX: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// The members of `lifetimes`, each a span as text (`10m`). A merge patch reaches into it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifetimesSpec {
    pub access_ttl: Field<String>,
    pub refresh_idle: Field<String>,
    pub refresh_absolute: Field<String>,
    pub refresh_retry_window: Field<String>,
    pub late_retry: Field<String>,
}

impl LifetimesSpec {
    /// The lifetimes that `base` becomes through this body.
    ///
    /// # Errors
    /// [`Code::InvalidClientMetadata`], naming the member whose value is no span.
    pub fn applied_to(&self, base: &Lifetimes) -> Result<Lifetimes, OAuthError> {
        let mut own = base.clone();
        for (name, field, place) in [
            ("access_ttl", &self.access_ttl, &mut own.access_ttl),
            ("refresh_idle", &self.refresh_idle, &mut own.refresh_idle),
            ("refresh_absolute", &self.refresh_absolute, &mut own.refresh_absolute),
            ("refresh_retry_window", &self.refresh_retry_window, &mut own.refresh_retry_window),
            ("late_retry", &self.late_retry, &mut own.late_retry),
        ] {
            field.as_ref().merge(place, None, |text| seconds(name, text).map(Some))?;
        }
        Ok(own)
    }
}

fn seconds(name: &str, text: &str) -> Result<u64, OAuthError> {
    parse_seconds(text).map(|span| span.as_secs()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        refused(format!("lifetimes.{name}: {shown:?} is not a span; write one like \"30s\", \"10m\" or \"7d\""))
    })
}

fn refused(description: String) -> OAuthError {
    OAuthError::new(Code::InvalidClientMetadata, description)
}

/// Judges the client's own lifetimes against each other and against the operator's.
///
/// Only a value of the client's own is ever refused: where the operator's default is the longer one, the shorter of
/// the two simply holds.
///
/// # Errors
/// [`Code::InvalidClientMetadata`], naming both members, their values and the mend.
pub fn check(client: &Client, policy: &TokenPolicy) -> Result<(), OAuthError> {
    let own = &client.lifetimes;
    let effective = policy.of(client);
    for (name, value, least, most) in [
        ("access_ttl", own.access_ttl, 1, ACCESS_MAX),
        ("refresh_idle", own.refresh_idle, 1, ABSOLUTE_MAX),
        ("refresh_absolute", own.refresh_absolute, 1, ABSOLUTE_MAX),
        ("refresh_retry_window", own.refresh_retry_window, 0, ABSOLUTE_MAX),
        ("late_retry", own.late_retry, 0, ABSOLUTE_MAX),
    ] {
        let fits = value.is_none_or(|value| (least..=most.as_secs()).contains(&value));
        if !fits {
            let value = show_duration(Duration::from_secs(value.unwrap_or_default()));
            let most = show_duration(most);
            return Err(refused(format!("lifetimes.{name} is {value}; it must be {least}s to {most}")));
        }
    }
    for (name, value, limit_name, limit) in [
        ("refresh_idle", own.refresh_idle, "refresh_absolute", effective.refresh_absolute),
        ("refresh_retry_window", own.refresh_retry_window, "refresh_idle", effective.refresh_idle),
        ("late_retry", own.late_retry, "refresh_retry_window", effective.refresh_retry_window),
    ] {
        let Some(value) = value.map(Duration::from_secs).filter(|value| *value > limit) else { continue };
        let (value, limit) = (show_duration(value), show_duration(limit));
        return Err(refused(format!(
            "lifetimes.{name} is {value}, longer than {limit_name} ({limit}), so it could never be reached; lower \
             it, or raise lifetimes.{limit_name}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ids::ClientId;
    use crate::domain::time::Timestamp;

    fn judge(body: Value) -> Result<(), OAuthError> {
        let spec: LifetimesSpec = serde_json::from_value(body).expect("the right shape");
        let mut client = Client::blank(ClientId::new("web"), Timestamp::from_seconds(1));
        client.lifetimes = spec.applied_to(&Lifetimes::default())?;
        check(&client, &TokenPolicy::default())
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        // The operator's: access 10m, idle 7d, absolute 30d, window 60s, late 15s.
        for (body, named) in [
            (json!({"access_ttl": "25h"}), "access_ttl is 25h"),
            (json!({"access_ttl": "0s"}), "access_ttl"),
            (json!({"access_ttl": "soon"}), "soon"),
            (json!({"refresh_idle": "31d"}), "refresh_absolute (30d)"),
            (json!({"refresh_idle": "2d", "refresh_absolute": "1d"}), "refresh_absolute (1d)"),
            (json!({"refresh_retry_window": "8d"}), "refresh_idle (7d)"),
            (json!({"late_retry": "2m"}), "refresh_retry_window (1m)"),
            (json!({"refresh_absolute": "4000d"}), "refresh_absolute"),
        ] {
            let error = judge(body.clone()).expect_err(&body.to_string());
            assert!(error.description.contains(named), "{body}: {}", error.description);
        }
    }

    #[test]
    fn a_shorter_value_of_ones_own_is_no_contradiction() {
        for body in [
            json!({}),
            json!({"access_ttl": "24h"}),
            json!({"refresh_absolute": "1d"}),
            json!({"refresh_idle": "30s"}),
            json!({"refresh_retry_window": "0s"}),
            json!({"refresh_retry_window": "12h", "late_retry": "1m"}),
            json!({"refresh_idle": "60d", "refresh_absolute": "90d"}),
        ] {
            assert!(judge(body.clone()).is_ok(), "{body}");
        }
    }
}
