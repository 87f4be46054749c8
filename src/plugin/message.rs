//! JSON-RPC 2.0, one message a line.
//!
//! ```text
//! tegu    {"jsonrpc": "2.0", "id": 2, "method": "evaluate", "params": {…}}
//! plugin  {"jsonrpc": "2.0", "method": "progress", "params": {"fraction": 0.5}}          (while a call runs)
//! plugin  {"jsonrpc": "2.0", "id": 2, "result": {"value": 0.25}}
//! plugin  {"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "no convolution"}}    (instead)
//! ```

use serde_json::{Value, json};

/// JSON-RPC's code of a message that is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC's code of a method that is not there.
pub const UNKNOWN_METHOD: i64 = -32601;
/// JSON-RPC's code of parameters that a method can't use.
pub const BAD_PARAMS: i64 = -32602;

/// Characters of a message that an error quotes.
const QUOTED: usize = 120;

/// What a plugin says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// Nobody asked.
    Notification { method: String, params: Value },
    /// The answer to the request of this id; none to something that was no request.
    Response { id: Option<u64>, outcome: Result<Value, (i64, String)> },
}

/// A request.
pub(super) fn request(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// Reads a line of a plugin's output.
///
/// # Errors
/// What was found, and what was expected.
pub(super) fn parse(line: &str) -> Result<Message, String> {
    let wrong = |reason: &str| format!("wrote `{}`, {reason}", quoted(line));
    let message: Value = serde_json::from_str(line).map_err(|error| {
        wrong(&format!("which is no JSON ({error}): only messages go to standard output, text to standard error"))
    })?;
    if message["jsonrpc"] != "2.0" {
        return Err(wrong("expected an object with `\"jsonrpc\": \"2.0\"`"));
    }
    let id = match &message["id"] {
        Value::Null => None,
        id => Some(id.as_u64().ok_or_else(|| wrong("expected the `id` of the request"))?),
    };
    if let Some(method) = message["method"].as_str() {
        return match id {
            None => Ok(Message::Notification { method: method.to_owned(), params: message["params"].clone() }),
            Some(_) => Err(wrong("a request, expected a response or a notification (without `id`)")),
        };
    }
    let outcome = match (message.get("result"), message.get("error")) {
        (Some(result), None) => Ok(result.clone()),
        (None, Some(error)) => match (error["code"].as_i64(), error["message"].as_str()) {
            (Some(code), Some(message)) => Err((code, message.to_owned())),
            _ => return Err(wrong("expected an `error` with a whole `code` and a `message`")),
        },
        _ => return Err(wrong("expected either `result` or `error`")),
    };
    Ok(Message::Response { id, outcome })
}

/// The beginning of a text.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let check = |line: &str, expected: Message| assert_eq!(parse(line).unwrap(), expected, "{line}");
        check(
            r#"{"jsonrpc": "2.0", "id": 3, "result": null}"#,
            Message::Response { id: Some(3), outcome: Ok(Value::Null) },
        );
        check(
            r#"{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "no"}}"#,
            Message::Response { id: None, outcome: Err((-32700, "no".into())) },
        );
        check(
            r#"{"jsonrpc": "2.0", "method": "log", "params": {"level": "info"}}"#,
            Message::Notification { method: "log".into(), params: json!({"level": "info"}) },
        );
        let again = parse(&request(7, "evaluate", &json!({}))).unwrap_err();
        assert!(again.ends_with("a request, expected a response or a notification (without `id`)"), "{again}");
    }

    #[test]
    fn what_is_no_message_is_quoted() {
        let check = |line: &str, expected: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("Loading model…", "wrote `Loading model…`, which is no JSON");
        check(r#"{"jsonrpc": "2.0", "id": 1, "result": {"value": NaN}}"#, "which is no JSON");
        check(r#"{"id": 1, "result": 1}"#, r#"expected an object with `"jsonrpc": "2.0"`"#);
        check(r#"{"jsonrpc": "2.0", "id": 1}"#, "expected either `result` or `error`");
        check(r#"{"jsonrpc": "2.0", "id": "a", "result": 1}"#, "expected the `id` of the request");
        check(
            r#"{"jsonrpc": "2.0", "id": 1, "error": "no"}"#,
            "expected an `error` with a whole `code` and a `message`",
        );
        check(&"x".repeat(500), "x…`");
    }
}
