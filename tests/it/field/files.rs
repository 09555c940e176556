//! Files and places that people keep networks in.
