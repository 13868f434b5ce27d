//! Names that are being taken: from the moment a submission is accepted until its job stands in the list.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use flow_model::ids::PipelineName;

/// The names that are being taken right now.
#[derive(Default)]
pub struct Names(Mutex<BTreeSet<PipelineName>>);

/// A name that nobody else gets while this lives.
pub struct Reserved {
    names: Arc<Names>,
    name: PipelineName,
}

impl Names {
    /// The name, unless another submission is taking it.
    pub fn reserve(self: &Arc<Self>, name: &PipelineName) -> Option<Reserved> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        new.then(|| Reserved { names: self.clone(), name: name.clone() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.names.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_held_until_dropped() {
        let names = Arc::new(Names::default());
        let name = "orders".parse().expect("a name");
        let reserved = names.reserve(&name).expect("free");
        assert!(names.reserve(&name).is_none());
        drop(reserved);
        assert!(names.reserve(&name).is_some());
    }
}
