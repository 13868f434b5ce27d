// The checkpoints of a job as a table, newest first: what became of each, which one counts and which one it went on from.

import { element, say, setState } from "./element.js";
import { bytes, clock, count, duration, oneLine } from "./format.js";

// Title, explanation, text of a cell.
const COLUMNS = [
  ["attempt", "which attempt of the job took it", (c) => attemptOf(c.id)],
  ["begun", "when its barriers were sent", (c) => (c.begun === undefined ? "–" : clock(c.begun))],
  ["took", "until it counted or was given up", (c, now) => (c.begun === undefined ? "–" : took((c.ended ?? now) - c.begun))],
  ["size", "bytes that restoring from it reads", (c) => size(c.bytes)],
  ["new", "bytes of them that the one before did not have", (c) => size(c["new-bytes"])],
  ["retained", "whether the store still has it", (c) => (c.retained ? "yes" : "no")],
];

// The first half of an id. What a job began with none of its attempts took.
const attemptOf = (id) => String(parseInt(id.slice(0, 8), 16) || "–");

// Most take less than a second.
const took = (ms) => (ms < 1000 ? `${Math.max(0, ms)} ms` : duration(ms));
const size = (number) => (number === undefined ? "–" : bytes(number));

function note(checkpoint, { latest, restored }) {
  const marks = [];
  if (checkpoint.id === latest?.id) marks.push("the latest");
  if (checkpoint.id === restored) marks.push("restored from");
  if (checkpoint.reason) marks.push(oneLine(checkpoint.reason));
  return marks.join(", ");
}

function row(id) {
  const state = element("span");
  const cells = COLUMNS.map(() => element("td"));
  const said = element("td", { class: "text note" });
  const line = element("tr", {}, element("th", { scope: "row" }, id), element("td", { class: "text" }, state), ...cells, said);
  const show = (checkpoint, summary, now) => {
    setState(state, checkpoint.state);
    COLUMNS.forEach(([, , text], column) => say(cells[column], text(checkpoint, now)));
    say(said, note(checkpoint, summary));
  };
  return { line, show };
}

function inShort({ completed, failed, latest, restored }) {
  const parts = [`${count(completed)} completed, ${count(failed)} failed since flowd leads the job`];
  if (latest) parts.push(`the latest is ${latest.id}`);
  if (restored) parts.push(`went on from ${restored}`);
  return parts.join(" · ");
}

// Which attempt runs, or ran last, and why that is not the one before.
export function attempt({ attempt, "previous-ended": why }) {
  if (!attempt) return "";
  return why ? `attempt ${attempt} · the one before ended: ${oneLine(why)}` : `attempt ${attempt}`;
}

// The table, and what shows an answer of the server in it.
export function checkpoints() {
  const title = ([text, explanation]) => element("th", { scope: "col", title: explanation }, text);
  const column = (text) => element("th", { scope: "col", class: "text" }, text);
  const titles = element("tr", {}, column("checkpoint"), column("state"), ...COLUMNS.map(title), column("note"));
  const [caption, body, rows] = [element("caption"), element("tbody"), new Map()];
  const table = element("table", { id: "checkpoints" }, caption, element("thead", {}, titles), body);
  const show = ({ checkpoints, summary, now }) => {
    say(caption, inShort(summary));
    for (const [id, { line }] of rows) {
      if (!checkpoints.some((checkpoint) => checkpoint.id === id)) {
        line.remove();
        rows.delete(id);
      }
    }
    checkpoints.forEach((checkpoint, place) => {
      if (!rows.has(checkpoint.id)) rows.set(checkpoint.id, row(checkpoint.id));
      const { line, show } = rows.get(checkpoint.id);
      if (body.children[place] !== line) body.insertBefore(line, body.children[place] || null);
      show(checkpoint, summary, now);
    });
  };
  return { table, show };
}
