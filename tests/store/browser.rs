//! Users in browsers, for the tests of what they leave behind: sign-ins, codes, and the sessions that codes open.

use latchkey::domain::audit::AuditType;
use latchkey::domain::code::{Challenge, Code, LIFETIME};
use latchkey::domain::ids::{ClientId, SignInId};
use latchkey::domain::scope::Scope;
use latchkey::domain::session::EndReason;
use latchkey::domain::sign_in::{Browser, SignIn, SignInEnd, SignInLimits};
use latchkey::domain::sources::{SystemEntropy, random};
use latchkey::domain::user::User;
use latchkey::storage::{BeginOutcome, BeginSignIn, EndSignIn, RedeemCode, RedeemCodeOutcome};

use crate::bed::{Bed, NOW, Token, event, login, seconds};

/// A user's login in a browser.
pub fn sign_in(user: &User) -> BeginSignIn {
    let id = SignInId::generate(&SystemEntropy);
    let browser = Browser::new("Mozilla/5.0 (X11; Linux x86_64)", "192.0.2.7");
    BeginSignIn {
        sign_in: SignIn::begin(id, user.sub.clone(), browser, &SignInLimits::default(), NOW),
        secret_hash: random(&SystemEntropy),
        credential_epoch: user.credential_epoch,
        replaces: None,
        known_address: None,
        horizon: NOW.plus(seconds(600)),
        audit: event(AuditType::SignInBegan).about_user(&user.sub),
    }
}

pub fn end_of(id: SignInId, reason: SignInEnd) -> EndSignIn {
    EndSignIn {
        id,
        of_user: None,
        reason,
        end_sessions: true,
        now: NOW,
        horizon: NOW.plus(seconds(600)),
        audit: event(AuditType::SignInEnded),
    }
}

/// A code with everything in it.
pub fn code(user: &User, sign_in: SignInId) -> Code {
    Code {
        client_id: ClientId::new("app"),
        redirect_uri: Some("https://app.example/callback".into()),
        challenge: Some(Challenge::from_bytes([7; 32])),
        nonce: Some("n-0S6_WzA2Mj".into()),
        scope: Scope::parse("openid read").unwrap(),
        audience: vec!["https://api.example".into()],
        sub: user.sub.clone(),
        credential_epoch: user.credential_epoch,
        sign_in,
        auth_time: NOW,
        acr: Some("1".into()),
        claims: Some(r#"{"userinfo":{"email":{"essential":true}}}"#.into()),
        created_at: NOW,
        expires_at: NOW.plus(LIFETIME),
        redeemed: None,
    }
}

/// A code that waits for its exchange: the request that exchanges it, and the refresh token that this gives.
#[derive(Clone)]
pub struct Waiting {
    pub redemption: RedeemCode,
    pub first: Token,
}

impl Waiting {
    /// The same code exchanged again: for another session, as a node that knows nothing of the first would plan it.
    pub fn again(&self, bed: &Bed, user: &User) -> RedeemCode {
        redemption(bed, user, self.redemption.session.sign_in, self.redemption.hash).redemption
    }

    pub fn offline(mut self) -> Self {
        self.redemption.session.offline = true;
        self
    }
}

fn redemption(bed: &Bed, user: &User, sign_in: Option<SignInId>, hash: [u8; 32]) -> Waiting {
    let (open, first) = login(user, &bed.policy);
    let mut session = open.session;
    session.sign_in = sign_in;
    let audit = event(AuditType::CodeRedeemed).about_user(&user.sub).about_session(session.id);
    let horizon = NOW.plus(seconds(600));
    Waiting { redemption: RedeemCode { hash, session, now: NOW, address: None, horizon, audit }, first }
}

impl Bed {
    pub async fn signed_in(&self, user: &User) -> SignIn {
        let login = sign_in(user);
        let begun = self.store.begin_sign_in(login.clone()).await.unwrap();
        assert_eq!(begun, BeginOutcome::Begun { replaced: Vec::new() });
        login.sign_in
    }

    /// The sign-in as the database has it.
    pub async fn sign_in(&self, id: SignInId) -> SignIn {
        self.store.sign_in(id).await.unwrap().unwrap()
    }

    pub async fn sign_in_end(&self, id: SignInId) -> Option<SignInEnd> {
        self.sign_in(id).await.ended.map(|(_, reason)| reason)
    }

    pub async fn waiting_code(&self, user: &User, sign_in: SignInId) -> Waiting {
        let hash = random(&SystemEntropy);
        self.store.create_code(hash, code(user, sign_in)).await.unwrap();
        redemption(self, user, Some(sign_in), hash)
    }

    pub async fn redeem_code(&self, redemption: RedeemCode) -> RedeemCodeOutcome {
        self.store.redeem_code(redemption).await.unwrap()
    }

    /// A session that a code has opened.
    pub async fn session_of(&self, user: &User, sign_in: SignInId) -> Token {
        let waiting = self.waiting_code(user, sign_in).await;
        assert_eq!(self.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Opened);
        waiting.first
    }

    /// The same with `offline_access`.
    pub async fn offline_session_of(&self, user: &User, sign_in: SignInId) -> Token {
        let waiting = self.waiting_code(user, sign_in).await.offline();
        assert_eq!(self.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Opened);
        waiting.first
    }

    pub async fn end_of(&self, token: &Token) -> Option<EndReason> {
        self.session(token).await.ended.map(|(_, reason)| reason)
    }

    /// More rows than one transaction ends: 5,200 of what is inserted, `i` being the number of each.
    pub async fn many(&self, insert: &str) {
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5200)";
        self.raw().await.run(&format!("{rows} {insert} FROM n")).await;
    }

    /// 5,200 sessions of a user that came from a sign-in.
    pub async fn many_sessions(&self, user: &User, sign_in: SignInId) {
        let (sub, now, later) = (&user.sub, NOW.millis(), NOW.plus(seconds(9000)).millis());
        self.many(&format!(
            "INSERT INTO sessions (id, client_id, sub, scope, audience, auth_time, started_at, last_used_at, \
             idle_expires_at, absolute_expires_at, sign_in) \
             SELECT 'AAAAAAAAAAAAAAAA' || CAST(10000 + i AS TEXT) || 'A', 'app', '{sub}', '', '[]', {now}, {now}, {now}, \
             {later}, {later}, '{sign_in}'"
        ))
        .await;
    }

    /// 5,200 sign-ins of a user.
    pub async fn many_sign_ins(&self, user: &User) {
        let (sub, now, later) = (&user.sub, NOW.millis(), NOW.plus(seconds(9000)).millis());
        let bytes = if self.store.has_other_writers() { "bytea" } else { "BLOB" };
        self.many(&format!(
            "INSERT INTO sign_ins (id, secret_hash, sub, auth_time, started_at, last_used_at, idle_expires_at, \
             absolute_expires_at, user_agent, address) \
             SELECT 'AAAAAAAAAAAAAAAA' || CAST(10000 + i AS TEXT) || 'A', CAST(CAST(i AS TEXT) AS {bytes}), '{sub}', \
             {now}, {now}, {now}, {later}, {later}, '', ''"
        ))
        .await;
    }

    pub async fn live(&self, table: &str) -> i64 {
        self.raw().await.number(&format!("SELECT count(*) FROM {table} WHERE ended_at IS NULL")).await
    }
}
