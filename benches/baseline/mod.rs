//! What the engine is measured against, on the same cluster and in the same run.

pub(crate) mod commits;
pub(crate) mod naive;
pub(crate) mod prototype;
