//! Synchrophasors beside ICSNPP: commands, configurations, the number of data frames, and every
//! phasor, analog and digital word in them.

use super::capture::Capture;
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Record, Reference};

pub const PROTOCOL: Protocol = Protocol {
    name: "synchrophasor",
    folders: &["synchrophasor"],
    tshark: &["synphasor"],
    decisions: include_str!("synchrophasor.yaml"),
    tools: &[
        Tool { name: "icsnpp-commands", from: From::File("icsnpp/synchrophasor_cmd.log"), compare: commands },
        Tool {
            name: "icsnpp-configurations",
            from: From::File("icsnpp/synchrophasor_cfg.log"),
            compare: configurations,
        },
        Tool { name: "icsnpp-frames", from: From::File("icsnpp/synchrophasor_data.log"), compare: frames },
        Tool {
            name: "icsnpp-values",
            from: From::File("icsnpp/synchrophasor_data_detail.log"),
            compare: values,
        },
    ],
};

fn commands(capture: &Capture, reference: &Reference) -> Facts {
    let name = |function: &str| match function {
        "turn_off_transmission" => Some("Data off"),
        "turn_on_transmission" => Some("Data on"),
        "send_header_frame" => Some("Send HDR"),
        "send_configuration_frame_1" => Some("Send CFG-1"),
        "send_configuration_frame_2" => Some("Send CFG-2"),
        "send_configuration_frame_3" => Some("Send CFG-3"),
        _ => None,
    };
    Facts {
        ours: capture
            .messages("synchrophasor")
            .filter_map(|r| name(r.text("function")))
            .map(String::from)
            .collect(),
        theirs: reference.zeek().iter().map(|r| r.get("command").to_string()).collect(),
    }
}

fn configurations(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("synchrophasor").filter(|r| {
        let function = r.text("function");
        function.starts_with("configuration_frame")
            || (function.starts_with("send_configuration") && r.text("exchange") == "pair")
    });
    let theirs = |r: &Record| {
        let rate = r.get("data_rate");
        format!("{} stations at {rate}", r.get("pmu_count_actual"))
    };
    Facts {
        ours: ours
            .map(|r| {
                let detail: serde_json::Value = serde_json::from_str(r.text("detail")).unwrap_or_default();
                format!("{} stations at {}", r.number("count").unwrap_or(0.0), detail["data_rate"])
            })
            .collect(),
        theirs: reference.zeek().iter().map(theirs).collect(),
    }
}

fn frames(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("synchrophasor").filter(|r| r.text("function") == "data_frame");
    Facts {
        ours: ours
            .flat_map(|r| vec!["data".to_string(); r.number("count").unwrap_or(0.0) as usize])
            .collect(),
        theirs: reference.zeek().iter().map(|_| "data".to_string()).collect(),
    }
}

fn values(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    let samples = capture.samples();
    let mut samples = samples.iter().filter(|s| s.text("source").starts_with("synchrophasor")).peekable();
    while let Some(sample) = samples.next() {
        let (signal, value) = (sample.text("signal"), sample.number("value").unwrap_or(f64::NAN));
        let angle = samples.next_if(|next| next.text("signal").strip_suffix(" angle") == Some(signal));
        facts.ours.push(match angle {
            Some(angle) => phasor(value, angle.number("value").unwrap_or(f64::NAN)),
            None if signal.ends_with(" frequency") || signal.ends_with(" rocof") => continue,
            None if signal.contains(" digital ") => format!("digital {value}"),
            None => format!("analog {}", rounded(value)),
        });
    }
    for record in reference.zeek() {
        let list = |column: &str| -> Vec<f64> {
            record.get(column).split(',').filter_map(|v| v.parse().ok()).collect()
        };
        let (real, imaginary) = (list("est_rectangular_real"), list("est_rectangular_imaginary"));
        let (magnitude, angle) = (list("est_polar_magnitude"), list("est_polar_angle"));
        for at in 0..magnitude.len().max(real.len()) {
            let of = |list: &[f64]| list.get(at).copied().unwrap_or(0.0);
            let rectangular = (of(&real), of(&imaginary));
            facts.theirs.push(if rectangular == (0.0, 0.0) {
                phasor(of(&magnitude), of(&angle))
            } else {
                phasor(rectangular.0.hypot(rectangular.1), rectangular.1.atan2(rectangular.0))
            });
        }
        facts.theirs.extend(list("analog_data").into_iter().map(|v| format!("analog {}", rounded(v))));
        facts.theirs.extend(list("digital").into_iter().map(|v| format!("digital {v}")));
    }
    facts
}

/// Three digits are what both have after different ways of reckoning.
fn rounded(value: f64) -> String {
    format!("{value:.2e}").replace("-0.00e0", "0.00e0")
}

fn phasor(magnitude: f64, angle: f64) -> String {
    format!("phasor {} {}", rounded(magnitude), rounded(angle))
}
