//! What the host and the tools say to each other (SEMI E30), and what the laptop says.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use yagura_event::clock::{Micros, SECOND, rfc3339};

use crate::cell::{self, CHAMBERS, EAP, LAPTOP, TOOLS, Tool, ceid, svid};
use crate::hsms::{Exchange, Item, Line, Message};
use crate::plan::{
    DOWNLOAD_LEAD_S, DURATION_S, Lot, RECONNECTS_S, ROGUE_S, START, START_LEAD_S, level, second_of, step_at,
};
use crate::random::Random;
use crate::wire::{Recording, Side, Trouble};

/// How often each message was sent, by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Records the conversation of the host with one tool.
pub(crate) fn host_and_tool(
    recording: &mut Recording,
    tool: &'static Tool,
    lots: &[Lot],
    seed: u64,
    counts: &mut Counts,
) {
    let mut exchanges = Vec::new();
    set_up(&mut exchanges, tool);
    keep(&mut exchanges, tool, lots, seed);
    for (number, lot) in lots.iter().enumerate() {
        produce(&mut exchanges, lot, number, seed);
    }
    alarms(&mut exchanges, tool);
    exchanges.sort_by_key(|exchange| exchange.at);

    let reconnects: &[u32] = if tool.name == "CVD-03" { &RECONNECTS_S } else { &[] };
    let begin = START + index_of(tool) as Micros * 400_000 + SECOND;
    let mut host = SocketAddrV4::new(EAP, tool.host_port);
    let mut line = Line::open(recording, host, tool.address, begin);
    let mut rest = reconnects.iter().map(|second| second_of(*second)).peekable();
    for exchange in &exchanges {
        if let Some(at) = rest.next_if(|at| *at <= exchange.at) {
            line.close(recording, at);
            add(counts, &line.counts);
            host.set_port(host.port() + 1);
            line = Line::open(recording, host, tool.address, at + 3 * SECOND);
            line.exchange(recording, &establish(tool, at + 3 * SECOND + 300_000));
        }
        line.exchange(recording, exchange);
    }
    add(counts, &line.counts);
}

/// Records the laptop's visit: ETCH-08's old driver takes a second session.
pub(crate) fn laptop(recording: &mut Recording, seed: u64, counts: &mut Counts) {
    let tool = &TOOLS[1];
    let at = second_of(ROGUE_S);
    let mut line = Line::open(recording, SocketAddrV4::new(LAPTOP, 51_877), tool.address, at);
    let mut random = Random::named(seed, "laptop");
    let ids = [svid::RECIPE, svid::STATE];
    let answer = Message::data(1, 4, Item::list([Item::text("OX-MAIN-31"), Item::U1(vec![4])]));
    for exchange in [
        establish(tool, at + SECOND),
        Exchange::asked(at + 3 * SECOND, Side::Client, select_values(&ids), answer),
        Exchange::told(at + 9 * SECOND + random.below(1_000) as Micros, Side::Client, Message::SEPARATE),
    ] {
        line.exchange(recording, &exchange);
    }
    line.close(recording, at + 10 * SECOND);
    add(counts, &line.counts);
}

fn add(counts: &mut Counts, more: &Counts) {
    for (name, count) in more {
        *counts.entry(name.clone()).or_default() += count;
    }
}

/// Establish communication, S1F13.
fn establish(tool: &Tool, at: Micros) -> Exchange {
    let who = Item::list([Item::text(tool.model.name), Item::text(tool.model.revision)]);
    let reply = Item::list([Item::code(0), who]);
    Exchange::asked(at, Side::Client, Message::data(1, 13, Item::list([])), Message::data(1, 14, reply))
}

/// Selected equipment status, S1F3.
fn select_values(ids: &[u32]) -> Message {
    Message::data(1, 3, Item::list(ids.iter().map(|id| Item::id(*id))))
}

/// The variables of the reports: 1 with every event, 2 at the end of a lot.
const REPORTS: [(u32, &[u32]); 2] =
    [(1, &[svid::LOT, svid::RECIPE, svid::CHAMBER, svid::STEP]), (2, &[svid::LOT, svid::WAFERS])];

