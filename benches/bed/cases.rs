//! The calls themselves, each of them a public function of the program.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Context as _;
use latchkey::domain::authorization::{AuthorizationRequest, Prompt};
use latchkey::domain::claim_rules::{Attribute, ClaimPlace, ClaimRule, ClaimRules, Source, Subject};
use latchkey::domain::client::ResponseMode;
use latchkey::domain::ids::{ClientId, Jti};
use latchkey::domain::key::Alg;
use latchkey::domain::origin::Origin;
use latchkey::domain::policy::TokenPolicy;
use latchkey::domain::scope::Scope;
use latchkey::domain::secret::SecretText;
use latchkey::domain::session::{ChainKeys as _, Outcome, Presented, Refusal, Session, Successor, present};
use latchkey::domain::template::Template;
use latchkey::domain::time::Timestamp;
use latchkey::flows::introspect::{IntrospectRequest, introspect};
use latchkey::grants;
use latchkey::http::form::{Fields, FormRequest as _};
use latchkey::http::oauth::forms::TokenForm;
use latchkey::keys::Typ;
use latchkey::tokens::claims::{AccessClaims, ExtraClaims};
use latchkey::tokens::mint::{mint, signing_input};
use latchkey::tokens::refresh;
use latchkey::tokens::ticket::Purpose;
use latchkey::tokens::verify::verify;
use serde_json::json;

use super::{Bed, Counting, ES256, Login, RS256, START, at_once, claim, token_request};

/// One call; whether it came to what it should.
pub type Case<'a> = Box<dyn FnMut() -> bool + 'a>;

/// Makes a call ready.
pub type Make = for<'a> fn(&'a Bed) -> anyhow::Result<Case<'a>>;

/// Every case, by its name.
pub const CASES: &[(&str, Make)] = &[
    ("mint_es256", |bed| Ok(minting(bed, Alg::ES256, &bed.es256))),
    ("mint_rs256", |bed| Ok(minting(bed, Alg::RS256, &bed.rs256))),
    ("signing_input", joining),
    ("verify_es256", |bed| Ok(verifying(bed, &bed.es256))),
    ("verify_rs256", |bed| Ok(verifying(bed, &bed.rs256))),
    ("claims_parse", reading_claims),
    ("jti", drawing),
    ("claims_by_rules", mapping),
    ("key_by_kid", looking_up),
    ("refresh_parse", parsing_refresh),
    ("refresh_derive", deriving),
    ("session_rotated", |bed| Ok(presenting(bed, Standing::Current))),
    ("session_retried", |bed| Ok(presenting(bed, Standing::OneOn))),
    ("session_healed", |bed| Ok(presenting(bed, Standing::OneBack))),
    ("session_replayed", |bed| Ok(presenting(bed, Standing::TwoOn))),
    ("session_expired", |bed| Ok(presenting(bed, Standing::Expired))),
    ("token_form", parsing_form),
    ("ticket_issue", issuing_ticket),
    ("ticket_read", reading_ticket),
    ("cache_hit", hitting),
    ("introspect_cached", introspecting),
    ("client_credentials_es256", |bed| Ok(granting(bed, ES256))),
    ("client_credentials_rs256", |bed| Ok(granting(bed, RS256))),
];

/// A whole access token, signature included.
fn minting<'a>(bed: &'a Bed, alg: Alg, login: &'a Login) -> Case<'a> {
    let claims = &login.verified.claims;
    Box::new(move || bed.keys.active(alg).is_some_and(|slot| black_box(mint(slot, black_box(claims))).is_ok()))
}

/// All of an access token but its signature.
fn joining(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let slot = bed.keys.active(Alg::ES256).context("there is no key")?;
    let claims = &bed.es256.verified.claims;
    Ok(Box::new(move || black_box(signing_input(slot, Typ::AccessToken, black_box(claims))).is_ok()))
}

/// What is made of a payload whose signature holds.
fn reading_claims(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let payload = serde_json::to_vec(&bed.es256.verified.claims)?;
    Ok(Box::new(move || black_box(AccessClaims::parse(black_box(&payload))).is_ok()))
}

