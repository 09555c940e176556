//! Activations as text: `relu`, `leaky_relu(0.01)`, `hard_tanh(-1 1)`.

use crate::activation::Activation;
use crate::error::Error;

/// Settings are written with as many digits as give the same number back.
pub fn write(activation: Activation) -> String {
    match activation {
        Activation::Identity => "identity".to_owned(),
        Activation::Sigmoid => "sigmoid".to_owned(),
        Activation::Tanh => "tanh".to_owned(),
        Activation::Relu => "relu".to_owned(),
        Activation::LeakyRelu(slope) => format!("leaky_relu({slope})"),
        Activation::Elu(alpha) => format!("elu({alpha})"),
        Activation::Selu => "selu".to_owned(),
        Activation::Gelu => "gelu".to_owned(),
        Activation::GeluTanh => "gelu_tanh".to_owned(),
        Activation::Silu => "silu".to_owned(),
        Activation::Softplus => "softplus".to_owned(),
        Activation::HardSigmoid => "hard_sigmoid".to_owned(),
        Activation::HardTanh(minimum, maximum) => format!("hard_tanh({minimum} {maximum})"),
        Activation::SquaredClippedRelu => "squared_clipped_relu".to_owned(),
        Activation::Sine(frequency) => format!("sine({frequency})"),
        Activation::Softmax => "softmax".to_owned(),
    }
}

/// # Errors
/// [`Error::Format`] for anything that [`write`] does not write.
pub fn read(text: &str) -> Result<Activation, Error> {
    let unknown = || Error::Format { what: format!("no activation is called {text:?}") };
    let (name, settings) = match text.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')').ok_or_else(unknown)?),
        None => (text, ""),
    };
    let words = settings.split(' ').filter(|word| !word.is_empty());
    let settings = words.map(str::parse).collect::<Result<Vec<f64>, _>>().map_err(|_| unknown())?;
    match (name, &settings[..]) {
        ("identity", &[]) => Ok(Activation::Identity),
        ("sigmoid", &[]) => Ok(Activation::Sigmoid),
        ("tanh", &[]) => Ok(Activation::Tanh),
        ("relu", &[]) => Ok(Activation::Relu),
        ("leaky_relu", &[slope]) => Ok(Activation::LeakyRelu(slope)),
        ("elu", &[alpha]) => Ok(Activation::Elu(alpha)),
        ("selu", &[]) => Ok(Activation::Selu),
        ("gelu", &[]) => Ok(Activation::Gelu),
        ("gelu_tanh", &[]) => Ok(Activation::GeluTanh),
        ("silu", &[]) => Ok(Activation::Silu),
        ("softplus", &[]) => Ok(Activation::Softplus),
        ("hard_sigmoid", &[]) => Ok(Activation::HardSigmoid),
        ("hard_tanh", &[minimum, maximum]) => Ok(Activation::HardTanh(minimum, maximum)),
        ("squared_clipped_relu", &[]) => Ok(Activation::SquaredClippedRelu),
        ("sine", &[frequency]) => Ok(Activation::Sine(frequency)),
        ("softmax", &[]) => Ok(Activation::Softmax),
        _ => Err(unknown()),
    }
}
