//! Doing what a round says: the daemon, its twin, the broker and the store, and when a round is survived.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::input::{Input, fed};
use super::job::{GO_ON, Job, Place, TRANSACTION};
use super::trouble::{Trouble, Troubles, Way};
use super::{Arena, Tally};
use crate::broker::{Broker, free_port};
use crate::flowd::{Flowd, state};
use crate::minio::Minio;
use crate::toxic::{Toxic, Toxin};

/// So long a daemon has time to reach a place; a quiet job does not reach each.
pub(super) const REACH: Duration = Duration::from_secs(8);
/// So long nothing may come out of a job that has nothing to bear any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// What has a process harm itself.
pub(super) const VARIABLE: &str = "FLOW_FAILPOINT";
/// What makes a recovered lane naive.
const NAIVE: &str = "replay=fail:always";
/// Of the largest input: reading it again by the next life takes seconds.
const LARGEST: u64 = 60_000;
/// Late aborts of transactions that took too long.
pub(super) const BROKER: &str = "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n";

/// A daemon that is coordinator and worker in one, and what it has to bear.
pub struct Daemon {
    troubles: Troubles,
    field: Field,
}

impl Daemon {
    /// With a first life of the job.
    pub fn open(seed: u64, naive: bool) -> Daemon {
        let mut troubles = Troubles::new(seed);
        let field = Field::open(naive, &mut troubles.random);
        Daemon { troubles, field }
    }
}

impl Arena for Daemon {
    fn round(&mut self) -> (String, Result<(), String>) {
        let Daemon { troubles, field } = self;
        let naive = || Trouble::Deaths(vec!["confirmed=kill:3".to_owned()], false);
        let trouble = if field.naive { naive() } else { troubles.draw() };
        let done = field.round(&trouble, &mut troubles.random);
        let missed = if field.missed > 0 { ", not reached" } else { "" };
        (format!("{trouble}{missed}"), done)
    }

    fn close(&mut self) -> Result<(), String> {
        self.field.job.end(&self.field.flowd, &self.field.broker)
    }

    fn tally(&self, rounds: u32, wrong: Option<&String>) -> Tally {
        self.field.tally(rounds, wrong)
    }

    fn keep(&self) -> PathBuf {
        self.field.keep()
    }
}

/// All that takes part.
struct Field {
    broker: Broker,
    minio: Minio,
    way: Toxic,
    bucket: String,
    flowd: Flowd,
    input: Arc<Mutex<Input>>,
    job: Job,
    naive: bool,
    /// Places that were not reached in this round.
    missed: u32,
    /// Records of inputs that are done with.
    before: u64,
    /// What was found in output that is done with: missing, duplicated, no numbers.
    found: (u64, u64, u64),
}

pub(super) fn keys(random: &mut Rng) -> u64 {
    [5, 100, 3000][random.usize(0..3)]
}

impl Field {
    /// With a first life of the job.
    fn open(naive: bool, random: &mut Rng) -> Field {
        let broker = Broker::with(free_port(), |_| BROKER.to_owned());
        let minio = Minio::start();
        let (way, bucket) = (Toxic::before(&minio.address), minio.bucket());
        let flowd = Flowd::with_env(&Minio::environment());
        let input = Input::new(&broker, keys(random));
        let endpoint = format!("http://{}", way.address);
        let place = Some(Place { bucket: &bucket, endpoint: &endpoint });
        let job = Job::deploy(&flowd, &broker, place, &input, random);
        let input = Arc::new(Mutex::new(input));
        Field { broker, minio, way, bucket, flowd, input, job, naive, missed: 0, before: 0, found: (0, 0, 0) }
    }

    /// Feeds the job, does it harm, and waits until it has come to an end with all that it was fed.
    fn round(&mut self, trouble: &Trouble, random: &mut Rng) -> Result<(), String> {
        self.missed = 0;
        let (seed, input) = (random.u64(..), self.input.clone());
        fed(&input, seed, || self.harm(trouble, random))?;
        if *trouble == Trouble::Redeploy {
            self.deploy_again(random)?;
        }
        let fed = self.input().fed();
        self.job.settled(fed, PATIENCE)
    }

