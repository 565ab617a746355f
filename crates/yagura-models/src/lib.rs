//! Online models over slices.
