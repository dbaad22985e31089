//! Keys rotate on three nodes while tokens are minted on each and verified against the key set of every other.
//!
//! No token may meet a key set without its key, whatever node made it and whatever node served the set to a verifier
//! that obeys `max-age` (RFC 9111 section 5.2.2.1). Nor may any node call one inactive. Publication and `max-age` are a
//! second each, as in the fast mode of the verifiers of `tests/verifiers`, which take part where they are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::bed::Bed;
use super::nodes::{ADMIN, API, API_RS256, NODES};
use super::verifiers::Verifiers;

/// How long tokens live, in seconds.
const TTL: u64 = 30;

pub const SETTINGS: [(&str, &str); 4] = [
    ("LATCHKEY__KEYS__MIN_PUBLICATION", "1s"),
    ("LATCHKEY__KEYS__PUBLICATION_MARGIN", "1s"),
    ("LATCHKEY__KEYS__JWKS_MAX_AGE", "1s"),
    ("LATCHKEY__TOKENS__ACCESS_TTL", "30s"),
];

const SIGNERS: [(&str, (&str, &str)); 2] = [("ES256", API), ("RS256", API_RS256)];

/// How long a token is shown to those who verify. The rest is for those who are slow.
const SHOWN: Duration = Duration::from_secs(TTL - 10);

/// Between two rounds of tokens.
const TICK: Duration = Duration::from_millis(100);

const PATIENCE: Duration = Duration::from_secs(60);

/// How much rotates.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub rotations: usize,
    /// In the middle a node is stopped for so long, and rotations go on without it.
    pub pause: Option<Duration>,
}

