//! One device: its connection, its schedule, and what it refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use yagura_event::clock::{self, Micros};

use super::client::{Client, Failure, Held, Identity, Table, meaning};
use super::map::Entry;
use super::plan::{Block, Limits, plan, split};
use crate::backoff::Backoff;
use crate::feed::Feed;

/// The pauses before a device that is away is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Requests that are due for longer than this are not caught up by going faster.
const CATCH_UP: Duration = Duration::from_millis(5);

/// Polls that were left out are told at most this often.
const LATE_EVERY: Duration = Duration::from_secs(60);

/// After requests were split, what the device does take is planned anew so often: a device that refuses the
/// joined request again is read in parts from then on.
const REPLANS: u8 = 2;

/// Ranges that are named when a device refuses more at a time.
pub const RANGES_TOLD: usize = 8;

/// Exceptions of a gateway: the device itself did not answer.
const AWAY: [u8; 2] = [10, 11];

/// Spaces the requests to one address, over all units behind it.
pub struct Pace {
    apart: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// At most so many requests a second.
    pub fn new(per_second: u32) -> Arc<Pace> {
        let apart = Duration::from_secs(1) / per_second.max(1);
        Arc::new(Pace { apart, next: Mutex::new(Instant::now()) })
    }

    /// Waits for one's turn, in the order of asking. Timers wake up late by a millisecond or two: that little is
    /// caught up.
    async fn turn(&self) {
        let mut next = self.next.lock().await;
        if *next > Instant::now() {
            sleep_until(*next).await;
        }
        let earliest = Instant::now().checked_sub(CATCH_UP).unwrap_or(*next);
        *next = (*next).max(earliest) + self.apart;
    }
}

/// What is known of a device before it is asked.
pub struct Target {
    /// Its number among the collector's devices.
    pub number: u32,
    /// `host:port`.
    pub address: String,
    /// The unit behind the address.
    pub unit: u8,
    /// How often its map is read.
    pub every: Duration,
    /// When in that time, so that not all devices are read at once.
    pub phase: Duration,
    /// How long an answer may take.
    pub wait: Duration,
    /// How long a refused range is left alone.
    pub again: Duration,
    /// Whether it is asked who it is.
    pub identify: bool,
    /// What is read of it.
    pub map: Arc<[Entry]>,
    /// In which requests.
    pub limits: Limits,
    /// When it may be asked.
    pub pace: Arc<Pace>,
}

/// What came of a device.
pub struct News {
    /// Its number.
    pub device: u32,
    /// When.
    pub observed: Micros,
    /// What.
    pub what: What,
}

/// What can come of a device.
pub enum What {
    /// It answers, from now on.
    Up,
    /// It does not answer, from now on.
    Down(String),
    /// Who it is.
    Identity(Box<Identity>),
    /// Values.
    Values(Arc<Block>, Held),
    /// It refuses these from now on, by an exception. They are asked for again after a while.
    Refused(u8, Vec<Arc<Block>>),
    /// What it refused since then it answers now.
    Accepted(Arc<Block>, Micros),
    /// It could not answer this time, by an exception.
    Trouble(u8, Arc<Block>),
    /// So many polls since then were left out.
    Late(u64, Micros),
}

impl What {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let more = match self {
            What::Values(_, Held::Words(words)) => 2 * words.len(),
            What::Values(_, Held::Bits(bits)) => bits.len(),
            What::Refused(_, blocks) => 64 * blocks.len(),
            What::Down(text) => text.len(),
            _ => 0,
        };
        size_of::<News>() + more
    }
}

/// A request of the plan, and how the device took it.
struct Planned {
    block: Arc<Block>,
    /// By which exception and since when it is refused, and when it is asked for again.
    refused: Option<(u8, Micros, Instant)>,
    /// That it could not be answered has been told.
    troubled: bool,
}

impl Planned {
    fn new(block: Block) -> Self {
        Planned { block: Arc::new(block), refused: None, troubled: false }
    }
}

/// How a round over the map ended.
enum Round {
    /// All was asked.
    Done,
    /// A gateway says that the device is away.
    Away(String),
    /// The connection is of no more use.
    Lost(String),
    /// Nobody listens any more.
    Over,
}

/// Reads one device until nobody listens any more.
pub struct Device {
    target: Target,
    feed: Option<Feed<News>>,
    plan: Vec<Planned>,
    replans: u8,
    up: bool,
}

impl Device {
    /// A device that was not asked yet. Without a feed nothing is told.
    pub fn new(target: Target, feed: Option<Feed<News>>) -> Self {
        let all = 0..target.map.len() as u32;
        let plan = plan(&target.map, all, target.limits).into_iter().map(Planned::new).collect();
        Device { target, feed, plan, replans: REPLANS, up: false }
    }

