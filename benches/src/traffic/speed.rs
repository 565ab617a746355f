//! Messages a second when all is known.

use std::sync::Arc;

use anyhow::Result;
use yagura_detect::Pipeline;
use yagura_event::Kind;
use yagura_event::clock::SECOND;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_models::conversation::{Event, Model, NONE, Parameters, Written};

use crate::common;
use crate::report::Figure;

/// Conversations, each with as many commands of which one writes.
const CONVERSATIONS: usize = 1_000;
const COMMANDS: usize = 10;
const MESSAGES: usize = 2_000_000;
const BATCH_ROWS: usize = 8_192;

/// The model alone, the operator, and from the log's bytes to alerts.
pub(super) fn speed(ours: &Arc<Pipeline>, figures: &mut Vec<Figure>) -> Result<()> {
    let events: Vec<Event> = (0..MESSAGES).map(event).collect();
    let mut model = Model::default();
    (0..CONVERSATIONS as u32).for_each(|number| model.begin_conversation(number));
    (0..(CONVERSATIONS * COMMANDS) as u32).for_each(|number| model.begin_command(number));
    (0..CONVERSATIONS as u32).for_each(|number| model.begin_place(number));
    let (mut hits, mut scores) = (Vec::new(), Vec::new());
    model.judge(&events, &Parameters::default(), &mut hits, &mut scores);
    model.approve();
    let mut events = events;
    let name = format!("messages a second, the model alone, {CONVERSATIONS} conversations");
    let rate = common::rate(MESSAGES as u64, || {
        events.iter_mut().for_each(|event| event.time += MESSAGES as i64 * STEP);
        scores.clear();
        model.judge(&events, &Parameters::default(), &mut hits, &mut scores);
    });
    figures.push(Figure::new(name, rate, "1/s"));
    figures.push(Figure::new("messages a second, findings meanwhile", hits.len() as f64, ""));

    let clients: Vec<String> = (0..CONVERSATIONS).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let targets: Vec<String> = (0..COMMANDS).map(|n| format!("holding_register {n}")).collect();
    let (mut records, mut number) = (Vec::new(), 0);
    for first in (0..MESSAGES / 2).step_by(BATCH_ROWS) {
        let mut rows = MessageBuilder::default();
        for event in (first..first + BATCH_ROWS).map(event) {
            let command = event.command as usize % COMMANDS;
            rows.push(&MessageRow {
                time: event.time,
                observed: event.time,
                protocol: "modbus",
                operation: if command == 0 { "write" } else { "read" },
                function: if command == 0 { "write_single_register" } else { "read_holding_registers" },
                target: &targets[command],
                client: &clients[event.conversation as usize],
                server: "10.1.9.9",
                tool: "PLC",
                session: "1",
                status: "ok",
                value: (command == 0).then_some(1.0),
                ..MessageRow::default()
            });
        }
        let (from, to) = (event(first).time, event(first + BATCH_ROWS - 1).time);
        records.push(common::record(Kind::Message, &mut number, &rows.finish(), (from, to))?);
        if number as usize == 8 * BATCH_ROWS {
            records.push(common::record(Kind::Control, &mut number, &common::approval(), (to, to))?);
        }
    }
    let rows = number;
    figures.push(Figure::new(
        "messages a second, log to result",
        common::judged(ours, &records, rows)?,
        "1/s",
    ));
    records.retain(|record| !String::from_utf8_lossy(&record.header).contains("control"));
    let alone = common::operators_alone(ours, &records, rows)?;
    figures.push(Figure::new("messages a second, operators alone, while learning", alone, "1/s"));
    Ok(())
}

/// Microseconds between two messages.
const STEP: i64 = SECOND / 10_000;

/// Polls of all clients, one after the other.
fn event(n: usize) -> Event {
    let conversation = n % CONVERSATIONS;
    let command = n / CONVERSATIONS % COMMANDS;
    let writes = command == 0;
    Event {
        conversation: conversation as u32,
        command: (conversation * COMMANDS + command) as u32,
        place: if writes { conversation as u32 } else { NONE },
        time: n as i64 * STEP,
        written: if writes { Written::Number(1.0) } else { Written::Nothing },
        begins: false,
    }
}
