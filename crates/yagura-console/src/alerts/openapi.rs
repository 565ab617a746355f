//! What the interface says of itself: OpenAPI 3.1.

use serde_json::{Value, json};
use yagura_respond::cases::State;

/// The paths that there are.
pub fn paths() -> Vec<String> {
    description()["paths"].as_object().into_iter().flatten().map(|(path, _)| path.clone()).collect()
}

/// The description.
pub fn description() -> Value {
    let mut all = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Yagura alerts",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Alerts of one cause are a case. What is decided is durable when it is answered, under the name of the token's owner.",
        },
        "paths": paths_described(),
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    });
    for (path, methods) in all["paths"].as_object_mut().into_iter().flatten() {
        for (_, operation) in methods.as_object_mut().into_iter().flatten() {
            if path == "/v1/openapi.json" {
                continue;
            }
            operation["security"] = json!([{ "token": [] }]);
            operation["responses"]["401"] = problem("No valid token.");
            operation["responses"]["503"] = problem("The log does not answer.");
            if operation.get("requestBody").is_some() {
                operation["responses"]["400"] = problem("The body or its `why` is not as it should be.");
                operation["responses"]["403"] = problem("The token's owner may see and not decide.");
            }
        }
    }
    all
}

fn paths_described() -> Value {
    let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "How the id of one of the case's alerts begins, such as the first eight characters." });
    let mute_id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } });
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let states = State::ALL.map(State::name).join(", ");
    let wanted = [
        query("state", &format!("Separated by commas: {states}. Open ones without it."), text()),
        query("queue", "Of this queue.", schema("queue")),
        query("severity", "Of this severity, or worse.", schema("severity")),
        query("tool", "Of this equipment.", text()),
        query("cell", "Of this cell.", text()),
        query("muted", "Those that are muted, too.", json!({ "type": "boolean", "default": false })),
        query(
            "limit",
            "So many at most, the worst and newest first.",
            json!({ "type": "integer", "default": 1000 }),
        ),
    ];
    json!({
        "/v1/openapi.json": { "get": { "summary": "This description.",
            "responses": { "200": answer("The description.", json!({ "type": "object" })) } } },
        "/v1/alerts": { "get": { "summary": "Cases.", "parameters": wanted, "responses": {
            "200": answer("The cases; `all` of them, and how many more are muted.", json!({
                "type": "object", "required": ["cases", "all", "muted"], "properties": {
                    "cases": { "type": "array", "items": schema("case") },
                    "all": { "type": "integer" }, "muted": { "type": "integer" } } })),
            "400": problem("A condition cannot be read.") } } },
        "/v1/alerts/{id}": { "get": { "summary": "A case, with its newest alert and its evidence; a reader's is redacted as what goes to sinks.", "parameters": [id],
            "responses": found(answer("The case.", schema("case"))) } },
        "/v1/alerts/{id}/picture.svg": { "get": { "summary": "What was seen, and what was expected, as a picture; for analysts.",
            "parameters": [id], "responses": found(json!({ "description": "The picture.",
                "content": { "image/svg+xml": { "schema": { "type": "string" } } } })) } },
        "/v1/alerts/{id}/decisions": { "post": { "summary": "Decides about a case.", "parameters": [id],
            "requestBody": body(json!({ "type": "object", "required": ["to", "why"], "additionalProperties": false,
                "properties": {
                    "to": { "enum": ["acknowledged", "resolved", "false-positive", "reopened"] },
                    "why": { "type": "string", "minLength": 1 } } })),
            "responses": decided() } },
        "/v1/changes": { "get": { "summary": "Follows cases: an event `case` whenever one changes, in the form of `case`; `missed` with a number when the reader was too slow.",
            "responses": { "200": { "description": "Events until the connection ends.",
                "content": { "text/event-stream": { "schema": { "type": "string" } } } } } } },
        "/v1/mutes": {
            "get": { "summary": "Mutes, those that have ended with them.", "responses": {
                "200": answer("The mutes.", json!({ "type": "object", "required": ["mutes"],
                    "properties": { "mutes": { "type": "array", "items": { "type": "object" } } } })) } },
            "post": { "summary": "Mutes alerts for a time: they stay in the log, and no sink gets them.",
                "requestBody": body(json!({ "type": "object", "required": ["id", "for", "why"],
                    "additionalProperties": false, "properties": {
                        "id": { "type": "string", "description": "The mute's name." },
                        "for": { "type": "string", "examples": ["30m", "8h", "2d"] },
                        "why": { "type": "string", "minLength": 1 },
                        "detection": { "type": "string" }, "cell": { "type": "string" },
                        "queue": schema("queue"), "tool": { "type": "string" },
                        "key": { "type": "object", "additionalProperties": { "type": "string" } } } })),
                "responses": decided() } },
        "/v1/mutes/{id}/end": { "post": { "summary": "Ends a mute.", "parameters": [mute_id],
            "requestBody": body(json!({ "type": "object", "required": ["why"], "additionalProperties": false,
                "properties": { "why": { "type": "string", "minLength": 1 } } })),
            "responses": decided() } },
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn answer(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

fn problem(description: &str) -> Value {
    answer(description, schema("problem"))
}

fn body(schema: Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn found(yes: Value) -> Value {
    json!({ "200": yes, "404": problem("There is none."), "409": problem("The id begins those of several cases.") })
}

fn decided() -> Value {
    json!({ "201": answer("It is decided.", json!({ "type": "object", "required": ["decision"],
            "properties": { "decision": { "type": "object" } } })),
        "404": problem("There is none."), "409": problem("The id begins those of several cases.") })
}

fn schemas() -> Value {
    json!({
        "problem": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } },
        "queue": { "enum": ["security", "equipment", "data-quality"] },
        "severity": { "enum": ["informational", "low", "medium", "high", "critical"] },
        "case": {
            "type": "object",
            "required": ["id", "state", "count", "alerts", "first", "last", "muted", "decisions", "alert"],
            "properties": {
                "id": { "type": "string", "format": "uuid", "description": "That of its first alert." },
                "state": { "enum": State::ALL.map(State::name) },
                "count": { "type": "integer", "description": "Rows that its alerts count." },
                "alerts": { "type": "integer" },
                "first": { "type": "string", "format": "date-time" },
                "last": { "type": "string", "format": "date-time" },
                "muted": { "type": ["object", "null"], "description": "What mutes it, by whom and why." },
                "decisions": { "type": "array", "items": { "type": "object" } },
                "alert": { "type": "object", "description": "Its newest alert, as the log has it." },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_there_and_everything_but_the_description_needs_a_token() {
        let all = description();
        let text = all.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(all["components"]["schemas"].get(name).is_some(), "there is no schema `{name}`");
        }
        for (path, methods) in all["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let safe = operation.get("security").is_some();
                assert_eq!(safe, path != "/v1/openapi.json", "{method} {path}");
            }
        }
    }
}
