//! The store itself: each operation handed to the writers or the readers.

use std::time::Duration;

use async_trait::async_trait;

use super::codes::NewCode;
use super::ending::{EndedSession, TooMany};
use super::group::{GroupJob, Revoke};
use super::news::News;
use super::readers::Readers;
use super::sql::{Dialect, args};
use super::writer::Writers;
use super::{
    AssertionOutcome, AssertionUse, AuditFilter, BeginOutcome, BeginSignIn, CatchUp, ChangeOutcome, ClientEffects,
    CreateOutcome, CreateUserOutcome, EndOutcome, EndSession, EndSignIn, EndedSignIn, GrantConsent, ImportUsers,
    KeyCommit, KeyWrite, Lease, Listed, MigrationCounts, OpenOutcome, OpenSession, Page, Position, Raise, RedeemCode,
    RedeemCodeOutcome, RedeemOutcome, RedeemToken, RedeemedToken, Refresh, Refreshed, RenewOutcome, RenewSession,
    RenewSignIn, RenewSignInOutcome, ReserveAttempt, Result, RetryLogout, RevokeConsent, SessionFilter, SettleAttempt,
    SignInFilter, Store, StoreError, Swept, UserEffects, audit, clients, codes, consents, ending, import, keys, leases,
    legacy, logouts, nodes, revocations, sessions, sign_ins, throttles, upkeep, users,
};
use crate::domain::audit::{AuditEvent, AuditRecord};
use crate::domain::client::Client;
use crate::domain::code::Code;
use crate::domain::consent::Consent;
use crate::domain::failures;
use crate::domain::ids::{ClientId, Jti, NodeId, SessionId, SignInId, Sub};
use crate::domain::key::KeyTable;
use crate::domain::logout::LogoutDelivery;
use crate::domain::newcomers::Verdict;
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::session::{EndReason, Session};
use crate::domain::sign_in::SignIn;
use crate::domain::time::Timestamp;
use crate::domain::user::User;

/// More than one round of ending some sessions takes, the wait for its turn included.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// A database that is open.
pub(super) struct Database {
    readers: Readers,
    writers: Writers,
    news: News,
    dialect: Dialect,
}

impl Database {
    pub fn new(readers: Readers, writers: Writers, news: News, dialect: Dialect) -> Self {
        Self { readers, writers, news, dialect }
    }

    /// # Errors
    /// One process alone counts failures in its memory, and has no table for them.
    fn is_shared(&self) -> Result<()> {
        let alone = || StoreError::Inconsistent("failures of logins are not counted in this database".into());
        self.has_other_writers().then_some(()).ok_or_else(alone)
    }

    /// Ends sessions ahead of a change that found too many to end, some at a time, so that no other writer waits for
    /// long. Cut short, some sessions have ended and nothing has changed: who tries again goes on from there.
    ///
    /// Answers what has ended, and the horizon of what follows: tokens may be minted meanwhile.
    async fn end_ahead(&self, many: TooMany) -> Result<(Vec<EndedSession>, Timestamp)> {
        let TooMany { owner, mut ending } = many;
        let mut ended = Vec::new();
        loop {
            let owner = owner.clone();
            ending.horizon = ending.horizon.plus(LONGEST_ROUND);
            let mut round = self.writers.alone(move |tx| Box::pin(ending::end_some(tx, owner, ending))).await?;
            ended.append(&mut round.sessions);
            // Not until there is none: more may be opened all the while.
            if !round.is_full() {
                return Ok((ended, ending.horizon));
            }
        }
    }
}

#[async_trait]
impl Store for Database {
    async fn ping(&self) -> Result<()> {
        self.readers.fetch("SELECT 1 AS alive", args![]).await?;
        Ok(())
    }

    async fn use_assertion(&self, assertion: AssertionUse) -> Result<AssertionOutcome> {
        // Copies of one assertion meet at one writer.
        let mut owner = [0; 16];
        owner.copy_from_slice(&assertion.hash[..16]);
        self.writers.together(Some(SessionId::from_bytes(owner)), assertion, GroupJob::UseAssertion).await
    }

