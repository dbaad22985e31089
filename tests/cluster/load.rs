//! The load: users who log in, renew, ask and revoke, each by dice of its own, and probers who follow what was revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::clients::{Answered, Clients};
use super::dice::Dice;
use super::history::{Answer, Asked, Moment, Token};
use super::nodes::{NODES, USERS};

/// Between two things that a user does.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
const MOST_PAUSE: Duration = Duration::from_millis(80);

/// How soon a client that goes away does so.
const PASSING: Duration = Duration::from_millis(12);

/// When one node is asked after a revocation, and when all are: in milliseconds, the latter past the bound.
const EARLY_PROBES: [u64; 6] = [0, 10, 50, 200, 700, 1500];
const LATE_PROBES: [u64; 3] = [2005, 2300, 3500];

/// A session as its client holds it.
#[derive(Clone)]
struct Held {
    session: usize,
    access: Token,
    refresh: Token,
    /// Ended, or at rest until the end of the round.
    is_over: bool,
}

/// Whether users renew a session again right after an answer that they gave up waiting for.
///
/// A real client does so once an access token lives, minutes later. Here the request that nobody waits for may still
/// lie in a node when its session is two steps further, and then looks like a replay, which ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    Patient,
    Hurried,
}

/// Users at work.
pub struct Load {
    clients: Arc<Clients>,
    stop: Arc<AtomicBool>,
    users: JoinSet<Vec<Held>>,
}

impl Load {
    pub fn start(clients: &Arc<Clients>, seed: u64, haste: Haste) -> Self {
        let mut load = Self { clients: Arc::clone(clients), stop: Arc::default(), users: JoinSet::new() };
        for number in 0..USERS {
            let dice = Dice::of(seed, number as u64);
            let user =
                User { clients: Arc::clone(clients), dice, haste, sessions: Vec::new(), probers: JoinSet::new() };
            load.users.spawn(user.work(Arc::clone(&load.stop)));
        }
        load
    }

    /// Ends the load and tries every session once more, with all nodes well; answers when either began.
    pub async fn finish(self) -> anyhow::Result<[Moment; 2]> {
        let Self { clients, stop, mut users } = self;
        let stopped = clients.now();
        stop.store(true, Ordering::Relaxed);
        let mut sessions = Vec::new();
        while let Some(held) = users.join_next().await {
            sessions.extend(held?);
        }
        let last_tries = clients.now();
        let mut tries = JoinSet::new();
        for (number, held) in sessions.into_iter().enumerate() {
            // A few at a time.
            if number >= USERS {
                tries.join_next().await;
            }
            tries.spawn(last_try(Arc::clone(&clients), held));
        }
        while let Some(tried) = tries.join_next().await {
            tried?;
        }
        Ok([stopped, last_tries])
    }
}

async fn last_try(clients: Arc<Clients>, held: Held) {
    let answered = clients.ask_until_answered(held.session, Asked::Refresh(held.refresh)).await;
    let access = if let Answer::Tokens { access, .. } = answered.answer { access } else { held.access };
    for node in 0..NODES {
        clients.ask(node, held.session, Asked::IsActive(access.clone())).await;
    }
}

struct User {
    clients: Arc<Clients>,
    dice: Dice,
    haste: Haste,
    /// The last is the one in use.
    sessions: Vec<Held>,
    probers: JoinSet<()>,
}

impl User {
    async fn work(mut self, stop: Arc<AtomicBool>) -> Vec<Held> {
        while !stop.load(Ordering::Relaxed) {
            match self.sessions.last().filter(|held| !held.is_over).cloned() {
                None => self.log_in().await,
                Some(held) => self.act(held).await,
            }
            tokio::time::sleep(self.dice.between(LEAST_PAUSE, MOST_PAUSE)).await;
        }
        while self.probers.join_next().await.is_some() {}
        self.sessions
    }

    async fn log_in(&mut self) {
        let session = self.clients.new_session();
        let answered = self.clients.ask_until_answered(session, Asked::Login).await;
        if let Answer::Tokens { access, refresh } = answered.answer {
            self.sessions.push(Held { session, access, refresh, is_over: false });
        }
    }

    async fn act(&mut self, held: Held) {
        match self.dice.below(100) {
            0..42 => self.refresh(held).await,
            42..50 => self.refresh_twice(held).await,
            50..54 => self.refresh_in_passing(held).await,
            54..94 => {
                self.clients.ask(self.clients.next_node(), held.session, Asked::IsActive(held.access)).await;
            }
            94..96 => self.revoke(held.access.clone(), held).await,
            96..99 => {
                let refresh = held.refresh.clone();
                self.in_use().is_over = true;
                self.revoke(refresh, held).await;
            }
            _ => self.log_in().await,
        }
    }

    fn in_use(&mut self) -> &mut Held {
        let last = self.sessions.len() - 1;
        &mut self.sessions[last]
    }

    async fn refresh(&mut self, held: Held) {
        let Answered { answer, given_up } =
            self.clients.ask_until_answered(held.session, Asked::Refresh(held.refresh)).await;
        self.take(&answer);
        self.rest_if(given_up);
    }

    /// Two tabs of a browser at two nodes.
    async fn refresh_twice(&mut self, held: Held) {
        let asked = Asked::Refresh(held.refresh.clone());
        let one = self.clients.ask(self.clients.next_node(), held.session, asked.clone());
        let other = self.clients.ask(self.clients.next_node(), held.session, asked);
        let (one, other) = tokio::join!(one, other);
        match (&one, &other) {
            (Answer::Tokens { .. }, _) => self.take(&one),
            (_, Answer::Tokens { .. }) => self.take(&other),
            _ => self.refresh(held).await,
        }
        self.rest_if(one.is_given_up() || other.is_given_up());
    }

    /// The client goes away and tries again on another node.
    async fn refresh_in_passing(&mut self, held: Held) {
        let patience = self.dice.between(Duration::ZERO, PASSING);
        let asked = Asked::Refresh(held.refresh.clone());
        let answer = self.clients.ask_in_passing(self.clients.next_node(), held.session, asked, patience).await;
        self.refresh(held).await;
        self.rest_if(answer.is_given_up());
    }

    fn rest_if(&mut self, given_up: bool) {
        self.in_use().is_over |= given_up && self.haste == Haste::Patient;
    }

    fn take(&mut self, answer: &Answer) {
        match answer {
            Answer::Tokens { access, refresh } => {
                (self.in_use().access, self.in_use().refresh) = (access.clone(), refresh.clone());
            }
            // The client logs in anew; whether that had to be, the checker says.
            Answer::Refused(_) => self.in_use().is_over = true,
            _ => {}
        }
    }

    async fn revoke(&mut self, token: Token, held: Held) {
        let answered = self.clients.ask_until_answered(held.session, Asked::Revoke(token)).await;
        if matches!(answered.answer, Answer::Revoked) {
            self.probers.spawn(probe(Arc::clone(&self.clients), held));
        }
    }
}

/// Asks about a token that was just revoked, until well after the bound.
async fn probe(clients: Arc<Clients>, held: Held) {
    let revoked = tokio::time::Instant::now();
    let ask = |node| clients.ask(node, held.session, Asked::IsActive(held.access.clone()));
    for after in EARLY_PROBES {
        tokio::time::sleep_until(revoked + Duration::from_millis(after)).await;
        ask(clients.next_node()).await;
    }
    for after in LATE_PROBES {
        tokio::time::sleep_until(revoked + Duration::from_millis(after)).await;
        for node in 0..NODES {
            ask(node).await;
        }
    }
}
