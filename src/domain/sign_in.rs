//! Sign-ins: what a browser's login at Latchkey itself is, and how long it lasts (OpenID Connect Core section 3.1.2.3,
//! RFC 6265 for the cookie that carries its secret).
//!
//! A sign-in is one user in one browser: one row, found by the hash of the secret in the browser's cookie and named by
//! a public id. Sessions of clients come from it, one per code exchange, and have limits of their own.

use std::time::Duration;

use super::ids::{SignInId, Sub};
use super::session::EndReason;
use super::time::Timestamp;

/// Use is noted at most this often: a page that asks again and again costs one write a minute.
pub const NOTED_EVERY: Duration = Duration::from_secs(60);

/// How much of a browser's name for itself is kept, in characters.
pub const USER_AGENT_MAX: usize = 256;

/// How long sign-ins last: the operator's `sign_in.*` settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInLimits {
    /// From the last use. Some minutes at least, since use is noted once in [`NOTED_EVERY`].
    pub idle: Duration,
    /// From the last time the password was typed.
    pub absolute: Duration,
}

impl Default for SignInLimits {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self { idle: Duration::from_secs(24 * HOUR), absolute: Duration::from_secs(14 * 24 * HOUR) }
    }
}

/// Why a sign-in ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignInEnd {
    /// The user signed out, here or at a client.
    LoggedOut,
    /// Another user signed in in the same browser.
    Replaced,
    /// An operator ended it.
    RevokedByAdmin,
    PasswordChanged,
    UserDisabled,
    UserDeleted,
    /// What a newer Latchkey on the same database has given, and this one does not know.
    Unknown,
}

impl SignInEnd {
    pub const ALL: [Self; 7] = [
        Self::LoggedOut,
        Self::Replaced,
        Self::RevokedByAdmin,
        Self::PasswordChanged,
        Self::UserDisabled,
        Self::UserDeleted,
        Self::Unknown,
    ];

    /// How it is stored and shown to operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::Replaced => "replaced",
            Self::RevokedByAdmin => "revoked_by_admin",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::Unknown => "unknown",
        }
    }

    /// What [`Self::as_str`] has stored, here or in a newer version.
    pub fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|known| known.as_str() == text).unwrap_or(Self::Unknown)
    }

    /// Why the sessions end that end with it.
    pub const fn of_sessions(self) -> EndReason {
        match self {
            Self::LoggedOut | Self::Replaced => EndReason::LoggedOut,
            Self::RevokedByAdmin => EndReason::RevokedByAdmin,
            Self::PasswordChanged => EndReason::PasswordChanged,
            Self::UserDisabled => EndReason::UserDisabled,
            Self::UserDeleted => EndReason::UserDeleted,
            Self::Unknown => EndReason::Unknown,
        }
    }

    /// Why a user's sign-ins end where all the user's sessions end for this reason.
    pub const fn with_all_sessions(reason: EndReason) -> Self {
        match reason {
            EndReason::PasswordChanged => Self::PasswordChanged,
            EndReason::UserDisabled => Self::UserDisabled,
            EndReason::UserDeleted => Self::UserDeleted,
            EndReason::LoggedOut => Self::LoggedOut,
            EndReason::Unknown => Self::Unknown,
            // The others end the sessions of a client, or one.
            EndReason::RevokedByAdmin
            | EndReason::RevokedByClient
            | EndReason::Reused
            | EndReason::CodeReused
            | EndReason::ConsentRevoked
            | EndReason::ClientDeleted => Self::RevokedByAdmin,
        }
    }

    /// Whether permissions that outlive a sign-in (`offline_access`) outlive this end of it: a user's own leaving spares
    /// them, whatever takes the user's access away does not.
    pub const fn spares_offline(self) -> bool {
        matches!(self, Self::LoggedOut | Self::Replaced)
    }
}

/// The browser that a user signs in from, as the user will recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser {
    /// At most [`USER_AGENT_MAX`] characters, none of them a control.
    pub user_agent: String,
    /// As the trusted-proxy rules see it.
    pub address: String,
}

impl Browser {
    /// Keeps of the `User-Agent` what may be stored and shown.
    pub fn new(user_agent: &str, address: impl Into<String>) -> Self {
        let user_agent = user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_MAX).collect();
        Self { user_agent, address: address.into() }
    }
}

/// One user's login in one browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub id: SignInId,
    pub sub: Sub,
    /// When the password was last typed.
    pub auth_time: Timestamp,
    pub started_at: Timestamp,
    /// Up to [`NOTED_EVERY`] behind the last use.
    pub last_used_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub absolute_expires_at: Timestamp,
    /// As it was when the password was last typed.
    pub browser: Browser,
    pub ended: Option<(Timestamp, SignInEnd)>,
}

impl SignIn {
    /// A user has just typed the password.
    pub fn begin(id: SignInId, sub: Sub, browser: Browser, limits: &SignInLimits, now: Timestamp) -> Self {
        Self {
            id,
            sub,
            auth_time: now,
            started_at: now,
            last_used_at: now,
            idle_expires_at: now.plus(limits.idle),
            absolute_expires_at: now.plus(limits.absolute),
            browser,
            ended: None,
        }
    }

