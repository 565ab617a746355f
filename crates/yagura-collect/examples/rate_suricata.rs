//! How fast EVE records come into the log: `cargo run --release --example rate_suricata [seconds]`.
//!
//! A file of generated records is followed by the real collector into an embedded log in a temporary folder.

#![expect(clippy::print_stdout, reason = "its result")]

use std::io::Write;

use serde_json::json;

mod rate;

/// Records of a block that is written again and again.
const RECORDS: usize = 20_000;
const BLOCKS: usize = 150;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = rate::seconds()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("eve.json");
    let block = block();
    println!("{} bytes a record", block.len() / RECORDS);
    // Written before the clock begins, so that writing takes nothing from reading.
    let mut out = std::fs::File::create(&file)?;
    for _ in 0..BLOCKS {
        out.write_all(&block)?;
    }
    drop(out);
    let settings = json!({ "name": "eve", "kind": "suricata", "path": "eve.json" });
    rate::measure(&settings, folder.path(), seconds)
}

/// Flows, alerts and records of applications as Suricata writes them.
fn block() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut out = Vec::new();
    for n in 0..RECORDS {
        let (micros, flow, client) = (n * 40, random.u64(..), random.u8(2..250));
        let head = format!(
            "{{\"timestamp\":\"2026-11-02T22:00:{:02}.{:06}+0000\",\"flow_id\":{flow},\"pcap_cnt\":{n}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        let ends = format!(
            "\"src_ip\":\"10.20.3.{client}\",\"src_port\":{},\"dest_ip\":\"10.20.4.{}\",\"dest_port\":502,\"proto\":\"TCP\"",
            random.u16(1024..),
            client % 32
        );
        let rest = match n % 10 {
            0 => format!(
                "\"event_type\":\"alert\",{ends},\"alert\":{{\"action\":\"allowed\",\"gid\":1,\"signature_id\":225000{},\"rev\":2,\"signature\":\"SURICATA Modbus invalid Function code\",\"category\":\"Generic Protocol Command Decode\",\"severity\":3}},\"app_proto\":\"modbus\",\"direction\":\"to_server\"",
                n % 7
            ),
            1..4 => format!(
                "\"event_type\":\"flow\",{ends},\"app_proto\":\"modbus\",\"flow\":{{\"pkts_toserver\":12,\"pkts_toclient\":10,\"bytes_toserver\":{},\"bytes_toclient\":980,\"start\":\"2026-11-02T22:00:01.000000+0000\",\"end\":\"2026-11-02T22:00:09.000000+0000\",\"age\":8,\"state\":\"closed\",\"reason\":\"timeout\",\"alerted\":false}},\"tcp\":{{\"tcp_flags\":\"1b\",\"tcp_flags_ts\":\"1b\",\"tcp_flags_tc\":\"1b\",\"syn\":true,\"fin\":true,\"psh\":true,\"ack\":true,\"state\":\"closed\"}}",
                n % 5000
            ),
            _ => format!(
                "\"event_type\":\"modbus\",{ends},\"modbus\":{{\"id\":{n},\"request\":{{\"transaction_id\":{n},\"protocol_id\":0,\"unit_id\":1,\"function_raw\":3,\"function_code\":\"RdHoldRegs\",\"access_type\":\"READ | HOLDING\",\"category\":\"PUBLIC_ASSIGNED\",\"error_flags\":\"NONE\",\"read\":{{\"address\":{},\"quantity\":10}}}}}}",
                n % 400
            ),
        };
        out.extend_from_slice(format!("{head},{rest}}}\n").as_bytes());
    }
    out
}
