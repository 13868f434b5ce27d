// The page: jobs, and the workers of a cluster, on the left, the chosen one on the right, by `#JOB` in the address. Whatever comes from the server is set
// as text, never as markup.

import { follow, get, Refused, token } from "./api.js";
import { attempt, checkpoints } from "./checkpoints.js";
import { element, say, setState } from "./element.js";
import { bytes, clock, count, duration, oneLine, percent, rate } from "./format.js";
import { draw } from "./graph.js";
import { Samples } from "./rates.js";
import { workers } from "./workers.js";

const TURN = 1000;
const LINES = 300;
const at = (id) => document.getElementById(id);

// ---- the list

const rows = new Map();

function showJobs(jobs, now) {
  at("no-jobs").hidden = jobs.length > 0;
  for (const [id, row] of rows) {
    if (!jobs.some((job) => job.id === id)) {
      row.item.remove();
      rows.delete(id);
    }
  }
  jobs.forEach((job, place) => {
    let row = rows.get(job.id);
    if (!row) {
      const [name, state, when] = [element("span"), element("span"), element("small")];
      const link = element("a", { href: `#${job.id}`, title: job.id }, element("div", { class: "name" }, name, state), when);
      row = { item: element("li", {}, link), link, name, state, when };
      rows.set(job.id, row);
    }
    if (at("jobs").children[place] !== row.item) at("jobs").insertBefore(row.item, at("jobs").children[place] || null);
    say(row.name, job.name);
    setState(row.state, job.state);
    say(row.when, job.ended ? `ran ${duration(job.ended - job.submitted)}` : `since ${duration(now - job.submitted)}`);
    if (job.id === chosen) row.link.setAttribute("aria-current", "page");
    else row.link.removeAttribute("aria-current");
  });
}

// ---- the workers, where there are some

const showWorkers = workers(at("workers"));
let isCluster = null;

async function refreshWorkers() {
  isCluster ??= (await get("/healthz")).cluster === true;
  at("cluster").hidden = !isCluster;
  if (!isCluster) return;
  const { workers } = await get("/workers");
  at("no-workers").hidden = workers.length > 0;
  showWorkers(workers);
}

// ---- one job

// The columns of the table: title, explanation, text of a cell, and the figure that stands out when it is not zero.
const COLUMNS = [
  ["in/s", "records taken per second", (f) => rate(f.in)],
  ["out/s", "records given per second", (f) => rate(f.out)],
  ["in", "records taken so far", (f) => count(f.total["records-in"])],
  ["out", "records given so far", (f) => count(f.total["records-out"])],
  ["bytes in", "bytes of values taken so far", (f) => bytes(f.total["bytes-in"])],
  ["bytes out", "bytes of values given so far", (f) => bytes(f.total["bytes-out"])],
  ["rejected", "records that left the stream so far: skipped, or as dead letters", (f) => count(f.total.rejected), "rejected"],
  ["dead letters", "those of them that became dead letters", (f) => count(f.total["dead-letters"]), "dead-letters"],
  ["busy", "share of time that the slots spent in it", (f) => percent(f.busy)],
  ["held back", "share of time in which what is behind it took nothing more", (f) => percent(f.held)],
  ["idle", "share of time without input", (f) => percent(f.idle)],
  ["CPU", "cores that it takes up", (f) => (f.cpu === null ? "–" : f.cpu.toFixed(2))],
  ["state", "keyed state in the cache", (f) => (f.total.state ? bytes(f.total.state["cache-bytes"]) : "–")],
];

const LAG = ["lag", "records that a Kafka source has still to read", (f) => (f.total.lag === null ? "–" : count(f.total.lag))];

function table(operators, hasLag) {
  const columns = hasLag ? COLUMNS.toSpliced(2, 0, LAG) : COLUMNS;
  const cells = new Map();
  const body = element("tbody");
  for (const name of operators) {
    const row = columns.map(() => element("td", {}, "–"));
    body.append(element("tr", {}, element("th", { scope: "row", title: name }, name), ...row));
    cells.set(name, row);
  }
  const head = columns.map(([title, explanation]) => element("th", { scope: "col", title: explanation }, title));
  const titles = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "operator"), ...head));
  const caption = element("caption");
  const show = (name, figures) => {
    columns.forEach(([, , text, bad], column) => {
      const cell = cells.get(name)?.[column];
      if (!cell) return;
      say(cell, text(figures));
      if (bad) cell.className = figures.total[bad] > 0 ? "some" : "";
    });
  };
  return { table: element("table", {}, caption, titles, body), caption, show };
}

