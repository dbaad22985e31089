//! A pair of servers and three nodes on it, ready for rounds.

use std::path::Path;

use super::nodes::Nodes;
use super::pair::{Mode, Pair, Programs};

pub struct Bed {
    // The nodes go before their database.
    pub nodes: Nodes,
    pub pair: Pair,
    pub mode: Mode,
}

impl Bed {
    /// `beside`: the other program that nodes run, if they are of two versions.
    pub async fn make(
        programs: &Programs,
        mode: Mode,
        settings: &[(&'static str, &str)],
        beside: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let pair = Pair::start(programs, mode).await?;
        let nodes = Nodes::start(pair.url(), settings, beside).await?;
        Ok(Self { nodes, pair, mode })
    }

    /// What the logs of all say last.
    pub fn logs(&self) -> String {
        format!("{}\nPostgreSQL:\n{}", self.nodes.logs(), self.pair.logs())
    }
}