    async fn open_session(&self, login: OpenSession) -> Result<OpenOutcome> {
        self.writers.together(Some(login.session.id), login, |job| GroupJob::Open(Box::new(job))).await
    }

    async fn redeem_token(&self, token: RedeemToken) -> Result<RedeemOutcome> {
        self.writers.together(Some(token.sid), token, |job| GroupJob::Redeem(Box::new(job))).await
    }

    async fn redeemed_token(&self, hash: &[u8; 32]) -> Result<Option<RedeemedToken>> {
        Ok(legacy::one(&self.readers, hash).await?)
    }

    async fn migration_counts(&self) -> Result<MigrationCounts> {
        Ok(legacy::counts(&self.readers).await?)
    }

    async fn refresh(&self, refresh: Refresh) -> Result<Refreshed> {
        self.writers.together(Some(refresh.presented.session), refresh, |job| GroupJob::Refresh(Box::new(job))).await
    }

    async fn renew_session(&self, renewal: RenewSession) -> Result<RenewOutcome> {
        self.writers.together(Some(renewal.id), renewal, |job| GroupJob::Renew(Box::new(job))).await
    }

    async fn end_session(&self, end: EndSession) -> Result<EndOutcome> {
        self.writers.together(Some(end.id), end, |job| GroupJob::End(Box::new(job))).await
    }

    async fn end_user_sessions(&self, sub: &Sub, mut effects: UserEffects) -> Result<u64> {
        let mut ahead = 0;
        loop {
            let (sub, these) = (sub.clone(), effects.clone());
            let work = self.writers.alone(move |tx| {
                Box::pin(async move { users::carry_out(tx, &sub, these, Some(EndReason::RevokedByAdmin)).await })
            });
            match work.await? {
                Ok(ended) => return Ok(ahead + ended),
                Err(many) => {
                    let (ended, horizon) = self.end_ahead(many).await?;
                    (ahead, effects.horizon) = (ahead + ended.len() as u64, horizon);
                }
            }
        }
    }

    async fn revoke_token(&self, jti: &Jti, expires_at: Timestamp, audit: AuditEvent) -> Result<()> {
        let revocation = Revocation { what: Revoked::Token(jti.clone()), expires_at };
        let request = Revoke { revocation, audit: Some(audit) };
        self.writers.together(None, request, |job| GroupJob::Revoke(Box::new(job))).await
    }