/// As on a miss of the cache.
fn verifying<'a>(bed: &'a Bed, login: &'a Login) -> Case<'a> {
    let (issuer, token) = (&*bed.app.context.issuer, login.access_token.as_str());
    Box::new(move || black_box(verify(&bed.keys, issuer, black_box(token), START)).is_ok())
}

fn drawing(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let entropy = Counting::default();
    Ok(Box::new(move || !black_box(Jti::generate(&*bed.clock, &entropy)).as_str().is_empty()))
}

/// What an operator's rules add: a constant, an attribute, a template.
fn mapping(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let rule = |claim: &str, source| ClaimRule {
        claim: claim.to_owned(),
        source,
        kind: None,
        places: vec![ClaimPlace::AccessToken],
        scope: None,
        clients: Vec::new(),
    };
    let department = Attribute::parse("attributes.department.id").map(Source::Attribute);
    let rules = ClaimRules::new(
        [
            Some(rule("tenant", Source::Constant(json!("example")))),
            department.map(|source| rule("department", source)),
            Some(rule("name", Source::Template(Template::parse("{username} <{email}>")?))),
        ]
        .into_iter()
        .flatten()
        .collect(),
    );
    let session = &bed.es256.session;
    Ok(Box::new(move || {
        let subject = Subject {
            client_id: &session.client_id,
            scope: &session.scope,
            sub: Some(session.sub.as_str()),
            user: Some(&bed.user),
            started_at: Some(session.started_at),
            auth_time: Some(session.auth_time),
        };
        let mapped = rules.claims_of(ClaimPlace::AccessToken, black_box(&subject));
        black_box(ExtraClaims::new(mapped.claims)).members().len() == 3
    }))
}

fn looking_up(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let kid = bed.es256.verified.kid.as_str();
    Ok(Box::new(move || bed.app.context.replica.keys().verifier(black_box(kid)).is_some()))
}

fn parsing_refresh(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let login = &bed.es256;
    Ok(Box::new(move || {
        let text = black_box(login.refresh_token.expose());
        black_box(refresh::parse(&bed.keys, text, &login.session.client_id)).is_ok()
    }))
}

/// The successor of a secret, and its text.
fn deriving(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let presented = &bed.es256.presented;
    Ok(Box::new(move || {
        successor(bed, black_box(presented)).is_some_and(|next| black_box(refresh::encode(&bed.keys, &next)).is_ok())
    }))
}

fn successor(bed: &Bed, presented: &Presented) -> Option<Successor> {
    let Presented { session, generation, ref secret, key_version, .. } = *presented;
    let generation = generation + 1;
    let secret = bed.keys.successor(key_version, session, generation, secret)?;
    Some(Successor { session, generation, secret, key_version })
}

/// Where a session stands, seen from the token that is presented to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    /// The token was rotated a moment ago.
    OneOn,
    TwoOn,
    /// The database has lost the rotation that the token came from.
    OneBack,
    Expired,
}

/// A token presented to its session, which is set back after each time.
fn presenting(bed: &Bed, standing: Standing) -> Case<'_> {
    let policy = TokenPolicy::default();
    let (first, mut before) = (&bed.es256.presented, bed.es256.session.clone());
    let mut presented = first.clone();
    let rotations = match standing {
        Standing::Current | Standing::OneBack | Standing::Expired => 0,
        Standing::OneOn => 1,
        Standing::TwoOn => 2,
    };
    let mut latest = first.clone();
    for _ in 0..rotations {
        present(&mut before, &latest, &policy, &*bed.keys, START);
        latest = following(bed, &latest);
    }
    if standing == Standing::OneBack {
        presented = following(bed, first);
    }
    let now = if standing == Standing::Expired { Timestamp::MAX } else { START.plus(Duration::from_secs(5)) };
    let mut session = before.clone();
    Box::new(move || {
        set_back(&mut session, &before);
        let verdict = present(&mut session, black_box(&presented), &policy, &*bed.keys, now);
        match black_box(verdict).outcome {
            Outcome::Rotated(_) => standing == Standing::Current,
            Outcome::RetryOfParent { .. } => standing == Standing::OneOn,
            Outcome::Replayed { .. } => standing == Standing::TwoOn,
            Outcome::Healed { .. } => standing == Standing::OneBack,
            Outcome::Refused(Refusal::AbsoluteExpired) => standing == Standing::Expired,
            Outcome::Kept(_) | Outcome::Refused(_) => false,
        }
    })
}

