//! Tokens of other systems, as their libraries write them, and as an attacker would.

use std::collections::BTreeSet;
use std::time::Duration;

use josekit::jws::{ES256, ES384, ES512, JwsSigner, PS256, PS384, PS512, RS256, RS384, RS512};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Sha384, Sha512};
use zeroize::Zeroizing;

use super::*;
use crate::domain::legacy::UserBy;
use crate::tokens::claims::LATEST;
use crate::tokens::testing::json_text;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// A Latchkey that has nothing to do with the former system.
const STRANGE: Own<'static> = Own { issuer: "https://id.example", knows: &|_| false };
const SECRET: &[u8] = b"a secret of the former system's, thirty-two bytes and more";

fn issuer(algorithms: &[LegacyAlg]) -> LegacyIssuer {
    LegacyIssuer {
        name: "old".into(),
        algorithms: algorithms.to_vec(),
        issuer: None,
        audience: None,
        user_claim: "user_id".into(),
        user_by: UserBy::ExternalId,
        started_claim: None,
        ends_claim: None,
        require: Map::new(),
        clients: vec![ClientId::new("web")],
        denied: BTreeSet::new(),
        leeway: Duration::ZERO,
        cut_off: NOW.plus(Duration::from_secs(1_000_000)),
    }
}

fn secret() -> LegacyKey {
    LegacyKey::Secret(Zeroizing::new(SECRET.to_vec()))
}

fn issuers(issuers: Vec<(LegacyIssuer, LegacyKey)>) -> LegacyIssuers {
    let verifiers = issuers.into_iter().map(|(issuer, key)| LegacyVerifier::new(issuer, &key).unwrap());
    LegacyIssuers::new(verifiers.collect(), Secret32::new([7; 32]))
}

fn of(issuer: LegacyIssuer) -> LegacyIssuers {
    issuers(vec![(issuer, secret())])
}

/// As HS256 of the former system, header and payload as they are given.
fn signed(header: &Value, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET).unwrap();
    let signature = mac.chain_update(&message).finalize().into_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn good() -> Value {
    json!({ "user_id": 42, "iat": 1_799_999_000, "exp": 1_800_000_100 })
}

fn with(change: Value) -> String {
    let mut claims = good();
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims.to_string())
}

fn examined(issuers: &LegacyIssuers, token: &str) -> Result<LegacyToken, LegacyRefusal> {
    match issuers.examine(STRANGE, &ClientId::new("web"), token, NOW) {
        Examined::Taken { token, .. } => Ok(token),
        Examined::Refused { refusal, .. } => Err(refusal),
        Examined::Nobodys => panic!("nobody's: {token}"),
    }
}

fn refusal(issuers: &LegacyIssuers, change: Value) -> Option<LegacyRefusal> {
    examined(issuers, &with(change)).err()
}

#[track_caller]
fn is_nobodys(issuers: &LegacyIssuers, token: &str) {
    assert_eq!(issuers.examine(STRANGE, &ClientId::new("web"), token, NOW), Examined::Nobodys, "{token}");
}

/// A signer per algorithm that has key pairs, and its public key.
fn key_pairs() -> Vec<(LegacyAlg, Box<dyn JwsSigner>, String)> {
    use LegacyAlg::{Es256, Es384, Es512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let rsa = RS256.generate_key_pair(2048).unwrap();
    let (private, public) = (rsa.to_der_private_key(), String::from_utf8(rsa.to_pem_public_key()).unwrap());
    let mut pairs: Vec<(LegacyAlg, Box<dyn JwsSigner>, String)> = vec![
        (Rs256, Box::new(RS256.signer_from_der(&private).unwrap()), public.clone()),
        (Rs384, Box::new(RS384.signer_from_der(&private).unwrap()), public.clone()),
        (Rs512, Box::new(RS512.signer_from_der(&private).unwrap()), public.clone()),
        (Ps256, Box::new(PS256.signer_from_der(&private).unwrap()), public.clone()),
        (Ps384, Box::new(PS384.signer_from_der(&private).unwrap()), public.clone()),
        (Ps512, Box::new(PS512.signer_from_der(&private).unwrap()), public),
    ];
    for (alg, curve) in [(Es256, ES256), (Es384, ES384), (Es512, ES512)] {
        let pair = curve.generate_key_pair().unwrap();
        let signer = curve.signer_from_pem(pair.to_pem_private_key()).unwrap();
        pairs.push((alg, Box::new(signer), String::from_utf8(pair.to_pem_public_key()).unwrap()));
    }
    pairs
}

fn signed_by(signer: &dyn JwsSigner, alg: &str) -> String {
    let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).unwrap()))
}

