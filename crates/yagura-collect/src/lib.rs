//! Sources other than packets, and the writer that numbers rows.
