//! What ships for those who run Yagura: rules, dashboards, the Helm chart.

mod chart;
mod network;
mod rules;
mod watched;

use std::path::PathBuf;

use serde_json::Value;

/// The folder `deploy` of the tree.
fn shipped(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file)
}

/// The documents of a YAML file.
fn documents(yaml: &str) -> Vec<Value> {
    let mut texts = vec![String::new()];
    for line in yaml.lines() {
        match (line, texts.last_mut()) {
            ("---", _) => texts.push(String::new()),
            (line, Some(text)) => *text += &format!("{line}\n"),
            (_, None) => {}
        }
    }
    let read =
        |text: &String| serde_saphyr::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    texts.iter().map(read).filter(|document| !document.is_null()).collect()
}

/// The entries of a list; none where there is no list.
fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// A text in a document; empty where there is none.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
