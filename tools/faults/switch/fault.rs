//! Which fault is active: the number in `FUSEPROP_FAULT`, read once; 0 is none.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Not read yet, or for ever, where the sites that are reached are written to the file in `FUSEPROP_FAULT_TRACE`.
const UNREAD: u32 = u32::MAX;

static ACTIVE: AtomicU32 = AtomicU32::new(UNREAD);
static REACHED: [AtomicBool; SITES] = [const { AtomicBool::new(false) }; SITES];

/// The active fault, at the site of this number.
#[inline(always)]
pub fn at(site: u32) -> u32 {
    let active = ACTIVE.load(Relaxed);
    if active != UNREAD { active } else { look(site) }
}

#[cold]
#[inline(never)]
fn look(site: u32) -> u32 {
    if REACHED[site as usize].load(Relaxed) {
        return 0;
    }
    if let Some(path) = std::env::var_os("FUSEPROP_FAULT_TRACE") {
        if !REACHED[site as usize].swap(true, Relaxed) {
            // A write at once, because a test may kill the process, and may have started others that write here too.
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(format!("{site}\n").as_bytes()).unwrap();
        }
        return 0;
    }
    let active = std::env::var("FUSEPROP_FAULT").map_or(0, |number| number.parse().unwrap());
    ACTIVE.store(active, Relaxed);
    active
}
