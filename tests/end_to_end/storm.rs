//! Storms: one cause that never ends is one alert with the right count, and many causes are as many alerts.

use serde_json::json;
use yagura_scene::storm;

use crate::{folder, run_to_the_end, text, yagura};

#[test]
fn one_cause_is_one_alert_with_the_right_count_and_many_are_many() {
    for (count, tools) in [(123_456, 1), (20_000, 20_000), (18_000, 6_000)] {
        let home = folder();
        let config = storm::write(home.path(), count, tools).expect("a storm");
        run_to_the_end(&config);
        let out = yagura(&["alerts", "list", "-c", &config.display().to_string(), "--format", "json"]);
        let cases: Vec<serde_json::Value> =
            text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(cases.len() as u64, tools);
        assert!(cases.iter().all(|case| case["count"] == json!(count / tools) && case["alerts"] == json!(1)));
        let told = std::fs::read_to_string(home.path().join(storm::ALERTS)).expect("alerts");
        let told = told.lines().count() as u64;
        // At powers of ten, and at the end what was counted since.
        let most = if count == tools { tools } else { 2 * tools + 5 };
        assert!(told >= tools && told <= most, "{told} revisions of {tools} alerts");
    }
}
