//! `demo`.

use serde_json::Value;
use yagura_scene::SceneOptions;

use crate::{embedded, folder, rows_of, text, yagura};

#[test]
fn the_demonstration_alerts_once_for_each_incident() {
    let folder = folder();
    let data = folder.path().join("demo");
    let out = yagura(&[
        "demo",
        "--format",
        "json",
        "--console",
        "127.0.0.1:0",
        "--data",
        &data.display().to_string(),
    ]);
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    let alerts: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("an alert a line")).collect();
    let new: Vec<&Value> = alerts.iter().filter(|a| a["revision"] == 1).collect();
    assert_eq!(new.len(), 7, "{}", text(&out.stdout));
    // What the fab keeps secret is in no output and not in the history.
    let scene = yagura_scene::write(&folder.path().join("again"), &SceneOptions::default()).expect("a scene");
    std::fs::rename(&data, folder.path().join("data")).expect("it is moved");
    let rows = rows_of(&embedded(folder.path()));
    for secret in &scene.secrets {
        assert!(!text(&out.stdout).contains(secret.as_str()));
        assert!(rows.values().all(|(_, row)| !row.to_string().contains(secret.as_str())));
    }
}

#[test]
fn ordinary_production_is_silent() {
    let folder = folder();
    for seed in ["1", "2", "3"] {
        let data = folder.path().join(seed).display().to_string();
        let out = yagura(&[
            "demo",
            "--ordinary",
            "--seed",
            seed,
            "--format",
            "json",
            "--console",
            "127.0.0.1:0",
            "--data",
            &data,
        ]);
        assert!(out.status.success(), "seed {seed}: {}{}", text(&out.stdout), text(&out.stderr));
        assert_eq!(text(&out.stdout), "", "seed {seed}");
    }
}