function legend() {
  const sample = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of [["width", 10], ["height", 10]]) {
      svg.setAttribute(key, value);
      square.setAttribute(key, value);
    }
    square.setAttribute("class", name);
    svg.append(square);
    return svg;
  };
  const text = element("p", { class: "legend" }, "The bar is the time of its slots:");
  const parts = [["bar-busy", "busy"], ["bar-held", "held back by what is behind it"], ["bar-idle", "without input"], ["bar-rest", "at work for others"]];
  parts.forEach(([name, what]) => text.append(sample(name), what));
  return text;
}

class JobView {
  #id;
  #samples = new Samples();
  #stop = new AbortController();
  #parts = null;
  #building = null;

  constructor(id) {
    this.#id = id;
    at("job").replaceChildren(element("p", { class: "dim" }, "loading"));
  }

  close() {
    this.#stop.abort();
  }

  async refresh() {
    const path = `/jobs/${encodeURIComponent(this.#id)}`;
    this.#building ||= this.#begin(path);
    await this.#building;
    if (this.#stop.signal.aborted) return;
    const metrics = await get(`${path}/metrics`);
    if (!this.#stop.signal.aborted) this.#show(metrics);
    if (this.#stop.signal.aborted || !this.#parts.taken) return;
    const taken = await get(`${path}/checkpoints`);
    if (this.#stop.signal.aborted) return;
    say(this.#parts.attempt, attempt(taken.summary));
    this.#parts.taken(taken);
  }

  async #begin(path) {
    try {
      const description = await get(path);
      if (this.#stop.signal.aborted) return;
      this.#build(description);
      this.#follow(`${path}/logs?follow=true&tail=${LINES}`);
    } catch (error) {
      this.#building = null;
      throw error;
    }
  }

  #build(description) {
    const { picture, show } = draw(description.plan);
    const operators = description.plan.tasks.flatMap((task) => [
      ...(task.head.source ? [task.head.source.name] : []),
      ...task.chain.map((link) => link.operator),
      ...(task.tail.sink ? [task.tail.sink.name] : []),
    ]);
    const hasLag = description.plan.tasks.some((task) => task.head.source?.connector === "kafka");
    const figures = table(operators, hasLag);
    const parts = { state: element("span"), times: element("p", { class: "dim" }), attempt: element("p", { id: "attempt", class: "dim" }), error: element("pre", { class: "error", role: "alert", hidden: "" }) };
    const warnings = description.warnings.map((warning) => element("pre", { class: "error warning" }, `warning: ${warning.message}`));
    const taken = description.checkpoints ? checkpoints() : null;
    // At once, so that what is below does not move.
    if (description.checkpoints) say(parts.attempt, attempt(description.checkpoints));
    const log = element("ol", { id: "log", role: "log", tabindex: "0", "aria-label": "Log", "aria-live": "off" });
    at("job").replaceChildren(
      element("div", { class: "title" }, element("h2", {}, description.name), parts.state),
      parts.times,
      parts.attempt,
      parts.error,
      ...warnings,
      element("h3", {}, "Graph"),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Graph" }, picture),
      legend(),
      element("h3", {}, "Operators"),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Operators" }, figures.table),
      ...(taken ? [
        element("h3", {}, "Checkpoints"),
        element("div", { class: "scroll few", tabindex: "0", role: "region", "aria-label": "Checkpoints" }, taken.table),
      ] : []),
      element("h3", {}, "Log"),
      element("div", { class: "scroll" }, log),
    );
    this.#parts = { ...parts, log, caption: figures.caption, taken: taken?.show, show: [show, figures.show] };
  }

  #show(metrics) {
    const { state, times, error, caption, show } = this.#parts;
    setState(state, metrics.state);
    const ran = (metrics.ended || metrics.now) - metrics.submitted;
    say(times, `${metrics.id} · submitted ${clock(metrics.submitted)} · ${metrics.ended ? "ran" : "runs for"} ${duration(ran)}`);
    error.hidden = !metrics.error;
    say(error, metrics.error || "");
    say(caption, metrics.ended ? "Rates and shares over its whole run" : "Rates and shares over the last seconds");
    for (const [name, figures] of this.#samples.take(metrics)) show.forEach((one) => one(name, figures));
  }

  async #follow(path) {
    const signal = this.#stop.signal;
    let [lastId, last, ended] = [null, null, false];
    while (!ended && !signal.aborted) {
      const event = (name, data, id) => {
        if (name === "end") {
          ended = true;
          return;
        }
        const line = JSON.parse(data);
        // What stands before the number: another process counts the lines of the job anew.
        const log = id?.slice(0, id.lastIndexOf("-"));
        if (lastId !== null && log !== lastId.slice(0, lastId.lastIndexOf("-"))) {
          this.#note("another process runs the job; its log of it begins here");
          last = -1;
        }
        if (last !== null && line.number > last + 1) this.#note(`${line.number - last - 1} lines are missing here`);
        [lastId, last] = [id, line.number];
        this.#line(line);
      };
      // The connection may be lost: the list says so. Here it is tried again, from the line behind the last one.
      await follow(path, { signal, lastId, event }).catch(() => {});
      if (!ended && !signal.aborted) await new Promise((resume) => setTimeout(resume, 2 * TURN));
    }
  }

  #note(text) {
    this.#add(element("li", { class: "gap" }, `… ${text}`));
  }

  #line(line) {
    const place = line.operator ? `${line.operator}${line.subtask === undefined ? "" : `/${line.subtask}`}: ` : "";
    const time = element("time", { datetime: new Date(line.time).toISOString() }, clock(line.time));
    const name = line.level === "error" ? "error-line" : line.level;
    this.#add(element("li", { class: name }, time, ` ${line.level.padEnd(5)} ${place}${oneLine(line.message)}`));
  }

  #add(item) {
    const { log } = this.#parts;
    const is_at_end = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(item);
    while (log.children.length > LINES) log.firstElementChild.remove();
    if (is_at_end) log.scrollTop = log.scrollHeight;
  }
}

