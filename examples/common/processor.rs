//! The machine, for whoever reads a figure later.

/// The processor's name where the system tells it.
pub(crate) fn name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or(std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// Numbers of threads to time: powers of two and all, so that a machine with many cores takes a few points
/// more, not many.
#[allow(dead_code, reason = "not all who name the processor time threads")]
pub(crate) fn thread_counts(cores: usize) -> Vec<usize> {
    let mut counts: Vec<usize> = (0..=cores.ilog2()).map(|power| 1 << power).collect();
    if counts.last() != Some(&cores) {
        counts.push(cores);
    }
    counts
}
