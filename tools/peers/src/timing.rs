//! Times implementations in turns, so that whatever else the machine does falls on all of them.

use std::thread::sleep;
use std::time::Duration;

use crate::Result;
use crate::peer::Peer;

/// Length of a turn.
const TURN: f64 = 0.05;
/// Pause before a turn, in which the threads of the previous implementation stop spinning.
const PAUSE: Duration = Duration::from_millis(10);
/// Share of a turn that is repeated untimed before it, at least one step: caches and clocks are another's.
const WARM_UP: f64 = 0.1;

/// Seconds for one step.
#[derive(Clone, Copy)]
pub struct Timing {
    pub min: f64,
    pub median: f64,
}

/// Seconds for a step of each peer, over `rounds` turns each.
pub fn interleave(peers: &mut [(&str, Box<dyn Peer>)], rounds: usize) -> Result<Vec<Timing>> {
    let mut steps = Vec::new();
    for (name, peer) in peers.iter_mut() {
        steps.push(steps_of_a_turn(peer.as_mut()).map_err(|error| format!("{name}: {error}"))?);
    }
    let mut seconds = vec![Vec::new(); peers.len()];
    for _ in 0..rounds.max(1) {
        for (((name, peer), &steps), seconds) in peers.iter_mut().zip(&steps).zip(&mut seconds) {
            sleep(PAUSE);
            let turn = peer.time((steps as f64 * WARM_UP).ceil() as u64).and_then(|_| peer.time(steps));
            seconds.push(turn.map_err(|error| format!("{name}: {error}"))?.as_secs_f64() / steps as f64);
        }
    }
    Ok(seconds.into_iter().map(summary).collect())
}

fn steps_of_a_turn(peer: &mut dyn Peer) -> Result<u64> {
    let mut steps = 1;
    peer.time(1)?;
    loop {
        let seconds = peer.time(steps)?.as_secs_f64();
        if seconds > TURN / 5.0 {
            return Ok(((steps as f64 * TURN / seconds) as u64).max(1));
        }
        steps *= 4;
    }
}

fn summary(mut seconds: Vec<f64>) -> Timing {
    seconds.sort_by(f64::total_cmp);
    Timing { min: seconds[0], median: seconds[seconds.len() / 2] }
}
