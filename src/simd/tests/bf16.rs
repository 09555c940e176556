//! Tests of rounding to bf16 and of products of pairs against scalar arithmetic, bit for bit.

use crate::simd::bf16::Widening;
use crate::simd::bf16::{
    Bf16, HalfLine, Pair, PairLine, PairProducts, SMALLEST, pairs_of_halves, pairs_of_lines,
};
use crate::simd::isa::Isa;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::portable::Portable;
use crate::simd::scalar::{Line, Scalar};
use crate::simd::tests::available;
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512, bf16::Avx512Bf16};

/// A check that is generic over the products of pairs of an instruction set.
pub(crate) trait PairCheck {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str);
}

/// Runs a check on the products of every available instruction set; prints the missing ones.
pub(crate) fn on_every_products(check: &mut impl PairCheck) {
    for isa in available() {
        let name = isa.to_string();
        match isa {
            Isa::Portable => check.run(Widening(*Portable::<f32>::detect().unwrap()), &name),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => check.run(Widening(*Avx2::<f32>::detect().unwrap()), &name),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                let lanes = *Avx512::<f32>::detect().unwrap();
                check.run(Widening(lanes), "AVX-512 by widening");
                match Avx512Bf16::detect(lanes) {
                    Some(products) => check.run(products, "AVX512-BF16"),
                    None => println!("not tested: AVX512-BF16"),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => unreachable!("this build does not support it"),
        }
    }
}

/// Numbers around every tie of every bf16 number.
fn numbers() -> impl Iterator<Item = f32> {
    let lower = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
    (0..=u32::from(u16::MAX)).flat_map(move |upper| lower.map(|lower| f32::from_bits(upper << 16 | lower)))
}

/// The nearest of the numbers with eight significant bits, from the definition.
fn nearest(x: f32) -> f64 {
    let x = f64::from(x);
    if x.abs() < 2.0_f64.powi(-56) {
        return 0.0;
    }
    if !x.is_finite() {
        return x;
    }
    let mut last = 2.0_f64.powi(-63);
    while x.abs() >= 256.0 * last {
        last *= 2.0;
    }
    let rounded = (x / last).round_ties_even() * last;
    if rounded.abs() < 2.0_f64.powi(128) { rounded } else { f64::INFINITY.copysign(x) }
}

#[test]
fn rounding_takes_the_nearest_number_and_ties_to_even() {
    let mut to_infinity = 0;
    for x in numbers() {
        let (found, expected) = (f64::from(Bf16::round(x).to_f32()), nearest(x));
        assert!(found == expected || x.is_nan() && found.is_nan(), "{x:e}: {found:e}, not {expected:e}");
        to_infinity += usize::from(x.is_finite() && found.is_infinite());
    }
    assert_eq!(to_infinity, 2 * 3, "three numbers of each sign above the largest");
    assert_eq!(Bf16::round(-SMALLEST).to_f32(), -SMALLEST);
    assert_eq!(Bf16::round(SMALLEST.next_down()).to_f32().to_bits(), 0);
    assert_eq!(Bf16::round(-0.0).to_f32().to_bits(), 0);
}

fn line(values: &[f32]) -> LineOf<Portable<f32>> {
    let mut line = LineOf::<Portable<f32>>::ZERO;
    line.as_mut_slice().copy_from_slice(values);
    line
}

/// Rounds lines as the scalar does, and packs them.
struct Rounding(usize);

impl PairCheck for Rounding {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let values: Vec<f32> = numbers().collect();
        let l = p.lanes();
        for lines in values.chunks_exact(32) {
            let (even, odd) = (line(&lines[..16]), line(&lines[16..]));
            let (mut halves, mut pairs) = ([HalfLine::ZERO; 2], PairLine::ZERO);
            p.vectorize(
                #[inline(always)]
                || {
                    let (even, odd) = (p.round(l.load(&even)), p.round(l.load(&odd)));
                    p.store_half(&mut halves[0], even);
                    p.store_half(&mut halves[1], odd);
                    p.store_pairs(&mut pairs, even, odd);
                },
            );
            let rounded: Vec<Bf16> = lines.iter().map(|&x| Bf16::round(x)).collect();
            for (found, numbers) in pairs_of_halves(&halves).iter().zip(rounded.chunks_exact(2)) {
                assert_eq!((found.even(), found.odd()), (numbers[0], numbers[1]), "{name}");
            }
            for (i, found) in pairs_of_lines(core::slice::from_ref(&pairs)).iter().enumerate() {
                assert_eq!((found.even(), found.odd()), (rounded[i], rounded[16 + i]), "{name}, {lines:?}");
            }
            self.0 += 1;
        }
    }
}

#[test]
fn lanes_round_as_one_number_is_rounded() {
    let mut check = Rounding(0);
    on_every_products(&mut check);
    assert!(check.0 > 1000);
}

/// Denormal numbers are 0, with their sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

/// What `vdpbf16ps` computes: two fused multiply-adds to the nearest, denormal operands and results 0.
fn vdpbf16ps(sum: f32, a: Pair, b: Pair) -> f32 {
    let step =
        |sum: f32, a: Bf16, b: Bf16| flushed(flushed(a.to_f32()).mul_add(flushed(b.to_f32()), flushed(sum)));
    step(step(sum, a.odd(), b.odd()), a.even(), b.even())
}

/// Whether a product by itself is past the range of `f32`, which is fused with a sum only where there is an
/// instruction for it.
fn overflows(a: Bf16, b: Bf16) -> bool {
    let (a, b) = (a.to_f32(), b.to_f32());
    a.is_finite() && b.is_finite() && (a * b).is_infinite()
}