    /// The same user has typed the password again in the same browser: the limits begin anew.
    pub fn renewed(&self, browser: Browser, limits: &SignInLimits, now: Timestamp) -> Self {
        let begun = Self::begin(self.id, self.sub.clone(), browser, limits, now);
        Self { started_at: self.started_at, ..begun }
    }

    /// When it expires if nobody uses it again.
    pub fn expires_at(&self) -> Timestamp {
        self.idle_expires_at.min(self.absolute_expires_at)
    }

    /// The same under the present limits, which may have been shortened since.
    pub fn expires_under(&self, limits: &SignInLimits) -> Timestamp {
        let present = self.last_used_at.plus(limits.idle).min(self.auth_time.plus(limits.absolute));
        self.expires_at().min(present)
    }

    /// Whether the browser is signed in by it.
    pub fn is_live(&self, limits: &SignInLimits, now: Timestamp) -> bool {
        self.ended.is_none() && now < self.expires_under(limits)
    }

    /// Notes a use and moves the idle limit. Answers whether that must be written: not where it is over, and not where a
    /// use was noted a moment ago.
    pub fn touch(&mut self, limits: &SignInLimits, now: Timestamp) -> bool {
        if !self.is_live(limits, now) || now.since(self.last_used_at) < NOTED_EVERY {
            return false;
        }
        self.last_used_at = now;
        self.idle_expires_at = now.plus(limits.idle);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn begun(limits: &SignInLimits) -> SignIn {
        SignIn::begin(SignInId::from_bytes([1; 16]), Sub::new("usr_1"), Browser::new("Browser", "::1"), limits, NOW)
    }

    #[test]
    fn a_sign_in_lasts_a_day_unused_and_two_weeks_at_most() {
        let limits = SignInLimits::default();
        let day = seconds(24 * 60 * 60);
        let mut sign_in = begun(&limits);
        let almost = |span: Duration| NOW.plus(span).minus(Duration::from_millis(1));
        assert!(sign_in.is_live(&limits, almost(day)) && !sign_in.is_live(&limits, NOW.plus(day)));
        for hours in (0..14 * 24).step_by(12) {
            sign_in.touch(&limits, NOW.plus(seconds(hours * 60 * 60)));
        }
        assert!(sign_in.is_live(&limits, almost(14 * day)) && !sign_in.is_live(&limits, NOW.plus(14 * day)));
        let again = sign_in.renewed(Browser::new("Other", "::2"), &limits, NOW.plus(13 * day));
        assert_eq!((again.id, again.started_at, again.auth_time), (sign_in.id, NOW, NOW.plus(13 * day)));
        assert_eq!(again.absolute_expires_at, NOW.plus(27 * day), "the password was typed");
        let ended = SignIn { ended: Some((NOW, SignInEnd::LoggedOut)), ..sign_in };
        assert!(!ended.is_live(&limits, NOW));
    }

    #[test]
    fn shortened_limits_count_for_those_who_are_signed_in() {
        let long = SignInLimits::default();
        let sign_in = begun(&long);
        let short = SignInLimits { idle: seconds(300), ..long };
        assert!(sign_in.is_live(&short, NOW.plus(seconds(299))) && !sign_in.is_live(&short, NOW.plus(seconds(300))));
        let short = SignInLimits { absolute: seconds(300), ..long };
        assert!(!sign_in.is_live(&short, NOW.plus(seconds(300))));
    }

    #[test]
    fn a_browsers_name_is_cut_and_holds_no_controls() {
        assert_eq!(Browser::new("a\0b\u{7f}\nc", "").user_agent, "abc");
        assert_eq!(Browser::new(&"é".repeat(300), "").user_agent, "é".repeat(USER_AGENT_MAX));
    }

    #[test]
    fn every_end_has_a_name_and_ends_sessions_for_what_it_is() {
        for end in SignInEnd::ALL {
            assert_eq!(SignInEnd::read(end.as_str()), end);
            let back = SignInEnd::with_all_sessions(end.of_sessions());
            assert!(back == end || end == SignInEnd::Replaced, "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn use_is_noted_once_a_minute_and_passes_no_limit(
            steps in proptest::collection::vec(0_u64..7_200_000, 1..60),
            idle in 300_u64..90_000,
            absolute in 300_u64..2_000_000,
        ) {
            let limits = SignInLimits { idle: seconds(idle), absolute: seconds(absolute) };
            let mut sign_in = begun(&limits);
            let mut now = NOW;
            for step in steps {
                now = now.plus(Duration::from_millis(step));
                let before = sign_in.clone();
                let was_live = before.is_live(&limits, now);
                let noted = sign_in.touch(&limits, now);
                prop_assert_eq!(noted, was_live && now.since(before.last_used_at) >= NOTED_EVERY);
                if noted {
                    prop_assert_eq!(sign_in.last_used_at, now);
                    prop_assert!(sign_in.expires_at() >= before.expires_at());
                } else {
                    prop_assert_eq!(&sign_in, &before);
                }
                prop_assert_eq!(sign_in.is_live(&limits, now), was_live, "what is over stays over");
                prop_assert!(sign_in.expires_at() <= NOW.plus(limits.absolute));
                prop_assert!(!sign_in.is_live(&limits, now.plus(limits.idle)));
            }
        }
    }
}