#[test]
fn a_token_of_every_algorithm_is_taken_by_its_own_issuer_alone() {
    use LegacyAlg::{Hs256, Hs384, Hs512};
    let message = |alg: LegacyAlg| {
        let header = json!({ "alg": alg.as_str() }).to_string();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()))
    };
    macro_rules! mac {
        ($hash:ty, $alg:expr) => {{
            let message = message($alg);
            let mac = <Hmac<$hash> as KeyInit>::new_from_slice(SECRET).unwrap();
            let signature = mac.chain_update(&message).finalize().into_bytes();
            ($alg, format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
        }};
    }
    let secrets = [mac!(Sha256, Hs256), mac!(Sha384, Hs384), mac!(Sha512, Hs512)];
    let pairs = key_pairs();
    for (alg, token) in &secrets {
        let only = of(issuer(&[*alg]));
        assert_eq!(examined(&only, token).unwrap().user, "42", "{}", alg.as_str());
        secrets.iter().filter(|(other, _)| other != alg).for_each(|(_, token)| is_nobodys(&only, token));
        assert!(examined(&of(issuer(&[Hs256, Hs384, Hs512])), token).is_ok());
    }
    for (alg, signer, public) in &pairs {
        let only = issuers(vec![(issuer(&[*alg]), LegacyKey::Public(public.clone()))]);
        assert!(examined(&only, &signed_by(&**signer, alg.as_str())).is_ok(), "{}", alg.as_str());
        for (other, signer, _) in pairs.iter().filter(|(other, ..)| other != alg) {
            // By its own name, and under the one that the issuer wants.
            is_nobodys(&only, &signed_by(&**signer, other.as_str()));
            is_nobodys(&only, &signed_by(&**signer, alg.as_str()));
        }
    }
}

#[test]
fn no_key_is_taken_for_one_of_another_kind() {
    let (alg, _, public) = key_pairs().swap_remove(0);
    let pem = LegacyKey::Secret(Zeroizing::new(public.clone().into_bytes()));
    let fault = |issuer, key: &LegacyKey| LegacyVerifier::new(issuer, key).unwrap_err();
    assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &pem), LegacyKeyFault::PemAsSecret);
    assert_eq!(fault(issuer(&[alg]), &secret()), LegacyKeyFault::WrongKind("RS256"));
    let public_key = LegacyKey::Public(public.clone());
    assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &public_key), LegacyKeyFault::WrongKind("HS256"));
    assert_eq!(fault(issuer(&[LegacyAlg::Rs256, LegacyAlg::Hs256]), &public_key), LegacyKeyFault::WrongKind("HS256"));
    assert!(matches!(fault(issuer(&[LegacyAlg::Es256]), &public_key), LegacyKeyFault::NotAKey { .. }));
    let empty = LegacyKey::Secret(Zeroizing::new(Vec::new()));
    assert_eq!(fault(issuer(&[LegacyAlg::Hs256]), &empty), LegacyKeyFault::Empty);

    // The classic: HS256 under the text of the public key, against an issuer of RS256.
    let message = {
        let header = json!({ "alg": "HS256" }).to_string();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()))
    };
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(public.as_bytes()).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(mac.chain_update(&message).finalize().into_bytes());
    let rsa = issuers(vec![(issuer(&[alg]), public_key)]);
    is_nobodys(&rsa, &format!("{message}.{signature}"));
    let renamed = URL_SAFE_NO_PAD.encode(json!({ "alg": "RS256" }).to_string());
    is_nobodys(&rsa, &format!("{renamed}.{}.{signature}", message.split_once('.').unwrap().1));
}