    /// Connects, polls, and connects again, until nobody listens.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        sleep(self.target.phase).await;
        loop {
            let cause = match self.connect().await {
                Ok(mut client) => match self.poll(&mut client, &mut backoff).await {
                    Some(cause) => cause,
                    None => return,
                },
                Err(cause) => cause,
            };
            self.up = false;
            if self.tell(What::Down(cause)).await.is_err() {
                return;
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn connect(&self) -> Result<Client, String> {
        let Target { address, unit, wait, .. } = &self.target;
        Client::connect(address, *unit, *wait).await
    }

    /// Polls on one connection; answers why that is of no more use.
    async fn poll(&mut self, client: &mut Client, backoff: &mut Backoff) -> Option<String> {
        if self.target.identify {
            self.target.pace.turn().await;
            match client.identify().await {
                Ok(Some(identity)) => self.tell(What::Identity(Box::new(identity))).await.ok()?,
                Ok(None) => {}
                // Some are silent on what they do not know: they are not asked again.
                Err(Failure::Lost(cause)) => {
                    self.target.identify = false;
                    return Some(format!("asked who it is: {cause}; it is not asked that again"));
                }
                Err(Failure::Exception(_)) => {}
            }
        }
        let every = self.target.every;
        let mut ticks = interval_at(Instant::now(), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut last: Option<(Instant, Micros)> = None;
        let mut late = (0, 0);
        let mut told = None;
        loop {
            let tick = ticks.tick().await;
            if let Some((before, since)) = last {
                let left_out =
                    (tick.duration_since(before).as_micros() / every.as_micros().max(1)).max(1) - 1;
                if late.0 == 0 {
                    late.1 = since;
                }
                late.0 += left_out as u64;
            }
            if late.0 > 0 && told.is_none_or(|told| tick.duration_since(told) >= LATE_EVERY) {
                self.tell(What::Late(late.0, late.1)).await.ok()?;
                (late, told) = ((0, 0), Some(tick));
            }
            last = Some((tick, clock::now()));
            match self.round(client).await {
                Round::Done => backoff.reset(),
                Round::Away(cause) => {
                    self.up = false;
                    self.tell(What::Down(cause)).await.ok()?;
                    sleep(backoff.pause()).await;
                    // That time is a gap of the device already.
                    last = None;
                }
                Round::Lost(cause) => return Some(cause),
                Round::Over => return None,
            }
        }
    }

    /// Asks once for everything that is due. What is refused is asked for in parts, and told when it is known
    /// which entries it is.
    async fn round(&mut self, client: &mut Client) -> Round {
        let mut open: Vec<Planned> = std::mem::take(&mut self.plan);
        open.reverse();
        let mut parted = false;
        let mut fresh: Vec<(u8, Arc<Block>)> = Vec::new();
        let mut end = Round::Done;
        while let Some(mut planned) = open.pop() {
            if planned.refused.is_some_and(|(.., again)| Instant::now() < again) {
                self.plan.push(planned);
                continue;
            }
            self.target.pace.turn().await;
            let answer = client.read(planned.block.range).await;
            let heard = !matches!(answer, Err(Failure::Lost(_)))
                && !matches!(answer, Err(Failure::Exception(code)) if AWAY.contains(&code));
            if heard && self.heard().await.is_err() {
                end = Round::Over;
            }
            match answer {
                Ok(held) => {
                    if self.answered(&mut planned, held).await.is_err() {
                        end = Round::Over;
                    }
                }
                Err(Failure::Exception(code @ 2..=3)) if planned.refused.is_none() => {
                    match split(&self.target.map, &planned.block, self.target.limits) {
                        Some(parts) => {
                            parted = true;
                            open.extend(parts.into_iter().rev().map(Planned::new));
                            continue;
                        }
                        None => self.refuse(&mut planned, code, &mut fresh),
                    }
                }
                Err(Failure::Exception(code @ 1..=3)) => self.refuse(&mut planned, code, &mut fresh),
                Err(Failure::Exception(code)) if AWAY.contains(&code) => {
                    end = Round::Away(meaning(code).into());
                }
                Err(Failure::Exception(code)) => {
                    let news = What::Trouble(code, Arc::clone(&planned.block));
                    if !std::mem::replace(&mut planned.troubled, true) && self.tell(news).await.is_err() {
                        end = Round::Over;
                    }
                }
                Err(Failure::Lost(cause)) => end = Round::Lost(format!("{}: {cause}", planned.block.range)),
            }
            self.plan.push(planned);
            if !matches!(end, Round::Done) {
                break;
            }
        }
        open.reverse();
        self.plan.extend(open);
        if parted && matches!(end, Round::Done) && self.replans > 0 {
            self.replans -= 1;
            self.plan_anew();
        }
        match self.tell_refused(fresh).await {
            Ok(()) => end,
            Err(Over) => Round::Over,
        }
    }

    /// It answered something: it is there.
    async fn heard(&mut self) -> Result<(), Over> {
        match std::mem::replace(&mut self.up, true) {
            true => Ok(()),
            false => self.tell(What::Up).await,
        }
    }

    async fn answered(&self, planned: &mut Planned, held: Held) -> Result<(), Over> {
        planned.troubled = false;
        if let Some((_, since, _)) = planned.refused.take() {
            self.tell(What::Accepted(Arc::clone(&planned.block), since)).await?;
        }
        self.tell(What::Values(Arc::clone(&planned.block), held)).await
    }

    /// Notes that a range is refused, and whether that is news.
    fn refuse(&self, planned: &mut Planned, code: u8, fresh: &mut Vec<(u8, Arc<Block>)>) {
        let again = Instant::now() + self.target.again;
        let since = match planned.refused {
            Some((before, since, _)) if before == code => since,
            _ => {
                fresh.push((code, Arc::clone(&planned.block)));
                clock::now()
            }
        };
        planned.refused = Some((code, since, again));
    }

    /// Joins what was split and is not refused, around what is: as the settings say at first, then without reading
    /// along what nobody wants, since that may not be there.
    fn plan_anew(&mut self) {
        let gap = if self.replans + 1 == REPLANS { self.target.limits.gap } else { 0 };
        let limits = Limits { gap, ..self.target.limits };
        let (refused, mut taken): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.plan).into_iter().partition(|planned| planned.refused.is_some());
        // By table and by how many refused ranges begin before.
        let mut groups: BTreeMap<(Table, usize), Vec<u32>> = BTreeMap::new();
        for number in taken.iter().flat_map(|planned| &planned.block.entries) {
            let entry = &self.target.map[*number as usize];
            let before =
                |r: &&Planned| r.block.range.table == entry.table && r.block.range.start <= entry.start;
            let group = (entry.table, refused.iter().filter(before).count());
            groups.entry(group).or_default().push(*number);
        }
        for group in groups.into_values() {
            for block in plan(&self.target.map, group.into_iter(), limits) {
                // What stays as it was keeps what was told of it.
                let same = taken.iter().position(|planned| *planned.block == block);
                self.plan.push(same.map_or_else(|| Planned::new(block), |at| taken.swap_remove(at)));
            }
        }
        self.plan.extend(refused);
    }

    async fn tell_refused(&self, mut fresh: Vec<(u8, Arc<Block>)>) -> Result<(), Over> {
        fresh.sort_by_key(|(code, block)| (*code, block.range.table, block.range.start));
        for group in fresh.chunk_by(|a, b| a.0 == b.0) {
            let blocks = group.iter().map(|(_, block)| Arc::clone(block)).collect();
            self.tell(What::Refused(group[0].0, blocks)).await?;
        }
        Ok(())
    }

    /// Waits for room: while the log takes nothing, the device is not asked.
    async fn tell(&self, what: What) -> Result<(), Over> {
        let Some(feed) = &self.feed else { return Ok(()) };
        let bytes = what.bytes();
        let news = News { device: self.target.number, observed: clock::now(), what };
        feed.send(news, bytes).await.map_err(|_| Over)
    }

    /// Asks once for everything; answers who it is and what it refuses.
    pub async fn probe(mut self) -> Result<(Option<Identity>, Vec<(u8, Arc<Block>)>), String> {
        let mut client = self.connect().await?;
        let identity = match self.target.identify {
            true => client.identify().await,
            false => Ok(None),
        };
        let identity = match identity {
            Err(Failure::Lost(cause)) => {
                return Err(format!("asked who it is: {cause}; `identify: false` leaves that out"));
            }
            known => known.unwrap_or_default(),
        };
        match self.round(&mut client).await {
            Round::Away(cause) | Round::Lost(cause) => Err(cause),
            Round::Done | Round::Over => {
                let refused = self.plan.iter().filter_map(|p| Some((p.refused?.0, Arc::clone(&p.block))));
                Ok((identity, refused.collect()))
            }
        }
    }
}

/// Nobody listens any more.
#[derive(Debug)]
struct Over;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_one_address_are_spaced_over_all_who_ask() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let took = runtime.block_on(async {
            let (pace, began) = (Pace::new(200), Instant::now());
            let ask = |pace: Arc<Pace>| async move {
                for _ in 0..10 {
                    pace.turn().await;
                }
            };
            let both = [tokio::spawn(ask(Arc::clone(&pace))), tokio::spawn(ask(pace))];
            for one in both {
                one.await.expect("no panic");
            }
            began.elapsed()
        });
        // Twenty requests are nineteen times 5 ms apart.
        assert!(took >= Duration::from_millis(19 * 5) - CATCH_UP, "{took:?}");
    }
}
