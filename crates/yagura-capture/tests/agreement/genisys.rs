//! Genisys beside ICSNPP: every request and response, its station, and the values it carries.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "genisys",
    folders: &["genisys"],
    tshark: &[],
    decisions: include_str!("genisys.yaml"),
    tools: &[Tool { name: "icsnpp", from: From::File("icsnpp/genisys.log"), compare: icsnpp }],
};

fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = reference.zeek().into_iter().map(|record| {
        let header = record.get("header").to_lowercase().replace(' ', "_");
        format!("{header} {} {}", record.get("server"), record.get("payload"))
    });
    let ours = capture.messages("genisys").flat_map(|row| {
        let station = row.text("session");
        let values: Vec<String> = serde_json::from_str(row.text("values")).unwrap_or_default();
        let values = values.join(",");
        let reply = row.detail()["reply"].as_str().map(str::to_string);
        let request =
            (row.text("exchange") != "reply").then(|| format!("{} {station} ", row.text("function")));
        let reply = reply.map(|reply| format!("{reply} {station} {values}"));
        [request, reply].into_iter().flatten().collect::<Vec<_>>()
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
