//! What fails, and how.

use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::Signal;

use super::bed::Bed;
use super::clients::Clients;
use super::dice::Dice;
use super::history::{Lag, Moment};
use super::nodes::NODES;
use super::pair::Mode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node is killed and started again.
    Kill,
    /// A node is stopped for long and continued.
    Pause,
    /// The connection that a node listens on is cut, or falls silent.
    Unheard,
    /// PostgreSQL restarts.
    Restart,
    /// The wall clocks of two nodes differ by five seconds.
    Clocks,
    /// Each node in turn is stopped as an operator does, and started again.
    Rolling,
    /// The primary is killed and its synchronous standby promoted.
    FailoverSync,
    /// The same with an asynchronous standby that is behind.
    FailoverAsync,
}

impl Fault {
    /// Those that leave the pair as it was come first.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::Pause,
        Self::Unheard,
        Self::Restart,
        Self::Clocks,
        Self::Rolling,
        Self::FailoverSync,
        Self::FailoverAsync,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Unheard => "unheard",
            Self::Restart => "restart",
            Self::FailoverSync => "failover-sync",
            Self::FailoverAsync => "failover-async",
            Self::Clocks => "clocks",
            Self::Rolling => "rolling",
        }
    }

    pub fn mode(self) -> Mode {
        if self == Self::FailoverAsync { Mode::Asynchronous } else { Mode::Synchronous }
    }

    /// Whether a pair serves for one round alone.
    pub fn uses_up_the_pair(self) -> bool {
        matches!(self, Self::FailoverSync | Self::FailoverAsync)
    }
}

/// Enough for others to commit more than a second's worth, once they have found the new primary.
const SLEEP: Duration = Duration::from_secs(8);

const PATIENCE: Duration = Duration::from_secs(30);

/// Lets it happen; all is well again afterwards. A node that is stopped is for `pause`. Answers what may be lost.
pub async fn happen(
    fault: Fault,
    bed: &mut Bed,
    clients: &Clients,
    dice: &mut Dice,
    pause: Duration,
) -> anyhow::Result<Option<Lag>> {
    let node = dice.below(NODES);
    match fault {
        Fault::Kill => {
            bed.nodes.kill(node)?;
            rest(dice, 50, 1500).await;
            bed.nodes.spawn(node)?;
            bed.nodes.until_ready().await?;
        }
        Fault::Pause => {
            bed.nodes.signal(node, Signal::STOP);
            tokio::time::sleep(pause).await;
            bed.nodes.signal(node, Signal::CONT);
            bed.nodes.until_ready().await?;
        }
        Fault::Unheard => unheard(bed, dice).await?,
        Fault::Restart => {
            bed.pair.restart(if dice.is_even() { "fast" } else { "immediate" }).await?;
            bed.nodes.until_ready().await?;
        }
        Fault::FailoverSync => {
            // In every other round the standby is behind, and nothing is acknowledged any more.
            if dice.is_even() {
                part(bed);
                rest(dice, 200, 1000).await;
            }
            fail_over(bed, clients, dice).await?;
            bed.nodes.until_ready().await?;
        }
        Fault::FailoverAsync => {
            part(bed);
            rest(dice, 200, 1000).await;
            // In every other round a node sleeps until the new primary has passed the point where the old one died.
            let sleeps = dice.is_even();
            if sleeps {
                bed.nodes.signal(node, Signal::STOP);
            }
            let lag = fail_over(bed, clients, dice).await?;
            if sleeps {
                tokio::time::sleep(SLEEP).await;
                bed.nodes.signal(node, Signal::CONT);
            }
            bed.nodes.until_ready().await?;
            return Ok(Some(lag));
        }
        Fault::Clocks => {
            let other = (node + 1) % NODES;
            for (late, early) in [(0, 5), (-5, 0), (-2, 3), (0, 0)] {
                bed.nodes.set_clock(node, late)?;
                bed.nodes.set_clock(other, early)?;
                rest(dice, 800, 1200).await;
            }
        }
        Fault::Rolling => {
            for node in 0..NODES {
                bed.nodes.stop(node).await?;
                bed.nodes.change_version(node);
                bed.nodes.spawn(node)?;
                bed.nodes.until_ready().await?;
            }
        }
    }
    Ok(None)
}

/// Milliseconds.
async fn rest(dice: &mut Dice, least: u64, most: u64) {
    tokio::time::sleep(dice.between(Duration::from_millis(least), Duration::from_millis(most))).await;
}

/// The standby hears nothing any more of the primary.
fn part(bed: &Bed) {
    bed.pair.link.point_at(None);
    bed.pair.link.cut();
}

async fn fail_over(bed: &mut Bed, clients: &Clients, dice: &mut Dice) -> anyhow::Result<Lag> {
    // An address that moves leaves connections behind that nobody closes.
    if dice.below(2) == 0 {
        bed.pair.door.freeze();
    }
    bed.pair.door.point_at(None);
    bed.pair.kill_primary()?;
    let until = clients.now();
    rest(dice, 0, 1000).await;
    let age = bed.pair.promote().await?;
    let since = Moment(clients.now().0.saturating_sub(age.as_micros() as u64));
    Ok(Lag { since, until })
}

/// The connections on which nodes listen: the server's process and the port that it sees. Waits until there is one.
pub async fn listening(bed: &Bed) -> anyhow::Result<Vec<(i32, u16)>> {
    const LISTENING: &str = "SELECT pid, client_port FROM pg_stat_activity WHERE query LIKE 'LISTEN%' ORDER BY pid";
    let began = Instant::now();
    loop {
        let listening: Vec<(i32, i32)> = sqlx::query_as(LISTENING).fetch_all(&mut bed.pair.connect().await?).await?;
        if !listening.is_empty() {
            return listening.into_iter().map(|(pid, port)| Ok((pid, u16::try_from(port)?))).collect();
        }
        ensure!(began.elapsed() < PATIENCE, "no node listens");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Cuts each connection that listens; or one falls silent, and its node does not notice.
async fn unheard(bed: &Bed, dice: &mut Dice) -> anyhow::Result<()> {
    let mut conn = bed.pair.connect().await?;
    for _ in 0..3 {
        let listening = listening(bed).await?;
        if dice.below(2) == 0 {
            for (pid, _) in listening {
                sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut conn).await?;
            }
        } else {
            let (_, port) = listening[dice.below(listening.len())];
            // One that is frozen already has nothing more to lose.
            bed.pair.door.freeze_one(port);
        }
        rest(dice, 1200, 1800).await;
    }
    bed.pair.door.cut_frozen();
    Ok(())
}
