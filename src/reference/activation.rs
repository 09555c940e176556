//! Activations and their derivatives, row by row.

use crate::Activation;

/// An activation over one row: `y = f(z)`.
///
/// `z` and the result are `[O]`. Softmax is `y_i = exp(z_i - m) / sum_j exp(z_j - m)` with `m = max_j z_j`,
/// which cancels and keeps `exp` from overflowing. NaN gives NaN.
///
/// # Examples
///
/// ```
/// use fuseprop::Activation;
/// use fuseprop::reference::activate;
///
/// assert_eq!(activate(Activation::Relu, &[-1.0, 2.0]), [0.0, 2.0]);
/// assert_eq!(activate(Activation::Softmax, &[1000.0, 1000.0]), [0.5, 0.5]);
/// ```
#[must_use]
pub fn activate(activation: Activation, z: &[f64]) -> Vec<f64> {
    let each = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z)).collect();
    match activation {
        Activation::Identity => z.to_vec(),
        Activation::Sigmoid => each(&|z| 1.0 / (1.0 + (-z).exp())),
        Activation::Tanh => each(&f64::tanh),
        Activation::Relu => each(&|z| if z <= 0.0 { 0.0 } else { z }),
        Activation::LeakyRelu { slope } => each(&|z| if z <= 0.0 { slope * z } else { z }),
        Activation::Elu { alpha } => each(&|z| if z <= 0.0 { alpha * z.exp_m1() } else { z }),
        Activation::Selu => each(&|z| SELU_SCALE * if z <= 0.0 { SELU_ALPHA * z.exp_m1() } else { z }),
        Activation::Gelu => each(&|z| z * normal_below(z)),
        Activation::GeluTanh => each(&|z| z / (1.0 + (-2.0 * gelu_tanh_argument(z)).exp())),
        Activation::Silu => each(&|z| z / (1.0 + (-z).exp())),
        Activation::Mish => each(&|z| z * z.exp().ln_1p().tanh()),
        Activation::HardSwish => each(&|z| z * ((z + 3.0).clamp(0.0, 6.0) / 6.0)),
        Activation::Relu6 => each(&|z| z.clamp(0.0, 6.0)),
        Activation::Softsign => each(&|z| z / (1.0 + z.abs())),
        Activation::Softplus => each(&|z| if z > 20.0 { z } else { z.exp().ln_1p() }),
        Activation::HardSigmoid => each(&|z| (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::HardTanh { min, max } => each(&|z| z.clamp(min, max)),
        Activation::SquaredClippedRelu => each(&|z| z.clamp(0.0, 1.0).powi(2)),
        Activation::Sine { frequency } => each(&|z| (frequency * z).sin()),
        Activation::Softmax => {
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
            each(&|z| (z - max).exp() / sum)
        }
    }
}

/// Gradient through an activation over one row: `d_z = d_y f'(z)`.
///
/// All are `[O]`, with `y = f(z)`. At `z = 0` the derivative of ReLU is 0, of leaky ReLU its slope.
/// Softmax mixes its row: `d_z_i = y_i (d_y_i - sum_j d_y_j y_j)`.
///
/// # Panics
/// If `z`, `y` and `d_y` differ in length.
///
/// # Examples
///
/// ```
/// use fuseprop::Activation;
/// use fuseprop::reference::activation_backward;
///
/// // At z = 0 a sigmoid is 1/2 and its slope 1/4.
/// assert_eq!(activation_backward(Activation::Sigmoid, &[0.0], &[0.5], &[8.0]), [2.0]);
/// ```
#[must_use]
pub fn activation_backward(activation: Activation, z: &[f64], y: &[f64], d_y: &[f64]) -> Vec<f64> {
    assert!(z.len() == y.len() && y.len() == d_y.len(), "z, y and d_y have one length");
    let each = |f: &dyn Fn(usize) -> f64| (0..z.len()).map(f).collect();
    match activation {
        Activation::Identity => d_y.to_vec(),
        Activation::Sigmoid => each(&|i| d_y[i] * (y[i] * (1.0 - y[i]))),
        Activation::Tanh => each(&|i| d_y[i] * (1.0 - y[i] * y[i])),
        Activation::Relu => each(&|i| if z[i] <= 0.0 { 0.0 } else { d_y[i] }),
        Activation::LeakyRelu { slope } => each(&|i| if z[i] <= 0.0 { slope * d_y[i] } else { d_y[i] }),
        Activation::Elu { alpha } => each(&|i| d_y[i] * if z[i] <= 0.0 { alpha * z[i].exp() } else { 1.0 }),
        Activation::Selu => {
            each(&|i| d_y[i] * (SELU_SCALE * if z[i] <= 0.0 { SELU_ALPHA * z[i].exp() } else { 1.0 }))
        }
        Activation::Gelu => each(&|i| d_y[i] * (normal_below(z[i]) + z[i] * normal_density(z[i]))),
        Activation::GeluTanh => each(&|i| {
            let sigmoid = 1.0 / (1.0 + (-2.0 * gelu_tanh_argument(z[i])).exp());
            let d_argument = GELU_TANH_SLOPE * (1.0 + 3.0 * 0.044715 * z[i] * z[i]);
            d_y[i] * (sigmoid + 2.0 * z[i] * sigmoid * (1.0 - sigmoid) * d_argument)
        }),
        Activation::Silu => each(&|i| {
            let sigmoid = 1.0 / (1.0 + (-z[i]).exp());
            d_y[i] * (sigmoid * (1.0 + z[i] * (1.0 - sigmoid)))
        }),
        Activation::Mish => each(&|i| {
            let (tanh, sigmoid) = (z[i].exp().ln_1p().tanh(), 1.0 / (1.0 + (-z[i]).exp()));
            d_y[i] * (tanh + z[i] * (1.0 - tanh * tanh) * sigmoid)
        }),
        Activation::HardSwish => each(&|i| match z[i] {
            z if z <= -3.0 => 0.0,
            z if z >= 3.0 => d_y[i],
            z => d_y[i] * (z / 3.0 + 0.5),
        }),
        Activation::Relu6 => each(&|i| if y[i] <= 0.0 || y[i] >= 6.0 { 0.0 } else { d_y[i] }),
        Activation::Softsign => each(&|i| d_y[i] * (1.0 - y[i].abs()).powi(2)),
        Activation::Softplus => {
            each(&|i| d_y[i] * if z[i] > 20.0 { 1.0 } else { 1.0 / (1.0 + (-z[i]).exp()) })
        }
        Activation::HardSigmoid => each(&|i| if y[i] <= 0.0 || y[i] >= 1.0 { 0.0 } else { d_y[i] / 6.0 }),
        Activation::HardTanh { min, max } => each(&|i| if z[i] <= min || z[i] >= max { 0.0 } else { d_y[i] }),
        Activation::SquaredClippedRelu => {
            each(&|i| if z[i] <= 0.0 || z[i] >= 1.0 { 0.0 } else { d_y[i] * (2.0 * z[i]) })
        }
        Activation::Sine { frequency } => each(&|i| d_y[i] * (frequency * (frequency * z[i]).cos())),
        Activation::Softmax => {
            let dot: f64 = d_y.iter().zip(y).map(|(d_y, y)| d_y * y).sum();
            each(&|i| y[i] * (d_y[i] - dot))
        }
    }
}

/// Klambauer et al. 2017, equation 14.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// `sqrt(2 / pi)`.
const GELU_TANH_SLOPE: f64 = 0.797_884_560_802_865_4;

fn gelu_tanh_argument(z: f64) -> f64 {
    GELU_TANH_SLOPE * (z + 0.044715 * z * z * z)
}

/// The density of a standard normal at `z`.
fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * core::f64::consts::PI).sqrt()
}

