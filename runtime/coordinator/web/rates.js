// From figures that only grow to what happens per second. Touches no page.

const KEPT = 6;

// The last samples of one job.
export class Samples {
  #kept = [];

  // Takes an answer of `/jobs/JOB/metrics`; returns figures for each operator, by name.
  take(metrics) {
    const sample = { now: metrics.now, operators: new Map(metrics.operators.map((operator) => [operator.operator, sum(operator)])) };
    this.#kept.push(sample);
    if (this.#kept.length > KEPT) this.#kept.shift();
    // Of a job that has ended, over all of its life.
    const whole = { now: metrics.submitted, operators: new Map() };
    const [from, to] = metrics.ended ? [whole, { ...sample, now: metrics.ended }] : [this.#kept[0], sample];
    const passed = to.now - from.now;
    const is_known = passed > 0 && metrics.operators.length > 0;
    return new Map([...to.operators].map(([name, at]) => [name, { total: at, ...between(from.operators.get(name), at, is_known ? passed : 0) }]));
  }
}

function sum({ subtasks, partitions }) {
  const total = { subtasks: subtasks.length, state: null, lag: lag(partitions || []) };
  for (const figures of subtasks) {
    for (const [name, value] of Object.entries(figures)) {
      if (typeof value === "number") total[name] = (total[name] || 0) + value;
    }
    if (figures.state) {
      total.state ||= {};
      for (const [name, value] of Object.entries(figures.state)) total.state[name] = (total.state[name] || 0) + value;
    }
  }
  return total;
}

// Of all partitions of which it is known; null where it is of none.
function lag(partitions) {
  const known = partitions.filter(({ position, end }) => position !== null && end !== null);
  return known.length === 0 ? null : known.reduce((sum, { position, end }) => sum + Math.max(0, end - position), 0);
}

function between(before, after, ms) {
  const per = (name, unit) => (ms === 0 ? null : Math.max(0, (after[name] || 0) - ((before && before[name]) || 0)) / (ms * unit));
  const share = (name) => (after.subtasks === 0 ? null : per(name, 1000 * after.subtasks));
  return {
    in: per("records-in", 0.001),
    out: per("records-out", 0.001),
    busy: share("busy-us"),
    held: share("backpressured-us"),
    idle: share("idle-us"),
    cpu: per("cpu-us", 1000),
  };
}
