//! A Latchkey without sockets, and the calls that benchmarks make of it: what one request costs in each of its parts.
//!
//! Ids, time and randomness are the same in every run: the clock stands still and the entropy counts. Argon2 is small here,
//! for no case hashes a password.

mod cases;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use latchkey::app::{App, Sources};
use latchkey::client_auth::ClientClaim;
use latchkey::config::{DatabaseUrl, Settings};
use latchkey::domain::ids::ClientId;
use latchkey::domain::origin::Origin;
use latchkey::domain::secret::SecretText;
use latchkey::domain::session::{Presented, Session};
use latchkey::domain::sources::{Entropy, ManualClock};
use latchkey::domain::time::Timestamp;
use latchkey::domain::user::User;
use latchkey::grants::{self, TokenRequest};
use latchkey::keys::Snapshot;
use latchkey::tokens::refresh;
use latchkey::tokens::verify::{Verified, verify};
use serde_json::json;

pub use cases::CASES;

/// Two clients, of an algorithm each, and one user.
const ES256: &str = "es256";
const RS256: &str = "rs256";
const USER: &str = "alice";
const SECRET: &str = "a secret of the benchmarks alone";
const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// The service, and what its requests are about.
pub struct Bed {
    app: Arc<App>,
    clock: Arc<ManualClock>,
    keys: Arc<Snapshot>,
    user: User,
    es256: Login,
    rs256: Login,
    runtime: tokio::runtime::Runtime,
}

/// What a client holds after a login of the user.
struct Login {
    access_token: String,
    verified: Verified,
    refresh_token: SecretText,
    presented: Presented,
    session: Session,
}

/// Every drawn byte is another one, and the same in the next run.
#[derive(Default)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64: key generation wants bits that look random.
            let mut mixed = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}

impl Bed {
    /// Starts on a new database in `folder`.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clock = Arc::new(ManualClock::starting_at(START));
        let sources = Sources {
            clock: Arc::clone(&clock) as _,
            entropy: Arc::new(Counting::default()),
            meter: None,
            test_clock: None,
        };
        let app = runtime.block_on(App::start(settings(folder)?, sources))?;
        let log_in = |client| runtime.block_on(log_in(&app, client));
        let (es256, rs256) = (log_in(ES256)?, log_in(RS256)?);
        let user = runtime.block_on(app.context.store.user(&es256.session.sub))?.context("the user is gone")?;
        // After the logins: with them the lifetimes of tokens were recorded.
        let keys = app.context.replica.keys();
        Ok(Self { app, clock, keys, user, es256, rs256, runtime })
    }

    /// Closes the database.
    pub fn close(&self) {
        self.runtime.block_on(self.app.stop());
    }
}

fn settings(folder: &Path) -> anyhow::Result<Settings> {
    let client = |id: &str, alg: &str| {
        json!({ "client_id": id, "client_name": id, "client_secret": SECRET, "scope": "read write",
                "audience": ["https://api.example"], "access_token_signed_response_alg": alg,
                "grant_types": ["client_credentials", "password", "refresh_token"] })
    };
    let user = json!({ "username": USER, "password": SECRET, "email": "alice@example.com",
                       "attributes": { "department": { "id": 7 }, "role": "editor" } });
    let bootstrap = json!({ "clients": [client(ES256, "ES256"), client(RS256, "RS256")], "users": [user] });
    let file = folder.join("bootstrap.json");
    std::fs::write(&file, bootstrap.to_string())?;
    let mut settings = Settings::default();
    let database = format!("sqlite://{}", folder.join("bench.db").display());
    settings.database.url = DatabaseUrl::parse(&database).map_err(anyhow::Error::msg)?;
    settings.keys.directory = folder.to_owned();
    settings.bootstrap.file = Some(file);
    settings.bootstrap.admin_secret = Some(SecretText::new(SECRET));
    settings.passwords.memory_kib = 1 << 10;
    settings.passwords.iterations = 1;
    settings.server.issuer = "https://id.example".to_owned();
    Ok(settings)
}

async fn log_in(app: &App, client: &str) -> anyhow::Result<Login> {
    let request = TokenRequest {
        username: Some(USER.to_owned()),
        password: Some(SecretText::new(SECRET)),
        ..token_request("password", client)
    };
    let ctx = &app.context;
    let answer = grants::token(ctx, &app.credentials, &app.introspector, request).await?;
    let refresh_token = answer.refresh_token.context("there is no refresh token")?;
    let keys = ctx.replica.keys();
    let presented = refresh::parse(&keys, refresh_token.expose(), &ClientId::new(client))?;
    let session = ctx.store.session(presented.session).await?.context("there is no session")?;
    let verified = verify(&keys, &ctx.issuer, &answer.access_token, ctx.now())?;
    Ok(Login { access_token: answer.access_token, verified, refresh_token, presented, session })
}

/// A request of a client that proves itself, with no parameters yet.
fn token_request(grant: &str, client: &str) -> TokenRequest {
    TokenRequest::of(grant, claim(client), Origin::direct([127, 0, 0, 1].into()))
}

/// By HTTP Basic, as most clients do.
fn claim(client: &str) -> ClientClaim {
    let pair = STANDARD.encode(format!("{client}:{}", SECRET.replace(' ', "+")));
    ClientClaim { authorization: Some(format!("Basic {pair}")), ..ClientClaim::default() }
}

/// The outcome of what waits for nothing: no runtime is measured.
///
/// # Panics
/// It waits.
#[expect(clippy::panic, reason = "what waits is no case for these benchmarks")]
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the case waits for something"),
    }
}
