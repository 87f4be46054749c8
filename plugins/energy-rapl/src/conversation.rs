//! JSON-RPC 2.0 by lines.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io::Write;

/// What Tegu asks.
#[derive(Deserialize)]
pub struct Request {
    pub id: Value,
    pub method: String,
    #[serde(default)]
    params: Value,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// A line that is no request.
    Unreadable(String),
    /// A method that there is not.
    Method(String),
    /// Parameters that are not the method's.
    Params(String),
    /// This candidate has no energy.
    Candidate(String),
}

impl Request {
    /// The parameters, as what the method expects.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, Failure> {
        P::deserialize(&self.params).map_err(|error| Failure::Params(error.to_string()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Candidate(error.to_string())
    }
}

/// Answers a request.
pub fn reply(output: &mut impl Write, id: &Value, outcome: Result<Value, Failure>) -> std::io::Result<()> {
    let error = |code: i32, message: String| json!({"code": code, "message": message});
    let message = match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(failure) => {
            let error = match failure {
                Failure::Unreadable(reason) => error(-32700, format!("not a request: {reason}")),
                Failure::Method(name) => error(-32601, format!("no method `{name}`")),
                Failure::Params(reason) => error(-32602, reason),
                Failure::Candidate(reason) => error(1, reason),
            };
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    };
    write(output, &message)
}

/// Says something while a request is worked on.
pub fn notify(output: &mut impl Write, method: &str, params: &Value) -> std::io::Result<()> {
    write(output, &json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

fn write(output: &mut impl Write, message: &Value) -> std::io::Result<()> {
    writeln!(output, "{message}")?;
    output.flush()
}
