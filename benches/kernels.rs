//! Times this crate's convolution against Candle's own: `cargo bench --bench kernels`
//! (with `--profile dev` where that is built already).
//!
//! Threads are rayon's: set `RAYON_NUM_THREADS`.

use candle_core::{Device, Result, Tensor, Var};
use std::time::Instant;
use tegu::graph::Window;
use tegu::kernels;

type Operator = Box<dyn Fn(&Tensor, &Tensor) -> Result<Tensor>>;

/// Median seconds of a call; calls go on for at least half a second.
fn seconds(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    call()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (start.elapsed().as_secs_f64() < 0.5 && times.len() < 200) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Forward, and forward with backward, less what Candle takes for the gradient of the sum that is the loss.
fn both(operands: [&Tensor; 2], f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<[f64; 2]> {
    let [input, weight] = [Var::from_tensor(operands[0])?, Var::from_tensor(operands[1])?];
    let forward = seconds(|| f(operands[0], operands[1]).map(drop))?;
    let backward = seconds(|| f(input.as_tensor(), weight.as_tensor())?.sum_all()?.backward().map(drop))?;
    let out = Var::from_tensor(&f(operands[0], operands[1])?)?;
    let loss = seconds(|| out.as_tensor().sum_all()?.backward().map(drop))?;
    Ok([forward, backward - loss])
}

fn main() -> Result<()> {
    println!("{} threads", rayon::current_num_threads());
    println!(
        "{:<44}{:>10}{:>10}{:>7}   {:>10}{:>10}{:>7}",
        "ms", "forward", "candle", "ratio", "+backward", "candle", "ratio"
    );
    // batch, channels, side, kernel, stride, groups
    let cases = [
        (64, 16, 32, 3, 1, 1),
        (64, 32, 16, 3, 1, 1),
        (64, 64, 8, 3, 1, 1),
        (64, 16, 32, 1, 1, 1),
        (64, 32, 16, 1, 1, 1),
        (64, 64, 8, 1, 1, 1),
        (64, 16, 32, 3, 2, 1),
        (8, 96, 32, 3, 1, 96),
        (8, 96, 32, 3, 2, 96),
        (8, 96, 16, 5, 1, 96),
    ];
    for (batch, channels, side, kernel, stride, groups) in cases {
        let device = Device::Cpu;
        let input = Tensor::randn(0f32, 1.0, (batch, channels, side, side), &device)?;
        let weight = Tensor::randn(0f32, 0.1, (channels, channels / groups, kernel, kernel), &device)?;
        let window = Window::same(kernel, stride);
        let ours = both([&input, &weight], |input, weight| kernels::conv2d(input, weight, window, groups))?;
        let candles = both([&input, &weight], |input, weight| {
            input.conv2d(weight, window.rows.padding, stride, window.rows.dilation, groups)
        })?;
        let name = format!("batch {batch}, {channels} ch, {side}x{side}, k{kernel} s{stride} g{groups}");
        print!("{name:<44}");
        for at in 0..2 {
            print!("{:>10.2}{:>10.2}{:>7.1}   ", ours[at] * 1e3, candles[at] * 1e3, candles[at] / ours[at]);
        }
        println!();
    }
    let input = Tensor::randn(0f32, 1.0, (64, 16, 32, 32), &Device::Cpu)?;
    let scale = Tensor::ones(16, candle_core::DType::F32, &Device::Cpu)?;
    let pool = Window::same(3, 1);
    let operators: [(&str, Operator); 4] = [
        ("batch norm", Box::new(|x, scale| kernels::batch_norm(x, scale, scale, 1e-5))),
        ("average pool 3x3", Box::new(move |x, _| kernels::avg_pool2d(x, pool))),
        ("max pool 3x3", Box::new(move |x, _| kernels::max_pool2d(x, pool))),
        ("relu", Box::new(|x, _| kernels::relu(x))),
    ];
    for (name, operator) in operators {
        let [forward, backward] = both([&input, &scale], operator)?;
        println!("{:<44}{:>10.2}{:>30.2}", format!("batch 64, 16 ch, 32x32, {name}"), forward * 1e3, backward * 1e3);
    }
    Ok(())
}