// ---- the turns

let chosen = null;
let view = null;

// What the address names: any text, since anybody may write it.
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

function choose(jobs) {
  const wanted = named();
  const found = jobs.find((job) => job.id === wanted) || jobs.find((job) => job.name === wanted) || jobs[0];
  const id = found ? found.id : null;
  if (id === chosen && (view || !id)) return;
  view?.close();
  chosen = id;
  view = id && new JobView(id);
  if (!view) at("job").replaceChildren();
  document.title = found ? `${found.name} · Flow` : "Flow";
}

function login(message) {
  view?.close();
  [view, chosen] = [null, null];
  at("content").hidden = true;
  at("forget").hidden = true;
  at("login").hidden = false;
  say(at("login-error"), message);
  say(at("server"), "");
  at("token").focus();
}

async function turn() {
  const { jobs, now } = await get("/jobs");
  at("login").hidden = true;
  at("content").hidden = false;
  at("forget").hidden = !token.get();
  choose(jobs);
  showJobs(jobs, now);
  say(at("server"), location.host);
  at("server").className = "";
  await refreshWorkers();
  await view?.refresh();
}

let [timer, round] = [null, 0];

async function go() {
  clearTimeout(timer);
  round += 1;
  const mine = round;
  try {
    await turn();
  } catch (error) {
    if (mine !== round) return;
    if (error instanceof Refused && error.status === 401) {
      const had = token.get();
      token.forget();
      login(had ? "This token is not the server's." : "");
      return;
    }
    say(at("server"), error instanceof Refused ? `${location.host}: ${error.message}` : `${location.host} does not answer; trying again`);
    at("server").className = "lost";
  }
  if (mine === round) timer = setTimeout(go, document.hidden ? 10 * TURN : TURN);
}

at("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(at("token").value.trim());
  at("token").value = "";
  go();
});
at("forget").addEventListener("click", () => {
  token.forget();
  login("");
});
addEventListener("hashchange", go);
document.addEventListener("visibilitychange", () => document.hidden || go());
go();
