//! Holds the checker of the cluster's histories against histories that are wrong in one way each.

#[path = "cluster/checker.rs"]
mod checker;
#[path = "cluster/history.rs"]
#[expect(dead_code, reason = "texts of tokens are for those who ask a service")]
mod history;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::checker::{Verdict, check};
use self::history::{Answer, Asked, History, Lag, Loss, Moment, Operation, Token};

const BOUND: Duration = Duration::from_secs(2);
const LAST: u64 = 9_000;

/// The refresh token of a generation; `twin` makes another of the same.
fn refresh(generation: u32, twin: u8) -> Token {
    let mut bytes = [twin; 69];
    bytes[17..21].copy_from_slice(&generation.to_be_bytes());
    Token::new(&format!("lkr_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn access(generation: u32) -> Token {
    Token::new(&format!("access-{generation}"))
}

fn tokens(generation: u32) -> Answer {
    Answer::Tokens { access: access(generation), refresh: refresh(generation, 0) }
}

fn refused() -> Answer {
    Answer::Refused("unknown_session".into())
}

/// An operation that takes ten milliseconds from `sent` on.
fn at(sent: u64, asked: Asked, answer: Answer) -> Operation {
    let ended = Moment((sent + 10) * 1000);
    Operation { session: 1, node: 0, sent: Moment(sent * 1000), ended, asked, answer }
}

fn renewal(sent: u64, parent: u32) -> Operation {
    at(sent, Asked::Refresh(refresh(parent, 0)), tokens(parent + 1))
}

fn end(sent: u64) -> Operation {
    at(sent, Asked::Revoke(refresh(1, 0)), Answer::Revoked)
}

fn is_active(sent: u64, active: bool) -> Operation {
    at(sent, Asked::IsActive(access(1)), Answer::Active(active))
}

/// A session that goes well: logged in, renewed, asked about, and renewed in the end.
fn good() -> Vec<Operation> {
    vec![at(100, Asked::Login, tokens(0)), renewal(1000, 0), is_active(1100, true), renewal(LAST, 1)]
}

fn with(operations: impl IntoIterator<Item = Operation>) -> Vec<Operation> {
    good().into_iter().chain(operations).collect()
}

/// The same, ended at 2000 ms.
fn ended(operations: impl IntoIterator<Item = Operation>) -> Vec<Operation> {
    let mut all = good();
    all.pop();
    all.push(end(2000));
    all.extend(operations);
    all
}

fn history(operations: Vec<Operation>) -> History {
    History {
        operations,
        bound: BOUND,
        stopped: Moment(LAST * 1000 - 500),
        last_tries: Moment(LAST * 1000),
        lag: None,
        gentle: false,
    }
}

#[track_caller]
fn holds(history: &History) -> Verdict {
    let verdict = check(history);
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    verdict
}

#[track_caller]
fn is_refused(history: &History, why: &str) {
    let verdict = check(history);
    let [found] = &*verdict.violations else { unreachable!("one violation is there to be found: {verdict:#?}") };
    assert!(found.what.starts_with(why), "{}", found.what);
    assert_eq!(found.story.len(), history.operations.len(), "the whole story is told");
}

#[test]
fn a_good_history_holds_and_is_counted() {
    let verdict = holds(&history(good()));
    assert_eq!((verdict.logins, verdict.refreshes, verdict.introspections), (1, 2, 1));
    assert_eq!((verdict.kept, verdict.given_again, verdict.past_bound), (1, 0, 0));
    assert_eq!(verdict.longest_silence, Duration::ZERO, "after the end of the load everybody is silent");
    let verdict = holds(&history(with([renewal(3000, 0)])));
    assert_eq!(verdict.longest_silence, Duration::from_secs(2), "from one refresh to the next");
    let verdict = holds(&history(ended([is_active(3000, true), is_active(4020, false)])));
    assert_eq!((verdict.revocations, verdict.kept, verdict.past_bound), (1, 0, 1));
}

#[test]
fn lost_answers_and_their_retries_hold() {
    let lost = at(900, Asked::Refresh(refresh(0, 0)), Answer::Lost(Loss::TimedOut));
    let busy = at(950, Asked::Refresh(refresh(0, 0)), Answer::Unavailable);
    let verdict = holds(&history(with([lost, busy, renewal(1010, 0)])));
    assert_eq!((verdict.unanswered, verdict.unavailable, verdict.given_again), (1, 1, 1));
}

#[test]
fn a_refused_successor_is_found() {
    let why = "a session that nobody ended was refused";
    is_refused(&history(with([at(2000, Asked::Refresh(refresh(1, 0)), refused())])), why);
    // Nor does an end that was asked for later excuse it.
    let early = at(1500, Asked::Refresh(refresh(1, 0)), refused());
    is_refused(&history(ended([early])), why);
    // One that was under way does, acknowledged or not.
    holds(&history(ended([at(2005, Asked::Refresh(refresh(1, 0)), refused())])));
    let mut unanswered = ended([at(2500, Asked::Refresh(refresh(1, 0)), refused())]);
    unanswered[3].answer = Answer::Lost(Loss::Closed);
    holds(&history(unanswered));
}

#[test]
fn a_session_that_is_not_kept_is_found() {
    let mut operations = good();
    operations.pop();
    is_refused(&history(operations), "the latest refresh token of a session that nobody ended was not taken");
}

#[test]
fn a_token_active_past_the_bound_is_found() {
    holds(&history(ended([is_active(4009, true)])));
    is_refused(&history(ended([is_active(4011, true)])), "a token was active later than the bound");
    // One token by itself, whose session lives on.
    let alone = at(1200, Asked::Revoke(access(1)), Answer::Revoked);
    holds(&history(with([alone.clone(), is_active(1300, false), is_active(3200, true)])));
    is_refused(&history(with([alone, is_active(3300, true)])), "a token was active later than the bound");
}

#[test]
fn a_token_that_is_inactive_for_no_reason_is_found() {
    is_refused(&history(with([is_active(1200, false)])), "a token was inactive that nobody had revoked");
}

#[test]
fn two_tokens_of_a_generation_are_found() {
    let answer = Answer::Tokens { access: access(2), refresh: refresh(1, 7) };
    let twin = at(1500, Asked::Refresh(refresh(0, 0)), answer);
    is_refused(&history(with([twin])), "a generation has two refresh tokens");
}

#[test]
fn a_generation_that_is_left_out_is_found() {
    let leap = at(1500, Asked::Refresh(refresh(1, 0)), tokens(3));
    is_refused(&history(with([leap])), "the refresh token is not of the generation that follows");
}

#[test]
fn a_session_that_rises_again_is_found() {
    is_refused(&history(ended([renewal(2100, 1)])), "a session that had ended was renewed");
}

#[test]
fn an_answer_that_nobody_expects_is_found() {
    let odd = at(1500, Asked::Refresh(refresh(1, 0)), Answer::Odd("500".into()));
    is_refused(&history(with([odd])), "an answer that no client expects");
    let confused = at(1500, Asked::Login, Answer::Active(true));
    is_refused(&history(with([confused])), "an answer to another question");
}

#[test]
fn a_gentle_round_loses_nothing_that_is_not_tried_again() {
    for (loss, is_fine) in [
        (Loss::NotReached, true),
        (Loss::Closed, true),
        (Loss::Abandoned, true),
        (Loss::Cut, false),
        (Loss::TimedOut, false),
    ] {
        let lost = at(900, Asked::Refresh(refresh(0, 0)), Answer::Lost(loss));
        let gentle = History { gentle: true, ..history(with([lost])) };
        assert_eq!(check(&gentle).violations.is_empty(), is_fine, "{loss:?}");
    }
}

/// The primary dies at 2200 ms and the standby ends at `since`.
fn failed_over(operations: Vec<Operation>, since: u64) -> History {
    let lag = Lag { since: Moment(since * 1000), until: Moment(2_200_000) };
    History { lag: Some(lag), ..history(operations) }
}

#[test]
fn a_lag_excuses_a_login_within_it_and_no_other() {
    let mut operations = good();
    operations.pop();
    operations.push(at(2500, Asked::Refresh(refresh(1, 0)), refused()));
    let verdict = holds(&failed_over(operations.clone(), 50));
    assert_eq!((verdict.lost_logins, verdict.kept), (1, 0));
    is_refused(&failed_over(operations.clone(), 200), "a session that nobody ended was refused");
    // Before the primary died it had every login.
    operations[3] = at(2100, Asked::Refresh(refresh(1, 0)), refused());
    is_refused(&failed_over(operations, 50), "a session that nobody ended was refused");
}

#[test]
fn a_lag_excuses_a_revocation_within_it_and_no_other() {
    let risen = ended([is_active(4500, true), renewal(LAST, 1)]);
    let verdict = holds(&failed_over(risen.clone(), 1900));
    assert_eq!((verdict.lost_revocations, verdict.kept), (1, 0));
    is_refused(&failed_over(risen.clone(), 2100), "a token was active later than the bound");
    // Acknowledged once more by the new primary, it holds.
    let twice = risen.into_iter().chain([end(2300)]).collect();
    is_refused(&failed_over(twice, 1900), "a token was active later than the bound");
    // Before the primary died it had every revocation.
    is_refused(&failed_over(ended([renewal(2100, 1)]), 1900), "a session that had ended was renewed");
}
