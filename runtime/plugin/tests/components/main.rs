//! Real components in the real host: what each kind answers, and that no component, however hostile, gets further than its
//! own call.

mod answers;
mod code_cache;
mod fuel;
mod guest;
mod hostile;
mod interruption;
mod kinds;
mod refused;
mod stage;
mod state;