/// What the host does once after the first connection.
fn set_up(out: &mut Vec<Exchange>, tool: &Tool) {
    let mut at = START + 3 * SECOND + index_of(tool) as Micros * 50_000;
    let mut ask = |message, reply| {
        out.push(Exchange::asked(at, Side::Client, message, reply));
        at += 200_000;
    };
    let accepted = |function| Message::data(2, function, Item::code(0));
    let ids = |ids: &[u32]| Item::list(ids.iter().map(|id| Item::id(*id)));
    let hello = establish(tool, 0);
    ask(hello.message, hello.reply.unwrap_or(Message::SELECT));

    let names = cell::variables(tool.model)
        .into_iter()
        .map(|(id, name, unit, ..)| Item::list([Item::id(id), Item::text(&name), Item::text(unit)]));
    ask(Message::data(1, 11, Item::list([])), Message::data(1, 12, Item::list(names)));

    let all_events_off = Item::list([Item::Boolean(vec![false]), Item::list([])]);
    ask(Message::data(2, 37, all_events_off), accepted(38));
    ask(Message::data(2, 33, Item::list([Item::id(1), Item::list([])])), accepted(34));
    let reports = REPORTS.iter().map(|(report, vids)| Item::list([Item::id(*report), ids(vids)]));
    ask(Message::data(2, 33, Item::list([Item::id(2), Item::list(reports)])), accepted(34));
    let links = ceid::ALL.into_iter().map(|event| {
        let report = if event == ceid::LOT_COMPLETED { 2 } else { 1 };
        Item::list([Item::id(event), ids(&[report])])
    });
    ask(Message::data(2, 35, Item::list([Item::id(3), Item::list(links)])), accepted(36));
    let events_on = Item::list([Item::Boolean(vec![true]), ids(&ceid::ALL)]);
    ask(Message::data(2, 37, events_on), accepted(38));
    // An empty ALID means all alarms.
    let alarms_on = Item::list([Item::code(0x80), Item::U4(vec![])]);
    ask(Message::data(5, 3, alarms_on), Message::data(5, 4, Item::code(0)));
    if tool.traced {
        let trace = Item::list([
            Item::id(TRACE),
            Item::text("000010"),
            Item::id(DURATION_S / TRACE_PERIOD_S),
            Item::id(1),
            ids(&TRACED),
        ]);
        ask(Message::data(2, 23, trace), accepted(24));
    }
}

/// The trace's id, period and variables: two signals of chamber A.
const TRACE: u32 = 1;
const TRACE_PERIOD_S: u32 = 10;
const TRACED: [u32; 2] = [svid::of(0, TRACED_SIGNALS[0]), svid::of(0, TRACED_SIGNALS[1])];
const TRACED_SIGNALS: [usize; 2] = [0, 3];
/// The signal that is polled. The one that drifts is neither traced nor polled: only its own
/// collector sees it.
const POLLED_SIGNAL: usize = 2;

/// Link tests, polls and traces: what goes on whatever the tool does.
fn keep(out: &mut Vec<Exchange>, tool: &Tool, lots: &[Lot], seed: u64) {
    let mut random = Random::named(seed, &format!("{} keep", tool.name));
    let index = index_of(tool) as u32;
    let free = |second: u32| {
        tool.name != "CVD-03"
            || RECONNECTS_S.iter().all(|at| !(at.saturating_sub(2)..at + 8).contains(&second))
    };
    for second in (20 + 5 * index..DURATION_S).step_by(30).filter(|s| free(*s)) {
        let at = second_of(second) + 600_000 + random.below(200_000) as Micros;
        out.push(Exchange::asked(at, Side::Client, Message::LINKTEST, Message::LINKTEST_REPLY).after(900));
    }
    let polled = [svid::STATE, svid::of(0, POLLED_SIGNAL), svid::of(1, POLLED_SIGNAL)];
    for second in (27 + 3 * index..DURATION_S).step_by(60).filter(|s| free(*s)) {
        let at = second_of(second) + 150_000;
        let running = step_at(lots, 0, at).is_some() || step_at(lots, 1, at).is_some();
        let mut values = vec![Item::U1(vec![if running { 4 } else { 2 }])];
        values.extend(
            (0..CHAMBERS.len()).map(|chamber| measured(tool, lots, chamber, POLLED_SIGNAL, at, &mut random)),
        );
        out.push(Exchange::asked(
            at,
            Side::Client,
            select_values(&polled),
            Message::data(1, 4, Item::list(values)),
        ));
    }
    if tool.traced {
        for number in 1..DURATION_S / TRACE_PERIOD_S {
            let second = number * TRACE_PERIOD_S;
            if !free(second) {
                continue;
            }
            let at = second_of(second) + 60_000;
            let values: Vec<Item> =
                TRACED_SIGNALS.map(|signal| measured(tool, lots, 0, signal, at, &mut random)).into();
            let data =
                Item::list([Item::id(TRACE), Item::id(number), Item::text(&stamp(at)), Item::list(values)]);
            let message = Message::data(6, 1, data);
            out.push(Exchange::asked(at, Side::Server, message, Message::data(6, 2, Item::code(0))));
        }
    }
}

