//! Vector registers of f32, one type for each instruction set.
//!
//! Registers are read and written as arrays behind pointers, not by the intrinsics for that: in the `dev`
//! profile those check for overlap and keep every register in memory.

/// One vector register of f32.
pub(super) trait Simd: Copy {
    /// Numbers in a register.
    const LANES: usize;
    /// Whether there are thirty-two registers rather than sixteen.
    const WIDE: bool;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self · factor + addend`
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `then` where `self` is above 0, else (and where it is NaN) `other`.
    unsafe fn where_positive(self, then: Self, other: Self) -> Self;
    unsafe fn sum(self) -> f32;
}

/// Fetches what is at `from` into the nearest cache, soon; anything may be there.
#[inline(always)]
pub(super) fn prefetch(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching faults nowhere.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(from.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// Work that is written once for all vector registers.
pub(super) trait Job {
    /// Does it with registers `S`, which this machine must have.
    unsafe fn run<S: Simd>(&mut self);
}

/// An instruction set.
#[derive(Clone, Copy)]
pub(super) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// Those of this machine, the widest first.
    pub(super) fn available() -> impl Iterator<Item = Self> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512, is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")),
            (Self::Portable, true),
        ];
        all.into_iter().filter_map(|(isa, available)| available.then_some(isa))
    }

    /// Whether there are thirty-two registers.
    pub(super) fn is_wide(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => false,
            Self::Portable => <[f32; 4]>::WIDE,
        }
    }

    /// Does `job` with this set's registers.
    ///
    /// # Safety
    /// The set must be available, and the job's accesses within bounds.
    pub(super) unsafe fn run(self, job: &mut impl Job) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::run_avx512(job) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::run_avx2(job) },
            Self::Portable => unsafe { job.run::<[f32; 4]>() },
        }
    }
}

/// Does `job` with the widest registers of this machine. On one machine an output's operations and their order
/// depend on the job alone.
///
/// # Safety
/// The job's accesses must be within bounds.
pub(super) unsafe fn run_widest(job: &mut impl Job) {
    let widest = Isa::available().next().unwrap_or(Isa::Portable);
    unsafe { widest.run(job) }
}

/// Writes out a loop over a constant number of up to sixteen steps: the compiler keeps an array in registers
/// only where every index is a constant, and does not unroll by itself in the `dev` profile.
macro_rules! unrolled {
    ($i:ident in $count:expr, $body:expr) => {
        unrolled!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $i:ident, $count:expr, $body:expr, $($at:literal)*) => {
        $({
            #[allow(non_upper_case_globals)]
            const $i: usize = $at;
            if $i < $count {
                $body;
            }
        })*
    };
}

pub(super) use unrolled;

impl Simd for [f32; 4] {
    const LANES: usize = 4;
    const WIDE: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { *from.cast::<Self>() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { *to.cast::<Self>() = self }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Fused only where the instruction is always there: elsewhere it would be a library call.
        let fused = |at: usize| match cfg!(target_arch = "aarch64") {
            true => self[at].mul_add(factor[at], addend[at]),
            false => self[at] * factor[at] + addend[at],
        };
        [fused(0), fused(1), fused(2), fused(3)]
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        [self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3]]
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        [self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3]]
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        [self[0] * other[0], self[1] * other[1], self[2] * other[2], self[3] * other[3]]
    }

    #[inline(always)]
    unsafe fn where_positive(self, then: Self, other: Self) -> Self {
        let chosen = |at: usize| if self[at] > 0.0 { then[at] } else { other[at] };
        [chosen(0), chosen(1), chosen(2), chosen(3)]
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        (self[0] + self[2]) + (self[1] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    pub(super) use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) unsafe fn run_avx512(job: &mut impl super::Job) {
        unsafe { job.run::<__m512>() }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run_avx2(job: &mut impl super::Job) {
        unsafe { job.run::<__m256>() }
    }

    impl super::Simd for __m512 {
        const LANES: usize = 16;
        const WIDE: bool = true;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { std::mem::transmute(*from.cast::<[f32; 16]>()) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { *to.cast::<[f32; 16]>() = std::mem::transmute::<Self, [f32; 16]>(self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { _mm512_fmadd_ps(self, factor, addend) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { _mm512_sub_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { _mm512_mul_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn where_positive(self, then: Self, other: Self) -> Self {
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, _mm512_setzero_ps()), other, then) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe { _mm512_reduce_add_ps(self) }
        }
    }

    impl super::Simd for __m256 {
        const LANES: usize = 8;
        const WIDE: bool = false;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm256_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { std::mem::transmute(*from.cast::<[f32; 8]>()) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { *to.cast::<[f32; 8]>() = std::mem::transmute::<Self, [f32; 8]>(self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { _mm256_fmadd_ps(self, factor, addend) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { _mm256_sub_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { _mm256_mul_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn where_positive(self, then: Self, other: Self) -> Self {
            unsafe { _mm256_blendv_ps(other, then, _mm256_cmp_ps::<_CMP_GT_OQ>(self, _mm256_setzero_ps())) }
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            let lanes: [f32; 8] = unsafe { std::mem::transmute(self) };
            let half = [lanes[0] + lanes[4], lanes[1] + lanes[5], lanes[2] + lanes[6], lanes[3] + lanes[7]];
            unsafe { super::Simd::sum(half) }
        }
    }
}
