//! What a new leader of a cluster finds of the jobs that were led before, all at once: as long as it reads no worker may register, and a
//! store far away takes its time for each answer.

use std::panic::resume_unwind;
use std::sync::Arc;

use flow_model::cluster::Deployment;
use flow_model::ids::JobId;
use flow_store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Error;
use super::stop::Wanted;
use crate::cluster::deployments::{self, Stored};

/// So many documents are read at once.
const AT_ONCE: usize = 32;

/// A job that was led before.
pub(super) struct Found {
    pub(super) job: JobId,
    /// Its latest revision; HEAD may name another one. Or why that can't be read.
    pub(super) deployment: Result<Deployment, Error>,
    /// What its user wanted of it.
    pub(super) wanted: Wanted,
}

/// All that were deployed and have not ended, in the order of their submission.
///
/// # Errors
/// The store does not answer. Of a job whose document is none that is told with the job.
pub(super) async fn all(store: &Store) -> Result<Vec<Found>, Error> {
    let (room, mut reading) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for (job, stored) in deployments::list(store, None).await? {
        let (store, room) = (store.clone(), room.clone());
        reading.spawn(async move {
            let _place = room.acquire().await;
            one(&store, job, stored).await
        });
    }
    let mut found = Vec::new();
    while let Some(read) = reading.join_next().await {
        match read {
            Ok(read) => found.extend(read?),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The process ends.
                Err(_) => return Err(Error::Stopping),
            },
        }
    }
    // Those of which that is not known come first; jobs that were submitted in one moment always come in the same order.
    found.sort_by(|a: &Found, b| a.submitted().cmp(&b.submitted()).then_with(|| a.job.as_str().cmp(b.job.as_str())));
    Ok(found)
}

impl Found {
    fn submitted(&self) -> u64 {
        self.deployment.as_ref().map_or(0, |deployment| deployment.submitted)
    }
}