#[test]
fn the_algorithm_is_the_issuers_to_choose() {
    let only = of(issuer(&[LegacyAlg::Hs256]));
    for alg in [json!("none"), json!("None"), json!("HS384"), json!("RS256"), json!(""), json!(null), json!(["HS256"])]
    {
        is_nobodys(&only, &signed(&json!({ "alg": alg }), &good().to_string()));
    }
    let unsigned = with(json!({}));
    is_nobodys(&only, &unsigned[..=unsigned.rfind('.').unwrap()]);
    for member in ["crit", "b64"] {
        is_nobodys(&only, &signed(&json!({ "alg": "HS256", member: [] }), &good().to_string()));
    }
}

#[test]
fn another_spelling_of_a_token_is_the_same_token_or_none() {
    let only = of(issuer(&[LegacyAlg::Hs256]));
    let token = with(json!({}));
    let hash = examined(&only, &token).unwrap().hash;
    assert_ne!(examined(&only, &with(json!({ "iat": 1_799_999_001 }))).unwrap().hash, hash);
    let (last, rest) = (token.chars().next_back().unwrap(), &token[..token.len() - 1]);
    for spelling in [
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}."),
        // 32 bytes leave two bits of the last character over.
        format!("{rest}{}", char::from(u8::try_from(last).unwrap() + 1)),
        token.replacen('.', "=.", 1),
    ] {
        is_nobodys(&only, &spelling);
    }

    // Who has r and s has r and n - s: another signature of the same.
    let (_, signer, public) = key_pairs().into_iter().find(|(alg, ..)| *alg == LegacyAlg::Es256).unwrap();
    let ec = issuers(vec![(issuer(&[LegacyAlg::Es256]), LegacyKey::Public(public))]);
    let token = signed_by(&*signer, "ES256");
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let (r, s) = signature.split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(*r, *-s).unwrap();
    let twin = format!("{message}.{}", URL_SAFE_NO_PAD.encode(twin.to_bytes()));
    assert_ne!(twin, token);
    assert_eq!(examined(&ec, &twin).unwrap().hash, examined(&ec, &token).unwrap().hash);
}

#[test]
fn each_condition_is_held() {
    let strict = LegacyIssuer {
        issuer: Some("https://old.example".into()),
        audience: Some("forum".into()),
        require: json!({ "token_type": "refresh", "v.major": 2 }).as_object().cloned().unwrap(),
        started_claim: Some("orig_iat".into()),
        ends_claim: Some("refresh_exp".into()),
        denied: BTreeSet::from(["gone".into(), "7".into()]),
        ..issuer(&[LegacyAlg::Hs256])
    };
    let strict = of(strict);
    let fine = json!({
        "iss": "https://old.example", "aud": ["x", "forum"], "token_type": "refresh", "v": { "major": 2 },
        "orig_iat": 1_799_990_000, "refresh_exp": 1_800_500_000, "jti": "kept",
    });
    let token = examined(&strict, &with(fine.clone())).unwrap();
    assert_eq!(token.started_at, Some(Timestamp::from_seconds(1_799_990_000)));
    assert_eq!(token.ends_at, Some(Timestamp::from_seconds(1_800_500_000)));
    for (change, expected) in [
        (json!({ "iss": "https://old.example/" }), LegacyRefusal::Issuer),
        (json!({ "iss": null }), LegacyRefusal::Issuer),
        (json!({ "aud": "other" }), LegacyRefusal::Audience),
        (json!({ "aud": [["forum"]] }), LegacyRefusal::Audience),
        (json!({ "aud": null }), LegacyRefusal::Audience),
        (json!({ "token_type": "access" }), LegacyRefusal::Required),
        (json!({ "v": { "major": "2" } }), LegacyRefusal::Required),
        (json!({ "v": null }), LegacyRefusal::Required),
        (json!({ "orig_iat": null }), LegacyRefusal::Session),
        (json!({ "refresh_exp": "soon" }), LegacyRefusal::Session),
        (json!({ "orig_iat": 1_800_000_061 }), LegacyRefusal::NotYet),
        (json!({ "user_id": null }), LegacyRefusal::User),
        (json!({ "user_id": "" }), LegacyRefusal::User),
        (json!({ "user_id": 1.5 }), LegacyRefusal::User),
        (json!({ "user_id": true }), LegacyRefusal::User),
        (json!({ "user_id": { "id": 1 } }), LegacyRefusal::User),
        (json!({ "jti": "gone" }), LegacyRefusal::Denied),
        (json!({ "jti": "go-ne" }), LegacyRefusal::Denied),
        (json!({ "orig_jti": "gone" }), LegacyRefusal::Denied),
        (json!({ "jti": 7 }), LegacyRefusal::Denied),
    ] {
        let mut claims = fine.clone();
        claims.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
        assert_eq!(refusal(&strict, claims), Some(expected), "{change}");
    }
    let other = strict.examine(STRANGE, &ClientId::new("other"), &with(fine), NOW);
    assert!(matches!(other, Examined::Refused { refusal: LegacyRefusal::Client, .. }), "{other:?}");
}

