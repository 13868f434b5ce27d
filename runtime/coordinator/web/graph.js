// A plan as a picture: nodes in layers from left to right. Sizes depend on the plan alone, so nothing moves when numbers
// change.

import { percent, rate, shorten } from "./format.js";

const NODE = { width: 176, height: 94 };
const GAP = { x: 82, y: 26 };
// So far it is made smaller before it has to be scrolled.
const SCALE_MIN = 0.85;
const MARGIN = 8;
const SVG = "http://www.w3.org/2000/svg";

function selector(key) {
  return typeof key === "string" ? key : JSON.stringify(key);
}

// The nodes of a plan in topological order, and the edges between them.
export function graphOf(plan) {
  const nodes = [];
  const edges = [];
  const ends = plan.tasks.map((task) => {
    const names = [];
    const add = (name, kind, role) => {
      names.push(name);
      nodes.push({ name, kind, role, subtasks: task.parallelism });
    };
    if (task.head.source) add(task.head.source.name, task.head.source.connector, "source");
    for (const element of task.chain) add(element.operator, element.kind, "operator");
    if (task.tail.sink) add(task.tail.sink.name, task.tail.sink.connector, "sink");
    for (let at = 1; at < names.length; at += 1) edges.push({ from: names[at - 1], to: names[at], label: "" });
    return { first: names[0], last: names[names.length - 1] };
  });
  for (const exchange of plan.exchanges) {
    const to = ends[exchange.to].first;
    const of = exchange["dead-letters-of"];
    if (of) {
      // They may come from several tasks: the operator's own, and those that take its key.
      if (!edges.some((edge) => edge.dead && edge.from === of && edge.to === to)) edges.push({ from: of, to, label: "dead letters", dead: true });
      continue;
    }
    const how = exchange.partitioning;
    const label = how.hash !== undefined ? `by ${selector(how.hash)}` : how === "rebalance" ? "rebalance" : "";
    edges.push({ from: ends[exchange.from].last, to, label, exchange: true });
  }
  return { nodes, edges };
}

// Places nodes: each one layer behind the last of those before it. An edge over several layers has a place in each, so
// that it passes between the nodes there.
export function layout({ nodes, edges }) {
  const layer = new Map(nodes.map((node) => [node.name, 0]));
  for (const node of nodes) {
    for (const edge of edges) {
      if (edge.to === node.name) layer.set(node.name, Math.max(layer.get(node.name), layer.get(edge.from) + 1));
    }
  }
  const layers = [];
  const put = (at, item) => {
    (layers[at] ||= []).push(item);
    return item;
  };
  const items = new Map(nodes.map((node) => [node.name, put(layer.get(node.name), { node, before: [], after: [] })]));
  const paths = edges.map((edge) => {
    const path = [items.get(edge.from)];
    for (let at = layer.get(edge.from) + 1; at < layer.get(edge.to); at += 1) path.push(put(at, { before: [], after: [] }));
    path.push(items.get(edge.to));
    for (let at = 1; at < path.length; at += 1) {
      path[at - 1].after.push(path[at]);
      path[at].before.push(path[at - 1]);
    }
    return path;
  });
  order(layers);
  const height = (items) => items.reduce((sum, item) => sum + (item.node ? NODE.height : 0) + GAP.y, -GAP.y);
  const tallest = Math.max(...layers.map(height), 0);
  layers.forEach((items, at) => {
    let y = MARGIN + (tallest - height(items)) / 2;
    for (const item of items) {
      item.x = MARGIN + at * (NODE.width + GAP.x);
      item.y = y;
      item.height = item.node ? NODE.height : 0;
      y += item.height + GAP.y;
    }
  });
  return {
    places: nodes.map((node) => ({ node, x: items.get(node.name).x, y: items.get(node.name).y })),
    lines: edges.map((edge, at) => ({ edge, points: paths[at].map((item) => [item.x, item.y + item.height / 2]) })),
    width: 2 * MARGIN + layers.length * (NODE.width + GAP.x) - GAP.x,
    height: 2 * MARGIN + tallest,
  };
}

