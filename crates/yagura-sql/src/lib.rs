//! SQL conditions through DataFusion.
