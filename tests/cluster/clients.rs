//! What clients do: ask one node, and where it does not answer, do what a good client does by itself.
//!
//! A refresh is tried again on another node with the very same refresh token, within the retry window. All else is
//! asked again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::Value;

use super::history::{Answer, Asked, Loss, Moment, Operation, Token};
use super::nodes::{API, NODES, PASSWORD, USERS, WEB, username};

/// How long a client waits for an answer.
const WAIT: Duration = Duration::from_secs(3);

/// How long it tries again: well within the retry window.
const PERSEVERANCE: Duration = Duration::from_secs(40);

/// How long it rests after every node has failed it.
const REST: Duration = Duration::from_millis(100);

/// What came of asking until there was an answer.
pub struct Answered {
    pub answer: Answer,
    /// Whether a node was given up that may still carry out what it was asked.
    pub given_up: bool,
}

pub struct Clients {
    http: reqwest::Client,
    urls: [String; NODES],
    began: Instant,
    operations: Mutex<Vec<Operation>>,
    sessions: AtomicUsize,
    turns: AtomicUsize,
}

impl Clients {
    pub fn new(urls: [String; NODES]) -> anyhow::Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(WAIT).connect_timeout(WAIT).tcp_nodelay(true).build()?,
            urls,
            began: Instant::now(),
            operations: Mutex::default(),
            sessions: AtomicUsize::new(0),
            turns: AtomicUsize::new(0),
        })
    }

    pub fn now(&self) -> Moment {
        Moment(self.began.elapsed().as_micros() as u64)
    }

    /// All that was asked so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number for a login and what follows from it.
    pub fn new_session(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// Each node in its turn, as a load balancer chooses.
    pub fn next_node(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed) % NODES
    }

    /// Asks one node, once.
    pub async fn ask(&self, node: usize, session: usize, asked: Asked) -> Answer {
        let sent = self.now();
        let answer = self.exchange(node, session, &asked).await;
        self.record(Operation { session, node, sent, ended: self.now(), asked, answer: answer.clone() });
        answer
    }

    /// Asks, and goes away before there can be much of an answer.
    pub async fn ask_in_passing(&self, node: usize, session: usize, asked: Asked, patience: Duration) -> Answer {
        let sent = self.now();
        let answer = tokio::time::timeout(patience, self.exchange(node, session, &asked)).await;
        let answer = answer.unwrap_or(Answer::Lost(Loss::Abandoned));
        self.record(Operation { session, node, sent, ended: self.now(), asked, answer: answer.clone() });
        answer
    }

    /// Asks one node after the other until one answers, or no client would wait any longer.
    pub async fn ask_until_answered(&self, session: usize, asked: Asked) -> Answered {
        let began = Instant::now();
        let (mut failures, mut given_up) = (0, false);
        loop {
            let answer = self.ask(self.next_node(), session, asked.clone()).await;
            if !matches!(answer, Answer::Lost(_) | Answer::Unavailable) || began.elapsed() > PERSEVERANCE {
                return Answered { answer, given_up };
            }
            failures += 1;
            given_up |= answer.is_given_up();
            if failures % NODES == 0 {
                tokio::time::sleep(REST).await;
            }
        }
    }

    fn record(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    async fn exchange(&self, node: usize, session: usize, asked: &Asked) -> Answer {
        let user = username(session % USERS);
        let (path, (id, secret), form) = match asked {
            Asked::Login => {
                let form = vec![("grant_type", "password"), ("username", &*user), ("password", PASSWORD)];
                ("/oauth2/token", WEB, form)
            }
            Asked::Refresh(token) => {
                ("/oauth2/token", WEB, vec![("grant_type", "refresh_token"), ("refresh_token", token.text())])
            }
            Asked::IsActive(token) => ("/oauth2/introspect", API, vec![("token", token.text())]),
            Asked::Revoke(token) => ("/oauth2/revoke", WEB, vec![("token", token.text())]),
        };
        let request = self.http.post(format!("{}{path}", self.urls[node])).basic_auth(id, Some(secret)).form(&form);
        match request.send().await {
            Ok(response) => read(response, asked).await,
            Err(error) if error.is_connect() => Answer::Lost(Loss::NotReached),
            Err(error) if error.is_timeout() => Answer::Lost(Loss::TimedOut),
            Err(_) => Answer::Lost(Loss::Closed),
        }
    }
}

async fn read(response: Response, asked: &Asked) -> Answer {
    let status = response.status().as_u16();
    let text = match response.text().await {
        Ok(text) => text,
        Err(error) if error.is_timeout() => return Answer::Lost(Loss::TimedOut),
        Err(_) => return Answer::Lost(Loss::Cut),
    };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let token = |name: &str| body[name].as_str().map(Token::new);
    let answer = match (status, asked) {
        (503, _) => Some(Answer::Unavailable),
        (200, Asked::Login | Asked::Refresh(_)) => token("access_token")
            .zip(token("refresh_token"))
            .map(|(access, refresh)| Answer::Tokens { access, refresh }),
        (200, Asked::IsActive(_)) => body["active"].as_bool().map(Answer::Active),
        (200, Asked::Revoke(_)) => Some(Answer::Revoked),
        (400, Asked::Refresh(_)) if body["error"] == "invalid_grant" => {
            Some(Answer::Refused(body["reason"].as_str().unwrap_or_default().to_owned()))
        }
        _ => None,
    };
    answer.unwrap_or_else(|| Answer::Odd(format!("{status} {text}")))
}