/// The probability that a standard normal is at most `z`.
///
/// For `|z| < 3` the series `1/2 + phi(z) (z + z^3/3 + z^5/15 + ..)`, beyond it Laplace's continued fraction
/// of the tail, `phi(z) / (z + 1/(z + 2/(z + 3/(z + ..))))` (Abramowitz and Stegun, 26.2.11 and 26.2.14).
fn normal_below(z: f64) -> f64 {
    if z.is_nan() {
        return z;
    }
    if z.abs() < 3.0 {
        let (mut term, mut sum) = (z, z);
        for odd in (3..200).step_by(2) {
            term *= z * z / f64::from(odd);
            sum += term;
        }
        return 0.5 + normal_density(z) * sum;
    }
    let fraction = (1..200).rev().fold(z.abs(), |below, k| z.abs() + f64::from(k) / below);
    let tail = normal_density(z) / fraction;
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinks_take_the_slope_of_their_left_side() {
        for zero in [0.0, -0.0] {
            assert_eq!(activation_backward(Activation::Relu, &[zero], &[zero], &[3.0]), [0.0]);
            assert_eq!(
                activation_backward(Activation::LeakyRelu { slope: 0.5 }, &[zero], &[zero], &[3.0]),
                [1.5]
            );
        }
    }

    #[test]
    fn softplus_is_its_sum_above_twenty_and_a_logarithm_at_it() {
        for (z, y, slope) in [
            (20.0_f64, 20.0_f64.exp().ln_1p(), 1.0 / (1.0 + (-20.0_f64).exp())),
            (20.0_f64.next_up(), 20.0_f64.next_up(), 1.0),
            (25.0, 25.0, 1.0),
        ] {
            assert_eq!(activate(Activation::Softplus, &[z]), [y]);
            assert_eq!(activation_backward(Activation::Softplus, &[z], &[y], &[3.0]), [3.0 * slope]);
        }
        // Both are apart by more than a rounding.
        assert!(20.0_f64.exp().ln_1p() > 20.000_000_001);
    }

    #[test]
    fn every_activation_of_nan_is_nan() {
        for &activation in Activation::EVERY {
            assert!(activate(activation, &[f64::NAN])[0].is_nan(), "{activation:?}");
        }
    }
}