    /// Nobody holds it for long but who feeds it.
    fn input(&self) -> MutexGuard<'_, Input> {
        self.input.lock().expect("feeding does not panic")
    }

    /// What was found so far.
    fn tally(&self, rounds: u32, wrong: Option<&String>) -> Tally {
        let of_job = self.job.tally(rounds, self.input().fed(), wrong);
        let (missing, duplicated, strange) = self.found;
        let strange = (strange > 0).then(|| format!("{strange} values are no numbers"));
        Tally {
            records: self.before + of_job.records,
            missing: missing + of_job.missing,
            duplicated: duplicated + of_job.duplicated,
            wrong: of_job.wrong.or(strange),
            ..of_job
        }
    }

    /// Keeps the logs.
    fn keep(&self) -> PathBuf {
        let dir = tempfile::tempdir().expect("a directory").keep();
        let told = self.flowd.ctl(&["logs", &self.job.id]).stdout;
        let described = self.flowd.ctl(&["describe", &self.job.id]).stdout;
        let files = [("flowd.log", self.flowd.log()), ("job.log", told), ("job.txt", described)];
        files.into_iter().for_each(|(name, text)| fs::write(dir.join(name), text).expect("written"));
        _ = fs::copy(self.flowd.path("chaos.yaml"), dir.join("chaos.yaml"));
        dir
    }

    /// Starts the daemon with what it is to do to itself.
    fn start(&mut self, places: &str) {
        self.arm(places);
        self.flowd.launch_again();
    }

    fn arm(&mut self, places: &str) {
        let places = if self.naive { format!("{NAIVE},{places}") } else { places.to_owned() };
        self.flowd.set_env(VARIABLE, &places);
    }

    fn start_well(&mut self) -> Result<(), String> {
        self.start("");
        listens(&mut self.flowd)
    }

    fn kill_and_start(&mut self) -> Result<(), String> {
        self.flowd.kill();
        self.start_well()
    }

    fn harm(&mut self, trouble: &Trouble, random: &mut Rng) -> Result<(), String> {
        let within = |random: &mut Rng, ms: u64| sleep(Duration::from_millis(random.u64(0..ms)));
        match trouble {
            Trouble::Kill(after) => {
                sleep(Duration::from_millis(*after));
                self.kill_and_start()
            }
            Trouble::Deaths(places, lost) => {
                for place in places {
                    self.flowd.kill();
                    if *lost {
                        self.flowd.lose_state();
                    }
                    self.start(place);
                    if !until(REACH, || self.flowd.is_dead()) {
                        self.missed += 1;
                    }
                }
                self.kill_and_start()
            }
            Trouble::Pause(place) => {
                self.stop_at(place);
                sleep(TRANSACTION + Duration::from_millis(1500));
                self.flowd.signal("CONT");
                listens(&mut self.flowd)
            }
            Trouble::Zombie(place) => self.wake_a_zombie(place),
            Trouble::Broker(ms, both) => {
                within(random, 500);
                self.broker.kill();
                if *both {
                    self.flowd.kill();
                }
                sleep(Duration::from_millis(*ms));
                self.broker.start_again();
                if *both { self.start_well() } else { Ok(()) }
            }
            Trouble::Store(ms, both) => {
                within(random, 500);
                self.minio.kill();
                sleep(Duration::from_millis(*ms));
                if *both {
                    self.flowd.kill();
                }
                self.minio.start_again();
                if *both { self.start_well() } else { Ok(()) }
            }
            Trouble::Way(way, ms, both) => {
                self.way.set(match way {
                    Way::LosesAnswers => Toxin::LoseAnswers,
                    Way::Slow => Toxin::Delay(Duration::from_millis(60)),
                    Way::Stalls => Toxin::Stall,
                });
                sleep(Duration::from_millis(*ms));
                if *both {
                    self.flowd.kill();
                }
                self.way.set(Toxin::None);
                if *both { self.start_well() } else { Ok(()) }
            }
            Trouble::Redeploy => {
                within(random, 800);
                self.job.end(&self.flowd, &self.broker)
            }
            Trouble::GoOn(place) => {
                within(random, 800);
                self.go_on(place)
            }
        }
    }

    /// Has it stop at a place, or anywhere if it does not get there.
    fn stop_at(&mut self, place: &str) {
        self.flowd.kill();
        self.start(place);
        if !until(REACH, || self.flowd.is_stopped()) {
            self.missed += 1;
            self.flowd.signal("STOP");
        }
    }

    fn wake_a_zombie(&mut self, place: &str) -> Result<(), String> {
        self.stop_at(place);
        self.arm("");
        let mut twin = self.flowd.twin();
        listens(&mut twin)?;
        // It has taken over when something comes out by it.
        let reached = self.job.ids.reached();
        if !self.job.ids.until(reached + 1, PATIENCE) {
            return Err("the one that took over writes nothing".to_owned());
        }
        let mut zombie = std::mem::replace(&mut self.flowd, twin);
        zombie.signal("CONT");
        listens(&mut zombie)?;
        let id = &self.job.id;
        let is_over = || ["failed", "canceled"].contains(&state(&zombie.describe(id)));
        if until(PATIENCE, is_over) { Ok(()) } else { Err(format!("the zombie goes on:\n{}", zombie.log())) }
    }

    /// Another life of the job begins where this one ends, into the same topics, and does not get far at first.
    fn go_on(&mut self, place: &str) -> Result<(), String> {
        // What came out was confirmed, so there is a checkpoint.
        if !self.job.ids.until(1, PATIENCE) {
            return Err("nothing came out".to_owned());
        }
        self.job.end(&self.flowd, &self.broker)?;
        self.flowd.kill();
        self.start(place);
        listens(&mut self.flowd)?;
        // Whether the daemon answers before it dies does not matter.
        _ = self.flowd.ctl(GO_ON);
        if !until(REACH, || self.flowd.is_dead()) {
            self.missed += 1;
        }
        self.kill_and_start()?;
        self.job.follow(&self.flowd)
    }

    /// Another life of the job, with another setting.
    fn deploy_again(&mut self, random: &mut Rng) -> Result<(), String> {
        let Job { ids, counts, .. } = &self.job;
        self.found.0 += ids.missing + counts.missing;
        self.found.1 += ids.duplicated + counts.duplicated;
        self.found.2 += ids.wrong + counts.wrong;
        let fed = self.input().fed();
        if fed > LARGEST || random.bool() {
            self.before += fed;
            self.input = Arc::new(Mutex::new(Input::new(&self.broker, keys(random))));
        }
        let endpoint = format!("http://{}", self.way.address);
        let place = Some(Place { bucket: &self.bucket, endpoint: &endpoint });
        let job = Job::deploy(&self.flowd, &self.broker, place, &self.input(), random);
        self.job = job;
        Ok(())
    }
}

pub(super) fn until(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !is() {
        if begun.elapsed() > patience {
            return false;
        }
        sleep(Duration::from_millis(5));
    }
    true
}

fn listens(flowd: &mut Flowd) -> Result<(), String> {
    if until(PATIENCE, || flowd.listens() || flowd.is_dead()) && !flowd.is_dead() {
        return Ok(());
    }
    Err(format!("the daemon does not start:\n{}", flowd.log()))
}