/// Rotates; whether every token was verified by all.
pub async fn rotate(bed: &Bed, extent: Extent, tools: &Path) -> anyhow::Result<bool> {
    let service = Arc::new(Service::new(bed)?);
    // Nobody leads verifiers to a node that does not answer.
    let reachable = if extent.pause.is_some() { NODES - 1 } else { NODES };
    let mut verifiers = Verifiers::start(tools, &service.urls[..reachable], &bed.nodes.issuer())?;
    let (done, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let rotating = tokio::spawn(keep_rotating(Arc::clone(&service), extent.rotations, Arc::clone(&done)));
    let minting = tokio::spawn(keep_minting(Arc::clone(&service), Arc::clone(&over), verifiers.hands()));
    if let Some(pause) = extent.pause {
        until(&done, extent.rotations / 3).await?;
        stop_and_return(bed, &service, pause).await?;
    }
    rotating.await??;
    // Tokens of the last key are shown for a while.
    tokio::time::sleep(TICK * 10).await;
    over.store(true, Ordering::Relaxed);
    let shown = minting.await??;
    let mut faults = std::mem::take(&mut *service.faults.lock().unwrap_or_else(PoisonError::into_inner));
    let verified = verifiers.finish(&mut faults).await?;
    println!(
        "rotation: {} rotations, {} tokens of {} keys found in {} key sets, {} introspections; {verified}",
        done.load(Ordering::Relaxed),
        shown.tokens,
        shown.kids.len(),
        shown.found,
        shown.introspections,
    );
    faults.sort();
    faults.dedup();
    for fault in &faults {
        println!("VIOLATION: {fault}");
    }
    Ok(faults.is_empty())
}

async fn until(done: &AtomicUsize, wanted: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    while done.load(Ordering::Relaxed) < wanted {
        ensure!(began.elapsed() < PATIENCE, "keys do not rotate");
        tokio::time::sleep(TICK).await;
    }
    Ok(())
}

/// A node sleeps through rotations, with a request for a token in its hands.
async fn stop_and_return(bed: &Bed, service: &Arc<Service>, pause: Duration) -> anyhow::Result<()> {
    let node = NODES - 1;
    service.away.store(node, Ordering::Relaxed);
    // What is asked of it is answered before.
    tokio::time::sleep(TICK * 10).await;
    bed.nodes.signal(node, Signal::STOP);
    let late = Arc::clone(service);
    let late = tokio::spawn(async move { late.mint(node, SIGNERS[0].1, PATIENCE).await });
    tokio::time::sleep(pause).await;
    let before = service.active(0, SIGNERS[0].0).await?;
    bed.nodes.signal(node, Signal::CONT);
    let token = late.await??;
    let after = service.active(0, SIGNERS[0].0).await?;
    if token.kid != before && token.kid != after {
        service.fault(format!("a node that returned signed with {}, and {after} is active", token.kid));
    }
    service.away.store(NODES, Ordering::Relaxed);
    Ok(())
}

async fn keep_rotating(service: Arc<Service>, rotations: usize, done: Arc<AtomicUsize>) -> anyhow::Result<()> {
    for number in 0..rotations {
        let (alg, _) = SIGNERS[number % SIGNERS.len()];
        // Not the node that may be stopped.
        let node = number % (NODES - 1);
        let before = service.active(node, alg).await?;
        service.order_rotation(node, alg).await?;
        let began = Instant::now();
        while service.active(node, alg).await? == before {
            ensure!(began.elapsed() < PATIENCE, "the planned rotation of {alg} was not carried out");
            tokio::time::sleep(TICK).await;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What was shown to those who verify.
#[derive(Default)]
struct Shown {
    tokens: usize,
    /// Key sets that held the key of a token.
    found: usize,
    introspections: usize,
    kids: BTreeSet<String>,
}

async fn keep_minting(
    service: Arc<Service>,
    over: Arc<AtomicBool>,
    hands: Vec<super::verifiers::Hand>,
) -> anyhow::Result<Shown> {
    let mut shown = Shown::default();
    let mut caches = [KeySet::default(), KeySet::default(), KeySet::default()];
    let mut older: Vec<Token> = Vec::new();
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        older.retain(|token| token.made.elapsed() < SHOWN);
        let mut tokens = Vec::new();
        for node in service.present() {
            for (_, client) in SIGNERS {
                tokens.push(service.mint(node, client, PATIENCE).await?);
            }
        }
        shown.tokens += tokens.len();
        // The oldest is of the key that leaves first.
        tokens.extend(older.first().cloned());
        turn += 1;
        for node in service.present() {
            caches[node].renew(&service, node).await?;
            for token in &tokens {
                if !caches[node].kids.contains(&token.kid) {
                    service
                        .fault(format!("node {node} served a key set without {}, of node {}", token.kid, token.node));
                }
                shown.found += 1;
            }
            let token = &tokens[turn % tokens.len()];
            if !service.is_active(node, token).await? {
                service.fault(format!("node {node} called a token of node {} inactive: {}", token.node, token.kid));
            }
            shown.introspections += 1;
        }
        for token in tokens.iter().filter(|token| token.made.elapsed() < SHOWN) {
            shown.kids.insert(token.kid.clone());
            for hand in &hands {
                hand.give(&token.text);
            }
        }
        older.extend(tokens);
        tokio::time::sleep(TICK).await;
    }
    Ok(shown)
}

/// A key set as a verifier keeps it: for its `max-age`, and it fetches at no other time.
#[derive(Default)]
struct KeySet {
    kids: BTreeSet<String>,
    fresh_until: Option<Instant>,
}

impl KeySet {
    async fn renew(&mut self, service: &Service, node: usize) -> anyhow::Result<()> {
        if self.fresh_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let answer = service.http.get(format!("{}/.well-known/jwks.json", service.urls[node])).send().await?;
        let control = answer.headers().get("cache-control").context("no Cache-Control")?.to_str()?.to_owned();
        let max_age = control.split(", ").find_map(|part| part.strip_prefix("max-age=")?.parse().ok());
        let max_age = max_age.with_context(|| format!("no max-age: {control}"))?;
        let body: Value = answer.json().await?;
        let keys = body["keys"].as_array().context("no keys")?;
        self.kids = keys.iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect();
        self.fresh_until = Some(Instant::now() + Duration::from_secs(max_age));
        Ok(())
    }
}

#[derive(Clone)]
struct Token {
    text: String,
    kid: String,
    node: usize,
    made: Instant,
}

struct Service {
    http: reqwest::Client,
    urls: [String; NODES],
    /// The node that is stopped; none where it is out of range.
    away: AtomicUsize,
    faults: Mutex<Vec<String>>,
    bearers: Mutex<BTreeMap<usize, (String, Instant)>>,
}

impl Service {
    fn new(bed: &Bed) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().build()?;
        let (faults, bearers) = (Mutex::default(), Mutex::default());
        Ok(Self { http, urls: bed.nodes.urls(), away: AtomicUsize::new(NODES), faults, bearers })
    }

    fn present(&self) -> impl Iterator<Item = usize> + use<> {
        let away = self.away.load(Ordering::Relaxed);
        (0..NODES).filter(move |node| *node != away)
    }

    fn fault(&self, what: String) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    async fn form(
        &self,
        node: usize,
        path: &str,
        (id, secret): (&str, &str),
        form: &[(&str, &str)],
        patience: Duration,
    ) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.urls[node])).basic_auth(id, Some(secret));
        let answer = request.form(form).timeout(patience).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "node {node}, {path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }

    async fn mint(&self, node: usize, client: (&str, &str), patience: Duration) -> anyhow::Result<Token> {
        let form = [("grant_type", "client_credentials"), ("scope", "read")];
        let answer = self.form(node, "/oauth2/token", client, &form, patience).await?;
        let text = answer["access_token"].as_str().context("no access token")?.to_owned();
        let head = text.split('.').next().unwrap_or_default();
        let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head)?)?;
        let kid = head["kid"].as_str().context("a token without kid")?.to_owned();
        Ok(Token { text, kid, node, made: Instant::now() })
    }

    async fn is_active(&self, node: usize, token: &Token) -> anyhow::Result<bool> {
        let answer = self.form(node, "/oauth2/introspect", API, &[("token", &token.text)], PATIENCE).await?;
        Ok(answer["active"] == true)
    }

    async fn bearer(&self, node: usize) -> anyhow::Result<String> {
        let known = self.bearers.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned();
        if let Some((bearer, made)) = known
            && made.elapsed() < Duration::from_secs(TTL / 2)
        {
            return Ok(bearer);
        }
        let form = [("grant_type", "client_credentials"), ("scope", "admin")];
        let answer = self.form(node, "/oauth2/token", ADMIN, &form, PATIENCE).await?;
        let bearer = answer["access_token"].as_str().context("no access token")?.to_owned();
        let mut bearers = self.bearers.lock().unwrap_or_else(PoisonError::into_inner);
        bearers.insert(node, (bearer.clone(), Instant::now()));
        Ok(bearer)
    }

    /// The key that signs, by the word of a node.
    async fn active(&self, node: usize, alg: &str) -> anyhow::Result<String> {
        let bearer = self.bearer(node).await?;
        let answer = self.http.get(format!("{}/admin/v1/keys", self.urls[node])).bearer_auth(bearer).send().await?;
        let body: Value = answer.error_for_status()?.json().await?;
        let keys = body["items"].as_array().context("no list of keys")?;
        let active = keys.iter().find(|key| key["alg"] == alg && key["state"] == "active");
        Ok(active.and_then(|key| key["kid"].as_str()).context("no active key")?.to_owned())
    }

    async fn order_rotation(&self, node: usize, alg: &str) -> anyhow::Result<()> {
        let bearer = self.bearer(node).await?;
        let url = format!("{}/admin/v1/keys/rotate", self.urls[node]);
        let body = json!({ "alg": alg, "mode": "planned" });
        let answer = self.http.post(url).bearer_auth(bearer).json(&body).send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("a planned rotation: {status} {}", answer.text().await?);
        }
        Ok(())
    }
}
