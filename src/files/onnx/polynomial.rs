//! Functions of one variable that a file writes in several nodes, in a form that does not depend on how.
//!
//! A function is a sum of terms: a coefficient times factors, each the variable itself or a call of a
//! function of another sum. Products of sums are multiplied out.

/// A function of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Abs,
    Erf,
    Exp,
    Log,
    /// `min(x, 0)`.
    NegativePart,
    /// `max(x, 0)`.
    PositivePart,
    Sigmoid,
    Sin,
    Softplus,
    Tanh,
    /// `min(max(x, 0), 1)`.
    UnitPart,
}

#[derive(Clone, Debug)]
enum Factor {
    Variable,
    Call(Call, Polynomial),
}

#[derive(Clone, Debug)]
struct Term {
    coefficient: f64,
    factors: Vec<Factor>,
}

/// A sum of terms.
#[derive(Clone, Debug)]
pub(super) struct Polynomial(Vec<Term>);

/// More than any activation has.
const MOST_TERMS: usize = 8;
const MOST_FACTORS: usize = 4;

/// Constants of files are `f32`, with half a unit in the last place of 6e-8, and some are products of two.
const TOLERANCE: f64 = 1e-6;

impl Polynomial {
    pub(super) fn constant(value: f64) -> Self {
        Self(vec![Term { coefficient: value, factors: Vec::new() }])
    }

    pub(super) fn variable() -> Self {
        Self(vec![Term { coefficient: 1.0, factors: vec![Factor::Variable] }])
    }

    pub(super) fn call(self, call: Call) -> Self {
        Self(vec![Term { coefficient: 1.0, factors: vec![Factor::Call(call, self)] }])
    }

    pub(super) fn scaled(mut self, by: f64) -> Self {
        self.0.iter_mut().for_each(|term| term.coefficient *= by);
        self
    }

    /// Nothing for a sum that no activation has.
    pub(super) fn plus(mut self, other: Self) -> Option<Self> {
        for term in other.0 {
            match self.0.iter_mut().find(|own| same_factors(&own.factors, &term.factors)) {
                Some(own) => own.coefficient += term.coefficient,
                None => self.0.push(term),
            }
        }
        (self.0.len() <= MOST_TERMS).then_some(self)
    }

    /// Nothing for a product that no activation has.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut product = Self(Vec::new());
        for a in &self.0 {
            for b in &other.0 {
                let factors = [&a.factors[..], &b.factors[..]].concat();
                if factors.len() > MOST_FACTORS {
                    return None;
                }
                product =
                    product.plus(Self(vec![Term { coefficient: a.coefficient * b.coefficient, factors }]))?;
            }
        }
        Some(product)
    }

    /// The coefficient of the variable, if that is all.
    pub(super) fn slope(&self) -> Option<f64> {
        match &self.0[..] {
            [Term { coefficient, factors }] if matches!(factors[..], [Factor::Variable]) => {
                Some(*coefficient)
            }
            _ => None,
        }
    }

    /// The argument of a function, if a call of it is all.
    pub(super) fn argument(&self, call: Call) -> Option<&Self> {
        match &self.0[..] {
            [Term { coefficient: 1.0, factors }] => match &factors[..] {
                [Factor::Call(found, argument)] if *found == call => Some(argument),
                _ => None,
            },
            _ => None,
        }
    }

    /// The coefficient of a call of the variable alone, 0 if there is none.
    pub(super) fn coefficient(&self, call: Call) -> f64 {
        let is_call = |factors: &[Factor]| match factors {
            [Factor::Call(found, argument)] => *found == call && argument.slope() == Some(1.0),
            _ => false,
        };
        let term = self.0.iter().find(|term| is_call(&term.factors));
        term.map_or(0.0, |term| term.coefficient)
    }

    /// The term without factors, 0 if there is none.
    pub(super) fn constant_term(&self) -> f64 {
        self.0.iter().find(|term| term.factors.is_empty()).map_or(0.0, |term| term.coefficient)
    }

    /// Whether both are the same but for the precision of constants.
    pub(super) fn is(&self, other: &Self) -> bool {
        let has = |term: &Term| {
            let is_same = |own: &&Term| same_factors(&own.factors, &term.factors);
            self.0.iter().find(is_same).is_some_and(|own| is_close(own.coefficient, term.coefficient))
        };
        self.0.len() == other.0.len() && other.0.iter().all(has)
    }
}

pub(super) fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * b.abs()
}

/// Whether both are the same in any order.
fn same_factors(a: &[Factor], b: &[Factor]) -> bool {
    let mut rest: Vec<&Factor> = b.iter().collect();
    let take = |factor: &Factor| {
        let at = rest.iter().position(|other| same_factor(factor, other));
        at.map(|at| rest.swap_remove(at)).is_some()
    };
    a.len() == b.len() && a.iter().all(take)
}

fn same_factor(a: &Factor, b: &Factor) -> bool {
    match (a, b) {
        (Factor::Variable, Factor::Variable) => true,
        (Factor::Call(call, a), Factor::Call(other, b)) => call == other && a.is(b),
        (Factor::Variable | Factor::Call(..), _) => false,
    }
}
