//! Times the indicators phase by phase, in `fast` mode:
//! `CANDLE_NUM_THREADS=1 RAYON_NUM_THREADS=1 cargo bench --bench indicators` (as `tegu` sets the first for itself)
//! (with `--profile dev` where that is built already). A name as an argument times that architecture alone, `random`
//! random cells, `growth` how time grows with batch, width and image, `stacks` networks of many architectures at once, on
//! the device that there is.
//!
//! All times but those of stacks are milliseconds of CPU time an architecture. By phase: three networks of one cell a stage, `T` on one batch,
//! `T+G` on two. Random cells: as `tegu score` does it.

use anyhow::{Result, anyhow};
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::time::Instant;
use tegu::graph::{Graph, Op};
use tegu::indicator::linear_regions::count;
use tegu::indicator::ntk::{self, condition, ntk};
use tegu::indicator::{
    Images, LinearRegions, Mode as Whose, NtkCondition, NtkRegression, Probes, SettingsSection, View, linear_regions,
    score, teg,
};
use tegu::network::{
    Compute, Init, Member, Mode, PerSampleGradients, Stack, Weights, WeightsError, activations, stacked_bytes,
};
use tegu::space::{NetworkChanges, Scale, SearchSpace};

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

/// Live random cells of NAS-Bench-201: T and E in `fast` mode, and of all three in `compat` mode, of
/// which the released code takes 9.2 s.
fn random_cells(fast: usize, compat: usize) -> Result<()> {
    let space = SearchSpace::open("nas-bench-201")?;
    let mut rng = ChaCha8Rng::seed_from_u64(201);
    let alive = |cell: &_| space.lower(cell, Scale::Probe).is_ok_and(|graph| graph.is_alive());
    let cells: Vec<_> = std::iter::repeat_with(|| space.sample(&mut rng)).filter(alive).take(fast).collect();
    let probes = Probes::new(&space, SettingsSection::default().resolve(), 7, Device::Cpu)?;
    score(&probes, &space, &cells[0], &[&NtkCondition]);
    let (mut of_t, mut of_e) = (vec![], vec![]);
    for cell in &cells {
        let start = clock();
        score(&probes, &space, cell, &[&NtkCondition]);
        let between = clock();
        score(&probes, &space, cell, &[&LinearRegions]);
        of_t.push((between - start) * 1e3);
        of_e.push((clock() - between) * 1e3);
    }
    let whole: Vec<f64> = of_t.iter().zip(&of_e).map(|(t, e)| t + e).collect();
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let most = whole.iter().copied().fold(0.0, f64::max);
    let (t, e) = (mean(&of_t), mean(&of_e));
    println!("\n{fast} random cells: T {t:.1} ms, E {e:.1} ms, T+E {:.1} ms on average, {most:.1} ms at most", t + e);
    let section = SettingsSection { mode: Whose::Compat, ..SettingsSection::default() };
    let probes = Probes::new(&space, section.resolve(), 7, Device::Cpu)?;
    let start = clock();
    cells.iter().take(compat).for_each(|cell| drop(score(&probes, &space, cell, &teg())));
    let seconds = (clock() - start) / compat as f64;
    println!(
        "{compat} of them in compat mode: T+G+E {seconds:.2} s on average, {:.0} times the released code's speed",
        9.2 / seconds
    );
    Ok(())
}

fn members(networks: &[(Graph, Weights)]) -> Vec<Member<'_>> {
    networks.iter().map(|(graph, weights)| Member { graph, weights }).collect()
}