// Fewer crossings: items go where the middle of their neighbours is, there and back a few times.
function order(layers) {
  const number = (items) => items.forEach((item, at) => (item.at = at));
  layers.forEach(number);
  const middle = (items, otherwise) =>
    items.length === 0 ? otherwise : items.reduce((sum, item) => sum + item.at, 0) / items.length;
  const sort = (items, side) => {
    items.forEach((item) => (item.wish = middle(item[side], item.at)));
    items.sort((a, b) => a.wish - b.wish || a.at - b.at);
    number(items);
  };
  for (let sweep = 0; sweep < 4; sweep += 1) {
    layers.slice(1).forEach((items) => sort(items, "before"));
    layers.slice(0, -1).reverse().forEach((items) => sort(items, "after"));
  }
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function curve(points) {
  // From the right side of the first node to the left side of the last; through the layers between at their height.
  const [first, ...rest] = points;
  let [x, y] = [first[0] + NODE.width, first[1]];
  let path = `M${x},${y}`;
  rest.forEach(([toX, toY], at) => {
    const bend = GAP.x / 2;
    path += ` C${x + bend},${y} ${toX - bend},${toY} ${toX},${toY}`;
    [x, y] = [toX, toY];
    if (at < rest.length - 1) {
      x += NODE.width;
      path += ` H${x}`;
    }
  });
  return path;
}

// The picture, and a function that shows figures in it: `show(name, {in, out, busy, held, idle})`.
export function draw(plan) {
  const placed = layout(graphOf(plan));
  const shown = new Map();
  const picture = svg("svg", {
    class: "graph",
    width: placed.width,
    viewBox: `0 0 ${placed.width} ${placed.height}`,
    role: "img",
    "aria-label": `Graph: ${plan.tasks.map((task) => task.name).join("; ")}. The table below has the figures.`,
  });
  picture.style.minWidth = `${placed.width * SCALE_MIN}px`;
  const arrow = svg("path", { d: "M0,0 L8,4 L0,8 z" });
  const marker = { markerWidth: 8, markerHeight: 8, refX: 8, refY: 4, orient: "auto", markerUnits: "userSpaceOnUse" };
  const heads = ["arrow", "arrow-dead"].map((id) => svg("marker", { ...marker, id, class: id }, arrow.cloneNode()));
  picture.append(svg("defs", {}, ...heads));
  for (const { edge, points } of placed.lines) {
    const [name, head] = edge.dead ? ["edge dead", "arrow-dead"] : [edge.exchange ? "edge exchange" : "edge", "arrow"];
    picture.append(svg("path", { class: name, d: curve(points), "marker-end": `url(#${head})` }));
    if (edge.label) {
      const [[fromX, fromY], [, toY]] = points;
      const at = { x: fromX + NODE.width + GAP.x / 2, y: (fromY + toY) / 2 - 6, class: edge.dead ? "edge-label dead" : "edge-label", "text-anchor": "middle" };
      picture.append(svg("text", at, svg("title", {}, edge.label), shorten(edge.label, 12)));
    }
  }
  for (const { node, x, y } of placed.places) {
    const line = (text, dy, name) => svg("text", { x: 12, y: dy, class: name }, text);
    const rates = line("", 57, "node-rate");
    const load = line("", 74, "node-dim");
    const bar = ["busy", "held", "idle"].map((name) => svg("rect", { class: `bar-${name}`, y: 82, height: 4, x: 12, width: 0 }));
    const subtasks = node.subtasks === 1 ? "" : ` × ${node.subtasks}`;
    const group = svg("g", { class: `node ${node.role}`, transform: `translate(${x},${y})`, "data-operator": node.name });
    group.append(
      svg("title", {}, `${node.role} ${node.name}`),
      svg("rect", { class: "box", width: NODE.width, height: NODE.height, rx: 6 }),
      line(shorten(node.name, 17), 22, "node-name"),
      line(`${node.role === "operator" ? node.kind : `${node.kind} ${node.role}`}${subtasks}`, 39, "node-dim"),
      rates,
      load,
      svg("rect", { class: "bar-rest", x: 12, y: 82, width: NODE.width - 24, height: 4 }),
      ...bar,
    );
    picture.append(group);
    shown.set(node.name, { rates, load, bar, role: node.role });
  }
  const show = (name, figures) => {
    const node = shown.get(name);
    if (!node) return;
    const lag = figures.total.lag === null ? "" : ` · lag ${rate(figures.total.lag)}`;
    const given = { source: `${rate(figures.out)}/s${lag}`, sink: `${rate(figures.in)}/s` };
    node.rates.textContent = given[node.role] || `${rate(figures.in)}/s → ${rate(figures.out)}/s`;
    node.load.textContent = `busy ${percent(figures.busy)}` + (figures.held >= 0.005 ? ` · held back ${percent(figures.held)}` : "");
    let x = 12;
    [figures.busy, figures.held, figures.idle].forEach((part, at) => {
      const width = Math.min(Math.max(part || 0, 0) * (NODE.width - 24), NODE.width - 12 - x);
      node.bar[at].setAttribute("x", x);
      node.bar[at].setAttribute("width", width);
      x += width;
    });
  };
  return { picture, show };
}
