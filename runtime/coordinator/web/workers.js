// The workers of a cluster as a list: how each is, how many of its slots are used, and by what.

import { element, say, setState } from "./element.js";
import { clock, oneLine } from "./format.js";

function row(worker) {
  const [name, state, use] = [element("span"), element("span"), element("small")];
  const item = element("li", {}, element("div", { class: "name" }, name, state), use);
  say(name, oneLine(worker.name));
  const show = ({ address, version, state: is, since, slots, running }) => {
    item.title = `${oneLine(address)}, Flow ${oneLine(version)}, ${is} since ${clock(since)}`;
    setState(state, is);
    const parts = running.map(({ job, slots }) => `${job} (${slots})`);
    say(use, [`${slots.used} of ${slots.total} slots`, ...parts].join(" · "));
  };
  return { item, show };
}

// What shows an answer of the server in `list`.
export function workers(list) {
  const rows = new Map();
  return (all) => {
    for (const [id, { item }] of rows) {
      if (!all.some((worker) => worker.id === id)) {
        item.remove();
        rows.delete(id);
      }
    }
    all.forEach((worker, place) => {
      if (!rows.has(worker.id)) rows.set(worker.id, row(worker));
      const { item, show } = rows.get(worker.id);
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] || null);
      show(worker);
    });
  };
}
