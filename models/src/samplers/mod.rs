//! Samplers: how predictions become tokens, one step at a time.

pub mod autoregressive;
pub mod diffusion;
pub mod maskgit;

#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod tests;
