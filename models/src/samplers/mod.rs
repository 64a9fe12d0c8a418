//! Samplers: how predictions become tokens, one step at a time.

pub mod autoregressive;
pub mod diffusion;
pub mod maskgit;

#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod exact_tests;
#[cfg(test)]
mod guidance_tests;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod tests;
