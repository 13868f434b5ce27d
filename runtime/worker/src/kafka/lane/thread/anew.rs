//! The name by which a lane writes to a Kafka whose word on the lane does not count. It has the id of the cluster in it, so it is known
//! when a broker has answered, and before anything is written.

use super::{End, Run};
use crate::kafka::Settings;
use crate::kafka::opening::QUESTION;

impl Run {
    /// Takes that name.
    pub(super) fn rename(&mut self) -> Result<(), End> {
        let cluster = loop {
            if let Some(cluster) = self.asker.cluster(QUESTION) {
                break cluster;
            }
            self.watch()?;
            self.rest("it does not tell the id of its cluster")?;
        };
        self.identity.incarnation = self.identity.incarnation.anew(&cluster);
        let settings = Settings::transacting(&self.shared.laying.connection, &self.identity.transactional_id());
        self.settings = settings.map_err(|error| End::Failed(error.to_string()))?;
        // It has the other name, and has called no init.
        self.spare = None;
        self.prepare()
    }
}
