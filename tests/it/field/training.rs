//! Numbers, losses and weights that people train with.
