//! What Latchkey costs to have around: time from exec to ready, memory when idle, after many requests, and for each
//! token that is remembered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use latchkey::config::Settings;
use latchkey::domain::ids::{ClientId, Jti};
use latchkey::domain::key::Alg;
use latchkey::domain::scope::Scope;
use latchkey::domain::sources::{Clock as _, SystemClock, SystemEntropy};
use latchkey::keys::{Snapshot, Typ};
use latchkey::tokens::claims::{AccessClaims, ExtraClaims};
use latchkey::tokens::mint::sign;

use super::generator::{Answer, Caller, Load, Span, drive, once};
use super::goals::{Operation, judge_memory, judge_start};
use super::measured::median;
use super::operations::{Fixed, Login, Refreshing, caller, get, post};
use super::place::{Place, Registered};
use super::report::{Figure, Row};
use super::server::Server;

/// Password buffers are given back after ten idle seconds, by a job that looks every five.
const BUFFERS_BACK: Duration = Duration::from_secs(16);

/// No load of so many requests takes longer.
const PATIENCE: Span = Span { warmup: Duration::ZERO, measured: Duration::from_secs(900) };

/// Starts on the existing database: the median.
///
/// # Errors
/// The service does not start.
pub fn starts(place: &Place, count: usize) -> anyhow::Result<Row> {
    let mut times = Vec::new();
    for _ in 0..count.max(1) {
        let server = Server::start(place)?;
        times.push(server.took.as_secs_f64() * 1e3);
        server.stop()?;
    }
    let middle = median(times, |time| *time).context("there was no start")?;
    let operation = "start, exec to ready".to_owned();
    Ok(row(operation, place, Figure::Milliseconds(middle), vec![judge_start(middle)]))
}

/// Memory when idle, and after renewals, introspections and key sets in turn, with the default caches.
///
/// # Errors
/// The service does not start, or an answer is not what must come.
pub fn memory(place: &Place, connections: usize, requests: usize, wait: bool) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(place)?;
    let idle = server.resident()?;
    let callers = (0..connections)
        .map(|_| Ok(Box::new(Mixed::begin(place, requests / connections)?) as Box<dyn Caller>))
        .collect::<anyhow::Result<_>>()?;
    drive(server.target(), vec![Load::closed(callers)], PATIENCE)?;
    if wait {
        std::thread::sleep(BUFFERS_BACK);
    }
    let used = server.resident()?;
    server.stop()?;
    let after = format!("memory after {} requests", super::report::number(requests as f64));
    Ok(vec![
        row("memory when idle".to_owned(), place, Figure::Mebibytes(idle), Vec::new()),
        row(after, place, Figure::Mebibytes(used), vec![judge_memory(used)]),
    ])
}

/// Memory after introspections of `tokens` different tokens: with the default cache, and for each token of a cache that
/// holds them all.
///
/// # Errors
/// The service does not start, or an answer is not what must come.
pub fn remembered(place: &Place, connections: usize, tokens: usize) -> anyhow::Result<Vec<Row>> {
    let (_, bounded) = introspect_all(place, connections, tokens, None)?;
    let entries = tokens.to_string();
    let (before, after) = introspect_all(place, connections, tokens, Some(&entries))?;
    let each = (after - before) * f64::from(1 << 20) / tokens as f64;
    let count = super::report::number(tokens as f64);
    Ok(vec![
        row(format!("memory, {count} tokens, default cache"), place, Figure::Mebibytes(bounded), Vec::new()),
        row(format!("memory, {count} tokens, all cached"), place, Figure::Mebibytes(after), Vec::new()),
        row("memory for each cached token".to_owned(), place, Figure::Bytes(each), Vec::new()),
    ])
}

/// MiB before and after.
fn introspect_all(
    place: &Place,
    connections: usize,
    tokens: usize,
    entries: Option<&str>,
) -> anyhow::Result<(f64, f64)> {
    let settings = entries.map(|entries| ("LATCHKEY__INTROSPECTION__CACHE_ENTRIES", entries));
    let server = Server::start_with(place, settings.as_slice())?;
    // Its life is noted with the key: only then are tokens of that life believed.
    once(place.address, caller(Operation::ClientCredentials(Alg::ES256), place)?.as_mut())?;
    let before = server.resident()?;
    let callers =
        (0..connections).map(|_| Box::new(Strangers::of(place, tokens / connections)) as Box<dyn Caller>).collect();
    drive(server.target(), vec![Load::closed(callers)], PATIENCE)?;
    let after = server.resident()?;
    server.stop()?;
    Ok((before, after))
}

fn row(operation: String, place: &Place, figure: Figure, held: Vec<super::goals::Held>) -> Row {
    Row { operation, database: place.store.to_string(), figure, held }
}

/// A renewal, two introspections of its access token, the key set; and again.
struct Mixed {
    turn: usize,
    left: usize,
    client: Registered,
    refreshing: Refreshing,
    introspecting: Fixed,
    key_set: Fixed,
}

impl Mixed {
    fn begin(place: &Place, requests: usize) -> anyhow::Result<Self> {
        let client = place.clients.es256.clone();
        let login = Login::of(place, Alg::ES256)?;
        Ok(Self {
            turn: 0,
            left: requests,
            refreshing: Refreshing::with(&client, &login.refresh),
            introspecting: introspection(&client, &login.access),
            key_set: Fixed::new(get("/.well-known/jwks.json", ""), 200, r#"{"keys":[{"#),
            client,
        })
    }

    fn now(&mut self) -> &mut dyn Caller {
        match self.turn % 4 {
            0 => &mut self.refreshing,
            1 | 2 => &mut self.introspecting,
            _ => &mut self.key_set,
        }
    }
}

fn introspection(client: &Registered, token: &str) -> Fixed {
    Fixed::new(post("/oauth2/introspect", client, &format!("token={token}")), 200, r#"{"active":true,"#)
}

impl Caller for Mixed {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.now().ask(request)
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        self.now().hear(answer)?;
        if self.turn.is_multiple_of(4) {
            let body: serde_json::Value = serde_json::from_slice(answer.body)?;
            let Some(token) = body["access_token"].as_str() else { bail!("there is no access token") };
            self.introspecting = introspection(&self.client, token);
        }
        self.turn += 1;
        Ok(())
    }
}

/// Introspections of tokens that have never been seen before.
struct Strangers {
    left: usize,
    keys: Arc<Snapshot>,
    client: Registered,
    issuer: String,
}

impl Strangers {
    fn of(place: &Place, tokens: usize) -> Self {
        let (keys, client) = (Arc::clone(&place.keys), place.clients.es256.clone());
        Self { left: tokens, keys, client, issuer: place.issuer() }
    }

    fn token(&self) -> anyhow::Result<String> {
        let iat = SystemClock.now();
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            sub: self.client.id.to_owned(),
            aud: vec![self.issuer.clone()],
            exp: iat.plus(Settings::default().tokens.access_ttl),
            iat,
            jti: Jti::generate(&SystemClock, &SystemEntropy),
            client_id: ClientId::new(self.client.id),
            scope: Scope::parse("read").map_err(|_| anyhow::anyhow!("read is no scope"))?,
            sid: None,
            auth_time: None,
            act: None,
            extra: ExtraClaims::default(),
        };
        Ok(sign(self.keys.active(Alg::ES256).context("no active ES256 key")?, Typ::AccessToken, &claims)?)
    }
}

impl Caller for Strangers {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let Ok(token) = self.token() else { return false };
        introspection(&self.client, &token).ask(request)
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(answer.body.starts_with(br#"{"active":true,"#), "a live token is inactive");
        Ok(())
    }
}