fn measured(
    tool: &Tool,
    lots: &[Lot],
    chamber: usize,
    signal: usize,
    at: Micros,
    random: &mut Random,
) -> Item {
    let value = level(tool, lots, chamber, signal, at) + random.normal() * tool.model.signals[signal].sigma;
    Item::F4(vec![value as f32])
}

/// `YYYYMMDDhhmmsscc`, the 16-byte time of E5.
fn stamp(at: Micros) -> String {
    rfc3339(at).chars().filter(char::is_ascii_digit).take(16).collect()
}

/// One lot: the recipe goes to the tool, the lot is started, and the tool reports.
fn produce(out: &mut Vec<Exchange>, lot: &Lot, number: usize, seed: u64) {
    let name = lot.recipe.name;
    let body = lot.recipe.body(seed, lot.tampered);
    let download = second_of(lot.start_s - DOWNLOAD_LEAD_S);
    let inquiry = Item::list([Item::text(name), Item::id(body.len() as u32)]);
    out.push(Exchange::asked(
        download - 100_000,
        Side::Client,
        Message::data(7, 1, inquiry),
        Message::data(7, 2, Item::code(0)),
    ));
    let recipe = Message::data(7, 3, Item::list([Item::text(name), Item::Binary(body)]));
    // A few of the larger transfers meet what networks do to them.
    let trouble = match number % 5 {
        1 => Trouble::Swapped,
        3 => Trouble::Repeated,
        _ => Trouble::None,
    };
    let send = Exchange::asked(download, Side::Client, recipe, Message::data(7, 4, Item::code(0)));
    out.push(send.after(25_000).troubled(trouble));

    let parameter = |name: &str, value: &str| Item::list([Item::text(name), Item::text(value)]);
    let start =
        Item::list([Item::text("START"), Item::list([parameter("PPID", name), parameter("LOTID", &lot.id)])]);
    out.push(Exchange::asked(
        second_of(lot.start_s - START_LEAD_S),
        Side::Client,
        Message::data(2, 41, start),
        Message::data(2, 42, Item::list([Item::code(0), Item::list([])])),
    ));

    let mut data_id = 100 * (number as u32 + 1);
    let mut report = |at: Micros, event: u32, report: u32, values: Vec<Item>| {
        data_id += 1;
        let reports = Item::list([Item::list([Item::id(report), Item::list(values)])]);
        let data = Item::list([Item::id(data_id), Item::id(event), reports]);
        out.push(Exchange::asked(
            at,
            Side::Server,
            Message::data(6, 11, data),
            Message::data(6, 12, Item::code(0)),
        ));
    };
    for (run, chamber) in lot.runs.iter().zip(CHAMBERS) {
        let values =
            |step: &str| vec![Item::text(&lot.id), Item::text(name), Item::text(chamber), Item::text(step)];
        let first = run.steps[0];
        report(first.0 - 150_000, ceid::PROCESS_STARTED, 1, values(""));
        for (begin, step) in &run.steps {
            report(begin + 8_000, ceid::STEP_STARTED, 1, values(step.0));
        }
        // The step is over: its name is empty from here on.
        report(run.end + 8_000, ceid::PROCESS_COMPLETED, 1, values(""));
    }
    let end = lot.runs.iter().map(|run| run.end).max().unwrap_or(download);
    report(
        end + 900_000,
        ceid::LOT_COMPLETED,
        2,
        vec![Item::text(&lot.id), Item::U2(vec![CHAMBERS.len() as u16])],
    );
}

/// Harmless alarms: set, and clear twelve seconds later.
fn alarms(out: &mut Vec<Exchange>, tool: &Tool) {
    let first = 100 + 17 * index_of(tool) as u32;
    for (number, second) in (first..DURATION_S - 20).step_by(380).enumerate() {
        let (id, code, text) = tool.model.alarms[number % 2];
        for (second, code) in [(second, code | 0x80), (second + 12, code)] {
            let alarm = Item::list([Item::code(code), Item::id(id), Item::text(text)]);
            let acknowledge = Message::data(5, 2, Item::code(0));
            let at = second_of(second) + 830_000;
            out.push(Exchange::asked(at, Side::Server, Message::data(5, 1, alarm), acknowledge));
        }
    }
}

fn index_of(tool: &Tool) -> usize {
    TOOLS.iter().position(|t| t.name == tool.name).unwrap_or(0)
}