/// One of them; none if it has ended meanwhile.
async fn one(store: &Store, job: JobId, mut stored: Stored) -> Result<Option<Found>, Error> {
    let read = async {
        loop {
            let Some(latest) = stored.revisions.last() else { return Ok(None) };
            let Some(deployment) = deployments::read(store, &job, *latest).await? else {
                // Who led before may have put another one in its place, and not know yet that it leads no more.
                stored = deployments::list(store, Some(&job)).await?.remove(&job).unwrap_or_default();
                continue;
            };
            return Ok(Some((deployment, Wanted::of_cluster(store, &job, &stored.beside).await?)));
        }
    };
    match read.await {
        Ok(None) => Ok(None),
        Ok(Some((deployment, wanted))) => Ok(Some(Found { job, deployment: Ok(deployment), wanted })),
        // It goes on when that can be read, before any of them does.
        Err(Error::Store(error)) if error.is_retryable() => Err(error.into()),
        Err(error) => Ok(Some(Found { job, deployment: Err(error), wanted: Wanted::default() })),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use flow_model::cluster::deployment::{Identity, folder};
    use flow_store::{Content, Listed, Objects, Origin, Page, Swap, Version};

    use super::*;

    /// One that is far away: it can be asked for many things at once, and takes its time for each.
    #[derive(Default)]
    struct Far {
        objects: BTreeMap<String, Bytes>,
        /// What was read, and how often it was asked for a list.
        read: Mutex<Vec<String>>,
        listed: AtomicUsize,
        under_way: AtomicUsize,
        most: AtomicUsize,
    }

    /// The same, still to be asked about.
    struct Shared(Arc<Far>);

    #[async_trait]
    impl Objects for Shared {
        async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Page, flow_store::Error> {
            self.0.listed.fetch_add(1, SeqCst);
            let is_meant = |name: &&String| name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after);
            let names = self.0.objects.keys().filter(is_meant);
            let objects = names.map(|name| Listed { name: name.clone(), size: 1 }).collect();
            Ok(Page { objects, more: false })
        }

        async fn read(&self, name: &str) -> Result<Option<(Bytes, Version)>, flow_store::Error> {
            let Far { objects, read, under_way, most, .. } = &*self.0;
            most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            under_way.fetch_sub(1, SeqCst);
            read.lock().expect("nobody panics with it").push(name.to_owned());
            Ok(objects.get(name).map(|bytes| (bytes.clone(), Version::from(String::new()))))
        }

        fn place(&self) -> &str {
            "far"
        }

        async fn put(&self, _: &str, _: Bytes) -> Result<(), flow_store::Error> {
            unreachable!("it is only looked at")
        }

        async fn put_content(&self, _: &str, _: Arc<dyn Content>) -> Result<u64, flow_store::Error> {
            unreachable!("it is only looked at")
        }

        fn origin(&self, _: &str) -> Origin {
            unreachable!("it is only looked at")
        }

        async fn copy(&self, _: &Origin, _: &str, _: u64) -> Result<bool, flow_store::Error> {
            unreachable!("it is only looked at")
        }

        async fn get(&self, _: &str) -> Result<Bytes, flow_store::Error> {
            unreachable!("it is only looked at")
        }

        async fn get_range(&self, _: &str, _: std::ops::Range<u64>) -> Result<Bytes, flow_store::Error> {
            unreachable!("it is only looked at")
        }

        async fn delete(&self, _: &[String]) -> Result<(), flow_store::Error> {
            unreachable!("it is only looked at")
        }

        async fn swap(&self, _: &str, _: Option<&Version>, _: Bytes) -> Result<Swap, flow_store::Error> {
            unreachable!("it is only looked at")
        }
    }

    const JOBS: u64 = 200;

    /// One that was submitted at that time.
    fn job(number: u64) -> Deployment {
        let identity = Identity {
            job: format!("orders-{number:06}").parse().expect("a name"),
            name: format!("orders-{number}").parse().expect("a name"),
            submitted: JOBS - number,
            root: String::new(),
        };
        Deployment::new(identity, ("orders.yaml".to_owned(), String::new()))
    }

    #[tokio::test]
    async fn what_was_led_before_is_read_at_once_and_what_is_not_there_is_not_asked_for() {
        let mut far = Far::default();
        for number in 0..JOBS {
            let first = job(number);
            let later = first.scaled([], 2);
            for deployment in [&first, &later] {
                far.objects.insert(deployment.document(), deployment.to_bytes().into());
            }
        }
        far.objects.insert(format!("{}canceled", folder(&job(1).job)), Bytes::new());
        far.objects.insert(format!("{}stop-with-savepoint", folder(&job(2).job)), Bytes::from_static(b"last"));
        // The end of that one is not told to the end.
        far.objects.insert("jobs/ended-000000/canceled".to_owned(), Bytes::new());
        far.objects.insert("jobs/broken-000000/1.json".to_owned(), Bytes::from_static(b"{"));
        let far = Arc::new(far);
        let found = all(&Store::of(Shared(far.clone()))).await.expect("it answers");
        let (broken, found) = found.split_first().expect("there are some");
        assert!(broken.job.as_str() == "broken-000000" && broken.deployment.is_err());
        let deployments: Vec<&Deployment> = found.iter().filter_map(|found| found.deployment.as_ref().ok()).collect();
        let submitted: Vec<u64> = deployments.iter().map(|deployment| deployment.submitted).collect();
        assert_eq!(submitted, (1..=JOBS).collect::<Vec<u64>>());
        assert!(deployments.iter().all(|deployment| deployment.revision == 2), "the latest");
        let of = |number: u64| &found.iter().find(|found| found.job == job(number).job).expect("it was found").wanted;
        assert_eq!(*of(0), Wanted::default());
        assert_eq!(*of(1), Wanted { canceled: true, stops_with: None });
        assert_eq!(*of(2), Wanted { canceled: false, stops_with: Some("last".parse().expect("a name")) });
        let read = far.read.lock().expect("nobody panics with it");
        assert_eq!(read.len() as u64, JOBS + 2, "a document for each job, and the name of a savepoint");
        assert_eq!(far.listed.load(SeqCst), 1);
        let most = far.most.load(SeqCst);
        assert!((2..=AT_ONCE).contains(&most) && most > AT_ONCE / 2, "{most} at once");
    }
}