/// The generator of Knuth's MMIX.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// One of the ends of the range, or any number of any exponent, or one of a few neighbouring exponents.
    fn number(&mut self) -> f32 {
        const SPECIAL: [f32; 12] = [
            0.0,
            -0.0,
            SMALLEST,
            -SMALLEST,
            1.0,
            -1.0,
            f32::MAX,
            -3.3e38,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0e-40,
        ];
        match self.next() % 16 {
            0 => SPECIAL[self.next() as usize % SPECIAL.len()],
            1 | 2 => f32::from_bits(self.next() as u32),
            3..=8 => self.small(),
            _ => f32::from_bits((124 << 23) + (self.next() as u32) % (6 << 23)) * self.sign(),
        }
    }

    fn sign(&mut self) -> f32 {
        if self.next().is_multiple_of(2) { 1.0 } else { -1.0 }
    }

    /// Near the smallest, where sums cancel to the last bit.
    fn small(&mut self) -> f32 {
        f32::from_bits(SMALLEST.to_bits() + (self.next() as u32) % (3 << 23)) * self.sign()
    }

    /// Of numbers near the smallest, or of any.
    fn pair(&mut self, are_small: bool) -> Pair {
        let mut number = || Bf16::round(if are_small { self.small() } else { self.number() });
        Pair::new(number(), number())
    }

    /// What a sum may start from.
    fn sum(&mut self) -> f32 {
        let smallest = f64::from(f32::MIN_POSITIVE);
        match self.next() % 4 {
            0 => 0.0,
            1 => (smallest * (self.next() % 3000) as f64) as f32 * self.sign(),
            _ => {
                let x = f64::from(self.number());
                if x.is_finite() { ((x / smallest).round_ties_even() * smallest) as f32 } else { x as f32 }
            }
        }
    }
}

fn bits(x: f32) -> u32 {
    if x.is_nan() { u32::MAX } else { x.to_bits() }
}

/// Chains of products of random pairs.
#[derive(Default)]
struct Products {
    compared: usize,
    finite: usize,
    /// Sums close to the smallest number.
    small: usize,
}

impl PairCheck for Products {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let (mut random, l) = (Random(3), p.lanes());
        let is_fused = name != "portable" || cfg!(target_feature = "fma");
        for i in 0..20_000 {
            let are_small = i % 4 == 0;
            let a: [Pair; 2] = core::array::from_fn(|_| random.pair(are_small));
            let b: [[Pair; 16]; 2] =
                core::array::from_fn(|_| core::array::from_fn(|_| random.pair(are_small)));
            let start: [f32; 16] = core::array::from_fn(|lane| match lane % 2 {
                0 => random.sum(),
                // The first product cancels.
                _ => -(a[0].odd().to_f32() * b[0][lane].odd().to_f32()),
            });
            let lines = b.map(PairLine::new);
            let mut sums = line(&start);
            p.vectorize(
                #[inline(always)]
                || {
                    let mut sum = l.load(&sums);
                    for k in 0..2 {
                        sum = p.mul_add_pairs(p.splat_pair(a[k]), p.load_pairs(&lines[k]), sum);
                    }
                    l.store(&mut sums, sum);
                },
            );
            for lane in 0..16 {
                let pairs = [(a[0], b[0][lane]), (a[1], b[1][lane])];
                let is_past =
                    |(a, b): (Pair, Pair)| overflows(a.even(), b.even()) || overflows(a.odd(), b.odd());
                if !is_fused && pairs.into_iter().any(is_past) {
                    continue;
                }
                let expected = pairs.into_iter().fold(start[lane], |sum, (a, b)| vdpbf16ps(sum, a, b));
                let found = sums.as_slice()[lane];
                assert_eq!(
                    bits(found),
                    bits(expected),
                    "{name}: {:e} and {pairs:?}: {found:e}, not {expected:e}",
                    start[lane]
                );
                self.compared += 1;
                self.finite += usize::from(found.is_finite() && found != 0.0);
                self.small += usize::from(found.abs() < 1e-33);
            }
        }
    }
}

#[test]
fn products_of_pairs_are_two_fused_multiply_adds_and_never_denormal() {
    let mut check = Products::default();
    on_every_products(&mut check);
    let Products { compared, finite, small } = check;
    println!("RESULT bf16_products compared={compared} finite={finite} small={small}");
    assert!(finite > compared / 3 && small > 1000, "{finite} and {small} of {compared}");
}

/// Starts of sums.
struct Starts(usize);

impl PairCheck for Starts {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let l = p.lanes();
        let smallest = f64::from(f32::MIN_POSITIVE);
        let numbers = (0..4000_u32)
            .flat_map(|i| [f32::from_bits(i.wrapping_mul(7919 * 137)), f32::from_bits(i * 8369)]);
        let special = [f32::INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE, 1.5 * f32::MIN_POSITIVE];
        for x in numbers.chain(special).filter(|x| !x.is_nan()) {
            let mut found = line(&[x; 16]);
            p.vectorize(
                #[inline(always)]
                || {
                    let whole = p.whole(l.load(&found));
                    l.store(&mut found, whole);
                },
            );
            let expected = match x.abs() < 1.0 {
                true => ((f64::from(x) / smallest).round_ties_even() * smallest) as f32,
                false => x,
            };
            assert_eq!(found.as_slice(), [expected; f32::LANES], "{name}: {x:e}");
            self.0 += usize::from(expected != x);
        }
    }
}

#[test]
fn sums_start_from_multiples_of_the_smallest_number() {
    let mut check = Starts(0);
    on_every_products(&mut check);
    assert!(check.0 > 100);
}
