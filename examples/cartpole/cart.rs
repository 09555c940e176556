//! The cart and its pole: the equations of Barto, Sutton and Anderson (1983) with the numbers of Gym's
//! CartPole-v1.

const GRAVITY: f64 = 9.8;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
/// Half the pole, in metres.
const LENGTH: f64 = 0.5;
const FORCE: f64 = 10.0;
/// Seconds.
const STEP: f64 = 0.02;
const LARGEST_ANGLE: f64 = 12.0 * std::f64::consts::PI / 180.0;
const LARGEST_POSITION: f64 = 2.4;
const MAX_STEPS: usize = 500;

pub(crate) const OBSERVED: usize = 4;

/// Metres, radians and seconds.
pub(crate) struct Cart {
    position: f64,
    velocity: f64,
    angle: f64,
    spin: f64,
    steps: usize,
}

impl Cart {
    /// Each number between -0.05 and 0.05.
    pub(crate) fn new(random: &mut SplitMix) -> Self {
        let mut small = || 0.1 * random.uniform() - 0.05;
        Self { position: small(), velocity: small(), angle: small(), spin: small(), steps: 0 }
    }

    pub(crate) fn observe(&self) -> [f32; OBSERVED] {
        [self.position, self.velocity, self.angle, self.spin].map(|value| value as f32)
    }

    /// One step of Euler's method, pushed to the left (0) or the right (1).
    pub(crate) fn push(&mut self, action: usize) {
        let force = if action == 1 { FORCE } else { -FORCE };
        let mass = CART_MASS + POLE_MASS;
        let (sin, cos) = self.angle.sin_cos();
        let pull = (force + POLE_MASS * LENGTH * self.spin * self.spin * sin) / mass;
        let turn = (GRAVITY * sin - cos * pull) / (LENGTH * (4.0 / 3.0 - POLE_MASS * cos * cos / mass));
        let push = pull - POLE_MASS * LENGTH * turn * cos / mass;
        self.position += STEP * self.velocity;
        self.velocity += STEP * push;
        self.angle += STEP * self.spin;
        self.spin += STEP * turn;
        self.steps += 1;
    }

    pub(crate) fn has_fallen(&self) -> bool {
        self.angle.abs() > LARGEST_ANGLE || self.position.abs() > LARGEST_POSITION
    }

    /// Whether the episode has its full length.
    pub(crate) fn is_over(&self) -> bool {
        self.steps >= MAX_STEPS
    }
}

/// A small generator (Steele, Lea and Flood 2014).
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fisher and Yates; the bias of the remainder is below 2^-50 for any such length.
    pub(crate) fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}
