//! Doing what a round says to a cluster: two coordinators, three workers, the broker, the store, and the ways between them. A round is
//! survived when all that was fed has come out, and all nodes are there again: a zombie that woke has found its place.

mod trouble;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use fastrand::Rng;

use super::input::{Input, fed};
use super::job::Job;
use super::rounds::{BROKER, PATIENCE, REACH, VARIABLE, keys, until};
use super::trouble::Way;
use super::{Arena, Tally};
use crate::broker::{Broker, free_port};
use crate::cluster::Cluster;
use crate::minio::Minio;
use crate::toxic::Toxin;
use crate::ways::Ways;
use trouble::{Trouble, Troubles};

/// How many there are.
const COORDINATORS: usize = 2;
/// The slots of each.
const WORKERS: [u32; 3] = [2, 2, 2];

/// All that takes part.
pub struct Nodes {
    troubles: Troubles,
    broker: Broker,
    minio: Minio,
    cluster: Cluster,
    ways: Ways,
    input: Arc<Mutex<Input>>,
    job: Job,
    /// A place was not reached in this round.
    missed: bool,
}

fn pause(ms: u64) {
    sleep(Duration::from_millis(ms));
}

impl Nodes {
    /// With a job that runs.
    pub fn open(seed: u64) -> Nodes {
        let mut troubles = Troubles::new(seed);
        let random = &mut troubles.random;
        let broker = Broker::with(free_port(), |_| BROKER.to_owned());
        let minio = Minio::start();
        let (cluster, ways) = Ways::cluster(&minio, COORDINATORS, &WORKERS);
        let input = Input::new(&broker, keys(random));
        let job = Job::deploy(&cluster.coordinators[0], &broker, None, &input, random);
        let input = Arc::new(Mutex::new(input));
        Nodes { troubles, broker, minio, cluster, ways, input, job, missed: false }
    }

    fn fed(&self) -> u64 {
        self.input.lock().expect("feeding does not panic").fed()
    }

    fn suffer(&mut self, trouble: &Trouble, random: &mut Rng) -> Result<(), String> {
        self.missed = false;
        let (seed, input) = (random.u64(..), self.input.clone());
        fed(&input, seed, || {
            pause(random.u64(0..500));
            self.harm(trouble, random)
        })?;
        self.job.settled(self.fed(), PATIENCE)?;
        self.all_there()
    }

    /// The coordinator that leads.
    fn leader(&self) -> Result<usize, String> {
        self.cluster.leader().ok_or_else(|| "nobody leads".to_owned())
    }

    /// A worker, one that runs something if there is one.
    fn worker(&self, random: &mut Rng) -> usize {
        let workers = self.cluster.workers().unwrap_or_default();
        let is_busy = |name: &str| {
            let mut running = workers.iter().filter(|worker| worker["running"][0].is_object());
            running.any(|worker| worker["name"] == name)
        };
        let busy: Vec<usize> = (0..WORKERS.len()).filter(|worker| is_busy(&self.ways.name(*worker))).collect();
        random.choice(&busy).copied().unwrap_or_else(|| random.usize(0..WORKERS.len()))
    }

    fn harm(&mut self, trouble: &Trouble, random: &mut Rng) -> Result<(), String> {
        let (worker, leader) = (self.worker(random), self.leader()?);
        let Cluster { coordinators, workers, .. } = &mut self.cluster;
        let (worker_node, leader_node) = (&mut workers[worker], &mut coordinators[leader]);
        match trouble {
            Trouble::Worker(ms) => {
                worker_node.kill();
                pause(*ms);
                worker_node.start_again();
            }
            Trouble::Leader(ms) => {
                leader_node.kill();
                pause(*ms);
                leader_node.start_again();
            }
            Trouble::Both(ms) => {
                leader_node.kill();
                worker_node.kill();
                pause(*ms);
                worker_node.start_again();
                leader_node.start_again();
            }
            Trouble::Workers(place) => self.workers_die(place),
            Trouble::Leaders(place) => self.leaders_die(leader, place),
            Trouble::Hangs(ms) => {
                worker_node.signal("STOP");
                pause(*ms);
                worker_node.signal("CONT");
            }
            Trouble::LeaderHangs(ms) => {
                leader_node.signal("STOP");
                pause(*ms);
                leader_node.signal("CONT");
            }
            Trouble::CutOff(ms, store) => {
                self.ways.cut_off(worker, *store);
                pause(*ms);
                self.ways.mend();
            }
            Trouble::Leaves => {
                worker_node.signal("TERM");
                if !until(PATIENCE, || worker_node.is_dead()) {
                    return Err("a worker does not end".to_owned());
                }
                worker_node.start_again();
            }
            Trouble::Resigns => {
                leader_node.signal("TERM");
                if !until(PATIENCE, || leader_node.is_dead()) {
                    return Err("the leader does not end".to_owned());
                }
                leader_node.start_again();
            }
            Trouble::Broker(ms, both) => {
                self.broker.kill();
                if *both {
                    worker_node.kill();
                }
                pause(*ms);
                self.broker.start_again();
                if *both {
                    worker_node.start_again();
                }
            }
            Trouble::Store(ms, both) => {
                self.minio.kill();
                pause(*ms);
                if *both {
                    leader_node.kill();
                }
                self.minio.start_again();
                if *both {
                    leader_node.start_again();
                }
            }
            Trouble::Way(way, ms, both) => {
                self.ways.to_store(match way {
                    Way::LosesAnswers => Toxin::LoseAnswers,
                    Way::Slow => Toxin::Delay(Duration::from_millis(60)),
                    Way::Stalls => Toxin::Stall,
                });
                pause(*ms);
                if *both {
                    worker_node.kill();
                }
                self.ways.to_store(Toxin::None);
                if *both {
                    worker_node.start_again();
                }
            }
        }
        Ok(())
    }

