//! Machines without threads, forks, locks and small stacks.
