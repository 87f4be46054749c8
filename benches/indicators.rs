//! Times the indicators phase by phase, in `fast` mode: `RAYON_NUM_THREADS=1 cargo bench --bench indicators`
//! (with `--profile dev` where that is built already). A name as an argument times that architecture alone.
//!
//! All times are milliseconds of CPU time an architecture, over its three networks; `T` takes one batch, `T+G` two.

use anyhow::{Result, anyhow};
use candle_core::{Device, Tensor};
use std::time::Instant;
use tegu::indicator::linear_regions::count;
use tegu::indicator::ntk::{condition, ntk};
use tegu::indicator::{Images, NtkCondition, NtkRegression, Probes, SettingsSection, score};
use tegu::network::{Init, Mode, PerSampleGradients, Weights, activations};
use tegu::space::{Scale, SearchSpace};

const CONV3: &str = "nor_conv_3x3";
const CONV1: &str = "nor_conv_1x1";
const POOL: &str = "avg_pool_3x3";
const SKIP: &str = "skip_connect";
const NONE: &str = "none";
const NETWORKS: u64 = 3;
const BATCH: usize = 16;

/// Seconds of this process on any core, so that what else runs on the machine counts less.
#[cfg(unix)]
fn clock() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a time that lives.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn clock() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Median milliseconds of a call; calls go on for at least half a second.
fn time<R>(mut call: impl FnMut() -> Result<R>) -> Result<f64> {
    call()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (start.elapsed().as_secs_f64() < 0.5 && times.len() < 200) {
        let start = clock();
        call()?;
        times.push(clock() - start);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2] * 1e3)
}

fn cell(operators: [&str; 6]) -> String {
    let [a, b, c, d, e, f] = operators;
    format!("|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")
}

fn images([channels, height, width]: [usize; 3], count: usize, seed: u64) -> Result<Tensor> {
    let values = Images::Natural.draw(count, [channels, height, width], seed);
    Ok(Tensor::from_vec(values, (count, channels, height, width), &Device::Cpu)?)
}

fn row(name: &str, space: &str, arch: &str) -> Result<()> {
    let space = SearchSpace::open(space)?;
    let genotype = space.parse_arch(arch)?;
    let networks = |scale: Scale| -> Result<_> {
        let graph = space.lower(&genotype, scale)?.live().map_err(|_| anyhow!("{arch} is dead"))?;
        let draw = |seed| Weights::random(&graph, Init::TorchDefault, seed, &Device::Cpu);
        let weights = (0..NETWORKS).map(draw).collect::<Result<Vec<_>, _>>()?;
        Ok((graph, weights))
    };
    let build = time(|| Ok((networks(Scale::Probe)?, networks(Scale::Thin)?)))?;
    let (graph, weights) = networks(Scale::Probe)?;
    let (thin, thin_weights) = networks(Scale::Thin)?;
    let input = space.network(Scale::Probe).input;
    let (first, second) = (images(input, BATCH, 1)?, images(input, BATCH, 2)?);
    let patches =
        (0..3).map(|seed| images(space.network(Scale::Thin).input, 1000, seed)).collect::<Result<Vec<_>>>()?;

    let each = |f: &dyn Fn(&Weights) -> Result<()>| time(|| weights.iter().try_for_each(f));
    let forward = each(&|weights| {
        activations(&graph, weights, &first, Mode::Train)?;
        Ok(())
    })?;
    let gradients = each(&|weights| {
        PerSampleGradients::new(&graph, weights, &first)?.try_for_each(|layer| layer.map(drop)).map_err(Into::into)
    })?;
    let one = each(&|weights| {
        ntk(&graph, weights, &first, None)?;
        Ok(())
    })?;
    let both = each(&|weights| {
        ntk(&graph, weights, &first, Some(&second))?;
        Ok(())
    })?;
    let kernel = ntk(&graph, &weights[0], &first, None)?.all;
    let eigen = time(|| Ok((0..NETWORKS).map(|_| condition(&kernel).0).sum::<f64>()))?;
    let regions = time(|| thin_weights.iter().try_fold(0, |sum, weights| Ok(sum + count(&thin, weights, &patches)?)))?;
    let probes = Probes::new(&space, SettingsSection::default().resolve(), 7, Device::Cpu)?;
    let all = time(|| Ok(score(&probes, &space, &genotype, &[&NtkCondition, &NtkRegression])))?;
    print!("{name:<14}{build:>8.1}{forward:>9.1}{:>9.1}{:>8.1}{eigen:>8.2}", gradients - forward, one - gradients);
    println!("{regions:>9.1}{one:>9.1}{both:>9.1}{:>9.1}{:>9.1}", one + eigen + regions, all + regions);
    Ok(())
}

fn main() -> Result<()> {
    println!("{} threads; ms", rayon::current_num_threads());
    print!("{:<14}{:>8}{:>9}{:>9}{:>8}{:>8}", "", "build", "forward", "reverse", "Gram", "eigen");
    println!("{:>9}{:>9}{:>9}{:>9}{:>9}", "regions", "kernel", "kernels", "T+E", "T+G+E");
    let nas_bench_201 = [
        ("conv3x3", [CONV3; 6]),
        ("mixed", [CONV3, CONV1, SKIP, POOL, CONV3, CONV1]),
        ("pools", [POOL, CONV1, POOL, SKIP, POOL, CONV1]),
        ("sparse", [CONV3, NONE, SKIP, CONV1, NONE, SKIP]),
    ];
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    for (name, operators) in nas_bench_201.into_iter().filter(|(name, _)| wanted(name)) {
        row(name, "nas-bench-201", &cell(operators))?;
    }
    if wanted("macro") {
        row("macro", "mobilenet-macro", "11211021")?;
    }
    Ok(())
}