#[test]
fn times_are_read_as_the_libraries_write_them_and_nothing_else_is_a_time() {
    let only = of(issuer(&[LegacyAlg::Hs256]));
    for exp in [json!(1_800_000_100), json!(1_800_000_100.75), json!(1.8000001e9), json!(253_402_300_799_u64)] {
        assert_eq!(refusal(&only, json!({ "exp": exp })), None, "{exp}");
    }
    let fraction = examined(&only, &with(json!({ "exp": 1_800_000_100.75, "iat": 1_799_999_000.5 }))).unwrap();
    assert_eq!(fraction.expires_at, Timestamp::from_millis(1_800_000_100_750));
    assert_eq!(fraction.started_at, Some(Timestamp::from_millis(1_799_999_000_500)));
    let odd = [
        json!(1e30),
        json!(-1),
        json!(-0.5),
        json!("1800000100"),
        json!(null),
        json!([]),
        json!(253_402_300_800_u64),
        json!(u64::MAX),
        json!(1.7e12),
        json!(f64::MAX),
    ];
    for odd in odd {
        assert_eq!(refusal(&only, json!({ "exp": odd })), Some(LegacyRefusal::Expiry), "exp {odd}");
        assert_eq!(refusal(&only, json!({ "iat": odd })), Some(LegacyRefusal::NotYet), "iat {odd}");
        assert_eq!(refusal(&only, json!({ "nbf": odd })), Some(LegacyRefusal::NotYet), "nbf {odd}");
    }
    for text in ["{}", r#"{"user_id":1,"iat":1}"#] {
        let token = signed(&json!({ "alg": "HS256" }), text);
        assert_eq!(examined(&only, &token), Err(LegacyRefusal::Expiry), "exp is required");
    }
    for name in ["nbf", "iat"] {
        assert_eq!(refusal(&only, json!({ name: 1_800_000_060 })), None, "clocks differ");
        assert_eq!(refusal(&only, json!({ name: 1_800_000_061 })), Some(LegacyRefusal::NotYet));
    }
    let ahead = examined(&only, &with(json!({ "iat": 1_800_000_060 }))).unwrap();
    assert_eq!(ahead.started_at, Some(NOW), "nobody gains by a clock that is ahead");
    let none = signed(&json!({ "alg": "HS256" }), r#"{"user_id":"x","exp":1800000001}"#);
    assert_eq!(examined(&only, &none).unwrap().started_at, None);
}

#[test]
fn a_token_lapses_at_its_expiry_and_at_the_cut_off() {
    let lapsed = |leeway, cut_off, exp: i64| {
        let issuer = LegacyIssuer { leeway: Duration::from_secs(leeway), cut_off, ..issuer(&[LegacyAlg::Hs256]) };
        examined(&of(issuer), &with(json!({ "exp": exp }))).unwrap().lapsed
    };
    let later = NOW.plus(Duration::from_millis(1));
    assert_eq!(lapsed(0, later, 1_800_000_001), None);
    assert_eq!(lapsed(0, later, 1_800_000_000), Some(Reason::TokenInactive));
    assert_eq!(lapsed(30, later, 1_799_999_971), None);
    assert_eq!(lapsed(30, later, 1_799_999_970), Some(Reason::TokenInactive));
    assert_eq!(lapsed(0, NOW, 1_800_000_001), Some(Reason::CutOff));
}

#[test]
fn a_payload_is_one_object_with_every_claim_once_and_an_access_token_is_no_login() {
    let only = of(issuer(&[LegacyAlg::Hs256]));
    let plain = json!({ "alg": "HS256" });
    for payload in ["[]", "1", "", "{", r#"{"exp":1800000001,"user_id":1,"user_id":2}"#] {
        assert_eq!(examined(&only, &signed(&plain, payload)), Err(LegacyRefusal::Claims), "{payload}");
    }
    for (typ, expected) in [("at+jwt", true), ("application/AT+JWT", true), ("JWT", false), ("Bearer", false)] {
        let token = signed(&json!({ "alg": "HS256", "typ": typ }), &good().to_string());
        assert_eq!(examined(&only, &token).err(), expected.then_some(LegacyRefusal::Type), "{typ}");
    }
}

#[test]
fn an_id_token_of_latchkeys_own_is_no_login_either() {
    let only = of(issuer(&[LegacyAlg::Hs256]));
    let own = Own { issuer: "https://id.example", knows: &|kid| kid == "ours" };
    for (header, iss, expected) in [
        (json!({ "alg": "HS256", "typ": "JWT", "kid": "ours" }), "https://id.example", true),
        (json!({ "alg": "HS256", "kid": "ours" }), "https://id.example", true),
        // The former system had the same name, or called its key the same.
        (json!({ "alg": "HS256", "typ": "JWT", "kid": "theirs" }), "https://id.example", false),
        (json!({ "alg": "HS256", "typ": "JWT" }), "https://id.example", false),
        (json!({ "alg": "HS256", "typ": "JWT", "kid": "ours" }), "https://old.example", false),
    ] {
        let mut claims = good();
        claims["iss"] = json!(iss);
        let token = signed(&header, &claims.to_string());
        let refused = match only.examine(own, &ClientId::new("web"), &token, NOW) {
            Examined::Refused { refusal, .. } => Some(refusal),
            _ => None,
        };
        assert_eq!(refused, expected.then_some(LegacyRefusal::Type), "{header} {iss}");
    }
}

#[test]
fn a_user_is_named_by_a_text_or_a_number_wherever_it_stands() {
    for (claim, claims, expected) in [
        ("user_id", json!({ "user_id": 42 }), "42"),
        ("user_id", json!({ "user_id": "42" }), "42"),
        ("user_id", json!({ "user_id": u64::MAX }), "18446744073709551615"),
        ("user.id", json!({ "user": { "id": "abc" } }), "abc"),
        ("https://old.example/user", json!({ "https://old.example/user": "x" }), "x"),
        ("a.b", json!({ "a.b": "whole", "a": { "b": "part" } }), "whole"),
    ] {
        let only = of(LegacyIssuer { user_claim: claim.into(), ..issuer(&[LegacyAlg::Hs256]) });
        assert_eq!(examined(&only, &with(claims)).unwrap().user, expected, "{claim}");
    }
}

#[test]
fn issuers_that_share_a_secret_are_told_apart_by_their_conditions() {
    let kind = |name: &str, token_type: &str, client: &str| LegacyIssuer {
        name: name.into(),
        require: json!({ "token_type": token_type }).as_object().cloned().unwrap(),
        clients: vec![ClientId::new(client)],
        ..issuer(&[LegacyAlg::Hs256])
    };
    let both = issuers(vec![
        (kind("pair", "refresh", "web"), secret()),
        (kind("sliding", "sliding", "web"), secret()),
        (kind("others", "refresh", "other"), secret()),
    ]);
    let name = |token: &str, client: &str| match both.examine(STRANGE, &ClientId::new(client), token, NOW) {
        Examined::Taken { issuer, .. } => issuer.name.clone(),
        Examined::Refused { issuer, refusal, .. } => format!("{} {}", issuer.name, refusal.as_str()),
        Examined::Nobodys => "nobody".into(),
    };
    let (refresh, sliding) = (with(json!({ "token_type": "refresh" })), with(json!({ "token_type": "sliding" })));
    assert_eq!(name(&refresh, "web"), "pair");
    assert_eq!(name(&sliding, "web"), "sliding");
    assert_eq!(name(&refresh, "other"), "others");
    assert_eq!(name(&sliding, "other"), "pair client", "the first refusal is the one that is told");
}

#[test]
fn what_is_derived_depends_on_the_token_and_the_key() {
    let (one, other) = (LegacyIssuers::new(Vec::new(), Secret32::new([1; 32])), of(issuer(&[LegacyAlg::Hs256])));
    let (a, b) = ([1; 32], [2; 32]);
    assert_eq!(one.derive(&a), one.derive(&a));
    let all = [one.derive(&a), one.derive(&b), other.derive(&a)];
    for (index, (sid, secret)) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|(id, s)| id != sid && s != secret));
        assert_ne!(&secret.expose()[..16], sid.as_bytes(), "a session id, which is in every token, tells no secret");
    }
}