/// Networks of random cells of NAS-Bench-201 in stacks, in `fast` mode: milliseconds of wall time a network.
fn stacks() -> Result<()> {
    let device = Compute::Auto.open()?;
    let space = SearchSpace::open("nas-bench-201")?;
    let probes = Probes::new(&space, SettingsSection::default().resolve(), 7, device.clone())?;
    let mut rng = ChaCha8Rng::seed_from_u64(201);
    let cells: Vec<_> = std::iter::repeat_with(|| space.sample(&mut rng))
        .filter(|cell| probes.graph(&space, cell, View::Kernel).is_ok())
        .take(48)
        .collect();
    let patches: Vec<Tensor> = (0..3)
        .map(|seed| Ok(images(space.network(Scale::Thin).input, 1000, seed)?.to_device(&device)?))
        .collect::<Result<_>>()?;
    let batch = [images(space.network(Scale::Probe).input, BATCH, 1)?.to_device(&device)?];
    println!("\nstacks on {:?}; ms of wall time a network", device.location());
    println!("{:<14}{:>12}{:>9}{:>9}{:>9}{:>9}", "networks", "operations", "MiB", "forward", "kernel", "regions");
    // A CPU takes seconds for each.
    for &count in if device.is_cpu() { &[1, 4][..] } else { &[1, 4, 24, 48] } {
        let networks = |view: View| -> Result<Vec<(Graph, Weights)>> {
            let network = |cell| {
                let graph = probes.graph(&space, cell, view)?;
                let weights = Weights::random(&graph, Init::TorchDefault, 1, &Device::Cpu)?;
                Ok((graph, weights))
            };
            cells.iter().take(count).map(network).collect()
        };
        let (of_kernel, of_regions) = (networks(View::Kernel)?, networks(View::Regions)?);
        let wall = |call: &dyn Fn() -> Result<()>| -> Result<f64> {
            call()?;
            let start = Instant::now();
            call()?;
            Ok(start.elapsed().as_secs_f64() * 1e3 / count as f64)
        };
        let (kernel, thin) = (members(&of_kernel), members(&of_regions));
        let stack = Stack::new(&kernel, &batch)?;
        let forward = wall(&|| {
            stack.forward(|_, _| Ok::<_, WeightsError>(()))?;
            Ok(device.synchronize()?)
        })?;
        let kernels = wall(&|| Ok(ntk::stacked(&kernel, &batch).map(drop)?))?;
        let regions = wall(&|| Ok(linear_regions::stacked(&thin, &patches).map(drop)?))?;
        let bytes: u64 = of_kernel.iter().map(|(graph, _)| stacked_bytes(graph, BATCH, 1, true)).sum();
        print!("{count:<14}{:>12}{:>9}", stack.operations(), bytes >> 20);
        println!("{forward:>9.1}{kernels:>9.1}{regions:>9.1}");
    }
    Ok(())
}

/// Multiply-adds of one cotangent's and sample's reverse pass: two products a layer, but one for layers on the input.
fn reverse_macs(graph: &Graph) -> u64 {
    let of_layer = |id| {
        let node = graph.node(id);
        match node.op {
            Op::Conv2d(_) | Op::Linear { .. } => {
                let weight = &graph.node_parameters(id)[0];
                let once = (weight.dims.iter().product::<usize>() * node.shape.pixels()) as u64;
                if node.inputs[0].index() == 0 { once } else { 2 * once }
            }
            _ => 0,
        }
    };
    graph.ids().map(of_layer).sum()
}

/// Milliseconds of one network's kernel, and billions of multiply-adds of its reverse pass a second; those that a zero
/// lets be left out count, too.
fn kernel_of(arch: &str, batch: usize, width: usize, side: usize) -> Result<(f64, f64)> {
    let changes = NetworkChanges { input: Some([3, side, side]), width: Some(width), depth: Some(1), classes: None };
    let space = SearchSpace::open("nas-bench-201")?.with_network(&changes)?;
    let graph = space.lower(&space.parse_arch(arch)?, Scale::Full)?.live()?;
    let weights = Weights::random(&graph, Init::TorchDefault, 1, &Device::Cpu)?;
    let images = images([3, side, side], batch, 1)?;
    let forward = time(|| Ok(activations(&graph, &weights, &images, Mode::Train).map(drop)?))?;
    let gradients =
        time(|| Ok(PerSampleGradients::new(&graph, &weights, &images)?.try_for_each(|layer| layer.map(drop))?))?;
    let all = time(|| Ok(ntk(&graph, &weights, &images, None)?))?;
    let macs = reverse_macs(&graph) as f64 * (batch * batch) as f64;
    Ok((all, macs / (gradients - forward) * 1e-6))
}

/// How fast this machine multiplies matrices, how near to that the reverse pass comes, and how its time grows.
fn growth() -> Result<()> {
    const SIDE: usize = 768;
    let matrix = Tensor::randn(0f32, 1.0, (SIDE, SIDE), &Device::Cpu)?;
    let product = (SIDE * SIDE * SIDE) as f64 / time(|| Ok(matrix.matmul(&matrix)?))? * 1e-6;
    println!("\nproduct of matrices: {product:.1} Gmac/s; kernel of one network:");
    println!("{:<14}{:>6}{:>6}{:>6}{:>10}{:>10}{:>8}", "", "N", "C", "side", "ms", "Gmac/s", "share");
    let (dense, mixed) = (cell([CONV3; 6]), cell([CONV3, CONV1, SKIP, POOL, CONV3, CONV1]));
    let sizes =
        [(16, 3, 32), (8, 3, 32), (32, 3, 32), (64, 3, 32), (16, 8, 32), (16, 16, 32), (16, 3, 16), (16, 3, 64)];
    for (name, arch) in [("conv3x3", dense), ("mixed", mixed)] {
        for (batch, width, side) in sizes {
            let (milliseconds, speed) = kernel_of(&arch, batch, width, side)?;
            print!("{name:<14}{batch:>6}{width:>6}{side:>6}{milliseconds:>10.1}");
            println!("{speed:>10.1}{:>7.0}%", 100.0 * speed / product);
        }
    }
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
    if wanted("random") {
        random_cells(40, 4)?;
    }
    if wanted("stacks") {
        stacks()?;
    }
    if wanted("growth") {
        growth()?;
    }
    Ok(())
}