/// The token that follows.
fn following(bed: &Bed, presented: &Presented) -> Presented {
    successor(bed, presented).map_or_else(
        || presented.clone(),
        |next| Presented { generation: next.generation, secret: next.secret, ..presented.clone() },
    )
}

/// Only what a presentation changes, and nothing that takes an allocation.
fn set_back(session: &mut Session, before: &Session) {
    session.chain.clone_from(&before.chain);
    session.ended = before.ended;
    session.last_used_at = before.last_used_at;
    session.idle_expires_at = before.idle_expires_at;
    session.absolute_expires_at = before.absolute_expires_at;
}

/// The body of a renewal.
fn parsing_form(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let token = bed.es256.refresh_token.expose();
    let body = format!(
        "grant_type=refresh_token&refresh_token={token}&client_id={ES256}&client_secret=a+secret+of+%22some+length%22"
    );
    Ok(Box::new(move || {
        let fields = Fields::parse(black_box(body.as_bytes()), TokenForm::REPEATABLE);
        fields.and_then(|fields| black_box(TokenForm::read(fields))).is_ok_and(|form| form.refresh_token.is_some())
    }))
}

fn issuing_ticket(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let request = request()?;
    let tickets = &bed.app.context.tickets;
    Ok(Box::new(move || black_box(tickets.issue(Purpose::Authorization, black_box(&request), later())).is_ok()))
}

fn reading_ticket(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let tickets = &bed.app.context.tickets;
    let text = tickets.issue(Purpose::Authorization, &request()?, later())?;
    Ok(Box::new(move || {
        black_box(tickets.read::<AuthorizationRequest>(Purpose::Authorization, black_box(&text), START)).is_ok()
    }))
}

fn later() -> Timestamp {
    START.plus(Duration::from_secs(1800))
}

fn request() -> anyhow::Result<AuthorizationRequest> {
    Ok(AuthorizationRequest {
        client_id: ClientId::new("web"),
        redirect_uri: "https://shop.example.com/callback".to_owned(),
        response_mode: ResponseMode::Query,
        scope: Scope::parse("openid profile email")?,
        audience: vec!["https://api.example".to_owned()],
        state: Some("af0ifjsldkj".to_owned()),
        nonce: Some("n-0S6_WzA2Mj".to_owned()),
        code_challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned()),
        prompt: Prompt::default(),
        max_age: None,
        login_hint: None,
        sub: None,
        ui_locales: None,
        claims: None,
        acr: None,
        started_at: START,
    })
}

/// A token that was verified before: digest, cache, revocations, client.
fn hitting(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let token = bed.es256.access_token.as_str();
    Ok(Box::new(move || {
        let found = at_once(bed.app.introspector.check(&bed.app.context, black_box(token)));
        matches!(black_box(found), Ok(Some(_)))
    }))
}

/// The same as a client asks for it: who it is, and what it may learn.
fn introspecting(bed: &Bed) -> anyhow::Result<Case<'_>> {
    let app = &bed.app;
    let token = bed.es256.access_token.as_str();
    Ok(Box::new(move || {
        let request = IntrospectRequest {
            client: claim(ES256),
            token: SecretText::new(token),
            origin: Origin::direct([127, 0, 0, 1].into()),
        };
        let told = at_once(introspect(&app.context, &app.credentials, &app.introspector, request));
        matches!(black_box(told), Ok(Some(_)))
    }))
}

/// Client, claims and signature: everything of the token endpoint but the database and HTTP.
fn granting<'a>(bed: &'a Bed, client: &'static str) -> Case<'a> {
    let app = &bed.app;
    Box::new(move || {
        let request = token_request("client_credentials", client);
        black_box(at_once(grants::token(&app.context, &app.credentials, &app.introspector, request))).is_ok()
    })
}