#[test]
fn a_secret_shorter_than_its_hash_is_taken_and_told() {
    let weak = |algorithms: &[LegacyAlg], length: usize| {
        let key = LegacyKey::Secret(Zeroizing::new(vec![b'x'; length]));
        LegacyVerifier::new(issuer(algorithms), &key).unwrap().weak_secret()
    };
    assert_eq!(weak(&[LegacyAlg::Hs256], 32), None);
    let told = WeakSecret { alg: LegacyAlg::Hs512, wanted: 64, given: 63 };
    assert_eq!(weak(&[LegacyAlg::Hs256, LegacyAlg::Hs512], 63), Some(told));
    assert_eq!(weak(&[LegacyAlg::Hs256], 1).map(|weak| weak.given), Some(1));
}

#[test]
fn a_list_of_blacklisted_tokens_has_one_a_line() {
    assert_eq!(denied_of("# exported\n\na-a\n b \r\n7\n"), BTreeSet::from(["aa".into(), "b".into(), "7".into()]));
}

proptest! {
    #[test]
    fn signed_nonsense_never_panics_and_never_lasts_beyond_the_calendar(
        exp in json_text("id"), iat in json_text("id"), user in json_text("id"), whole in json_text("id"),
    ) {
        let only = of(LegacyIssuer { user_claim: "user.id".into(), ..issuer(&[LegacyAlg::Hs256]) });
        for payload in [format!(r#"{{"exp":{exp},"iat":{iat},"nbf":{iat},"user":{user}}}"#), whole] {
            let token = signed(&json!({ "alg": "HS256" }), &payload);
            if let Examined::Taken { token, .. } = only.examine(STRANGE, &ClientId::new("web"), &token, NOW) {
                prop_assert!(token.expires_at <= Timestamp::from_seconds(LATEST as i64));
                prop_assert!(token.started_at.is_none_or(|at| at <= NOW));
            }
        }
    }

    #[test]
    fn no_text_panics(text in ".{0,80}") {
        is_nobodys(&of(issuer(&[LegacyAlg::Hs256])), &text);
    }

    #[test]
    fn any_flipped_bit_is_refused(at in 0..512_usize, bit in 0..8_u32) {
        let only = of(issuer(&[LegacyAlg::Hs256]));
        let mut bytes = with(json!({})).into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            is_nobodys(&only, &text);
        }
    }
}