    /// Kills all workers, and has those that go on with the job die at a place.
    fn workers_die(&mut self, place: &str) {
        let workers = &mut self.cluster.workers;
        workers.iter_mut().for_each(|worker| {
            worker.kill();
            worker.set_env(VARIABLE, place);
        });
        workers.iter_mut().for_each(|worker| worker.start_again());
        self.missed = !until(REACH, || workers.iter_mut().any(|worker| worker.is_dead()));
        workers.iter_mut().for_each(|worker| {
            worker.kill();
            worker.set_env(VARIABLE, "");
        });
        workers.iter_mut().for_each(|worker| worker.start_again());
    }

    /// Kills the coordinator that leads, and has the one that takes over die at a place.
    fn leaders_die(&mut self, leader: usize, place: &str) {
        let coordinators = &mut self.cluster.coordinators;
        let next = (leader + 1) % COORDINATORS;
        coordinators[next].kill();
        coordinators[next].set_env(VARIABLE, place);
        coordinators[next].start_again();
        coordinators[leader].kill();
        self.missed = !until(REACH, || coordinators[next].is_dead());
        coordinators[leader].start_again();
        coordinators[next].kill();
        coordinators[next].set_env(VARIABLE, "");
        coordinators[next].start_again();
    }

    /// Waits until each coordinator leads all workers, or knows who does.
    fn all_there(&self) -> Result<(), String> {
        let is_led = |worker: &&serde_json::Value| worker["state"] == "active";
        let all_by = |coordinator: &crate::flowd::Flowd| {
            let found = coordinator.ask("/workers").unwrap_or_default();
            found["workers"].as_array().map_or(0, |all| all.iter().filter(is_led).count()) == WORKERS.len()
        };
        if until(PATIENCE, || self.cluster.coordinators.iter().all(all_by)) {
            return Ok(());
        }
        Err(format!("not all nodes are there again: {:?}", self.cluster.workers()))
    }
}

impl Arena for Nodes {
    fn round(&mut self) -> (String, Result<(), String>) {
        let trouble = self.troubles.draw();
        // One draws for both, as the other one does.
        let mut random = Rng::with_seed(self.troubles.random.u64(..));
        let done = self.suffer(&trouble, &mut random);
        let missed = if self.missed { ", not reached" } else { "" };
        (format!("{trouble}{missed}"), done)
    }

    fn close(&mut self) -> Result<(), String> {
        self.job.end(&self.cluster.coordinators[0], &self.broker)
    }

    fn tally(&self, rounds: u32, wrong: Option<&String>) -> Tally {
        self.job.tally(rounds, self.fed(), wrong)
    }

    fn keep(&self) -> PathBuf {
        let dir = tempfile::tempdir().expect("a directory").keep();
        let write = |name: String, text: String| fs::write(dir.join(name), text).expect("written");
        let Cluster { coordinators, workers, .. } = &self.cluster;
        coordinators.iter().zip(0..).for_each(|(node, n)| write(format!("coordinator-{n}.log"), node.log()));
        workers.iter().zip(0..).for_each(|(node, n)| write(format!("worker-{n}.log"), node.log()));
        write("job.log".to_owned(), coordinators[0].ctl(&["logs", &self.job.id]).stdout);
        write("job.txt".to_owned(), coordinators[0].ctl(&["describe", &self.job.id]).stdout);
        _ = fs::copy(coordinators[0].path("chaos.yaml"), dir.join("chaos.yaml"));
        dir
    }
}
