//! How much memory sessions take: `connections_opcua [SESSIONS [SERVERS [SECONDS]]]`. The servers are node-opcua, each in a process
//! of its own, and share the sessions; each session subscribes to ten variables that change every second.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

#[allow(unused, reason = "shared with the other example")]
#[path = "opcua_server/mod.rs"]
mod opcua_server;

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Places, Plant};
use yagura_event::Kind;
use yagura_event::clock::{self, SECOND};
use yagura_event::rows::OwnedRow;

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap_or_else(|e| panic!("{a}: {e}")));
    let (sessions, servers) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(2));
    let patience = numbers.next().unwrap_or(150) as i64 * SECOND;
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let share = sessions.div_ceil(servers.max(1));
    let running: Vec<opcua_server::Server> = (0..servers.max(1))
        .map(|number| opcua_server::Server::start(10, 1000, share, &folder.path().join(number.to_string())))
        .collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("{e}"));
    let plant = Plant::unknown(runtime.handle());
    let before = opcua_server::memory();
    let list: Vec<_> = (0..sessions)
        .map(|number| {
            let server = &running[(number / share) as usize % running.len()];
            json!({"name": format!("S{number}"), "endpoint": server.endpoint})
        })
        .collect();
    let settings = json!({
        "name": "many", "kind": "opcua", "security": "None", "servers": list,
        "browse": {"include": ["**/V*"], "rate": 100_000},
    });
    let config = CollectorConfig::new(settings).unwrap_or_else(|e| panic!("{e}"));
    let Ok(Opened::Live(mut source)) = config.open(folder.path(), &plant) else { panic!("it opens") };
    source.begin(&Places::default(), Path::new(".")).unwrap_or_else(|e| panic!("{e}"));
    let (mut up, mut down, mut values, mut most) = (0, 0, 0, 0);
    let began = clock::steady();
    let mut all_up = None;
    // Until all have been up for ten seconds, or for so many seconds.
    while clock::steady() - began < patience
        && all_up.is_none_or(|since| clock::steady() - since < 10 * SECOND)
    {
        let mut rows: Vec<OwnedRow> = Vec::new();
        source.advance(Duration::from_millis(100), &mut rows);
        source.durable();
        for row in rows {
            match row.kind {
                Kind::Sample => values += u64::from(all_up.is_some()),
                Kind::Coverage if row.text("event") == "start" || row.text("event") == "gap" => up += 1,
                Kind::Coverage if row.text("event") == "down" => {
                    down += 1;
                    if down <= 5 {
                        println!("down: {}", row.text("detail"));
                    }
                }
                _ => {}
            }
        }
        most = opcua_server::memory().max(most);
        if all_up.is_none() && up >= sessions {
            all_up = Some(clock::steady());
            println!("{sessions} sessions after {:.1} s", (clock::steady() - began) as f64 / 1e6);
        }
    }
    let now = opcua_server::memory();
    println!("up {up}, down {down}, {:.0} values/s", values as f64 / 10.0);
    println!(
        "memory: {:.0} MiB before, {:.0} MiB now, {:.0} MiB at most, {:.0} KiB a session",
        before as f64 / 1048576.0,
        now as f64 / 1048576.0,
        most as f64 / 1048576.0,
        now.saturating_sub(before) as f64 / 1024.0 / up.max(1) as f64
    );
    // For `cargo xtask bench collect`.
    println!("figure\tsessions\t{up}\tconnections");
    println!("figure\tmemory\t{:.0}\tMiB", most as f64 / 1048576.0);
}
