//! A Python extension whose futures run on aioxide's loop: a rate limiter, and a cache filled by a Python coroutine function.

mod cache;
mod rate_limiter;

use pyo3::prelude::*;

#[pymodule]
mod rust_extension {
    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::rate_limiter::RateLimiter;
}
