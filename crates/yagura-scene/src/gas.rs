//! The gas cabinet: facility monitoring polls it once a second, and once it is written to.
//!
//! Input registers: 0 NF3 supply pressure, 1 NF3 delivery pressure, 2 NF3 flow, 3 C4F8 supply
//! pressure, 4 C4F8 delivery pressure (pressures in 0.1 kPa, flows in 0.01 slm), 5 exhaust flow,
//! 6 cabinet temperature in 0.1 degC, 7 valve states by bit. Holding registers: 0 NF3 supply low
//! limit, 1 NF3 delivery set-point, 2 C4F8 delivery set-point, 3 exhaust set-point, 90 the watchdog
//! that facility monitoring counts up once a minute.

use std::net::SocketAddrV4;

use yagura_event::clock::{Micros, SECOND};

use crate::cell::{ENGINEERING, FMCS, GAS_CABINET};
use crate::gem::Counts;
use crate::modbus::{self, READ_HOLDING, READ_INPUT};
use crate::plan::{DURATION_S, GAS_WRITE_S, START, second_of};
use crate::random::Random;
use crate::wire::{Recording, Side};

const UNIT: u8 = 1;
const WATCHDOG: u16 = 90;
/// The register that is written, and what it says before and after.
const SETPOINT: u16 = 1;
const SETPOINT_BEFORE: u16 = 2_500;
const SETPOINT_AFTER: u16 = 3_100;

/// Records the polls, and the write.
pub(crate) fn cabinet(recording: &mut Recording, seed: u64, incidents: bool, counts: &mut Counts) {
    let mut random = Random::named(seed, "GC-21");
    let fmcs = SocketAddrV4::new(FMCS, 50_311);
    let conn = recording.tcp_connect(fmcs, GAS_CABINET, START + 300_000);
    let mut transaction = 0_u16;
    let mut delivery = f64::from(SETPOINT_BEFORE);
    for second in 1..DURATION_S {
        let written = incidents && second > GAS_WRITE_S + 2;
        let setpoint = if written { SETPOINT_AFTER } else { SETPOINT_BEFORE };
        // The regulator follows its set-point with a time constant of 15 seconds.
        delivery += (f64::from(setpoint) - delivery) / 15.0;
        let mut noisy = |level: f64, sigma: f64| (level + sigma * random.normal()).round() as u16;
        let inputs = [
            noisy(6_800.0, 8.0),
            noisy(delivery, 6.0),
            noisy(1_250.0, 5.0),
            noisy(4_100.0, 7.0),
            noisy(1_800.0, 5.0),
            noisy(9_000.0, 25.0),
            noisy(231.0, 1.2),
            0x0035,
        ];
        let holding = [6_000, setpoint, 1_800, 9_000];
        let at = second_of(second) + 100_000 + noisy(500.0, 60.0) as Micros;
        let mut ask = |request: Vec<u8>, reply: Vec<u8>, at: Micros| {
            *counts.entry(format!("modbus {}", request[7])).or_default() += 1;
            recording.send(conn, Side::Client, &request, at);
            recording.send(conn, Side::Server, &reply, at + 2_500)
        };
        transaction = transaction.wrapping_add(1);
        let after = ask(
            modbus::read(transaction, UNIT, READ_INPUT, 0, inputs.len() as u16),
            modbus::read_reply(transaction, UNIT, READ_INPUT, &inputs),
            at,
        );
        transaction = transaction.wrapping_add(1);
        let after = ask(
            modbus::read(transaction, UNIT, READ_HOLDING, 0, holding.len() as u16),
            modbus::read_reply(transaction, UNIT, READ_HOLDING, &holding),
            after + 300,
        );
        if second % 60 == 30 {
            transaction = transaction.wrapping_add(1);
            let write = modbus::write_single(transaction, UNIT, WATCHDOG, (second / 60) as u16);
            ask(write.clone(), write, after + 20_000);
        }
    }
    if incidents {
        write_setpoint(recording, counts);
    }
}

/// The workstation looks, writes, and leaves.
fn write_setpoint(recording: &mut Recording, counts: &mut Counts) {
    let at = second_of(GAS_WRITE_S);
    let conn = recording.tcp_connect(SocketAddrV4::new(ENGINEERING, 52_644), GAS_CABINET, at);
    let before = [6_000, SETPOINT_BEFORE, 1_800, 9_000];
    let write = modbus::write_single(2, UNIT, SETPOINT, SETPOINT_AFTER);
    for (offset, request, reply) in [
        (
            200_000,
            modbus::read(1, UNIT, READ_HOLDING, 0, before.len() as u16),
            modbus::read_reply(1, UNIT, READ_HOLDING, &before),
        ),
        (2 * SECOND, write.clone(), write),
    ] {
        *counts.entry(format!("modbus {}", request[7])).or_default() += 1;
        recording.send(conn, Side::Client, &request, at + offset);
        recording.send(conn, Side::Server, &reply, at + offset + 2_500);
    }
    recording.close(conn, Side::Client, at + 4 * SECOND);
}