    async fn revoke_lost_session(&self, id: SessionId, expires_at: Timestamp) -> Result<()> {
        let revocation = Revocation { what: Revoked::Session(id), expires_at };
        self.writers.together(None, Revoke { revocation, audit: None }, |job| GroupJob::Revoke(Box::new(job))).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>> {
        Ok(sessions::one(&self.readers, id).await?)
    }

    async fn sessions(&self, filter: SessionFilter, page: Page) -> Result<Listed<Session>> {
        Ok(sessions::list(&self.readers, filter, page).await?)
    }

    async fn begin_sign_in(&self, mut login: BeginSignIn) -> Result<BeginOutcome> {
        let mut ahead = Vec::new();
        loop {
            let this = login.clone();
            match self.writers.alone(move |tx| Box::pin(sign_ins::begin(tx, this))).await? {
                Ok(BeginOutcome::Begun { mut replaced }) => {
                    replaced.append(&mut ahead);
                    return Ok(BeginOutcome::Begun { replaced });
                }
                Ok(outcome) => return Ok(outcome),
                Err(many) => {
                    let (ended, horizon) = self.end_ahead(many).await?;
                    ahead.extend(ended.into_iter().map(Into::into));
                    login.horizon = horizon;
                }
            }
        }
    }

    async fn renew_sign_in(&self, login: RenewSignIn) -> Result<RenewSignInOutcome> {
        self.writers.alone(move |tx| Box::pin(sign_ins::renew(tx, login))).await
    }

    async fn touch_sign_in(&self, used: &SignIn) -> Result<bool> {
        let used = used.clone();
        self.writers.alone(move |tx| Box::pin(sign_ins::touch(tx, used))).await
    }

    async fn end_sign_in(&self, mut end: EndSignIn) -> Result<EndedSignIn> {
        let mut ahead = Vec::new();
        loop {
            let this = end.clone();
            match self.writers.alone(move |tx| Box::pin(sign_ins::end(tx, this))).await? {
                Ok(mut ended) => {
                    ended.sessions.append(&mut ahead);
                    return Ok(ended);
                }
                Err(many) => {
                    let (ended, horizon) = self.end_ahead(many).await?;
                    ahead.extend(ended.into_iter().map(Into::into));
                    end.horizon = horizon;
                }
            }
        }
    }

    async fn sign_in(&self, id: SignInId) -> Result<Option<SignIn>> {
        Ok(sign_ins::one(&self.readers, id).await?)
    }

    async fn sign_in_by_secret(&self, hash: &[u8; 32]) -> Result<Option<SignIn>> {
        Ok(sign_ins::by_secret(&self.readers, hash).await?)
    }

    async fn sign_ins(&self, filter: SignInFilter, page: Page) -> Result<Listed<SignIn>> {
        Ok(sign_ins::list(&self.readers, filter, page).await?)
    }

    async fn create_code(&self, hash: [u8; 32], code: Code) -> Result<()> {
        self.writers.together(None, NewCode { hash, code }, |job| GroupJob::CreateCode(Box::new(job))).await
    }

    async fn code(&self, hash: &[u8; 32]) -> Result<Option<Code>> {
        Ok(codes::one(&self.readers, hash).await?)
    }

    async fn redeem_code(&self, redemption: RedeemCode) -> Result<RedeemCodeOutcome> {
        let owner = Some(redemption.session.id);
        self.writers.together(owner, redemption, |job| GroupJob::RedeemCode(Box::new(job))).await
    }

    async fn grant_consent(&self, grant: GrantConsent) -> Result<Option<Consent>> {
        self.writers.alone(move |tx| Box::pin(consents::grant(tx, grant))).await
    }

    async fn revoke_consent(&self, mut revocation: RevokeConsent) -> Result<Option<u64>> {
        let mut ahead = 0;
        loop {
            let this = revocation.clone();
            match self.writers.alone(move |tx| Box::pin(consents::revoke(tx, this))).await? {
                Ok(ended) => return Ok(ended.map(|ended| ahead + ended)),
                Err(many) => {
                    let (ended, horizon) = self.end_ahead(many).await?;
                    (ahead, revocation.horizon) = (ahead + ended.len() as u64, horizon);
                }
            }
        }
    }

    async fn consent(&self, sub: &Sub, client_id: &ClientId) -> Result<Option<Consent>> {
        Ok(consents::one(&self.readers, sub, client_id).await?)
    }

    async fn consents_of(&self, sub: &Sub) -> Result<Vec<Consent>> {
        Ok(consents::of_user(&self.readers, sub).await?)
    }

    async fn claim_logouts(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<LogoutDelivery>> {
        if !logouts::any_due(&self.readers, now).await? {
            return Ok(Vec::new());
        }
        self.writers.alone(move |tx| Box::pin(logouts::claim(tx, now, until, limit))).await
    }

    async fn settle_logout(&self, delivery: LogoutDelivery, audit: Option<AuditEvent>) -> Result<bool> {
        self.writers.alone(move |tx| Box::pin(logouts::settle(tx, delivery, audit))).await
    }

    async fn retry_logout(&self, delivery: LogoutDelivery, retry: RetryLogout) -> Result<bool> {
        self.writers.alone(move |tx| Box::pin(logouts::retry(tx, delivery, retry))).await
    }

    async fn reserve_attempt(&self, attempt: ReserveAttempt) -> Result<failures::Verdict> {
        self.is_shared()?;
        self.writers.unlogged(attempt, |job| GroupJob::Reserve(Box::new(job))).await
    }

    async fn settle_attempt(&self, settlement: SettleAttempt) -> Result<()> {
        self.is_shared()?;
        self.writers.unlogged(settlement, |job| GroupJob::Settle(Box::new(job))).await
    }

    async fn create_user(&self, user: User, audit: AuditEvent) -> Result<CreateUserOutcome> {
        self.writers.alone(move |tx| Box::pin(users::create(tx, user, audit))).await
    }

    async fn import_users(&self, job: ImportUsers) -> Result<Vec<Verdict>> {
        self.writers.alone(move |tx| Box::pin(import::import(tx, job))).await
    }

    async fn rehearse_import(&self, users: &[User]) -> Result<Vec<Verdict>> {
        Ok(import::rehearse(&self.readers, users).await?)
    }

    async fn user(&self, sub: &Sub) -> Result<Option<User>> {
        Ok(users::by_sub(&self.readers, sub).await?)
    }

    async fn user_by_username(&self, username_key: &str) -> Result<Option<User>> {
        Ok(users::by_username(&self.readers, username_key).await?)
    }

    async fn user_by_external_id(&self, external_id: &str) -> Result<Option<User>> {
        Ok(users::by_external_id(&self.readers, external_id).await?)
    }

    async fn password_schemes(&self) -> Result<Vec<(Option<String>, u64)>> {
        Ok(users::password_schemes(&self.readers).await?)
    }

    async fn password_hash_of_scheme(&self, scheme: &str) -> Result<Option<String>> {
        Ok(users::password_hash_of_scheme(&self.readers, scheme).await?)
    }

    async fn sessions_ended_at(&self, sub: &Sub) -> Result<Option<Timestamp>> {
        Ok(users::sessions_ended_at(&self.readers, sub).await?)
    }

    async fn users(&self, page: Page) -> Result<Listed<User>> {
        Ok(users::list(&self.readers, page).await?)
    }

    async fn change_user(&self, user: User, mut effects: UserEffects) -> Result<ChangeOutcome> {
        loop {
            let (user, these) = (user.clone(), effects.clone());
            match self.writers.alone(move |tx| Box::pin(users::change(tx, user, these))).await? {
                Ok(outcome) => return Ok(outcome),
                Err(many) => effects.horizon = self.end_ahead(many).await?.1,
            }
        }
    }

    async fn delete_user(&self, sub: &Sub, version: i64, mut effects: UserEffects) -> Result<ChangeOutcome> {
        loop {
            let (sub, these) = (sub.clone(), effects.clone());
            match self.writers.alone(move |tx| Box::pin(users::delete(tx, sub, version, these))).await? {
                Ok(outcome) => return Ok(outcome),
                Err(many) => effects.horizon = self.end_ahead(many).await?.1,
            }
        }
    }

    async fn upgrade_password_hash(&self, sub: &Sub, credential_epoch: i64, hash: &str) -> Result<bool> {
        let (sub, hash) = (sub.clone(), hash.to_owned());
        self.writers.alone(move |tx| Box::pin(users::upgrade_password_hash(tx, sub, credential_epoch, hash))).await
    }

    async fn is_known_address(&self, sub: &Sub, address: &[u8; 32], since: Timestamp) -> Result<bool> {
        Ok(users::is_known_address(&self.readers, sub, address, since).await?)
    }

    async fn create_client(&self, client: Client, audit: AuditEvent) -> Result<CreateOutcome> {
        self.writers.alone(move |tx| Box::pin(clients::create(tx, client, audit))).await
    }

    async fn client(&self, client_id: &ClientId) -> Result<Option<Client>> {
        Ok(clients::one(&self.readers, client_id).await?)
    }

    async fn clients(&self) -> Result<(i64, Vec<Client>)> {
        Ok(clients::all(&self.readers).await?)
    }

    async fn list_clients(&self, page: Page) -> Result<Listed<Client>> {
        Ok(clients::list(&self.readers, page).await?)
    }

    async fn change_client(&self, client: Client, effects: ClientEffects) -> Result<ChangeOutcome> {
        self.writers.alone(move |tx| Box::pin(clients::change(tx, client, effects))).await
    }

    async fn delete_client(
        &self,
        client_id: &ClientId,
        version: i64,
        mut effects: ClientEffects,
    ) -> Result<ChangeOutcome> {
        loop {
            let (client_id, these) = (client_id.clone(), effects.clone());
            match self.writers.alone(move |tx| Box::pin(clients::delete(tx, client_id, version, these))).await? {
                Ok(outcome) => return Ok(outcome),
                Err(many) => effects.horizon = self.end_ahead(many).await?.1,
            }
        }
    }

    async fn keys(&self) -> Result<KeyTable> {
        Ok(keys::all(&self.readers).await?)
    }

    async fn commit_keys(&self, revision: i64, writes: Vec<KeyWrite>, audit: Vec<AuditEvent>) -> Result<KeyCommit> {
        self.writers.alone(move |tx| Box::pin(keys::commit(tx, revision, writes, audit))).await
    }

    async fn raise(&self, limit: Raise) -> Result<()> {
        self.writers.alone(move |tx| Box::pin(keys::raise(tx, limit))).await
    }

    async fn record(&self, events: Vec<AuditEvent>) -> Result<()> {
        self.writers.together(None, events, GroupJob::Record).await
    }

    async fn audit(&self, filter: AuditFilter, page: Page) -> Result<Listed<AuditRecord>> {
        Ok(audit::list(&self.readers, filter, page).await?)
    }

    async fn note(&self, name: &str) -> Result<Option<String>> {
        Ok(upkeep::note(&self.readers, name).await?)
    }

    async fn claim_note(&self, name: &str, value: &str) -> Result<String> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writers.alone(move |tx| Box::pin(upkeep::claim_note(tx, name, value))).await
    }

    async fn set_note(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writers.alone(move |tx| Box::pin(upkeep::set_note(tx, name, value))).await
    }

    async fn report_node(&self, node: NodeId, keys_revision: i64) -> Result<()> {
        if !self.has_other_writers() {
            return Ok(());
        }
        self.writers.alone(move |tx| Box::pin(nodes::report(tx, node, keys_revision))).await
    }

    async fn forget_node(&self, node: NodeId) -> Result<()> {
        if !self.has_other_writers() {
            return Ok(());
        }
        self.writers.alone(move |tx| Box::pin(nodes::forget(tx, node))).await
    }

    async fn other_nodes(&self, node: NodeId) -> Result<Vec<i64>> {
        if !self.has_other_writers() {
            return Ok(Vec::new());
        }
        Ok(nodes::others(&self.readers, node).await?)
    }

    async fn catch_up(&self, since: Position, now: Timestamp) -> Result<CatchUp> {
        let rows = self.readers.fetch(revocations::CATCH_UP, args![since.floor, now, since.life]).await?;
        Ok(revocations::caught_up(&rows)?)
    }

    async fn news(&self) {
        self.news.heard().await;
    }

    fn has_other_writers(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    async fn hold(&self, lease: Lease, node: NodeId) -> Result<bool> {
        if !self.has_other_writers() {
            return Ok(true);
        }
        if !leases::is_free(&self.readers, lease, node).await? {
            return Ok(false);
        }
        self.writers.alone(move |tx| Box::pin(leases::hold(tx, lease, node))).await
    }

    async fn sweep(&self, node: NodeId, now: Timestamp, limit: u32) -> Result<Option<Swept>> {
        let lease = self.has_other_writers().then_some(node);
        if lease.is_some() && !leases::is_free(&self.readers, Lease::Sweep, node).await? {
            return Ok(None);
        }
        let swept = self.writers.alone(move |tx| Box::pin(upkeep::sweep(tx, lease, now, limit))).await?;
        let Some(mut swept) = swept else { return Ok(None) };
        if self.has_other_writers() {
            // Apart from the rest: no attempt may wait for what that writes.
            swept.login_failures = self.writers.alone_unlogged(move |tx| Box::pin(throttles::sweep(tx, limit))).await?;
        }
        Ok(Some(swept))
    }

    async fn close(&self) {
        // The writer leaves last: only then does SQLite fold its log into the file, which is then a whole backup.
        self.news.close();
        self.readers.close().await;
        self.writers.close().await;
    }
}
