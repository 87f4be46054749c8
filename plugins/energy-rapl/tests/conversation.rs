//! Conversations with the executable: by its model of energy, and by counters that the test itself moves.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use tegu::graph::{Conv2d, Graph, GraphBuilder, Op, Shape, Window};
use tegu::network::{Init, Weights};
use tegu::onnx::{self, ExportOptions, Metadata};

struct Plugin {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    notifications: Vec<Value>,
}

impl Plugin {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_energy-rapl"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, notifications: vec![] }
    }

    /// The answer to a line; what comes before it is kept.
    fn send(&mut self, line: &str) -> Value {
        writeln!(self.input, "{line}").unwrap();
        loop {
            let mut answer = String::new();
            self.output.read_line(&mut answer).unwrap();
            let message: Value = serde_json::from_str(&answer).unwrap();
            if message.get("id").is_some() {
                return message;
            }
            self.notifications.push(message);
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string())
    }

    fn end(mut self) {
        assert_eq!(self.call("shutdown", &json!({}))["result"], Value::Null);
        assert!(self.child.wait().unwrap().success());
    }
}

fn initialize(options: &Value) -> Value {
    json!({"protocol": 1, "tegu": "0.1.0", "kind": "objective", "options": options, "folder": "/tmp", "seed": 1})
}

/// One convolution, its file and its JSON.
fn candidate(folder: &Path) -> Value {
    let mut builder = GraphBuilder::new(Shape::map(3, 16, 16));
    let window = Window::same(3, 1);
    let conv = Op::Conv2d(Conv2d { out_channels: 8, window, groups: 1, bias: true });
    let output = builder.push("conv", conv, &[builder.input()]).unwrap();
    let graph: Graph = builder.finish(output);
    let weights = Weights::random(&graph, Init::TorchDefault, 0, &candle_core::Device::Cpu).unwrap();
    let path = folder.join("model.onnx");
    onnx::export(&graph, &weights, &Metadata::new(), ExportOptions::default()).unwrap().save(&path).unwrap();
    json!({"candidate": {"onnx": path, "graph": {"nodes": [
        {"name": "input", "op": "input", "inputs": [], "shape": [3, 16, 16]},
        {"name": "conv", "op": {"conv2d": {"out_channels": 8}}, "inputs": [0], "shape": [8, 16, 16]},
    ]}}})
}

#[test]
fn the_model_of_energy_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = Plugin::start();
    let answer = plugin.call("initialize", &initialize(&json!({"source": "model"})));
    assert_eq!(answer["result"]["capabilities"], json!(["model"]));
    assert_eq!(plugin.notifications[0]["method"], "log");
    let params = candidate(folder.path());
    let energy = plugin.call("evaluate", &params)["result"].clone();
    // 8·3·9·256 multiply-accumulates, 8·3·9 + 8 weights from DRAM, (3 + 8)·256 numbers through the cache, in mJ.
    let expected = (55296.0 * 4.6 + 224.0 * 4.0 * 243.75 + 2816.0 * 4.0 * 12.5) * 1e-9;
    assert!((energy["value"].as_f64().unwrap() - expected).abs() < 1e-9, "{energy}, not {expected}");
    assert!(energy["low"].as_f64() < energy["value"].as_f64() && energy["value"].as_f64() < energy["high"].as_f64());
    assert_eq!(plugin.call("evaluate", &params)["result"], energy, "the same candidate again");
    plugin.end();
}

#[test]
fn energy_by_counters_is_what_they_count() {
    let folder = tempfile::tempdir().unwrap();
    let package = folder.path().join("powercap/intel-rapl:0");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("max_energy_range_uj"), "262143328850\n").unwrap();
    std::fs::write(package.join("energy_uj"), "1000\n").unwrap();
    // Dropped with what holds it, also where that panics.
    let (done, waits) = mpsc::channel::<()>();
    let (energy, notifications) = std::thread::scope(|scope| {
        let _done = done;
        // A package of 10 W.
        scope.spawn(|| {
            let started = std::time::Instant::now();
            let partial = package.join("partial");
            let waits = waits;
            while waits.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let microjoules = started.elapsed().as_micros() * 10;
                std::fs::write(&partial, format!("{microjoules}\n")).unwrap();
                std::fs::rename(&partial, package.join("energy_uj")).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let mut plugin = Plugin::start();
        let options = json!({"powercap": folder.path().join("powercap"), "rounds": 5, "round_s": 0.1});
        let answer = plugin.call("initialize", &initialize(&options));
        assert_eq!(answer["result"]["capabilities"], json!(["measured"]));
        let started = std::time::Instant::now();
        let answer = plugin.call("evaluate", &candidate(folder.path()));
        let wall_s = started.elapsed().as_secs_f64();
        let notifications = std::mem::take(&mut plugin.notifications);
        plugin.end();
        assert!(wall_s > 0.1, "five rounds within {wall_s} s");
        (answer["result"].clone(), notifications)
    });
    let value = energy["value"].as_f64().unwrap_or_else(|| panic!("no energy: {energy}"));
    // One run lasts some µs to some ms, and a µs is 0.01 mJ.
    assert!(value > 0.01 && value < 1000.0, "{energy}");
    assert!(energy["low"].as_f64().unwrap() <= value && value <= energy["high"].as_f64().unwrap(), "{energy}");
    let progress = notifications.iter().filter(|message| message["method"] == "progress");
    assert_eq!(progress.count(), 5);
}

#[test]
fn what_it_does_not_understand_is_answered() {
    let mut plugin = Plugin::start();
    let code = |answer: &Value| answer["error"]["code"].as_i64();
    assert_eq!(code(&plugin.send("garbage")), Some(-32700));
    assert_eq!(code(&plugin.call("evaluate", &json!({}))), Some(-32602));
    assert_eq!(code(&plugin.call("initialize", &json!({"protocol": 2}))), Some(-32602));
    assert_eq!(code(&plugin.call("initialize", &initialize(&json!({"colour": "red"})))), Some(-32602));
    let absent = json!({"source": "rapl", "powercap": "/nowhere"});
    assert_eq!(code(&plugin.call("initialize", &initialize(&absent))), Some(1));
    assert_eq!(plugin.call("initialize", &initialize(&json!({"powercap": "/nowhere"})))["result"]["protocol"], 1);
    assert_eq!(code(&plugin.call("measure", &json!({}))), Some(-32601));
    let missing = json!({"candidate": {"onnx": "/nowhere.onnx", "graph": {"nodes": []}}});
    assert_eq!(code(&plugin.call("evaluate", &missing)), Some(1));
    plugin.end();
}
