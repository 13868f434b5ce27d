//! The exchange between workers over real connections: nothing is lost, mixed or kept without bound, nobody waits for another's channel,
//! and what breaks is told on both sides.

mod broken;
mod deadlock;
mod flow;
mod nodes;
